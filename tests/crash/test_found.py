"""What the enumeration found, or nearly missed: each a small story told straight."""

from __future__ import annotations

import random
from collections.abc import Iterator
from unittest import mock

import pytest

from archive7.creation import create_container, open_container
from archive7.errors import SyncFailedError
from archive7.keyslots import Secrets
from archive7.layout import BLOCK_SIZE, DATA_SIZE, RING_OFFSET, RING_PLACES, SUPERBLOCK_SIZE
from archive7.root import slot_offset
from archive7.slots import SlotTable
from archive7.unlock import read
from tests.crash.cuts import power_cut
from tests.crash.engine import Session, StreamEngine, StreamSession, one_cipher
from tests.crash.history import Content
from tests.devices import Fault, FaultingDevice, Killed, RecordingDevice
from tests.disk import KEPT, LOST, PAGE, Disk, FailedSync, Fate, Sync, Write

pytestmark = pytest.mark.filterwarnings("ignore::archive7.errors.RecoveredWarning")

RING = range(RING_OFFSET // PAGE, RING_OFFSET // PAGE + RING_PLACES)


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher():
        yield


@pytest.fixture
def engine() -> StreamEngine:
    return StreamEngine()


def ring_but(lost: int) -> Fate:
    """Roots arrive, but for one; blocks do not."""
    return lambda _, page: KEPT if page in RING and page != lost else LOST


def roots_only(_number: int, page: int) -> int:
    """Roots arrive, blocks do not."""
    return KEPT if page in RING else LOST


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


def durable_commits(engine: StreamEngine, count: int) -> tuple[Session, RecordingDevice]:
    """A session after one small commit and some durable ones."""
    rng = random.Random(count)
    device = RecordingDevice(Disk())
    session = engine.create(device)
    fill(session, rng)
    for _ in range(count):
        session.touch(rng)
        session.commit(durable=True)
    return session, device


@pytest.mark.parametrize("commits", range(1, 9))
def test_ring_that_looks_settled_after_a_kill(engine: StreamEngine, commits: int) -> None:
    """Killed between the last write of a close and its sync: the ring looks settled, is not."""
    rng = random.Random(commits)
    session, device = durable_commits(engine, commits)
    session.close()
    end = max(at for at, op in enumerate(device.log) if isinstance(op, Sync))
    for back in range(3):
        session, device = durable_commits(engine, commits)
        disk, model = device.disk, dict(session.model)
        device.kill_at = end - back
        with pytest.raises(Killed):
            session.close()
        session, device = reopen(engine, disk, model)
        may_be = [model, *small_commits(session, rng, 9)]
        device.kill()
        for lost in RING:
            cut = disk.cut(ring_but(lost))
            assert found_in(engine, cut) in may_be


@pytest.mark.parametrize("commits", range(1, 5))
def test_ring_that_looks_settled_after_a_failed_sync(engine: StreamEngine, commits: int) -> None:
    """One place has the durable root, the copies in all others were lost by a failed sync."""
    rng = random.Random(1)
    session, device = durable_commits(engine, commits)
    disk, model = device.disk, dict(session.model)
    device.kill()
    session, device = reopen(engine, disk, model)
    small_commits(session, rng, 9)  # in all places but one
    device.kill()
    disk = disk.cut(roots_only)
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


def _fates(rng: random.Random) -> Iterator[Fate]:
    yield lambda _number, _page: LOST
    yield roots_only
    for lost in RING:
        yield ring_but(lost)
    for _ in range(40):
        yield lambda _number, page: rng.choice((LOST, 7, KEPT)) if page in RING else LOST


def test_undoing_slots_that_went_with_the_tail() -> None:
    """Handed out, freed and cut in one transaction that then fails."""
    table = SlotTable(4)
    mark = table.mark()
    ((first, count),) = table.take(3)
    for slot in range(first, first + count):
        table.release(slot)
    assert table.cut_tail(1) == 3
    table.undo(mark)
    assert table.count == 4


def spilled(engine: StreamEngine, disk: Disk) -> list[Content]:
    """A commit whose last slots were handed out and freed again: a free end of the file."""
    device = RecordingDevice(disk)
    session = engine.create(device)
    assert isinstance(session, StreamSession)
    rng = random.Random(3)
    fill(session, rng)
    session.commit(durable=True)
    made = [dict(session.model)]
    stream = session.manager.new_stream()
    stream.write(0, memoryview(rng.randbytes(30 * DATA_SIZE)))  # sealed at once
    stream.truncate(0)
    stream.close()
    session.model[stream.identity.bytes] = b""
    session.touch(rng)
    session.commit(durable=False)
    assert session.container.slots.tail() > 1, "there is a free end"
    return [*made, dict(session.model)]


def test_file_that_lost_a_free_end(engine: StreamEngine) -> None:
    """The file is shorter than the root says, and all that the root refers to is there."""
    disk = Disk()
    may_be = spilled(engine, disk)
    last = disk.size // PAGE - 1
    assert found_in(engine, disk.cut(lambda _, page: LOST if page == last else KEPT)) in may_be


def test_file_that_lost_a_free_end_in_a_failed_sync(engine: StreamEngine) -> None:
    """The page cache shows the end that the disk has not; the root gets marked all the same."""
    disk = Disk()
    may_be = spilled(engine, disk)
    disk.apply(FailedSync(frozenset({disk.size // PAGE - 1})))
    reopen(engine, disk, may_be[-1])
    assert found_in(engine, disk.cut(lambda _, __: LOST)) in may_be


def test_base_whose_copy_was_lost_by_a_failed_sync(engine: StreamEngine) -> None:
    """Of two copies of the base the one that is kept while settling is not on the disk."""
    rng = random.Random(5)
    device = RecordingDevice(Disk())
    session = engine.create(device)
    fill(session, rng)
    small_commits(session, rng, 1)
    for _ in range(3):
        session.touch(rng)
        session.commit(durable=True)
    may_be = [dict(session.model), *small_commits(session, rng, 1)]
    ring = session.container.ring.read()
    assert ring[0].hash == ring[7].hash == ring[1].base_hash, "the base stands in places 0 and 7"
    device.kill()
    disk = device.disk
    disk.apply(FailedSync(frozenset({RING[0]})))
    before = disk.copy()
    _, device = reopen(engine, disk, may_be[-1])
    syncs = [at for at, op in enumerate(device.log) if isinstance(op, Sync)]
    for operation in device.log[: syncs[1]]:
        before.apply(operation)
    torn = before.cut(lambda _, page: 0x0F if page == RING[7] else LOST)
    assert found_in(engine, torn) in may_be


@pytest.mark.parametrize("number", [0, 1])
def test_superblock_copy_is_written_again(number: int) -> None:
    """A damaged copy, and a power cut at any moment while a writer puts it right."""
    secrets, rng = Secrets(key=bytes(32)), random.Random(number)
    disk = Disk()
    create_container(RecordingDevice(disk), secrets, replace=False).close()
    page = number * SUPERBLOCK_SIZE // PAGE
    disk.apply(disk.write(b"\0" * 100, page * PAGE + 100))
    disk.apply(Sync())
    device = RecordingDevice(disk.copy())
    open_container(device, secrets, readonly=False)
    assert any(isinstance(op, Write) and op.pages[0][0] == page for op in device.log)
    for operation in device.log:
        for _ in range(5):
            _, cut = power_cut(disk, rng)
            open_container(RecordingDevice(cut), secrets, readonly=False).close()
        disk.apply(operation)
    unlocked = read(RecordingDevice(disk), secrets)
    assert not unlocked.faults


def test_close_after_a_fold_that_was_not_committed(engine: StreamEngine) -> None:
    """Interrupted between the folded nodes and their root; the close may not settle on them."""
    rng, disk = random.Random(6), Disk()
    device = RecordingDevice(disk)
    session = engine.create(device)
    fill(session, rng)
    session.commit(durable=True)
    container = session.container
    left = container.slots.append(40)  # written, and given up in the same transaction
    for first, count in left:
        device.pwrite(bytes(count * BLOCK_SIZE), slot_offset(first))
    container.slots.give_back(left)
    session.touch(rng)
    session.commit(durable=True)
    assert container.root.changes, "there is something to fold"
    assert container.slots.tail(), "and something to cut"
    with (
        mock.patch.object(container, "_new_root", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        container.commit(fold=True)
    before = disk.copy()
    done = len(device.log)
    container.close()
    for operation in device.log[done:]:
        before.apply(operation)
        assert found_in(engine, before.cut(roots_only)) == session.model
