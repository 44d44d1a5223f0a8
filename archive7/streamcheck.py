"""Streams checked: every block is there, linked both ways, genuine and its own.

Owns what the blocks of a stream have to hold, and the invariants of chains.  Blocks of a run are
opened up to 256 at once; only where something is wrong is each looked at alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .commit import Container
from .crypto import Wanted
from .errors import CorruptError
from .finding import Report
from .layout import (
    BLOCK_HEAD,
    DATA_SIZE,
    MAX_RUN,
    NO_POSITION,
    STREAM,
    pack_lead,
)
from .marks import PRESENT, REACHED, Marks
from .reader import BlockReader
from .streams.chain import is_tail, tail_next
from .streams.extents import Extents
from .streams.record import sound_fields

ANY: Final = 1 << 32  # in the place of a next that only the block itself knows
_ZEROS: Final = bytes(DATA_SIZE)
_AHEAD: Final = 16  # blocks of a chain that are first taken to stand one behind the other


class Expected:
    """What the blocks of one stream have to hold.

    Args:
        record: of the stream.

    Attributes:
        id, begin, end, count, length: as the record has them.
    """

    __slots__ = ("begin", "count", "end", "id", "length", "used")

    def __init__(self, record: bytes) -> None:
        self.id, self.begin, self.end, self.count, self.length, _ = STREAM.unpack(record)
        self.used = self.length - (self.count - 1) * DATA_SIZE  # bytes of the last block

    def wanted(self, position: int, index: int, previous: int, after: int | None) -> Wanted:
        """What the block at `position` begins and ends with.

        Args: after: position of the next block, None for the last.  A full last block may also
        name a position set aside as its next: `is_right_next`.
        """
        if after is not None:
            return pack_lead(previous, after, index, self.id), b""
        tail = _ZEROS[max(0, self.used) :] if self.used < DATA_SIZE else b""
        return pack_lead(previous, tail_next(self.used), index, self.id), tail

    def run(
        self, position: int, count: int, index: int, previous: int, after: int | None
    ) -> list[Wanted]:
        """`wanted` of blocks at consecutive positions; `after` is what follows them."""
        if count == 1:
            return [self.wanted(position, index, previous, after)]
        identity, shift = self.id, index - position
        inner = range(position + 1, position + count - 1)
        wanted = [(pack_lead(previous, position + 1, index, identity), b"")]
        wanted += [(pack_lead(at - 1, at + 1, at + shift, identity), b"") for at in inner]
        last = position + count - 1
        wanted.append(self.wanted(last, last + shift, last - 1, after))
        return wanted

    def is_right_next(self, found: int, after: int | None) -> bool:
        """Whether a block may have `found` as its next; `after`: what follows, None for the last.

        The last one tells how many of its bytes count.
        """
        if after is not None:
            return found == after
        return is_tail(found, self.used)


def examine(
    blocks: BlockReader,
    stream: Expected,
    place: tuple[int, int],
    links: tuple[int, int | None],
    report: Report,
) -> int | None:
    """Open one block past the cache, and tell what is wrong with it.

    Args:
        place: its position and index.
        links: position of the one before, and of the next (None: it is the last; or `ANY`).

    Returns: what it has as its next; None where it is not the block that belongs here.
    """
    (position, index), (previous, after) = place, links
    try:
        plain = blocks.verify(position, blocks.map.get(position))
    except CorruptError as damage:
        report.damage("block-damaged", damage, block=position)
        return None
    if plain[8:28] != index.to_bytes(4, "big") + stream.id:
        report.tell("block-foreign", "this is another block, or of another stream", block=position)
        return None
    before, following, *_ = BLOCK_HEAD.unpack_from(plain)
    if before != previous or after not in (None, ANY, following):
        report.tell("link-wrong", "a link is wrong", block=position)
    if after is None and not stream.is_right_next(following, None):
        report.tell("tail-wrong", "the last block tells another length", block=position)
    if after is None and not plain.endswith(stream.wanted(position, index, 0, None)[1]):
        report.tell("tail-wrong", "there are bytes behind the end", block=position)
    return int(following)


class StreamChecker:
    """Checks where the streams of one container stand.

    Args:
        marks: PRESENT for each position that has a block; becomes REACHED where a stream has it.
        step: told how many blocks were dealt with.
    """

    def __init__(
        self, container: Container, marks: Marks, report: Report, step: Callable[[int, str], None]
    ) -> None:
        self._blocks = container.blocks
        self._marks = marks
        self._report, self._tell = report, report.tell
        self._step = step

    def check_record(self, record: bytes) -> Expected:
        """Tell where a record contradicts itself."""
        stream = Expected(record)
        count, length = stream.count, stream.length
        if length > count * DATA_SIZE or (count > 1 and length <= (count - 2) * DATA_SIZE):
            self._tell("record-wrong", f"{count} blocks for {length} bytes")
        elif sound_fields(record) is None:
            self._tell("record-wrong", "the record of a stream contradicts itself")
        return stream

    def check_runs(self, record: bytes, extents: Extents) -> Expected:
        """Check where a stream stands whose blocks are where `extents` says; open none."""
        stream = self.check_record(record)
        last = NO_POSITION
        for begin, count in extents:
            self._reach_run(begin, count)
            last = begin + count - 1
        if last != stream.end:
            self._tell("record-wrong", "the stream does not end at its end", block=stream.end)
        return stream

    def _reach_run(self, position: int, count: int) -> None:
        marks, end = self._marks, position + count
        self._step(count, "stream")
        if count == 1 and marks.get(position) == PRESENT:
            marks.put(position, REACHED)
            return
        while position < end:
            mark, size = marks.stretch(position, end - position)
            if mark == PRESENT:
                marks.fill(position, size, REACHED)
            elif mark:
                self._tell("block-shared", "it belongs to two", block=position, count=size)
            else:
                self._tell("block-missing", "it is missing", block=position, count=size)
            position += size

    def check_chain(self, record: bytes) -> bool:
        """Check a stream of which nothing but the chain tells where its blocks stand; open it.

        Returns: whether it could be followed to its end.
        """
        stream, told = self.check_record(record), self._report.told
        position, index, previous, ahead = stream.begin, 0, NO_POSITION, _AHEAD
        while index < stream.count:
            sound = self._run_ahead(stream, position, index, previous, ahead)
            ahead = min(MAX_RUN, 4 * ahead) if sound == ahead else _AHEAD if sound else 1
            if sound:
                index, position, previous = index + sound, position + sound, position + sound - 1
                continue
            if not self._reach(position, index):
                return False
            links = previous, None if index == stream.count - 1 else ANY
            following = examine(self._blocks, stream, (position, index), links, self._report)
            if following is None:
                return False
            index, position, previous, ahead = index + 1, following, position, max(ahead, 2)
        if previous != stream.end:
            self._tell("record-wrong", "the stream does not end at its end", block=previous)
        return self._report.told == told

    def _run_ahead(
        self, stream: Expected, position: int, index: int, previous: int, most: int
    ) -> int:
        """How many blocks (but the last) stand one behind the other from here on, all sound."""
        count = min(most, stream.count - 1 - index)
        if count < 2 or position <= 0 or not self._marks.are(position, count, PRESENT):
            return 0
        wanted = stream.run(position, count, index, previous, position + count)
        sound = self._blocks.verify_run(position, wanted)
        self._marks.fill(position, sound, REACHED)
        self._step(sound, "stream")
        return sound

    def _reach(self, position: int, index: int) -> bool:
        """Note that a stream has a block; tell what is wrong with that."""
        mark = self._marks.get(position)
        self._step(1, "stream")
        if mark == PRESENT:
            self._marks.put(position, REACHED)
            return True
        if mark:
            self._tell("block-shared", f"block number {index} belongs to two", block=position)
        else:
            self._tell("block-missing", f"block number {index} is missing", block=position)
        return False
