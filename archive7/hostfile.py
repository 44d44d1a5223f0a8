"""Host files: reading one while others may write to it.

Owns the calls that open and read files of the host.  Promises: what was read is what the file
held at one moment, or it is told that it changed (only a change through a memory map may show
late); nothing is read through a link; what the host refuses is a SkipError, which cannot be
taken for an error of the archive.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from .hostfolder import NO_FOLLOW, Descent
from .layout import DATA_SIZE, MAX_RUN
from .transfer import SkipError, reason_of

CHUNK: Final = MAX_RUN * DATA_SIZE  # bytes, about 1 MB: whole blocks
_READ: Final = (
    os.O_RDONLY
    | NO_FOLLOW
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # should a pipe have taken the file's place
    | getattr(os, "O_NOCTTY", 0)
)
_TICK_NS: Final = 20_000_000  # two changes within one tick of the host's clock have the same time
_CHANGED: Final = "it changed while it was read: add it again once it stands still"
_IS_POSIX: Final = os.name == "posix"


@contextmanager
def reading() -> Iterator[None]:
    """Make a SkipError of what the host raises."""
    try:
        yield
    except OSError as error:
        raise SkipError(reason_of(error)) from None


def settled(descent: Descent, name: str, status: os.stat_result) -> os.stat_result:
    """The status of a file once its clock has gone on, so that a later change shows.

    Cost: waits up to 20 ms for a file that was changed just now.
    """
    age = time.time_ns() - status.st_ctime_ns
    if not 0 <= age < _TICK_NS:
        return status
    time.sleep((_TICK_NS - age) / 1e9)
    with reading():
        now = os.stat(descent.prefix + name, follow_symlinks=False, **descent.where)
    if _moment(now) != _moment(status):
        raise SkipError(_CHANGED)
    return now


class HostFile:
    """A file of the host that is open for reading.

    Args:
        descent: stands in its folder.
        status: as it was when it was met.

    Raises: SkipError, as its methods do.
    """

    def __init__(self, descent: Descent, name: str, status: os.stat_result) -> None:
        try:
            self.descriptor = os.open(descent.prefix + name, _READ, **descent.where)
        except OSError as error:
            raise SkipError(reason_of(error)) from None
        self._status = status
        self._taken = 0  # bytes read

    def __enter__(self) -> HostFile:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # nothing was written to it
            os.close(self.descriptor)

    def read(self) -> bytes:
        """All of a small file, or a byte more if it has grown."""
        size = self._status.st_size
        try:
            data = os.read(self.descriptor, size + 1)
            while len(data) < size and (more := os.read(self.descriptor, size - len(data))):
                data += more
        except OSError as error:
            raise SkipError(reason_of(error)) from None
        self._taken = len(data)
        return data

    def pieces(self) -> Iterator[memoryview]:
        """All of a large file, in pieces that are overwritten by the next one."""
        room = memoryview(bytearray(CHUNK))
        with open(self.descriptor, "rb", buffering=0, closefd=False) as file:
            while self._taken <= self._status.st_size and (filled := _fill(file, room)):
                self._taken += filled
                yield room[:filled]

    def check(self) -> None:
        """Raise SkipError if what was read is not the file as it was met."""
        before, now = self._status, os.fstat(self.descriptor)
        if self._taken == now.st_size == before.st_size and _moment(now) == _moment(before):
            return
        if _IS_POSIX and not now.st_nlink:
            raise SkipError("it was deleted while it was read")
        raise SkipError(_CHANGED)


def _fill(file: io.FileIO, room: memoryview) -> int:
    """Read until `room` is full or the file ends; return how many bytes."""
    filled = 0
    with reading():
        while filled < len(room) and (size := file.readinto(room[filled:])):
            filled += size
    return filled


def _moment(status: os.stat_result) -> tuple[int, ...]:
    """What no change to a file leaves as it was; of another file it is not the same either."""
    if not _IS_POSIX:
        return (status.st_mtime_ns,)
    return status.st_mode, status.st_ino, status.st_dev, status.st_mtime_ns, status.st_ctime_ns
