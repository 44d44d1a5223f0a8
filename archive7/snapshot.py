"""Snapshot: a container under one root, as a reader has it.

Owns taking the newest whole root, following the writer, and telling an expired snapshot from
damage.  May assume blocks and the rules of `opening`.  Promises: what is read through a snapshot
belongs to one commit.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .blocks import BlockStore
from .crypto import KIND_DATA, KIND_NODE, KIND_ROOT, BlockCipher, block_cipher
from .device import Buffer, Device
from .epochs import PairedCipher, old_key
from .errors import (
    ClosedError,
    CorruptError,
    RecoveredWarning,
    RekeyedError,
    RollbackError,
    SnapshotExpiredError,
)
from .keyslots import wipe
from .layout import FLAG_BLANKING, KIND_SHIFT, RING_PLACES
from .locks import Lock
from .map import Entry
from .opening import Choice, Skipped, Verify, choose, map_of, verify_with
from .positions import PositionTable
from .root import Ring, Root, slot_offset
from .slots import SlotTable
from .superblock import Copy, Superblock, newest_genuine, read_copy, require_known

_OPEN_TRIES: Final = 100


@dataclass(frozen=True)
class Recovered:
    """What opening left behind: newer commits that were not whole."""

    number: int
    skipped: tuple[Skipped, ...]


_snapshots: weakref.WeakSet[Snapshot] = weakref.WeakSet()


def _end_in_child() -> None:
    """After a fork the child's copies are dead; a lock held by another thread is nobody's."""
    for snapshot in list(_snapshots):
        snapshot.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_in_child)


def ciphers_of(superblock: Superblock, master: Buffer) -> tuple[BlockCipher, ...]:
    """The ciphers for data, map nodes and roots."""
    suite, container = superblock.suite, superblock.container
    data, node, root = (
        block_cipher(suite, master, container, superblock.epoch, kind)
        for kind in (KIND_DATA, KIND_NODE, KIND_ROOT)
    )
    old = old_key(superblock)
    if old is not None:
        data = PairedCipher(data, block_cipher(suite, old.master, container, old.epoch, KIND_DATA))
    return data, node, root


class Work:
    """What was changed between two commits; whoever changed something keeps it to ask.

    Attributes:
        is_lost: a failure has thrown it away.
    """

    is_lost = False


class Snapshot:
    """Sealed blocks on a device under one root.

    Args:
        device: where they stand.
        superblock, master: as `unlock` opened or `superblock` made them.

    Attributes:
        superblock: the version that is known; `refresh` follows the writer's changes.
        master: the master key of its epoch; overwritten when this is closed.
        is_authenticated: who made the archive knew a secret of ours; else anybody may have.
        opened_by: id of the keyslot that opened it.
        root: the root that everything is read under.
        blocks, positions: its blocks and free positions.
        streams, header, kind: records of the special streams, archive header, kind of manager.
        is_blanking: what was freed is to be overwritten.
        generation: rises when the working state was thrown away.
        work: what is not committed yet.
        recovered: what opening left behind, or None.
        is_busy: a thread that holds the lock is in the middle of something; only a finalizer or a
            signal handler can see it set.
        late: what finalizers then left to be done.
    """

    root: Root
    blocks: BlockStore
    positions: PositionTable
    streams: list[bytes]
    header: bytes
    kind: int
    is_blanking: bool

    def __init__(self, device: Device, superblock: Superblock, master: Buffer) -> None:
        self.device = device
        self.superblock = superblock
        self.master = bytearray(master)
        self.lock = threading.RLock()
        self.generation = 0
        self.work = Work()
        self.recovered: Recovered | None = None
        self.is_busy = False
        self.is_authenticated = True
        self.opened_by = b""
        self.late: list[Callable[[], None]] = []
        self._is_closed = False
        _snapshots.add(self)
        data, node, root = ciphers_of(superblock, master)
        self._ciphers = data, node
        self.ring = Ring(device, root)

    @property
    def data_cipher(self) -> BlockCipher:
        """What seals and opens blocks of data."""
        return self._ciphers[0]

    @property
    def is_readonly(self) -> bool:
        """Whether nothing can be written."""
        return True

    def _attach(self, root: Root, slots: SlotTable | None = None) -> None:
        """Make `root` the working state; a writer has a slot table."""
        self.root = root
        self.blocks = BlockStore(self.device, *self._ciphers, slots)
        self.positions = PositionTable(root.positions)
        if slots is None:
            self.blocks.explain = self._explain
        self._reset(root)

    def _reset(self, root: Root) -> None:
        changes = dict(root.changes)
        self.blocks.forget()
        self.blocks.map.reset(root.height, root.top, changes, root.used)
        self.streams = list(root.streams)
        self.header = root.header
        self.kind = root.flags >> KIND_SHIFT & 0xFF
        self.is_blanking = bool(root.flags & FLAG_BLANKING)

    def _choose(self, roots: dict[int, Root]) -> Choice:
        choice = choose(roots, self._verifier())
        self._check_size(choice.root)
        self._report(choice)
        return choice

    def _report(self, choice: Choice) -> None:
        if choice.skipped:
            self.recovered = Recovered(choice.root.number, choice.skipped)
            newest = choice.skipped[0]
            warnings.warn(
                f"{self.device.name}: commit {newest.number} was not whole "
                f"({newest.reason}); opened in commit {choice.root.number}",
                RecoveredWarning,
                stacklevel=4,
            )

    def _verifier(self) -> Verify:
        store = BlockStore(self.device, *self._ciphers, None)
        verify = verify_with(store, store.verify)

        def verify_whole(root: Root, base: Root) -> list[int]:
            self._check_size(root)
            return verify(root, base)

        return verify_whole

    def _check_size(self, root: Root) -> None:
        """Raise CorruptError where the file is too short for `root`."""
        size, end = self.device.size(), slot_offset(root.slots + 1)
        if size < end:
            raise CorruptError(
                f"the file has {size} bytes, commit {root.number} needs {end}: it was cut"
            )

    def _check_superblock(self, root: Root, roots: dict[int, Root]) -> None:
        wanted = max(r.sequence for r in roots.values())
        if self.superblock.sequence < wanted:
            self._follow_superblock()
        if self.superblock.sequence < wanted:
            raise RollbackError(
                f"the superblock (sequence {self.superblock.sequence}) is older than the roots "
                f"({wanted}): restore the whole file, not parts of it"
            )
        if root.number < self.superblock.commit:
            raise RollbackError(
                f"the newest root (commit {root.number}) is older than the superblock "
                f"(commit {self.superblock.commit}): restore the whole file, not parts of it"
            )

    def _follow_superblock(self) -> None:
        """A writer may have changed the superblock since it was read: take its newest version."""
        known = self.superblock
        found = newest_genuine(self.device, known.container, self.master)
        if found is not None and found.epoch == known.epoch and found.sequence > known.sequence:
            require_known(found)
            self.superblock = found

    def _check_epoch(self) -> None:
        """Raise RekeyedError where another master key is in force by now."""
        known = self.superblock
        copies = [read_copy(self.device, 0), read_copy(self.device, 1)]
        for copy in copies:
            if (
                isinstance(copy, Copy)
                and copy.superblock.container == known.container
                and copy.superblock.epoch > known.epoch
            ):
                raise RekeyedError(
                    "the master key was changed meanwhile: close the archive and open it again"
                )

    def forget_master(self) -> None:
        """Overwrite the master key."""
        wipe(self.master)

    def forget_keys(self) -> None:
        """Overwrite all keys: nothing can be read or written any more."""
        self.forget_master()
        for cipher in self._ciphers:
            cipher.forget()
        self.ring.forget()

    def _begin_reading(self) -> None:
        try:
            self.device.locks.take(Lock.READERS, shared=True)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.ENOLCK, errno.EINVAL):
                raise
        self._attach(self._newest_root())

    def _newest_root(self) -> Root:
        """The newest whole root, for a reader."""
        for _ in range(_OPEN_TRIES):
            # Asked before the ring is read: what a recovered writer leaves there is whole.
            is_recovered = self.device.locks.held_by_others(Lock.RECOVERED)
            raw = self.ring.raw()
            roots = self.ring.read(raw)
            if roots and is_recovered:
                root = max(roots.values(), key=lambda r: (r.number, r.is_marked))
            else:
                try:
                    choice = choose(roots, self._verifier())
                    self._check_size(choice.root)
                except CorruptError:
                    if self.ring.raw() != raw:
                        continue
                    self._check_epoch()
                    raise
                if choice.skipped and self.ring.raw() != raw:
                    continue
                self._report(choice)
                root = choice.root
            try:
                self._check_superblock(root, roots)
            except RollbackError:
                if self.ring.raw() != raw:  # the writer has changed it once more meanwhile
                    continue
                raise
            return root
        raise CorruptError("the ring keeps changing: try again", block=0)

    def is_durable(self) -> bool:
        """Whether the ring shows that the root was synced, for a reader.

        A mark tells that of what the root refers to, not of the root: that is known where a later
        one names it as base, where it stands without and with its mark, or in all places.
        """
        roots = self.ring.read().values()
        marks = [root.is_marked for root in roots if root.hash == self.root.hash]
        is_base = any(root.base_hash == self.root.hash for root in roots)
        return is_base or len(marks) == RING_PLACES or len(set(marks)) > 1

    def refresh(self) -> bool:
        """Take the newest commit as snapshot (readers); True if it is another one."""
        self.check_open()
        if not self.is_readonly:
            return False
        root = self._newest_root()
        if root.hash == self.root.hash:
            return False
        if root.number < self.root.number:
            raise RollbackError(
                f"the newest root is commit {root.number}, this snapshot is of commit "
                f"{self.root.number}: the file was put back to an older state"
            )
        self.root = root
        self.positions = PositionTable(root.positions)
        self._reset(root)
        self.generation += 1
        return True

    def _explain(self, position: int, entry: Entry) -> None:
        """Raise SnapshotExpiredError if the newest root has another entry for `position`."""
        roots = self.ring.read()
        if not roots:
            self._check_epoch()
            return
        newest = max(roots.values(), key=lambda r: r.number)
        if newest.hash == self.root.hash:
            return
        store = BlockStore(self.device, *self._ciphers, None)
        if position < 0 or map_of(store, newest).get(position) != entry:
            raise SnapshotExpiredError(
                f"commit {self.root.number} was overwritten meanwhile: call refresh() and retry"
            )

    def lose_work(self) -> None:
        """Something failed: what is not committed is thrown away, though nobody asked for it."""
        self.work.is_lost = True
        self.work = Work()

    def abandon(self) -> None:
        """In a forked child: nothing can be used any more."""
        self._is_closed = True
        self.forget_keys()
        reinitialise = getattr(self.lock, "_at_fork_reinit", None)
        if reinitialise is not None:
            reinitialise()

    def run_late(self) -> None:
        """Do what finalizers of forgotten files could not do at once; errors become warnings."""
        while self.late:
            action = self.late.pop(0)
            try:
                action()
            except Exception as error:  # noqa: BLE001 - nobody is there to catch it
                message = f"a file that nobody closed could not be written: {error!r}"
                warnings.warn(message, ResourceWarning, stacklevel=3)

    def check_open(self) -> None:
        """Raise ClosedError if the container is closed."""
        if self._is_closed:
            raise ClosedError("the archive is closed")

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed
