"""The crash enumeration for as long as one likes: `python -m tests.crash.run --states 1000000`
for the tree one stands in, `python tests/crash/run.py` for the installed package.

Every sequence of one and two operations (`systematic`), and random workloads (`campaign`) among
them and then until the goal is reached.  Prints what it did, also when it is interrupted, and at a
violation what is needed to see it again.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # behind an installed package, which is what a script is to test

from tests.crash import systematic  # noqa: E402 - after the path is right
from tests.crash.archives import ArchiveEngine  # noqa: E402
from tests.crash.campaign import Campaign, CampaignError  # noqa: E402
from tests.crash.engine import Engine, StreamEngine  # noqa: E402
from tests.crash.tally import Tally  # noqa: E402

ENGINES: Final[dict[str, tuple[type[Engine], ...]]] = {
    "streams": (StreamEngine,),
    "archive": (ArchiveEngine,),
    "both": (StreamEngine, ArchiveEngine),
}
LENGTHS: Final = {"none": 0, "1": 1, "2": 2}
_TELL_EVERY: Final = 10.0  # seconds
_BETWEEN: Final = 5  # sequences between two random workloads

Task = tuple[str, int]  # "sequence" or "seed", its number


class Worker:
    """Does one task after the other, in a process of its own."""

    present: Worker

    def __init__(self, engine: str, per_workload: int) -> None:
        self._engines = [make() for make in ENGINES[engine]]
        self._per_workload = per_workload
        self._sequences = systematic.sequences()
        Worker.present = self

    def run(self, task: Task) -> tuple[Task, Tally, str]:
        """One task: what was done, and the violation or nothing."""
        kind, number = task
        try:
            if kind == "sequence":
                return task, systematic.run(self._sequences[number], number), ""
            campaign = Campaign(self._engines, per_workload=self._per_workload)
            return task, campaign.run(number, 1), ""
        except systematic.SystematicError as error:
            return task, error.tally, str(error)
        except CampaignError as error:
            return task, campaign.tally, str(error)


def begin(engine: str, per_workload: int) -> None:
    """Make the worker of a process; Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Worker(engine, per_workload)


def run_one(task: Task) -> tuple[Task, Tally, str]:
    """One task in a worker process."""
    return Worker.present.run(task)


def tasks(options: argparse.Namespace, seed: int) -> Iterator[Task]:
    """What is to be done: sequences with random workloads among them, then random ones."""
    numbers = range(len(systematic.sequences(LENGTHS[options.sequences])))
    if options.sequence is not None:
        numbers = range(options.sequence, options.sequence + 1)
    sequences = iter([("sequence", number) for number in numbers])
    seeds = (("seed", seed + number) for number in range(options.workloads))
    while some := list(itertools.islice(sequences, _BETWEEN)):
        yield from some
        yield from itertools.islice(seeds, 1)
    yield from seeds


def results(options: argparse.Namespace, seed: int) -> Iterator[tuple[Task, Tally, str]]:
    """Every task's result, as it comes."""
    todo = tasks(options, seed)
    arguments = options.engine, options.per_workload
    if options.jobs == 1:
        yield from map(Worker(*arguments).run, todo)
        return
    with multiprocessing.Pool(options.jobs, begin, arguments) as pool:
        waiting = [pool.apply_async(run_one, (t,)) for t in itertools.islice(todo, 64)]
        while waiting:
            yield waiting.pop(0).get()
            waiting += [pool.apply_async(run_one, (t,)) for t in itertools.islice(todo, 1)]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.run", description=__doc__)
    parser.add_argument(
        "--states", type=int, help="stop after that many distinct states, all sequences done"
    )
    parser.add_argument("--seconds", type=float, help="stop after that time")
    parser.add_argument(
        "--workloads", type=int, default=1 << 20, help="stop after that many random workloads"
    )
    parser.add_argument("--per-workload", type=int, default=200, help="states of each of them")
    parser.add_argument("--seed", type=int, help="of the first of them")
    parser.add_argument(
        "--engine", choices=sorted(ENGINES), default="both", help="what they drive"
    )
    parser.add_argument(
        "--sequences", choices=LENGTHS, default="2", help="operations of the longest sequences"
    )
    parser.add_argument("--sequence", type=int, help="only the one with that number")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep-going", action="store_true", help="count violations, do not stop")
    options = parser.parse_args(arguments)
    if options.sequence is not None:
        options.workloads = 0
    return options


class Report:
    """What was done so far, and whether it is enough."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        self._options = options
        self._seed = seed
        self._began = self._told = time.monotonic()
        self._left = len(systematic.sequences(LENGTHS[options.sequences]))
        self.systematic, self.random = Tally(), Tally()
        self.violations = 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def take(self, task: Task, tally: Tally, violation: str) -> None:
        """One more result."""
        is_sequence = task[0] == "sequence"
        self._left -= is_sequence
        (self.systematic if is_sequence else self.random).add(tally)
        if violation:
            self.violations += 1
            print(violation, file=sys.stderr, flush=True)
        if time.monotonic() - self._told > _TELL_EVERY:
            self._told = time.monotonic()
            print(f"  {self}", flush=True)

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        options = self._options
        if self.violations and not options.keep_going:
            return True
        if options.seconds is not None and self.seconds >= options.seconds:
            return True
        distinct = self.systematic.distinct + self.random.distinct
        return options.states is not None and self._left <= 0 and distinct >= options.states

    def __str__(self) -> str:
        states = self.systematic.count + self.random.count
        return (
            f"{states:,} states, {self.systematic.distinct + self.random.distinct:,} distinct, of "
            f"{self.systematic.workloads + self.random.workloads:,} workloads in "
            f"{self.seconds:.0f} s, {self.violations} violations, seed {self._seed}"
        )

    def tell(self) -> None:
        """The last words."""
        for name, tally in (("systematic", self.systematic), ("random", self.random)):
            if tally.workloads:
                print(f"{name}: {tally}")
        if self._left > 0 and self._options.sequence is None:
            print(f"{self._left} sequences were not tried")
        print(self, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 if nothing was violated, 130 if it was interrupted."""
    options = parse(arguments)
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    report, code = Report(options, seed), 0
    try:
        print(f"seed {seed}", flush=True)
        with closing(results(options, seed)) as found:
            for each in found:
                report.take(*each)
                if report.is_over:
                    break
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        code = 130
    report.tell()
    return 1 if report.violations else code


if __name__ == "__main__":
    sys.exit(main())
