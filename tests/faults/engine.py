"""One operation, one failing call, and everything that has to hold afterwards.

A row names an operation of a subject (an archive, a manager of streams).  It is run once without
a fault: that tells its calls of each kind, and the states that its commits make, which are the
only ones that a fault may leave.  Then call number n of a kind fails, for n = 1, 2, 3 ...; with
`Plan.is_whole` for every n, kind and fault, else for a sample.
"""

from __future__ import annotations

import contextlib
import errno
import random
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import pytest

from archive7.commit import Container
from archive7.errors import ClosedError, RecoveredWarning, SyncFailedError
from archive7.layout import BLOCK_SIZE, RING_OFFSET, RING_PLACES
from tests.devices import Fault, FaultingDevice, RecordingDevice
from tests.disk import KEPT, LOST, Disk

State = Any

_READS = (Fault.EIO, Fault.EINTR, Fault.INTERRUPT, Fault.MEMORY)
_FULL = (Fault.FULL, Fault.LATE)
FAULTS: dict[str, tuple[Fault, ...]] = {
    "pread": _READS,  # pread_into, too
    "pwrite": (*_READS, *_FULL, Fault.CROWDED, Fault.SHORT),
    "sync": (*_READS, *_FULL),
    "truncate": (*_READS, *_FULL),
    "size": _READS,
    "take": _READS,
    "release": _READS,
    "held": _READS,
}
_RETRIED = ("pread", Fault.EINTR)  # as for files of the host, a buffer reads again
_ERRNO = {  # of the others: EIO
    Fault.EINTR: errno.EINTR,
    Fault.FULL: errno.ENOSPC,
    Fault.CROWDED: errno.ENOSPC,
}


@dataclass(frozen=True)
class Row:
    """One operation.

    Attributes:
        covers: names of the public surface that it stands for.
        run: the operation; gets what is open and what `setup` gave.
        setup: what comes before it, undisturbed.
        states: how many states its commits make, with the one before; more than 2 where it is
            documented to be several commits.
        is_loose: it leaves something uncommitted when it fails: that is rolled back first.
        retries: a file that stays open has a buffer, which closing it writes once more.
        rolls_back: what fails in a rollback leaves a container that writes no more.
        ends_session: as documented, so does what fails once the superblock is being changed.
        mode: how the subject is opened.
        tolerates: faults in its calls may be swallowed, as documented.
    """

    name: str
    covers: tuple[str, ...]
    run: Callable[[Any, Any], object]
    setup: Callable[[Any], Any] = lambda opened: None
    states: int = 2
    is_loose: bool = False
    retries: bool = False
    rolls_back: bool = False
    ends_session: bool = False
    mode: str = "r+"
    tolerates: bool = False


class Injection(NamedTuple):
    """Which call fails, and how."""

    kind: str
    at: int
    fault: Fault
    is_persistent: bool


class Subject(ABC):
    """What operations are done on."""

    @abstractmethod
    def open(self, device: Any, mode: str) -> Any:
        """Open it on a device."""

    @abstractmethod
    def container(self, opened: Any) -> Container:
        """Its container."""

    @abstractmethod
    def state(self, opened: Any) -> State:
        """All that it holds."""

    @abstractmethod
    def check(self, opened: Any) -> None:
        """Raise AssertionError where something is not sound."""

    @abstractmethod
    def use(self, opened: Any) -> None:
        """Change something, commit, and change it back."""

    @abstractmethod
    def undo(self, opened: Any) -> None:
        """Throw away what is not committed."""

    @abstractmethod
    def cool(self, opened: Any) -> None:
        """Forget what is in memory, so that the operation reads from the device."""

    def stand_by(self, opened: Any) -> Any:
        """Open something that no operation touches."""
        return None

    def check_bystander(self, bystander: Any, is_failed: bool) -> None:
        """What `stand_by` opened works, or raises ClosedError."""
        return


@dataclass
class Known:
    """What an undisturbed run told.

    Attributes:
        states: those that its commits made, in their order, the one before first.
        calls: by kind.
        result: of the operation.
        is_closed: it closes the subject.
    """

    states: list[State]
    calls: Counter[str]
    result: object
    is_closed: bool


