"""Inventory: what every block of a container says of itself, beside what the map says of it.

Owns the pass over all mapped blocks and which of them somebody has claimed.  May assume a map that
opens whole.  Promises: nothing is changed; only leaves that are there cost memory, 13 bytes for
each block.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from .commit import Container
from .errors import CorruptError
from .layout import FANOUT, MAX_RUN, NO_POSITION
from .map import entry_slot, node_slots

Step = Callable[[int, int, str], object]

ABSENT: Final = 0  # number of the stream at a position without a block
UNREADABLE: Final = 1  # and of one whose block does not open
_FIRST: Final = 2


class Said(NamedTuple):
    """What one block says of itself.

    Attributes:
        stream: number of its stream, ABSENT or UNREADABLE.
        ordinal: its index in the stream.
        previous, next: as it has them.
    """

    stream: int
    ordinal: int
    previous: int
    next: int


_NOTHING: Final = Said(ABSENT, 0, NO_POSITION, NO_POSITION)


class _Leaf:
    """The blocks at 334 consecutive positions."""

    __slots__ = ("claimed", "indices", "nexts", "streams")

    def __init__(self) -> None:
        self.streams = array("I", bytes(4 * FANOUT))
        self.indices = array("I", bytes(4 * FANOUT))
        self.nexts = array("i", bytes(4 * FANOUT))
        self.claimed = bytearray(FANOUT)


class Inventory:
    """All blocks of one container.

    Args:
        step: told blocks done, all blocks, and "survey".

    Attributes:
        total: blocks that there are.
    """

    def __init__(self, container: Container, step: Step | None = None) -> None:
        self._blocks = container.blocks
        self._step = step or (lambda *_: None)
        self._leaves: dict[int, _Leaf] = {}
        self._numbers: dict[bytes, int] = {}
        self._ids: list[bytes] = [b"", b""]
        self._previous: dict[int, int] = {}  # where it is not the position before
        self.total = container.root.used

    def run(self) -> None:
        """Open every block that the map names.

        Raises: CorruptError where the map itself is damaged.  Cost: one pass over the file.
        """
        done = 0
        for ordinal in self._ordinals():
            count = self._take_leaf(ordinal)
            done += count
            self._step(done, max(done, self.total), "survey")
        self.total = done

    def _ordinals(self) -> list[int]:
        chart = self._blocks.map
        found = {ordinal for level, ordinal, _, _ in chart.walk() if not level}
        found |= {position // FANOUT for position in chart.changes}
        return sorted(found)

    def _take_leaf(self, ordinal: int) -> int:
        """Open the blocks of one leaf of the map; return how many there are."""
        chart, base = self._blocks.map, ordinal * FANOUT
        slots = node_slots(chart.node(0, ordinal))
        for position, change in chart.changes.items():
            if 0 <= position - base < FANOUT:
                slots[position - base] = entry_slot(change[4:])
        if not any(slots):
            return 0
        leaf = self._leaves[ordinal] = _Leaf()
        at = 0
        while at < FANOUT:
            if not slots[at]:
                at += 1
                continue
            end = at + 1
            while end < FANOUT and slots[end] and end - at < MAX_RUN:
                end += 1
            self._take_run(leaf, base, at, end)
            at = end
        return FANOUT - slots.count(0)

    def _take_run(self, leaf: _Leaf, base: int, at: int, end: int) -> None:
        """Open blocks at consecutive positions."""
        while at < end:
            try:
                for head in self._blocks.verified_heads(base + at, end - at):
                    self._note(leaf, base, at, head)
                    at += 1
            except CorruptError:
                pass
            if at < end:  # this one does not verify
                leaf.streams[at] = UNREADABLE
                at += 1

    def _note(self, leaf: _Leaf, base: int, at: int, head: tuple[Any, ...]) -> None:
        previous, following, index, stream, _ = head
        number = self._numbers.get(stream)
        if number is None:
            number = self._numbers[stream] = len(self._ids)
            self._ids.append(stream)
        leaf.streams[at], leaf.indices[at], leaf.nexts[at] = number, index, following
        if previous != (base + at - 1 if index else NO_POSITION):
            self._previous[base + at] = previous

    # --- asking

    def number(self, stream: bytes) -> int | None:
        """The number of a stream, or None where no block is its."""
        return self._numbers.get(stream)

    def stream(self, number: int) -> bytes:
        """The id of a stream."""
        return self._ids[number]

    def said(self, position: int) -> Said:
        """What the block at `position` says."""
        leaf = self._leaves.get(position // FANOUT) if position > 0 else None
        at = position % FANOUT
        if leaf is None or leaf.streams[at] < _FIRST:
            return _NOTHING if leaf is None else _NOTHING._replace(stream=leaf.streams[at])
        index = leaf.indices[at]
        usual = position - 1 if index else NO_POSITION
        previous = self._previous.get(position, usual)
        return Said(leaf.streams[at], index, previous, leaf.nexts[at])

    def is_run(self, position: int, count: int, stream: bytes, index: int, before: int) -> bool:
        """Whether blocks at consecutive positions are those of a stream, rightly linked.

        Args:
            before: the position before the first, -1 for none.

        The `next` of the last is left to the caller.
        """
        number, done = self._numbers.get(stream, ABSENT), 0
        if self.said(position).previous != before or not number:
            return False
        while done < count:
            ordinal, at = divmod(position + done, FANOUT)
            leaf, size = self._leaves.get(ordinal), min(count - done, FANOUT - at)
            first, last = position + done, done + size == count
            if (
                leaf is None
                or leaf.streams[at : at + size] != array("I", [number]) * size
                or leaf.indices[at : at + size]
                != array("I", range(index + done, index + done + size))
                or leaf.nexts[at : at + size - last]
                != array("i", range(first + 1, first + 1 + size - last))
            ):
                return False
            done += size
        return self._previous.keys().isdisjoint(range(position + 1, position + count))

    # --- claims

    def claim(self, position: int, count: int) -> bool:
        """Note that somebody has these blocks; False where one is not there or somebody's."""
        parts = []
        while count:
            ordinal, at = divmod(position, FANOUT)
            leaf, size = self._leaves.get(ordinal), min(count, FANOUT - at)
            if position < 1 or leaf is None or any(leaf.claimed[at : at + size]):
                return False
            if ABSENT in leaf.streams[at : at + size]:
                return False
            parts.append((leaf, at, size))
            position += size
            count -= size
        for leaf, at, size in parts:
            leaf.claimed[at : at + size] = b"\1" * size
        return True

    def claim_rest(self, position: int, count: int) -> None:
        """Claim what of a run is there.  Cost: at most all leaves, however long the run is."""
        first, last = position // FANOUT, (position + count - 1) // FANOUT
        ordinals = range(first, last + 1)
        for ordinal in ordinals if len(ordinals) < len(self._leaves) else list(self._leaves):
            leaf, base = self._leaves.get(ordinal), ordinal * FANOUT
            if leaf is not None:
                for at in range(max(0, position - base), min(FANOUT, position + count - base)):
                    leaf.claimed[at] |= leaf.streams[at] != ABSENT

    def disclaim(self, position: int, count: int) -> None:
        """Take a claim back."""
        for at in range(position, position + count):
            self._leaves[at // FANOUT].claimed[at % FANOUT] = 0

    def is_open_claim(self, position: int) -> bool:
        """Whether a block that does not open stands here, and nobody has claimed it."""
        leaf, at = self._leaves.get(position // FANOUT), position % FANOUT
        return (
            position > 0
            and leaf is not None
            and leaf.streams[at] == UNREADABLE
            and not leaf.claimed[at]
        )

    def unclaimed(self) -> Iterator[tuple[int, Said]]:
        """The blocks that nobody has claimed, in the order of positions."""
        for ordinal in sorted(self._leaves):
            leaf = self._leaves[ordinal]
            for at, number in enumerate(leaf.streams):
                if number != ABSENT and not leaf.claimed[at]:
                    position = ordinal * FANOUT + at
                    yield position, self.said(position)

    def positions_of(self, numbers: set[int]) -> dict[int, dict[int, list[int]]]:
        """All blocks of some streams: number -> index -> positions.  Cost: one pass in memory."""
        found: dict[int, dict[int, list[int]]] = {number: {} for number in numbers}
        for ordinal in sorted(self._leaves):
            leaf = self._leaves[ordinal]
            for at, number in enumerate(leaf.streams):
                if number in found:
                    found[number].setdefault(leaf.indices[at], []).append(ordinal * FANOUT + at)
        return found

    def unclaimed_of(self, blocks: dict[int, list[int]]) -> dict[int, list[int]]:
        """Of index -> positions what nobody has claimed."""
        free = {i: [p for p in found if not self._is_claimed(p)] for i, found in blocks.items()}
        return {index: found for index, found in free.items() if found}

    def _is_claimed(self, position: int) -> bool:
        return bool(self._leaves[position // FANOUT].claimed[position % FANOUT])
