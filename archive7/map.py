"""The map: position -> (slot, tag), a radix tree of sealed nodes under inline changes.

Owns lookups and changes of map entries.  May assume a function that reads a sealed node and one
that writes it.  Promises: an entry that comes out is the one the root fixes; changed nodes stay
in memory until `fold` writes them bottom-up, so the root never points to half a tree.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from .errors import BlockCorruptError
from .layout import (
    CHANGE,
    DATA_SIZE,
    FANOUT,
    INLINE_MAX,
    MAP_ENTRY,
    NO_ENTRY,
    decode_numbers,
    entry_fields,
    entry_row,
)

NODE_CACHE: Final = 13056  # nodes: 51 MiB, the whole map of 16 GiB
_DIRTY_LIMIT: Final = 4096  # changed nodes held in memory: 16 MiB
_EMPTY: Final = bytes(DATA_SIZE)
_ORDINAL_BITS: Final = 32
_SIZE: Final = MAP_ENTRY.size
# where each entry stands in a node: made once, every look-up needs it
_AT: Final = [slice(at, at + _SIZE) for at in range(0, DATA_SIZE, _SIZE)]

Entry = bytes  # 12: slot, tag prefix; NO_ENTRY where the position is free


class Nodes(Protocol):
    """Reads and writes sealed map nodes."""

    def read_node(self, entry: Entry, level: int, ordinal: int) -> bytes:
        """Open the node at `entry`.  Raises BlockCorruptError."""

    def write_nodes(self, nodes: Sequence[tuple[int, int, bytearray]]) -> list[Entry]:
        """Seal (level, ordinal, data) into fresh slots; return their entries."""


def entry_slot(entry: Entry) -> int:
    """The slot of an entry, 0 for none."""
    return int.from_bytes(entry[:4], "big")


def node_entry(node: bytes | bytearray, at: int) -> Entry:
    """Entry number `at` (0 to 333) of a node."""
    return bytes(node[_AT[at]])


def node_slots(node: bytes | bytearray) -> array[int]:
    """All 334 slots of a node."""
    return decode_numbers("I", node)[::3]


def set_entry(node: bytearray, at: int, entry: Entry) -> None:
    """Set entry number `at` of a node."""
    node[_AT[at]] = entry


class Map:
    """The map of one root, and changes over it.

    Args:
        nodes: reads and writes sealed nodes.
        height: levels of nodes.
        top: entry of the topmost node.
        changes: inline changes (position -> CHANGE) over the nodes; taken over, not copied.
        release, release_all: are told every slot that the map stops referring to.
    """

    def __init__(
        self,
        nodes: Nodes,
        height: int,
        top: Entry,
        changes: dict[int, bytes],
        release: Callable[[int], None] | None = None,
        release_all: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        self._io = nodes
        self._release = release or _no_release
        self._release_all = release_all or _no_release
        self.reset(height, top, changes, 0)

    def reset(self, height: int, top: Entry, changes: dict[int, bytes], used: int) -> None:
        """Become the map of another root that refers to `used` slots; forget changed nodes."""
        self.used = used
        self.is_changed = False
        self.height = height
        self.top = top
        self.changes = changes
        self._nodes: dict[int, bytes | bytearray] = {}
        self._dirty: set[int] = set()

    @property
    def must_fold(self) -> bool:
        """Whether the changes do not fit into the root."""
        return bool(self._dirty) or len(self.changes) > INLINE_MAX

    @property
    def is_folded(self) -> bool:
        """Whether all entries stand in nodes."""
        return not self._dirty and not self.changes

    # --- looking up

    def get(self, position: int) -> Entry:
        """The entry of `position`."""
        change = self.changes.get(position)
        if change is not None:
            return change[4:]
        ordinal, at = divmod(position, FANOUT)
        node = self._nodes.get(ordinal) or self.node(0, ordinal)
        return bytes(node[_AT[at]])

    def entries(self, position: int, count: int) -> Sequence[Entry]:
        """The entries of a few consecutive positions.  For one leaf this is one look-up."""
        ordinal, at = divmod(position, FANOUT)
        changes, last = self.changes, position + count - 1
        if at + count > FANOUT or (
            changes
            and (
                position in changes
                or last in changes
                or (count > 2 and not changes.keys().isdisjoint(range(position, last)))
            )
        ):
            return [self.get(here) for here in range(position, position + count)]
        node = self._nodes.get(ordinal) or self.node(0, ordinal)
        return entry_row(count).unpack_from(node, at * _SIZE)

    def get_run(self, position: int, count: int) -> tuple[list[int], list[bytes]]:
        """Slots and tag prefixes of `count` consecutive positions."""
        slots: list[int] = []
        tags: list[bytes] = []
        while count:
            ordinal, at = divmod(position, FANOUT)
            size = min(count, FANOUT - at)
            node = self._nodes.get(ordinal) or self.node(0, ordinal)
            fields = list(entry_fields(size).unpack_from(node, at * _SIZE))
            for i in self._changed_in(position, size):
                fields[2 * i : 2 * i + 2] = MAP_ENTRY.unpack(self.changes[position + i][4:])
            slots += fields[::2]
            tags += fields[1::2]
            position += size
            count -= size
        return slots, tags

    def _changed_in(self, position: int, size: int) -> list[int]:
        """Offsets in a run of positions that have inline changes."""
        changes = self.changes
        if not changes:
            return []
        if len(changes) < size:
            return [p - position for p in changes if position <= p < position + size]
        return [i for i in range(size) if position + i in changes]

    def node(self, level: int, ordinal: int) -> bytes | bytearray:
        """A node of the working map; an absent one is empty."""
        key = level << _ORDINAL_BITS | ordinal
        node = self._nodes.get(key)
        if node is not None:
            return node
        entry = self.entry_of(level, ordinal)
        if entry == NO_ENTRY:
            return _EMPTY
        node = self._io.read_node(entry, level, ordinal)
        if len(self._nodes) >= NODE_CACHE:
            self._shrink()
        self._nodes[key] = node
        return node

    def entry_of(self, level: int, ordinal: int) -> Entry:
        """The map entry of a node."""
        if level >= self.height - 1:
            return self.top if level == self.height - 1 and ordinal == 0 else NO_ENTRY
        parent, at = divmod(ordinal, FANOUT)
        return node_entry(self.node(level + 1, parent), at)

    def _shrink(self) -> None:
        """Drop the older half of the unchanged nodes."""
        clean = [key for key in self._nodes if key not in self._dirty]
        for key in clean[: max(1, len(clean) // 2)]:
            del self._nodes[key]

    # --- changing

    def set(self, position: int, slot: int, tag: bytes) -> None:
        """Set the entry of one position (slot 0 and a zero tag: free)."""
        old = entry_slot(self.get(position))
        if old:
            self._release(old)
            self.used -= 1
        if slot:
            self.used += 1
        self.is_changed = True
        self.changes[position] = CHANGE.pack(position, slot, tag)
        if len(self.changes) > FANOUT * 16:
            self.apply()

    def set_run(self, position: int, slots: Sequence[int], tags: Sequence[bytes]) -> None:
        """Set the entries of consecutive positions, straight in the nodes."""
        done = 0
        while done < len(slots):
            ordinal, at = divmod(position + done, FANOUT)
            size = min(len(slots) - done, FANOUT - at)
            node = self._clear(ordinal, at, size)
            fields: list[int | bytes] = [0] * (2 * size)
            fields[::2], fields[1::2] = slots[done : done + size], tags[done : done + size]
            entry_fields(size).pack_into(node, at * _SIZE, *fields)
            done += size
        self.used += len(slots)

    def set_many(
        self, positions: Sequence[int], slots: Sequence[int], tags: Sequence[bytes]
    ) -> None:
        """Set the entries of rising positions, none of them free, straight in the nodes."""
        changes, release = self.changes, self._release
        entry_of, set_fields = MAP_ENTRY.unpack_from, MAP_ENTRY.pack_into
        first = end = 0
        node = bytearray()
        for position, slot, tag in zip(positions, slots, tags, strict=True):
            if position >= end:
                self._make_room()
                first = position - position % FANOUT
                end, node = first + FANOUT, self._change(0, first // FANOUT)
            at = _SIZE * (position - first)
            change = changes.pop(position, None) if changes else None
            old, _ = entry_of(node, at) if change is None else entry_of(change, 4)
            if old:
                release(old)
            else:
                self.used += 1
            set_fields(node, at, slot, tag)
        self.is_changed = True

    def clear_run(self, position: int, count: int) -> None:
        """Make `count` consecutive positions free."""
        while count:
            ordinal, at = divmod(position, FANOUT)
            size = min(count, FANOUT - at)
            if size < 8:
                for i in range(position, position + size):
                    self.set(i, 0, NO_ENTRY[4:])
            else:
                self._clear(ordinal, at, size)
            position += size
            count -= size

    def _clear(self, ordinal: int, at: int, size: int) -> bytearray:
        """Zero entries of a leaf, releasing their slots; return the leaf, now changed."""
        self._make_room()
        node = self._change(0, ordinal)
        first = ordinal * FANOUT + at
        part = slice(_SIZE * at, _SIZE * (at + size))
        slots = decode_numbers("I", node[part])[::3]
        for i in self._changed_in(first, size):
            slots[i] = int.from_bytes(self.changes.pop(first + i)[4:8], "big")
        taken = [slot for slot in slots if slot]
        if taken:
            self._release_all(taken)
            self.used -= len(taken)
        self.is_changed = True
        node[part] = bytes(_SIZE * size)
        return node

    def _change(self, level: int, ordinal: int) -> bytearray:
        """A node for changing; the tree grows until it has room for it."""
        while self.height <= level or ordinal >= FANOUT ** (self.height - 1 - level):
            self._grow()
        key = level << _ORDINAL_BITS | ordinal
        if key in self._dirty:
            node = self._nodes[key]
            assert isinstance(node, bytearray)  # noqa: S101 - changed nodes are bytearrays
            return node
        node = bytearray(self.node(level, ordinal))
        self._nodes[key] = node
        self._dirty.add(key)
        return node

    def rewrite(self, level: int, ordinal: int) -> None:
        """Have a node written anew by the next `write`, with the same entries."""
        self._make_room()
        self._change(level, ordinal)
        self.is_changed = True

    def _make_room(self) -> None:
        """Keep the memory of changed nodes bounded."""
        if len(self._dirty) >= _DIRTY_LIMIT:
            self.write()

    def _grow(self) -> None:
        """Put a new top over the present one."""
        old, level = self.top, self.height
        self.height += 1
        self.top = NO_ENTRY
        key = level << _ORDINAL_BITS
        node = bytearray(DATA_SIZE)
        if level:
            set_entry(node, 0, old)
        self._nodes[key] = node
        self._dirty.add(key)

    # --- writing

    def apply(self) -> None:
        """Move the inline changes into nodes (in memory)."""
        changes = self.changes
        for position in sorted(changes):
            self._make_room()
            node = self._change(0, position // FANOUT)
            set_entry(node, position % FANOUT, changes[position][4:])
        changes.clear()

    def fold(self) -> None:
        """Move the inline changes into nodes and write all changed nodes."""
        self.apply()
        self.write()

    def write(self) -> None:
        """Write the changed nodes bottom-up; afterwards `top` fixes them."""
        for level in range(self.height):
            ordinals = sorted(
                key & (1 << _ORDINAL_BITS) - 1
                for key in self._dirty
                if key >> _ORDINAL_BITS == level
            )
            for at in range(0, len(ordinals), 256):
                self._write_level(level, ordinals[at : at + 256])
        self._dirty.clear()

    def _write_level(self, level: int, ordinals: list[int]) -> None:
        """Write changed nodes of one level and set their entries one level up."""
        base = level << _ORDINAL_BITS
        nodes = [(ordinal, self._nodes[base | ordinal]) for ordinal in ordinals]
        full = [
            (level, ordinal, bytearray(node))
            for ordinal, node in nodes
            if node != _EMPTY or level == self.height - 1
        ]
        entries = iter(self._io.write_nodes(full))
        kept = {ordinal for _, ordinal, _ in full}
        self.used += len(full)
        for ordinal in ordinals:
            old = self.entry_of(level, ordinal)
            if entry_slot(old):
                self._release(entry_slot(old))
                self.used -= 1
            entry = next(entries) if ordinal in kept else NO_ENTRY
            if level == self.height - 1:
                self.top = entry
            else:
                set_entry(self._change(level + 1, ordinal // FANOUT), ordinal % FANOUT, entry)
            if ordinal not in kept:
                del self._nodes[base | ordinal]

    # --- walking

    def walk(self) -> Iterator[tuple[int, int, Entry, bytes | bytearray]]:
        """Every present node from the top down: (level, ordinal, entry, node).

        Inline changes are not applied; nodes that were changed and not written have their old
        entry.
        """
        stack = [(self.height - 1, 0)] if self.height else []
        while stack:
            level, ordinal = stack.pop()
            node = self.node(level, ordinal)
            if node is _EMPTY:
                continue
            yield level, ordinal, self.entry_of(level, ordinal), node
            if level:
                slots = node_slots(node)
                base = ordinal * FANOUT
                stack += [(level - 1, base + i) for i in range(FANOUT - 1, -1, -1) if slots[i]]

    def leaves(self) -> Iterator[tuple[int, array[int]]]:
        """Every leaf that is there, in order: (first position, slots with inline changes)."""
        mask = (1 << _ORDINAL_BITS) - 1
        changed = {(0, position // FANOUT) for position in self.changes}
        for level, ordinal in {
            (key >> _ORDINAL_BITS, key & mask) for key in self._dirty
        } | changed:
            for above in range(level, self.height):
                changed.add((above, ordinal))
                ordinal //= FANOUT
        reach = FANOUT ** (self.height - 1) if self.height else 0
        stack = [(self.height - 1, 0)] if self.height else []
        while stack:
            level, ordinal = stack.pop()
            node = self.node(level, ordinal)
            if not level:
                yield self._leaf(ordinal, node)
                continue
            slots, base = node_slots(node), ordinal * FANOUT
            below = [(level - 1, base + i) for i in range(FANOUT - 1, -1, -1)]
            stack += [at for at in below if slots[at[1] - base] or at in changed]
        for ordinal in sorted(at for level, at in changed if not level and at >= reach):
            yield self._leaf(ordinal, _EMPTY)

    def _leaf(self, ordinal: int, node: bytes | bytearray) -> tuple[int, array[int]]:
        base, slots = ordinal * FANOUT, node_slots(node)
        for i in self._changed_in(base, FANOUT):
            slots[i] = int.from_bytes(self.changes[base + i][4:8], "big")
        return base, slots

    def free_positions(self, end: int) -> Iterator[tuple[int, int]]:
        """Runs (first, count) of positions below `end`, from 1 on, that are free.

        Cost: every leaf is opened once, however large `end` is.
        """
        first = 1
        for base, slots in self.leaves():
            for position in range(max(1, base), min(base + FANOUT, end)):
                if slots[position - base]:
                    if position > first:
                        yield first, position - first
                    first = position + 1
        if first < end:
            yield first, end - first

    def used_slots(self, count: int) -> bytearray:
        """A byte per slot (0 to `count`): 1 where an entry or a node of this map stands.

        Cost: every node is opened once, about 6 ms per GB of archive.
        Raises: BlockCorruptError where one stands behind the end.
        """
        used = bytearray(count + 1)
        try:
            if self.height:
                used[entry_slot(self.top)] = 1
            for level, ordinal, _, node in self.walk():
                slots = node_slots(node)
                if not level:
                    for i in self._changed_in(ordinal * FANOUT, FANOUT):
                        slots[i] = 0
                for slot in slots:
                    used[slot] = 1
            for change in self.changes.values():
                used[int.from_bytes(change[4:8], "big")] = 1
        except IndexError:
            raise BlockCorruptError("the map names a slot behind the end: run check") from None
        return used


def _no_release(slot: object) -> None:
    raise BlockCorruptError(f"slot {slot} released from a read-only map")
