"""Power cuts: which of the unsynced writes arrive.

Each plan is a way in which a disk may fail its owner: everything lost, one write lost, one kept,
each page on its own, pages torn at sectors, the roots before the blocks and the other way round.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Final

from archive7.layout import RING_OFFSET, SLOTS_OFFSET
from tests.disk import KEPT, LOST, PAGE, Disk, Fate, Write

_RING: Final = range(RING_OFFSET // PAGE, SLOTS_OFFSET // PAGE)
_ALL_SECTORS: Final = 8

Plan = Callable[[Disk, random.Random], Fate]


def _tear(rng: random.Random) -> int:
    """Some sectors of a page: mostly its beginning or its end."""
    cut = rng.randint(1, _ALL_SECTORS - 1)
    match rng.randrange(3):
        case 0:
            return (1 << cut) - 1
        case 1:
            return KEPT & ~((1 << cut) - 1)
        case _:
            return rng.randint(1, KEPT - 1)


def everything_lost(_disk: Disk, _rng: random.Random) -> Fate:
    """Nothing unsynced arrives."""
    return lambda _number, _page: LOST


def one_lost(disk: Disk, rng: random.Random) -> Fate:
    """All but one or two operations arrive."""
    lost = {rng.randrange(len(disk.loose)) for _ in range(rng.choice((1, 1, 2)))}
    return lambda number, _page: LOST if number in lost else KEPT


def one_kept(disk: Disk, rng: random.Random) -> Fate:
    """One or two operations arrive."""
    kept = {rng.randrange(len(disk.loose)) for _ in range(rng.choice((1, 1, 2)))}
    return lambda number, _page: KEPT if number in kept else LOST


def in_order(disk: Disk, rng: random.Random) -> Fate:
    """What came first arrives; the operation at the border is torn, also inside a run."""
    last = rng.randrange(len(disk.loose))
    operation = disk.loose[last]
    count = len(operation.pages) if isinstance(operation, Write) else 1
    first = operation.pages[0][0] if isinstance(operation, Write) else -1
    border = first + rng.randrange(count)
    sectors = rng.choice((LOST, (1 << rng.randint(1, 7)) - 1))

    def fate(number: int, page: int) -> int:
        if number != last:
            return KEPT if number < last else LOST
        if page == border:
            return sectors
        return KEPT if page < border else LOST

    return fate


def pages_apart(_disk: Disk, rng: random.Random) -> Fate:
    """Each page on its own, some torn."""
    keep, tear = rng.choice((0.1, 0.3, 0.5, 0.7, 0.9)), rng.choice((0.0, 0.1, 0.3))

    def fate(_number: int, page: int) -> int:
        drawn = rng.random()
        if drawn < tear and page >= 0:
            return _tear(rng)
        return KEPT if rng.random() < keep else LOST

    return fate


def _ring_apart(ring: tuple[float, float], slots: tuple[float, float], rng: random.Random) -> Fate:
    """Roots and blocks with their own chances to arrive and to be torn."""

    def fate(_number: int, page: int) -> int:
        keep, tear = ring if page in _RING else slots
        drawn = rng.random()
        if drawn < tear and page >= 0:
            return _tear(rng)
        return KEPT if drawn < tear + keep else LOST

    return fate


def roots_first(_disk: Disk, rng: random.Random) -> Fate:
    """Roots arrive, blocks hardly."""
    return _ring_apart((rng.choice((0.5, 1.0)), 0.0), (rng.choice((0.0, 0.5)), 0.0), rng)


def blocks_first(_disk: Disk, rng: random.Random) -> Fate:
    """Blocks arrive, roots hardly."""
    return _ring_apart((rng.choice((0.0, 0.2)), 0.0), (1.0, 0.0), rng)


def roots_torn(_disk: Disk, rng: random.Random) -> Fate:
    """Blocks arrive, roots are torn."""
    tear = rng.choice((0.5, 0.9, 1.0))
    return _ring_apart(
        (rng.choice((0.0, (1 - tear) / 2)), tear), (rng.choice((0.0, 1.0)), 0.0), rng
    )


PLANS: Final[tuple[Plan, ...]] = (
    everything_lost,
    one_lost,
    one_kept,
    in_order,
    pages_apart,
    pages_apart,
    roots_first,
    blocks_first,
    roots_torn,
)


def power_cut(disk: Disk, rng: random.Random) -> tuple[str, Disk]:
    """What may be left of `disk` after a power cut, and the name of the plan."""
    plan = rng.choice(PLANS) if disk.loose else everything_lost
    return plan.__name__, disk.cut(plan(disk, rng))


# --- all of them

_PAIRS: Final = 24  # unsynced pages up to which all pairs are tried; of more, as many at random
_SAMPLED: Final = 6  # power cuts more, by the plans above
_HEADS: Final = tuple((1 << cut) - 1 for cut in range(1, _ALL_SECTORS))
_TAILS: Final = tuple(KEPT & ~head for head in _HEADS)

Unit = tuple[int, int]  # number of the unsynced operation, page


def units(disk: Disk) -> list[Unit]:
    """What may be lost on its own: pages of unsynced writes, and truncates."""
    return [
        (number, page)
        for number, operation in enumerate(disk.loose)
        for page in (
            [page for page, _ in operation.pages] if isinstance(operation, Write) else (-1,)
        )
    ]


def _but(rest: int, chosen: dict[Unit, int]) -> Fate:
    get = chosen.get
    return lambda number, page: get((number, page), rest)


def every_cut(
    disk: Disk, rng: random.Random, *, lost: int = 2, tears: int = 3
) -> Iterator[tuple[str, Disk]]:
    """What may be left of `disk` after a power cut, and in which way.

    Everything lost; every subset of up to `lost` pages lost; every page kept alone; what came
    first kept, up to each page; each page torn at `tears` sectors, the others kept or lost; and a
    few at random.  In this order, so that what loses least is judged first.
    """
    yield "everything lost", disk.cut(_but(LOST, {}))
    if not disk.loose:
        return
    all_units = units(disk)
    for count in range(lost + 1):
        for chosen in _subsets(all_units, count, rng):
            yield f"lost {list(chosen)}", disk.cut(_but(KEPT, dict.fromkeys(chosen, LOST)))
    for at, unit in enumerate(all_units):
        yield f"kept {unit}", disk.cut(_but(LOST, {unit: KEPT}))
        if at > 1:
            kept = dict.fromkeys(all_units[:at], KEPT)
            yield f"kept up to {unit}", disk.cut(_but(LOST, kept))
    yield from _torn_cuts(disk, all_units, rng, tears)
    for _ in range(_SAMPLED if len(all_units) > lost + 1 else 0):
        yield power_cut(disk, rng)


def _subsets(all_units: list[Unit], count: int, rng: random.Random) -> Iterator[tuple[Unit, ...]]:
    if count < 2 or len(all_units) <= _PAIRS:
        yield from itertools.combinations(all_units, count)
    else:
        for _ in range(_PAIRS * (_PAIRS - 1) // 2):
            yield tuple(rng.sample(all_units, count))


def _torn_cuts(
    disk: Disk, all_units: list[Unit], rng: random.Random, tears: int
) -> Iterator[tuple[str, Disk]]:
    for unit in all_units:
        if unit[1] < 0:
            continue
        ways = [*_HEADS, *_TAILS] if tears >= len(_HEADS) else rng.sample(_HEADS, tears)
        for sectors in ways:
            name = f"{unit} torn {sectors:08b}"
            yield name, disk.cut(_but(KEPT, {unit: sectors}))
        sectors = rng.choice(_HEADS + _TAILS)
        yield f"only {unit} torn {sectors:08b}", disk.cut(_but(LOST, {unit: sectors}))
