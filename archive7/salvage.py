"""Rescue: files out of a damaged container, as far as their blocks still open.

Owns how files are put together from a survey, and where they go.  The source is never written to.
What the map proves goes to its path below `files`; what only the blocks themselves tell goes to
`unproved`; what has holes to `partial`, with zeros in the holes.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

from .creation import Target, device_of
from .entry import DIRECTORY, FILE, HIDDEN, LINK, ROOT_ID, Entry, decode_entry
from .errors import Archive7Error, ExistsError, TreeCorruptError
from .hostname import name_fault
from .keyslots import Secrets, wipe
from .layout import DATA_SIZE, ID_SIZE, PATH, STREAM
from .streams.manager import special_identity
from .streams.record import sound_fields
from .streams.registry import split
from .survey import Step, Survey
from .treenode import decode_node
from .unlock import read as unlock

_REGISTRY: Final = special_identity(1).bytes
_PATHS: Final = special_identity(2).bytes
_SPECIAL: Final = {special_identity(number).bytes for number in range(16)}
_NAMELESS: Final = "lost+found"
_DELETED: Final = "deleted"


@dataclass(frozen=True)
class Rescued:
    """One file.

    Attributes:
        path: in the archive; below ``lost+found`` where its name is lost.
        status: whole, unproved, partial or lost.
        size: bytes it should have, as far as that is known.
        missing: bytes that could not be read.
    """

    path: str
    status: str
    size: int
    missing: int = 0


@dataclass
class Rescue:
    """What a rescue found.

    Attributes:
        files: every file.
        directories, links: how many were made.
        notes: what was wrong with the container.
    """

    files: list[Rescued] = field(default_factory=list)
    directories: int = 0
    links: int = 0
    notes: list[str] = field(default_factory=list)

    def count(self, status: str) -> int:
        """How many files have a status."""
        return sum(file.status == status for file in self.files)

    def as_json(self) -> str:
        """The report as a document."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def rescue(
    source: Target,
    target: str | os.PathLike[str],
    secrets: Secrets,
    *,
    max_kdf_memory_kib: int,
    progress: Step | None = None,
) -> Rescue:
    """Write what can be read of `source` into the folder `target`, which must be new or empty.

    Raises: WrongKeyError, NotAnArchiveError; SuperblockCorruptError where no copy of the
    superblock is left: without it there is no key.  OSError of the host.
    Cost: one pass over the container, and each file once.
    """
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ExistsError(17, "the folder is not empty: rescue writes to a new one", str(folder))
    device = device_of(source, readonly=True)
    try:
        unlocked = unlock(device, secrets, max_kdf_memory_kib)
        try:
            survey = Survey(device, unlocked.superblock, unlocked.master, progress)
        finally:
            wipe(unlocked.master)
        survey.run()
        rescuer = _Rescuer(survey, folder, progress)
        try:
            return rescuer.run()
        finally:  # also of what was done until Ctrl-C
            text = rescuer.report.as_json() + "\n"
            (folder / "report.json").write_text(text, "utf-8", "backslashreplace")
    finally:
        device.close()


