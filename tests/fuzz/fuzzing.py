"""One case of fuzzing: a container, a mutation from a seed, and all that is tried on the result.

Nothing but the documented exceptions comes out, within bounds of work and memory that follow from
the size of the file and from nothing that stands in it.
"""

from __future__ import annotations

import random
import signal
import struct
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any
from unittest import mock

import archive7
from archive7 import Archive
from archive7.crypto import argon2id, mac, sha256, subkey
from archive7.device import MemoryDevice
from archive7.errors import Archive7Error
from archive7.keyslots import Secrets
from archive7.layout import (
    KDF_CEILING,
    KDF_FLOOR,
    KDF_UNASKED_MEMORY,
    SUPERBLOCK_HEAD,
    SUPERBLOCK_SIZE,
)
from archive7.unlock import read
from tests.conformance.looking import look
from tests.conformance.reader import REFUSED, Reader
from tests.fuzz import mutator
from tests.vectors.make_golden import FOLDER, PASSWORD

KEYED = (
    "small_xaes", "height_0", "height_1_changes", "height_2", "folded_and_killed", "fragmented",
    "far_values", "links", "deleted", "many", "blanking", "trash", "open_and_removed",
    "small_secretbox", "height_0_secretbox",
)  # fmt: skip
_GUARD = 120  # seconds for a case that takes milliseconds: it is in a loop
_MEMORY = 64 << 20  # for containers of half a megabyte
_READS = 400  # reads for each block of the file, over all that is tried on it
_BOUNDS = (0, 1, 2, 3, 15, 16, 17, 19455, 19456, 2**18 + 1, 2**20, 2**20 + 1, 2**31, 2**32 - 1)


class BoundError(AssertionError):
    """More work or memory than the size of the file explains."""


class CountingDevice(MemoryDevice):
    """Counts what is read; refuses more than the size of the file explains."""

    def __init__(self, data: bytes, *, readonly: bool = False) -> None:
        super().__init__(data, readonly=readonly)
        self.left = _READS * ((len(data) >> 12) + 10)

    def pread(self, size: int, offset: int) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise BoundError("too many reads")
        if size > 64 << 20:
            raise BoundError(f"a read of {size} bytes")
        return super().pread(size, offset)

    def pwrite(self, data: Any, offset: int) -> None:
        if offset + len(data) > 64 << 20:
            raise BoundError(f"a write at {offset}")
        super().pwrite(data, offset)


# --- mutations


@cache
def base(name: str) -> bytes:
    return mutator.container() if name == "mixed" else (FOLDER / f"{name}.ar7").read_bytes()


def mutate_raw(data: bytes, rng: random.Random) -> bytes:
    """What anyone can do."""
    return mutator.raw(data, rng, rng.choice((1, 1, 2, 8, 40)))


def mutate_sealed(data: bytes, rng: random.Random) -> bytes:
    """What a key holder can do to blocks, trees, nodes and roots."""
    return mutator.sealed(data, rng, rng.choice((1, 1, 3, 10)))


def mutate_superblock(data: bytes, rng: random.Random) -> bytes:
    """What a key holder can do to a superblock: any field, keyslots, bounds of the costs."""
    master = _master_of(data)
    changed = bytearray(data)
    for copy in (0, 1):
        if rng.random() < 0.8:
            begin = copy * SUPERBLOCK_SIZE
            part = changed[begin : begin + SUPERBLOCK_SIZE]
            for _ in range(rng.choice((1, 1, 2))):
                _change_field(part, rng)
            changed[begin : begin + SUPERBLOCK_SIZE] = _sealed_again(part, master)
    return bytes(changed)


@cache
def _master_of(data: bytes) -> bytes:
    is_keyed = data[SUPERBLOCK_HEAD.size + 1] == 1  # the kind of the first keyslot
    secrets = Secrets(key=mutator.KEY) if is_keyed else Secrets(password=PASSWORD)
    return bytes(read(MemoryDevice(data), secrets, KDF_UNASKED_MEMORY).master)


def _change_field(part: bytearray, rng: random.Random) -> None:
    """A number of the head, of the first keyslot's head or parameters, or any byte in use."""
    head = SUPERBLOCK_HEAD.size
    halves = [(at, "H") for at in (8, 10, 12, 14, head, head + 2)]
    fields = [*halves, *((at, "I") for at in (16, 20, 40, 60, 64)), (44, "Q"), (52, "Q")]
    costs = [(head + 44, "I"), (head + 48, "I"), (head + 52, "I")]
    at, kind = rng.choice(costs * 4 if part[head + 1] == 2 and rng.random() < 0.6 else fields)
    number = rng.choice(_BOUNDS)
    if rng.random() < 0.1:
        at, kind = rng.randrange(600), "B"
    limit = 1 << 8 * struct.calcsize(f"!{kind}")
    struct.pack_into(f"!{kind}", part, at, number % limit)


