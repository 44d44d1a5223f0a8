"""Mutants: the commit code with one rule of container.md 6.3 to 6.7 left out.

Each must be caught by the campaign of `test_mutants`; else the crash tests prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest import mock

from archive7 import commit, opening, slots, snapshot
from archive7.blocks import BlockStore
from archive7.commit import Container
from archive7.device import Buffer
from archive7.errors import CorruptError
from archive7.layout import RING_PLACES
from archive7.locks import Lock
from archive7.map import entry_slot
from archive7.root import Root
from archive7.savepoint import Savepoint
from tests.devices import DiskLocks

Mutant = Callable[[], AbstractContextManager[Any]]


def goes_on_after_failed_root() -> AbstractContextManager[Any]:
    """A session goes on after a root that failed to be written, and may stand on disk."""
    return mock.patch.object(Container, "_write_root", _write_root_and_go_on(rests=False))


def resting() -> AbstractContextManager[Any]:
    """Another way, with what `numbers_reused` needs: the slots of a failed root rest."""
    return mock.patch.object(Container, "_write_root", _write_root_and_go_on(rests=True))


def numbers_reused() -> AbstractContextManager[Any]:
    """The next number is that of the present root plus one, whatever was tried before.

    As a failed root ends the session, and an opening leaves one root in the ring, this can only
    be seen where a session goes on after one: over `resting`, the control.
    """
    do = Container.commit

    def commit_next(self: Container, **options: bool) -> int:
        self._next = self.blocks.commit_number = self.root.number + 1
        return do(self, **options)

    return _all(resting(), mock.patch.object(Container, "commit", commit_next))


def _write_root_and_go_on(*, rests: bool) -> Callable[[Container, Root, bytes], None]:
    def write_root(self: Container, root: Root, sealed: bytes) -> None:
        place = self._free_place()
        try:
            self.ring.write(place, sealed)
            self._committed(root, place)
        except BaseException:
            table = self.slots
            if rests:  # as if released by this commit: free once a later one is durable
                table._released = [
                    slot
                    for first, count in table.fresh
                    for slot in range(first, min(first + count, len(table._table)))
                    if table._table[slot] == slots._FRESH
                ]
                table.commit(root.number)
            raise

    return write_root


def root_before_blocks() -> AbstractContextManager[Any]:
    """The root goes into the ring before the blocks it refers to (order)."""
    write_state, write_root = Container._write_state, Container._write_root
    waiting: list[tuple[bytes, int]] = []

    def write_state_later(self: Container, fold: bool) -> None:
        waiting.clear()

        def wait(data: Buffer, offset: int) -> None:
            waiting.append((bytes(data), offset))

        with mock.patch.object(self.device, "pwrite", wait):
            write_state(self, fold)

    def write_root_first(self: Container, root: Root, sealed: bytes) -> None:
        write_root(self, root, sealed)
        while waiting:
            self.device.pwrite(*waiting.pop(0))

    return _all(
        mock.patch.object(Container, "_write_state", write_state_later),
        mock.patch.object(Container, "_write_root", write_root_first),
    )


def synced_before_root() -> AbstractContextManager[Any]:
    """A durable commit syncs before its root, not after it (order)."""
    do, write_root = Container._sync, Container._write_root

    def write_root_synced(self: Container, root: Root, sealed: bytes) -> None:
        self._sync_device()
        write_root(self, root, sealed)

    def sync(self: Container) -> None:
        with mock.patch.object(self, "_sync_device"):
            do(self)

    return _all(
        mock.patch.object(Container, "_write_root", write_root_synced),
        mock.patch.object(Container, "_sync", sync),
    )


def base_not_synced() -> AbstractContextManager[Any]:
    """A root names the last root as its base, synced or not (base)."""
    do = Container._new_root

    def new_root(self: Container, number: int, is_marked: bool) -> Root:
        last = self.root
        root = do(self, number, is_marked)
        return replace(root, base_number=last.number, base_hash=last.hash)

    return mock.patch.object(Container, "_new_root", new_root)


def mark_over_root() -> AbstractContextManager[Any]:
    """The marked copy goes over the root itself, not to another place (ring rule, mark)."""
    do = Container._sync

    def sync(self: Container) -> None:
        with mock.patch.object(self, "_free_place", return_value=self._root_place):
            do(self)

    return mock.patch.object(Container, "_sync", sync)


def base_overwritten() -> AbstractContextManager[Any]:
    """The place of the base that the last durable root names may be written."""
    return mock.patch.object(Container, "_free_place", _free_place_but("_place"))


def durable_root_overwritten() -> AbstractContextManager[Any]:
    """The place of the last durable root may be written (ring rule)."""
    return mock.patch.object(Container, "_free_place", _free_place_but("_base_place"))


def _free_place_but(kept: str) -> Callable[[Container], int]:
    def free_place(self: Container) -> int:
        while True:
            self._cursor = (self._cursor + 1) % RING_PLACES
            if self._cursor != getattr(self, kept):
                return self._cursor

    return free_place


def slots_reused_at_once() -> AbstractContextManager[Any]:
    """What an un-durable commit freed is free at once (reuse rule)."""
    do = slots.SlotTable.commit

    def commit_and_free(self: slots.SlotTable, number: int) -> None:
        do(self, number)
        self.reuse(number)

    return mock.patch.object(slots.SlotTable, "commit", commit_and_free)


def slots_reused_within() -> AbstractContextManager[Any]:
    """What a transaction frees is free at once, whoever refers to it (reuse rule)."""

    def release(self: slots.SlotTable, slot: int) -> None:
        self._free([slot], self._table[slot])

    return mock.patch.object(slots.SlotTable, "release", release)


def savepoint_slots_reused() -> AbstractContextManager[Any]:
    """Slots that a savepoint refers to may be written."""
    do = slots.SlotTable.release

    def release(self: slots.SlotTable, slot: int) -> None:
        held, self.savepoints = self.savepoints, 0
        do(self, slot)
        self.savepoints = held

    return mock.patch.object(slots.SlotTable, "release", release)


def unverified() -> AbstractContextManager[Any]:
    """The newest root is taken without looking whether it is whole."""

    def verify_with(nodes: Any, open_entry: Any) -> Callable[[Root, Root], list[int]]:
        def verify(root: Root, base: Root) -> list[int]:
            try:
                found = opening.differences(nodes, root, base)
                return [entry_slot(entry) for _, entry in found]
            except CorruptError:
                return []

        return verify

    return mock.patch.object(snapshot, "verify_with", verify_with)


def fallback_not_told() -> AbstractContextManager[Any]:
    """An older commit is opened and nobody is told."""
    return mock.patch.object(Container, "_report")


def short_file_taken() -> AbstractContextManager[Any]:
    """A root is taken though the file is too short for it."""
    return mock.patch.object(Container, "_check_size")


def last_slot_not_written_back() -> AbstractContextManager[Any]:
    """A writer's opening does not write the last slot back, which may not be on the disk."""
    do = BlockStore.copy_slots

    def copy_slots(self: BlockStore, slots: Sequence[int]) -> Iterator[int]:
        return do(self, slots[:-1])

    return mock.patch.object(BlockStore, "copy_slots", copy_slots)


