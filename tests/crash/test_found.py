"""What the enumeration found, or nearly missed: each a small story told straight."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from archive7.errors import SyncFailedError
from archive7.layout import RING_OFFSET, RING_PLACES
from tests.crash.engine import HEADER, Session, StreamEngine, one_cipher
from tests.crash.history import Content
from tests.devices import Fault, FaultingDevice, Killed, RecordingDevice
from tests.disk import KEPT, LOST, PAGE, Disk, FailedSync, PowerCut

pytestmark = pytest.mark.filterwarnings("ignore::archive7.errors.RecoveredWarning")

RING = range(RING_OFFSET // PAGE, RING_OFFSET // PAGE + RING_PLACES)


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher():
        yield


@pytest.fixture
def engine() -> StreamEngine:
    return StreamEngine()


def fill(session: Session, rng: random.Random) -> None:
    """Make a stream, so that a commit has blocks that can be lost."""
    while len(session.model) < 2:
        session.step(rng)
    session.commit(durable=False)


def small_commits(session: Session, rng: random.Random, count: int) -> list[Content]:
    """Many commits without a sync; what each of them made."""
    made = []
    for _ in range(count):
        session.touch(rng)
        session.commit(durable=False)
        made.append(dict(session.model))
    return made


def found_in(engine: StreamEngine, disk: Disk) -> Content:
    session = engine.open(RecordingDevice(disk, readonly=True), readonly=True)
    session.audit()
    return session.content()


def reopen(engine: StreamEngine, disk: Disk, model: Content) -> tuple[Session, RecordingDevice]:
    device = RecordingDevice(disk)
    session = engine.open(device)
    assert session.content() == model
    session.model = dict(model)
    return session, device


@pytest.mark.parametrize("commits", range(1, 9))
def test_ring_that_looks_settled_after_a_kill(engine: StreamEngine, commits: int) -> None:
    """Killed between the last write of a close and its sync: the ring looks settled, is not."""
    rng = random.Random(commits)
    for back in range(1, 4):
        disk = Disk()
        device = RecordingDevice(disk)
        session = engine.create(device)
        fill(session, rng)
        for _ in range(commits):
            session.touch(rng)
            session.commit(durable=True)
        model = dict(session.model)
        device.kill_at = _length_after_close(engine, device, session) - back
        with pytest.raises(Killed):
            session.close()
        session, device = reopen(engine, disk, model)
        may_be = [model, *small_commits(session, rng, 9)]
        device.kill()
        for lost in RING:
            cut = disk.cut(lambda _, page, lost=lost: KEPT if page in RING and page != lost else 0)
            assert found_in(engine, cut) in may_be


def _length_after_close(engine: StreamEngine, device: RecordingDevice, session: Session) -> int:
    """How long the log would be if the session were closed now: 13 operations and the locks."""
    return len(device.log) + 13


@pytest.mark.parametrize("commits", range(1, 5))
def test_ring_that_looks_settled_after_a_failed_sync(engine: StreamEngine, commits: int) -> None:
    """One place has the durable root, the copies in all others were lost by a failed sync."""
    rng = random.Random(1)
    disk = Disk()
    device = RecordingDevice(disk)
    session = engine.create(device)
    fill(session, rng)
    for _ in range(commits):
        session.touch(rng)
        session.commit(durable=True)
    model = dict(session.model)
    device.kill()
    session, device = reopen(engine, disk, model)
    small_commits(session, rng, 9)  # in all places but one
    device.kill()
    disk = disk.cut(lambda _number, page: KEPT if page in RING else LOST)
    failing = FaultingDevice(RecordingDevice(disk), _Worst())
    failing.arm("sync", 2, Fault.EIO)
    with pytest.raises(SyncFailedError):
        engine.open(failing)
    failing.close()
    session, device = reopen(engine, disk, model)
    may_be = [model, *small_commits(session, rng, 12)]
    device.kill()
    for fate in _fates(rng):
        assert found_in(engine, disk.cut(fate)) in may_be


class _Worst(random.Random):
    """Every dirty page is lost."""

    def random(self) -> float:
        return 0.0


def _fates(rng: random.Random) -> Iterator[Callable[[int, int], int]]:
    yield lambda _number, _page: LOST
    yield lambda _number, page: KEPT if page in RING else LOST
    for lost in RING:
        yield lambda _, page, lost=lost: KEPT if page in RING and page != lost else LOST
    for _ in range(40):
        yield lambda _number, page: rng.choice((LOST, 7, KEPT)) if page in RING else LOST


__all__ = ["HEADER", "FailedSync", "PowerCut"]
