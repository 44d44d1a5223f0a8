"""Data checked: every block of every registered stream is opened once, in steps.

Owns how far that came, and going on there later.  May assume that the structures were checked.
Promises: each block is opened at most once, however many streams claim it; between two steps the
archive may change: what changes behind the point where the check stands is for the next check.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from .crypto import Wanted
from .errors import CorruptError, SnapshotExpiredError
from .finding import Report
from .layout import NO_POSITION, StructError
from .marks import OPENED, Marks
from .paths import FilesystemStreamManager
from .streamcheck import Expected, examine
from .streams.extents import Extents
from .streams.registry import split
from .structurecheck import Step
from .treecheck import items_of, leaf_behind

_PART: Final = 64  # blocks read at once: 256 KiB, which stay in a near cache
_SOUND: Final = 8  # sound blocks behind damage until a whole run is tried again


class Piece(NamedTuple):
    """Blocks of a stream at consecutive positions, and what stands around them."""

    stream: Expected
    position: int
    size: int
    number: int  # index of the first in the stream
    previous: int
    after: int | None  # None: the last block of the stream is among these


class DataChecker:
    """One run over the data of one archive.

    Args:
        marks: as the structures left them; what was opened becomes OPENED.
        leaves: how many the registry has: more than twice as many are not looked at.

    Attributes:
        key, index: the stream and the block in it to go on with.
        is_changed: the archive is not the one that the marks are of.
    """

    def __init__(
        self,
        manager: FilesystemStreamManager,
        marks: Marks,
        report: Report,
        step: Step,
        leaves: int,
    ) -> None:
        self._manager, self._marks, self._report, self._step = manager, marks, report, step
        self._blocks = manager.container.blocks
        self._root = manager.container.root.hash
        self._leaves = 2 * leaves + 16
        self.key, self.index = b"", 0
        self.is_changed = False
        self._first = 0  # position of the first block of the batch
        self._wanted: list[Wanted] = []  # of the batch
        self._pieces: list[Piece] = []
        self._starts: list[int] = []  # of the pieces, in the batch

    def step(self, most: int, end: float | None) -> bool:
        """Open about `most` blocks, or until the time `end`; True if it was the last step."""
        root = self._manager.container.root.hash
        if root != self._root:
            self._root, self.is_changed = root, True
        self._blocks = self._manager.container.blocks
        left = most
        for piece in self._walk():
            self._add(piece)
            left -= piece.size
            if left <= 0 or (end is not None and time.monotonic() > end):
                self._flush()
                self.key, self.index = piece.stream.id, piece.number + piece.size
                return False
        self._flush()
        self._report.stream = None
        return True

    # --- which blocks

    def _walk(self) -> Iterator[Piece]:
        """Blocks from `key` and `index` on, in the order of the registry."""
        tree, low, start, index = self._manager.registry.tree, self.key, self.key, self.index
        while True:
            leaf, upper = leaf_behind(tree, low)
            self._leaves -= 1
            if not self._leaves:
                message = "the registry runs in circles: not all data was checked"
                self._report.stream = None
                self._report.tell("tree-damaged", message, layer="registry")
                return
            if leaf is not None:
                for key, at in items_of(leaf, low, upper):
                    try:
                        value = tree.value(leaf, at) if leaf.far else leaf.values[at]
                        yield from self._pieces_of(key, value, index if key == start else 0)
                    except SnapshotExpiredError:
                        raise
                    except (CorruptError, StructError):  # told with the structures
                        continue
            if upper is None:
                return
            low = upper

    def _pieces_of(self, key: bytes, value: bytes, skip: int) -> Iterator[Piece]:
        record, encoded, _ = split(value)
        stream = Expected(record)
        if not 0 < stream.count <= self._manager.container.root.used or stream.id != key:
            return
        if not encoded and stream.count == 1:  # a small file, on the short way
            runs = [(stream.begin, 1)]
        else:
            runs = list(Extents.decode(encoded, stream.begin, stream.count))
        index, previous, last = 0, NO_POSITION, len(runs) - 1
        for number, (begin, count) in enumerate(runs):
            following = runs[number + 1][0] if number < last else None
            at = min(count, max(0, skip - index))
            while at < count:
                position = begin + at
                size = self._claim(position, min(_PART, count - at))
                if size > 0:
                    after = position + size if at + size < count else following
                    before = position - 1 if at else previous
                    yield Piece(stream, position, size, index + at, before, after)
                at += abs(size)
            index, previous = index + count, begin + count - 1

    def _claim(self, position: int, count: int) -> int:
        """How many blocks from here on are to be opened; negative: to be left out."""
        marks = self._marks
        if count == 1:
            mark, size = marks.get(position), 1
        else:
            mark, size = marks.stretch(position, count)
        if mark == OPENED or not (mark or self.is_changed) or position <= 0:
            return -size  # another stream had it, or there is none
        if size == 1:
            marks.put(position, OPENED)
        else:
            marks.fill(position, size, OPENED)
        return size

    # --- opening them

    def _add(self, piece: Piece) -> None:
        wanted = self._wanted
        if piece.position != self._first + len(wanted) or len(wanted) + piece.size > _PART:
            self._flush()
        if not wanted:
            self._first = piece.position
        self._starts.append(len(wanted))
        self._pieces.append(piece)
        stream, position, count, index, previous, after = piece
        wanted += stream.run(position, count, index, previous, after)

    def _flush(self) -> None:
        """Open what was collected."""
        wanted, first, done = self._wanted, self._first, 0
        count = len(wanted)
        while done < count:
            done += self._blocks.verify_run(first + done, wanted[done:] if done else wanted)
            sound = 0
            while done < count and sound < _SOUND:
                sound = sound + 1 if self._examine(done) else 0
                done += 1
        self._step(count, "block")
        wanted.clear()
        self._pieces.clear()
        self._starts.clear()

    def _examine(self, at: int) -> bool:
        """Look at block number `at` of the batch alone; whether nothing is wrong with it."""
        number = bisect_right(self._starts, at) - 1
        piece, offset = self._pieces[number], at - self._starts[number]
        position = piece.position + offset
        previous = position - 1 if offset else piece.previous
        after = position + 1 if offset < piece.size - 1 else piece.after
        report = self._report
        report.stream, told = piece.stream.id, report.told
        place, links = (position, piece.number + offset), (previous, after)
        examine(self._blocks, piece.stream, place, links, report)
        return report.told == told