def not_written_back() -> AbstractContextManager[Any]:
    """A writer's opening does not write the blocks of an unmarked commit back."""
    return mock.patch.object(
        commit.Container, "_attach_writer", _attach_without(Container._attach_writer)
    )


def _attach_without(attach: Callable[[Container, Root], None]) -> Callable[..., None]:
    def attach_writer(self: Container, root: Root) -> None:
        attach(self, root)
        self.blocks.copy_slots = lambda slots: iter(())  # type: ignore[method-assign]

    return attach_writer


def not_synced_at_opening() -> AbstractContextManager[Any]:
    """A writer's opening does not sync before it marks the root it took."""
    begin, sync = Container._begin_writing, Container._sync_device
    fresh: set[int] = set()

    def begin_writing(self: Container, confirmed: Any) -> None:
        fresh.add(id(self))
        try:
            begin(self, confirmed)
        finally:
            fresh.discard(id(self))

    def sync_device(self: Container) -> None:
        if id(self) in fresh:
            fresh.discard(id(self))
        else:
            sync(self)

    return _all(
        mock.patch.object(Container, "_begin_writing", begin_writing),
        mock.patch.object(Container, "_sync_device", sync_device),
    )


def pass_over_current_map() -> AbstractContextManager[Any]:
    """Free slots are those that the map of the working state does not name."""

    def sweep(self: Container) -> None:
        used = self.blocks.map.used_slots(max(self._durable.slots, self.slots.count))
        first, count = self._reserve
        used[first : first + count] = bytes([1]) * count
        self.slots.learn(used[: self._durable.slots + 1])

    return mock.patch.object(Container, "find_free", sweep)


def reader_never_verifies() -> AbstractContextManager[Any]:
    """A reader skips verification though no writer has recovered."""

    def held_by_others(self: Any, lock: Lock) -> bool:
        return lock is Lock.RECOVERED

    return mock.patch.object(DiskLocks, "held_by_others", held_by_others)


def locked_before_settling() -> AbstractContextManager[Any]:
    """A writer takes the "recovered" lock when it begins to open."""
    begin = Container._begin_writing

    def begin_writing(self: Container, confirmed: Any) -> None:
        self.device.locks.take(Lock.RECOVERED, shared=False)
        begin(self, confirmed)

    return mock.patch.object(Container, "_begin_writing", begin_writing)


def lock_kept_after_failed_sync() -> AbstractContextManager[Any]:
    """The "recovered" lock stays where a sync failed."""
    return mock.patch.object(DiskLocks, "release", return_value=None)


