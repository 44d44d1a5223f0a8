"""Path objects: `ArchivePath` by itself, and beside `pathlib.Path` in a folder of the host.

The archive of the differential tests has the same absolute paths as the folder, so that results
can be compared as they are.
"""

from __future__ import annotations

import copy
import errno
import importlib.resources
import itertools
import operator
import os
import pickle
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from archive7 import Archive, ArchivePath
from archive7.errors import ClosedError, LoopError, NotFoundError, ReadOnlyError, UsageError
from tests.unit.archives import Tree, Vaults, tree_of

Outcome = tuple[object, ...]
Call = Callable[..., object]

TEXT = "first\nzwölf\nlast"
LONG = "x" * 256


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as found:
        yield found


@pytest.fixture
def archive(vaults: Vaults) -> Archive:
    return vaults.memory()


# --- beside pathlib


class Sides:
    """A folder of the host and an archive with the same paths, driven alike."""

    def __init__(self, vaults: Vaults) -> None:
        vaults.folder.chmod(0o755)
        self.host = vaults.folder / "host"
        self.archive = vaults.memory()
        self.fill()

    @property
    def ours(self) -> ArchivePath:
        return self.archive / str(self.host)

    def fill(self) -> None:
        """Make both sides anew, with one of each kind."""
        shutil.rmtree(self.host, ignore_errors=True)
        for name in self.archive.listdir():
            self.archive.rmtree(name)
        self.archive.makedirs(str(self.host))
        self.host.mkdir()
        top: Any
        for top in (self.host, self.ours):
            for name in ("dir/sub/deep", "empty"):
                (top / name).mkdir(parents=True)
            for name in ("file", "dir/inner.txt", "dir/sub/inner.txt", "dir/.hidden", "dir/[a]"):
                (top / name).write_bytes(TEXT.encode())
            (top / "to_file").symlink_to("file")
            (top / "to_dir").symlink_to(top / "dir")
            (top / "dir/up").symlink_to("..")
            (top / "dangling").symlink_to("nowhere")
            (top / "loop").symlink_to("loop")

    def both(self, label: object, call: Call, *names: str) -> None:
        """Call with the paths of either side; results, exceptions and trees are the same."""
        ours = outcome(lambda: call(*[self.ours / name for name in names]))
        theirs = outcome(lambda: call(*[self.host / name for name in names]))
        assert ours == theirs, (label, names)

    def compare(self, label: object) -> None:
        assert tree_of(self.archive, str(self.host)) == host_tree(self.host), label


def host_tree(top: Path) -> Tree:
    """As `tree_of`, of a folder of the host."""
    found: Tree = {}
    for path in top.iterdir():
        mode, name = stat.S_IMODE(path.lstat().st_mode), str(path).lstrip("/")
        if path.is_symlink():
            found[name] = ("link", os.readlink(path), mode)
        elif path.is_dir():
            found[name] = ("directory", None, mode)
            found |= host_tree(path)
        else:
            found[name] = ("file", path.read_bytes(), mode)
    return found


def outcome(call: Callable[[], object]) -> Outcome:
    """What a call gives, or the builtin class of its exception with the errno."""
    try:
        return ("value", plain(call()))
    except OSError as error:
        name = next(k.__name__ for k in type(error).__mro__ if k.__module__ == "builtins")
        return ("OSError" if error.errno == errno.EPERM else name, error.errno)
    except (ValueError, TypeError, NotImplementedError) as error:
        kinds = (UnicodeError, ValueError, TypeError, NotImplementedError)
        return (next(k.__name__ for k in kinds if isinstance(error, k)),)


def plain(value: object) -> object:
    """A result of either side in a form that can be compared."""
    if isinstance(value, ArchivePath | PurePosixPath):
        return f"path {value}"
    if isinstance(value, os.stat_result):
        is_directory = stat.S_ISDIR(value.st_mode)
        return (value.st_mode, is_directory or (value.st_size, value.st_nlink))
    if isinstance(value, Iterator):
        return sorted(map(plain, value), key=repr)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def in_mode(mode: str) -> Call:
    def call(path: Any) -> object:
        options = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
        with path.open(mode, **options) as file:
            read = file.read() if file.readable() else None
            return read, file.writable() and file.write(b"more" if "b" in mode else "more")

    return call


