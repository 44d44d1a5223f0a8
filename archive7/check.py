"""Check: every invariant of every layer, as an iterator of findings that can stop and go on.

Owns the levels, the budget and the state of a check.  May assume an open archive.  Promises:
nothing is changed; damage is told and looked past as far as it can be; no exception for damage.
The structures are looked at in one go, the data in steps between which others have their turn.
Memory: the caches, about 3 bytes for each block that is there (not: claimed), and the findings.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from .datacheck import DataChecker
from .errors import UsageError
from .filesystem import Filesystem
from .finding import Finding
from .layout import ID_SIZE
from .marks import REACHED
from .paths import FilesystemStreamManager
from .structurecheck import StructureChecker

Progress = Callable[[int, int, str], object]
Turn = Callable[[], AbstractContextManager[object]]
LEVELS: Final = ("quick", "full")
_STEP: Final = 16384  # blocks (64 MiB) opened under one lock
_PAUSE: Final = 0.0002  # seconds between two steps, for those who wait for the lock
_NOTHING: Final = bytes(ID_SIZE).hex()


@dataclass(frozen=True)
class CheckState:
    """How far a full check came; what `resume` takes.  It holds no secret and no name.

    Attributes:
        container, commit, root: id of the archive, its commit number and the hash of its root,
            in hexadecimal digits, when the check stopped.
        key, index: id of the stream, and the number of the block in it, to go on with.
        done: blocks of data opened in this round, in all its parts.
        errors: errors found in the data in this round; those in structures are found again.
        is_changed: whether the archive changed since the round began: what was written behind
            the point where the check stood is for the next round.
        is_complete: whether the round is over.
    """

    container: str
    commit: int = 0
    root: str = ""
    key: str = _NOTHING
    index: int = 0
    done: int = 0
    errors: int = 0
    is_changed: bool = False
    is_complete: bool = False

    def to_json(self) -> str:
        """As text, for a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> CheckState:
        """From `to_json`.  Raises: UsageError for anything else."""
        try:
            state = cls(**json.loads(text))
            kinds = {type(getattr(state, f.name)).__name__ == f.type for f in fields(cls)}
            size, least = len(bytes.fromhex(state.key)), min(state.index, state.done, state.errors)
        except (ValueError, TypeError, RecursionError):
            raise _no_state() from None
        if kinds != {True} or size != ID_SIZE or least < 0:
            raise _no_state()
        return state


def _no_state() -> UsageError:
    return UsageError("this is no state of a check: begin anew without it")


class Check(Iterator[Finding]):
    """Findings of one run of a check, as they are found; made by `Archive.check`.

    The structures have been looked at when this is there; the data are looked at while it is
    iterated, so SnapshotExpiredError and ClosedError may come up on the way.

    Attributes:
        level: quick or full.
        state: how far it came.
        total: blocks that there are to open (on level quick: to reach).
        earlier_errors: errors in the data that the parts found that this one goes on from.
    """

    def __init__(
        self,
        manager: FilesystemStreamManager,
        filesystem: Filesystem,
        level: str,
        *,
        turn: Turn,
        progress: Progress | None = None,
        seconds: float | None = None,
        resume: CheckState | None = None,
    ) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._manager, self._container, self._turn = manager, manager.container, turn
        self._progress = progress
        self.level = level
        self._is_full, self._is_over = level == "full", level == "quick"
        with turn():
            self.state = self._begin(resume)
            self.earlier_errors, self._done = self.state.errors, self.state.done
            self.total = max(1, self._container.root.used)
            structures = StructureChecker(manager, filesystem, self._step)
            structures.run()
        self._report = structures.report
        self._structure_errors = self._report.errors
        self._found = deque(self._report.take())
        self.state = replace(self.state, is_complete=self._is_over)
        if self._is_full:
            self.total = max(1, structures.marks.count(REACHED))
            self._data = DataChecker(
                manager, structures.marks, self._report, self._step, structures.leaves
            )
            self._data.key, self._data.index = bytes.fromhex(self.state.key), self.state.index

    def _begin(self, resume: CheckState | None) -> CheckState:
        """The state to go on from.  Raises: UsageError for that of another archive."""
        identity = self._container.superblock.container.hex()
        if resume is not None and resume.container != identity:
            raise UsageError("this state is of a check of another archive: begin anew without it")
        if resume is None or resume.is_complete:
            resume = CheckState(identity)
        state = self._present(resume)
        is_changed = resume.is_changed or resume.root not in ("", state.root)
        return replace(state, is_changed=is_changed)

    def _present(self, state: CheckState) -> CheckState:
        root = self._container.root
        return replace(state, commit=root.number, root=root.hash.hex())

    @property
    def is_complete(self) -> bool:
        """Whether everything was looked at, in this run and in those that it goes on from."""
        return self.state.is_complete

    def __iter__(self) -> Check:
        return self

    def __next__(self) -> Finding:
        while not self._found:
            if self._is_over:
                raise StopIteration
            self._advance()
        return self._found.popleft()

    def _advance(self) -> None:
        """One step through the data."""
        data, report = self._data, self._report
        with self._turn():
            is_last = data.step(_STEP, self._end)
            state = replace(
                self._present(self.state),
                key=data.key.hex(),
                index=data.index,
                done=self._done,
                errors=self.earlier_errors + report.errors - self._structure_errors,
                is_changed=self.state.is_changed or data.is_changed,
                is_complete=is_last,
            )
        self.state = state
        is_late = self._end is not None and time.monotonic() > self._end
        self._is_over = is_last or is_late
        self._found += report.take()
        if not self._is_over:
            time.sleep(_PAUSE)

    def _step(self, count: int, layer: str) -> None:
        if not self._is_full or layer == "block":
            self._done += count
        if self._progress is not None:
            self._progress(min(self._done, self.total), self.total, layer)


def check_archive(
    manager: FilesystemStreamManager,
    filesystem: Filesystem,
    level: str,
    *,
    turn: Turn | None = None,
    progress: Progress | None = None,
    seconds: float | None = None,
    resume: CheckState | None = None,
) -> Check:
    """Begin a check.

    Args: turn: lets it to the archive, alone and with nothing uncommitted; by default it takes
    the lock.
    """
    if level not in LEVELS:
        raise UsageError(f"level must be one of {', '.join(LEVELS)}")
    if resume is not None and level != "full":
        raise UsageError("only a full check can go on: its structures are checked in one go")
    if seconds is not None and not seconds >= 0:
        raise UsageError("seconds are not negative")
    return Check(
        manager, filesystem, level,
        turn=turn or (lambda: manager.container.lock),
        progress=progress, seconds=seconds, resume=resume,
    )  # fmt: skip
