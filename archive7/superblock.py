"""The superblock: two copies of what must be readable before there is a key.

Owns its bytes, the order in which the copies are written, and the notes on slots in its sealed
part.  May assume: `keyslots`, a device.  Promises: at every instant one copy on disk is whole;
nothing but magic, version, lengths and the slot table is decoded from bytes that no MAC covers.

A copy is head, slot table, sealed part, zeros, SHA-256 of all that, HMAC-SHA256 of all that and
the SHA-256.  So the SHA-256, which needs no key, vouches for everything but the HMAC; the HMAC
vouches for every other byte, and it cannot be damaged unnoticed since then it does not match.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from .crypto import KEY_SIZE, SUITES, Buffer, mac, open_small, same, seal_small, sha256, subkey
from .device import Device
from .errors import SuperblockCorruptError, UsageError, VersionError
from .keys import Recipient
from .keyslots import KdfCost, Keyslot, Secrets, decode_items, decode_slots, seal_slots
from .layout import (
    INFO_END,
    INFO_HEAD,
    INFO_NOTE,
    INFO_RECIPIENT,
    INFO_UNIT,
    MAGIC,
    MAX_KEYSLOTS,
    MAX_LABEL_SIZE,
    MAX_PASSPHRASE_SLOTS,
    MAX_RECIPIENT_SLOTS,
    NOTE,
    RECIPIENT,
    SLOT_ID_SIZE,
    SLOT_PASSPHRASE,
    SUPERBLOCK_HEAD,
    SUPERBLOCK_OFFSETS,
    SUPERBLOCK_SIZE,
    SUPERBLOCK_TAIL,
    VERSION_MAJOR,
    VERSION_MINOR,
)

COPY_NAMES: Final = ("A", "B")
KNOWN_CRITICAL: Final = 0  # critical flags of this version
_FIRST_EPOCH: Final = 1
_FIRST_SEQUENCE: Final = 1
_BODY_END: Final = SUPERBLOCK_SIZE - SUPERBLOCK_TAIL.size
_MAC_AT: Final = SUPERBLOCK_SIZE - 32


@dataclass(slots=True)
class Superblock:
    """What one version of the superblock says.

    Attributes:
        container: container id, 16 random bytes; salt of every sub-key.
        suite: cipher suite of the blocks.
        epoch: number of the master key, from 1.
        sequence: version of the superblock, from 1; whoever changes anything raises it.
        commit: commit number at which this version was written.
        critical, optional: flags; an unknown critical one refuses the archive, optional ones
            are kept as they are.
        slots: the slot table, also the slots of kinds unknown to this version.
        info: plaintext of the sealed part (`notes`, `with_notes`).
        minor: minor format version of who wrote it.
    """

    container: bytes
    suite: int
    epoch: int
    sequence: int
    commit: int
    critical: int
    optional: int
    slots: tuple[Keyslot, ...]
    info: bytes = field(repr=False)
    minor: int = VERSION_MINOR


def create(
    suite: int, secrets: Secrets, kdf: KdfCost | None = None
) -> tuple[Superblock, bytearray]:
    """Make a superblock with a new container id, a new master key and a slot for each secret.

    Returns: superblock and master key; the caller wipes the key.
    Raises: VersionError for an unknown suite, KdfLimitError for a cost out of bounds.
    """
    _require_suite(suite)
    container, master = os.urandom(16), bytearray(os.urandom(KEY_SIZE))
    slots = seal_slots(secrets, kdf or KdfCost(), master, container, _FIRST_EPOCH)
    now = time.time_ns()
    known = [None] * (len(slots) - len(secrets.receivers)) + [*secrets.receivers]
    pairs = zip(slots, known, strict=True)
    info = with_notes(b"", [Note(slot.id, now, recipient=whose) for slot, whose in pairs])
    fields = (container, suite, _FIRST_EPOCH, _FIRST_SEQUENCE, 0, 0, 0)
    return Superblock(*fields, slots, info), master


def _require_suite(suite: int) -> None:
    if suite not in SUITES:
        known = ", ".join(f"{number} ({name})" for number, name in SUITES.items())
        raise VersionError(f"cipher suite {suite} is not known to this version, only {known}")


def require_known(superblock: Superblock) -> None:
    """Refuse what this version does not know; only after the MAC.  Raises: VersionError."""
    _require_suite(superblock.suite)
    unknown = superblock.critical & ~KNOWN_CRITICAL
    if unknown:
        bits = ", ".join(str(bit) for bit in range(32) if unknown >> bit & 1)
        raise VersionError(
            f"the archive needs features that this version does not have (critical flags: bits "
            f"{bits}; format {VERSION_MAJOR}.{superblock.minor}): open it with a newer archive7"
        )


# --- bytes


def _key(master: Buffer, superblock: Superblock, purpose: bytes) -> bytes:
    return subkey(master, superblock.container, purpose, superblock.suite, superblock.epoch)


def encode(superblock: Superblock, master: Buffer) -> bytes:
    """Encode and authenticate one copy, 32768 bytes; each call seals with a nonce of its own.

    Raises: UsageError if the keyslots do not fit.
    """
    _require_few(superblock.slots)
    table = b"".join(slot.encode() for slot in superblock.slots)
    seal_key = _key(master, superblock, b"superblock seal")
    sealed = seal_small(seal_key, superblock.info, superblock.container)
    body = _encode_head(superblock, len(table), len(sealed)) + table + sealed
    if len(body) > _BODY_END:
        raise UsageError(
            f"keyslots and labels take {len(body)} bytes, the superblock has room for "
            f"{_BODY_END}: remove a keyslot first"
        )
    body += bytes(_BODY_END - len(body))
    body += sha256(body)
    return body + mac(_key(master, superblock, b"superblock mac"), body)


def _require_few(slots: tuple[Keyslot, ...]) -> None:
    """Refuse more keyslots than a reader accepts.  Raises: UsageError."""
    for count, most, name in (
        (len(slots), MAX_KEYSLOTS, ""),
        (sum(slot.kind == SLOT_PASSPHRASE for slot in slots), MAX_PASSPHRASE_SLOTS, "passphrase "),
        (sum(slot.is_recipient for slot in slots), MAX_RECIPIENT_SLOTS, "recipient "),
    ):
        if count > most:
            raise UsageError(f"{count} {name}keyslots, at most {most}: remove one first")


def _encode_head(superblock: Superblock, table_size: int, sealed_size: int) -> bytes:
    return SUPERBLOCK_HEAD.pack(
        MAGIC,
        VERSION_MAJOR,
        superblock.minor,
        superblock.suite,
        len(superblock.slots),
        superblock.critical,
        superblock.optional,
        superblock.container,
        superblock.epoch,
        superblock.sequence,
        superblock.commit,
        table_size,
        sealed_size,
    )


class FaultKind(Enum):
    """What is wrong with a copy."""

    FOREIGN = "foreign"  # has not our magic
    VERSION = "version"  # of another major format version
    DAMAGED = "damaged"  # cut, or contradicts its SHA-256 or its own lengths
    REFUSED = "refused"  # whole, but not made by a holder of the master key
    STALE = "stale"  # genuine, but not newer than the other copy


@dataclass(frozen=True, slots=True)
class CopyFault:
    """Why a copy of the superblock cannot serve, for `check` and for messages."""

    copy: str
    offset: int
    kind: FaultKind
    reason: str

    def __str__(self) -> str:
        return f"superblock copy {self.copy} (offset {self.offset}) {self.reason}"


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that is whole: its SHA-256 and its lengths agree.  Nothing in it is proved yet."""

    name: str
    offset: int
    encoded: bytes = field(repr=False)
    superblock: Superblock  # info is empty: it is still sealed
    sealed: bytes = field(repr=False)

    def is_genuine(self, master: Buffer) -> bool:
        """Whether the HMAC over every other byte verifies."""
        mac_key = _key(master, self.superblock, b"superblock mac")
        covered = memoryview(self.encoded)[:_MAC_AT]
        return same(self.encoded[_MAC_AT:], mac(mac_key, covered))

    def unseal(self, master: Buffer) -> bytes:
        """The plaintext of the sealed part.  Raises: SuperblockCorruptError."""
        key = _key(master, self.superblock, b"superblock seal")
        info = open_small(key, self.sealed, self.superblock.container)
        if info is None:
            raise SuperblockCorruptError(
                f"superblock copy {self.name} is genuine, but its sealed part does not open: "
                "a faulty program wrote it"
            )
        return info


