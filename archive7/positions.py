"""Positions: which logical numbers are free.

Owns the working list of free positions.  One truth: a position is free if and only if its map
entry is 0/0; the list here is a cache of that, kept exact by telling it of every change, and
undone by replaying its log backwards.  Positions that are not on the list and lie below the end
are simply not given out.
"""

from __future__ import annotations

import errno
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from .errors import FullError, TreeCorruptError
from .layout import MAX_POSITIONS

Extent = tuple[int, int]  # first position, count
_LOOK_AT = 64  # extents looked at for a long enough one


class PositionTable:
    """Free positions as disjoint extents in order.

    Args:
        end: the first position never given out.
    """

    def __init__(self, end: int, free: Iterable[Extent] = ()) -> None:
        self.end = end
        self._starts: list[int] = []
        self._counts: dict[int, int] = {}
        self._cursor = 0
        self._log: list[tuple[bool | None, int, int]] = []  # (taken, first, count)
        self._is_busy = False  # in the middle of a change
        self.is_complete = True  # False: free positions may be missing in the list
        for first, count in free:
            self._insert(first, count)

    def extents(self) -> list[Extent]:
        """All free extents in order."""
        return [(first, self._counts[first]) for first in self._starts]

    def is_free(self, position: int) -> bool:
        """Whether `position` may be given out."""
        at = bisect_right(self._starts, position) - 1
        return position >= self.end or (
            at >= 0 and position < self._starts[at] + self._counts[self._starts[at]]
        )

    @property
    def free_count(self) -> int:
        """Free positions below `end` that are known."""
        return sum(self._counts.values())

    def take(self, count: int, after: int = 0) -> Extent:
        """Take a run of `count` positions, from the end if no free extent is that long.

        With `after`, positions right behind it come first, even if there are fewer.
        """
        first, size = self._choose(count, after)
        if first == self.end and first + size > MAX_POSITIONS:
            raise FullError(errno.ENOSPC, "an archive holds 2^31 blocks at most")
        self._is_busy = True
        if first == self.end:
            self.end += size
        else:
            self._remove(first, size)
        self._log.append((True, first, size))
        self._is_busy = False
        return first, size

    def _choose(self, count: int, after: int) -> Extent:
        """Where to take `count` positions."""
        if after:
            size = min(count, self._counts.get(after + 1, 0))
            if size:
                return after + 1, size
            if after + 1 == self.end:
                return self.end, count
        first = self._find(count)
        return (self.end if first is None else first), count

    def take_free(self) -> int | None:
        """Take one free position below the end, or None if none is known."""
        if not self._starts:
            return None
        first = self._starts[-1]
        self._is_busy = True
        self._remove(first, 1)
        self._log.append((True, first, 1))
        self._is_busy = False
        return first

    def learn(self, free: Iterable[Extent]) -> None:
        """Free positions that were found on disk."""
        for first, count in free:
            self._insert(first, count)

    def _find(self, count: int) -> int | None:
        starts, counts = self._starts, self._counts
        size = len(starts)
        for step in range(min(size, _LOOK_AT)):
            at = (self._cursor + step) % size
            if counts[starts[at]] >= count:
                self._cursor = at
                return starts[at]
        self._cursor = (self._cursor + _LOOK_AT) % size if size else 0
        return None

    def give(self, first: int, count: int, *, is_unused: bool = False) -> None:
        """Positions `first` ... are free; `is_unused`: they were taken ahead and held no block."""
        self._is_busy = True
        self._insert(first, count)
        self._log.append((None if is_unused else False, first, count))
        self._is_busy = False

    def _insert(self, first: int, count: int) -> None:
        starts, counts = self._starts, self._counts
        at = bisect_left(starts, first)
        if (at and starts[at - 1] + counts[starts[at - 1]] > first) or (
            at < len(starts) and starts[at] < first + count
        ):
            raise TreeCorruptError("a free position is freed again: run check", block=first)
        if at < len(starts) and starts[at] == first + count:
            count += counts.pop(starts.pop(at))
        if at and starts[at - 1] + counts[starts[at - 1]] == first:
            counts[starts[at - 1]] += count
            return
        starts.insert(at, first)
        counts[first] = count

    def _remove(self, first: int, count: int) -> None:
        """Take positions out of the extent that holds them."""
        at = bisect_left(self._starts, first + 1) - 1
        start = self._starts[at]
        size = self._counts.pop(start)
        if start == first and count < size:
            self._starts[at] = first + count
            self._counts[first + count] = size - count
            return
        del self._starts[at]
        for begin, length in (
            (start, first - start),
            (first + count, start + size - first - count),
        ):
            if length:
                self._starts.insert(bisect_left(self._starts, begin), begin)
                self._counts[begin] = length

    # --- transactions

    def mark(self) -> tuple[int, int]:
        """Where the transaction stands, for `undo`."""
        return len(self._log), self.end

    def undo(self, mark: tuple[int, int]) -> None:
        """Go back to `mark`."""
        length, end = mark
        if self._is_busy:  # a change was interrupted: what is free is found at the next opening
            self._starts, self._counts = [], {}
            self._is_busy = self.is_complete = False
            self.end = max(end, self.end)
            del self._log[length:]
            return
        self._is_busy = True
        for taken, first, count in reversed(self._log[length:]):
            if taken:
                self._insert(first, count)
            else:
                self._remove(first, count)
                if taken is None:  # free all the same, if an earlier transaction took them
                    self.is_complete = False
        del self._log[length:]
        if end < self.end:
            self._remove(end, self.end - end)
            self.end = end
        self._is_busy = False

    def commit(self) -> None:
        """What was done cannot be undone any more."""
        self._log = []