def text_of(
    path: Any, encoding: str, errors: str | None = None, newline: str | None = "\n"
) -> object:
    """`read_text`, which takes a newline in `pathlib` since Python 3.13: the same by `open`."""
    if isinstance(path, ArchivePath):
        return path.read_text(encoding, errors, newline)
    with path.open(encoding=encoding, errors=errors, newline=newline) as file:
        return file.read()


def walked(path: Any, **options: Any) -> object:
    """`walk`, which `pathlib` has since Python 3.12: the same by `os.walk`."""
    if hasattr(path, "walk"):
        found = list(path.walk(**options))
    else:
        found = []
        names = {"top_down": "topdown", "on_error": "onerror", "follow_symlinks": "followlinks"}
        for top, folders, others in os.walk(path, **{names[k]: v for k, v in options.items()}):
            links = {n for n in folders if os.path.islink(os.path.join(top, n))}
            if not options.get("follow_symlinks"):
                others += links
                folders = [n for n in folders if n not in links]
            found.append((Path(top), folders, others))
    return sorted((str(top), sorted(folders), sorted(others)) for top, folders, others in found)


def errors_of_walk(path: Any) -> list[Outcome]:
    caught: list[OSError] = []
    walked(path, on_error=caught.append)
    return [outcome(lambda error=error: (_ for _ in ()).throw(error)) for error in caught]


PATTERNS = [
    "*", "*.txt", "?????", "[a-e]*", "[!a-e]*", ".*", "[[]a]", "[a]", "sub/*", "*/*", "up/*",
    "to_dir/*", "dir/inner.txt", "nothing*", "**/*", "**/*.txt", "**/sub/*", "dir/**/*",
    "sub/../*", "", "/x",
]  # fmt: skip
LOOKS: dict[str, Call] = {
    "exists": lambda p: p.exists(),
    "is_file": lambda p: p.is_file(),
    "is_dir": lambda p: p.is_dir(),
    "is_symlink": lambda p: p.is_symlink(),
    "stat": lambda p: p.stat(),
    "stat, not following": lambda p: p.stat(follow_symlinks=False),
    "lstat": lambda p: p.lstat(),
    "readlink": lambda p: p.readlink(),
    "read_bytes": lambda p: p.read_bytes(),
    "read_text": lambda p: text_of(p, "latin-1"),
    "read_text of ASCII": lambda p: text_of(p, "ascii"),
    "read_text with errors": lambda p: text_of(p, "ascii", "replace"),
    "read_text with newline": lambda p: text_of(p, "utf-8", None, "\r"),
    "read_text wrongly": lambda p: text_of(p, "utf-8", None, "x"),
    "open": in_mode("r"),
    "open rb": in_mode("rb"),
    "open wrongly": lambda p: p.open("rw"),
    "iterdir": lambda p: p.iterdir(),
    "walk": walked,
    "walk bottom up": lambda p: walked(p, top_down=False),
    "errors of walk": errors_of_walk,
    "the way of links": lambda p: (p.parent / p.readlink()).is_dir(),
    **{f"glob {p}": (lambda path, p=p: path.glob(p)) for p in PATTERNS},
    **{f"rglob {p}": (lambda path, p=p: path.rglob(p)) for p in ("*", "*.txt", "sub/*", "/x")},
}
CHANGES: dict[str, Call] = {
    **{f"open {mode}": in_mode(mode) for mode in ("r+", "w", "w+b", "xb", "x", "a", "a+b")},
    "write_bytes": lambda p: p.write_bytes(memoryview(b"new")),
    "write_bytes of text": lambda p: p.write_bytes("text"),
    "write_text": lambda p: p.write_text("ä\n", "utf-16"),
    "write_text with newline": lambda p: p.write_text("a\nb\n", "utf-8", newline="\r\n"),
    "write_text as it is": lambda p: p.write_text("a\r\nb\n", encoding="utf-8", newline=""),
    "write_text with errors": lambda p: p.write_text("ä", "ascii", "xmlcharrefreplace"),
    "write_text of bytes": lambda p: p.write_text(b"bytes", "utf-8"),
    "mkdir": lambda p: p.mkdir(),
    "mkdir with mode": lambda p: p.mkdir(0o700),
    "mkdir exist_ok": lambda p: p.mkdir(exist_ok=True),
    "mkdir parents": lambda p: p.mkdir(0o700, parents=True),
    "mkdir parents exist_ok": lambda p: p.mkdir(parents=True, exist_ok=True),
    "touch": lambda p: p.touch(),
    "touch with mode": lambda p: p.touch(0o600),
    "touch not exist_ok": lambda p: p.touch(exist_ok=False),
    "chmod": lambda p: p.chmod(0o640),
    "unlink": lambda p: p.unlink(),
    "unlink missing_ok": lambda p: p.unlink(missing_ok=True),
    "rmdir": lambda p: p.rmdir(),
    "symlink_to": lambda p: p.symlink_to("file"),
    "symlink_to nothing": lambda p: p.symlink_to(""),
    "symlink_to a path": lambda p: p.symlink_to(p.parent / "file", target_is_directory=True),
}
PAIRS: dict[str, Call] = {
    "rename": lambda p, q: p.rename(q),
    "rename by text": lambda p, q: p.rename(str(q)),
    "replace": lambda p, q: p.replace(q),
    "hardlink_to": lambda p, q: p.hardlink_to(q),
    "samefile": lambda p, q: p.samefile(q),
    "samefile by text": lambda p, q: p.samefile(str(q)),
}
NAMES = [
    "file", "dir", "empty", "to_file", "to_dir", "dangling", "loop", "missing", "missing/below",
    "missing/below/below", "file/below", "to_dir/inner.txt", "to_dir/missing", "to_dir/new/new",
    "dangling/below", "loop/below", "dir/sub", "dir/sub/deep/..", "dir/up/file", "missing/../new",
    "", "..",
]  # fmt: skip


