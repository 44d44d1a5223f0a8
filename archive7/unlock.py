"""Unlocking: from an offered secret to the superblock that counts, and its master key.

Owns which slots are tried, in which order, which copy wins, and what a failure is called.  May
assume: `superblock`, `keyslots`.  Promises: nothing in a copy is acted on before its HMAC
verified under a master key that one of the keyslots gave; of the genuine copies the newest wins;
a wrong passphrase costs one Argon2id per distinct slot at most, and none outside the bounds;
what a private key opens never takes the place of what a key or passphrase opened.
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
    UsageError,
    VersionError,
    WrongKeyError,
)
from .keyslots import Keyslot, Secrets, wipe
from .layout import (
    KDF_UNASKED_MEMORY,
    MAGIC,
    MAX_PASSPHRASE_SLOTS,
    MAX_RECIPIENT_SLOTS,
    RING_OFFSET,
    SLOT_HYBRID,
    SLOT_PASSPHRASE,
    SLOT_RAW,
    SLOT_X25519,
    SUPERBLOCK_OFFSETS,
    VERSION_MAJOR,
)
from .superblock import (
    Copy,
    CopyFault,
    FaultKind,
    Superblock,
    read_copy,
    require_known,
    write_copy,
)

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
        slot: the keyslot that opened.
    """

    superblock: Superblock
    master: bytearray = field(repr=False)
    faults: tuple[CopyFault, ...]
    encoded: bytes = field(repr=False)
    slot: Keyslot

    @property
    def is_authenticated(self) -> bool:
        """Whether the maker knew a secret of the caller's: a public key is no secret."""
        return not self.slot.is_recipient


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
        passphrase slot until one opens, cheapest first; 0.2 ms for each recipient slot.
    Source: docs/format.rst, "Superblock".
    """
    found = [read_copy(device, 0), read_copy(device, 1)]
    copies = [copy for copy in found if isinstance(copy, Copy)]
    faults = [fault for fault in found if isinstance(fault, CopyFault)]
    if not copies:
        raise _unreadable(device, faults)
    if len(copies) == 2 and copies[0].encoded == copies[1].encoded:
        copies.pop()
    if not secrets.given:
        raise UsageError("recipients open nothing: pass key=, password= or identity=")
    search = _Search(copies, secrets, max_kdf_memory_kib)
    winner, master = search.run(faults)
    try:
        require_known(winner.superblock)
        superblock = replace(winner.superblock, info=winner.unseal(master))
    except Archive7Error:
        wipe(master)
        raise
    faults += [_loser(copy, master) for copy in copies if copy is not winner]
    return Unlocked(superblock, master, tuple(faults), winner.encoded, search.slot)


def rewrite_damaged_copy(device: Device, unlocked: Unlocked) -> None:
    """Write the copies that `unlocked.faults` names again, as the genuine one is.

    The genuine one is written first, since after a sync that failed it may only look as if it
    were on the disk.  Only for a writer, after the roots have confirmed the superblock's sequence
    number: else an older superblock that someone put back would be made to last.

    Durable: both copies; a power cut meanwhile leaves one of them.
    """
    bad = [fault.offset for fault in unlocked.faults]
    if bad:
        for offset in (*(at for at in SUPERBLOCK_OFFSETS if at not in bad), *bad):
            write_copy(device, unlocked.encoded, offset)


# --- the search for a slot that opens


class _Search:
    """Tries the slots of the copies that are whole until the newest genuine copy is known."""

    def __init__(self, copies: Sequence[Copy], secrets: Secrets, max_memory_kib: int) -> None:
        # By the number a copy claims; only a copy that then proves genuine can win by it.
        self._copies = sorted(copies, key=lambda copy: -copy.superblock.sequence)
        self._secrets = secrets
        self._max_memory_kib = max_memory_kib
        self._best: tuple[Copy, bytearray] | None = None
        self.slot: Keyslot  # that opened the best copy
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
            received = sum(slot.is_recipient for slot in slots)
            for slot in slots:
                count = received if slot.is_recipient else phrases
                if slot.fits(self._secrets) and self._admits(slot, count):
                    holders.setdefault(slot, []).append(copy)
        return holders

    def _admits(self, slot: Keyslot, count: int) -> bool:
        """Whether a slot is within the bounds: all are checked before any is tried."""
        if slot.kind == SLOT_RAW:
            return True
        most = MAX_RECIPIENT_SLOTS if slot.is_recipient else MAX_PASSPHRASE_SLOTS
        try:
            if slot.cost is not None:
                slot.cost.check(self._max_memory_kib)
            if count > most:
                name = "recipient" if slot.is_recipient else "passphrase"
                raise KdfLimitError(
                    f"the superblock has {count} {name} keyslots, over the limit of "
                    f"{most}, which max_kdf_memory= does not lift"
                )
        except KdfLimitError as error:
            self._refused = error
            return False
        return True

    def _could_win(self, copy: Copy) -> bool:
        return self._best is None or (copy.superblock.sequence > self._best[0].superblock.sequence)

    def _try(self, slot: Keyslot, waiting: Sequence[Copy]) -> None:
        """Derive the slot's key once and try it in every copy that holds the slot."""
        if slot.is_recipient:
            self._receive(slot, waiting)
            return
        kek = slot.derive(self._secrets, self._max_memory_kib)
        if kek is None:
            return
        self._right_secret = True
        for copy in waiting:
            if self._could_win(copy):
                block = copy.superblock
                master = slot.unwrap(kek, block.container, block.epoch)
                if master is not None:
                    self._judge(master, slot)

    def _receive(self, slot: Keyslot, waiting: Sequence[Copy]) -> None:
        """Try a slot that anybody may have made, unless one that nobody else could has opened."""
        if self._best is not None and not self.slot.is_recipient:
            return
        for copy in waiting:
            if self._could_win(copy):
                block = copy.superblock
                master = slot.receive(self._secrets, block.container, block.epoch)
                if master is not None:
                    self._right_secret = True
                    self._judge(master, slot)

    def _judge(self, master: bytearray, slot: Keyslot) -> None:
        """Take the newest copy that is genuine under `master`; it may have come from the older."""
        for copy in self._copies:
            if self._could_win(copy) and copy.is_genuine(master):
                if self._best is not None:
                    wipe(self._best[1])
                self._best, self.slot = (copy, master), slot
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


_TAKERS: Final = (
    ((SLOT_RAW,), "key"),
    ((SLOT_PASSPHRASE,), "password"),
    ((SLOT_X25519, SLOT_HYBRID), "identity"),
)


def _wrong_key(
    slots: Sequence[Keyslot], secrets: Secrets, faults: Sequence[CopyFault]
) -> WrongKeyError:
    """Say what was offered, what would be needed, and what this version cannot try."""
    given = secrets.given
    text = f"no keyslot opens with the given {' or '.join(given)}"
    for kinds_taken, argument in _TAKERS:
        count = sum(slot.kind in kinds_taken for slot in slots)
        if count and argument not in given:
            text += f"; {count} would take {argument}="
    unknown = [slot.kind for slot in slots if not slot.is_known]
    if unknown:
        kinds = ", ".join(map(str, sorted(set(unknown))))
        text += f"; {len(unknown)} keyslots are of kinds unknown to this version ({kinds})"
    for fault in faults:
        text += f"; {fault}: a secret added last may be in that copy only"
    return WrongKeyError(text)
