"""Unlocking: from an offered secret to the superblock that counts, and its master key.

Owns which slots are tried, in which order, which copy wins, and what a failure is called.  May
assume: `superblock`, `keyslots`.  Promises: nothing in a copy is acted on before its HMAC
verified under a master key that one of the keyslots gave; of the genuine copies the newest wins;
a wrong passphrase costs one Argon2id per distinct slot at most, and none outside the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from .device import Device
from .errors import (
    Archive7Error,
    KdfLimitError,
    NotAnArchiveError,
    SuperblockCorruptError,
    VersionError,
    WrongKeyError,
)
from .keyslots import Keyslot, Secrets, wipe
from .layout import (
    KDF_UNASKED_MEMORY,
    MAGIC,
    MAX_PASSPHRASE_SLOTS,
    RING_OFFSET,
    SLOT_PASSPHRASE,
    SLOT_RAW,
    VERSION_MAJOR,
)
from .superblock import Copy, CopyFault, FaultKind, Superblock, read_copy, require_known

# What text-mode transfers make of the magic: line ends translated, the top bit cut, recoded.
_TRANSLATED: Final = (
    MAGIC.replace(b"\r\n", b"\n"),
    MAGIC.replace(b"\n", b"\r\n"),
    MAGIC.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
    MAGIC.replace(b"\r\n", b"\r").replace(b"\n", b"\r"),
    MAGIC.replace(b"\n", b"\r"),
    b"\x09AR7",
    MAGIC.decode("latin-1").encode()[:5],
    MAGIC.decode(errors="replace").encode()[:6],
)


@dataclass(frozen=True, slots=True)
class Unlocked:
    """The superblock that counts.

    Attributes:
        superblock: the newest genuine copy, decoded and known to this version.
        master: the master key; whoever holds this wipes it.
        faults: what is wrong with the other copy; empty when both are the same.
        encoded: the bytes of the genuine copy.
    """

    superblock: Superblock
    master: bytearray = field(repr=False)
    faults: tuple[CopyFault, ...]
    encoded: bytes = field(repr=False)


def read(
    device: Device, secrets: Secrets, max_kdf_memory_kib: int = KDF_UNASKED_MEMORY
) -> Unlocked:
    """Read both copies, open a keyslot, return the newest genuine superblock.

    An OSError of the device is raised as it is: it says nothing about the copy.

    Args:
        max_kdf_memory_kib: largest memory that a passphrase slot may ask for.

    Raises:
        NotAnArchiveError: neither copy has our magic.
        VersionError: another major version; a suite or critical flag not known here.
        SuperblockCorruptError: no copy is whole, or none is genuine.
        KdfLimitError: what might have opened it asks for more than the bounds.
        WrongKeyError: no keyslot opens.
    Cost: two reads of 32768 bytes; about 0.1 ms with a raw key, else Argon2id for each distinct
        passphrase slot until one opens, cheapest first.
    Source: docs/format.rst, "Superblock".
    """
    found = [read_copy(device, 0), read_copy(device, 1)]
    copies = [copy for copy in found if isinstance(copy, Copy)]
    faults = [fault for fault in found if isinstance(fault, CopyFault)]
    if not copies:
        raise _unreadable(device, faults)
    if len(copies) == 2 and copies[0].encoded == copies[1].encoded:
        copies.pop()
    winner, master = _Search(copies, secrets, max_kdf_memory_kib).run(faults)
    try:
        require_known(winner.superblock)
        superblock = replace(winner.superblock, info=winner.unseal(master))
    except Archive7Error:
        wipe(master)
        raise
    faults += [_loser(copy, master) for copy in copies if copy is not winner]
    return Unlocked(superblock, master, tuple(faults), winner.encoded)


def rewrite_damaged_copy(device: Device, unlocked: Unlocked) -> None:
    """Write the copies that `unlocked.faults` names again, as the genuine one is.

    Only for a writer, after the roots have confirmed the superblock's sequence number: else an
    older superblock that someone put back would be made to last.

    Durable: the copy; a power cut meanwhile leaves the genuine one as it is.
    """
    for fault in unlocked.faults:
        device.pwrite(unlocked.encoded, fault.offset)
        device.sync()


# --- the search for a slot that opens


class _Search:
    """Tries the slots of the copies that are whole until the newest genuine copy is known."""

    def __init__(self, copies: Sequence[Copy], secrets: Secrets, max_memory_kib: int) -> None:
        # By the number a copy claims; only a copy that then proves genuine can win by it.
        self._copies = sorted(copies, key=lambda copy: -copy.superblock.sequence)
        self._secrets = secrets
        self._max_memory_kib = max_memory_kib
        self._best: tuple[Copy, bytearray] | None = None
        self._right_secret = False  # a slot's commitment matched
        self._refused: KdfLimitError | None = None

    def run(self, faults: Sequence[CopyFault]) -> tuple[Copy, bytearray]:
        """Find the newest genuine copy and its master key, or raise what describes it best."""
        holders = self._holders()
        for slot in sorted(holders, key=lambda slot: slot.price):
            waiting = [copy for copy in holders[slot] if self._could_win(copy)]
            if waiting:
                self._try(slot, waiting)
        if self._best is None:
            raise self._failure(faults)
        return self._best

    def _holders(self) -> dict[Keyslot, list[Copy]]:
        """The distinct slots that fit the secrets and the bounds, each with its copies."""
        holders: dict[Keyslot, list[Copy]] = {}
        for copy in self._copies:
            slots = copy.superblock.slots
            phrases = sum(slot.kind == SLOT_PASSPHRASE for slot in slots)
            for slot in slots:
                if slot.fits(self._secrets) and self._admits(slot, phrases):
                    holders.setdefault(slot, []).append(copy)
        return holders

    def _admits(self, slot: Keyslot, phrases: int) -> bool:
        """Whether a slot is within the bounds: all are checked before any is tried."""
        if slot.cost is None:
            return True
        try:
            slot.cost.check(self._max_memory_kib)
            if phrases > MAX_PASSPHRASE_SLOTS:
                raise KdfLimitError(
                    f"the superblock has {phrases} passphrase keyslots, over the limit of "
                    f"{MAX_PASSPHRASE_SLOTS}, which max_kdf_memory= does not lift"
                )
        except KdfLimitError as error:
            self._refused = error
            return False
        return True

    def _could_win(self, copy: Copy) -> bool:
        return self._best is None or (copy.superblock.sequence > self._best[0].superblock.sequence)

    def _try(self, slot: Keyslot, waiting: Sequence[Copy]) -> None:
        """Derive the slot's key once and try it in every copy that holds the slot."""
        kek = slot.derive(self._secrets, self._max_memory_kib)
        if kek is None:
            return
        self._right_secret = True
        for copy in waiting:
            if self._could_win(copy):
                block = copy.superblock
                master = slot.unwrap(kek, block.container, block.epoch)
                if master is not None:
                    self._judge(master)

    def _judge(self, master: bytearray) -> None:
        """Take the newest copy that is genuine under `master`; it may have come from the older."""
        for copy in self._copies:
            if self._could_win(copy) and copy.is_genuine(master):
                if self._best is not None:
                    wipe(self._best[1])
                self._best = copy, master
                return
        wipe(master)

    def _failure(self, faults: Sequence[CopyFault]) -> Archive7Error:
        if self._right_secret:
            names = " and ".join(sorted(copy.name for copy in self._copies))
            return SuperblockCorruptError(
                f"the secret is right, but superblock copy {names} was changed by someone "
                "without the key (its HMAC or its sealed master key does not verify)"
                + "".join(f"; {fault}" for fault in faults)
                + _RESTORE
            )
        if self._refused is not None:
            return self._refused
        return _wrong_key(self._copies[0].superblock.slots, self._secrets, faults)