@pytest.fixture
def sides(vaults: Vaults) -> Iterator[Sides]:
    old = os.umask(0o022)  # what leaves the modes that the archive gives
    yield Sides(vaults)
    os.umask(old)


@pytest.mark.parametrize("label", LOOKS)
def test_looking_gives_what_pathlib_gives(sides: Sides, label: str) -> None:
    for name in NAMES:
        sides.both(label, LOOKS[label], name)
    sides.compare(label)


@pytest.mark.parametrize("label", CHANGES)
def test_changing_does_what_pathlib_does(sides: Sides, label: str) -> None:
    for name in NAMES:
        sides.both(label, CHANGES[label], name)
        sides.compare((label, name))
        sides.fill()


@pytest.mark.parametrize("label", PAIRS)
def test_two_paths_do_what_they_do_in_pathlib(sides: Sides, label: str) -> None:
    for pair in itertools.product(NAMES, repeat=2):
        before = tree_of(sides.archive)
        sides.both(label, PAIRS[label], *pair)
        sides.compare((label, *pair))
        if tree_of(sides.archive) != before:
            sides.fill()


def test_histories_of_calls_leave_the_same(sides: Sides, rng: random.Random) -> None:
    names = ["/".join(n) for k in (1, 2, 3) for n in itertools.product("ab", repeat=k)]
    for number in range(1500):
        label, call = rng.choice([*LOOKS.items(), *CHANGES.items(), *PAIRS.items()])
        used = [rng.choice(names) for _ in range(1 + (label in PAIRS))]
        sides.both((number, label), call, *used)
    sides.compare("after the history")


# --- lexical