def _sealed_again(part: bytearray, master: bytes) -> bytes:
    """The copy with SHA-256 and HMAC set right."""
    _, _, _, suite, _, _, _, container, epoch, *_ = SUPERBLOCK_HEAD.unpack_from(part)
    body = bytes(part[:-64])
    body += sha256(body)
    return body + mac(subkey(master, container, b"superblock mac", suite, epoch), body)


KINDS: dict[str, tuple[Callable[[bytes, random.Random], bytes], tuple[str, ...]]] = {
    "raw": (mutate_raw, ("mixed", *KEYED)),
    "sealed": (mutate_sealed, ("mixed", *KEYED)),
    "superblock": (mutate_superblock, ("password_xaes", "small_xaes")),
}


# --- what is tried


@contextmanager
def guarded() -> Iterator[None]:
    """A loop without end becomes a failure."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise BoundError("it does not end")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_GUARD)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def bounded_argon2id(secret: bytes, salt: bytes, memory: int, passes: int, lanes: int) -> bytes:
    """Argon2id, which must not be asked for costs out of bounds."""
    (low, few, one), (_, most, all_lanes) = KDF_FLOOR, KDF_CEILING
    if not (
        low <= memory <= KDF_UNASKED_MEMORY and few <= passes <= most and one <= lanes <= all_lanes
    ):
        raise BoundError(f"Argon2id with {memory} KiB, {passes} passes, {lanes} lanes")
    return argon2id(secret, salt, memory, 2, 1)  # the least: the answer is wrong and cheap


def try_reading(data: bytes, secret: dict[str, Any]) -> bool:
    """Open, read everything, check, all twice; whether it could be opened."""
    try:
        with archive7.open(CountingDevice(data, readonly=True), "r", **secret) as archive:
            look(archive, most=2000)
            _all_queries(archive)
            for level in ("quick", "full"):
                for finding in archive.check(level):
                    assert str(finding)
    except Archive7Error:
        return False
    return True


def _all_queries(archive: Archive) -> None:
    for query in (
        lambda: [path for _, path in zip(range(500), archive.walk("/"), strict=False)],
        archive.deleted,
        archive.info,
        lambda: archive.glob("**/*"),
    ):
        try:
            found = query()
            assert found is not None
        except Archive7Error:
            continue


def try_writing(data: bytes, secret: dict[str, Any]) -> bool:
    """Open for writing, write, delete, commit, close; what then is there can be opened."""
    device = CountingDevice(data)
    try:
        archive = archive7.open(device, "r+", **secret)
    except Archive7Error:
        return False
    try:
        # who holds the key can have two files share a block: then a write may change both
        is_sound = not any(finding.severity == "error" for finding in archive.check())
        archive.write_bytes("/new", b"new" * 3000)
        archive.sync()
        assert archive.read_bytes("/new") == b"new" * 3000 or not is_sound
        archive.remove("/new")
        archive.close()
    except Archive7Error:
        pass
    finally:
        archive._container.abandon()
        archive._files.clear()
    return True


def try_second_reader(data: bytes, secret: dict[str, Any]) -> bool:
    """It refuses or reads."""
    try:
        reader = Reader(data, **secret)
        reader.files()
        reader.deleted()
    except (*REFUSED, RecursionError):
        return False
    return True


def run_case(kind: str, seed: int, *, has_secretbox: bool) -> list[bool]:
    """Run one case; who could open it.  Raises whatever is not documented."""
    rng = random.Random(f"{kind} {seed}")
    mutate, names = KINDS[kind]
    name = rng.choice([n for n in names if has_secretbox or "secretbox" not in n])
    with warnings.catch_warnings(), guarded():
        warnings.simplefilter("ignore")
        data = mutate(base(name), rng)
        secret = {"password": PASSWORD} if name.startswith("password") else {"key": mutator.KEY}
        tries = [try_reading, try_writing, try_second_reader]
        with mock.patch("archive7.keyslots.argon2id", bounded_argon2id):
            return [_measured(each, data, secret) for each in tries]


def _measured(
    attempt: Callable[[bytes, dict[str, Any]], bool], data: bytes, secret: dict[str, Any]
) -> bool:
    tracemalloc.start()
    try:
        result = attempt(data, secret)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if peak > _MEMORY:
        raise BoundError(f"{peak >> 20} MiB in {attempt.__name__}")
    return result
