"""Compaction: everything stays, free space goes, blocks stand in order."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest

import archive7
from archive7 import Archive, compact
from archive7.layout import SLOTS_OFFSET
from archive7.map import entry_slot
from tests.devices import FaultingDevice
from tests.unit.archives import Vaults, assert_sound, noise, tree_of


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as vaults:
        yield vaults


@pytest.fixture
def small() -> Iterator[None]:
    """Steps and windows so small that a few MiB take many."""
    with mock.patch.object(compact, "_STEP", 100), mock.patch.object(compact, "_WINDOW", 256):
        yield


def churned(vault: Archive, seed: int = 1, rounds: int = 6) -> Archive:
    """Fill an archive and leave holes and fragments in it."""
    rng = random.Random(seed)
    vault.mkdir("/d")
    for _ in range(rounds):
        for i in range(60):
            size = rng.choice((0, 100, 9000, 60_000, 200_000))
            vault.write_bytes(f"/d/{i}", rng.randbytes(size))
        for i in rng.sample(range(60), 30):
            vault.remove(f"/d/{i}")
        vault.sync()
    return vault


def slots_in_order(vault: Archive) -> float:
    """The share of blocks that stand behind their neighbour."""
    container = vault._container
    slots = [
        slot
        for position in range(1, container.positions.end)
        if (slot := entry_slot(container.blocks.map.get(position)))
    ]
    follow = sum(b == a + 1 for a, b in pairwise(slots))
    return follow / max(1, len(slots) - 1)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(3))
def test_file_shrinks_to_what_is_in_it_and_blocks_stand_in_order(
    vaults: Vaults, seed: int
) -> None:
    vault = churned(vaults.open("x"), seed)
    before = tree_of(vault)
    done = vault.compact()
    assert (done.is_complete, done.reason) == (True, "")
    assert done.after == vaults.path().stat().st_size < done.before
    root = vault._container.root
    assert done.after == SLOTS_OFFSET + root.slots * 4096
    assert root.slots <= root.used * 1.02 + root.reserve[1] + 16
    assert slots_in_order(vault) > 0.97
    assert tree_of(vault) == before
    assert_sound(vault)


def test_nothing_is_moved_where_all_is_in_order(vaults: Vaults) -> None:
    vault = churned(vaults.open("x"))
    vault.compact()
    again = vault.compact()
    assert (again.moved, again.is_complete, again.reason) == (0, True, "nothing to do")
    forced = vault.compact(force=True)
    assert forced.moved < 200
    assert forced.after <= forced.before


@pytest.mark.usefixtures("small")
def test_stopped_compaction_goes_on_later(vaults: Vaults) -> None:
    vault = churned(vaults.open("x"))
    before = tree_of(vault)
    calls = []

    def stop(done: int, total: int, what: str) -> None:
        calls.append((done, total, what))
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vault.compact(progress=stop)
    assert_sound(vault)
    vault.close()
    vault = vaults.open("r+")
    assert vault.compact(seconds=0, force=True).reason == "out of time"
    assert vault.compact(force=True).is_complete
    assert tree_of(vault) == before
    assert [what for _, _, what in calls] == ["compact"] * 3


def test_reader_in_the_way_is_told_and_keeps_its_commit(vaults: Vaults) -> None:
    writer = churned(vaults.open("x"))
    writer.sync()
    reader = vaults.open("r")
    before = tree_of(reader)
    stopped = writer.compact()
    assert (stopped.is_complete, "reader" in stopped.reason) == (False, True)
    assert tree_of(reader) == before
    reader.close()
    assert writer.compact().is_complete


@pytest.mark.usefixtures("small")
def test_others_go_on_meanwhile(vaults: Vaults) -> None:
    vault = churned(vaults.open("x"))
    stop = threading.Event()
    written: dict[str, bytes] = {}

    def write() -> None:
        rng = random.Random(5)
        while not stop.is_set():
            name = f"/new {rng.randrange(30)}"
            data = rng.randbytes(rng.randrange(30_000))
            vault.write_bytes(name, data)
            written[name] = data

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(4):
        vault.compact(force=True)
    stop.set()
    thread.join()
    assert {name: vault.read_bytes(name) for name in written} == written
    assert_sound(vault)


@pytest.mark.usefixtures("small")
def test_open_files_read_on(vaults: Vaults) -> None:
    vault = vaults.open("x")
    vault.write_bytes("/f", noise(900_000))
    with vault.open("/f", "r+b") as file:
        churned(vault)
        file.read(1000)
        vault.compact()
        assert file.read() == noise(900_000)[1000:]
        file.seek(5)
        file.write(b"x" * 10_000)
    assert vault.read_bytes("/f")[5:10_005] == b"x" * 10_000


@pytest.mark.usefixtures("small")
def test_full_disc_leaves_everything_as_it_is(vaults: Vaults) -> None:
    vault = churned(vaults.open("x"))
    before = tree_of(vault)
    container = vault._container
    device = container.device
    limit = device.size() + 40 * 4096
    real = device.pwrite

    def pwrite(data: bytes, offset: int) -> None:
        if offset + len(data) > limit:
            raise archive7.FullError(28, "No space left on device", device.name)
        real(data, offset)

    with mock.patch.object(device, "pwrite", pwrite), pytest.raises(archive7.FullError):
        vault.compact()
    assert tree_of(vault) == before
    assert_sound(vault)
    assert vault.compact().is_complete
    assert FaultingDevice


def test_compaction_is_not_for_transactions_and_readers(vaults: Vaults) -> None:
    vault = vaults.open("x")
    with vault.transaction(), pytest.raises(archive7.TransactionError):
        vault.compact()
    vault.close()
    with pytest.raises(archive7.ReadOnlyError):
        vaults.open("r").compact()


@pytest.mark.usefixtures("small")
def test_damaged_block_is_moved_as_it_is_and_stays_damaged(vaults: Vaults) -> None:
    vault = vaults.open("x")
    vault.write_bytes("/bad", noise(20_000))
    vault.write_bytes("/good", noise(20_000, 1))
    churned(vault)
    with vault.open("/bad", "rb", buffering=0) as file:
        (begin, _), *_ = file.stream.extents  # type: ignore[attr-defined]
    slot = entry_slot(vault._container.blocks.map.get(begin))
    vault._container.device.pwrite(b"\xff", SLOTS_OFFSET + (slot - 1) * 4096 + 1000)
    vaults.damaged.add(vaults.path())
    vault.compact()
    with pytest.raises(archive7.CorruptError):
        vault.read_bytes("/bad")
    assert vault.read_bytes("/good") == noise(20_000, 1)
    assert len([f for f in vault.check() if f.severity == "error"]) == 1
