"""Stream managers: single, fixed and dynamic sets of streams in one container.

Owns which streams there are, which are open, free positions and the trash stream.  May assume a
container.  Promises: whatever was written through open streams is in the next commit; `close`
saves open streams first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn
from uuid import UUID

from ..commit import Container, Savepoint
from ..creation import Options, create_container, open_container
from ..errors import ClosedError, NotFoundError, TreeCorruptError, UsageError
from ..identity import new_identity
from ..keyslots import Secrets
from ..layout import (
    ARCHIVE_HEADER,
    ARCHIVE_MAGIC,
    BLOCK_HEAD,
    NO_POSITION,
    STREAM,
    TRASH_EXTENT,
    TRASH_HEAD,
)
from .block import StreamBlock
from .extents import Extents
from .registry import StreamRegistry
from .stream import BaseStream, DataStream, InternalStream

_MAX_TRASH: Final = 65536  # extents kept in the trash stream


def special_identity(number: int) -> UUID:
    """Identity of special stream `number`."""
    return UUID(int=number + 1)


class BaseStreamManager(ABC):
    """What every stream manager offers.

    Source: seed 001 (angelos.archive7.streams.BaseStreamManager).
    """

    BLOCK_META = 0
    SPECIAL_BLOCK_COUNT = 0
    SPECIAL_STREAM_COUNT = 0

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the manager is closed."""

    @property
    @abstractmethod
    def created(self) -> bool:
        """Whether this manager made the container."""

    @property
    @abstractmethod
    def meta(self) -> bytes:
        """The archive header, 344 bytes."""

    @abstractmethod
    def close(self) -> None:
        """Save everything and close."""

    @abstractmethod
    def load_block(self, index: int) -> StreamBlock:
        """Load the block at position `index`."""

    @abstractmethod
    def new_block(self) -> StreamBlock:
        """Make an empty block."""

    @abstractmethod
    def recycle(self, chain: StreamBlock) -> bool:
        """Free `chain` and the blocks behind it."""

    @abstractmethod
    def reuse(self) -> StreamBlock | None:
        """A recycled block, or None."""

    @abstractmethod
    def save_block(self, index: int, block: StreamBlock) -> None:
        """Save `block` at position `index`."""

    @abstractmethod
    def save_meta(self) -> None:
        """Commit."""

    @abstractmethod
    def special_block(self, position: int) -> StreamBlock:
        """A special block."""

    @abstractmethod
    def special_stream(self, position: int) -> BaseStream:
        """A special stream."""


