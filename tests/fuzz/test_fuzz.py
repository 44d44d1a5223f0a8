"""The fixed corpus of `make fuzz`: the same seeds in each run; ARCHIVE7_FUZZ says how many."""

from __future__ import annotations

import os
import random

import pytest

from archive7.layout import KDF_CEILING, PASSPHRASE_SLOT, SUPERBLOCK_HEAD
from tests.fuzz.fuzzing import KEYED, KINDS, base, mutate_superblock, run_case, try_reading
from tests.fuzz.mutator import KEY
from tests.fuzz.run import has_secretbox

CASES = int(os.environ.get("ARCHIVE7_FUZZ") or 30)


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_containers_raise_nothing_else(kind: str) -> None:
    opened = refused = 0
    for seed in range(CASES):
        try:
            is_open, *_ = run_case(kind, seed, has_secretbox=has_secretbox())
        except Exception as error:
            raise AssertionError(f"--only {kind} --seed {seed} --cases 1") from error
        opened += is_open
        refused += not is_open
    assert opened > 3
    assert refused > 3


def test_the_corpus_can_be_read_and_is_changed() -> None:
    for name in KEYED:
        if has_secretbox() or "secretbox" not in name:
            assert try_reading(base(name), {"key": KEY}), name
    for kind, (mutate, names) in KINDS.items():
        changed = [mutate(base(names[0]), random.Random(seed)) for seed in range(8)]
        assert sum(data != base(names[0]) for data in changed) >= 5, kind


def test_mutated_superblocks_ask_for_costs_out_of_bounds() -> None:
    """So that the bounds are really tried."""
    seen = set()
    for seed in range(200):
        data = mutate_superblock(base("password_xaes"), random.Random(seed))
        _, _, memory, passes, lanes = PASSPHRASE_SLOT.unpack_from(data, SUPERBLOCK_HEAD.size + 4)
        for number, most, what in zip(
            (memory, passes, lanes), KDF_CEILING, ("memory", "passes", "lanes"), strict=True
        ):
            seen |= {(what, "zero")} if number == 0 else set()
            seen |= {(what, "much")} if number > most else set()
    assert len(seen) == 6
