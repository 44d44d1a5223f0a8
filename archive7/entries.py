"""Entries in the registry: reading, storing and changing them.

Owns every change of what is known of a file, directory or link besides its names and its data.
May assume resolved paths.  Promises: errors are those of `os` for the same call; `changes` rises
before the first change of an operation, so that an error found before leaves no trace.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final
from uuid import UUID

from .entry import FILE, Entry, decode_entry, encode_text
from .errors import TreeCorruptError
from .extras import Extras, decode_extras
from .layout import MAX_ATTRIBUTES_SIZE, MAX_NAME_SIZE, STREAM
from .owners import owner_of
from .paths import FilesystemStreamManager, PathLike, Paths, failure
from .streams.registry import encode_value, split

XATTR_CREATE: Final = 1  # as in `os`
XATTR_REPLACE: Final = 2
_NO_ATTRIBUTE: Final = getattr(errno, "ENODATA", errno.ENOENT)


class Entries(Paths):
    """What is known of files, directories and links.

    Attributes:
        changes: rises before the first change of an operation.
    """

    def __init__(self, manager: FilesystemStreamManager) -> None:
        super().__init__(manager)
        self.changes = 0

    def length(self, identity: bytes) -> int:
        """Length of a file in bytes, including what is not committed yet."""
        stream = self._manager.opened(UUID(bytes=identity))
        if stream is not None:
            return stream.len
        value = self._registry.tree.get(identity)
        return 0 if value is None else int(STREAM.unpack_from(value)[4])

    def stat(self, path: PathLike, *, follow: bool) -> os.stat_result:
        """As `os.stat` or `os.lstat`."""
        place = self.find(path, follow=follow)
        return self.stat_of(place.identity, place.type)

    def stat_of(self, identity: bytes, kind: bytes | None = None) -> os.stat_result:
        """As `os.lstat`, by identity; the type that its name tells must be its own."""
        entry = self.entry(identity)
        if kind not in (None, entry.type):
            raise TreeCorruptError("a name leads to an entry of another type: run check")
        if entry.type != FILE:
            return entry.stat(identity, len(entry.target))
        stream = self._manager.opened(UUID(bytes=identity))
        if stream is not None and stream.is_dirty:
            self._manager.flush()  # sets the time of modification: POSIX wants it when it is asked
            entry = self.entry(identity)
        return entry.stat(identity, self.length(identity))

    def _store(self, identity: bytes, entry: Entry) -> None:
        """Store the entry of something without blocks of its own."""
        record = STREAM.pack(identity, -1, -1, 0, 0, 0)
        self._registry.tree.insert(identity, encode_value(record, b"", entry.encode()))

    def update(self, identity: bytes, **fields: object) -> None:
        """Change fields of an entry."""
        value = self._registry.tree.get(identity)
        if value is None:
            raise TreeCorruptError("a name leads to no entry: run check")
        record, extents, owner = split(value)
        self.changes += 1
        entry = decode_entry(owner).changed(**fields)
        self._registry.tree.insert(identity, encode_value(record, extents, entry.encode()))

    def chmod(self, path: PathLike, mode: int, *, follow: bool) -> None:
        """Set the permission bits."""
        identity = self.find(path, follow=follow).identity
        self.update(identity, mode=stat.S_IMODE(mode))

    def utime(self, path: PathLike, modified: int, *, follow: bool) -> None:
        """Set the time of modification, nanoseconds since 1970."""
        identity = self.find(path, follow=follow).identity
        self._manager.flush()
        self.update(identity, modified=modified)

    def chown(
        self, path: PathLike, user: int | str | None, group: int | str | None, *, follow: bool
    ) -> None:
        """Set user and group, by number (-1: as it is) or by name."""
        identity = self.find(path, follow=follow).identity
        entry = self.entry(identity)
        extras = decode_extras(entry.extra)
        fields: dict[str, object] = {}
        for kind, value in (("user", user), ("group", group)):
            if value is None or value == -1:
                continue
            number, name = owner_of(kind, value, path)
            fields[kind] = number
            setattr(extras, kind, name)
        self.update(identity, extra=extras.encode(), **fields)

    def set_owner(self, path: PathLike, owner: UUID, *, follow: bool) -> None:
        """Set the owner, an identity of the application's."""
        self.update(self.find(path, follow=follow).identity, owner=owner.bytes)

    def extras(self, path: PathLike, *, follow: bool) -> Extras:
        """Extended attributes and names of the owners."""
        return decode_extras(self.entry(self.find(path, follow=follow).identity).extra)

    def set_attribute(
        self, path: PathLike, name: str, value: bytes, flags: int, *, follow: bool
    ) -> None:
        """Set an extended attribute.

        Raises: PathError: ERANGE for the name, ENOSPC for the size of all, EEXIST or ENODATA by
        the flags, as the system does.
        """
        _check_attribute(name, path)
        place = self.find(path, follow=follow)
        extras = decode_extras(self.entry(place.identity).extra)
        if flags & XATTR_CREATE and name in extras.attributes:
            raise failure(errno.EEXIST, path)
        if flags & XATTR_REPLACE and name not in extras.attributes:
            raise failure(_NO_ATTRIBUTE, path)
        extras.attributes[name] = bytes(value)
        extra = extras.encode()
        if len(extra) > MAX_ATTRIBUTES_SIZE:
            raise failure(errno.ENOSPC, path)
        self.update(place.identity, extra=extra)

    def remove_attribute(self, path: PathLike, name: str, *, follow: bool) -> None:
        """Remove an extended attribute.  Raises: PathError (ENODATA) if there is none."""
        _check_attribute(name, path)
        place = self.find(path, follow=follow)
        extras = decode_extras(self.entry(place.identity).extra)
        if extras.attributes.pop(name, None) is None:
            raise failure(_NO_ATTRIBUTE, path)
        self.update(place.identity, extra=extras.encode())

    def attribute(self, path: PathLike, name: str, *, follow: bool) -> bytes:
        """An extended attribute.  Raises: PathError (ENODATA) if there is none."""
        _check_attribute(name, path)
        value = self.extras(path, follow=follow).attributes.get(name)
        if value is None:
            raise failure(_NO_ATTRIBUTE, path)
        return value


def _check_attribute(name: str, path: PathLike) -> None:
    """Refuse a name that no extended attribute can have."""
    if not 0 < len(encode_text(name, path)) <= MAX_NAME_SIZE:
        raise failure(errno.ERANGE, path)
