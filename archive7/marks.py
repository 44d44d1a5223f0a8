"""Marks: a small number for each of many places, held only where there are any.

Owns what a check notes of positions and slots.  Promises: memory follows what is really there,
never what a root claims: a page of marks is made when the first of its places gets one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from .layout import FANOUT

# marks of positions, each taking the place of the one before
PRESENT: Final = 1  # the map has a block there
REACHED: Final = 2  # a stream has it
NODE: Final = 3  # it is a node of a tree
OPENED: Final = 4  # it was opened as a block of a registered stream


@cache
def _stretches(mark: int) -> re.Pattern[bytes]:
    return re.compile(b"[\\x%02x]+" % mark)


class Marks:
    """Numbers from 0 (nothing) to 255 by place.

    Memory: about 1.5 bytes for each place with a mark and, where they lie scattered, 500 for each.
    """

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def get(self, place: int) -> int:
        """The mark of a place."""
        page = self._pages.get(place // FANOUT)
        return page[place % FANOUT] if page is not None else 0

    def put(self, place: int, mark: int) -> None:
        """Mark one place."""
        ordinal, at = divmod(place, FANOUT)
        page = self._pages.get(ordinal)
        if page is None:
            page = self._pages[ordinal] = bytearray(FANOUT)
        page[at] = mark

    def fill(self, first: int, count: int, mark: int) -> None:
        """Mark consecutive places."""
        for ordinal, at, size in _parts(first, count):
            page = self._pages.get(ordinal)
            if page is None:
                page = self._pages[ordinal] = bytearray(FANOUT)
            page[at : at + size] = bytes([mark]) * size

    def are(self, first: int, count: int, mark: int) -> bool:
        """Whether consecutive places all have this mark."""
        for ordinal, at, size in _parts(first, count):
            page = self._pages.get(ordinal)
            if page is None:
                if mark:
                    return False
            elif page.count(mark, at, at + size) != size:
                return False
        return True

    def stretch(self, first: int, limit: int) -> tuple[int, int]:
        """The mark of a place, and how many places from there on (up to `limit`) have it."""
        mark, done = self.get(first), 0
        pattern = _stretches(mark)
        for ordinal, at, size in _parts(first, limit):
            page = self._pages.get(ordinal)
            if page is None:
                if mark:
                    break
                done += size
                continue
            match = pattern.match(page, at, at + size)
            same = match.end() - at if match else 0
            done += same
            if same < size:
                break
        return mark, done

    def stretches(self, mark: int) -> Iterator[tuple[int, int]]:
        """All stretches (first, count) of places with a mark, in order; none crosses a page."""
        pattern = _stretches(mark)
        for ordinal in sorted(self._pages):
            for match in pattern.finditer(self._pages[ordinal]):
                yield ordinal * FANOUT + match.start(), match.end() - match.start()

    def count(self, mark: int) -> int:
        """How many places have a mark."""
        return sum(page.count(mark) for page in self._pages.values())

    def marked(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """Stretches of places with any mark among consecutive ones, in order.

        Cost: the pages that are there, however large `count` is.
        """
        end = first + count
        if count // FANOUT > len(self._pages):
            ordinals = sorted(o for o in self._pages if first // FANOUT <= o <= end // FANOUT)
        else:
            ordinals = [o for o in range(first // FANOUT, -(-end // FANOUT)) if o in self._pages]
        for ordinal in ordinals:
            base = ordinal * FANOUT
            low, high = max(0, first - base), min(FANOUT, end - base)
            for match in _ANY.finditer(self._pages[ordinal], low, max(low, high)):
                yield base + match.start(), match.end() - match.start()


_ANY = re.compile(rb"[^\0]+")


def _parts(first: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Consecutive places page by page: (page, first in it, count)."""
    while count > 0:
        ordinal, at = divmod(first, FANOUT)
        size = min(count, FANOUT - at)
        yield ordinal, at, size
        first, count = first + size, count - size
