"""Reader: the one place where a position becomes a verified block.

Owns the ciphers, the block cache and the reading of runs.  May assume a device and a map.
Promises: bytes that come out were opened under the tag that the map fixes and stand in the
stream and at the index that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from .cache import MET, BlockCache
from .crypto import BlockCipher, RunBuffer, Wanted
from .device import Buffer, Device
from .errors import BlockCorruptError, CorruptError, RollbackError
from .layout import (
    BLOCK_HEAD,
    BLOCK_IDENTITY,
    BLOCK_SIZE,
    DATA_SIZE,
    IDENTITY_OFFSET,
    MAP_ENTRY,
    MAX_RUN,
    NODE_IDENTITY,
    NODE_MAGIC,
    PLAIN_SIZE,
    SLOTS_OFFSET,
)
from .map import Entry, Map, entry_slot
from .root import slot_offset

_SMALL: Final = 4  # runs up to this many blocks go through the cache
_DIGEST: Final = slice(28, 48)
_IDENTITY: Final = slice(IDENTITY_OFFSET, IDENTITY_OFFSET + BLOCK_IDENTITY.size)
_HEAD: Final = BLOCK_HEAD.size
_identity_of = BLOCK_IDENTITY.unpack_from  # of a plaintext, at IDENTITY_OFFSET
_entry_of = MAP_ENTRY.unpack


@dataclass(slots=True)
class IoCounts:
    """Exact work counters: blocks sealed and opened, bytes written, calls of sync."""

    sealed: int = 0
    opened: int = 0
    nodes_sealed: int = 0
    nodes_opened: int = 0
    written: int = 0
    syncs: int = 0


class BlockReader:
    """Sealed blocks by position, for reading.

    Args:
        device: where they stand.
        data_cipher, node_cipher: for blocks of streams and for map nodes.

    Attributes:
        dirty: changed blocks that are not sealed yet (none for a reader).
        explain: told of damage; raises if it is none.
    """

    map: Map

    def __init__(self, device: Device, data_cipher: BlockCipher, node_cipher: BlockCipher) -> None:
        self._device = device
        self._cipher = data_cipher
        self._node_cipher = node_cipher
        self._open_into = data_cipher.opener()
        self._cache = BlockCache()
        self._room = memoryview(bytearray(PLAIN_SIZE))  # where single blocks are opened
        self._sealed = memoryview(bytearray(_SMALL * BLOCK_SIZE))  # what `_read_ahead` has read
        self._rooms = [self._sealed[: BLOCK_SIZE * size] for size in range(_SMALL + 1)]
        self._in_room: Entry | None = None  # which genuine block stands there
        self.dirty: dict[int, bytearray] = {}
        self.counts = IoCounts()
        self.explain: Callable[[int, Entry], None] = _no_explanation

    def use_ciphers(self, data: BlockCipher, node: BlockCipher) -> None:
        """Go on with other keys; what is cached stays."""
        self._cipher, self._node_cipher = data, node
        self._open_into = data.opener()

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
                return self._fetch(position, entry)
            self._cache.move_to_end(entry)
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
        self._read_ahead(position, [entry], 0)
        plain = self._cipher.open_block(self._sealed[:BLOCK_SIZE], entry[4:])
        self.counts.opened += 1
        if plain is None:
            raise self._damage(position, entry, self._sealed_at(0))
        self._cache.offer(position, entry, plain)
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

    def verify_run(self, position: int, wanted: Sequence[Wanted]) -> int:
        """How many blocks at consecutive positions, up to the first wrong one, are right.

        Digests are compared; nothing goes through the cache.  Cost: a system call for each run
        of neighbouring slots.

        Args:
            wanted: what each plaintext has to hold; up to 256.
        """
        count, run, done = len(wanted), self._run, 0
        try:
            slots, tags = self.map.get_run(position, count)
        except CorruptError:
            return 0
        while done < count and slots[done]:
            part = self._extent_size(position, slots, done, count)
            sealed = self._device.pread(part * BLOCK_SIZE, slot_offset(slots[done]))
            end = done + len(sealed) // BLOCK_SIZE
            if len(sealed) % BLOCK_SIZE:  # the file was cut
                sealed = sealed[: (end - done) * BLOCK_SIZE]
            sound = self._cipher.verify_run(run, sealed, tags[done:end], wanted[done:end])
            self.counts.opened += sound
            done += sound
            if done < end or not sealed:
                break
        return done

    def verified_heads(self, position: int, count: int) -> Iterator[tuple[Any, ...]]:
        """The headers of blocks at consecutive positions, up to the first that does not verify.

        Digests are compared; nothing goes through the cache.  Cost: a system call for each run
        of neighbouring slots.
        """
        slots, tags = self.map.get_run(position, count)
        run, digest, size = self._run, self._cipher.digester(0), self._cipher.digest_size
        data, plain, head_of = run.data, run.plain_view, BLOCK_HEAD.unpack_from
        done = 0
        while done < count and slots[done]:
            part = self._extent_size(position, slots, done, count)
            sealed = self._device.pread(part * BLOCK_SIZE, slot_offset(slots[done]))
            before = done
            for _ in self._cipher.open_run(run, sealed, tags[done : done + part]):
                head = head_of(plain)
                if digest(data)[:size] != head[4][:size]:
                    return
                yield head
                done += 1
            if done < before + part:
                return

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

        `out` holds only verified bytes up to the block that raises.  A few blocks are read here:
        this is the path of random reads, without detours.
        """
        if count > _SMALL:
            self._read_long(position, count, (index, stream), skip, out)
            return
        dirty, cache, room, open_into = self.dirty, self._cache, self._room, self._open_into
        met = cache.met
        begin, size, at, offset, end_of_read, opened = _HEAD + skip, len(out), 0, 0, 0, 0
        entries, sealed = self.map.entries(position, count), self._sealed
        inside, self._in_room = self._in_room, None  # until this comes to its end
        for i, entry in enumerate(entries):
            plain: Buffer | None = dirty.get(position) if dirty else None
            if plain is None:
                plain = cache.get(entry)
                if plain is not None:
                    cache.move_to_end(entry)
                else:
                    plain = room
                    if entry != inside:
                        if offset >= end_of_read:
                            end_of_read, offset = self._read_ahead(position, entries, i), 0
                        if not open_into(sealed, offset, entry[4:], room):
                            raise self._damage(position, entry, self._sealed_at(offset))
                        inside = entry
                        opened += 1
                        if met[position & MET] == entry[4]:
                            cache.keep(entry, bytes(room))
                        else:
                            met[position & MET] = entry[4]
            if _identity_of(plain, IDENTITY_OFFSET) != (index, stream):
                raise self._stranger(position, index, stream)
            end = at + PLAIN_SIZE - begin
            out[at:end] = plain[begin : begin + size - at]
            at, begin, offset = end, _HEAD, offset + BLOCK_SIZE
            position, index = position + 1, index + 1
        self._in_room = inside
        self.counts.opened += opened

    def _read_long(
        self, position: int, count: int, identity: tuple[int, bytes], skip: int, out: memoryview
    ) -> None:
        """Read many blocks past the cache, a run of neighbouring slots at once."""
        index, stream = identity
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

    def _read_ahead(self, position: int, entries: Sequence[Entry], at: int) -> int:
        """Read the block of entry `at`, and those of the next (up to 4) that stand behind it.

        Returns: how many bytes of `_sealed` were filled; a block cut by the end of the file is
        zeros.
        """
        slot, _ = _entry_of(entries[at])
        if not slot:
            raise BlockCorruptError("the map has no block here: run check", block=position)
        size, limit = 1, min(len(entries) - at, _SMALL)
        while size < limit and _entry_of(entries[at + size])[0] == slot + size:
            size += 1
        room, wanted = self._rooms[size], BLOCK_SIZE * size
        got = self._device.pread_into(room, SLOTS_OFFSET + (slot - 1) * BLOCK_SIZE)
        if got < wanted:
            room[got:] = bytes(wanted - got)
        return wanted

    def _sealed_at(self, offset: int) -> bytes:
        """The sealed block at `offset` of what was read; nothing where the file had ended."""
        sealed = bytes(self._sealed[offset : offset + BLOCK_SIZE])
        return sealed if any(sealed) else b""

    def _extent_size(self, position: int, slots: list[int], start: int, count: int) -> int:
        """Blocks from `start` on that stand one behind the other and are not changed."""
        end = start + 1
        limit = min(count, start + MAX_RUN)
        dirty, base = self.dirty, slots[start] - start
        if not dirty and slots[start:limit] == list(range(base + start, base + limit)):
            return limit - start
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

    # --- map nodes

    def read_node(self, entry: Entry, level: int, ordinal: int) -> bytes:
        """Open a map node (the data of 4008 bytes)."""
        sealed = self._device.pread(BLOCK_SIZE, slot_offset(entry_slot(entry)))
        plain = self._node_cipher.open_block(sealed, entry[4:])
        self.counts.nodes_opened += 1
        if plain is None:
            self.explain(-1, entry)
            if self._node_cipher.open_block(sealed) is not None:
                raise RollbackError(
                    f"another or an older map node stands in slot {entry_slot(entry)}: "
                    "restore the file from a copy"
                )
            raise BlockCorruptError(
                f"map node {ordinal} of level {level} in slot {entry_slot(entry)} is damaged"
            )
        _, _, found, identity, _ = BLOCK_HEAD.unpack_from(plain)
        magic, found_level, _ = NODE_IDENTITY.unpack(identity)
        if (magic, found_level, found) != (NODE_MAGIC, level, ordinal):
            raise BlockCorruptError(f"slot {entry_slot(entry)} holds another map node")
        return plain[_HEAD:]


def _no_explanation(position: int, entry: Entry) -> None:
    """A writer's map is never out of date."""
