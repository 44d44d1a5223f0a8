"""Paths: what a text leads to, through links, dots and slashes, and which texts are refused."""

from __future__ import annotations

import errno
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from archive7 import Archive
from archive7.errors import Archive7Error, LoopError, NameTooLongError, NotFoundError, PathError
from tests.unit.archives import Vaults
from tests.unit.test_filesystem import Host, look, outcome


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Vaults(tmp_path) as vaults:
        yield vaults.memory()


@pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux")
def test_random_forests_of_links_resolve_as_on_the_host(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    folders = ["a", "a/b", "a/b/c", "d", "d/e"]
    for number in range(6):
        home = tmp_path / str(number)
        home.mkdir()
        monkeypatch.chdir(home)
        for name in archive.listdir("/"):
            remove_all(archive, name)
        for name in folders:
            os.mkdir(name)
            archive.mkdir(name)
        for name in ("f", "a/f", "a/b/f", "d/e/f"):
            Path(name).write_bytes(name.encode())
            archive.write_bytes(name, name.encode())
        for index in range(25):
            folder = rng.choice(["", *(f"{name}/" for name in folders)])
            up = "../" * rng.randrange(folder.count("/") + 1)
            target = up + "/".join(some_parts(rng, rng.randrange(1, 4)))
            target += rng.choice(("", "", "", "/", "/."))
            os.symlink(target, f"{folder}l{index}")
            archive.symlink(target, f"{folder}l{index}")
        links = [f"l{index}" for index in range(25)]
        for _ in range(500):
            parts = some_parts(rng, rng.randrange(1, 5), links)
            path = "/".join(parts) + rng.choice(("", "", "/"))
            if escapes(path):
                continue
            for call in ("stat", "lstat", "read_bytes", "readlink", "listdir"):
                ours, theirs = (
                    outcome(lambda s=s, call=call, path=path: use(s, call, path))
                    for s in (archive, Host)
                )
                assert ours == theirs, (call, path)


def some_parts(rng: random.Random, count: int, links: list[str] | None = None) -> list[str]:
    words = ["a", "b", "c", "d", "e", "f", "missing", ".", *(links or ["l1", "l2", "l3", "l7"])]
    return [rng.choice(words) for _ in range(count)]


def escapes(path: str) -> bool:
    return not os.path.realpath(path).startswith(os.getcwd())


def use(system: object, call: str, path: str) -> object:
    found = getattr(system, call)(path)
    if call in ("stat", "lstat"):
        return look(found)
    return sorted(found) if call == "listdir" else found


def remove_all(archive: Archive, path: str) -> None:
    if archive.isdir(path) and not archive.islink(path):
        for name in archive.listdir(path):
            remove_all(archive, f"{path}/{name}")
        archive.rmdir(path)
    else:
        archive.remove(path)


def test_the_parent_of_the_root_is_the_root(archive: Archive) -> None:
    archive.mkdir("/d")
    archive.write_bytes("/d/f", b"x")
    for path in ("/../d/f", "../../d/f", "/d/../../../d/f", "//d//f", "/./d/./f", "d/f"):
        assert archive.read_bytes(path) == b"x"
    assert archive.stat("/..").st_ino == archive.stat("/").st_ino
    archive.symlink("../../../d", "/d/up")
    assert archive.read_bytes("/d/up/f") == b"x"


def test_absolute_links_stay_in_the_archive(archive: Archive) -> None:
    archive.makedirs("/etc/deep")
    archive.write_bytes("/etc/passwd", b"ours")
    archive.symlink("/etc/passwd", "/etc/deep/link")
    archive.symlink("/etc", "/etc/deep/dir")
    archive.symlink("/", "/etc/deep/root")
    assert archive.read_bytes("/etc/deep/link") == b"ours"
    assert archive.read_bytes("/etc/deep/dir/deep/link") == b"ours"
    assert archive.listdir("/etc/deep/root") == ["etc"]
    assert archive.read_bytes("/etc/deep/root/etc/passwd") == b"ours"
    assert archive.readlink("/etc/deep/link") == "/etc/passwd"


def test_chains_of_links_end_at_forty(archive: Archive) -> None:
    archive.write_bytes("/l0", b"end")
    for number in range(1, 50):
        archive.symlink(f"l{number - 1}", f"/l{number}")
    assert archive.read_bytes("/l40") == b"end"
    with pytest.raises(LoopError) as caught:
        archive.read_bytes("/l41")
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, "/l41")
    assert archive.readlink("/l41") == "l40"
    archive.remove("/l41")


