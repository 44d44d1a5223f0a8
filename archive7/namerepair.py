"""Names repaired: entries and the names that lead to them, each derived from the other.

Owns names in the paths tree and entries in the registry, both sound as trees.  Promises: nothing
that is readable gets out of reach: what has lost its place stands in `/lost+found`; what is
thrown away leads nowhere and holds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final
from uuid import UUID

from .btree import BTree
from .entry import (
    DELETED_ID,
    DIRECTORY,
    FILE,
    HIDDEN,
    LINK,
    LINKS_ID,
    ORPHANS_ID,
    ROOT_ID,
    Entry,
    decode_entry,
    decode_path,
)
from .errors import TreeCorruptError
from .identity import new_identity_bytes
from .layout import DELETED, ID_SIZE, NO_POSITION, PATH, STREAM
from .mending import RESCUE, RepairReport
from .paths import FilesystemStreamManager
from .streams.registry import encode_value, split

LOST: Final = b"lost+found"
_FILE_MODE, _DIRECTORY_MODE = 0o600, 0o700  # of entries that have to be made anew
_SECOND: Final = slice(ID_SIZE, 2 * ID_SIZE)


class NameRepair:
    """One run over the names of one archive; the caller commits.

    Args:
        streams: registry values without an entry, by id: files that were put together.
        is_blind: blocks were lost that may be those of a file of which nothing else is left.
    """

    def __init__(
        self,
        manager: FilesystemStreamManager,
        report: RepairReport,
        streams: dict[bytes, bytes],
        *,
        is_blind: bool,
    ) -> None:
        self._manager = manager
        self._report = report
        self._streams = streams
        self._is_blind = is_blind
        self._troubled: dict[bytes, set[bytes]] = {}  # id -> keys that may be its names
        self._now = time.time_ns()
        self._lost: bytes | None = None

    @property
    def _entries(self) -> BTree:
        return self._manager.registry.tree

    @property
    def _paths(self) -> BTree:
        return self._manager.paths

    def run(self) -> None:
        """Everything."""
        if self._get(ROOT_ID) is None:
            self._put(ROOT_ID, Entry(DIRECTORY, ROOT_ID, b"", self._now, self._now, 0o755))
            self._report.mend("registry", "the root directory was made anew", path="/")
        for key, value in self._paths.items():
            self._look_at_name(key, value)
        for identity, value in self._streams.items():
            self._find(identity, value)
        for key, _ in self._entries.items():  # noqa: PERF102 - no dict
            self._look_at_entry(key)
        for identity, keys in self._troubled.items():
            self._settle(identity, keys)
        self._break_circles()

    # --- entries

    def _get(self, identity: bytes) -> Entry | None:
        value = self._entries.get(identity)
        return None if value is None else decode_entry(split(value)[2])

    def _put(self, identity: bytes, entry: Entry, value: bytes | None = None) -> None:
        """Set an entry, with the stream of `value` or, without, of what stands there."""
        value = value or self._entries.get(identity)
        if value is None:
            empty = STREAM.pack(identity, NO_POSITION, NO_POSITION, 0, 0, 0)
            self._entries.insert(identity, encode_value(empty, b"", entry.encode()))
            return
        record, extents, _ = split(value)
        self._entries.insert(identity, encode_value(record, extents, entry.encode()))

    def _new(self, kind: bytes, parent: bytes, name: bytes) -> Entry:
        mode = _DIRECTORY_MODE if kind == DIRECTORY else _FILE_MODE
        return Entry(kind, parent, name, self._now, self._now, mode)

    # --- names

    def _look_at_name(self, key: bytes, value: bytes) -> None:
        parent = key[:ID_SIZE]
        if parent == LINKS_ID:
            identity, name = key[_SECOND], key[2 * ID_SIZE :]
            entry = self._get(identity)
            found = self._paths.get(name)
            if entry is None:
                self._drop(key, "of no entry")
            elif entry.links < 2 or found is None or found[1 : PATH.size] != identity:
                self._troubled.setdefault(identity, set())
            return
        try:
            kind, identity = decode_path(value[: PATH.size] if parent == DELETED_ID else value)
        except TreeCorruptError:
            self._drop(key, "that leads nowhere")
            return
        entry = self._get(identity) or self._make(kind, identity, key)
        if entry is None:
            return
        if parent not in HIDDEN and not _is_name(key[ID_SIZE:]):
            self._drop(key, "that none can be")
            self._troubled.setdefault(identity, set())
            return
        if entry.type != kind:
            self._retype(key, value, entry)
        if entry.parent + entry.name != key:
            is_known = entry.links > 1 and LINKS_ID + identity + key in self._paths
            if not is_known:
                self._troubled.setdefault(identity, set()).add(key)
        elif entry.links > 1 and LINKS_ID + identity + key not in self._paths:
            self._troubled.setdefault(identity, set()).add(key)
        if parent not in HIDDEN:
            self._need_directory(parent)

    def _retype(self, key: bytes, value: bytes, entry: Entry) -> None:
        """The entry knows better than its name what it is."""
        self._paths.insert(key, entry.type + value[1:])
        self._report.mend("path", "a name had another type than its entry", path=self._path(key))

    def _drop(self, key: bytes, what: str) -> None:
        self._paths.delete(key)
        self._report.mend("path", f"a name {what} was removed", path=self._path(key))

    def _make(self, kind: bytes, identity: bytes, key: bytes) -> Entry | None:
        """The entry of a name that has none any more; None where nothing tells what it was."""
        name = key[ID_SIZE:]
        entry = self._new(kind, key[:ID_SIZE], name)
        if key[:ID_SIZE] == DELETED_ID:
            deleted = DELETED.unpack_from(self._paths.get(key) or bytes(DELETED.size))[2]
            entry = entry.changed(deleted=deleted or self._now)
        value = self._streams.get(identity)
        if kind == DIRECTORY or (kind == FILE and (value or not self._is_blind)):
            self._put(identity, entry, value)
            message = "an entry was made anew from its name; mode and times are lost"
            self._report.mend("registry", message, path=self._path(key))
            return entry
        self._paths.delete(key)
        what = "the target of a symbolic link" if kind == LINK else "a file"
        self._report.lose(
            "registry", f"{what} is lost, its name was removed", path=self._path(key)
        )
        return None

    def _find(self, identity: bytes, value: bytes) -> None:
        """A file that was put together and has no name stands in /lost+found."""
        if self._get(identity) is None:
            self._put(identity, self._new(FILE, NO_PLACE, b""), value)
            self._troubled.setdefault(identity, set())

    def _need_directory(self, identity: bytes) -> None:
        """A directory that names stand in and that is lost is made anew in /lost+found."""
        entry = self._get(identity)
        if entry is not None and entry.type == DIRECTORY:
            return
        if entry is not None:
            self._report.lose("path", f"names stand in a file: {RESCUE}", stream=identity.hex())
            return
        self._put(identity, self._new(DIRECTORY, NO_PLACE, b""))
        self._troubled.setdefault(identity, set())

    # --- entries and their names

    def _look_at_entry(self, identity: bytes) -> None:
        if identity == ROOT_ID or identity in self._troubled:
            return
        try:
            entry = self._get(identity)
        except TreeCorruptError as error:
            self._report.lose("registry", f"{error.reason}: {RESCUE}", stream=identity.hex())
            return
        assert entry is not None  # noqa: S101 - it was found a moment ago
        is_right = (
            self._leads(entry.parent + entry.name, identity)
            and bool(entry.deleted) == (entry.parent == DELETED_ID)
            and (entry.links > 0 or entry.parent == ORPHANS_ID)
        )
        if entry.links > 1:
            is_right = is_right and len(self._listed(identity)) == entry.links
        if not is_right:
            self._troubled[identity] = set()
        elif entry.parent not in HIDDEN:
            self._need_directory(entry.parent)

    def _leads(self, key: bytes, identity: bytes) -> bool:
        value = self._paths.get(key)
        return value is not None and value[1 : PATH.size] == identity

    def _listed(self, identity: bytes) -> list[bytes]:
        """The names (keys) that the paths tree lists under an entry."""
        prefix = LINKS_ID + identity
        return [
            key[len(prefix) :] for key, _ in self._paths.items(prefix, prefix + b"\xff" * ID_SIZE)
        ]

    def _settle(self, identity: bytes, keys: set[bytes]) -> None:
        """Bring an entry and its names together."""
        entry = self._get(identity)
        if entry is None:
            return
        listed = self._listed(identity)
        for key in (entry.parent + entry.name, *listed):
            self._restore(key, identity, entry.type)
        names = sorted(
            key
            for key in {entry.parent + entry.name, *listed, *keys}
            if self._leads(key, identity)
        )
        if entry.type == DIRECTORY and len(names) > 1:
            self._report.lose("path", f"a directory has several names: {RESCUE}",
                              stream=identity.hex())  # fmt: skip
            return
        if not names:
            names = [self._place(identity, entry)]
        own = entry.parent + entry.name
        first = min(names, key=lambda key: (key[:ID_SIZE] == DELETED_ID, key != own))
        self._put(identity, entry.changed(
            parent=first[:ID_SIZE], name=first[ID_SIZE:], deleted=self._deleted(first),
            links=0 if first[:ID_SIZE] == ORPHANS_ID else len(names),
        ))  # fmt: skip
        kept = set(names) if len(names) > 1 else set()
        for key in set(listed) - kept:
            self._paths.delete(LINKS_ID + identity + key)
        for key in kept - set(listed):
            self._paths.insert(LINKS_ID + identity + key, b"")
        self._report.mend("path", "an entry and its names fit again", path=self._path(first))

    def _restore(self, key: bytes, identity: bytes, kind: bytes) -> None:
        """Give an entry a name that it says it has, if nothing else has it."""
        directory = key[:ID_SIZE]
        if key in self._paths or directory in HIDDEN or not _is_name(key[ID_SIZE:]):
            return
        parent = self._get(directory)
        if parent is not None and parent.type == DIRECTORY:
            self._paths.insert(key, PATH.pack(kind, identity))

    def _deleted(self, key: bytes) -> int:
        """When a name was deleted, 0 where it was not."""
        if key[:ID_SIZE] != DELETED_ID:
            return 0
        value = self._paths.get(key) or b""
        return DELETED.unpack_from(value.ljust(DELETED.size, b"\0"))[2] or self._now

    def _place(self, identity: bytes, entry: Entry) -> bytes:
        """Give an entry that cannot have its own name one in /lost+found; return the key."""
        if entry.parent == DELETED_ID and len(entry.name) == ID_SIZE:
            return self._place_deleted(identity, entry)
        key = self._lost_found() + str(UUID(bytes=identity)).encode()
        self._paths.insert(key, PATH.pack(entry.type, identity))
        return key

    def _place_deleted(self, identity: bytes, entry: Entry) -> bytes:
        """A deleted entry whose former place is lost would come back to /lost+found."""
        record = split(self._entries.get(identity) or b"")[0]
        length = STREAM.unpack(record)[4]
        key = DELETED_ID + entry.name
        when = entry.deleted or self._now
        origin = DELETED.pack(entry.type, identity, when, length, self._lost_found())
        self._paths.insert(key, origin + str(UUID(bytes=identity)).encode())
        return key

    def _lost_found(self) -> bytes:
        """The id of /lost+found, which is made if need be."""
        if self._lost is None:
            name, number = LOST, 1
            while (value := self._paths.get(ROOT_ID + name)) and value[:1] != DIRECTORY:
                name, number = LOST + b"-%d" % number, number + 1
            if value is None:
                self._lost = new_identity_bytes()
                self._put(self._lost, self._new(DIRECTORY, ROOT_ID, name))
                self._paths.insert(ROOT_ID + name, PATH.pack(DIRECTORY, self._lost))
            else:
                self._lost = value[1 : PATH.size]
        return self._lost

    # --- circles

    def _break_circles(self) -> None:
        """Directories that hang on one another and not on the root move to /lost+found."""
        rooted = {ROOT_ID, DELETED_ID}
        for identity in self._directories():
            trail: dict[bytes, None] = {}
            at = identity
            while at not in rooted and at not in trail:
                entry = self._get(at)
                if entry is None:
                    break
                trail[at] = None
                at = entry.parent
            if at in trail:
                self._move_to_lost(at)
            rooted.update(trail)

    def _directories(self) -> Iterator[bytes]:
        for key, value in self._entries.items():
            if decode_entry(split(value)[2]).type == DIRECTORY:
                yield key

    def _move_to_lost(self, identity: bytes) -> None:
        entry = self._get(identity)
        assert entry is not None  # noqa: S101 - it is on the trail
        self._paths.delete(entry.parent + entry.name)
        key = self._lost_found() + str(UUID(bytes=identity)).encode()
        self._paths.insert(key, PATH.pack(entry.type, identity))
        self._put(identity, entry.changed(parent=key[:ID_SIZE], name=key[ID_SIZE:]))
        self._report.mend("path", "a circle of directories was broken", path=self._path(key))

    def _path(self, key: bytes) -> str:
        """The path of a key, as far up as it can be followed."""
        names, seen = [_shown(key)], {key[:ID_SIZE]}
        while (at := key[:ID_SIZE]) not in HIDDEN and at != ROOT_ID:
            entry = self._get(at)
            if entry is None or entry.parent in seen:
                return "/".join(["...", *reversed(names)])
            seen.add(entry.parent)
            key = entry.parent + entry.name
            names.append(_shown(key))
        return "/" * (at == ROOT_ID) + "/".join(reversed(names))


NO_PLACE: Final = bytes(ID_SIZE)  # parent of what has to be placed


def _is_name(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return bool(name) and b"/" not in name and b"\0" not in name and name not in (b".", b"..")


def _shown(key: bytes) -> str:
    """The name in a key, for people."""
    if key[:ID_SIZE] == LINKS_ID:
        key = key[2 * ID_SIZE :]
    if key[:ID_SIZE] == DELETED_ID:
        return f"(deleted {key[ID_SIZE:].hex()})"
    return key[ID_SIZE:].decode(errors="backslashreplace")