class _Rescuer:
    """Puts files together and writes them."""

    def __init__(self, survey: Survey, folder: Path, progress: Step | None) -> None:
        self._survey = survey
        self._folder = folder
        self._progress = progress
        self._entries: dict[bytes, tuple[bytes, Entry]] = {}  # id -> record, entry
        self._doubtful: set[bytes] = set()  # ids of entries that no proved leaf has
        self._values: set[bytes] = set()  # ids of the streams of large values
        self.report = Rescue()

    def run(self) -> Rescue:
        """Everything."""
        survey, report = self._survey, self.report
        if survey.root is None:
            report.notes.append("no root can be read: what was changed since the last close, "
                                "or since the map was written, is unproved")  # fmt: skip
        self._read_registry()
        if not self._is_registry_whole():  # else what it does not know was deleted
            report.notes.append("a part of the registry is lost: names, lengths or whole files "
                                "may be older than they were")  # fmt: skip
            self._read_paths()
        waiting = [i for i, (_, entry) in self._entries.items() if entry.type == FILE]
        for done, identity in enumerate(waiting):
            self._rescue_file(identity)
            if self._progress is not None:
                self._progress(done + 1, len(waiting), "rescue")
        if not self._is_registry_whole():
            self._rescue_strangers()
        self._make_directories()
        self._make_links()
        return report

    # --- entries

    def _read_registry(self) -> None:
        """All entries in leaves of the registry; all versions of a leaf that is not proved."""
        survey = self._survey
        seen: list[tuple[bool, int, bytes, bytes]] = []
        for slots in survey.versions(_REGISTRY).values():
            is_proved = survey.is_proved(slots[0])
            for slot in slots[:1] if is_proved else slots:
                commit = survey.commit(slot)
                seen += [(is_proved, commit, key, value) for key, value in self._items(slot)]
        for is_proved, _, key, value in sorted(seen, key=lambda item: item[:2], reverse=True):
            if key not in self._entries and len(key) == ID_SIZE:
                self._take_entry(key, value)
                if not is_proved:
                    self._doubtful.add(key)

    def _is_registry_whole(self) -> bool:
        """Whether every node of the registry is there in its last version."""
        versions, root = self._survey.versions(_REGISTRY), self._survey.root
        count = STREAM.unpack(root.streams[1])[3] if root else max(versions, default=-1) + 1
        return len(versions) >= count > 0 and all(
            self._survey.is_proved(slots[0]) for slots in versions.values()
        )

    def _read_paths(self) -> None:
        """Names that the paths tree has for what the registry has lost; lengths stay unknown."""
        for slots in self._survey.versions(_PATHS).values():
            for slot in slots[:1] if self._survey.is_proved(slots[0]) else slots:
                for key, value in self._items(slot):
                    parent, name = key[:ID_SIZE], key[ID_SIZE:]
                    kind, identity = value[:1], value[1 : PATH.size]
                    if len(value) != PATH.size or parent in HIDDEN or identity in self._entries:
                        continue
                    versions = self._survey.versions(identity)
                    count = min(max(versions, default=-1) + 1, self._survey.count)
                    record = STREAM.pack(identity, -1, -1, count, count * DATA_SIZE, 0)
                    self._entries[identity] = record, Entry(kind, parent, name, 0, 0, 0o644)
                    self._doubtful.add(identity)

    def _items(self, slot: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in a leaf of a tree; nothing where it is none."""
        try:
            node, _ = decode_node(0, self._survey.read(slot))
        except Archive7Error:
            return
        if node.level:
            return
        for key, value in zip(node.keys, node.values, strict=True):
            if key in node.far:
                self._values.add(value[:ID_SIZE])
                data, missing = self._assemble(value)
                if missing:
                    continue
                value = data
            yield key, value

    def _take_entry(self, key: bytes, value: bytes) -> None:
        try:
            record, _, owner = split(value)
            fields = sound_fields(record)
            if fields is None or fields[3] > self._survey.count:
                raise TreeCorruptError("a record is damaged")
            self._entries[key] = record, decode_entry(owner)
        except Archive7Error:
            self.report.notes.append(f"the entry {key.hex()} is damaged")

    def _assemble(self, record: bytes) -> tuple[bytes, int]:
        """The bytes of a small stream, and how many of them are missing."""
        fields = sound_fields(record)
        if fields is None or fields[3] > self._survey.count:
            return b"", DATA_SIZE
        identity, _, _, count, length, _ = fields
        versions = self._survey.versions(identity)
        parts = [self._survey.read(versions[i][0]) if i in versions else b"" for i in range(count)]
        missing = sum(DATA_SIZE for part in parts if not part)
        return b"".join(part or bytes(DATA_SIZE) for part in parts)[:length], missing

    # --- paths

    def _path(self, identity: bytes) -> str:
        """Where something stands; below lost+found where a directory above is lost."""
        parts: list[str] = []
        seen = set()
        while identity != ROOT_ID:
            found = self._entries.get(identity)
            is_inside = not parts or found is None or found[1].type == DIRECTORY
            if found is None or identity in seen or found[1].parent in HIDDEN or not is_inside:
                parts += [str(UUID(bytes=identity)), _NAMELESS if found is None else _DELETED]
                break
            seen.add(identity)
            parts.append(found[1].name.decode(errors="replace"))
            identity = found[1].parent
        return "/".join(_safe(part) for part in reversed(parts))

    # --- files

    def _rescue_file(self, identity: bytes) -> None:
        record, _ = self._entries[identity]
        _, _, _, count, length, _ = STREAM.unpack(record)
        versions = self._survey.versions(identity)
        chosen = [versions[index][0] if index in versions else 0 for index in range(count)]
        proved = identity not in self._doubtful and all(map(self._survey.is_proved, chosen))
        self._write(self._path(identity), chosen, length, proved)

    def _rescue_strangers(self) -> None:
        """Streams that no entry is left of: their name and exact length are lost."""
        for identity in self._survey.streams():
            if identity in self._entries or identity in _SPECIAL or identity in self._values:
                continue
            versions = self._survey.versions(identity)
            count = max(versions) + 1
            if count > self._survey.count:
                continue
            if not any(self._survey.is_proved(slots[0]) for slots in versions.values()):
                continue  # of a file that was deleted
            chosen = [versions[index][0] if index in versions else 0 for index in range(count)]
            path = f"{_NAMELESS}/{UUID(bytes=identity)}"
            self._write(path, chosen, count * DATA_SIZE, proved=False)

    def _write(self, path: str, slots: list[int], length: int, proved: bool) -> None:
        """Write one file; where blocks are missing there are zeros."""
        holes = [index for index, slot in enumerate(slots) if not slot]
        missing = sum(min(DATA_SIZE, max(0, length - index * DATA_SIZE)) for index in holes)
        status = "whole" if proved else "unproved"
        if holes:
            status = "lost" if len(holes) == len(slots) else "partial"
        self.report.files.append(Rescued(f"/{path}", status, length, missing))
        if status == "lost":
            return
        place = {"whole": "files", "unproved": "unproved", "partial": "partial"}[status]
        try:
            self._write_to(self._vacant(f"{place}/{path}"), slots, length)
        except OSError as error:  # of the host, with this one name
            self.report.files[-1] = Rescued(f"/{path}", "lost", length, length)
            self.report.notes.append(f"/{path} could not be written: {error}")

    def _write_to(self, target: Path, slots: list[int], length: int) -> None:
        with target.open("xb") as file:
            for index, slot in enumerate(slots):
                if slot:
                    file.seek(index * DATA_SIZE)
                    file.write(self._survey.read(slot)[: max(0, length - index * DATA_SIZE)])
            file.truncate(length)

    # --- directories and links

    def _make_directories(self) -> None:
        for identity, (_, entry) in self._entries.items():
            if entry.type == DIRECTORY and identity != ROOT_ID and entry.parent not in HIDDEN:
                here = self._folder
                try:
                    for part in f"files/{self._path(identity)}".split("/"):
                        here = self._folder_in(here, part)
                    self.report.directories += 1
                except OSError as error:
                    self.report.notes.append(f"a directory could not be made: {error}")

    def _make_links(self) -> None:
        """Last, so that nothing is ever written through one."""
        for identity, (_, entry) in self._entries.items():
            if entry.type == LINK and entry.target and entry.parent not in HIDDEN:
                path = self._path(identity)
                try:
                    target = entry.target.decode(errors="surrogateescape")
                    os.symlink(target, self._vacant(f"files/{path}"))
                    self.report.links += 1
                except OSError as error:
                    self.report.notes.append(f"/{path} could not be made: {error}")

    def _vacant(self, path: str) -> Path:
        """A name for something new on the host, with the folders above it, never through a link.

        A name that is taken (by another version of a file) gets a number.
        """
        here = self._folder
        *folders, name = path.split("/")
        for folder in folders:
            here = self._folder_in(here, folder)
        for number in range(1000):
            target = here / (f"{name}~{number}" if number else name)
            if not os.path.lexists(target):
                return target
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    @staticmethod
    def _folder_in(here: Path, name: str) -> Path:
        """A folder that is no link, made where it is missing."""
        for number in range(1000):
            folder = here / (f"{name}~{number}" if number else name)
            if not os.path.lexists(folder):
                os.mkdir(folder)
            if folder.is_dir() and not folder.is_symlink():
                return folder
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)


def _safe(name: str) -> str:
    """A name that stays in its folder on any host."""
    if name_fault(name) is None:
        return name
    return "_" + "".join(c if c.isalnum() or c in "-_ " else "_" for c in name)