_RESTORE: Final = f": put back the first {RING_OFFSET} bytes of the file from a backup"


def _loser(copy: Copy, master: bytearray) -> CopyFault:
    """What is wrong with a copy that is whole and did not win."""
    if copy.is_genuine(master):
        reason = f"is superseded (sequence number {copy.superblock.sequence})"
        return CopyFault(copy.name, copy.offset, FaultKind.STALE, reason)
    reason = f"does not verify under the master key (it claims epoch {copy.superblock.epoch})"
    return CopyFault(copy.name, copy.offset, FaultKind.REFUSED, reason)


# --- what a failure is called


def _unreadable(device: Device, faults: Sequence[CopyFault]) -> Archive7Error:
    """Name what neither copy is."""
    kinds = {fault.kind for fault in faults}
    if kinds == {FaultKind.FOREIGN}:
        return _not_an_archive(device)
    both = "; ".join(map(str, faults))
    if kinds <= {FaultKind.FOREIGN, FaultKind.VERSION}:
        return VersionError(f"{both}; this version reads {VERSION_MAJOR}.x")
    return SuperblockCorruptError(both + _cut(device) + _RESTORE)


def _not_an_archive(device: Device) -> NotAnArchiveError:
    head = device.pread(16, 0)
    if not head:
        return NotAnArchiveError("not an Archive7 container: the file is empty")
    if head.startswith(_TRANSLATED):
        return NotAnArchiveError(
            "not an Archive7 container any more: it was copied in text mode, which changed its "
            "line ends or characters; copy the original again in binary mode"
        )
    return NotAnArchiveError(
        "not an Archive7 container: it does not begin with the magic of one" + _cut(device)
    )


def _cut(device: Device) -> str:
    size = device.size()
    if size >= RING_OFFSET:
        return ""
    return f"; the file is cut: it has {size} bytes, the superblock alone {RING_OFFSET}"


def _wrong_key(
    slots: Sequence[Keyslot], secrets: Secrets, faults: Sequence[CopyFault]
) -> WrongKeyError:
    """Say what was offered, what would be needed, and what this version cannot try."""
    given = [kind for kind in ("key", "password") if getattr(secrets, kind) is not None]
    text = f"no keyslot opens with the given {' or '.join(given)}"
    for kind, argument in ((SLOT_RAW, "key"), (SLOT_PASSPHRASE, "password")):
        count = sum(slot.kind == kind for slot in slots)
        if count and argument not in given:
            text += f"; {count} would take {argument}="
    unknown = [slot.kind for slot in slots if not slot.is_known]
    if unknown:
        kinds = ", ".join(map(str, sorted(set(unknown))))
        text += f"; {len(unknown)} keyslots are of kinds unknown to this version ({kinds})"
    for fault in faults:
        text += f"; {fault}: a secret added last may be in that copy only"
    return WrongKeyError(text)
