"""The block cache: opened blocks by (slot, tag), never by position.

Owns which blocks are kept.  A block is kept only if it is met again soon after the first time, so
a scan or scattered reads of a large file neither push out what is used often nor pay for memory
that is cold.
Source: Johnson and Shasha, 2Q: A Low Overhead High Performance Buffer Management Replacement
Algorithm, VLDB 1994 (their A1out is a table of tag bytes here).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from .device import Buffer
from .map import Entry

CACHE_BLOCKS: Final = 6144  # 24 MiB
MET: Final = 8191  # the bits of the position by which a block that was met is remembered


class BlockCache(OrderedDict[Entry, Buffer]):
    """Plaintexts by map entry, least recently used first; whoever asks must not change them.

    `get` leaves the order alone: call `move_to_end` after a hit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = bytearray(MET + 1)  # a byte of the tag, which is random

    def offer(self, position: int, entry: Entry, plain: Buffer) -> None:
        """Keep a copy of a block that had to be read, if that was so not long ago, too."""
        if self.met[position & MET] == entry[4]:
            self.keep(entry, bytes(plain))
        else:
            self.met[position & MET] = entry[4]

    def keep(self, entry: Entry, plain: Buffer) -> None:
        """Take a block in."""
        self[entry] = plain
        if len(self) > CACHE_BLOCKS:
            self.popitem(last=False)
