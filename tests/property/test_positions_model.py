"""The position table against a set of numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from archive7.errors import FullError, TreeCorruptError
from archive7.layout import MAX_POSITIONS
from archive7.positions import PositionTable
from tests.effort import examples


def runs(numbers: set[int]) -> list[tuple[int, int]]:
    """A set as disjoint runs in order."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and sum(found[-1]) == number:
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((number, 1))
    return found


class Positions(RuleBasedStateMachine):
    """Taking, giving back, and going back to marks."""

    @initialize(free=st.sets(st.integers(1, 80)), unknown=st.sets(st.integers(1, 80)))
    def open(self, free: set[int], unknown: set[int]) -> None:
        self.end = 81
        self.free = free - unknown
        self.unknown = unknown  # free on disk, and not known to be
        self.taken: set[int] = set()
        self.table = PositionTable(81, runs(self.free))
        self.marks: list[tuple[tuple[int, int], set[int], set[int], int]] = []

    @rule(count=st.one_of(st.integers(1, 12), st.just(100)))
    def take(self, count: int) -> None:
        extents = self.table.extents()
        first, got = self.table.take(count)
        assert got == count
        if len(extents) <= 64 and any(size >= count for _, size in extents):
            assert first < self.end, "the end was used though a free run is long enough"
        self.note_taken(first, count)

    @rule()
    def take_free(self) -> None:
        position = self.table.take_free()
        assert (position is None) == (not self.free)
        if position is not None:
            assert position in self.free
            self.note_taken(position, 1)

    def note_taken(self, first: int, count: int) -> None:
        run = set(range(first, first + count))
        if first >= self.end:
            assert first == self.end
            self.end += count
        else:
            assert run <= self.free
        self.free -= run
        self.taken |= run

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        first, size = data.draw(st.sampled_from(runs(self.taken)))
        start = data.draw(st.integers(0, size - 1))
        count = data.draw(st.integers(1, size - start))
        self.table.give(first + start, count)
        run = set(range(first + start, first + start + count))
        self.taken -= run
        self.free |= run

    @precondition(lambda self: self.unknown)
    @rule()
    def learn(self) -> None:
        self.table.learn(runs(self.unknown))
        self.free |= self.unknown
        for _, free, _, _ in self.marks:
            free |= self.unknown
        self.unknown = set()

    @rule()
    def mark(self) -> None:
        self.marks.append((self.table.mark(), set(self.free), set(self.taken), self.end))

    @precondition(lambda self: self.marks)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.marks) - 1))
        mark, self.free, self.taken, self.end = self.marks[at]
        del self.marks[at:]
        self.table.undo(mark)

    @rule()
    def commit(self) -> None:
        self.table.commit()
        self.marks.clear()

    @invariant()
    def table_is_the_set(self) -> None:
        extents = self.table.extents()
        assert extents == runs(self.free)
        assert all(sum(one) < other[0] for one, other in pairwise(extents))
        assert self.table.end == self.end
        assert self.table.free_count == len(self.free)

    @invariant()
    def free_is_what_may_be_given_out(self) -> None:
        for position in range(self.end + 3):
            assert self.table.is_free(position) is (position in self.free or position >= self.end)


Positions.TestCase.settings = examples(150, stateful_step_count=50)
test_positions_are_a_set: Any = Positions.TestCase


def test_positions_run_out_at_2_to_the_31() -> None:
    table = PositionTable(MAX_POSITIONS - 10)
    assert table.take(10) == (MAX_POSITIONS - 10, 10)
    with pytest.raises(FullError) as caught:
        table.take(1)
    assert caught.value.errno == 28
    table.give(MAX_POSITIONS - 5, 5)
    assert table.take(5) == (MAX_POSITIONS - 5, 5)


def test_long_run_is_taken_off_a_free_extent() -> None:
    table = PositionTable(1000, [(10, 5), (100, 50), (900, 20)])
    assert table.take(30) == (100, 30)
    assert table.extents() == [(10, 5), (130, 20), (900, 20)]
    assert table.take(51) == (1000, 51)
    table.give(100, 30)
    assert table.extents() == [(10, 5), (100, 50), (900, 20)]


@pytest.mark.parametrize("extent", [(4, 3), (5, 1), (3, 2), (6, 5), (1, 20)])
def test_a_position_is_not_freed_twice(extent: tuple[int, int]) -> None:
    """Two streams that a forger gave the same blocks: the second one must not free them again."""
    positions = PositionTable(30, [(4, 3)])
    with pytest.raises(TreeCorruptError, match="freed again"):
        positions.give(*extent)
    assert positions.extents() == [(4, 3)]
