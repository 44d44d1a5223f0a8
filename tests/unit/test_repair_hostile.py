"""Repair of what somebody with the key may have made: no data lost, no error of another kind."""

from __future__ import annotations

import io
import random
from unittest import mock

import pytest

import archive7
from archive7 import Archive, Archive7Error, CorruptError
from archive7.inventory import Inventory
from archive7.layout import DATA_SIZE, STREAM
from archive7.map import entry_slot
from archive7.streams.extents import Extents
from archive7.streams.registry import encode_value, split
from tests.fuzz.mutator import KEY, container, sealed


@pytest.fixture(scope="module")
def whole() -> bytes:
    return container()


def contents(data: bytes) -> set[bytes]:
    """What can be read of all files."""
    found = set()
    with archive7.open(io.BytesIO(data), key=KEY) as archive:
        for top, _, files in archive.walk("/"):
            for name in files:
                try:
                    found.add(archive.read_bytes(f"{top.rstrip('/')}/{name}"))
                except (Archive7Error, OSError):
                    continue
    return found


def changed_map(whole: bytes, slot_of: object) -> bytes:
    """The archive with one more entry in the map, which names the slot of another, or none."""
    file = io.BytesIO(whole)
    archive: Archive = archive7.open(file, "r+", key=KEY)
    store = archive._container.blocks
    with archive.open("/large", "rb") as large:
        position = large.raw.stream.extents.position(3)  # type: ignore[union-attr]
    entry = store.map.get(position)
    slot = entry_slot(entry) if slot_of == "shared" else 10**6
    free, _ = archive._manager.take_run(1, 0)
    store.map.set(free, slot, entry[4:])
    archive._container.commit(durable=True)
    archive._container.abandon()
    archive._files.clear()
    return file.getvalue()


def test_two_entries_with_one_slot(whole: bytes) -> None:
    """Freeing the one that is nobody's would have the other's block overwritten."""
    data = changed_map(whole, "shared")
    before = contents(data)
    for apply in (False, True):
        file = io.BytesIO(data)
        with pytest.raises(CorruptError, match="twice"):
            archive7.repair(file, key=KEY, apply=apply)
        assert contents(file.getvalue()) == before


def test_entry_behind_the_end(whole: bytes) -> None:
    data = changed_map(whole, "behind")
    for apply in (False, True):
        file = io.BytesIO(data)
        with pytest.raises(CorruptError):
            archive7.repair(file, key=KEY, apply=apply)
        assert contents(file.getvalue()) == contents(whole)


@pytest.mark.parametrize("part", range(4))
def test_mutated(whole: bytes, seed: int, part: int) -> None:
    rng = random.Random(seed + part)
    for _ in range(8):
        data = sealed(whole, rng, rng.choice((1, 1, 2)))
        outcomes = []
        for apply in (False, True):
            file = io.BytesIO(data)
            try:
                report = archive7.repair(file, key=KEY, apply=apply)
            except Archive7Error as error:
                outcomes.append(repr(error))
            else:
                outcomes.append(repr((report.mended, report.lost, report.remaining)))
            assert apply or file.getvalue() == data
        assert outcomes[0] == outcomes[1]


def test_record_that_counts_more_blocks_than_there_are(whole: bytes) -> None:
    """It is told at once, not after a look at each of two billion positions."""
    file = io.BytesIO(whole)
    archive: Archive = archive7.open(file, "r+", key=KEY)
    tree = archive._manager.registry.tree
    key, value = next((k, v) for k, v in tree.items() if split(v)[0][16:20] > b"\0\0\0\1")
    record, _, owner = split(value)
    identity, begin, *_ = STREAM.unpack(record)
    count = 2**31 - begin - 1
    record = STREAM.pack(identity, begin, begin + count - 1, count, count * DATA_SIZE, 0)
    tree.insert(key, encode_value(record, Extents([(begin, count)]).encode(), owner))
    archive._manager.commit(durable=True)
    archive._container.abandon()
    archive._files.clear()
    asked = 0

    def counted(inventory: Inventory, position: int, count: int) -> bool:
        nonlocal asked
        asked += 1
        assert asked < 10_000
        return claim(inventory, position, count)

    claim = Inventory.claim
    with mock.patch.object(Inventory, "claim", counted):
        assert archive7.repair(io.BytesIO(file.getvalue()), key=KEY).lost
