"""Check: every invariant of every layer, as an iterator of findings.

Owns what is looked at and in which order.  May assume an open archive.  Promises: nothing is
changed; damage is reported and looked past as far as it can be; only findings come out, no
exception for damage.  Memory: one byte for each slot and position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from .btree import BTree
from .entry import ROOT_ID, decode_entry
from .errors import Archive7Error, CorruptError, TreeCorruptError, UsageError
from .filesystem import Filesystem
from .finding import Finding, error
from .layout import STREAM, SUPERBLOCK_OFFSETS, SUPERBLOCK_SIZE
from .mapcheck import check_map
from .namecheck import NameChecker
from .paths import FilesystemStreamManager
from .root import slot_offset
from .streamcheck import StreamChecker
from .streams.extents import Extents
from .streams.registry import split
from .superblock import CopyFault, read_copy

Progress = Callable[[int, int, str], object]
LEVELS: Final = ("quick", "full")


def check_archive(
    manager: FilesystemStreamManager,
    filesystem: Filesystem,
    level: str,
    progress: Progress | None,
) -> Iterator[Finding]:
    """Check every layer of an archive that has nothing uncommitted."""
    if level not in LEVELS:
        raise UsageError(f"level must be one of {', '.join(LEVELS)}")
    checker = Checker(manager, filesystem, is_full=level == "full", progress=progress)
    container = manager.container
    with container.lock:  # nothing changes meanwhile; the progress is told under the lock
        was_busy, container.is_busy = container.is_busy, True
        try:
            return iter(list(checker.run()))
        finally:
            container.is_busy = was_busy


class Checker:
    """One run over one archive."""

    def __init__(
        self,
        manager: FilesystemStreamManager,
        filesystem: Filesystem,
        *,
        is_full: bool,
        progress: Progress | None,
    ) -> None:
        self._manager = manager
        self._container = manager.container
        self._filesystem = filesystem
        self._progress = progress
        self._present = bytearray(self._container.positions.end)  # 1: has a block, 2: reached
        self._streams = StreamChecker(self._container, self._present, is_full, self._step)
        self._names = NameChecker(manager, filesystem)
        self._done = 0

    def run(self) -> Iterator[Finding]:
        """All layers from the bottom up."""
        yield from self._check_superblock()
        yield from self._check_roots()
        yield from check_map(self._container, self._present)
        yield from self._check_special()
        yield from self._check_tree("registry", self._manager.registry.tree)
        yield from self._check_tree("path", self._manager.paths)
        yield from self._check_entries()
        yield from self._names.check_paths()
        yield from self._check_reached()
        yield from self._check_positions()

    def _step(self, count: int, layer: str) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(min(self._done, len(self._present)), len(self._present), layer)

    # --- superblock and roots

    def _check_superblock(self) -> Iterator[Finding]:
        device, sequence = self._container.device, self._container.superblock.sequence
        whole = set()
        for number, offset in enumerate(SUPERBLOCK_OFFSETS):
            copy = read_copy(device, number)
            if isinstance(copy, CopyFault):
                yield error("superblock", f"copy {'AB'[number]}: {copy.reason}")
            elif copy.superblock.sequence != sequence:
                yield Finding("warning", "superblock", f"copy {'AB'[number]} is older")
            else:
                whole.add(device.pread(SUPERBLOCK_SIZE, offset))
        if len(whole) > 1:
            yield error("superblock", "the copies differ: one of them is not genuine")

    def _check_roots(self) -> Iterator[Finding]:
        container = self._container
        recovered = container.recovered
        if recovered is not None:
            for skipped in recovered.skipped:
                message = f"commit {skipped.number} was not whole: {skipped.reason}"
                yield Finding("warning", "root", message)
        try:
            roots = container.ring.read()
        except CorruptError as reason:
            yield error("root", reason)
            return
        if not container.is_readonly and len(roots) < 8:
            yield Finding("warning", "root", f"{8 - len(roots)} places of the ring are unreadable")
        end = slot_offset(container.root.slots + 1)
        size = container.device.size()
        if size > end and container.is_readonly:
            yield Finding("note", "root", f"{size - end} bytes behind the last slot are ignored")
        if size < end:
            yield error("root", f"the file ends {end - size} bytes before its last slot")

    # --- streams

    def _check_special(self) -> Iterator[Finding]:
        for record in self._container.streams:
            yield from self._streams.check_chain(record)

    # --- trees

    def _check_tree(self, layer: str, tree: BTree) -> Iterator[Finding]:
        try:
            for reason in tree.check():
                yield error(layer, reason)
        except CorruptError as reason:
            yield error(layer, reason)

    def _check_entries(self) -> Iterator[Finding]:
        """Every registered stream is whole and stands where its entry says."""
        try:
            for key, value in self._manager.registry.tree.items():
                yield from self._check_value(key, value)
        except CorruptError as reason:
            yield error("registry", reason)

    def _check_value(self, key: bytes, value: bytes) -> Iterator[Finding]:
        name = key.hex()
        try:
            record, encoded, owner = split(value)
            identity, begin, _, count, _, _ = STREAM.unpack(record)
            if count > len(self._present):
                raise TreeCorruptError("a record counts more blocks than there are: run check")
            extents = Extents.decode(encoded, begin, count)
            found = decode_entry(owner)
        except Archive7Error as reason:
            yield error("registry", reason, stream=name)
            return
        if identity != key:
            yield error("registry", "the record is that of another stream", stream=name)
        findings = list(self._streams.check_runs(record, extents))
        if key != ROOT_ID:
            findings += self._names.check_entry(key, found)
        if findings:
            path = self._path(key)
            yield from (replace(finding, path=path) for finding in findings)

    def _path(self, identity: bytes) -> str | None:
        try:
            return self._filesystem.path_of(identity)
        except Archive7Error:
            return None

    # --- space

    def _check_reached(self) -> Iterator[Finding]:
        """Blocks that no stream reaches; large values of trees are reached by their records."""
        for tree, owner in (
            (self._manager.registry.tree, self._manager.index_stream),
            (self._manager.paths, self._manager.special_stream(2)),
        ):
            try:
                for record in tree.far_records():
                    yield from self._streams.check_chain(record)
            except CorruptError as reason:
                yield error("tree", reason, stream=str(owner.identity))
        lost = self._present.count(1)
        if lost:
            first = self._present.index(1)
            yield error("space", f"{lost} blocks belong to no stream", block=first)

    def _check_positions(self) -> Iterator[Finding]:
        """No position on the free list has a block."""
        for first, count in self._container.positions.extents():
            if any(self._present[first : first + count]):
                yield error("space", "a used position is on the free list", block=first)
