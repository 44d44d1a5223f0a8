"""Which copy wins, what is tried, what a failure is called; tears and hostile bytes."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archive7 import crypto, keyslots
from archive7 import superblock as sb
from archive7.crypto import SUITE_XAES256GCM, hkdf, sha256
from archive7.device import Buffer, MemoryDevice
from archive7.errors import (
    Archive7Error,
    KdfLimitError,
    NotAnArchiveError,
    SuperblockCorruptError,
    UsageError,
    VersionError,
    WrongKeyError,
)
from archive7.keys import Identity
from archive7.keyslots import KdfCost, Keyslot, Secrets, seal_slots
from archive7.layout import MAGIC, SUPERBLOCK_HEAD, SUPERBLOCK_OFFSETS, SUPERBLOCK_SIZE
from archive7.superblock import FaultKind
from archive7.unlock import Unlocked, read, rewrite_damaged_copy

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "crypto"
FLOOR = KdfCost(19456, 2, 1)
KEY = bytes(range(32))
RAW = Secrets(key=KEY)
PHRASE = Secrets(password="phrase")
BOTH = Secrets(key=KEY, password="phrase")
DOCUMENTED = (
    KdfLimitError,
    NotAnArchiveError,
    SuperblockCorruptError,
    VersionError,
    WrongKeyError,
)
Cost = tuple[int, int, int]


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[Cost]:
    """Put HKDF in the place of Argon2id; record the costs it was asked for."""
    calls = []

    def cheap(phrase: bytes, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
        calls.append((memory_kib, passes, lanes))
        return hkdf(phrase, salt, b"cheap")

    monkeypatch.setattr(keyslots, "argon2id", cheap)
    return calls


def made(secrets: Secrets = RAW) -> tuple[sb.Superblock, bytearray]:
    return sb.create(SUITE_XAES256GCM, secrets, FLOOR)


def versions(secrets: Secrets = RAW) -> tuple[bytes, bytes]:
    """A copy and the next version of it."""
    superblock, master = made(secrets)
    return sb.encode(superblock, master), sb.encode(replace(superblock, sequence=2), master)


def resummed(copy: bytes | bytearray) -> bytes:
    """Make the SHA-256 right, as anybody can."""
    body = bytes(copy[:-64])
    return body + sha256(body) + bytes(copy[-32:])


def unlocked(data: bytes, secrets: Secrets = RAW) -> Unlocked:
    return read(MemoryDevice(data), secrets)


def faults(data: bytes, secrets: Secrets = RAW) -> dict[str, FaultKind]:
    return {fault.copy: fault.kind for fault in unlocked(data, secrets).faults}


# --- reading


@pytest.mark.parametrize("secrets", [RAW, PHRASE, BOTH])
def test_each_secret_opens(secrets: Secrets) -> None:
    superblock, master = made(BOTH)
    device = MemoryDevice()
    sb.write_copies(device, superblock, master)
    opened = read(device, secrets)
    assert opened.superblock == superblock
    assert opened.master == master
    assert opened.faults == ()
    assert opened.encoded == device.pread(SUPERBLOCK_SIZE, 0)


def test_one_right_secret_of_two_is_enough(costs: list[Cost]) -> None:
    superblock, master = made(BOTH)
    data = sb.encode(superblock, master) * 2
    assert unlocked(data, Secrets(key=bytes(32), password="phrase")).master == master
    assert unlocked(data, Secrets(key=KEY, password="wrong")).master == master


def test_unlocked_shows_no_key() -> None:
    superblock, master = made()
    text = repr(unlocked(sb.encode(superblock, master) * 2))
    assert repr(bytes(master))[2:-1] not in text
    assert "master" not in text


def test_reading_writes_nothing() -> None:
    superblock, master = made()
    device = MemoryDevice(sb.encode(superblock, master) * 2, readonly=True)
    assert read(device, RAW).master == master


def test_what_follows_the_copies_does_not_matter() -> None:
    superblock, master = made()
    assert unlocked(sb.encode(superblock, master) * 2 + b"x" * 99999).faults == ()


# --- which copy wins


def test_newest_genuine_copy_wins() -> None:
    old, new = versions()
    assert unlocked(old + new).superblock.sequence == 2
    assert unlocked(new + old).superblock.sequence == 2
    assert faults(old + new) == {"A": FaultKind.STALE}
    assert faults(new + old) == {"B": FaultKind.STALE}


def test_two_genuine_copies_of_one_number_give_the_first() -> None:
    superblock, master = made()
    one, other = sb.encode(superblock, master), sb.encode(superblock, master)
    assert unlocked(one + other).encoded == one
    assert faults(one + other) == {"B": FaultKind.STALE}


@pytest.mark.parametrize("sequence", [0, 1, 3, 2**64 - 1])
def test_forged_number_wins_nothing(sequence: int) -> None:
    old, new = versions()
    forged = bytearray(old)
    forged[44:52] = sequence.to_bytes(8, "big")
    if sequence != 1:
        assert unlocked(resummed(forged) + new).superblock.sequence == 2
        assert faults(resummed(forged) + new) == {"A": FaultKind.REFUSED}
        assert faults(new + resummed(forged)) == {"B": FaultKind.REFUSED}


def test_copy_of_another_container_wins_nothing() -> None:
    superblock, master = made()
    stranger, other_master = made(Secrets(key=bytes(32)))
    data = sb.encode(superblock, master)
    other = sb.encode(replace(stranger, sequence=99), other_master)
    assert unlocked(other + data).superblock.container == superblock.container
    assert faults(other + data) == {"A": FaultKind.REFUSED}


def test_after_half_a_rekey_the_new_epoch_wins(costs: list[Cost]) -> None:
    superblock, master = made(BOTH)
    new_master = bytearray(b"n" * 32)
    slots = seal_slots(BOTH, FLOOR, new_master, superblock.container, 2)
    rekeyed = replace(superblock, epoch=2, sequence=2, slots=slots)
    data = sb.encode(rekeyed, new_master) + sb.encode(superblock, master)
    for secrets in (RAW, PHRASE, BOTH):
        opened = unlocked(data, secrets)
        assert (opened.superblock.epoch, opened.master) == (2, new_master)
        assert [fault.kind for fault in opened.faults] == [FaultKind.REFUSED]


def test_secret_of_the_old_epoch_opens_the_old_copy_of_half_a_rekey() -> None:
    superblock, master = made()
    new_master = bytearray(b"n" * 32)
    slots = seal_slots(Secrets(key=bytes(32)), FLOOR, new_master, superblock.container, 2)
    rekeyed = replace(superblock, epoch=2, sequence=2, slots=slots)
    opened = unlocked(sb.encode(rekeyed, new_master) + sb.encode(superblock, master))
    assert (opened.superblock.epoch, opened.master) == (1, master)


def test_slot_of_the_older_copy_proves_the_newer_one() -> None:
    superblock, master = made(BOTH)
    newer = replace(superblock, sequence=2, slots=superblock.slots[1:])
    data = sb.encode(newer, master) + sb.encode(superblock, master)
    assert unlocked(data, RAW).superblock.sequence == 2  # section 6.9 then writes copy B again


def test_unknown_critical_flag_of_the_newest_copy_refuses_the_archive() -> None:
    superblock, master = made()
    newer = sb.encode(replace(superblock, sequence=2, critical=4), master)
    with pytest.raises(VersionError, match="bits 2"):
        unlocked(newer + sb.encode(superblock, master))


def test_flags_act_only_after_the_mac() -> None:
    superblock, master = made()
    data = sb.encode(superblock, master)
    for at in (13, 16, 19):  # suite, critical flags
        forged = bytearray(data)
        forged[at] ^= 0x40
        with pytest.raises(SuperblockCorruptError):
            unlocked(resummed(forged) * 2)
        assert unlocked(resummed(forged) + data).superblock == superblock


# --- what is tried


def test_raw_key_is_tried_before_any_passphrase(costs: list[Cost]) -> None:
    superblock, master = made(BOTH)
    slots = superblock.slots[::-1]
    data = sb.encode(replace(superblock, slots=slots), master) * 2
    costs.clear()
    unlocked(data, BOTH)
    assert costs == []


def test_raw_slot_of_the_older_copy_comes_before_a_passphrase(costs: list[Cost]) -> None:
    superblock, master = made(BOTH)
    newer = replace(superblock, sequence=2, slots=superblock.slots[1:])
    data = sb.encode(newer, master) + sb.encode(superblock, master)
    costs.clear()
    assert unlocked(data, BOTH).superblock.sequence == 2
    assert costs == []


def many_slots(*wanted: Cost) -> tuple[sb.Superblock, bytearray]:
    superblock, master = made()
    slots = [
        seal_slots(Secrets(password=str(cost)), KdfCost(*cost), master, superblock.container, 1)[0]
        for cost in wanted
    ]
    return replace(superblock, slots=tuple(slots)), master


def test_passphrases_are_tried_from_the_cheapest(costs: list[Cost]) -> None:
    wanted = [(65536, 3, 4), (19456, 2, 1), (262144, 16, 1), (19456, 3, 1)]
    superblock, master = many_slots(*wanted)
    costs.clear()
    with pytest.raises(WrongKeyError):
        unlocked(sb.encode(superblock, master) * 2, Secrets(password="wrong"))
    assert costs == [(19456, 2, 1), (19456, 3, 1), (65536, 3, 4), (262144, 16, 1)]


def test_search_ends_at_the_slot_that_opens(costs: list[Cost]) -> None:
    superblock, master = many_slots((65536, 3, 4), (19456, 2, 1), (19456, 3, 1))
    costs.clear()
    unlocked(sb.encode(superblock, master) * 2, Secrets(password="(19456, 3, 1)"))
    assert costs == [(19456, 2, 1), (19456, 3, 1)]


def test_slot_in_both_copies_is_tried_once(costs: list[Cost]) -> None:
    superblock, master = many_slots(*[(19456, 2, 1)] * 8)
    newer = replace(superblock, sequence=2, commit=9)
    data = sb.encode(newer, master) + sb.encode(superblock, master)
    costs.clear()
    with pytest.raises(WrongKeyError):
        unlocked(data, Secrets(password="wrong"))
    assert len(costs) == 8


def test_slot_is_derived_once_even_if_a_copy_claims_another_epoch(costs: list[Cost]) -> None:
    superblock, master = made(PHRASE)
    data = sb.encode(superblock, master)
    forged = bytearray(data)
    forged[43] = 9
    forged[51] = 9  # and claims to be newer
    costs.clear()
    assert unlocked(resummed(forged) + data, PHRASE).superblock == superblock
    assert len(costs) == 1


def test_slots_that_differ_between_the_copies_are_all_tried(costs: list[Cost]) -> None:
    superblock, master = many_slots(*[(19456, 2, 1)] * 3)
    newer = replace(superblock, sequence=2, slots=superblock.slots[:2])
    data = sb.encode(newer, master) + sb.encode(superblock, master)
    costs.clear()
    with pytest.raises(WrongKeyError):
        unlocked(data, Secrets(password="wrong"))
    assert len(costs) == 3


# --- the bounds


def hostile(field: int, value: int, secrets: Secrets = PHRASE) -> bytes:
    """A copy whose only passphrase slot asks for `value` of memory, passes or lanes."""
    superblock, master = made(secrets)
    copy = bytearray(sb.encode(superblock, master))
    at = copy.index(superblock.slots[-1].body) + 40 + 4 * field
    copy[at : at + 4] = value.to_bytes(4, "big")
    return resummed(copy)


@pytest.mark.parametrize("field", [0, 1, 2])
@pytest.mark.parametrize("value", [0, 2**20 + 1, 2**31, 2**32 - 1])
def test_hostile_cost_is_refused_before_anything_runs(
    costs: list[Cost], field: int, value: int
) -> None:
    data = hostile(field, value) * 2
    costs.clear()
    tracemalloc.start()
    try:
        with pytest.raises(KdfLimitError, match=rf"{value}\b"):
            unlocked(data, PHRASE)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert costs == []


def test_hostile_slot_is_set_aside_where_another_opens(costs: list[Cost]) -> None:
    superblock, master = many_slots((19456, 2, 1), (2**19, 2, 1))
    data = sb.encode(superblock, master) * 2
    costs.clear()
    assert unlocked(data, Secrets(password="(19456, 2, 1)")).master == master
    with pytest.raises(KdfLimitError, match=r"524288.*max_kdf_memory="):
        unlocked(data, Secrets(password="(524288, 2, 1)"))
    assert set(costs) == {(19456, 2, 1)}


def test_raw_key_opens_beside_a_hostile_slot() -> None:
    superblock, master = made(BOTH)
    costly = replace(
        superblock.slots[1],
        body=superblock.slots[1].body[:40] + b"\xff" * 12 + superblock.slots[1].body[52:],
    )
    data = sb.encode(replace(superblock, slots=(superblock.slots[0], costly)), master) * 2
    assert unlocked(data, RAW).master == master


def test_larger_memory_opens_when_asked_for(costs: list[Cost]) -> None:
    superblock, master = many_slots((2**20, 2, 1))
    device = MemoryDevice(sb.encode(superblock, master) * 2)
    secrets = Secrets(password="(1048576, 2, 1)")
    with pytest.raises(KdfLimitError):
        read(device, secrets)
    assert read(device, secrets, max_kdf_memory_kib=2**20).master == master


def test_ceiling_holds_whatever_is_asked_for(costs: list[Cost]) -> None:
    with pytest.raises(KdfLimitError, match="ceiling of 1048576"):
        read(MemoryDevice(hostile(0, 2**20 + 1) * 2), PHRASE, max_kdf_memory_kib=2**32)


def test_nine_passphrase_slots_are_refused_untried(
    costs: list[Cost], monkeypatch: pytest.MonkeyPatch
) -> None:
    superblock, master = many_slots(*[(19456, 2, 1)] * 9)
    monkeypatch.setattr(sb, "MAX_PASSPHRASE_SLOTS", 9)
    data = sb.encode(superblock, master) * 2
    costs.clear()
    with pytest.raises(KdfLimitError, match="9 passphrase keyslots, over the limit of 8"):
        unlocked(data, Secrets(password="(19456, 2, 1)"))
    assert costs == []


# --- what a failure is called


def test_wrong_secret_says_what_would_be_needed() -> None:
    superblock, master = made(RAW)
    with pytest.raises(WrongKeyError, match=r"given password; 1 would take key="):
        unlocked(sb.encode(superblock, master) * 2, PHRASE)


def test_wrong_secret_counts_slots_of_unknown_kinds() -> None:
    superblock, master = made()
    slots = (Keyslot(9, b""), Keyslot(7, b"\1"), Keyslot(9, b"\2"), *superblock.slots)
    data = sb.encode(replace(superblock, slots=slots), master) * 2
    assert unlocked(data).master == master
    with pytest.raises(WrongKeyError, match=r"3 keyslots are of kinds unknown .* \(7, 9\)"):
        unlocked(data, Secrets(key=bytes(32)))


def test_wrong_secret_beside_a_damaged_copy_names_it() -> None:
    old, new = versions()
    with pytest.raises(WrongKeyError, match="superblock copy A"):
        unlocked(new[:4096] + old[4096:] + old, Secrets(key=bytes(32)))


@pytest.mark.parametrize("data", [b"", b"x", b"hello\n" * 9999, bytes(70000), MAGIC[:7]])
def test_other_file_is_not_an_archive(data: bytes) -> None:
    with pytest.raises(NotAnArchiveError) as caught:
        unlocked(data)
    if 0 < len(data) < 65536:
        assert f"has {len(data)} bytes" in str(caught.value)
    assert ("empty" in str(caught.value)) == (not data)


@pytest.mark.parametrize(
    "translate",
    [
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\r\n", b"\r").replace(b"\n", b"\r"),
        lambda data: data.replace(b"\n", b"\r"),
        lambda data: bytes(byte & 0x7F for byte in data),
        lambda data: data.decode("latin-1").encode(),
        lambda data: data.decode(errors="replace").encode(),
    ],
)
def test_text_mode_damage_is_named(translate: Any) -> None:
    superblock, master = made()
    with pytest.raises(NotAnArchiveError, match="text mode"):
        unlocked(translate(sb.encode(superblock, master) * 2))


@pytest.mark.parametrize("size", [8, 9, 68, 512, 4096, 16383])
def test_file_cut_inside_copy_a_is_corrupt_and_says_so(size: int) -> None:
    superblock, master = made()
    with pytest.raises(SuperblockCorruptError, match=f"cut after {size} of.*has {size} bytes"):
        unlocked(sb.encode(superblock, master)[:size])


@pytest.mark.parametrize("size", [32768, 32769, 40000, 65535])
def test_file_cut_inside_copy_b_opens_with_a_fault(size: int) -> None:
    superblock, master = made()
    found = faults((sb.encode(superblock, master) * 2)[:size])
    assert found == {"B": FaultKind.FOREIGN if size < 32768 + 8 else FaultKind.DAMAGED}


def test_other_major_version_is_refused_by_name() -> None:
    superblock, master = made()
    later = bytearray(sb.encode(superblock, master))
    later[8:10] = b"\x00\x04"
    with pytest.raises(VersionError, match=r"4\.0.*reads 3\.x"):
        unlocked(bytes(later) * 2)
    with pytest.raises(VersionError):
        unlocked(bytes(later) + bytes(32768))
    assert faults(sb.encode(superblock, master) + bytes(later)) == {"B": FaultKind.VERSION}


def test_two_damaged_copies_are_both_named() -> None:
    superblock, master = made()
    copy = bytearray(sb.encode(superblock, master))
    copy[5000] ^= 1
    with pytest.raises(SuperblockCorruptError, match=r"copy A .*SHA-256.*copy B .*backup"):
        unlocked(bytes(copy) * 2)


def test_damage_is_told_from_a_wrong_key() -> None:
    superblock, master = made()
    copy = bytearray(sb.encode(superblock, master))
    copy[200] ^= 1
    with pytest.raises(SuperblockCorruptError):
        unlocked(bytes(copy) * 2, Secrets(key=bytes(32)))
    with pytest.raises(WrongKeyError):
        unlocked(sb.encode(superblock, master) * 2, Secrets(key=bytes(32)))


@pytest.mark.parametrize("at", [SUPERBLOCK_SIZE - 32, SUPERBLOCK_SIZE - 1])
def test_right_secret_and_wrong_mac_is_corrupt(at: int) -> None:
    superblock, master = made()
    data = sb.encode(superblock, master)
    changed = bytearray(data)
    changed[at] ^= 1
    with pytest.raises(SuperblockCorruptError, match="the secret is right"):
        unlocked(bytes(changed) * 2)
    assert faults(bytes(changed) + data) == {"A": FaultKind.REFUSED}


def test_device_that_fails_is_raised_as_it_is() -> None:
    class Failing(MemoryDevice):
        def pread(self, size: int, offset: int) -> bytes:
            if offset:
                raise OSError(5, "Input/output error")
            return super().pread(size, offset)

    superblock, master = made()
    with pytest.raises(OSError, match="Input/output"):
        read(Failing(sb.encode(superblock, master) * 2), RAW)


def test_no_message_shows_a_secret(costs: list[Cost]) -> None:
    secrets = Secrets(key=b"SECRETKEY" * 3 + b"12345", password="hunter2")
    superblock, master = made(BOTH)
    good = sb.encode(superblock, master)
    rng = random.Random(3)
    for _ in range(200):
        copy = bytearray(good)
        copy[rng.randrange(340)] = rng.randrange(256)
        with pytest.raises(Archive7Error) as caught:
            unlocked(resummed(copy) * 2, secrets)
        assert "hunter2" not in str(caught.value)
        assert "SECRET" not in str(caught.value)


# --- keys that are of no use are wiped


@pytest.fixture
def masters(monkeypatch: pytest.MonkeyPatch) -> list[bytearray]:
    """Every master key that a slot gives."""
    given: list[bytearray] = []
    real = crypto.unwrap_key

    def record(wrap: bytes, sealed: bytes, aad: bytes) -> bytearray | None:
        master = real(wrap, sealed, aad)
        if master is not None:
            given.append(master)
        return master

    monkeypatch.setattr(keyslots, "unwrap_key", record)
    return given


def test_master_is_wiped_where_the_mac_fails(masters: list[bytearray]) -> None:
    superblock, master = made()
    copy = bytearray(sb.encode(superblock, master))
    copy[-1] ^= 1
    with pytest.raises(SuperblockCorruptError):
        unlocked(bytes(copy) * 2)
    assert masters == [bytes(32)]


def test_master_is_wiped_where_the_archive_is_refused(masters: list[bytearray]) -> None:
    superblock, master = made()
    with pytest.raises(VersionError):
        unlocked(sb.encode(replace(superblock, critical=1), master) * 2)
    assert masters == [bytes(32)]


def test_master_of_the_losing_copy_is_wiped(masters: list[bytearray], costs: list[Cost]) -> None:
    superblock, master = made(RAW)
    new_master = bytearray(b"n" * 32)
    slots = seal_slots(PHRASE, FLOOR, new_master, superblock.container, 2)
    rekeyed = replace(superblock, epoch=2, sequence=2, slots=slots)
    data = sb.encode(rekeyed, new_master) + sb.encode(superblock, master)
    opened = unlocked(data, BOTH)  # the raw slot of the old copy is tried first
    assert opened.master == new_master
    assert masters == [bytes(32), new_master]


# --- repair


@pytest.mark.parametrize("number", [0, 1])
def test_damaged_copy_is_written_again_as_the_good_one(number: int) -> None:
    superblock, master = made()
    good = sb.encode(superblock, master)
    copies = [good, good]
    copies[number] = good[:700] + b"?" + good[701:]
    device = MemoryDevice(b"".join(copies) + b"rest")
    rewrite_damaged_copy(device, read(device, RAW))
    assert device.getvalue() == good + good + b"rest"
    assert read(device, RAW).faults == ()


def test_stale_copy_is_written_again() -> None:
    old, new = versions()
    device = MemoryDevice(new + old)
    rewrite_damaged_copy(device, read(device, RAW))
    assert device.getvalue() == new + new


def test_repair_of_nothing_writes_nothing() -> None:
    superblock, master = made()
    device = MemoryDevice(sb.encode(superblock, master) * 2, readonly=True)
    rewrite_damaged_copy(device, read(device, RAW))


def test_repair_writes_the_good_copy_as_it_is_and_then_the_other() -> None:
    """After a sync that failed the good one may only look as if it were on the disk."""
    events: list[object] = []

    class Recorder(MemoryDevice):
        def pwrite(self, data: Buffer, offset: int) -> None:
            events.append(offset)
            super().pwrite(data, offset)

        def sync(self) -> None:
            events.append("sync")

    old, new = versions()
    device = Recorder(old + new)
    rewrite_damaged_copy(device, read(device, RAW))
    assert events == [32768, "sync", 0, "sync"]
    assert device.pread(65536, 0) == new + new


# --- tears

CUTS = (0, 1, 8, 44, 51, 52, 68, 100, 512, 1024, 4096, 8192, 12288, 32703, 32704, 32736, 32767)


class Recorder(MemoryDevice):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.writes: list[tuple[int, bytes]] = []

    def pwrite(self, data: Buffer, offset: int) -> None:
        self.writes.append((offset, bytes(data)))
        super().pwrite(data, offset)


def torn_states(before: bytes, writes: list[tuple[int, bytes]]) -> Iterator[bytes]:
    """Each state a disk could hold: a sync stands between the writes, so one is torn at most."""
    rng = random.Random(11)
    for offset, new in writes:
        old = before[offset : offset + len(new)].ljust(len(new), b"\0")
        for cut in CUTS:
            yield before[:offset] + new[:cut] + old[cut:] + before[offset + len(new) :]
            yield before[:offset] + old[:cut] + new[cut:] + before[offset + len(new) :]
        for sector in (512, 4096):
            for _ in range(8):
                mixed = b"".join(
                    rng.choice((old, new))[at : at + sector] for at in range(0, len(new), sector)
                )
                yield before[:offset] + mixed + before[offset + len(new) :]
        before = before[:offset] + new + before[offset + len(new) :]
        yield before


STATES = ["good good", "good bad", "bad good", "good old", "old good", "good none"]


@pytest.mark.parametrize("state", STATES)
def test_power_cut_in_a_change_leaves_the_version_before_or_after(state: str) -> None:
    superblock, master = made()
    middle, newest = replace(superblock, sequence=2), replace(superblock, sequence=3, commit=8)
    good = sb.encode(middle, master)
    copies = {
        "good": good,
        "bad": good[:5000] + b"?" + good[5001:],
        "old": sb.encode(superblock, master),
        "none": bytes(32768),
    }
    before = b"".join(copies[name] for name in state.split())
    device = Recorder(before)
    sb.write_copies(device, newest, master)
    seen = set()
    for data in torn_states(before, device.writes):
        opened = unlocked(data).superblock
        assert opened in (middle, newest)
        seen.add(opened.sequence)
    assert seen == {2, 3}


@pytest.mark.parametrize("state", ["bad good", "good bad", "old good", "good old"])
def test_power_cut_in_a_repair_leaves_the_good_copy(state: str) -> None:
    old, new = versions()
    copies = {"good": new, "bad": new[:44] + b"\xff" + new[45:], "old": old}
    before = b"".join(copies[name] for name in state.split())
    device = Recorder(before)
    rewrite_damaged_copy(device, read(device, RAW))
    for data in torn_states(before, device.writes):
        assert unlocked(data).superblock.sequence == 2


def test_creation_cut_short_opens_as_created_or_not_at_all() -> None:
    superblock, master = made()
    device = Recorder(b"")
    sb.write_copies(device, superblock, master)
    opened = 0
    for data in torn_states(b"", device.writes):
        try:
            assert unlocked(data).superblock == superblock
            opened += 1
        except (NotAnArchiveError, SuperblockCorruptError, VersionError):
            continue  # VersionError: of the head, only the magic came
    assert opened > 0


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("cut", [*CUTS, 32768])
def test_one_damaged_copy_costs_nothing_but_a_fault(number: int, cut: int) -> None:
    superblock, master = made()
    good = sb.encode(superblock, master)
    copies = [good, good]
    copies[number] = good[:cut] + bytes(32768 - cut)
    opened = unlocked(b"".join(copies))
    assert opened.superblock == superblock
    # cut behind its last byte that is not zero, a copy is whole
    expected = [] if copies[number] == good else [SUPERBLOCK_OFFSETS[number]]
    assert [fault.offset for fault in opened.faults] == expected


# --- hostile bytes

VALUES = (0x00, 0x01, 0x02, 0x7F, 0x80, 0xFE, 0xFF)


@pytest.fixture(scope="module")
def genuine() -> tuple[bytes, sb.Superblock]:
    superblock, master = made(RAW)
    slots = (Keyslot(9, b"\x01" * 20), *superblock.slots)
    superblock = replace(superblock, slots=slots)
    return sb.encode(superblock, master), superblock


TABLE_END = SUPERBLOCK_HEAD.size + 4 + 20 + 4 + 120


@pytest.mark.parametrize("at", range(TABLE_END + 4))
def test_no_byte_of_head_or_table_can_be_forged(
    genuine: tuple[bytes, sb.Superblock], at: int
) -> None:
    copy, superblock = genuine
    for value in {*VALUES, copy[at] ^ 1} - {copy[at]}:
        forged = resummed(copy[:at] + bytes([value]) + copy[at + 1 :])
        with pytest.raises(DOCUMENTED):
            unlocked(forged * 2)
        for data in (forged + copy, copy + forged):
            opened = unlocked(data)
            assert opened.superblock == superblock
            assert len(opened.faults) == 1


def test_forged_passphrase_slots_stay_within_the_bounds(costs: list[Cost]) -> None:
    superblock, master = made(PHRASE)
    copy = sb.encode(superblock, master)
    costs.clear()
    for at in range(SUPERBLOCK_HEAD.size + 4 + 132):
        for value in {*VALUES, copy[at] ^ 1} - {copy[at]}:
            forged = resummed(copy[:at] + bytes([value]) + copy[at + 1 :])
            before = len(costs)
            with pytest.raises(DOCUMENTED):
                unlocked(forged * 2, PHRASE)
            assert len(costs) - before <= 1
    for memory_kib, passes, lanes in costs:
        assert 19456 <= memory_kib <= 2**18
        assert 2 <= passes <= 16
        assert 1 <= lanes <= 16


def test_random_bytes_give_documented_errors(costs: list[Cost]) -> None:
    seed = 5
    print(f"seed {seed}")
    rng = random.Random(seed)
    superblock, master = made(BOTH)
    good = sb.encode(superblock, master)
    kinds = set()
    for _ in range(1500):
        copies = []
        for _ in range(2):
            copy = bytearray(good)
            for _ in range(rng.choice([1, 1, 2, 8])):
                at = rng.choice([rng.randrange(68), rng.randrange(620), rng.randrange(32768)])
                size = rng.choice([1, 2, 4, 100])
                copy[at : at + size] = rng.randbytes(size)[: max(0, 32768 - at)]
            copies.append(resummed(copy) if rng.random() < 0.8 else bytes(copy))
        data = b"".join(copies)
        if rng.random() < 0.1:
            data = data[: rng.randrange(len(data))]
        try:
            assert unlocked(data, rng.choice([RAW, PHRASE, BOTH])).superblock == superblock
            kinds.add("opened")
        except DOCUMENTED as error:
            kinds.add(type(error).__name__)
    assert {"SuperblockCorruptError", "NotAnArchiveError", "VersionError"} < kinds


def test_table_of_too_many_slots_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    superblock, master = made()
    for count, opens in ((256, True), (257, False), (3500, False)):
        slots = (*(Keyslot(9, b"") for _ in range(count - 1)), superblock.slots[0])
        with monkeypatch.context() as lenient:
            lenient.setattr(sb, "MAX_KEYSLOTS", 5000)
            data = sb.encode(replace(superblock, slots=slots), master) * 2
        if opens:
            assert len(unlocked(data).superblock.slots) == count
        else:
            with pytest.raises(SuperblockCorruptError, match=f"{count} keyslots, at most 256"):
                unlocked(data)
            with pytest.raises(UsageError, match="at most 256"):
                sb.encode(replace(superblock, slots=slots), master)


# --- frozen

NAMES = sorted(path.stem for path in VECTORS.glob("superblock_*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_vector(name: str) -> None:
    vector = json.loads((VECTORS / f"{name}.json").read_text())
    data = bytearray(vector["file"]["size"])
    for at, run in vector["file"]["runs"]:
        data[at : at + len(run) // 2] = bytes.fromhex(run)
    secret = vector["secret"]
    key = bytes.fromhex(secret["key"]) if "key" in secret else None
    identity = secret.get("identity")
    if identity is not None:
        identity = Identity(identity["kind"], bytes.fromhex(identity["private"]))
    secrets = Secrets(key=key, password=secret.get("password"), identity=identity)
    expect = vector["expect"]
    if "error" in expect:
        with pytest.raises(DOCUMENTED) as caught:
            unlocked(bytes(data), secrets)
        assert type(caught.value).__name__ == expect["error"]
        return
    opened = unlocked(bytes(data), secrets)
    assert opened.superblock.sequence == expect["opens"]["sequence"]
    assert {fault.copy: fault.kind.value for fault in opened.faults} == expect["opens"]["faults"]


def test_vectors_are_there() -> None:
    assert len(NAMES) > 40
