"""Rekey: a new master key, under which every block is sealed anew.

Owns which secrets come along, and the blocks of data step by step.  May assume
`Container.switch_key`.  Promises: the archive opens at every moment, also after a crash, which a
later call goes on from; what is sealed under the new key has passed the map before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from .commit import Container
from .crypto import KEY_SIZE
from .epochs import OldKey, PairedCipher, old_key
from .errors import UsageError
from .keyslots import KdfCost, Keyslot, Secrets, seal_slots, wipe
from .layout import (
    FANOUT,
    INFO_OLD_KEY,
    INFO_RECEIPT_KEY,
    MAX_RUN,
    OLD_KEY,
    SLOT_PASSPHRASE,
    SLOT_RAW,
)
from .map import node_slots
from .receipt import receipt_key
from .superblock import Note, Superblock, info_bodies, notes, with_bodies, with_notes

_RECEIPT_KEYS: Final = 32  # epochs before the present one whose receipts can be compared
_STEP: Final = 8192  # blocks (32 MiB) in one commit
Kept = str | bytes | Secrets


@dataclass(frozen=True)
class RekeyReport:
    """What a change of the master key did.

    Attributes:
        kept: keyslots that came along, by label or kind.
        dropped: those that did not.
        damaged: blocks that did not open; they are as they were.
        is_complete: False where it was stopped; the next call goes on.
    """

    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    damaged: int
    is_complete: bool


class NewKeyslots:
    """The keyslots of the next epoch.

    Args:
        keep: passwords (str), raw keys (32 bytes) or `Secrets`: of keyslots that come along.
        drop: ids or labels of recipients that do not; all others come along.

    Raises: UsageError for a secret that opens nothing here, an unknown id or label, or where
    nothing would open the archive any more.
    """

    def __init__(self, container: Container, keep: Iterable[Kept], drop: Iterable[str]) -> None:
        self._old = container.superblock
        self._known = {note.slot: note for note in notes(self._old.info)}
        self.master = bytearray(os.urandom(KEY_SIZE))
        self.slots: list[Keyslot] = []
        self.notes: list[Note] = []
        self.kept: list[str] = []
        self.dropped: list[str] = []
        self.moved: dict[bytes, bytes] = {}  # old id -> new id
        secrets, self.named = [_secrets(each) for each in keep], self._named(drop)
        used: set[int] = set()
        for slot in self._old.slots:
            self._take(slot, secrets, used, is_dropped=slot.id in self.named)
        if len(used) != len(secrets):
            raise UsageError("a secret to keep does not open this archive: add it first")
        if not self.slots:
            raise UsageError("nothing would open the archive any more: keep a secret")

    def _named(self, drop: Iterable[str]) -> set[bytes]:
        """The ids of the slots that are named by id or label."""
        found = set()
        for which in drop:
            ids = {
                slot.id
                for slot in self._old.slots
                if slot.id.hex() == which.lower() or (which and self._label(slot) == which)
            }
            if not ids:
                raise UsageError(f"no keyslot has the id or label {which!r}")
            found |= ids
        return found

    def _label(self, slot: Keyslot) -> str:
        note = self._known.get(slot.id)
        return note.label if note else ""

    def _take(
        self, slot: Keyslot, secrets: Sequence[Secrets], used: set[int], *, is_dropped: bool
    ) -> None:
        """Seal the new key for whom an old slot is for, if that is possible and wanted."""
        name = self._label(slot) or slot.kind_name
        found = None if is_dropped else self._secret(slot, secrets, used)
        if found is None:
            self.dropped.append(name)
            return
        cost = slot.cost or KdfCost()
        epoch = self._old.epoch + 1
        [new] = seal_slots(found, cost, self.master, self._old.container, epoch)
        recipient = found.receivers[0] if found.receivers else None
        old = self._known.get(slot.id)
        created = old.created_ns if old else time.time_ns()
        self.slots.append(new)
        self.notes.append(Note(new.id, created, self._label(slot), recipient))
        self.moved[slot.id] = new.id
        self.kept.append(name)

    def _secret(self, slot: Keyslot, secrets: Sequence[Secrets], used: set[int]) -> Secrets | None:
        """Who opens a slot: a recipient that is known, or one of the secrets to keep."""
        note = self._known.get(slot.id)
        if note is not None and note.recipient is not None:
            return Secrets(recipients=(note.recipient,))
        if slot.kind in (SLOT_RAW, SLOT_PASSPHRASE):
            limit = slot.cost.memory_kib if slot.cost else 0
            for number, secret in enumerate(secrets):
                if slot.fits(secret) and slot.derive(secret, limit) is not None:
                    used.add(number)
                    if slot.kind == SLOT_RAW:
                        return Secrets(key=secret.key)
                    return Secrets(password=secret.password)
        return None

    def superblock(self, container: Container) -> Superblock:
        """The superblock of the next epoch; its sealed part has the present key."""
        old = self._old
        info = with_notes(old.info, (), [slot.id for slot in old.slots])
        info = with_bodies(info, INFO_OLD_KEY, [OLD_KEY.pack(old.epoch, bytes(container.master))])
        receipts = [
            *info_bodies(old.info, INFO_RECEIPT_KEY)[1 - _RECEIPT_KEYS :],
            OLD_KEY.pack(old.epoch, receipt_key(old, container.master)),
        ]
        info = with_notes(with_bodies(info, INFO_RECEIPT_KEY, receipts), self.notes)
        return replace(old, epoch=old.epoch + 1, slots=tuple(self.slots), info=info)


def _secrets(kept: Kept) -> Secrets:
    if isinstance(kept, Secrets):
        return kept
    return Secrets(password=kept) if isinstance(kept, str) else Secrets(key=kept)


def begin(container: Container, new: NewKeyslots) -> None:
    """Put a new master key in force; the blocks of data are left to `Rekeying`."""
    try:
        container.switch_key(new.superblock(container), new.master)
        container.opened_by = new.moved.get(container.opened_by, b"")
    finally:
        wipe(new.master)


class Rekeying:
    """The blocks of data of one container, while two keys open them, step by step.

    Args:
        container: nothing of it may be uncommitted when `step` is called.

    Attributes:
        done, total: positions dealt with, of how many.
        damaged: blocks that do not open.
        is_complete: whether only the new key is needed any more.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._ordinal = 0  # of the leaf that comes next
        self.damaged = 0
        self.is_complete = self.old is None

    @property
    def old(self) -> OldKey | None:
        """The key before, while some blocks may still need it."""
        return old_key(self._container.superblock)

    @property
    def total(self) -> int:
        """Positions that there are."""
        return self._container.positions.end

    @property
    def done(self) -> int:
        """Positions dealt with."""
        return self.total if self.is_complete else min(self._ordinal * FANOUT, self.total)

    def step(self) -> None:
        """Seal some blocks anew and commit; at the end forget the old key.

        Durable: the end.  Cost: each block is read and written once.
        """
        container = self._container
        blocks = container.blocks
        blocks.map.apply()
        cipher = container.data_cipher
        if isinstance(cipher, PairedCipher):
            openers = cipher.openers()
            for positions in self._runs():
                self.damaged += len(blocks.reseal(positions, openers))
        container.commit()
        if self._ordinal * FANOUT >= self.total:
            self._finish()

    def _runs(self) -> Iterator[list[int]]:
        """Positions that hold blocks, up to 256 at once, about as many as one step takes."""
        chart, count = self._container.blocks.map, 0
        while count < _STEP and self._ordinal * FANOUT < self.total:
            base = self._ordinal * FANOUT
            slots = node_slots(chart.node(0, self._ordinal))
            found = [base + at for at, slot in enumerate(slots) if slot]
            self._ordinal += 1
            count += len(found)
            for at in range(0, len(found), MAX_RUN):
                yield found[at : at + MAX_RUN]

    def _finish(self) -> None:
        container = self._container
        superblock = container.superblock
        info = with_bodies(superblock.info, INFO_OLD_KEY, [])
        container.end_old_key(replace(superblock, info=info))
        self.is_complete = True
