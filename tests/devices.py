"""Devices for tests: one that records what reaches the disk, one that fails on demand.

`Disk` keeps apart what is on stable storage and what the page cache shows, as a host does: a kill
loses nothing, a power cut loses what was written since the last sync, page by page, and after a
failed sync a page may look right and be lost.  Locks stand on the disk, as on a real file.
"""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NoReturn

from archive7.device import Buffer, Device
from archive7.errors import ClosedError, FullError, ReadOnlyError
from archive7.locks import Lock

PAGE: Final = 4096
SECTOR: Final = 512
KEPT: Final = 0xFF  # all sectors of a page
LOST: Final = 0
_ZEROS: Final = bytes(PAGE)

Pages = dict[int, bytes]
# (number of the unsynced operation, page, -1 for a truncate) -> which sectors arrive
Fate = Callable[[int, int], int]


class Killed(BaseException):
    """The process that used the device was killed."""


# --- what happens to a disk


@dataclass(frozen=True, slots=True)
class Write:
    """A write as the page cache has it: whole pages, and where the bytes end."""

    pages: tuple[tuple[int, bytes], ...]
    end: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """The file was cut or lengthened."""

    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """What was written is on stable storage."""


@dataclass(frozen=True, slots=True)
class FailedSync:
    """A sync failed: dirty pages are clean now, `lost` of them without being on the disk."""

    lost: frozenset[int]


@dataclass(frozen=True, slots=True)
class Evict:
    """Clean pages left the page cache: the next look at them goes to the disk."""

    pages: frozenset[int]


@dataclass(frozen=True, slots=True)
class PowerCut:
    """The power failed; this is what the disk holds."""

    pages: Pages = field(repr=False)
    size: int


@dataclass(frozen=True, slots=True)
class Grip:
    """A lock was taken (shared or not) or, with None, released."""

    owner: int
    lock: Lock
    shared: bool | None


Operation = Write | Truncate | Sync | FailedSync | Evict | PowerCut | Grip


