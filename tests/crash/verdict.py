"""The verdict on one state of the disk: a promise of reliability.md, or a `ViolationError`.

After a crash reader and writer must find the same committed state, at least the last one promised,
with every byte readable and every structure right; the writer must be able to go on; and a second
crash inside its recovery must change nothing.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from archive7.commit import Container
from archive7.layout import BLOCK_SIZE, RING_OFFSET, RING_PLACES
from tests.crash.cuts import power_cut
from tests.crash.engine import Engine, Session
from tests.crash.history import Content, State
from tests.crash.memo import Memo, Program, Run, Trace, TracedDevice
from tests.crash.recorder import ViolationError, difference
from tests.crash.tally import Tally
from tests.disk import Disk, Grip, Operation

_READER = 1 << 20  # owners from here on are none of the recorded ones
_RING = range(RING_OFFSET // BLOCK_SIZE, RING_OFFSET // BLOCK_SIZE + RING_PLACES)
_WAYS = 4  # in which a writer goes on after its recovery


@dataclass
class Case:
    """A state of the disk, and what it may hold.

    Attributes:
        disk: left as it is.
        kind: kill, power or live (the writer goes on, its locks stand).
        allowed: for this state; `durable`: for a power cut at the same moment.
        at: operations that were done.
    """

    disk: Disk
    kind: str
    allowed: Sequence[State]
    durable: Sequence[State]
    at: int
    plan: str = ""
    trail: list[str] = field(default_factory=list)

    def fail(self, what: str) -> ViolationError:
        """The violation that `what` is."""
        where = " / ".join([f"{self.kind} {self.plan}".strip(), *self.trail])
        return ViolationError(f"{where}: {what}", self.at)


class Recovery(NamedTuple):
    """What a writer's opening found, and after how many operations it returned."""

    found: Content
    opened: int


class _BrokenError(Exception):
    """What a program found broken."""


class Judge:
    """Judges the states of one recording: the same pages hardly come again in another one.

    Args:
        engine: what is driven.
        tally: counts them.
    """

    def __init__(self, engine: Engine, tally: Tally) -> None:
        self._engine = engine
        self._tally = tally
        self._seen: set[Hashable] = set()
        self.memo = Memo()

    def count(self, kind: str, disk: Disk) -> bool:
        """Count a state; False if it is equal to one before."""
        self._tally.states[kind] += 1
        before = len(self._seen)
        self._seen.add((kind, *disk.image()))
        self._tally.distinct += len(self._seen) - before
        return len(self._seen) > before

    def judge(self, case: Case, rng: random.Random, *, is_deep: bool) -> None:
        """Judge one state; with `is_deep` a second crash in its recovery as well.

        Raises: ViolationError.
        """
        self.count(case.kind, case.disk)
        recovered = self.whole(case, way=rng.randrange(_WAYS), is_audited=is_deep)
        if is_deep and recovered is not None:
            for _ in range(2):
                self._crash_again(case, recovered, rng)

    def whole(self, case: Case, *, way: int = 0, is_audited: bool = True) -> Run | None:
        """A reader and then a writer find a state that may be; return what the writer did.

        Raises: ViolationError.
        """
        found = self.read(case, case.disk)
        match(case, found, case.allowed)
        if case.kind == "live":
            return None
        way %= _WAYS
        run = self._run(("recover", way, is_audited), self._recover(way, is_audited), case)
        if run.result.found != found:
            what = "the writer sees another state: "
            raise case.fail(what + difference(run.result.found, found))
        return run

    def read(self, case: Case, disk: Disk) -> Content:
        """What a reader sees, audited: first which root it takes, then what is below that."""
        root = self._run("open", self._open, case, disk).result
        found: Content = self._run(
            ("see", root), self._see(root), case, disk, without=_RING
        ).result
        return found

    def _run(
        self,
        name: Hashable,
        program: Program,
        case: Case,
        disk: Disk | None = None,
        without: Iterable[int] = (),
    ) -> Run:
        disk = case.disk if disk is None else disk
        disk.owners = max(disk.owners, _READER)
        try:
            return self.memo.run(name, program, disk, without=without)
        except _BrokenError as error:
            raise case.fail(str(error)) from error.__cause__

    # --- programs: what they do follows from what the disk answers

    def _open(self, disk: Disk, trace: Trace) -> bytes:
        """Which root a reader takes."""
        with _reading(disk, trace) as device:
            container = self._engine.container(device, readonly=True)
            check_told(container)
            return container.root.hash

    def _see(self, root: bytes) -> Program:
        """What a reader sees under the root that it took; nothing of it is from the ring."""

        def program(disk: Disk, trace: Trace) -> Content:
            with _reading(disk, trace) as device:
                trace.is_on = False
                container = self._engine.container(device, readonly=True)
                trace.is_on = True
                assert container.root.hash == root
                container._reset(container.root)  # forget what was read
                session = self._engine.over(container)
                found = session.content()
                session.audit()
                return found

        return program

    def _read(self, disk: Disk, trace: Trace) -> Content:
        """Both, and the ring of a closed archive."""
        with _reading(disk, trace) as device:
            session = self._engine.open(device, readonly=True)
            found = session.content()
            session.audit()
            check_told(session.container)
            check_ring(session.container)
            return found

    def _recover(self, way: int, is_audited: bool) -> Callable[[Disk, Trace], Recovery]:
        """A writer opens, finds the same, goes on in one of some ways and closes."""

        def program(disk: Disk, trace: Trace) -> Recovery:
            try:
                session = self._engine.open(TracedDevice(disk, trace))
                found = session.content()
                if is_audited:
                    session.audit()
            except Exception as error:
                raise _BrokenError("a writer: " + _told(error)) from error
            opened = len(trace.log)
            wanted = go_on(session, found, random.Random(way))
            self._check_closed(disk, trace, wanted)
            return Recovery(found, opened)

        return program

    def _check_closed(self, disk: Disk, trace: Trace, wanted: Content) -> None:
        try:
            after = self._read(disk, trace)
        except _BrokenError as error:
            raise _BrokenError(f"closed again: {error}") from error.__cause__
        if after != wanted:
            what = "a commit after recovery is wrong: "
            raise _BrokenError(what + difference(after, wanted))

    # --- a second crash

    def _crash_again(self, case: Case, recovered: Run, rng: random.Random) -> None:
        """Cut, or look in as a reader, at some moment of the writer's opening."""
        opened = recovered.result.opened
        at = rng.randint(0, opened)
        disk = after(case.disk, recovered.log[:at])
        if rng.random() < 0.4:
            self.look_in(case, disk, recovered, at)
        else:
            name, cut = power_cut(disk, rng)
            self.again(case, cut, name, recovered, at)

    def look_in(self, case: Case, disk: Disk, recovered: Run, at: int) -> None:
        """A reader opens beside the recovering writer."""
        self.count("second live", disk)
        case.trail.append(f"a reader at {at} of {recovered.result.opened} operations of recovery")
        self._same(case, self.read(case, disk), recovered.result.found)
        case.trail.pop()

    def again(self, case: Case, cut: Disk, name: str, recovered: Run, at: int) -> None:
        """The power fails at operation `at` of the recovery."""
        self.count("second power", cut)
        opened = recovered.result.opened
        case.trail.append(f"{name} at {at} of {opened} operations of the recovery")
        found = self.read(case, cut)
        if case.kind == "power" or at == opened:
            self._same(case, found, recovered.result.found)
        else:
            match(case, found, case.durable)
        case.trail.pop()

    @staticmethod
    def _same(case: Case, found: Content, expected: Content) -> None:
        if found != expected:
            raise case.fail("recovered in another state: " + difference(found, expected))


