"""Faults: the n-th call of every kind fails while an archive is opened or made.

It raises what the device raised, never takes it for damage, gives the locks back, and the next
opening is as ever.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from archive7.errors import CorruptError
from tests.devices import FaultingDevice, RecordingDevice
from tests.disk import KEPT, LOST, Disk
from tests.faults.archivesubject import ArchiveSubject, fill, prepared
from tests.faults.engine import Injection, Plan, Row, State, look_at, silent
from tests.unit.archives import open_archive

SUBJECT = ArchiveSubject()


def _closed() -> Disk:
    disk = Disk()
    with silent(), open_archive(RecordingDevice(disk), "x") as archive:
        fill(archive)
    return disk


def _torn() -> Disk:
    """A power cut has taken blocks of the newest commit."""
    for seed in range(100):
        rng = random.Random(seed)
        disk = prepared().cut(lambda _number, _page: rng.choice((KEPT, LOST)))  # noqa: B023
        with silent():
            archive = open_archive(RecordingDevice(disk.copy()), "r")
            if archive.recovered is not None:
                return disk
    raise AssertionError("no power cut tore a commit")


def _removed_open() -> Disk:
    """The writer died before a file that was removed while it was open was closed."""
    disk = Disk()
    with silent():
        archive = open_archive(RecordingDevice(disk), "x")
        fill(archive)
        file = archive.open("/dir/big", "rb")
        archive.remove("/dir/big")
        archive.sync()
        copy = disk.copy()
        file.close()
    return copy


def _blanking() -> Disk:
    """The writer died while it overwrote what was freed."""
    disk = Disk()
    with silent():
        device = FaultingDevice(RecordingDevice(disk))
        archive = open_archive(device, "x")
        fill(archive)
        archive.sync()
        copies: list[Disk] = []
        sync = device.sync
        device.sync = lambda: (sync(), copies.append(disk.copy()))[0]  # type: ignore[method-assign]
        archive.remove("/dir/big", blank=True)
    return copies[0]


STARTS = {
    "closed": _closed,
    "killed": prepared,
    "torn": _torn,
    "removed open": _removed_open,
    "blanking": _blanking,
    "empty": Disk,
}
CASES = [
    *((mode, start) for mode in ("r", "r+") for start in STARTS if start != "empty"),
    ("w", "closed"),
    ("x", "empty"),
    ("w", "empty"),
]


@pytest.fixture(scope="module")
def starts() -> dict[str, Disk]:
    return {name: make() for name, make in STARTS.items()}


def _open(device: FaultingDevice, mode: str) -> State:
    archive = open_archive(device, mode)
    try:
        return SUBJECT.state(archive)
    finally:
        device.disarm()
        device.inner.close()


def _inject(mode: str, start: Disk, injection: Injection, states: list[State]) -> bool:
    disk = start.copy()
    device = FaultingDevice(RecordingDevice(disk), random.Random(injection.at))
    device.arm(injection.kind, injection.at, injection.fault, persistent=injection.is_persistent)
    raised: BaseException | None = None
    try:
        state = _open(device, mode)
    except BaseException as error:  # noqa: BLE001 - whatever comes is judged
        raised = error
    else:
        assert state in states
    device.disarm()
    if raised is not None:
        assert device.fired
        assert isinstance(raised, OSError | MemoryError | KeyboardInterrupt), repr(raised)
        assert not isinstance(raised, CorruptError), "taken for damage"
    assert not any(disk.grips.values()), "a lock is left"
    with silent():
        if mode in ("x", "w"):
            _judge_made(mode, disk, states)
        else:
            assert look_at(SUBJECT, disk.copy(), "r") in states, "another state"
            assert look_at(SUBJECT, disk, "r+") in states, "another state"
    return device.fired > 0


def _judge_made(mode: str, disk: Disk, states: list[State]) -> None:
    """What was not made leaves nothing, and can be made."""
    if disk.size:
        assert look_at(SUBJECT, disk, "r+") in states
    else:
        with open_archive(RecordingDevice(disk), mode) as archive:
            assert SUBJECT.state(archive) == states[-1]


def _learn(mode: str, start: Disk) -> tuple[Counter[str], list[State]]:
    disk = start.copy()
    device = FaultingDevice(RecordingDevice(disk))
    with silent():
        before = [look_at(SUBJECT, start.copy())] if start.size else []
        after = _open(device, mode)
    return device.counts, [*before, after]


def _inject_all(mode: str, start: Disk, plan: Plan) -> None:
    calls, states = _learn(mode, start)
    hits, failed = 0, []
    for injection in plan.injections(Row(f"open {mode}", (), lambda _a, _b: None), calls):
        try:
            with silent():
                hits += _inject(mode, start, injection, states)
        except AssertionError as error:
            failed.append(f"{injection}: {error}".split("\n")[0])
    print(f"open {mode}: {dict(calls)}, {hits} faults")
    assert not failed, f"{len(failed)} of {hits}:\n" + "\n".join(failed[:20])


@pytest.mark.parametrize(("mode", "start"), CASES)
def test_opening_survives_any_failing_call(
    starts: dict[str, Disk], mode: str, start: str, seed: int
) -> None:
    _inject_all(mode, starts[start], Plan(False, seed, others=1))


@pytest.mark.full
@pytest.mark.parametrize(("mode", "start"), CASES)
def test_opening_survives_any_failing_call_at_all(
    starts: dict[str, Disk], mode: str, start: str
) -> None:
    _inject_all(mode, starts[start], Plan(True, 0))
