"""Internal streams: the blocks of special streams and of trees, by position.

Owns appending a node without knowing the extents, and streams that hold one large value of a
tree.  Promises what `stream` promises.
"""

from __future__ import annotations

from typing import Final

from ..errors import BlockCorruptError, TreeCorruptError
from ..layout import BLOCK_HEAD, DATA_SIZE, NO_POSITION
from .block import StreamBlock
from .extents import Extents
from .stream import BaseStream

_HEAD: Final = BLOCK_HEAD.size
_NO_DIGEST: Final = bytes(20)
_MAX_RESERVE: Final = 1024  # positions taken ahead of a growing tree


class InternalStream(BaseStream):
    """Stream for internal use in a manager: trash, trees.

    Its extents are kept nowhere.  A chain whose ends lie as far apart as it is long is taken for
    one run, which every read proves; before anything but its tail is written, it is walked.
    """

    _is_assumed = False

    @property
    def extents(self) -> Extents:
        """Where the blocks stand: taken for one run, or found by walking the chain."""
        if self._extents is None:
            self._is_assumed = self._end - self._begin + 1 == self._count
            if self._is_assumed:
                self._extents = Extents([(self._begin, self._count)] if self._count else [])
            else:
                self._extents = self._walk()
        return self._extents

    def _prove(self) -> None:
        """Walk the chain if its extents were only assumed."""
        if self._is_assumed or self._extents is None:
            self._extents, self._is_assumed = self._walk(), False

    def read_into(self, offset: int, out: memoryview) -> int:
        """As every stream, though the first wrong block may be a wrong assumption."""
        try:
            return super().read_into(offset, out)
        except BlockCorruptError:
            if not self._is_assumed:
                raise
            self._prove()
            return super().read_into(offset, out)

    def write(self, offset: int, data: memoryview) -> int:
        """As every stream."""
        if offset < (self._count - 1) * DATA_SIZE:
            self._prove()
        return super().write(offset, data)

    def truncate(self, length: int) -> int:
        """As every stream."""
        if length <= (self._count - 1) * DATA_SIZE:
            self._prove()
        return super().truncate(length)

    @property
    def block(self) -> StreamBlock:
        """The block under the cursor."""
        self._prove()
        return super().block

    def close(self) -> None:
        """Save the block."""
        if not self._is_closed:
            self.finish()

    # --- a tree's nodes

    def read_node(self, position: int) -> bytes:
        """The data of the block at `position`, which is this stream's."""
        plain = self._blocks.load(position)
        if bytes(plain[12:28]) != self._id:
            raise TreeCorruptError(
                "a tree names a block of another stream", block=position, stream=self._identity
            )
        return bytes(plain[_HEAD:])

    def write_node(self, position: int, data: bytes) -> None:
        """Replace the data of the block at `position`."""
        self._blocks.set_data(position, data)

    def new_node(self) -> int:
        """Append an empty block; return its position."""
        self._grow_chain()
        self._length = self._count * DATA_SIZE
        return self._end

    def _grow_chain(self) -> None:
        """Append one block without needing the extents."""
        first, count = self._reserve
        if not count:
            first, count = self._manager.take_run(
                max(1, min(self._count, _MAX_RESERVE)), max(0, self._end)
            )
        previous = self._end if self._count else NO_POSITION
        self._link_tail(first)
        self._reserve = (first + 1, count - 1)
        following = first + 1 if count > 1 else NO_POSITION
        index = self._count
        if not index:
            self._begin = first
        self._count, self._end, self._tail_next = index + 1, first, following
        self._extents = None
        head = BLOCK_HEAD.pack(previous, following, index, self._id, _NO_DIGEST)
        self._blocks.put(first, bytearray(head + bytes(DATA_SIZE)))
        self.is_dirty = True

    def write_value(self, value: bytes) -> bytes:
        """Keep a large value in a stream of its own; return its record."""
        stream = ValueStream(self._manager, None, self._manager.new_identity())
        stream.write(0, memoryview(value))
        stream.close()
        return bytes(stream)

    def read_value(self, record: bytes) -> bytes:
        """The value kept under `record`."""
        stream = self._value(record)
        value = bytearray(stream.len)
        stream.read_into(0, memoryview(value))
        return bytes(value)

    def free_value(self, record: bytes) -> None:
        """Free the blocks of a large value."""
        self._value(record).truncate(0)

    def _value(self, record: bytes) -> ValueStream:
        self._manager.check_record(record)
        stream = ValueStream(self._manager, None, self._identity)
        if not stream.load_meta(record):
            raise TreeCorruptError("the record of a large value is damaged: run check")
        return stream


class ValueStream(BaseStream):
    """Stream of one large value of a tree; its record stands in the tree."""

    def close(self) -> None:
        """Give back the positions taken ahead."""
        self.finish()
