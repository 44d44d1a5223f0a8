"""Filesystem: directories, files and symbolic links over streams.

Owns every change of names and entries.  May assume resolved paths and a stream manager.
Promises: errors are those of `os` for the same call with errno and filename set; an error found
before the first change leaves no trace (`changes` tells); nothing is committed here.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterator
from typing import Final
from uuid import UUID

from .deletion import Delete, Deleted, Deletion, failure_with
from .entry import (
    DIRECTORY,
    FILE,
    LINK,
    ORPHANS_ID,
    ROOT_ID,
    Entry,
    decode_text,
    encode_text,
    new_entry,
    with_modified,
)
from .errors import PathError, TreeCorruptError
from .identity import new_identity_bytes
from .layout import DATA_SIZE, EXTENT_COUNT, ID_SIZE, PATH, STREAM
from .paths import PathLike, Place, after, failure, path_text
from .streams import DataStream
from .streams.extents import Extents
from .streams.registry import encode_value


@contextlib.contextmanager
def _naming_both(source: PathLike, target: PathLike) -> Iterator[None]:
    """Errors of calls with two paths name both, as those of `os` do."""
    try:
        yield
    except PathError as error:
        first, second = str(source), str(target)
        raise type(error)(error.errno, error.strerror, first, None, second) from None


_ONE_RUN: Final = bytes(EXTENT_COUNT.size)


class Filesystem(Deletion):
    """Names and entries."""

    def format(self) -> None:
        """Make the root directory of a new archive."""
        now = time.time_ns()
        root = Entry(DIRECTORY, ROOT_ID, b"", now, now, 0o755)
        self._store(ROOT_ID, root)

    def sweep(self) -> None:
        """Free files that were removed while open, when the writer died before they closed."""
        for key, _ in list(self._paths.items(ORPHANS_ID, ORPHANS_ID + b"\xff" * 17)):
            self._free_orphan(key[ID_SIZE:])

    # --- making

    def vacant(self, path: PathLike) -> Place:
        """A name where something new can be made.  Raises ExistsError, NotFoundError."""
        place = self.name(path)
        if place.type is not None:
            raise failure(errno.EEXIST, path)
        return place

    def make(self, place: Place, entry: Entry) -> bytes:
        """Make a directory or link at a vacant place; return its identity."""
        identity = new_identity_bytes()
        self.changes += 1
        self._store(identity, entry)
        self._paths.insert(place.key, PATH.pack(entry.type, identity))
        return identity

    def mkdir(self, path: PathLike, mode: int) -> None:
        """Make a directory; setuid and setgid are not for new ones, as Linux has it."""
        place = self.vacant(path)
        now = time.time_ns()
        self.make(place, Entry(DIRECTORY, place.parent, place.name, now, now, mode & 0o1777))

    def hard_link(self, source: PathLike, target: PathLike) -> None:
        """Give a file or symbolic link another name."""
        with _naming_both(source, target):
            self.find(source, follow=False)
            place = self.vacant(target)
            if str(target).endswith("/"):
                raise failure(errno.ENOENT, target)
            self.link(source, place)

    def symlink(self, target: str, path: PathLike) -> None:
        """Make a symbolic link."""
        with _naming_both(target, path):
            encoded = encode_text(path_text(target), target)
            place = self.vacant(path)
            if str(path).endswith("/"):
                raise failure(errno.ENOENT, path)
        now = time.time_ns()
        entry = Entry(LINK, place.parent, place.name, now, now, 0o777, target=encoded)
        self.make(place, entry)

    def readlink(self, path: PathLike) -> str:
        """Target of a symbolic link.  Raises PathError (EINVAL) for anything else."""
        place = self.find(path, follow=False)
        if place.type != LINK:
            raise failure(errno.EINVAL, path)
        return decode_text(self.entry(place.identity).target)

    def create_file(
        self, place: Place, data: memoryview, mode: int, *, entry: bytes | None = None
    ) -> bytes:
        """Make a file with its data, and with its encoded entry if given; return its identity."""
        if entry is None:
            entry = new_entry(FILE, place.parent, place.name, time.time_ns(), mode & 0o7777)
        self.changes += 1
        if len(data) > DATA_SIZE:
            stream = self.new_stream()
            stream.write(0, data)
            return self.adopt(place, stream, entry)
        identity = new_identity_bytes()
        record = self._manager.store_block(identity, data)
        self._registry.tree.insert(identity, encode_value(record, b"", entry))
        self._paths.insert(place.parent + place.name, FILE + identity)
        return identity

    def new_stream(self) -> DataStream:
        """Make a stream that no name leads to until `adopt`; without that, `abandon` it."""
        identity = UUID(bytes=new_identity_bytes())
        return DataStream(self._manager, None, identity, extents=Extents())

    def adopt(self, place: Place, stream: DataStream, entry: bytes) -> bytes:
        """Make a file of a new stream, which cannot be written any more; return its identity."""
        stream.finish()
        identity = stream.identity.bytes
        self.changes += 1
        value = encode_value(bytes(stream), stream.extents.encode(), entry)
        self._registry.tree.insert(identity, value)
        self._paths.insert(place.parent + place.name, FILE + identity)
        return identity

    def open_stream(self, identity: bytes) -> DataStream:
        """Open the stream of a file; writing to it sets the time of modification."""
        stream = self._manager.open_stream(UUID(bytes=identity))
        self._manager.set_owner(stream.identity, self._touched)
        return stream

    def _touched(self, stream: DataStream) -> bytes | None:
        """The entry of a file that was written to."""
        owner = self._registry.owner(stream.identity)
        return None if owner is None else with_modified(owner, time.time_ns())

    def close_stream(self, stream: DataStream) -> None:
        """Close the stream of a file; one that was removed meanwhile goes for good."""
        identity = stream.identity
        if stream.is_closed or not self._manager.close_stream(stream):
            return
        if not self._manager.is_open(identity) and not self._manager.is_readonly:
            if ORPHANS_ID + identity.bytes in self._paths:
                self.changes += 1
                self._free_orphan(identity.bytes)

    def read(self, identity: bytes) -> bytes:
        """All bytes of a file."""
        stream = self._manager.opened(UUID(bytes=identity))
        value = None if stream is not None else self._registry.tree.get(identity)
        if value is not None:
            record = value[: STREAM.size]
            self._manager.check_record(record, identity)
            _, begin, _, count, length, _ = STREAM.unpack(record)
            is_run = value[STREAM.size : STREAM.size + EXTENT_COUNT.size] == _ONE_RUN
            if is_run and count == -(-length // DATA_SIZE) < self._manager.container.positions.end:
                out = bytearray(length)
                if length:
                    blocks = self._manager.container.blocks
                    blocks.read_run(begin, count, 0, identity, 0, memoryview(out))
                return bytes(out)
        stream = self._manager.open_stream(UUID(bytes=identity))
        try:
            out = bytearray(stream.len)
            stream.read_into(0, memoryview(out))
            return bytes(out)
        finally:
            stream.close()

    def rewrite(self, identity: bytes, data: memoryview) -> None:
        """Replace all bytes of a file."""
        stream = self.open_stream(identity)
        try:
            self.changes += 1
            stream.truncate(0)
            stream.write(0, data)
        finally:
            self.close_stream(stream)

    def truncate(self, identity: bytes, length: int) -> None:
        """Cut or lengthen a file."""
        stream = self.open_stream(identity)
        try:
            self.changes += 1
            stream.truncate(length)
        finally:
            self.close_stream(stream)

    # --- removing and moving

    def remove(self, path: PathLike, how: Delete) -> None:
        """Remove a file or a symbolic link."""
        place = self.name(path)
        if place.type is None:
            raise failure(errno.ENOENT, path)
        if place.type == DIRECTORY:
            raise failure(errno.EISDIR, path)
        if str(path).endswith("/"):
            raise failure(errno.ENOTDIR, path)
        self._delete(place, how, path)

    def rmdir(self, path: PathLike, how: Delete) -> None:
        """Remove an empty directory."""
        place = self._directory_name(path)
        if self._has_children(place.identity):
            raise failure(errno.ENOTEMPTY, path)
        self._delete(place, how, path)

    def rmtree(self, path: PathLike, how: Delete) -> None:
        """Remove a directory and everything in it."""
        place = self._directory_name(path)
        if how == Delete.HARD:
            for file in self._files_below(place):
                self._check_empty(file, path)
        self._delete(place, how, path)

    def _directory_name(self, path: PathLike) -> Place:
        """The name of a directory that is to go."""
        place = self.name(path)
        if place.type is None:
            raise failure(errno.ENOENT, path)
        if place.type != DIRECTORY:
            raise failure(errno.ENOTDIR, path)
        if not place.name:
            last = str(path).rstrip("/").rpartition("/")[2]
            code = {".": errno.EINVAL, "..": errno.ENOTEMPTY}.get(last, errno.EBUSY)
            raise failure(code, path)
        return place

    def _delete(self, place: Place, how: Delete, path: PathLike) -> None:
        """Take a name away with all that stands below it."""
        if how == Delete.HARD and place.type != DIRECTORY:
            self._check_empty(place, path)
        self.changes += 1
        if how == Delete.ERASE:
            self._erase(place)
            return
        self.bury(place, empty=how == Delete.HARD)
        if how == Delete.HARD:
            for file in self._files_below(place):
                self._free_data(file.identity)

    def _check_empty(self, place: Place, path: PathLike) -> None:
        """Whether the data of a file can be freed while its entry is kept."""
        if self._manager.is_open(UUID(bytes=place.identity)):
            raise failure_with(errno.EBUSY, "close the file first", str(path))
        if self.entry(place.identity).links > 1:
            raise failure_with(errno.EMLINK, "its data have other names, too", str(path))

    def _free_data(self, identity: bytes) -> None:
        stream = self._manager.open_stream(UUID(bytes=identity))
        try:
            stream.truncate(0)
        finally:
            self._manager.close_stream(stream)

    def _below(self, place: Place) -> Iterator[Place]:
        """A name and all names below it; those of a directory before those in it."""
        waiting, seen = [place], set()
        while waiting:
            here = waiting.pop()
            yield here
            if here.type == DIRECTORY:
                if here.identity in seen:
                    raise TreeCorruptError("directories stand in a circle: run check")
                seen.add(here.identity)
                for name, kind, child in self.children(here.identity):
                    below = Place(here.identity, name.encode(), kind, child)
                    if kind == DIRECTORY:
                        waiting.append(below)
                    else:
                        yield below

    def _files_below(self, place: Place) -> Iterator[Place]:
        return (below for below in self._below(place) if below.type == FILE)

    def _erase(self, place: Place) -> None:
        """Take a name away for good, and everything below it."""
        directories = []
        for below in self._below(place):
            if below.type == DIRECTORY:
                directories.append(below)
            else:
                self.unlink(below)
        for below in reversed(directories):
            self.unlink(below)

    def purge(self, item: Deleted | UUID) -> None:
        """Erase what was deleted SOFT or HARD."""
        key, origin = self._deletion(item)
        self.changes += 1
        self._erase(Place(key[:ID_SIZE], key[ID_SIZE:], origin.type, origin.identity))

    def _has_children(self, identity: bytes) -> bool:
        return any(True for _ in self._paths.items(identity, after(identity)))

    def unlink(self, place: Place) -> None:
        """Take a name away, and what it led to if that was the last name."""
        self._paths.delete(place.key)
        self.forget()
        identity = place.identity
        entry = self.entry(identity)
        if entry.links > 1:
            self.drop_link(place.key, identity, entry)
        elif place.type == FILE and self._manager.is_open(UUID(bytes=identity)):
            self.update(identity, links=0, parent=ORPHANS_ID, name=identity, deleted=0)
            self._paths.insert(ORPHANS_ID + identity, PATH.pack(FILE, identity))
        elif place.type == FILE:
            self._manager.del_stream(UUID(bytes=identity))
        else:
            self._registry.tree.delete(identity)

    def _free_orphan(self, identity: bytes) -> None:
        self._paths.delete(ORPHANS_ID + identity)
        self._manager.del_stream(UUID(bytes=identity))

    def rename(self, source: PathLike, target: PathLike) -> None:
        """Rename or move, replacing the target as POSIX does."""
        with _naming_both(source, target):
            old, new = self._places(source, target)
            if old.type == DIRECTORY and self.is_below(new.parent, old.identity):
                raise failure(errno.EINVAL, source)
            if new.type == DIRECTORY and self.is_below(old.parent, new.identity):
                raise failure(errno.ENOTEMPTY, target)
            if old.identity == new.identity:
                return
            self._check_replace(old, new, target)
        self.changes += 1
        if new.type is not None:
            self.unlink(new)
        self._paths.delete(old.key)
        self._paths.insert(new.key, PATH.pack(old.type or b"", old.identity))
        self.forget()
        self.move_name(old.key, new.key, old.identity)

    def _places(self, source: PathLike, target: PathLike) -> tuple[Place, Place]:
        """From where to where, as `rename` of Linux looks at them."""
        old, new = self.name(source), self.name(target)
        if not (old.name and new.name):
            raise failure(errno.EBUSY, source)
        if old.type is None:
            raise failure(errno.ENOENT, source)
        if old.type != DIRECTORY and (str(source).endswith("/") or str(target).endswith("/")):
            raise failure(errno.ENOTDIR, source)
        return old, new

    def is_below(self, place: bytes, top: bytes) -> bool:
        """Whether a directory is `top` or stands below it."""
        seen = set()
        while place != top:
            if place == ROOT_ID:
                return False
            if place in seen:
                raise TreeCorruptError("directories stand in a circle: run check")
            seen.add(place)
            place = self.entry(place).parent
        return True

    def _check_replace(self, old: Place, new: Place, target: PathLike) -> None:
        if new.type is None:
            return
        if old.type == DIRECTORY and new.type != DIRECTORY:
            raise failure(errno.ENOTDIR, target)
        if old.type != DIRECTORY and new.type == DIRECTORY:
            raise failure(errno.EISDIR, target)
        if new.type == DIRECTORY and self._has_children(new.identity):
            raise failure(errno.ENOTEMPTY, target)
