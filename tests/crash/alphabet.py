"""The alphabet of the systematic enumeration: operations on few names, and what they should do.

`Toy` is a filesystem of a few lines; each operation changes it beside the archive, and what the
archive must hold is taken from it alone.  An operation whose names are not there (or are) is not
tried.  `SmallSession` shows more of an archive than `ArchiveSession` does: attributes, title, what
was deleted.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from archive7 import Delete
from archive7.archive import Archive
from archive7.commit import Container
from archive7.device import Device
from tests.crash.archives import ArchiveEngine, ArchiveSession
from tests.crash.engine import Session
from tests.crash.history import Content

_FILE, _DIRECTORY, _LINK = b"F", b"D", b"L"
_FEW, _SOME, _MANY = 10, 5000, 12_000  # bytes: in a node, two blocks, three blocks


def data(seed: int, size: int) -> bytes:
    """Bytes that are the same in every run."""
    return random.Random(seed).randbytes(size)


@dataclass(slots=True)
class Thing:
    """What a name stands for; two names may stand for one."""

    kind: bytes
    data: bytes = b""
    attributes: dict[str, bytes] = field(default_factory=dict)


class Toy:
    """What an archive should hold."""

    def __init__(self) -> None:
        self.names: dict[str, Thing] = {}
        self.deleted: dict[str, Thing | None] = {}  # None: the data are gone
        self.title = ""

    def content(self) -> Content:
        """What a user should see."""
        found: Content = {b"\0title": self.title.encode()}
        for path, thing in self.names.items():
            found[path.encode()] = thing.kind + thing.data
            for name, value in thing.attributes.items():
                found[f"{path}\0{name}".encode()] = value
        for path, gone in self.deleted.items():
            found[b"\0deleted " + path.encode()] = b"N" if gone is None else b"Y"
        return found

    def make(self, path: str, kind: bytes, data: bytes = b"") -> None:
        """A new file, directory or link."""
        self.names[path] = Thing(kind, data)

    def move(self, source: str, target: str) -> None:
        """Rename, with all below."""
        self.names.pop(target, None)
        for path in [p for p in self.names if p == source or p.startswith(source + "/")]:
            self.names[target + path[len(source) :]] = self.names.pop(path)

    def remove(self, path: str, *, keeps: bool | None = None) -> None:
        """Delete for good (None), or with the data kept or not."""
        thing = self.names.pop(path)
        for below in [p for p in self.names if p.startswith(path + "/")]:
            del self.names[below]
        if keeps is not None:
            self.deleted[path] = thing if keeps else None


class World(Protocol):
    """What an operation acts on: an archive, its model, and a history of both."""

    archive: Archive
    toy: Toy

    def do(self, call: Callable[[], object], *, durable: bool = False) -> None:
        """Make the call that commits what the model now holds."""

    def reopen(self, *, killed: bool) -> None:
        """Close or kill, and open again."""


Act = Callable[[World], None]


@dataclass(frozen=True, slots=True)
class Letter:
    """One operation.

    Attributes:
        needs, lacks: names that must be there, and that must not.
    """

    name: str
    act: Act
    needs: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    def fits(self, toy: Toy) -> bool:
        """Whether it can be done now."""
        has = toy.names.keys() | {f"deleted:{path}" for path in toy.deleted}
        return has.issuperset(self.needs) and has.isdisjoint(self.lacks)


ALPHABET: Final[list[Letter]] = []


def letter(name: str, needs: str = "", lacks: str = "") -> Callable[[Act], Act]:
    """Put an operation into the alphabet."""

    def put(act: Act) -> Act:
        ALPHABET.append(Letter(name, act, tuple(needs.split()), tuple(lacks.split())))
        return act

    return put


def prepare(world: World) -> None:
    """The small archive that most sequences begin with."""
    toy = world.toy
    for path, seed, size in (("/a", 1, _SOME), ("/b", 2, _MANY), ("/s", 3, _FEW)):
        _write(world, path, data(seed, size))
    for path in ("/d", "/e"):
        toy.make(path, _DIRECTORY)
        world.do(lambda path=path: world.archive.mkdir(path))  # type: ignore[misc]
    _write(world, "/d/c", data(4, 3000))
    toy.make("/l", _LINK, b"a")
    world.do(lambda: world.archive.symlink("a", "/l"))
    _write(world, "/old", data(5, _SOME))
    toy.deleted["/old"] = toy.names.pop("/old")
    world.do(lambda: world.archive.remove("/old", how=Delete.SOFT))


# --- files


def _write(world: World, path: str, new: bytes) -> None:
    if path in world.toy.names:
        world.toy.names[path].data = new
    else:
        world.toy.make(path, _FILE, new)
    world.do(lambda: world.archive.write_bytes(path, new))


def _patch(world: World, path: str, offset: int, new: bytes) -> None:
    """Write in the middle of a file, through a file object."""
    thing = world.toy.names[path]
    thing.data = thing.data[:offset] + new + thing.data[offset + len(new) :]

    def write() -> None:
        with world.archive.open(path, "r+b") as file:
            file.seek(offset)
            file.write(new)

    world.do(write)


@letter("create", lacks="/n")
def _create(world: World) -> None:
    _write(world, "/n", data(10, _SOME))


@letter("create-small", lacks="/t")
def _create_small(world: World) -> None:
    _write(world, "/t", data(11, _FEW))


@letter("append", needs="/a")
def _append(world: World) -> None:
    thing, new = world.toy.names["/a"], data(12, 4000)
    thing.data += new

    def write() -> None:
        with world.archive.open("/a", "ab") as file:
            file.write(new)

    world.do(write)


@letter("overwrite", needs="/b")
def _overwrite(world: World) -> None:
    _patch(world, "/b", 3900, data(13, 300))


@letter("rewrite", needs="/b")
def _rewrite(world: World) -> None:
    _write(world, "/b", data(14, _SOME))


@letter("shorten", needs="/b")
def _shorten(world: World) -> None:
    _truncate(world, "/b", 4100)


@letter("lengthen", needs="/a")
def _lengthen(world: World) -> None:
    _truncate(world, "/a", 9000)


def _truncate(world: World, path: str, length: int) -> None:
    thing = world.toy.names[path]
    thing.data = thing.data[:length].ljust(length, b"\0")
    world.do(lambda: world.archive.truncate(path, length))


@letter("flushes", needs="/a /s")
def _flushes(world: World) -> None:
    """A file that stays open over two commits."""
    thing = world.toy.names["/a"]
    first, second = data(15, 100), data(16, 5000)
    with world.archive.open("/a", "r+b") as file:
        file.write(first)
        thing.data = first + thing.data[len(first) :]
        world.do(file.flush)
        file.write(second)
        end = len(first) + len(second)
        thing.data = first + second + thing.data[end:]
        world.do(file.close)


# --- names


def _rename(world: World, source: str, target: str) -> None:
    world.toy.move(source, target)
    world.do(lambda: world.archive.rename(source, target))


@letter("rename", needs="/a", lacks="/r")
def _rename_file(world: World) -> None:
    _rename(world, "/a", "/r")


@letter("rename-over", needs="/a /b")
def _rename_over(world: World) -> None:
    _rename(world, "/a", "/b")


@letter("rename-directory", needs="/d", lacks="/e/d")
def _rename_directory(world: World) -> None:
    _rename(world, "/d", "/e/d" if "/e" in world.toy.names else "/f")


@letter("mkdir", lacks="/m")
def _mkdir(world: World) -> None:
    world.toy.make("/m", _DIRECTORY)
    world.do(lambda: world.archive.mkdir("/m"))


@letter("rmdir", needs="/e", lacks="/e/d")
def _rmdir(world: World) -> None:
    world.toy.remove("/e")
    world.do(lambda: world.archive.rmdir("/e"))


@letter("rmtree", needs="/d")
def _rmtree(world: World) -> None:
    world.toy.remove("/d")
    world.do(lambda: world.archive.rmtree("/d"))


@letter("link", needs="/a", lacks="/h")
def _link(world: World) -> None:
    world.toy.names["/h"] = world.toy.names["/a"]
    world.do(lambda: world.archive.link("/a", "/h"))


@letter("symlink", lacks="/y")
def _symlink(world: World) -> None:
    world.toy.make("/y", _LINK, b"b")
    world.do(lambda: world.archive.symlink("b", "/y"))


@letter("copy", needs="/b", lacks="/k")
def _copy(world: World) -> None:
    old = world.toy.names["/b"]
    world.toy.names["/k"] = Thing(_FILE, old.data, dict(old.attributes))
    world.do(lambda: world.archive.copy("/b", "/k"))


@letter("attribute", needs="/b")
def _attribute(world: World) -> None:
    world.toy.names["/b"].attributes["user.x"] = b"value"
    world.do(lambda: world.archive.setxattr("/b", "user.x", b"value"))


@letter("title")
def _title(world: World) -> None:
    world.toy.title = "another"
    world.do(lambda: world.archive.set_header(title="another"))


# --- deleting


def _remove(world: World, path: str, *, keeps: bool | None = None, blank: bool = False) -> None:
    how = {None: Delete.ERASE, True: Delete.SOFT, False: Delete.HARD}[keeps]
    world.toy.remove(path, keeps=keeps)
    world.do(lambda: world.archive.remove(path, how=how, blank=blank))


@letter("erase", needs="/b")
def _erase(world: World) -> None:
    _remove(world, "/b")


@letter("erase-blank", needs="/a")
def _erase_blank(world: World) -> None:
    _remove(world, "/a", blank=True)


@letter("soft-delete", needs="/b", lacks="deleted:/b")
def _soft_delete(world: World) -> None:
    _remove(world, "/b", keeps=True)


@letter("hard-delete", needs="/a", lacks="/h deleted:/a")
def _hard_delete(world: World) -> None:
    _remove(world, "/a", keeps=False)


@letter("undelete", needs="deleted:/old", lacks="/old")
def _undelete(world: World) -> None:
    thing = world.toy.deleted.pop("/old")
    assert thing is not None
    world.toy.names["/old"] = thing
    world.do(lambda: world.archive.undelete("/old"))


@letter("purge", needs="deleted:/old")
def _purge(world: World) -> None:
    world.toy.deleted.clear()
    world.do(lambda: world.archive.purge())


# --- commits


@letter("commit")
def _commit(world: World) -> None:
    world.do(lambda: world.archive.commit())


@letter("sync")
def _sync(world: World) -> None:
    world.do(lambda: world.archive.sync(), durable=True)


@letter("transaction", lacks="/x /z")
def _transaction(world: World) -> None:
    world.toy.make("/x", _DIRECTORY)
    world.toy.make("/x/f", _FILE, data(20, _SOME))
    world.toy.make("/z", _FILE, data(21, _FEW))

    def change() -> None:
        archive = world.archive
        with archive.transaction():
            archive.mkdir("/x")
            archive.write_bytes("/q", data(20, _SOME))
            archive.rename("/q", "/x/f")
            archive.write_bytes("/z", data(21, _FEW))

    world.do(change)


@letter("transaction-durable", lacks="/x")
def _transaction_durable(world: World) -> None:
    world.toy.make("/x", _FILE, data(22, _MANY))

    def change() -> None:
        with world.archive.transaction():
            world.archive.write_bytes("/x", data(23, _SOME))
            world.archive.write_bytes("/x", data(22, _MANY))

    world.do(change)
    world.do(world.archive.sync, durable=True)


class _Back(Exception):  # noqa: N818 - no error
    """Leave a transaction."""


@letter("rollback", lacks="/x")
def _rollback(world: World) -> None:
    def change() -> None:
        archive = world.archive
        with contextlib.suppress(_Back), archive.transaction():
            archive.write_bytes("/x", data(24, _MANY))
            archive.mkdir("/w")
            raise _Back

    world.do(change)


@letter("savepoint", lacks="/x /v")
def _savepoint(world: World) -> None:
    """What is rolled back to a savepoint was in free slots already."""
    world.toy.make("/x", _FILE, data(25, _SOME))
    world.toy.make("/v", _DIRECTORY)

    def change() -> None:
        archive = world.archive
        with archive.transaction():
            archive.write_bytes("/x", data(25, _SOME))
            with contextlib.suppress(_Back), archive.transaction():
                archive.write_bytes("/x", data(26, _MANY))
                with archive.transaction():
                    archive.mkdir("/w")
                raise _Back
            archive.mkdir("/v")

    world.do(change)


@letter("compact")
def _compact(world: World) -> None:
    world.do(lambda: world.archive.compact(force=True), durable=True)


@letter("reopen")
def _reopen(world: World) -> None:
    world.reopen(killed=False)


@letter("kill")
def _kill(world: World) -> None:
    world.reopen(killed=True)


# --- the engine


class SmallSession(ArchiveSession):
    """An archive of which attributes, title and deletions are seen, too."""

    def content(self) -> Content:
        found = super().content()
        archive = self.archive
        for path in [name.decode() for name in found]:
            for name in archive.listxattr(path, follow_symlinks=False):
                value = archive.getxattr(path, name, follow_symlinks=False)
                found[f"{path}\0{name}".encode()] = value
        found[b"\0title"] = archive.header.title.encode()
        for item in archive.deleted():
            found[b"\0deleted " + item.path.encode()] = b"Y" if item.is_restorable else b"N"
        return found

    def step(self, rng: random.Random) -> None:
        path = f"/step {len(self.model)}"
        if not self._depths:
            self._depths.append(self.archive.begin_transaction())
        self.archive.mkdir(path)
        self.model[path.encode()] = _DIRECTORY
        self._touch(rng, path + "/file")

    def touch(self, rng: random.Random) -> None:
        self._touch(rng, f"/touched {len(self.model)}")

    def _touch(self, rng: random.Random, path: str) -> None:
        new = rng.randbytes(rng.choice((_FEW, _SOME)))
        self.archive.write_bytes(path, new)
        self.model[path.encode()] = _FILE + new


class SmallEngine(ArchiveEngine):
    """Small archives."""

    name = "small"

    @classmethod
    @functools.cache
    def shared(cls) -> SmallEngine:
        """One for all: its key is the same in every recording."""
        return cls()

    def create(self, device: Device) -> Session:
        made = super().create(device)
        assert isinstance(made, ArchiveSession)
        return SmallSession(made.archive)

    def over(self, container: Container) -> Session:
        opened = super().over(container)
        assert isinstance(opened, ArchiveSession)
        return SmallSession(opened.archive)
