"""Map checked: every slot is used once, none beyond the end; counts are right.

Owns the invariants of the map, the reserve among them.
Cost: every node is opened once; a byte for each slot.
"""

from __future__ import annotations

from collections.abc import Iterator

from .commit import Container
from .errors import CorruptError
from .finding import Finding, error
from .layout import FANOUT
from .map import entry_slot, node_slots


def check_map(container: Container, present: bytearray) -> Iterator[Finding]:
    """Check the map; `present` gets a 1 for each position that has a block."""
    return _MapCheck(container, present).run()


class _MapCheck:
    def __init__(self, container: Container, present: bytearray) -> None:
        self._map, self._root = container.blocks.map, container.root
        self._present = present
        self._used = bytearray(self._root.slots + 1)

    def run(self) -> Iterator[Finding]:
        chart, root, used = self._map, self._root, self._used
        first, count = root.reserve
        used[first : first + count] = bytes([1]) * count
        try:
            for level, ordinal, entry, node in chart.walk():
                yield from self._use(entry_slot(entry), f"map node {ordinal} of {level}")
                if not level:
                    yield from self._check_leaf(ordinal, node)
        except CorruptError as reason:
            yield error("map", reason)
            return
        reach = FANOUT**chart.height if chart.height else 0
        for position in chart.changes:
            # leaves that are there have been looked at with their changes
            if position >= reach or not any(chart.node(0, position // FANOUT)):
                yield from self._check_entry(position, entry_slot(chart.get(position)))
        total = sum(used) - sum(used[first : first + count])
        if total != root.used:
            yield error("map", f"the root counts {root.used} used slots, the map has {total}")

    def _check_leaf(self, ordinal: int, node: bytes | bytearray) -> Iterator[Finding]:
        used, present, base = self._used, self._present, ordinal * FANOUT
        slots = node_slots(node)
        for position, change in self._map.changes.items():
            if 0 <= position - base < FANOUT:
                slots[position - base] = int.from_bytes(change[4:8], "big")
        last, end = len(used), len(present)
        for position, slot in enumerate(slots, base):
            if slot:
                if slot < last and not used[slot] and 0 < position < end:
                    used[slot] = present[position] = 1
                else:
                    yield from self._check_entry(position, slot)

    def _check_entry(self, position: int, slot: int) -> Iterator[Finding]:
        if not slot:
            return
        if not 0 < position < len(self._present):
            yield error("map", "a block stands at a position never given out", block=position)
            return
        self._present[position] = 1
        yield from self._use(slot, f"block {position}")

    def _use(self, slot: int, what: str) -> Iterator[Finding]:
        if not 0 < slot < len(self._used):
            yield error("map", f"{what} stands in slot {slot} behind the end")
        elif self._used[slot]:
            yield error("map", f"{what} shares slot {slot} with another or the reserve")
        else:
            self._used[slot] = 1
