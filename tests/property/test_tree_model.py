"""The tree against a sorted dict: in memory, and in a stream of a container.

Iterators of both directions stay open while the tree changes under them: the next item of one is
always the nearest to the last that it gave, as the tree is now.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from archive7.btree import BTree
from archive7.creation import create_container, open_container
from archive7.device import MemoryDevice
from archive7.errors import TreeCorruptError, UsageError
from archive7.layout import DATA_SIZE, MAX_ITEM_SIZE, MAX_KEY_SIZE
from archive7.streams import FixedMultiStreamManager
from archive7.streams.registry import tree_in
from tests.audit import SECRETS, Audit, audit, audit_tree
from tests.effort import examples


class MemoryStore:
    """Nodes and large values in dicts."""

    def __init__(self) -> None:
        self.nodes: dict[int, bytes] = {}
        self.values: dict[bytes, bytes] = {}
        self.reads = self.writes = 0
        self._next = 0

    def read_node(self, position: int) -> bytes:
        self.reads += 1
        return self.nodes[position]

    def write_node(self, position: int, data: bytes) -> None:
        assert position in self.nodes
        assert len(data) == DATA_SIZE
        self.writes += 1
        self.nodes[position] = data

    def new_node(self) -> int:
        self._next += 1
        self.nodes[self._next] = bytes(DATA_SIZE)
        return self._next

    def write_value(self, value: bytes) -> bytes:
        self._next += 1
        record = b"record %031d" % self._next
        self.values[record] = value
        return record

    def read_value(self, record: bytes) -> bytes:
        return self.values[record]

    def free_value(self, record: bytes) -> None:
        del self.values[record]  # twice is a KeyError


LONG = b"a common beginning that makes separators long, too " * 9
keys = st.one_of(
    st.binary(max_size=3),
    st.integers(0, 400).map(lambda n: b"%05d" % n),
    st.integers(0, 60).map(lambda n: LONG + b"%02d" % n),
    st.integers(0, 9).map(lambda n: (b"%d" % n) * MAX_KEY_SIZE),
)
value_sizes = st.one_of(st.integers(0, 60), st.sampled_from([300, 900, 1200, 1279, 1300, 5000]))
salts = st.integers(0, 255)


def value_of(size: int, salt: int) -> bytes:
    return bytes([salt]) * size


@dataclass
class Walk:
    """An iterator that is under way, and where it stands."""

    items: Any
    low: bytes
    high: bytes | None
    reverse: bool
    last: bytes | None = None


class Trees:
    """A tree, what it should hold now, and what it held at the last commit."""

    tree: BTree

    def __init__(self) -> None:
        self.model: SortedDict[bytes, bytes] = SortedDict()
        self.committed: SortedDict[bytes, bytes] = SortedDict()
        self.walks: list[Walk] = []

    def play(self, moves: list[tuple[Any, ...]]) -> None:
        for name, *arguments in moves:
            getattr(self, name)(*arguments)
            assert list(self.tree.check()) == []
        self.end()

    def end(self) -> None:
        raise NotImplementedError

    # --- changes

    def insert(self, key: bytes, size: int, salt: int) -> None:
        is_new = key not in self.model
        version = self.tree.version
        assert self.tree.insert(key, value_of(size, salt)) is is_new
        assert self.tree.version > version
        self.model[key] = value_of(size, salt)

    def insert_if_new(self, key: bytes, size: int, salt: int) -> None:
        is_new = key not in self.model
        assert self.tree.insert(key, value_of(size, salt), replace=False) is is_new
        self.model.setdefault(key, value_of(size, salt))

    def insert_many(self, start: int, count: int, size: int, order: str, is_long: bool) -> None:
        numbers = list(range(start, start + count))
        if order == "falling":
            numbers.reverse()
        elif order == "shuffled":
            random.Random(start).shuffle(numbers)
        for number in numbers:
            self.insert((LONG if is_long else b"") + b"%05d" % number, size, number & 0xFF)

    def delete(self, key: bytes) -> None:
        assert self.tree.delete(key) is (key in self.model)
        self.model.pop(key, None)

    def delete_at(self, place: float, count: int, is_falling: bool) -> None:
        """Items that are there, one behind the other."""
        start = int(place * len(self.model))
        found = list(self.model)[start : start + count]
        for key in found[::-1] if is_falling else found:
            assert self.tree.delete(key) is True
            del self.model[key]

    def too_long_key(self, extra: int) -> None:
        with pytest.raises(UsageError, match="512"):
            self.tree.insert(b"k" * (MAX_KEY_SIZE + extra), b"")

    def load(self, items: dict[bytes, int]) -> None:
        rising = [(key, value_of(items[key], 7)) for key in sorted(items)]
        if self.model:
            with pytest.raises(UsageError, match="empty"):
                self.tree.load(rising)
        else:
            self.tree.load(rising)
            self.model.update(rising)

    def flush(self) -> None:
        self.tree.flush()
        assert not self.tree.is_changed

    # --- reading

    def get(self, key: bytes) -> None:
        assert self.tree.get(key) == self.model.get(key)
        assert (key in self.tree) is (key in self.model)

    def items(self, low: bytes, high: bytes | None, reverse: bool) -> None:
        found = list(self.tree.items(low, high, reverse=reverse))
        wanted = [
            (key, self.model[key])
            for key in self.model.irange(low, high, inclusive=(True, False), reverse=reverse)
        ]
        assert found == wanted

    def length(self) -> None:
        assert len(self.tree) == len(self.model)

    def start_walk(self, low: bytes, high: bytes | None, reverse: bool, steps: int) -> None:
        items = self.tree.items(low, high, reverse=reverse)
        self.walks = [*self.walks[-5:], Walk(items, low, high, reverse)]
        self.walk_on(len(self.walks) - 1, steps)

    def walk_on(self, number: int, steps: int) -> None:
        if not self.walks:
            return
        walk = self.walks[number % len(self.walks)]
        for _ in range(steps):
            wanted = self.nearest(walk)
            found = next(walk.items, None)
            assert found == (None if wanted is None else (wanted, self.model[wanted]))
            if found is None:
                self.walks.remove(walk)
                return
            walk.last = found[0]

    def change_under_walk(self, number: int, offset: int, size: int, is_insert: bool) -> None:
        """Change what an iterator gives next, or gave last, or what lies beside it."""
        if not self.walks:
            return
        last = self.walks[number % len(self.walks)].last or b""
        if is_insert:
            self.insert((last + bytes([abs(offset)]))[:MAX_KEY_SIZE], size, 3)
        elif self.model:
            at = self.model.bisect_left(last) + offset
            self.delete(self.model.keys()[max(0, min(at, len(self.model) - 1))])

    def nearest(self, walk: Walk) -> bytes | None:
        """What an iterator has to give next."""
        low, high, take = walk.low, walk.high, (True, False)
        if walk.last is not None:
            if walk.reverse:
                high = walk.last
            else:
                low, take = walk.last, (False, False)
        return next(self.model.irange(low, high, inclusive=take, reverse=walk.reverse), None)

    def everything_is_there(self) -> None:
        assert list(self.tree.items()) == list(self.model.items())
        assert list(self.tree.items(reverse=True)) == list(self.model.items())[::-1]
        nodes = list(self.tree.nodes())
        assert sum(count for _, level, count in nodes if not level) == len(self.model)
        assert self.keys_of_leaves() == list(self.model)

    def keys_of_leaves(self) -> list[bytes]:
        keys, low = [], b""
        while True:
            version = self.tree.version
            leaf, above = self.tree.leaf(low)
            assert self.tree.version == version, "reading is no change"
            keys += leaf.keys
            if above is None:
                return keys
            assert leaf.keys[-1] < above > low
            low = above


class MemoryTrees(Trees):
    """Over a store in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.tree = BTree.create(self.store)
        self.commit()

    def commit(self, durable: bool = True) -> None:
        self.tree.flush()
        self.committed = self.model.copy()
        self.saved = dict(self.store.nodes), dict(self.store.values)
        self.nothing_is_lost()

    def rollback(self) -> None:
        """Iterators go on in what is there now."""
        self.store.nodes, self.store.values = (dict(part) for part in self.saved)
        self.tree.reset()
        self.model = self.committed.copy()
        self.everything_is_there()

    def reopen(self) -> None:
        self.commit()
        self.tree = BTree(self.store, self.tree.root)
        self.walks.clear()
        self.everything_is_there()

    def die(self) -> None:
        self.rollback()

    def nothing_is_lost(self) -> None:
        """Every node is in the tree or on its free list, every large value has its item."""
        assert {position for position, _, _ in self.tree.nodes()} == set(self.store.nodes)
        far = [v for k, v in self.model.items() if len(k) + len(v) > MAX_ITEM_SIZE]
        assert sorted(self.store.values.values()) == sorted(far)
        assert sorted(self.tree.far_records()) == sorted(self.store.values)

    def end(self) -> None:
        self.reopen()


