"""Chart: which block is the current one at a position, as far as a root or map nodes still tell.

Owns the choice of the root for a rescue, what stands in its place where no root is left, and how
far that can be trusted.  May assume a device and the ciphers.  Promises: an entry that comes out
is the one of the commit that is charted; damage is an answer, no exception.  Memory: the cache of
map nodes, and a number for each lost leaf.
"""

from __future__ import annotations

from collections.abc import Iterator

from .errors import Archive7Error, CorruptError
from .layout import BLOCK_SIZE, FANOUT, MAX_POSITIONS, RING_PLACES
from .map import Entry, Map, entry_slot, node_entry, node_slots
from .opening import choose, map_of, verify_with
from .reader import BlockReader
from .root import Ring, Root


class Chart:
    """Positions and the blocks that count there.

    Args:
        is_dated: whether blocks tell the commit they were sealed for.  Then a place of the ring
            that is all zeros is taken for one that may have held a root.

    Attributes:
        root: the one that is charted, or None.
        number: commit that is charted; -1 where there is none.
        is_sure: False where a newer root may have been lost.
        is_outdated: whether there is a newer root, whose map is damaged.
        lost: nodes of the map that do not open, as far as they were asked for.
    """

    def __init__(self, reader: BlockReader, ring: Ring, *, is_dated: bool) -> None:
        self._reader = reader
        self._is_dated = is_dated
        self._map: Map | None = None
        self._lost_leaves: set[int] = set()
        self.lost = 0
        self.notes: list[str] = []
        self.number = -1
        self.is_outdated = False
        self.root, self.is_sure = self._choose(ring)

    def _choose(self, ring: Ring) -> tuple[Root | None, bool]:
        """The root to take, and whether it is known to be the newest."""
        size = RING_PLACES * BLOCK_SIZE
        raw, unread, blank = ring.raw().ljust(size, b"\xff"), 0, 0  # a place cut off is damaged
        roots: dict[int, Root] = {}
        for place in range(RING_PLACES):
            at = place * BLOCK_SIZE
            one = raw[at : at + BLOCK_SIZE]
            try:
                found = ring.read(bytes(at) + one + bytes(size - at - BLOCK_SIZE))
            except Archive7Error:  # it opens and breaks a rule
                found = {}
            roots |= found
            blank += not found and one == bytes(BLOCK_SIZE)
            unread += not found and one != bytes(BLOCK_SIZE)
        if unread:
            self.notes.append(f"{unread} of {RING_PLACES} places for roots are damaged")
        if not roots:
            return None, False
        is_sure = not unread and not (blank and self._is_dated)
        newest = max(roots.values(), key=lambda root: (root.number, root.is_marked))
        self._take(newest)
        if self.is_whole():
            return newest, is_sure
        root = self._choose_whole(roots) or newest
        self.is_outdated = root.number < newest.number
        if self.is_outdated:
            self.notes.append(f"the map of commit {newest.number} is damaged: commit "
                              f"{root.number} is taken")  # fmt: skip
        self._take(root)
        return root, is_sure and not self.is_outdated

    def _choose_whole(self, roots: dict[int, Root]) -> Root | None:
        """The root that opening would take, if its map is whole."""
        try:
            choice = choose(roots, verify_with(self._reader, self._reader.verify))  # type: ignore[arg-type]
        except CorruptError:
            return None
        self._take(choice.root)
        return choice.root if self.is_whole() else None

    def _take(self, root: Root) -> None:
        self.number = root.number
        self._map = map_of(self._reader, root)  # type: ignore[arg-type]

    def take_top(self, height: int, top: Entry, number: int) -> None:
        """Chart the map below a topmost node, where no root is left."""
        self._map = Map(self._reader, height, top, {})  # type: ignore[arg-type]
        self.number = number

    @property
    def is_there(self) -> bool:
        """Whether anything is charted."""
        return self._map is not None

    # --- positions

    def entry(self, position: int) -> Entry | None:
        """The entry of a position; None where it is not known."""
        chart, ordinal = self._map, position // FANOUT
        if chart is None or not 0 < position < MAX_POSITIONS:
            return None
        change = chart.changes.get(position)
        if change is not None:
            return change[4:]
        if ordinal in self._lost_leaves:
            return None
        try:
            return chart.get(position)
        except CorruptError:
            self._lost_leaves.add(ordinal)
            return None

    def run(self, position: int, count: int) -> tuple[list[int], list[bytes]] | None:
        """Slots (0: free) and tag prefixes of consecutive positions; None if one is not known."""
        if self._map is None or not 0 < position <= MAX_POSITIONS - count:
            return None
        try:
            return self._map.get_run(position, count)
        except CorruptError:
            return None

    def entries(self, position: int, count: int) -> list[Entry | None]:
        """The entries of consecutive positions."""
        if self._map is None:
            return [None] * count
        return [self.entry(here) for here in range(position, position + count)]

    def named(self) -> Iterator[tuple[int, Entry]]:
        """Every position that is not free, with its entry.  Counts lost nodes.

        Cost: each node is opened once.
        """
        chart = self._map
        if chart is None:
            return
        self.lost = 0
        changes = chart.changes
        for ordinal, node in self._leaves(chart):
            first, slots = ordinal * FANOUT, node_slots(node)
            for i, slot in enumerate(slots):
                if slot and first + i not in changes:
                    yield first + i, node_entry(node, i)
        for position, change in changes.items():
            if entry_slot(change[4:]):
                yield position, change[4:]

    def _leaves(self, chart: Map) -> Iterator[tuple[int, bytes | bytearray]]:
        stack = [(chart.height - 1, 0)] if chart.height else []
        while stack:
            level, ordinal = stack.pop()
            try:
                node = chart.node(level, ordinal)
            except CorruptError:
                self.lost += 1
                continue
            if not level:
                yield ordinal, node
                continue
            base, slots = ordinal * FANOUT, node_slots(node)
            stack += [(level - 1, base + i) for i in range(FANOUT - 1, -1, -1) if slots[i]]

    def is_whole(self) -> bool:
        """Whether every node of the map opens.  Cost: each node is opened once."""
        if self._map is None:
            return False
        self.lost = 0
        for _ in self._leaves(self._map):
            pass
        return not self.lost
