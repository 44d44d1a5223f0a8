"""The systematic part: a fixed slice of what `make crash` does, and that it can fail."""

from __future__ import annotations

import pytest

from tests.crash.mutants import (
    Mutant,
    base_not_synced,
    mark_over_root,
    never_synced,
    not_settled,
    root_before_blocks,
    settled_in_one_go,
    synced_before_root,
    unverified,
)
from tests.crash.scale import scaled
from tests.crash.systematic import (
    ALPHABET,
    STARTS,
    TWO_LETTERS,
    SystematicError,
    Word,
    prepared,
    run,
    sequences,
)
from tests.crash.tally import Tally

WORDS = sequences()
BIG = [number for number, word in enumerate(WORDS) if len(word.letters) == 1]


@pytest.fixture(autouse=True)
def _prepared() -> None:
    """Before a mutant gets at it."""
    for start, (is_prepared, is_small) in STARTS.items():
        if is_prepared:
            with scaled(is_small=is_small):
                prepared(start)


def number_of(start: str, *names: str) -> int:
    """The number of a sequence."""
    letters = {each.name: each for each in ALPHABET}
    return WORDS.index(Word(start, tuple(letters[name] for name in names)))


def test_alphabet_is_enumerated() -> None:
    assert len({each.name for each in ALPHABET}) == len(ALPHABET)
    assert len(WORDS) == len(STARTS) * (len(ALPHABET) + len(ALPHABET) ** 2)


@pytest.mark.parametrize("start", ["prepared", "small"])
def test_every_operation_crashes_into_a_committed_state(start: str) -> None:
    """Each operation, every cut, some cuts of the recovery."""
    total = Tally()
    for number in BIG:
        if WORDS[number].start == start:
            total.add(run(WORDS[number], number, TWO_LETTERS))
    print(total)
    assert total.workloads == len(ALPHABET), "a letter that fits nowhere"
    assert total.distinct > 5000


@pytest.mark.parametrize(
    "names",
    [
        ("prepared", "savepoint"),
        ("small", "rename-over"),
    ],
)
def test_every_recovery_is_cut(names: tuple[str, ...]) -> None:
    """Some operations, every cut, every cut of every recovery."""
    number = number_of(*names)
    tally = run(WORDS[number], number)
    print(tally)
    assert tally.states["second power"] > 500


@pytest.mark.parametrize("number", range(len(BIG), len(WORDS), 131))
def test_two_operations(number: int) -> None:
    run(WORDS[number], number)


# --- it can fail


@pytest.mark.parametrize(
    ("mutant", "names"),
    [
        (root_before_blocks, ("prepared", "rewrite")),
        (synced_before_root, ("prepared", "create", "sync")),
        (never_synced, ("prepared", "create", "sync")),
        (unverified, ("prepared", "create", "overwrite")),
        (not_settled, ("prepared", "rename")),
        (settled_in_one_go, ("prepared", "rewrite")),
        (base_not_synced, ("prepared", "rewrite", "rename")),
        (mark_over_root, ("prepared", "create", "sync")),
    ],
)
def test_mutant_is_caught_by_a_sequence(mutant: Mutant, names: tuple[str, ...]) -> None:
    number = number_of(*names)
    run(WORDS[number], number)
    with mutant(), pytest.raises(SystematicError) as caught:
        run(WORDS[number], number, TWO_LETTERS)
    print(str(caught.value).partition("\n")[0])


def test_model_is_not_the_code_under_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that does something else than the model says is a violation."""
    number = number_of("prepared", "rename")
    monkeypatch.setattr("archive7.archive.Archive.rename", lambda *_: None)
    with pytest.raises(SystematicError, match="not as the model"):
        run(WORDS[number], number)
