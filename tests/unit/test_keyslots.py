"""Secrets, the bounds of Argon2id, and one keyslot at a time."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archive7 import crypto, keyslots
from archive7.crypto import hkdf
from archive7.errors import KdfLimitError, SuperblockCorruptError, UsageError
from archive7.keyslots import KdfCost, Keyslot, Secrets, decode_slots, seal_slots, wipe
from archive7.layout import SLOT_PASSPHRASE, SLOT_RAW

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "crypto"
FLOOR = KdfCost(19456, 2, 1)
KEY = bytes(range(32))
MASTER = bytearray(b"m" * 32)
CONTAINER = bytes(range(16))


@pytest.fixture
def argon2id_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Put HKDF in the place of Argon2id; record the costs it was asked for."""
    calls = []

    def cheap(phrase: bytes, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
        calls.append((memory_kib, passes, lanes))
        return hkdf(phrase, salt, b"cheap")

    monkeypatch.setattr(keyslots, "argon2id", cheap)
    return calls


def sealed(secrets: Secrets, epoch: int = 1) -> Keyslot:
    [slot] = seal_slots(secrets, FLOOR, MASTER, CONTAINER, epoch)
    return slot


def unlocked(slot: Keyslot, secrets: Secrets, epoch: int = 1) -> bytearray | None:
    kek = slot.derive(secrets)
    return None if kek is None else slot.unwrap(kek, CONTAINER, epoch)


# --- secrets


def test_no_secret_is_refused() -> None:
    with pytest.raises(UsageError, match=r"key= \(32 bytes\) or password="):
        Secrets()
    with pytest.raises(UsageError):
        Secrets(key=None, password=None)


@pytest.mark.parametrize("password", ["", b"", bytearray()])
def test_empty_password_is_refused(password: Any) -> None:
    with pytest.raises(UsageError, match="empty"):
        Secrets(password=password)
    with pytest.raises(UsageError, match="empty"):
        Secrets(key=KEY, password=password)


@pytest.mark.parametrize("size", [0, 1, 16, 31, 33, 64])
def test_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"32 bytes, not {size}"):
        Secrets(key=bytes(size))


@pytest.mark.parametrize("key", ["k" * 32, 32, [0] * 32])
def test_key_that_is_no_bytes_is_refused(key: Any) -> None:
    with pytest.raises(UsageError, match="password="):
        Secrets(key=key)


@pytest.mark.parametrize("password", [5, ["p"], 1.5])
def test_password_that_is_no_text_is_refused(password: Any) -> None:
    with pytest.raises(UsageError, match="str or bytes"):
        Secrets(password=password)


def test_password_that_utf8_cannot_encode_is_refused_without_showing_it() -> None:
    with pytest.raises(UsageError) as caught:
        Secrets(password="hunter2\udc80")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_text_is_normalised_and_bytes_are_not() -> None:
    word = "Pässwörd"
    composed, decomposed = (unicodedata.normalize(form, word) for form in ("NFC", "NFD"))
    assert composed != decomposed
    phrases = {Secrets(password=text).passphrase for text in (composed, decomposed)}
    assert phrases == {composed.encode()}
    assert Secrets(password=decomposed.encode()).passphrase == decomposed.encode()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_serves_and_is_copied(kind: Callable[[bytes], Any]) -> None:
    secrets = Secrets(key=kind(KEY), password=kind(b"phrase"))
    assert (secrets.key, secrets.passphrase) == (KEY, b"phrase")


def test_secrets_are_not_shown() -> None:
    secrets = Secrets(key=b"SECRETKEY" * 3 + b"12345", password="hunter2")
    for text in (repr(secrets), str(secrets), f"{secrets}", f"{[secrets]}"):
        assert "hunter2" not in text
        assert "SECRET" not in text
    assert repr(secrets) == "Secrets(key=..., password=...)"
    assert repr(Secrets(password="x")) == "Secrets(password=...)"


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_secrets_are_not_pickled_or_copied(take: Callable[[Secrets], object]) -> None:
    with pytest.raises(TypeError, match="pickled or copied"):
        take(Secrets(password="hunter2"))


