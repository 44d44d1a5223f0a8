"""A container's bytes: read, write, sync, truncate, lock.

Owns every descriptor and every system call on container files; no layer above touches one.
Promises: `pread` is short only at the end, `pwrite` writes all or raises, `sync` returns only when
what was written before is on stable storage (as far as the system tells), locks belong to this
device alone.  After a fork the child's copy is closed, the parent's locks stand.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from .errors import ClosedError, FullError, LockedError, ReadOnlyError, UsageError
from .locks import FileLocks, Lock, Locks, NoLocks

Buffer = bytes | bytearray | memoryview

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# Bytes in a row after which the system is asked to begin writing them: a later sync then finds
# little to do.  Scattered blocks are left to the sync, which sorts them.
_WRITE_BEHIND = 8 << 20
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Device(ABC):
    """A container's bytes, addressed by offset."""

    name: str
    is_readonly: bool
    locks: Locks
    identity: tuple[int, int] | None = None  # device and inode of a file on the host

    @abstractmethod
    def pread(self, size: int, offset: int) -> bytes:
        """Read `size` bytes at `offset`; fewer only at the end."""

    def pread_into(self, room: memoryview, offset: int) -> int:
        """Like `pread`, into `room`; return how many bytes were read."""
        data = self.pread(len(room), offset)
        room[: len(data)] = data
        return len(data)

    @abstractmethod
    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write all of `data` at `offset`.  Raises FullError on a full disk."""

    @abstractmethod
    def sync(self) -> None:
        """Bring everything written to stable storage."""

    @abstractmethod
    def truncate(self, size: int) -> None:
        """Cut to `size` bytes, or extend by zeros."""

    @abstractmethod
    def size(self) -> int:
        """Size in bytes."""

    @abstractmethod
    def close(self) -> None:
        """Give the locks and the descriptor back; idempotent."""

    def _refuse_readonly(self) -> None:
        if self.is_readonly:
            raise ReadOnlyError(errno.EROFS, os.strerror(errno.EROFS), self.name)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied")


_devices: weakref.WeakSet[FileDevice] = weakref.WeakSet()


def _close_in_child() -> None:
    """A forked child must not share offsets and locks with its parent."""
    for device in list(_devices):
        device.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class FileDevice(Device):
    """A file on the host.

    Args:
        path: the file; resolved first, so a later change of a link does not matter.
        readonly: open for reading only.
        create: create it; it must not exist.

    Raises: FileNotFoundError, FileExistsError, IsADirectoryError, PermissionError as `open()`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, readonly: bool = False, create: bool = False
    ) -> None:
        self.path = Path(os.path.realpath(path))
        self.name = os.fspath(path)
        self.is_readonly = readonly
        flags = os.O_RDONLY if readonly else os.O_RDWR
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        self._descriptor = os.open(self.path, flags | _BINARY, 0o600)
        self._unsent = (0, 0)  # begin and end of what was written in a row, not started yet
        try:
            self.locks = FileLocks(self._descriptor)
            status = os.fstat(self._descriptor)
            self.identity = status.st_dev, status.st_ino
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.name)
            _devices.add(self)
        except BaseException:
            self.close()
            raise

    def lock_writer(self) -> None:
        """Become the one writer.  Raises LockedError at once if there is another."""
        if not self.locks.take(Lock.WRITER, shared=False):
            raise LockedError(
                errno.EAGAIN, "another writer holds the archive; open it with mode 'r'", self.name
            )
        here, there = os.fstat(self._descriptor), os.stat(self.path)
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            raise LockedError(errno.EAGAIN, "the archive was replaced meanwhile", self.name)

    def rename(self, path: Path, rename: Callable[[], None]) -> None:
        """Let `rename` give the file the name `path`; the device and its lock go with it."""
        if sys.platform != "win32":
            rename()
        else:  # an open file cannot be renamed there
            os.close(self._descriptor)
            rename()
            self._descriptor = os.open(path, os.O_RDWR | _BINARY)
            self.locks = FileLocks(self._descriptor)
        self.path, self.name = path, str(path)
        if sys.platform == "win32":
            self.lock_writer()

    def pread(self, size: int, offset: int) -> bytes:
        try:
            data = _pread(self._descriptor, size, offset)
        except OSError:
            self._open()
            raise
        if len(data) == size or not data:
            return data
        parts = [data]
        got = len(data)
        while got < size:
            data = _pread(self._descriptor, size - got, offset + got)
            if not data:
                break
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    if hasattr(os, "preadv"):

        def pread_into(self, room: memoryview, offset: int) -> int:
            try:
                got = os.preadv(self._descriptor, [room], offset)
            except OSError:
                self._open()
                raise
            while got < len(room):
                more = os.preadv(self._descriptor, [room[got:]], offset + got)
                if not more:
                    break
                got += more
            return got

    def pwrite(self, data: Buffer, offset: int) -> None:
        self._refuse_readonly()
        descriptor, view = self._open(), memoryview(data)
        try:
            done = _pwrite(descriptor, view, offset)
            while done < len(view):
                done += _pwrite(descriptor, view[done:], offset + done)
        except OSError as error:
            _raise_full(error, self.name)
        begin, end = self._unsent
        if offset != end:
            begin = offset
        end = offset + done
        if end - begin >= _WRITE_BEHIND:
            _start_writing(descriptor, begin, end - begin)
            begin = end
        self._unsent = begin, end

    def sync(self) -> None:
        descriptor = self._open()
        if sys.platform == "darwin":
            import fcntl  # noqa: PLC0415 - not there on Windows

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(descriptor)
        else:
            os.fsync(descriptor)

    def truncate(self, size: int) -> None:
        self._refuse_readonly()
        try:
            os.ftruncate(self._open(), size)
        except OSError as error:
            _raise_full(error, self.name)

    def size(self) -> int:
        return os.fstat(self._open()).st_size

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def abandon(self) -> None:
        """Close in a forked child: the parent's description and its locks stay."""
        with contextlib.suppress(OSError):
            self.close()

    def _open(self) -> int:
        if self._descriptor < 0:
            raise ClosedError(f"{self.name} is closed (or was opened before a fork)")
        return self._descriptor


