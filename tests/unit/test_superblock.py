"""The bytes of the superblock, the order of its writes, the notes in its sealed part."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest

from archive7 import superblock as sb
from archive7.crypto import SUITE_SECRETBOX, SUITE_XAES256GCM, subkey
from archive7.device import Buffer, MemoryDevice
from archive7.errors import KdfLimitError, SuperblockCorruptError, UsageError, VersionError
from archive7.keys import generate_identity
from archive7.keyslots import KdfCost, Keyslot, Secrets
from archive7.layout import (
    RING_OFFSET,
    SLOT_PASSPHRASE,
    SLOT_RAW,
    SUPERBLOCK_HEAD,
    SUPERBLOCK_SIZE,
    VERSION_MINOR,
)
from archive7.superblock import Copy, CopyFault, FaultKind, Note, notes, with_notes

FLOOR = KdfCost(19456, 2, 1)
KEY = bytes(range(32))
RAW = Secrets(key=KEY)
BOTH = Secrets(key=KEY, password="phrase")
Event = tuple[str, int, int]


class Recorder(MemoryDevice):
    """A device in memory that remembers the order of writes and syncs."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.events: list[Event] = []

    def pwrite(self, data: Buffer, offset: int) -> None:
        self.events.append(("pwrite", offset, len(data)))
        super().pwrite(data, offset)

    def sync(self) -> None:
        self.events.append(("sync", 0, 0))


A_THEN_B = [("pwrite", 0, 32768), ("sync", 0, 0), ("pwrite", 32768, 32768), ("sync", 0, 0)]
B_THEN_A = A_THEN_B[2:] + A_THEN_B[:2]
# before that the copy that stays, as it is: it may only look as if it were on the disk
B_AS_IT_IS, A_AS_IT_IS = A_THEN_B[2:], A_THEN_B[:2]


def made(secrets: Secrets = RAW) -> tuple[sb.Superblock, bytearray]:
    return sb.create(SUITE_XAES256GCM, secrets, FLOOR)


def whole(device: MemoryDevice, number: int) -> Copy:
    copy = sb.read_copy(device, number)
    assert isinstance(copy, Copy)
    return copy


def fault(data: bytes, number: int = 0) -> CopyFault:
    found = sb.read_copy(MemoryDevice(data), number)
    assert isinstance(found, CopyFault)
    return found


# --- creation


def test_creation_makes_new_ids_keys_and_one_slot_per_secret() -> None:
    superblock, master = made(BOTH)
    other, other_master = made(BOTH)
    assert [slot.kind for slot in superblock.slots] == [SLOT_RAW, SLOT_PASSPHRASE]
    assert (len(superblock.container), len(master)) == (16, 32)
    assert isinstance(master, bytearray)
    assert superblock.container != other.container
    assert master != other_master
    numbers = (superblock.suite, superblock.epoch, superblock.sequence, superblock.commit)
    assert numbers == (1, 1, 1, 0)
    assert (superblock.critical, superblock.optional) == (0, 0)
    assert superblock.minor == VERSION_MINOR


def test_creation_notes_when_each_slot_was_made() -> None:
    superblock, _ = made(BOTH)
    found = notes(superblock.info)
    assert [note.slot for note in found] == [slot.id for slot in superblock.slots]
    assert all(note.created_ns > 1_600_000_000 * 10**9 for note in found)


def test_creation_in_suite_2_needs_no_libsodium_yet() -> None:
    superblock, _ = sb.create(SUITE_SECRETBOX, RAW)
    assert superblock.suite == SUITE_SECRETBOX


@pytest.mark.parametrize("suite", [0, 3, 65535])
def test_creation_refuses_an_unknown_suite_by_number(suite: int) -> None:
    with pytest.raises(VersionError, match=rf"suite {suite} .*xaes256gcm.*secretbox"):
        sb.create(suite, RAW)


def test_creation_refuses_a_cost_out_of_bounds() -> None:
    with pytest.raises(KdfLimitError):
        sb.create(SUITE_XAES256GCM, BOTH, KdfCost(1024, 1, 1))


# --- bytes


def test_copy_comes_back() -> None:
    superblock, master = made(BOTH)
    superblock = replace(
        superblock, epoch=2**32 - 1, sequence=2**64 - 1, commit=2**63, optional=5, minor=7
    )
    copy = whole(MemoryDevice(sb.encode(superblock, master)), 0)
    assert copy.is_genuine(master)
    assert replace(copy.superblock, info=copy.unseal(master)) == superblock


