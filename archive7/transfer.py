"""Transfer: what was copied between the host and an archive, and what was not.

Owns the report, and the telling of progress.  Promises: what could not be copied is in the report
with a reason, never silently dropped; the bytes told never go back and never beyond the total.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

Progress = Callable[[int, int, str], object]
Filter = Callable[[str, os.stat_result], bool]


@dataclass
class Transfer:
    """What was copied, and what was not.

    Attributes:
        files, directories, links: how many were copied; the top folder is not counted.
        hard_links: further names that files and links got.
        bytes: that were copied.
        unchanged: names of files and links that were there already, with the same size and time.
        skipped: (path, reason) of what was not copied; where the reason begins with "without",
            it was copied, except for what is named.
    """

    files: int = 0
    directories: int = 0
    links: int = 0
    hard_links: int = 0
    bytes: int = 0
    unchanged: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Wishes:
    """What the caller of a transfer wants.

    Attributes:
        keep: asked for each path with its status; False leaves out a file or a whole directory.
        progress: called as ``progress(done bytes, all bytes, path)``.
        ownership: take user and group along, by number and name.
        xattrs: take extended attributes along.
        resume: leave files alone that are there with the same size and time.
    """

    keep: Filter | None = None
    progress: Progress | None = None
    ownership: bool = False
    xattrs: bool = True
    resume: bool = False


class SkipError(Exception):
    """Something is not copied: the reason, for the report.  Never leaves a transfer."""


class Turn(Enum):
    """What a step of a walk is."""

    ENTER = "into a directory"
    LEAVE = "out of a directory"
    MEET = "something that is no directory"


class Report:
    """Counts, and calls the caller's progress function.

    Args:
        progress: the caller's.
        total: bytes of all files.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.done = Transfer()
        self._progress = progress
        self._total = total
        self._passed = 0  # bytes of the files that are dealt with

    def tell(self, path: str, size: int = 0) -> None:
        """`size` bytes of the file at `path` are copied so far."""
        if self._progress is not None:
            done = self._passed + size
            self._total = max(self._total, done)
            self._progress(done, self._total, path)

    def passed(self, path: str, size: int) -> None:
        """The file at `path`, of `size` bytes, is dealt with, copied or not."""
        self._passed += size
        self.tell(path)

    def skip(self, path: str, reason: str) -> None:
        """The file at `path` was not copied."""
        self.done.skipped.append((shown(path), reason))


def shown(path: str) -> str:
    r"""A path of the host as text that can be printed: bytes that are not UTF-8 as ``\xff``."""
    for errors in ("surrogateescape", "backslashreplace"):  # Windows has other surrogates
        try:
            return path.encode(errors=errors).decode(errors="backslashreplace")
        except UnicodeEncodeError:
            pass
    return path


def reason_of(error: Exception) -> str:
    """The words of an error, of the system's without its number and path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
