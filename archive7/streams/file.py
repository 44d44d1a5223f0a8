"""VirtualFileObject: a raw binary file object over a stream.

Owns position and mode of one open file.  May assume a stream.  Promises: behaves as
`io.FileIO` does, minus what needs a descriptor.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from operator import index
from typing import TYPE_CHECKING, Final, NoReturn

from ..errors import ClosedError, TransactionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from ..snapshot import Work
    from .stream import BaseStream

_MODES: Final = {mode + plus: (mode, plus) for mode in ("r", "w", "x", "a") for plus in ("", "+")}
_READ_AT_ONCE: Final = 65536  # bytes up to which a buffer is made without asking for the length
_NOTHING: Final = memoryview(b"")


class VirtualFileObject(io.RawIOBase):
    """Raw file object over a stream, to be wrapped by `io.BufferedReader` and the like.

    Args:
        stream: the stream; it is closed with the file object.
        filename: what `name` tells.
        mode: r, w, x or a, with + for both reading and writing; a b is ignored.
        on_flush, on_close, on_error: called when data were handed over, once at the end, and
            when writing failed half-way.

    `w` cuts the stream, `x` refuses one that has data, `a` appends whatever the position is.
    Raises: UsageError for another mode, FileExistsError; the stream is left as it is then.
    Source: seed 001 (VirtualFileObject), CPython's `io.FileIO`.
    """

    # What the finalizer meets where `__init__` raised or was not called.
    name = ""
    _is_made = _has_written = _is_told = _can_read = _can_write = False
    is_wrapped = False  # a buffered object closes this one
    is_ending = False  # it is being closed
    _kind = "r"
    _work: Work | None = None  # what was written last belongs to it
    _on_flush: Callable[[], None] | None = None
    _room = _NOTHING  # what the last `read` filled: the next is often as long

    def __init__(
        self,
        stream: BaseStream,
        filename: str,
        mode: str = "r",
        *,
        on_flush: Callable[[], None] | None = None,
        on_close: Callable[[VirtualFileObject], None] | None = None,
        on_error: Callable[[], None] | None = None,
    ) -> None:
        if not isinstance(mode, str):
            raise TypeError(f"mode must be str, not {type(mode).__name__}")
        found = _MODES.get("".join(sorted(mode.replace("b", ""), key="rwxa+".find)))
        if found is None:
            raise UsageError(f"invalid mode {mode!r}: use r, w, x or a, with + if need be")
        kind, plus = found
        self._stream = stream
        self._container = stream.manager.container
        self._lock = self._container.lock
        self.name = filename
        self._kind = kind
        self._is_readable = kind == "r" or bool(plus)
        self._is_writable = kind != "r" or bool(plus)
        self._position = 0
        self._on_flush, self._on_close, self._on_error = on_flush, on_close, on_error
        if self._is_writable:
            stream.manager.check_writable()
        if kind == "x" and stream.len:
            raise FileExistsError(17, os.strerror(17), filename)
        if kind == "w":
            with self._lock:
                self._change(stream.truncate, 0)
        if kind == "a":
            self._position = stream.len
        self._can_read, self._can_write = self._is_readable, self._is_writable
        if kind != "r":  # making or cutting a file is a change, too
            self._note_written()
        self._is_made = True

    @property
    def stream(self) -> BaseStream:
        """The internal data stream."""
        return self._stream

    @property
    def mode(self) -> str:
        """The mode, as `io.FileIO` tells it."""
        if self._kind in "xa":
            return self._kind + ("b+" if self._is_readable else "b")
        return ("rb+" if self._is_writable else "rb") if self._is_readable else "wb"

    @property
    def closefd(self) -> bool:
        """True: the stream is closed with the object."""
        return True

    # --- what the object can do

    def readable(self) -> bool:
        """Whether the object was opened for reading."""
        self._check_closed()
        return self._is_readable

    def writable(self) -> bool:
        """Whether the object was opened for writing."""
        self._check_closed()
        return self._is_writable

    def seekable(self) -> bool:
        """True."""
        self._check_closed()
        return True

    def isatty(self) -> bool:
        """False."""
        self._check_closed()
        return False

    def fileno(self) -> NoReturn:
        """There is no descriptor: raises io.UnsupportedOperation."""
        self._check_closed()
        raise io.UnsupportedOperation("a file in an archive has no descriptor")

    def _refuse(self, what: str) -> NoReturn:
        """Say why the object cannot be read or written."""
        self._check_closed()
        raise io.UnsupportedOperation(f"File not open for {what}")

    def _check_closed(self) -> None:
        if self.closed:
            raise ClosedError("I/O operation on closed file")
        if self._stream.is_closed:
            raise ClosedError(f"{self.name!r} was closed, deleted or rolled back in the archive")

    # --- reading

    def readinto(self, buffer: Buffer, /) -> int:
        """Read into `buffer`; return the number of bytes, 0 at the end.

        The position moves only after success, so that a retry after an error raises again.
        """
        if not self._can_read:
            self._refuse("reading")
        view = memoryview(buffer)
        if view.format != "B" or view.ndim != 1 or view.readonly or not view.contiguous:
            return self._readinto_odd(view)
        with self._lock:
            size = self._read(view)
            self._position += size
        return size

    def _read(self, room: memoryview) -> int:
        """Read from the position on, alone in the container."""
        container = self._container
        if container.is_busy:
            self._refuse_reentry()
        container.is_busy = True
        try:
            return self._stream.read_into(self._position, room)
        finally:
            container.is_busy = False

    def _refuse_reentry(self) -> NoReturn:
        raise TransactionError(f"{self.name!r} was used by a signal handler inside another call")

    def _readinto_odd(self, view: memoryview) -> int:
        """Read into a buffer that is no plain row of bytes."""
        if view.readonly:
            raise TypeError("readinto() argument must be read-write bytes-like object")
        if not view.c_contiguous:
            raise BufferError("readinto() argument must be C-contiguous")
        data = bytearray(view.nbytes)
        size = self.readinto(data)
        return io.BytesIO(memoryview(data)[:size]).readinto(view)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes (negative or None: all there are)."""
        if size is None or size < 0:
            return self.readall()
        if not self._can_read:
            self._refuse("reading")
        with self._lock:
            room = self._room
            if size != len(room):
                if size > _READ_AT_ONCE:
                    size = max(0, min(size, self._stream.len - self._position))
                room = memoryview(bytearray(size))
                if size <= _READ_AT_ONCE:
                    self._room = room
            got = self._read(room)
            self._position += got
            return bytes(room) if got == size else bytes(room[:got])

    def readall(self) -> bytes:
        """Read everything from the position to the end."""
        if not self._can_read:
            self._refuse("reading")
        with self._lock:
            data = bytearray(max(0, self._stream.len - self._position))
            size = self.readinto(data)
        return bytes(data) if size == len(data) else bytes(data[:size])

    # --- writing

    def write(self, data: Buffer, /) -> int:
        """Write all of `data`; return its size in bytes.

        A gap behind the end is filled with zeros.  The data belong to the next commit.
        """
        if not self._can_write:
            self._refuse("writing")
        view = memoryview(data)
        if view.format != "B" or view.ndim != 1 or not view.contiguous:
            if not view.c_contiguous:
                raise BufferError("the buffer must be C-contiguous")
            view = memoryview(view.tobytes())
        if not view:
            self._check_closed()
            return 0
        with self._lock:
            if self._container.is_busy:
                return self._write_late(view)
            if self._kind == "a":
                self._position = self._stream.len
            size = self._change(self._stream.write, self._position, view)
            self._position += size
        return size

    def _write_late(self, view: memoryview) -> int:
        """Called by a finalizer in the middle of something: leave the data to the next call."""
        position = None if self._kind == "a" else self._position
        data = memoryview(bytes(view))

        def write() -> None:
            if not self._stream.is_closed:
                at = self._stream.len if position is None else position
                self._change(self._stream.write, at, data)

        self._container.late.append(write)
        self._position += len(data)
        return len(data)

    def truncate(self, size: int | None = None, /) -> int:
        """Cut or lengthen to `size` bytes (None: the position); the position stays."""
        if not self._can_write:
            self._refuse("writing")
        with self._lock:
            length = self._position if size is None else index(size)
            if length < 0:
                raise OSError(22, os.strerror(22))
            if self._container.is_busy:
                self._refuse_reentry()
            self._change(self._stream.truncate, length)
        return length

    def _change(self, change: Callable[..., int], *args: object) -> int:
        """Change the stream; what fails half-way is reported before it is raised.

        An interrupted call gets another errno: what was written before is thrown away with it.
        A stream that a rollback has closed was not changed: that is no failure of others.
        """
        self._check_lost()
        container = self._container
        was_busy, container.is_busy = container.is_busy, True
        try:
            done = change(*args)
        except BaseException as error:
            container.is_busy = was_busy
            self._is_told = True
            if self._on_error is not None and not self._stream.is_closed:
                self._on_error()
            if isinstance(error, InterruptedError):  # the buffers of `io` would go on behind it
                raise OSError(errno.EIO, "writing was interrupted", self.name) from error
            raise
        finally:
            container.is_busy = was_busy
        self._note_written()
        return done

    def _note_written(self) -> None:
        """The stream has something that no commit has."""
        self._has_written, self._work = True, self._container.work

    def _check_lost(self) -> None:
        """Raise ClosedError where a failure has thrown away what was written.

        What comes next would stand beside a gap, or in the version before.
        """
        if self._has_written and self._work is not None and self._work.is_lost:
            raise ClosedError(
                f"what was written to {self.name!r} was thrown away with what failed: open it anew"
            )

    # --- the position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position; return it.  It may lie behind the end."""
        if self._stream.is_closed or not (self._can_read or self._can_write):
            self._check_closed()
        if whence == os.SEEK_SET:
            position = index(offset)
        elif whence == os.SEEK_CUR:
            position = self._position + index(offset)
        elif whence == os.SEEK_END:
            position = self._stream.len + index(offset)
        else:
            raise OSError(22, f"{os.strerror(22)}: whence {index(whence)}")
        if not 0 <= position <= sys.maxsize:
            raise OSError(22, os.strerror(22))
        self._position = position
        return position

    def tell(self) -> int:
        """The position in bytes."""
        self._check_closed()
        return self._position

    # --- the end

    def flush(self) -> None:
        """Hand over what was written: the next commit has it, whoever makes it."""
        if self.closed:
            raise ClosedError("I/O operation on closed file")
        if self._is_made:
            self._later_or_now(self._hand_over)

    def _hand_over(self) -> None:
        if self._has_written and self._on_flush is not None:
            if not (self.is_ending and self._is_told):  # else it was raised already
                self._check_lost()
            try:
                self._on_flush()
            except BaseException:
                self._is_told = True
                raise
            self._has_written = False

    def _later_or_now(self, action: Callable[[], None]) -> None:
        """Do something, unless a finalizer asks for it in the middle of something else."""
        with self._lock:
            if self._container.is_busy:
                self._container.late.append(action)
            else:
                action()

    def close(self) -> None:
        """Flush and close the stream; idempotent."""
        if self.closed:
            return
        if not self._is_made:
            super().close()
            return
        if getattr(self, "_finalizing", False):  # set by the finalizer of io
            if self.is_wrapped:  # in a cycle we may come first: the wrapper has data for us
                self.is_wrapped = False
                return
            self._dealloc_warn(self)
        self.is_ending = True
        try:
            super().close()
        finally:
            self._can_read = self._can_write = False
            self._room = _NOTHING
            self._later_or_now(self._give_up)

    def _give_up(self) -> None:
        if self._on_close is not None:
            self._on_close(self)
        else:
            self._stream.close()

    def _dealloc_warn(self, source: object) -> None:
        warnings.warn(f"unclosed file {source!r}", ResourceWarning, stacklevel=2, source=source)

    def __repr__(self) -> str:
        state = "[closed]" if self.closed or not self._is_made else f"mode={self.mode!r}"
        return f"<{type(self).__module__}.{type(self).__qualname__} {self.name!r} {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")
