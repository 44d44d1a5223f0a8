"""Deletion: what was deleted and may be restored, and what of it goes for good.

Owns the names under `DELETED_ID` in the paths tree: id of the deletion -> what it was, when, and
where it stood.  A directory is deleted with all that stands in it, at the cost of one name.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple
from uuid import UUID

from .entry import DELETED_ID, DIRECTORY, FILE, LINK, ROOT_ID, decode_text
from .errors import PathError, TreeCorruptError
from .identity import new_identity_bytes
from .layout import DELETED, FLAG_EMPTIED, ID_SIZE, PATH, StructError
from .links import Links
from .paths import PathLike, Place, failure

_DEEPEST: Final = 65536  # a longer way to the root is a circle
_TYPES: Final = {FILE: "file", DIRECTORY: "directory", LINK: "link"}


class Delete(IntEnum):
    """How deleting is meant.

    SOFT: the name goes, everything is kept and can be restored.
    HARD: the data go, what was known of it is kept for the record.
    ERASE: everything goes.
    """

    SOFT = 1
    HARD = 2
    ERASE = 3


class Deleted(NamedTuple):
    """Something that was deleted SOFT or HARD.

    Attributes:
        id: of the deletion; later ones sort behind earlier ones.
        path: where it stood.
        type: file, directory or link.
        size: bytes of a file when it was deleted.
        deleted_ns: when, nanoseconds since 1970.
        is_restorable: False where the data are gone.
    """

    id: UUID
    path: str
    type: str
    size: int
    deleted_ns: int
    is_restorable: bool


class _Origin(NamedTuple):
    """Where something deleted stood."""

    type: bytes
    identity: bytes
    deleted: int
    size: int
    parent: bytes
    name: bytes


class Deletion(Links):
    """Names that were deleted and may come back."""

    def bury(self, place: Place, *, empty: bool) -> None:
        """Move a name to the deleted ones; with `empty` the data were freed."""
        now, identity = time.time_ns(), place.identity
        size = self.length(identity) if place.type == FILE else 0
        key = DELETED_ID + new_identity_bytes()
        self.changes += 1
        origin = DELETED.pack(place.type, identity, now, size, place.parent) + place.name
        self._paths.delete(place.key)
        self._paths.insert(key, origin)
        self.forget()
        self.move_name(place.key, key, identity)
        if empty:
            self.update(identity, flags=self.entry(identity).flags | FLAG_EMPTIED)

    def deleted(self) -> Iterator[Deleted]:
        """What was deleted, in the order of deletion."""
        for key, value in self._paths.items(DELETED_ID, DELETED_ID + b"\xff" * (ID_SIZE + 1)):
            origin = _decode(value)
            is_empty = self.entry(origin.identity).flags & FLAG_EMPTIED
            yield Deleted(
                UUID(bytes=key[ID_SIZE:]), self._former_path(origin), _TYPES[origin.type],
                origin.size, origin.deleted, not is_empty,
            )  # fmt: skip

    def origin(self, identity: bytes) -> tuple[bytes, bytes]:
        """Directory and name where a deleted entry stood."""
        entry = self.entry(identity)
        value = self._paths.get(DELETED_ID + entry.name)
        if entry.parent != DELETED_ID or value is None:
            raise TreeCorruptError("a deleted entry has lost its origin: run check")
        origin = _decode(value)
        return origin.parent, origin.name

    def path_of(self, identity: bytes, most: int = _DEEPEST) -> str:
        """The (first) path of an entry, for messages; of a deleted one, where it stood.

        Of more than `most` parts the last ones are given, behind ``...``.
        Raises: TreeCorruptError where it stands in no directory.
        """
        parts: list[str] = []
        while identity != ROOT_ID and len(parts) < most:
            entry = self.entry(identity)
            identity, name = entry.parent, entry.name
            if identity == DELETED_ID:
                origin = _decode(self._paths.get(DELETED_ID + name) or b"")
                identity, name = origin.parent, origin.name
            parts.append(name.decode(errors="replace"))
        if identity != ROOT_ID:
            parts.append("...")
        return "/" + "/".join(reversed(parts))

    def _former_path(self, origin: _Origin) -> str:
        name = decode_text(origin.name)
        try:
            above = self.path_of(origin.parent)
        except TreeCorruptError:  # the directory was erased meanwhile
            above = "/?"
        return f"{above.rstrip('/')}/{name}"

    def _deletion(self, item: Deleted | UUID) -> tuple[bytes, _Origin]:
        """Key and origin of a deletion.  Raises NotFoundError."""
        identity = item if isinstance(item, UUID) else item.id
        key = DELETED_ID + identity.bytes
        value = self._paths.get(key)
        if value is None:
            raise failure(errno.ENOENT, identity if isinstance(item, UUID) else item.path)
        return key, _decode(value)

    def undelete(self, item: Deleted | UUID, path: PathLike | None) -> str:
        """Restore what was deleted, where it stood or at `path`; return its path now.

        Raises: NotFoundError (its directory is gone: give a path), ExistsError; PathError
        (ENODATA) where the data are gone.
        """
        key, origin = self._deletion(item)
        if self.entry(origin.identity).flags & FLAG_EMPTIED:
            code = getattr(errno, "ENODATA", errno.EIO)
            raise PathError(code, "it was deleted with its data", self._former_path(origin))
        place = self._former_place(origin) if path is None else self.name(path)
        where = self._former_path(origin) if path is None else str(path)
        if place.type is not None:
            raise failure(errno.EEXIST, where)
        self.changes += 1
        self._paths.delete(key)
        self._paths.insert(place.key, PATH.pack(origin.type, origin.identity))
        self.forget()
        self.move_name(key, place.key, origin.identity)
        return self.path_of(place.parent).rstrip("/") + "/" + decode_text(place.name)

    def _former_place(self, origin: _Origin) -> Place:
        """Where it stood, if that is still a directory in the tree."""
        here, steps = origin.parent, set[bytes]()
        while here != ROOT_ID:
            value = self._registry.owner(UUID(bytes=here))
            if value is None or here in steps:
                message = "its directory is not there any more: give a path to restore it to"
                raise failure_with(errno.ENOENT, message, self._former_path(origin))
            steps.add(here)
            here = self.entry(here).parent
        return self._step(origin.parent, origin.name)


def failure_with(code: int, message: str, path: str) -> PathError:
    """The exception of `failure` with a message that tells what to do."""
    error = failure(code, path)
    return type(error)(error.errno, f"{os.strerror(code)}: {message}", path)


def _decode(value: bytes) -> _Origin:
    try:
        kind, identity, deleted, size, parent = DELETED.unpack_from(value)
    except StructError:
        raise TreeCorruptError("a deleted name is damaged: run check") from None
    if kind not in _TYPES:
        raise TreeCorruptError("a deleted name is damaged: run check")
    return _Origin(kind, identity, deleted, size, parent, value[DELETED.size :])
