"""Fuzz for a given time: `make fuzz`, or

    python tests/fuzz/run.py --seconds 60 --seed 1 --only sealed

Prints the cases of each kind, how many of them could still be opened, and each finding with what
repeats it: `--only KIND --seed N --cases 1`.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

# last, so that it is the installed package that is tested
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.fuzz.fuzzing import KINDS, run_case

_SHOWN = 20  # findings told in full


def has_secretbox() -> bool:
    """Whether containers of suite 2 can be opened here."""
    try:
        import libnacl  # noqa: F401 - asked for its error
    except (ImportError, OSError):
        return False
    return True


def main() -> int:
    """Run cases until the time is over; 1 if one of them found something."""
    parser = argparse.ArgumentParser(description="fuzz archive7 with mutated containers")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="of the first case")
    parser.add_argument("--cases", type=int, default=None, help="stop after so many of each kind")
    parser.add_argument("--only", choices=sorted(KINDS), default=None)
    wanted = parser.parse_args()
    first = random.SystemRandom().getrandbits(32) if wanted.seed is None else wanted.seed
    print(f"--seed {first}")
    kinds = [wanted.only] if wanted.only else list(KINDS)
    end, is_complete = time.monotonic() + wanted.seconds, has_secretbox()
    cases: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    findings = 0
    for seed in itertools.count(first):
        if time.monotonic() > end or seed - first == wanted.cases:
            break
        for kind in kinds:
            cases[kind] += 1
            try:
                opened[kind] += run_case(kind, seed, has_secretbox=is_complete)[0]
            except Exception:  # noqa: BLE001 - whatever comes out is the finding
                findings += 1
                print(f"finding: --only {kind} --seed {seed} --cases 1")
                if findings <= _SHOWN:
                    traceback.print_exc()
    for kind in kinds:
        print(f"{kind:12} {cases[kind]:7} cases, {opened[kind]:7} opened")
    print(f"{sum(cases.values())} cases, {findings} findings")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
