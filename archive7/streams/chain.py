"""Chains: the linked blocks of a stream, where they stand, and how a chain grows and shrinks.

Owns the links, the extents and the positions taken ahead of a growing stream.  May assume a
manager that gives and takes positions and blocks.  Promises: links are right at every commit, no
operation walks the chain where an extent map is kept, the last block tells how much of it counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import TreeCorruptError
from ..layout import BLOCK_HEAD, DATA_SIZE, NO_POSITION, TAIL_BASE
from .extents import Extents
from .record import StreamRecord

if TYPE_CHECKING:
    from ..blocks import BlockStore
    from .manager import StreamManager

_MAX_RESERVE: Final = 65536  # positions taken ahead of a growing stream


def tail_next(used: int, following: int = NO_POSITION) -> int:
    """What the last block of a stream has as `next`: how many bytes of it count, unless all do.

    Args:
        used: bytes of the last block that count.
        following: position set aside for the next block; for a full one only.

    Source: docs/format.rst, "Streams".
    """
    return following if used >= DATA_SIZE else TAIL_BASE - max(0, used)


def tail_used(following: int) -> int:
    """The bytes of a last block that count, by its `next`."""
    return DATA_SIZE if following > TAIL_BASE else TAIL_BASE - following


def is_tail(following: int, used: int) -> bool:
    """Whether the last block of a stream, of which `used` bytes count, may have this `next`."""
    return following > TAIL_BASE if used >= DATA_SIZE else following == tail_next(used)


class Chain(StreamRecord):
    """The blocks of one stream."""

    _manager: StreamManager
    _blocks: BlockStore
    _reserve: tuple[int, int]  # positions taken ahead: first, count
    is_dirty: bool

    @property
    def extents(self) -> Extents:
        """Where the blocks stand; found by walking the chain where no extent map is kept."""
        if self._extents is None:
            self._extents = self._walk()
        return self._extents

    def _walk(self) -> Extents:
        extents = Extents()
        position = self._begin
        for index in range(self._count):
            extents.append(position, 1)
            position = self._links_of(position, index)[1]
        if self._count and extents.position(self._count - 1) != self._end:
            raise TreeCorruptError("the chain does not end at its end", stream=self._identity)
        return extents

    def _links_of(self, position: int, index: int) -> tuple[int, int]:
        """Previous and next as the block itself has them."""
        plain = self._blocks.block(position, index, self._id)
        previous, following, *_ = BLOCK_HEAD.unpack_from(plain)
        return previous, following

    # --- links

    def _links(self, index: int) -> tuple[int, int]:
        """Previous and next that block `index` must have."""
        locate = self.extents.position
        previous = locate(index - 1) if index else NO_POSITION
        if index + 1 < self._count:
            return previous, locate(index + 1)
        first, count = self._reserve
        following = first if count else NO_POSITION
        self._tail_next = following
        return previous, following

    def _grow(self, need: int) -> None:
        """Take positions for `need` more blocks (at least one)."""
        old_count = self._count
        while need:
            first, count = self._reserve
            if not count:
                first, count = self._manager.take_run(
                    max(need, min(self._count, _MAX_RESERVE)), max(0, self._end)
                )
            size = min(need, count)
            if self._count == old_count:
                self._link_tail(first)
            self._reserve = (first + size, count - size)
            self._append_run(first, size)
            need -= size

    def _append_run(self, first: int, size: int) -> None:
        self.extents.append(first, size)
        if not self._count:
            self._begin = first
        self._count += size
        self._end = first + size - 1
        self.is_dirty = True

    def _link_tail(self, position: int) -> None:
        """Make the last block name `position` as its next."""
        if not self._count:
            return
        if self._next_of_tail() != position:
            plain = self._blocks.mutable(self._end)
            previous, _, index, stream, digest = BLOCK_HEAD.unpack_from(plain)
            BLOCK_HEAD.pack_into(plain, 0, previous, position, index, stream, digest)
            self._tail_next = position

    def mark_tail(self) -> None:
        """Have the last block tell how many bytes of it count, if that has changed.

        Cost: nothing where the length is what it was; else the last block is changed, which it
        mostly is already.
        """
        state = self._count, self._length
        if not self._count or (state == self._marked and self._tail_next is None):
            return
        self._marked = state
        used = self._length - (self._count - 1) * DATA_SIZE
        if used < DATA_SIZE:
            self._link_tail(tail_next(used))
        elif self._next_of_tail() <= TAIL_BASE:
            first, count = self._reserve
            self._link_tail(first if count else NO_POSITION)

    def _next_of_tail(self) -> int:
        if self._tail_next is None:
            self._tail_next = self._links_of(self._end, self._count - 1)[1]
        return self._tail_next

    def _shrink_to(self, count: int) -> None:
        """The extents have been cut to `count` blocks: fix the record and the new tail."""
        self._give_back()
        self._count = count
        if count:
            self._end = self.extents.position(count - 1)
            self._tail_next = None
            self._link_tail(NO_POSITION)
        else:
            self._begin = self._end = NO_POSITION
            self._tail_next = None
        self.is_dirty = True

    def _give_back(self) -> None:
        """Give back the positions taken ahead."""
        first, count = self._reserve
        self._reserve = (0, 0)
        if count:
            self._manager.give_run(first, count)

    def _forget_reserve(self) -> None:
        """Positions taken ahead are lost with the state they were taken in."""
        if self._reserve[1]:
            self._manager.container.positions.is_complete = False
            self._reserve = (0, 0)
