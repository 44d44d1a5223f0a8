"""Hostile superblocks: any field at any value costs little before the bounds refuse it.

What is counted is work, not time: Argon2id runs with their costs, HPKE openings, HKDFs, and bytes
of memory.
"""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from archive7 import hpke, keyslots
from archive7 import superblock as sb
from archive7.crypto import SUITE_XAES256GCM, hkdf, sha256
from archive7.device import MemoryDevice
from archive7.errors import (
    KdfLimitError,
    NotAnArchiveError,
    SuperblockCorruptError,
    VersionError,
    WrongKeyError,
)
from archive7.keys import generate_identity
from archive7.keyslots import KdfCost, Secrets
from archive7.layout import (
    KDF_CEILING,
    KDF_FLOOR,
    SUPERBLOCK_HEAD,
    SUPERBLOCK_SIZE,
)
from archive7.unlock import read

FLOOR = KdfCost(*KDF_FLOOR)
HYBRID, X25519 = generate_identity("hybrid"), generate_identity("x25519")
MAKER = Secrets(key=b"k" * 32, password="phrase", recipients=(HYBRID.recipient, X25519.recipient))
OFFERED = (
    Secrets(key=b"o" * 32, password="other", identity=HYBRID),
    Secrets(identity=X25519),
    Secrets(password="phrase"),
    MAKER,
)
DOCUMENTED = (
    KdfLimitError,
    NotAnArchiveError,
    SuperblockCorruptError,
    VersionError,
    WrongKeyError,
)
MEMORY = 1 << 20  # bytes beyond the copies themselves; 100 MiB would be allowed
EDGES = (0, 1, 2, 4, 8, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63, 2**64 - 1)


