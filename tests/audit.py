"""A second opinion on a container: every invariant asserted straight from blocks, map and records.

Shares no code with `archive7.check`, so that a mistake there does not hide one in the package.
Takes time in proportion to the container: for small ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from archive7.btree import BTree
from archive7.commit import Container
from archive7.creation import open_container
from archive7.device import MemoryDevice
from archive7.keyslots import Secrets
from archive7.layout import (
    BLOCK_HEAD,
    DATA_SIZE,
    FLAG_TRASH,
    NO_ENTRY,
    NO_POSITION,
    RING_PLACES,
    STREAM,
    TRASH_EXTENT,
    TRASH_HEAD,
)
from archive7.map import entry_slot, node_slots
from archive7.root import slot_offset
from archive7.streams import (
    BaseStream,
    DynamicMultiStreamManager,
    FixedMultiStreamManager,
    StreamManager,
)

KEY = bytes(range(32))
SECRETS = Secrets(key=KEY)


@dataclass
class Audit:
    """What an audit saw.

    Attributes:
        owners: position -> who owns its block.
        slots: slot -> what stands there.
        free: positions without a block.
    """

    owners: dict[int, str] = field(default_factory=dict)
    slots: dict[int, str] = field(default_factory=dict)
    free: set[int] = field(default_factory=set)

    def own(self, position: int, owner: str) -> None:
        assert position not in self.owners, (
            f"position {position} belongs to {self.owners[position]} and to {owner}"
        )
        self.owners[position] = owner


def audit_bytes(
    data: bytes,
    manager: type[StreamManager] = DynamicMultiStreamManager,
    *,
    loose: Iterable[int] = (),
    is_settled: bool = True,
) -> Audit:
    """Audit the bytes of a container that nobody has open.

    Args:
        loose: positions of blocks that belong to no stream.
        is_settled: whether it was closed cleanly.
    """
    container = open_container(MemoryDevice(data), SECRETS, readonly=True)
    try:
        if is_settled:
            check_settled(container, data)
        with manager.over(container) as opened:
            return audit(opened, loose=loose)
    finally:
        container.close()


def check_settled(container: Container, data: bytes) -> None:
    """A clean close leaves eight marked copies of a folded root, and no byte behind the slots."""
    roots = container.ring.read()
    assert len(roots) == RING_PLACES, f"only {sorted(roots)} of the ring can be read"
    assert {root.hash for root in roots.values()} == {container.root.hash}
    assert all(root.is_marked for root in roots.values())
    assert not container.root.changes, "the map was not folded"
    assert len(data) == slot_offset(container.root.slots + 1)


def audit(manager: StreamManager, *, loose: Iterable[int] = ()) -> Audit:
    """Audit the last commit under an open manager that has nothing uncommitted."""
    container = manager.container
    assert container.is_readonly or not container.is_changed, "audit what is committed"
    seen = Audit()
    audit_map(container, seen)
    for position in loose:
        seen.own(position, "nobody")
    for number, record in enumerate(container.root.streams):
        audit_stream(container, record, None, f"special stream {number}", seen)
    if isinstance(manager, DynamicMultiStreamManager) and container.root.streams:
        audit_registry(manager, seen)
    used = set(range(1, container.root.positions)) - seen.free
    assert set(seen.owners) == used, (
        f"lost: {sorted(used - set(seen.owners))[:20]}, "
        f"gone: {sorted(set(seen.owners) - used)[:20]}"
    )
    if isinstance(manager, FixedMultiStreamManager):
        audit_trash(manager, seen)
    return seen


def audit_map(container: Container, seen: Audit) -> None:
    """Every entry opens under its tag, no slot is used twice, the root's counts are right."""
    blocks, root = container.blocks, container.root
    chart = blocks.map

    def stand(slot: int, what: str) -> None:
        assert 0 < slot <= root.slots, f"{what} stands in slot {slot} of {root.slots}"
        assert slot not in seen.slots, f"slot {slot} holds {seen.slots[slot]} and {what}"
        seen.slots[slot] = what

    first, count = root.reserve
    for slot in range(first, first + count):
        stand(slot, "the reserve")
    for level, ordinal, entry, node in chart.walk():
        stand(entry_slot(entry), f"node {ordinal} of level {level}")
        if level:
            continue
        base = ordinal * len(node_slots(node))
        for at, slot in enumerate(node_slots(node)):
            assert not slot or base + at < root.positions, "an entry behind the last position"
    assert chart.get(0) == NO_ENTRY
    for position in range(1, root.positions):
        entry = chart.get(position)
        if entry == NO_ENTRY:
            seen.free.add(position)
            continue
        stand(entry_slot(entry), f"block {position}")
        blocks.verify(position, entry)
    assert root.used == len(seen.slots) - count, (
        f"the root says {root.used} used slots, there are {len(seen.slots) - count}"
    )


