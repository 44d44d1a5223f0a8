"""Structure of a container with streams: what must hold of every commit, in one pass.

Each block is opened once and its digest compared; `tests.audit` asserts more and takes longer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from archive7.commit import Container
from archive7.layout import (
    BLOCK_HEAD,
    DATA_SIZE,
    FANOUT,
    FLAG_TRASH,
    NO_POSITION,
    STREAM,
    TRASH_EXTENT,
    TRASH_HEAD,
)
from archive7.map import entry_slot, node_slots
from archive7.root import slot_offset
from archive7.streams import DynamicMultiStreamManager
from archive7.treenode import decode_node


class Structure:
    """The blocks of one commit, and whose they are.

    Args:
        manager: has nothing uncommitted.

    Raises: AssertionError where something is lost, used twice, or linked wrongly.
    """

    def __init__(self, manager: DynamicMultiStreamManager) -> None:
        self._manager = manager
        self._container: Container = manager.container
        self._slots: dict[int, str] = {}
        self._plains: dict[int, bytes] = {}  # position -> block that nobody has claimed
        self._owned: set[int] = set()
        self._map()
        for number in range(manager.SPECIAL_STREAM_COUNT):
            self._stream(bytes(manager.special_stream(number)), None, f"special {number}")
        self._registry()
        assert not self._plains, f"blocks of no stream: {sorted(self._plains)[:20]}"
        self._trash()

    # --- the map

    def _stand(self, slot: int, what: str) -> None:
        assert 0 < slot <= self._container.root.slots, f"{what} stands in slot {slot}"
        assert slot not in self._slots, f"slot {slot} holds {self._slots[slot]} and {what}"
        self._slots[slot] = what

    def _map(self) -> None:
        """No slot is used twice, the root's counts are right, every block opens."""
        container, root = self._container, self._container.root
        blocks, changes = container.blocks, root.changes
        entries = {position: change[4:] for position, change in changes.items()}
        for level, ordinal, entry, node in blocks.map.walk():
            self._stand(entry_slot(entry), f"node {ordinal} of level {level}")
            if not level:
                first = ordinal * FANOUT
                for at, slot in enumerate(node_slots(node)):
                    if slot and first + at not in changes:
                        entries[first + at] = blocks.map.get(first + at)
        for position, entry in entries.items():
            if any(entry):
                assert 0 < position < root.positions, f"position {position} was never given out"
                self._stand(entry_slot(entry), f"block {position}")
                self._plains[position] = bytes(blocks.verify(position, entry))
        assert root.used == len(self._slots), (
            f"the root says {root.used} used slots, there are {len(self._slots)}"
        )
        reserve = range(root.reserve[0], sum(root.reserve))
        assert self._slots.keys().isdisjoint(reserve), "the reserve is in use"
        last = max(self._slots, default=0)
        assert container.device.size() >= slot_offset(last + 1), "the file is too short"

    # --- streams

    def _stream(
        self, record: bytes, runs: Iterable[tuple[int, int]] | None, owner: str
    ) -> list[int]:
        """The chain is whole, the extents name the same blocks, bytes behind the end are zero."""
        identity, begin, end, count, length, compression = STREAM.unpack(record)
        assert compression == 0, owner
        found: list[int] = []
        position, before = begin, NO_POSITION
        for index in range(count):
            assert position in self._plains, f"{owner} names block {position}, not its own"
            plain = self._plains.pop(position)
            previous, following, number, stream, _ = BLOCK_HEAD.unpack_from(plain)
            assert (previous, number, stream) == (before, index, identity), (
                f"block {position} of {owner}: previous {previous}, index {number}"
            )
            behind = BLOCK_HEAD.size + max(0, length - index * DATA_SIZE)
            assert not any(plain[behind:]), f"{owner}: bytes behind the end"
            if index == count - 1:
                told = -2 - following if following < NO_POSITION else DATA_SIZE
                assert told == min(behind - BLOCK_HEAD.size, DATA_SIZE), f"{owner}: tells {told}"
            found.append(position)
            before, position = position, following
        assert end == before, f"{owner} ends at {before}, not {end}"
        assert begin != NO_POSITION or not count, owner
        assert length <= count * DATA_SIZE, f"{owner}: {length} bytes in {count} blocks"
        if runs is not None:
            assert found == [p for first, size in runs for p in range(first, first + size)], owner
            assert length > (count - 1) * DATA_SIZE or not count, f"{owner}: blocks too many"
        self._owned.update(found)
        return found

    def _registry(self) -> None:
        registry, index = self._manager.registry, self._manager.index_stream
        assert list(registry.tree.check()) == []
        nodes = list(registry.tree.nodes())
        assert len(nodes) == index.count, "the registry has blocks that are no nodes"
        for position, level, _ in nodes:
            if level == 0:
                node, _ = decode_node(position, index.read_node(position))
                for key in node.far:
                    record = node.values[node.keys.index(key)]
                    self._stream(record, None, f"value of {key.hex()}")
        for identity in registry:
            found = registry.read(identity)
            assert found is not None
            record, extents, _ = found
            assert STREAM.unpack(record)[0] == identity.bytes, "a record of another stream"
            self._stream(record, list(extents), f"stream {identity}")

    def _trash(self) -> None:
        """A trash that counts lists free positions only, in order."""
        root = self._container.root
        if not root.flags & FLAG_TRASH:
            return
        stream = self._manager.special_stream(self._manager.STREAM_TRASH)
        data = bytearray(stream.len)
        stream.read_into(0, memoryview(data))
        if not data:
            return
        (count,) = TRASH_HEAD.unpack_from(data)
        body = data[TRASH_HEAD.size : TRASH_HEAD.size + count * TRASH_EXTENT.size]
        owned, end = sorted(self._owned), 1
        for first, size in TRASH_EXTENT.iter_unpack(body):
            assert end <= first < first + size <= root.positions, "the trash is not in order"
            end = first + size
            assert bisect_left(owned, first) == bisect_left(owned, end), (
                f"the trash lists positions in use, from {first} to {end}"
            )
