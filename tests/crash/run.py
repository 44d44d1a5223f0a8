"""The crash enumeration for as long as one likes: `python -m tests.crash.run --states 1000000`.

Prints what it did, and at a violation what is needed to see it again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import Final

from tests.crash.archives import ArchiveEngine
from tests.crash.campaign import Campaign, CampaignError
from tests.crash.engine import Engine, StreamEngine

ENGINES: Final[dict[str, tuple[type[Engine], ...]]] = {
    "streams": (StreamEngine,),
    "archive": (ArchiveEngine,),
    "both": (StreamEngine, ArchiveEngine),
}


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 if nothing was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.run", description=__doc__)
    parser.add_argument("--states", type=int, help="stop after that many crash states")
    parser.add_argument("--seconds", type=float, help="stop after that time")
    parser.add_argument("--workloads", type=int, default=1 << 30, help="stop after that many")
    parser.add_argument("--per-workload", type=int, default=100, help="states of each workload")
    parser.add_argument("--seed", type=int, help="of the first workload")
    parser.add_argument("--engine", choices=sorted(ENGINES), default="both", help="what is driven")
    parser.add_argument("--keep-going", action="store_true", help="count violations, do not stop")
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    began, violations = time.monotonic(), 0
    engines = [make() for make in ENGINES[options.engine]]
    campaign = Campaign(engines, per_workload=options.per_workload)

    def is_over() -> bool:
        if options.states is not None and campaign.tally.count >= options.states:
            return True
        return options.seconds is not None and time.monotonic() - began >= options.seconds

    done, told = 0, began
    while done < options.workloads and not is_over():
        try:
            campaign.run(seed + done, 1)
        except CampaignError as failure:
            violations += 1
            print(failure, file=sys.stderr, flush=True)
            if not options.keep_going:
                break
        done += 1
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"  {campaign.tally}", flush=True)
    print(f"{campaign.tally}, {violations} violations, seed {seed}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
