"""Extents: where the blocks of a stream stand, as runs of consecutive positions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from ..errors import TreeCorruptError
from ..layout import EXTENT, MAX_POSITIONS


class Extents:
    """Index in a stream -> position.  Cost: O(log n) a look-up."""

    __slots__ = ("_begins", "_firsts", "count")

    def __init__(self, extents: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._begins: list[int] = []
        self.count = 0
        for begin, count in extents:
            self.append(begin, count)

    def append(self, begin: int, count: int) -> None:
        """Add `count` blocks from position `begin` on at the end."""
        firsts, begins = self._firsts, self._begins
        if not firsts or begins[-1] + self.count - firsts[-1] != begin:
            firsts.append(self.count)
            begins.append(begin)
        self.count += count

    def locate(self, index: int) -> tuple[int, int]:
        """Position of block `index` (below `count`), and how many blocks follow in a run."""
        firsts = self._firsts
        if len(firsts) == 1:
            return self._begins[0] + index, self.count - index
        at = bisect_right(firsts, index) - 1
        end = firsts[at + 1] if at + 1 < len(firsts) else self.count
        return self._begins[at] + index - firsts[at], end - index

    def position(self, index: int) -> int:
        """Position of block `index`."""
        return self.locate(index)[0]

    def cut(self, count: int) -> list[tuple[int, int]]:
        """Keep the first `count` blocks; return the runs (begin, count) behind them."""
        gone = []
        while self.count > count:
            first, begin = self._firsts[-1], self._begins[-1]
            keep = max(0, count - first)
            gone.append((begin + keep, self.count - first - keep))
            self.count = first + keep
            if not keep:
                self._firsts.pop()
                self._begins.pop()
        return gone

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The runs: (begin, count)."""
        if not self.count:
            return
        ends = [*self._firsts[1:], self.count]
        for first, begin, end in zip(self._firsts, self._begins, ends, strict=True):
            yield begin, end - first

    def __len__(self) -> int:
        """How many runs there are."""
        return len(self._firsts)

    def encode(self) -> bytes:
        """The extent map on disk; nothing for a single run."""
        if len(self) < 2:
            return b""
        ends = [*self._firsts[1:], self.count]
        return b"".join(
            EXTENT.pack(first, begin, end - first)
            for first, begin, end in zip(self._firsts, self._begins, ends, strict=True)
        )

    @classmethod
    def decode(cls, data: bytes, begin: int, count: int) -> Extents:
        """The extents of a stream; without `data` it is the single run of its record.

        Raises: TreeCorruptError where the map contradicts itself or the record.
        """
        if not data:
            extents = cls([(begin, count)] if count else [])
        else:
            extents = cls()
            for first, start, size in EXTENT.iter_unpack(data):
                if first != extents.count or not size > 0 or not 0 < start < MAX_POSITIONS:
                    raise TreeCorruptError("an extent map contradicts itself: run check")
                extents.append(start, size)
        if extents.count != count or (count and extents.position(0) != begin):
            raise TreeCorruptError("an extent map contradicts its stream's record: run check")
        return extents