TEXTS = [
    "/", "/a", "/a/b.tar.gz", "/a/../b", "/.hidden", "/a/b.", "/dir with space/ä.TXT", "/a/./b/",
    "/a//b", "/a/..", "/x.y/z",
]  # fmt: skip
LEXICAL: dict[str, Call] = {
    "str": str,
    "as_posix": lambda p: p.as_posix(),
    "parts": lambda p: p.parts,
    "parent": lambda p: p.parent,
    "parents": lambda p: [p.parents[0], *p.parents[1:]] if p.name else list(p.parents),
    "names": lambda p: (p.name, p.stem, p.suffix, p.suffixes),
    "is_absolute": lambda p: p.is_absolute(),
    "/": lambda p: [p / text for text in ("b", "b/c", "/b", "..", "", ".")],
    "/ a path": lambda p: p / PurePosixPath("b"),
    "r/": lambda p: "b" / p,
    "r/ of a relative path": lambda p: ["b" / p.relative_to("/"), "/b" / p.relative_to("/")],
    "joinpath": lambda p: [p.joinpath(), p.joinpath("b", PurePosixPath("c"), "/d", "e")],
    "with_name": lambda p: p.with_name("new.txt"),
    "with_name of a path": lambda p: p.with_name("a/b"),
    "with_stem": lambda p: p.with_stem("new"),
    "with_suffix": lambda p: [p.with_suffix(".new"), p.with_suffix("")],
    "with_suffix of a name": lambda p: p.with_suffix("new"),
    "relative_to": lambda p: p.relative_to("/a"),
    "relative_to a path": lambda p: p.relative_to(PurePosixPath("/")),
    "relative_to itself": lambda p: p.relative_to(p),
    "relative_to its parent": lambda p: p.relative_to(p.parent),
    "relative_to a relative one": lambda p: p.relative_to("a"),
    "a relative one": lambda p: p.relative_to("/").relative_to("a").is_absolute(),
    "is_relative_to": lambda p: [p.is_relative_to(t) for t in ("/", "/a", "a", p, p.parent)],
    "match": lambda p: [p.match(t) for t in ("*", "b*", "/*", "a/*", "*.gz", "/a/b.tar.gz")],
    "match nothing": lambda p: p.match(""),
}  # fmt: skip


@pytest.mark.parametrize("label", LEXICAL)
def test_text_is_taken_apart_as_in_pathlib(archive: Archive, label: str) -> None:
    for text in TEXTS:
        ours = outcome(lambda text=text: LEXICAL[label](archive / text))
        theirs = outcome(lambda text=text: LEXICAL[label](PurePosixPath(text)))
        assert ours == theirs, text


def test_paths_sort_as_in_pathlib(archive: Archive, rng: random.Random) -> None:
    texts = rng.sample(TEXTS, len(TEXTS))
    assert [str(path) for path in sorted(archive / text for text in texts)] == [
        str(path) for path in sorted(PurePosixPath(text) for text in texts)
    ]
    a, b = archive / "a", archive / "b"
    assert a < b <= b < archive / "c" > b >= a


def test_an_archive_divided_gives_a_path_from_its_root(archive: Archive) -> None:
    path = archive / "notes" / "today.txt"
    assert isinstance(path, ArchivePath)
    assert (str(path), repr(path)) == ("/notes/today.txt", "ArchivePath('/notes/today.txt')")
    assert path == archive / "/notes/today.txt" == archive / PurePosixPath("notes/today.txt")
    assert archive / path == path
    assert archive / "" == ArchivePath(archive)
    assert (archive / "").name == ""


def test_two_slashes_at_the_start_are_one(archive: Archive) -> None:
    assert archive / "//a" == archive / "///a" == archive / "/a" == ArchivePath(archive, "//a")
    assert (archive / "//a").parts == ("/", "a")


