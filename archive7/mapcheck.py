"""Map checked: every slot is used once, none beyond the end; counts are right.

Owns the invariants of the map, the reserve among them.  May assume a root that decodes.  Promises:
every node that can be opened is looked at, whatever others are damaged.
Cost: every node is opened once; memory for the slots that are named, not for those claimed.
"""

from __future__ import annotations

from array import array

from .commit import Container
from .errors import CorruptError
from .finding import Report
from .layout import FANOUT, RESERVE_COUNT
from .map import entry_slot, node_entry, node_slots
from .marks import PRESENT, Marks

_USED, _KEPT = 1, 2  # marks of slots


def check_map(container: Container, present: Marks, report: Report) -> int:
    """Check the map; `present` gets a mark for each position that has a block.

    Returns: how many blocks there are.
    """
    check = _MapCheck(container, present, report)
    check.run()
    return check.blocks


class _MapCheck:
    def __init__(self, container: Container, present: Marks, report: Report) -> None:
        self._map, self._root = container.blocks.map, container.root
        self._present, self._tell = present, report.tell
        self._used = Marks()
        self._is_whole = True
        self._changes: dict[int, list[int]] = {}  # inline, by leaf
        for position in self._map.changes:
            self._changes.setdefault(position // FANOUT, []).append(position)
        self.blocks = 0
        self._count = 0  # slots in use

    def run(self) -> None:
        chart = self._map
        self._check_reserve()
        stack = [(chart.height - 1, 0, chart.top)] if chart.height else []
        while stack:
            level, ordinal, entry = stack.pop()
            below = FANOUT ** (level + 1)  # positions that stand below this node
            self._use(entry_slot(entry), "a map node", ordinal * below, below)
            try:
                node = chart.node(level, ordinal)
            except CorruptError:
                self._is_whole = False
                message = f"a map node of level {level} is damaged: what was below it is not known"
                first, slot = ordinal * below, entry_slot(entry)
                self._tell("node-damaged", message, block=first, count=below, slot=slot)
                continue
            if not level:
                self._check_leaf(ordinal, node_slots(node))
                continue
            base = ordinal * FANOUT
            stack += [
                (level - 1, base + i, node_entry(node, i))
                for i, slot in reversed(list(enumerate(node_slots(node))))
                if slot
            ]
        for ordinal in sorted(self._changes):  # of leaves that are not there
            self._check_leaf(ordinal, array("I", bytes(4 * FANOUT)))
        if self._is_whole and self._count != self._root.used:
            message = f"the root counts {self._root.used} used slots, the map has {self._count}"
            self._tell("used-wrong", message)

    def _check_reserve(self) -> None:
        first, count = self._root.reserve
        if count and (first < 1 or count > RESERVE_COUNT or first + count > self._root.slots + 1):
            self._tell("reserve-wrong", f"the reserve is said to be {count} slots from {first} on")
        elif count:
            self._used.fill(first, count, _KEPT)

    def _check_leaf(self, ordinal: int, slots: array[int]) -> None:
        base = ordinal * FANOUT
        for position in self._changes.pop(ordinal, ()):
            slots[position - base] = int.from_bytes(self._map.changes[position][4:8], "big")
        at = 0
        while at < FANOUT:
            slot, end = slots[at], at + 1
            if slot:
                while end < FANOUT and slots[end] == slot + end - at:
                    end += 1
                self._check_run(base + at, slot, end - at)
            at = end

    def _check_run(self, position: int, slot: int, count: int) -> None:
        """Check entries of neighbouring positions in neighbouring slots."""
        root = self._root
        is_inside = 0 < position <= root.positions - count and slot + count - 1 <= root.slots
        if count == 1 or not (is_inside and self._used.are(slot, count, 0)):
            for i in range(count):
                self._check_entry(position + i, slot + i)
            return
        self._used.fill(slot, count, _USED)
        self._present.fill(position, count, PRESENT)
        self._count += count
        self.blocks += count

    def _check_entry(self, position: int, slot: int) -> None:
        if not 0 < position < self._root.positions:
            self._count += 1
            message = "a block stands at a position never given out"
            self._tell("position-beyond", message, block=position)
            return
        self._present.put(position, PRESENT)
        self.blocks += 1
        self._use(slot, "a block", position, 1)

    def _use(self, slot: int, what: str, position: int, count: int) -> None:
        self._count += 1
        if not 0 < slot <= self._root.slots:
            code, message = "slot-beyond", f"{what} stands behind the end"
        elif self._used.get(slot):
            code, message = "slot-shared", f"{what} shares its slot with another or the reserve"
        else:
            self._used.put(slot, _USED)
            return
        self._tell(code, message, block=position, count=count, slot=slot)
