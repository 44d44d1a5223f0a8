"""File objects as builtin `open` gives them, over raw ones.

Owns the modes of `Archive.open`, the choice of buffers, and that `flush` on a buffered object
reaches the raw one (the buffers of `io` keep that to themselves).
"""

from __future__ import annotations

import io
from typing import IO, Any, Final, NamedTuple

from .errors import ClosedError
from .streams import VirtualFileObject

_READ_BUFFER: Final = 4096  # a random read of 4 KiB is one raw read
_WRITE_BUFFER: Final = 65536


class Mode(NamedTuple):
    """A mode of `open`, taken apart."""

    kind: str
    is_updating: bool
    is_text: bool

    @property
    def raw(self) -> str:
        """The mode of the raw object."""
        return self.kind + ("+" if self.is_updating else "")

    @property
    def is_writing(self) -> bool:
        """Whether the file is opened for writing."""
        return self.kind != "r" or self.is_updating

    @property
    def is_exclusive(self) -> bool:
        """Whether the file must not exist."""
        return self.kind == "x"

    @property
    def creates(self) -> bool:
        """Whether a missing file is made."""
        return self.kind != "r"


def parse_mode(
    mode: str, buffering: int, encoding: str | None, errors: str | None, newline: str | None
) -> Mode:
    """Check the arguments of `open`.  Raises: TypeError, ValueError as builtin `open` does."""
    if not isinstance(mode, str):
        raise TypeError(f"open() argument 'mode' must be str, not {type(mode).__name__}")
    letters = set(mode)
    if letters - set("rwxabt+") or len(mode) > len(letters):
        raise ValueError(f"invalid mode: {mode!r}")
    kinds = letters & set("rwxa")
    is_text = "b" not in letters
    if "t" in letters and not is_text:
        raise ValueError("can't have text and binary mode at once")
    if len(kinds) != 1:
        raise ValueError(
            "must have exactly one of create/read/write/append mode and at most one plus"
        )
    if not is_text:
        for value, name in ((encoding, "an encoding"), (errors, "an errors"), (newline, "a new")):
            if value is not None:
                what = "a newline" if name == "a new" else name
                raise ValueError(f"binary mode doesn't take {what} argument")
    if is_text and buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    return Mode(kinds.pop(), "+" in letters, is_text)


def _hand_over(file: io.BufferedWriter | io.BufferedRandom) -> None:
    """Flush the raw file, unless another thread, which flushed it too, closed it meanwhile."""
    try:
        file.raw.flush()
    except ClosedError:
        if not file.closed:
            raise


def _end(file: _Writer | _Random) -> None:
    """Tell the raw file that it is being closed; the flush comes before that."""
    if not file.closed and isinstance(file.raw, VirtualFileObject):
        file.raw.is_ending = True


def _waits(file: _Writer | _Random) -> bool:
    """Whether a finalizer came to a buffer before it came to the text object over it."""
    waits = file.is_wrapped and getattr(file, "_finalizing", False)
    if waits:
        file.is_wrapped = False
    return waits


class _Writer(io.BufferedWriter):
    """A buffered writer whose `flush` hands the data over to the next commit."""

    is_wrapped = False  # a text object closes this one

    def close(self) -> None:
        if not _waits(self):
            _end(self)
            super().close()

    def flush(self) -> None:
        super().flush()
        _hand_over(self)


class _Random(io.BufferedRandom):
    """A buffered random-access file whose `flush` hands the data over to the next commit."""

    is_wrapped = False  # a text object closes this one

    def close(self) -> None:
        if not _waits(self):
            _end(self)
            super().close()

    def flush(self) -> None:
        super().flush()
        _hand_over(self)


def buffered(
    raw: VirtualFileObject,
    mode: Mode,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> IO[Any]:
    """Wrap a raw file object as builtin `open` does."""
    if buffering == 0:
        return raw  # type: ignore[return-value]
    raw.is_wrapped = True
    is_line = buffering == 1 and mode.is_text
    size = buffering if buffering > 1 else 0
    buffer: io.BufferedReader | io.BufferedWriter | io.BufferedRandom
    if mode.is_updating:
        buffer = _Random(raw, size or _READ_BUFFER)
    elif mode.kind == "r":
        buffer = io.BufferedReader(raw, size or _READ_BUFFER)
    else:
        buffer = _Writer(raw, size or _WRITE_BUFFER)
    if not mode.is_text:
        return buffer
    if isinstance(buffer, _Writer | _Random):
        buffer.is_wrapped = True
    text = io.TextIOWrapper(
        buffer, encoding or "utf-8", errors, "\n" if newline is None else newline, is_line
    )
    text.mode = mode.raw  # type: ignore[misc]
    return text
