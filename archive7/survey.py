"""Survey: what stands in the slots of a damaged container, whatever its roots and map say.

Owns the pass over all slots and which version of a block counts.  May assume a device and the
keys; trusts nothing but what opens.  Memory: 32 bytes for each slot of the file.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable
from typing import Final

from .crypto import KIND_DATA, KIND_NODE, KIND_ROOT, block_cipher
from .device import Buffer, Device
from .errors import CorruptError
from .layout import (
    BLOCK_HEAD,
    BLOCK_SIZE,
    FANOUT,
    MAP_ENTRY,
    MAX_RUN,
    NODE_IDENTITY,
    NODE_MAGIC,
    SLOTS_OFFSET,
    TAG_PREFIX_SIZE,
)
from .map import Entry, Map, node_entry, node_slots
from .opening import map_of
from .reader import BlockReader
from .root import Ring, Root, slot_offset
from .superblock import Superblock

_HEAD: Final = BLOCK_HEAD.size
_UNKNOWN: Final = 0  # number of no stream
_FIXED: Final = (1 << 32) - 1
Step = Callable[[int, int, str], object]


class Survey:
    """All that opens under the keys of a container.

    Args:
        step: told slots done and all slots.

    Attributes:
        root: the newest root that can be read, or None.
        damaged: slots that open as nothing; free ones are among them.
    """

    def __init__(
        self, device: Device, superblock: Superblock, master: Buffer, step: Step | None = None
    ) -> None:
        self._device = device
        self._data, self._node, root = (
            block_cipher(superblock.suite, master, superblock.container, superblock.epoch, kind)
            for kind in (KIND_DATA, KIND_NODE, KIND_ROOT)
        )
        self._step = step or (lambda *_: None)
        self.count = max(0, device.size() - SLOTS_OFFSET) // BLOCK_SIZE
        self.root = self._choose_root(Ring(device, root))
        self.damaged = 0
        self._numbers: dict[bytes, int] = {}  # stream id -> number
        self._ids: list[bytes] = [b""]
        self._streams = array("I", bytes(4 * (self.count + 1)))  # of each slot: number of stream
        self._indices = array("I", bytes(4 * (self.count + 1)))
        self._commits = array("I", bytes(4 * (self.count + 1)))  # low 32 bits; suite 2: 0
        # commit of the leaf that names this version, _FIXED where the root fixes it, 0: none
        self._named = array("I", bytes(4 * (self.count + 1)))
        self._is_proved = bytearray(self.count + 1)
        self._nodes: dict[int, tuple[int, int]] = {}  # ordinal of a leaf -> commit, slot
        self._newest: dict[int, list[int]] = {}

    def _choose_root(self, ring: Ring) -> Root | None:
        """The newest root whose map opens whole, else the newest that was durable, or any."""
        try:
            roots = sorted(ring.read().values(), key=lambda root: root.number, reverse=True)
        except CorruptError:
            return None
        for root in roots:
            with contextlib.suppress(CorruptError):
                for _ in self._map_of(root).walk():
                    pass
                return root
        return max(roots, key=lambda root: (root.is_marked, root.number), default=None)

    # --- the pass

    def run(self) -> None:
        """Open every slot, see which versions the map names.  Cost: one pass over the file."""
        tags = bytearray(TAG_PREFIX_SIZE * (self.count + 1))
        for first in range(1, self.count + 1, MAX_RUN):
            count = min(MAX_RUN, self.count + 1 - first)
            raw = self._device.pread(count * BLOCK_SIZE, slot_offset(first))
            for i in range(len(raw) // BLOCK_SIZE):
                sealed = raw[i * BLOCK_SIZE : (i + 1) * BLOCK_SIZE]
                at = TAG_PREFIX_SIZE * (first + i)
                tags[at : at + TAG_PREFIX_SIZE] = self._data.tag(sealed)
                self._look_at(first + i, sealed)
            self._step(first, self.count, "survey")
        self._name(tags)
        self._step(self.count, self.count, "survey")

    def _look_at(self, slot: int, sealed: bytes) -> None:
        plain = self._data.open_block(sealed)
        if plain is None:
            self._look_at_node(slot, sealed)
            return
        _, _, index, stream, digest = BLOCK_HEAD.unpack_from(plain)
        if not self._data.digest_matches(digest, plain[_HEAD:]):
            self.damaged += 1
            return
        number = self._numbers.setdefault(stream, len(self._ids))
        if number == len(self._ids):
            self._ids.append(stream)
        self._streams[slot], self._indices[slot] = number, index
        self._commits[slot] = self._commit_of(digest)

    def _commit_of(self, digest: bytes) -> int:
        """The commit that a block was sealed for; 0 where the suite does not say."""
        return int.from_bytes(digest[16:20], "big") if self._data.digest_size == 16 else 0

    def _look_at_node(self, slot: int, sealed: bytes) -> None:
        plain = self._node.open_block(sealed)
        if plain is None:
            self.damaged += 1
            return
        _, _, ordinal, identity, _ = BLOCK_HEAD.unpack_from(plain)
        magic, level, commit = NODE_IDENTITY.unpack(identity)
        if magic == NODE_MAGIC and level == 0:
            self._nodes[ordinal] = max(self._nodes.get(ordinal, (0, 0)), (commit, slot))

    # --- which version counts

    def _name(self, tags: bytearray) -> None:
        """Mark the versions that the map of the root names, else those of the newest leaves."""
        chart = self._map()
        reach = -(-self.root.positions // FANOUT) if self.root else 0
        ordinals = set(self._nodes) | set(range(reach))
        for ordinal in sorted(ordinals):
            commit, entries = self._leaf(chart, ordinal)
            for entry in entries:
                slot, tag = MAP_ENTRY.unpack(entry)
                at = TAG_PREFIX_SIZE * slot
                if 0 < slot <= self.count and tags[at : at + TAG_PREFIX_SIZE] == tag:
                    self._named[slot] = commit

    def _map(self) -> Map | None:
        return None if self.root is None else self._map_of(self.root)

    def _map_of(self, root: Root) -> Map:
        reader = BlockReader(self._device, self._data, self._node)
        return map_of(reader, root)  # type: ignore[arg-type]

    def _leaf(self, chart: Map | None, ordinal: int) -> tuple[int, list[Entry]]:
        """The entries of a leaf: as the root fixes them, else of its newest version."""
        if chart is not None:
            first = ordinal * FANOUT
            try:
                chart.node(0, ordinal)
                return _FIXED, [chart.get(first + i) for i in range(FANOUT)]
            except CorruptError:
                pass
        commit, slot = self._nodes.get(ordinal, (0, 0))
        if not slot:
            return 0, []
        sealed = self._device.pread(BLOCK_SIZE, slot_offset(slot))
        node = (self._node.open_block(sealed) or bytes(_HEAD))[_HEAD:]
        taken = enumerate(node_slots(node))
        return commit & _FIXED, [node_entry(node, at) for at, slot in taken if slot]

    # --- asking

    def streams(self) -> list[bytes]:
        """The ids of all streams that any block belongs to."""
        return self._ids[1:]

    def versions(self, stream: bytes) -> dict[int, list[int]]:
        """Index -> slots of all versions of that block, the one that counts first.

        What the root fixes counts, and what the newest leaf of the map names, if there is no
        version from after that leaf; else the newest, unproved.
        """
        if not self._newest:
            self._sort()
        found: dict[int, list[int]] = {}
        for slot in self._newest.get(self._numbers.get(stream, _UNKNOWN), []):
            found.setdefault(self._indices[slot], []).append(slot)
        for slots in found.values():
            slots.sort(key=lambda slot: (self._commits[slot], slot), reverse=True)
            named = max(slots, key=lambda slot: self._named[slot])
            if self._named[named] and self._commits[slots[0]] <= self._named[named]:
                slots.remove(named)
                slots.insert(0, named)
                self._is_proved[named] = 1
        return found

    def _sort(self) -> None:
        for slot in range(1, self.count + 1):
            if self._streams[slot]:
                self._newest.setdefault(self._streams[slot], []).append(slot)

    def is_proved(self, slot: int) -> bool:
        """Whether the version in this slot is the last one; ask `versions` before."""
        return bool(self._is_proved[slot])

    def commit(self, slot: int) -> int:
        """The commit (low 32 bits) that a block was sealed for; 0 if that is not told."""
        return self._commits[slot]

    def read(self, slot: int) -> bytes:
        """The data (4008 bytes) in a slot that was seen to open."""
        plain = self._data.open_block(self._device.pread(BLOCK_SIZE, slot_offset(slot)))
        if plain is None:
            raise CorruptError(f"slot {slot} opens no more: the file changes meanwhile")
        return plain[_HEAD:]
