"""Streams: chains of blocks, with a cursor (the seed's API) and with offsets (the fast path).

Owns the cursor and the bytes of one stream.  May assume what `chain` promises of its blocks.
Promises: what was written is read, no operation walks the chain, bytes behind the length are zero.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NoReturn
from uuid import UUID

from ..device import Buffer
from ..errors import ClosedError, TransactionError, UsageError
from ..layout import (
    BLOCK_HEAD,
    DATA_SIZE,
    MAX_POSITIONS,
    MAX_RUN,
    NO_POSITION,
    PLAIN_SIZE,
    STREAM,
)
from .block import StreamBlock
from .chain import Chain
from .extents import Extents
from .record import sound_fields

if TYPE_CHECKING:
    from .manager import StreamManager

_HEAD: Final = BLOCK_HEAD.size
_NO_DIGEST: Final = bytes(20)
_ZEROS: Final = bytes(DATA_SIZE * MAX_RUN)
_MAX_SIZE: Final = (MAX_POSITIONS - 1) * DATA_SIZE
_BULK: Final = 4  # whole blocks from which on they are sealed at once


class BaseStream(Chain, ABC):
    """Descriptor of an open stream.

    Args:
        manager: gives and takes blocks.
        block: the block to stand at, or None for the first.
        identity: of the stream.
        begin, end: positions of the first and last block, -1 for none.
        count: blocks in the stream.
        length: bytes in the stream.
        compression: `COMP_NONE`.

    Source: seed 001 (angelos.archive7.streams.BaseStream); docs/format.rst, "Streams".
    """

    def __init__(
        self,
        manager: StreamManager,
        block: StreamBlock | None,
        identity: UUID,
        begin: int = NO_POSITION,
        end: int = NO_POSITION,
        count: int = 0,
        length: int = 0,
        compression: int = 0,
        *,
        extents: Extents | None = None,
    ) -> None:
        self._manager = manager
        self._blocks = manager.container.blocks
        self._block = block
        self._index = block.index if block is not None else 0
        self._has_changed = False
        self._is_closed = False
        self.is_dirty = False  # the record differs from the one kept by the manager
        self._reserve = (0, 0)  # positions taken ahead: first, count
        self._fill(identity, begin, end, count, length, compression, extents)

    # --- the record

    @property
    def manager(self) -> StreamManager:
        """The stream's manager."""
        return self._manager

    def length(self, change: int = 0) -> int:
        """Tell the length in bytes, after changing it by a relative number of bytes.

        Raises: UsageError if the result is negative or more than the blocks hold.
        """
        if change:
            self._check_writable()
            length = self._length + change
            if not 0 <= length <= self._count * DATA_SIZE:
                raise UsageError(f"{self._count} blocks cannot hold {length} bytes")
            self._length = length
            self.is_dirty = True
        return self._length

    def load_meta(self, stream: bytes | bytearray) -> bool:
        """Fill the fields from a record; False (nothing changed) if it is damaged."""
        fields = sound_fields(stream)
        if fields is None:
            return False
        identity, begin, end, count, length, compression = fields
        self._fill(UUID(bytes=identity), begin, end, count, length, compression, None)
        self._block, self._index = None, 0
        return True

    # --- the cursor

    @property
    def block(self) -> StreamBlock:
        """The block under the cursor.  Raises: UsageError for a stream without blocks."""
        if self._block is None:
            self._check_open()
            if not self._count:
                raise UsageError("the stream has no block yet: extend() makes one")
            self._index = min(self._index, self._count - 1)
            position = self.extents.position(self._index)
            plain = self._blocks.block(position, self._index, self._id)
            self._block = StreamBlock.of(position, plain)
        return self._block

    @property
    def data(self) -> bytearray:
        """The data of the block under the cursor; call `changed` after writing to it."""
        return self.block.data

    def changed(self) -> None:
        """Note that the block under the cursor was written to."""
        self._has_changed = True

    def save(self, enforce: bool = False) -> None:
        """Save the block under the cursor if it was changed, or if enforced."""
        if self._block is not None and (self._has_changed or enforce):
            self._check_writable()
            self._manager.save_block(self._block.position, self._block)
            if self._block.index == self._count - 1:
                self._tail_next = self._block.next
        self._has_changed = False

    def next(self) -> bool:
        """Move to the next block; False at the last."""
        return self._move(self._index + 1)

    def previous(self) -> bool:
        """Move to the previous block; False at the first."""
        return self._move(self._index - 1)

    def _move(self, index: int) -> bool:
        if not 0 <= index < self._count:
            return False
        self._leave()
        self._index = index
        return True

    def _leave(self) -> None:
        """Save and forget the block under the cursor."""
        if self._block is not None:
            self.save()
            self._block = None

    def end(self) -> None:
        """Move to the last block."""
        self.wind(self._count - 1)

    def wind(self, index: int) -> int:
        """Move to block `index` (clamped to the stream); return the new index."""
        target = max(0, min(index, self._count - 1))
        if target != self._index:
            self._leave()
            self._index = target
        return self._index

    def __iter__(self) -> Iterator[StreamBlock]:
        """Every block once, from the first to the last."""
        self.wind(0)
        if self._count:
            yield self.block
            while self.next():
                yield self.block

    def __reversed__(self) -> Iterator[StreamBlock]:
        """Every block once, from the last to the first."""
        self.end()
        if self._count:
            yield self.block
            while self.previous():
                yield self.block

    def extend(self) -> bool:
        """Add an empty block at the end and move to it; False if not at the end."""
        self._check_writable()
        if self._count and self._index != self._count - 1:
            return False
        self._leave()
        was_torn, self.is_torn = self.is_torn, True
        self._grow(1)
        self._put_fresh(self._count - 1, b"")
        self._index, self.is_torn = self._count - 1, was_torn
        return True

    def push(self, block: StreamBlock) -> None:
        """Append `block`, whose position is the stream's from now on, and move to it."""
        self._check_writable()
        self._leave()
        was_torn, self.is_torn = self.is_torn, True
        self._give_back()
        self._link_tail(block.position)
        self._append_run(block.position, 1)
        block.previous, block.next = self._links(self._count - 1)
        block.index, block.stream = self._count - 1, self._identity
        self._block, self._index = block, block.index
        self.save(enforce=True)
        self.is_torn = was_torn

    def pop(self) -> StreamBlock | None:
        """Take the last block off the stream, which gets as long as the blocks that are left.

        Returns: the block, whose position is the caller's (to `recycle`), or None if empty.
        """
        self._check_writable()
        if not self._count:
            return None
        self.end()
        block = self.block
        self._block = None
        was_torn, self.is_torn = self.is_torn, True
        self.extents.cut(self._count - 1)
        self._shrink_to(self._count - 1)
        self._length = min(self._length, self._count * DATA_SIZE)
        block.previous = block.next = NO_POSITION
        self.is_torn = was_torn
        return block

    # --- bytes at offsets

    def read_into(self, offset: int, out: memoryview) -> int:
        """Read up to `len(out)` bytes from `offset` on into `out`; return how many.

        Cost: each block once, up to 256 per system call.
        """
        if self._is_closed:
            self._check_open()
        if self._block is not None:
            self._leave()
        size = min(len(out), self._length - offset)
        if size <= 0:
            return 0
        locate, read_run = (self._extents or self.extents).locate, self._blocks.read_run
        out = out[:size] if size < len(out) else out
        done, (index, skip) = 0, divmod(offset, DATA_SIZE)
        while True:
            position, left = locate(index)
            count = (skip + size - done + DATA_SIZE - 1) // DATA_SIZE
            if count <= left:
                read_run(position, count, index, self._id, skip, out[done:] if done else out)
                return size
            end = done + left * DATA_SIZE - skip
            read_run(position, left, index, self._id, skip, out[done:end])
            done, index, skip = end, index + left, 0

    def write(self, offset: int, data: memoryview) -> int:
        """Write all of `data` (bytes) at `offset`; a gap before it is filled with zeros.

        Whole blocks are sealed at once, parts of blocks stay in memory until the commit.
        """
        self._check_writable()
        size, old_count = len(data), self._count
        self._check_size(offset + size)
        if self._block is not None:
            self._leave()
        was_torn = self.is_torn
        if offset > self._length:
            self.is_torn = True
            self._fill_gap(offset)
            old_count = self._count
        need = -(-(offset + size) // DATA_SIZE) - old_count
        if need > 0:
            self.is_torn = True  # until the new blocks are there
            self._grow(need)
        index, skip = divmod(offset, DATA_SIZE)
        done = 0
        while done < size:
            left = size - done
            if skip == 0 and left >= _BULK * DATA_SIZE:
                count = self._write_bulk(index, data[done:])
                done += count * DATA_SIZE
                index += count
                continue
            part, count = min(DATA_SIZE - skip, left), 1
            if index >= old_count or part == DATA_SIZE:
                self._put_fresh(index, data[done : done + part], skip)
            else:
                position, run = self.extents.locate(index)
                if part < left < part + DATA_SIZE and run > 1 and index + 1 < old_count:
                    part, count = left, 2  # neither is written whole: read both at once
                piece = data[done : done + part]
                self._blocks.write_inside(position, index, self._id, skip, piece)
            done, index, skip = done + part, index + count, 0
        if offset + size > self._length:
            self._length = offset + size
        self.is_dirty, self.is_torn = True, was_torn
        return size

    def _write_bulk(self, index: int, data: memoryview) -> int:
        """Seal as many whole blocks of `data` as one run takes; return how many."""
        position, left = self.extents.locate(index)
        count = min(len(data) // DATA_SIZE, left, MAX_RUN)
        links = self._links(index)[0], self._links(index + count - 1)[1]
        self._blocks.write_run(position, index, self._id, links, data[: count * DATA_SIZE])
        return count

    def _put_fresh(self, index: int, data: Buffer, skip: int = 0) -> None:
        """Make a block of the stream with `data` from byte `skip` on and zeros around it."""
        plain = bytearray(PLAIN_SIZE)
        BLOCK_HEAD.pack_into(plain, 0, *self._links(index), index, self._id, _NO_DIGEST)
        plain[_HEAD + skip : _HEAD + skip + len(data)] = data
        self._blocks.put(self.extents.position(index), plain)

    def _fill_gap(self, offset: int) -> None:
        """Lengthen the stream to `offset` with zeros."""
        while self._length < offset:
            room = -self._length % DATA_SIZE or len(_ZEROS)
            size = min(offset - self._length, room)
            self.write(self._length, memoryview(_ZEROS)[:size])

    def truncate(self, length: int) -> int:
        """Cut or lengthen (with zeros) to `length` bytes; return the new length.

        Cost: the change only.  Raises: UsageError for a negative length.
        """
        self._check_writable()
        if length < 0:
            raise UsageError("a length is not negative")
        self._check_size(length)
        self._leave()
        was_torn, self.is_torn = self.is_torn, True
        if length > self._length:
            self._fill_gap(length)
        count = -(-length // DATA_SIZE)
        if count < self._count:
            for position, size in self.extents.cut(count):
                self._manager.free_run(position, size)
            self._shrink_to(count)
        if length < self._length and length % DATA_SIZE:
            plain = self._blocks.mutable(self._end)
            start = _HEAD + length % DATA_SIZE
            plain[start:] = bytes(len(plain) - start)
        self._length = length
        self._index = min(self._index, max(0, count - 1))
        self.is_dirty, self.is_torn = True, was_torn
        return length

    def _check_size(self, length: int) -> None:
        """Refuse what cannot be, before zeros are written up to there."""
        if length > _MAX_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    # --- life

    def reload(self, record: bytes, extents: Extents | None) -> None:
        """Become what `record` says: the working state was thrown away."""
        self._forget_reserve()
        self._block, self._has_changed = None, False
        identity, begin, end, count, length, compression = STREAM.unpack(record)
        self._fill(UUID(bytes=identity), begin, end, count, length, compression, extents)
        self.is_dirty = False

    def finish(self) -> None:
        """Save the block under the cursor and give back the positions taken ahead."""
        self._leave()
        self._give_back()
        if not self.is_torn:
            self.mark_tail()

    def abandon(self) -> None:
        """The stream is not there any more: every use raises from now on."""
        self._is_closed = True
        self._forget_reserve()
        self._block, self._has_changed, self.is_dirty = None, False, False

    def check_whole(self) -> None:
        """Raise TransactionError if a change failed half-way and was not rolled back."""
        if self.is_torn:
            raise TransactionError("writing to a stream failed half-way: roll back first")

    @property
    def is_closed(self) -> bool:
        """Whether the stream can be used no more."""
        return self._is_closed

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError("the stream is closed, deleted or was rolled back")

    def _check_writable(self) -> None:
        self._check_open()
        self._manager.container.check_writable()

    @abstractmethod
    def close(self) -> None:
        """Save and close the stream at its manager."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied")


class DataStream(BaseStream):
    """Stream for general use."""

    def close(self) -> None:
        """Save the block and close the stream at the manager."""
        if not self._is_closed:
            self._manager.close_stream(self)
