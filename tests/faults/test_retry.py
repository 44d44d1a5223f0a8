"""A full disc, and then room: what failed with FullError succeeds once there is room.

The disc is full for n bytes more, n = 0 and up, so that it gets full at each place of the
operation where the file gets longer; it may also succeed in what is free already.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from archive7.errors import ClosedError, FullError
from archive7.layout import BLOCK_SIZE
from tests.devices import RecordingDevice
from tests.disk import Disk
from tests.faults.archiverows import ARCHIVE_ROWS, FILE_ROWS, PATH_ROWS
from tests.faults.archivesubject import ArchiveSubject, prepared
from tests.faults.engine import Row, State, learn, look_at, silent
from tests.unit.archives import noise

SUBJECT = ArchiveSubject()
# operations that make the archive longer; those on files are repeated with a new file object
ROWS = {
    row.name: row
    for row in [*ARCHIVE_ROWS, *FILE_ROWS, *PATH_ROWS]
    if row.states > 1 and row.mode != "r"
}
_MOST = 360  # blocks that the largest operation takes


def _attempt(archive: Any, row: Row) -> BaseException | None:
    """Do it; None if it succeeded."""
    context = None
    try:
        context = row.setup(archive)
        row.run(archive, context)
    except FullError as error:
        return error
    finally:
        if row in FILE_ROWS and context is not None:
            try:
                context.close()
            except (FullError, ClosedError):
                pass
    return None


def _fill_and_retry(row: Row, start: Disk, states: list[State], room: int) -> bool:
    """Whether the disc got full."""
    disk = start.copy()
    device = RecordingDevice(disk)
    archive = SUBJECT.open(device, "r+")
    what = f"{row.name}, room for {room}"
    device.capacity = disk.size + room * BLOCK_SIZE
    failed = _attempt(archive, row)
    if failed is not None:
        assert not archive.closed or row.name == "close", what
        assert SUBJECT.state(archive) in states, f"{what}: between"
        archive.rmdir("/empty")  # what gives space back works on a full disc
        device.capacity = None
        archive.mkdir("/empty")
        assert _attempt(archive, row) is None, f"{what}: once more"
    device.capacity = None
    if not archive.closed:
        assert SUBJECT.state(archive) == states[-1], f"{what}: another state"
        SUBJECT.check(archive)
        archive.close()
    assert not any(disk.grips.values())
    assert look_at(SUBJECT, disk) == states[-1], what
    return failed is not None


def _run(row: Row, start: Disk, rooms: list[int]) -> int:
    with silent():
        states = learn(SUBJECT, row, start).states
        full = sum(_fill_and_retry(row, start, states, room) for room in rooms)
    print(f"{row.name}: {full} of {len(rooms)} times full")
    return full


@pytest.fixture(scope="module")
def start() -> Disk:
    """An archive that has filled its disc to the last few slots."""
    disk = prepared()
    device = RecordingDevice(disk)
    with silent():
        archive = SUBJECT.open(device, "r+")
        archive.makedirs("/empty/ballast")
        device.capacity = disk.size
        for number, size in enumerate([60_000] * 40 + [9000] * 40 + [100] * 40):
            try:
                archive.write_bytes(f"/empty/ballast/{number}", noise(size, number))
            except FullError:
                continue
        archive.rename("/empty/ballast", "/ballast")
        archive.sync()
    return disk.copy()


@pytest.mark.parametrize("name", ROWS)
def test_what_failed_on_a_full_disc_succeeds_once_there_is_room(
    start: Disk, name: str, seed: int
) -> None:
    rng = random.Random(f"{seed} {name}")
    _run(ROWS[name], start, [rng.choice((0, 0, 1, 2, 4, 8))])


def test_the_disc_really_gets_full(start: Disk) -> None:
    for name in ("write_bytes", "write_bytes big", "many", "copy", "import_tree", "file write wb"):
        assert _run(ROWS[name], start, [0]) == 1, name


@pytest.mark.full
@pytest.mark.parametrize("name", ROWS)
def test_what_failed_anywhere_on_a_full_disc_succeeds_once_there_is_room(
    start: Disk, name: str
) -> None:
    rooms = [*range(40), *range(40, _MOST, 16)]
    _run(ROWS[name], start, rooms)
