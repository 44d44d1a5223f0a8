"""A disk for tests, which keeps apart what is on stable storage and what the page cache shows.

As a host does: a kill loses nothing, a power cut loses what was written since the last sync, page
by page and sector by sector, and after a failed sync a page may look right and be lost.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from archive7.device import Buffer
from archive7.locks import Lock

PAGE: Final = 4096
SECTOR: Final = 512
KEPT: Final = 0xFF  # all sectors of a page
LOST: Final = 0
_ZEROS: Final = bytes(PAGE)

Pages = dict[int, bytes]
# (number of the unsynced operation, page, -1 for a truncate) -> which sectors arrive
Fate = Callable[[int, int], int]


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
                dirty = self.dirty()
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

    def image(self) -> tuple[int, ...]:
        """Numbers that two disks share, by all chance, only if nothing tells them apart.

        What a read sees, what a power cut leaves if it takes all, and the locks.
        """
        view = sum(map(hash, self.view.items()), self.size)
        certain = sum(map(hash, self.certain.items()), self.certain_size) if self.loose else 0
        held = [(lock, owner) for lock, owners in self.grips.items() for owner in owners]
        return view, certain, hash(tuple(held))

    def failed_sync(self, rng: random.Random, loss: float = 0.5) -> FailedSync:
        """A failed sync that loses pages at random."""
        lost = (page for page in sorted(self.dirty()) if rng.random() < loss)
        return FailedSync(frozenset(lost))

    def dirty(self) -> set[int]:
        """Pages written since the last sync."""
        return {page for op in self.loose if isinstance(op, Write) for page, _ in op.pages}

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