def test_secrets_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Secrets(key=KEY).key = bytes(32)  # type: ignore[misc]


def test_wiped_buffer_is_zero_and_keeps_its_size() -> None:
    buffer = bytearray(b"key")
    wipe(buffer)
    assert buffer == bytes(3)


# --- the bounds


def test_default_cost_is_within_the_bounds() -> None:
    assert dataclasses.astuple(KdfCost()) == (65536, 3, 4)
    KdfCost().check()


@pytest.mark.parametrize("cost", [(19456, 2, 1), (2**20, 16, 16)])
def test_bounds_themselves_are_allowed(cost: tuple[int, int, int]) -> None:
    KdfCost(*cost).check()


@pytest.mark.parametrize(
    ("cost", "name", "value", "limit"),
    [
        ((19455, 2, 1), "memory_kib", 19455, 19456),
        ((0, 2, 1), "memory_kib", 0, 19456),
        ((19456, 1, 1), "passes", 1, 2),
        ((19456, 2, 0), "lanes", 0, 1),
        ((2**20 + 1, 2, 1), "memory_kib", 2**20 + 1, 2**20),
        ((2**32 - 1, 2, 1), "memory_kib", 2**32 - 1, 2**20),
        ((19456, 17, 1), "passes", 17, 16),
        ((19456, 2, 17), "lanes", 17, 16),
        ((-1, 2, 1), "memory_kib", -1, 19456),
    ],
)
def test_cost_out_of_bounds_names_field_value_and_limit(
    cost: tuple[int, int, int], name: str, value: int, limit: int
) -> None:
    with pytest.raises(KdfLimitError, match=rf"{name} {value} is .* {limit}\b"):
        KdfCost(*cost).check()


def test_memory_over_what_a_reader_allows_names_the_argument() -> None:
    with pytest.raises(KdfLimitError, match=r"memory_kib 300000 .* 262144.*max_kdf_memory="):
        KdfCost(300000, 2, 1).check(262144)
    KdfCost(300000, 2, 1).check(300000)


@pytest.mark.parametrize("at", range(40, 52))
@pytest.mark.parametrize("value", [0, 1, 0x7F, 0x80, 0xFF])
def test_argon2id_never_runs_out_of_bounds(
    argon2id_calls: list[tuple[int, int, int]], at: int, value: int
) -> None:
    slot = sealed(Secrets(password="phrase"))
    argon2id_calls.clear()
    hostile = bytearray(slot.body)
    hostile[at] = value
    slot = Keyslot(SLOT_PASSPHRASE, bytes(hostile))
    try:
        slot.derive(Secrets(password="phrase"))
    except KdfLimitError:
        assert argon2id_calls == []
    for memory_kib, passes, lanes in argon2id_calls:
        assert 19456 <= memory_kib <= 262144
        assert 2 <= passes <= 16
        assert 1 <= lanes <= 16


def test_sealing_is_bounded_too(argon2id_calls: list[tuple[int, int, int]]) -> None:
    for cost in (KdfCost(19455, 2, 1), KdfCost(2**20 + 1, 2, 1)):
        with pytest.raises(KdfLimitError):
            seal_slots(Secrets(password="x"), cost, MASTER, CONTAINER, 1)
    assert argon2id_calls == []


# --- one slot


@pytest.mark.parametrize(
    ("secrets", "kind", "size"),
    [
        (Secrets(key=KEY), SLOT_RAW, 120),
        (Secrets(password="phrase"), SLOT_PASSPHRASE, 132),
        (Secrets(password=b"\xff\x00phrase"), SLOT_PASSPHRASE, 132),
    ],
)
def test_slot_opens_with_its_secret_only(secrets: Secrets, kind: int, size: int) -> None:
    slot = sealed(secrets)
    assert (slot.kind, len(slot.body)) == (kind, size)
    assert unlocked(slot, secrets) == MASTER
    wrong = Secrets(key=bytes(32), password="other")
    assert slot.derive(wrong) is None


