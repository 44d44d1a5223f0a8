"""Survey: what stands in the slots of a damaged container, whatever its roots and map say.

Owns the pass over all slots and the list of blocks that nothing sound explains.  May assume a
device and the ciphers; trusts nothing but what opens.  Memory: one byte for each slot, and about
50 for each slot that is not explained: few where root, map and registry are whole, all where one
of them is lost.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from .chart import Chart
from .crypto import BlockCipher
from .device import Device
from .layout import (
    BLOCK_HEAD,
    BLOCK_SIZE,
    MAX_RUN,
    MAX_SLOTS,
    NODE_IDENTITY,
    NODE_MAGIC,
    PLAIN_SIZE,
    SLOTS_OFFSET,
    TAG_PREFIX_SIZE,
)
from .map import entry_slot
from .root import slot_offset

_HEAD: Final = BLOCK_HEAD.size
_LINKS: Final = 12  # bytes of previous, next and index, with which a block begins
_ZEROS: Final = bytes(BLOCK_SIZE)
_LOW: Final = (1 << 32) - 1
Step = Callable[[int, int, str], object]


class Node(NamedTuple):
    """A map node that was found."""

    commit: int
    level: int
    ordinal: int
    slot: int
    tag: bytes


class Survey:
    """The blocks that nothing sound explains, in rows that are numbered from 0.

    Args:
        data, node: the ciphers.
        step: told slots done and all slots.

    Attributes:
        count: slots in the file.
        explained: a byte for each slot: 1 where what stands there is known already.
        indices, commits, previous, following, slots, positions: of each row: index in its
            stream, low 32 bits of the commit (suite 2: 0), links, slot, and the position for
            which the chart names it, or 0.
        damaged: slots that open as nothing; free ones are among them.
        is_cut: whether the end of the file is known to be missing.
        blind: positions whose block opens as nothing, as far as nothing explains them.
        later_than: where a newer root may be lost, the commit after which blocks go first.
    """

    def __init__(self, device: Device, data: BlockCipher, node: BlockCipher) -> None:
        self._device = device
        self._data, self._node = data, node
        self._room = memoryview(bytearray(PLAIN_SIZE))
        count, rest = divmod(max(0, device.size() - SLOTS_OFFSET), BLOCK_SIZE)
        self.count, self.is_cut = min(MAX_SLOTS, count), rest > 0
        self.explained = bytearray(self.count + 1)
        self.is_dated = data.digest_size == 16  # blocks of suite 2 tell no commit
        self._stream, self._own_rows = b"", array("I")  # to which the last row belongs
        self._rows: dict[bytes, array[int]] = {}
        self._heads, self._tag_bytes, self._dates = bytearray(), bytearray(), bytearray()
        self.slots, self.positions, self._tags = array("I"), array("I"), array("Q")
        self.indices, self.commits = array("I"), array("I")
        self.previous, self.following = array("i"), array("i")
        self._nodes: dict[tuple[int, int], Node] = {}  # newest of each level and ordinal
        self.damaged = self.blind = 0
        self._damage = (0, 0)  # first and last damaged slot
        self._blank = (0, 0)  # first slot and count of the last run of zeros
        self.later_than: int | None = None

    # --- the pass

    def run(self, step: Step) -> None:
        """Open every slot that is not explained.  Cost: one pass over the file."""
        for first in range(1, self.count + 1, MAX_RUN):
            count = min(MAX_RUN, self.count + 1 - first)
            step(first - 1, self.count, "survey")
            if self.explained.count(1, first, first + count) == count:
                continue
            raw = memoryview(self._device.pread(count * BLOCK_SIZE, slot_offset(first)))
            self._look_at_run(first, raw)
        if sum(self._blank) <= self.count:  # zeros at the end were never written
            self._add_blank()
        self._finish()
        step(self.count, self.count, "survey")

    def _look_at_run(self, first: int, raw: memoryview) -> None:
        """Note all blocks in a run of slots.  This is the path of every byte of the file."""
        open_into, room, tag_of = self._data.opener(), self._room, self._data.tag_offset
        digest_of, size = self._data.digester(0), self._data.digest_size
        data, head_of, explained = room[_HEAD:], BLOCK_HEAD.unpack_from, self.explained
        heads, tags, dates, slots = self._heads, self._tag_bytes, self._dates, self.slots
        for slot in range(first, first + len(raw) // BLOCK_SIZE):
            if explained[slot]:
                continue
            at = (slot - first) * BLOCK_SIZE
            tag = raw[at + tag_of : at + tag_of + TAG_PREFIX_SIZE].tobytes()
            if not open_into(raw, at, tag, room):
                self._look_at_node(slot, raw[at : at + BLOCK_SIZE])
                continue
            _, _, _, stream, digest = head_of(room)
            if digest_of(data)[:size] != digest[:size]:
                self._add_damage(slot)
                continue
            if stream != self._stream:
                self._turn_to(stream)
            self._own_rows.append(len(slots))
            slots.append(slot)
            heads += room[:_LINKS]
            tags += tag
            dates += digest[16:]

    def _turn_to(self, stream: bytes) -> None:
        """Have the next rows belong to another stream."""
        self._stream = stream
        self._own_rows = self._rows.setdefault(stream, array("I"))

    def _finish(self) -> None:
        """Make columns of the rows that were noted."""
        links = _numbers("i", self._heads)
        self.previous, self.following = links[0::3], links[1::3]
        self.indices = array("I", links[2::3].tobytes())
        self._tags = _numbers("Q", self._tag_bytes)
        count = len(self.slots)
        self.commits = (
            _numbers("I", self._dates) if self.is_dated else array("I", bytes(4 * count))
        )
        self.positions = array("I", bytes(4 * count))
        self._heads, self._tag_bytes, self._dates = bytearray(), bytearray(), bytearray()

    def _add_damage(self, slot: int, *, is_blank: bool = False) -> None:
        if not is_blank:
            self._damage_from(slot, 1)
        elif slot == sum(self._blank):
            self._blank = self._blank[0], self._blank[1] + 1
        else:
            self._add_blank()
            self._blank = slot, 1

    def _add_blank(self) -> None:
        """Count the last run of zeros as damage."""
        if self._blank[1]:
            self._damage_from(*self._blank)

    def _damage_from(self, slot: int, count: int) -> None:
        self.damaged += count
        first, last = self._damage
        self._damage = min(first or slot, slot), max(last, slot + count - 1)

    def _look_at_node(self, slot: int, sealed: memoryview) -> None:
        plain = self._node.open_block(sealed)
        if plain is None:
            self._add_damage(slot, is_blank=sealed == _ZEROS)
            return
        _, _, ordinal, identity, _ = BLOCK_HEAD.unpack_from(plain)
        magic, level, commit = NODE_IDENTITY.unpack(identity)
        if magic != NODE_MAGIC or level > 3:
            return
        node = Node(commit, level, ordinal, slot, self._node.tag(sealed))
        self._nodes[level, ordinal] = max(self._nodes.get((level, ordinal), node), node)

    # --- what the chart says of it

    def top(self) -> Node | None:
        """The topmost node of the newest map, where no root is left; None if that is lost."""
        nodes = self._nodes.values()
        top = max(nodes, key=lambda node: (node.commit, node.level), default=None)
        if top is None or top.ordinal or top.level < max(node.level for node in nodes):
            return None
        return top

    def newest_node(self) -> int:
        """The highest commit of a map node; -1 if none was found."""
        return max((node.commit for node in self._nodes.values()), default=-1)

    def name(self, chart: Chart) -> None:
        """Note which rows the chart names.  Cost: every node of the map is opened once."""
        slots, tags, count = self.slots, self._tags, self.count
        rows, explained = len(slots), self.explained
        self.blind = 0
        for position, entry in chart.named():
            slot = entry_slot(entry)
            if slot > count:
                self.is_cut = True
            elif explained[slot]:
                continue
            row = bisect_left(slots, slot)
            if row < rows and slots[row] == slot and tags[row] == int.from_bytes(entry[4:], "big"):
                self.positions[row] = position
            else:
                self.blind += 1

    def has_later(self, number: int) -> bool:
        """Whether anything was sealed for a commit after this one."""
        if self.newest_node() > number or not self.is_dated:
            return True
        return any(self.is_later(row, number) for row in range(len(self.slots)))

    def is_later(self, row: int, number: int) -> bool:
        """Whether a row was sealed for a commit after this one; never where that is not told."""
        # of a commit only the low half is told: the nearer half of the circle lies ahead
        return self.is_dated and 0 < (self.commits[row] - number) & _LOW < 1 << 31

    def may_hide(self, reserve: int) -> bool:
        """Whether a block of a used slot may be among what does not open."""
        first, last = self._damage
        return bool(self.damaged) and (self.damaged, last - first + 1) != (reserve, reserve)

    # --- asking

    @property
    def ids(self) -> Iterator[bytes]:
        """The ids of all streams that any row belongs to."""
        return iter(self._rows)

    def rows(self, stream: bytes) -> array[int]:
        """All rows of a stream, in the order of slots."""
        return self._rows.get(stream, array("I"))

    def versions(self, stream: bytes) -> dict[int, list[int]]:
        """Index -> rows of that block: first what may be later than the chart, then what it names,
        then from the newest on.
        """
        found: dict[int, list[int]] = {}
        for row in self.rows(stream):
            found.setdefault(self.indices[row], []).append(row)
        for rows in found.values():
            rows.sort(key=self.rank, reverse=True)
        return found

    def rank(self, row: int) -> tuple[bool, bool, int, int]:
        """What makes one version of a block go before another."""
        limit = self.later_than
        is_later = limit is not None and self.is_later(row, limit)
        return is_later, bool(self.positions[row]), self.commits[row], self.slots[row]

    def tag(self, row: int) -> bytes:
        """The tag prefix of a row."""
        return self._tags[row].to_bytes(TAG_PREFIX_SIZE, "big")

    # --- reading

    def read(
        self, slot: int, tag: bytes, stream: bytes, index: int | None = None
    ) -> tuple[int, bytes] | None:
        """The next position and the data of a block; None if it is not that one, or damaged."""
        plain = self._plain(slot, tag)
        if plain is None:
            return None
        _, following, found, identity, digest = BLOCK_HEAD.unpack_from(plain)
        if identity != stream or index not in (None, found):
            return None
        data = plain[_HEAD:]
        return (following, data) if self._data.digest_matches(digest, data) else None

    def head(self, slot: int, tag: bytes) -> tuple[int, bytes] | None:
        """Index and stream of what stands in a slot; None if it does not open."""
        plain = self._plain(slot, tag)
        if plain is None:
            return None
        _, _, index, stream, _ = BLOCK_HEAD.unpack_from(plain)
        return index, stream

    def _plain(self, slot: int, tag: bytes) -> bytes | None:
        if not 0 < slot <= self.count:
            return None
        return self._data.open_block(self._device.pread(BLOCK_SIZE, slot_offset(slot)), tag)

    def read_many(
        self, wanted: Sequence[tuple[int, bytes]], stream: bytes, index: int
    ) -> Iterator[memoryview | None]:
        """The data of blocks (slot, tag prefix) with indices from `index` on; None: not there.

        Each lasts until the next is asked for.  Cost: one read for each run of slots.
        """
        open_into, room = self._data.opener(), self._room
        digest_of, limit = self._data.digester(0), self._data.digest_size
        data, head_of, at = room[_HEAD:], BLOCK_HEAD.unpack_from, 0
        while at < len(wanted):
            size = self._run_size(wanted, at)
            if not size:
                at += 1
                yield None
                continue
            raw = self._device.pread(size * BLOCK_SIZE, slot_offset(wanted[at][0]))
            view = memoryview(raw)
            for i in range(size):
                if not open_into(view, i * BLOCK_SIZE, wanted[at + i][1], room):
                    yield None
                    continue
                _, _, found, identity, digest = head_of(room)
                is_it = found == index + at + i and identity == stream
                yield data if is_it and digest_of(data)[:limit] == digest[:limit] else None
            at += size

    def _run_size(self, wanted: Sequence[tuple[int, bytes]], at: int) -> int:
        """How many slots from one on stand in a row; 0 for one that is not in the file."""
        slot, size = wanted[at][0], 1
        if not 0 < slot <= self.count:
            return 0
        limit = min(MAX_RUN, len(wanted) - at)
        while size < limit and wanted[at + size][0] == slot + size:
            size += 1
        return size


def _numbers(kind: Literal["i", "I", "Q"], data: bytearray) -> array[int]:
    """Numbers as they stand in the file."""
    numbers = array(kind)
    numbers.frombytes(data)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
