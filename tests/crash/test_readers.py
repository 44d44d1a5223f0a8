"""Readers and a writer at once, one call after the other in every order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from unittest import mock

import pytest

from archive7 import snapshot
from archive7.commit import Container
from archive7.errors import SnapshotExpiredError
from tests.crash.cuts import power_cut
from tests.crash.engine import StreamEngine, one_cipher
from tests.crash.readers import Watch, open_beside, run_beside
from tests.crash.recorder import Recorder, Recording, ViolationError
from tests.crash.scale import scaled
from tests.devices import RecordingDevice
from tests.disk import Disk

pytestmark = pytest.mark.filterwarnings("ignore::archive7.errors.RecoveredWarning")

ENGINE = StreamEngine()


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with one_cipher(), scaled(is_small=True):
        yield


def recordings(count: int) -> Iterator[Recording]:
    for seed in range(count):
        yield Recorder(ENGINE, seed).run()


def test_reader_beside_a_writer_sees_whole_commits() -> None:
    rng, seen = random.Random(7), Counter[str]()
    for recording in recordings(25):
        for _ in range(25):
            seen[run_beside(ENGINE, recording, rng)] += 1
    assert seen["read"] > 200, seen


def test_reader_that_opens_while_a_writer_recovers_can_read() -> None:
    rng = random.Random(8)
    for recording in recordings(25):
        for _ in range(6):
            before, log = _recovery(recording, rng)
            device = RecordingDevice(before.copy(), readonly=True)
            wanted = ENGINE.open(device, readonly=True).content()
            for _ in range(4):
                open_beside(ENGINE, before, log, wanted, rng)


def _recovery(recording: Recording, rng: random.Random) -> tuple[Disk, list]:  # type: ignore[type-arg]
    """A disk after a power cut, and what a writer's opening does to it."""
    first = next(state.durable for state in recording.history.states)
    disk = Disk()
    for operation in recording.log[: rng.randint(first, recording.now)]:
        disk.apply(operation)
    _, before = power_cut(disk, rng)
    device = RecordingDevice(before.copy())
    ENGINE.open(device)
    return before, device.log


def watch(seed: int) -> int:
    """A writer with readers beside it; return how often they read."""
    rng, disk = random.Random(seed), Disk()
    session = ENGINE.create(RecordingDevice(disk))
    session.step(rng)
    session.commit(durable=True)
    committed = dict(session.model)
    readers = Watch(ENGINE, disk, rng)
    for _ in range(25):
        session.step(rng)
        if rng.random() < 0.6:
            session.commit(durable=rng.random() < 0.5)
            committed = dict(session.model)
        readers.look(committed)
    session.close()
    return readers.reads


def test_snapshot_holds_while_its_lock_is_held() -> None:
    assert sum(watch(seed) for seed in range(30)) > 500


def test_snapshot_expires_where_nothing_rests_for_readers() -> None:
    """The mutant of the test before."""
    with (
        mock.patch.object(Container, "readers_hold", return_value=False),
        pytest.raises(SnapshotExpiredError),
    ):
        for seed in range(30):
            watch(seed)


def test_reader_that_looks_at_the_ring_once_is_caught() -> None:
    """Another mutant: it does not start again when the ring has changed meanwhile."""
    rng = random.Random(8)
    with mock.patch.object(snapshot, "_OPEN_TRIES", 1), pytest.raises(ViolationError):
        for recording in recordings(25):
            for _ in range(25):
                run_beside(ENGINE, recording, rng)
