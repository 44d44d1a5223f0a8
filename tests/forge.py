"""A forger with the key: changes the plaintext of a container's blocks, nodes and root and seals
them anew, so that every tag and every entry above is right and only what was meant is wrong.

Sealed bytes keep their slots.  A changed root goes into each place that holds the newest one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from archive7.crypto import KIND_DATA, KIND_NODE, KIND_ROOT, BlockCipher, block_cipher
from archive7.device import MemoryDevice
from archive7.keyslots import Secrets
from archive7.layout import (
    BLOCK_HEAD,
    BLOCK_SIZE,
    CHANGE,
    DATA_SIZE,
    FANOUT,
    MAP_ENTRY,
    NO_ENTRY,
    RING_OFFSET,
    RING_PLACES,
    ROOT,
    ROOT_CHANGES_OFFSET,
    ROOT_OFFSET,
    STREAM,
    TREE_NODE,
)
from archive7.root import Root, decode, slot_offset
from archive7.treenode import TreeNode, decode_node
from archive7.unlock import read

SECRETS = Secrets(key=bytes(range(32)))
_DIGEST = slice(28, 48)
_DATA = slice(BLOCK_HEAD.size, None)
_COUNT_OF_CHANGES = ROOT_OFFSET + 50

Node = tuple[int, int]  # level, ordinal


class Forge:
    """The bytes of a container, open to its key holder.

    Attributes:
        data: the bytes, changed in place.
        root: the newest root, as it was at the start or set last.
    """

    def __init__(self, data: bytes, secrets: Secrets = SECRETS) -> None:
        self.data = bytearray(data)
        unlocked = read(MemoryDevice(data), secrets, 1 << 18)
        superblock = unlocked.superblock
        self.ciphers: dict[bytes, BlockCipher] = {
            kind: block_cipher(
                superblock.suite, unlocked.master, superblock.container, superblock.epoch, kind
            )
            for kind in (KIND_ROOT, KIND_NODE, KIND_DATA)
        }
        roots = {place: self._open_root(place) for place in range(RING_PLACES)}
        self.roots: dict[int, Root] = {p: decode(data) for p, data in roots.items() if data}
        newest = max(self.roots, key=lambda p: (self.roots[p].number, self.roots[p].is_marked))
        self.root = self.roots[newest]
        self.plain_root = bytearray(roots[newest] or b"")
        self.places = [p for p, root in self.roots.items() if root.hash == self.root.hash]

    # --- sealing

    def _open_root(self, place: int) -> bytes | None:
        plain = self.ciphers[KIND_ROOT].open_block(self._at(RING_OFFSET + place * BLOCK_SIZE))
        return None if plain is None else plain[_DATA]

    def _at(self, offset: int) -> bytes:
        return bytes(self.data[offset : offset + BLOCK_SIZE])

    def seal(self, kind: bytes, plain: bytearray, *, is_right: bool = True) -> tuple[bytes, bytes]:
        """Seal 4056 bytes: the block and its tag prefix; the digest is set right before."""
        cipher = self.ciphers[kind]
        if is_right:
            plain[_DIGEST] = cipher.digester(self.root.number)(plain[_DATA])
        run = cipher.run_buffer(1, BLOCK_HEAD.size)
        [tag] = cipher.seal_run(run, [plain], 1)
        return bytes(run.sealed), tag

    def _write(self, kind: bytes, slot: int, plain: bytearray, *, is_right: bool = True) -> bytes:
        """Seal a block into a slot; its entry."""
        sealed, tag = self.seal(kind, plain, is_right=is_right)
        offset = slot_offset(slot)
        self.data[offset : offset + BLOCK_SIZE] = sealed
        return MAP_ENTRY.pack(slot, tag)

    def _open(self, kind: bytes, entry: bytes) -> bytearray:
        slot, tag = MAP_ENTRY.unpack(entry)
        plain = self.ciphers[kind].open_block(self._at(slot_offset(slot)), tag)
        assert plain is not None, f"slot {slot}"
        return bytearray(plain)

    # --- map

    def entry(self, position: int) -> bytes:
        """The effective entry of a position."""
        change = self.root.changes.get(position)
        if change is not None:
            return change[4:]
        return self.node_entry(0, position) if self.root.height else NO_ENTRY

    def node_entry(self, level: int, number: int) -> bytes:
        """Entry `number` among all of a level."""
        above = self.above(level, number // FANOUT)
        if above == NO_ENTRY:
            return NO_ENTRY
        at = BLOCK_HEAD.size + number % FANOUT * MAP_ENTRY.size
        return bytes(self._open(KIND_NODE, above)[at : at + MAP_ENTRY.size])

    def above(self, level: int, ordinal: int) -> bytes:
        """The entry of a node."""
        if level < self.root.height - 1:
            return self.node_entry(level + 1, ordinal)
        return self.root.top if (level, ordinal) == (self.root.height - 1, 0) else NO_ENTRY

    def node(self, level: int = 0, ordinal: int = 0) -> bytearray:
        """The plaintext of a node."""
        return self._open(KIND_NODE, self.above(level, ordinal))

    def set_node(
        self, plain: bytearray, level: int = 0, ordinal: int = 0, *, is_right: bool = True
    ) -> None:
        """Seal a node anew, and all above it."""
        slot, _ = MAP_ENTRY.unpack(self.above(level, ordinal))
        self._set_above(level, ordinal, self._write(KIND_NODE, slot, plain, is_right=is_right))

    def _set_above(self, level: int, ordinal: int, entry: bytes) -> None:
        if level == self.root.height - 1:
            self.set_root(top=entry)
        else:
            self.set_node_entry(level + 1, ordinal, entry)

    def set_node_entry(self, level: int, number: int, entry: bytes) -> None:
        """Change entry `number` among all of a level."""
        plain = self.node(level, number // FANOUT)
        at = BLOCK_HEAD.size + number % FANOUT * MAP_ENTRY.size
        plain[at : at + MAP_ENTRY.size] = entry
        self.set_node(plain, level, number // FANOUT)

    def set_entry(self, position: int, entry: bytes) -> None:
        """Change the effective entry of a position, where it stands."""
        if position in self.root.changes or not self.root.height:
            slot, tag = MAP_ENTRY.unpack(entry)
            change = CHANGE.pack(position, slot, tag)
            self.set_root(changes=self.root.changes | {position: change})
        else:
            self.set_node_entry(0, position, entry)

    # --- blocks

    def block(self, position: int) -> bytearray:
        """The plaintext of a block."""
        return self._open(KIND_DATA, self.entry(position))

    def set_block(self, position: int, plain: bytearray, *, is_right: bool = True) -> None:
        """Seal a block anew, and all above it."""
        slot, _ = MAP_ENTRY.unpack(self.entry(position))
        self.set_entry(position, self._write(KIND_DATA, slot, plain, is_right=is_right))

    def patch_block(self, position: int, at: int, part: bytes, *, is_right: bool = True) -> None:
        """Change some bytes of a block's plaintext."""
        plain = self.block(position)
        plain[at : at + len(part)] = part
        self.set_block(position, plain, is_right=is_right)

    # --- root

    def set_root(self, **fields: Any) -> None:
        """Change fields of the root."""
        self.root = replace(self.root, **fields).with_hash()[0]
        self.write_root(bytearray(self.root.encode()))

    def patch_root(self, at: int, part: bytes) -> None:
        """Change bytes of the root's data, sense or not."""
        data = bytearray(self.root.encode())
        data[at : at + len(part)] = part
        self.write_root(data)

    def write_root(
        self, data: bytes | bytearray, places: list[int] | None = None, head: bytes | None = None
    ) -> None:
        """Seal 4008 bytes of a root into places of the ring."""
        plain = bytearray(BLOCK_HEAD.pack(-1, -1, 0, bytes(16), bytes(20)) + bytes(data))
        if head is not None:
            plain[: len(head)] = head
        sealed, _ = self.seal(KIND_ROOT, plain)
        for place in self.places if places is None else places:
            at = RING_OFFSET + place * BLOCK_SIZE
            self.data[at : at + BLOCK_SIZE] = sealed

    def clear_ring(self, kept: list[int]) -> None:
        """Make all other places unreadable."""
        for place in range(RING_PLACES):
            if place not in kept:
                at = RING_OFFSET + place * BLOCK_SIZE
                self.data[at : at + BLOCK_SIZE] = bytes(BLOCK_SIZE)
        self.places = [place for place in self.places if place in kept]

    # --- streams and trees

    def stream(self, number: int) -> tuple[Any, ...]:
        """The record of a special stream."""
        return STREAM.unpack(self.root.streams[number])

    def set_stream(self, number: int, **fields: Any) -> None:
        """Change fields of the record of a special stream."""
        streams = list(self.root.streams)
        streams[number] = changed_record(streams[number], **fields)
        self.set_root(streams=tuple(streams))

    def leaves(self, number: int) -> list[TreeNode]:
        """The leaves of the tree in a special stream, in order."""
        found, todo = [], [self.stream(number)[1]]
        while todo:
            position = todo.pop()
            node, _ = decode_node(position, bytes(self.block(position)[_DATA]))
            todo += reversed(node.children)
            if not node.level:
                found.append(node)
        return found

    def items(self, number: int) -> dict[bytes, bytes]:
        """Keys and values; a value in a stream is its record."""
        return {
            key: value
            for leaf in self.leaves(number)
            for key, value in zip(leaf.keys, leaf.values, strict=True)
        }

    def set_value(self, number: int, key: bytes, value: bytes | None) -> None:
        """Replace, insert or (None) remove one item of a tree, in the leaf where it belongs."""
        leaves = self.leaves(number)
        leaf = max((each for each in leaves if each.keys and each.keys[0] <= key),
                   key=lambda each: each.keys[0], default=leaves[0])  # fmt: skip
        items = dict(zip(leaf.keys, leaf.values, strict=True))
        items[key] = value or b""
        if value is None:
            del items[key]
        self.set_leaf(leaf, sorted(items.items()))

    def set_leaf(self, leaf: TreeNode, items: list[tuple[bytes, bytes]]) -> None:
        """Write other items into a leaf, in the order given."""
        leaf.keys, leaf.values = [key for key, _ in items], [value for _, value in items]
        leaf.measure()
        free = TREE_NODE.unpack_from(self.block(leaf.position), BLOCK_HEAD.size)[3]
        data = leaf.encode(free)
        assert len(data) == DATA_SIZE, "the leaf is full"
        self.patch_block(leaf.position, BLOCK_HEAD.size, data)

    def change_value(self, number: int, key: bytes, how: Callable[[bytes], bytes]) -> None:
        """Change one value of a tree."""
        self.set_value(number, key, how(self.items(number)[key]))


def changed_record(record: bytes, **fields: Any) -> bytes:
    """A stream record with other fields."""
    names = ("identity", "begin", "end", "count", "length", "compression")
    values = dict(zip(names, STREAM.unpack(record), strict=True)) | fields
    return STREAM.pack(*(values[name] for name in names))


def with_changes(data: bytes, changes: list[bytes]) -> bytearray:
    """The data of a root with these changes, whatever they are."""
    found = bytearray(data)
    found[_COUNT_OF_CHANGES] = len(changes)
    body = b"".join(changes)
    found[ROOT_CHANGES_OFFSET : ROOT_CHANGES_OFFSET + len(body)] = body
    return found


assert ROOT_OFFSET + ROOT.size > _COUNT_OF_CHANGES