class StreamManager(BaseStreamManager):
    """Blocks and special streams of one container, transparently encrypted.

    Args:
        filename: the container; it is made if it does not exist.
        secret: raw key of 32 bytes.
        container: use this one instead of opening a file.

    Raises: UsageError for another key size, LockedError, WrongKeyError, CorruptError.
    Source: seed 001 (angelos.archive7.streams.StreamManager).
    """

    def __init__(
        self, filename: Path | str, secret: bytes, *, container: Container | None = None
    ) -> None:
        self._created = False
        if container is None:
            secrets = Secrets(key=secret)
            try:
                container = open_container(filename, secrets, readonly=False)
            except FileNotFoundError:
                header = ARCHIVE_MAGIC.ljust(ARCHIVE_HEADER.size, b"\0")
                container = create_container(
                    filename, secrets, replace=False, options=Options(header=header)
                )
                self._created = True
        self.container = container
        self._special: list[InternalStream] = []
        self._open_special()

    @classmethod
    def over(cls, container: Container) -> StreamManager:
        """A manager over an open container."""
        return cls("", b"", container=container)

    def _open_special(self) -> None:
        """Attach the special streams; missing ones are empty."""
        records = self.container.streams
        for number in range(self.SPECIAL_STREAM_COUNT):
            stream = InternalStream(self, None, special_identity(number))
            if number < len(records) and not stream.load_meta(records[number]):
                raise TreeCorruptError("the record of a special stream is damaged", block=0)
            self._special.append(stream)

    # --- the seed's properties

    @property
    def closed(self) -> bool:
        """Whether the manager is closed."""
        return self.container.is_closed

    @property
    def created(self) -> bool:
        """Whether this manager made the container."""
        return self._created

    @property
    def is_readonly(self) -> bool:
        """Whether the container is a snapshot for reading."""
        return self.container.is_readonly

    def check_writable(self) -> None:
        """Raise ReadOnlyError, ClosedError or SyncFailedError if nothing can be written."""
        self.container.check_writable()

    @property
    def meta(self) -> bytes:
        """The archive header, 344 bytes."""
        return self.container.header

    @meta.setter
    def meta(self, header: bytes) -> None:
        if len(header) > ARCHIVE_HEADER.size:
            raise UsageError(f"an archive header has {ARCHIVE_HEADER.size} bytes")
        self.check_writable()
        self.container.header = bytes(header).ljust(ARCHIVE_HEADER.size, b"\0")

    def save_meta(self) -> None:
        """Commit everything written so far (not durable: see `sync`)."""
        self.commit()

    def special_block(self, position: int) -> StreamBlock:
        """Special block `position`: 0 is the root.  Raises: UsageError beyond the last."""
        if not 0 <= position < self.SPECIAL_BLOCK_COUNT:
            raise UsageError(f"there are {self.SPECIAL_BLOCK_COUNT} special blocks")
        return self.load_block(position)

    def special_stream(self, position: int) -> InternalStream:
        """Special stream `position`.  Raises: UsageError beyond the last."""
        if not 0 <= position < self.SPECIAL_STREAM_COUNT:
            raise UsageError(f"there are {self.SPECIAL_STREAM_COUNT} special streams")
        return self._special[position]

    # --- blocks

    def load_block(self, index: int) -> StreamBlock:
        """Load and open the block at position `index`; 0 gives the present root.

        Raises: UsageError for a position never given out, BlockCorruptError for a free one.
        """
        self._check_open()
        if index == self.BLOCK_META:
            block = StreamBlock(index)
            block.data[:] = self.container.root.encode()
            return block
        if not 0 < index < self.container.positions.end:
            raise UsageError(f"there is no block at position {index}")
        return StreamBlock(index, block=self.container.blocks.load(index))

    def save_block(self, index: int, block: StreamBlock) -> None:
        """Keep `block` for the next commit, which seals it.

        At position 0 the first 344 bytes go into the next commit as archive header.
        Raises: UsageError where `index` is not the block's position.
        """
        self.check_writable()
        if index != block.position:
            raise UsageError(f"block {block.position} cannot be saved at position {index}")
        if index == self.BLOCK_META:
            self.meta = bytes(block.data[: ARCHIVE_HEADER.size])
            return
        self.container.blocks.put(index, bytearray(bytes(block)))

    def new_block(self) -> StreamBlock:
        """Make an empty block at a new position."""
        self.check_writable()
        block = StreamBlock(self.take_run(1)[0])
        self.container.blocks.put(block.position, bytearray(bytes(block)))
        return block

    # --- positions

    def take_run(self, count: int) -> tuple[int, int]:
        """Take `count` consecutive positions: (first, count)."""
        return self.container.positions.take(count)

    def give_run(self, first: int, count: int) -> None:
        """Give back positions that hold no block."""
        self.container.positions.give(first, count)

    def free_run(self, first: int, count: int) -> None:
        """Free the blocks at consecutive positions."""
        self.container.blocks.free(first, count)
        self.container.positions.give(first, count)

    def new_identity(self) -> UUID:
        """A new stream identity; later ones sort behind earlier ones."""
        return new_identity()

    # --- streams

    def close_stream(self, stream: BaseStream) -> bool:
        """Close an open data stream."""
        raise UsageError(f"{type(self).__name__} has special streams only")

    def flush(self) -> None:
        """Bring the state of all open streams into the container's working state."""
        for stream in self._special:
            stream.save()
        self.container.streams = [bytes(stream) for stream in self._special]

    def commit(self, *, durable: bool = False) -> int:
        """Commit everything written so far; return the commit number.

        What fails is rolled back and the error raised.
        """
        self.check_writable()
        try:
            self.flush()
            return self.container.commit(durable=durable)
        except BaseException:
            self.rollback()
            raise

    def sync(self) -> None:
        """Commit durably: when this returns, everything written so far survives a power cut."""
        self.commit(durable=True)

    def savepoint(self) -> Savepoint:
        """Note the present state inside a transaction."""
        self.flush()
        return self.container.savepoint()

    def rollback(self, savepoint: Savepoint | None = None) -> None:
        """Go back to `savepoint` or to the last commit; open streams follow."""
        self.container.rollback(savepoint)
        self.reload()

    def refresh(self) -> bool:
        """Follow the writer (readers); True if there was a newer commit."""
        if not self.container.refresh():
            return False
        self.reload()
        return True

    def reload(self) -> None:
        """Take everything anew from the working state."""
        records = self.container.streams
        for number, stream in enumerate(self._special):
            if number < len(records):
                stream.reload(records[number], None)
            else:
                stream.reload(_empty_record(special_identity(number)), None)

    def close(self) -> None:
        """Save open streams, commit durably and close; idempotent."""
        if self.closed:
            return
        try:
            if not self.is_readonly and not self.container.is_failed:
                self._save_all()
        finally:
            self.container.close()

    def _save_all(self) -> None:
        for stream in self._special:
            stream.close()
        self.commit()

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("the stream manager is closed")

    def __enter__(self) -> StreamManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied")


