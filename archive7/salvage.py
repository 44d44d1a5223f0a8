"""Rescue: files out of a damaged container, as far as their blocks still open.

Owns the order of the work, what each file's status is, and the report.  The source is never
written to.  What the map proves goes to its path below `files`, or `deleted`; what only the
blocks themselves tell goes to `unproved`; what has holes to `partial`, with zeros in the holes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from .assembly import Assembly, Strand, recorded
from .chart import Chart
from .creation import Target, device_of
from .crypto import KIND_DATA, KIND_NODE, KIND_ROOT, block_cipher
from .device import Buffer, Device
from .entry import DIRECTORY, FILE, LINK, ROOT_ID, Entry
from .haven import Haven
from .keyslots import Secrets, wipe
from .layout import DATA_SIZE, FLAG_EMPTIED, RESERVE_COUNT
from .reader import BlockReader
from .remains import PATHS, REGISTRY, SPECIAL, Remains
from .root import Ring
from .superblock import Superblock
from .survey import Step, Survey
from .unlock import read as unlock
from .whereabouts import NAMELESS, Where, Whereabouts

_PLACES: Final = {
    "whole": "files", "deleted": "deleted", "unproved": "unproved", "partial": "partial",
}  # fmt: skip
_MOST_NOTES: Final = 1000  # the rest is counted


@dataclass(frozen=True)
class Rescued:
    """One file.

    Attributes:
        path: in the archive; below ``lost+found`` where its name is lost.
        status: whole, deleted, unproved, partial or lost.
        size: bytes it should have, as far as that is known.
        missing: bytes that could not be read.
        target: where it was written, below the target.
    """

    path: str
    status: str
    size: int
    missing: int = 0
    target: str = ""


@dataclass
class Rescue:
    """What a rescue found.

    Attributes:
        files: every name of every file.
        directories, links: how many were made; links are symbolic ones.
        notes: what was wrong with the container.
        refused: what the target could not have, such as names or attributes.
        is_complete: False where it was interrupted.
    """

    files: list[Rescued] = field(default_factory=list)
    directories: int = 0
    links: int = 0
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    is_complete: bool = False

    def count(self, status: str) -> int:
        """How many files have a status."""
        return sum(file.status == status for file in self.files)

    @property
    def is_whole(self) -> bool:
        """Whether everything came back, proved."""
        kept = {"whole", "deleted"}
        is_all = not self.notes and not self.refused and self.is_complete
        return is_all and kept >= {file.status for file in self.files}

    def refuse(self, text: str) -> None:
        """Note what the target could not have, unless there are very many."""
        if len(self.refused) < _MOST_NOTES:
            self.refused.append(text)
        elif len(self.refused) == _MOST_NOTES:
            self.refused.append("and more of the same")

    def as_json(self) -> str:
        """The report as a document."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def rescue(
    source: Target,
    make_haven: Callable[[Rescue], Haven],
    secrets: Secrets,
    *,
    max_kdf_memory_kib: int,
    progress: Step | None = None,
) -> Rescue:
    """Write what can be read of `source` into a haven, which is made once the secret is right.

    Raises: WrongKeyError, NotAnArchiveError; SuperblockCorruptError where no copy of the
    superblock is left: without it there is no key.  OSError of the host.
    Cost: one pass over what is not explained by root, map and registry, and each file once.
    """
    device = device_of(source, readonly=True)
    try:
        unlocked = unlock(device, secrets, max_kdf_memory_kib)
        try:
            salvage = _Salvage(device, unlocked.superblock, unlocked.master, progress)
        finally:
            wipe(unlocked.master)
        haven = make_haven(salvage.report)
        try:
            salvage.run(haven)
        finally:  # also of what was done until Ctrl-C
            haven.finish(salvage.report.as_json())
        return salvage.report
    finally:
        device.close()


