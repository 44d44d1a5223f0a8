"""A backup of the header from before a change of the master key that has just come into force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import archive7
from archive7 import Archive7Error
from tests.crash.engine import one_cipher
from tests.crash.test_keys import ONE, opened
from tests.crash.test_rekey import assert_content, base, recorded
from tests.devices import RecordingDevice
from tests.disk import Disk

pytestmark = pytest.mark.filterwarnings("ignore::archive7.errors.RecoveredWarning")
__all__ = ["base"]


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher():
        yield


def test_it_does_not_undo_the_change_unasked(base: Disk, tmp_path: Path) -> None:
    backup = tmp_path / "header"
    with opened(RecordingDevice(base.copy(), readonly=True), ONE) as archive:
        archive.keys.export_header(backup)
    log, _, done = recorded(base, dirty=False)
    disk, changed, forced = base.copy(), 0, 0
    for operation in log[:done]:
        disk.apply(operation)
        with opened(RecordingDevice(disk.copy(), readonly=True), ONE) as archive:
            epoch = archive._container.superblock.epoch
        if epoch == 1:
            continue
        changed += 1
        device: Any = RecordingDevice(disk.copy())
        with pytest.raises(Archive7Error):
            archive7.restore_header(device, backup, key=ONE)
        assert device.getvalue() == RecordingDevice(disk).getvalue()
        try:
            archive7.restore_header(RecordingDevice(device.disk), backup, key=ONE, force=True)  # type: ignore[arg-type]
        except Archive7Error:  # no root of the old epoch is left
            continue
        forced += 1
        with opened(RecordingDevice(device.disk), ONE, "r+") as archive:
            assert archive._container.superblock.epoch == 1
            assert_content(archive)
    assert changed > forced > 0
