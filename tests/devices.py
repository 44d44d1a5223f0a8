"""Devices for tests: one that records what reaches the disk, one that fails on demand.

A `RecordingDevice` stands on a `Disk`, which several may share, as processes share a file; its
locks stand on that disk.  A `FaultingDevice` stands before any other device.
"""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any, NoReturn

from archive7.device import Buffer, Device
from archive7.errors import ClosedError, FullError, ReadOnlyError
from archive7.locks import Lock
from tests.disk import SECTOR, Disk, Grip, Operation, Sync, Truncate


class Killed(BaseException):
    """The process that used the device was killed."""


class DiskLocks:
    """Locks that stand on a disk, as open-file-description locks do."""

    can_query = True

    def __init__(self, device: RecordingDevice) -> None:
        self._device = device

    def take(self, lock: Lock, *, shared: bool) -> bool:
        owner = self._device.owner
        for other, is_shared in self._device.disk.grips.get(lock, {}).items():
            if other != owner and not (shared and is_shared):
                return False
        self._device.record(Grip(owner, lock, shared))
        return True

    def release(self, lock: Lock) -> None:
        if self._device.owner in self._device.disk.grips.get(lock, {}):
            self._device.record(Grip(self._device.owner, lock, None))

    def held_by_others(self, lock: Lock) -> bool | None:
        owner = self._device.owner
        return any(other != owner for other in self._device.disk.grips.get(lock, {}))


class RecordingDevice(Device):
    """A device on a `Disk`, shared with other devices, that logs every change.

    Args:
        disk: what is read and written.
        log: gets every operation.
        acknowledged: gets (operations logged so far, note) at every call of `acknowledge`.

    Attributes:
        kill_at: the process dies when the log is that long.
        capacity: bytes that the disk has room for, or None.
    """

    def __init__(
        self,
        disk: Disk,
        log: list[Operation] | None = None,
        *,
        readonly: bool = False,
        name: str = "<recording>",
        acknowledged: list[tuple[int, Any]] | None = None,
    ) -> None:
        self.name = name
        self.is_readonly = readonly
        self.disk = disk
        self.log: list[Operation] = [] if log is None else log
        self.acknowledged = [] if acknowledged is None else acknowledged
        self.kill_at: int | None = None
        self.capacity: int | None = None
        disk.owners += 1
        self.owner = disk.owners
        self.locks = DiskLocks(self)
        self._is_dead = self._is_closed = False

    def record(self, operation: Operation) -> None:
        """Log `operation` and let it happen."""
        self._check()
        if self.kill_at is not None and len(self.log) >= self.kill_at:
            self.kill()
            raise Killed
        self.disk.apply(operation)
        self.log.append(operation)

    @property
    def is_dead(self) -> bool:
        """Whether the process was killed."""
        return self._is_dead

    def acknowledge(self, note: Any) -> None:
        """Note that something was promised at this point of the log."""
        self.acknowledged.append((len(self.log), note))

    def kill(self) -> None:
        """The process dies: its locks go, what it wrote stays in the page cache."""
        if not self._is_dead:
            self._drop_locks()
            self._is_dead = True

    def _drop_locks(self) -> None:
        for lock, held in self.disk.grips.items():
            if self.owner in held:
                operation = Grip(self.owner, lock, None)
                self.disk.apply(operation)
                self.log.append(operation)

    def _check(self) -> None:
        if self._is_dead:
            raise Killed
        if self._is_closed:
            raise ClosedError(f"{self.name} is closed")

    def pread(self, size: int, offset: int) -> bytes:
        self._check()
        return self.disk.read(size, offset)

    def pwrite(self, data: Buffer, offset: int) -> None:
        if self.is_readonly:
            raise ReadOnlyError(errno.EROFS, os.strerror(errno.EROFS), self.name)
        if self.capacity is not None and offset + len(data) > max(self.capacity, self.disk.size):
            raise FullError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
        self.record(self.disk.write(data, offset))

    def sync(self) -> None:
        self.record(Sync())

    def fail_sync(self, rng: random.Random) -> NoReturn:
        """Fail as a sync does: some dirty pages are lost and look clean."""
        self.record(self.disk.failed_sync(rng))
        raise OSError(errno.EIO, os.strerror(errno.EIO), self.name)

    def truncate(self, size: int) -> None:
        self.record(Truncate(size))

    def size(self) -> int:
        self._check()
        return self.disk.size

    def close(self) -> None:
        if not self._is_closed and not self._is_dead:
            self._drop_locks()
        self._is_closed = True

    def getvalue(self) -> bytes:
        """A copy of the bytes that a read sees."""
        return self.disk.read(self.disk.size, 0)


