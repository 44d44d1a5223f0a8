"""Make the frozen vectors of keys, blocks, keyslots and superblocks in tests/vectors/crypto.

    python tests/vectors/make_crypto.py

Everything random comes from one SHAKE-128 stream per vector, so a run changes no file unless the
format changed.  One vector a file, one fault a vector: `<layer>_<fault>.json`.  `file` holds the
runs of a container's first bytes that are not zero; `secret` what is offered; `expect` either what
opens or the error that must come out.

HPKE draws its keys inside the crypto library, out of reach: vectors of recipients were made once
and are kept as they are, if they are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from archive7 import superblock as sb
from archive7.crypto import (
    KIND_DATA,
    KIND_NODE,
    KIND_ROOT,
    SUITE_SECRETBOX,
    SUITE_XAES256GCM,
    block_cipher,
    hkdf,
    mac,
    sha256,
    subkey,
)
from archive7.keys import Identity
from archive7.keyslots import KdfCost, Keyslot, Secrets, seal_slots
from archive7.layout import BLOCK_HEAD, PLAIN_SIZE, SUPERBLOCK_HEAD, SUPERBLOCK_SIZE

FOLDER = Path(__file__).resolve().parent / "crypto"
FLOOR = KdfCost(19456, 2, 1)
KEY = bytes(range(32))
PASSWORD = "Pa\u0308sswo\u0308rd"  # decomposed: only NFC makes it what sealed the slot
PASSWORD_NFC = "P\u00e4ssw\u00f6rd"
NOW = 1_700_000_000_000_000_000
TAIL = 64

Vector = dict[str, Any]
VECTORS: dict[str, Callable[[], Vector]] = {}


# --- a fixed source of randomness


class Stream:
    """os.urandom from SHAKE-128 of a name."""

    def __init__(self, name: str) -> None:
        self._bytes = hashlib.shake_128(name.encode()).digest(1 << 20)
        self._at = 0

    def __call__(self, size: int) -> bytes:
        self._at += size
        return self._bytes[self._at - size : self._at]


@contextmanager
def seeded(name: str) -> Iterator[None]:
    with mock.patch("os.urandom", Stream(name)), mock.patch("time.time_ns", return_value=NOW):
        yield


def vector(function: Callable[[], Vector]) -> Callable[[], Vector]:
    VECTORS[function.__name__] = function
    return function


def frozen(function: Callable[[], Vector]) -> Callable[[], Vector]:
    """A vector that cannot be made twice: what is there stays."""
    path = FOLDER / f"{function.__name__}.json"

    def kept() -> Vector:
        found: Vector = json.loads(path.read_text("ascii")) if path.exists() else function()
        return found

    VECTORS[function.__name__] = kept
    return function


def build(name: str) -> Vector:
    """Make one vector."""
    with seeded(name):
        return VECTORS[name]()


# --- keys and blocks

MASTER = hashlib.shake_128(b"master").digest(32)
CONTAINER = hashlib.shake_128(b"container").digest(16)


@vector
def subkeys() -> Vector:
    """Every purpose, both suites, two epochs."""
    purposes = [b"superblock mac", b"superblock seal", KIND_ROOT, KIND_NODE, KIND_DATA]
    purposes += [b"nonce " + kind for kind in (KIND_ROOT, KIND_NODE, KIND_DATA)]
    keys = [
        {
            "purpose": purpose.decode(),
            "suite": suite,
            "epoch": epoch,
            "key": subkey(MASTER, CONTAINER, purpose, suite, epoch).hex(),
        }
        for purpose in purposes
        for suite in (SUITE_XAES256GCM, SUITE_SECRETBOX)
        for epoch in (1, 2)
    ]
    return {"master": MASTER.hex(), "container": CONTAINER.hex(), "keys": keys}


def block(suite: int) -> Vector:
    cipher = block_cipher(suite, MASTER, CONTAINER, 1, KIND_DATA)
    run = cipher.run_buffer(1, BLOCK_HEAD.size)
    [tag] = cipher.seal_run(run, [hashlib.shake_128(b"plain").digest(PLAIN_SIZE)], 1)
    return {
        "master": MASTER.hex(),
        "container": CONTAINER.hex(),
        "suite": suite,
        "epoch": 1,
        "kind": KIND_DATA.decode(),
        "plain": {"shake_128": "plain", "size": PLAIN_SIZE},
        "sealed": bytes(run.sealed).hex(),
        "tag": tag.hex(),
    }


@vector
def block_xaes256gcm() -> Vector:
    return block(SUITE_XAES256GCM)


@vector
def block_secretbox() -> Vector:
    return block(SUITE_SECRETBOX)


# --- keyslots


def keyslot(secrets: Secrets) -> Vector:
    [slot] = seal_slots(secrets, FLOOR, bytearray(MASTER), CONTAINER, 7)
    kek = slot.derive(secrets)
    assert kek is not None
    return {
        "container": CONTAINER.hex(),
        "epoch": 7,
        "kind": slot.kind,
        "body": slot.body.hex(),
        "kek": kek.hex(),
        "commitment": hkdf(kek, b"", b"commit").hex(),
        "wrap key": hkdf(kek, b"", b"wrap").hex(),
        "master": MASTER.hex(),
    }


@vector
def keyslot_raw() -> Vector:
    return {"secret": {"key": KEY.hex()}, **keyslot(Secrets(key=KEY))}


@vector
def keyslot_passphrase() -> Vector:
    return {"secret": {"password": PASSWORD}, **keyslot(Secrets(password=PASSWORD_NFC))}


IDENTITIES = {
    "x25519": Identity("x25519", hashlib.shake_128(b"x25519").digest(32)),
    "hybrid": Identity("hybrid", hashlib.shake_128(b"hybrid").digest(96)),
}


def recipient_slot(kind: str) -> Vector:
    identity = IDENTITIES[kind]
    secrets = Secrets(recipients=(identity.recipient,))
    [slot] = seal_slots(secrets, FLOOR, bytearray(MASTER), CONTAINER, 7)
    return {
        "identity": {"kind": kind, "private": identity.private.hex()},
        "public": identity.recipient.public.hex(),
        "container": CONTAINER.hex(),
        "epoch": 7,
        "kind": slot.kind,
        "body": slot.body.hex(),
        "info": (
            b"archive7/3 recipient" + CONTAINER + b"\0\0\0\7" + bytes([0, slot.kind]) + slot.id
        ).hex(),
        "master": MASTER.hex(),
    }


@frozen
def keyslot_x25519() -> Vector:
    return recipient_slot("x25519")


@frozen
def keyslot_hybrid() -> Vector:
    return recipient_slot("hybrid")


# --- superblocks

BOTH = Secrets(key=KEY, password=PASSWORD_NFC)


def made(secrets: Secrets = BOTH) -> tuple[sb.Superblock, bytes]:
    superblock, master = sb.create(SUITE_XAES256GCM, secrets, FLOOR)
    return superblock, bytes(master)


def encoded(secrets: Secrets = BOTH, **changes: Any) -> bytes:
    superblock, master = made(secrets)
    return sb.encode(replace(superblock, **changes), master)


def resummed(copy: bytes) -> bytes:
    """What somebody without the key can do after a change: make the SHA-256 right."""
    body = copy[: SUPERBLOCK_SIZE - TAIL]
    return body + sha256(body) + copy[SUPERBLOCK_SIZE - 32 :]


def edited(copy: bytes, at: int, data: bytes) -> bytes:
    return copy[:at] + data + copy[at + len(data) :]


def flipped(copy: bytes, at: int, bit: int = 0) -> bytes:
    return edited(copy, at, bytes([copy[at] ^ 1 << bit]))


def runs(data: bytes) -> list[list[Any]]:
    """The parts of `data` that are not zero, by their offsets."""
    found: list[list[Any]] = []
    at = 0
    while at < len(data):
        gap = data.find(bytes(64), at)
        end = len(data) if gap < 0 else gap
        if end > at:
            found.append([at, data[at:end].hex()])
        at = end
        while at < len(data) and not data[at]:
            at += 1
    return found


def case(
    about: str, file: bytes, expect: dict[str, Any], *, phrase: bool = False, **secret: Any
) -> Vector:
    if not secret:
        secret = {"password": PASSWORD} if phrase else {"key": KEY.hex()}
    return {
        "about": about,
        "secret": secret,
        "expect": expect,
        "file": {"size": len(file), "runs": runs(file)},
    }


def error(name: str) -> dict[str, Any]:
    return {"error": name}


def opens(sequence: int, **faults: str) -> dict[str, Any]:
    return {"opens": {"sequence": sequence, "faults": faults}}


@vector
def superblock_whole() -> Vector:
    return case("both copies alike, raw key", encoded() * 2, opens(1))


@vector
def superblock_passphrase() -> Vector:
    return case("a passphrase not in NFC", encoded() * 2, opens(1), phrase=True)


@vector
def superblock_minor() -> Vector:
    return case("written by a later minor version", encoded(minor=9) * 2, opens(1))


@vector
def superblock_optional_flag() -> Vector:
    return case("an unknown optional flag", encoded(optional=1 << 31) * 2, opens(1))


def two_versions() -> tuple[bytes, bytes]:
    superblock, master = made()
    newer = replace(superblock, sequence=2, commit=5)
    return sb.encode(superblock, master), sb.encode(newer, master)


@vector
def superblock_stale_b() -> Vector:
    old, new = two_versions()
    return case("a power cut between the copies", new + old, opens(2, B="stale"))


@vector
def superblock_stale_a() -> Vector:
    old, new = two_versions()
    return case("copy A put back to an older version", old + new, opens(2, A="stale"))


@vector
def superblock_torn_a() -> Vector:
    old, new = two_versions()
    torn = new[:4096] + old[4096:]
    return case("copy A torn at 4096", torn + old, opens(1, A="damaged"))


@vector
def superblock_torn_b() -> Vector:
    old, new = two_versions()
    torn = new[:512] + old[512:]
    return case("copy B torn at 512", new + torn, opens(2, B="damaged"))


@vector
def superblock_foreign_a() -> Vector:
    copy = encoded()
    return case(
        "copy A overwritten by zeros", bytes(SUPERBLOCK_SIZE) + copy, opens(1, A="foreign")
    )


@vector
def superblock_version_b() -> Vector:
    copy = encoded()
    later = edited(copy, 8, b"\x00\x04")
    return case("copy B of another major version", copy + later, opens(1, B="version"))


@vector
def superblock_other_container_b() -> Vector:
    copy, other = encoded(), encoded(Secrets(key=bytes(32)), sequence=9)
    return case("copy B of another container", copy + other, opens(1, B="refused"))


@vector
def superblock_forged_sequence_a() -> Vector:
    copy = encoded()
    at = SUPERBLOCK_HEAD.size - 24 + 7  # the last byte of the sequence number
    forged = resummed(edited(copy, at, b"\xff"))
    return case("copy A claims to be newer", forged + copy, opens(1, A="refused"))


@vector
def superblock_unknown_slot() -> Vector:
    superblock, master = made()
    slots = (Keyslot(9, b"\x01" * 80), *superblock.slots)
    copy = sb.encode(replace(superblock, slots=slots), master)
    return case("a keyslot of an unknown kind before the others", copy * 2, opens(1))


@vector
def superblock_not_an_archive() -> Vector:
    text = b"This is some other file.\n" * 1400
    return case("another file", text, error("NotAnArchiveError"))


@vector
def superblock_text_mode() -> Vector:
    copied = (encoded() * 2).replace(b"\r\n", b"\n")
    return case("copied in text mode", copied, error("NotAnArchiveError"))


@vector
def superblock_empty() -> Vector:
    return case("an empty file", b"", error("NotAnArchiveError"))


@vector
def superblock_cut() -> Vector:
    cut = encoded()[:10000]
    return case("cut inside copy A", cut, error("SuperblockCorruptError"))


@vector
def superblock_version() -> Vector:
    copy = edited(encoded(), 8, b"\x00\x04")
    return case("another major version", copy * 2, error("VersionError"))


@vector
def superblock_damaged() -> Vector:
    copy = encoded()
    file = flipped(copy, 100) + flipped(copy, 9000)
    return case("a bit of each copy flipped", file, error("SuperblockCorruptError"))


@vector
def superblock_wrong_key() -> Vector:
    return case("another key", encoded() * 2, error("WrongKeyError"), key=bytes(32).hex())


@vector
def superblock_wrong_passphrase() -> Vector:
    return case("another passphrase", encoded() * 2, error("WrongKeyError"), password="Password")


@vector
def superblock_no_such_slot() -> Vector:
    copy = encoded(Secrets(key=KEY))
    return case("a passphrase, a raw key slot", copy * 2, error("WrongKeyError"), phrase=True)


@vector
def superblock_only_unknown_slots() -> Vector:
    copy = encoded(slots=(Keyslot(9, b""), Keyslot(7, b"\x01" * 80)))
    return case("only keyslots of unknown kinds", copy * 2, error("WrongKeyError"))


@vector
def superblock_commitment() -> Vector:
    copy = resummed(flipped(encoded(Secrets(key=KEY)), SUPERBLOCK_HEAD.size + 4 + 40))
    return case("a commitment changed", copy * 2, error("WrongKeyError"))


@vector
def superblock_sealed_master() -> Vector:
    copy = resummed(flipped(encoded(Secrets(key=KEY)), SUPERBLOCK_HEAD.size + 4 + 72))
    return case("a sealed master key changed", copy * 2, error("SuperblockCorruptError"))


@vector
def superblock_epoch() -> Vector:
    copy = resummed(edited(encoded(), 40, b"\x00\x00\x00\x02"))
    return case("the epoch changed", copy * 2, error("SuperblockCorruptError"))


@vector
def superblock_suite_changed() -> Vector:
    copy = resummed(edited(encoded(), 12, b"\x00\x02"))
    return case("the suite changed", copy * 2, error("SuperblockCorruptError"))


@vector
def superblock_mac() -> Vector:
    copy = flipped(encoded(), SUPERBLOCK_SIZE - 1)
    return case("a bit of the HMAC flipped", copy * 2, error("SuperblockCorruptError"))


@vector
def superblock_suite() -> Vector:
    copy = encoded(suite=3)
    return case("a suite not known here", copy * 2, error("VersionError"))


@vector
def superblock_critical_flag() -> Vector:
    copy = encoded(critical=1 << 5)
    return case("an unknown critical flag", copy * 2, error("VersionError"))


@vector
def superblock_newer_critical_flag() -> Vector:
    superblock, master = made()
    newer = sb.encode(replace(superblock, sequence=2, critical=1), master)
    file = newer + sb.encode(superblock, master)
    return case("only the newer copy has the flag", file, error("VersionError"))


@vector
def superblock_sealed_part() -> Vector:
    superblock, master = made()
    copy = flipped(sb.encode(superblock, master), 400)  # inside the sealed part
    body = copy[: SUPERBLOCK_SIZE - TAIL]
    body += sha256(body)
    copy = body + mac(subkey(master, superblock.container, b"superblock mac", 1, 1), body)
    about = "a genuine copy whose sealed part does not open"
    return case(about, copy * 2, error("SuperblockCorruptError"))


@vector
def superblock_slot_overrun() -> Vector:
    copy = resummed(edited(encoded(), SUPERBLOCK_HEAD.size + 2, b"\xff\xff"))
    return case("a keyslot beyond the table", copy * 2, error("SuperblockCorruptError"))


@vector
def superblock_slot_count() -> Vector:
    copy = resummed(edited(encoded(), 14, b"\x00\x03"))
    return case("a wrong count of keyslots", copy * 2, error("SuperblockCorruptError"))


@vector
def superblock_slot_size() -> Vector:
    copy = encoded(slots=(Keyslot(9, b"\x01" * 80),))
    copy = resummed(edited(copy, SUPERBLOCK_HEAD.size, b"\x00\x01"))
    return case("a raw key slot of 80 bytes", copy * 2, error("SuperblockCorruptError"))


@vector
def superblock_table_size() -> Vector:
    copy = resummed(edited(encoded(), 60, b"\xff\xff\xff\xff"))
    return case("a slot table of 4 GiB", copy * 2, error("SuperblockCorruptError"))


@vector
def superblock_nine_passphrases() -> Vector:
    superblock, master = made()
    spare = superblock.slots[1]
    slots = tuple(replace(spare, body=bytes([i]) * 8 + spare.body[8:]) for i in range(9))
    with mock.patch.object(sb, "MAX_PASSPHRASE_SLOTS", 9):
        copy = sb.encode(replace(superblock, slots=slots), master)
    return case("nine passphrase slots", copy * 2, error("KdfLimitError"), phrase=True)


def hostile_cost(field: int, value: int) -> Vector:
    """A passphrase slot with one parameter of Argon2id out of bounds."""
    at = SUPERBLOCK_HEAD.size + 4 + 40 + 4 * field
    copy = resummed(edited(encoded(Secrets(password="x")), at, value.to_bytes(4, "big")))
    name = ("memory", "passes", "lanes")[field]
    return case(f"{name} = {value}", copy * 2, error("KdfLimitError"), phrase=True)


for _name, _field, _value in (
    ("memory_floor", 0, 19455),
    ("memory_unasked", 0, 2**18 + 1),
    ("memory_ceiling", 0, 2**20 + 1),
    ("memory_most", 0, 2**32 - 1),
    ("passes_floor", 1, 1),
    ("passes_ceiling", 1, 17),
    ("passes_most", 1, 2**32 - 1),
    ("lanes_floor", 2, 0),
    ("lanes_ceiling", 2, 17),
    ("lanes_most", 2, 2**32 - 1),
):
    VECTORS[f"superblock_kdf_{_name}"] = lambda f=_field, v=_value: hostile_cost(f, v)  # type: ignore[misc]


def received(kind: str, about: str, expect: dict[str, Any], bit: int | None = None) -> Vector:
    """A superblock for one recipient; with one bit of what was encapsulated flipped."""
    identity = IDENTITIES[kind]
    copy = encoded(Secrets(key=KEY, recipients=(identity.recipient,)))
    if bit is not None:
        head_and_raw = SUPERBLOCK_HEAD.size + 4 + 120
        copy = resummed(flipped(copy, head_and_raw + 4 + 8 + 5, bit))
    secret = {"identity": {"kind": kind, "private": identity.private.hex()}}
    return case(about, copy * 2, expect, **secret)


@frozen
def superblock_x25519() -> Vector:
    return received("x25519", "opened by an X25519 private key", opens(1))


@frozen
def superblock_hybrid() -> Vector:
    return received("hybrid", "opened by a hybrid private key", opens(1))


@frozen
def superblock_x25519_changed() -> Vector:
    return received("x25519", "a bit of the sealed master key", error("WrongKeyError"), 3)


@frozen
def superblock_hybrid_changed() -> Vector:
    return received("hybrid", "a bit of the sealed master key", error("WrongKeyError"), 3)


@frozen
def superblock_thirteen_recipients() -> Vector:
    identity = IDENTITIES["x25519"]
    superblock, master = made(Secrets(key=KEY, recipients=(identity.recipient,)))
    raw, spare = superblock.slots
    slots = (raw, *(replace(spare, body=bytes([i]) * 8 + spare.body[8:]) for i in range(13)))
    with mock.patch.object(sb, "MAX_RECIPIENT_SLOTS", 13):
        copy = sb.encode(replace(superblock, slots=slots), master)
    secret = {"identity": {"kind": "x25519", "private": identity.private.hex()}}
    return case("thirteen recipient slots", copy * 2, error("KdfLimitError"), **secret)


def encode_json(data: Vector) -> str:
    return json.dumps(data, indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in VECTORS:
        (FOLDER / f"{name}.json").write_text(encode_json(build(name)), encoding="ascii")
    print(f"{len(VECTORS)} vectors in {FOLDER}")


if __name__ == "__main__":
    main()
