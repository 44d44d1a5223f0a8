"""The keyring of an archive: which secrets open it.

Owns adding, removing and changing keyslots, and writing a backup of the superblock.  May assume
`Container.change_superblock`.  Promises: a change is in force for good when the call returns, and
until then either the old set of secrets opens the archive or the new one; the last keyslot goes
only by force.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from .commit import Container
from .errors import SuperblockCorruptError, UsageError
from .keys import Recipient, read_key_file, write_new_file
from .keyslots import KdfCost, Keyslot, Secrets, seal_slots
from .superblock import Note, genuine_copies, notes, with_notes


@dataclass(frozen=True)
class KeyInfo:
    """One keyslot.

    Attributes:
        id: 16 hexadecimal digits, new whenever a slot is sealed.
        kind: raw key, passphrase, x25519 recipient, hybrid recipient, or kind N if not known.
        label: what `add` was told.
        created_ns: nanoseconds since 1970; None if not known.
        cost: of one guess at a passphrase; None for other kinds.
        recipient: whom it was sealed for; None for other kinds.
        is_mine: the archive was opened with it.
    """

    id: str
    kind: str
    label: str
    created_ns: int | None
    cost: KdfCost | None
    recipient: Recipient | None
    is_mine: bool


class Keyring:
    """The keyslots of an archive: `Archive.keys`.

    The master key stays the same.  So a secret that is removed opens this file no more, but who
    opened the archive before may have kept the master key, and a copy of the file or of its
    superblock from before opens as it did.

    Changes are for archives that are open for writing, outside of transactions; each is durable
    when the call returns.
    """

    def __init__(
        self, container: Container, alone: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._container = container
        self._alone = alone

    def __repr__(self) -> str:
        return f"<Keyring of {self._container.device.name!r}>"

    def list(self) -> tuple[KeyInfo, ...]:
        """All keyslots, in the order in which they were added."""
        with self._container.lock:
            self._container.check_open()
            known = {note.slot: note for note in notes(self._container.superblock.info)}
            slots = self._container.superblock.slots
            return tuple(self._describe(slot, known.get(slot.id)) for slot in slots)

    def add(
        self,
        *,
        key: bytes | None = None,
        password: str | bytes | None = None,
        key_file: str | os.PathLike[str] | None = None,
        recipient: Recipient | None = None,
        label: str = "",
        kdf: KdfCost | None = None,
    ) -> KeyInfo:
        """Let one more secret open the archive.

        Args:
            key, password, key_file, recipient: exactly one of them.
            label: up to 255 bytes of UTF-8, sealed; no two keyslots have the same one.
            kdf: cost of a guess at the password.

        Raises: UsageError for a label that is taken, a recipient that is there, or where the
            keyslots do not fit; KdfLimitError.
        Durable: when this returns.  Cost: one Argon2id for a password, about eight syncs.
        """
        secret = _new_secret(key, password, key_file, recipient)
        return self._replace((), secret, label, kdf)

    def remove(self, which: str, *, force: bool = False) -> None:
        """Take a secret's keyslot away; also the one that the archive was opened with.

        Args:
            which: id or label.
            force: also the last one that this version can open; then nothing opens the archive.

        Raises: UsageError for no such keyslot, or the last one.
        Durable: when this returns.
        """
        with self._alone():
            slot = self._find(which)
            rest = [other for other in self._container.superblock.slots if other is not slot]
            if not force and not any(other.is_known for other in rest):
                raise UsageError(
                    f"keyslot {which} is the last one: without it nothing opens the archive; "
                    "add another first, or force it"
                )
            self._put(rest, with_notes(self._container.superblock.info, (), [slot.id]))

    def change(
        self,
        which: str | None = None,
        *,
        key: bytes | None = None,
        password: str | bytes | None = None,
        key_file: str | os.PathLike[str] | None = None,
        recipient: Recipient | None = None,
        label: str | None = None,
        kdf: KdfCost | None = None,
    ) -> KeyInfo:
        """Put a new secret in the place of another, in one step.

        Args:
            which: id or label of the old keyslot; None for the one that opened the archive.
            key, password, key_file, recipient: exactly one of them.
            label: of the new keyslot; None to keep the old one's.
            kdf: cost of a guess at the password.

        Raises: as `add`.  Durable: when this returns.
        """
        secret = _new_secret(key, password, key_file, recipient)
        with self._container.lock:
            self._container.check_open()
            old = self._find(which if which is not None else self._container.opened_by.hex())
            if label is None:
                label = self._describe_by_id(old).label
            return self._replace((old,), secret, label, kdf)

    def export_header(self, path: str | os.PathLike[str]) -> None:
        """Write the superblock, as it is now, to a new file: a backup for `restore_header`.

        What is in it is no more secret than the archive's first bytes; but every secret that
        opens the archive now opens a backup of it for ever.

        Raises: FileExistsError; SuperblockCorruptError if no copy is genuine.
        """
        container = self._container
        with container.lock:
            container.check_open()
            superblock = container.superblock
            copies = genuine_copies(container.device, superblock.container, container.master)
            if not copies:
                raise SuperblockCorruptError("no copy of the superblock is genuine any more")
            write_new_file(path, copies[0].encoded)

    # --- inside

    def _replace(
        self, old: Iterable[Keyslot], secret: Secrets, label: str, kdf: KdfCost | None
    ) -> KeyInfo:
        """One new slot; `old` ones go in the same step."""
        container = self._container
        with self._alone():
            superblock, old = container.superblock, tuple(old)
            gone = [slot.id for slot in old]
            self._check_free(label, secret, gone)
            [slot] = seal_slots(
                secret, kdf or KdfCost(), container.master, superblock.container, superblock.epoch
            )
            whose = secret.receivers[0] if secret.receivers else None
            note = Note(slot.id, time.time_ns(), label, whose)
            rest = [other for other in superblock.slots if other not in old]
            was_mine = container.opened_by in gone
            self._put([*rest, slot], with_notes(superblock.info, [note], gone))
            if was_mine:
                container.opened_by = slot.id
            return self._describe(slot, note)

    def _put(self, slots: Iterable[Keyslot], info: bytes) -> None:
        container = self._container
        was_emergency, container.is_emergency = container.is_emergency, True
        try:
            container.change_superblock(
                replace(container.superblock, slots=tuple(slots), info=info)
            )
        finally:
            container.is_emergency = was_emergency

    def _check_free(self, label: str, secret: Secrets, gone: Iterable[bytes]) -> None:
        """Refuse a label or a recipient that another slot has."""
        ids = {slot.id for slot in self._container.superblock.slots}.difference(gone)
        for note in notes(self._container.superblock.info):
            if note.slot in ids and label and note.label == label:
                raise UsageError(f"another keyslot has the label {label!r}: choose another")
            if note.slot in ids and note.recipient in secret.receivers:
                raise UsageError(f"this recipient has keyslot {note.slot.hex()} already")

    def _find(self, which: str) -> Keyslot:
        superblock = self._container.superblock
        labels = {note.slot: note.label for note in notes(superblock.info)}
        found = [slot for slot in superblock.slots if slot.id.hex() == which.lower()]
        if not found and which:
            found = [slot for slot in superblock.slots if labels.get(slot.id) == which]
        if len(found) != 1:
            raise UsageError(
                f"{len(found) or 'no'} keyslot has the id or label {which!r}: list() shows them"
            )
        return found[0]

    def _describe_by_id(self, slot: Keyslot) -> KeyInfo:
        known = {note.slot: note for note in notes(self._container.superblock.info)}
        return self._describe(slot, known.get(slot.id))

    def _describe(self, slot: Keyslot, note: Note | None) -> KeyInfo:
        return KeyInfo(
            id=slot.id.hex(),
            kind=slot.kind_name,
            label=note.label if note else "",
            created_ns=note.created_ns if note else None,
            cost=slot.cost,
            recipient=note.recipient if note else None,
            is_mine=slot.id == self._container.opened_by,
        )


def _new_secret(
    key: bytes | None,
    password: str | bytes | None,
    key_file: str | os.PathLike[str] | None,
    recipient: Recipient | None,
) -> Secrets:
    """The one new secret.  Raises: UsageError for none or several."""
    given = [value for value in (key, password, key_file, recipient) if value is not None]
    if len(given) != 1:
        raise UsageError(
            f"{len(given)} new secrets are given: pass one of key=, password=, key_file= and "
            "recipient="
        )
    if key_file is not None:
        key = read_key_file(key_file)
    return Secrets(key, password, recipients=() if recipient is None else (recipient,))