def test_sha256_covers_what_is_before_it_and_the_hmac_every_other_byte() -> None:
    superblock, master = made()
    data = sb.encode(superblock, master)
    assert len(data) == SUPERBLOCK_SIZE
    assert data[-64:-32] == hashlib.sha256(data[:-64]).digest()
    key = subkey(master, superblock.container, b"superblock mac", 1, 1)
    assert data[-32:] == hmac.digest(key, data[:-32], "sha256")


def test_no_byte_of_a_copy_can_change_unnoticed() -> None:
    superblock, master = made(BOTH)
    data = sb.encode(superblock, master)
    for at in range(SUPERBLOCK_SIZE):
        changed = bytearray(data)
        changed[at] ^= 0x20
        found = sb.read_copy(MemoryDevice(bytes(changed)), 0)
        if at >= SUPERBLOCK_SIZE - 32:
            assert isinstance(found, Copy)
            assert not found.is_genuine(master)
        else:
            assert isinstance(found, CopyFault), at


def test_genuine_needs_the_right_master() -> None:
    superblock, master = made()
    copy = whole(MemoryDevice(sb.encode(superblock, master)), 0)
    assert copy.is_genuine(master)
    assert not copy.is_genuine(bytes(32))


def test_each_encoding_seals_with_a_nonce_of_its_own() -> None:
    superblock, master = made()
    copies = [whole(MemoryDevice(sb.encode(superblock, master)), 0) for _ in range(50)]
    assert len({copy.sealed[:12] for copy in copies}) == 50


def test_labels_are_nowhere_in_the_clear_and_change_no_size() -> None:
    superblock, master = made()
    slot = superblock.slots[0].id
    plain = sb.encode(superblock, master)
    labelled = replace(
        superblock, info=with_notes(superblock.info, [Note(slot, 1, "Grandmother's laptop")])
    )
    data = sb.encode(labelled, master)
    assert b"laptop" not in data
    assert SUPERBLOCK_HEAD.unpack_from(data)[-2:] == SUPERBLOCK_HEAD.unpack_from(plain)[-2:]


def test_unknown_slots_are_written_again_verbatim() -> None:
    superblock, master = made()
    foreign = Keyslot(9, bytes(range(200)))
    superblock = replace(superblock, slots=(foreign, *superblock.slots))
    device = MemoryDevice()
    sb.write_copies(device, superblock, master)
    copy = whole(device, 1)
    again = replace(copy.superblock, sequence=2, info=copy.unseal(master))
    sb.write_copies(device, again, master)
    assert whole(device, 0).superblock.slots == (foreign, *superblock.slots[1:])
    assert foreign.encode() in device.pread(SUPERBLOCK_SIZE, 0)


def test_nine_passphrase_slots_are_refused() -> None:
    superblock, master = made(Secrets(password="x"))
    eight = replace(superblock, slots=superblock.slots * 8)
    sb.encode(eight, master)
    with pytest.raises(UsageError, match="9 passphrase keyslots, at most 8"):
        sb.encode(replace(superblock, slots=superblock.slots * 9), master)


def test_full_table_is_refused_and_nothing_is_written() -> None:
    superblock, master = made()
    room = SUPERBLOCK_SIZE - 68 - 64 - (12 + len(superblock.info) + 16)
    fits = Keyslot(9, bytes(room - 4))
    device = Recorder()
    sb.encode(replace(superblock, slots=(fits,)), master)
    over = replace(superblock, slots=(Keyslot(9, bytes(room - 3)),))
    with pytest.raises(UsageError, match="remove a keyslot"):
        sb.write_copies(device, over, master)
    assert device.events == []


def test_twelve_slots_of_a_hybrid_recipient_fit() -> None:
    superblock, master = made(BOTH)
    hybrid = tuple(Keyslot(4, bytes(8 + 1168)) for _ in range(12))
    sb.encode(replace(superblock, slots=superblock.slots + hybrid), master)


# --- copies that are not whole


def test_fault_says_which_copy_where_and_what() -> None:
    superblock, master = made()
    data = sb.encode(superblock, master)
    found = fault(data + data[:-64] + bytes(64), 1)
    assert (found.copy, found.offset, found.kind) == ("B", 32768, FaultKind.DAMAGED)
    assert str(found) == "superblock copy B (offset 32768) does not match its SHA-256"


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 68, 4096, 16383])
def test_cut_copy_is_foreign_or_damaged(size: int) -> None:
    superblock, master = made()
    found = fault(sb.encode(superblock, master)[:size])
    assert found.kind is (FaultKind.FOREIGN if size < 8 else FaultKind.DAMAGED)


