"""Haven: where rescued files go.

Owns what a target of a rescue can do, names that are fit for any target, and the target that is
an archive.  Promises: nothing leads out of the target; a name that is taken is never taken away;
a file has its name only once it is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from .entry import DIRECTORY, FILE, LINK, NIL, ROOT_ID, Entry, decode_path
from .filesystem import Filesystem
from .hostname import name_fault
from .layout import MAX_NAME_SIZE, PATH
from .paths import Place
from .streams import DataStream

_MAX_NAME: Final = MAX_NAME_SIZE - 8  # bytes: room for a number behind it
_BATCH: Final = 64 << 20  # bytes after which what is written is committed
_LEAST: Final = 4096  # bytes that anything counts for
_MAX_HOLE: Final = 16 << 20  # bytes of zeros that are written for a hole of a small file
_MOST_NAMES: Final = 10_000  # of things that would have the same name
Parts = tuple[str, ...]


class Haven(ABC):
    """A target of a rescue.  All calls may raise OSError."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a file; one at a time."""

    @abstractmethod
    def write(self, offset: int, data: memoryview) -> None:
        """Write to it; offsets rise, what is left out becomes zeros."""

    @abstractmethod
    def drop(self) -> None:
        """Throw it away, if one was begun."""

    @abstractmethod
    def settle(self, parts: Parts, entry: Entry | None, length: int) -> tuple[str, Any]:
        """Give it its length, what its entry says, and its name.

        Returns: its path in the target, and what `link` takes.
        """

    @abstractmethod
    def link(self, first: Any, parts: Parts) -> str | None:
        """Give a file another name; None where that cannot be."""

    @abstractmethod
    def symlink(self, parts: Parts, entry: Entry) -> None:
        """Make a symbolic link; when all else is done."""

    @abstractmethod
    def directory(self, parts: Parts, entry: Entry | None) -> None:
        """Make a directory, if it is not there, with what its entry says."""

    @abstractmethod
    def finish(self, report: str) -> None:
        """Keep the report, and end."""


class NoHaven(Haven):
    """Keeps nothing: for a list of what could be rescued."""

    def begin(self) -> None:
        """Nothing."""

    def write(self, offset: int, data: memoryview) -> None:
        """Nothing."""

    def drop(self) -> None:
        """Nothing."""

    def settle(self, parts: Parts, entry: Entry | None, length: int) -> tuple[str, Any]:
        """Nothing."""
        return "", None

    def link(self, first: Any, parts: Parts) -> str | None:
        """Nothing."""
        return ""

    def symlink(self, parts: Parts, entry: Entry) -> None:
        """Nothing."""

    def directory(self, parts: Parts, entry: Entry | None) -> None:
        """Nothing."""

    def finish(self, report: str) -> None:
        """Nothing."""


def safe_name(name: str) -> str:
    """A name that stays in its folder in any target, and is not too long."""
    if name_fault(name) is not None:
        name = "_" + "".join(c if c.isalnum() or c in "-_ " else "_" for c in name)
    encoded = name.encode(errors="replace")
    if len(encoded) > _MAX_NAME:
        name = encoded[:_MAX_NAME].decode(errors="ignore")
    return name


def numbered(name: str) -> Iterator[str]:
    """A name, then the same with numbers.  Raises OSError at the end."""
    yield name
    for number in range(1, _MOST_NAMES):
        yield f"{name}~{number}"
    raise OSError(errno.EEXIST, "too many things have this name", name)


