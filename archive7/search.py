"""Searches: what a query finds among all entries.

Owns the scan over the registry, leaf by leaf, and the climb from an entry to its path.  May assume
a compiled condition.  Promises: entries in the order of their ids, as they were when the search
began, or an error; the lock is held for a few leaves at a time, never while the caller works.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID

from .entry import (
    DELETED_ID,
    DIRECTORY,
    HIDDEN,
    LINK,
    NIL,
    ROOT_ID,
    decode_entry,
    decode_path,
    decode_text,
)
from .errors import TreeCorruptError, UsageError
from .extras import Extras, decode_extras
from .filesystem import Filesystem
from .layout import ENTRY, EXTENT, EXTENT_COUNT, STREAM, StructError
from .paths import PathLike, after
from .pattern import Ask
from .query import KINDS, Condition, all_of
from .streams.registry import split

_LEAVES: Final = 64  # read under one lock: about 1500 entries, a few milliseconds
_NAMES: Final = 4096  # names in a subtree that are read under one lock
_FOUND: Final = 256  # records made under one lock
_FOLDERS: Final = 65536  # directories whose path is kept
_DEEPEST: Final = 65536  # a longer way to the root is a circle
# A subtree of fewer entries than this times the leaves of the registry is walked, not scanned
# for: reading an entry by its id costs about as much as scanning so many of a leaf.
_WALKED: Final = 4
_AT_ONCE: Final = 32  # entries that are read by their ids, as many as a leaf has
_OWNER: Final = STREAM.size + EXTENT_COUNT.size  # where an entry begins if its file is one run
_ONE_RUN: Final = bytes(EXTENT_COUNT.size)
_NOBODY: Final = UUID(bytes=NIL)
_DELETED: Final = 6  # place of a field in ENTRY


class Found(NamedTuple):
    """An entry that fulfils a query, as it was when it was found.

    Attributes:
        path: from the root; of something deleted, where it stood.
        name: the last part of the path.
        type: file, directory or link.
        id: of the entry; later ones sort behind earlier ones.
        parent: id of its directory.
        size: bytes of a file or of a link's target; 0 for a directory.
        created_ns, modified_ns: nanoseconds since 1970.
        mode: permission bits.
        user, group: numbers.
        owner: an identity of the application's.
        links: names that lead to it; the path is the first of them.
        deleted_ns: when it, or a directory above, was deleted; 0 where none was.
    """

    path: str
    name: str
    type: str
    id: UUID
    parent: UUID
    size: int
    created_ns: int
    modified_ns: int
    mode: int
    user: int
    group: int
    owner: UUID
    links: int
    deleted_ns: int


def _damage(reason: str, identity: bytes) -> TreeCorruptError:
    return TreeCorruptError(f"{reason}: run check", stream=UUID(bytes=identity))


class _Folder(NamedTuple):
    """A directory that hangs on the root."""

    id: UUID
    path: str  # with a slash at its end
    deleted: int  # when it, or one above, was deleted
    is_inside: bool  # of the directory that a search is restricted to


class _Folders:
    """Directories by id; what is found on the way up is kept."""

    def __init__(self, filesystem: Filesystem, top: bytes) -> None:
        self._filesystem = filesystem
        self._top = top
        self._kept: dict[bytes, _Folder | None] = {}
        self._forget()

    def _forget(self) -> None:
        self._kept = dict.fromkeys(HIDDEN)
        self._kept[ROOT_ID] = _Folder(UUID(bytes=ROOT_ID), "/", 0, self._top == ROOT_ID)

    def get(self, identity: bytes, *, is_former: bool) -> _Folder | None:
        """The directory; None for one that is no user's, such as that of orphans.

        Args: is_former: it held something that was deleted, and may be gone since.
        Raises: TreeCorruptError where it does not hang on the root.
        """
        try:
            return self._kept[identity]
        except KeyError:
            return self._climb(identity, is_former)

    def _climb(self, identity: bytes, is_former: bool) -> _Folder | None:
        if len(self._kept) > _FOLDERS:
            self._forget()
        trail: list[tuple[bytes, bytes, int]] = []
        here = identity
        while here not in self._kept:
            value = self._filesystem.manager.registry.tree.get(here)
            if value is None and is_former:
                self._kept[here] = _Folder(UUID(bytes=here), "/?/", 0, self._top == ROOT_ID)
                break
            if value is None or len(trail) > _DEEPEST:
                raise _damage("an entry stands in no directory", identity)
            entry = decode_entry(split(value)[2])
            name, above, is_former = entry.name, entry.parent, entry.parent == DELETED_ID
            if is_former:
                above, name = self._filesystem.origin(here)
            trail.append((here, name, entry.deleted))
            here = above
        return self._descend(self._kept[here], trail)

    def _descend(
        self, folder: _Folder | None, trail: list[tuple[bytes, bytes, int]]
    ) -> _Folder | None:
        """Keep the directories that were met on the way up, topmost first."""
        for identity, name, deleted in reversed(trail):
            if folder is not None:
                path = f"{folder.path}{decode_text(name)}/"
                is_inside = folder.is_inside or identity == self._top
                id_ = UUID(bytes=identity)
                folder = _Folder(id_, path, deleted or folder.deleted, is_inside)
            self._kept[identity] = folder
        return folder


def _fixed(place: int, doc: str) -> Any:
    """A field of `ENTRY` as an attribute."""
    return property(lambda row: row.fields[place], doc=doc)


class EntryRow:
    """The entry that a scan is at; it decodes what it is asked for.

    Attributes:
        id: its key in the registry.
        value: what stands there.
        base: where the entry begins in that.
        fields: those of `ENTRY`.
        origin: directory and name where it stood; None where it was not deleted.
    """

    __slots__ = ("_folders", "_lengths", "base", "fields", "id", "origin", "value")

    def __init__(self, folders: _Folders, lengths: dict[bytes, int]) -> None:
        self._folders = folders
        self._lengths = lengths
        self.id = self.value = b""
        self.base = 0
        self.fields: tuple[Any, ...] = ()
        self.origin: tuple[bytes, bytes] | None = None

    type = _fixed(0, "`FILE`, `DIRECTORY` or `LINK`.")
    owner = _fixed(3, "An identity of the application's.")
    created = _fixed(4, "Nanoseconds since 1970.")
    modified = _fixed(5, "Nanoseconds since 1970.")
    mode = _fixed(7, "Permission bits.")
    user = _fixed(8, "Number of the user.")
    group = _fixed(9, "Number of the group.")
    links = _fixed(10, "Count of names.")

    @property
    def parent(self) -> bytes:
        """Id of the directory."""
        return self.origin[0] if self.origin else self._parent

    _parent = _fixed(2, "Id of the directory, where the entry was not deleted.")
    _own_deleted = _fixed(6, "When it was deleted; 0 where it was not.")
    _name_size = _fixed(11, "Bytes of the name.")
    _target_size = _fixed(12, "Bytes of a link's target.")
    _extra_size = _fixed(13, "Bytes of the extras.")

    # --- decoded

    @property
    def name(self) -> bytes:
        """The name, in UTF-8."""
        if self.origin:
            return self.origin[1]
        begin = self.base + ENTRY.size
        return self.value[begin : begin + self._name_size]

    @property
    def size(self) -> int:
        """Bytes of a file, if it is open with what it was handed, or of a link's target."""
        if self.type == LINK:
            return int(self._target_size)
        length = self._lengths.get(self.id)
        return int(STREAM.unpack_from(self.value)[4]) if length is None else length

    @property
    def user_name(self) -> str:
        """Name of the user, or nothing."""
        return self._extras.user if self._extra_size else ""

    @property
    def group_name(self) -> str:
        """Name of the group, or nothing."""
        return self._extras.group if self._extra_size else ""

    @property
    def _extras(self) -> Extras:
        begin = self.base + ENTRY.size + self._name_size + self._target_size
        return decode_extras(self.value[begin : begin + self._extra_size])

    # --- by climbing

    @property
    def folder(self) -> _Folder | None:
        """The directory; None for what is hidden."""
        return self._folders.get(self.parent, is_former=self.origin is not None)

    @property
    def path(self) -> str:
        """The path; nothing for what is hidden."""
        folder = self.folder
        return "" if folder is None else folder.path + decode_text(self.name)

    @property
    def deleted(self) -> int:
        """When this, or a directory above, was deleted; 0 where none was."""
        folder = None if self._own_deleted else self.folder
        return int(self._own_deleted) if folder is None else folder.deleted

    def found(self, folder: _Folder) -> Found:
        """All that is told of it."""
        kind, _, _, owner, created, modified, deleted, *others = self.fields
        mode, user, group, links, *sizes = others
        if kind not in KINDS or self.base + ENTRY.size + sum(sizes) != len(self.value):
            raise _damage("an entry contradicts itself", self.id)
        name = decode_text(self.name)
        return Found(
            folder.path + name, name, KINDS[kind], UUID(bytes=self.id), folder.id, self.size,
            created, modified, mode, user, group, _NOBODY if owner == NIL else UUID(bytes=owner),
            links, deleted or folder.deleted,
        )  # fmt: skip


