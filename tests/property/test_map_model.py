"""The map against a dict: single and run changes, folds, up to three levels of sparse positions.

The nodes stand in a dict of slots.  Every slot that the map stops referring to must be told once;
what is left must be what the map says that it uses.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
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

from archive7.errors import BlockCorruptError
from archive7.layout import (
    CHANGE,
    DATA_SIZE,
    FANOUT,
    INLINE_MAX,
    MAX_POSITIONS,
    NO_ENTRY,
)
from archive7.map import Map, entry_slot
from tests.effort import examples

Entry = tuple[int, bytes]
FREE = (0, NO_ENTRY[4:])


class Slots:
    """Sealed nodes in memory, and which slots are in use."""

    def __init__(self) -> None:
        self.nodes: dict[int, tuple[int, int, bytes]] = {}
        self.live: set[int] = set()
        self._next = 1
        self.reads = 0
        self.writes = 0

    def new(self) -> int:
        self._next += 1
        self.live.add(self._next)
        return self._next

    def release(self, slot: int) -> None:
        assert slot in self.live, f"slot {slot} was released twice, or never used"
        self.live.remove(slot)

    def release_all(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self.release(slot)

    def read_node(self, entry: bytes, level: int, ordinal: int) -> bytes:
        slot = entry_slot(entry)
        assert slot in self.live, "a node is read after its slot was released"
        found_level, found_ordinal, data = self.nodes[slot]
        assert (found_level, found_ordinal) == (level, ordinal)
        assert entry[4:] == tag_of(slot)
        self.reads += 1
        return data

    def write_nodes(self, nodes: Sequence[tuple[int, int, bytearray]]) -> list[bytes]:
        entries = []
        for level, ordinal, data in nodes:
            assert len(data) == DATA_SIZE
            slot = self.new()
            self.nodes[slot] = level, ordinal, bytes(data)
            entries.append(slot.to_bytes(4, "big") + tag_of(slot))
        assert len(nodes) <= 256
        self.writes += len(nodes)
        return entries


def opened(slots: Slots, height: int, top: bytes, changes: dict[int, bytes]) -> Map:
    return Map(slots, height, top, changes, slots.release, slots.release_all)


def tag_of(slot: int) -> bytes:
    return (slot * 0x9E3779B97F4A7C15 % 2**64 | 1).to_bytes(8, "big")


CLUSTERS = [1, FANOUT - 3, FANOUT, 7 * FANOUT + 100, FANOUT**2 - 5, FANOUT**2 + 9, 37_000_000]
positions = st.builds(
    lambda base, offset: base + offset, st.sampled_from(CLUSTERS), st.integers(0, 40)
)
small_positions = st.integers(1, 3 * FANOUT)
any_position = st.one_of(small_positions, small_positions, positions)
counts = st.one_of(st.integers(1, 12), st.sampled_from([100, 256]))


class Maps(RuleBasedStateMachine):
    """One map and what it should hold."""

    @initialize()
    def create(self) -> None:
        self.slots = Slots()
        self.map = opened(self.slots, 0, NO_ENTRY, {})
        self.model: dict[int, Entry] = {}

    @rule(position=any_position)
    def set(self, position: int) -> None:
        slot = self.slots.new()
        self.map.set(position, slot, tag_of(slot))
        self.model[position] = slot, tag_of(slot)

    @rule(position=any_position)
    def free(self, position: int) -> None:
        self.map.set(position, *FREE)
        self.model.pop(position, None)

    @rule(position=any_position, count=counts)
    def set_run(self, position: int, count: int) -> None:
        slots = [self.slots.new() for _ in range(count)]
        self.map.set_run(position, slots, [tag_of(slot) for slot in slots])
        for at, slot in enumerate(slots, position):
            self.model[at] = slot, tag_of(slot)

    @rule(position=any_position, count=counts)
    def clear_run(self, position: int, count: int) -> None:
        self.map.clear_run(position, count)
        for at in range(position, position + count):
            self.model.pop(at, None)

    @rule(chosen=st.sets(any_position, max_size=10), start=any_position, count=counts)
    def set_many(self, chosen: set[int], start: int, count: int) -> None:
        rising = sorted(chosen | set(range(start, start + count)))
        slots = [self.slots.new() for _ in rising]
        self.map.set_many(rising, slots, [tag_of(slot) for slot in slots])
        for position, slot in zip(rising, slots, strict=True):
            self.model[position] = slot, tag_of(slot)

    @precondition(lambda self: self.map.is_folded and self.map.height)
    @rule(data=st.data())
    def rewrite(self, data: st.DataObject) -> None:
        """A node is given another slot, with the same entries."""
        nodes = [(level, ordinal, entry) for level, ordinal, entry, _ in self.map.walk()]
        level, ordinal, old = data.draw(st.sampled_from(nodes))
        self.map.rewrite(level, ordinal)
        assert self.map.is_changed
        self.map.fold()
        assert self.map.entry_of(level, ordinal) != old
        assert entry_slot(old) not in self.slots.live
        self.slots_are_accounted_for()

    @rule(count=st.sampled_from([INLINE_MAX, 400]), seed=st.integers(0, 99))
    def set_often(self, count: int, seed: int) -> None:
        for position in random.Random(seed).sample(range(1, 20 * FANOUT), count):
            self.set(position)

    @rule()
    def apply(self) -> None:
        self.map.apply()
        assert self.map.changes == {}

    @rule()
    def fold(self) -> None:
        self.map.fold()
        assert self.map.is_folded
        assert not self.map.must_fold
        self.slots_are_accounted_for()

    @rule()
    def write(self) -> None:
        """As a savepoint does: the nodes are written, the changes stay."""
        before = dict(self.map.changes)
        self.map.write()
        assert self.map.changes == before
        self.slots_are_accounted_for()

    @rule()
    def reopen(self) -> None:
        """As a commit does it: fold what does not fit into the root, then begin from the root."""
        if self.map.must_fold:
            self.map.fold()
        assert len(self.map.changes) <= INLINE_MAX
        used = self.map.used
        old = self.map
        self.map = opened(self.slots, old.height, old.top, dict(old.changes))
        self.map.used = used
        self.slots_are_accounted_for()

    @rule()
    def forget_and_go_on(self) -> None:
        """`reset` to the state that stands in the nodes."""
        self.map.fold()
        chart = self.map
        chart.reset(chart.height, chart.top, {}, chart.used)
        assert not chart.is_changed

    @rule(position=any_position)
    def get(self, position: int) -> None:
        assert self.map.get(position) == self.wanted(position)

    @rule(position=any_position, count=counts)
    def get_run(self, position: int, count: int) -> None:
        wanted = [self.wanted(at) for at in range(position, position + count)]
        slots, tags = self.map.get_run(position, count)
        assert [s.to_bytes(4, "big") + t for s, t in zip(slots, tags, strict=True)] == wanted
        assert list(self.map.entries(position, count)) == wanted

    def wanted(self, position: int) -> bytes:
        slot, tag = self.model.get(position, FREE)
        return slot.to_bytes(4, "big") + tag

    @rule(end=st.sampled_from([2, FANOUT, 3 * FANOUT + 1, 9 * FANOUT]))
    def free_positions(self, end: int) -> None:
        free = [
            position
            for first, count in self.map.free_positions(end)
            for position in range(first, first + count)
        ]
        assert free == [p for p in range(1, end) if p not in self.model]

    def slots_are_accounted_for(self) -> None:
        """Entries and nodes are all that is live; the walk and `used_slots` name the same."""
        standing = {slot for slot, _ in self.model.values()}
        for level, ordinal, entry, node in self.map.walk():
            assert entry_slot(entry) not in standing
            standing.add(entry_slot(entry))
            assert self.slots.nodes[entry_slot(entry)] == (level, ordinal, bytes(node))
        assert standing == self.slots.live
        assert self.map.used == len(standing)
        used = self.map.used_slots(max(standing, default=0))
        assert {slot for slot, is_used in enumerate(used) if is_used and slot} == standing

    @invariant()
    def height_holds_every_position(self) -> None:
        inner = [p for p in self.model if p not in self.map.changes]
        assert not inner or max(inner) < FANOUT**self.map.height

    @precondition(lambda self: self.model)
    @invariant()
    def last_position_is_right(self) -> None:
        position = max(self.model)
        assert self.map.get(position) == self.wanted(position)
        assert self.map.get(position + 1) == NO_ENTRY


Maps.TestCase.settings = examples(100, stateful_step_count=40)
test_map_is_a_dict: Any = Maps.TestCase


# --- shapes that a random walk seldom meets


def filled(ends: Sequence[int]) -> tuple[Slots, Map]:
    slots = Slots()
    chart = opened(slots, 0, NO_ENTRY, {})
    for position in ends:
        slot = slots.new()
        chart.set(position, slot, tag_of(slot))
    return slots, chart


@pytest.mark.parametrize(
    ("position", "height"),
    [
        (1, 1), (FANOUT - 1, 1), (FANOUT, 2), (FANOUT**2 - 1, 2), (FANOUT**2, 3),
        (FANOUT**3 - 1, 3), (FANOUT**3, 4), (MAX_POSITIONS, 4),
    ],
)  # fmt: skip
def test_height_grows_as_positions_need(position: int, height: int) -> None:
    slots, chart = filled([1, position])
    assert chart.height == 0
    chart.fold()
    assert chart.height == height
    again = Map(slots, chart.height, chart.top, {})
    assert entry_slot(again.get(position)) in slots.live
    assert slots.reads == height  # one node a level
    assert again.get(position - 1 if position > 2 else 5) == NO_ENTRY


def test_height_never_shrinks_and_empty_nodes_go() -> None:
    slots, chart = filled([1, FANOUT**2 + 5])
    chart.fold()
    assert len(slots.live) == 2 + 5
    chart.set(FANOUT**2 + 5, *FREE)
    chart.fold()
    assert chart.height == 3
    assert len(slots.live) == 1 + 3
    chart.set(1, *FREE)
    chart.fold()
    assert len(slots.live) == 1
    assert chart.used == 1
    assert chart.top != NO_ENTRY


def test_small_change_costs_one_node_a_level_when_folded() -> None:
    slots, chart = filled([1, 500, FANOUT**2 + 5])
    chart.fold()
    before = slots.writes
    slot = slots.new()
    chart.set(501, slot, tag_of(slot))
    chart.fold()
    assert slots.writes == before + 3


@pytest.mark.parametrize("count", [INLINE_MAX, INLINE_MAX + 1])
def test_changes_fit_into_the_root_up_to_the_limit(count: int) -> None:
    slots, chart = filled(range(1, count + 1))
    assert chart.must_fold is (count > INLINE_MAX)
    assert slots.writes == 0
    assert {position: CHANGE.unpack(raw)[0] for position, raw in chart.changes.items()} == {
        position: position for position in range(1, count + 1)
    }


def test_map_of_a_reader_releases_nothing() -> None:
    slots, chart = filled(range(1, 30))
    chart.fold()
    reader = Map(slots, chart.height, chart.top, {})
    with pytest.raises(BlockCorruptError, match="read-only"):
        reader.set(5, *FREE)


def test_memory_of_changed_nodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    import archive7.map as module

    monkeypatch.setattr(module, "_DIRTY_LIMIT", 10)
    slots, chart = filled([])
    for ordinal in range(60):
        run = [slots.new() for _ in range(20)]
        chart.set_run(1 + ordinal * FANOUT, run, [tag_of(slot) for slot in run])
    assert slots.writes >= 50
    chart.fold()
    for ordinal in range(60):
        got, _ = chart.get_run(1 + ordinal * FANOUT, 20)
        assert len(set(got)) == 20
        assert set(got) <= slots.live
    assert chart.used == len(slots.live)


def test_node_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    import archive7.map as module

    slots, chart = filled([1 + ordinal * FANOUT for ordinal in range(100)])
    chart.fold()
    monkeypatch.setattr(module, "NODE_CACHE", 20)
    reader = Map(slots, chart.height, chart.top, {})
    for _ in range(3):
        for ordinal in range(100):
            assert entry_slot(reader.get(1 + ordinal * FANOUT)) in slots.live
            assert len(reader._nodes) <= 21
