"""Runs of the code under test that need not be made again: a run whose every answer is known.

What a reader or a recovering writer does follows from what its device answers: what the pages
hold that it reads, how long the file is, which locks are held.  So runs are kept as a tree: at
each node a question to the disk, at each branch an answer and what was written after it, at each
leaf what came out.
Two disks that differ only in pages that no run asks for end in the same leaf, without the code
under test; a page that was never seen in its place is a new branch, and the code runs.

What a run draws at random (nonces, session ids) is one of its possible outcomes and is kept with
it.  That a run follows from its answers is checked: one in `CHECK_EVERY` is made all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from archive7.device import Buffer
from archive7.locks import Lock
from tests.devices import DiskLocks, RecordingDevice
from tests.disk import PAGE, Disk, Operation, Truncate, Write

CHECK_EVERY: Final = 500  # runs that are known and made all the same
_ZEROS: Final = bytes(PAGE)

_Pages = tuple[int, ...]
_SIZE: Final[_Pages] = ()  # no pages: how long the file is


class _LockAsked(NamedTuple):
    """Whether others hold a lock (None), or whether it can be taken, shared or not."""

    lock: Lock
    shared: bool | None


_Question = _Pages | _LockAsked


@dataclass(slots=True)
class _Node:
    """A point of a run: what was written since the question before, and the next question."""

    operations: list[Operation] = field(default_factory=list)
    question: _Question | None = None
    branches: dict[Any, _Node] = field(default_factory=dict)
    result: Any = None


@dataclass(slots=True)
class Run:
    """What came out of a program, and what it did to the disk it was given."""

    result: Any
    log: list[Operation]
    leaf: int  # the same for runs that are the same


class TracedDevice(RecordingDevice):
    """A device that keeps the questions of one run, and the answers."""

    def __init__(self, disk: Disk, trace: Trace, *, readonly: bool = False) -> None:
        super().__init__(disk, trace.log, readonly=readonly)
        self.trace = trace
        self.locks = _TracedLocks(self)

    def pread(self, size: int, offset: int) -> bytes:
        self._check()
        self.trace.see(self.disk, offset // PAGE, (offset + size + PAGE - 1) // PAGE)
        return self.disk.read(size, offset)

    def size(self) -> int:
        self._check()
        self.trace.see_size(self.disk)
        return self.disk.size

    def pwrite(self, data: Buffer, offset: int) -> None:
        assert offset % PAGE == len(data) % PAGE == 0, "the old bytes would be read as well"
        super().pwrite(data, offset)

    def record(self, operation: Operation) -> None:
        self.trace.will(self.disk, operation)
        super().record(operation)


class _TracedLocks(DiskLocks):
    """Locks whose answers are kept."""

    def __init__(self, device: TracedDevice) -> None:
        super().__init__(device)
        self._trace = device.trace

    def take(self, lock: Lock, *, shared: bool) -> bool:
        before = self._device.disk.grips.get(lock, {})
        others = [is_shared for owner, is_shared in before.items() if owner != self._device.owner]
        self._trace.ask(
            _LockAsked(lock, shared), all(shared and is_shared for is_shared in others)
        )
        return super().take(lock, shared=shared)

    def held_by_others(self, lock: Lock) -> bool | None:
        held = super().held_by_others(lock)
        self._trace.ask(_LockAsked(lock, None), bool(held))
        return held


class Trace:
    """One run, as it goes: each page of the disk is asked for once.

    Args:
        without: pages that are never asked for: nothing comes of them.

    Attributes:
        is_on: whether questions are kept; while it is off, nothing may come of the answers that
            the name of the program does not say.
    """

    def __init__(self, without: Iterable[int] = ()) -> None:
        self.is_on = True
        self.log: list[Operation] = []
        self.steps: list[tuple[_Question, Any, list[Operation]]] = []
        self.first: list[Operation] = []
        self._since = self.first
        self._known: set[int] = set(without)
        self._knows_size = False
        self._cut = 1 << 60  # pages from here on were cut by this run

    def ask(self, question: _Question, answer: Any) -> None:
        """Keep a question and its answer."""
        if not self.is_on:
            return
        self._since = []
        self.steps.append((question, answer, self._since))

    def see(self, disk: Disk, first: int, end: int) -> None:
        """Pages are read; where they end, too."""
        if not self.is_on:
            return
        self.see_size(disk)
        end = min(end, self._cut)
        new = tuple(page for page in range(first, end) if page not in self._known)
        if new:
            self._known.update(new)
            self.ask(new, answer(disk, new))

    def see_size(self, disk: Disk) -> None:
        """The size is asked for."""
        if self.is_on and not self._knows_size:
            self._knows_size = True
            self.ask(_SIZE, disk.size)

    def will(self, disk: Disk, operation: Operation) -> None:
        """Something is going to be changed; what that depends on is asked first."""
        if isinstance(operation, Write):
            self.see_size(disk)
            self._known.update(page for page, _ in operation.pages)
        elif isinstance(operation, Truncate):
            assert operation.size % PAGE == 0, "a page would be cut"
            self.see_size(disk)
            self._cut = min(self._cut, operation.size // PAGE)
        self._since.append(operation)


def answer(disk: Disk, question: _Question) -> Any:
    """What `disk` answers a process that holds no lock."""
    if type(question) is _LockAsked:
        held = disk.grips.get(question.lock, {})
        shared = question.shared
        return bool(held) if shared is None else all(shared and other for other in held.values())
    get = disk.view.get
    if len(question) == 1:
        return get(question[0], _ZEROS)
    return tuple([get(page, _ZEROS) for page in question]) if question else disk.size


Program = Callable[[Disk, Trace], Any]


class Memo:
    """All runs of some programs.

    Attributes:
        hits, misses: runs that were known, and that were made.
    """

    def __init__(self) -> None:
        self._roots: dict[Hashable, _Node] = {}
        self.hits = self.misses = 0

    def run(
        self, name: Hashable, program: Program, disk: Disk, *, without: Iterable[int] = ()
    ) -> Run:
        """What `program` makes of `disk`, which is left as it was.

        Args:
            name: the same for programs that do the same.
            without: pages that nothing comes of.
        """
        root = self._roots.get(name)
        known = None if root is None else _walk(root, disk)
        if known is not None:
            self.hits += 1
            if self.hits % CHECK_EVERY:
                return known
        made = self._make(name, program, disk, Trace(without))
        if known is not None and made.result != known.result:
            raise AssertionError("a run does not follow from what the disk answered")
        return made

    def _make(self, name: Hashable, program: Program, disk: Disk, trace: Trace) -> Run:
        self.misses += 1
        result = program(disk.copy(locks=True), trace)
        root = self._roots.get(name)
        if root is None:
            root = self._roots[name] = _Node(trace.first)
        node = root
        for question, found, operations in trace.steps:
            if node.question is None:
                node.question = question
            assert node.question == question, "a run does not follow from what the disk answered"
            if found not in node.branches:
                node.branches[found] = _Node(operations)
            node = node.branches[found]
        node.result = result
        return Run(result, trace.log, id(node))


def _walk(node: _Node, disk: Disk) -> Run | None:
    """The run that `disk` leads to, if it is known."""
    log: list[Operation] = list(node.operations)
    while node.question is not None:
        following = node.branches.get(answer(disk, node.question))
        if following is None:
            return None
        node = following
        log += node.operations
    return Run(node.result, log, id(node))
