"""Faults: no memory.  The n-th call of what takes memory raises, in caches and while encoding.

Each seam is a function that makes or grows something: it raises MemoryError before it does
anything, or behind it, as if the caller had none left for what comes next.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest

import archive7.btree
import archive7.filesystem
import archive7.map
import archive7.streams.registry
from archive7.blocks import BlockStore
from archive7.btree import BTree
from archive7.cache import BlockCache
from archive7.crypto import BlockCipher, XaesCipher
from archive7.map import Map
from archive7.positions import PositionTable
from archive7.root import Ring, Root
from archive7.slots import SlotTable
from archive7.streams.chain import Chain
from archive7.streams.extents import Extents
from archive7.treenode import TreeNode
from tests.devices import Fault
from tests.disk import Disk
from tests.faults.archiverows import ARCHIVE_ROWS, FILE_ROWS
from tests.faults.archivesubject import ArchiveSubject, prepared
from tests.faults.engine import Injection, Known, Row, Trial, learn, silent

SEAMS: dict[str, tuple[Any, str]] = {
    "cache offer": (BlockCache, "offer"),
    "cache keep": (BlockCache, "keep"),
    "map node": (Map, "node"),
    "map change": (Map, "_change"),
    "map grow": (Map, "_grow"),
    "map set": (Map, "set"),
    "map set_run": (Map, "set_run"),
    "map set_many": (Map, "set_many"),
    "map clear_run": (Map, "clear_run"),
    "tree encode": (TreeNode, "encode"),
    "tree decode": (archive7.btree, "decode_node"),
    "tree split": (BTree, "_split"),
    "tree new": (BTree, "_new"),
    "root encode": (Root, "encode"),
    "root seal": (Ring, "seal"),
    "run buffer": (BlockCipher, "run_buffer"),
    "seal run": (XaesCipher, "seal_run"),
    "registry encode": (archive7.streams.registry, "_encode"),
    "entry encode": (archive7.filesystem, "encode_value"),
    "slots append": (SlotTable, "_append"),
    "slots take": (SlotTable, "take"),
    "slots release": (SlotTable, "release"),
    "slots release_all": (SlotTable, "release_all"),
    "slots commit": (SlotTable, "commit"),
    "positions take": (PositionTable, "take"),
    "positions insert": (PositionTable, "_insert"),
    "positions give": (PositionTable, "give"),
    "extents append": (Extents, "append"),
    "extents cut": (Extents, "cut"),
    "chain grow": (Chain, "_grow"),
    "chain link": (Chain, "_link_tail"),
    "blocks put": (BlockStore, "put"),
    "blocks mutable": (BlockStore, "mutable"),
    "blocks inside": (BlockStore, "write_inside"),
    "blocks seal": (BlockStore, "_seal_chunk"),
}
_NAMES = (
    "write_bytes", "write_bytes big", "write_bytes over", "truncate", "truncate longer",
    "makedirs", "remove", "remove soft", "remove hard", "rmtree", "undelete", "purge", "replace",
    "copy", "copy tree", "setxattr", "transaction", "transaction undone", "many", "import_tree",
    "compact", "close", "read_bytes", "listing", "find", "remove blank", "set_header",
    "file write r+b", "file write wb", "file truncate r+b", "file close r+b",
)  # fmt: skip
_MEETING = ("many", "write_bytes big", "rmtree", "undelete", "file write r+b", "truncate")
ROWS = {row.name: row for row in [*ARCHIVE_ROWS, *FILE_ROWS] if row.name in _NAMES}


_MemoryPlan = tuple[str, int, bool, bool]  # seam, call, whether behind it, whether for good


class Seams:
    """Counts the calls of seams, and lets one raise MemoryError."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.fired = 0
        self._plan: _MemoryPlan | None = None

    def begin(self) -> None:
        """The operation begins: what came before does not count."""
        self.calls.clear()

    def arm(self, name: str, at: int, *, behind: bool, persistent: bool) -> None:
        """Let call `at` from now on fail, before it does anything or `behind` it."""
        self._plan = name, at + self.calls[name], behind, persistent

    def disarm(self) -> None:
        """Let everything succeed."""
        self._plan = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the block runs."""
        with ExitStack() as stack:
            for name, (owner, attribute) in SEAMS.items():
                wrapped = self._wrapped(name, getattr(owner, attribute))
                stack.enter_context(mock.patch.object(owner, attribute, wrapped))
            yield

    def _wrapped(self, name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            plan = self._plan
            if plan is None or plan[0] != name:
                return real(*args, **kwargs)
            count = self.calls[name]
            if count < plan[1] or (count > plan[1] and not plan[3]):
                return real(*args, **kwargs)
            if plan[2]:
                real(*args, **kwargs)
            self.fired += 1
            raise MemoryError(name)

        return call


class MemoryTrial(Trial):
    """A run of an operation in which a seam raises."""

    def __init__(
        self, row: Row, start: Disk, known: Known, seams: Seams,
        plan: _MemoryPlan,
    ) -> None:  # fmt: skip
        name, at, behind, persistent = plan
        injection = Injection(name, at + behind, Fault.MEMORY, persistent)
        super().__init__(ArchiveSubject(), row, start, known, injection)
        self._seams, self._memory_plan = seams, plan

    def _arm(self) -> None:
        name, at, behind, persistent = self._memory_plan
        self._seams.fired = 0
        self._seams.arm(name, at, behind=behind, persistent=persistent)

    def _disarm(self) -> None:
        self._seams.disarm()

    @property
    def is_hit(self) -> bool:
        return self._seams.fired > 0

    def _may_refuse(self) -> bool:
        # the root may stand on disk already: its commit was interrupted behind the write
        return super()._may_refuse() or self.injection.kind == "slots commit"


def _plans(
    calls: Counter[str], row: Row, seed: int | None
) -> Iterator[tuple[str, int, bool, bool]]:
    """Calls 1 to 6 of each seam and about four of the others; with a seed a sample."""
    rng = random.Random(f"{seed} {row.name}")
    for name in SEAMS:
        count = calls[name]
        if seed is None:
            numbers = [*range(1, min(count, 6) + 1), *range(7, count + 1, max(1, count // 4))]
            for at in numbers:
                for behind in (False, True):
                    yield name, at, behind, False
                yield name, at, False, True
        elif count and rng.random() < 0.18:
            at = rng.choice((1, rng.randint(1, count)))
            yield name, at, rng.random() < 0.5, rng.random() < 0.3


def _inject_all(row: Row, start: Disk, seed: int | None) -> None:
    seams = Seams()
    with silent():
        known = learn(ArchiveSubject(), row, start, seams)
    calls = Counter(seams.calls)
    hits, failed = 0, []
    for plan in _plans(calls, row, seed):
        with seams.watched():
            try:
                hits += MemoryTrial(row, start, known, seams, plan).run()
            except AssertionError as error:
                failed.append(f"{plan}: {error}".split("\n")[0])
    print(f"{row.name}: {dict(calls)}, {hits} faults")
    assert not failed, f"{len(failed)} of {hits}:\n" + "\n".join(failed[:20])


@pytest.fixture(scope="module")
def start() -> Disk:
    return prepared()


def test_every_seam_is_met(start: Disk) -> None:
    met: Counter[str] = Counter()
    for name in _MEETING:
        seams = Seams()
        with silent():
            learn(ArchiveSubject(), ROWS[name], start, seams)
        met += seams.calls
    missing = SEAMS.keys() - met.keys()
    assert not missing, missing
    assert ROWS.keys() == set(_NAMES)


@pytest.mark.parametrize("name", ROWS)
def test_no_lack_of_memory_does_harm(start: Disk, name: str, seed: int) -> None:
    _inject_all(ROWS[name], start, seed)


@pytest.mark.full
@pytest.mark.parametrize("name", ROWS)
def test_no_lack_of_memory_at_all_does_harm(start: Disk, name: str) -> None:
    _inject_all(ROWS[name], start, None)
