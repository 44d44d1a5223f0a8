"""Exploration: what is there of a damaged container, and how far it is proved.

Owns the order in which root, map, trees and slots are looked at, how far the chart is trusted,
which files there are, and which blocks make up each.  May assume chart, survey, assembly and
remains.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .assembly import Assembly, Recorded, Strand, recorded
from .chart import Chart
from .device import Buffer, Device
from .entry import FILE, ROOT_ID, Entry
from .layout import RESERVE_COUNT
from .reader import BlockReader
from .remains import PATHS, REGISTRY, SPECIAL, Remains
from .root import Ring
from .snapshot import ciphers_of
from .superblock import Superblock
from .survey import Step, Survey

_NO_ROOT: Final = (
    "no root can be read: what was changed since the map was last written, which every close "
    "does, is unproved"
)
_NO_MAP: Final = (
    "the map of blocks is lost: files are put together by what their blocks say, and unproved"
)
_NO_REGISTRY: Final = (
    "a part of the registry is lost: modes, times and attributes of some files may be missing or "
    "older than they were"
)
_NO_PATHS: Final = (
    "a part of the paths tree is lost: further names of files with hard links may be missing"
)


class Exploration:
    """What a rescue can know of a container.

    Attributes:
        survey, remains: what was found.
        is_surveyed: whether the slots had to be looked at.
        notes: what is wrong with the container.
    """

    def __init__(self, device: Device, superblock: Superblock, master: Buffer) -> None:
        data, node, root = ciphers_of(superblock, master)
        self.survey = Survey(device, data, node)
        reader = BlockReader(device, data, node)
        self._chart = Chart(reader, Ring(device, root), is_dated=self.survey.is_dated)
        self._assembly = Assembly(self.survey, self._chart)
        self.remains = Remains(self.survey, self._chart, self._assembly)
        self.notes: list[str] = []
        self.is_surveyed = False

    # --- looking

    def explore(self, step: Step) -> None:
        """Find out what is there; survey the slots unless all is explained.

        Args: step: told slots done and all slots.
        """
        survey, chart, remains = self.survey, self._chart, self.remains
        self.notes += chart.notes
        if chart.root is not None:
            is_whole = chart.is_whole()
            remains.walk()
            if is_whole and chart.is_sure:
                if remains.is_registry_whole and remains.is_paths_whole:
                    return
            remains.explain()
        else:
            self.notes.append(_NO_ROOT)
        self.is_surveyed = True
        survey.run(step)
        top = survey.top() if chart.root is None else None
        if top is not None:
            entry = top.slot.to_bytes(4, "big") + top.tag
            chart.take_top(top.level + 1, entry, top.commit)
        survey.name(chart)
        self._judge()
        remains.gather()
        self._describe()

    def _judge(self) -> None:
        """Decide how far the chart is to be trusted."""
        survey, chart = self.survey, self._chart
        if chart.is_sure or not chart.is_there:
            return
        is_cut = survey.is_cut or (chart.root is not None and chart.root.slots > survey.count)
        if is_cut or chart.is_outdated or survey.has_later(chart.number):
            survey.later_than = chart.number
            may_hide = is_cut or not survey.is_dated or survey.may_hide(RESERVE_COUNT)
            self._assembly.is_trusted = not may_hide
            if not self._assembly.is_trusted:
                self.notes.append("newer changes may be lost: all files are unproved")

    def _describe(self) -> None:
        """Say what is missing of the container itself."""
        remains, chart = self.remains, self._chart
        if not chart.is_there:
            self.notes.append(_NO_MAP)
        elif chart.lost:
            self.notes.append(f"{chart.lost} nodes of the map are lost: what is there is unproved")
        if not remains.is_registry_whole:
            self.notes.append(_NO_REGISTRY)
        if not remains.is_paths_whole:
            self.notes.append(_NO_PATHS)

    # --- what there is

    def files(self) -> list[bytes]:
        """All files, proved ones first, so that they get the names."""
        remains = self.remains
        found = [i for i in remains.values if i not in remains.touched]
        newest = sorted(remains.older, key=lambda i: remains.older[i].moment, reverse=True)
        others = [*remains.touched, *newest]
        if not remains.is_registry_whole:
            named = [*remains.names, *remains.buried]
            if self._is_gone_unless_named():
                others = [i for i in others if i in remains.names or i in remains.buried]
                found += named
            else:
                found += named
                others += remains.older_names
        elif self._assembly.is_trusted:
            others = [i for i in others if i in remains.values]
        files = [i for i in dict.fromkeys([*found, *others]) if self.kind(i) == FILE]
        return files + list(self._strangers(set(files)))

    def _is_gone_unless_named(self) -> bool:
        """Whether the paths tree tells all that is there."""
        return self.remains.is_paths_whole and self._assembly.is_trusted

    def _strangers(self, known: set[bytes]) -> Iterator[bytes]:
        """Streams that nothing tells of any more, though they may belong to a file."""
        remains, survey = self.remains, self.survey
        if remains.is_registry_whole or self._is_gone_unless_named():
            return
        is_told = self._assembly.is_trusted and self._chart.is_there and not self._chart.lost
        for identity in survey.ids:
            if identity in known or identity in SPECIAL or identity in remains.far:
                continue
            if remains.entry(identity) is not None or identity in remains.types:
                continue  # a directory or link
            if not is_told or any(survey.positions[row] for row in survey.rows(identity)):
                yield identity

    def kind(self, identity: bytes) -> bytes:
        """The type of something, as far as it is known; else it is a file."""
        entry = self.remains.entry(identity)
        if entry is not None:
            return entry.type
        if identity in self.remains.types:
            return self.remains.types[identity]
        buried = self.remains.buried.get(identity)
        return FILE if buried is None else buried.type

    def others(self, kind: bytes) -> Iterator[tuple[bytes, Entry | None]]:
        """Directories or links that are there, as far as is known."""
        remains = self.remains
        for identity in dict.fromkeys([*remains.values, *remains.older, *remains.types]):
            if self.kind(identity) != kind or identity == ROOT_ID:
                continue
            is_named = identity in remains.names or identity in remains.buried
            if identity not in remains.values and not is_named:
                if remains.is_registry_whole or self._is_gone_unless_named():
                    continue
            yield identity, remains.entry(identity)

    def is_proved(self, identity: bytes) -> bool:
        """Whether what is known of something besides its data is the last that was."""
        return self.remains.is_proved(identity) and self._assembly.is_trusted

    # --- the blocks of a file

    def strand(self, identity: bytes) -> Strand:
        """The blocks of a file, by its record if that is proved, else by what they say."""
        remains, assembly = self.remains, self._assembly
        value, is_proved = remains.value(identity), remains.is_proved(identity)
        record = self._record(identity, value)
        if record is not None and (is_proved or identity in remains.touched):
            told = assembly.by_record(identity, record, is_proved=is_proved)
            if told is not None:
                return told
        found = assembly.by_blocks(identity)
        if found is not None and not self._is_record_newer(identity):
            is_newest = found.is_marked and (self.survey.is_dated or self._chart.is_there)
            if record is None or found.is_proved or is_newest or assembly.is_all_told:
                return found
        is_empty = found is None and self._is_nothing_blind()
        if record is not None and not is_empty and (record.count or found is not None):
            told = assembly.by_record(identity, record, is_proved=False)
            if told is not None:
                return told
        return found or Strand(identity, 0, 0, is_empty, lambda: iter(()))

    def _record(self, identity: bytes, value: bytes | None) -> Recorded | None:
        return None if value is None else recorded(identity, value, self._assembly.limit)

    def _is_record_newer(self, identity: bytes) -> bool:
        """Whether the record of a file is of a commit after those of its blocks, or of the same.

        Whatever changes blocks changes the record, too, in the same commit.
        """
        survey, older = self.survey, self.remains.older.get(identity)
        if older is None or not survey.is_dated or self._assembly.is_all_told:
            return False
        return older.moment >= max(survey.commits[row] for row in survey.rows(identity))

    def _is_nothing_blind(self) -> bool:
        """Whether a file without a block is empty: no damaged block could be one of its own."""
        survey, chart = self.survey, self._chart
        if chart.root is None or not self._assembly.is_all_told:
            return False
        missing = 0
        for stream, record in zip((REGISTRY, PATHS), chart.root.streams[1:3], strict=False):
            count = int.from_bytes(record[24:28], "big")
            missing += count - sum(survey.positions[row] > 0 for row in survey.rows(stream))
        return survey.blind <= missing

    def alternatives(self, identity: bytes, first: Strand) -> Iterator[Strand]:
        """Other versions of a file whose blocks do not tell which is newer."""
        if self.survey.is_dated or (self._chart.is_sure and not self._chart.lost):
            return
        record = self._record(identity, self.remains.value(identity))
        taken = _slots_of(first)
        for strand in self._assembly.alternatives(identity, record):
            if _slots_of(strand) != taken:
                yield strand


def _slots_of(strand: Strand) -> list[int]:
    return [choice.slot for _, choices in strand.chunks() for choice in choices]
