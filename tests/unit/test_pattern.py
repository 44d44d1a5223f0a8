"""Patterns: what they match, in which order, and what is looked at on the way."""

from __future__ import annotations

import inspect
import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from archive7 import Archive
from archive7.entry import DIRECTORY, FILE, LINK
from archive7.errors import ClosedError, TreeCorruptError, UsageError
from archive7.filesystem import Filesystem
from archive7.layout import PATH
from archive7.pattern import Pattern, name_pattern
from tests.unit.archives import Vaults, open_archive

EVERYTHING = (
    "/ /.hidden /a /circle /dangling /link /one.txt /short /z /a/b /a/d /a/two.txt "
    "/a/b/c /a/b/three.txt /a/b/c/x /a/d/up /z/x"
)


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as found:
        yield found


@pytest.fixture
def archive(vaults: Vaults) -> Archive:
    """Directories, hidden names, links to a directory, to a file, to nothing and in a circle."""
    archive = vaults.memory()
    with archive.transaction():
        for path in ("/a/b/c", "/a/d", "/z"):
            archive.makedirs(path)
        for path in ("/one.txt", "/.hidden", "/a/two.txt", "/a/b/three.txt", "/a/b/c/x", "/z/x"):
            archive.write_bytes(path, b"")
        archive.symlink("a/b", "/link")
        archive.symlink("one.txt", "/short")
        archive.symlink("nowhere", "/dangling")
        archive.symlink("circle", "/circle")
        archive.symlink("..", "/a/d/up")
    return archive


def found(archive: Archive, pattern: str, root: str = "/") -> list[str]:
    """All paths, in their order; none comes twice."""
    paths = list(archive.glob(pattern, root))
    assert len(paths) == len(set(paths))
    return paths


# --- syntax


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("*.txt", "/one.txt"),
        ("*", "/.hidden /a /circle /dangling /link /one.txt /short /z"),
        (".*", "/.hidden"),
        ("?", "/a /z"),
        ("[az]", "/a /z"),
        ("[!a]", "/z"),
        ("[a-z]/x", "/z/x"),
        ("A", ""),
        ("one.txt", "/one.txt"),
        ("./a/./two.txt", "/a/two.txt"),
        ("one", ""),
        ("nowhere", ""),
        ("one.txt/x", ""),
        ("a/*/c", "/a/b/c"),
        ("*/*.txt", "/a/two.txt /link/three.txt"),
        ("**/x", "/a/b/c/x /z/x"),
        ("**", EVERYTHING),
        ("**/", "/ /a /z /a/b /a/d /a/b/c"),
        ("*/", "/a /link /z"),
        ("a*/", "/a"),
        ("one.txt/", ""),
        ("short/", ""),
        ("link/", "/link"),
        ("dangling", "/dangling"),
        ("dangling/", ""),
        ("dang*", "/dangling"),
        ("circle/*", ""),
        ("link/**", "/link /link/c /link/three.txt /link/c/x"),
        ("l*/**", "/link /link/c /link/three.txt /link/c/x"),
        ("**/up/*", "/a/d/up/b /a/d/up/d /a/d/up/two.txt"),
        ("a/**", "/a /a/b /a/d /a/two.txt /a/b/c /a/b/three.txt /a/b/c/x /a/d/up"),
        ("**/b/**", "/a/b /a/b/c /a/b/three.txt /a/b/c/x"),
        ("**/**/x", "/a/b/c/x /z/x"),
        ("a/..", "/a/.."),
        ("link/../two.txt", "/link/../two.txt"),
        ("one.txt/..", ""),
        ("..", "/.."),
        ("*/..", "/a/.. /link/.. /z/.."),
        ("**/../two.txt", "/a/b/../two.txt /a/d/../two.txt"),
        ("a**", "/a"),
    ],
)  # fmt: skip
def test_pattern_finds(archive: Archive, pattern: str, paths: str) -> None:
    assert found(archive, pattern) == paths.split()
    assert found(archive, f"/{pattern}") == paths.split()
    assert found(archive, f"/{pattern}", "/a/b") == paths.split()


def test_a_slash_alone_is_the_root(archive: Archive) -> None:
    assert found(archive, "/") == found(archive, "//") == found(archive, "/", "/a") == ["/"]


def test_names_with_special_characters_are_found_by_brackets(archive: Archive) -> None:
    for name in ("[x]", "x", "*", "a\nb", "größe"):
        archive.write_bytes(f"/z/{name}", b"")

    assert found(archive, "z/[[]x]") == ["/z/[x]"]
    assert found(archive, "z/[x]") == ["/z/x"]
    assert found(archive, "z/[*]") == ["/z/*"]
    assert found(archive, "z/a?b") == found(archive, "z/a*") == ["/z/a\nb"]
    assert found(archive, "z/gr??e") == ["/z/größe"]
    assert found(archive, "z/[") == found(archive, "z/\udc80") == []
    assert found(archive, "z/" + "x" * 300) == []


@pytest.mark.parametrize("pattern", ["", ".", "./", "./."])
def test_pattern_without_a_name_is_refused_at_once(archive: Archive, pattern: str) -> None:
    with pytest.raises(ValueError, match="unacceptable pattern"):
        archive.glob(pattern)


def test_wrong_types_are_refused_at_once(archive: Archive) -> None:
    pattern: Any
    for pattern in (b"*", None, 7):
        with pytest.raises(TypeError):
            archive.glob(pattern)
    with pytest.raises(ValueError, match="null"):
        archive.glob("a\0b")
    with pytest.raises(FileNotFoundError):
        archive.glob("*", "")


