"""Changes of the keyslots, cut short at every moment: the old secrets open, or the new ones.

Each change is recorded once; then every prefix of what it did to the disk is looked at as a kill
leaves it, and with every subset of the writes that were not synced, and with writes that arrive
page by page.  A sync that fails in the middle, and a second change after it, are tried as well.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest

import archive7
from archive7 import (
    Archive,
    NotAnArchiveError,
    RecoveredWarning,
    RollbackError,
    SuperblockCorruptError,
    VersionError,
    WrongKeyError,
    commit,
)
from archive7.commit import Container
from archive7.errors import CorruptError, SyncFailedError
from archive7.layout import RING_OFFSET, SUPERBLOCK_OFFSETS, SUPERBLOCK_SIZE
from archive7.superblock import Superblock, encode, write_copies
from tests.crash.cuts import power_cut
from tests.crash.engine import one_cipher
from tests.devices import Fault, FaultingDevice, RecordingDevice
from tests.disk import KEPT, LOST, PAGE, Disk, Operation, Sync, Write

pytestmark = pytest.mark.filterwarnings("ignore::archive7.errors.RecoveredWarning")

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
CONTENT: Final = {"/a": b"first", "/b": b"second" * 3000}
EFFORT: Final = float(os.environ.get("ARCHIVE7_EFFORT") or 1)
SHARE: Final = 0.2 * EFFORT  # of the states after a power cut
SUBSETS_OF: Final = 6  # unsynced writes; of more only those in order, and each alone

Keys = frozenset[bytes]
Change = Callable[[Archive], object]


def add(archive: Archive) -> object:
    """One more key."""
    return archive.keys.add(key=THREE, label="three")


def remove(archive: Archive) -> object:
    """The other key goes."""
    return archive.keys.remove("two")


def change(archive: Archive) -> object:
    """The key that opened the archive is replaced."""
    return archive.keys.change(key=THREE)


BEFORE: Final = frozenset({ONE, TWO})
CHANGES: Final[dict[str, tuple[Change, Keys]]] = {
    "add": (add, frozenset({ONE, TWO, THREE})),
    "remove": (remove, frozenset({ONE})),
    "change": (change, frozenset({TWO, THREE})),
}
change_of = pytest.mark.parametrize("name", sorted(CHANGES))


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher():
        yield


def opened(device: Any, key: bytes, mode: str = "r") -> Archive:
    return archive7.open(device, mode, key=key)


@pytest.fixture(scope="module")
def base() -> Disk:
    """An archive with two keys, closed."""
    disk = Disk()
    with opened(RecordingDevice(disk), ONE, "x") as archive:
        archive.keys.add(key=TWO, label="two")
        for path, data in CONTENT.items():
            archive.write_bytes(path, data)
    return disk


def recorded(base: Disk, name: str, *, dirty: bool) -> tuple[list[Operation], int, int]:
    """What a change does to the disk; how long the log was before it and after it."""
    device = RecordingDevice(base.copy())
    archive = opened(device, ONE, "r+")
    if dirty:  # commits that are not durable yet
        for number in range(12):
            archive.write_bytes("/c", b"%d" % number)
        archive.remove("/c")
    begun = len(device.log)
    CHANGES[name][0](archive)
    done = len(device.log)
    archive.write_bytes("/c", b"after")
    archive.remove("/c")
    archive.close()
    return device.log, begun, done


def states(disk: Disk, rng: random.Random) -> Iterator[Disk]:
    """The disk after a kill, and after power cuts."""
    yield disk.copy()
    if disk.loose:
        yield disk.cut(lambda _number, _page: LOST)
        for state in _power_cuts(disk, rng):
            if rng.random() < SHARE:
                yield state


def _power_cuts(disk: Disk, rng: random.Random) -> Iterator[Disk]:
    count = len(disk.loose)
    if count <= SUBSETS_OF:
        subsets = list(product((LOST, KEPT), repeat=count))
    else:
        subsets = [tuple(KEPT if n <= at else LOST for n in range(count)) for at in range(count)]
        subsets += [tuple(KEPT if n == at else LOST for n in range(count)) for at in range(count)]
    if EFFORT <= 1:
        subsets = rng.sample(subsets, min(8, len(subsets)))
    for subset in subsets:
        yield disk.cut(lambda number, _page, fates=subset: fates[number])
    for _ in range(4):
        yield disk.cut(lambda _number, _page: rng.choice((LOST, 0x0F, KEPT)))
        yield power_cut(disk, rng)[1]


def keys_of(disk: Disk) -> Keys:
    """Which keys open the archive."""
    found = set()
    for key in (ONE, TWO, THREE):
        try:
            opened(RecordingDevice(disk, readonly=True), key).close()
        except WrongKeyError:
            continue
        found.add(key)
    return frozenset(found)


def assert_whole(disk: Disk, before: Keys, after: Keys, rng: random.Random) -> Keys:
    """One of the two sets opens the archive; a writer leaves just one of them in force."""
    found = keys_of(disk)
    assert before & after <= found <= before | after
    assert before <= found or after <= found
    for key in rng.sample(sorted(found), len(found) if EFFORT > 1 else 1):
        writable = disk.copy()
        with opened(RecordingDevice(writable), key, "r+") as archive:
            assert {path: archive.read_bytes(path) for path in CONTENT} == CONTENT
            assert not [finding for finding in archive.check() if finding.severity == "error"]
            archive.write_bytes("/d", b"goes on")
            archive.remove("/d")
        assert keys_of(writable) in (before, after)
    return found


@pytest.mark.parametrize(
    ("name", "dirty"), [("add", False), ("remove", False), ("change", False), ("remove", True)]
)
def test_every_moment_of_a_change(base: Disk, rng: random.Random, name: str, dirty: bool) -> None:
    after = CHANGES[name][1]
    log, begun, done = recorded(base, name, dirty=dirty)
    disk, count = base.copy(), 0
    for at, operation in enumerate(log):
        if at >= begun:
            for state in states(disk, rng):
                found = assert_whole(state, BEFORE if at < done else after, after, rng)
                assert at < done or found == after, "a removed key opens, or a new one does not"
                count += 1
        disk.apply(operation)
    assert keys_of(disk) == after
    print(f"{name}: {count} states of {done - begun} operations")
    assert count > 60


@change_of
def test_order_of_a_change(base: Disk, name: str) -> None:
    """Durable commit; copies one by one with a sync each; durable commit; settled ring."""
    log, begun, done = recorded(base, name, dirty=True)
    steps = ""
    for operation in log[begun:done]:
        if isinstance(operation, Sync):
            steps += "S"
        elif isinstance(operation, Write):
            page = operation.pages[0][0]
            copies = {0: "A", SUPERBLOCK_SIZE // PAGE: "B"}
            steps += copies.get(page, "r" if page < RING_OFFSET // PAGE + 8 else "b")
    copies = "".join(step for step in steps if step in "ABS")
    assert "SBSASBS" in copies, steps  # B as it was, to be sure of it; then A, then B
    first, last = steps.index("B"), steps.rindex("B")
    assert "rS" in steps[:first], "a durable commit before"
    assert steps[last:].count("S") >= 4, "a durable commit and a settled ring after"
    assert log[done - 1] == Sync(), "nothing is left to be synced"


@change_of
def test_old_superblock_does_not_come_back(base: Disk, name: str) -> None:
    """Whoever puts one or both old copies back gets a refusal, not an old keyslot."""
    after = CHANGES[name][1]
    log, _, done = recorded(base, name, dirty=False)
    disk = base.copy()
    for operation in log[:done]:
        disk.apply(operation)
    old = base.read(2 * SUPERBLOCK_SIZE, 0)
    for offset, size in ((0, SUPERBLOCK_SIZE), (SUPERBLOCK_SIZE, SUPERBLOCK_SIZE)):
        swapped = disk.copy()
        swapped.apply(swapped.write(old[offset : offset + size], offset))
        # a slot of the old copy may give the master key; the new copy is what counts
        for key in sorted(after):
            with opened(RecordingDevice(swapped.copy()), key, "r+") as archive:
                assert {info.kind for info in archive.keys.list()} == {"raw key"}
                assert len(archive.keys.list()) == len(after)
        with opened(RecordingDevice(swapped), min(after), "r+"):
            pass
        assert keys_of(swapped) == after
    swapped = disk.copy()
    swapped.apply(swapped.write(old, 0))
    for key in sorted(BEFORE):
        for mode in ("r", "r+"):
            with pytest.raises(RollbackError, match="older than the roots"):
                opened(RecordingDevice(swapped.copy()), key, mode)


@change_of
def test_sync_that_fails_in_a_change(base: Disk, rng: random.Random, name: str) -> None:
    """Pages of it may look right and be lost; another change after it, cut short anywhere."""
    do, after = CHANGES[name]
    failed = 0
    for number in range(1, 12):
        disk = base.copy()
        plain = RecordingDevice(disk)
        device = FaultingDevice(plain, rng)
        archive = opened(device, ONE, "r+")
        device.arm("sync", number, Fault.EIO)
        try:
            do(archive)
        except SyncFailedError:
            failed += 1
        else:
            break
        with pytest.raises((SyncFailedError, RecoveredWarning)):
            archive.keys.add(key=bytes(32))
        archive.close()
        plain.kill()
        found = assert_whole(disk, BEFORE, after, rng)
        # what the page cache shows goes on being changed; then the power fails
        again = RecordingDevice(disk)
        start = disk.copy()
        key = min(found & after)
        with opened(again, key, "r+") as archive:
            archive.keys.add(key=b"4" * 32)
        for operation in again.log:
            for state in states(start, rng):
                assert any(_opens(state, key) for key in sorted(BEFORE | after))
            start.apply(operation)
    assert failed >= 5


def test_every_moment_of_a_restore(base: Disk, rng: random.Random, tmp_path: Path) -> None:
    """Of a header that was destroyed: the archive opens, or the restore can be tried again."""
    backup = tmp_path / "header"
    backup.write_bytes(base.read(SUPERBLOCK_SIZE, 0))
    disk = base.copy()
    disk.apply(disk.write(rng.randbytes(2 * SUPERBLOCK_SIZE), 0))
    disk.apply(Sync())
    device: Any = RecordingDevice(disk.copy())
    archive7.restore_header(device, backup, key=ONE)
    outcomes = set()
    for operation in device.log:
        disk.apply(operation)
        for state in states(disk, rng):
            try:
                found = keys_of(state)
            except (NotAnArchiveError, SuperblockCorruptError, VersionError):
                again: Any = RecordingDevice(state)
                archive7.restore_header(again, backup, key=TWO)
                outcomes.add("again")
                found = keys_of(state)
            else:
                outcomes.add("opens")
            assert found == BEFORE
    assert outcomes == {"opens", "again"}
    assert keys_of(disk) == BEFORE


def _opens(disk: Disk, key: bytes) -> bool:
    try:
        with opened(RecordingDevice(disk, readonly=True), key) as archive:
            return {path: archive.read_bytes(path) for path in CONTENT} == CONTENT
    except WrongKeyError:
        return False


# --- each rule left out is caught


def _without_end(self: Container, new: Superblock, master: object = None) -> None:
    """The commit that carries the new sequence number is left out."""
    new = replace(new, sequence=self.superblock.sequence + 1, commit=self._commit_anew())
    write_copies(self.device, new, self.master)
    self.superblock = new


def _without_begin(self: Container, new: Superblock, master: object = None) -> None:
    """The number of a commit that is not durable is noted."""
    self.blocks.map.is_changed = True
    new = replace(new, sequence=self.superblock.sequence + 1, commit=self.commit() + 1)
    write_copies(self.device, new, self.master)
    self.superblock = new
    self._commit_anew()
    self._settle(self.root, self._place, self._base_place)


def _in_one_go(device: Any, new: Superblock, master: bytearray) -> None:
    """Both copies, and one sync."""
    encoded = encode(new, master)
    for offset in SUPERBLOCK_OFFSETS:
        device.pwrite(encoded, offset)
    device.sync()


def _trusting(device: Any, new: Superblock, master: bytearray) -> None:
    """The copy that stays is believed to be on the disk."""
    encoded = encode(new, master)
    for offset in SUPERBLOCK_OFFSETS:
        device.pwrite(encoded, offset)
        device.sync()


def test_change_without_its_end_is_caught(base: Disk) -> None:
    with (
        mock.patch.object(Container, "change_superblock", _without_end),
        pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"),
    ):
        test_old_superblock_does_not_come_back(base, "remove")


@pytest.mark.parametrize(
    ("target", "name", "mutant"),
    [
        (Container, "change_superblock", _without_begin),
        (commit, "write_copies", _in_one_go),
    ],
)
def test_change_out_of_order_is_caught(
    base: Disk, rng: random.Random, target: Any, name: str, mutant: Any
) -> None:
    with mock.patch.object(target, name, mutant), pytest.raises((AssertionError, CorruptError)):
        for _ in range(20):
            test_every_moment_of_a_change(base, rng, "remove", dirty=False)


def test_copy_that_is_believed_is_caught(base: Disk, rng: random.Random) -> None:
    with mock.patch.object(commit, "write_copies", _trusting), pytest.raises(CorruptError):
        for _ in range(20):
            test_sync_that_fails_in_a_change(base, rng, "add")
