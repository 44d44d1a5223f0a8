"""Names checked: every entry has its names, every name leads to its entry.

Owns the invariants of the paths tree: directories, several names of one entry, deleted names.
Names are proved from the entries; what is left over is counted, and only where something is left
over is each name followed.  Memory: a bounded set of directories.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
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
    decode_text,
)
from .errors import Archive7Error, CorruptError, TreeCorruptError
from .extras import decode_extras
from .filesystem import Filesystem
from .finding import Report
from .layout import DELETED, ID_SIZE, MAX_NAME_SIZE, PATH
from .paths import FilesystemStreamManager
from .streams.registry import split
from .treecheck import items_of, leaf_behind
from .treenode import TreeNode

_MOST: Final = 65536  # directories remembered
_MOST_PARTS: Final = 256  # of a path in a finding


class NameChecker:
    """One run over the names of one archive."""

    def __init__(
        self, manager: FilesystemStreamManager, filesystem: Filesystem, report: Report
    ) -> None:
        self._registry, self._paths = manager.registry, manager.paths
        self._filesystem = filesystem
        self._report, self._tell = report, report.tell
        self._rooted = {ROOT_ID, DELETED_ID}  # directories that hang on one of these
        self._circling: set[bytes] = set()  # those that do not
        self._directories: set[bytes] = set()
        self._proved = self._seen = 0  # items of the paths tree

    # --- entries

    def check_entry(self, key: bytes, found: Entry) -> None:
        """The names in the entry lead back to it; its directory is one."""
        if key == ROOT_ID:
            if found.type != DIRECTORY:
                self._tell("entry-damaged", "the root is no directory")
            return
        value = self._value_of(found.parent + found.name)
        if value is None or value[: PATH.size] != found.type + key:
            self._tell("entry-nameless", "its name does not lead to it")
        else:
            self._proved += 1
        if bool(found.deleted) != (found.parent == DELETED_ID):
            message = "it says that it was deleted where it was not, or the other way round"
            self._tell("entry-deleted", message)
        self._check_links(key, found)
        if found.extra or found.target:
            self._check_parts(found)
        if found.parent not in (ORPHANS_ID, DELETED_ID) and not self._is_directory(found.parent):
            self._tell("entry-homeless", "its directory is missing")
        elif found.type == DIRECTORY and not self._is_rooted(key):
            self._tell("name-circle", "it stands in a circle of directories")

    def _check_links(self, key: bytes, found: Entry) -> None:
        if (found.links == 0) != (found.parent == ORPHANS_ID):
            self._tell("entry-links", f"it counts {found.links} names where that cannot be")
        if found.links < 2:
            return
        try:
            others = self._filesystem.names_of(key)[1:]
        except CorruptError as damage:
            self._report.damage("entry-links", damage)
            return
        self._proved += 1 + len(others)  # that these are its names
        for name in others:
            value = self._value_of(name)
            if value is None or value[: PATH.size] != found.type + key:
                self._tell("entry-nameless", "one of its names does not lead to it")
            else:
                self._proved += 1

    def _check_parts(self, found: Entry) -> None:
        try:
            decode_extras(found.extra)
            decode_text(found.target)
        except TreeCorruptError as damage:
            self._report.damage("entry-damaged", damage)

    def _value_of(self, name: bytes) -> bytes | None:
        try:
            return self._paths.get(name)
        except CorruptError:  # told where the tree is checked
            return None

    def _entry_of(self, identity: bytes) -> Entry | None:
        try:
            owner = self._registry.owner(UUID(bytes=identity))
            return None if owner is None else decode_entry(owner)
        except CorruptError:
            return None

    def _is_directory(self, identity: bytes) -> bool:
        if identity in self._directories:
            return True
        found = self._entry_of(identity)
        if found is None or found.type != DIRECTORY:
            return False
        if len(self._directories) >= _MOST:
            self._directories.clear()
        self._directories.add(identity)
        return True

    # --- circles

    def _is_rooted(self, identity: bytes) -> bool:
        """Whether a directory hangs on the root one; a missing one is told where it is missing.

        Cost: the way up to what is known.  Memory: bounded, however deep it is.
        """
        here = mark = identity
        steps, limit = 0, 1
        while here not in self._rooted:
            found = None if here in self._circling else self._entry_of(here)
            if found is None:
                if here not in self._circling:
                    return True
                self._remember(self._circling, identity)
                return False
            here, steps = found.parent, steps + 1
            if here == mark:
                self._remember(self._circling, identity)
                return False
            if steps == limit:
                mark, steps, limit = here, 0, limit * 2
        self._remember(self._rooted, identity)
        return True

    def _remember(self, known: set[bytes], identity: bytes) -> None:
        """Keep a directory and those above it, as far as there is room."""
        if len(known) >= _MOST:
            known.clear()
            known |= {ROOT_ID, DELETED_ID} if known is self._rooted else set()
        while identity not in known and len(known) < _MOST:
            known.add(identity)
            found = self._entry_of(identity)
            if found is None:
                return
            identity = found.parent

    # --- names

    def check_leaf(self, leaf: TreeNode) -> None:
        """Names of a leaf of the paths tree, as they stand there."""
        self._seen += len(leaf.keys)
        for key, value in zip(leaf.keys, leaf.values, strict=True):
            above = key[:ID_SIZE]
            if above in _INTERNAL:
                continue
            name = key[ID_SIZE:]
            if len(value) != PATH.size:
                self._name("name-damaged", key, "leads nowhere")
            elif not name.isascii() and not _is_utf8(name):
                self._name("name-damaged", key, "is not UTF-8")
            elif len(name) > MAX_NAME_SIZE or b"/" in name or b"\0" in name or name in _NO_NAMES:
                self._name("name-damaged", key, "is none that a file can have")

    def check_rest(self) -> None:
        """Where there are names that no entry has proved: follow each."""
        if self._proved == self._seen:
            return
        low = b""
        for _ in range(self._seen + 1):  # a damaged tree may have few leaves and many ways
            leaf, upper = leaf_behind(self._paths, low)
            if leaf is not None:
                for key, at in items_of(leaf, low, upper):
                    self._follow(key, leaf.values[at])
            if upper is None:
                return
            low = upper

    def _follow(self, key: bytes, value: bytes) -> None:
        wrong = (
            self._wrong_in_link(key)
            if key[:ID_SIZE] == LINKS_ID
            else self._wrong_in_name(key, value)
        )
        for code, reason in wrong:
            self._name(code, key, reason)

    def _name(self, code: str, key: bytes, reason: str) -> None:
        name = key[ID_SIZE:].decode(errors="backslashreplace")
        self._tell(code, f"the name {name!r} {reason}", path=self._path_below(key))

    def _path_below(self, key: bytes) -> str | None:
        if len(key) < ID_SIZE or key[:ID_SIZE] in _INTERNAL:
            return None
        above = self.path_of(key[:ID_SIZE])
        if above is None:
            return None
        return f"{above.rstrip('/')}/{key[ID_SIZE:].decode(errors='replace')}"

    def path_of(self, identity: bytes) -> str | None:
        """The path of an entry, or its last parts; None where it has none."""
        try:
            return self._filesystem.path_of(identity, _MOST_PARTS)
        except Archive7Error:
            return None

    def _wrong_in_link(self, key: bytes) -> Iterator[tuple[str, str]]:
        """A name of an entry with several names leads to it as one of its directory."""
        identity, name = key[ID_SIZE : 2 * ID_SIZE], key[2 * ID_SIZE :]
        value = self._value_of(name)
        if value is None or value[1 : PATH.size] != identity:
            yield "name-stale", "is not a name of its entry"

    def _wrong_in_name(self, key: bytes, value: bytes) -> Iterator[tuple[str, str]]:
        is_deleted = key[:ID_SIZE] == DELETED_ID
        if is_deleted and len(value) < DELETED.size:
            yield "name-damaged", "has lost where it stood"
        try:
            kind, identity = decode_path(value[: PATH.size] if is_deleted else value)
        except TreeCorruptError:
            yield "name-damaged", "leads nowhere"
            return
        found = self._entry_of(identity)
        if found is None:
            yield "name-dead", "leads to no entry that can be read"
        elif found.type != kind:
            yield "name-wrong", "has another type than its entry"
        elif found.links < 2 and found.parent + found.name != key:
            yield "name-wrong", "leads to an entry of another name"
        elif found.links > 1 and self._value_of(LINKS_ID + identity + key) is None:
            yield "name-unlisted", "is not among the names of its entry"


def names_agree(manager: FilesystemStreamManager, filesystem: Filesystem) -> bool:
    """Whether every entry has its names and every name its entry, in trees that are whole."""
    report = Report(lambda _: None)
    checker = NameChecker(manager, filesystem, report)
    try:
        for key, value in manager.registry.tree.items():
            checker.check_entry(key, decode_entry(split(value)[2]))
            if report.told:
                return False
        low: bytes | None = b""
        while low is not None and not report.told:
            leaf, low = leaf_behind(manager.paths, low)
            if leaf is None:
                return False
            checker.check_leaf(leaf)
        checker.check_rest()
    except CorruptError:
        return False
    return not report.told


_NO_NAMES: Final = frozenset({b"", b".", b".."})
_INTERNAL: Final = frozenset({DELETED_ID, ORPHANS_ID, LINKS_ID})


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