class Fault(Enum):
    """How a call fails."""

    EIO = "input/output error, nothing done"
    FULL = "no space left, nothing done"
    EINTR = "interrupted system call, nothing done"
    CROWDED = "no space left after a part was written"
    SHORT = "input/output error after a part was written"
    LATE = "input/output error though everything was written"
    INTERRUPT = "KeyboardInterrupt"
    MEMORY = "MemoryError"


class FaultingLocks:
    """The locks of another device, some calls of which fail."""

    def __init__(self, device: FaultingDevice) -> None:
        self._device, self._inner = device, device.inner.locks
        self.can_query = self._inner.can_query

    def take(self, lock: Lock, *, shared: bool) -> bool:
        self._device.meet("take", lock)
        return self._inner.take(lock, shared=shared)

    def release(self, lock: Lock) -> None:
        self._device.meet("release", lock)
        self._inner.release(lock)

    def held_by_others(self, lock: Lock) -> bool | None:
        self._device.meet("held", lock)
        return self._inner.held_by_others(lock)


_ENDLESS = 200_000  # calls after which something is tried over and over


class FaultingDevice(Device):
    """Another device, some calls of which fail.

    Attributes:
        counts: calls so far by kind (pread, pwrite, sync, truncate, size; of locks take, release,
            held).  A pread_into is a pread.
        fired: how many calls have failed.
        fired_at: kind and offset (or lock) of each.
    """

    def __init__(self, inner: Device, rng: random.Random | None = None) -> None:
        self.inner = inner
        self.name = inner.name
        self.is_readonly = inner.is_readonly
        self.locks = FaultingLocks(self)
        self.counts: Counter[str] = Counter()
        self.fired = 0
        self.fired_at: list[tuple[str, int]] = []
        self._rng = rng or random.Random(0)
        self._plan: tuple[str, int, Fault, bool, Callable[[int], bool]] | None = None

    def arm(
        self,
        kind: str,
        at: int,
        fault: Fault,
        *,
        persistent: bool = False,
        where: Callable[[int], bool] = lambda offset: True,
    ) -> None:
        """Let the `at`-th call (1, 2, 3 ...) of `kind` from now on fail.

        Args:
            persistent: and every call of that kind after it.
            where: only calls at an offset that it accepts count.
        """
        self._plan = kind, at, fault, persistent, where

    def disarm(self) -> None:
        """Let everything succeed from now on."""
        self._plan = None

    def _is_due(self, kind: str, offset: int) -> Fault | None:
        self.counts[kind] += 1
        if self._plan is None:
            return None
        assert self.counts.total() < _ENDLESS, "tried over and over"
        wanted, at, fault, persistent, where = self._plan
        if wanted != kind or not where(offset):
            return None
        if at > 1:
            self._plan = wanted, at - 1, fault, persistent, where
            return None
        self._plan = self._plan if persistent else None
        self.fired += 1
        self.fired_at.append((kind, offset))
        return fault

    def meet(self, kind: str, offset: int) -> None:
        """Raise if a call of `kind` has to fail now."""
        fault = self._is_due(kind, offset)
        if fault:
            self._fail(fault)

    def _fail(self, fault: Fault) -> NoReturn:
        match fault:
            case Fault.INTERRUPT:
                raise KeyboardInterrupt
            case Fault.MEMORY:
                raise MemoryError
            case Fault.EINTR:
                raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR), self.name)
            case Fault.FULL | Fault.CROWDED:
                raise FullError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
            case _:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self.name)

    def pread(self, size: int, offset: int) -> bytes:
        self.meet("pread", offset)
        return self.inner.pread(size, offset)

    def pread_into(self, room: memoryview, offset: int) -> int:
        self.meet("pread", offset)
        return self.inner.pread_into(room, offset)

    def pwrite(self, data: Buffer, offset: int) -> None:
        fault = self._is_due("pwrite", offset)
        if fault is Fault.LATE:
            self.inner.pwrite(data, offset)
        if fault in (Fault.SHORT, Fault.CROWDED):
            part = self._rng.randrange(0, len(data), SECTOR)
            if part:
                self.inner.pwrite(bytes(data)[:part], offset)
        if fault:
            self._fail(fault)
        self.inner.pwrite(data, offset)

    def sync(self) -> None:
        fault = self._is_due("sync", 0)
        if fault is Fault.LATE:
            self.inner.sync()
        elif fault in (Fault.EIO, Fault.SHORT) and isinstance(self.inner, RecordingDevice):
            self.inner.fail_sync(self._rng)
        if fault:
            self._fail(fault)
        self.inner.sync()

    def truncate(self, size: int) -> None:
        fault = self._is_due("truncate", size)
        if fault is Fault.LATE:
            self.inner.truncate(size)
        if fault:
            self._fail(fault)
        self.inner.truncate(size)

    def size(self) -> int:
        self.meet("size", 0)
        return self.inner.size()

    def close(self) -> None:
        self.inner.close()
