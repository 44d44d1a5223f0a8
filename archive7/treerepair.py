"""Trees repaired: a tree written anew from the leaves that are left of it.

Owns whether a tree is sound, its items by leaf, and replacing it.  May assume an inventory.
Promises: what comes out are items that stood in the tree; nothing is written but by `rebuild`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from .btree import BTree
from .errors import CorruptError, TreeCorruptError
from .inventory import Inventory
from .layout import DATA_SIZE, NO_POSITION, STREAM, TREE_FREE_MAGIC
from .mending import RepairReport
from .paths import FilesystemStreamManager
from .streamrepair import State, judge
from .streams.extents import Extents
from .treenode import TreeNode, decode_node

Item = tuple[bytes, bytes]
_NAMES: Final = {1: "registry", 2: "path"}


class TreeRepair:
    """One of the two trees of a filesystem.

    Args:
        number: of its special stream.

    Attributes:
        is_sound: whether the tree can be used as it is.
        has_gaps: whether a node was lost that may have held items.
    """

    def __init__(
        self,
        manager: FilesystemStreamManager,
        inventory: Inventory,
        number: int,
        report: RepairReport,
    ) -> None:
        self._manager = manager
        self._inventory = inventory
        self._number = number
        self._report = report
        self._stream = manager.special_stream(number)
        self._blocks = self._own_blocks()
        self._gone: set[bytes] = set()  # ids of streams of large values that are not needed
        self.is_sound = self._look()
        self.has_gaps = not self.is_sound

    @property
    def lost_count(self) -> int:
        """Blocks of the tree that do not open."""
        return 0 if self.is_sound else max(0, self._stream.count - len(self._blocks))

    @property
    def layer(self) -> str:
        """What findings call it."""
        return _NAMES[self._number]

    @property
    def tree(self) -> BTree:
        """The tree as it stands."""
        manager = self._manager
        return manager.registry.tree if self._number == manager.STREAM_INDEX else manager.paths

    # --- looking

    def _own_blocks(self) -> list[int]:
        """The positions of all blocks that say they are this tree's."""
        number = self._inventory.number(self._stream.identity.bytes)
        if number is None:
            return []
        found = self._inventory.positions_of({number})[number]
        return sorted(position for positions in found.values() for position in positions)

    def _look(self) -> bool:
        """Whether nodes, chain and large values are right; what is right is claimed."""
        try:
            if any(True for _ in self.tree.check()):
                return False
            nodes = sorted(position for position, _, _ in self.tree.nodes())
            record = bytes(self._stream)
            extents = self._extents(record)
            far = list(self.tree.far_records())
            chains = [(each, self._extents(each)) for each in far]
        except CorruptError:
            return False
        if nodes != self._blocks or STREAM.unpack(record)[4] != len(nodes) * DATA_SIZE:
            return False
        verdicts = [judge(self._inventory, *chain) for chain in [(record, extents), *chains]]
        return all(verdict.state is State.SOUND for verdict in verdicts)

    def _extents(self, record: bytes) -> Extents:
        """Where a chain leads.  Raises: TreeCorruptError."""
        _, position, end, count, _, _ = STREAM.unpack(record)
        extents = Extents()
        number = self._inventory.number(record[:16])
        for index in range(count):
            said = self._inventory.said(position)
            if number is None or (said.stream, said.ordinal) != (number, index):
                raise TreeCorruptError("a chain is broken", block=position)
            extents.append(position, 1)
            position = said.next
        if count and extents.position(count - 1) != end:
            raise TreeCorruptError("a chain does not end at its end", block=end)
        return extents

    # --- what is left

    def items(self) -> Iterator[Item]:
        """All items in order: of the tree, or of the leaves that are left of it."""
        if self.is_sound:
            yield from self.tree.items()
            return
        last = None
        for key, position in self._leaves():
            node, _ = decode_node(position, self._stream.read_node(position))
            if last is not None and key <= last:
                raise TreeCorruptError(
                    "two leaves of a tree hold the same keys: use rescue", block=position
                )
            for at, each in enumerate(node.keys):
                value = self._value(node, at)
                if value is not None:
                    yield each, value
            last = node.keys[-1]

    def _leaves(self) -> list[tuple[bytes, int]]:
        """First key and position of every leaf, in order."""
        found = []
        for position in self._blocks:
            data = self._stream.read_node(position)
            if data[:2] == TREE_FREE_MAGIC:
                continue
            try:
                node, _ = decode_node(position, data)
            except TreeCorruptError as error:
                self._report.lose(self.layer, f"a node contradicts itself: {error.reason}")
                continue
            if not node.level and node.keys:
                found.append((node.keys[0], position))
        return sorted(found)

    def _value(self, node: TreeNode, at: int) -> bytes | None:
        """A value, also a large one; None where that cannot be read."""
        value = node.values[at]
        if node.keys[at] not in node.far:
            return value
        self._gone.add(value[:16])
        try:
            return self._stream.read_value(value)
        except CorruptError:
            self._report.lose(self.layer, "a large value is damaged", stream=node.keys[at].hex())
            return None

    def owns(self, identity: bytes) -> bool:
        """Whether a stream holds a large value of the leaves that were read."""
        return identity in self._gone

    def adopt(self, identity: bytes) -> None:
        """A stream holds a large value of a lost leaf: it goes when the tree is written."""
        self._gone.add(identity)

    # --- writing

    def rebuild(self, items: Iterable[Item]) -> None:
        """Write the tree anew; the old blocks are freed."""
        manager = self._manager
        record = STREAM.pack(self._stream.identity.bytes, NO_POSITION, NO_POSITION, 0, 0, 0)
        tree = self._begin(record)
        tree.load(items)
        tree.flush()
        for position in self._blocks:
            manager.free_run(position, 1)
            self._inventory.claim(position, 1)
        self._free_values()
        if self._number == manager.STREAM_INDEX:
            manager.registry.replace_tree(tree)
        else:
            manager.paths = tree
        self.is_sound = True
        self._report.mend(self.layer, "a tree was written anew from the leaves that are left")

    def _begin(self, record: bytes) -> BTree:
        """An empty tree in the special stream; what stood there is left where it is."""
        self._stream.reload(record, None)
        return BTree.create(self._stream)

    def _free_values(self) -> None:
        """Free the streams of the old tree's large values."""
        numbers = {self._inventory.number(identity) for identity in self._gone}
        found = self._inventory.positions_of({n for n in numbers if n is not None})
        for blocks in found.values():
            for positions in blocks.values():
                for position in positions:
                    self._manager.free_run(position, 1)
                    self._inventory.claim(position, 1)
