"""Runs that are known are not made again; those that are not, are."""

from __future__ import annotations

from unittest import mock

import pytest

from archive7.locks import Lock
from tests.crash import memo
from tests.crash.memo import Memo, Trace, TracedDevice
from tests.devices import RecordingDevice
from tests.disk import PAGE, Disk

ONE, TWO = (bytes([n]) * PAGE for n in (1, 2))


def disk_of(*pages: bytes) -> Disk:
    return Disk(dict(enumerate(pages)), PAGE * len(pages))


def copy_first(disk: Disk, trace: Trace) -> int:
    """Reads a page, then the one that it names, and writes that to page 5."""
    device = TracedDevice(disk, trace)
    number = device.pread(PAGE, 0)[0]
    device.pwrite(device.pread(PAGE, number * PAGE), 5 * PAGE)
    assert device.pread(PAGE, 5 * PAGE)
    return number


def test_page_that_no_run_asks_for_makes_no_new_run() -> None:
    runs = Memo()
    first = runs.run("copy", copy_first, disk_of(ONE, TWO, ONE))
    again = runs.run("copy", copy_first, disk_of(ONE, TWO, TWO))
    assert (runs.hits, runs.misses) == (1, 1)
    assert (first.result, first.log, first.leaf) == (again.result, again.log, again.leaf)
    assert again.log[-1].pages == ((5, TWO),)  # type: ignore[union-attr]


def test_every_page_that_a_run_asks_for_counts() -> None:
    runs = Memo()
    runs.run("copy", copy_first, disk_of(ONE, TWO, ONE))
    other = runs.run("copy", copy_first, disk_of(ONE, ONE, ONE))
    assert other.log[-1].pages == ((5, ONE),)  # type: ignore[union-attr]
    assert runs.run("copy", copy_first, disk_of(TWO, TWO, ONE)).result == 2
    assert (runs.hits, runs.misses) == (0, 3)


def test_size_and_locks_count() -> None:
    def ask(disk: Disk, trace: Trace) -> tuple[int, bool | None]:
        device = TracedDevice(disk, trace)
        return device.size(), device.locks.held_by_others(Lock.WRITER)

    runs, disk = Memo(), disk_of(ONE)
    assert runs.run("ask", ask, disk).result == (PAGE, False)
    assert runs.run("ask", ask, disk_of(ONE, ONE)).result == (2 * PAGE, False)
    assert RecordingDevice(disk).locks.take(Lock.WRITER, shared=False)
    disk.owners = 99
    assert runs.run("ask", ask, disk).result == (PAGE, True)


def test_run_leaves_the_disk_as_it_was() -> None:
    runs, disk = Memo(), disk_of(ONE, TWO)
    for _ in range(2):
        runs.run("copy", copy_first, disk)
        assert disk.view == disk_of(ONE, TWO).view


def test_what_does_not_follow_from_the_answers_is_found_out() -> None:
    count = iter(range(9))
    runs = Memo()
    with (
        mock.patch.object(memo, "CHECK_EVERY", 1),
        pytest.raises(AssertionError, match="does not follow"),
    ):
        for _ in range(2):
            runs.run("counts", lambda _disk, _trace: next(count), disk_of(ONE))
