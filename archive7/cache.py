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
_MET: Final = 8192  # how many blocks met before are remembered, about as many as are kept


class BlockCache(OrderedDict[Entry, Buffer]):
    """Plaintexts by map entry, least recently used first; whoever asks must not change them.

    `get` leaves the order alone: call `move_to_end` after a hit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._met = bytearray(_MET)  # by 13 bits of the tag, which is random: 8 other bits

    def offer(self, entry: Entry, plain: Buffer) -> None:
        """Keep a copy of a block that had to be read, if that was so not long ago, too."""
        at = (entry[10] << 8 | entry[11]) % _MET
        if self._met[at] == entry[9]:
            self.keep(entry, bytes(plain))
        else:
            self._met[at] = entry[9]

    def keep(self, entry: Entry, plain: Buffer) -> None:
        """Take a block in."""
        self[entry] = plain
        if len(self) > CACHE_BLOCKS:
            self.popitem(last=False)
