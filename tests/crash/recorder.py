"""Recording: random sessions with kills, power cuts and faults, and what they have promised.

A `Recording` is the list of operations that reached the disk and the `History` of states beside
it; crash states are built from it afterwards.  What goes wrong while recording (a state lost at
reopening, a rollback that is none, an error that nobody asked for) is a `ViolationError` as well.
"""

from __future__ import annotations

import random
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from archive7 import commit
from archive7.errors import RecoveredWarning, SyncFailedError
from archive7.layout import RESERVE_COUNT, SLOTS_OFFSET
from tests.crash.cuts import power_cut
from tests.crash.engine import Engine, Session
from tests.crash.history import Content, History
from tests.devices import Fault, FaultingDevice, Killed, RecordingDevice
from tests.disk import PAGE, Disk, Evict, FailedSync, Operation, PowerCut, Truncate, Write

EXPECTED: Final = (OSError, MemoryError, KeyboardInterrupt)


class ViolationError(AssertionError):
    """A promise was broken.

    Attributes:
        at: operations that the disk had done.
    """

    def __init__(self, what: str, at: int) -> None:
        super().__init__(f"{what} [operation {at}]")
        self.what = what
        self.at = at


@dataclass
class Recording:
    """What one workload did.

    Attributes:
        seed: decides everything.
        log: operations on the disk.
        history: states and promises.
        notes: (operation, what the workload did).
    """

    seed: int
    log: list[Operation] = field(default_factory=list)
    history: History = field(default_factory=History)
    notes: list[tuple[int, str]] = field(default_factory=list)

    @property
    def now(self) -> int:
        """Operations so far."""
        return len(self.log)

    def note(self, what: str) -> None:
        """Keep what is done, for whoever reads a violation."""
        self.notes.append((self.now, what))


def difference(found: Content, wanted: Content) -> str:
    """In few words how two contents differ."""
    parts = [f"{len(found)} names for {len(wanted)}"]
    for name in sorted(found.keys() | wanted.keys()):
        one, other = found.get(name), wanted.get(name)
        if one != other:
            sizes = [("none" if data is None else str(len(data))) for data in (one, other)]
            parts.append(f"{name.hex()[:16]}: {sizes[0]} for {sizes[1]} bytes")
    return ", ".join(parts[:4])


