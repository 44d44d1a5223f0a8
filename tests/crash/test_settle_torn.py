"""Settling the ring in the middle of a session is cut short: what is durable stays protected."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from archive7 import Archive, SyncFailedError
from archive7.layout import BLOCK_SIZE, RING_OFFSET, RING_PLACES
from tests.crash.engine import one_cipher
from tests.crash.test_keys import CONTENT, ONE, THREE, base, opened
from tests.devices import Fault, FaultingDevice, RecordingDevice
from tests.disk import LOST, Disk

pytestmark = pytest.mark.filterwarnings("ignore::archive7.errors.RecoveredWarning")
__all__ = ["base"]


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher():
        yield


def _is_ring(offset: int) -> bool:
    return RING_OFFSET <= offset < RING_OFFSET + RING_PLACES * BLOCK_SIZE


@pytest.mark.parametrize("fault", [Fault.SHORT, Fault.INTERRUPT])
@pytest.mark.parametrize(
    "change",
    [lambda archive: archive.keys.add(key=THREE), lambda archive: archive.rekey([ONE])],
    ids=["keys", "rekey"],
)
def test_write_to_the_ring(base: Disk, change: Callable[[Archive], object], fault: Fault) -> None:
    number = 1
    while True:
        disk = base.copy()
        device = FaultingDevice(RecordingDevice(disk), random.Random(number))
        archive = opened(device, ONE, "r+")
        device.arm("pwrite", number, fault, where=_is_ring)
        try:
            change(archive)
        except (OSError, KeyboardInterrupt):
            pass
        device.disarm()
        if not device.fired:
            archive.close()
            break
        for count in range(8):
            try:
                archive.write_bytes("/x", b"%d" % count)
            except SyncFailedError:
                break
            for state in (disk.copy(), disk.cut(lambda _number, _page: LOST)):
                with opened(RecordingDevice(state), ONE, "r+") as after:
                    assert {path: after.read_bytes(path) for path in CONTENT} == CONTENT
        archive.close()
        number += 1
    assert number > 13
