"""Blanking: free slots are overwritten, so that nothing of what was freed is left in the file.

Owns the order: a durable root with the blanking flag, random bytes over every slot that this root
does not refer to, a sync, a durable root without the flag.  Who finds the flag at opening goes on.
"""

from __future__ import annotations

import os

from .commit import Container
from .layout import BLOCK_SIZE, FLAG_BLANKING
from .root import slot_offset


def blank_free(container: Container) -> bool:
    """Overwrite all free slots; False where a reader still needs some of them (try again later).

    To be called between transactions.  Cost: every free slot is written once, two roots, two or
    three syncs.  Durable: when this returns True.
    """
    if not container.root.flags & FLAG_BLANKING:
        container.is_blanking = True
        container.commit()
    container.sync()
    if container.readers_hold():
        return False
    container.slots.reuse(container.root.number)  # what rested for a reader that has gone
    container.find_free()
    for first, count in container.slots.free_runs():
        container.device.pwrite(os.urandom(count * BLOCK_SIZE), slot_offset(first))
    container.is_blanking = False
    container.commit(durable=True)
    return True
