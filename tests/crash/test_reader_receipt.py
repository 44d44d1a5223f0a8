"""A reader takes a receipt only of what no power cut can take away."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest

import archive7
from archive7 import UsageError
from archive7.commit import Container
from tests.crash.engine import one_cipher
from tests.crash.test_keys import ONE, opened
from tests.devices import RecordingDevice
from tests.disk import LOST, Disk

pytestmark = pytest.mark.filterwarnings("ignore::archive7.errors.RecoveredWarning")


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher(), mock.patch.object(Container, "_fresh_limit", return_value=4):
        yield


def test_every_moment() -> None:
    """Also of a commit of much data, whose root has its mark before it is on the disk."""
    disk = Disk()
    opened(RecordingDevice(disk), ONE, "x").close()
    writer = RecordingDevice(disk.copy())
    with opened(writer, ONE, "r+") as archive:
        for number in range(3):
            archive.write_bytes("/small", b"%d" % number)
            archive.write_bytes("/big", b"%d" % number * 40_000)
        archive.sync()
        archive.write_bytes("/small", b"last")
    taken = refused = 0
    for operation in writer.log:
        disk.apply(operation)
        with opened(RecordingDevice(disk.copy(), readonly=True), ONE) as reader:
            try:
                receipt = reader.receipt()
            except UsageError:
                refused += 1
                continue
        taken += 1
        cut = disk.cut(lambda _number, _page: LOST)
        archive7.open(RecordingDevice(cut), "r+", key=ONE, expect=receipt).close()  # type: ignore[arg-type]
    assert taken > 5
    assert refused > 3
