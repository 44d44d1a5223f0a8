"""Remains: what is left of the registry and of the paths tree.

Owns which values and names are proved and which may be older, and what was deleted.  May assume
a survey, a chart and an assembly.  Promises: no tree is trusted to be one; no recursion.  Memory:
the values and names that were found, about 500 bytes for each file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from .assembly import Assembly, recorded, special_record
from .chart import Chart
from .entry import DELETED_ID, HIDDEN, LINKS_ID, ORPHANS_ID, Entry, decode_entry
from .errors import Archive7Error
from .layout import DELETED, ENTRY_MODIFIED_OFFSET, ID_SIZE, PATH, TIME
from .map import entry_slot
from .streams.manager import special_identity
from .streams.registry import split
from .survey import Survey
from .treenode import TreeNode, decode_node

REGISTRY: Final = special_identity(1).bytes
PATHS: Final = special_identity(2).bytes
SPECIAL: Final = {special_identity(number).bytes for number in range(16)}
_EMPTY: Final = bytes(TIME.size)


class Older(NamedTuple):
    """A value that may be out of date; the greater one is newer."""

    moment: int
    value: bytes


class Buried(NamedTuple):
    """Where something deleted stood."""

    type: bytes
    parent: bytes
    name: bytes


class Remains:
    """Values of the registry and names.

    Attributes:
        values, older: identity -> value of the registry, proved or maybe out of date.
        touched: identities whose proved value may have been replaced later.
        names, older_names: identity -> keys (parent and name) in the paths tree.
        types: identity -> type, as the paths tree has it.
        buried: identity -> where it stood, of what was deleted.
        orphans: files that were removed while they were open.
        far: streams of large values.
        is_registry_whole, is_paths_whole: whether the last version of every leaf is there.
    """

    def __init__(self, survey: Survey, chart: Chart, assembly: Assembly) -> None:
        self._survey, self._chart, self._assembly = survey, chart, assembly
        self.values: dict[bytes, bytes] = {}
        self.older: dict[bytes, Older] = {}
        self.touched: set[bytes] = set()
        self.names: dict[bytes, list[bytes]] = {}
        self.older_names: dict[bytes, list[bytes]] = {}
        self.types: dict[bytes, bytes] = {}
        self.buried: dict[bytes, Buried] = {}
        self.orphans: set[bytes] = set()
        self.far: set[bytes] = set()
        self.is_registry_whole = self.is_paths_whole = False

    # --- what the root leads to

    def walk(self) -> None:
        """Read both trees from the root down, as far as their nodes open."""
        root = self._chart.root
        if root is None or len(root.streams) < 3:
            return
        self.is_registry_whole = self._walk_tree(REGISTRY, root.streams[1])
        self.is_paths_whole = self._walk_tree(PATHS, root.streams[2])

    def _walk_tree(self, stream: bytes, record: bytes) -> bool:
        """Take the leaves of a tree; False if a node is missing."""
        begin, count = special_record(record)
        waiting, seen, is_whole = [begin] if count else [], set[int](), True
        while waiting:
            position = waiting.pop()
            found = self._assembly.at(position, stream)
            node = None if found is None or position in seen else _node(found[1])
            seen.add(position)
            if node is None:
                is_whole = False
            elif node.level:
                waiting += node.children
            else:
                self._take_leaf(stream, node, None)
        return is_whole

    def explain(self) -> None:
        """Mark the slots of all files whose value is proved: they need no survey."""
        for identity, value in self.values.items():
            record = recorded(identity, value, self._assembly.limit)
            if record is None:
                continue
            for begin, size in record.extents:
                for first in range(begin, begin + size, 256):
                    count = min(256, begin + size - first)
                    self._explain_run(first, count)

    def _explain_run(self, position: int, count: int) -> None:
        explained, limit = self._survey.explained, self._survey.count
        run = self._chart.run(position, count)
        if run is None:
            entries = self._chart.entries(position, count)
            slots = [entry_slot(entry) for entry in entries if entry is not None]
        else:
            slots, _ = run
        for slot in slots:
            if 0 < slot <= limit:
                explained[slot] = 1

    # --- what the survey found

    def gather(self) -> None:
        """Take every leaf that was found, in all versions where the last one is not proved."""
        for stream in (REGISTRY, PATHS):
            strand = self._assembly.by_blocks(stream)
            is_whole = strand is not None and strand.is_proved
            later = self._gather_tree(stream)
            if stream == REGISTRY:
                self.is_registry_whole = (is_whole or self.is_registry_whole) and not later
            else:
                self.is_paths_whole = (is_whole or self.is_paths_whole) and not later

    def _gather_tree(self, stream: bytes) -> bool:
        """Take the leaves of one tree; whether any of them is later than the chart."""
        survey, limit = self._survey, self._survey.later_than
        renewed: list[bytes] = []  # keys in leaves of which there is a later version
        newest: dict[bytes, bytes] = {}  # what stands in the last versions of such leaves
        has_later = False
        for rows in survey.versions(stream).values():
            named = next((row for row in rows if survey.positions[row]), None)
            is_later = limit is not None and survey.is_later(rows[0], limit)
            has_later |= is_later
            if named is not None and (node := self._node_in(stream, named)) is not None:
                self._take_leaf(stream, node, None)
                renewed += node.keys if is_later and not node.level else []
            if named is None or is_later:
                for row in rows:
                    node = None if row == named else self._node_in(stream, row)
                    if node is not None:
                        self._take_leaf(stream, node, survey.commits[row])
                        if is_later and row == rows[0]:
                            newest |= self._items(node)
        if stream == REGISTRY:
            changed = {*renewed, *newest} & self.values.keys()
            self.touched |= {key for key in changed if newest.get(key) != self.values[key]}
        return has_later

    def _node_in(self, stream: bytes, row: int) -> TreeNode | None:
        survey = self._survey
        found = survey.read(survey.slots[row], survey.tag(row), stream)
        return None if found is None else _node(found[1])

    # --- leaves

    def _take_leaf(self, stream: bytes, node: TreeNode, commit: int | None) -> None:
        """Take the items of a leaf; `commit` is None where it is proved."""
        for key, value in self._items(node):
            if stream == PATHS:
                self._take_name(key, value, is_proved=commit is None)
            elif len(key) != ID_SIZE:
                continue
            elif commit is None:
                self.values[key] = value
            else:
                moment = commit if self._survey.is_dated else _modified(value)
                self.older[key] = max(self.older.get(key, Older(-1, b"")), Older(moment, value))

    def _items(self, node: TreeNode) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of a leaf, large values too, as far as they are there."""
        if node.level:
            return
        for key, value in zip(node.keys, node.values, strict=True):
            if key not in node.far:
                yield key, value
                continue
            self.far.add(value[:ID_SIZE])
            data = self._assembly.value(value)
            if data is not None:
                yield key, data

    def _take_name(self, key: bytes, value: bytes, *, is_proved: bool) -> None:
        parent, name = key[:ID_SIZE], key[ID_SIZE:]
        if parent == LINKS_ID:
            identity, key = name[:ID_SIZE], name[ID_SIZE:]
            if len(key) > ID_SIZE and key[:ID_SIZE] not in HIDDEN:
                self._add_name(identity, key, is_proved=is_proved)
        elif parent == DELETED_ID:
            if is_proved and len(value) > DELETED.size:
                kind, identity, _, _, where = DELETED.unpack_from(value)
                self.buried[identity] = Buried(kind, where, value[DELETED.size :])
        elif len(value) == PATH.size:
            kind, identity = PATH.unpack(value)
            if parent == ORPHANS_ID:
                self.orphans.add(identity)
                return
            self.types.setdefault(identity, kind)
            self._add_name(identity, key, is_proved=is_proved)

    def _add_name(self, identity: bytes, key: bytes, *, is_proved: bool) -> None:
        keys = (self.names if is_proved else self.older_names).setdefault(identity, [])
        if key not in keys:
            keys.append(key)

    # --- entries

    def entry(self, identity: bytes) -> Entry | None:
        """The entry of an identity, in the best version there is."""
        for value in self._versions(identity):
            try:
                return decode_entry(split(value)[2])
            except Archive7Error:
                continue
        return None

    def _versions(self, identity: bytes) -> Iterator[bytes]:
        newer, value = self.older.get(identity), self.values.get(identity)
        if newer is not None and (identity in self.touched or value is None):
            yield newer.value
        if value is not None:
            yield value

    def value(self, identity: bytes) -> bytes | None:
        """The value of an identity, in the best version there is."""
        return next(self._versions(identity), None)

    def is_proved(self, identity: bytes) -> bool:
        """Whether the value of an identity is its last one."""
        return identity in self.values and identity not in self.touched


def _node(data: bytes) -> TreeNode | None:
    try:
        return decode_node(0, data)[0]
    except Archive7Error:
        return None


def _modified(value: bytes) -> int:
    """Time of modification in a value of the registry; what is damaged comes last."""
    try:
        owner = split(value)[2]
    except Archive7Error:
        return -1
    part = owner[ENTRY_MODIFIED_OFFSET : ENTRY_MODIFIED_OFFSET + TIME.size]
    return max(0, TIME.unpack(part)[0]) if len(part) == TIME.size else -1