class _Salvage:
    """One rescue under way."""

    def __init__(
        self, device: Device, superblock: Superblock, master: Buffer, progress: Step | None
    ) -> None:
        data, node, root = (
            block_cipher(superblock.suite, master, superblock.container, superblock.epoch, kind)
            for kind in (KIND_DATA, KIND_NODE, KIND_ROOT)
        )
        self._survey = Survey(device, data, node)
        reader = BlockReader(device, data, node)
        self._chart = Chart(reader, Ring(device, root), is_dated=self._survey.is_dated)
        self._assembly = Assembly(self._survey, self._chart)
        self._remains = Remains(self._survey, self._chart, self._assembly)
        self._whereabouts = Whereabouts(self._remains)
        self._progress = progress or (lambda *_: None)
        self._begun = 0  # of the progress: what the survey took
        self._lost_links = 0
        self.report = Rescue()

    def run(self, haven: Haven) -> None:
        """Everything."""
        self._haven = haven
        self._explore()
        self._describe()
        waiting = self._waiting()
        weights = [self._weight(identity) for identity in waiting]
        done, total = 0, max(1, sum(weights))
        for identity, weight in zip(waiting, weights, strict=True):
            self._tell(done / total, "rescue")
            self._take_file(identity)
            done += weight
        self._make_directories()
        self._make_links()
        self._tell(1.0, "rescue")
        self.report.is_complete = True

    # --- looking

    def _explore(self) -> None:
        """Find out what is there; survey the slots unless all is explained."""
        survey, chart, remains = self._survey, self._chart, self._remains
        self.report.notes += chart.notes
        if chart.root is not None:
            is_whole = chart.is_whole()
            remains.walk()
            remains.explain()
            if is_whole and chart.is_sure:
                if remains.is_registry_whole and remains.is_paths_whole:
                    return
        else:
            self.report.notes.append("no root can be read: what was changed since the map was last "
                             "written, which every close does, is unproved")  # fmt: skip
        self._begun = survey.count
        survey.run(lambda done, _, what: self._progress(done, 2 * survey.count, what))
        top = survey.top() if chart.root is None else None
        if top is not None:
            entry = top.slot.to_bytes(4, "big") + top.tag
            chart.take_top(top.level + 1, entry, top.commit)
        survey.name(chart)
        self._judge()
        remains.gather()

    def _judge(self) -> None:
        """Decide how far the chart is to be trusted."""
        survey, chart = self._survey, self._chart
        if chart.is_sure or not chart.is_there:
            return
        if chart.is_outdated or survey.has_later(chart.number):
            survey.later_than = chart.number
            self._assembly.is_trusted = survey.is_dated and not survey.may_hide(RESERVE_COUNT)
            if not self._assembly.is_trusted:
                self.report.notes.append("newer changes may be lost: all files are unproved")

    def _describe(self) -> None:
        """Say what is missing of the container itself."""
        remains, chart = self._remains, self._chart
        if not chart.is_there:
            self.report.notes.append("the map of blocks is lost: files are put together by what their "
                             "blocks say, and unproved")  # fmt: skip
        elif chart.lost:
            self.report.notes.append(f"{chart.lost} nodes of the map are lost: files with blocks there "
                             "are unproved")  # fmt: skip
        if not remains.is_registry_whole:
            self.report.notes.append("a part of the registry is lost: modes, times and attributes of some "
                             "files may be missing or older than they were")  # fmt: skip
        if not remains.is_paths_whole:
            self.report.notes.append("a part of the paths tree is lost: further names of files with hard "
                             "links may be missing")  # fmt: skip

    def _waiting(self) -> list[bytes]:
        """All files, proved ones first, so that they get the names."""
        remains = self._remains
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
        files = [i for i in dict.fromkeys([*found, *others]) if self._kind(i) == FILE]
        return files + list(self._strangers(set(files)))

    def _is_gone_unless_named(self) -> bool:
        """Whether the paths tree tells all that is there."""
        return self._remains.is_paths_whole and self._assembly.is_trusted

    def _strangers(self, known: set[bytes]) -> Iterator[bytes]:
        """Streams that nothing tells of any more, though they may belong to a file."""
        remains, survey = self._remains, self._survey
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

    def _kind(self, identity: bytes) -> bytes:
        entry = self._remains.entry(identity)
        if entry is not None:
            return entry.type
        if identity in self._remains.types:
            return self._remains.types[identity]
        buried = self._remains.buried.get(identity)
        return FILE if buried is None else buried.type

    def _weight(self, identity: bytes) -> int:
        """Blocks of a file, about."""
        value = self._remains.value(identity)
        count = int.from_bytes(value[24:28], "big") if value is not None else 0
        return 1 + min(max(count, len(self._survey.rows(identity))), self._survey.count)

    def _tell(self, part: float, what: str) -> None:
        """Tell progress; the second half is this one if there was a survey."""
        size = max(1, self._survey.count)
        self._progress(self._begun + int(part * size), self._begun + size, what)

    # --- files

    def _take_file(self, identity: bytes) -> None:
        entry = self._remains.entry(identity)
        if entry is not None and entry.flags & FLAG_EMPTIED:
            return  # deleted with its data: nothing is left to be had
        places = self._whereabouts.of(identity)
        if not places:
            return
        strand = self._strand(identity)
        status = self._write(strand, places, entry)
        if status == "unproved" or (status == "partial" and not strand.is_proved):
            for other in self._alternatives(identity, strand):
                self._write(other, places[:1], entry)

    def _strand(self, identity: bytes) -> Strand:
        """The blocks of a file, by its record if that is proved, else by what they say."""
        remains, assembly = self._remains, self._assembly
        value, is_proved = remains.value(identity), remains.is_proved(identity)
        record = None if value is None else recorded(identity, value, assembly.limit)
        if record is not None and (is_proved or identity in remains.touched):
            told = assembly.by_record(identity, record, is_proved=is_proved)
            if told is not None:
                return told
        found = assembly.by_blocks(identity)
        if found is not None and not self._is_record_newer(identity):
            is_newest = found.is_marked and self._survey.is_dated
            if record is None or found.is_proved or is_newest or assembly.is_all_told:
                return found
        is_empty = found is None and self._is_nothing_blind()
        if record is not None and not is_empty and (record.count or found is not None):
            told = assembly.by_record(identity, record, is_proved=False)
            if told is not None:
                return told
        return found or Strand(identity, 0, 0, is_empty, lambda: iter(()))

    def _is_record_newer(self, identity: bytes) -> bool:
        """Whether the record of a file is of a commit after those of its blocks, or of the same.

        Whatever changes blocks changes the record, too, in the same commit.
        """
        survey, older = self._survey, self._remains.older.get(identity)
        if older is None or not survey.is_dated or self._assembly.is_all_told:
            return False
        return older.moment >= max(survey.commits[row] for row in survey.rows(identity))

    def _is_nothing_blind(self) -> bool:
        """Whether a file without a block is empty: no damaged block could be one of its own."""
        survey, chart = self._survey, self._chart
        if chart.root is None or not self._assembly.is_all_told:
            return False
        missing = 0
        for stream, record in zip((REGISTRY, PATHS), chart.root.streams[1:3], strict=False):
            count = int.from_bytes(record[24:28], "big")
            missing += count - sum(survey.positions[row] > 0 for row in survey.rows(stream))
        return survey.blind <= missing

    def _alternatives(self, identity: bytes, first: Strand) -> Iterator[Strand]:
        """Other versions of a file whose blocks do not tell which is newer."""
        if self._survey.is_dated or (self._chart.is_sure and not self._chart.lost):
            return
        value = self._remains.value(identity)
        record = None if value is None else recorded(identity, value, self._assembly.limit)
        taken = _slots_of(first)
        for strand in self._assembly.alternatives(identity, record):
            if _slots_of(strand) != taken:
                yield strand

    def _write(self, strand: Strand, places: list[Where], entry: Entry | None) -> str:
        """Write one file under all its names; return its status."""
        haven, path = self._haven, places[0].path
        haven.begin()
        try:
            present, is_proved = self._copy(strand)
            missing = max(0, strand.length - present) + DATA_SIZE * strand.is_cut
            status = _status(present, missing, is_proved and strand.is_proved)
            if status == "lost":
                haven.drop()
                self.report.files += [
                    Rescued(where.path, status, strand.length, missing) for where in places
                ]
                return status
            self._settle(strand, places, entry, status, missing)
        except OSError as error:  # of the target, with this one file
            haven.drop()
            self.report.files.append(Rescued(path, "lost", strand.length, strand.length))
            self.report.refuse(f"{path} could not be written: {error.strerror or error}")
            return "lost"
        except BaseException:
            haven.drop()
            raise
        return status

    def _copy(self, strand: Strand) -> tuple[int, bool]:
        """Copy what can be read; return how many bytes, and whether all of it was proved."""
        present, is_proved = 0, True
        room = bytearray()
        for first, choices in strand.chunks():
            wanted = [(slot, tag) for slot, tag, _ in choices]
            is_proved &= all(choice.is_proved for choice in choices)
            begin = first * DATA_SIZE
            for i, data in enumerate(self._survey.read_many(wanted, strand.stream, first)):
                offset = (first + i) * DATA_SIZE
                part = None if data is None else data[: max(0, strand.length - offset)]
                if part is None or begin + len(room) != offset:
                    self._flush(room, begin)
                    begin = offset
                if part is None:
                    begin = offset + DATA_SIZE
                else:
                    room += part
                    present += len(part)
            self._flush(room, begin)
        return present, is_proved

    def _flush(self, room: bytearray, offset: int) -> None:
        if room:
            self._haven.write(offset, memoryview(bytes(room)))
            room.clear()

    def _settle(
        self, strand: Strand, places: list[Where], entry: Entry | None, status: str, missing: int
    ) -> None:
        """Give what was written its names; one of them may be proved and another not."""
        first: Any = None
        for number, where in enumerate(places):
            own = _own_status(status, where)
            parts = (_PLACES[own], *where.parts)
            if number == 0:
                target, first = self._haven.settle(parts, entry, strand.length)
            else:
                linked = self._haven.link(first, parts)
                if linked is None:  # the target has no links: a copy
                    self._haven.begin()
                    self._copy(strand)
                    linked, _ = self._haven.settle(parts, entry, strand.length)
                target = linked
            self.report.files.append(Rescued(where.path, own, strand.length, missing, target))

    # --- directories and links

    def _others(self, kind: bytes) -> Iterator[tuple[bytes, Entry | None]]:
        """Directories or links that are there, as far as is known."""
        remains = self._remains
        for identity in dict.fromkeys([*remains.values, *remains.older, *remains.types]):
            if self._kind(identity) != kind or identity == ROOT_ID:
                continue
            is_named = identity in remains.names or identity in remains.buried
            if identity not in remains.values and not is_named:
                if remains.is_registry_whole or self._is_gone_unless_named():
                    continue
            yield identity, remains.entry(identity)

    def _make_directories(self) -> None:
        for identity, entry in self._others(DIRECTORY):
            for where in self._whereabouts.of(identity)[:1]:
                if where.parts[0] == NAMELESS and entry is None:
                    continue
                place = "unproved" if not where.is_proved else "files"
                if where.is_deleted and where.is_proved:
                    place = "deleted"
                try:
                    self._haven.directory((place, *where.parts), entry)
                    self.report.directories += 1
                except OSError as error:
                    self.report.refuse(f"{where.path} could not be made: {error.strerror}")

    def _make_links(self) -> None:
        """Last, so that nothing is ever written through one."""
        for identity, entry in self._others(LINK):
            if entry is None or not entry.target:
                self._lost_links += 1
                continue
            is_proved = self._remains.is_proved(identity) and self._assembly.is_trusted
            for where in self._whereabouts.of(identity):
                own = _own_status("whole" if is_proved else "unproved", where)
                try:
                    self._haven.symlink((_PLACES[own], *where.parts), entry)
                    self.report.links += 1
                except OSError as error:
                    self.report.refuse(f"{where.path} could not be made: {error.strerror}")
        if self._lost_links:
            self.report.notes.append(
                f"{self._lost_links} symbolic links have lost where they lead"
            )


def _status(present: int, missing: int, is_proved: bool) -> str:
    if missing:
        return "partial" if present else "lost"
    return "whole" if is_proved else "unproved"


def _own_status(status: str, where: Where) -> str:
    """The status of one name of a file."""
    if status != "whole":
        return status
    if not where.is_proved:
        return "unproved"
    return "deleted" if where.is_deleted else "whole"


def _slots_of(strand: Strand) -> list[int]:
    return [choice.slot for _, choices in strand.chunks() for choice in choices]
