"""A change of the master key, cut short at every moment: the archive opens, and goes on.

What it does to the disk is recorded once; then every prefix is looked at as a kill leaves it and
as power cuts may leave it; the writer that goes on is cut short as well.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from unittest import mock

import pytest

import archive7
from archive7 import Archive, WrongKeyError, rekey
from archive7.epochs import old_key
from tests.crash.engine import one_cipher
from tests.crash.test_keys import EFFORT, KEPT, LOST, ONE, TWO, opened, states
from tests.devices import RecordingDevice
from tests.disk import Disk, Operation

pytestmark = pytest.mark.filterwarnings("ignore::archive7.errors.RecoveredWarning")

CONTENT = {f"/{number}": random.Random(number).randbytes(number * 700) for number in range(24)}
SHARE = min(1.0, 0.25 * EFFORT)  # of the prefixes that are looked at
assert LOST < KEPT


@pytest.fixture(autouse=True)
def _small_steps() -> Iterator[None]:
    with one_cipher(), mock.patch.object(rekey, "_STEP", 12):
        yield


@pytest.fixture(scope="module")
def base() -> Disk:
    """An archive with two keys, closed."""
    disk = Disk()
    with opened(RecordingDevice(disk), ONE, "x") as archive:
        archive.keys.add(key=TWO, label="two")
        for path, data in CONTENT.items():
            archive.write_bytes(path, data)
    return disk


def recorded(base: Disk, *, dirty: bool) -> tuple[list[Operation], int, int]:
    """What a change of the key does to the disk; when it had begun, and when it was done."""
    device = RecordingDevice(base.copy())
    archive = opened(device, ONE, "r+")
    if dirty:  # commits that are not durable yet
        for number in range(6):
            archive.write_bytes("/c", b"%d" % number)
        archive.remove("/c")
    begun = len(device.log)
    assert archive.rekey([ONE]).is_complete
    done = len(device.log)
    archive.close()
    return device.log, begun, done


def assert_content(archive: Archive) -> None:
    assert {path: archive.read_bytes(path) for path in CONTENT} == CONTENT
    errors = [finding for finding in archive.check() if finding.severity == "error"]
    if archive.mode == "r":  # a copy may be torn, or older; a writer puts that right
        errors = [finding for finding in errors if finding.layer != "superblock"]
    assert not errors


def go_on(disk: Disk) -> tuple[Disk, list[Operation]]:
    """Open and end what was begun; the disk before and what was done to it."""
    before, device = disk.copy(), RecordingDevice(disk)
    with opened(device, ONE, "r+") as archive:
        if old_key(archive._container.superblock) is not None:
            assert archive.rekey().is_complete
        elif archive._container.superblock.epoch == 1:
            assert archive.rekey([ONE]).is_complete
        assert_content(archive)
    return before, device.log


@pytest.mark.parametrize("dirty", [False, True])
def test_every_moment(base: Disk, dirty: bool, seed: int) -> None:
    rng, count = random.Random(seed), 0
    log, begun, done = recorded(base, dirty=dirty)
    disk = base.copy()
    for at, operation in enumerate([*log, None]):
        if at >= begun and rng.random() < SHARE:
            for state in states(disk, rng):
                count += 1
                with opened(RecordingDevice(state.copy(), readonly=True), ONE) as archive:
                    assert_content(archive)
                if at >= done:
                    with pytest.raises(WrongKeyError):
                        opened(RecordingDevice(state.copy(), readonly=True), TWO)
                if rng.random() < 0.25:
                    count += cut_while_going_on(state, rng)
        if operation is not None:
            disk.apply(operation)
    print(f"{count} states")
    assert count > 40


def cut_while_going_on(state: Disk, rng: random.Random) -> int:
    """The writer that goes on is cut short too."""
    disk, log = go_on(state.copy())
    with opened(RecordingDevice(state.copy()), ONE, "r+"):
        pass
    chosen = set(rng.sample(range(len(log) + 1), min(3, len(log) + 1)))
    count = 0
    for at, operation in enumerate([*log, None]):
        if at in chosen:
            again = disk.copy() if rng.random() < 0.5 else disk.cut(
                lambda _number, _page: rng.choice((LOST, KEPT))
            )  # fmt: skip
            count += 1
            go_on(again)
            with pytest.raises(WrongKeyError):
                archive7.open(RecordingDevice(again, readonly=True), key=TWO)  # type: ignore[arg-type]
        if operation is not None:
            disk.apply(operation)
    return count


def test_old_key_left_in_the_middle_opens_as_it_was(base: Disk) -> None:
    """Until the first copy of the superblock is written, the old secrets open the old state."""
    log, begun, _ = recorded(base, dirty=False)
    disk = base.copy()
    for operation in log[: begun + 3]:
        disk.apply(operation)
    with opened(RecordingDevice(disk), TWO, "r+") as archive:
        assert_content(archive)
