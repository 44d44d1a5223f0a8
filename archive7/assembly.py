"""Assembly: which blocks make up a stream, and where it ends.

Owns the choice between versions of a block, and lengths that are told by the blocks alone.  May
assume a chart and a survey.  Promises: a block is proved only where the chart names it; a stream
that is proved ends where it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from .chart import Chart
from .errors import Archive7Error
from .layout import DATA_SIZE, NO_POSITION, STREAM
from .map import Entry, entry_slot
from .streams.chain import tail_used
from .streams.extents import Extents
from .streams.record import sound_fields
from .streams.registry import split
from .survey import Survey

_CHUNK: Final = 256  # blocks whose places are looked up at once
_MAX_VERSIONS: Final = 8  # of one file, where blocks do not tell which is newer
_NO_TAG: Final = b""


class Choice(NamedTuple):
    """Where a block stands, by slot (0: nowhere) and tag prefix."""

    slot: int
    tag: bytes
    is_proved: bool


_NOWHERE: Final = Choice(0, _NO_TAG, False)


@dataclass(frozen=True)
class Strand:
    """The blocks of one stream, in order.

    Attributes:
        length: in bytes.
        is_proved: whether this is where it ends; blocks tell for themselves.
        is_cut: whether blocks are missing behind the last one.
        is_marked: whether the last block says that it is the last.
        chunks: gives the first index and choices for the blocks in a row, some at a time; what
            is left out is missing.
    """

    stream: bytes
    count: int
    length: int
    is_proved: bool
    chunks: Callable[[], Iterator[tuple[int, list[Choice]]]]
    is_cut: bool = False
    is_marked: bool = True


@dataclass(frozen=True)
class Recorded:
    """What a value in the registry says of a stream."""

    count: int
    length: int
    extents: Extents


def recorded(identity: bytes, value: bytes, limit: int) -> Recorded | None:
    """The record and extents in a registry value; None where they make no sense.

    Args: limit: slots in the file: no stream has more blocks.
    """
    try:
        record, extents, _ = split(value)
        fields = sound_fields(record)
        if fields is None or fields[0] != identity or fields[3] > limit:
            return None
        return Recorded(fields[3], fields[4], Extents.decode(extents, fields[1], fields[3]))
    except Archive7Error:
        return None


class Assembly:
    """Puts streams together.

    Attributes:
        is_trusted: whether what the chart names is proved.
        limit: most blocks that records may claim, all together: a few times what the file has,
            as it may have been cut.
    """

    def __init__(self, survey: Survey, chart: Chart) -> None:
        self._survey = survey
        self._chart = chart
        self.is_trusted = True
        self._last: tuple[bytes, dict[int, list[int]]] = (b"", {})
        self.limit = self._left = 16 * survey.count + 65536

    @property
    def is_all_told(self) -> bool:
        """Whether a block that the chart does not name is none that counts."""
        chart = self._chart
        is_last = self.is_trusted and self._survey.later_than is None
        return is_last and chart.is_there and not chart.lost

    def _versions(self, stream: bytes) -> dict[int, list[int]]:
        """The versions of all blocks of a stream; kept until another stream is asked for."""
        if self._last[0] != stream or not self._last[1]:
            self._last = stream, self._survey.versions(stream)
        return self._last[1]

    # --- with a record

    def by_record(self, stream: bytes, record: Recorded, *, is_proved: bool) -> Strand | None:
        """The blocks at the positions that a record tells; None for more than can be."""
        self._left -= record.count
        if self._left < 0:
            return None

        trusted = is_proved and self.is_trusted
        is_plain = trusted and self._survey.later_than is None

        def chunks() -> Iterator[tuple[int, list[Choice]]]:
            index = 0
            for begin, size in record.extents:
                for first in range(begin, begin + size, _CHUNK):
                    count = min(_CHUNK, begin + size - first)
                    run = self._chart.run(first, count) if is_plain else None
                    if run is not None:
                        yield (
                            index,
                            [Choice(slot, tag, True) for slot, tag in zip(*run, strict=True)],
                        )
                    else:
                        entries = self._chart.entries(first, count)
                        yield index, self._choices(stream, record, index, entries, trusted)
                    index += count

        return Strand(stream, record.count, record.length, trusted, chunks)

    def _choices(
        self,
        stream: bytes,
        record: Recorded,
        index: int,
        entries: list[Entry | None],
        trusted: bool,
    ) -> list[Choice]:
        """Where the blocks stand; what a record that is not proved says must not hide versions."""
        survey, limit = self._survey, self._survey.later_than
        has_rows = not trusted or limit is not None or None in entries
        versions = self._versions(stream) if has_rows else {}
        found = []
        for i, entry in enumerate(entries, index):
            rows = versions.get(i, [])
            if limit is not None and rows and survey.is_later(rows[0], limit):
                found.append(self._choice(rows[0]))
            elif entry is not None and (trusted or not rows):
                found.append(Choice(entry_slot(entry), entry[4:], trusted))
            elif rows:
                found.append(self._choice(max(rows, key=lambda row: self._fit(row, record))))
            else:
                found.append(_NOWHERE)
        return found

    def _choice(self, row: int) -> Choice:
        survey = self._survey
        is_proved = bool(survey.positions[row]) and self.is_trusted
        limit = survey.later_than
        if limit is not None and survey.is_later(row, limit):
            is_proved = False
        return Choice(survey.slots[row], survey.tag(row), is_proved)

    def _fit(self, row: int, record: Recorded) -> tuple[object, ...]:
        """How well a version of a block fits: what is newest, then what links as recorded."""
        *newest, slot = self._survey.rank(row)
        return (*newest, self._links(row, record), slot)

    def _links(self, row: int, record: Recorded) -> int:
        """How many of the two links of a block, and its length, are as a record has them."""
        survey, locate = self._survey, record.extents.position
        index, previous, following = (
            survey.indices[row], survey.previous[row], survey.following[row],
        )  # fmt: skip
        if index >= record.count:
            return 0
        fits = previous == (locate(index - 1) if index else NO_POSITION)
        if index + 1 < record.count:
            return fits + (following == locate(index + 1))
        return fits + (tail_used(following) == record.length - index * DATA_SIZE)

    # --- without a record

    def by_blocks(self, stream: bytes) -> Strand | None:
        """The blocks that say that they belong to a stream; None where there is none."""
        survey = self._survey
        versions = self._versions(stream)
        chosen = {index: rows[0] for index, rows in versions.items() if index < survey.count}
        if self.is_all_told:  # what the chart does not name is no more
            chosen = {index: row for index, row in chosen.items() if survey.positions[row]}
        if not chosen:
            return None
        count, is_end, is_cut = self._end(stream, chosen)
        return self._strand(stream, chosen, count, is_end=is_end, is_cut=is_cut)

    def _strand(
        self, stream: bytes, chosen: dict[int, int], count: int, *, is_end: bool, is_cut: bool
    ) -> Strand:
        tail = chosen.get(count - 1)
        used = DATA_SIZE if tail is None else tail_used(self._survey.following[tail])
        length = (count - 1) * DATA_SIZE + min(max(used, 0), DATA_SIZE)
        order = [index for index in sorted(chosen) if index < count]
        is_whole = is_end and len(order) == count

        def chunks() -> Iterator[tuple[int, list[Choice]]]:
            for at, size in _rows_of(order):
                yield order[at], [self._choice(chosen[i]) for i in order[at : at + size]]

        is_marked = tail is not None and self._survey.following[tail] <= NO_POSITION
        return Strand(stream, count, length, is_whole, chunks, is_cut, is_marked or is_end)

    def _end(self, stream: bytes, chosen: dict[int, int]) -> tuple[int, bool, bool]:
        """Count of blocks; whether that is proved; whether the last ones are known to be lost."""
        survey = self._survey
        named = [index for index, row in chosen.items() if self._choice(row).is_proved]
        last = max(named, default=-1)
        if last >= 0:
            following = survey.following[chosen[last]]
            if following <= NO_POSITION:
                return last + 1, True, False
            entry = self._chart.entry(following)
            if entry is not None:
                if not entry_slot(entry) or self._is_foreign(entry, stream, last + 1):
                    return last + 1, True, False
                return last + 1, False, True
        return self._likely_end({i: row for i, row in chosen.items() if i >= last}), False, False

    def _is_foreign(self, entry: Entry, stream: bytes, index: int) -> bool:
        """Whether what stands at an entry opens, and is not that block of the stream."""
        heads = self._survey.head(entry_slot(entry), entry[4:])
        return heads is not None and heads != (index, stream)

    def _likely_end(self, chosen: dict[int, int]) -> int:
        """Where a stream ends by what its blocks say, older ones behind the end left out.

        The last block says so, unless it is full and a position was set aside behind it.  What
        stood behind it once is older.
        """
        survey, order = self._survey, sorted(chosen)
        newest, above = -1, {}
        for index in reversed(order):
            above[index] = newest
            newest = max(newest, survey.commits[chosen[index]])
        for index in order:
            row = chosen[index]
            is_newer = survey.commits[row] >= above[index]
            if is_newer and (survey.following[row] <= NO_POSITION or self._parts(chosen, index)):
                return index + 1
        return order[-1] + 1

    def _parts(self, chosen: dict[int, int], index: int) -> bool:
        """Whether the next block does not name this one as the one before it."""
        survey, before, after = self._survey, chosen.get(index - 1), chosen.get(index + 1)
        if before is None or after is None or survey.following[before] <= 0:
            return False
        return survey.previous[after] != survey.following[before]

    # --- where nothing tells which version is newer

    def alternatives(self, stream: bytes, record: Recorded | None) -> list[Strand]:
        """Versions of a stream whose blocks carry no commit, as their links suggest; up to 8."""
        survey = self._survey
        versions = {i: rows for i, rows in self._versions(stream).items() if i < survey.count}
        if survey.is_dated or not versions:
            return []
        pivot = max(sorted(versions), key=lambda index: len(versions[index]))
        found: dict[tuple[int, ...], Strand] = {}
        for start in versions[pivot][:_MAX_VERSIONS]:
            chosen = self._thread(versions, pivot, start)
            count = max(chosen) + 1
            key = tuple(chosen[index] for index in sorted(chosen))
            found[key] = self._strand(stream, chosen, count, is_end=False, is_cut=False)
        strands = list(found.values())
        if record is not None:
            strands.sort(key=lambda strand: strand.length != record.length)
        return strands

    def _thread(self, versions: dict[int, list[int]], pivot: int, start: int) -> dict[int, int]:
        """One version of a stream, from one block of it up and down."""
        survey, chosen = self._survey, {pivot: start}
        for index in range(pivot - 1, -1, -1):
            if index in versions:
                chosen[index] = self._next_of(chosen, versions[index], index, 1)
        index, row = pivot, start
        while survey.following[row] > NO_POSITION and index + 1 in versions:
            index += 1
            row = chosen[index] = self._next_of(chosen, versions[index], index, -1)
        return chosen

    def _next_of(self, chosen: dict[int, int], rows: list[int], index: int, step: int) -> int:
        """The version whose links and slot fit best to its neighbours."""
        survey = self._survey
        near, far = chosen.get(index + step), chosen.get(index + 2 * step)

        def fit(row: int) -> tuple[int, bool, int]:
            links = 0
            if far is not None:
                here, there = (survey.previous, survey.following)[:: 1 if step < 0 else -1]
                links = here[row] == there[far]
            ends = survey.following[row] <= NO_POSITION
            slot = survey.slots[row] if near is None else survey.slots[near] - step
            return links, not (ends and step > 0), -abs(slot - survey.slots[row])

        return max(rows, key=fit)

    # --- small streams

    def read(self, strand: Strand) -> bytes | None:
        """All bytes of a small stream, if none is missing."""
        parts, index = [], 0
        for first, choices in strand.chunks():
            wanted = [(slot, tag) for slot, tag, _ in choices]
            for data in self._survey.read_many(wanted, strand.stream, first):
                if data is None or first != index:
                    return None
                parts.append(bytes(data))
            index += len(choices)
        if index < strand.count:
            return None
        return b"".join(parts)[: strand.length]

    def value(self, record: bytes) -> bytes | None:
        """A large value of a tree: a stream without extents, that its links lead through."""
        fields = sound_fields(record)
        if fields is None or fields[3] > self._survey.count:
            return None
        stream, position, _, count, length, _ = fields
        parts: list[bytes] = []
        for index in range(count):
            plain = self.at(position, stream, index)
            if plain is None:
                strand = self.by_blocks(stream)
                return self.read(strand) if strand is not None else None
            position, data = plain
            parts.append(data)
        return b"".join(parts)[:length]

    def at(
        self, position: int, stream: bytes, index: int | None = None
    ) -> tuple[int, bytes] | None:
        """The next position and the data of the block that the chart has at a position."""
        entry = self._chart.entry(position)
        if entry is None:
            return None
        return self._survey.read(entry_slot(entry), entry[4:], stream, index)


def _rows_of(order: list[int]) -> Iterator[tuple[int, int]]:
    """Where numbers in a row begin in a sorted list, and how many they are; up to 256."""
    at = 0
    while at < len(order):
        size = 1
        while size < _CHUNK and at + size < len(order) and order[at + size] == order[at] + size:
            size += 1
        yield at, size
        at += size


def special_record(record: bytes) -> tuple[int, int]:
    """Begin and count of a special stream."""
    _, begin, _, count, _, _ = STREAM.unpack(record)
    return begin, count
