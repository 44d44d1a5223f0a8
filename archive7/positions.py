"""Positions: which logical numbers are free.

Owns the working list of free positions.  One truth: a position is free if and only if its map
entry is 0/0; the list here is a cache of that, kept exact by telling it of every change, and
undone by replaying its log backwards.  Positions that are not on the list and lie below the end
are simply not given out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from .errors import FullError
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
        self._log: list[tuple[bool, int, int]] = []  # (taken, first, count)
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
        if after:
            size = min(count, self._counts.get(after + 1, 0))
            if size:
                self._remove(after + 1, size)
                self._log.append((True, after + 1, size))
                return after + 1, size
        first = None if after and after + 1 == self.end else self._find(count)
        if first is None:
            first = self.end
            if first + count > MAX_POSITIONS:
                raise FullError(28, "an archive holds 2^31 blocks at most")
            self.end += count
            self._log.append((True, first, count))
            return first, count
        self._remove(first, count)
        self._log.append((True, first, count))
        return first, count

    def take_free(self) -> int | None:
        """Take one free position below the end, or None if none is known."""
        if not self._starts:
            return None
        first = self._starts[-1]
        self._remove(first, 1)
        self._log.append((True, first, 1))
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

    def give(self, first: int, count: int) -> None:
        """Positions `first` ... are free."""
        self._insert(first, count)
        self._log.append((False, first, count))

    def _insert(self, first: int, count: int) -> None:
        starts, counts = self._starts, self._counts
        at = bisect_left(starts, first)
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
        for taken, first, count in reversed(self._log[length:]):
            if taken:
                self._insert(first, count)
            else:
                self._remove(first, count)
        del self._log[length:]
        if end < self.end:
            self._remove(end, self.end - end)
            self.end = end

    def commit(self) -> None:
        """What was done cannot be undone any more."""
        self._log = []