def after(disk: Disk, log: Sequence[Operation]) -> Disk:
    """The disk when a writer of its own has done `log` as well."""
    disk = disk.copy()
    disk.owners = 2 * _READER
    for operation in log:
        disk.apply(operation)
    return disk


def prefixes(disk: Disk, log: Sequence[Operation]) -> Iterator[tuple[int, Disk]]:
    """The disk after each operation of `log`, the same object each time."""
    disk = after(disk, ())
    for at, operation in enumerate(log, 1):
        disk.apply(operation)
        if not isinstance(operation, Grip):
            yield at, disk


def match(case: Case, found: Content, allowed: Sequence[State]) -> None:
    """`found` must be one of the states."""
    if all(found != state.content for state in allowed):
        raise case.fail(
            f"not one of the {len(allowed)} states that may be here: "
            + difference(found, allowed[0].content)
        )


def go_on(session: Session, found: Content, rng: random.Random) -> Content:
    """Commit something and close; return what must be there."""
    session.model = dict(found)
    try:
        session.touch(rng)
        if rng.random() < 0.5:
            session.commit(durable=rng.random() < 0.5)
            session.step(rng)
        session.close()
    except Exception as error:
        raise _BrokenError("a writer could not go on: " + _told(error)) from error
    return session.model


@contextmanager
def _reading(disk: Disk, trace: Trace) -> Iterator[TracedDevice]:
    device = TracedDevice(disk, trace, readonly=True)
    try:
        yield device
    except _BrokenError:
        raise
    except Exception as error:
        raise _BrokenError("a reader: " + _told(error)) from error
    finally:
        device.close()


def check_told(container: Container) -> None:
    """A fallback is never silent."""
    newest = max(root.number for root in container.ring.read().values())
    told = container.recovered
    if (told is None) != (newest == container.root.number):
        raise _BrokenError(f"opened in commit {container.root.number} of {newest}, told {told}")


def check_ring(container: Container) -> None:
    """After a close every place of the ring holds the same marked root."""
    roots = container.ring.read()
    if len(roots) != RING_PLACES or len({(r.hash, r.is_marked) for r in roots.values()}) != 1:
        numbers = {place: (r.number, r.is_marked) for place, r in roots.items()}
        raise _BrokenError(f"closed with an unsettled ring: {numbers}")


def _told(error: BaseException) -> str:
    """An error with the lines that raised it."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} ({where})"
