"""Blocks: changing them, sealing them into free slots, and the map nodes above them.

Owns the changed blocks that are not sealed yet and the writing of runs.  May assume a reader and
a slot table.  Promises: nothing that a committed root refers to is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from .crypto import BlockCipher, OpenInto
from .device import Buffer, Device
from .errors import FullError
from .layout import (
    BLOCK_HEAD,
    BLOCK_IDENTITY,
    BLOCK_SIZE,
    DATA_SIZE,
    IDENTITY_OFFSET,
    INLINE_MAX,
    MAX_RUN,
    NO_ENTRY,
    NO_POSITION,
    NODE_IDENTITY,
    NODE_MAGIC,
    PLAIN_SIZE,
)
from .map import Entry, Map, entry_slot
from .reader import BlockReader
from .root import slot_offset
from .slots import Extent, SlotTable

_DIRTY_LIMIT: Final = 2048  # changed blocks held in memory: 8 MiB
_DIGEST: Final = slice(28, 48)
_HEAD: Final = BLOCK_HEAD.size
_identity_of = BLOCK_IDENTITY.unpack_from  # of a plaintext, at IDENTITY_OFFSET


class BlockStore(BlockReader):
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
        super().__init__(device, data_cipher, node_cipher)
        self._slots = slots
        self.map = Map(self, 0, NO_ENTRY, {})
        if slots is not None:
            self.map = Map(self, 0, NO_ENTRY, {}, slots.release, slots.release_all)
        self._inside: set[int] = set()  # changed blocks that `write_inside` wrote to
        self.commit_number = 0
        self._resealed = bytearray(PLAIN_SIZE)  # where a block is opened to be sealed anew
        self.relieve: Callable[[int], bool] = _no_relief

    # --- changing

    def mutable(self, position: int) -> bytearray:
        """The plaintext of a block for changing; it is sealed again at the next commit."""
        plain = self.dirty.get(position)
        if plain is None:
            entry = self.map.get(position)
            # The block gets another entry: nothing but an older snapshot wants this one.
            kept = self._cache.pop(entry, None)
            if kept is None:
                kept = self._fetch(position, entry)
            plain = kept if type(kept) is bytearray else bytearray(kept)
            self._put(position, plain)
        return plain

    def put(self, position: int, plain: bytearray) -> None:
        """Make `plain` (4056 bytes, taken over) the block at `position`."""
        self._put(position, plain)

    def _put(self, position: int, plain: bytearray) -> None:
        if len(self.dirty) >= _DIRTY_LIMIT:
            self.seal()
        self.dirty[position] = plain

    def write_inside(
        self, position: int, index: int, stream: bytes, skip: int, data: memoryview
    ) -> None:
        """Write inside a few blocks at consecutive positions, which are read where need be.

        Args:
            position, index, stream: of the first block.
            skip: bytes to leave as they are at the start of the first block.
            data: ends in the last block.

        Nothing is changed if one of the blocks does not verify.
        """
        count = (skip + len(data) + DATA_SIZE - 1) // DATA_SIZE
        if len(self.dirty) + count > _DIRTY_LIMIT:
            self.seal()
        plains = self._for_changing(position, index, stream, count)
        dirty, inside, at, begin = self.dirty, self._inside, 0, _HEAD + skip
        for plain in plains:
            end = at + PLAIN_SIZE - begin
            part = data[at:end]
            memoryview(plain)[begin : begin + len(part)] = part
            dirty[position] = plain
            inside.add(position)
            position, at, begin = position + 1, end, _HEAD

    def _for_changing(
        self, position: int, index: int, stream: bytes, count: int
    ) -> list[bytearray]:
        """The blocks at consecutive positions, verified, each in memory of its own."""
        dirty, cache, open_into = self.dirty, self._cache, self._open_into
        plains, offset, end_of_read = [], 0, 0
        entries, sealed = self.map.entries(position, count), self._sealed
        for i, entry in enumerate(entries):
            plain = dirty.get(position + i)
            if plain is None:
                # The block gets another entry: nothing but an older snapshot wants this one.
                kept = cache.pop(entry, None)
                plain = kept if type(kept) is bytearray else bytearray(kept or PLAIN_SIZE)
                if kept is None:
                    if offset >= end_of_read:
                        end_of_read, offset = self._read_ahead(position + i, entries, i), 0
                    if not open_into(sealed, offset, entry[4:], memoryview(plain)):
                        raise self._damage(position + i, entry, self._sealed_at(offset))
                    self.counts.opened += 1
            if _identity_of(plain, IDENTITY_OFFSET) != (index + i, stream):
                raise self._stranger(position + i, index + i, stream)
            plains.append(plain)
            offset += BLOCK_SIZE
        return plains

    def set_data(self, position: int, data: bytes) -> None:
        """Replace the data (4008 bytes) of a block, keep its header."""
        memoryview(self.mutable(position))[_HEAD:] = data

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
            self._seal_chunk(positions[at : at + MAX_RUN], is_flood=len(positions) > MAX_RUN)
        self._inside.clear()

    def _seal_chunk(self, positions: list[int], *, is_flood: bool) -> None:
        """Seal up to 256 changed blocks; a flood of file data does not go into the cache."""
        dirty, keep, chart, inside = self.dirty, self._cache.keep, self.map, self._inside
        plains = self._digested(positions)
        tags, extents = self._write_out(self._cipher, plains, len(positions))
        slots = [slot + i for slot, size in extents for i in range(size)]
        if chart.must_fold or len(chart.changes) + len(positions) > INLINE_MAX:
            chart.set_many(positions, slots, tags)
        else:
            for position, slot, tag in zip(positions, slots, tags, strict=True):
                chart.set(position, slot, tag)
        for position, slot, tag in zip(positions, slots, tags, strict=True):
            plain = dirty.pop(position)
            if not is_flood or position not in inside:
                keep(slot.to_bytes(4, "big") + tag, plain)

    def _digested(self, positions: list[int]) -> Iterator[Buffer]:
        """Changed blocks with their digests set."""
        dirty, digest = self.dirty, self._cipher.digester(self.commit_number)
        for position in positions:
            plain = dirty[position]
            view = memoryview(plain)
            view[_DIGEST] = digest(view[_HEAD:])
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

    # --- moving

    def relocate(self, positions: Sequence[int], extents: Sequence[Extent]) -> None:
        """Copy the sealed bytes of blocks at rising positions to fresh slots, as they are."""
        entries = [self.map.get(position) for position in positions]
        at = 0
        try:
            for first, count in extents:
                for done in range(0, count, MAX_RUN):
                    part = entries[at : at + min(MAX_RUN, count - done)]
                    sealed = b"".join(self._sealed_runs(part))
                    self._device.pwrite(sealed, slot_offset(first + done))
                    at += len(part)
        except BaseException:
            assert self._slots is not None  # noqa: S101 - readers never write
            self._slots.withdraw(list(extents))
            raise
        slots = [first + i for first, count in extents for i in range(count)]
        self.map.set_many(positions, slots, [entry[4:] for entry in entries])
        self.counts.written += BLOCK_SIZE * len(slots)

    def _sealed_runs(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        """The sealed bytes of blocks; neighbours are read at once."""
        slots = [entry_slot(entry) for entry in entries]
        begin = 0
        for i in range(1, len(slots) + 1):
            if i == len(slots) or slots[i] != slots[i - 1] + 1:
                size = (i - begin) * BLOCK_SIZE
                yield self._device.pread(size, slot_offset(slots[begin])).ljust(size, b"\0")
                begin = i

    def reseal(self, positions: Sequence[int], openers: tuple[OpenInto, OpenInto]) -> list[int]:
        """Seal up to 256 blocks at rising positions anew, under the key that seals now.

        Args:
            openers: under the key that seals now (such blocks stay), and under the one before.

        Returns: positions of blocks that do not open, or whose digest is wrong; they stay.
        """
        bad: list[int] = []
        good: list[int] = []
        plains = self._opened(positions, openers, good, bad)
        tags = self._cipher.seal_run(self._run, plains, len(positions))[: len(good)]
        if not good:
            return bad
        self.counts.opened += len(good)
        self.counts.sealed += len(good)
        extents = self._place(len(good))
        self.counts.written += len(good) * BLOCK_SIZE
        slots = [slot + i for slot, size in extents for i in range(size)]
        if good[-1] - good[0] == len(good) - 1:
            self.map.set_run(good[0], slots, tags)
        else:
            self.map.set_many(good, slots, tags)
        return bad

    def _opened(
        self,
        positions: Sequence[int],
        openers: tuple[OpenInto, OpenInto],
        good: list[int],
        bad: list[int],
    ) -> Iterator[Buffer]:
        """The plaintexts of blocks, with the digest of this commit, one after the other."""
        digest, size = self._cipher.digester(self.commit_number), self._cipher.digest_size
        entries = [self.map.get(position) for position in positions]
        (open_new, open_old), view, at = openers, memoryview(self._resealed), 0
        data, place, told = view[_HEAD:], view[_DIGEST], view[_DIGEST][:size]
        for sealed in self._sealed_runs(entries):
            block = memoryview(sealed)
            for start in range(0, len(sealed), BLOCK_SIZE):
                position, tag = positions[at], entries[at][4:]
                at += 1
                if open_old(block, start, tag, view):
                    found = digest(data)
                    if told == found[:size]:
                        place[:] = found
                        good.append(position)
                        yield view
                        continue
                elif open_new(block, start, tag, view):
                    continue
                bad.append(position)

    # --- the whole store

    def forget(self) -> None:
        """Throw changed blocks away (the map is reset by the caller)."""
        self.dirty.clear()
        self._inside.clear()

    def copy_slots(self, slots: Sequence[int]) -> Iterator[int]:
        """Write the very bytes of `slots` back where they stand; yields each slot done."""
        for slot in slots:
            offset = slot_offset(slot)
            self._device.pwrite(self._device.pread(BLOCK_SIZE, offset), offset)
            yield slot


def _no_relief(_attempt: int) -> bool:
    """Nothing can be freed."""
    return False