@dataclass
class Plan:
    """How much is tried.

    Attributes:
        is_whole: every call, every fault, once and for good; else for each kind the calls 1, 2
            and a few of the others, by `seed`.
        others: how many of the others.
        tried: injections by fault.
    """

    is_whole: bool
    seed: int
    others: int = 1
    tried: Counter[str] = field(default_factory=Counter)

    def injections(self, row: Row, calls: Counter[str]) -> Iterator[Injection]:
        """What is to be injected into an operation with so many calls."""
        rng = random.Random(f"{self.seed} {row.name}")
        for kind, faults in FAULTS.items():
            everything = [
                (fault, persistent)
                for fault in faults
                for persistent in (False, True)
                if not (persistent and (fault is Fault.INTERRUPT or (kind, fault) == _RETRIED))
            ]
            for at in self._sample(calls[kind], rng):
                chosen = everything if self.is_whole else self._choose(everything, at, rng)
                for fault, persistent in chosen:
                    yield Injection(kind, at, fault, persistent)

    def _sample(self, count: int, rng: random.Random) -> list[int]:
        numbers = list(range(1, count + 1))
        if self.is_whole or count <= 2 + self.others:
            return numbers
        return numbers[:2] + sorted(rng.sample(numbers[2:], self.others))

    @staticmethod
    def _choose(
        everything: list[tuple[Fault, bool]], at: int, rng: random.Random
    ) -> list[tuple[Fault, bool]]:
        first = [everything[0]] if at == 1 else []
        return [*first, rng.choice(everything)]


def silent() -> contextlib.AbstractContextManager[Any]:
    """Without warnings of files that nobody closed and of roots that were passed over."""
    caught = warnings.catch_warnings()
    stack = contextlib.ExitStack()
    stack.enter_context(caught)
    warnings.simplefilter("ignore", RecoveredWarning)
    warnings.simplefilter("ignore", ResourceWarning)
    return stack


# --- the undisturbed run


class Watch(Protocol):
    """Counts what an operation does inside."""

    def watched(self) -> contextlib.AbstractContextManager[None]: ...

    def begin(self) -> None: ...


def learn(
    subject: Subject,
    row: Row,
    start: Disk,
    watch: Watch | None = None,
) -> Known:
    """Run an operation without a fault, while `watch` counts what it does."""
    disk = start.copy()
    device = FaultingDevice(RecordingDevice(disk))
    stack = contextlib.ExitStack()
    if watch is not None:
        stack.enter_context(watch.watched())
    opened = subject.open(device, row.mode)
    subject.stand_by(opened)
    states, snapshots = [look_at(subject, disk.copy())], []
    subject.cool(opened)
    context = row.setup(opened)
    container = subject.container(opened)
    if row.mode != "r":
        states = [look_at(subject, disk.copy())]
        committed = container._committed

        def noted(*args: Any) -> None:
            committed(*args)
            snapshots.append(disk.copy())

        container._committed = noted  # type: ignore[method-assign]
    before = Counter(device.counts)
    if watch is not None:
        watch.begin()
    result = row.run(opened, context)
    stack.close()
    calls = device.counts - before
    for snapshot in snapshots:
        _add(states, look_at(subject, snapshot))
    is_closed = container.is_closed
    _add(states, look_at(subject, disk.copy()) if is_closed else subject.state(opened))
    if not is_closed:
        container.device.close()
    assert len(states) <= row.states, f"{row.name}: {len(states)} states"
    return Known(states, calls, result, is_closed)


def _add(states: list[State], state: State) -> None:
    if state not in states:
        states.append(state)


def look_at(subject: Subject, disk: Disk, mode: str = "r") -> State:
    """What a later process finds, checked; a writer can write, too."""
    device = RecordingDevice(disk)
    with silent():
        opened = subject.open(device, mode)
        state = subject.state(opened)
        if mode != "r":
            subject.use(opened)
            assert subject.state(opened) == state
        subject.check(opened)
        close_quietly(subject, opened)
    return state


def close_quietly(subject: Subject, opened: Any) -> None:
    """Close what nothing disturbs."""
    opened.close()
    assert subject.container(opened).is_closed


# --- one injection


