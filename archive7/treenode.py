"""Tree nodes: 4008 bytes of sorted keys with values or children.

Owns the bytes of a node.  Promises: what decodes has its sizes in range; everything else about a
tree is `btree`'s.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Final, Protocol

from .errors import TreeCorruptError
from .layout import (
    DATA_SIZE,
    TREE_CAPACITY,
    TREE_CHILD_SIZE,
    TREE_MAGIC,
    TREE_NODE,
    TREE_SIZE_SIZE,
    VALUE_IN_STREAM,
    decode_numbers,
    encode_numbers,
)

LEAF_ITEM: Final = 2 * TREE_SIZE_SIZE
INNER_ITEM: Final = TREE_SIZE_SIZE + TREE_CHILD_SIZE
_MAX_LEVEL: Final = 32


class NodeStore(Protocol):
    """Where nodes stand."""

    def read_node(self, position: int) -> bytes:
        """The 4008 bytes at `position`."""

    def write_node(self, position: int, data: bytes) -> None:
        """Replace the 4008 bytes at `position`."""

    def new_node(self) -> int:
        """A new position."""

    def write_value(self, value: bytes) -> bytes:
        """Keep a value that is too large for a node; return a record of at most 64 bytes."""

    def read_value(self, record: bytes) -> bytes:
        """The value kept under `record`."""

    def free_value(self, record: bytes) -> None:
        """The value kept under `record` is not needed any more."""


class TreeNode:
    """A decoded node: `values` in a leaf (level 0), `children` above."""

    __slots__ = ("children", "far", "keys", "level", "position", "size", "values")

    def __init__(self, position: int, level: int) -> None:
        self.position = position
        self.level = level
        self.keys: list[bytes] = []
        self.values: list[bytes] = []
        self.children: list[int] = []
        self.far: set[bytes] = set()  # keys whose value is the record of a stream
        self.size = 0

    def measure(self) -> None:
        """Set `size` from the contents."""
        keys = sum(map(len, self.keys))
        if self.level:
            self.size = keys + INNER_ITEM * len(self.keys) + TREE_CHILD_SIZE
        else:
            self.size = keys + sum(map(len, self.values)) + LEAF_ITEM * len(self.keys)

    def take(self, other: TreeNode, start: int, end: int) -> None:
        """Append items `start` to `end` of `other` (a leaf)."""
        self.keys += other.keys[start:end]
        self.values += other.values[start:end]
        if other.far:
            self.far |= other.far.intersection(other.keys[start:end])

    def encode(self, free: int) -> bytes:
        """The 4008 bytes of this node; `free` is the head of the free list (root only)."""
        keys = self.keys
        head = TREE_NODE.pack(TREE_MAGIC, self.level, len(keys), free)
        sizes = list(map(len, keys))
        if self.level:
            links = encode_numbers("I", self.children)
            parts = [head, encode_numbers("H", sizes), links, *keys]
        else:
            lengths = list(map(len, self.values))
            for key in self.far:
                lengths[bisect_left(keys, key)] |= VALUE_IN_STREAM
            parts = [head, encode_numbers("H", sizes + lengths), *keys, *self.values]
        parts.append(bytes(TREE_CAPACITY - self.size))
        return b"".join(parts)

    # --- checking

    def far_records(self) -> Iterator[bytes]:
        """The records of the values that stand in streams of their own."""
        for key in sorted(self.far):
            yield self.values[bisect_left(self.keys, key)]

    def below(self, low: bytes, high: bytes | None) -> Iterator[tuple[int, bytes, bytes | None]]:
        """The children, each with the bounds of its keys, from the bounds of this node's."""
        firsts: list[bytes] = [low, *self.keys]
        lasts: list[bytes | None] = [*self.keys, high]
        return zip(self.children, firsts, lasts, strict=False)

    def wrong(self, low: bytes, high: bytes | None, *, is_root: bool) -> Iterator[str]:
        """Every violated invariant; keys must lie in low <= key < high."""
        keys = self.keys
        if any(a >= b for a, b in pairwise(keys)):
            yield "keys do not rise"
        if keys and (keys[0] < low or (high is not None and keys[-1] >= high)):
            yield "keys leave the bounds of the parent"
        if self.size > TREE_CAPACITY:
            yield "a node is too large"
        if not (is_root or keys):
            yield "a node is empty"
        if self.level and len(self.children) != len(keys) + 1:
            yield "children and keys do not fit"


def decode_node(position: int, data: bytes) -> tuple[TreeNode, int]:
    """Decode a node and the head of the free list.  Raises TreeCorruptError."""
    magic, level, count, free = TREE_NODE.unpack_from(data)
    least = count * INNER_ITEM + TREE_CHILD_SIZE if level else count * LEAF_ITEM
    if magic != TREE_MAGIC or level > _MAX_LEVEL or least > TREE_CAPACITY:
        raise TreeCorruptError("this block is no tree node: run check", block=position)
    node = TreeNode(position, level)
    at = TREE_NODE.size + TREE_SIZE_SIZE * count * (1 if level else 2)
    sizes = decode_numbers("H", data[TREE_NODE.size : at]).tolist()
    far = []
    if level:
        end = at + TREE_CHILD_SIZE * (count + 1)
        node.children = decode_numbers("I", data[at:end]).tolist()
        at = end
    else:
        far = [i - count for i in range(count, len(sizes)) if sizes[i] & VALUE_IN_STREAM]
        for i in far:
            sizes[count + i] &= VALUE_IN_STREAM - 1
    if (
        at > DATA_SIZE
        or at + sum(sizes) > DATA_SIZE
        or not len(sizes) == count * (2 - bool(level))
    ):
        raise TreeCorruptError("a tree node's sizes are out of range", block=position)
    items = [data[a:b] for a, b in pairwise(accumulate(sizes, initial=at))]
    node.keys, node.values = items[:count], items[count:]
    node.far = {node.keys[i] for i in far}
    node.measure()
    return node, free


def middle(node: TreeNode) -> int:
    """The item at which a node is split into halves of about the same size."""
    half, total = node.size // 2, 0
    extra = INNER_ITEM if node.level else LEAF_ITEM
    for at, key in enumerate(node.keys):
        total += len(key) + extra + (0 if node.level else len(node.values[at]))
        if total >= half:
            return min(max(at, 1), len(node.keys) - (2 if node.level else 1))
    return len(node.keys) // 2


def between(left: bytes, right: bytes) -> bytes:
    """The shortest key that separates: left < key <= right."""
    for at, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return right[: at + 1]
    return right[: len(left) + 1]