def test_paths_may_be_pure_paths(archive: Archive) -> None:
    path = PurePosixPath("/d") / "f"
    archive.mkdir(path.parent)
    archive.write_bytes(path, b"x")
    assert archive.read_bytes(PurePosixPath("d/f")) == b"x"
    assert [e.name for e in archive.scandir(path.parent)] == ["f"]
    assert list(archive.walk(path.parent)) == [("/d", [], ["f"])]
    archive.rename(path, PurePosixPath("/g"))
    assert archive.listdir(PurePosixPath("/")) == ["d", "g"]


@pytest.mark.parametrize("path", [b"/f", 5, None, 1.5, ["f"], Path])
def test_other_types_are_refused(archive: Archive, path: object) -> None:
    for call in ("open", "stat", "mkdir", "listdir", "remove", "read_bytes", "exists"):
        with pytest.raises(TypeError):
            getattr(archive, call)(path)


def test_names_that_are_not_utf8_are_refused_with_a_clear_message(archive: Archive) -> None:
    bad = "bad\udcff"
    calls = [
        lambda: archive.mkdir(bad), lambda: archive.write_bytes(bad, b""),
        lambda: archive.open(bad, "w"), lambda: archive.symlink("x", bad),
        lambda: archive.symlink(bad, "x"), lambda: archive.stat(f"{bad}/x"),
        lambda: archive.makedirs(f"d/{bad}"), lambda: archive.rename("d", bad),
    ]  # fmt: skip
    archive.mkdir("d")
    for number, call in enumerate(calls):
        with pytest.raises(PathError, match="UTF-8") as caught:
            call()
        assert caught.value.errno == errno.EILSEQ, number
        assert isinstance(caught.value, Archive7Error)
    assert not archive.exists(bad)
    assert archive.listdir("/") == ["d"]


def test_names_have_255_bytes_of_utf8_and_keep_their_form(archive: Archive) -> None:
    names = [
        "é" * 127,
        "e\u0301",
        "é",
        "日本語",
        " ",
        "a b",
        "\n",
        "\\",
        "~",
        "-",
        "...",
        "a.",
        "\x7f",
    ]
    for name in names:
        archive.write_bytes(f"/{name}", name.encode())
    assert archive.listdir("/") == sorted(names, key=str.encode)
    for name in names:
        assert archive.read_bytes(name) == name.encode()
    for name in ("é" * 128, "x" * 256):
        with pytest.raises(NameTooLongError) as caught:
            archive.mkdir(name)
        assert caught.value.errno == errno.ENAMETOOLONG


def test_a_path_that_was_remembered_is_forgotten_with_its_directory(archive: Archive) -> None:
    archive.makedirs("/a/b")
    archive.write_bytes("/a/b/f", b"first")
    assert archive.read_bytes("/a/b/f") == b"first"
    archive.rename("/a/b", "/a/c")
    with pytest.raises(NotFoundError):
        archive.read_bytes("/a/b/f")
    archive.mkdir("/a/b")
    archive.write_bytes("/a/b/f", b"second")
    assert archive.read_bytes("/a/b/f") == b"second"
    archive.symlink("a/b", "/l")
    assert archive.read_bytes("/l/f") == b"second"
    archive.remove("/l")
    archive.symlink("a/c", "/l")
    assert archive.read_bytes("/l/f") == b"first"
