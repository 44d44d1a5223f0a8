"""Entries: what the filesystem knows of a file, directory or link besides its blocks.

Owns the bytes that stand behind a stream's record in the registry, and names.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from .errors import NameTooLongError, PathError, TreeCorruptError
from .layout import ENTRY, ENTRY_MODIFIED_OFFSET, MAX_NAME_SIZE, PATH, TIME, StructError

FILE, DIRECTORY, LINK = b"f", b"d", b"l"
_FORMATS: Final = {FILE: stat.S_IFREG, DIRECTORY: stat.S_IFDIR, LINK: stat.S_IFLNK}
NIL: Final = bytes(16)
ROOT_ID: Final = UUID(int=256).bytes
ORPHANS_ID: Final = UUID(int=257).bytes  # parent of files that were removed while open
DELETED_ID: Final = UUID(int=258).bytes  # parent of what was deleted and may be restored
LINKS_ID: Final = UUID(int=259).bytes  # before id + parent + name of entries with several names
HIDDEN: Final = frozenset({ORPHANS_ID, DELETED_ID, LINKS_ID})  # no directories of users
_NO_NAMES: Final = frozenset({"", ".", ".."})
_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or symbolic link.

    Attributes:
        type: `FILE`, `DIRECTORY` or `LINK`.
        parent, name: where it stands; name is UTF-8.
        created, modified, deleted: nanoseconds since 1970; 0 where not deleted.
        mode: permission bits.
        links: names that lead here.
        target: of a symbolic link, UTF-8.
        extra: extended attributes, encoded.
    """

    type: bytes
    parent: bytes
    name: bytes
    created: int
    modified: int
    mode: int
    user: int = 0
    group: int = 0
    links: int = 1
    owner: bytes = NIL
    deleted: int = 0
    flags: int = 0
    target: bytes = b""
    extra: bytes = b""

    def encode(self) -> bytes:
        """The owner's bytes in the registry."""
        fixed = ENTRY.pack(
            self.type,
            self.flags,
            self.parent,
            self.owner,
            self.created,
            self.modified,
            self.deleted,
            self.mode,
            self.user,
            self.group,
            self.links,
            len(self.name),
            len(self.target),
            len(self.extra),
        )
        return fixed + self.name + self.target + self.extra

    def changed(self, **fields: object) -> Entry:
        """A copy with other fields."""
        return replace(self, **fields)  # type: ignore[arg-type]

    def stat(self, identity: bytes, length: int) -> os.stat_result:
        """As `os.stat` tells it; times in seconds and nanoseconds."""
        modified, created = self.modified, self.created
        seconds = (modified // _SECOND, modified // _SECOND, created // _SECOND)
        precise = {
            "st_atime": modified / _SECOND,
            "st_mtime": modified / _SECOND,
            "st_ctime": created / _SECOND,
            "st_atime_ns": modified,
            "st_mtime_ns": modified,
            "st_ctime_ns": created,
        }
        kind = _FORMATS[self.type]
        fixed = (kind | self.mode, int.from_bytes(identity[8:], "big"), 0, self.links)
        return os.stat_result((*fixed, self.user, self.group, length, *seconds), precise)


def decode_entry(data: bytes) -> Entry:
    """Decode the owner's bytes.  Raises TreeCorruptError."""
    try:
        (
            kind, flags, parent, owner, created, modified, deleted,
            mode, user, group, links, name_size, target_size, extra_size,
        ) = ENTRY.unpack_from(data)  # fmt: skip
    except StructError:
        raise TreeCorruptError("an entry is too short: run check") from None
    name_end = ENTRY.size + name_size
    target_end = name_end + target_size
    if kind not in _FORMATS or target_end + extra_size != len(data):
        raise TreeCorruptError("an entry contradicts itself: run check")
    return Entry(
        type=kind,
        parent=parent,
        name=data[ENTRY.size : name_end],
        created=created,
        modified=modified,
        mode=mode,
        user=user,
        group=group,
        links=links,
        owner=owner,
        deleted=deleted,
        flags=flags,
        target=data[name_end:target_end],
        extra=data[target_end:],
    )


def new_entry(kind: bytes, parent: bytes, name: bytes, now: int, mode: int) -> bytes:
    """The owner's bytes of something new, without an `Entry` in between."""
    numbers = (now, now, 0, mode, 0, 0, 1, len(name), 0, 0)
    return ENTRY.pack(kind, 0, parent, NIL, *numbers) + name


def with_modified(data: bytes, modified: int) -> bytes:
    """Encoded entry `data` with another time of modification."""
    end = ENTRY_MODIFIED_OFFSET + TIME.size
    return data[:ENTRY_MODIFIED_OFFSET] + TIME.pack(modified) + data[end:]


def encode_text(text: str, path: object) -> bytes:
    """The bytes of a name or a link's target.  Raises PathError (not UTF-8)."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        message = "names in an archive are UTF-8, this one is not"
        raise PathError(errno.EILSEQ, message, str(path)) from None


def decode_text(data: bytes) -> str:
    """A name or link target.  Raises TreeCorruptError where it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise TreeCorruptError("a name is not UTF-8: run check") from None


def decode_name(data: bytes) -> str:
    """A name in a directory.  Raises TreeCorruptError where it cannot be one."""
    name = decode_text(data)
    if "/" in name or "\0" in name or name in _NO_NAMES or len(data) > MAX_NAME_SIZE:
        raise TreeCorruptError("a name cannot be one: run check")
    return name


def decode_path(value: bytes) -> tuple[bytes, bytes]:
    """Type and identity from the paths tree.  Raises TreeCorruptError."""
    if len(value) != PATH.size or value[:1] not in _FORMATS:
        raise TreeCorruptError("a name leads nowhere: run check")
    return value[:1], value[1:]


def encode_name(name: str, path: str) -> bytes:
    """The bytes of one name.  Raises NameTooLongError, PathError (not UTF-8)."""
    encoded = encode_text(name, path)
    if len(encoded) > MAX_NAME_SIZE:
        raise NameTooLongError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    return encoded
