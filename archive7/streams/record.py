"""Records: the 38 bytes that describe a stream."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ..layout import DATA_SIZE, NO_POSITION, STREAM, StructError
from .extents import Extents


class StreamRecord:
    """The record of a stream as an object: what the registry and the root keep of it."""

    COMP_NONE = 0
    FORMAT = STREAM.format
    SIZE = STREAM.size

    def _fill(
        self,
        identity: UUID,
        begin: int,
        end: int,
        count: int,
        length: int,
        compression: int,
        extents: Extents | None,
    ) -> None:
        self._identity = identity
        self._id = identity.bytes
        self._begin, self._end = begin, end
        self._count, self._length = count, length
        self._compression = compression
        self._extents = extents
        self._tail_next: int | None = None  # what the last block has as next, if known
        self.is_torn = False  # a change failed half-way: it has to be rolled back
        self._marked = count, length  # of which its next tells, if that is not known

    @property
    def identity(self) -> UUID:
        """Identity of the stream."""
        return self._identity

    @property
    def count(self) -> int:
        """Blocks in the stream."""
        return self._count

    @property
    def len(self) -> int:
        """Bytes in the stream."""
        return self._length

    @property
    def compression(self) -> int:
        """Compression of the data: `COMP_NONE`."""
        return self._compression

    def __bytes__(self) -> bytes:
        """The record of 38 bytes."""
        return STREAM.pack(
            self._id, self._begin, self._end, self._count, self._length, self._compression
        )

    @staticmethod
    def meta_unpack(data: bytes | bytearray) -> tuple[Any, ...]:
        """Unpack 38 bytes: (identity, begin, end, count, length, compression)."""
        return STREAM.unpack(data)


def sound_fields(record: bytes | bytearray) -> tuple[bytes, int, int, int, int, int] | None:
    """The fields of a record, or None where they contradict each other."""
    try:
        identity, begin, end, count, length, compression = STREAM.unpack(record)
    except StructError:
        return None
    is_empty = begin == end == NO_POSITION and count == length == 0
    is_chain = begin > 0 and end > 0 and count > 0 and (count == 1) <= (begin == end)
    if not (is_empty or is_chain) or length > count * DATA_SIZE:
        return None
    if compression != StreamRecord.COMP_NONE:
        return None
    return identity, begin, end, count, length, compression
