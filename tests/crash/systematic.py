"""The systematic part: every sequence of one or two operations, and every crash of the last one.

From each of some starts each sequence is recorded once; then for each operation that reached the
disk since the last letter began: the process dies there, a reader looks in there, and the power
fails there in all the ways of `cuts.every_cut`.  What a sequence shares with a shorter one is
judged there.  Then the power fails again while a writer recovers.
"""

from __future__ import annotations

import functools
import itertools
import random
import time
import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from archive7.archive import Archive
from archive7.errors import RecoveredWarning
from tests.crash.alphabet import ALPHABET, Letter, SmallEngine, SmallSession, Toy, prepare
from tests.crash.cuts import every_cut, power_cut
from tests.crash.engine import one_cipher
from tests.crash.history import History
from tests.crash.memo import Run
from tests.crash.recorder import ViolationError, difference
from tests.crash.scale import scaled
from tests.crash.tally import Tally
from tests.crash.verdict import Case, Judge, after, match, prefixes
from tests.devices import RecordingDevice
from tests.disk import LOST, Disk, Grip, Operation

# start -> whether it is prepared, whether thresholds are small
STARTS: Final = {"empty": (False, False), "prepared": (True, False), "small": (True, True)}
SUBSETS: Final = 2  # unsynced pages of which every subset is lost


@dataclass(frozen=True, slots=True)
class Word:
    """What one workload does."""

    start: str
    letters: tuple[Letter, ...]

    def __str__(self) -> str:
        return f"{self.start}: {', '.join(each.name for each in self.letters)}"


class LiveWorld:
    """An archive on a recording device, with the model and the history beside it.

    Attributes:
        start: the disk before the first operation of the log.
        begun: operations before the last letter.
    """

    def __init__(self, engine: SmallEngine, disk: Disk | None = None) -> None:
        self._engine = engine
        self.disk = disk or Disk()
        self.start = self.disk.copy()
        self.log: list[Operation] = []
        self.history = History()
        self.toy = Toy()
        self.begun = 0

    def create(self) -> None:
        """A new archive; it has its name when this returns."""
        self._device = RecordingDevice(self.disk, self.log)
        session = self._engine.create(self._device)
        assert isinstance(session, SmallSession)
        self.archive: Archive = session.archive
        self._opened(session, 0)

    def open(self) -> None:
        """A writer opens it."""
        begun = len(self.log)
        self._device = RecordingDevice(self.disk, self.log)
        session = self._engine.open(self._device)
        assert isinstance(session, SmallSession)
        self.archive = session.archive
        self._opened(session, begun)

    def _opened(self, session: SmallSession, begun: int) -> None:
        found = session.content()
        if found != self.toy.content():
            what = "opened in another state: " + difference(found, self.toy.content())
            raise ViolationError(what, begun)
        self.history.opened(found, begun, len(self.log))

    def do(self, call: Callable[[], object], *, durable: bool = False) -> None:
        state = self.history.begin(self.toy.content(), len(self.log))
        call()
        self.history.acknowledge(state, len(self.log), durable=durable)

    def reopen(self, *, killed: bool) -> None:
        if killed:
            self._device.kill()
        else:
            self.do(self.archive.close, durable=True)
        self.open()

    def end(self) -> None:
        """What the archive shows is what the model says; then the process dies."""
        found = SmallSession(self.archive).content()
        if found != self.toy.content():
            what = "not as the model: " + difference(found, self.toy.content())
            raise ViolationError(what, len(self.log))
        self._device.kill()


class SystematicError(AssertionError):
    """A violation, with the sequence that shows it."""

    def __init__(self, violation: ViolationError, word: Word, number: int, tally: Tally) -> None:
        super().__init__(
            f"sequence {number} ({word}), operation {violation.at}: {violation.what}\n"
            f"again: python -m tests.crash.run --sequence {number}"
        )
        self.violation = violation
        self.tally = tally


@dataclass
class Effort:
    """How much of a sequence is tried.

    Attributes:
        tears: sectors at which each unsynced page is torn.
        recoveries: whether every recovery is cut at every operation, or some of them.
    """

    tears: int
    recoveries: bool


ONE_LETTER: Final = Effort(7, True)
TWO_LETTERS: Final = Effort(1, False)


@functools.cache
def prepared(start: str) -> Disk:
    """The archive that sequences of `start` begin with, closed."""
    world = LiveWorld(SmallEngine.shared())
    world.create()
    prepare(world)
    world.archive.close()
    return world.disk


def sequences(most: int = 2) -> list[Word]:
    """Every sequence of up to `most` letters, the short ones first."""
    return [
        Word(start, letters)
        for count in range(1, most + 1)
        for start in STARTS
        for letters in itertools.product(ALPHABET, repeat=count)
    ]