class Search:
    """One query under way.

    Args:
        filesystem: of the archive, whose lock is held as for every call.
        condition: what is to be found; None for everything.
        top: the directory below which it stands.
    """

    def __init__(self, filesystem: Filesystem, condition: Condition | None, top: bytes) -> None:
        manager = filesystem.manager
        self._filesystem = filesystem
        self._tree = manager.registry.tree
        self._version = self._tree.version
        self._test = None if condition is None else condition.compiled()
        self._with_deleted = condition is not None and "deleted" in condition.fields
        lengths = {stream.identity.bytes: stream.len for stream in manager.open_streams}
        self._row = EntryRow(_Folders(filesystem, top), lengths)
        self._next: bytes | None = b""
        self._ids: list[bytes] | None = None
        self._below: set[bytes] = set()
        self._walk: Iterator[bytes] | None = None
        if top != ROOT_ID and not self._with_deleted:  # what was deleted is in no directory
            self._walk = self._names(top)

    def _names(self, top: bytes) -> Iterator[bytes]:
        """The ids under all names below a directory."""
        waiting, seen = [top], set[bytes]()
        while waiting:
            here = waiting.pop()
            if here in seen:
                raise _damage("directories stand in a circle", here)
            seen.add(here)
            for _, value in self._filesystem.manager.paths.items(here, after(here)):
                kind, identity = decode_path(value)
                if kind == DIRECTORY:
                    waiting.append(identity)
                yield identity

    def _collect(self, walk: Iterator[bytes]) -> None:
        """Walk on in a subtree, until it turns out to be so large that a scan costs less."""
        ids = list(islice(walk, _NAMES))
        self._below.update(ids)
        if len(self._below) > _WALKED * self._filesystem.manager.index_stream.count:
            self._walk = None
        elif len(ids) < _NAMES:
            self._walk, self._ids = None, sorted(self._below, reverse=True)

    @property
    def is_done(self) -> bool:
        """Whether everything was looked at."""
        if self._ids is not None:
            return not self._ids
        return self._walk is None and self._next is None

    def check(self) -> None:
        """Raise UsageError if the archive is not what it was when the search began."""
        tree = self._filesystem.manager.registry.tree
        if tree is not self._tree or tree.version != self._version:
            raise UsageError(
                "the archive was changed during find(): take list(archive.find(...)) before "
                "changing it, in a transaction if others write, too"
            )

    def more(self) -> list[Found]:
        """What is found in the next entries, be it nothing."""
        self.check()
        if self._walk is not None:
            self._collect(self._walk)
            return []
        found: list[Found] = []
        for _ in range(_LEAVES):
            if self.is_done or len(found) >= _FOUND:
                break
            found += self._matching(self._items())
        return found

    def _items(self) -> Iterable[tuple[bytes, bytes]]:
        """The entries of the next leaf, or as many from the list of ids."""
        get = self._tree.get
        if self._ids is not None:
            ids = self._ids[: -_AT_ONCE - 1 : -1]
            del self._ids[-_AT_ONCE:]
            return [(key, get(key) or b"") for key in ids]
        leaf, self._next = self._tree.leaf(self._next or b"")
        if not leaf.far:
            return zip(leaf.keys, leaf.values, strict=True)
        return [(key, get(key) or b"") for key in leaf.keys]

    def _matching(self, items: Iterable[tuple[bytes, bytes]]) -> Iterator[Found]:
        """The loop over all entries: what stands here is paid for each of them."""
        row, test, with_deleted = self._row, self._test, self._with_deleted
        unpack = ENTRY.unpack_from
        for key, value in items:
            base = _OWNER
            try:
                if value[STREAM.size : _OWNER] != _ONE_RUN:
                    base += EXTENT.size * EXTENT_COUNT.unpack_from(value, STREAM.size)[0]
                fields = unpack(value, base)
            except StructError:
                if len(value) == base:
                    continue  # a stream without an entry
                raise _damage("an entry is too short", key) from None
            if fields[_DELETED] and not with_deleted:
                continue
            row.id, row.value, row.base, row.fields = key, value, base, fields
            row.origin = self._filesystem.origin(key) if fields[_DELETED] else None
            if test is None or test(row):
                folder = row.folder
                if folder is None or not folder.is_inside or key == ROOT_ID:
                    continue
                if with_deleted or not folder.deleted:
                    yield row.found(folder)


def find(ask: Ask, conditions: tuple[Condition, ...], under: PathLike) -> Iterator[Found]:
    """Iterate over what fulfils all conditions below a directory."""
    condition = all_of(conditions)
    return _batches(ask, ask(lambda fs: Search(fs, condition, fs.directory(under))))


def _batches(ask: Ask, search: Search) -> Iterator[Found]:
    while not search.is_done:
        for found in ask(lambda _: search.more()):
            yield found
            search.check()
