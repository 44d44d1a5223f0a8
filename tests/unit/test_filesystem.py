"""Every method of `Archive` that `os` has, against `os` in a real folder, call by call.

Same result, or the same class of exception with the same errno and file names; and the same tree
afterwards.  Paths are relative: to ``/`` in the archive, to the working directory on the host.

What differs on purpose: st_dev, st_nlink and st_size of directories, times of access, a umask
(the archive has none), permissions (kept, not enforced), text (UTF-8 and ``\\n`` everywhere).
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archive7 import Archive
from tests.unit.archives import Tree, Vaults, tree_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux")

FILES = {
    "file": b"hello\nworld\n",
    "blank": b"",
    "other": b"0123456789" * 1000,
    "dir/file": b"in dir",
    "dir/sub/deep": b"deep",
    "n" * 255: b"the longest name",
}
DIRECTORIES = ("dir", "dir/sub", "empty", "hollow", "tree", "tree/a", "tree/a/b", "tree/c")
LINKS = {
    "link": "file",
    "dirlink": "dir",
    "emptylink": "empty",
    "dangling": "nowhere",
    "dangling_deep": "nowhere/deep",
    "dangling_slash": "nowhere/",
    "loop": "loop",
    "loop_a": "loop_b",
    "loop_b": "loop_a",
    "down": "dir/sub",
    "link_slash": "file/",
    "dirlink_slash": "dir/",
    "chain": "link",
    "dir/up": "../file",
    "dir/sub/round": "../../dirlink/sub",
}
NAMES = """
    . ./ ./. file blank link dir dirlink empty emptylink tree dangling loop missing
    dangling_deep dangling_slash loop_a chain link_slash dirlink_slash down
    file/ link/ dir/ dirlink/ empty/ dangling/ loop/ missing/ dirlink_slash/ emptylink/
    dir/. dir/.. dir/./. file/. file/.. link/. dirlink/. missing/. missing/.. dangling/.
    dir// dir//file dir///sub .//dir file// missing//
    dir/file dir/sub dir/sub/deep dir/missing dir/missing/ dir/file/ dir/file/x dir/sub/deep/x/y
    file/x link/x missing/x missing/x/y dangling/x loop/x dirlink/file dirlink/sub dirlink/missing
    dirlink/../file dirlink/.. down/.. down/../file down/../../file dir/../file dir/../missing
    dir/up dir/up/ dir/sub/round dir/sub/round/deep dir/sub/round/../file dir/sub/.. dir/sub/../..
    file/../file missing/../file empty/../dir/file dangling/../file empty/.
    """.split()
ODD = ["", "nu\0l", "n" * 255, "n" * 256, "é" * 127, "é" * 128, "dir/" + "n" * 256, "a/" * 2047]
ODD += ["a/" * 2048, "/".join(["."] * 2048), "file/" + "n" * 256, "missing/" + "n" * 256]
PATHS = NAMES + ODD
# enough of each kind for all pairs
PAIRS = """
    . file link dir dirlink empty emptylink dangling loop missing hollow tree tree/a tree/a/b
    file/ link/ dir/ dirlink/ empty/ hollow/ missing/ dangling/ missing/x file/x dir/. dir/..
    dir/file dir/sub dir/sub/.. dir/missing dir/sub/ dirlink/sub empty/x down/x tree/a/x
    """.split()


def build(top: Path) -> None:
    """Make the tree on the host."""
    for name in DIRECTORIES:
        (top / name).mkdir()
    for name, data in FILES.items():
        (top / name).write_bytes(data)
    for name, target in LINKS.items():
        os.symlink(target, top / name)


def fill(archive: Archive) -> None:
    """Make the same tree in an archive."""
    for name in DIRECTORIES:
        archive.mkdir(name)
    for name, data in FILES.items():
        archive.write_bytes(name, data)
    for name, target in LINKS.items():
        archive.symlink(target, name)


def host_tree(top: str = ".") -> Tree:
    """As `tree_of`, of a folder of the host."""
    found: Tree = {}
    for entry in os.scandir(top):
        name = os.path.normpath(entry.path)
        mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
        if entry.is_symlink():
            found[name] = ("link", os.readlink(entry.path), mode)
        elif entry.is_dir():
            found[name] = ("directory", None, mode)
            found |= host_tree(entry.path)
        else:
            found[name] = ("file", Path(entry.path).read_bytes(), mode)
    return found


def look(status: os.stat_result) -> tuple[object, ...]:
    """What a stat must have in common."""
    kind = stat.S_IFMT(status.st_mode)
    size = None if stat.S_ISDIR(kind) else status.st_size
    return kind, stat.S_IMODE(status.st_mode), size


class RollbackError(Exception):
    """Leaves a transaction."""


Outcome = tuple[object, ...]


def outcome(call: Callable[[], object]) -> Outcome:
    """What a call gives: a value, or the exception as a caller can tell it."""
    try:
        return ("value", call())
    except OSError as error:
        builtin = next(k for k in type(error).__mro__ if k.__module__ == "builtins")
        return (builtin.__name__, error.errno, error.filename, error.filename2)
    except ValueError as error:
        return ("ValueError", str(error))


class Host:
    """The names of `Archive`, on the host."""

    remove, rmdir, mkdir, makedirs = os.remove, os.rmdir, os.mkdir, os.makedirs
    rename, replace, symlink, readlink = os.rename, os.replace, os.symlink, os.readlink
    chmod, utime, truncate, listdir = os.chmod, os.utime, os.truncate, os.listdir
    exists, isfile, isdir, islink = os.path.exists, os.path.isfile, os.path.isdir, os.path.islink
    stat, lstat, walk, scandir = os.stat, os.lstat, os.walk, os.scandir

    @staticmethod
    def open(*args: Any) -> Any:
        return open(*args, **({} if "b" in args[1] else {"newline": "\n", "encoding": "utf-8"}))

    @staticmethod
    def read_bytes(path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    @staticmethod
    def write_bytes(path: str, data: bytes) -> int:
        with open(path, "wb") as file:
            return file.write(data)


def _open(mode: str) -> Callable[[Any, str], object]:
    def call(system: Any, path: str) -> object:
        with system.open(path, mode) as file:
            if "r" in mode:
                return file.read()
            written = file.write(b"new" if "b" in mode else "néw\n")
            return (written, file.tell())

    return call


def _walk(topdown: bool, follow: bool) -> Callable[[Any, str], object]:
    def call(system: Any, path: str) -> object:
        failed: list[Outcome] = []

        def note(error: OSError) -> None:
            failed.append((type(error).__name__, error.errno, error.filename))

        found = []
        for folder, names, others in system.walk(path, topdown, note, follow):
            if topdown:
                names.sort()
            found.append((folder, sorted(names), sorted(others)))
            if len(found) > 60:  # round and round
                break
        names = [name.removesuffix("Error") for name, *_ in failed]
        return sorted(found) if not topdown else found, len(names), [f[1:] for f in failed]

    return call


def _scandir(system: Any, path: str) -> object:
    found = []
    for entry in system.scandir(path):
        found.append(
            (
                entry.name, entry.path, entry.is_symlink(),
                outcome(entry.is_dir), outcome(entry.is_file),
                entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False),
                outcome(lambda entry=entry: look(entry.stat())),
                look(entry.stat(follow_symlinks=False)),
                entry.inode() == entry.stat(follow_symlinks=False).st_ino,
            )
        )  # fmt: skip
    return sorted(found)


def _chmod(system: Any, path: str) -> object:
    system.chmod(path, 0o600)
    return look(system.stat(path))


def _utime(system: Any, path: str) -> object:
    system.utime(path, ns=(10**18, 1_234_567_890_123_456_789))
    return system.stat(path).st_mtime_ns


def _utime_link(system: Any, path: str) -> object:
    system.utime(path, (1.5, 2.25), follow_symlinks=False)
    return system.lstat(path).st_mtime_ns


def _truncate(length: int) -> Callable[[Any, str], object]:
    def call(system: Any, path: str) -> object:
        system.truncate(path, length)
        return system.stat(path).st_size

    return call


ASKING: dict[str, Callable[[Any, str], object]] = {
    "stat": lambda s, p: look(s.stat(p)),
    "stat nofollow": lambda s, p: look(s.stat(p, follow_symlinks=False)),
    "lstat": lambda s, p: look(s.lstat(p)),
    "exists": lambda s, p: s.exists(p),
    "isfile": lambda s, p: s.isfile(p),
    "isdir": lambda s, p: s.isdir(p),
    "islink": lambda s, p: s.islink(p),
    "readlink": lambda s, p: s.readlink(p),
    "listdir": lambda s, p: sorted(s.listdir(p)),
    "scandir": _scandir,
    "walk": _walk(True, False),
    "walk up": _walk(False, False),
    "walk links": _walk(True, True),
    "read_bytes": lambda s, p: s.read_bytes(p),
    "open r": _open("r"),
    "open rb": _open("rb"),
}
CHANGING: dict[str, Callable[[Any, str], object]] = {
    "mkdir": lambda s, p: s.mkdir(p),
    "makedirs": lambda s, p: s.makedirs(p),
    "makedirs exist_ok": lambda s, p: s.makedirs(p, exist_ok=True),
    "remove": lambda s, p: s.remove(p),
    "rmdir": lambda s, p: s.rmdir(p),
    "write_bytes": lambda s, p: s.write_bytes(p, b"written"),
    "chmod": _chmod,
    "utime": _utime,
    "utime link": _utime_link,
    "truncate 3": _truncate(3),
    "truncate 9000": _truncate(9000),
    "truncate -1": _truncate(-1),
    "symlink": lambda s, p: s.symlink("some/where", p),
    "open w": _open("w"),
    "open wb": _open("wb"),
    "open x": _open("x"),
    "open a": _open("a"),
    "open r+": _open("r+"),
    "open w+b": _open("w+b"),
    "open a+b": _open("a+b"),
}
PAIRING: dict[str, Callable[[Any, str, str], object]] = {
    "rename": lambda s, a, b: s.rename(a, b),
    "replace": lambda s, a, b: s.replace(a, b),
    "symlink": lambda s, a, b: s.symlink(a, b),
}


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """An archive and a folder with the same tree; the folder is the working directory."""
    old = os.umask(0o022)
    fast = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(dir=fast if fast.is_dir() else tmp_path))
    monkeypatch.chdir(home)
    try:
        with Vaults(tmp_path) as vaults:
            yield Pair(vaults.memory(), home)
    finally:
        os.umask(old)
        monkeypatch.undo()
        shutil.rmtree(home)


class Pair:
    """The same tree on both sides, put back after every call."""

    def __init__(self, archive: Archive, home: Path) -> None:
        self.archive = archive
        self.home = home
        home.chmod(0o755)
        build(home)
        fill(archive)
        self.tree = host_tree()
        assert tree_of(archive) == self.tree

    def compare(self, name: str, call: Callable[[Any], object]) -> list[str]:
        """One call on both sides; what differs."""
        there = outcome(lambda: call(Host))
        here: Outcome = ()
        tree: Tree = {}
        try:
            with self.archive.transaction():
                here = outcome(lambda: call(self.archive))
                tree = tree_of(self.archive)
                raise RollbackError
        except RollbackError:
            pass
        expected = host_tree()
        if expected != self.tree:
            self.rebuild()
        wrong = []
        if name.startswith("utime") and there[0] != "value":
            there = (*there[:2], *here[2:])  # os.utime leaves the name out
        if here != there:
            wrong.append(f"{name}: archive {here!r:.120}, os {there!r:.120}")
        is_undone = name.startswith("makedirs") and here[0] != "value"  # ours makes all or none
        if tree != expected and not (is_undone and tree == self.tree):
            lines = sorted({k for k, _ in tree.items() ^ expected.items()})
            wrong.append(f"{name}: trees differ at {lines}")
        return wrong

    def rebuild(self) -> None:
        os.chdir("/")
        shutil.rmtree(self.home)
        self.home.mkdir(0o755)
        os.chdir(self.home)
        build(self.home)


@pytest.mark.parametrize("name", [*ASKING, *CHANGING])
def test_one_path(pair: Pair, name: str) -> None:
    call = (ASKING | CHANGING)[name]
    wrong = []
    for path in PATHS:
        if name == "truncate -1" and not 0 < len(path) < 999:
            continue  # two errors at once
        if len(path) > 999 and name.split()[0] in ("scandir", "walk", "makedirs"):
            continue  # below it names get too long; os.makedirs recurses
        wrong += pair.compare(f"{name}({path!r:.30})", lambda s, path=path: call(s, path))
    assert not wrong, "\n".join(["", *wrong])
    assert tree_of(pair.archive) == pair.tree


@pytest.mark.parametrize("name", PAIRING)
def test_two_paths(pair: Pair, name: str) -> None:
    call = PAIRING[name]
    wrong = []
    paths = [*PAIRS, "", "n" * 256]
    for source in paths:
        for target in paths:
            if 256 in (len(source), len(target)) and not {source, target} & {"file", "dir"}:
                continue  # which of two errors comes first is nobody's business
            wrong += pair.compare(
                f"{name}({source!r:.20}, {target!r:.20})",
                lambda s, a=source, b=target: call(s, a, b),
            )
    assert not wrong, "\n".join(["", *wrong])
    assert tree_of(pair.archive) == pair.tree