def record(word: Word) -> LiveWorld | None:
    """Do what the letters say; None if one of them does not fit."""
    is_prepared, _ = STARTS[word.start]
    if is_prepared:
        world = LiveWorld(SmallEngine.shared(), prepared(word.start).copy())
        prepare(_Pretended(world.toy))
        world.open()
    else:
        world = LiveWorld(SmallEngine.shared())
        world.create()
    for each in word.letters:
        if not each.fits(world.toy):
            return None
        world.begun = len(world.log)
        each.act(world)
    world.end()
    return world


class _Pretended:
    """Only the model is changed."""

    archive: Archive

    def __init__(self, toy: Toy) -> None:
        self.toy = toy

    def do(self, call: Callable[[], object], *, durable: bool = False) -> None:
        """Nothing."""

    def reopen(self, *, killed: bool) -> None:
        """Nothing."""


# --- judging


def run(word: Word, number: int, effort: Effort | None = None) -> Tally:
    """Record one sequence and judge its crash states.  Raises: SystematicError."""
    begun, tally = time.process_time(), Tally()
    effort = effort or (ONE_LETTER if len(word.letters) == 1 else TWO_LETTERS)
    try:
        with scaled(is_small=STARTS[word.start][1]), warnings.catch_warnings(), one_cipher():
            warnings.simplefilter("ignore", RecoveredWarning)
            world = record(word)
            if world is not None:
                tally.workloads += 1
                tally.operations += len(world.log)
                judge = Judge(SmallEngine.shared(), tally)
                _Enumeration(world, random.Random(number), effort, judge).run()
    except ViolationError as violation:
        raise SystematicError(violation, word, number, tally) from violation
    finally:
        tally.seconds += time.process_time() - begun
    return tally


class _Enumeration:
    """All crash states of one recorded sequence."""

    def __init__(self, world: LiveWorld, rng: random.Random, effort: Effort, judge: Judge) -> None:
        self._world = world
        self._rng = rng
        self._effort = effort
        self._judge = judge
        self._recoveries: set[Hashable] = set()

    def run(self) -> None:
        """Judge them.  Raises: ViolationError."""
        world, disk = self._world, self._world.start.copy()
        # the state before the last letter is one of the shorter sequence
        first = max(world.begun + 1, world.history.states[0].durable)
        promised = {state.acked for state in world.history.states}
        for at, operation in enumerate(world.log, 1):
            disk.apply(operation)
            if at >= first and (at in promised or not isinstance(operation, Grip)):
                self._moment(disk, at)

    def _moment(self, disk: Disk, at: int) -> None:
        history = self._world.history
        allowed, durable = (history.allowed(at, power=power) for power in (False, True))
        self._state(Case(disk.copy(), "kill", allowed, durable, at))
        self._state(Case(disk.copy(locks=True), "live", allowed, durable, at))
        for name, cut in every_cut(disk, self._rng, lost=SUBSETS, tears=self._effort.tears):
            self._state(Case(cut, "power", durable, durable, at, name))

    def _state(self, case: Case) -> None:
        """Judge one state; of one that was judged before, only that it may be here as well."""
        if not self._judge.count(case.kind, case.disk):
            match(case, self._judge.read(case, case.disk), case.allowed)
            return
        run = self._judge.whole(case, way=case.at, is_audited=self._effort.recoveries)
        if run is not None:
            self._recovery(case, run)

    # --- a second crash

    def _recovery(self, case: Case, run: Run) -> None:
        """The power fails again in the recovery, or a reader looks in.

        At every operation of a recovery that was not seen before (the pages it needed were not
        the same): in every way, if every recovery is to be cut.  Of one that was: at every
        operation in two ways, or at one.
        """
        name = (case.kind, run.leaf)
        log = run.log[: run.result.opened]
        is_new = name not in self._recoveries
        self._recoveries.add(name)
        if not (is_new or self._effort.recoveries):
            if log:
                at = self._rng.randint(1, len(log))
                plan, cut = power_cut(after(case.disk, log[:at]), self._rng)
                self._judge.again(case, cut, plan, run, at)
            return
        for at, disk in prefixes(case.disk, log):
            if is_new:
                self._judge.look_in(case, disk, run, at)
            if is_new and self._effort.recoveries:
                for plan, cut in every_cut(disk, self._rng, lost=1, tears=1):
                    self._judge.again(case, cut, plan, run, at)
            else:
                self._judge.again(case, disk.cut(_lost), "everything lost", run, at)
                plan, cut = power_cut(disk, self._rng)
                self._judge.again(case, cut, plan, run, at)


def _lost(_number: int, _page: int) -> int:
    return LOST
