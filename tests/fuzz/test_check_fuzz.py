"""check on mutated containers: findings or Archive7Error, no loop, bounded memory.

The seeds are fixed: all but ids, times and nonces is the same in each run.  ARCHIVE7_FUZZ says how
many there are.
"""

from __future__ import annotations

import io
import os
import random
import signal
import tracemalloc
import warnings
from collections.abc import Iterator
from types import FrameType

import pytest

import archive7
from archive7 import Archive7Error, Finding
from archive7.finding import KINDS
from tests.fuzz import mutator

SEEDS = int(os.environ.get("ARCHIVE7_FUZZ") or 75)
_GUARD = 120  # seconds for one container that takes milliseconds: it is in a loop
_MEMORY = 64 << 20  # for containers of half a megabyte


@pytest.fixture(scope="module")
def whole() -> bytes:
    return mutator.container()


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    """A loop without end becomes a failure."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError("it does not end")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, end)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def watch() -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(_GUARD)


def findings_of(data: bytes, mode: str = "r") -> tuple[list[Finding], bool]:
    """What both levels find, and whether it could be opened; anything but our errors comes up."""
    found: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            archive = archive7.open(io.BytesIO(data), mode, key=mutator.KEY)
        except Archive7Error:
            return [], False
        blocks = (len(data) >> 12) + 1
        try:
            for level in ("quick", "full"):
                before = archive._container.blocks.counts.opened
                checking = archive.check(level)
                found += checking
                assert checking.is_complete
                opened = archive._container.blocks.counts.opened - before
                assert opened <= 4 * blocks + 100
        except Archive7Error:
            assert mode == "r+"  # a reader has nothing to commit
        finally:
            archive._container.abandon()
            archive._files.clear()
    for finding in found:
        assert finding.remedy, finding
        assert (finding.severity, finding.code in KINDS) != ("", False), finding
        assert finding.count > 0
    return found, True


def test_the_corpus_is_sound(whole: bytes) -> None:
    assert findings_of(whole) == ([], True)


@pytest.mark.parametrize("part", range(3))
def test_changed_bytes(whole: bytes, part: int) -> None:
    opened = damaged = 0
    for seed in range(part, SEEDS, 3):
        rng = random.Random(f"raw {seed}")
        watch()
        found, is_open = findings_of(mutator.raw(whole, rng, rng.choice((1, 2, 8, 40))))
        opened += is_open
        damaged += bool(found)
    assert opened > 3
    assert damaged > 3


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("part", range(3))
def test_changes_behind_the_seals(whole: bytes, part: int, mode: str) -> None:
    opened = damaged = 0
    for seed in range(part, SEEDS, 3):
        rng = random.Random(f"sealed {seed}")
        watch()
        data = mutator.sealed(whole, rng, rng.choice((1, 1, 3, 10)))
        tracemalloc.start()
        try:
            found, is_open = findings_of(data, mode)
            _, peak = tracemalloc.get_traced_memory()
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        finally:
            tracemalloc.stop()
        assert peak < _MEMORY, seed
        opened += is_open
        damaged += bool(found)
    assert opened > 3
    assert damaged > 3
