"""The block cache: opened blocks by (slot, tag), never by position.

Owns which blocks are kept.  A block that is met for the first time stays in a small hall; only
one that is met again moves into the main part, so a scan or scattered reads of a large file
neither push out what is used often nor pay for memory that is cold.
Source: Johnson and Shasha, 2Q: A Low Overhead High Performance Buffer Management Replacement
Algorithm, VLDB 1994.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from .device import Buffer
from .map import Entry

CACHE_BLOCKS: Final = 6144  # main part: 24 MiB
_HALL: Final = 16
_MET: Final = 65536


class BlockCache:
    """Plaintexts by map entry; whoever asks must not change them.

    Hall and list of entries met before are direct-mapped by bytes of the tag, which are random.
    """

    __slots__ = ("_hall", "_main", "_met", "_names")

    def __init__(self) -> None:
        self._main: OrderedDict[Entry, Buffer] = OrderedDict()
        self._names: list[Entry | None] = [None] * _HALL
        self._hall: list[Buffer | None] = [None] * _HALL
        self._met = bytearray(_MET)  # by two bytes of the tag: a third one

    def get(self, entry: Entry) -> Buffer | None:
        """The block of `entry`, or None."""
        plain = self._main.get(entry)
        if plain is not None:
            self._main.move_to_end(entry)
            return plain
        at = entry[11] % _HALL
        if self._names[at] == entry:
            plain = self._hall[at]
            if plain is not None:
                self.keep(entry, plain)
            return plain
        return None

    def add(self, entry: Entry, plain: Buffer) -> None:
        """Take in a block that was read because `get` had none."""
        if not self.offer(entry, plain):
            at = entry[11] % _HALL
            self._names[at], self._hall[at] = entry, plain

    def offer(self, entry: Entry, plain: Buffer) -> bool:
        """Keep a copy of a block if it is met again; otherwise only note that it was met."""
        at = entry[10] << 8 | entry[11]
        if self._met[at] == entry[9]:
            self.keep(entry, bytes(plain))
            return True
        self._met[at] = entry[9]
        return False

    def keep(self, entry: Entry, plain: Buffer) -> None:
        """Take a block into the main part."""
        main = self._main
        main[entry] = plain
        if len(main) > CACHE_BLOCKS:
            main.popitem(last=False)