def test_other_major_version_is_named() -> None:
    superblock, master = made()
    data = bytearray(sb.encode(superblock, master))
    data[8:12] = b"\x00\x04\x00\x02"
    found = fault(bytes(data))
    assert found.kind is FaultKind.VERSION
    assert "4.2" in found.reason


@pytest.mark.parametrize("at", [60, 64])
@pytest.mark.parametrize("size", [32768 - 68 - 64 + 1, 2**31, 2**32 - 1])
def test_sizes_beyond_the_copy_are_damage(at: int, size: int) -> None:
    superblock, master = made()
    data = bytearray(sb.encode(superblock, master))
    data[at : at + 4] = size.to_bytes(4, "big")
    data[-64:-32] = hashlib.sha256(data[:-64]).digest()
    found = fault(bytes(data))
    assert found.kind is FaultKind.DAMAGED
    assert "reach beyond its end" in found.reason


def test_copy_of_zeros_is_foreign() -> None:
    assert fault(bytes(RING_OFFSET), 1).kind is FaultKind.FOREIGN


def test_device_that_fails_is_not_a_fault_of_the_copy() -> None:
    class Failing(MemoryDevice):
        def pread(self, size: int, offset: int) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        sb.read_copy(Failing(), 0)


def test_sealed_part_that_does_not_open_is_corrupt() -> None:
    superblock, master = made()
    copy = whole(MemoryDevice(sb.encode(superblock, master)), 0)
    with pytest.raises(SuperblockCorruptError, match="copy A"):
        copy.unseal(bytes(32))


# --- flags


def test_unknown_critical_flags_are_named_by_bit() -> None:
    superblock, _ = made()
    sb.require_known(replace(superblock, optional=2**32 - 1))
    with pytest.raises(VersionError, match="bits 0, 5, 31"):
        sb.require_known(replace(superblock, critical=1 | 1 << 5 | 1 << 31))


def test_unknown_suite_is_named() -> None:
    superblock, _ = made()
    with pytest.raises(VersionError, match="suite 9"):
        sb.require_known(replace(superblock, suite=9))


# --- order of writes


def test_copies_are_written_one_after_the_other_with_a_sync_each() -> None:
    superblock, master = made()
    device = Recorder()
    sb.write_copies(device, superblock, master)
    assert device.events == A_THEN_B
    assert device.pread(32768, 0) == device.pread(32768, 32768)
    assert device.size() == RING_OFFSET


def test_change_of_two_whole_copies_writes_a_first() -> None:
    superblock, master = made()
    device = Recorder()
    sb.write_copies(device, superblock, master)
    device.events.clear()
    sb.write_copies(device, replace(superblock, sequence=2), master)
    assert device.events == B_AS_IT_IS + A_THEN_B


@pytest.mark.parametrize(
    ("versions", "order"),
    [
        ((1, 1), B_AS_IT_IS + A_THEN_B),
        ((1, 2), B_AS_IT_IS + A_THEN_B),
        ((None, 1), B_AS_IT_IS + A_THEN_B),
        ((None, None), A_THEN_B),
        ((2, 1), A_AS_IT_IS + B_THEN_A),
        ((1, None), A_AS_IT_IS + B_THEN_A),
    ],
)
def test_best_copy_is_never_overwritten_first(
    versions: tuple[int | None, int | None], order: list[Event]
) -> None:
    superblock, master = made()
    copies = [
        bytes(32768)
        if version is None
        else sb.encode(replace(superblock, sequence=version), master)
        for version in versions
    ]
    device = Recorder(b"".join(copies))
    sb.write_copies(device, replace(superblock, sequence=3), master)
    assert device.events == order
    assert whole(device, 0).superblock.sequence == whole(device, 1).superblock.sequence == 3


def test_failed_write_leaves_the_other_copy() -> None:
    class Full(MemoryDevice):
        def pwrite(self, data: Buffer, offset: int) -> None:
            super().pwrite(bytes(data)[:4096], offset)
            if offset == full_at:
                raise OSError(28, "No space left on device")
            super().pwrite(data, offset)

    superblock, master = made()
    for full_at in (0, 32768):  # A, and B as it is
        device = Full(sb.encode(superblock, master) * 2)
        with pytest.raises(OSError, match="No space"):
            sb.write_copies(device, replace(superblock, sequence=2), master)
        assert isinstance(sb.read_copy(device, 0), CopyFault if full_at == 0 else Copy)
        assert whole(device, 1).is_genuine(master)


