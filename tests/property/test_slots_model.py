"""The slot table against a model of the reuse rule, driven as a container drives it.

The model knows which slots each root, each savepoint and the working state refer to.  A slot may
be handed out only if the last durable root, every later one and every savepoint can do without
it; and after a pass nothing that is free may be unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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

from archive7.slots import SlotTable
from tests.effort import examples


@dataclass(frozen=True)
class State:
    """What a root refers to."""

    number: int
    refs: frozenset[int]
    count: int  # slots in the file at that commit


@dataclass
class Savepoint:
    mark: tuple[int, int, int]
    refs: frozenset[int]
    taken: frozenset[int]


@dataclass
class Model:
    number: int
    working: set[int]
    roots: list[State]  # the last durable one and all later ones
    savepoints: list[Savepoint] = field(default_factory=list)
    reserve: tuple[int, int] = (0, 0)
    taken: set[int] = field(default_factory=set)  # by the transaction under way

    def protected(self) -> set[int]:
        """Every slot that must not be written."""
        kept = set(self.working)
        for state in self.roots:
            kept |= state.refs
        for savepoint in self.savepoints:
            kept |= savepoint.refs
        first, count = self.reserve
        return kept | set(range(first, first + count))


class Slots(RuleBasedStateMachine):
    """One writing session after another."""

    @initialize(
        used=st.sets(st.integers(1, 40), min_size=1, max_size=20),
        gap=st.integers(0, 5),
        tight=st.booleans(),
    )
    def open(self, used: set[int], gap: int, tight: bool) -> None:
        count = max(used) + gap
        self.table = SlotTable(count)
        self.table.is_tight = tight
        first = State(1, frozenset(used), count)
        self.model = Model(1, set(used), [first])
        self.look(first)

    # --- the working state

    @rule(count=st.one_of(st.integers(1, 3), st.integers(1, 8), st.sampled_from([30, 256])))
    def take(self, count: int) -> None:
        self.hand_out(count)

    def hand_out(self, count: int) -> list[tuple[int, int]]:
        extents = self.table.take(count)
        slots = [slot for first, size in extents for slot in range(first, first + size)]
        assert len(slots) == len(set(slots)) == count
        assert min(slots) > 0
        assert max(slots) <= self.table.count
        hit = set(slots) & self.model.protected()
        assert not hit, f"slots {sorted(hit)} are still referred to"
        self.model.working |= set(slots)
        self.model.taken |= set(slots)
        return extents

    @rule(count=st.integers(1, 9))
    def take_and_fail_to_write(self, count: int) -> None:
        extents = self.hand_out(count)
        self.table.withdraw(extents)
        slots = {slot for first, size in extents for slot in range(first, first + size)}
        self.model.working -= slots
        self.model.taken -= slots
        assert self.table.count >= max(self.model.protected(), default=0)

    @precondition(lambda self: self.model.working)
    @rule(data=st.data(), count=st.integers(1, 6))
    def release(self, data: st.DataObject, count: int) -> None:
        slots = sorted(self.model.working)
        for _ in range(min(count, len(slots))):
            slot = slots.pop(data.draw(st.integers(0, len(slots) - 1)))
            self.table.release(slot)
            self.model.working.remove(slot)

    @precondition(lambda self: self.model.working)
    @rule(data=st.data())
    def release_all(self, data: st.DataObject) -> None:
        slots = data.draw(st.lists(st.sampled_from(sorted(self.model.working)), unique=True))
        self.table.release_all(slots)
        self.model.working -= set(slots)

    @rule()
    def savepoint(self) -> None:
        self.table.savepoints += 1
        refs, taken = frozenset(self.model.working), frozenset(self.model.taken)
        savepoint = Savepoint(self.table.mark(), refs, taken)
        self.model.savepoints.append(savepoint)

    @precondition(lambda self: self.model.savepoints)
    @rule()
    def forget_savepoint(self) -> None:
        self.table.savepoints -= 1
        self.model.savepoints.pop()

    @precondition(lambda self: self.model.savepoints)
    @rule()
    def rollback_to_savepoint(self) -> None:
        savepoint = self.model.savepoints.pop()
        self.table.savepoints -= 1
        self.table.undo(savepoint.mark)
        self.model.working = set(savepoint.refs)
        self.model.taken = set(savepoint.taken)

    @rule()
    def rollback(self) -> None:
        self.table.savepoints = 0
        self.table.undo()
        self.model.savepoints.clear()
        self.model.working = set(self.model.roots[-1].refs)
        self.model.taken = set()

    # --- commits

    @precondition(lambda self: not self.model.savepoints)
    @rule(cut=st.sampled_from([None, None, 1, 4]))
    def commit(self, cut: int | None) -> None:
        if cut is not None:
            self.cut_tail(cut)
        self.model.number += 1
        self.table.commit(self.model.number)
        self.model.roots.append(
            State(self.model.number, frozenset(self.model.working), self.table.count)
        )
        self.model.taken = set()
        assert self.table.fresh_count == 0

    @rule()
    def look_again(self) -> None:
        """A pass over the map of the same durable root, in the middle of what comes after it."""
        self.look(self.model.roots[0])

    @rule(readers=st.sampled_from([False, False, True]), look=st.booleans())
    def sync(self, readers: bool, look: bool) -> None:
        model, table = self.model, self.table
        table.durable()
        assert table.handed_count == 0
        del model.roots[:-1]
        durable = model.roots[0]
        if readers:
            return
        table.reuse(durable.number)
        if look:
            self.look(durable)
            self.nothing_free_is_unknown()

    def look(self, durable: State) -> None:
        """The pass over the map of the last durable root."""
        first, count = self.model.reserve
        used = bytearray(max(durable.count + 1, first + count))
        for slot in (*durable.refs, *range(first, first + count)):
            used[slot] = 1
        self.table.learn(used)

    def nothing_free_is_unknown(self) -> None:
        if self.model.savepoints or self.table.pending_count:
            return
        # only the durable root, the working state and what it released are in the way
        free = self.table.count - len(self.model.protected() | self.model.taken)
        assert self.table.free_count >= free, "the pass lost free slots"

    @precondition(lambda self: not self.model.reserve[1] and not self.model.savepoints)
    @rule(count=st.integers(1, 12))
    def set_reserve_aside(self, count: int) -> None:
        if self.table.is_touched:
            assert self.model.working != self.model.roots[-1].refs or self.table.fresh
            return
        assert self.model.working == self.model.roots[-1].refs
        extents = self.hand_out(count)
        self.model.working -= self.model.taken
        self.model.taken = set()
        if len(extents) > 1:
            self.table.withdraw(extents)
            return
        self.table.commit(self.model.number)
        self.model.reserve = extents[0]

    @precondition(lambda self: self.model.reserve[1])
    @precondition(lambda self: not self.model.savepoints)
    @rule(data=st.data())
    def open_reserve(self, data: st.DataObject) -> None:
        before = self.table.free_count
        self.table.open_reserve(*self.model.reserve)
        assert self.table.free_count == before + self.model.reserve[1]
        self.opened = self.model.reserve
        self.model.reserve = (0, 0)
        if data.draw(st.booleans()):
            return
        if data.draw(st.booleans()):  # some of it is used, then all is rolled back
            self.hand_out(1)
            self.rollback()
        self.table.close_reserve(*self.opened)
        self.model.reserve = self.opened

    # --- the end of the file

    @rule(at_least=st.integers(0, 5))
    def cut_tail(self, at_least: int) -> None:
        before, tail = self.table.count, self.table.tail()
        cut = self.table.cut_tail(at_least)
        assert cut == (tail if tail >= at_least else 0)
        assert self.table.count == before - cut
        assert self.table.count >= max(self.model.protected(), default=0), "a used slot was cut"

    @rule()
    def rewind(self) -> None:
        self.table.rewind()

    @invariant()
    def counts_are_right(self) -> None:
        table = self.table
        assert 0 <= table.free_count <= table.count - len(self.model.working)
        assert table.tail() <= table.free_count
        assert table.fresh_count >= 0


Slots.TestCase.settings = examples(300, stateful_step_count=60)
test_slots_keep_the_reuse_rule: Any = Slots.TestCase


def test_new_table_hands_out_behind_the_file_only() -> None:
    table = SlotTable(100)
    assert (table.count, table.free_count, table.pending_count) == (100, 0, 0)
    assert table.take(7) == [(101, 7)]
    assert table.count == 107


def test_free_run_that_is_long_enough_is_used_though_little_is_free() -> None:
    table = SlotTable(100)
    for slot in range(10, 20):
        table.release(slot)
    table.commit(2)
    table.durable()
    assert table.pending_count == 10
    table.reuse(1)
    assert (table.free_count, table.pending_count) == (0, 10)
    table.reuse(2)
    assert (table.free_count, table.pending_count) == (10, 0)
    assert table.take(8) == [(10, 8)]
    assert table.take(2) == [(18, 2)]
    assert table.take(2) == [(101, 2)]


def test_tight_table_uses_the_last_free_slot_before_it_appends() -> None:
    table = SlotTable(100)
    for slot in (10, 20, 21, 40):
        table.release(slot)
    table.commit(2)
    table.reuse(2)
    assert table.take(3) == [(101, 3)]
    table.is_tight = True
    extents = table.take(5)
    slots = {slot for first, count in extents for slot in range(first, first + count)}
    assert slots == {10, 20, 21, 40, 104}


def test_much_free_space_is_used_in_pieces() -> None:
    table = SlotTable(8000)
    for slot in range(2, 8000, 4):
        table.release(slot)
        table.release(slot + 1)
    table.commit(2)
    table.reuse(2)
    extents = table.take(256)
    assert all(count <= 2 for _, count in extents)
    assert table.count == 8000


@pytest.mark.parametrize("free", [256, 257])
def test_much_is_more_than_1_mib_and_a_64th(free: int) -> None:
    assert SlotTable(100).is_much(free) is (free > 256)
    assert SlotTable(64 * 5000).is_much(5000) is False
    assert SlotTable(64 * 5000).is_much(5001) is True


def test_pass_leaves_slots_that_rest_for_readers_to_reuse() -> None:
    """Freed by the pass and once more by `reuse`, a slot would go to two commits."""
    table = SlotTable(10)
    table.release(5)
    table.commit(2)
    table.durable()
    used = bytearray(b"\1" * 11)
    used[5] = 0
    table.learn(used)
    assert table.free_count == 0
    table.reuse(2)
    assert table.take(1) == [(5, 1)]
    table.commit(3)
    table.reuse(3)
    assert table.free_count == 0


def test_slot_that_went_with_the_tail_is_not_committed() -> None:
    table = SlotTable(10)
    assert table.take(1) == [(11, 1)]
    table.release(11)
    assert table.cut_tail(1) == 1
    table.commit(2)
    assert table.count == 10
