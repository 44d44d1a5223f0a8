"""Space checked: nothing is lost, nothing is free and used at once.

Owns the balance of positions: what streams have, what the list of free positions and the trash
stream say.  May assume marks of all that is there and of all that was reached.
"""

from __future__ import annotations

from typing import Final

from .errors import CorruptError
from .finding import Report
from .layout import FLAG_TRASH, TRASH_EXTENT, TRASH_HEAD
from .marks import PRESENT, Marks
from .streams import FixedMultiStreamManager
from .streams.record import sound_fields

_FULL_TRASH: Final = 65536  # extents that a trash stream has at most


def check_space(
    manager: FixedMultiStreamManager, marks: Marks, blocks: int, report: Report
) -> None:
    """Tell of blocks that no stream has, and of used positions that are said to be free."""
    for first, count in marks.stretches(PRESENT):
        report.tell("block-lost", "it belongs to no stream", block=first, count=count)
    for first, count in manager.container.positions.extents():
        _check_free(first, count, marks, report, "on the free list")
    if manager.container.root.flags & FLAG_TRASH:
        _check_trash(manager, marks, blocks, report)


def _check_free(first: int, count: int, marks: Marks, report: Report, where: str) -> None:
    for used, size in marks.marked(first, count):
        report.tell("position-used", f"a used position is {where}", block=used, count=size)


def _check_trash(
    manager: FixedMultiStreamManager, marks: Marks, blocks: int, report: Report
) -> None:
    """The trash stream of this commit lists free positions only, in order, and all of them."""
    root = manager.container.root
    try:
        extents = _read_trash(manager, blocks)
    except CorruptError as damage:
        report.damage("trash-wrong", damage)
        return
    if extents is None:
        report.tell("trash-wrong", "the trash stream contradicts itself")
        return
    end, total = 0, 0
    for first, count in extents:
        if first <= end - (end > 0) or not count or first + count > root.positions:
            message = "the trash stream lists what cannot be, or not in order"
            report.tell("trash-wrong", message, block=first, count=count)
            return
        _check_free(first, count, marks, report, "in the trash stream")
        end, total = first + count, total + count
    free = root.positions - 1 - blocks
    if total < free and len(extents) < _FULL_TRASH:
        message = f"the trash stream lists {total} free positions of {free}"
        report.tell("trash-incomplete", message)


def _read_trash(manager: FixedMultiStreamManager, blocks: int) -> list[tuple[int, int]] | None:
    """What the trash stream lists; None where it contradicts itself."""
    trash = manager.special_stream(manager.STREAM_TRASH)
    if not trash.len:
        return []
    if sound_fields(bytes(trash)) is None or trash.count > blocks:
        return None
    data = bytearray(trash.len)
    trash.read_into(0, memoryview(data))
    if len(data) < TRASH_HEAD.size:
        return None
    (count,) = TRASH_HEAD.unpack_from(data)
    end = TRASH_HEAD.size + count * TRASH_EXTENT.size
    if end > len(data):
        return None
    return list(TRASH_EXTENT.iter_unpack(data[TRASH_HEAD.size : end]))