class TwoStreams(FixedMultiStreamManager):
    """The trash, and a stream for the tree."""

    SPECIAL_STREAM_COUNT = 2


class StreamTrees(Trees):
    """In a stream of a container, with its commits and rollbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.device = MemoryDevice()
        self.attach(create_container(self.device, SECRETS, replace=False))
        self.commit(False)

    def attach(self, container: Any) -> None:
        self.manager = TwoStreams.over(container)
        self.tree = tree_in(self.manager.special_stream(1))
        self.walks.clear()

    def commit(self, durable: bool) -> None:
        self.tree.flush()
        self.manager.commit(durable=durable)
        self.committed = self.model.copy()

    def rollback(self) -> None:
        self.manager.rollback()
        self.tree.reset()
        self.model = self.committed.copy()
        self.everything_is_there()

    def reopen(self) -> None:
        self.tree.flush()
        self.manager.close()
        self.attach(open_container(self.device, SECRETS, readonly=False))
        self.committed = self.model.copy()
        self.everything_is_there()

    def die(self) -> None:
        """Killed: what is there is the last commit."""
        self.device = MemoryDevice(self.device.getvalue())
        self.attach(open_container(self.device, SECRETS, readonly=False))
        self.model = self.committed.copy()
        self.everything_is_there()

    def end(self) -> None:
        self.reopen()
        self.manager.close()
        container = open_container(self.device, SECRETS, readonly=True)
        with TwoStreams.over(container) as manager:
            seen = Audit()
            audit_tree(container, tree_in(manager.special_stream(1)), "the tree", seen)
            audit(manager, loose=seen.owners)


highs = st.one_of(st.none(), keys)
steps = st.integers(0, 12)
moves = st.one_of(
    st.tuples(st.sampled_from(["insert", "insert", "insert_if_new"]), keys, value_sizes, salts),
    st.tuples(
        st.just("insert_many"), st.integers(0, 300), st.integers(1, 120), value_sizes,
        st.sampled_from(["rising", "falling", "shuffled"]), st.booleans(),
    ),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("delete_at"), st.floats(0, 1), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("delete_at"), st.floats(0, 1), st.integers(1, 200), st.booleans()),
    st.tuples(st.just("too_long_key"), st.integers(1, 300)),
    st.tuples(st.just("load"), st.dictionaries(keys, value_sizes, max_size=20)),
    st.tuples(st.just("get"), keys),
    st.tuples(st.just("items"), keys, highs, st.booleans()),
    st.tuples(st.sampled_from(["flush", "length", "rollback", "reopen", "die"])),
    st.tuples(st.just("commit"), st.booleans()),
    st.tuples(
        st.just("start_walk"), st.one_of(st.just(b""), keys), highs, st.booleans(), steps
    ),
    st.tuples(st.just("walk_on"), st.integers(0, 5), steps),
    st.tuples(
        st.just("change_under_walk"), st.integers(0, 5), st.integers(-2, 2), st.integers(0, 60),
        st.booleans(),
    ),
)  # fmt: skip
histories = st.lists(moves, min_size=30, max_size=80)


@examples(200)
@given(histories)
def test_tree_is_a_sorted_dict(history: list[tuple[Any, ...]]) -> None:
    MemoryTrees().play(history)


@examples(100)
@given(histories)
def test_tree_in_a_stream_is_a_sorted_dict(history: list[tuple[Any, ...]]) -> None:
    StreamTrees().play(history)


# --- what a random walk seldom meets


def grown(count: int, size: int = 30, prefix: bytes = b"") -> tuple[MemoryStore, BTree]:
    store = MemoryStore()
    tree = BTree.create(store)
    for number in range(count):
        tree.insert(prefix + b"%08d" % number, bytes(size))
    return store, tree


def test_root_never_moves_while_the_tree_grows_and_shrinks() -> None:
    store, tree = grown(0)
    root, levels = tree.root, set()
    for number in range(3000):
        tree.insert(LONG + b"%08d" % number, b"")
        levels.add(tree._node(root).level)
    assert levels >= {0, 1, 2, 3}
    for number in range(3000):
        assert tree.delete(LONG + b"%08d" % (number * 7 % 3000))
    assert tree.root == root
    assert tree._node(root).level == 0
    assert list(tree.items()) == []
    assert [level for _, level, _ in tree.nodes()].count(-1) == len(store.nodes) - 1


def test_freed_nodes_are_used_again() -> None:
    store, tree = grown(2000)
    size = len(store.nodes)
    for _ in range(3):
        for number in range(2000):
            tree.delete(b"%08d" % number)
        for number in range(2000):
            tree.insert(b"%08d" % number, bytes(30))
    assert len(store.nodes) <= size + 2


def test_bulk_load_fills_the_nodes() -> None:
    store = MemoryStore()
    tree = BTree.create(store)
    tree.load((b"%08d" % number, bytes(30)) for number in range(5000))
    assert len(store.nodes) <= 5000 * 42 / 4000 * 1.1 + 3
    assert len(tree) == 5000
    for items in ([(b"b", b""), (b"a", b"")], [(b"a", b""), (b"a", b"")]):
        with pytest.raises(UsageError, match="rising"):
            BTree.create(MemoryStore()).load(items)


def test_get_costs_one_node_a_level() -> None:
    store, tree = grown(2000, prefix=LONG)
    tree.flush()
    cold = BTree(store, tree.root)
    level = tree._node(tree.root).level
    assert level >= 2
    before = store.reads
    assert cold.get(LONG + b"%08d" % 1234) == bytes(30)
    assert store.reads - before == level + 1
    before = store.reads
    assert cold.get(LONG + b"%08d" % 1234) == bytes(30)
    assert store.reads == before


def test_changed_node_is_encoded_once_a_flush() -> None:
    store, tree = grown(1000)
    tree.flush()
    before = store.writes
    for _ in range(50):
        tree.insert(b"%08d" % 500, bytes(random.Random(1).randrange(30)))
    assert store.writes == before
    tree.flush()
    assert store.writes == before + 1
    tree.flush()
    assert store.writes == before + 1


def test_cache_is_bounded() -> None:
    _, tree = grown(60_000, 60)
    assert len(tree._nodes) <= 1100
    assert len(tree) == 60_000


@pytest.mark.parametrize("size", [MAX_ITEM_SIZE - 4, MAX_ITEM_SIZE - 3])
def test_value_goes_to_a_stream_of_its_own_above_the_limit(size: int) -> None:
    store, tree = grown(0)
    tree.insert(b"key!", bytes(size))
    assert len(store.values) == (4 + size > MAX_ITEM_SIZE)
    assert tree.get(b"key!") == bytes(size)
    tree.insert(b"key!", b"small")
    assert store.values == {}
    assert tree.get(b"key!") == b"small"


@pytest.mark.parametrize("reverse", [False, True])
def test_iterator_that_outlives_a_rollback_gives_what_is_there(reverse: bool) -> None:
    store, tree = grown(20)
    tree.flush()
    saved = dict(store.nodes)
    again = BTree(store, tree.root)
    walk = again.items(reverse=reverse)
    first = next(walk)
    again.insert(b"%08d!" % 10, b"rolled back")
    store.nodes = saved
    again.reset()
    rest = sorted([first, *walk])
    assert rest == [(b"%08d" % number, bytes(30)) for number in range(20)]


def test_items_are_compared_as_bytes_and_the_empty_key_is_one() -> None:
    _, tree = grown(0)
    for key in (b"\xff", b"", b"\0", b"a", b"A", b"\0\0"):
        tree.insert(key, key)
    assert [key for key, _ in tree.items()] == [b"", b"\0", b"\0\0", b"A", b"a", b"\xff"]
    assert tree.get(b"") == b""
    assert [key for key, _ in tree.items(b"\0", b"a", reverse=True)] == [b"A", b"\0\0", b"\0"]


# --- damage


def damaged(change: Any) -> BTree:
    store, tree = grown(2000)
    tree.flush()
    change(store, tree)
    return BTree(store, tree.root)


def first_leaf(tree: BTree) -> int:
    return next(position for position, level, _ in tree.nodes() if level == 0)


def test_node_that_is_none_is_told() -> None:
    def change(store: MemoryStore, tree: BTree) -> None:
        store.nodes[first_leaf(tree)] = bytes(DATA_SIZE)

    tree = damaged(change)
    with pytest.raises(TreeCorruptError, match="no tree node"):
        tree.get(b"%08d" % 0)
    assert any("no tree node" in str(error) for error in tree.check())


def test_node_on_another_level_is_told() -> None:
    def change(store: MemoryStore, tree: BTree) -> None:
        store.nodes[first_leaf(tree)] = store.nodes[tree.root]

    tree = damaged(change)
    with pytest.raises(TreeCorruptError, match="level"):
        list(tree.items())
    assert any("level" in str(error) for error in tree.check())


def test_swapped_leaves_are_told_by_check() -> None:
    def change(store: MemoryStore, tree: BTree) -> None:
        one, other, *_ = (position for position, level, _ in tree.nodes() if level == 0)
        nodes = store.nodes
        nodes[one], nodes[other] = nodes[other], nodes[one]

    assert any("bounds" in str(error) for error in damaged(change).check())


def test_free_list_in_a_circle_is_told() -> None:
    def change(store: MemoryStore, tree: BTree) -> None:
        for number in range(2000):
            tree.delete(b"%08d" % number)
        tree.flush()
        free = [position for position, level, _ in tree.nodes() if level == -1]
        store.nodes[free[-1]] = store.nodes[free[0]]

    assert any("circle" in str(error) for error in damaged(change).check())


@pytest.mark.parametrize("at", range(12))
@pytest.mark.parametrize("byte", [0, 1, 0x7F, 0xFF])
def test_no_node_head_makes_it_crash(at: int, byte: int) -> None:
    """Whatever the head says: an answer, or a TreeCorruptError."""

    def change(store: MemoryStore, tree: BTree) -> None:
        node = bytearray(store.nodes[first_leaf(tree)])
        node[at] = byte
        store.nodes[first_leaf(tree)] = bytes(node)

    tree = damaged(change)
    try:
        found = dict(tree.items())
    except TreeCorruptError:
        return
    assert len(found) <= 2000
