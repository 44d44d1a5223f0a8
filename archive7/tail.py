"""The tail of the file: moving the last few blocks down, so that the file can be cut.

Owns the choice of what is moved when an archive closes with much free space.  May assume a synced
state, so that the free slots may be written.  Laying out a whole archive anew is another job.
"""

from __future__ import annotations

import contextlib
from typing import Final

from .blocks import BlockStore
from .errors import CorruptError
from .map import entry_slot, node_slots
from .slots import SlotTable

_LEAST: Final = 64  # free slots below which nothing is done
_MOST: Final = 1024  # blocks moved (4 MiB); with more at the end, nothing is done


def lower_tail(blocks: BlockStore, slots: SlotTable) -> None:
    """Have the blocks and nodes at the end of the file written anew by the next commit.

    Nothing happens unless a quarter of the file is free.  Cost: every map node is opened, at
    most 1024 blocks are sealed again.
    """
    if slots.free_count < max(_LEAST, slots.count // 4):
        return
    limit = slots.count - slots.free_count
    chart = blocks.map
    nodes, positions = [], []
    for level, ordinal, entry, node in chart.walk():
        if entry_slot(entry) > limit:
            nodes.append((level, ordinal))
        if not level:
            base = ordinal * len(node_slots(node))
            high = [base + i for i, slot in enumerate(node_slots(node)) if slot > limit]
            positions += [p for p in high if entry_slot(chart.get(p)) > limit]
    positions += [p for p in chart.changes if entry_slot(chart.get(p)) > limit]
    if len(nodes) + len(positions) > _MOST:
        return
    for position in positions:
        with contextlib.suppress(CorruptError):  # it stays where it is, check finds it
            blocks.mutable(position)
    for level, ordinal in nodes:
        chart.rewrite(level, ordinal)
