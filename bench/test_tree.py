"""The ordered map: inserts, gets, iteration, deletion, and how it grows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import pytest
from inputs import KEY_SIZE, SEED, VALUE_SIZE

from archive7.btree import BTree
from archive7.streams import DynamicMultiStreamManager
from archive7.streams.internal import InternalStream
from archive7.streams.registry import tree_in

Items = list[tuple[bytes, bytes]]
COUNT = 20_000


@pytest.fixture
def manager(bench_folder: Path, key: bytes) -> Iterator[DynamicMultiStreamManager]:
    """An empty container with a registry."""
    with DynamicMultiStreamManager(bench_folder / "tree.ar7", key) as opened:
        yield opened


@pytest.fixture(scope="module")
def items() -> Items:
    """Random keys and values, in the order of insertion."""
    random = Random(SEED + 3)
    return [(random.randbytes(KEY_SIZE), random.randbytes(VALUE_SIZE)) for _ in range(COUNT)]


def new_tree(manager: DynamicMultiStreamManager) -> BTree:
    """An empty tree in a stream of its own."""
    return tree_in(InternalStream(manager, None, manager.new_identity()))


def fill(tree: BTree, items: Items) -> None:
    """Insert one by one, then encode."""
    for key, value in items:
        tree.insert(key, value)
    tree.flush()


def test_insert(benchmark: Any, manager: DynamicMultiStreamManager, items: Items) -> None:
    benchmark.pedantic(fill, setup=lambda: ((new_tree(manager), items), {}), rounds=5)
    benchmark.extra_info["items"] = COUNT


def test_get(benchmark: Any, manager: DynamicMultiStreamManager, items: Items) -> None:
    tree = new_tree(manager)
    fill(tree, items)
    keys = [key for key, _ in items]
    Random(SEED).shuffle(keys)

    def work() -> None:
        for key in keys:
            tree.get(key)

    benchmark.pedantic(work, rounds=5, warmup_rounds=1)


def test_iterate(benchmark: Any, manager: DynamicMultiStreamManager, items: Items) -> None:
    tree = new_tree(manager)
    fill(tree, items)
    assert benchmark.pedantic(lambda: sum(1 for _ in tree.items()), rounds=5) == COUNT


def test_delete(benchmark: Any, manager: DynamicMultiStreamManager, items: Items) -> None:
    def prepare() -> tuple[tuple[BTree], dict[str, Any]]:
        tree = new_tree(manager)
        fill(tree, items)
        return (tree,), {}

    def work(tree: BTree) -> None:
        for key, _ in items:
            tree.delete(key)

    benchmark.pedantic(work, setup=prepare, rounds=3)


def test_one_insert_seals_one_node(
    manager: DynamicMultiStreamManager, items: Items, counted: Any, tell: Callable[[str], None]
) -> None:
    tree = new_tree(manager)
    fill(tree, items)
    manager.commit()
    with counted(manager.container) as counts:
        tree.insert(b"one more key ...", b"value")
        tree.flush()
        manager.commit()
    tell(f"one insert in {COUNT}: {counts}")
    assert counts["sealed"] == 1


@pytest.mark.parametrize("count", [1000, 10_000, pytest.param(1_000_000, marks=pytest.mark.large)])
def test_cost_grows_with_the_logarithm(
    manager: DynamicMultiStreamManager, tell: Callable[[str], None], count: int
) -> None:
    random = Random(SEED)
    items = [(random.randbytes(KEY_SIZE), random.randbytes(VALUE_SIZE)) for _ in range(count)]
    tree = new_tree(manager)
    begin = perf_counter()
    fill(tree, items)
    inserted = perf_counter()
    sample = random.sample(items, 1000)
    looked = perf_counter()
    for key, value in sample:
        assert tree.get(key) == value
    end = perf_counter()
    tell(
        f"{count:,} keys: {(inserted - begin) / count * 1e6:.2f} us an insert, "
        f"{(end - looked) / 1000 * 1e6:.2f} us a get"
    )
