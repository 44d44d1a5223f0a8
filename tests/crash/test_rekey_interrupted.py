"""A change of the master key that Ctrl-C ends in the middle: the session goes on, or cannot."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest

from archive7 import SyncFailedError
from archive7.epochs import old_key
from archive7.snapshot import Snapshot
from tests.crash.engine import one_cipher
from tests.crash.test_keys import ONE, opened
from tests.crash.test_rekey import CONTENT, base
from tests.devices import RecordingDevice
from tests.disk import LOST, Disk

pytestmark = pytest.mark.filterwarnings("ignore::archive7.errors.RecoveredWarning")
__all__ = ["base"]


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher():
        yield


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_once_the_superblock_is_written(
    base: Disk, kind: type[BaseException], is_done: bool
) -> None:
    """The old master key is being forgotten: commits must not rely on the root of its epoch."""
    disk = base.copy()
    archive = opened(RecordingDevice(disk), ONE, "r+")
    forget = Snapshot.forget_master

    def interrupted(snapshot: Snapshot) -> None:
        if is_done:
            forget(snapshot)
        raise kind

    with mock.patch.object(Snapshot, "forget_master", interrupted), pytest.raises(kind):
        archive.rekey([ONE])
    for number in range(12):
        try:
            archive.write_bytes("/x", b"%d" % number)
        except SyncFailedError:
            break
        for state in (disk.copy(), disk.cut(lambda _number, _page: LOST)):  # killed, power cut
            with opened(RecordingDevice(state), ONE, "r+") as after:
                assert {path: after.read_bytes(path) for path in CONTENT} == CONTENT
    archive.close()
    with opened(RecordingDevice(disk), ONE, "r+") as after:
        assert old_key(after._container.superblock) is not None
        assert after.rekey().is_complete
        assert {path: after.read_bytes(path) for path in CONTENT} == CONTENT
        assert not [finding for finding in after.check() if finding.severity == "error"]