def test_equal_paths_of_one_archive_are_one_key(vaults: Vaults) -> None:
    one, other = vaults.memory(), vaults.memory()
    assert len({one / "a", one / "a/", one / "b", other / "a"}) == 3
    assert one / "a" != other / "a"
    assert one / "a" != "/a"
    assert one / "a" != PurePosixPath("/a")


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge])
def test_only_paths_of_one_archive_have_an_order(vaults: Vaults, compare: Call) -> None:
    one, other = vaults.memory(), vaults.memory()
    for wrong in (other / "b", "/b", PurePosixPath("/b"), None, next_entry(one)):
        with pytest.raises(TypeError):
            compare(one / "a", wrong)


def next_entry(archive: Archive) -> object:
    archive.write_bytes("entry", b"")
    return next(archive.scandir())


# --- what it is not


def test_nothing_takes_it_for_a_path_of_the_host(archive: Archive, tmp_path: Path) -> None:
    path = archive / str(tmp_path / "f")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"inside")
    calls: list[Call] = [os.fspath, open, os.stat, Path, shutil.rmtree]
    for call in calls:
        with pytest.raises(TypeError):
            call(path)
    for host in (tmp_path, Path("relative")):
        with pytest.raises(TypeError):
            host / path
        with pytest.raises(TypeError):
            host / path.relative_to("/")
    assert not hasattr(path, "__fspath__")
    assert not isinstance(path, PurePosixPath | os.PathLike)
    assert os.listdir(tmp_path) == []


def test_it_cannot_be_pickled_or_copied(archive: Archive) -> None:
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="str"):
            call(archive / "f")


def test_it_cannot_be_changed(archive: Archive) -> None:
    path = archive / "f"
    for name in ("name", "parts", "parent", "other"):
        with pytest.raises(AttributeError):
            setattr(path, name, "x")


TAKERS: dict[str, Call] = {
    "/": operator.truediv,
    "joinpath": lambda p, q: p.joinpath("a", q),
    "rename": lambda p, q: p.rename(q),
    "replace": lambda p, q: p.replace(q),
    "symlink_to": lambda p, q: (p.parent / "new").symlink_to(q),
    "hardlink_to": lambda p, q: (p.parent / "new").hardlink_to(q),
    "samefile": lambda p, q: p.samefile(q),
    "relative_to": lambda p, q: p.relative_to(q),
}


@pytest.mark.parametrize("label", TAKERS)
def test_a_path_of_another_archive_is_refused(vaults: Vaults, label: str) -> None:
    one, other = vaults.memory(), vaults.memory()
    for archive in (one, other):
        archive.write_bytes("/f", b"")
    with pytest.raises(UsageError, match="another archive"):
        TAKERS[label](one / "f", other / "f")
    with pytest.raises(UsageError, match="another archive"):
        one / (other / "f")
    assert one.listdir() == other.listdir() == ["f"]


@pytest.mark.parametrize("label", TAKERS)
@pytest.mark.parametrize("wrong", [b"/f", 5, None])
def test_what_is_no_path_is_refused(archive: Archive, label: str, wrong: object) -> None:
    archive.write_bytes("/f", b"")
    with pytest.raises(TypeError):
        TAKERS[label](archive / "f", wrong)
    with pytest.raises(TypeError):
        archive / wrong  # type: ignore[operator]
    assert archive.listdir() == ["f"]


def test_nothing_is_below_a_path_of_another_archive(vaults: Vaults) -> None:
    one, other = vaults.memory(), vaults.memory()
    assert (one / "a/b").is_relative_to(one / "a")
    assert not (one / "a/b").is_relative_to(other / "a")


# --- relative paths


def test_a_relative_path_leads_on_from_the_root(archive: Archive) -> None:
    path = archive / "a/b/f"
    path.parent.mkdir(parents=True)
    path.write_text("text")
    assert path.relative_to("/").read_text() == "text"
    assert not path.relative_to("/a").exists()
    assert path.relative_to("/").resolve() == path
    assert path.relative_to("/").samefile(path)
    assert list(path.relative_to("/").parent.iterdir()) == [path.relative_to("/")]
    assert list(path.relative_to("/a/b").parent.iterdir()) == [(archive / "a").relative_to("/")]
    assert archive / path.relative_to("/") == path


