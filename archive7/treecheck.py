"""Trees checked node by node, past what is damaged.

Owns the shape of a tree: every node once, in order, on its level, and every block of its stream a
node or a free one.  May assume that the tree's chain was checked before, which marked its blocks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from .btree import BTree
from .errors import CorruptError
from .finding import Report
from .layout import NO_POSITION
from .marks import NODE, PRESENT, REACHED, Marks
from .treenode import TreeNode


class TreeChecker:
    """Checks one tree.

    Args:
        name: what the findings call it.
        marks: by position; the nodes get `NODE`.
        is_whole: whether the chain of the tree's stream could be followed, so that every node of
            it has its mark.

    Attributes:
        nodes: how many nodes and free nodes were seen.
    """

    def __init__(
        self, tree: BTree, name: str, marks: Marks, report: Report, *, is_whole: bool
    ) -> None:
        self._tree, self._name, self._is_whole = tree, name, is_whole
        self._marks, self._report = marks, report
        self.nodes = 0

    def leaves(self) -> Iterator[TreeNode]:
        """Check; yield the leaves that can be read, in order, each once."""
        tree, root = self._tree, self._tree.root
        stack: list[tuple[int, int | None, bytes, bytes | None]] = [(root, None, b"", None)]
        while stack:
            position, level, low, high = stack.pop()
            if not self._reach(position, "a node"):
                continue
            try:
                node = tree.read(position, level)
            except CorruptError as damage:
                self._damage(damage, position)
                continue
            for reason in node.wrong(low, high, is_root=position == root):
                self._tell(f"{reason}", position)
            if node.level:
                below = [(at, node.level - 1, a, b) for at, a, b in node.below(low, high)]
                stack += below[::-1]  # so that the first comes first
            else:
                yield node
        self._check_free()

    def check_count(self, count: int) -> None:
        """Tell of blocks among the `count` of the tree's stream that are no nodes."""
        if self._is_whole and self.nodes < count:
            message = f"{count - self.nodes} blocks of the {self._name} tree are in no use"
            self._report.tell("tree-unreached", message, layer=self._name)

    def _check_free(self) -> None:
        try:
            head = self._tree.free_head
            while head != NO_POSITION and self._reach(head, "a free node"):
                head = self._tree.free_after(head)
        except CorruptError as damage:
            self._damage(damage, None)

    def _reach(self, position: int, what: str) -> bool:
        mark = self._marks.get(position)
        if mark != REACHED and (self._is_whole or mark != PRESENT):
            is_seen = mark == NODE
            reason = "is reached twice" if is_seen else "stands outside of the tree's stream"
            self._tell(f"{what} {reason}", position)
            return False
        self._marks.put(position, NODE)
        self.nodes += 1
        return True

    def _tell(self, reason: str, position: int) -> None:
        message = f"the {self._name} tree: {reason}"
        self._report.tell("tree-damaged", message, layer=self._name, block=position)

    def _damage(self, damage: CorruptError, position: int | None) -> None:
        self._report.damage("tree-damaged", damage, layer=self._name, block=position)


def leaf_behind(tree: BTree, low: bytes) -> tuple[TreeNode | None, bytes | None]:
    """The leaf for `low`, and where the next one begins (None: nowhere).

    A leaf, or a branch on the way to it, that cannot be read is None: what is behind it can be
    asked for.  What comes back as next is always greater than `low`.
    """
    upper: bytes | None = None
    position, level = tree.root, None
    while True:
        try:
            node = tree.read(position, level)
        except CorruptError:
            return None, upper
        if not node.level:
            return node, upper
        at = bisect_right(node.keys, low)
        if at < len(node.keys):
            upper = node.keys[at]
        position, level = node.children[at], node.level - 1


def items_of(leaf: TreeNode, low: bytes, high: bytes | None) -> Iterator[tuple[bytes, int]]:
    """Keys of a leaf with low <= key < high, and where each stands in it."""
    keys = leaf.keys
    end = len(keys) if high is None else bisect_left(keys, high)
    for at in range(bisect_left(keys, low), end):
        yield keys[at], at
