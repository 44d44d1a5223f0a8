"""A campaign: workloads one after the other, and crash states of each, judged.

Everything but nonces and keys follows from the seed; a failure tells how to see it again.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

from archive7.errors import RecoveredWarning
from tests.crash.cuts import power_cut
from tests.crash.engine import Engine, one_cipher
from tests.crash.history import NEVER
from tests.crash.recorder import Recorder, Recording, ViolationError
from tests.crash.scale import scaled
from tests.crash.tally import Tally
from tests.crash.verdict import Case, Judge
from tests.disk import Disk, Sync, Write


class CampaignError(AssertionError):
    """A violation, with what is needed to see it again."""

    def __init__(
        self, violation: ViolationError, recording: Recording, engine: Engine, per_workload: int
    ) -> None:
        notes = "\n".join(
            f"  {at:5} {what}" for at, what in recording.notes if at <= violation.at + 3
        )
        super().__init__(
            f"seed {recording.seed}, operation {violation.at} of {recording.now}: "
            f"{violation.what}\nthe workload until then:\n{notes}\n"
            f"again: python -m tests.crash.run --engine {engine.name} --seed {recording.seed} "
            f"--sequences none --workloads 1 --per-workload {per_workload}"
        )
        self.violation = violation
        self.recording = recording


class Campaign:
    """Runs workloads and judges their crash states.

    Args:
        engines: what is driven, by turns.
        per_workload: crash states of each.
    """

    def __init__(self, engines: Sequence[Engine], *, per_workload: int = 100) -> None:
        self._engines = engines
        self._per_workload = per_workload
        self.tally = Tally()

    def run(
        self, seed: int, workloads: int, *, is_over: Callable[[], bool] = lambda: False
    ) -> Tally:
        """Run workloads `seed`, `seed` + 1 ... until one fails or it is over.

        Raises: CampaignError.
        """
        begun = time.process_time()
        with warnings.catch_warnings(), one_cipher():
            warnings.simplefilter("ignore", RecoveredWarning)
            try:
                for number in range(seed, seed + workloads):
                    if is_over():
                        break
                    self.workload(number)
            finally:
                self.tally.seconds += time.process_time() - begun
        return self.tally

    def workload(self, seed: int) -> None:
        """Record one workload and judge its crash states."""
        engine = self._engines[seed % len(self._engines)]
        with scaled(is_small=seed % 5 != 0):
            recorder = Recorder(engine, seed)
            try:
                recording = recorder.run()
                self.tally.workloads += 1
                self.tally.operations += recording.now
                self._judge_all(engine, recording, random.Random(~seed))
            except ViolationError as violation:
                raise CampaignError(
                    violation, recorder.recording, engine, self._per_workload
                ) from violation

    def _judge_all(self, engine: Engine, recording: Recording, rng: random.Random) -> None:
        judge = Judge(engine, self.tally)
        for case in cases(recording, rng, self._per_workload):
            judge.judge(case, rng, is_deep=rng.random() < 0.3)


def moments(recording: Recording, rng: random.Random, count: int) -> list[int]:
    """When to crash: anywhere, and rather where much is unsynced or a root was just written."""
    log = recording.log
    start = next(state.durable for state in recording.history.states)
    late = [at for at in range(start, len(log)) if isinstance(log[at], Sync)]
    late += [
        at + 1
        for at in range(start, len(log))
        if isinstance(op := log[at], Write) and 8 <= op.pages[0][0] < 16
    ]
    # and soon after a call that did not return
    broken = [s.begun for s in recording.history.states if s.acked == NEVER and s.begun >= start]
    drawn = [rng.randint(start, len(log)) for _ in range(count // 2)]
    if broken:
        soon = [rng.choice(broken) + rng.randint(1, 7) for _ in range(count // 5)]
        drawn += [min(at, len(log)) for at in soon]
    drawn += [rng.choice(late or [start]) for _ in range(count - len(drawn))]
    return sorted(drawn)


def cases(recording: Recording, rng: random.Random, count: int) -> Iterator[Case]:
    """Crash states of a recording."""
    disk, done = Disk(), 0
    history = recording.history
    for at in moments(recording, rng, count):
        for operation in recording.log[done:at]:
            disk.apply(operation)
        done = at
        drawn = rng.random()
        if any(0 < at - state.begun < 8 for state in history.states if state.acked == NEVER):
            drawn += 0.3  # readers are the first to see what a failed commit left
        durable = history.allowed(at, power=True)
        allowed = history.allowed(at, power=False)
        if drawn < 0.6:
            plan, cut = power_cut(disk, rng)
            yield Case(cut, "power", durable, durable, at, plan)
        elif drawn < 0.8:
            yield Case(disk.copy(), "kill", allowed, durable, at)
        else:
            yield Case(disk.copy(locks=True), "live", allowed, durable, at)
