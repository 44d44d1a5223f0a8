"""Repair: what of an archive can be derived from the rest is written anew.

Owns the order of a repair, and that it is one transaction.  May assume a superblock, a root and a
map that open: without them there is nothing to derive from, and rescue is the way.  Promises: data
of files are never changed or thrown away, nothing is guessed, a dry run leaves the file as it is.
Cost: two passes over the file; 13 bytes of memory for each block.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from .check import check_archive
from .commit import Container
from .creation import Options, Target, device_of, open_container
from .entry import ROOT_ID, decode_entry
from .errors import Archive7Error, CorruptError, TreeCorruptError
from .filesystem import Filesystem
from .inventory import UNREADABLE, Inventory, Step
from .keyslots import Secrets
from .layout import BLOCK_HEAD, DATA_SIZE, ID_SIZE, MAX_SPECIAL_STREAMS, STREAM
from .locks import Lock
from .map import entry_slot
from .mending import RESCUE, RepairReport
from .namecheck import names_agree
from .namerepair import NameRepair
from .overlay import OverlayDevice
from .paths import FilesystemStreamManager
from .positions import PositionTable
from .streamrepair import Assembled, Blocks, State, assemble, judge, relink
from .streams.chain import tail_used
from .streams.extents import Extents
from .streams.manager import special_identity
from .streams.record import sound_fields
from .streams.registry import encode_value, split
from .treerepair import Item, TreeRepair

SPECIAL: Final = tuple(special_identity(n).bytes for n in range(MAX_SPECIAL_STREAMS))
_VALUE_BLOCKS: Final = 512  # of a large value of the registry at most
_MADE: Final = "its record was put together from its blocks"
_DISCARD: Final = "then repair with discard to free them"


def repair(
    source: Target,
    secrets: Secrets,
    *,
    apply: bool,
    discard: bool = False,
    options: Options,
    progress: Step | None = None,
) -> RepairReport:
    """Repair an archive, or with `apply` False tell what a repair would do.

    Raises: CorruptError where superblock, roots or map are lost: use rescue.
    """
    container = open_container(
        source if apply else _overlay(source), secrets, readonly=False, options=options
    )
    try:
        return Repairer(container, discard=discard, progress=progress).run(apply=apply)
    finally:
        container.close()


def _overlay(source: Target) -> OverlayDevice:
    """A writable view of an archive that stays as it is, and as a reader what it needs."""
    device = device_of(source, readonly=True)
    try:
        with contextlib.suppress(OSError):  # no permission to lock: as any reader
            device.locks.take(Lock.READERS, shared=True)
        return OverlayDevice(device)
    except BaseException:
        device.close()
        raise


class Repairer:
    """One repair of one container, which is the caller's.

    Args:
        discard: free blocks of files that cannot be put together any more.
    """

    def __init__(
        self, container: Container, *, discard: bool = False, progress: Step | None = None
    ) -> None:
        self._container = container
        self._discard = discard
        self._progress = progress
        self._report = RepairReport()
        self._inventory = Inventory(container, progress)
        self._fixes: dict[bytes, bytes | None] = {}  # registry: what is not as it stood
        self._wrong: dict[bytes, bytes] = {}  # id -> value whose record is wrong
        self._streams: dict[bytes, bytes] = {}  # id -> value without an entry
        self._kept: set[bytes] = set()  # ids of streams that are left as they are
        self._is_blind = False  # blocks were lost that may be all that was left of a file

    def run(self, *, apply: bool) -> RepairReport:
        """Everything; what fails is rolled back."""
        report, container = self._report, self._container
        report.is_applied = apply
        try:
            self._inventory.run()
        except CorruptError as damage:
            raise CorruptError(
                f"the map is damaged ({damage.reason}), without it nothing follows: {RESCUE}",
                block=damage.block,
            ) from damage
        self._refuse_shared()
        manager = FilesystemStreamManager("", b"", container=container)
        with container.lock:
            was_busy, container.is_busy = container.is_busy, True
            try:
                self._mend(manager)
                if report.mended:
                    manager.flush()
                    container.commit(durable=True, fold=True)
            except BaseException:
                manager.rollback()
                raise
            finally:
                container.is_busy = was_busy
        filesystem = Filesystem(manager)
        filesystem.attach()
        report.remaining = list(
            check_archive(manager, filesystem, "full", progress=self._progress)
        )
        self._name_paths(filesystem)
        manager.close()
        return report

    def _mend(self, manager: FilesystemStreamManager) -> None:
        """Layer by layer, from the bottom up."""
        self._mend_space()
        self._mend_trash(manager)
        registry = TreeRepair(manager, self._inventory, manager.STREAM_INDEX, self._report)
        paths = TreeRepair(manager, self._inventory, manager.STREAM_PATHS, self._report)
        for key, value in registry.items():
            self._look_at(key, value)
        self._put_together(registry, registry.lost_count + paths.lost_count)
        self._write_registry(registry)
        if not paths.is_sound:
            paths.rebuild(paths.items())
        self._mend_lineage(manager)
        self._free_rest(manager)
        if self._has_wrong_names(manager) or registry.has_gaps or paths.has_gaps or self._streams:
            NameRepair(manager, self._report, self._streams, is_blind=self._is_blind).run()

    # --- space

    def _refuse_shared(self) -> None:
        """Refuse where two entries of the map have one slot: freeing one destroys the other."""
        container = self._container
        chart, (first, count) = container.blocks.map, container.root.reserve
        seen = bytearray(container.slots.count + 1)
        seen[first : first + count] = bytes([1]) * count
        nodes = [entry_slot(entry) for _, _, entry, _ in chart.walk()]
        for parts in ([nodes], (slots for _, slots in chart.leaves())):
            for slot in (slot for part in parts for slot in part if 0 < slot < len(seen)):
                if seen[slot]:
                    raise CorruptError(
                        f"the map has slot {slot} twice, so writing may destroy: {RESCUE}"
                    )
                seen[slot] = 1

    def _mend_space(self) -> None:
        """The count of used slots, the list of free positions."""
        container = self._container
        chart = container.blocks.map
        used = self._inventory.total + sum(1 for _ in chart.walk())
        if chart.used != used:
            self._report.mend("map", f"the root counted {chart.used} used slots, not {used}")
            chart.used, chart.is_changed = used, True
        free = PositionTable(
            container.positions.end, chart.free_positions(container.positions.end)
        )
        if free.extents() != container.positions.extents():
            if container.positions.is_complete:
                self._report.mend("space", "the list of free positions was made anew")
            container.positions = free

    def _mend_trash(self, manager: FilesystemStreamManager) -> None:
        """The trash is written at each close: a damaged one is emptied."""
        self._mend_special(manager, manager.STREAM_TRASH, "the list of free positions")

    def _mend_lineage(self, manager: FilesystemStreamManager) -> None:
        self._mend_special(manager, manager.STREAM_LINEAGE, "the lineage")

    def _mend_special(self, manager: FilesystemStreamManager, number: int, what: str) -> None:
        """Empty a special stream that is damaged; its blocks are freed with the rest."""
        stream = manager.special_stream(number)
        record = bytes(stream)
        try:
            verdict = judge(self._inventory, record, stream.extents)
        except CorruptError:
            verdict = None
        if verdict is None or verdict.state is not State.SOUND:
            if verdict is not None and verdict.state is not State.WRONG:  # `judge` claimed them
                for run in stream.extents:
                    self._inventory.disclaim(*run)
            identity = special_identity(number).bytes
            stream.reload(STREAM.pack(identity, -1, -1, 0, 0, 0), None)
            self._report.mend("stream", f"{what} was damaged and is empty now")

    # --- streams

    def _look_at(self, key: bytes, value: bytes) -> None:
        """One value of the registry: its stream against the blocks."""
        try:
            record, encoded, owner = split(value)
            identity, begin, _, count, _, _ = STREAM.unpack(record)
            decode_entry(owner)
            if identity != key:
                raise TreeCorruptError("the record is that of another stream")
        except TreeCorruptError as error:
            self._fixes[key] = None
            self._report.mend("registry", f"{error.reason}: it was removed", stream=key.hex())
            return
        try:
            if count > self._inventory.total:
                raise TreeCorruptError("a record counts more blocks than there are")
            verdict = judge(self._inventory, record, Extents.decode(encoded, begin, count))
        except TreeCorruptError:
            self._wrong[key] = value
            return
        if verdict.state is State.WRONG:
            self._wrong[key] = value
        elif verdict.state is State.DAMAGED:
            message = f"{verdict.damaged} of {count} blocks do not open: {RESCUE}"
            self._report.lose("stream", message, stream=key.hex())
        if verdict.links:
            relink(self._container, verdict.links)
            self._report.mend("stream", "links between blocks were set right", stream=key.hex())

    def _put_together(self, registry: TreeRepair, lost_count: int) -> None:
        """Streams whose record is wrong, and those that nobody knows.

        Args:
            lost_count: blocks of the trees that do not open.
        """
        inventory = self._inventory
        special = {inventory.number(identity) for identity in SPECIAL}
        numbers: set[int] = set()
        for _, said in inventory.unclaimed():
            if (
                said.stream != UNREADABLE
                and said.stream not in special
                and not registry.owns(inventory.stream(said.stream))
            ):
                numbers.add(said.stream)
        found = inventory.positions_of(numbers)
        if not registry.is_sound:
            for number in list(found):
                if self._take_value(inventory.stream(number), found[number], registry):
                    del found[number]
        for number, blocks in found.items():
            identity = inventory.stream(number)
            free = inventory.unclaimed_of(blocks)
            made = assemble(inventory, identity, free)
            if not free:
                continue
            if made is not None:
                self._adopt(identity, made)
            elif identity not in self._wrong:
                self._is_blind = True
        for key, value in self._wrong.items():
            if key not in self._fixes:
                self._give_up(key, value)
        unknown = sum(said.stream == UNREADABLE for _, said in inventory.unclaimed())
        self._is_blind |= unknown > lost_count

    def _take_value(self, identity: bytes, blocks: Blocks, registry: TreeRepair) -> bool:
        """Whether a stream is a large value of the registry, of a leaf that is lost."""
        count = len(blocks)
        if not 0 < count <= _VALUE_BLOCKS or sorted(blocks) != list(range(count)):
            return False
        if any(len(positions) != 1 for positions in blocks.values()):
            return False
        chart, last = self._container.blocks, blocks[count - 1][0]
        plains = [chart.verify(p, chart.map.get(p)) for (p,) in (blocks[i] for i in range(count))]
        used = tail_used(self._inventory.said(last).next)
        value = b"".join(plain[BLOCK_HEAD.size :] for plain in plains)[
            : (count - 1) * DATA_SIZE + used
        ]
        try:
            record, _, owner = split(value)
            decode_entry(owner)
        except TreeCorruptError:
            return False
        if sound_fields(record) is None or record[:ID_SIZE] == identity:
            return False
        registry.adopt(identity)
        if record[:ID_SIZE] not in self._fixes:
            self._fixes[record[:ID_SIZE]] = value
            self._look_at(record[:ID_SIZE], value)
        return True

    def _adopt(self, identity: bytes, made: Assembled) -> None:
        """Use a stream that was put together."""
        relink(self._container, made.links)
        old, extents = self._wrong.get(identity), made.extents.encode()
        if old is not None:
            self._fixes[identity] = encode_value(made.record, extents, split(old)[2])
            self._report.mend("stream", _MADE, stream=identity.hex())
        else:
            self._streams[identity] = encode_value(made.record, extents, b"")
            self._report.mend("stream", f"{_MADE}; its entry was lost", stream=identity.hex())
        if made.damaged:
            message = f"{made.damaged} of its blocks do not open: {RESCUE}"
            self._report.lose("stream", message, stream=identity.hex())

    def _give_up(self, key: bytes, value: bytes) -> None:
        """A record that is wrong and cannot be put right stays, and so do its blocks."""
        self._report.lose("stream", f"its blocks do not fit together: {RESCUE}", stream=key.hex())
        self._kept.add(key)
        record, encoded, _ = split(value)
        with contextlib.suppress(TreeCorruptError):
            for begin, count in Extents.decode(
                encoded, STREAM.unpack(record)[1], STREAM.unpack(record)[3]
            ):
                self._inventory.claim_rest(begin, count)

    # --- writing

    def _write_registry(self, registry: TreeRepair) -> None:
        if not registry.is_sound:
            registry.rebuild(_merged(registry.items(), self._fixes))
        else:
            for key, value in self._fixes.items():
                if value is None:
                    registry.tree.delete(key)
                else:
                    registry.tree.insert(key, value)
        for identity in [i for i in self._streams if i in registry.tree]:
            del self._streams[identity]
            self._kept.add(identity)
            message = f"there are blocks that its record does not have: {RESCUE}"
            self._report.lose("stream", message, stream=identity.hex())

    def _free_rest(self, manager: FilesystemStreamManager) -> None:
        """Free what is nobody's: blocks that do not open, and those of what was written anew."""
        inventory, freed = self._inventory, 0
        kept: dict[int, int] = {}
        special = {inventory.number(identity) for identity in SPECIAL}
        for position, said in inventory.unclaimed():
            if said.stream == UNREADABLE or said.stream in special or self._discard:
                manager.free_run(position, 1)
                freed += 1
            else:
                kept[said.stream] = kept.get(said.stream, 0) + 1
        if freed:
            self._report.mend("space", f"{freed} blocks that nothing refers to were freed")
        for number, count in kept.items():
            message = f"{count} blocks of a file that cannot be put together: {RESCUE}, {_DISCARD}"
            self._report.lose("space", message, stream=inventory.stream(number).hex())

    # --- names

    def _has_wrong_names(self, manager: FilesystemStreamManager) -> bool:
        """Whether an entry and a name contradict each other."""
        if ROOT_ID not in manager.registry.tree:
            return True
        return not names_agree(manager, Filesystem(manager))

    def _name_paths(self, filesystem: Filesystem) -> None:
        """Tell paths in the report, where there are some."""
        for notes in (self._report.mended, self._report.lost):
            for at, mend in enumerate(notes):
                if mend.stream is not None and mend.path is None:
                    with contextlib.suppress(Archive7Error):
                        path = filesystem.path_of(bytes.fromhex(mend.stream))
                        notes[at] = replace(mend, path=path)


def _merged(items: Iterator[Item], fixes: dict[bytes, bytes | None]) -> Iterator[Item]:
    """Items in order, with those in `fixes` in their place."""
    added = iter(sorted(fixes))
    waiting = next(added, None)
    for key, value in items:
        while waiting is not None and waiting < key:
            yield from _item(waiting, fixes[waiting])
            waiting = next(added, None)
        if waiting == key:
            yield from _item(key, fixes[key])
            waiting = next(added, None)
        else:
            yield key, value
    while waiting is not None:
        yield from _item(waiting, fixes[waiting])
        waiting = next(added, None)


def _item(key: bytes, value: bytes | None) -> Iterator[Item]:
    if value is not None:
        yield key, value