def not_settled() -> AbstractContextManager[Any]:
    """One marked copy is written instead of eight."""

    def settle(self: Container, root: Root, place: int, base_place: int | None) -> None:
        marked = root.marked()
        self._durable, self._place, self._base_place = marked, place, base_place
        self._cursor = self._root_place = place
        self.ring.write(self._free_place(), self.ring.seal(marked))
        self._sync_device()
        self._is_settled = True
        self.slots.durable()

    return mock.patch.object(Container, "_settle", settle)


def settled_in_one_go() -> AbstractContextManager[Any]:
    """Settling overwrites root and base before the copies are synced."""

    def settle(self: Container, root: Root, place: int, base_place: int | None) -> None:
        marked = root.marked()
        for other in range(RING_PLACES):
            self.ring.write(other, self.ring.seal(marked))
        self._sync_device()
        self._durable, self._place, self._base_place = marked, place, None
        self._cursor = self._root_place = place
        self._is_settled = True
        self.slots.durable()

    return mock.patch.object(Container, "_settle", settle)


def marked_before_sync() -> AbstractContextManager[Any]:
    """The mark is written before the sync that it stands for."""
    do = Container._sync

    def sync(self: Container) -> None:
        if not self.root.is_marked:
            self.ring.write(self._free_place(), self.ring.seal(self.root.marked()))
        do(self)

    return mock.patch.object(Container, "_sync", sync)


def big_commit_not_synced_first() -> AbstractContextManager[Any]:
    """A commit that brings much is written marked without a sync before its root."""
    do, sync = Container.commit, Container._sync_device
    state = {"first": False}

    def commit_marked(self: Container, **options: bool) -> int:
        state["first"] = True
        try:
            return do(self, **options)
        finally:
            state["first"] = False

    def sync_device(self: Container) -> None:
        is_big = self.slots.fresh_count > self._fresh_limit()
        if not (state["first"] and is_big):
            sync(self)

    return _all(
        mock.patch.object(Container, "commit", commit_marked),
        mock.patch.object(Container, "_sync_device", sync_device),
    )


def never_forced() -> AbstractContextManager[Any]:
    """However much was written since the last sync, none is forced."""
    return mock.patch.object(Container, "_fresh_limit", return_value=1 << 30)


def relieved_without_sync() -> AbstractContextManager[Any]:
    """On a full disk what newer commits freed is given out without a sync (reuse rule)."""
    do = Container._relieve

    def relieve(self: Container, attempt: int) -> bool:
        if attempt == 1:
            self.slots.is_tight = True
            self.slots.reuse(self.root.number)
            return True
        return do(self, attempt)

    return mock.patch.object(Container, "_relieve", relieve)


def rollback_keeps_streams() -> AbstractContextManager[Any]:
    """A rollback does not put the records of the special streams back (transactions)."""
    do = Container.rollback

    def rollback(self: Container, savepoint: Savepoint | None = None) -> None:
        streams = list(self.streams)
        do(self, savepoint)
        self.streams = streams

    return mock.patch.object(Container, "rollback", rollback)


def writing_after_failed_sync() -> AbstractContextManager[Any]:
    """A failed sync is forgotten: the next one is believed."""

    def sync_device(self: Container) -> None:
        try:
            self.device.sync()
        finally:
            self.blocks.counts.syncs += 1

    return mock.patch.object(Container, "_sync_device", sync_device)


def cut_before_sync() -> AbstractContextManager[Any]:
    """The free tail is cut before the root that does without it is durable."""
    do = Container._cut_tail

    def cut_tail(self: Container, durable: bool) -> int:
        cut = do(self, durable)
        if cut:
            self.device.truncate(self.device.size() - cut * 4096)
        return cut

    return mock.patch.object(Container, "_cut_tail", cut_tail)


def settled_ring_believed() -> AbstractContextManager[Any]:
    """A ring that looks settled is taken for synced."""
    begin = Container._begin_writing

    def begin_writing(self: Container, confirmed: Any) -> None:
        begin(self, confirmed)
        self._doubtful = b""

    return mock.patch.object(Container, "_begin_writing", begin_writing)


def never_synced() -> AbstractContextManager[Any]:
    """A durable commit does not sync."""
    return mock.patch.object(Container, "_sync_device", return_value=None)


@contextmanager
def _all(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


MUTANTS: Final[tuple[Mutant, ...]] = (
    root_before_blocks,
    synced_before_root,
    numbers_reused,
    goes_on_after_failed_root,
    base_not_synced,
    base_overwritten,
    durable_root_overwritten,
    mark_over_root,
    slots_reused_at_once,
    slots_reused_within,
    savepoint_slots_reused,
    unverified,
    fallback_not_told,
    not_written_back,
    not_synced_at_opening,
    pass_over_current_map,
    reader_never_verifies,
    locked_before_settling,
    lock_kept_after_failed_sync,
    not_settled,
    settled_in_one_go,
    marked_before_sync,
    big_commit_not_synced_first,
    never_forced,
    relieved_without_sync,
    rollback_keeps_streams,
    writing_after_failed_sync,
    cut_before_sync,
    never_synced,
)
