"""Blocks: the one place where a position becomes a verified block, and back.

Owns the ciphers, the block cache, the changed blocks that are not sealed yet, and the reading and
writing of runs.  May assume a device, a map and a slot table.  Promises: bytes that come out
were opened under the tag that the map fixes and stand in the stream and at the index that was
asked for; nothing that a committed root refers to is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from .cache import BlockCache
from .crypto import BlockCipher, RunBuffer
from .device import Buffer, Device
from .errors import BlockCorruptError, CorruptError, FullError, RollbackError
from .layout import (
    BLOCK_HEAD,
    BLOCK_IDENTITY,
    BLOCK_SIZE,
    DATA_SIZE,
    IDENTITY_OFFSET,
    MAX_RUN,
    NO_ENTRY,
    NO_POSITION,
    NODE_IDENTITY,
    NODE_MAGIC,
    PLAIN_SIZE,
)
from .map import Entry, Map, entry_slot
from .root import slot_offset
from .slots import Extent, SlotTable

_DIRTY_LIMIT: Final = 2048  # changed blocks held in memory: 8 MiB
_MANY: Final = 32  # consecutive positions from which on their entries bypass the inline changes
_SMALL: Final = 4  # runs up to this many blocks go through the cache
_DIGEST: Final = slice(28, 48)
_IDENTITY: Final = slice(IDENTITY_OFFSET, IDENTITY_OFFSET + BLOCK_IDENTITY.size)
_IDENTITY_END: Final = IDENTITY_OFFSET + BLOCK_IDENTITY.size
_HEAD: Final = BLOCK_HEAD.size


@dataclass(slots=True)
class IoCounts:
    """Exact work counters: blocks sealed and opened, bytes written, calls of sync."""

    sealed: int = 0
    opened: int = 0
    nodes_sealed: int = 0
    nodes_opened: int = 0
    written: int = 0
    syncs: int = 0


class BlockStore:
    """Sealed blocks by position.

    Args:
        device: where they stand.
        data_cipher, node_cipher: for blocks of streams and for map nodes.
        slots: what may be written; None for a reader.
    """

    def __init__(
        self,
        device: Device,
        data_cipher: BlockCipher,
        node_cipher: BlockCipher,
        slots: SlotTable | None,
    ) -> None:
        self._device = device
        self._cipher = data_cipher
        self._node_cipher = node_cipher
        self._slots = slots
        self.map = Map(self, 0, NO_ENTRY, {}, slots.release if slots else None)
        self.dirty: dict[int, bytearray] = {}
        self._cache = BlockCache()
        self._scratch = bytearray(PLAIN_SIZE)
        self._scratch_view = memoryview(self._scratch)
        self.counts = IoCounts()
        self.commit_number = 0
        self.relieve: Callable[[int], bool] = _no_relief
        self.explain: Callable[[int, Entry], None] = _no_explanation

    @cached_property
    def _run(self) -> RunBuffer:
        return self._cipher.run_buffer(MAX_RUN, _HEAD)

    # --- reading

    def load(self, position: int) -> Buffer:
        """The plaintext (4056 bytes) of the block at `position`, not to be changed.

        Raises: BlockCorruptError, RollbackError, SnapshotExpiredError.
        """
        plain: Buffer | None = self.dirty.get(position)
        if plain is None:
            entry = self.map.get(position)
            plain = self._cache.get(entry)
            if plain is None:
                plain = self._fetch(position, entry)
        return plain

    def block(self, position: int, index: int, stream: bytes) -> Buffer:
        """Like `load`, for the block that is number `index` of `stream`."""
        plain = self.load(position)
        if plain[_IDENTITY] != index.to_bytes(4, "big") + stream:
            raise self._stranger(position, index, stream)
        return plain

    def _stranger(self, position: int, index: int, stream: bytes) -> CorruptError:
        return BlockCorruptError(
            f"the block is not number {index} of its stream: run check", block=position,
            stream=stream.hex(),
        )  # fmt: skip

    def _fetch(self, position: int, entry: Entry) -> bytes:
        """Read, open and cache one block."""
        sealed = self._read_ahead(position, [entry])
        plain = self._cipher.open_block(sealed, entry[4:])
        self.counts.opened += 1
        if plain is None:
            raise self._damage(position, entry, sealed)
        self._cache.add(entry, plain)
        return plain

    def verify(self, position: int, entry: Entry) -> bytes:
        """Open the block at `entry` past the cache and check its digest."""
        sealed = self._device.pread(BLOCK_SIZE, slot_offset(entry_slot(entry)))
        plain = self._cipher.open_block(sealed, entry[4:])
        self.counts.opened += 1
        if plain is None:
            raise self._damage(position, entry, sealed)
        if not self._cipher.digest_matches(plain[_DIGEST], plain[_HEAD:]):
            raise BlockCorruptError(
                "the digest does not fit: the data was damaged before it was sealed",
                block=position,
            )
        return plain

    def _damage(self, position: int, entry: Entry, sealed: bytes) -> CorruptError:
        """What is wrong with a block that did not open under its tag."""
        self.explain(position, entry)
        if len(sealed) < BLOCK_SIZE:
            return BlockCorruptError(
                f"the file ends before slot {entry_slot(entry)}", block=position
            )
        if self._cipher.open_block(sealed) is not None:
            return RollbackError(
                "a genuine block of another place or an older version stands here: "
                "restore the file from a copy",
                block=position,
            )
        return BlockCorruptError("the block is damaged: run check", block=position)

    def read_run(
        self, position: int, count: int, index: int, stream: bytes, skip: int, out: memoryview
    ) -> None:
        """Read blocks at consecutive positions into `out`.

        Args:
            position, count: the run.
            index, stream: what the first block of the run must be.
            skip: bytes to leave out at the start of the first block.
            out: filled whole; ends in the last block.

        `out` holds only verified bytes up to the block that raises.
        """
        if count <= _SMALL:
            self._read_small(position, count, (index, stream), skip, out)
            return
        slots, tags = self.map.get_run(position, count)
        done = 0
        while done < count:
            if position + done in self.dirty:
                part = self.block(position + done, index + done, stream)
                self._copy_out(part, done, skip, out)
                done += 1
                continue
            size = self._extent_size(position, slots, done, count)
            self._read_extent(
                (position + done, slots[done]),
                tags[done : done + size],
                (index + done, stream),
                done * DATA_SIZE - skip,
                out,
            )
            done += size

    def _read_small(
        self, position: int, count: int, identity: tuple[int, bytes], skip: int, out: memoryview
    ) -> None:
        """Read a few blocks through the cache.  This is the path of random reads: no detours."""
        index, stream = identity
        start, size, at = _HEAD + skip, len(out), 0
        dirty, cache, scratch = self.dirty, self._cache, self._scratch
        entries = self.map.entries(position, count)
        sealed, first, covered = b"", 0, 0
        for i, entry in enumerate(entries):
            plain: Buffer | None = dirty.get(position + i) or cache.get(entry)
            if plain is None:
                if i >= covered:
                    first, sealed = i, self._read_ahead(position + i, entries[i:])
                    covered = i + len(sealed) // BLOCK_SIZE
                offset = (i - first) * BLOCK_SIZE
                if not self._cipher.open_into(sealed, offset, entry[4:], self._scratch_view):
                    raise self._damage(position + i, entry, sealed[offset:])
                self.counts.opened += 1
                plain = scratch
            if plain[8:28] != index.to_bytes(4, "big") + stream:
                raise self._stranger(position + i, index, stream)
            end = at + PLAIN_SIZE - start
            out[at:end] = plain[start : start + size - at]
            if plain is scratch:
                if end > size:  # the next read in order begins in this block
                    cache.add(entry, bytes(plain))
                else:
                    cache.offer(entry, plain)
            at, start, index = end, _HEAD, index + 1

    def _read_ahead(self, position: int, entries: list[Entry]) -> bytes:
        """Read the block of the first entry, and those of the others that stand behind it."""
        slot = int.from_bytes(entries[0][:4], "big")
        if not slot:
            raise BlockCorruptError("the map has no block here: run check", block=position)
        size = 1
        while size < len(entries) and entry_slot(entries[size]) == slot + size:
            size += 1
        return self._device.pread(BLOCK_SIZE * size, slot_offset(slot))

    def _extent_size(self, position: int, slots: list[int], start: int, count: int) -> int:
        """Blocks from `start` on that stand one behind the other and are not changed."""
        end = start + 1
        limit = min(count, start + MAX_RUN)
        dirty, base = self.dirty, slots[start] - start
        while end < limit and slots[end] == base + end and position + end not in dirty:
            end += 1
        return end - start

    def _read_extent(
        self,
        place: tuple[int, int],
        tags: Sequence[bytes],
        identity: tuple[int, bytes],
        at: int,
        out: memoryview,
    ) -> None:
        """Read a run of neighbouring slots and copy the data to `out` from `at` on.

        Args:
            place: position and slot of the first block.
            identity: index and stream of the first block.
            at: where its data begin in `out`; negative to leave bytes out.
        """
        position, slot = place
        index, stream = identity
        if not slot:
            raise BlockCorruptError("the map has no block here: run check", block=position)
        sealed = self._device.pread(len(tags) * BLOCK_SIZE, slot_offset(slot))
        run, limit, opened = self._run, len(out), 0
        plain, data = run.plain, run.data
        for _ in self._cipher.open_run(run, sealed, tags):
            if plain[_IDENTITY] != index.to_bytes(4, "big") + stream:
                raise self._stranger(position + opened, index, stream)
            end = at + DATA_SIZE
            if at >= 0 and end <= limit:
                out[at:end] = data
            else:
                out[max(0, at) : end] = data[max(0, -at) : limit - at]
            at = end
            index += 1
            opened += 1
        self.counts.opened += opened
        if opened < len(tags):
            bad = sealed[opened * BLOCK_SIZE : (opened + 1) * BLOCK_SIZE]
            entry = (slot + opened).to_bytes(4, "big") + tags[opened]
            raise self._damage(position + opened, entry, bad)

    def _copy_out(self, plain: Buffer, done: int, skip: int, out: memoryview) -> None:
        """Copy the data of one block, number `done` of a run, out."""
        at = done * DATA_SIZE - skip
        part = plain[_HEAD + max(0, -at) : _HEAD + len(out) - at]
        out[max(0, at) : max(0, at) + len(part)] = part

    # --- changing

    def mutable(self, position: int) -> bytearray:
        """The plaintext of a block for changing; it is sealed again at the next commit."""
        plain = self.dirty.get(position)
        if plain is None:
            plain = bytearray(self.load(position))
            self._put(position, plain)
        return plain

    def put(self, position: int, plain: bytearray) -> None:
        """Make `plain` (4056 bytes, taken over) the block at `position`."""
        self._put(position, plain)

    def _put(self, position: int, plain: bytearray) -> None:
        if len(self.dirty) >= _DIRTY_LIMIT:
            self.seal()
        self.dirty[position] = plain

    def set_data(self, position: int, data: bytes) -> None:
        """Replace the data (4008 bytes) of a block, keep its header."""
        plain = self.dirty.get(position)
        if plain is None:
            plain = bytearray(PLAIN_SIZE)
            plain[:_HEAD] = self.load(position)[:_HEAD]
            plain[_HEAD:] = data
            self._put(position, plain)
        else:
            plain[_HEAD:] = data

    def free(self, position: int, count: int) -> None:
        """Make `count` consecutive positions free."""
        dirty = self.dirty
        if dirty:
            for i in range(position, position + count):
                dirty.pop(i, None)
        self.map.clear_run(position, count)

    # --- sealing

    def write_run(
        self, position: int, index: int, stream: bytes, links: tuple[int, int], data: memoryview
    ) -> None:
        """Seal whole blocks (1 to 256) straight from the caller's buffer.

        Args:
            position: of the first; the others follow.
            index, stream: of the first.
            links: `previous` of the first and `next` of the last block.
            data: their data, a multiple of 4008 bytes.
        """
        count = len(data) // DATA_SIZE
        plains = self._headed(position, index, stream, links, data)
        tags, extents = self._write_out(self._cipher, plains, count)
        dirty = self.dirty
        if dirty:
            for i in range(position, position + count):
                dirty.pop(i, None)
        slots = [slot + i for slot, size in extents for i in range(size)]
        self.map.set_run(position, slots, tags)

    def _headed(
        self, position: int, index: int, stream: bytes, links: tuple[int, int], data: memoryview
    ) -> Iterator[Buffer]:
        """The plaintexts of a run, one after the other in the scratch."""
        run = self._run
        plain, room = run.plain, run.data
        digest, pack = self._cipher.digester(self.commit_number), BLOCK_HEAD.pack_into
        previous, last = links
        final = len(data) - DATA_SIZE
        for at in range(0, len(data), DATA_SIZE):
            part = data[at : at + DATA_SIZE]
            following = last if at == final else position + 1
            pack(plain, 0, previous, following, index, stream, digest(part))
            room[:] = part
            yield plain
            previous = position
            position += 1
            index += 1

    def seal(self) -> None:
        """Seal all changed blocks into fresh slots."""
        positions = sorted(self.dirty)
        for at in range(0, len(positions), MAX_RUN):
            self._seal_chunk(positions[at : at + MAX_RUN])

    def _seal_chunk(self, positions: list[int]) -> None:
        dirty = self.dirty
        plains = self._digested(positions)
        tags, extents = self._write_out(self._cipher, plains, len(positions))
        slots = [slot + i for slot, size in extents for i in range(size)]
        keep, begin = self._cache.keep, 0
        for end in range(1, len(positions) + 1):
            if end < len(positions) and positions[end] == positions[begin] + end - begin:
                continue
            self._map_run(positions[begin], slots[begin:end], tags[begin:end])
            begin = end
        for position, slot, tag in zip(positions, slots, tags, strict=True):
            keep(slot.to_bytes(4, "big") + tag, dirty.pop(position))

    def _map_run(self, position: int, slots: list[int], tags: list[bytes]) -> None:
        """Set the entries of consecutive positions: few inline, many straight in the nodes."""
        if len(slots) >= _MANY:
            self.map.set_run(position, slots, tags)
            return
        for i, (slot, tag) in enumerate(zip(slots, tags, strict=True)):
            self.map.set(position + i, slot, tag)

    def _digested(self, positions: list[int]) -> Iterator[Buffer]:
        """Changed blocks with their digests set."""
        dirty, digest = self.dirty, self._cipher.digester(self.commit_number)
        for position in positions:
            plain = dirty[position]
            plain[_DIGEST] = digest(memoryview(plain)[_HEAD:])
            yield plain

    def _write_out(
        self, cipher: BlockCipher, plains: Iterable[Buffer], count: int
    ) -> tuple[list[bytes], list[Extent]]:
        """Seal `count` plaintexts and write them to fresh slots: tag prefixes, extents."""
        tags = cipher.seal_run(self._run, plains, count)
        self.counts.sealed += count
        extents = self._place(count)
        self.counts.written += count * BLOCK_SIZE
        return tags, extents

    def _place(self, count: int) -> list[Extent]:
        """Write the sealed run; on a full disc try again as long as something was relieved."""
        attempt = 1
        while True:
            try:
                return self._write_extents(count)
            except FullError:
                if not self.relieve(attempt):
                    raise
            attempt += 1

    def _write_extents(self, count: int) -> list[Extent]:
        slots = self._slots
        assert slots is not None  # noqa: S101 - readers never write
        extents = slots.take(count)
        sealed, at = self._run.sealed, 0
        try:
            for slot, size in extents:
                end = at + size * BLOCK_SIZE
                self._device.pwrite(sealed[at:end], slot_offset(slot))
                at = end
        except BaseException:
            slots.withdraw(extents)
            raise
        return extents

    # --- map nodes

    def read_node(self, entry: Entry, level: int, ordinal: int) -> bytes:
        """Open a map node (the data of 4008 bytes)."""
        sealed = self._device.pread(BLOCK_SIZE, slot_offset(entry_slot(entry)))
        plain = self._node_cipher.open_block(sealed, entry[4:])
        self.counts.nodes_opened += 1
        if plain is None:
            self.explain(-1, entry)
            raise BlockCorruptError(
                f"map node {ordinal} of level {level} in slot {entry_slot(entry)} is damaged"
            )
        _, _, found, identity, _ = BLOCK_HEAD.unpack_from(plain)
        magic, found_level, _ = NODE_IDENTITY.unpack(identity)
        if (magic, found_level, found) != (NODE_MAGIC, level, ordinal):
            raise BlockCorruptError(f"slot {entry_slot(entry)} holds another map node")
        return plain[_HEAD:]

    def write_nodes(self, nodes: Sequence[tuple[int, int, bytearray]]) -> list[Entry]:
        """Seal map nodes (at most 256) into fresh slots; return their entries."""
        if not nodes:
            return []
        plains = self._noded(nodes)
        tags, extents = self._write_out(self._node_cipher, plains, len(nodes))
        self.counts.nodes_sealed += len(nodes)
        slots = (slot + i for slot, size in extents for i in range(size))
        return [slot.to_bytes(4, "big") + tag for slot, tag in zip(slots, tags, strict=True)]

    def _noded(self, nodes: Sequence[tuple[int, int, bytearray]]) -> Iterator[Buffer]:
        """The plaintexts of map nodes, one after the other in the scratch."""
        run, commit = self._run, self.commit_number
        digest = self._node_cipher.digester(commit)
        for level, ordinal, data in nodes:
            identity = NODE_IDENTITY.pack(NODE_MAGIC, level, commit)
            BLOCK_HEAD.pack_into(
                run.plain, 0, NO_POSITION, NO_POSITION, ordinal, identity, digest(data)
            )
            run.data[:] = data
            yield run.plain

    # --- the whole store

    def forget(self) -> None:
        """Throw changed blocks away (the map is reset by the caller)."""
        self.dirty.clear()

    def copy_slots(self, slots: Sequence[int]) -> Iterator[int]:
        """Write the very bytes of `slots` back where they stand; yields each slot done."""
        for slot in slots:
            offset = slot_offset(slot)
            self._device.pwrite(self._device.pread(BLOCK_SIZE, offset), offset)
            yield slot


def _no_relief(_attempt: int) -> bool:
    """Nothing can be freed."""
    return False


def _no_explanation(position: int, entry: Entry) -> None:
    """A writer's map is never out of date."""
