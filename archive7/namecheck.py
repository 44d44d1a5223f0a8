"""Names checked: every entry has its names, every name leads to its entry.

Owns the invariants of the paths tree: directories, several names of one entry, deleted names.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from .entry import (
    DELETED_ID,
    DIRECTORY,
    LINKS_ID,
    ORPHANS_ID,
    ROOT_ID,
    Entry,
    decode_entry,
    decode_path,
)
from .errors import CorruptError, TreeCorruptError
from .extras import decode_extras
from .filesystem import Filesystem
from .finding import Finding, error
from .layout import ID_SIZE, PATH
from .paths import FilesystemStreamManager


class NameChecker:
    """One run over the names of one archive."""

    def __init__(self, manager: FilesystemStreamManager, filesystem: Filesystem) -> None:
        self._manager = manager
        self._filesystem = filesystem
        self._rooted = {ROOT_ID, DELETED_ID}  # directories that hang on one of these

    # --- entries

    def check_entry(self, key: bytes, found: Entry) -> Iterator[Finding]:
        """The names in the entry lead back to it; its directory is one."""
        for reason in self._wrong_in_entry(key, found):
            yield error("registry", reason, stream=key.hex())

    def _wrong_in_entry(self, key: bytes, found: Entry) -> Iterator[str]:
        value = self._manager.paths.get(found.parent + found.name)
        if value is None or value[: PATH.size] != found.type + key:
            yield "its name does not lead to it"
        if bool(found.deleted) != (found.parent == DELETED_ID):
            yield "it says that it was deleted where it was not, or the other way round"
        if not found.links and found.parent != ORPHANS_ID:
            yield "it counts no name"
        try:
            decode_extras(found.extra)
            if found.links > 1:
                self._filesystem.names_of(key)
        except TreeCorruptError as damage:
            yield damage.reason
        if found.parent not in (ORPHANS_ID, DELETED_ID) and not self._is_directory(found.parent):
            yield "its directory is missing"

    def _is_directory(self, identity: bytes) -> bool:
        try:
            owner = self._manager.registry.owner(UUID(bytes=identity))
            return owner is not None and decode_entry(owner).type == DIRECTORY
        except TreeCorruptError:
            return False

    # --- names

    def check_paths(self) -> Iterator[Finding]:
        """Every name leads to an entry of its type and name."""
        try:
            for key, value in self._manager.paths.items():
                reasons = (
                    self._wrong_in_link(key)
                    if key[:ID_SIZE] == LINKS_ID
                    else self._wrong_in_name(key, value)
                )
                for reason in reasons:
                    name = key[ID_SIZE:].decode(errors="backslashreplace")
                    yield error("path", f"the name {name!r} {reason}")
        except CorruptError as damage:
            yield error("path", damage)

    def _wrong_in_link(self, key: bytes) -> Iterator[str]:
        """A name of an entry with several names leads to it as one of its directory."""
        identity, name = key[ID_SIZE : 2 * ID_SIZE], key[2 * ID_SIZE :]
        value = self._manager.paths.get(name)
        if value is None or value[1 : PATH.size] != identity:
            yield "is not a name of its entry"

    def _wrong_in_name(self, key: bytes, value: bytes) -> Iterator[str]:
        is_deleted = key[:ID_SIZE] == DELETED_ID
        try:
            kind, identity = decode_path(value[: PATH.size] if is_deleted else value)
            owner = self._manager.registry.owner(UUID(bytes=identity))
            found = None if owner is None else decode_entry(owner)
        except TreeCorruptError as damage:
            yield f"cannot be followed: {damage.reason}"
            return
        if found is None:
            yield "leads nowhere"
        elif found.type != kind:
            yield "has another type than its entry"
        elif found.links < 2 and found.parent + found.name != key:
            yield "leads to an entry of another name"
        elif found.links > 1 and LINKS_ID + identity + key not in self._manager.paths:
            yield "is not among the names of its entry"
        elif kind == DIRECTORY and not self._is_rooted(identity):
            yield "stands in a circle of directories"
        if key[:ID_SIZE] not in (ORPHANS_ID, DELETED_ID) and not _is_utf8(key[ID_SIZE:]):
            yield "is not UTF-8"

    def _is_rooted(self, identity: bytes) -> bool:
        """Whether a directory hangs on the root one; what was found so far is kept."""
        trail: set[bytes] = set()
        while identity not in self._rooted:
            owner = self._manager.registry.owner(UUID(bytes=identity))
            if identity in trail or owner is None:
                return owner is None  # a missing directory is told where it is missing
            trail.add(identity)
            identity = decode_entry(owner).parent
        self._rooted |= trail
        return True


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