class Disk:
    """One file on one disk.

    Attributes:
        certain, certain_size: what a power cut cannot take.
        view, size: what a read sees.
        loose: writes and truncates since the last sync.
        stale: pages that a failed sync lost and the page cache still shows.
        grips: lock -> owner -> whether it is shared.
    """

    def __init__(self, pages: Pages | None = None, size: int = 0) -> None:
        self.certain: Pages = {} if pages is None else pages
        self.certain_size = size
        self.view: Pages = dict(self.certain)
        self.size = size
        self.loose: list[Write | Truncate] = []
        self.stale: set[int] = set()
        self.grips: dict[Lock, dict[int, bool]] = {}
        self.owners = 0

    def copy(self, *, locks: bool = False) -> Disk:
        """The same disk, to go another way; without locks all processes have died."""
        other = Disk.__new__(Disk)
        other.certain, other.certain_size = dict(self.certain), self.certain_size
        other.view, other.size = dict(self.view), self.size
        other.loose, other.stale = list(self.loose), set(self.stale)
        other.grips = {lock: dict(held) for lock, held in self.grips.items()} if locks else {}
        other.owners = self.owners
        return other

    def apply(self, operation: Operation) -> None:
        """Let `operation` happen."""
        match operation:
            case Write(pages, end):
                self.view.update(pages)
                self.size = max(self.size, end)
                self.stale.difference_update(page for page, _ in pages)
                self.loose.append(operation)
            case Truncate(size):
                self.size = _resize(self.view, self.size, size)
                self.loose.append(operation)
            case Sync():
                self._store(lambda _number, _page: KEPT)
            case FailedSync(lost):
                dirty = {page for op in self.loose if isinstance(op, Write) for page, _ in op.pages}
                self._store(lambda _number, page: LOST if page in lost else KEPT)
                self.stale |= lost & dirty
            case Evict(pages):
                for page in pages:
                    self.view[page] = self.certain.get(page, _ZEROS)
                self.stale -= pages
            case PowerCut(pages, size):
                self.__init__(dict(pages), size)  # type: ignore[misc]
            case Grip(owner, lock, None):
                self.grips.get(lock, {}).pop(owner, None)
            case Grip(owner, lock, shared):
                self.grips.setdefault(lock, {})[owner] = bool(shared)

    def _store(self, fate: Fate) -> None:
        self.certain_size = _bring(self.loose, fate, self.certain, self.certain_size)
        self.loose = []

    def cut(self, fate: Fate) -> Disk:
        """The disk after a power cut that let arrive what `fate` says."""
        pages = dict(self.certain)
        return Disk(pages, _bring(self.loose, fate, pages, self.certain_size))

    def failed_sync(self, rng: random.Random, loss: float = 0.5) -> FailedSync:
        """A failed sync that loses pages at random."""
        dirty = {page for op in self.loose if isinstance(op, Write) for page, _ in op.pages}
        return FailedSync(frozenset(page for page in sorted(dirty) if rng.random() < loss))

    def read(self, size: int, offset: int) -> bytes:
        """What a read sees."""
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        page, skip = divmod(offset, PAGE)
        if not skip and size == PAGE:
            return self.view.get(page, _ZEROS)
        get = self.view.get
        last = (offset + size - 1) // PAGE
        data = b"".join([get(number, _ZEROS) for number in range(page, last + 1)])
        return data[skip : skip + size]

    def write(self, data: Buffer, offset: int) -> Write:
        """The operation that a write of `data` at `offset` is."""
        end = offset + len(data)
        first, head = divmod(offset, PAGE)
        tail = -end % PAGE
        if head or tail:
            before = self._page(first)[:head]
            after = self._page((end - 1) // PAGE)[PAGE - tail :] if tail else b""
            data = b"".join((before, data, after))
        plain = bytes(data)
        parts = [plain[at : at + PAGE] for at in range(0, len(plain), PAGE)]
        return Write(tuple(enumerate(parts, first)), end)

    def _page(self, number: int) -> bytes:
        data = self.view.get(number, _ZEROS)
        return data[: max(0, self.size - number * PAGE)].ljust(PAGE, b"\0")


def _resize(pages: Pages, old: int, size: int) -> int:
    """Cut `pages` to `size` bytes."""
    if size < old:
        last, rest = divmod(size, PAGE)
        for page in [page for page in pages if page >= last + bool(rest)]:
            del pages[page]
        if rest and last in pages:
            pages[last] = pages[last][:rest].ljust(PAGE, b"\0")
    return size


def _bring(loose: Iterable[Write | Truncate], fate: Fate, pages: Pages, size: int) -> int:
    """Let arrive in `pages` what `fate` says of `loose`; return the new size."""
    for number, operation in enumerate(loose):
        if isinstance(operation, Truncate):
            if fate(number, -1):
                size = _resize(pages, size, operation.size)
            continue
        for page, data in operation.pages:
            sectors = fate(number, page)
            if sectors == LOST:
                continue
            if sectors != KEPT:
                data = _torn(pages.get(page, _ZEROS), data, sectors)
            pages[page] = data
            size = max(size, min((page + 1) * PAGE, operation.end))
    return size


def _torn(old: bytes, new: bytes, sectors: int) -> bytes:
    """A page of which only some sectors are new."""
    return b"".join(
        (new if sectors >> i & 1 else old)[i * SECTOR : (i + 1) * SECTOR]
        for i in range(PAGE // SECTOR)
    )


# --- devices


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
        acknowledged: list[tuple[int, object]] | None = None,
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

    def acknowledge(self, note: object) -> None:
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
    SHORT = "input/output error after a part was written"
    LATE = "input/output error though everything was written"
    INTERRUPT = "KeyboardInterrupt"
    MEMORY = "MemoryError"


class FaultingDevice(Device):
    """Another device, some calls of which fail.

    Attributes:
        counts: calls so far by kind (pread, pwrite, sync, truncate, size).
        fired: how many calls have failed.
    """

    def __init__(self, inner: Device, rng: random.Random | None = None) -> None:
        self.inner = inner
        self.name = inner.name
        self.is_readonly = inner.is_readonly
        self.locks = inner.locks
        self.counts: Counter[str] = Counter()
        self.fired = 0
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
        wanted, at, fault, persistent, where = self._plan
        if wanted != kind or not where(offset):
            return None
        if at > 1:
            self._plan = wanted, at - 1, fault, persistent, where
            return None
        self._plan = self._plan if persistent else None
        self.fired += 1
        return fault

    def _fail(self, fault: Fault) -> NoReturn:
        match fault:
            case Fault.INTERRUPT:
                raise KeyboardInterrupt
            case Fault.MEMORY:
                raise MemoryError
            case Fault.FULL:
                raise FullError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
            case _:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self.name)

    def pread(self, size: int, offset: int) -> bytes:
        fault = self._is_due("pread", offset)
        if fault:
            self._fail(fault)
        return self.inner.pread(size, offset)

    def pwrite(self, data: Buffer, offset: int) -> None:
        fault = self._is_due("pwrite", offset)
        if fault is Fault.LATE:
            self.inner.pwrite(data, offset)
        if fault is Fault.SHORT:
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
        elif fault and isinstance(self.inner, RecordingDevice):
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
        fault = self._is_due("size", 0)
        if fault:
            self._fail(fault)
        return self.inner.size()

    def close(self) -> None:
        self.inner.close()