class ArchiveHaven(Haven):
    """An archive that is open for writing; what is complete is committed every 64 MiB.

    Args:
        transaction: makes a transaction of it.
    """

    def __init__(
        self, filesystem: Filesystem, transaction: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._filesystem = filesystem
        self._transaction = transaction
        self._batch = contextlib.ExitStack()
        self._batch.enter_context(transaction())
        self._taken = 0
        self._stream: DataStream | None = None
        self._written = 0

    def begin(self) -> None:
        self._stream, self._written = self._filesystem.new_stream(), 0

    def write(self, offset: int, data: memoryview) -> None:
        stream = self._open_stream()
        self._check_hole(offset)
        stream.write(offset, data)
        self._written += len(data)

    def _open_stream(self) -> DataStream:
        assert self._stream is not None  # noqa: S101 - `begin` was called
        return self._stream

    def _check_hole(self, length: int) -> None:
        """Refuse what would be zeros almost wholly: in an archive they take room."""
        if length - self._open_stream().len > _MAX_HOLE + 16 * self._written:
            raise OSError(errno.EFBIG, "it has far more holes than data")

    def drop(self) -> None:
        if self._stream is not None:
            self._stream.truncate(0)
            self._stream.abandon()
            self._stream = None

    def settle(self, parts: Parts, entry: Entry | None, length: int) -> tuple[str, Any]:
        stream = self._open_stream()
        self._check_hole(length)
        stream.truncate(length)
        place, path = self._vacant(parts)
        identity = self._filesystem.adopt(place, stream, _at(place, FILE, entry).encode())
        stream.abandon()
        self._stream = None
        self._take(length)
        return path, identity

    def _take(self, size: int) -> None:
        """Commit now and then."""
        self._taken += max(size, _LEAST)
        if self._taken >= _BATCH:
            self._taken = 0
            self._batch.close()
            self._batch.enter_context(self._transaction())

    def link(self, first: Any, parts: Parts) -> str | None:
        place, path = self._vacant(parts)
        self._filesystem.add_name(first, place, path)
        return path

    def symlink(self, parts: Parts, entry: Entry) -> None:
        place, _ = self._vacant(parts)
        self._filesystem.make(place, _at(place, LINK, entry))
        self._take(0)

    def directory(self, parts: Parts, entry: Entry | None) -> None:
        here = ROOT_ID
        for part in parts:
            here, _ = self._folder_in(here, part)
        if entry is not None:
            names = ("created", "modified", "mode", "user", "group", "owner", "extra")
            self._filesystem.update(here, **{name: getattr(entry, name) for name in names})
        self._take(0)

    def _vacant(self, parts: Parts) -> tuple[Place, str]:
        """A place for something new, and its path; the directories above it are made."""
        here, path = ROOT_ID, ""
        for part in parts[:-1]:
            here, name = self._folder_in(here, part)
            path += f"/{name}"
        for name in numbered(safe_name(parts[-1])):
            place = Place(here, name.encode(), None, NIL)
            if self._filesystem.manager.paths.get(place.key) is None:
                return place, f"{path}/{name}"
        raise AssertionError

    def _folder_in(self, parent: bytes, wanted: str) -> tuple[bytes, str]:
        """A directory, made where it is missing, and its name."""
        for name in numbered(safe_name(wanted)):
            place = Place(parent, name.encode(), None, NIL)
            value = self._filesystem.manager.paths.get(place.key)
            if value is None:
                return self._filesystem.make(place, _at(place, DIRECTORY, None)), name
            if len(value) == PATH.size and decode_path(value)[0] == DIRECTORY:
                return decode_path(value)[1], name
        raise AssertionError

    def finish(self, report: str) -> None:
        self.drop()
        self.begin()
        self.write(0, memoryview(report.encode(errors="backslashreplace")))
        self.settle(("report.json",), None, self._written)
        self._batch.close()


def _at(place: Place, kind: bytes, entry: Entry | None) -> Entry:
    """An entry for a place: that of what was rescued, as far as it is known."""
    if entry is None or entry.type != kind:
        now = time.time_ns()
        return Entry(
            kind, place.parent, place.name, now, now, 0o755 if kind == DIRECTORY else 0o644
        )
    return entry.changed(parent=place.parent, name=place.name, links=1, deleted=0, flags=0)


def host_text(target: bytes) -> str:
    """The target of a link, as the host writes it."""
    return target.decode(errors="surrogateescape").replace("/", os.sep)