def read_copy(device: Device, number: int) -> Copy | CopyFault:
    """Read copy A (0) or B (1) as far as that goes without a key.

    Cost: one read of 32768 bytes, one SHA-256.
    """
    name, offset = COPY_NAMES[number], SUPERBLOCK_OFFSETS[number]
    encoded = device.pread(SUPERBLOCK_SIZE, offset)
    fault = _fault(encoded)
    if fault:
        return CopyFault(name, offset, *fault)
    try:
        superblock, sealed = _decode(encoded)
    except SuperblockCorruptError as error:
        return CopyFault(name, offset, FaultKind.DAMAGED, f"contradicts itself: {error.reason}")
    return Copy(name, offset, encoded, superblock, sealed)


def _fault(encoded: bytes) -> tuple[FaultKind, str] | None:
    """What the bytes of a copy show at first sight: magic, size, version, SHA-256."""
    if not encoded.startswith(MAGIC):
        return FaultKind.FOREIGN, "does not begin with the magic of Archive7"
    if len(encoded) < SUPERBLOCK_SIZE:
        return FaultKind.DAMAGED, f"is cut after {len(encoded)} of {SUPERBLOCK_SIZE} bytes"
    _, major, minor, *_ = SUPERBLOCK_HEAD.unpack_from(encoded)
    if major != VERSION_MAJOR:
        return FaultKind.VERSION, f"is of format version {major}.{minor}"
    digest, _ = SUPERBLOCK_TAIL.unpack_from(encoded, _BODY_END)
    if sha256(memoryview(encoded)[:_BODY_END]) != digest:
        return FaultKind.DAMAGED, "does not match its SHA-256"
    return None


