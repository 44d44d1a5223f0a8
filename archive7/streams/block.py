"""StreamBlock: one block of a stream as an object, for single blocks and for the seed's API."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from ..layout import BLOCK, BLOCK_HEAD, DATA_SIZE, NO_POSITION, PLAIN_SIZE, StructError

_NIL: Final = UUID(int=0)


class StreamBlock:
    """A block of data in a stream.

    Args:
        position: logical number of the block.
        previous, next: positions of the neighbours in the stream, -1 for none.
        index: ordinal of the block in its stream.
        stream: identity of the stream.
        block: 4056 plain bytes to take everything but the position from.

    Source: seed 001 (angelos.archive7.streams.StreamBlock); docs/format.rst, "Block".
    """

    FORMAT = BLOCK.format
    SIZE = PLAIN_SIZE

    __slots__ = ("_position", "data", "digest", "index", "next", "previous", "stream")

    def __init__(
        self,
        position: int,
        previous: int = NO_POSITION,
        next: int = NO_POSITION,  # noqa: A002 - the seed's name
        index: int = 0,
        stream: UUID = _NIL,
        block: bytes | bytearray | memoryview | None = None,
    ) -> None:
        self._position = position
        self.previous = previous
        self.next = next
        self.index = index
        self.stream = stream
        self.digest = bytes(20)
        self.data = bytearray(DATA_SIZE)
        if block is not None and not self.load_meta(block):
            raise ValueError(f"a block has {PLAIN_SIZE} bytes, not {len(block)}")

    @property
    def position(self) -> int:
        """Logical number of this block."""
        return self._position

    def load_meta(self, block: bytes | bytearray | memoryview) -> bool:
        """Fill the fields from 4056 plain bytes; False (nothing changed) if they do not fit."""
        try:
            previous, following, index, stream, digest, data = self.meta_unpack(block)
        except StructError:
            return False
        self.previous, self.next, self.index = previous, following, index
        self.stream, self.digest, self.data = UUID(bytes=stream), digest, bytearray(data)
        return True

    @staticmethod
    def meta_unpack(data: bytes | bytearray | memoryview) -> tuple[Any, ...]:
        """Unpack 4056 bytes: (previous, next, index, stream id, digest, data)."""
        return BLOCK.unpack(data)

    def __bytes__(self) -> bytes:
        """The 4056 plain bytes; the digest is set when the block is sealed."""
        head = BLOCK_HEAD.pack(
            self.previous, self.next, self.index, self.stream.bytes, self.digest
        )
        return head + bytes(self.data)

    def __repr__(self) -> str:
        return f"<StreamBlock {self._position}: number {self.index} of {self.stream}>"
