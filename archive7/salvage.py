"""Rescue: files out of a damaged container, as far as their blocks still open.

Owns the order of the work, what each file's status is, and the report.  The source is never
written to.  What the map proves goes to its path below `files`, or `deleted`; what only the
blocks themselves tell goes to `unproved`; what has holes to `partial`, with zeros in the holes.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final

from .assembly import Strand
from .creation import Target, device_of
from .entry import DIRECTORY, LINK, Entry
from .exploration import Exploration
from .haven import Haven
from .keyslots import Secrets, wipe
from .layout import DATA_SIZE, FLAG_EMPTIED
from .patient import PatientDevice
from .rescued import Rescue, Rescued
from .survey import Step
from .unlock import read as unlock
from .whereabouts import NAMELESS, Where, Whereabouts

_PLACES: Final = {
    "whole": "files", "deleted": "deleted", "unproved": "unproved", "partial": "partial",
}  # fmt: skip
_FULL: Final = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS}


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
    device = PatientDevice(device_of(source, readonly=True))
    try:
        unlocked = unlock(device, secrets, max_kdf_memory_kib)
        try:
            explored = Exploration(device, unlocked.superblock, unlocked.master)
        finally:
            wipe(unlocked.master)
        report = Rescue()
        haven = make_haven(report)
        try:
            _Salvage(explored, haven, report, progress).run()
            if device.unreadable:
                report.notes.append(f"{device.unreadable} reads failed: copy the disc first")
        finally:  # also of what was done until Ctrl-C
            haven.finish(report.as_json())
        return report
    finally:
        device.close()


class _Salvage:
    """One rescue under way."""

    def __init__(
        self, explored: Exploration, haven: Haven, report: Rescue, progress: Step | None
    ) -> None:
        self._explored = explored
        self._survey, self._remains = explored.survey, explored.remains
        self._haven = haven
        self._report = report
        self._whereabouts = Whereabouts(self._remains)
        self._progress = progress or (lambda *_: None)
        self._begun = 0  # of the progress: what the survey took

    def run(self) -> None:
        """Everything."""
        explored, all_slots = self._explored, 2 * self._survey.count
        try:
            explored.explore(lambda done, _, what: self._progress(done, all_slots, what))
        finally:
            self._report.notes += explored.notes
        self._begun = self._survey.count if explored.is_surveyed else 0
        waiting = explored.files()
        weights = [self._weight(identity) for identity in waiting]
        done, total = 0, max(1, sum(weights))
        for identity, weight in zip(waiting, weights, strict=True):
            self._tell(done / total, "rescue")
            self._take_file(identity)
            done += weight
        self._make_directories()
        self._make_links()
        self._tell(1.0, "rescue")
        self._report.is_complete = True

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
        strand = self._explored.strand(identity)
        status = self._write(strand, places, entry)
        if status == "unproved" or (status == "partial" and not strand.is_proved):
            for other in self._explored.alternatives(identity, strand):
                self._write(other, places[:1], entry)

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
                self._report.files += [
                    Rescued(where.path, status, strand.length, missing) for where in places
                ]
                return status
            self._settle(strand, places, entry, status, missing)
        except OSError as error:  # of the target, with this one file
            haven.drop()
            if error.errno in _FULL:
                raise
            self._report.files.append(Rescued(path, "lost", strand.length, strand.length))
            self._report.refuse(f"{path} could not be written: {error.strerror or error}")
            return "lost"
        except BaseException:
            haven.drop()
            raise
        return status

    def _copy(self, strand: Strand) -> tuple[int, bool]:
        """Copy what can be read; return how many bytes, and whether all of it was proved."""
        present, is_proved = 0, True
        room, length = bytearray(), strand.length
        for first, choices in strand.chunks():
            wanted = [choice[:2] for choice in choices]
            is_proved &= all(choice[2] for choice in choices)
            begin = first * DATA_SIZE
            for i, data in enumerate(self._survey.read_many(wanted, strand.stream, first)):
                offset = (first + i) * DATA_SIZE
                if data is None:
                    present += self._flush(room, begin)
                    begin = offset + DATA_SIZE
                else:
                    part = (
                        data if offset + DATA_SIZE <= length else data[: max(0, length - offset)]
                    )
                    room += part
            present += self._flush(room, begin)
        return present, is_proved

    def _flush(self, room: bytearray, offset: int) -> int:
        """Write what was gathered; return how many bytes."""
        size = len(room)
        if size:
            with memoryview(room) as view:
                self._haven.write(offset, view)
            room.clear()
        return size

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
            self._report.files.append(Rescued(where.path, own, strand.length, missing, target))

    # --- directories and links

    def _make_directories(self) -> None:
        for identity, entry in self._explored.others(DIRECTORY):
            for where in self._whereabouts.of(identity)[:1]:
                if where.parts[0] == NAMELESS and entry is None:
                    continue
                place = "unproved" if not where.is_proved else "files"
                if where.is_deleted and where.is_proved:
                    place = "deleted"
                try:
                    self._haven.directory((place, *where.parts), entry)
                    self._report.directories += 1
                except OSError as error:
                    self._report.refuse(f"{where.path} could not be made: {error.strerror}")

    def _make_links(self) -> None:
        """Last, so that nothing is ever written through one."""
        lost = 0
        for identity, entry in self._explored.others(LINK):
            if entry is None or not entry.target:
                lost += 1
                continue
            is_proved = self._explored.is_proved(identity)
            for where in self._whereabouts.of(identity):
                own = _own_status("whole" if is_proved else "unproved", where)
                try:
                    self._haven.symlink((_PLACES[own], *where.parts), entry)
                    self._report.links += 1
                except OSError as error:
                    self._report.refuse(f"{where.path} could not be made: {error.strerror}")
        if lost:
            self._report.notes.append(f"{lost} symbolic links have lost where they lead")


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
