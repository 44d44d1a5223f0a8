"""Stream managers: single, fixed and dynamic sets of streams in one container.

Owns which streams there are, which are open, free positions and the trash stream.  May assume a
container.  Promises: whatever was written through open streams is in the next commit; `close`
saves open streams first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final, NoReturn
from uuid import UUID

from ..commit import Container
from ..creation import Options, create_container, open_container
from ..errors import ClosedError, FormatError, TreeCorruptError, UsageError
from ..identity import new_identity
from ..keyslots import Secrets
from ..layout import (
    ARCHIVE_HEADER,
    ARCHIVE_MAGIC,
    BLOCK_HEAD,
    KIND_NONE,
    KIND_SINGLE,
    NO_POSITION,
    PLAIN_SIZE,
    STREAM,
)
from ..savepoint import Savepoint
from .block import StreamBlock
from .chain import tail_next
from .internal import InternalStream
from .record import sound_fields
from .stream import BaseStream

_MAX_TRASH: Final = 65536  # extents kept in the trash stream

_NO_DIGEST: Final = bytes(20)


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

    KIND = KIND_NONE  # a container is opened by its own kind of manager only

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

    def _check_kind(self) -> None:
        """A container is opened by its own kind of manager; a new one has none yet."""
        container = self.container
        if container.streams and (
            container.kind != self.KIND or len(container.streams) > self.SPECIAL_STREAM_COUNT
        ):
            raise FormatError(
                f"the container is of kind {container.kind} with {len(container.streams)} special "
                f"streams, {type(self).__name__} is for kind {self.KIND}"
            )

    def _open_special(self) -> None:
        """Attach the special streams; missing ones are empty."""
        self._check_kind()
        records = self.container.streams
        for number, record in enumerate(records):
            self.check_record(record, special_identity(number).bytes)
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
        return StreamBlock.of(index, self.container.blocks.load(index))

    def save_block(self, index: int, block: StreamBlock) -> None:
        """Keep `block` for the next commit, which seals it.

        At position 0 the first 344 bytes go into the next commit as archive header.
        Raises: UsageError where `index` is not the block's position, or is free.
        """
        self.check_writable()
        if index != block.position:
            raise UsageError(f"block {block.position} cannot be saved at position {index}")
        if index == self.BLOCK_META:
            self.meta = bytes(block.data[: ARCHIVE_HEADER.size])
            return
        if index < 0 or self.container.positions.is_free(index):
            raise UsageError(f"position {index} was not given out")
        self.container.blocks.put(index, bytearray(bytes(block)))

    def new_block(self) -> StreamBlock:
        """Make an empty block at a new position."""
        self.check_writable()
        block = StreamBlock(self.take_run(1)[0])
        self.container.blocks.put(block.position, bytearray(bytes(block)))
        return block

    # --- positions

    def take_run(self, count: int, after: int = 0) -> tuple[int, int]:
        """Take `count` consecutive positions: (first, count); fewer if they follow `after`."""
        return self.container.positions.take(count, after)

    def give_run(self, first: int, count: int) -> None:
        """Give back positions that hold no block."""
        self.container.positions.give(first, count, is_unused=True)

    def free_run(self, first: int, count: int) -> None:
        """Free the blocks at consecutive positions."""
        self.container.blocks.free(first, count)
        self.container.positions.give(first, count)

    def store_block(self, identity: bytes, data: memoryview) -> bytes:
        """Make a stream of at most one block; return its record.  The path of small files."""
        size = len(data)
        if not size:
            return STREAM.pack(identity, NO_POSITION, NO_POSITION, 0, 0, 0)
        position = self.container.positions.take(1)[0]
        plain = bytearray(PLAIN_SIZE)
        BLOCK_HEAD.pack_into(plain, 0, NO_POSITION, tail_next(size), 0, identity, _NO_DIGEST)
        plain[BLOCK_HEAD.size : BLOCK_HEAD.size + size] = data
        self.container.blocks.put(position, plain)
        return STREAM.pack(identity, position, position, 1, size, 0)

    def check_record(self, record: bytes, identity: bytes | None = None) -> None:
        """Raise TreeCorruptError if a record contradicts itself or the size of the archive.

        Args: identity: of the stream, where it is known.
        """
        fields = sound_fields(record)
        if fields is None or fields[3] > self.container.positions.end:
            raise TreeCorruptError("the record of a stream is damaged: run check")
        if identity not in (None, fields[0]):
            raise TreeCorruptError("the record of a stream is damaged: run check")

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
            stream.check_whole()
            stream.save()
            stream.mark_tail()
        self.container.streams = [bytes(stream) for stream in self._special]
        self.container.kind = self.KIND

    def commit(self, *, durable: bool = False) -> int:
        """Commit everything written so far; return the commit number.

        What fails is rolled back and the error raised.
        """
        self.check_writable()
        self.container.run_late()
        was_busy, self.container.is_busy = self.container.is_busy, True
        try:
            self.flush()
            return self.container.commit(durable=durable)
        except BaseException:
            self.container.lose_work()
            self.rollback()
            raise
        finally:
            self.container.is_busy = was_busy

    def sync(self) -> None:
        """Commit durably: when this returns, everything written so far survives a power cut."""
        self.commit(durable=True)

    def savepoint(self) -> Savepoint:
        """Note the present state inside a transaction."""
        self.flush()
        return self.container.savepoint()

    def rollback(self, savepoint: Savepoint | None = None) -> None:
        """Go back to `savepoint` or to the last commit; open streams follow."""
        with self.container.rolling_back():
            try:
                self.container.rollback(savepoint)
            finally:
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

    KIND = KIND_SINGLE
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
