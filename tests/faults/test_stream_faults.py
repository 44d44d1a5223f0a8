"""Faults: the n-th call of every kind fails, in every operation of the managers of streams."""

from __future__ import annotations

from functools import cache

import pytest

from archive7.streams import (
    DataStream,
    DynamicMultiStreamManager,
    SingleStreamManager,
    StreamManager,
)
from tests.disk import Disk
from tests.faults.engine import Plan, Row, inject_all
from tests.faults.streamsubject import (
    COMMON_ROWS,
    DYNAMIC_ROWS,
    FIXED_ROWS,
    SINGLE_ROWS,
    ManagerSubject,
    ThreeStreams,
)

KINDS: dict[str, tuple[type[StreamManager], list[Row]]] = {
    "single": (SingleStreamManager, [*COMMON_ROWS, *SINGLE_ROWS]),
    "fixed": (ThreeStreams, [*COMMON_ROWS, *FIXED_ROWS]),
    "dynamic": (DynamicMultiStreamManager, [*COMMON_ROWS, *FIXED_ROWS, *DYNAMIC_ROWS]),
}
CASES = [(kind, row) for kind, (_, rows) in KINDS.items() for row in rows]
NAMES = [f"{kind} {row.name}" for kind, row in CASES]
# Neither reads nor writes, or a part of the operations above that is public for upper layers.
PLAIN = {
    "abandon", "check_record", "check_whole", "check_writable", "close_stream", "closed",
    "compression", "count", "created", "extents", "finish", "free_run", "give_run", "identity",
    "index_stream", "is_closed", "is_dirty", "is_open", "is_readonly", "is_torn", "len",
    "load_meta", "manager", "mark_tail", "meta_unpack", "new_identity", "open_streams", "opened",
    "over", "reload", "set_owner", "store_block", "take_run",
}  # fmt: skip


@cache
def start_of(kind: str) -> Disk:
    return ManagerSubject(KINDS[kind][0]).prepared()


def test_every_operation_on_streams_has_a_row() -> None:
    public = {
        name
        for kind in (ThreeStreams, DynamicMultiStreamManager, SingleStreamManager, DataStream)
        for name in dir(kind)
        if not name.startswith("_") and not name.isupper()
    }
    assert not public - PLAIN - {name for _, row in CASES for name in row.covers}


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_no_failing_call_does_harm(case: tuple[str, Row], seed: int) -> None:
    kind, row = case
    inject_all(ManagerSubject(KINDS[kind][0]), row, start_of(kind), Plan(False, seed, others=1))


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_no_failing_call_at_all_does_harm(case: tuple[str, Row]) -> None:
    kind, row = case
    inject_all(ManagerSubject(KINDS[kind][0]), row, start_of(kind), Plan(True, 0))
