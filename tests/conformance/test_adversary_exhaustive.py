"""An adversary with a pen, exhaustively: every slot, root place and superblock copy of a small
archive is flipped, zeroed, swapped with every other, put back to its own older version; the file
is cut behind it; junk is appended.  In both suites.

What the current root refers to is told by the map: there the right exception comes out of the
first read that depends on it and `check` finds it.  The rest changes nothing.  Never do wrong or
older data come out.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest

import archive7
from archive7.crypto import KIND_DATA, KIND_NODE
from archive7.device import MemoryDevice
from archive7.errors import BlockCorruptError, CorruptError, RollbackError
from archive7.layout import (
    BLOCK_SIZE,
    RING_OFFSET,
    RING_PLACES,
    SLOTS_OFFSET,
    SUPERBLOCK_SIZE,
)
from archive7.superblock import write_copies
from archive7.unlock import read
from tests.audit import audit
from tests.conformance.looking import Found, look
from tests.conformance.reader import REFUSED, Reader
from tests.conformance.test_golden import shown
from tests.forge import SECRETS, Forge
from tests.unit.archives import KEY, errors_of
from tests.vectors.seeded import noise, seeded

UNREAD = ("special stream 0", "special stream 3")  # trash and lineage: no reader goes there


@dataclass
class Target:
    """A closed archive, its past, and what its root refers to.

    Attributes:
        used: slot -> "node" or who owns the block; nothing else is referred to.
        read: those of them that a read of everything depends on.
    """

    data: bytes
    past: list[bytes]
    files: Found
    slots: int
    used: dict[int, str] = field(default_factory=dict)
    read: set[int] = field(default_factory=set)

    @property
    def free(self) -> list[int]:
        return [slot for slot in range(1, self.slots + 1) if slot not in self.used]


@cache
def target(suite: str) -> Target:
    file, past = io.BytesIO(), []
    with seeded(f"adversary {suite}"):
        for version in range(6):
            mode = "r+" if version else "x"
            with archive7.open(file, mode, key=KEY, suite=suite) as archive:
                archive.makedirs("/d/e", exist_ok=True)
                for number in range(6):
                    archive.write_bytes(f"/d/{number}", noise(2500 * number, (version, number)))
                    archive.sync()  # so that slots are used again
                    if version == 5 and number % 2:
                        past.append(file.getvalue())
                archive.write_bytes("/d/e/one", b"%d" % version)
            past.append(file.getvalue())
    data = past.pop()
    with archive7.open(io.BytesIO(data), key=KEY) as archive:
        files, refused = look(archive)
        assert not refused
        assert not errors_of(archive)
        seen = audit(archive._manager)
        found = Target(data, past, files, archive._container.root.slots)
    for slot, what in seen.slots.items():
        if what == "the reserve":
            continue
        owner = seen.owners[int(what[6:])] if what.startswith("block ") else "node"
        found.used[slot] = owner
        if owner not in UNREAD:
            found.read.add(slot)
    assert 15 < len(found.used) < 40, len(found.used)
    assert len(found.free) > 3
    return found


@pytest.fixture(params=["xaes256gcm", "secretbox"])
def mark(request: pytest.FixtureRequest, need_secretbox: Callable[[], None]) -> Target:
    if request.param == "secretbox":
        need_secretbox()
    return target(request.param)


# --- the file in pieces


def place(number: int) -> slice:
    """Where a slot (1, 2 ...) or, below 1, a place of the ring (0, -1 ... -7) stands."""
    at = SLOTS_OFFSET + (number - 1) * BLOCK_SIZE
    return slice(at, at + BLOCK_SIZE)


RING = [-place for place in range(RING_PLACES)]
assert place(-7).start == RING_OFFSET


def with_pieces(data: bytes, pieces: dict[int, bytes]) -> bytes:
    changed = bytearray(data)
    for number, piece in pieces.items():
        changed[place(number)] = piece
    return bytes(changed)


# --- what must come of it


def outcome(data: bytes) -> tuple[Found, set[str], bool]:
    """What can be read, what was raised, whether `check` finds something."""
    try:
        with archive7.open(io.BytesIO(data), key=KEY) as archive:
            found, refused = look(archive)
            return found, set(refused.values()), bool(errors_of(archive))
    except CorruptError as error:
        return {}, {type(error).__name__}, True


def judge(mark: Target, data: bytes, changed: set[int], wanted: set[type[Exception]]) -> None:
    """Compare what comes of damage to some slots with what the map says must come."""
    found, raised, is_found = outcome(data)
    names = ", ".join(f"slot {slot} ({mark.used.get(slot, 'free')})" for slot in sorted(changed))
    wrong = [path for path, item in found.items() if mark.files[path] != item]
    assert not wrong, f"{names}: wrong data in {wrong}"
    assert is_found == bool(changed & mark.used.keys()), f"{names}: check finds {is_found}"
    if changed & mark.read:
        assert raised, f"{names}: nothing raises"
        assert raised <= {kind.__name__ for kind in wanted}, f"{names}: {raised}"
    else:
        assert (found, raised) == (mark.files, set()), names
    try:
        items = Reader(data, key=KEY).files()
    except REFUSED:
        assert changed & mark.read, f"{names}: the second reader refuses"
    else:
        assert not changed & mark.read, f"{names}: the second reader does not refuse"
        assert {path: shown(item) for path, item in items.items()} == mark.files


def error_of(mark: Target, slot: int, block: bytes) -> set[type[Exception]]:
    """What a block in a slot must raise: an old or moved one opens under the key of its kind."""
    if slot not in mark.used:
        return set()
    kind = KIND_NODE if mark.used[slot] == "node" else KIND_DATA
    is_genuine = forge(mark.data).ciphers[kind].open_block(block) is not None
    return {RollbackError if is_genuine else BlockCorruptError}


@cache
def forge(data: bytes) -> Forge:
    return Forge(data)


def put(mark: Target, pieces: dict[int, bytes]) -> None:
    """Put blocks into slots and places of the ring, and judge what comes of it."""
    pieces = {n: block for n, block in pieces.items() if block != mark.data[place(n)]}
    wanted: set[type[Exception]] = set()
    for number, block in pieces.items():
        if number in mark.read:
            wanted |= error_of(mark, number, block)
    judge(mark, with_pieces(mark.data, pieces), {n for n in pieces if n > 0}, wanted)


# --- slots and places of the ring


def test_a_flipped_bit(mark: Target) -> None:
    for number in [*RING, *range(1, mark.slots + 1)]:
        for at in (3, 17, 26, 4080) if number in mark.used else (26,):
            block = bytearray(mark.data[place(number)])
            block[at] ^= 1 << number % 8
            put(mark, {number: bytes(block)})


def test_zeros(mark: Target) -> None:
    for number in [*RING, *range(1, mark.slots + 1)]:
        put(mark, {number: bytes(BLOCK_SIZE)})


def test_swapped_with_every_other(mark: Target) -> None:
    count = 0
    # places of the ring are alike, and so are free slots: some of them stand for all
    free = [*mark.free[:2], mark.free[-1]]
    for one, other in itertools.combinations([*RING[:2], *free, *mark.used], 2):
        put(mark, {one: mark.data[place(other)], other: mark.data[place(one)]})
        count += 1
    assert count > 50


def test_its_own_older_version(mark: Target) -> None:
    count = 0
    for past in mark.past:
        for number in [*RING, *range(1, mark.slots + 1)]:
            block = past[place(number)]
            if len(block) == BLOCK_SIZE and block != mark.data[place(number)]:
                put(mark, {number: block})
                count += number in mark.used
    assert count > 5


def test_any_older_version(mark: Target) -> None:
    """The same plaintext as it was sealed at another time: a genuine block, and not the one."""
    forged = forge(mark.data)
    for slot, owner in mark.used.items():
        kind = KIND_NODE if owner == "node" else KIND_DATA
        plain = forged.ciphers[kind].open_block(mark.data[place(slot)])
        assert plain is not None
        sealed, _ = forged.seal(kind, bytearray(plain))
        assert error_of(mark, slot, sealed) == {RollbackError}
        put(mark, {slot: sealed})


def test_all_slots_but_not_the_ring_put_back(mark: Target) -> None:
    """An older file under the present root: nothing of it comes out."""
    for past in mark.past:
        pieces = {slot: past[place(slot)] for slot in range(1, mark.slots + 1)}
        pieces = {slot: block for slot, block in pieces.items() if len(block) == BLOCK_SIZE}
        changed = {slot for slot, block in pieces.items() if block != mark.data[place(slot)]}
        wanted = {BlockCorruptError, RollbackError}
        judge(mark, with_pieces(mark.data, pieces), changed, wanted)


def test_an_older_ring_is_refused_or_is_the_whole_older_state(mark: Target) -> None:
    """Seven places of the ring put back change nothing as long as one holds the present root."""
    for past in mark.past:
        for kept in RING:
            put(mark, {number: past[place(number)] for number in RING if number != kept})


# --- the end of the file


def test_cut_behind_every_slot(mark: Target) -> None:
    for number in [*RING, *range(1, mark.slots)]:
        for size in (place(number).stop, place(number).stop - 1):
            found, raised, is_found = outcome(mark.data[:size])
            assert (found, raised, is_found) == ({}, {"CorruptError"}, True), number
            with pytest.raises(REFUSED):
                Reader(mark.data[:size], key=KEY)


@pytest.mark.parametrize("junk", [b"\0", bytes(BLOCK_SIZE), noise(3 * BLOCK_SIZE + 5, "junk")])
def test_junk_behind_the_end(mark: Target, junk: bytes) -> None:
    judge(mark, mark.data + junk, set(), set())
    judge(mark, mark.data + mark.data[SLOTS_OFFSET:], set(), set())


# --- superblock copies


def copies(mark: Target) -> tuple[bytes, bytes]:
    return mark.data[:SUPERBLOCK_SIZE], mark.data[SUPERBLOCK_SIZE : 2 * SUPERBLOCK_SIZE]


def judge_superblock(mark: Target, first: bytes, second: bytes, *, is_found: bool) -> None:
    data = first + second + mark.data[2 * SUPERBLOCK_SIZE :]
    assert outcome(data) == (mark.files, set(), is_found)
    items = Reader(data, key=KEY).files()
    assert {path: shown(item) for path, item in items.items()} == mark.files


def test_a_superblock_copy_flipped_zeroed_or_swapped(mark: Target) -> None:
    first, second = copies(mark)
    for at in range(0, SUPERBLOCK_SIZE, 1201):
        bad = bytearray(first)
        bad[at] ^= 1 << at % 8
        judge_superblock(mark, bytes(bad), second, is_found=True)
        judge_superblock(mark, first, bytes(bad), is_found=True)
    judge_superblock(mark, bytes(SUPERBLOCK_SIZE), second, is_found=True)
    judge_superblock(mark, first, bytes(SUPERBLOCK_SIZE), is_found=True)
    judge_superblock(mark, second, first, is_found=False)
    judge_superblock(mark, first, first, is_found=False)


def test_a_superblock_copy_put_back_to_its_older_version(mark: Target) -> None:
    device = MemoryDevice(mark.data)
    unlocked = read(device, SECRETS, 1 << 18)
    newer: Any = replace(unlocked.superblock, sequence=unlocked.superblock.sequence + 1)
    write_copies(device, newer, unlocked.master)
    data = device.getvalue()
    first, second = data[:SUPERBLOCK_SIZE], data[SUPERBLOCK_SIZE : 2 * SUPERBLOCK_SIZE]
    old_first, old_second = copies(mark)
    judge_superblock(mark, first, second, is_found=False)
    judge_superblock(mark, old_first, second, is_found=True)
    judge_superblock(mark, first, old_second, is_found=True)


def test_both_superblock_copies_put_back_are_refused_once_a_root_knows_the_newer(
    mark: Target,
) -> None:
    forged = Forge(mark.data)
    forged.set_root(sequence=forged.root.sequence + 1)
    assert outcome(bytes(forged.data)) == ({}, {"RollbackError"}, True)
    with pytest.raises(REFUSED):
        Reader(bytes(forged.data), key=KEY)