def _decode(encoded: bytes) -> tuple[Superblock, bytes]:
    """Decode a whole copy; return it and the sealed part.  Raises: SuperblockCorruptError."""
    head = SUPERBLOCK_HEAD.unpack_from(encoded)
    _, _, minor, suite, count, critical, optional, container, epoch, sequence, commit = head[:11]
    table_end = SUPERBLOCK_HEAD.size + head[11]
    sealed_end = table_end + head[12]
    if sealed_end > _BODY_END:
        raise SuperblockCorruptError("slot table and sealed part reach beyond its end")
    slots = decode_slots(encoded[SUPERBLOCK_HEAD.size : table_end], count)
    numbers = (epoch, sequence, commit, critical, optional)
    return Superblock(container, suite, *numbers, slots, b"", minor), encoded[table_end:sealed_end]


def genuine_copies(device: Device, container: bytes, master: Buffer) -> list[Copy]:
    """The copies of a container's superblock that are genuine under a master key, newest first."""
    found = [read_copy(device, 0), read_copy(device, 1)]
    genuine = [
        copy
        for copy in found
        if isinstance(copy, Copy)
        and copy.superblock.container == container
        and copy.is_genuine(master)
    ]
    return sorted(genuine, key=lambda copy: -copy.superblock.sequence)


def newest_genuine(device: Device, container: bytes, master: Buffer) -> Superblock | None:
    """The newest version of a container's superblock that is genuine under a known master key."""
    copies = genuine_copies(device, container, master)
    if not copies:
        return None
    return replace(copies[0].superblock, info=copies[0].unseal(master))


# --- writing


def write_copies(device: Device, superblock: Superblock, master: Buffer) -> None:
    """Write both copies, a sync after each; copy A first.

    Only where copy A alone is whole, or newer, is B written first: the best copy that the disk
    has is never the one being overwritten.  What stays meanwhile is written again before, as it
    is, since after a sync that failed a copy may look whole and not be on the disk.  The caller
    has raised the sequence number, and nothing may be written behind this call that relies on it
    before it returns.

    Raises: UsageError if the keyslots do not fit; nothing is written then.
    Durable: both copies.  After a power cut in between: the version before, or this one.
    """
    encoded = encode(superblock, master)
    first, second = _write_order(device)
    kept = read_copy(device, SUPERBLOCK_OFFSETS.index(second))
    if isinstance(kept, Copy):
        write_copy(device, kept.encoded, second)
    write_copy(device, encoded, first)
    write_copy(device, encoded, second)


def write_copy(device: Device, encoded: bytes, offset: int) -> None:
    """Write one copy.  Durable: when this returns."""
    device.pwrite(encoded, offset)
    device.sync()


