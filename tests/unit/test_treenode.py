"""Tree nodes: each invariant is told where it is violated, and where nothing is nothing."""

from __future__ import annotations

import pytest

from archive7.errors import TreeCorruptError
from archive7.layout import DATA_SIZE, NO_POSITION, TREE_MAGIC, TREE_NODE, encode_numbers
from archive7.treenode import TreeNode, between, decode_node, middle


def leaf(*keys: bytes) -> TreeNode:
    node = TreeNode(1, 0)
    node.keys, node.values = list(keys), [b"v"] * len(keys)
    node.measure()
    return node


def wrong(node: TreeNode, low: bytes = b"", high: bytes | None = None) -> list[str]:
    return list(node.wrong(low, high, is_root=False))


def test_sound_node_has_nothing_wrong() -> None:
    assert wrong(leaf(b"a", b"b"), b"a", b"c") == []
    assert list(leaf().wrong(b"", None, is_root=True)) == []


@pytest.mark.parametrize("keys", [(b"b", b"a"), (b"a", b"a")])
def test_keys_that_do_not_rise(keys: tuple[bytes, ...]) -> None:
    assert wrong(leaf(*keys)) == ["keys do not rise"]


@pytest.mark.parametrize(("low", "high"), [(b"b", None), (b"", b"b"), (b"", b"a")])
def test_keys_outside_of_the_parents_bounds(low: bytes, high: bytes | None) -> None:
    assert wrong(leaf(b"a", b"b"), low, high) == ["keys leave the bounds of the parent"]


def test_node_that_is_too_large_or_empty() -> None:
    large = leaf(*(b"%04d" % number for number in range(600)))
    assert wrong(large) == ["a node is too large"]
    assert wrong(leaf()) == ["a node is empty"]


def test_children_that_do_not_fit() -> None:
    node = TreeNode(1, 1)
    node.keys, node.children = [b"k"], [2]
    node.measure()
    assert wrong(node) == ["children and keys do not fit"]


@pytest.mark.parametrize("sizes", [(0xFFFF, 0), (1000, 3000), (4000, 0x7FFF)])
def test_sizes_beyond_the_node_are_refused(sizes: tuple[int, int]) -> None:
    data = TREE_NODE.pack(TREE_MAGIC, 0, 1, NO_POSITION) + encode_numbers("H", sizes)
    with pytest.raises(TreeCorruptError, match="sizes"):
        decode_node(1, data.ljust(DATA_SIZE, b"\0"))


def test_middle_halves_a_node_and_leaves_something_on_both_sides() -> None:
    assert middle(leaf(b"a", b"b", b"c", b"d")) in (1, 2)
    assert middle(leaf(b"a" * 500, b"b")) == 1


def test_shortest_key_between_two() -> None:
    assert between(b"abc", b"abd") == b"abd"
    assert between(b"a", b"b") == b"b"
    assert between(b"ab", b"abcd") == b"abc"