class Recorder:
    """Records one workload.

    Args:
        engine: what is driven.
        seed: decides everything.
        sessions: writers one after the other.
    """

    def __init__(self, engine: Engine, seed: int, *, sessions: int | None = None) -> None:
        self._engine = engine
        self._rng = random.Random(seed)
        self._sessions = sessions or self._rng.randint(1, 4)
        self._disk = Disk()
        self.recording = Recording(seed)
        self._committed: Content = {}
        self._undone = False  # since the last sync something was rolled back
        self._bursts = self._rng.random() < 0.4  # this workload likes many small commits

    def run(self) -> Recording:
        """Record everything.  Raises: ViolationError."""
        try:
            self._create()
            for number in range(1, self._sessions):
                self._between()
                self._session(number)
        except ViolationError:
            raise
        except Exception as error:
            text = "".join(traceback.format_exception(error)[-3:])
            raise ViolationError(f"an error that nobody asked for: {text}", self._now) from error
        return self.recording

    @property
    def _now(self) -> int:
        return self.recording.now

    # --- sessions

    def _device(self) -> tuple[RecordingDevice, FaultingDevice]:
        plain = RecordingDevice(self._disk, self.recording.log, name=f"<{self.recording.seed}>")
        return plain, FaultingDevice(plain, self._rng)

    def _create(self) -> None:
        plain, device = self._device()
        session = self._engine.create(device)
        # before that the container has no name
        self._opened(session, session.model, 0)
        self._work(session, plain, device)

    def _session(self, number: int) -> None:
        """Open, with faults and kills now and then, check what is there, work."""
        plain, device = self._device()
        self.recording.note(f"session {number}")
        begun = self._now
        if self._rng.random() < 0.25:
            plain.kill_at = begun + self._rng.randint(1, 25)
        elif self._rng.random() < 0.1:
            device.arm(self._rng.choice(("pwrite", "sync")), self._rng.randint(1, 3), Fault.EIO)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RecoveredWarning)
                session = self._engine.open(device)
        except Killed:
            return
        except OSError:
            if not device.fired:
                raise
            self._failed_sync(begun)
            device.close()
            return
        device.disarm()
        plain.kill_at = None
        self._check_opened(session, begun)
        self._work(session, plain, device)

    def _check_opened(self, session: Session, begun: int) -> None:
        found = session.content()
        allowed = self.recording.history.allowed(begun, power=False)
        if all(found != state.content for state in allowed):
            raise ViolationError(
                f"reopened in a state that is none of the last {len(allowed)}: "
                + difference(found, allowed[0].content),
                begun,
            )
        session.audit()
        self._opened(session, found, begun)

    def _opened(self, session: Session, found: Content, begun: int) -> None:
        session.model = dict(found)
        self._committed = dict(found)
        self.recording.history.opened(found, begun, self._now)

    def _between(self) -> None:
        """What happens to the disk between two sessions."""
        drawn = self._rng.random()
        if drawn < 0.25:
            name, cut = power_cut(self._disk, self._rng)
            self.recording.note(f"power cut: {name}")
            self._happen(PowerCut(cut.certain, cut.certain_size))
            self.recording.history.lose(self._now)
        elif drawn < 0.6:
            self._evict()

    def _evict(self) -> None:
        if self._disk.stale:
            gone = frozenset(p for p in sorted(self._disk.stale) if self._rng.random() < 0.5)
            self._happen(Evict(gone))

    def _happen(self, operation: Operation) -> None:
        self._disk.apply(operation)
        self.recording.log.append(operation)

    def _failed_sync(self, since: int) -> None:
        """Note that a sync failed, if one did since operation `since`."""
        for at in range(since, self._now):
            if isinstance(self.recording.log[at], FailedSync):
                self.recording.history.lose(at + 1)
                return

    # --- inside a session

    def _work(self, session: Session, plain: RecordingDevice, device: FaultingDevice) -> None:
        rng, begun = self._rng, self._now
        self._arm(plain, device)
        try:
            for _ in range(rng.randint(2, 14)):
                self._guarded(session, device)
                if plain.capacity is not None and device.fired == 0 and rng.random() < 0.2:
                    plain.capacity = None
            if rng.random() < 0.6:
                self._close(session, plain, device)
        except Killed:
            self.recording.note("killed")
            return
        except EXPECTED as error:
            self.recording.note(f"gave up: {error!r}")
            if not (device.fired or plain.capacity is not None):
                raise
            self._failed_sync(begun)
            self._leave(session, plain)
            return
        plain.kill()

    def _close(self, session: Session, plain: RecordingDevice, device: FaultingDevice) -> None:
        """Close; rather often something happens just then."""
        rng, note = self._rng, self.recording.note
        drawn = rng.random()
        if drawn < 0.3:
            plain.kill_at = self._now + rng.randint(1, 24)
            note(f"close, killed at {plain.kill_at}")
        elif drawn < 0.5:
            device.arm("sync", rng.randint(1, 5), Fault.EIO)
            note("close, a sync fails")
        else:
            note("close")
        with _killing(plain):
            self._promise(session.close, session.model, durable=True)

    def _leave(self, session: Session, plain: RecordingDevice) -> None:
        """After a failed sync nothing is written any more: close, or die."""
        before = self._now
        self._evict()
        if self._rng.random() < 0.5 and session.container.is_failed:
            session.close()
            if any(isinstance(op, Write | Truncate) for op in self.recording.log[before:]):
                raise ViolationError("written after a failed sync", self._now)
        plain.kill()
        self._evict()

    def _arm(self, plain: RecordingDevice, device: FaultingDevice) -> None:
        """Let something fail in this session, or nothing."""
        rng, drawn = self._rng, self._rng.random()
        note = self.recording.note
        if drawn < 0.25:
            plain.kill_at = self._now + rng.randint(1, 120)
            note(f"will be killed at {plain.kill_at}")
        elif drawn < 0.38:
            fault = rng.choice((Fault.LATE, Fault.LATE, Fault.LATE, Fault.EIO, Fault.SHORT))
            device.arm("pwrite", rng.randint(1, 12), fault, where=_is_ring)
            note(f"a root will fail: {fault.name}")
        elif drawn < 0.46:
            fault = rng.choice(tuple(Fault))
            device.arm("pwrite", rng.randint(1, 40), fault, where=_is_slot)
            note(f"a block will fail: {fault.name}")
        elif drawn < 0.60:
            fault = rng.choice((Fault.EIO, Fault.EIO, Fault.EIO, Fault.LATE))
            device.arm("sync", rng.randint(1, 6), fault)
            note(f"a sync will fail: {fault.name}")
        elif drawn < 0.72:
            plain.capacity = self._disk.size + rng.randint(0, 60) * PAGE
            note(f"the disk is full at {plain.capacity}")

    def _guarded(self, session: Session, device: FaultingDevice) -> None:
        """One action; what fails by our will is rolled back."""
        plain = device.inner
        assert isinstance(plain, RecordingDevice)
        try:
            with _killing(plain):
                self._action(session)
        except EXPECTED as error:
            if isinstance(error, SyncFailedError):
                raise
            capacity = plain.capacity
            if not device.fired and capacity is None:
                raise
            self.recording.note(f"failed: {error!r}")
            if session.container.is_failed:
                raise
            self._after_failure(session)
            if self._rng.random() < 0.5:
                plain.capacity = None

    def _after_failure(self, session: Session) -> None:
        """The session goes on, in the last committed state or in the one just tried."""
        session.rollback()
        self._undone = True
        found = session.content()
        tried = self.recording.history.states[-1].content
        if found not in (self._committed, tried):
            raise ViolationError(
                "after a failure neither the old nor the new state: "
                + difference(found, self._committed),
                self._now,
            )
        self._committed = dict(found)
        session.model = dict(found)
        session.audit()

    def _action(self, session: Session) -> None:
        rng, note = self._rng, self.recording.note
        drawn = rng.random()
        if drawn < (0.4 if self._bursts else 0.1):
            note("burst of small commits")
            for _ in range(rng.choice((0, 1, 2))):
                session.touch(rng)
                self._commit(session, durable=True)
            for _ in range(rng.choice((3, 6, 8, 12))):
                session.touch(rng)
                self._commit(session, durable=False)
        elif drawn < 0.50:
            note("steps and a commit")
            self._steps(session)
            self._commit(session, durable=False)
        elif drawn < 0.70:
            note("steps and a durable commit")
            self._steps(session)
            self._commit(session, durable=True)
        elif drawn < 0.76:
            note("sync")
            self._commit(session, durable=True)
        elif drawn < 0.86:
            note("savepoint")
            self._with_savepoint(session)
        elif drawn < 0.90:
            note("compact")
            self._commit(session, durable=rng.random() < 0.5)
            self._promise(lambda: session.compact(rng), session.model, durable=False)
            self._check_live(session)
            session.audit()
        elif drawn < 0.94:
            note("steps and a rollback")
            self._steps(session)
            session.rollback()
            self._undone = True
            session.model = dict(self._committed)
            self._check_live(session)
        else:
            note("steps")
            self._steps(session)

    def _steps(self, session: Session) -> None:
        for _ in range(self._rng.choice((1, 1, 2, 3, 6))):
            session.step(self._rng)

    def _with_savepoint(self, session: Session) -> None:
        """Steps, savepoint, steps, perhaps another, back to one of them, then a commit."""
        self._steps(session)
        points = []
        for _ in range(self._rng.choice((1, 1, 2))):
            points.append(session.savepoint())
            self._steps(session)
        if self._rng.random() < 0.8:
            self._rng.choice(points)()
            self._undone = True
            self._check_live(session)
        self._commit(session, durable=self._rng.random() < 0.5)

    def _check_live(self, session: Session) -> None:
        found = session.content()
        if found != session.model:
            raise ViolationError(
                f"rolled back wrongly: {difference(found, session.model)}", self._now
            )

    def _commit(self, session: Session, *, durable: bool) -> None:
        self._promise(lambda: session.commit(durable=durable), session.model, durable=durable)
        self._committed = dict(session.model)
        unsynced = sum(page >= SLOTS_OFFSET // PAGE for page in self._disk.dirty())
        self._undone &= unsynced > 0
        slots = (self._disk.size - SLOTS_OFFSET) // PAGE
        limit = min(commit._FRESH_MOST, max(commit._FRESH_LEAST, slots // 10))
        # what was rolled back was written, but no root refers to it: it needs no sync
        if unsynced > limit + RESERVE_COUNT and not self._undone:
            raise ViolationError(f"{unsynced} blocks wait for a sync, {limit} may", self._now)

    def _promise(self, call: Callable[[], None], model: Content, *, durable: bool) -> None:
        """Make a call that commits `model`, and keep what it promises by returning."""
        state = self.recording.history.begin(model, self._now)
        call()
        self.recording.history.acknowledge(state, self._now, durable=durable)


@contextmanager
def _killing(plain: RecordingDevice) -> Iterator[None]:
    """When the process is killed, whatever error took the place of that is Killed."""
    try:
        yield
    except BaseException as error:
        if plain.is_dead:
            raise Killed from error
        raise


def _is_ring(offset: int) -> bool:
    return offset < SLOTS_OFFSET


def _is_slot(offset: int) -> bool:
    return offset >= SLOTS_OFFSET