def _write_order(device: Device) -> tuple[int, int]:
    one, other = (
        found.superblock.sequence if isinstance(found, Copy) else -1
        for found in (read_copy(device, 0), read_copy(device, 1))
    )
    a, b = SUPERBLOCK_OFFSETS
    return (b, a) if one > other else (a, b)


# --- the sealed part


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a keyslot beyond its bytes.

    Attributes:
        slot: id of the slot.
        created_ns: when it was sealed, ns since 1970.
        label: at most 255 bytes of UTF-8.
        recipient: whom it was sealed for; kept so that it can be sealed again.
    """

    slot: bytes
    created_ns: int
    label: str = ""
    recipient: Recipient | None = None

    def items(self) -> list[tuple[int, bytes]]:
        """The items of the sealed part.  Raises: UsageError for a label that cannot be kept."""
        try:
            label = self.label.encode()
        except UnicodeEncodeError:
            raise UsageError("a label must be text that UTF-8 can encode") from None
        if len(label) > MAX_LABEL_SIZE:
            raise UsageError(f"a label has {len(label)} bytes, at most {MAX_LABEL_SIZE} are kept")
        items = [(INFO_NOTE, NOTE.pack(self.slot, self.created_ns) + label)]
        if self.recipient is not None:
            head = RECIPIENT.pack(self.slot, self.recipient.slot_kind)
            items.append((INFO_RECIPIENT, head + self.recipient.public))
        return items


def notes(info: bytes) -> tuple[Note, ...]:
    """Decode the notes of the sealed part.  Raises: SuperblockCorruptError if it is malformed."""
    items = list(_info_items(info))
    recipients = dict(_recipient(body) for kind, body in items if kind == INFO_RECIPIENT)
    found = []
    for kind, body in items:
        if kind == INFO_NOTE:
            if len(body) < NOTE.size:
                raise SuperblockCorruptError("a note on a keyslot is cut")
            slot, created_ns = NOTE.unpack_from(body)
            label = body[NOTE.size :].decode(errors="replace")
            found.append(Note(slot, created_ns, label, recipients.get(slot)))
    return tuple(found)


def _recipient(body: bytes) -> tuple[bytes, Recipient | None]:
    """Slot id and recipient of an item; None for a kind unknown to this version."""
    if len(body) < RECIPIENT.size:
        raise SuperblockCorruptError("a recipient's public key is cut")
    slot, kind = RECIPIENT.unpack_from(body)
    try:
        return slot, Recipient.of_slot(kind, body[RECIPIENT.size :])
    except UsageError as error:
        raise SuperblockCorruptError(f"a recipient's public key is none: {error}") from None


def with_notes(info: bytes, new: Iterable[Note], drop: Iterable[bytes] = ()) -> bytes:
    """Return the sealed part with `new` notes, without those of the slots in `drop`.

    A new note takes the place of one on the same slot; items of other kinds stay as they are.
    """
    new = tuple(new)
    gone = {note.slot for note in new}.union(drop)
    items = [
        (kind, body)
        for kind, body in _info_items(info)
        if kind not in (INFO_NOTE, INFO_RECIPIENT) or body[:SLOT_ID_SIZE] not in gone
    ]
    return _encode_items(items + [item for note in new for item in note.items()])


def info_bodies(info: bytes, wanted: int) -> list[bytes]:
    """The bodies of the items of one kind."""
    return [body for kind, body in _info_items(info) if kind == wanted]


def with_bodies(info: bytes, kind: int, bodies: Iterable[bytes]) -> bytes:
    """Return the sealed part with these items of a kind, in the place of those that it has."""
    items = [(other, body) for other, body in _info_items(info) if other != kind]
    return _encode_items([*items, *((kind, body) for body in bodies)])


def _encode_items(items: list[tuple[int, bytes]]) -> bytes:
    items = [*items, (INFO_END, b"")]
    data = b"".join(INFO_HEAD.pack(kind, len(body)) + body for kind, body in items)
    return data + bytes(-len(data) % INFO_UNIT)


def _info_items(info: bytes) -> Iterator[tuple[int, bytes]]:
    for kind, body in decode_items(info, "sealed part"):
        if kind == INFO_END:
            return
        yield kind, body
