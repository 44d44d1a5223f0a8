"""StreamBlock: one block of a stream as an object, for single blocks and for the seed's API."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from ..crypto import digest_fits, plain_digest
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

    Raises: ValueError where `load_meta` would refuse `block`.
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
            raise ValueError(f"a block has {PLAIN_SIZE} bytes and the digest of its data")

    @classmethod
    def of(cls, position: int, plain: bytes | bytearray | memoryview) -> StreamBlock:
        """The block of 4056 bytes that are verified already, or changed and not sealed yet."""
        block = cls(position)
        block._fill(cls.meta_unpack(plain))
        return block

    @property
    def position(self) -> int:
        """Logical number of this block."""
        return self._position

    def load_meta(self, block: bytes | bytearray | memoryview) -> bool:
        """Fill the fields from 4056 plain bytes; False (nothing changed) if they are corrupt.

        Corrupt is another size, or a digest that is not that of the data.
        """
        try:
            fields = self.meta_unpack(block)
        except StructError:
            return False
        if not digest_fits(*fields[4:]):
            return False
        self._fill(fields)
        return True

    def _fill(self, fields: tuple[Any, ...]) -> None:
        self.previous, self.next, self.index, stream, self.digest, data = fields
        self.stream, self.data = UUID(bytes=stream), bytearray(data)

    @staticmethod
    def meta_unpack(data: bytes | bytearray | memoryview) -> tuple[Any, ...]:
        """Unpack 4056 bytes: (previous, next, index, stream id, digest, data)."""
        return BLOCK.unpack(data)

    def __bytes__(self) -> bytes:
        """The 4056 plain bytes; a block gets the digest of its suite when it is sealed."""
        self.digest = plain_digest(self.data)
        head = BLOCK_HEAD.pack(
            self.previous, self.next, self.index, self.stream.bytes, self.digest
        )
        return head + bytes(self.data)

    def __repr__(self) -> str:
        return f"<StreamBlock {self._position}: number {self.index} of {self.stream}>"
