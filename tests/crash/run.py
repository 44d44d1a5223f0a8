"""The crash enumeration for as long as one likes: `python -m tests.crash.run --states 1000000`
for the tree one stands in, `python tests/crash/run.py` for the installed package.

Prints what it did, and at a violation what is needed to see it again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # behind an installed package, which is what a script is to test

from tests.crash.archives import ArchiveEngine  # noqa: E402 - after the path is right
from tests.crash.campaign import Campaign, CampaignError, Tally  # noqa: E402
from tests.crash.engine import Engine, StreamEngine  # noqa: E402

ENGINES: Final[dict[str, tuple[type[Engine], ...]]] = {
    "streams": (StreamEngine,),
    "archive": (ArchiveEngine,),
    "both": (StreamEngine, ArchiveEngine),
}
_TELL_EVERY: Final = 10.0  # seconds


class Worker:
    """Runs one workload after the other, in a process of its own."""

    present: Worker

    def __init__(self, engine: str, per_workload: int) -> None:
        self._engines = [make() for make in ENGINES[engine]]
        self._per_workload = per_workload
        Worker.present = self

    def run(self, seed: int) -> tuple[Tally, str]:
        """One workload: what was done, and the violation or nothing."""
        campaign = Campaign(self._engines, per_workload=self._per_workload)
        try:
            return campaign.run(seed, 1), ""
        except CampaignError as error:
            return campaign.tally, str(error)


def run_one(seed: int) -> tuple[Tally, str]:
    """One workload in a worker process."""
    return Worker.present.run(seed)


def results(options: argparse.Namespace, seed: int) -> Iterator[tuple[Tally, str]]:
    """Every workload's result, as it comes."""
    seeds = iter(range(seed, seed + options.workloads))
    arguments = options.engine, options.per_workload
    if options.jobs == 1:
        yield from map(Worker(*arguments).run, seeds)
        return
    with multiprocessing.Pool(options.jobs, Worker, arguments) as pool:
        waiting = [pool.apply_async(run_one, (s,)) for s, _ in zip(seeds, range(64), strict=False)]
        while waiting:
            yield waiting.pop(0).get()
            waiting += [pool.apply_async(run_one, (s,)) for s in [*_next(seeds)]]


def _next(seeds: Iterator[int]) -> Iterator[int]:
    """The next seed, if there is one."""
    for seed in seeds:
        yield seed
        return


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.run", description=__doc__)
    parser.add_argument("--states", type=int, help="stop after that many crash states")
    parser.add_argument("--seconds", type=float, help="stop after that time")
    parser.add_argument("--workloads", type=int, default=1 << 30, help="stop after that many")
    parser.add_argument("--per-workload", type=int, default=100, help="states of each workload")
    parser.add_argument("--seed", type=int, help="of the first workload")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--engine", choices=sorted(ENGINES), default="both", help="what is driven")
    parser.add_argument("--keep-going", action="store_true", help="count violations, do not stop")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 if nothing was violated."""
    options = parse(arguments)
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    began = told = time.monotonic()
    total, violations = Tally(), 0
    for tally, violation in results(options, seed):
        total.add(tally)
        now = time.monotonic()
        if violation:
            violations += 1
            print(violation, file=sys.stderr, flush=True)
            if not options.keep_going:
                break
        if options.states is not None and total.count >= options.states:
            break
        if options.seconds is not None and now - began >= options.seconds:
            break
        if now - told > _TELL_EVERY:
            told = now
            print(f"  {total}", flush=True)
    print(f"{total}, {time.monotonic() - began:.0f} s, {violations} violations, seed {seed}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
