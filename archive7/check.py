"""Check: every invariant of every layer, as an iterator of findings.

Owns what is looked at and in which order.  May assume an open archive.  Promises: nothing is
changed; damage is reported and looked past as far as it can be; only findings come out, no
exception for damage.  Memory: one byte for each slot and position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from uuid import UUID

from .btree import BTree
from .entry import ROOT_ID, decode_entry
from .errors import Archive7Error, CorruptError, UsageError
from .filesystem import Filesystem
from .finding import Finding, error
from .layout import (
    BLOCK_HEAD,
    FANOUT,
    ID_SIZE,
    NO_POSITION,
    STREAM,
    SUPERBLOCK_OFFSETS,
    SUPERBLOCK_SIZE,
)
from .map import entry_slot
from .namecheck import NameChecker
from .paths import FilesystemStreamManager
from .root import slot_offset
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
    with manager.container.lock:
        findings = list(checker.run()) if progress is None else None
    if findings is not None:
        return iter(findings)
    return checker.run()


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
        self._is_full = is_full
        self._progress = progress
        self._present = bytearray(self._container.positions.end)  # 1: has a block, 2: reached
        self._names = NameChecker(manager, filesystem)
        self._done = 0

    def run(self) -> Iterator[Finding]:
        """All layers from the bottom up."""
        yield from self._check_superblock()
        yield from self._check_roots()
        yield from self._check_map()
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

    # --- map

    def _check_map(self) -> Iterator[Finding]:
        """Slots are used once, none beyond the end, none of the reserve; counts are right."""
        chart, root = self._container.blocks.map, self._container.root
        used = bytearray(root.slots + 1)
        first, count = root.reserve
        used[first : first + count] = bytes([1]) * count
        try:
            for level, ordinal, entry, node in chart.walk():
                yield from self._use(used, entry_slot(entry), f"map node {ordinal} of {level}")
                if not level:
                    yield from self._check_leaf(used, ordinal, bool(node))
        except CorruptError as reason:
            yield error("map", reason)
            return
        beyond = [p for p in chart.changes if p // FANOUT >= FANOUT**chart.height // FANOUT]
        for position in beyond:
            yield from self._check_entry(used, position)
        total = sum(used) - sum(used[first : first + count])
        if total != root.used:
            yield error("map", f"the root counts {root.used} used slots, the map has {total}")

    def _check_leaf(self, used: bytearray, ordinal: int, present: bool) -> Iterator[Finding]:
        if not present:
            return
        for position in range(ordinal * FANOUT, (ordinal + 1) * FANOUT):
            yield from self._check_entry(used, position)

    def _check_entry(self, used: bytearray, position: int) -> Iterator[Finding]:
        slot = entry_slot(self._container.blocks.map.get(position))
        if not slot:
            return
        if not 0 < position < len(self._present):
            yield error("map", "a block stands at a position never given out", block=position)
            return
        self._present[position] = 1
        yield from self._use(used, slot, f"block {position}")

    @staticmethod
    def _use(used: bytearray, slot: int, what: str) -> Iterator[Finding]:
        if not 0 < slot < len(used):
            yield error("map", f"{what} stands in slot {slot} behind the end")
        elif used[slot]:
            yield error("map", f"{what} shares slot {slot} with another or the reserve")
        else:
            used[slot] = 1

    # --- streams

    def _check_special(self) -> Iterator[Finding]:
        for record in self._container.streams:
            _, begin, end, count, length, _ = STREAM.unpack(record)
            stream = record[:ID_SIZE]
            yield from self._check_chain(stream, begin, end, count, length, None)

    def _check_chain(
        self,
        stream: bytes,
        begin: int,
        end: int,
        count: int,
        length: int,
        extents: Extents | None,
        path: str | None = None,
    ) -> Iterator[Finding]:
        """Every block of a stream is there, in order, linked both ways, and its own."""
        name = str(UUID(bytes=stream))
        if length > count * 4008 or (count > 1 and length <= (count - 1) * 4008 - 4008):
            yield error("stream", f"{count} blocks for {length} bytes", stream=name, path=path)
        previous, position = NO_POSITION, begin
        for index in range(count):
            if extents is not None:
                position = extents.position(index)
            if not 0 < position < len(self._present) or not self._present[position]:
                message = f"block number {index} is missing"
                yield error("stream", message, block=position, stream=name, path=path)
                return
            if self._present[position] == 2:
                message = f"block number {index} belongs to two streams"
                yield error("stream", message, block=position, stream=name, path=path)
                return
            self._present[position] = 2
            self._step(1, "stream")
            if not self._is_full and extents is not None:
                previous = position
                continue
            try:
                plain = self._open(position, index, stream)
            except CorruptError as reason:
                yield error("block", reason, block=position, stream=name, path=path)
                if extents is None:
                    return
                previous = position
                continue
            before, after, *_ = BLOCK_HEAD.unpack_from(plain)
            follows = extents.position(index + 1) if extents and index + 1 < count else after
            if before != previous or (index + 1 < count and after != follows):
                yield error("stream", "a link is wrong", block=position, stream=name, path=path)
            previous, position = position, after
        if count and previous != end:
            yield error("stream", "the stream does not end at its end", stream=name, path=path)

    def _open(self, position: int, index: int, stream: bytes) -> bytes:
        """Open a block past the cache; its digest and identity are compared."""
        blocks = self._container.blocks
        plain = blocks.verify(position, blocks.map.get(position))
        if plain[8:28] != index.to_bytes(4, "big") + stream:
            raise CorruptError(f"not block number {index} of its stream", block=position)
        return plain

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
        name, path = key.hex(), None
        try:
            record, encoded, owner = split(value)
            identity, begin, end, count, length, _ = STREAM.unpack(record)
            extents = Extents.decode(encoded, begin, count)
            found = decode_entry(owner)
            path = self._path(key)
        except Archive7Error as reason:
            yield error("registry", reason, stream=name)
            return
        if identity != key:
            yield error("registry", "the record is that of another stream", stream=name)
        yield from self._check_chain(key, begin, end, count, length, extents, path)
        if key != ROOT_ID:
            yield from self._names.check_entry(key, found, path)

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
                    identity, begin, end, count, length, _ = STREAM.unpack(record)
                    yield from self._check_chain(identity, begin, end, count, length, None)
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
