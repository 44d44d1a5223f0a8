"""Internal streams: the blocks of special streams and of trees, by position.

Owns appending a node without knowing the extents, and streams that hold one large value of a
tree.  Promises what `stream` promises.
"""

from __future__ import annotations

from typing import Final

from ..errors import TreeCorruptError
from ..layout import BLOCK_HEAD, DATA_SIZE, NO_POSITION
from .stream import BaseStream

_HEAD: Final = BLOCK_HEAD.size
_NO_DIGEST: Final = bytes(20)
_MAX_RESERVE: Final = 1024  # positions taken ahead of a growing tree


class InternalStream(BaseStream):
    """Stream for internal use in a manager: trash, trees."""

    def close(self) -> None:
        """Save the block."""
        if not self._is_closed:
            self._leave()
            self._give_back()

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
            first, count = self._manager.take_run(max(1, min(self._count, _MAX_RESERVE)))
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
        stream = ValueStream(self._manager, None, self._identity)
        if not stream.load_meta(record):
            raise TreeCorruptError("the record of a large value is damaged: run check")
        return stream


class ValueStream(BaseStream):
    """Stream of one large value of a tree; its record stands in the tree."""

    def close(self) -> None:
        """Give back the positions taken ahead."""
        self._leave()
        self._give_back()
