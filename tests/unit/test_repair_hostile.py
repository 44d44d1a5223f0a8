"""Repair of what somebody with the key may have made: no data lost, no error of another kind."""

from __future__ import annotations

import io
import random

import pytest

import archive7
from archive7 import Archive, Archive7Error, CorruptError
from archive7.map import entry_slot
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
    file = io.BytesIO(changed_map(whole, "behind"))
    report = archive7.repair(file, key=KEY, apply=True)
    assert report.is_sound, report.remaining
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
