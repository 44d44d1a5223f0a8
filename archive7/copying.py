"""Copying inside an archive: files, links and whole trees, with their attributes.

Owns the order in which a tree is copied; may assume a filesystem.
"""

from __future__ import annotations

import errno
from typing import Final
from uuid import UUID

from .entry import DIRECTORY, FILE, LINK, Entry
from .errors import TreeCorruptError
from .filesystem import Filesystem
from .paths import Place, failure

_CHUNK: Final = 1 << 20


def copy_entry(filesystem: Filesystem, source: Place, target: Place, path: object) -> None:
    """Copy what stands at `source` to `target`, which is vacant or a file for a file.

    Mode, time, owners and extended attributes go with it; several names of one file become
    files of their own.  Raises: PathError (EINVAL) for a directory into itself.
    Cost: one pass over the data, 1 MiB in memory.
    """
    if source.type == DIRECTORY and filesystem.is_below(target.parent, source.identity):
        raise failure(errno.EINVAL, path)
    waiting, seen = [(source, target)], set()
    while waiting:
        old, new = waiting.pop()
        if old.type == DIRECTORY and old.identity in seen:
            raise TreeCorruptError("directories stand in a circle: run check")
        seen.add(old.identity)
        identity = _copy_one(filesystem, old, new)
        if old.type == DIRECTORY:
            for name, kind, child in list(filesystem.children(old.identity)):
                encoded = name.encode()
                waiting.append(
                    (
                        Place(old.identity, encoded, kind, child),
                        Place(identity, encoded, None, b""),
                    )
                )


def _copy_one(filesystem: Filesystem, old: Place, new: Place) -> bytes:
    entry = filesystem.entry(old.identity)
    copied = _attributes(entry)
    if old.type in (DIRECTORY, LINK):
        return filesystem.make(new, entry.changed(parent=new.parent, name=new.name, **_ALONE))
    if new.type == FILE:
        identity = new.identity
        filesystem.truncate(identity, 0)
    else:
        identity = filesystem.create_file(new, memoryview(b""), entry.mode)
    _copy_data(filesystem, old.identity, identity)
    filesystem.manager.flush()
    filesystem.update(identity, **copied)
    return identity


_ALONE: Final[dict[str, object]] = {"links": 1, "deleted": 0, "flags": 0}


def _attributes(entry: Entry) -> dict[str, object]:
    """What of an entry belongs to its content, not to its place."""
    return {
        "mode": entry.mode,
        "modified": entry.modified,
        "user": entry.user,
        "group": entry.group,
        "owner": entry.owner,
        "extra": entry.extra,
    }


def _copy_data(filesystem: Filesystem, source: bytes, target: bytes) -> None:
    manager = filesystem.manager
    origin = manager.open_stream(UUID(bytes=source))
    try:
        stream = filesystem.open_stream(target)
        try:
            room = memoryview(bytearray(min(_CHUNK, origin.len)))
            offset = 0
            while size := origin.read_into(offset, room):
                stream.write(offset, room[:size])
                offset += size
        finally:
            filesystem.close_stream(stream)
    finally:
        manager.close_stream(origin)
