"""Crash enumeration, a fixed slice: what `make crash` does for longer."""

from __future__ import annotations

import pytest

from tests.crash.archives import ArchiveEngine
from tests.crash.campaign import Campaign
from tests.crash.engine import Engine, StreamEngine

SLICES: tuple[tuple[type[Engine], int, int], ...] = (
    (StreamEngine, 60, 60),  # engine, workloads, states of each
    (ArchiveEngine, 40, 60),
)


@pytest.mark.parametrize(("engine", "workloads", "states"), SLICES)
def test_every_crash_opens_in_a_committed_state(
    engine: type[Engine], workloads: int, states: int
) -> None:
    """A failure tells seed, operation, and how to see it again."""
    tally = Campaign([engine()], per_workload=states).run(0, workloads)
    print(tally)
    first = sum(count for kind, count in tally.states.items() if not kind.startswith("second"))
    assert first == workloads * states


def test_fresh_seeds(seed: int) -> None:
    """A few workloads that no run had before; the seed is printed."""
    print(Campaign([StreamEngine(), ArchiveEngine()], per_workload=40).run(seed, 20))
