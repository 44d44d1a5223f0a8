"""Sizes, offsets and limits of the format: the numbers of container.md, not those of the code."""

from __future__ import annotations

import struct
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive7 import layout

SIZES = {
    "SUPERBLOCK_HEAD": 68,
    "SLOT_HEAD": 4,
    "RAW_SLOT": 40,
    "PASSPHRASE_SLOT": 52,
    "SLOT_SEAL": 80,
    "INFO_HEAD": 4,
    "NOTE": 16,
    "SUPERBLOCK_TAIL": 64,
    "BLOCK_HEAD": 48,
    "BLOCK": 4056,
    "BLOCK_IDENTITY": 20,
    "STREAM": 38,
    "EXTENT_COUNT": 4,
    "EXTENT": 12,
    "CHANGE": 16,
    "MAP_ENTRY": 12,
    "NODE_IDENTITY": 16,
    "ARCHIVE_HEADER": 344,
    "TREE_NODE": 10,
    "TRASH_HEAD": 4,
    "TRASH_EXTENT": 8,
}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_struct_has_the_size_of_the_format(name: str, size: int) -> None:
    found = getattr(layout, name)
    assert isinstance(found, Struct)
    assert found.size == size


def test_every_struct_on_disk_is_big_endian_and_unpadded() -> None:
    structs = {name: value for name, value in vars(layout).items() if isinstance(value, Struct)}
    assert set(SIZES) <= set(structs)
    for name, value in structs.items():
        if name.strip("_") != "FLOCK":  # the system's, not the format's
            assert value.format.startswith("!"), name


def test_structs_of_the_seed_are_the_seeds() -> None:
    assert layout.BLOCK.format == "!iiI16s20s4008s"
    assert layout.STREAM.format == "!16siiIQH"
    assert layout.ARCHIVE_HEADER.format == "!8scHHbbb16s16s16s16sQ256s"


def test_parts_of_the_file_follow_one_another() -> None:
    assert layout.SUPERBLOCK_OFFSETS == (0, 32768)
    assert layout.SUPERBLOCK_SIZE == 32768
    assert layout.RING_OFFSET == 65536
    assert layout.RING_PLACES == 8
    assert layout.SLOTS_OFFSET == 98304
    assert layout.BLOCK_SIZE == 4096


def test_sealed_block_is_nonce_plaintext_and_tag() -> None:
    assert (layout.NONCE_SIZE, layout.PLAIN_SIZE, layout.TAG_SIZE) == (24, 4056, 16)
    assert layout.NONCE_SIZE + layout.PLAIN_SIZE + layout.TAG_SIZE == layout.BLOCK_SIZE
    assert layout.DATA_SIZE == 4008
    assert layout.IDENTITY_OFFSET == 8


def test_node_is_full() -> None:
    assert layout.FANOUT == 334
    assert layout.MAP_ENTRY.size == 4 + layout.TAG_PREFIX_SIZE
    assert layout.FANOUT * layout.MAP_ENTRY.size == layout.DATA_SIZE


def test_root_has_room_for_180_changes_and_16_streams() -> None:
    assert layout.INLINE_MAX == 180
    assert layout.ROOT_OFFSET == 344
    assert layout.ROOT_OFFSET + layout.ROOT.size <= layout.ROOT_CHANGES_OFFSET
    end = layout.ROOT_CHANGES_OFFSET + 180 * 16 + layout.MAX_SPECIAL_STREAMS * 38
    assert end <= layout.DATA_SIZE


def test_mark_is_the_byte_behind_number_and_base() -> None:
    fields = layout.ROOT.unpack(bytes(layout.ROOT.size))
    data = bytearray(layout.ROOT.size)
    data[layout.ROOT_MARK_OFFSET - layout.ROOT_OFFSET] = 1
    changed = layout.ROOT.unpack(data)
    assert [at for at, (a, b) in enumerate(zip(fields, changed, strict=True)) if a != b] == [3]


def test_magic_catches_transfers_in_text_mode() -> None:
    assert layout.MAGIC == b"\x89AR7\r\n\x1a\n"
    assert (layout.VERSION_MAJOR, layout.VERSION_MINOR) == (3, 0)


def test_limits_fit_into_their_fields() -> None:
    assert layout.MAX_SLOTS < 2**32
    assert layout.MAX_POSITIONS < 2**31
    assert layout.MAX_KEY_SIZE < layout.VALUE_IN_STREAM
    assert layout.MAX_ITEM_SIZE < layout.VALUE_IN_STREAM
    # three items of the largest size and their separators fit into a node: a split always works
    assert 3 * (layout.MAX_ITEM_SIZE + 4) <= layout.TREE_CAPACITY


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_numbers_of_4_bytes_come_back(numbers: list[int]) -> None:
    data = layout.encode_numbers("I", numbers)
    assert data == struct.pack(f"!{len(numbers)}I", *numbers)
    assert layout.decode_numbers("I", data).tolist() == numbers
    assert layout.decode_numbers("I", memoryview(data)).tolist() == numbers


@given(st.lists(st.integers(0, 2**16 - 1)))
def test_numbers_of_2_bytes_come_back(numbers: list[int]) -> None:
    data = layout.encode_numbers("H", numbers)
    assert data == struct.pack(f"!{len(numbers)}H", *numbers)
    assert layout.decode_numbers("H", bytearray(data)).tolist() == numbers


@pytest.mark.parametrize(("kind", "number"), [("H", 2**16), ("I", 2**32), ("H", -1), ("I", -1)])
def test_number_out_of_range_is_refused(kind: str, number: int) -> None:
    with pytest.raises((OverflowError, struct.error)):
        layout.encode_numbers(kind, [number])  # type: ignore[arg-type]
