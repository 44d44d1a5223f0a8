"""Structures checked: all layers but the data of files, in one go.

Owns the order in which the layers are looked at, and which stream has which block.  May assume an
open archive with nothing uncommitted, which nobody changes meanwhile.  Promises: damage is told
and looked past as far as it can be; only SnapshotExpiredError and OSError come out.
"""

from __future__ import annotations

from collections.abc import Callable

from .entry import decode_entry
from .errors import Archive7Error, CorruptError, SnapshotExpiredError, TreeCorruptError
from .filesystem import Filesystem
from .finding import Report
from .layout import ID_SIZE, RING_PLACES, STREAM, SUPERBLOCK_OFFSETS, SUPERBLOCK_SIZE
from .mapcheck import check_map
from .marks import Marks
from .namecheck import NameChecker
from .paths import FilesystemStreamManager
from .root import slot_offset
from .spacecheck import check_space
from .streamcheck import StreamChecker
from .streams.extents import Extents
from .streams.registry import split
from .superblock import CopyFault, read_copy
from .treecheck import TreeChecker
from .treenode import TreeNode

Step = Callable[[int, str], None]


class StructureChecker:
    """One run over one archive.

    Args:
        step: told how many blocks were dealt with, and where.

    Attributes:
        report: where the findings are.
        marks: what is known of each position.
        blocks: how many there are.
        leaves: of the registry.
    """

    def __init__(
        self, manager: FilesystemStreamManager, filesystem: Filesystem, step: Step
    ) -> None:
        self._manager = manager
        self._container = manager.container
        self._step = step
        self.report = Report(self._path_of)
        self.marks = Marks()
        self._names = NameChecker(manager, filesystem, self.report)
        self._streams = StreamChecker(self._container, self.marks, self.report, step)
        self.blocks = self.leaves = 0

    def _path_of(self, identity: bytes) -> str | None:
        return self._names.path_of(identity)

    def run(self) -> None:
        """All layers from the bottom up."""
        self._check_superblock()
        self._check_roots()
        self._step(0, "map")
        self.blocks = check_map(self._container, self.marks, self.report)
        whole = [self._streams.check_chain(record) for record in self._container.streams]
        whole += [True] * 4  # of a container that never had a commit
        manager = self._manager
        registry = TreeChecker(
            manager.registry.tree, "registry", self.marks, self.report, is_whole=whole[1]
        )
        for leaf in registry.leaves():
            self.leaves += 1
            self._check_leaf(leaf)
        self.report.stream = None
        registry.check_count(manager.index_stream.count)
        paths = TreeChecker(manager.paths, "path", self.marks, self.report, is_whole=whole[2])
        for leaf in paths.leaves():
            self._step(0, "path")
            self._names.check_leaf(leaf)
            for record in leaf.far_records():
                self._streams.check_chain(record)
        paths.check_count(manager.special_stream(manager.STREAM_PATHS).count)
        self._names.check_rest()
        check_space(manager, self.marks, self.blocks, self.report)

    # --- superblock and roots

    def _check_superblock(self) -> None:
        device, sequence = self._container.device, self._container.superblock.sequence
        whole = set()
        for number, offset in enumerate(SUPERBLOCK_OFFSETS):
            copy = read_copy(device, number)
            name = f"copy {'AB'[number]}"
            if isinstance(copy, CopyFault):
                self.report.tell("superblock-damaged", f"{name}: {copy.reason}")
            elif copy.superblock.sequence != sequence:
                self.report.tell("superblock-older", f"{name} is older")
            else:
                whole.add(device.pread(SUPERBLOCK_SIZE, offset))
        if len(whole) > 1:
            message = "the copies differ: one of them is not genuine"
            self.report.tell("superblock-forged", message)

    def _check_roots(self) -> None:
        container, tell = self._container, self.report.tell
        if container.recovered is not None:
            for skipped in container.recovered.skipped:
                message = f"commit {skipped.number} was not whole: {skipped.reason}"
                tell("commit-skipped", message)
        try:
            roots = container.ring.read()
        except CorruptError as damage:
            self.report.damage("root-damaged", damage)
            roots = {}
        if not container.is_readonly and len(roots) < RING_PLACES:
            lost = RING_PLACES - len(roots)
            tell("ring-incomplete", f"{lost} places of the ring are unreadable")
        end = slot_offset(container.root.slots + 1)
        size = container.device.size()
        if size > end and container.is_readonly:
            tell("file-longer", f"{size - end} bytes behind the last slot are ignored")
        if size < end:
            tell("file-shorter", f"the file ends {end - size} bytes before its last slot")

    # --- entries

    def _check_leaf(self, leaf: TreeNode) -> None:
        """Every registered stream is whole and stands where its entry says."""
        report, values = self.report, leaf.values
        for at, key in enumerate(leaf.keys):
            report.stream = key if len(key) == ID_SIZE else None
            try:
                value = self._far_value(leaf, at) if key in leaf.far else values[at]
                self._check_value(key, value)
            except SnapshotExpiredError:
                raise
            except Archive7Error as damage:
                report.tell("entry-damaged", str(damage).removesuffix(": run check"))

    def _far_value(self, leaf: TreeNode, at: int) -> bytes:
        record = leaf.values[at]
        if len(record) != STREAM.size:
            raise TreeCorruptError("the record of an entry's stream has not 38 bytes")
        stream, self.report.stream = self.report.stream, None
        is_whole = self._streams.check_chain(record)
        self.report.stream = stream
        if not is_whole:
            raise TreeCorruptError("an entry that is kept in a stream of its own is damaged")
        return self._manager.registry.tree.value(leaf, at)

    def _check_value(self, key: bytes, value: bytes) -> None:
        record, encoded, owner = split(value)
        identity, begin, _, count, _, _ = STREAM.unpack(record)
        if len(key) != ID_SIZE:
            raise TreeCorruptError("the key of an entry is no id")
        if identity != key:
            self.report.tell("entry-damaged", "the record is that of another stream")
        if count > self.blocks:
            raise TreeCorruptError("a record counts more blocks than there are")
        self._streams.check_runs(record, Extents.decode(encoded, begin, count))
        self._names.check_entry(key, decode_entry(owner))
