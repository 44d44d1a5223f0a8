"""The verdict on one state of the disk: a promise of reliability.md, or a `ViolationError`.

After a crash reader and writer must find the same committed state, at least the last one promised,
with every byte readable and every structure right; the writer must be able to go on; and a second
crash inside its recovery must change nothing.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

from archive7.layout import RING_PLACES
from tests.crash.cuts import power_cut
from tests.crash.engine import Engine, Session
from tests.crash.history import Content, State
from tests.crash.recorder import ViolationError, difference
from tests.devices import RecordingDevice
from tests.disk import Disk, Operation

_READER = 1 << 20  # owners from here on are none of the recorded ones


@dataclass
class Case:
    """A state of the disk, and what it may hold.

    Attributes:
        disk: taken over.
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


def judge(engine: Engine, case: Case, rng: random.Random, *, is_deep: bool) -> None:
    """Judge one state.  Raises: ViolationError."""
    case.disk.owners = max(case.disk.owners, _READER)
    found = read(engine, case, case.disk)
    match(case, found, case.allowed)
    if case.kind != "live":
        recover(engine, case, found, rng, is_deep=is_deep)


def match(case: Case, found: Content, allowed: Sequence[State]) -> None:
    """`found` must be one of the states."""
    if all(found != state.content for state in allowed):
        raise case.fail(
            f"not one of the {len(allowed)} states that may be here: "
            + difference(found, allowed[0].content)
        )


def read(engine: Engine, case: Case, disk: Disk, *, is_closed: bool = False) -> Content:
    """What a reader sees, audited."""
    device = RecordingDevice(disk, readonly=True)
    try:
        session = engine.open(device, readonly=True)
        found = session.content()
        session.audit()
        check_told(case, session)
        if is_closed:
            check_ring(case, session)
    except ViolationError:
        raise
    except Exception as error:
        raise case.fail("a reader: " + _told(error)) from error
    finally:
        device.close()
    return found


def recover(
    engine: Engine, case: Case, expected: Content, rng: random.Random, *, is_deep: bool
) -> None:
    """A writer opens, finds the same, goes on and closes."""
    disk = case.disk
    before = disk.copy() if is_deep else None
    device = RecordingDevice(disk)
    try:
        session = engine.open(device)
        found = session.content()
        if is_deep:
            session.audit()
    except Exception as error:
        raise case.fail("a writer: " + _told(error)) from error
    if found != expected:
        raise case.fail("the writer sees another state: " + difference(found, expected))
    if before is not None:
        crash_again(engine, case, before, list(device.log), expected, rng)
    wanted = go_on(case, session, found, rng)
    case.trail.append("closed again")
    after = read(engine, case, disk, is_closed=True)
    if after != wanted:
        raise case.fail("a commit after recovery is wrong: " + difference(after, wanted))


def go_on(case: Case, session: Session, found: Content, rng: random.Random) -> Content:
    """Commit something and close; return what must be there."""
    session.model = dict(found)
    try:
        session.touch(rng)
        if rng.random() < 0.5:
            session.commit(durable=rng.random() < 0.5)
            session.step(rng)
        session.close()
    except Exception as error:
        raise case.fail("a writer could not go on: " + _told(error)) from error
    return session.model


def check_told(case: Case, session: Session) -> None:
    """A fallback is never silent."""
    container = session.container
    newest = max(root.number for root in container.ring.read().values())
    told = container.recovered
    if (told is None) != (newest == container.root.number):
        raise case.fail(f"opened in commit {container.root.number} of {newest}, told {told}")


def check_ring(case: Case, session: Session) -> None:
    """After a close every place of the ring holds the same marked root."""
    roots = session.container.ring.read()
    if len(roots) != RING_PLACES or len({(r.hash, r.is_marked) for r in roots.values()}) != 1:
        numbers = {place: (r.number, r.is_marked) for place, r in roots.items()}
        raise case.fail(f"closed with an unsettled ring: {numbers}")


def crash_again(
    engine: Engine,
    case: Case,
    before: Disk,
    log: Sequence[Operation],
    expected: Content,
    rng: random.Random,
) -> None:
    """Cut, or look in as a reader, at some moment of the writer's opening."""
    for _ in range(2):
        at = rng.randint(0, len(log))
        disk = before.copy()
        for operation in log[:at]:
            disk.apply(operation)
        disk.owners = 2 * _READER
        is_live = rng.random() < 0.4
        name = "a reader"
        if not is_live:
            name, disk = power_cut(disk, rng)
        case.trail.append(f"{name} at {at} of {len(log)} operations of the recovery")
        found = read(engine, case, disk)
        if is_live or case.kind == "power" or at == len(log):
            if found != expected:
                raise case.fail("recovered in another state: " + difference(found, expected))
        else:
            match(case, found, case.durable)
        case.trail.pop()


def _told(error: BaseException) -> str:
    """An error with the lines that raised it."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} ({where})"
