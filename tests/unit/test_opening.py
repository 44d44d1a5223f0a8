"""Which root an opening takes: every rule of container.md 6.5, with roots made by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive7.errors import BlockCorruptError, CorruptError, RollbackError
from archive7.layout import FANOUT, NO_ENTRY, ROOT_OFFSET
from archive7.map import Map, entry_slot
from archive7.opening import Choice, choose, differences, floor_of, verify_with
from archive7.root import NO_HASH, Root, first_root

Roots = dict[int, Root]


def root(number: int, base: Root | None = None, *, marked: bool = False) -> Root:
    """Commit `number`, which names `base` as the last durable one."""
    made = replace(
        first_root(b"s" * 16, 1, bytes(ROOT_OFFSET)),
        number=number,
        base_number=base.number if base else 0,
        base_hash=base.hash if base else NO_HASH,
        is_marked=marked,
    )
    return made.with_hash()[0]


class Verifier:
    """Says which commits are whole, and notes what it was asked."""

    def __init__(self, *damaged: int, error: type[Exception] = BlockCorruptError) -> None:
        self._damaged = damaged
        self._error = error
        self.asked: list[tuple[int, int]] = []

    def __call__(self, newer: Root, base: Root) -> list[int]:
        self.asked.append((newer.number, base.number))
        if newer.number in self._damaged:
            raise self._error(f"commit {newer.number} is torn")
        return [newer.number * 10, newer.number * 10 + 1]


def taken(choice: Choice) -> tuple[int, int, int | None]:
    return choice.root.number, choice.place, choice.base_place


# --- the floor


def test_floor_is_the_highest_that_is_marked_or_named_as_base() -> None:
    one = root(1)
    three, five = root(3, one), root(5, root(4))
    assert floor_of({0: one.marked()}) == (1, one.hash)
    assert floor_of({0: one.marked(), 1: three}) == (1, one.hash)
    assert floor_of({0: one.marked(), 1: three.marked()}) == (3, three.hash)
    assert floor_of({0: one.marked(), 1: five}) == (4, five.base_hash)


# --- what is taken unverified


def test_marked_root_is_taken_unverified() -> None:
    verify = Verifier(5)
    durable = root(5, root(4)).marked()
    choice = choose({2: durable}, verify)
    assert taken(choice) == (5, 2, None)
    assert (choice.slots, choice.skipped, verify.asked) == ((), (), [])


def test_floor_itself_is_taken_unverified_though_it_has_no_mark() -> None:
    """It was durable when the next one was written: damage shows when it is read."""
    verify = Verifier(5, 6)
    one = root(1)
    floor = root(5, one)
    newer = root(6, floor)
    choice = choose({0: one.marked(), 1: floor, 2: newer}, verify)
    assert taken(choice) == (5, 1, 0)
    assert verify.asked == [(6, 5)]
    assert choice.slots == ()


def test_root_with_the_number_of_the_floor_and_another_hash_is_not_the_floor() -> None:
    one, floor = root(1), root(5)
    other = replace(root(5, one), sealed=9).with_hash()[0]
    newer = root(6, floor)
    verify = Verifier(6)
    choice = choose({0: one, 1: other, 2: newer}, verify)
    assert taken(choice) == (5, 1, 0)
    assert verify.asked == [(5, 1)]
    with pytest.raises(CorruptError, match="commit 5 was durable"):
        choose({0: one, 1: other, 2: newer}, Verifier(5, 6))


# --- what is verified


def test_unmarked_root_above_the_floor_is_verified_against_its_base() -> None:
    verify = Verifier()
    base = root(5).marked()
    newer = root(7, base)
    choice = choose({3: base, 6: newer}, verify)
    assert taken(choice) == (7, 6, 3)
    assert verify.asked == [(7, 5)]
    assert choice.slots == (70, 71)  # to be written back before it counts as durable
    assert choice.skipped == ()


def test_newest_whole_root_wins_and_what_was_skipped_is_told() -> None:
    base = root(5).marked()
    ring = {0: base, 1: root(6, base), 2: root(7, base), 3: root(8, base)}
    verify = Verifier(8, 7)
    choice = choose(ring, verify)
    assert taken(choice) == (6, 1, 0)
    assert verify.asked == [(8, 5), (7, 5), (6, 5)]
    assert [(skip.number, skip.reason) for skip in choice.skipped] == [
        (8, "commit 8 is torn"),
        (7, "commit 7 is torn"),
    ]


def test_floor_is_taken_where_nothing_above_is_whole() -> None:
    base = root(5).marked()
    choice = choose({0: base, 1: root(6, base), 2: root(7, base)}, Verifier(6, 7))
    assert taken(choice) == (5, 0, None)
    assert [skip.number for skip in choice.skipped] == [7, 6]


@pytest.mark.parametrize("error", [CorruptError, BlockCorruptError, RollbackError])
def test_every_kind_of_damage_counts_as_not_whole(error: type[Exception]) -> None:
    base = root(5).marked()
    choice = choose({0: base, 1: root(6, base)}, Verifier(6, error=error))
    assert choice.root.number == 5
    assert len(choice.skipped) == 1


@pytest.mark.parametrize("error", [OSError, MemoryError, KeyboardInterrupt, ValueError])
def test_failure_of_reading_is_no_damage(error: type[BaseException]) -> None:
    """It is raised: an earlier commit must not be taken because a disk was slow to answer."""
    base = root(5).marked()
    verify = Verifier(6, error=error)  # type: ignore[arg-type]
    with pytest.raises(error):
        choose({0: base, 1: root(6, base)}, verify)


def test_root_whose_base_is_not_in_the_ring_is_no_candidate() -> None:
    lost = root(5)
    durable = root(6).marked()
    orphan = root(8, lost)
    verify = Verifier()
    choice = choose({0: durable, 1: orphan}, verify)
    assert taken(choice) == (6, 0, None)
    assert verify.asked == []
    assert [(skip.number, skip.reason) for skip in choice.skipped] == [
        (8, "its base is not in the ring")
    ]


def test_base_is_found_by_its_hash_not_by_its_number() -> None:
    base = root(5).marked()
    impostor = replace(base, sealed=99).with_hash()[0]
    newer = root(6, base)
    choice = choose({0: impostor, 1: newer}, Verifier())
    assert choice.root.number == 5
    assert choice.skipped[0].reason == "its base is not in the ring"


def test_marked_copy_of_the_same_commit_goes_before_the_unmarked_one() -> None:
    base = root(5).marked()
    newer = root(6, base)
    verify = Verifier(6)
    choice = choose({0: base, 1: newer, 2: newer.marked()}, verify)
    assert taken(choice) == (6, 2, 0)
    assert verify.asked == []


def test_copies_of_a_torn_commit_are_told_once() -> None:
    base = root(5).marked()
    newer = root(6, base)
    choice = choose({0: base, 1: newer, 2: newer}, Verifier(6))
    assert [skip.number for skip in choice.skipped] == [6]


# --- what is refused


def test_empty_ring_is_refused() -> None:
    with pytest.raises(CorruptError, match="rescue"):
        choose({}, Verifier())


def test_nothing_below_the_floor_is_ever_taken() -> None:
    """Commit 7 was durable; its root is lost, and what came after it is torn."""
    lost = root(7)
    ring = {0: root(5).marked(), 1: root(6).marked(), 2: root(8, lost)}
    with pytest.raises(CorruptError, match="commit 7 was durable") as caught:
        choose(ring, Verifier())
    assert caught.value.block == 0


def test_whole_root_above_a_lost_floor_is_taken() -> None:
    """Commit 7 is lost, but commit 9 still had commit 6 as its base."""
    six, lost = root(6), root(7)
    ring = {0: six.marked(), 1: root(8, lost), 2: root(9, six)}
    verify = Verifier()
    choice = choose(ring, verify)
    assert taken(choice) == (9, 2, 0)
    assert verify.asked == [(9, 6)]
    with pytest.raises(CorruptError, match="commit 7 was durable"):
        choose(ring, Verifier(9))


@given(st.randoms(use_true_random=False), st.sets(st.integers(2, 8)))
def test_choice_does_not_depend_on_the_places(rng: random.Random, damaged: set[int]) -> None:
    base = root(1).marked()
    roots = [base]
    for number in range(2, 9):
        durable = max((r for r in roots if r.is_marked), key=lambda r: r.number)
        roots.append(root(number, durable, marked=rng.random() < 0.3))
    wanted = max(r.number for r in roots if r.is_marked or r.number not in damaged)
    places = rng.sample(range(8), 8)
    choice = choose(dict(zip(places, roots, strict=True)), Verifier(*damaged))
    assert choice.root.number == wanted
    assert [skip.number for skip in choice.skipped] == list(range(8, wanted, -1))


# --- what a verification opens


class Nodes:
    """Sealed nodes in memory."""

    def __init__(self) -> None:
        self.nodes: dict[int, tuple[int, int, bytes]] = {}
        self.opened: list[int] = []
        self.damaged: set[int] = set()
        self._next = 1000

    def read_node(self, entry: bytes, level: int, ordinal: int) -> bytes:
        slot = entry_slot(entry)
        self.opened.append(slot)
        if slot in self.damaged or self.nodes[slot][:2] != (level, ordinal):
            raise BlockCorruptError(f"node in slot {slot} is damaged")
        return self.nodes[slot][2]

    def write_nodes(self, nodes: Sequence[tuple[int, int, bytearray]]) -> list[bytes]:
        entries = []
        for level, ordinal, data in nodes:
            self._next += 1
            self.nodes[self._next] = level, ordinal, bytes(data)
            entries.append(self._next.to_bytes(4, "big") + b"nodenode")
        return entries


Entries = dict[int, int]  # position -> slot


def nothing(_: object) -> None:
    """A released slot."""


def root_of(nodes: Nodes, folded: Entries, inline: Entries, over: Root | None = None) -> Root:
    """A root whose map has some entries in nodes and some inline, changed from another root."""
    chart = Map(nodes, over.height if over else 0, over.top if over else NO_ENTRY, {}, nothing)
    for position, slot in folded.items():
        chart.set(position, slot, tag(slot))
    chart.fold()
    for position, slot in inline.items():
        chart.set(position, slot, tag(slot))
    made = root(2)
    return replace(made, height=chart.height, top=chart.top, changes=dict(chart.changes))


def tag(slot: int) -> bytes:
    return slot.to_bytes(8, "big")


def told(nodes: Nodes, newer: Root, base: Root) -> tuple[Entries, set[int]]:
    """Differing entries, and slots of differing nodes."""
    entries, found = {}, set()
    for position, entry in differences(nodes, newer, base):
        if position is None:
            found.add(entry_slot(entry))
        else:
            assert position not in entries, "told twice"
            entries[position] = entry_slot(entry)
    return entries, found


def test_equal_roots_differ_in_nothing_and_nothing_is_opened() -> None:
    nodes = Nodes()
    base = root_of(nodes, {1: 1, 500: 2, FANOUT**2 + 1: 3}, {})
    nodes.opened.clear()
    assert told(nodes, base, base) == ({}, set())
    assert nodes.opened == []


def test_changed_entry_costs_the_nodes_above_it() -> None:
    nodes = Nodes()
    base = root_of(nodes, dict.fromkeys(range(1, 3000), 7), {})
    newer = root_of(nodes, {700: 8}, {}, over=base)
    entries, found = told(nodes, newer, base)
    assert entries == {700: 8}
    assert len(found) == base.height == 2


def test_freed_entries_are_not_opened() -> None:
    nodes = Nodes()
    base = root_of(nodes, {1: 1, 2: 2}, {3: 3})
    newer = root_of(nodes, {1: 0}, {2: 0, 3: 0}, over=base)
    assert told(nodes, newer, base)[0] == {}


def test_lower_base_is_the_first_branch_of_a_taller_tree() -> None:
    nodes = Nodes()
    base = root_of(nodes, {1: 1, 2: 2}, {})
    newer = root_of(nodes, {FANOUT**2: 9}, {}, over=base)
    assert (base.height, newer.height) == (1, 3)
    entries, found = told(nodes, newer, base)
    assert entries == {FANOUT**2: 9}
    assert entry_slot(base.top) not in found


def test_node_of_the_base_that_does_not_open_counts_as_empty() -> None:
    nodes = Nodes()
    base = root_of(nodes, {1: 1, 2: 2}, {})
    newer = root_of(nodes, {2: 3}, {}, over=base)
    nodes.damaged = {entry_slot(base.top)}
    assert told(nodes, newer, base)[0] == {1: 1, 2: 3}


def test_node_of_the_newer_root_that_does_not_open_is_damage() -> None:
    nodes = Nodes()
    base = root_of(nodes, {1: 1, 2: 2}, {})
    newer = root_of(nodes, {2: 3}, {}, over=base)
    nodes.damaged = {entry_slot(newer.top)}
    with pytest.raises(BlockCorruptError):
        told(nodes, newer, base)


clusters = st.sampled_from([1, 2, 3, FANOUT - 1, FANOUT, 1000, FANOUT**2 + 4])
states = st.dictionaries(clusters, st.integers(0, 4), max_size=7)


@given(states, states, states, states)
def test_differences_are_those_of_the_entries_in_force(
    folded: Entries, inline: Entries, later: Entries, later_inline: Entries
) -> None:
    """Wherever an entry stands, inline or in a node, in either root."""
    nodes = Nodes()
    base = root_of(nodes, folded, inline)
    # what the base had inline moves into the nodes, or stays
    newer = root_of(nodes, {**inline, **later}, later_inline, over=base)
    before = {**folded, **inline}
    after = {**before, **later, **later_inline}
    wanted = {
        position: slot
        for position, slot in after.items()
        if slot and slot != before.get(position, 0)
    }
    assert told(nodes, newer, base)[0] == wanted


def test_verification_opens_every_difference_and_lists_its_slots() -> None:
    nodes = Nodes()
    base = root_of(nodes, {1: 1, 2: 2, 400: 4}, {})
    newer = root_of(nodes, {2: 3}, {7: 9}, over=base)
    opened: list[tuple[int, int]] = []
    verify = verify_with(
        nodes, lambda position, entry: opened.append((position, entry_slot(entry)))
    )
    slots = verify(newer, base)
    assert sorted(opened) == [(2, 3), (7, 9)]
    entries, found = told(nodes, newer, base)
    assert sorted(slots) == sorted([*entries.values(), *found])
    assert entry_slot(newer.top) in slots


def test_verification_raises_what_opening_a_block_raises() -> None:
    nodes = Nodes()
    base = root_of(nodes, {}, {})
    newer = root_of(nodes, {}, {7: 9})

    def refuse(*_: Any) -> None:
        raise BlockCorruptError("torn", block=7)

    check: Callable[[Root, Root], list[int]] = verify_with(nodes, refuse)
    with pytest.raises(BlockCorruptError):
        check(newer, base)
