"""Durability: the ring, syncs, and the slots that they make free.

Owns the ring rule, what is known durable, settling, the reuse rule, and what happens when a sync
fails.  May assume a snapshot that is locked for writing.  Promises: the last durable root and the
base that it names are never overwritten, nor any slot that the durable root or a later one refers
to; after a failed sync nothing is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

from .device import Buffer, Device
from .errors import ReadOnlyError, SyncFailedError
from .layout import RING_PLACES
from .locks import Lock
from .opening import map_of
from .reserve import Reserve
from .root import Root
from .slots import SlotTable
from .snapshot import Snapshot
from .superblock import Superblock

_REST_LIMIT: Final = 65536  # freed slots (256 MiB) that rest for readers


class DurableState(Snapshot):
    """What of the working state is on stable storage, and what may be overwritten.

    Args:
        device, superblock, master: as of `Snapshot`.
        readonly: nothing will be written.

    Attributes:
        slots: which slots are free.
        is_emergency: under way: an operation that gives space back.
        is_failed: writing failed: nothing can be written any more.
    """

    slots: SlotTable
    _reserve: Reserve
    _durable: Root  # the last root known durable
    _place: int  # where it stands
    _root_place: int  # where the present root stands
    _cursor: int  # the place that was written last

    def __init__(
        self, device: Device, superblock: Superblock, master: Buffer, *, readonly: bool
    ) -> None:
        super().__init__(device, superblock, master)
        self._readonly = readonly
        self.is_emergency = False
        self.is_failed = False
        self._base_place: int | None = None
        self._is_settled = True  # the ring holds nothing but marked copies of the root

    @property
    def is_readonly(self) -> bool:
        """Whether this is a snapshot for reading."""
        return self._readonly

    def check_writable(self) -> None:
        """Raise ClosedError, ReadOnlyError or SyncFailedError if nothing can be written."""
        if self._is_closed or self._readonly or self.is_failed:
            self.check_open()
            if self._readonly:
                raise ReadOnlyError(errno.EROFS, os.strerror(errno.EROFS), self.device.name)
            raise SyncFailedError(
                errno.EIO, "writing failed: open the archive anew to go on", self.device.name
            )

    def _say_recovered(self) -> None:
        """From now on readers need not verify."""
        with contextlib.suppress(OSError):  # a filesystem without locks: they verify
            self.device.locks.take(Lock.RECOVERED, shared=False)

    def _fail(self) -> None:
        """Nothing can be written any more: the archive has to be opened anew."""
        self.is_failed = True
        # what readers find may not be whole: they have to verify
        with contextlib.suppress(OSError):  # what is raised is why it failed
            self.device.locks.release(Lock.RECOVERED)

    # --- the ring

    def _free_place(self) -> int:
        """The next place that holds neither the last durable root nor its base."""
        while True:
            self._cursor = (self._cursor + 1) % RING_PLACES
            if self._cursor not in (self._place, self._base_place):
                return self._cursor

    def _settle(self, root: Root, place: int, base_place: int | None) -> None:
        """Leave only marked copies of `root` in the ring."""
        marked = root.marked()
        sealed = self.ring.seal(marked)
        kept = (place, base_place)
        for other in range(RING_PLACES):
            if other not in kept:
                self.ring.write(other, sealed)
        self._sync_device()
        # if writing fails now, what is durable stands elsewhere
        self._durable, self._base_place = marked, None
        self._place = next(other for other in range(RING_PLACES) if other not in kept)
        for last in kept:
            if last is not None:
                self.ring.write(last, sealed)
        self._sync_device()
        self._place, self._is_settled = place, True
        self._cursor = self._root_place = place
        self.slots.durable()

    # --- durability

    def sync(self) -> None:
        """Make the last commit durable.  Durable: everything committed when this returns."""
        self.check_writable()
        if self._durable.hash != self.root.hash:
            self._sync()

    def _sync_device(self) -> None:
        try:
            self.device.sync()
        except BaseException as error:
            self._fail()
            if isinstance(error, OSError):
                raise SyncFailedError(
                    error.errno, "sync failed: reopen the archive to go on", self.device.name
                ) from error
            raise
        self.blocks.counts.syncs += 1

    def _sync(self) -> None:
        """One sync, then the mark; then what older commits freed may be written."""
        self._sync_device()
        names_last = self.root.base_hash == self._durable.hash
        self._base_place = self._place if names_last else None
        self._place = self._root_place
        self._durable = self.root
        self.slots.durable()
        if not self.root.is_marked:
            place = self._free_place()
            self.ring.write(place, self.ring.seal(self.root.marked()))
        self._reclaim()

    def readers_hold(self) -> bool:
        """Whether freed slots rest because a reader may need them."""
        if not self.device.locks.held_by_others(Lock.READERS):
            return False
        unknown = self._unaccounted()  # freed by earlier sessions, perhaps for this reader
        resting = self.slots.pending_count + unknown * self.slots.is_much(unknown)
        return resting <= _REST_LIMIT

    def _look_around(self) -> None:
        """Before the file first gets longer in a session: find what is free already."""
        if self.slots.is_much(self._unaccounted()) and not self.readers_hold():
            self.find_free()

    def _reclaim(self) -> None:
        """Free slots that the durable root does not need, after a sync."""
        if self.readers_hold():
            return
        slots = self.slots
        slots.reuse(self._durable.number)
        if slots.is_much(self._unaccounted()):
            self.find_free()
        if slots.free_count > slots.count // 2:
            slots.rewind()  # so that the end of the file gets free
        self._reserve.keep(self.root.number)

    def _unaccounted(self) -> int:
        """Slots that are free and not known to be."""
        slots = self.slots
        known = self.blocks.map.used + self._reserve.count + slots.free_count + slots.pending_count
        return slots.count - known

    def find_free(self) -> None:
        """Find free slots: all that the last durable root does not refer to."""
        durable = self._durable
        used = map_of(self.blocks, durable).used_slots(durable.slots)
        first, count = self._reserve.extent
        used[first : first + count] = bytes([1]) * count
        self.slots.learn(used)

    def _relieve(self, attempt: int) -> bool:
        """The disc is full: get back what can be got; False if there is no more."""
        self.slots.is_tight = True
        if attempt == 1:
            if self._durable.hash != self.root.hash:
                self._sync()
            if not self.readers_hold():
                self.slots.reuse(self._durable.number)
                self.find_free()
            return True
        if attempt == 2 and self.is_emergency and self._reserve.count:
            self._reserve.open()
            return True
        return False
