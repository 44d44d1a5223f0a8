"""Readers beside a writer: what they see while the disk changes under them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from archive7.errors import SnapshotExpiredError
from archive7.locks import Lock
from tests.crash.engine import Engine, Session
from tests.crash.history import Content
from tests.crash.recorder import Recording, ViolationError, difference
from tests.devices import DiskLocks, RecordingDevice
from tests.disk import Disk, Evict, FailedSync, Operation, PowerCut, Truncate

_OWNER = 1 << 20


class RunningDevice(RecordingDevice):
    """A reader's device on a disk that goes on between its calls.

    Args:
        disk: as it is when the reader begins.
        coming: what a writer does to it meanwhile.
        pace: most operations between two calls of the reader.
    """

    def __init__(
        self, disk: Disk, coming: Sequence[Operation], pace: int, rng: random.Random
    ) -> None:
        disk.owners = _OWNER
        super().__init__(disk, readonly=True)
        self.done = 0
        self.pace = pace
        self._coming = coming
        self._rng = rng
        self.locks = RunningLocks(self)

    def run(self) -> None:
        """Let the writer go on."""
        for _ in range(self._rng.randint(0, self.pace)):
            if self.done < len(self._coming):
                self.disk.apply(self._coming[self.done])
                self.done += 1

    def pread(self, size: int, offset: int) -> bytes:
        self.run()
        return super().pread(size, offset)


class RunningLocks(DiskLocks):
    """Asking for a lock takes time as well."""

    def __init__(self, device: RunningDevice) -> None:
        super().__init__(device)
        self._running = device

    def held_by_others(self, lock: Lock) -> bool | None:
        self._running.run()
        return super().held_by_others(lock)


def calm(log: Sequence[Operation], start: int) -> int:
    """The first operation from `start` on after which a reader cannot go on."""
    for at in range(start, len(log)):
        if isinstance(log[at], PowerCut | FailedSync | Evict):
            return at
    return len(log)


def run_beside(engine: Engine, recording: Recording, rng: random.Random) -> str:
    """A reader opens and reads while a recorded writer goes on; say how it went.

    What it sees is one committed state, not older than when it began; or its snapshot expires.
    The recorded writer knows nothing of this reader, so nothing rests for it.
    """
    log, history = recording.log, recording.history
    first = next(state.durable for state in history.states)
    start = rng.randint(first, len(log))
    disk = Disk()
    for operation in log[:start]:
        disk.apply(operation)
    device = RunningDevice(disk, log[start : calm(log, start)], rng.choice((1, 2, 5)), rng)
    oldest = history.allowed(start, power=False)[-1]
    try:
        session = engine.open(device, readonly=True)
        found = session.content()
        session.audit()
    except SnapshotExpiredError:
        return "expired"
    except Exception as error:
        # the writer, which knows of no reader, may cut the end that this one still refers to
        is_cut = any(isinstance(op, Truncate) for op in log[start : start + device.done])
        if isinstance(error, AssertionError) and "too short" in str(error) and is_cut:
            return "expired"
        raise ViolationError(f"a reader beside the writer: {error!r}", start) from error
    allowed = history.allowed(start + device.done, power=False)
    possible = history.states[history.states.index(oldest) :]
    end = history.states.index(allowed[0])
    if all(found != s.content for s in possible if history.states.index(s) <= end):
        raise ViolationError(
            "a reader beside the writer saw no committed state: "
            + difference(found, allowed[0].content),
            start,
        )
    device.close()
    return "read"


def open_beside(
    engine: Engine, before: Disk, log: Sequence[Operation], wanted: Content, rng: random.Random
) -> None:
    """A reader opens while a writer opens; then it must be able to read, nothing was reused."""
    start = rng.randint(0, len(log))
    disk = before.copy()
    for operation in log[:start]:
        disk.apply(operation)
    device = RunningDevice(disk, log[start:], rng.choice((1, 3, 9, 20)), rng)
    session = engine.open(device, readonly=True)
    device.pace = 0
    found = session.content()
    session.audit()
    device.close()
    assert found == wanted, difference(found, wanted)


class Watch:
    """Readers that stay open beside a writer that sees their lock."""

    def __init__(self, engine: Engine, disk: Disk, rng: random.Random) -> None:
        self._engine = engine
        self._disk = disk
        self._rng = rng
        self._open: list[tuple[Session, RecordingDevice, Content]] = []
        self.reads = 0

    def look(self, committed: Content) -> None:
        """Open, read again, refresh or close one, at random."""
        drawn = self._rng.random()
        if drawn < 0.3 or not self._open:
            device = RecordingDevice(self._disk, readonly=True)
            session = self._engine.open(device, readonly=True)
            self._open.append((session, device, dict(committed)))
        at = self._rng.randrange(len(self._open))
        session, device, seen = self._open[at]
        if drawn > 0.85:
            session.refresh()
            self._open[at] = session, device, dict(committed)
            seen = committed
        found = session.content()
        assert found == seen, difference(found, seen)
        self.reads += 1
        if drawn > 0.7:
            device.close()
            del self._open[at]
