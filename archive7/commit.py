"""Commit: the switch from one root to the next, and the container that it makes.

Owns the working state (map, blocks, slots, positions, records of the special streams), the order
of a commit and of a change of the superblock.  May assume verified roots and blocks, and the
rules of `durability`.  Promises: state N or N+1, never between; what `commit(durable=True)` or
`sync` acknowledged is there after a power cut.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from .device import Buffer, Device
from .durability import DurableState
from .epochs import PairedCipher
from .errors import Archive7Error, SyncFailedError
from .layout import (
    ARCHIVE_HEADER,
    BLOCK_SIZE,
    FLAG_BLANKING,
    FLAG_TRASH,
    KIND_SHIFT,
    RESERVE_COUNT,
    RING_PLACES,
)
from .locks import Lock
from .reserve import Reserve
from .root import Ring, Root, first_root, slot_offset
from .savepoint import Savepoint
from .slots import SlotTable
from .snapshot import Work, ciphers_of
from .superblock import Superblock, encode, write_copies
from .tail import lower_tail

_FRESH_LEAST, _FRESH_MOST = 1024, 16384  # slots (4 and 64 MiB) between two syncs
_CUT_LEAST: Final = 1024  # free slots (4 MiB) at the end worth cutting in passing


class Container(DurableState):
    """Sealed blocks on a device under one root: the working state and its commits.

    Args:
        device: locked for writing by the caller unless `readonly`.
        superblock, master: as `keyslots` opened or made them.
        readonly: take a snapshot for reading.
        create: write the first root; `header` is its archive header.
        confirmed: called with the root that was taken once it has confirmed the superblock,
            before anything is written.

    Raises: CorruptError, RollbackError; OSError of the device, never taken for damage.
    """

    def __init__(
        self,
        device: Device,
        superblock: Superblock,
        master: Buffer,
        *,
        readonly: bool = False,
        create: bool = False,
        header: bytes = bytes(ARCHIVE_HEADER.size),
        confirmed: Callable[[Root], None] | None = None,
    ) -> None:
        super().__init__(device, superblock, master, readonly=readonly)
        # told before the first commit of a session, so that it can add something
        self.on_session: Callable[[], None] | None = None
        self.has_trash = False  # the trash stream was written for the commit that comes
        self._cut_least = _CUT_LEAST
        # A ring that looks settled may not be on the disk: the first commit writes it again.
        self._doubtful = b""
        try:
            if create:
                self._begin_new(header)
            elif readonly:
                self._begin_reading()
                if confirmed is not None:
                    confirmed(self.root)
            else:
                self._begin_writing(confirmed)
        except BaseException:
            self.forget_master()
            raise

    # --- opening

    def _begin_new(self, header: bytes) -> None:
        self._session = os.urandom(16)
        root = first_root(self._session, self.superblock.sequence, header)
        self.device.pwrite(os.urandom(RESERVE_COUNT * BLOCK_SIZE), slot_offset(1))
        self._attach_writer(root)
        self._start_numbers(0)
        self.ring.write(0, self.ring.seal(root))
        self._sync_device()
        self._settle(root, 0, None)
        self._say_recovered()

    def _begin_writing(self, confirmed: Callable[[Root], None] | None) -> None:
        raw = self.ring.raw()
        roots = self.ring.read(raw)
        choice = self._choose(roots)
        highest = max(root.number for root in roots.values())
        self._check_superblock(choice.root, roots)
        if confirmed is not None:  # settling may overwrite the roots of the epoch before
            confirmed(choice.root)
        self._session = os.urandom(16)
        self._attach_writer(choice.root)
        self._start_numbers(highest)
        settled = len(roots) == RING_PLACES and all(
            root.is_marked and root.hash == choice.root.hash for root in roots.values()
        )
        if settled:
            self._durable, self._place = choice.root, 0
            self._cursor = self._root_place = 0
            self._doubtful = raw
        else:
            # with the last slot, used or not: a failed sync may have left the file shorter
            last = [choice.root.slots] if choice.root.slots else []
            for _ in self.blocks.copy_slots([*choice.slots, *last]):
                pass
            for place in (choice.place, choice.base_place):
                if place is not None:
                    at = place * BLOCK_SIZE
                    self.ring.write(place, raw[at : at + BLOCK_SIZE])
            self._sync_device()
            self._settle(choice.root, choice.place, choice.base_place)
        self._cut_excess()
        self.slots.look_around = self._look_around
        self._say_recovered()

    def _attach_writer(self, root: Root) -> None:
        self.slots = SlotTable(root.slots)
        self._attach(root, self.slots)
        self._reserve = Reserve(self.slots, self.device, root.reserve)
        self.blocks.relieve = self._relieve

    def _start_numbers(self, highest: int) -> None:
        self._next = highest + 1
        self.blocks.commit_number = self._next
        self._sealed_before = self.root.sealed

    # --- transactions

    @property
    def next_number(self) -> int:
        """The number that the next commit gets."""
        return self._next

    @property
    def is_changed(self) -> bool:
        """Whether there is something to commit."""
        return bool(
            self.blocks.dirty
            or self.blocks.map.is_changed
            or tuple(self.streams) != self.root.streams
            or self.header != self.root.header
            or (self.has_trash and not self.root.flags & FLAG_TRASH)
            or self.is_blanking != bool(self.root.flags & FLAG_BLANKING)
        )

    def savepoint(self) -> Savepoint:
        """Write all changes into fresh slots and note the state."""
        self.check_writable()
        self.blocks.seal()
        chart = self.blocks.map
        chart.write()
        self.slots.savepoints += 1
        return Savepoint(
            chart.height, chart.top, dict(chart.changes), chart.used, self.slots.mark(),
            self.positions.mark(), tuple(self.streams), self.header,
        )  # fmt: skip

    def release(self, savepoint: Savepoint) -> None:
        """`savepoint` is not needed any more."""
        self.slots.savepoints -= 1

    def rollback(self, savepoint: Savepoint | None = None) -> None:
        """Go back to `savepoint` (which is released), or to the last commit."""
        self.check_open()
        self.generation += 1
        self.has_trash = False
        # what streams had taken ahead before this transaction, and used up in it, is on no list
        self.positions.is_complete = False
        self._next += 1  # blocks that were sealed for nothing share it with no commit
        self.blocks.commit_number = self._next
        if savepoint is None:
            self._reset(self.root)  # first: what is read is right, whatever fails after it
            self.slots.savepoints = 0
            self.slots.undo()
            self.positions.undo((0, self.root.positions))
            self._reserve.restore(self.root.reserve)
            return
        self.slots.savepoints -= 1
        self.slots.undo(savepoint.slots)
        self.positions.undo(savepoint.positions)
        self.blocks.forget()
        self.blocks.map.reset(
            savepoint.height, savepoint.top, dict(savepoint.changes), savepoint.used
        )
        self.blocks.map.is_changed = True
        self.streams = list(savepoint.streams)
        self.header = savepoint.header

    def commit(self, *, durable: bool = False, fold: bool = False) -> int:
        """Make the working state the committed one; return its number.

        Durable: with `durable=True`, or when enough was written since the last sync.
        Cost: the changed blocks, folded nodes when more than 180 entries changed, one root; two
        writes.  Raises: FullError (rolled back by the caller), SyncFailedError.
        """
        self.check_writable()
        if not self.is_changed and not (fold and not self.blocks.map.is_folded):
            if durable and self._durable.hash != self.root.hash:
                self._sync()
            return self.root.number
        if self.on_session is not None and self.root.session != self._session:
            self.on_session()
        number = self._next
        self._next += 1
        self.blocks.map.is_changed = True  # also by a fold: a failure has to be rolled back
        try:
            self._write_state(fold)
            is_marked = self.slots.fresh_count > self._fresh_limit()
            if self._doubtful:
                self.ring.write(0, self._doubtful)
            if is_marked or self._doubtful:
                self._sync_device()
                self._doubtful = b""
            cut = self._cut_tail(durable)
            root, data = self._new_root(number, is_marked).with_hash()
            self._write_root(root, self.ring.seal(root, data))
        finally:
            self.blocks.commit_number = self._next
        if durable or is_marked or self.slots.handed_count > self._fresh_limit():
            self._sync()
            if cut:  # not to the root's slots: the sync may have set a reserve behind them
                self.device.truncate(slot_offset(self.slots.count + 1))
        return number

    def _write_state(self, fold: bool) -> None:
        """Seal what the next root refers to."""
        self.blocks.seal()
        if fold or self.blocks.map.must_fold:
            self.blocks.map.fold()

    def _write_root(self, root: Root, sealed: bytes) -> None:
        """Write a new root and make it the present one."""
        place = self._free_place()
        try:
            self.ring.write(place, sealed)
            self._committed(root, place)
        except BaseException:
            self._fail()  # it may stand on disk all the same: an opening decides
            raise

    @contextlib.contextmanager
    def rolling_back(self) -> Iterator[None]:
        """A rollback that does not come to its end leaves nothing that can be written."""
        was_failed, self.is_failed = self.is_failed, True
        yield
        self.is_failed = was_failed

    def _new_root(self, number: int, is_marked: bool) -> Root:
        chart = self.blocks.map
        return Root(
            number=number,
            base_number=self._durable.number,
            base_hash=self._durable.hash,
            is_marked=is_marked,
            height=chart.height,
            flags=self.is_blanking * FLAG_BLANKING
            | self.has_trash * FLAG_TRASH
            | self.kind << KIND_SHIFT,
            session=self._session,
            sequence=self.superblock.sequence,
            slots=self.slots.count,
            used=chart.used,
            positions=self.positions.end,
            sealed=self._sealed_before + self.blocks.counts.sealed,
            top=chart.top,
            previous_hash=self.root.hash,
            reserve=self._reserve.extent,
            streams=tuple(self.streams),
            header=self.header,
            changes=dict(chart.changes),
        )

    def _committed(self, root: Root, place: int) -> None:
        self.slots.commit(root.number)
        self.positions.commit()
        self.blocks.map.is_changed = False
        self.slots.is_tight = self.has_trash = self._is_settled = False
        self.root = root
        self._root_place = place
        self.work = Work()

    def _fresh_limit(self) -> int:
        return min(_FRESH_MOST, max(_FRESH_LEAST, self.slots.count // 10))

    # --- the superblock

    def change_superblock(self, new: Superblock, master: Buffer | None = None) -> None:
        """Put a new version of the superblock in force; sequence and commit are set here.

        A durable commit, whose number is recorded; copy A, sync, copy B, sync; a durable commit
        that carries the new sequence number; settle.  So at every moment a version opens, and
        once this has returned an older one does not, even if both its copies are put back.

        Args:
            new: slots and sealed part to come.
            master: the key of the epoch of `new`, where that is another one.

        Raises: UsageError if the keyslots do not fit, with nothing changed; SyncFailedError where
            either version may be on disk: the archive has to be opened anew.
        Durable: the new version, and everything committed before.
        """
        self.check_writable()
        key = self.master if master is None else master
        encode(new, key)  # it must fit before anything is written
        number = self._commit_anew()
        new = replace(new, sequence=self.superblock.sequence + 1, commit=number)
        try:
            write_copies(self.device, new, key)
            self.superblock = new
        except BaseException as error:
            self._fail()
            if isinstance(error, OSError):
                raise SyncFailedError(
                    error.errno,
                    "the superblock was not written to its end: reopen the archive to go on",
                    self.device.name,
                ) from error
            raise
        if master is not None:
            self.master[:] = master
        self._commit_anew()
        self._settle(self.root, self._place, self._base_place)

    def switch_key(self, new: Superblock, master: Buffer) -> None:
        """Put a superblock of the next epoch in force, whose sealed part has the present key.

        A durable commit; all map nodes and a root under the new key into free slots and a place
        of the ring, sync; copy A, sync, copy B, sync; commit, settle.  Until the copies are
        written everything is as it was for whoever opens the archive.  Afterwards roots and nodes
        open under the new key only, blocks of data under both.

        Raises: UsageError if the keyslots do not fit, with nothing changed; after that whatever
            fails ends the session: the archive has to be opened anew, in the old epoch or the new.
        Durable: the new epoch.  Source: docs/design.rst, "A new master key".
        """
        self.check_writable()
        encode(new, master)
        number = self._commit_anew()
        new = replace(new, sequence=self.superblock.sequence + 1, commit=number)
        try:
            self._write_epoch(new, master)
            write_copies(self.device, new, master)
            self.forget_master()
            self.master = bytearray(master)
            self._durable, self._place, self._base_place = self.root, self._root_place, None
        except BaseException as error:
            self._fail()
            if isinstance(error, OSError) and not isinstance(error, Archive7Error):
                raise SyncFailedError(
                    error.errno, "changing the key failed: reopen the archive to go on",
                    self.device.name,
                ) from error  # fmt: skip
            raise
        self._commit_anew()
        self._settle(self.root, self._place, self._base_place)

    def _write_epoch(self, new: Superblock, master: Buffer) -> None:
        """All map nodes and a root under a new key, synced; nothing refers to them yet."""
        chart, old_nodes = self.blocks.map, self._ciphers[1]
        data, node, root_cipher = ciphers_of(new, master)
        self.blocks.use_ciphers(data, PairedCipher(node, old_nodes))
        for level, ordinal in [(level, ordinal) for level, ordinal, _, _ in chart.walk()]:
            chart.rewrite(level, ordinal)
        self._write_state(fold=True)
        self._sync_device()
        self._ciphers = data, node
        self.blocks.use_ciphers(data, node)
        self.superblock, self.ring = new, Ring(self.device, root_cipher)
        root, encoded = self._new_root(self._next, True).with_hash()
        self._next += 1
        self.blocks.commit_number = self._next
        self._write_root(root, self.ring.seal(root, encoded))
        self._sync_device()

    def end_old_key(self, new: Superblock) -> None:
        """All blocks are sealed under the present key: forget the one before.

        Durable: when this returns.
        """
        self.change_superblock(new)
        data, node, _ = ciphers_of(self.superblock, self.master)
        self._ciphers = data, node
        self.blocks.use_ciphers(data, node)

    def _commit_anew(self) -> int:
        """Commit durably even if nothing changed: a ring that only looks settled may not be."""
        self.blocks.map.is_changed = True
        return self.commit(durable=True)

    # --- the end of the file

    def _cut_tail(self, durable: bool) -> int:
        may_cut = durable and not self.is_blanking and not self.readers_hold()
        return self.slots.cut_tail(self._cut_least) if may_cut else 0

    def cut_end(self) -> None:
        """Commit durably and cut all that is free at the end of the file."""
        self.slots.rewind()
        self._reserve.move()
        self._cut_least = 1
        try:
            for _ in range(2):  # the old reserve is free after the first
                self.blocks.map.is_changed = True
                self.commit(durable=True)
        finally:
            self._cut_least = _CUT_LEAST

    def _cut_excess(self) -> None:
        end = slot_offset(self.root.slots + 1)
        if self.device.locks.held_by_others(Lock.READERS):
            return
        if self.device.size() > end:
            self.device.truncate(end)

    # --- closing

    @property
    def must_finish(self) -> bool:
        """Whether `close` has something to write."""
        return not (self._is_settled and self.blocks.map.is_folded)

    def close(self) -> None:
        """Throw uncommitted changes away, fold, sync, settle; idempotent.

        The locks go back even if writing fails; the error is raised after that.
        """
        if self._is_closed:
            return
        try:
            if not self.is_readonly and not self.is_failed:
                self._finish()
        finally:
            self._is_closed = True
            self.forget_keys()
            self.device.close()

    def settle_down(self) -> None:
        """Before the last commit: sync, so that what it frees can make the file shorter."""
        self.sync()
        self.slots.rewind()
        if not self.readers_hold():
            lower_tail(self.blocks, self.slots)

    def _finish(self) -> None:
        if self.is_changed:
            self.rollback()
        if self.must_finish:
            if not self.root.flags & FLAG_TRASH:
                self.settle_down()
            self.commit(durable=True, fold=True)
            root = self.root
            if not (self.is_blanking or self.readers_hold()) and self.slots.cut_tail(1):
                self.has_trash = bool(root.flags & FLAG_TRASH)
                root, _ = self._new_root(self._next, True).with_hash()
            self._settle(root, self._place, self._base_place)
            self.root = root
        self._cut_excess()