def _empty_record(identity: UUID) -> bytes:
    return STREAM.pack(identity.bytes, NO_POSITION, NO_POSITION, 0, 0, 0)


class SingleStreamManager(StreamManager):
    """One data stream in a container.

    Source: seed 001 (angelos.archive7.streams.SingleStreamManager).
    """

    SPECIAL_BLOCK_COUNT = 1
    SPECIAL_STREAM_COUNT = 1
    STREAM_DATA = 0

    def recycle(self, chain: StreamBlock) -> bool:
        """Cut the stream in front of `chain`; False if it is no block of the stream.

        The file gets shorter at the next durable commit or close.
        """
        stream = self.special_stream(self.STREAM_DATA)
        if chain.stream != stream.identity or chain.index >= stream.count:
            return False
        if stream.extents.position(chain.index) != chain.position:
            return False
        stream.truncate(min(stream.len, chain.index * len(chain.data)))
        return True

    def reuse(self) -> StreamBlock | None:
        """A single stream needs no reuse: None."""
        return None


class FixedMultiStreamManager(StreamManager):
    """A fixed set of streams and the trash; a subclass says how many by SPECIAL_STREAM_COUNT.

    Source: seed 001 (angelos.archive7.streams.FixedMultiStreamManager).
    """

    SPECIAL_BLOCK_COUNT = 1
    SPECIAL_STREAM_COUNT = 1
    STREAM_TRASH = 0

    def _open_special(self) -> None:
        super()._open_special()
        self._trash_number = -1
        self._load_trash()

    def recycle(self, chain: StreamBlock) -> bool:
        """Free a chain of blocks that was cut off a stream; False for the root."""
        self.check_writable()
        if chain.position == self.BLOCK_META:
            return False
        blocks = self.container.blocks
        position, index, stream = chain.position, chain.index, chain.stream.bytes
        while True:
            plain = blocks.block(position, index, stream)
            following = BLOCK_HEAD.unpack_from(plain)[1]
            self.free_run(position, 1)
            position, index = following, index + 1
            if position <= 0 or not self._continues(position, index, stream):
                return True

    def _continues(self, position: int, index: int, stream: bytes) -> bool:
        """Whether a chain goes on at `position`: a tail may name a position not used yet."""
        blocks = self.container.blocks
        if position in blocks.dirty or any(blocks.map.get(position)):
            plain = blocks.load(position)
            return bytes(plain[8:28]) == index.to_bytes(4, "big") + stream
        return False

    def reuse(self) -> StreamBlock | None:
        """An empty block at a position that was recycled, or None."""
        self.check_writable()
        position = self.container.positions.take_free()
        if position is None:
            return None
        block = StreamBlock(position)
        self.container.blocks.put(position, bytearray(bytes(block)))
        return block

    # --- the trash stream: free positions, kept from one session to the next

    def _load_trash(self) -> None:
        """Take the free positions from the trash, if it belongs to this commit."""
        trash = self._special[self.STREAM_TRASH]
        if self.is_readonly or not trash.len:
            return
        data = bytearray(trash.len)
        trash.read_into(0, memoryview(data))
        number, count = TRASH_HEAD.unpack_from(data)
        if number != self.container.root.number:
            return
        body = data[TRASH_HEAD.size : TRASH_HEAD.size + count * TRASH_EXTENT.size]
        self.container.positions.learn(TRASH_EXTENT.iter_unpack(body))
        self._trash_number = number

    def _save_trash(self) -> None:
        """Write the free positions for the commit that comes next."""
        positions = self.container.positions
        trash = self._special[self.STREAM_TRASH]
        if not trash.len and not positions.free_count:
            return
        need = TRASH_HEAD.size + min(_MAX_TRASH, len(positions.extents()) + 8) * TRASH_EXTENT.size
        trash.write(0, memoryview(bytes(need)))
        trash.close()
        extents = positions.extents()[: (need - TRASH_HEAD.size) // TRASH_EXTENT.size]
        head = TRASH_HEAD.pack(self.container.next_number, len(extents))
        body = b"".join(TRASH_EXTENT.pack(first, count) for first, count in extents)
        trash.write(0, memoryview(head + body))
        self.flush()

    def _save_all(self) -> None:
        super()._save_all()
        if self.container.root.number != self._trash_number and self.container.must_finish:
            self._save_trash()
            self.container.commit(fold=True)


class DynamicMultiStreamManager(FixedMultiStreamManager):
    """Streams that come and go, with a registry: what a virtual file system stands on.

    Source: seed 001 (angelos.archive7.streams.DynamicMultiStreamManager).
    """

    SPECIAL_STREAM_COUNT = 2
    STREAM_INDEX = 1

    def _open_special(self) -> None:
        super()._open_special()
        self._open: dict[UUID, DataStream] = {}
        self._uses: dict[UUID, int] = {}
        self._owners: dict[UUID, Callable[[DataStream], bytes | None]] = {}
        self.registry = StreamRegistry(self)

    @property
    def index_stream(self) -> InternalStream:
        """The stream of the registry's tree."""
        return self._special[self.STREAM_INDEX]

    def new_stream(self) -> DataStream:
        """Make, register and open a new stream."""
        self.check_writable()
        stream = DataStream(self, None, self.new_identity(), extents=Extents())
        self.registry.register(stream)
        return self._opened(stream)

    def _opened(self, stream: DataStream) -> DataStream:
        self._open[stream.identity] = stream
        self._uses[stream.identity] = 1
        return stream

    def open_stream(self, identity: UUID) -> DataStream:
        """Open an existing stream; each open needs a close, all share one object.

        Raises: NotFoundError for an unknown identity.
        """
        self._check_open()
        stream = self._open.get(identity)
        if stream is not None:
            self._uses[identity] += 1
            return stream
        found = self.registry.read(identity)
        if found is None:
            raise NotFoundError(2, f"there is no stream {identity}")
        record, extents, _ = found
        stream = DataStream(self, None, identity)
        stream.reload(record, extents)
        return self._opened(stream)

    def close_stream(self, stream: BaseStream) -> bool:
        """Close an open data stream; False if it is not open here.

        Its record goes into the registry; the next commit has it.
        """
        identity = stream.identity
        if self._open.get(identity) is not stream:
            return False
        self._uses[identity] -= 1
        if self._uses[identity]:
            return True
        if not self.is_readonly and not self.closed:
            stream.finish()
            self._update(stream)
        del self._open[identity], self._uses[identity]
        self._owners.pop(identity, None)
        stream.abandon()
        return True

    def del_stream(self, identity: UUID) -> bool:
        """Delete a stream and free its blocks; False if there is none.

        Cost: the map entries of its blocks, no block is read.
        Raises: UsageError if the stream is open.
        """
        self.check_writable()
        if identity in self._open:
            raise UsageError(f"stream {identity} is open: close it first")
        found = self.registry.read(identity)
        if found is None:
            return False
        for first, count in found[1]:
            self.free_run(first, count)
        self.registry.unregister(identity)
        return True

    def is_open(self, identity: UUID) -> bool:
        """Whether a stream is open here."""
        return identity in self._open

    def set_owner(self, identity: UUID, owner: Callable[[DataStream], bytes | None]) -> None:
        """Ask `owner` for the owner's bytes whenever the open stream's record is stored."""
        self._owners[identity] = owner

    def _update(self, stream: BaseStream) -> None:
        stream.save()
        if stream.is_dirty:
            assert isinstance(stream, DataStream)  # noqa: S101 - only those are registered
            owner = self._owners.get(stream.identity)
            self.registry.update(stream, owner(stream) if owner else None)

    def flush(self) -> None:
        """Bring the state of all open streams into the container's working state."""
        for stream in list(self._open.values()):
            self._update(stream)
        self.registry.close()
        super().flush()

    def reload(self) -> None:
        """Take everything anew from the working state; streams that are gone are closed."""
        super().reload()
        self.registry = StreamRegistry(self)
        for identity, stream in list(self._open.items()):
            found = self.registry.read(identity)
            if found is None:
                stream.abandon()
                del self._open[identity], self._uses[identity]
                self._owners.pop(identity, None)
            else:
                stream.reload(found[0], found[1])

    def _save_all(self) -> None:
        for stream in list(self._open.values()):
            stream.finish()
        self.flush()
        super()._save_all()
        for stream in self._open.values():
            stream.abandon()
        self._open.clear()
        self._uses.clear()