def chain(container: Container, record: bytes, owner: str) -> Iterator[tuple[int, bytes]]:
    """The blocks of a stream, found by their links: (position, 4056 plain bytes)."""
    identity, begin, end, count, _, _ = STREAM.unpack(record)
    position, before = begin, NO_POSITION
    for index in range(count):
        plain = bytes(container.blocks.verify(position, container.blocks.map.get(position)))
        previous, following, found, stream, _ = BLOCK_HEAD.unpack_from(plain)
        assert (previous, found, stream) == (before, index, identity), (
            f"block {position} of {owner}: previous {previous} index {found}"
        )
        yield position, plain
        if index == count - 1:
            assert position == end, f"{owner} ends at {position}, not {end}"
        position, before = following, position


def audit_stream(
    container: Container,
    record: bytes,
    runs: Iterable[tuple[int, int]] | None,
    owner: str,
    seen: Audit,
) -> None:
    """The chain is whole, the extents name the same blocks, bytes behind the length are zero."""
    _, begin, end, count, length, compression = STREAM.unpack(record)
    assert compression == 0
    if not count:
        assert (begin, end, length) == (NO_POSITION, NO_POSITION, 0), owner
    assert length <= count * DATA_SIZE, f"{owner}: {length} bytes in {count} blocks"
    positions = []
    for index, (position, plain) in enumerate(chain(container, record, owner)):
        seen.own(position, owner)
        positions.append(position)
        behind = max(0, length - index * DATA_SIZE)
        assert not any(plain[BLOCK_HEAD.size + behind :]), f"{owner}: bytes behind the length"
        if index == count - 1:
            following = BLOCK_HEAD.unpack_from(plain)[1]
            told = -2 - following if following < NO_POSITION else DATA_SIZE
            assert told == min(behind, DATA_SIZE), f"{owner}: the last block tells {told} bytes"
    if runs is not None:
        assert positions == [p for first, size in runs for p in range(first, first + size)], owner
        assert length > (count - 1) * DATA_SIZE or not count, f"{owner}: blocks behind the length"


def audit_registry(manager: DynamicMultiStreamManager, seen: Audit) -> None:
    tree = manager.registry.tree
    audit_tree(manager.container, tree, "the registry", seen)
    for identity in manager.registry:
        found = manager.registry.read(identity)
        assert found is not None
        record, extents, _ = found
        assert STREAM.unpack(record)[0] == identity.bytes
        audit_stream(manager.container, record, list(extents), f"stream {identity}", seen)


def audit_tree(container: Container, tree: BTree, name: str, seen: Audit) -> None:
    """The tree checks, its large values are whole."""
    assert list(tree.check()) == []
    for position, level, _ in tree.nodes():
        if level:
            continue
        node = tree._node(position)
        for key in node.far:
            record = node.values[node.keys.index(key)]
            audit_stream(container, record, None, f"a value of {name}", seen)


def audit_trash(manager: FixedMultiStreamManager, seen: Audit) -> None:
    """A trash stream that counts lists free positions only, in order, and all of them."""
    if not manager.container.root.flags & FLAG_TRASH:
        return
    stream = manager.special_stream(manager.STREAM_TRASH)
    data = read_all(stream)
    if not data:
        assert not seen.free
        return
    (count,) = TRASH_HEAD.unpack_from(data)
    end = TRASH_HEAD.size + count * TRASH_EXTENT.size
    listed = [
        position
        for first, size in TRASH_EXTENT.iter_unpack(data[TRASH_HEAD.size : end])
        for position in range(first, first + size)
    ]
    assert listed == sorted(seen.free), "the trash does not list the free positions"


def read_all(stream: BaseStream) -> bytes:
    """All bytes of a stream."""
    data = bytearray(stream.len)
    assert stream.read_into(0, memoryview(data)) == len(data)
    return bytes(data)