def test_a_link_is_made_and_followed_by_a_relative_path(archive: Archive) -> None:
    target, link = archive / "a/b/f", archive / "a/link"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"text")
    link.symlink_to(target.relative_to(link.parent))
    assert archive.readlink("/a/link") == "b/f"
    assert not link.readlink().is_absolute()
    assert (link.parent / link.readlink()).samefile(target)
    assert link.resolve() == target


def test_a_relative_target_of_rename_leads_on_from_the_root(archive: Archive) -> None:
    (archive / "a").mkdir()
    (archive / "a/f").write_bytes(b"text")
    moved = (archive / "a/f").rename("g")
    assert moved == archive / "g"
    assert moved.replace(archive / "a/h").read_bytes() == b"text"


# --- text


def test_text_has_the_defaults_of_the_archive(archive: Archive) -> None:
    path, text = archive / "f", "ä\r\nb\rc\n"
    assert path.write_text(text) == len(text)
    assert archive.read_bytes("/f") == text.encode()
    assert path.read_text() == archive.read_text("/f") == text
    with path.open() as file:
        assert file.read() == text


@pytest.mark.parametrize("newline", ["", "\n", "\r", "\r\n", None])
def test_text_is_written_as_an_open_file_writes_it(archive: Archive, newline: str | None) -> None:
    text = "a\nb\r\nc\rd\n"
    (archive / "f").write_text(text, "utf-16", None, newline)
    with (archive / "g").open("w", encoding="utf-16", newline=newline) as file:
        file.write(text)
    assert archive.read_bytes("f") == archive.read_bytes("g")
    with (archive / "g").open(encoding="utf-16", newline=newline) as file:
        assert (archive / "f").read_text("utf-16", newline=newline) == file.read()


def test_text_that_cannot_be_written_leaves_the_file(archive: Archive) -> None:
    path = archive / "f"
    path.write_bytes(b"old")
    for options, kind in (
        ({"encoding": "ascii"}, UnicodeEncodeError), ({"encoding": "nope"}, LookupError),
        ({"newline": "x"}, ValueError),
    ):  # fmt: skip
        with pytest.raises(kind):
            path.write_text("ä", **options)
    with pytest.raises(UnicodeEncodeError):
        path.write_text("\udc80")
    assert path.read_bytes() == b"old"


# --- changes


def test_directories_and_those_above_are_one_commit(archive: Archive) -> None:
    before = archive.commit()
    (archive / "a/b/c/d").mkdir(0o700, parents=True)
    assert archive.commit() == before + 1
    assert [stat.S_IMODE((archive / name).stat().st_mode) for name in ("a/b", "a/b/c/d")] == [
        0o755,
        0o700,
    ]
    with pytest.raises(OSError) as caught:
        (archive / "new/new" / LONG).mkdir(parents=True)
    assert caught.value.errno == errno.ENAMETOOLONG
    assert archive.listdir() == ["a"]


def test_an_exception_in_a_transaction_undoes_what_paths_did(archive: Archive) -> None:
    (archive / "f").write_bytes(b"old")
    with pytest.raises(KeyError), archive.transaction():
        (archive / "a/b").mkdir(parents=True)
        (archive / "a/g").touch(0o600)
        (archive / "f").rename(archive / "a/f").write_text("new")
        raise KeyError
    assert (archive / "f").read_bytes() == b"old"
    assert archive.listdir() == ["f"]


def test_touch_sets_the_time_and_nothing_else(archive: Archive) -> None:
    path = archive / "f"
    path.write_bytes(b"text")
    path.chmod(0o400)
    archive.utime("/f", ns=(1, 1))
    path.touch(0o777)
    assert path.stat().st_mtime_ns > 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert path.read_bytes() == b"text"


def test_touch_makes_a_file_in_one_commit(archive: Archive) -> None:
    before = archive.commit()
    (archive / "f").touch(0o600)
    assert archive.commit() == before + 1
    assert stat.S_IMODE((archive / "f").stat().st_mode) == 0o600


