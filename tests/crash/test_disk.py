"""The disk and the devices of the harness itself."""

from __future__ import annotations

import random

import pytest

from archive7.errors import FullError
from archive7.locks import Lock
from tests.devices import Fault, FaultingDevice, Killed, RecordingDevice
from tests.disk import KEPT, LOST, PAGE, SECTOR, Disk, Evict

ONE, TWO, THREE = (bytes([n]) * PAGE for n in (1, 2, 3))


@pytest.fixture
def device() -> RecordingDevice:
    """Two pages that are synced."""
    device = RecordingDevice(Disk())
    device.pwrite(ONE + ONE, 0)
    device.sync()
    return device


def test_power_cut_loses_and_tears_page_by_page(device: RecordingDevice) -> None:
    device.pwrite(TWO + TWO + TWO, 0)
    cut = device.disk.cut(lambda _, page: (LOST, 0b11, KEPT)[page])
    assert cut.read(4 * PAGE, 0) == ONE + TWO[: 2 * SECTOR] + ONE[2 * SECTOR :] + TWO
    assert device.getvalue() == TWO * 3, "the page cache has it all"


def test_file_that_was_not_lengthened_is_short(device: RecordingDevice) -> None:
    device.pwrite(TWO, 3 * PAGE)
    cut = device.disk.cut(lambda _, __: LOST)
    assert (cut.size, cut.read(PAGE, 3 * PAGE)) == (2 * PAGE, b"")
    assert device.disk.read(PAGE, 2 * PAGE) == bytes(PAGE), "a hole"


def test_truncate_is_lost_or_kept(device: RecordingDevice) -> None:
    device.truncate(PAGE + 10)
    assert device.getvalue() == (ONE + ONE)[: PAGE + 10]
    assert device.disk.cut(lambda _, __: LOST).size == 2 * PAGE
    assert device.disk.cut(lambda _, __: KEPT).size == PAGE + 10
    device.pwrite(b"x", 2 * PAGE - 1)
    assert device.pread(PAGE, PAGE) == ONE[:10] + bytes(PAGE - 11) + b"x"


def test_writes_need_no_alignment(device: RecordingDevice) -> None:
    device.pwrite(b"abc" * 2000, 3000)
    wanted = bytearray(ONE + ONE + bytes(3000 + 6000 - 2 * PAGE))
    wanted[3000:9000] = b"abc" * 2000
    assert device.getvalue() == bytes(wanted)


def test_failed_sync_shows_what_it_lost_until_it_is_evicted(device: RecordingDevice) -> None:
    device.pwrite(TWO + TWO, 0)
    operation = device.disk.failed_sync(random.Random(1), loss=1.0)
    device.record(operation)
    device.sync()
    assert device.getvalue() == TWO + TWO
    assert device.disk.cut(lambda _, __: KEPT).read(PAGE, 0) == ONE, "no sync brings it back"
    device.pwrite(THREE, 0)
    device.record(Evict(frozenset(device.disk.stale)))
    assert device.getvalue() == THREE + ONE


def test_log_makes_the_same_disk_again(device: RecordingDevice) -> None:
    device.pwrite(TWO, PAGE)
    device.truncate(PAGE)
    again = Disk()
    for operation in device.log:
        again.apply(operation)
    assert (again.view, again.certain, again.size) == (
        device.disk.view, device.disk.certain, device.disk.size,
    )  # fmt: skip


def test_killed_process_loses_its_locks_and_nothing_else(device: RecordingDevice) -> None:
    other = RecordingDevice(device.disk)
    assert device.locks.take(Lock.WRITER, shared=False)
    assert not other.locks.take(Lock.WRITER, shared=False)
    assert other.locks.held_by_others(Lock.WRITER)
    device.kill_at = len(device.log) + 1
    device.pwrite(TWO, 0)
    with pytest.raises(Killed):
        device.pwrite(THREE, 0)
    assert other.pread(PAGE, 0) == TWO
    assert other.locks.take(Lock.WRITER, shared=False)


def test_full_disk_takes_what_fits(device: RecordingDevice) -> None:
    device.capacity = 2 * PAGE
    device.pwrite(TWO, PAGE)
    with pytest.raises(FullError):
        device.pwrite(TWO, 2 * PAGE)


@pytest.mark.parametrize(
    ("fault", "error", "arrives"),
    [
        (Fault.EIO, OSError, False),
        (Fault.FULL, FullError, False),
        (Fault.LATE, OSError, True),
        (Fault.INTERRUPT, KeyboardInterrupt, False),
        (Fault.MEMORY, MemoryError, False),
    ],
)
def test_third_write_fails(
    device: RecordingDevice, fault: Fault, error: type[BaseException], arrives: bool
) -> None:
    failing = FaultingDevice(device)
    failing.arm("pwrite", 2, fault, where=lambda offset: offset == 0)
    failing.pwrite(TWO, 0)
    failing.pwrite(TWO, PAGE)
    with pytest.raises(error):
        failing.pwrite(THREE, 0)
    assert device.pread(PAGE, 0) == (THREE if arrives else TWO)
    failing.pwrite(ONE, 0)
    assert (failing.fired, failing.counts["pwrite"]) == (1, 4)
