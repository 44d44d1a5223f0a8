"""Superblock changes: every crash between two versions of the superblock, and in its repair.

`write_copies` is driven over an archive that stands on the disk, in both orders of the copies.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from unittest import mock

import pytest

from archive7 import superblock
from archive7.creation import create_container, open_container
from archive7.device import Buffer, Device
from archive7.keyslots import Secrets
from archive7.layout import SUPERBLOCK_OFFSETS, SUPERBLOCK_SIZE
from archive7.superblock import Copy, Superblock, encode, read_copy, write_copies
from archive7.unlock import read
from tests.crash.cuts import every_cut
from tests.crash.engine import one_cipher
from tests.devices import RecordingDevice
from tests.disk import PAGE, Disk, Write

WriteCopies = Callable[[Device, Superblock, Buffer], None]
KEY = Secrets(key=bytes(range(32)))


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher():
        yield


@dataclass
class Change:
    """A superblock of version 2 written over version 1, recorded.

    Attributes:
        before: the disk; `device`: the log.
        returned: operations when `write_copies` returned.
    """

    before: Disk
    device: RecordingDevice
    returned: int


def archive(damaged: int | None) -> Disk:
    """An archive on a disk; one copy of its superblock may be damaged."""
    device = RecordingDevice(Disk())
    create_container(device, KEY, replace=False).close()
    if damaged is not None:
        device = RecordingDevice(device.disk)
        device.pwrite(bytes(PAGE), SUPERBLOCK_OFFSETS[damaged])
        device.sync()
    return Disk(dict(device.disk.view), device.disk.size)


def change(damaged: int | None, write: WriteCopies = write_copies) -> Change:
    """Write another version."""
    before = archive(damaged)
    device = RecordingDevice(before.copy())
    unlocked = read(device, KEY)
    write(device, replace(unlocked.superblock, sequence=2), unlocked.master)
    return Change(before, device, len(device.log))


def judge(disk: Disk, at: int, may_be: tuple[int, ...]) -> int:
    """What a reader finds; and a writer, which repairs, is judged at every crash of its own."""
    try:
        found = read(RecordingDevice(disk.copy(), readonly=True), KEY).superblock.sequence
    except Exception as error:
        raise AssertionError(f"operation {at}: {error!r}") from error
    assert found in may_be, f"operation {at}: version {found}, not {may_be}"
    return found


def repair(disk: Disk, found: int, rng: random.Random) -> int:
    """A writer opens and writes a bad copy again; return the states of that."""
    device = RecordingDevice(disk.copy())
    open_container(device, KEY, readonly=False)
    done, states = disk.copy(), 0
    for at, operation in enumerate(device.log, 1):
        done.apply(operation)
        for _, cut in every_cut(done, rng, lost=2, tears=1):
            judge(cut, at, (found,))
            states += 1
    assert not read(RecordingDevice(done), KEY).faults
    return states


def enumerate_all(made: Change, rng: random.Random) -> tuple[int, int]:
    """Every crash of the change; return states, and states in repairs."""
    disk, states, repairs = made.before.copy(), 0, 0
    seen: set[object] = set()
    for at, operation in enumerate(made.device.log[: made.returned], 1):
        disk.apply(operation)
        may_be = (2,) if at == made.returned else (1, 2)
        for _, cut in every_cut(disk, rng, lost=len(SUPERBLOCK_OFFSETS) * 2, tears=7):
            states += 1
            found = judge(cut, at, may_be)
            if cut.image() not in seen:
                seen.add(cut.image())
                repairs += repair(cut, found, rng)
    return states, repairs


@pytest.mark.parametrize("damaged", [None, 0, 1])
def test_one_version_or_the_other_is_whole(damaged: int | None, seed: int) -> None:
    states, repairs = enumerate_all(change(damaged), random.Random(seed))
    print(f"{states} states of a change, {repairs} of the repairs after it")
    assert states > 100
    assert repairs > 100


@pytest.mark.parametrize(("damaged", "first"), [(None, 0), (0, 0), (1, 1)])
def test_best_copy_is_written_last(damaged: int | None, first: int) -> None:
    """A copy that is damaged already is written first: then no power cut meets two bad ones."""
    made = change(damaged)
    changed = [
        page * PAGE
        for op in made.device.log
        if isinstance(op, Write)
        for page, data in op.pages
        if made.before.view.get(page) != data  # the copy that stays is written as it is
    ]
    assert changed[0] == SUPERBLOCK_OFFSETS[first]


# --- mutants


def copies_without_a_sync_between(device: Device, new: Superblock, master: Buffer) -> None:
    """Both copies, then one sync."""
    for offset in SUPERBLOCK_OFFSETS:
        device.pwrite(encode(new, master), offset)
    device.sync()


def copies_without_a_sync(device: Device, new: Superblock, master: Buffer) -> None:
    """The call returns before anything is synced."""
    with mock.patch.object(device, "sync"):
        write_copies(device, new, master)


def best_copy_overwritten(device: Device, new: Superblock, master: Buffer) -> None:
    """Always copy A first, also where it is the only good one."""
    for offset in SUPERBLOCK_OFFSETS:
        device.pwrite(encode(new, master), offset)
        device.sync()


@pytest.mark.parametrize(
    ("mutant", "damaged"),
    [
        (copies_without_a_sync_between, None),
        (copies_without_a_sync, None),
        (best_copy_overwritten, 1),
    ],
)
def test_mutant_of_superblock_is_caught(mutant: WriteCopies, damaged: int | None) -> None:
    made = change(damaged, mutant)
    with pytest.raises(AssertionError, match="operation"):
        enumerate_all(made, random.Random(0))


def test_copies_are_whole_after_creation() -> None:
    disk = archive(None)
    copies = [read_copy(RecordingDevice(disk), number) for number in (0, 1)]
    assert all(isinstance(copy, Copy) for copy in copies)
    assert len({copy.encoded for copy in copies if isinstance(copy, Copy)}) == 1
    assert all(len(copy.encoded) == SUPERBLOCK_SIZE for copy in copies if isinstance(copy, Copy))
    assert superblock.COPY_NAMES == ("A", "B")
