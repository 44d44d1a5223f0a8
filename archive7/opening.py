"""Opening: which root to take, and whether all that it refers to is there.

Owns the rules of container.md 6.5 (docs/design.rst, "Opening").  May assume roots that were read
and decoded.  Promises: never a root below the last one known durable; an unmarked root above it
only after every block and node in which it differs from its base was opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .errors import CorruptError
from .layout import DATA_SIZE, FANOUT, NO_ENTRY
from .map import Entry, Map, Nodes, entry_slot, node_entry
from .root import Root

_EMPTY: Final = bytes(DATA_SIZE)


@dataclass(frozen=True)
class Skipped:
    """A root that was not taken, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class Choice:
    """The root that was taken.

    Attributes:
        place, base_place: where it and its base stand in the ring (base_place may be None).
        slots: what has to be written back before this root counts as durable.
        skipped: newer roots that were not whole.
    """

    root: Root
    place: int
    base_place: int | None
    slots: tuple[int, ...]
    skipped: tuple[Skipped, ...]


Verify = Callable[[Root, Root], list[int]]


def floor_of(roots: Mapping[int, Root]) -> tuple[int, bytes]:
    """Number and hash of the newest root known durable: marked, or named as a base."""
    return max(
        (root.number, root.hash) if root.is_marked else (root.base_number, root.base_hash)
        for root in roots.values()
    )


def choose(roots: Mapping[int, Root], verify: Verify) -> Choice:
    """Take the newest root that is whole.

    Args:
        roots: readable roots by place.
        verify: lists the slots in which a root differs from its base, or raises CorruptError.

    Raises: CorruptError where not even the floor is there.
    """
    if not roots:
        raise CorruptError("no root can be read: try rescue", block=0)
    floor = floor_of(roots)
    order = sorted(roots, key=lambda p: (roots[p].number, roots[p].is_marked), reverse=True)
    skipped: dict[int, Skipped] = {}
    for place in order:
        root = roots[place]
        if root.number < floor[0]:
            break
        base_place, base = _find(roots, root.base_hash)
        if root.is_marked or (root.number, root.hash) == floor:
            slots: list[int] = []
        elif base is None:
            skipped[root.number] = Skipped(root.number, "its base is not in the ring")
            continue
        else:
            try:
                slots = verify(root, base)
            except CorruptError as error:
                skipped[root.number] = Skipped(root.number, str(error))
                continue
        return Choice(root, place, base_place, tuple(slots), tuple(skipped.values()))
    raise CorruptError(
        f"commit {floor[0]} was durable and its root cannot be read: try rescue", block=0
    )


def _find(roots: Mapping[int, Root], wanted: bytes) -> tuple[int | None, Root | None]:
    """Where the root with a hash stands."""
    for place, root in roots.items():
        if root.hash == wanted:
            return place, root
    return None, None


class _Lenient:
    """Reads nodes of the base: one that does not open counts as empty."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def read_node(self, entry: Entry, level: int, ordinal: int) -> bytes:
        try:
            return self._nodes.read_node(entry, level, ordinal)
        except CorruptError:
            return _EMPTY

    def write_nodes(self, nodes: object) -> list[Entry]:
        raise NotImplementedError


def map_of(nodes: Nodes, root: Root) -> Map:
    """A read-only map of `root`."""
    return Map(nodes, root.height, root.top, dict(root.changes))


def differences(nodes: Nodes, root: Root, base: Root) -> Iterator[tuple[int | None, Entry]]:
    """Entries of `root` that its base does not have: (position, entry), None for a node.

    Nodes of `root` are opened on the way.  Raises CorruptError where one does not open.
    """
    new, old = map_of(nodes, root), map_of(_Lenient(nodes), base)
    inline = root.changes.keys() | base.changes.keys()
    stack = [(root.height - 1, 0)] if root.height else []
    while stack:
        level, ordinal = stack.pop()
        entry = new.entry_of(level, ordinal)
        if entry in (NO_ENTRY, old.entry_of(level, ordinal)):
            continue
        yield None, entry
        node, old_node = new.node(level, ordinal), old.node(level, ordinal)
        first = ordinal * FANOUT
        for i in range(FANOUT):
            child = node_entry(node, i)
            if child == NO_ENTRY:
                continue
            if level:
                stack.append((level - 1, first + i))
            elif child != node_entry(old_node, i) and first + i not in inline:
                yield first + i, child
    for position in inline:
        entry = new.get(position)
        if entry not in (NO_ENTRY, old.get(position)):
            yield position, entry


def verify_with(
    nodes: Nodes, open_entry: Callable[[int, Entry], object]
) -> Callable[[Root, Root], list[int]]:
    """A `Verify` that opens every block in which a root differs from its base."""

    def verify(root: Root, base: Root) -> list[int]:
        slots = []
        for position, entry in differences(nodes, root, base):
            if position is not None:
                open_entry(position, entry)
            slots.append(entry_slot(entry))
        return slots

    return verify
