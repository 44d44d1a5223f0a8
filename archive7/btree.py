"""Ordered map, bytes -> bytes: a B+tree whose nodes are blocks of one stream.

Owns nodes, search, insertion, deletion with merging, iteration, bulk loading.  May assume a
`NodeStore` that keeps 4008 bytes under a position.  Promises: the root node never moves, nodes
are encoded once per `flush`, iteration goes on rightly while the tree changes, and `check`
asserts every invariant.  Changes are in memory until `flush`; durability is the commit's.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from .errors import TreeCorruptError, UsageError
from .layout import (
    DATA_SIZE,
    MAX_ITEM_SIZE,
    MAX_KEY_SIZE,
    NO_POSITION,
    TREE_CAPACITY,
    TREE_FREE_MAGIC,
    TREE_NODE,
)
from .treenode import INNER_ITEM, LEAF_ITEM, NodeStore, TreeNode, between, decode_node, middle

_CACHE: Final = 1024  # decoded nodes, about 8 KB each
_LOW: Final = TREE_CAPACITY // 4  # a node below that is merged or refilled


class BTree:
    """Ordered map in the blocks of a stream.

    Args:
        store: where the nodes stand.
        root: position of the root node; it never changes.

    Keys have up to 512 bytes; a key and value of more than 1280 bytes together have the value in
    a stream of its own.  Cost of one operation: one block per level at most, most of them cached.
    """

    version = 0  # rises with every change

    def __init__(self, store: NodeStore, root: int) -> None:
        self._store = store
        self._root = root
        self.reset()

    @classmethod
    def create(cls, store: NodeStore) -> BTree:
        """Make an empty tree; its root is the first node that `store` gives."""
        tree = cls.__new__(cls)
        tree._store, tree._root = store, store.new_node()
        tree.reset()
        node = TreeNode(tree._root, 0)
        tree._nodes[node.position] = node
        tree._touch(node)
        return tree

    @property
    def root(self) -> int:
        """Position of the root node."""
        return self._root

    def reset(self) -> None:
        """Forget everything that was not flushed, and what is cached."""
        self._nodes: dict[int, TreeNode] = {}
        self._dirty: dict[int, TreeNode] = {}
        self._free: int | None = None  # head of the free list, not read yet
        self.version += 1  # iterators must not go on in the nodes that they hold

    # --- nodes

    def _node(self, position: int, level: int | None = None) -> TreeNode:
        """The node at `position`, which must stand on `level`."""
        node = self._nodes.get(position)
        if node is None:
            node, free = decode_node(position, self._store.read_node(position))
            if position == self._root:
                self._free = free
            self._nodes[position] = node
        if level is not None and node.level != level:
            raise TreeCorruptError("a tree node stands on the wrong level", block=position)
        return node

    def _trim(self) -> None:
        """Keep the cache bounded.  Only between operations: they hold nodes they change."""
        if len(self._nodes) <= _CACHE:
            return
        if len(self._dirty) > _CACHE // 2:
            self.flush()
        clean = [at for at in self._nodes if at not in self._dirty]
        leaves = [at for at in clean if not self._nodes[at].level]
        if len(leaves) > _CACHE // 4:  # inner nodes are spared, unless there are too many
            clean = leaves
        for position in clean[: _CACHE // 2]:
            del self._nodes[position]

    def _touch(self, node: TreeNode) -> None:
        self._dirty[node.position] = node
        self.version += 1

    def _new(self, level: int) -> TreeNode:
        """A new, empty node, from the free list if there is one."""
        self._node(self._root)  # the head of the free list stands there
        position = self._free if self._free is not None else NO_POSITION
        if position != NO_POSITION:
            self._free = self.free_after(position)
            self._touch(self._node(self._root))
        else:
            position = self._store.new_node()
        node = self._nodes[position] = TreeNode(position, level)
        self._dirty[position] = node
        return node

    def _drop(self, node: TreeNode) -> None:
        """Put a node on the free list."""
        root = self._node(self._root)
        head = NO_POSITION if self._free is None else self._free
        data = TREE_NODE.pack(TREE_FREE_MAGIC, 0, 0, head)
        self._store.write_node(node.position, data.ljust(DATA_SIZE, b"\0"))
        self._nodes.pop(node.position, None)
        self._dirty.pop(node.position, None)
        self._free = node.position
        self._touch(root)

    def flush(self) -> None:
        """Encode every changed node into the store."""
        for position in sorted(self._dirty):
            free = NO_POSITION
            if position == self._root and self._free is not None:
                free = self._free
            self._store.write_node(position, self._dirty[position].encode(free))
        self._dirty.clear()

    @property
    def is_changed(self) -> bool:
        """Whether `flush` has something to do."""
        return bool(self._dirty)

    # --- reading

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        self._trim()
        nodes = self._nodes
        node = nodes.get(self._root) or self._node(self._root)
        while node.level:
            child = node.children[bisect_right(node.keys, key)]
            below = nodes.get(child)
            if below is None or below.level != node.level - 1:
                below = self._node(child, node.level - 1)
            node = below
        keys = node.keys
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            return self.value(node, at)
        return None

    def value(self, node: TreeNode, at: int) -> bytes:
        """The value of item `at` of a leaf."""
        value = node.values[at]
        return self._store.read_value(value) if node.keys[at] in node.far else value

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        """The number of items.  Cost: every leaf is read."""
        return sum(1 for _ in self.items())

    def items(
        self, low: bytes = b"", high: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over low <= key < high in order; the tree may change meanwhile."""
        return self._backward(low, high) if reverse else self._forward(low, high)

    def _forward(self, low: bytes, high: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        while True:
            leaf, _, upper = self._find(low, bisect_right)
            version = self.version
            keys = leaf.keys
            end = len(keys) if high is None else bisect_left(keys, high)
            for at in range(bisect_left(keys, low), end):
                key = keys[at]
                yield key, self.value(leaf, at) if leaf.far else leaf.values[at]
                if version != self.version:
                    low = key + b"\0"
                    break
            else:
                if upper is None or (high is not None and upper >= high):
                    return
                low = upper

    def _backward(self, low: bytes, high: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        while True:
            leaf, lower, _ = self._find(high, bisect_left)
            version, keys = self.version, leaf.keys
            end = len(keys) if high is None else bisect_left(keys, high)
            for at in range(end - 1, bisect_left(keys, low) - 1, -1):
                key = keys[at]
                yield key, self.value(leaf, at)
                if version != self.version:
                    high = key
                    break
            else:
                if lower is None or lower <= low:
                    return
                high = lower

    def _find(
        self, key: bytes | None, side: Callable[[list[bytes], bytes], int]
    ) -> tuple[TreeNode, bytes | None, bytes | None]:
        """The leaf for `key` (None: the last) and the separators around it."""
        self._trim()
        node = self._node(self._root)
        lower = upper = None
        while node.level:
            at = len(node.keys) if key is None else side(node.keys, key)
            if at:
                lower = node.keys[at - 1]
            if at < len(node.keys):
                upper = node.keys[at]
            node = self._node(node.children[at], node.level - 1)
        return node, lower, upper

    def leaf(self, low: bytes) -> tuple[TreeNode, bytes | None]:
        """The leaf for `low`, to be read only, and where the next one begins (None: nowhere)."""
        leaf, _, upper = self._find(low, bisect_right)
        return leaf, upper

    # --- changing

    def insert(self, key: bytes, value: bytes, *, replace: bool = True) -> bool:
        """Set `key` to `value`; True if the key is new.

        With `replace=False` an existing key is left alone.
        Raises: UsageError for a key of more than 512 bytes.
        """
        self._trim()
        path: list[tuple[TreeNode, int]] = []
        nodes = self._nodes
        node = nodes.get(self._root) or self._node(self._root)
        while node.level:
            at = bisect_right(node.keys, key)
            path.append((node, at))
            child = node.children[at]
            below = nodes.get(child)
            if below is None or below.level != node.level - 1:
                below = self._node(child, node.level - 1)
            node = below
        at = bisect_left(node.keys, key)
        is_new = at == len(node.keys) or node.keys[at] != key
        if not is_new and not replace:
            return False
        if len(key) > MAX_KEY_SIZE:
            raise UsageError(f"a key has at most {MAX_KEY_SIZE} bytes")
        is_far = len(key) + len(value) > MAX_ITEM_SIZE
        if is_far:
            value = self._store.write_value(value)
        if is_new and not is_far:
            node.keys.insert(at, key)
            node.values.insert(at, value)
            node.size += len(key) + len(value) + LEAF_ITEM
        else:
            self._place(node, at, key, value, is_new, is_far)
        self._dirty[node.position] = node
        self.version += 1
        if node.size > TREE_CAPACITY:
            self._split(node, path, is_last=at == len(node.keys) - 1)
        return is_new

    def _place(
        self, node: TreeNode, at: int, key: bytes, value: bytes, is_new: bool, is_far: bool
    ) -> None:
        """Put an item into a leaf."""
        if is_new:
            node.keys.insert(at, key)
            node.values.insert(at, value)
            node.size += len(key) + len(value) + LEAF_ITEM
        else:
            old = node.values[at]
            if key in node.far:
                self._store.free_value(old)
                node.far.discard(key)
            node.values[at] = value
            node.size += len(value) - len(old)
        if is_far:
            node.far.add(key)

    def _split(self, node: TreeNode, path: list[tuple[TreeNode, int]], *, is_last: bool) -> None:
        """Split a node that is too large, and its parents as needed."""
        if not path:
            node = self._push_down(node)
            path = [(self._node(self._root), 0)]
        parent, at = path.pop()
        # behind the last item: what comes in order fills nodes up; an inner node keeps one key
        cut = len(node.keys) - (2 if node.level else 1) if is_last else middle(node)
        right = self._new(node.level)
        if node.level:
            separator = node.keys[cut]
            right.keys, right.children = node.keys[cut + 1 :], node.children[cut + 1 :]
            del node.keys[cut:], node.children[cut + 1 :]
        else:
            right.take(node, cut, len(node.keys))
            separator = between(node.keys[cut - 1], right.keys[0])
            node.far -= right.far
            del node.keys[cut:], node.values[cut:]
        node.measure()
        right.measure()
        parent.keys.insert(at, separator)
        parent.children.insert(at + 1, right.position)
        parent.size += len(separator) + INNER_ITEM
        self._touch(node)
        self._touch(parent)
        if parent.size > TREE_CAPACITY:
            self._split(parent, path, is_last=at == len(parent.keys) - 1 and is_last)

    def _push_down(self, root: TreeNode) -> TreeNode:
        """Move the root's contents one level down; the root keeps its position."""
        below = self._new(root.level)
        for name in ("keys", "values", "children", "far", "size"):
            setattr(below, name, getattr(root, name))
        root.level += 1
        root.keys, root.values, root.far = [], [], set()
        root.children = [below.position]
        root.measure()
        self._touch(root)
        return below

    def delete(self, key: bytes) -> bool:
        """Remove `key`; False if it is not there."""
        self._trim()
        path: list[tuple[TreeNode, int]] = []
        node = self._node(self._root)
        while node.level:
            at = bisect_right(node.keys, key)
            path.append((node, at))
            node = self._node(node.children[at], node.level - 1)
        at = bisect_left(node.keys, key)
        if at == len(node.keys) or node.keys[at] != key:
            return False
        if key in node.far:
            self._store.free_value(node.values[at])
            node.far.discard(key)
        node.size -= len(key) + len(node.values[at]) + LEAF_ITEM
        del node.keys[at], node.values[at]
        self._touch(node)
        while path and node.size < _LOW:
            node = self._refill(node, path)
        return True

    def _refill(self, node: TreeNode, path: list[tuple[TreeNode, int]]) -> TreeNode:
        """Merge a small node with a neighbour, or share their items; return the parent."""
        parent, at = path.pop()
        if not parent.keys:
            return self._pull_up(parent)
        left_at = at - 1 if at else 0
        left = self._node(parent.children[left_at], node.level)
        right = self._node(parent.children[left_at + 1], node.level)
        separator = parent.keys[left_at]
        self._join(left, right, separator)
        if left.size <= TREE_CAPACITY:
            del parent.keys[left_at], parent.children[left_at + 1]
            parent.measure()
            self._drop(right)
        else:
            parent.keys[left_at] = self._share(left, right)
            parent.measure()
            self._touch(right)
        self._touch(left)
        self._touch(parent)
        if parent.size > TREE_CAPACITY:
            self._split(parent, path, is_last=False)
            path.clear()
            return parent
        return self._pull_up(parent)

    def _join(self, left: TreeNode, right: TreeNode, separator: bytes) -> None:
        """Append all of `right` to `left` (which may be too large then)."""
        if left.level:
            left.keys += [separator, *right.keys]
            left.children += right.children
        else:
            left.take(right, 0, len(right.keys))
        left.measure()

    def _share(self, left: TreeNode, right: TreeNode) -> bytes:
        """Give the upper half of `left` to `right`, which is replaced; return the separator."""
        cut = middle(left)
        if left.level:
            separator = left.keys[cut]
            right.keys, right.children = left.keys[cut + 1 :], left.children[cut + 1 :]
            del left.keys[cut:], left.children[cut + 1 :]
        else:
            right.keys, right.values, right.far = [], [], set()
            right.take(left, cut, len(left.keys))
            separator = between(left.keys[cut - 1], right.keys[0])
            left.far -= right.far
            del left.keys[cut:], left.values[cut:]
        left.measure()
        right.measure()
        return separator

    def _pull_up(self, node: TreeNode) -> TreeNode:
        """A root with a single child takes over its contents."""
        while node.position == self._root and node.level and not node.keys:
            child = self._node(node.children[0], node.level - 1)
            node.level -= 1
            for name in ("keys", "values", "children", "far", "size"):
                setattr(node, name, getattr(child, name))
            self._touch(node)
            self._drop(child)
        return node

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Fill an empty tree from sorted items.

        Raises: UsageError if the tree is not empty or the keys do not rise.
        """
        if self._node(self._root).keys:
            raise UsageError("only an empty tree can be loaded in bulk")
        last = None
        for key, value in items:
            if last is not None and key <= last:
                raise UsageError("bulk loading needs rising keys")
            self.insert(key, value)
            last = key

    # --- checking

    @property
    def free_head(self) -> int:
        """The first free node, or NO_POSITION."""
        self._node(self._root)
        return NO_POSITION if self._free is None else self._free

    def free_after(self, position: int) -> int:
        """The free node behind the one at `position`.  Raises TreeCorruptError if that is none."""
        magic, _, _, following = TREE_NODE.unpack_from(self._store.read_node(position))
        if magic != TREE_FREE_MAGIC:
            raise TreeCorruptError("the tree's free list is broken", block=position)
        return int(following)

    def read(self, position: int, level: int | None = None) -> TreeNode:
        """The node at `position`, which must stand on `level`; not to be changed."""
        self._trim()
        return self._node(position, level)

    def nodes(self) -> Iterator[tuple[int, int, int]]:
        """Every node and free node: (position, level, item count); level -1 for a free one."""
        stack = [(self._root, self._node(self._root).level)]
        seen = set()
        while stack:
            position, level = stack.pop()
            if position in seen:
                raise TreeCorruptError("a tree node is reached twice", block=position)
            seen.add(position)
            node = self.read(position, level)
            yield position, level, len(node.keys)
            if level:
                stack += [(child, level - 1) for child in reversed(node.children)]
        head = self.free_head
        while head != NO_POSITION:
            if head in seen:
                raise TreeCorruptError("the tree's free list runs in a circle", block=head)
            seen.add(head)
            yield head, -1, 0
            head = self.free_after(head)

    def far_records(self) -> Iterator[bytes]:
        """The records of all values that stand in streams of their own."""
        for position, level, _ in self.nodes():
            if level == 0:
                yield from self._node(position).far_records()

    def check(self) -> Iterator[TreeCorruptError]:
        """Yield every violated invariant: order, bounds, levels, sizes, links."""
        try:
            for _ in self.nodes():
                pass
        except TreeCorruptError as error:
            yield error
            return  # where a node is reached twice, a walk may take for ever
        stack: list[tuple[int, bytes, bytes | None]] = [(self._root, b"", None)]
        while stack:
            position, low, high = stack.pop()
            node = self.read(position)
            for reason in node.wrong(low, high, is_root=position == self._root):
                yield TreeCorruptError(reason, block=position)
            stack += [(child, first, last) for child, first, last in node.below(low, high)]