def test_both_secrets_make_two_slots() -> None:
    secrets = Secrets(key=KEY, password="phrase")
    slots = seal_slots(secrets, FLOOR, MASTER, CONTAINER, 1)
    assert [slot.kind for slot in slots] == [SLOT_RAW, SLOT_PASSPHRASE]
    assert [unlocked(slot, secrets) for slot in slots] == [MASTER, MASTER]


def test_secret_of_the_other_kind_costs_nothing(
    argon2id_calls: list[tuple[int, int, int]],
) -> None:
    slot = sealed(Secrets(password="phrase"))
    argon2id_calls.clear()
    assert not slot.fits(Secrets(key=KEY))
    assert slot.derive(Secrets(key=KEY)) is None
    assert sealed(Secrets(key=KEY)).derive(Secrets(password="phrase")) is None
    assert argon2id_calls == []


def test_raw_key_as_a_password_does_not_open_its_slot() -> None:
    assert sealed(Secrets(key=KEY)).derive(Secrets(password=KEY)) is None


def test_unknown_kind_opens_with_nothing() -> None:
    slot = Keyslot(9, b"\x01" * 8 + b"anything")
    assert not slot.is_known
    assert slot.id == b"\x01" * 8
    assert slot.cost is None
    assert slot.derive(Secrets(key=KEY, password="x")) is None


def test_every_sealing_draws_its_own_salt_and_id(
    argon2id_calls: list[tuple[int, int, int]],
) -> None:
    both = Secrets(key=KEY, password="phrase")
    slots = [slot for _ in range(50) for slot in seal_slots(both, FLOOR, MASTER, CONTAINER, 1)]
    assert len({slot.id for slot in slots}) == 100
    assert len({slot.body[8:40] for slot in slots}) == 100
    assert len({slot.body[-80:-48] for slot in slots}) == 100  # commitments
    assert len({slot.body[-48:] for slot in slots}) == 100


def test_wrap_key_is_used_once(
    argon2id_calls: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    real = crypto.wrap_key

    def record(wrap: bytes, master: Any, aad: bytes) -> bytes:
        used.append(wrap)
        return real(wrap, master, aad)

    monkeypatch.setattr(keyslots, "wrap_key", record)
    for _ in range(50):
        seal_slots(Secrets(key=KEY, password="phrase"), FLOOR, MASTER, CONTAINER, 1)
    assert len(set(used)) == len(used) == 100


def test_sealing_draws_32_bytes_of_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    urandom = os.urandom

    def record(size: int) -> bytes:
        sizes.append(size)
        return urandom(size)

    monkeypatch.setattr(os, "urandom", record)
    sealed(Secrets(key=KEY))
    assert sizes == [8, 32]


@pytest.mark.parametrize("secrets", [Secrets(key=KEY), Secrets(password="phrase")])
def test_no_byte_of_a_slot_can_change(
    secrets: Secrets, argon2id_calls: list[tuple[int, int, int]]
) -> None:
    slot = sealed(secrets)
    for at in range(len(slot.body)):
        changed = bytearray(slot.body)
        changed[at] ^= 1
        try:
            assert unlocked(Keyslot(slot.kind, bytes(changed)), secrets) is None
        except KdfLimitError:
            assert 40 <= at < 52


def test_slot_of_another_container_epoch_or_kind_does_not_open() -> None:
    secrets = Secrets(key=KEY)
    slot = sealed(secrets)
    kek = slot.derive(secrets)
    assert kek is not None
    assert slot.unwrap(kek, CONTAINER, 1) == MASTER
    assert slot.unwrap(kek, CONTAINER, 2) is None
    assert slot.unwrap(kek, bytes(16), 1) is None
    assert slot.unwrap(bytes(32), CONTAINER, 1) is None


def test_slot_shows_no_key_in_its_repr() -> None:
    assert repr(sealed(Secrets(key=KEY))) == "Keyslot(kind=1)"


# --- the table


def table_of(*slots: Keyslot) -> bytes:
    return b"".join(slot.encode() for slot in slots)


def test_table_comes_back_with_unknown_kinds_verbatim() -> None:
    slots = (
        Keyslot(9, b"\x09" * 300),
        *seal_slots(Secrets(key=KEY, password="x"), FLOOR, MASTER, CONTAINER, 1),
        Keyslot(0, b""),
        Keyslot(65535, b"\x01"),
    )
    assert decode_slots(table_of(*slots), 5) == slots
    assert table_of(*decode_slots(table_of(*slots), 5)) == table_of(*slots)


def test_empty_table_has_no_slots() -> None:
    assert decode_slots(b"", 0) == ()


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "more than 0 keyslots"),
        (1, "more than 1 keyslots"),
        (3, "fewer than 3 keyslots"),
        (256, "fewer than 256 keyslots"),
        (257, "257 keyslots, at most 256"),
        (65535, "65535 keyslots, at most 256"),
    ],
)
def test_wrong_count_is_refused(count: int, told: str) -> None:
    with pytest.raises(SuperblockCorruptError, match=told):
        decode_slots(table_of(Keyslot(9, b""), Keyslot(9, b"")), count)


