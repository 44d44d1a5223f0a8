"""Registry: the ordered map of streams, in a stream.

Owns what stands under a stream's identity: its record of 38 bytes, its extent map if it has more
than one run, and bytes that belong to whoever uses the stream (a file's entry).
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from ..btree import BTree
from ..errors import TreeCorruptError, UsageError
from ..layout import EXTENT, EXTENT_COUNT, STREAM
from .extents import Extents
from .internal import InternalStream
from .stream import BaseStream

if TYPE_CHECKING:
    from .dynamic import DynamicMultiStreamManager

_OWNER = STREAM.size + EXTENT_COUNT.size


def tree_in(stream: InternalStream) -> BTree:
    """The tree in a special stream; an empty one is made where the stream has no block."""
    meta = BaseStream.meta_unpack(bytes(stream))
    if meta[3]:
        return BTree(stream, meta[1])
    return BTree.create(stream)


class Registry(ABC):  # noqa: B024 - abstract in the seed
    """A B+tree in a stream.  What the seed calls its WAL is the container's commit: atomic over
    all streams and trees.
    """

    def __init__(self, manager: DynamicMultiStreamManager) -> None:
        self._manager = manager
        self._tree = tree_in(manager.index_stream)

    def close(self) -> None:
        """Encode the changed nodes."""
        self._tree.flush()

    @property
    def tree(self) -> BTree:
        """The tree."""
        return self._tree

    def replace_tree(self, tree: BTree) -> None:
        """Go on with another tree, which stands in the same stream."""
        self._tree = tree


class StreamRegistry(Registry):
    """Registry of all streams.

    Source: seed 001 (angelos.archive7.streams.StreamRegistry).  Cost of each call: one look-up.
    """

    def register(self, stream: BaseStream, owner: bytes = b"") -> UUID:
        """Register a stream with its owner's bytes; return its identity.

        Raises: UsageError if it is registered already.
        """
        stream.mark_tail()
        if not self._tree.insert(stream.identity.bytes, _encode(stream, owner), replace=False):
            raise UsageError(f"stream {stream.identity} is registered already")
        stream.is_dirty = False
        return stream.identity

    def unregister(self, identity: UUID) -> bytes | None:
        """Remove a stream; return its last record, or None if it is not registered."""
        record = self.search(identity)
        if record is not None:
            self._tree.delete(identity.bytes)
        return record

    def update(self, stream: BaseStream, owner: bytes | None = None) -> bool:
        """Store the record of a registered stream (and new owner's bytes); False if unknown.

        Its last block tells the length that the record has.
        """
        stream.mark_tail()
        if owner is None:
            value = self._tree.get(stream.identity.bytes)
            if value is None:
                return False
            owner = split(value)[2]
        elif stream.identity.bytes not in self._tree:
            return False
        self._tree.insert(stream.identity.bytes, _encode(stream, owner))
        stream.is_dirty = False
        return True

    def search(self, identity: UUID) -> bytes | None:
        """The record (38 bytes) of a stream, or None."""
        value = self._tree.get(identity.bytes)
        return None if value is None else value[: STREAM.size]

    def owner(self, identity: UUID) -> bytes | None:
        """The owner's bytes of a stream, or None if it is not registered."""
        value = self._tree.get(identity.bytes)
        return None if value is None else split(value)[2]

    def read(self, identity: UUID) -> tuple[bytes, Extents, bytes] | None:
        """Record, extents and owner's bytes of a stream, or None."""
        value = self._tree.get(identity.bytes)
        if value is None:
            return None
        record, extents, owner = split(value)
        _, begin, _, count, _, _ = STREAM.unpack(record)
        return record, Extents.decode(extents, begin, count), owner

    def __iter__(self) -> Iterator[UUID]:
        """The identities of all streams, in order."""
        for key, _ in self._tree.items():  # noqa: PERF102 - no dict
            yield UUID(bytes=key)


def _encode(stream: BaseStream, owner: bytes) -> bytes:
    return encode_value(bytes(stream), stream.extents.encode(), owner)


def encode_value(record: bytes, extents: bytes, owner: bytes) -> bytes:
    """A registry value: record, count of extents, extent map, owner's bytes."""
    return record + EXTENT_COUNT.pack(len(extents) // EXTENT.size) + extents + owner


def split(value: bytes) -> tuple[bytes, bytes, bytes]:
    """Split a registry value: record, extent map, owner's bytes.  Raises TreeCorruptError."""
    if len(value) < _OWNER:
        raise TreeCorruptError("a registry entry is too short: run check")
    (count,) = EXTENT_COUNT.unpack_from(value, STREAM.size)
    end = _OWNER + count * EXTENT.size
    if end > len(value):
        raise TreeCorruptError("a registry entry's extent map is cut: run check")
    return value[: STREAM.size], value[_OWNER:end], value[end:]
