"""A file that is put back to an older copy between the look at its receipt and its use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import archive7
from archive7 import RollbackError
from archive7.layout import RING_OFFSET
from tests.crash.engine import one_cipher
from tests.crash.test_keys import ONE, opened
from tests.devices import RecordingDevice
from tests.disk import Disk, Grip


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher():
        yield


class Swapped(RecordingDevice):
    """Has another disk from the second look at the ring on."""

    older: Disk
    looks = 0

    def pread(self, size: int, offset: int) -> bytes:
        if offset == RING_OFFSET:
            self.looks += 1
            if self.looks == 2:
                self.disk = self.older
        return super().pread(size, offset)


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_older_copy_is_refused(mode: str) -> None:
    disk = Disk()
    with opened(RecordingDevice(disk), ONE, "x") as archive:
        archive.write_bytes("/a", b"1")
    older = disk.copy()
    with opened(RecordingDevice(disk), ONE, "r+") as archive:
        archive.write_bytes("/a", b"2")
        receipt = archive.receipt()
    device = Swapped(disk, readonly=mode == "r")
    device.older = older
    with pytest.raises(RollbackError, match="while it was opened"):
        archive7.open(device, mode, key=ONE, expect=receipt)  # type: ignore[arg-type]
    assert device.looks == 2
    assert all(isinstance(operation, Grip) for operation in device.log)
