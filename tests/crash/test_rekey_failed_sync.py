"""A change of the master key whose sync fails: what a read shows may not be on the disk."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from archive7 import Archive7Error
from archive7.errors import SyncFailedError
from tests.crash.engine import one_cipher
from tests.crash.test_keys import ONE, opened
from tests.crash.test_rekey import CONTENT, assert_content, base
from tests.devices import RecordingDevice
from tests.disk import LOST, Disk

pytestmark = pytest.mark.filterwarnings("ignore::archive7.errors.RecoveredWarning")
__all__ = ["base"]


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher():
        yield


class BadSync(RecordingDevice):
    """Sync number `bad` loses everything that it was to store; the page cache shows it."""

    bad = -1
    syncs = 0

    def sync(self) -> None:
        self.syncs += 1
        if self.syncs == self.bad:
            self.record(self.disk.failed_sync(random.Random(0), 1.0))
            raise OSError(5, "bad sync", self.name)
        super().sync()


def after_bad_sync(base: Disk, bad: int) -> Disk | None:
    """The disk after a change of the key whose sync number `bad` failed; None if it did not."""
    disk = base.copy()
    device = BadSync(disk)
    archive = opened(device, ONE, "r+")
    device.bad = device.syncs + bad
    try:
        archive.rekey([ONE])
    except SyncFailedError:
        return disk
    finally:
        try:
            archive.close()
        except Archive7Error:
            pass
    return None


def test_power_cut_while_the_next_writer_opens(base: Disk) -> None:
    bad, count = 1, 0
    while (disk := after_bad_sync(base, bad)) is not None:
        start = disk.copy()
        device = RecordingDevice(disk.copy())
        with opened(device, ONE, "r+") as archive:
            assert_content(archive)
        again = start
        for at, operation in enumerate([*device.log, None]):
            cut = again.cut(lambda _number, _page: LOST)
            try:
                with opened(RecordingDevice(cut, readonly=True), ONE) as archive:
                    assert {path: archive.read_bytes(path) for path in CONTENT} == CONTENT
            except Archive7Error as error:
                pytest.fail(f"sync {bad} failed, power cut after {at} operations: {error!r}")
            count += 1
            if operation is not None:
                again.apply(operation)
        bad += 1
    assert bad > 6
    assert count > 50
