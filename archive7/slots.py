"""Slots: which places of the file may be written.

Owns the reuse rule (docs/design.rst): a slot may be written only if neither the last durable root
nor any later one refers to it, and no savepoint does.  Free slots are not stored on disk; they are
known from this session's releases and from a pass over the map of the last durable root.
Costs one byte of memory per slot of the file (0.025 %).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from .errors import BlockCorruptError, FullError
from .layout import MAX_RUN, MAX_SLOTS

_USED: Final = 0  # or not known to be free
_FREE: Final = 1
_FRESH: Final = 2  # handed out by the transaction under way
_ONES: Final = bytes([_FREE]) * MAX_RUN
_ONE_FRESH: Final = bytes([_FRESH])
# runs of at least so many free slots: the long ones are tried first
_PIECES: Final = {16: re.compile(b"\x01{16,}"), 1: re.compile(b"\x01+")}
_LITTLE: Final = 256  # slots (1 MiB): less than this much free is not looked for
_PART: Final = 64  # of the slots is as little

Extent = tuple[int, int]  # first slot, count
SlotMark = tuple[int, int, int, int]  # what `SlotTable.mark` tells


class SlotTable:
    """What may be written, and what was handed out and released.

    Args:
        count: slots in the file.
    """

    def __init__(self, count: int) -> None:
        self._table = bytearray(count + 1)
        self.free_count = 0
        self._cursor = 1
        self._longest = MAX_RUN  # there is no longer free run than that
        self.fresh: list[Extent] = []
        self._released: list[int] = []
        self._pending: list[tuple[int, array[int]]] = []
        self._handed: list[Extent] = []  # by commits since the last durable one
        self.savepoints = 0
        self.look_around: Callable[[], None] | None = None  # asked once before appending
        self.appends = False  # no free slot is used
        self.is_tight = False  # the disc is full: use the last free slot before appending
        self.fresh_count = 0  # handed out by the transaction under way
        self.handed_count = 0  # and by commits since the last durable one
        self._end = len(self._table)  # behind the last slot of the last commit

    @property
    def count(self) -> int:
        """Slots in the file, in use or not."""
        return len(self._table) - 1

    @property
    def pending_count(self) -> int:
        """Slots released by commits that are not reusable yet."""
        return sum(len(slots) for _, slots in self._pending)

    @property
    def is_touched(self) -> bool:
        """Whether the transaction under way has handed out or released anything."""
        return bool(self.fresh or self._released)

    def is_much(self, free: int) -> bool:
        """Whether `free` slots are worth looking for instead of appending."""
        return free > max(_LITTLE, self.count // _PART)

    # --- handing out

    def take(self, count: int) -> list[Extent]:
        """Hand out `count` slots (1 to 256): one free run, else pieces, else new ones at the end.

        Pieces are taken only where much is free, the long ones first, in the order in which they
        stand: what is written together then stands close together.
        """
        if self.appends:
            return self.append(count)
        extents = self._find_run(count)
        if not extents and self.look_around is not None:
            look_around, self.look_around = self.look_around, None
            look_around()
            extents = self._find_run(count)
        left = count - sum(size for _, size in extents)
        if left and (self.is_tight or self.is_much(self.free_count)):
            for least in _PIECES:
                if left and least <= self._longest:
                    pieces = self._find_pieces(left, least)
                    extents += pieces
                    left -= sum(size for _, size in pieces)
        if left:
            extents.append(self._append(left))
        self.fresh += extents
        self.fresh_count += count
        return extents

    def append(self, count: int) -> list[Extent]:
        """Hand out `count` new slots at the end of the file."""
        extents = [self._append(count)] if count else []
        self.fresh += extents
        self.fresh_count += count
        return extents

    def take_between(self, begin: int, end: int, count: int) -> list[Extent]:
        """Hand out the first free slots of those from `begin` to `end`, up to `count`."""
        extents: list[Extent] = []
        for run in _PIECES[1].finditer(self._table, begin, min(end, len(self._table))):
            if not count:
                break
            extents.append(self._hand_out(run.start(), min(run.end() - run.start(), count)))
            count -= extents[-1][1]
        self.fresh += extents
        self.fresh_count += sum(size for _, size in extents)
        return extents

    def has_run(self, size: int, end: int) -> bool:
        """Whether `size` slots (up to 256) in a row are free before slot `end`."""
        return self._table.find(_ONES[:size], 1, end) > 0

    def free_between(self, begin: int, end: int) -> int:
        """How many slots from `begin` to `end` are free."""
        return self._table.count(_FREE, begin, end)

    def _find_run(self, size: int) -> list[Extent]:
        """Hand out one run of `size` slots, or nothing."""
        if size > self._longest or self.free_count < size:
            return []
        needle = _ONES[:size]
        at = self._table.find(needle, self._cursor)
        if at < 0:
            at = self._table.find(needle, 1)
        if at < 0:
            self._longest = size - 1
            return []
        return [self._hand_out(at, size)]

    def _find_pieces(self, wanted: int, least: int) -> list[Extent]:
        """Hand out up to `wanted` slots in runs of `least` or more, from the cursor on."""
        pieces = []
        for begin, end in ((self._cursor, len(self._table)), (1, self._cursor)):
            for run in _PIECES[least].finditer(self._table, begin, end):
                first, size = run.start(), min(run.end() - run.start(), wanted)
                pieces.append(self._hand_out(first, size))
                wanted -= size
                if not wanted:
                    return pieces
        self._longest = min(self._longest, least - 1)
        return pieces

    def _hand_out(self, first: int, size: int) -> Extent:
        self._table[first : first + size] = _ONE_FRESH * size
        self.free_count -= size
        self._cursor = first + size
        return first, size

    def _append(self, count: int) -> Extent:
        first = len(self._table)
        if first + count > MAX_SLOTS:
            raise FullError(28, "an archive holds 16 TiB at most")
        self._table += bytes([_FRESH]) * count
        return first, count

    def give_back(self, extents: Iterable[Extent]) -> None:
        """Take back slots that were handed out last and never referred to."""
        for first, count in extents:
            self.fresh.remove((first, count))
            self.fresh_count -= count
            self._free(range(first, first + count), _FRESH)

    def take_run(self, count: int) -> Extent | None:
        """Hand out one run of `count` slots; None where only pieces are free."""
        extents = self.take(count)
        if len(extents) == 1:
            return extents[0]
        self.withdraw(extents)
        return None

    def free_runs(self) -> list[Extent]:
        """All free slots, in runs of up to 256."""
        runs = (run.span() for run in _PIECES[1].finditer(self._table))
        return [
            (first, min(MAX_RUN, end - first))
            for begin, end in runs
            for first in range(begin, end, MAX_RUN)
        ]

    def withdraw(self, extents: list[Extent]) -> None:
        """Like `give_back` for slots at the end of the file that could not be written."""
        self.give_back(extents)
        self.cut_tail(0)

    # --- releasing

    def release(self, slot: int) -> None:
        """The working state no longer refers to `slot`."""
        try:
            state = self._table[slot]
        except IndexError:
            message = f"the map names slot {slot} behind the end: run check"
            raise BlockCorruptError(message) from None
        if state == _FRESH and not self.savepoints:
            self._table[slot] = _FREE
            self.free_count += 1
            self._longest = max(self._longest, 1)
        else:
            self._released.append(slot)

    def release_all(self, slots: Sequence[int]) -> None:
        """Like `release`, for many slots."""
        if self.fresh_count:
            for slot in slots:
                self.release(slot)
        else:  # none of them is fresh
            self._released.extend(slots)

    def _free(self, slots: Iterable[int], state: int) -> None:
        """Make those of `slots` free that are in `state`; some may have gone with the tail."""
        table, end, count = self._table, len(self._table), 0
        for slot in slots:
            if slot < end and table[slot] == state:
                table[slot] = _FREE
                count += 1
        self.free_count += count
        if count:
            self._longest = MAX_RUN

    # --- transactions

    def mark(self) -> SlotMark:
        """Where the transaction stands, for `undo`."""
        return len(self.fresh), len(self._released), self.fresh_count, len(self._table)

    def undo(self, mark: SlotMark | None = None) -> None:
        """Free what was handed out since `mark`, forget what was released since.

        Slots that were new at the end of the file go: they may never have been written.
        """
        fresh, released, self.fresh_count, end = mark or (0, 0, 0, self._end)
        for first, count in self.fresh[fresh:]:
            self._free(range(first, first + count), _FRESH)
        del self.fresh[fresh:], self._released[released:]
        self.free_count -= self._table.count(_FREE, end)
        del self._table[end:]
        self._cursor = min(self._cursor, len(self._table))

    def commit(self, number: int) -> None:
        """Commit `number` refers to what was handed out and no longer to what was released."""
        table = self._table
        for first, count in self.fresh:
            if count == 1:
                if first < len(table) and table[first] == _FRESH:  # else freed, cut with the tail
                    table[first] = _USED
                continue
            end = first + count
            table[first:end] = table[first:end].replace(bytes([_FRESH]), bytes([_USED]))
        if self._released:
            self._pending.append((number, array("I", self._released)))
        self._handed += self.fresh
        self.handed_count += self.fresh_count
        self.fresh, self._released, self.fresh_count = [], [], 0
        self._end = len(table)

    def durable(self) -> None:
        """Every commit so far is durable: nothing is handed out since."""
        self._handed, self.handed_count = [], 0

    def reuse(self, number: int) -> None:
        """Free what the commits up to `number`, all durable, have released."""
        for commit, slots in self._pending:
            if commit <= number:
                self._free(slots, _USED)
        self._pending = [item for item in self._pending if item[0] > number]

    def learn(self, used: bytearray) -> None:
        """Take the result of a pass: `used` is 0 where the last durable root refers to nothing.

        Slots behind the end of `used` stay as they are.
        """
        for _, slots in self._pending:
            for slot in slots:
                if slot < len(used):
                    used[slot] = 1
        for extents in (self._handed, self.fresh):
            for first, count in extents:
                if first < len(used):
                    used[first : first + count] = bytes([1]) * count
        end = min(len(used), len(self._table))
        used[0] = 1
        # what this transaction was handed is known better: still fresh, or released and free
        known = [(first, self._table[first : min(first + n, end)]) for first, n in self.fresh]
        self._table[1:end] = bytes(used[1:end]).translate(_FROM_USED)
        for first, states in known:
            self._table[first : first + len(states)] = states
        self.free_count = self._table.count(_FREE)
        self._longest = MAX_RUN

    def open_reserve(self, first: int, count: int) -> None:
        """Free the slots that were kept back."""
        self._free(range(first, first + count), _USED)

    def close_reserve(self, first: int, count: int) -> None:
        """Keep slots back again that `open_reserve` freed and a rollback gave back."""
        self._table += bytes(max(0, first + count - len(self._table)))  # the end may be cut
        self._end = max(self._end, first + count)
        for slot in range(first, first + count):
            if self._table[slot] == _FREE:
                self._table[slot] = _USED
                self.free_count -= 1

    # --- the end of the file

    def rewind(self) -> None:
        """Hand out from the start of the file on, so that its end gets free."""
        self._cursor = 1

    def tail(self) -> int:
        """How many slots at the end are free."""
        table, end = self._table, len(self._table)
        while end > 1 and table[end - 1] == _FREE:
            end -= 1
        return len(table) - end

    def cut_tail(self, at_least: int) -> int:
        """Forget a free tail of `at_least` slots or more; return how many slots went."""
        size = self.tail()
        if size and size >= at_least:
            del self._table[len(self._table) - size :]
            self._end = min(self._end, len(self._table))
            self.free_count -= size
            self._cursor = min(self._cursor, len(self._table))
            return size
        return 0


_FROM_USED: Final = bytes([_FREE]) + bytes([_USED]) * 255