def test_cut_table_is_refused() -> None:
    table = table_of(sealed(Secrets(key=KEY)), Keyslot(9, b"abc"))
    for size in range(len(table)):
        with pytest.raises(SuperblockCorruptError):
            decode_slots(table[:size], 2)


@pytest.mark.parametrize(("kind", "size"), [(SLOT_RAW, 120), (SLOT_PASSPHRASE, 132)])
def test_known_kind_of_another_size_is_refused(kind: int, size: int) -> None:
    Keyslot(kind, bytes(size))
    for wrong in (0, size - 1, size + 1, 4096):
        with pytest.raises(SuperblockCorruptError, match=f"{wrong} bytes, not {size}"):
            Keyslot(kind, bytes(wrong))


def test_any_bytes_decode_or_raise_corrupt() -> None:
    seed = 7
    print(f"seed {seed}")
    rng = random.Random(seed)
    decoded = 0
    for _ in range(3000):
        sizes = [rng.choice([0, 1, 4, 8, 120, 132]) for _ in range(rng.randrange(4))]
        table = b"".join(
            rng.choice([0, 1, 2, 3, 9]).to_bytes(2, "big")
            + size.to_bytes(2, "big")
            + rng.randbytes(size)
            for size in sizes
        )
        if table and rng.random() < 0.5:
            table = table[: rng.randrange(len(table))] + rng.randbytes(rng.randrange(3))
        try:
            slots = decode_slots(table, len(sizes))
        except SuperblockCorruptError:
            continue
        decoded += 1
        assert table_of(*slots) == table
    assert decoded > 100


# --- frozen


@pytest.mark.parametrize("name", ["raw", "passphrase"])
def test_frozen_slot_opens(name: str) -> None:
    vector = json.loads((VECTORS / f"keyslot_{name}.json").read_text())
    secret = vector["secret"]
    key = bytes.fromhex(secret["key"]) if "key" in secret else None
    secrets = Secrets(key=key, password=secret.get("password"))
    slot = Keyslot(vector["kind"], bytes.fromhex(vector["body"]))
    kek = slot.derive(secrets)
    assert kek is not None
    assert kek.hex() == vector["kek"]
    assert hkdf(kek, b"", b"commit").hex() == vector["commitment"]
    assert hkdf(kek, b"", b"wrap").hex() == vector["wrap key"]
    master = slot.unwrap(kek, bytes.fromhex(vector["container"]), vector["epoch"])
    assert master is not None
    assert master.hex() == vector["master"]
