"""Links: the several names of one entry.

Owns names in the paths tree: adding, taking away, moving one.  An entry has its first name in
itself; where it has more, each of them stands under `LINKS_ID` + id in the paths tree, too, so
that all names are found from the entry.
"""

from __future__ import annotations

import errno
from typing import Final

from .entries import Entries
from .entry import DELETED_ID, DIRECTORY, LINKS_ID, Entry
from .errors import TreeCorruptError
from .layout import DELETED, ID_SIZE, PATH
from .paths import PathLike, Place, failure

_MOST: Final = (1 << 32) - 1


class Links(Entries):
    """Names of entries."""

    def names_of(self, identity: bytes) -> list[bytes]:
        """The keys (parent id + name) of all names of an entry, the first name first."""
        entry = self.entry(identity)
        first = entry.parent + entry.name
        if entry.links < 2:
            return [first]
        prefix = LINKS_ID + identity
        keys = [
            key[len(prefix) :] for key, _ in self._paths.items(prefix, prefix + b"\xff" * ID_SIZE)
        ]
        if first not in keys or len(keys) != entry.links:
            raise TreeCorruptError("an entry and its names contradict each other: run check")
        keys.remove(first)
        return [first, *keys]

    def link(self, source: PathLike, place: Place) -> None:
        """Give a file or symbolic link another name.  Raises: PathError (EPERM, EMLINK)."""
        old = self.find(source, follow=False)
        if old.type == DIRECTORY or old.type is None:
            raise failure(errno.EPERM, source)
        self.add_name(old.identity, place, source)

    def add_name(self, identity: bytes, place: Place, path: object) -> None:
        """Give an entry another name, at a vacant place.  Raises: PathError (EMLINK)."""
        entry = self.entry(identity)
        if entry.links == _MOST:
            raise failure(errno.EMLINK, path)
        self.changes += 1
        if entry.links == 1:
            self._paths.insert(LINKS_ID + identity + entry.parent + entry.name, b"")
        self._paths.insert(LINKS_ID + identity + place.key, b"")
        self._paths.insert(place.key, PATH.pack(entry.type, identity))
        self.update(identity, links=entry.links + 1)

    def drop_link(self, key: bytes, identity: bytes, entry: Entry) -> None:
        """Take one of several names away; `key` is gone from the directory already."""
        rest = [name for name in self.names_of(identity) if name != key]
        self._paths.delete(LINKS_ID + identity + key)
        if len(rest) == 1:
            self._paths.delete(LINKS_ID + identity + rest[0])
        self.update(identity, links=entry.links - 1, **self._first(rest))

    def move_name(self, old: bytes, new: bytes, identity: bytes) -> None:
        """Tell an entry that one of its names moved from `old` to `new` (keys)."""
        entry = self.entry(identity)
        names = [new if name == old else name for name in self.names_of(identity)]
        if entry.links > 1:
            self._paths.delete(LINKS_ID + identity + old)
            self._paths.insert(LINKS_ID + identity + new, b"")
        self.update(identity, **self._first(names))

    def _first(self, names: list[bytes]) -> dict[str, object]:
        """The fields of the first name: one that was not deleted, if there is one."""
        first = min(names, key=lambda name: name[:ID_SIZE] == DELETED_ID)
        fields: dict[str, object] = {"parent": first[:ID_SIZE], "name": first[ID_SIZE:]}
        fields["deleted"] = 0
        if first[:ID_SIZE] == DELETED_ID:
            fields["deleted"] = DELETED.unpack_from(self._paths.get(first) or _NEVER)[2]
        return fields


_NEVER: Final = bytes(DELETED.size)