def test_modes_can_be_set_on_a_link_itself(archive: Archive) -> None:
    link = archive / "link"
    link.symlink_to("f")
    (archive / "f").touch()
    link.chmod(0o600, follow_symlinks=False)
    assert stat.S_IMODE(link.lstat().st_mode) == 0o600
    assert stat.S_IMODE(link.stat().st_mode) == 0o644


def test_a_reader_changes_nothing(vaults: Vaults) -> None:
    with vaults.open("x") as archive:
        (archive / "f").touch()
        (archive / "d").mkdir()
    archive = vaults.open("r")
    path = archive / "f"
    for call in (
        path.touch, path.unlink, (archive / "d").rmdir, (archive / "e").mkdir,
        lambda: path.write_text("x"), lambda: path.rename("g"), lambda: path.chmod(0o600),
        lambda: (archive / "l").symlink_to("f"), lambda: (archive / "l").hardlink_to("f"),
        lambda: (archive / "e/f").mkdir(parents=True), lambda: path.open("a"),
    ):  # fmt: skip
        with pytest.raises(ReadOnlyError):
            call()
    (archive / "d").mkdir(exist_ok=True)
    assert sorted(archive.listdir()) == ["d", "f"]


def test_a_path_outlives_its_archive_as_text(archive: Archive) -> None:
    path = archive / "a/f"
    archive.close()
    assert path.with_suffix(".txt").parent.name == "a"
    for call in (path.exists, path.stat, path.touch, path.read_text, path.iterdir, path.resolve):
        with pytest.raises(ClosedError):
            call()


# --- looking


def test_a_directory_is_listed_as_it_is_at_the_call(archive: Archive) -> None:
    for name in ("c", "a", "b"):
        (archive / name).touch()
    found = (archive / "").iterdir()
    for path in found:
        path.unlink()
        (archive / f"new {path.name}").touch()
    assert [path.name for path in (archive / "").iterdir()] == ["new a", "new b", "new c"]
    with pytest.raises(NotFoundError):
        (archive / "missing").iterdir()


def test_a_walk_goes_where_it_is_let(archive: Archive) -> None:
    for name in ("a/b", "c/d"):
        (archive / name).mkdir(parents=True)
    (archive / "a/to_c").symlink_to("/c")
    (archive / "a/z").touch()
    walked = []
    for path, folders, others in (archive / "").walk():
        walked.append((path, list(folders), list(others)))
        if "b" in folders:
            folders.remove("b")
    assert walked == [
        (archive / "", ["a", "c"], []),
        (archive / "a", ["b"], ["to_c", "z"]),
        (archive / "c", ["d"], []),
        (archive / "c/d", [], []),
    ]
    followed = [(str(p), f) for p, f, _ in (archive / "a").walk(follow_symlinks=True)]
    assert followed == [("/a", ["b", "to_c"]), ("/a/b", []), ("/a/to_c", ["d"]),
                        ("/a/to_c/d", [])]  # fmt: skip
    upwards = [str(path) for path, *_ in (archive / "").walk(top_down=False)]
    assert upwards == ["/a/b", "/a", "/c/d", "/c", "/"]


def test_links_can_be_looked_at_themselves(archive: Archive) -> None:
    (archive / "d").mkdir()
    (archive / "f").touch()
    for target in ("d", "f", "nowhere"):
        (archive / f"to_{target}").symlink_to(target)
    assert not (archive / "to_nowhere").exists()
    assert (archive / "to_nowhere").exists(follow_symlinks=False)
    assert (archive / "f").exists(follow_symlinks=False)
    assert not (archive / "missing").exists(follow_symlinks=False)
    assert [(archive / n).is_dir(follow_symlinks=False) for n in ("d", "to_d")] == [True, False]
    assert [(archive / n).is_file(follow_symlinks=False) for n in ("f", "to_f")] == [True, False]