def test_pattern_may_be_a_pure_path(archive: Archive) -> None:
    assert list(archive.glob(PurePosixPath("a/*.txt"))) == ["/a/two.txt"]
    assert list(archive.glob("*.txt", PurePosixPath("/a"))) == ["/a/two.txt"]


# --- the root


def test_paths_begin_as_the_root_does(archive: Archive) -> None:
    assert found(archive, "*.txt", "/a") == found(archive, "*.txt", "/a/") == ["/a/two.txt"]
    assert found(archive, "*.txt", "//a/./") == ["/a/two.txt"]
    assert found(archive, "*.txt", "a") == ["a/two.txt"]
    assert found(archive, "*.txt", ".") == ["one.txt"]
    assert found(archive, "*.txt", "link") == ["link/three.txt"]
    assert found(archive, "**/", "a/b") == ["a/b", "a/b/c"]


@pytest.mark.parametrize("root", ["/nowhere", "/one.txt", "/dangling", "/circle", "/one.txt/x"])
def test_root_that_is_no_directory_holds_nothing(archive: Archive, root: str) -> None:
    assert [found(archive, pattern, root) for pattern in ("*", "**", "x", "*/")] == [[]] * 4


# --- the walk


def test_names_without_wildcards_are_looked_up(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[bytes] = []
    children = Filesystem.children

    def listing(self: Filesystem, identity: bytes) -> Iterator[tuple[str, bytes, bytes]]:
        listed.append(identity)
        return children(self, identity)

    monkeypatch.setattr(Filesystem, "children", listing)
    counts = {"a/b/c/x": 0, "a/b/": 0, "link/c/..": 0, "a/b/*": 1, "a/?/c/x": 1, "*/b": 1,
              "**": 6, "**/a/**/b/**": 6}  # fmt: skip
    for pattern, count in counts.items():
        listed.clear()
        assert found(archive, pattern)
        assert len(listed) == count, pattern


def test_a_deep_tree_needs_no_deep_stack(archive: Archive) -> None:
    path = "/" + "/".join("d" * 300)
    with archive.transaction():
        archive.makedirs(path)
        archive.write_bytes(f"{path}/leaf", b"")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        assert found(archive, "**/leaf") == [f"{path}/leaf"]
        assert len(found(archive, "d/**/d/**")) == 300
    finally:
        sys.setrecursionlimit(limit)


def test_archive_may_change_meanwhile(archive: Archive) -> None:
    paths = []
    for path in archive.glob("**/*"):
        paths.append(path)
        if path == "/a":
            archive.rename("/z", "/y")
            archive.rmtree("/a/b")
            archive.write_bytes("/a/new", b"")

    assert "/a/new" in paths
    assert not {"/a/b", "/a/b/c"} & set(paths)


def test_lock_is_free_between_two_paths(archive: Archive) -> None:
    for path in archive.glob("*.txt"):
        writer = threading.Thread(target=archive.write_bytes, args=("/written", b"x"))
        writer.start()
        writer.join(timeout=30)
        assert not writer.is_alive(), path

    assert archive.read_bytes("/written") == b"x"


def test_closed_archive_tells(vaults: Vaults) -> None:
    archive = vaults.memory()
    archive.mkdir("/a")
    paths = archive.glob("**/*")
    archive.close()

    with pytest.raises(ClosedError):
        next(paths)


def test_circle_of_directories_is_told() -> None:
    archive = open_archive(io.BytesIO(), "x")
    archive.makedirs("/a/b")
    archive.write_bytes("/a/b/c", b"")
    outer, inner, _ = archive.find()
    archive._manager.paths.insert(inner.id.bytes + b"a", PATH.pack(DIRECTORY, outer.id.bytes))

    with pytest.raises(TreeCorruptError, match="circle"):
        list(archive.glob("**/c"))
    archive.close()


# --- matching without a walk


@pytest.mark.parametrize(
    ("pattern", "path", "kind", "is_match"),
    [
        ("*", "/a", FILE, True),
        ("*", "/a/b", FILE, False),
        ("/a/*", "/a/b", FILE, True),
        ("a/*", "/a/b", FILE, True),
        ("*.bak", "/g1.txt.bak", FILE, True),
        ("*.txt", "/g1.txt.bak", FILE, False),
        ("**", "/a/b", FILE, True),
        ("**", "/", DIRECTORY, True),
        ("/", "/", DIRECTORY, True),
        ("*", "/", DIRECTORY, False),
        ("a/**", "/a", DIRECTORY, True),
        ("a/**", "/a", FILE, False),
        ("a/**", "/ab", DIRECTORY, False),
        ("**/x", "/x", FILE, True),
        ("**/x", "/a/b/x", LINK, True),
        ("**/x", "/a/bx", FILE, False),
        ("a/**/b/*", "/a/1/2/b/c", FILE, True),
        ("a/**/b/*", "/a/b/c", FILE, True),
        ("a/**/b/*", "/a/1/b", DIRECTORY, False),
        ("*/", "/a", DIRECTORY, True),
        ("*/", "/a", FILE, False),
        ("*/", "/a", LINK, False),
        ("a/../b", "/b", FILE, False),
    ],
)
def test_path_matches_as_a_whole(pattern: str, path: str, kind: bytes, is_match: bool) -> None:
    assert Pattern(pattern).matches(path, kind) is is_match


def test_name_pattern_matches_as_a_whole() -> None:
    assert name_pattern("*.txt").match("g1.txt")
    assert not name_pattern("*.txt").match("g1.txt.bak")
    assert not name_pattern("*.txt").match("g1.TXT")
    assert name_pattern("a.c").match("a.c")
    assert not name_pattern("a.c").match("abc")
    with pytest.raises(UsageError):
        name_pattern("")
