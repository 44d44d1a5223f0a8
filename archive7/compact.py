"""Compaction: blocks laid out in the order of their positions, free space given back.

Owns where blocks go.  A block moves by copying its sealed bytes: nothing is opened or sealed.
The file is gone through in windows; what stands in one is moved to the end of the file, then the
window is filled with the next blocks.  Each step is a durable commit, so a crash or a stop between
two leaves a whole archive, and the next run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from .commit import Container
from .layout import FANOUT
from .map import entry_slot, node_slots

_STEP: Final = 4096  # blocks (16 MiB) moved between two syncs
_WINDOW: Final = 16384  # slots (64 MiB), more for archives above 4 GiB
_PARTS: Final = 64  # windows at most: for each the map is read once
_FREE_MOST: Final = 0.01  # of the slots: less is not worth moving anything
_BREAKS_MOST: Final = 0.01  # of the blocks: that many may begin a new run


@dataclass(frozen=True)
class Compaction:
    """What a compaction did.

    Attributes:
        before, after: size of the file in bytes.
        moved: blocks that were copied, some of them twice.
        is_complete: False where it was stopped or a reader was in the way.
        reason: why it is not complete.
    """

    before: int
    after: int
    moved: int
    is_complete: bool
    reason: str = ""


class Compactor:
    """One run over one container, step by step.

    Args:
        container: nothing of it may be uncommitted when `step` is called.

    Attributes:
        moved: blocks copied so far.
        done, total: positions dealt with, of how many.
        is_complete: whether nothing is left to do.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._position = 1  # the next to be laid out
        self._slot = 1  # where it goes
        self._end = 0  # of the window
        self._is_begun = False
        self._holes = 0  # free slots that were left
        self._evicted: list[int] = []  # positions that stand in the window
        self.moved = 0
        self.total = container.positions.end
        self.is_complete = False

    @property
    def done(self) -> int:
        """Positions that have their place."""
        return self.total if self.is_complete else min(self._position, self.total)

    def is_needed(self) -> bool:
        """Whether there is something worth moving.  Cost: every map node is opened once."""
        root = self._container.root
        free = root.slots - root.used - root.reserve[1]
        if free > root.slots * _FREE_MOST + 256:
            return True
        blocks = breaks = last = 0
        for _, slot in self._blocks(1):
            blocks += 1
            breaks += slot != last + 1
            last = slot
        return breaks > blocks * _BREAKS_MOST + 64

    def is_blocked(self) -> bool:
        """Whether a reader holds what would be overwritten."""
        return self._container.readers_hold()

    def step(self) -> None:
        """Move some blocks and commit.  Durable: when it returns.

        Raises: FullError where the disc has no room for a window (it is rolled back then).
        """
        container = self._container
        if not self._is_begun:
            container.sync()
            container.find_free()
            self._is_begun = True
        container.blocks.map.apply()
        container.slots.appends = True
        try:
            if self._evicted:
                self._move_out()
            elif self._slot < self._end:
                self._fill()
            elif not self._open_window():
                container.slots.appends = False
                self._finish()
                return
            container.blocks.map.is_changed = True
            container.commit(durable=True, fold=True)
        finally:
            container.slots.appends = False

    def _blocks(self, position: int) -> Iterator[tuple[int, int]]:
        """Position and slot of every block from `position` on."""
        chart = self._container.blocks.map
        for ordinal in range(position // FANOUT, -(-self._container.positions.end // FANOUT)):
            base = ordinal * FANOUT
            for at, slot in enumerate(node_slots(chart.node(0, ordinal))):
                if slot and base + at >= position:
                    yield base + at, slot

    def _open_window(self) -> bool:
        """Pass over what is in order, choose the next window; False if there is none."""
        slots = self._container.slots
        if self._slot > slots.count:  # others took the places of what was to go there
            return False
        for position, slot in self._blocks(self._position):
            if slot < self._slot or not self._may_leave(slots.free_between(self._slot, slot)):
                break
            self._position, self._slot = position + 1, slot + 1
        else:
            return False
        self._end = self._slot + max(_WINDOW, slots.count // _PARTS)
        self._evicted = [
            position for position, slot in self._blocks(1) if self._slot <= slot < self._end
        ]
        self._move_nodes()
        return True

    def _may_leave(self, hole: int) -> bool:
        """Whether a hole of so many slots may stay."""
        self._holes += hole
        return self._holes <= 8 + self._slot * _FREE_MOST

    def _move_nodes(self) -> None:
        """Have the nodes that stand in the window written anew, at the end."""
        chart = self._container.blocks.map
        found = [
            (level, ordinal)
            for level, ordinal, entry, _ in chart.walk()
            if self._slot <= entry_slot(entry) < self._end
        ]
        for level, ordinal in found:
            chart.rewrite(level, ordinal)

    def _move_out(self) -> None:
        """Move blocks out of the window, to the end of the file."""
        container = self._container
        part, self._evicted = self._evicted[:_STEP], self._evicted[_STEP:]
        slot_of = container.blocks.map.get
        still = [p for p in part if self._slot <= entry_slot(slot_of(p)) < self._end]
        container.blocks.relocate(still, container.slots.append(len(still)))
        self.moved += len(still)

    def _fill(self) -> None:
        """Move the next blocks into the window."""
        container = self._container
        wanted = [position for position, _ in islice(self._blocks(self._position), _STEP)]
        extents = container.slots.take_between(self._slot, self._end, len(wanted))
        room = sum(count for _, count in extents)
        container.blocks.relocate(wanted[:room], extents)
        self.moved += room
        if room:
            self._position = wanted[room - 1] + 1
            self._slot = extents[-1][0] + extents[-1][1]
        if room < len(wanted):
            self._slot = self._end  # the window is full
        elif not wanted:
            self._end = self._slot  # and the rest of it is free

    def _finish(self) -> None:
        """Write all nodes behind the data and cut the end of the file."""
        container = self._container
        chart = container.blocks.map
        container.slots.rewind()
        if container.slots.free_count:
            for level, ordinal, _, _ in list(chart.walk()):
                chart.rewrite(level, ordinal)
            container.commit(durable=True, fold=True)
        container.cut_end()
        self.is_complete = True