def _raise_full(error: OSError, name: str) -> NoReturn:
    """Turn "no space left" into FullError, let the rest through."""
    if error.errno in _FULL:
        raise FullError(error.errno, error.strerror, name) from error
    raise error


if hasattr(os, "pread"):
    _pread, _pwrite = os.pread, os.pwrite
else:  # Windows: no positional calls; the archive's lock serialises these

    def _pread(descriptor: int, size: int, offset: int, /) -> bytes:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)

    def _pwrite(descriptor: int, data: Any, offset: int, /) -> int:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


def _no_start(descriptor: int, offset: int, size: int) -> None:
    """Write-back cannot be started early here."""


def _find_start_writing() -> Callable[[int, int, int], None]:
    """Linux: sync_file_range(SYNC_FILE_RANGE_WRITE), which does not wait."""
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError, TypeError):
        return _no_start
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

    def start(descriptor: int, offset: int, size: int) -> None:
        call(descriptor, offset, size, 2)

    return start


_start_writing = _find_start_writing()


class MemoryDevice(Device):
    """Bytes in memory."""

    def __init__(
        self, data: bytes = b"", *, readonly: bool = False, name: str = "<memory>"
    ) -> None:
        self.name = name
        self.is_readonly = readonly
        self.locks = NoLocks()
        self._bytes = bytearray(data)

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self._bytes[offset : offset + size])

    def pwrite(self, data: Buffer, offset: int) -> None:
        self._refuse_readonly()
        if offset > len(self._bytes):
            self._bytes.extend(bytes(offset - len(self._bytes)))
        self._bytes[offset : offset + len(data)] = data

    def sync(self) -> None:
        return None

    def truncate(self, size: int) -> None:
        self._refuse_readonly()
        if size < len(self._bytes):
            del self._bytes[size:]
        else:
            self._bytes.extend(bytes(size - len(self._bytes)))

    def size(self) -> int:
        return len(self._bytes)

    def close(self) -> None:
        return None

    def getvalue(self) -> bytes:
        """A copy of the bytes."""
        return bytes(self._bytes)


class ObjectDevice(Device):
    """A seekable binary file object: locks and durability are the caller's.

    It is writable if the object says so and can truncate; otherwise read-only.  Closing the
    device flushes the object and leaves it open.
    """

    def __init__(self, target: BinaryIO, *, readonly: bool = False) -> None:
        if not target.seekable():
            raise UsageError("the file object must be seekable")
        self.name = str(getattr(target, "name", "<file object>"))
        self.is_readonly = readonly or not target.writable()
        self.locks = NoLocks()
        self._target = target

    def pread(self, size: int, offset: int) -> bytes:
        self._target.seek(offset)
        parts = []
        while size:
            data = self._target.read(size)
            if not data:
                break
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def pwrite(self, data: Buffer, offset: int) -> None:
        self._refuse_readonly()
        view = memoryview(data)
        try:
            self._target.seek(offset)
            while view:
                done = self._target.write(view)
                if not done:
                    raise OSError(errno.EIO, "the file object takes no more bytes", self.name)
                view = view[done:]
        except OSError as error:
            _raise_full(error, self.name)

    def sync(self) -> None:
        self._target.flush()

    def truncate(self, size: int) -> None:
        self._refuse_readonly()
        try:
            self._target.truncate(size)
        except OSError as error:
            _raise_full(error, self.name)
        if self.size() < size:  # io.BytesIO does not grow
            self.pwrite(b"\0", size - 1)

    def size(self) -> int:
        return self._target.seek(0, os.SEEK_END)

    def close(self) -> None:
        if not self.is_readonly and not self._target.closed:
            self._target.flush()


class ReadOnlyDevice(ObjectDevice):
    """Any seekable binary file object, for reading."""

    def __init__(self, target: BinaryIO) -> None:
        super().__init__(target, readonly=True)
