"""Byte-range locks on the container file itself, per platform.

Owns the difference between Linux (open-file-description locks), other Unix (flock, writer only)
and Windows (LockFileEx).  Promises: a lock belongs to one open file description, so a second open
in the same process is refused as one in another process, and closing any other descriptor of the
file never releases it.
"""

from __future__ import annotations

import enum
import errno
import sys
from typing import Protocol

_BASE = 2**62


class Lock(enum.IntEnum):
    """What a lock says; the value is added to 2^62 for its byte."""

    WRITER = 0
    READERS = 1
    RECOVERED = 2


class Locks(Protocol):
    """Locks of one descriptor."""

    can_query: bool

    def take(self, lock: Lock, *, shared: bool) -> bool:
        """Take `lock` without waiting; False if somebody else holds it."""

    def release(self, lock: Lock) -> None:
        """Give `lock` back."""

    def held_by_others(self, lock: Lock) -> bool | None:
        """Whether somebody else holds `lock`; None where that cannot be asked."""


class NoLocks:
    """For media without locks (memory, file objects): the caller sees to it."""

    can_query = False

    def take(self, lock: Lock, *, shared: bool) -> bool:
        return True

    def release(self, lock: Lock) -> None:
        return None

    def held_by_others(self, lock: Lock) -> bool | None:
        return None


_BUSY = (errno.EACCES, errno.EAGAIN)

if sys.platform == "linux":
    import fcntl

    from .layout import _FLOCK

    class FileLocks:
        """Open-file-description locks (Linux 3.15)."""

        can_query = True

        def __init__(self, descriptor: int) -> None:
            self._descriptor = descriptor

        def _call(self, command: int, kind: int, lock: Lock) -> int:
            request = _FLOCK.pack(kind, 0, _BASE + lock, 1, 0)
            answer = fcntl.fcntl(self._descriptor, command, request)
            return int(_FLOCK.unpack(answer)[0])

        def take(self, lock: Lock, *, shared: bool) -> bool:
            try:
                self._call(fcntl.F_OFD_SETLK, fcntl.F_RDLCK if shared else fcntl.F_WRLCK, lock)
            except OSError as error:
                if error.errno in _BUSY:
                    return False
                raise
            return True

        def release(self, lock: Lock) -> None:
            self._call(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, lock)

        def held_by_others(self, lock: Lock) -> bool | None:
            try:
                return self._call(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, lock) != fcntl.F_UNLCK
            except OSError:  # a filesystem without locks
                return None

elif sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    class _Overlapped(ctypes.Structure):
        _fields_ = (
            ("internal", ctypes.c_void_p),
            ("internal_high", ctypes.c_void_p),
            ("offset", wintypes.DWORD),
            ("offset_high", wintypes.DWORD),
            ("event", wintypes.HANDLE),
        )

    _FAIL_IMMEDIATELY, _EXCLUSIVE, _LOCK_VIOLATION = 1, 2, 33

    class FileLocks:
        """LockFileEx on single bytes beyond any file end."""

        can_query = False

        def __init__(self, descriptor: int) -> None:
            self._handle = msvcrt.get_osfhandle(descriptor)
            self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)

        def take(self, lock: Lock, *, shared: bool) -> bool:
            at = _Overlapped(offset=lock, offset_high=_BASE >> 32)
            flags = _FAIL_IMMEDIATELY | (0 if shared else _EXCLUSIVE)
            if self._kernel.LockFileEx(self._handle, flags, 0, 1, 0, ctypes.byref(at)):
                return True
            code = ctypes.get_last_error()
            if code == _LOCK_VIOLATION:
                return False
            raise ctypes.WinError(code)

        def release(self, lock: Lock) -> None:
            at = _Overlapped(offset=lock, offset_high=_BASE >> 32)
            self._kernel.UnlockFileEx(self._handle, 0, 1, 0, ctypes.byref(at))

        def held_by_others(self, lock: Lock) -> bool | None:
            if lock is not Lock.READERS:
                return None
            if not self.take(lock, shared=False):
                return True
            self.release(lock)
            return False

else:
    import fcntl

    class FileLocks:
        """flock for the writer; readers cannot be told apart and always verify."""

        can_query = False

        def __init__(self, descriptor: int) -> None:
            self._descriptor = descriptor

        def take(self, lock: Lock, *, shared: bool) -> bool:
            if lock is not Lock.WRITER:
                return True
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _BUSY:
                    return False
                raise
            return True

        def release(self, lock: Lock) -> None:
            if lock is Lock.WRITER:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

        def held_by_others(self, lock: Lock) -> bool | None:
            return None