# --- notes


ONE, TWO = b"\x01" * 8, b"\x02" * 8


def test_notes_come_back() -> None:
    some = (Note(ONE, 0, ""), Note(TWO, 2**64 - 1, "Büro \N{KEY}"))
    assert notes(with_notes(b"", some)) == some
    assert notes(b"") == ()


def test_new_note_takes_the_place_of_the_old() -> None:
    info = with_notes(b"", [Note(ONE, 1, "old"), Note(TWO, 2, "other")])
    info = with_notes(info, [Note(ONE, 3, "new")])
    assert set(notes(info)) == {Note(ONE, 3, "new"), Note(TWO, 2, "other")}


def test_note_of_a_removed_slot_goes() -> None:
    info = with_notes(b"", [Note(ONE, 1), Note(TWO, 2)])
    assert notes(with_notes(info, [], drop=[ONE])) == (Note(TWO, 2),)


def test_items_of_unknown_kinds_stay() -> None:
    foreign = b"\x00\x09\x00\x08" + ONE
    info = with_notes(foreign, [Note(ONE, 1, "label")])
    assert notes(info) == (Note(ONE, 1, "label"),)
    assert foreign in info
    assert foreign in with_notes(info, [], drop=[ONE])


def test_public_key_comes_back_and_goes_with_its_note() -> None:
    some = [
        Note(number * 8, 1, "label", generate_identity(kind).recipient)
        for number, kind in ((b"\x01", "x25519"), (b"\x02", "hybrid"))
    ]
    info = with_notes(b"", [*some, Note(b"\x03" * 8, 2)])
    assert notes(info)[:2] == tuple(some)
    assert some[0].recipient is not None
    assert some[0].recipient.public in info
    less = with_notes(info, [], drop=[ONE])
    assert some[0].recipient.public not in less
    assert notes(less)[0] == some[1]
    assert notes(with_notes(info, [Note(ONE, 3)]))[-1] == Note(ONE, 3), "a new note has its own"


def test_public_key_of_unknown_kind_stays() -> None:
    foreign = b"\x00\x02\x00\x0e" + ONE + b"\x00\x63" + b"key!"
    info = with_notes(foreign, [Note(TWO, 1)])
    assert foreign in info
    assert notes(info) == (Note(TWO, 1),)
    assert foreign in with_notes(info, [Note(TWO, 2)])


@pytest.mark.parametrize(
    "body", [b"", ONE, ONE + b"\x00", ONE + b"\x00\x03" + bytes(31), ONE + b"\x00\x04" + bytes(32)]
)
def test_malformed_public_key_is_corrupt(body: bytes) -> None:
    with pytest.raises(SuperblockCorruptError, match="public key"):
        notes(b"\x00\x02" + len(body).to_bytes(2, "big") + body)


@pytest.mark.parametrize("size", range(256))
def test_sealed_part_is_padded(size: int) -> None:
    label = "x" * size
    info = with_notes(b"", [Note(ONE, 1, label)])
    assert len(info) % 256 == 0
    assert notes(info) == (Note(ONE, 1, label),)


@pytest.mark.parametrize("label", ["x" * 256, "ü" * 128])
def test_label_too_long_is_refused(label: str) -> None:
    with pytest.raises(UsageError, match="256 bytes, at most 255"):
        with_notes(b"", [Note(ONE, 1, label)])


def test_label_that_utf8_cannot_encode_is_refused() -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        with_notes(b"", [Note(ONE, 1, "\udc80")])


def test_label_of_a_faulty_writer_is_still_text() -> None:
    info = b"\x00\x01\x00\x12" + ONE + bytes(8) + b"\xff\xfe"
    assert notes(info)[0].label == "\N{REPLACEMENT CHARACTER}" * 2


@pytest.mark.parametrize(
    "info", [b"\x00", b"\x00\x01\x00", b"\x00\x01\x00\x05abcd", b"\x00\x01\x00\x0f" + bytes(15)]
)
def test_malformed_sealed_part_is_corrupt(info: bytes) -> None:
    with pytest.raises(SuperblockCorruptError):
        notes(info)
