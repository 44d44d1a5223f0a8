"""Streams repaired: records, extents and links, as the blocks themselves tell them.

Owns comparing a record with an inventory, and putting a record together from blocks.  Promises:
what comes out is what the blocks say without a gap, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from .commit import Container
from .inventory import UNREADABLE, Inventory
from .layout import BLOCK_HEAD, DATA_SIZE, MAX_POSITIONS, NO_POSITION, STREAM
from .streams.chain import is_tail, tail_next, tail_used
from .streams.extents import Extents

Blocks = dict[int, list[int]]  # index -> positions that say so
_NO_STREAM: Final = -1


class State(Enum):
    """How a stream is."""

    SOUND = "sound"
    MISLINKED = "mislinked"  # blocks and record fit, links do not
    DAMAGED = "damaged"  # as sound, but some blocks do not open
    WRONG = "wrong"  # the record names blocks that are not the stream's


class Link(NamedTuple):
    """What the links of a block have to be."""

    position: int
    previous: int
    next: int


class Verdict(NamedTuple):
    """What was found of one stream.

    Attributes:
        damaged: blocks that do not open.
        links: those that are wrong.
    """

    state: State
    damaged: int = 0
    links: tuple[Link, ...] = ()


def judge(inventory: Inventory, record: bytes, extents: Extents) -> Verdict:
    """Compare a record with the blocks; claim them unless the record is wrong."""
    identity, _, end, count, length, _ = STREAM.unpack(record)
    runs = list(extents)
    if not -1 <= (length - 1) // DATA_SIZE - count + 1 <= 0 or (
        count and extents.position(count - 1) != end
    ):
        return Verdict(State.WRONG)
    if _is_sound(inventory, identity, runs, length - (count - 1) * DATA_SIZE):
        verdict = Verdict(State.SOUND)
    else:
        verdict = _look_closely(inventory, identity, extents, length)
    if verdict.state is State.WRONG or not all(inventory.claim(*run) for run in runs):
        return Verdict(State.WRONG)
    return verdict


def _is_sound(
    inventory: Inventory, identity: bytes, runs: Sequence[tuple[int, int]], used: int
) -> bool:
    before, index = NO_POSITION, 0
    for number, (begin, count) in enumerate(runs):
        if not inventory.is_run(begin, count, identity, index, before):
            return False
        before, index = begin + count - 1, index + count
        following = inventory.said(before).next
        if number + 1 < len(runs):
            if following != runs[number + 1][0]:
                return False
        elif not is_tail(following, used):
            return False
    return True


def _look_closely(inventory: Inventory, identity: bytes, extents: Extents, length: int) -> Verdict:
    """Each block of a stream that is not sound."""
    number = inventory.number(identity)
    number = _NO_STREAM if number is None else number
    damaged, links = 0, []
    positions = [p for begin, count in extents for p in range(begin, begin + count)]
    for index, position in enumerate(positions):
        said = inventory.said(position)
        if said.stream == UNREADABLE:
            damaged += 1
            continue
        if (said.stream, said.ordinal) != (number, index):
            return Verdict(State.WRONG)
        wanted = wanted_link(positions, index, length)
        is_last = index == len(positions) - 1
        is_right = said.previous == wanted.previous and (
            is_tail(said.next, length - index * DATA_SIZE) if is_last else said.next == wanted.next
        )
        if not is_right:
            links.append(wanted)
    state = State.DAMAGED if damaged else State.MISLINKED
    return Verdict(state, damaged, tuple(links))


def wanted_link(positions: Sequence[int], index: int, length: int) -> Link:
    """The links of block `index`."""
    previous = positions[index - 1] if index else NO_POSITION
    if index + 1 < len(positions):
        return Link(positions[index], previous, positions[index + 1])
    return Link(positions[index], previous, tail_next(length - index * DATA_SIZE))


def relink(container: Container, links: Sequence[Link]) -> None:
    """Give blocks the links that they have to have."""
    for position, previous, following in links:
        plain = container.blocks.mutable(position)
        _, _, index, stream, digest = BLOCK_HEAD.unpack_from(plain)
        BLOCK_HEAD.pack_into(plain, 0, previous, following, index, stream, digest)


class Assembled(NamedTuple):
    """A stream put together from blocks."""

    record: bytes
    extents: Extents
    links: tuple[Link, ...]
    damaged: int


def assemble(inventory: Inventory, identity: bytes, blocks: Blocks) -> Assembled | None:
    """Put a stream together from all blocks that say they are its; None where that is a guess.

    A single block that does not open is filled in where both its neighbours name the same one.
    """
    positions = _chain(inventory, blocks)
    if positions is None:
        return None
    last = inventory.said(positions[-1]).next
    if inventory.is_open_claim(last):
        return None  # it may go on there
    length = (len(positions) - 1) * DATA_SIZE + tail_used(last)
    extents = Extents((position, 1) for position in positions)
    links = []
    for index, position in enumerate(positions):
        said = inventory.said(position)
        wanted = wanted_link(positions, index, length)
        is_right = said.previous == wanted.previous and said.next in (wanted.next, last)
        if said.stream != UNREADABLE and not is_right:
            links.append(wanted)
    record = STREAM.pack(identity, positions[0], positions[-1], len(positions), length, 0)
    if not all(inventory.claim(*run) for run in extents):
        return None
    return Assembled(record, extents, tuple(links), len(positions) - len(blocks))


def _chain(inventory: Inventory, blocks: Blocks) -> list[int] | None:
    """The positions of a stream in order, or None where one cannot be told."""
    count = max(blocks, default=-1) + 1
    if not 0 < count < min(MAX_POSITIONS, 2 * len(blocks) + 1):
        return None
    positions = []
    for index in range(count):
        found = blocks.get(index) or _between(inventory, blocks, index)
        if len(found) != 1:
            return None
        positions += found
    return positions


def _between(inventory: Inventory, blocks: Blocks, index: int) -> list[int]:
    """The block that does not open between two that both name it."""
    before, after = blocks.get(index - 1, []), blocks.get(index + 1, [])
    if len(before) == len(after) == 1:
        position = inventory.said(before[0]).next
        is_named = position == inventory.said(after[0]).previous
        if is_named and inventory.is_open_claim(position):
            return [position]
    return []