def test_a_name_too_long_leads_to_nothing(archive: Archive) -> None:
    path = archive / LONG
    assert [path.exists(), path.is_file(), path.is_dir(), path.is_symlink()] == [False] * 4
    assert path.resolve() == path
    for call in (path.stat, path.touch, path.mkdir, lambda: path.resolve(strict=True)):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ENAMETOOLONG


@pytest.mark.parametrize("strict", [False, True])
def test_links_are_resolved_as_in_pathlib(sides: Sides, strict: bool) -> None:
    for name in NAMES:
        if not name.startswith("loop"):  # before Python 3.13 a RuntimeError
            sides.both(strict, lambda path: path.resolve(strict), name)
            sides.both(strict, lambda path: path.resolve(strict=strict), f"dir/up/{name}")


def test_a_circle_of_links_is_an_error_only_if_strict(archive: Archive) -> None:
    (archive / "a").symlink_to("b")
    (archive / "b").symlink_to("a/")
    for path in (archive / "a", archive / "a/c"):
        assert path.resolve().is_absolute()
        with pytest.raises(LoopError):
            path.resolve(strict=True)


def test_many_links_in_a_row_are_followed(archive: Archive) -> None:
    (archive / "0").mkdir()
    for number in range(1, 41):
        (archive / str(number)).symlink_to(str(number - 1))
    assert (archive / "40").resolve() == (archive / "40").resolve(strict=True) == archive / "0"


def test_owners_have_the_names_that_were_kept(archive: Archive) -> None:
    path = archive / "f"
    path.touch()
    archive.chown("/f", "nobody in particular", "a group")
    assert (path.owner(), path.group()) == ("nobody in particular", "a group")


def test_owners_without_names_have_those_of_the_host(archive: Archive) -> None:
    pwd, grp = pytest.importorskip("pwd"), pytest.importorskip("grp")
    path = archive / "f"
    path.touch()
    archive.chown("/f", os.getuid(), os.getgid())
    assert path.owner() == pwd.getpwuid(os.getuid()).pw_name
    assert path.group() == grp.getgrgid(os.getgid()).gr_name
    archive.chown("/f", 4_000_000_000, 4_000_000_000)
    for call in (path.owner, path.group):
        with pytest.raises(KeyError):
            call()


# --- patterns


def test_a_pattern_is_not_taken_from_the_path_itself(archive: Archive) -> None:
    for name in ("[a]", "a", "*", "x"):
        (archive / name).mkdir()
        (archive / name / "f.txt").touch()
    for name in ("[a]", "*"):
        assert list((archive / name).glob("*.txt")) == [archive / name / "f.txt"]
        assert list((archive / name).rglob("*.txt")) == [archive / name / "f.txt"]


def test_patterns_work_from_the_root_and_from_relative_paths(archive: Archive) -> None:
    (archive / "d").mkdir()
    (archive / "d/f.txt").touch()
    assert list((archive / "").glob("*/*.txt")) == [archive / "d/f.txt"]
    assert list((archive / "").rglob("*.txt")) == [archive / "d/f.txt"]
    for path in ((archive / "d").relative_to("/"), (archive / "d").relative_to("/d")):
        assert [found.resolve() for found in path.rglob("*.txt")] == [archive / "d/f.txt"]


# --- resources


def test_it_is_a_resource(archive: Archive) -> None:
    path = archive / "package/data.txt"
    path.parent.mkdir()
    path.write_text("text\n")
    top: Traversable = archive / "package"
    assert isinstance(top, Traversable)
    assert [(found.name, found.is_file(), found.is_dir()) for found in top.iterdir()] == [
        ("data.txt", True, False)
    ]
    for found in (
        top / "data.txt",
        top.joinpath("data.txt"),
        top.joinpath("..", str(path)),
    ):
        assert found.read_text(encoding="utf-8") == "text\n"
        assert found.read_bytes() == b"text\n"
        with found.open("r", encoding="utf-8") as text, found.open("rb") as binary:
            assert text.read().encode() == binary.read()
    with importlib.resources.as_file(top / "data.txt") as host:
        assert host.read_text() == "text\n"
