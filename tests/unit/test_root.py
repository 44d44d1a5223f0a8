"""The root: encoding, its hash and mark, nonsense refused, and the ring that it stands in."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archive7.crypto import KIND_DATA, KIND_ROOT, SUITE_SECRETBOX, SUITE_XAES256GCM, block_cipher
from archive7.device import MemoryDevice
from archive7.errors import CorruptError
from archive7.layout import (
    BLOCK_SIZE,
    CHANGE,
    DATA_SIZE,
    INLINE_MAX,
    MAX_POSITIONS,
    MAX_SLOTS,
    MAX_SPECIAL_STREAMS,
    NO_ENTRY,
    RESERVE_COUNT,
    RING_OFFSET,
    RING_PLACES,
    ROOT,
    ROOT_MARK_OFFSET,
    ROOT_OFFSET,
    STREAM,
)
from archive7.root import NO_HASH, Ring, Root, decode, first_root, hash_of, slot_offset

MASTER, CONTAINER = bytes(range(32)), bytes(16)


def sized(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@st.composite
def roots(draw: st.DrawFn) -> Root:
    """Any root that makes sense."""
    slots = draw(st.integers(0, MAX_SLOTS))
    first = draw(st.integers(0, slots))
    height = draw(st.integers(0, 4))
    top = draw(sized(12).filter(lambda entry: entry != NO_ENTRY)) if height else NO_ENTRY
    positions = draw(st.lists(st.integers(1, MAX_POSITIONS), unique=True, max_size=INLINE_MAX))
    return Root(
        number=draw(st.integers(0, 2**63 - 1)),
        base_number=draw(st.integers(0, 2**64 - 1)),
        base_hash=draw(sized(32)),
        is_marked=draw(st.booleans()),
        height=height,
        flags=draw(st.integers(0, 2**32 - 1)),
        session=draw(sized(16)),
        sequence=draw(st.integers(0, 2**64 - 1)),
        slots=slots,
        used=draw(st.integers(0, slots)),
        positions=draw(st.integers(0, MAX_POSITIONS)),
        sealed=draw(st.integers(0, 2**64 - 1)),
        top=top,
        previous_hash=draw(sized(32)),
        reserve=(first, draw(st.integers(0, slots + 1 - first))),
        streams=tuple(draw(st.lists(sized(STREAM.size), max_size=MAX_SPECIAL_STREAMS))),
        header=draw(sized(ROOT_OFFSET)),
        changes={p: CHANGE.pack(p, p & 0xFFFF, bytes(8)) for p in positions},
    )


def plain_root(**changes: Any) -> Root:
    root = first_root(b"s" * 16, 1, b"header".ljust(ROOT_OFFSET, b"\0"))
    return replace(root, **changes).with_hash()[0]


# --- encoding


@given(roots())
def test_root_comes_back_from_its_bytes(root: Root) -> None:
    data = root.encode()
    assert len(data) == DATA_SIZE
    again = decode(data)
    for each in fields(Root):
        if each.name != "hash":
            assert getattr(again, each.name) == getattr(root, each.name), each.name
    assert list(again.changes) == list(root.changes)
    assert again.encode() == data
    assert again.hash == root.with_hash()[0].hash


def test_fullest_root_fits() -> None:
    root = plain_root(
        changes={p: CHANGE.pack(p, p, b"t" * 8) for p in range(1, INLINE_MAX + 1)},
        streams=tuple(bytes([i]) * STREAM.size for i in range(MAX_SPECIAL_STREAMS)),
        positions=500,
    )
    data = root.encode()
    assert len(data) == DATA_SIZE
    assert data[-STREAM.size :] == b"\x0f" * STREAM.size
    assert decode(data) == root


def test_first_root_refers_to_nothing_but_the_reserve() -> None:
    root = first_root(b"s" * 16, 7, bytes(ROOT_OFFSET))
    assert (root.number, root.base_number, root.base_hash) == (0, 0, NO_HASH)
    assert (root.height, root.top, root.changes, root.used) == (0, NO_ENTRY, {}, 0)
    assert (root.slots, root.reserve, root.positions) == (RESERVE_COUNT, (1, RESERVE_COUNT), 1)
    assert root.sequence == 7
    assert not root.is_marked
    assert root.hash == hash_of(root.encode()) != NO_HASH


# --- hash and mark


@given(roots())
def test_mark_changes_one_byte_and_not_the_hash(root: Root) -> None:
    root = replace(root, is_marked=False).with_hash()[0]
    marked = root.marked()
    assert marked.is_marked
    assert marked.hash == root.hash == hash_of(root.encode()) == hash_of(marked.encode())
    plain, other = root.encode(), marked.encode()
    assert [at for at in range(DATA_SIZE) if plain[at] != other[at]] == [ROOT_MARK_OFFSET]
    assert decode(other).hash == root.hash


def test_hash_is_sha256_of_the_data_with_the_mark_zeroed() -> None:
    data = plain_root(is_marked=True).encode()
    zeroed = bytearray(data)
    zeroed[ROOT_MARK_OFFSET] = 0
    assert hash_of(data) == hashlib.sha256(zeroed).digest()


@given(st.integers(0, DATA_SIZE - 1))
@example(ROOT_MARK_OFFSET - 1)
@example(ROOT_MARK_OFFSET + 1)
@example(DATA_SIZE - 1)
def test_hash_covers_every_other_byte(at: int) -> None:
    data = plain_root().encode()
    changed = bytearray(data)
    changed[at] ^= 1
    assert (hash_of(bytes(changed)) == hash_of(data)) is (at == ROOT_MARK_OFFSET)


# --- nonsense

NAMES = (
    "number base_number base_hash mark height changes streams flags session sequence slots used "
    "positions sealed top previous_hash reserve_slot reserve_count"
).split()


def edited(**changes: Any) -> bytes:
    """The bytes of a sensible root with raw fields replaced."""
    root = plain_root(height=1, top=b"\0\0\0\1" + bytes(8), slots=100, used=5, positions=50)
    data = root.encode()
    raw = dict(zip(NAMES, ROOT.unpack_from(data, ROOT_OFFSET), strict=True))
    packed = ROOT.pack(*{**raw, **changes}.values())
    return data[:ROOT_OFFSET] + packed + data[ROOT_OFFSET + ROOT.size :]


NONSENSE = {
    "a commit number that never ends": {"number": 2**63},
    "higher than any tree": {"height": 5},
    "a height without a top": {"top": NO_ENTRY},
    "a top without a height": {"height": 0},
    "too many changes": {"changes": INLINE_MAX + 1},
    "the most changes a byte can say": {"changes": 255},
    "too many streams": {"streams": MAX_SPECIAL_STREAMS + 1},
    "more used than there are": {"used": 101},
    "more positions than there can be": {"positions": MAX_POSITIONS + 1},
    "a reserve behind the end": {"reserve_slot": 90, "reserve_count": 12},
    "a reserve of everything": {"reserve_slot": 1, "reserve_count": 2**32 - 1},
}


def test_edited_root_without_an_edit_makes_sense() -> None:
    assert decode(edited()).slots == 100


@pytest.mark.parametrize("change", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptError) as caught:
        decode(edited(**change))
    assert caught.value.block == 0


@given(st.binary(min_size=DATA_SIZE, max_size=DATA_SIZE))
def test_any_bytes_are_a_root_or_refused(data: bytes) -> None:
    try:
        root = decode(data)
    except CorruptError:
        return
    assert root.used <= root.slots
    assert len(root.changes) <= INLINE_MAX
    assert hash_of(data) == root.hash


# --- the ring


def ring_of(suite: int = SUITE_XAES256GCM, kind: bytes = KIND_ROOT) -> tuple[MemoryDevice, Ring]:
    device = MemoryDevice(bytes(RING_OFFSET + RING_PLACES * BLOCK_SIZE))
    return device, Ring(device, block_cipher(suite, MASTER, CONTAINER, 1, kind))


@pytest.fixture(params=[SUITE_XAES256GCM, SUITE_SECRETBOX], ids=["xaes256gcm", "secretbox"])
def ring(request: pytest.FixtureRequest, need_secretbox: Any) -> tuple[MemoryDevice, Ring]:
    if request.param == SUITE_SECRETBOX:
        need_secretbox()
    return ring_of(request.param)


def test_root_stands_in_its_place(ring: tuple[MemoryDevice, Ring]) -> None:
    device, written = ring
    before = device.getvalue()
    root = plain_root(number=5)
    sealed = written.seal(root)
    assert len(sealed) == BLOCK_SIZE
    written.write(3, sealed)
    at = RING_OFFSET + 3 * BLOCK_SIZE
    assert device.pread(BLOCK_SIZE, at) == sealed
    assert device.getvalue() == before[:at] + sealed + before[at + BLOCK_SIZE :]
    assert written.read() == {3: root}
    assert written.read()[3].hash == root.hash
    assert written.raw() == device.getvalue()[RING_OFFSET:]
    assert written.read(written.raw()) == written.read()


def test_places_that_do_not_open_are_left_out(ring: tuple[MemoryDevice, Ring]) -> None:
    device, written = ring
    for place in range(RING_PLACES):
        written.write(place, written.seal(plain_root(number=place)))
    assert {p: root.number for p, root in written.read().items()} == {p: p for p in range(8)}
    for place, size in ((0, BLOCK_SIZE), (2, 512), (5, 1)):
        at = RING_OFFSET + place * BLOCK_SIZE + 100
        device.pwrite(bytes(b ^ 1 for b in device.pread(min(size, 3000), at)), at)
    assert sorted(written.read()) == [1, 3, 4, 6, 7]


def test_sealing_the_same_root_twice_gives_other_bytes(ring: tuple[MemoryDevice, Ring]) -> None:
    _, written = ring
    assert written.seal(plain_root()) != written.seal(plain_root())


@pytest.mark.parametrize("size", [0, 100, BLOCK_SIZE, 3 * BLOCK_SIZE + 17])
def test_ring_of_a_cut_file_has_the_roots_that_are_left(size: int) -> None:
    device, written = ring_of()
    for place in range(RING_PLACES):
        written.write(place, written.seal(plain_root(number=place)))
    device.truncate(RING_OFFSET + size)
    assert sorted(written.read()) == list(range(size // BLOCK_SIZE))


def test_root_of_another_key_kind_or_epoch_is_not_read() -> None:
    device, written = ring_of()
    written.write(0, written.seal(plain_root()))
    for master, container, epoch, kind in (
        (bytes(32), CONTAINER, 1, KIND_ROOT),
        (MASTER, b"other container!", 1, KIND_ROOT),
        (MASTER, CONTAINER, 2, KIND_ROOT),
        (MASTER, CONTAINER, 1, KIND_DATA),
    ):
        other = Ring(device, block_cipher(SUITE_XAES256GCM, master, container, epoch, kind))
        assert other.read() == {}


def test_genuine_root_that_makes_no_sense_is_told() -> None:
    """Only a holder of the key can make one: it is never passed over in silence."""
    _, written = ring_of()
    written.write(0, written.seal(plain_root()))
    written.write(1, written.seal(plain_root(), edited(height=5)))
    with pytest.raises(CorruptError):
        written.read()


def test_slots_begin_behind_the_ring() -> None:
    assert [slot_offset(slot) for slot in (1, 2, 3)] == [98304, 102400, 106496]