class Trial:
    """One run of an operation with one fault."""

    def __init__(
        self, subject: Subject, row: Row, start: Disk, known: Known, injection: Injection
    ) -> None:
        self.subject, self.row, self.known, self.injection = subject, row, known, injection
        self.disk = start.copy()
        self.device = FaultingDevice(RecordingDevice(self.disk), random.Random(injection.at))
        self.raised: BaseException | None = None

    def __str__(self) -> str:
        kind, at, fault, persistent = self.injection
        how = "for good" if persistent else "once"
        return f"{self.row.name}: {kind} #{at} {fault.name} {how}: {self.raised!r}"

    def run(self) -> bool:
        """Run it; False if the operation made fewer calls than that."""
        subject, row = self.subject, self.row
        with silent():
            self.opened = subject.open(self.device, row.mode)
            self.bystander = subject.stand_by(self.opened)
            subject.cool(self.opened)
            context = row.setup(self.opened)
            self._arm()
            result: object = None
            try:
                result = row.run(self.opened, context)
            except AssertionError:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever comes is judged
                self.raised = error
            self._disarm()
            try:
                self._judge_result(result)
                self._judge_live()
                self._judge_others()
            except AssertionError as error:
                raise AssertionError(f"{self}: {error}") from error
            except BaseException as error:
                raise AssertionError(f"{self}: afterwards {error!r}") from error
        return self.is_hit

    def _arm(self) -> None:
        kind, at, fault, persistent = self.injection
        self.device.arm(kind, at, fault, persistent=persistent)

    def _disarm(self) -> None:
        self.device.disarm()

    @property
    def is_hit(self) -> bool:
        return self.device.fired > 0

    def _judge_result(self, result: object) -> None:
        """What came out is the fault, or what comes out without one."""
        if self.raised is None:
            if self.row.mode == "r" or len(self.known.states) == 1:
                assert self.row.tolerates or result == self.known.result, f"gave {result!r}"
            return
        assert self.is_hit, "raised without a fault"
        error: BaseException | None = self.raised
        while error is not None and not self._is_the_fault(error):
            error = error.__context__  # what `close` raises takes the place of what it was
        assert error is not None, "another exception"

    def _is_the_fault(self, error: BaseException) -> bool:
        fault = self.injection.fault
        if isinstance(error, SyncFailedError):  # the archive refuses after it
            return True
        if fault in (Fault.INTERRUPT, Fault.MEMORY):
            return isinstance(error, (KeyboardInterrupt, MemoryError))
        return isinstance(error, OSError) and error.errno == _ERRNO.get(fault, errno.EIO)

    def _allowed(self) -> list[State]:
        """States that may be found."""
        if self.raised is None:
            return self.known.states[-1:]
        return self.known.states

    def _may_refuse(self) -> bool:
        """Whether the fault is one after which nothing can be written until the next opening."""
        if self.injection.is_persistent or self.row.rolls_back:  # a rollback was hit
            return True
        if self.row.ends_session:
            return True
        ring = range(RING_OFFSET, RING_OFFSET + RING_PLACES * BLOCK_SIZE)
        return any(
            kind == "sync" or (kind == "pwrite" and offset in ring)
            for kind, offset in self.device.fired_at
        )

    def _judge_live(self) -> None:
        subject, opened, row = self.subject, self.opened, self.row
        container = subject.container(opened)
        assert not container.lock._is_owned(), "the lock is held"  # type: ignore[attr-defined]
        assert not container.is_busy, "busy"
        assert self.known.is_closed or self.raised is not None or not container.is_closed
        self.live: State = None
        if container.is_closed:
            assert not any(self.disk.grips.values()), "a lock is left"
            return
        if container.is_failed:
            assert self._may_refuse(), "writes no more"
            with pytest.raises(SyncFailedError):
                subject.use(opened)
            with contextlib.suppress(OSError):
                assert subject.state(opened) in self._allowed(), "between"
            return
        if row.is_loose and self.raised is not None and row.mode != "r":
            subject.undo(opened)
        self.live = subject.state(opened)
        assert self.live in self._allowed(), "between"
        if row.mode != "r":
            subject.use(opened)
            assert subject.state(opened) == self.live, "other after use"
        subject.check(opened)
        subject.check_bystander(self.bystander, container.is_failed)

    def _judge_others(self) -> None:
        """What a later process finds: after a kill, after a power cut, after closing."""
        subject = self.subject
        allowed = self._allowed() if self.live is None else [self.live]
        container = subject.container(self.opened)
        if self.row.mode == "r":
            self.opened.close()
            return
        at = self.injection.at + self.injection.is_persistent
        if at % 2:
            found = look_at(subject, self.disk.copy(), "r" if at % 4 == 1 else "r+")
            assert found in allowed, "another state after a kill"
        elif not container.is_closed and not container.is_failed:
            # `use` came to its end durably: a power cut takes nothing of it
            rng = random.Random(at)
            cut = self.disk.cut(lambda _number, _page: rng.choice((KEPT, LOST)))
            assert look_at(subject, cut, "r+") in allowed, "another state after a power cut"
        try:
            self.opened.close()
        except (OSError, ClosedError):
            assert container.is_failed
        assert container.is_closed
        assert not any(self.disk.grips.values()), "a lock is left"
        if self.row.retries:
            allowed = self.known.states
        if at % 2 == 0 or self.live is None:
            assert look_at(subject, self.disk.copy()) in allowed, "another state after closing"


def inject_all(subject: Subject, row: Row, start: Disk, plan: Plan) -> int:
    """Inject all that the plan wants; return how many faults hit."""
    with silent():
        known = learn(subject, row, start)
    hits, failed = 0, []
    for injection in plan.injections(row, known.calls):
        trial = Trial(subject, row, start, known, injection)
        try:
            is_hit = trial.run()
        except AssertionError as error:
            failed.append(str(error))
            is_hit = True
        hits += is_hit
        plan.tried[injection.fault.name] += is_hit
    print(f"{row.name}: {dict(known.calls)}, {len(known.states)} states, {hits} faults")
    assert not failed, f"{len(failed)} of {hits}:\n" + "\n".join(failed[:20])
    return hits
