"""DynamicMultiStreamManager: streams that come and go, with a registry.

Owns which data streams are open.  Promises: a stream is one object however often it is open.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from ..errors import NotFoundError, UsageError
from ..layout import KIND_DYNAMIC
from .extents import Extents
from .fixed import FixedMultiStreamManager
from .internal import InternalStream
from .registry import StreamRegistry
from .stream import BaseStream, DataStream


class DynamicMultiStreamManager(FixedMultiStreamManager):
    """Streams that come and go, with a registry: what a virtual file system stands on.

    Source: seed 001 (angelos.archive7.streams.DynamicMultiStreamManager).
    """

    KIND = KIND_DYNAMIC
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
        self._uses[stream.identity] = 1
        self._open[stream.identity] = stream
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
        self.check_record(record, identity.bytes)
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
        if self._uses[identity] > 1:
            self._uses[identity] -= 1
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

    def opened(self, identity: UUID) -> DataStream | None:
        """The open stream of an identity, or None."""
        return self._open.get(identity)

    @property
    def open_streams(self) -> list[DataStream]:
        """All that are open."""
        return list(self._open.values())

    def set_owner(self, identity: UUID, owner: Callable[[DataStream], bytes | None]) -> None:
        """Ask `owner` for the owner's bytes whenever the open stream's record is stored."""
        self._owners[identity] = owner

    def _update(self, stream: BaseStream) -> None:
        stream.save()
        if stream.is_dirty and not stream.is_torn:
            assert isinstance(stream, DataStream)  # noqa: S101 - only those are registered
            owner = self._owners.get(stream.identity)
            self.registry.update(stream, owner(stream) if owner else None)

    def flush(self) -> None:
        """Bring the state of all open streams into the container's working state."""
        for stream in list(self._open.values()):
            stream.check_whole()
            self._update(stream)
        self.registry.close()
        super().flush()

    def reload(self) -> None:
        """Take everything anew from the working state; streams that are gone are closed.

        So are those whose record cannot be read: what they had in memory must not be committed.
        The first error is raised when all was taken.
        """
        super().reload()
        self.registry = StreamRegistry(self)
        failed: BaseException | None = None
        for identity, stream in list(self._open.items()):
            try:
                found = self.registry.read(identity)
            except BaseException as error:  # noqa: BLE001 - raised again when all was taken
                found, failed = None, failed or error
            if found is None:
                stream.abandon()
                del self._open[identity], self._uses[identity]
                self._owners.pop(identity, None)
            else:
                stream.reload(found[0], found[1])
        if failed is not None:
            raise failed

    def _save_all(self) -> None:
        for stream in list(self._open.values()):
            stream.finish()
        self.flush()
        super()._save_all()
        for stream in self._open.values():
            stream.abandon()
        self._open.clear()
        self._uses.clear()