@dataclass
class Work:
    """What was done on behalf of the bytes."""

    costs: list[tuple[int, int, int]] = field(default_factory=list)
    hpke: int = 0
    hkdf: int = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Count; HKDF stands in the place of Argon2id."""
    done = Work()

    def cheap(phrase: bytes, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
        done.costs.append((memory_kib, passes, lanes))
        return hkdf(phrase, salt, b"cheap")

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            setattr(done, name, getattr(done, name) + 1)
            return function(*arguments)

        return call

    monkeypatch.setattr(keyslots, "argon2id", cheap)
    monkeypatch.setattr(keyslots, "hkdf", counted("hkdf", hkdf))
    monkeypatch.setattr("archive7.keys.hpke_open", counted("hpke", hpke.hpke_open))
    return done


@pytest.fixture
def good(work: Work) -> tuple[bytes, bytes]:
    """A superblock with a slot of every kind; two encodings of it."""
    superblock, master = sb.create(SUITE_XAES256GCM, MAKER, FLOOR)
    return sb.encode(superblock, master), sb.encode(superblock, master)


def resummed(copy: bytes) -> bytes:
    body = copy[: SUPERBLOCK_SIZE - 64]
    return body + sha256(body) + copy[-32:]


def fields() -> Iterator[tuple[int, int]]:
    """Offset and size of every field of head and slot table."""
    at = 0
    for size in (8, 2, 2, 2, 2, 4, 4, 16, 4, 8, 8, 4, 4):
        yield at, size
        at += size
    for body in (
        (8, 32, 32, 48),
        (8, 32, 4, 4, 4, 32, 48),
        (8, 1168),
        (8, 80),
    ):
        for size in (2, 2, *body):
            yield at, size
            at += size


def changed(copy: bytes, rng: random.Random) -> bytes:
    """One to three fields at other values, with the right SHA-256."""
    data = bytearray(copy)
    for at, size in rng.sample(list(fields()), rng.randint(1, 3)):
        whole = 8 if size > 8 else size
        value = rng.choice((*EDGES, rng.getrandbits(64))) % (1 << 8 * whole)
        data[at : at + whole] = value.to_bytes(whole, "big")
    return resummed(bytes(data))


def table(slots: bytes, count: int) -> bytes:
    """A copy with this slot table."""
    head = SUPERBLOCK_HEAD.pack(
        b"\x89AR7\r\n\x1a\n", 3, 0, 1, count, 0, 0, bytes(16), 1, 2**63, 0, len(slots), 0
    )
    return resummed((head + slots).ljust(SUPERBLOCK_SIZE, b"\0"))


def attempt(data: bytes, secrets: Secrets) -> str:
    """Open; return what came of it.  Whatever it is, it costs little memory."""
    tracemalloc.start()
    try:
        read(MemoryDevice(data), secrets)
        return "opened"
    except DOCUMENTED as error:
        return type(error).__name__
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < len(data) + MEMORY, peak


def assert_bounded(work: Work, what: object) -> None:
    """Nothing ran outside the bounds, nothing more often than they allow."""
    assert len(work.costs) <= 16, what
    for cost in work.costs:
        for value, low, high in zip(cost, KDF_FLOOR, KDF_CEILING, strict=True):
            assert low <= value <= high, what
        assert cost[0] <= 2**18, what
    assert work.hpke <= 24, what
    assert work.hkdf <= 3000, what


def test_any_field_at_any_value(good: tuple[bytes, bytes], work: Work, rng: random.Random) -> None:
    seen = set()
    for number in range(1000):
        copies = [changed(copy, rng) if rng.random() < 0.8 else copy for copy in good]
        work.costs.clear()
        work.hpke = work.hkdf = 0
        seen.add(attempt(b"".join(copies), rng.choice(OFFERED)))
        assert_bounded(work, number)
    assert {"opened", "KdfLimitError", "SuperblockCorruptError", "VersionError"} <= seen
    assert "WrongKeyError" in seen


def test_each_field_alone_at_its_edges(good: tuple[bytes, bytes], work: Work) -> None:
    for at, size in fields():
        whole = 8 if size > 8 else size
        for edge in EDGES:
            value = (edge % (1 << 8 * whole)).to_bytes(whole, "big")
            copy = resummed(good[0][:at] + value + good[0][at + whole :])
            work.costs.clear()
            work.hpke = work.hkdf = 0
            attempt(copy * 2, OFFERED[0])
            assert_bounded(work, (at, edge))


RAW = struct.pack("!HH", 1, 120)
PHRASE = struct.pack("!HH", 2, 132)
WORST = struct.pack("!III", 2**18, 16, 16)


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("empty slots of no known kind", lambda _: struct.pack("!HH", 9, 0)),
        ("raw keys", lambda rng: RAW + rng.randbytes(120)),
        ("passphrases", lambda rng: PHRASE + rng.randbytes(40) + WORST + rng.randbytes(80)),
        ("x25519", lambda rng: struct.pack("!HH", 3, 88) + rng.randbytes(88)),
        ("hybrid", lambda rng: struct.pack("!HH", 4, 1176) + rng.randbytes(1176)),
    ],
)
def test_table_full_of_one_kind(
    work: Work, rng: random.Random, name: str, slot: Callable[[random.Random], bytes]
) -> None:
    copies = []
    for _ in range(2):
        slots = [slot(rng) for _ in range(32000 // len(slot(rng)))]
        copies.append(table(b"".join(slots), len(slots)))
    for secrets in OFFERED:
        work.costs.clear()
        work.hpke = work.hkdf = 0
        refused = ("WrongKeyError", "KdfLimitError", "SuperblockCorruptError")
        assert attempt(b"".join(copies), secrets) in refused, name
        assert_bounded(work, name)
        assert not work.costs, "more than eight in a copy: none is tried"


@pytest.mark.parametrize(("kind", "size", "count"), [(3, 88, 12), (4, 1176, 12), (2, 132, 8)])
def test_as_many_as_are_allowed_are_tried_once_each(
    work: Work, rng: random.Random, kind: int, size: int, count: int
) -> None:
    head = struct.pack("!HH", kind, size)
    middle = WORST if kind == 2 else b""

    def body() -> bytes:
        return head + rng.randbytes(40) + middle + rng.randbytes(size - 40 - len(middle))

    copies = [table(b"".join(body() for _ in range(count)), count) for _ in range(2)]
    secrets = Secrets(password="x", identity=HYBRID if kind == 4 else X25519)
    assert attempt(b"".join(copies), secrets) == "WrongKeyError"
    assert (len(work.costs), work.hpke) == ((16, 0) if kind == 2 else (0, 24))
    more = [table(b"".join(body() for _ in range(count + 1)), count + 1) for _ in range(2)]
    work.costs.clear()
    work.hpke = 0
    assert attempt(b"".join(more), secrets) == "KdfLimitError"
    assert (len(work.costs), work.hpke) == (0, 0)


def test_what_is_not_known_is_refused_by_name(work: Work) -> None:
    superblock, master = sb.create(SUITE_XAES256GCM, MAKER, FLOOR)
    for unknown, pattern in (
        (replace(superblock, critical=1 << 7), "critical flags: bits 7"),
        (replace(superblock, suite=77), "cipher suite 77"),
    ):
        data = sb.encode(unknown, master) * 2
        with pytest.raises(VersionError, match=pattern):
            read(MemoryDevice(data), MAKER)
    slot = replace(superblock.slots[0], kind=4242)
    data = sb.encode(replace(superblock, slots=(slot,)), master) * 2
    with pytest.raises(WrongKeyError, match=r"unknown to this version \(4242\)"):
        read(MemoryDevice(data), MAKER)
