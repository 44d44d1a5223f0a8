"""Directories: the methods of an archive that ask what stands where.

Owns the public face of looking: names and exceptions as in `os` and `os.path`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from .entry import DIRECTORY, FILE, LINK
from .errors import PathError
from .files import Files
from .filesystem import Filesystem
from .listing import Scan, walk
from .paths import PathLike, path_text, text_of
from .pattern import Pattern, glob
from .query import Condition
from .search import Found, find
from .session import query

R = TypeVar("R")
_BATCH: Final = 1024  # names read at a time


class Directories(Files):
    """Directories of an archive, and what they hold."""

    @query
    def listdir(self, path: PathLike = "/") -> list[str]:
        """The names in a directory, in order of their UTF-8."""
        return self._filesystem.names(self._filesystem.directory(path))

    def scandir(self, path: PathLike = "/") -> Scan:
        """The entries of a directory in order of their names, as `os.scandir`.

        They are read some at a time: what comes or goes meanwhile is found or not.
        """
        base = path_text(path)
        base += "" if base.endswith("/") else "/"
        identity = self._ask(lambda filesystem: filesystem.directory(path))

        def read(behind: str) -> list[tuple[str, bytes, bytes]]:
            return self._ask(lambda filesystem: filesystem.batch(identity, behind, _BATCH))

        return Scan(self, base, read)

    def walk(
        self,
        top: PathLike = "/",
        topdown: bool = True,
        onerror: Callable[[OSError], object] | None = None,
        followlinks: bool = False,
    ) -> Iterator[tuple[str, list[str], list[str]]]:
        """Walk a tree as `os.walk`: (path, names of directories, names of the others)."""
        return walk(self, text_of(top), topdown, onerror, followlinks)

    def glob(self, pattern: PathLike, root: PathLike = "/") -> Iterator[str]:
        """Iterate over the paths below `root` that match, in the order of a walk, each once.

        As `pathlib.Path.glob` of Python 3.13: ``*``, ``?`` and ``[...]`` stand for characters of
        a name, also for a dot in front; ``**`` as a whole part for any number of directories,
        which no symbolic link leads into; a slash at the end wants a directory.  Case counts.
        An absolute pattern begins at ``/``, whatever `root` is.  What changes meanwhile is found
        or not.
        Raises: ValueError for an empty pattern.
        Cost: a look-up for each name without wildcards, a listing for each directory with them.
        """
        return glob(self._ask, Pattern(pattern), root)

    def find(self, *conditions: Condition, under: PathLike = "/") -> Iterator[Found]:
        """Iterate over the entries below `under` that fulfil all conditions, in order of id.

        Conditions are made of the fields of `Q`: ``find(Q.size > 10**6, Q.name.like("*.log"))``.
        An entry with several names is found once, under its first; deleted ones only where a
        condition names `Q.deleted`.

        What is found is the state at this call.  If anything in the archive changes before the
        iterator is at its end, it raises UsageError: to change what was found, take a list first.
        The lock is held for a few milliseconds at a time.

        Raises: NotFoundError, NotADirectoryError for `under`; UsageError, see above.
        Cost: the registry is read once from end to end; a subtree that is small beside it costs
        its names and a look-up for each.
        """
        return find(self._ask, conditions, under)

    @query
    def _ask(self, question: Callable[[Filesystem], R]) -> R:
        """Ask the filesystem one thing."""
        return question(self._filesystem)

    @query
    def stat(self, path: PathLike, *, follow_symlinks: bool = True) -> os.stat_result:
        """As `os.stat`; `st_ctime` is the time of creation."""
        return self._filesystem.stat(path, follow=follow_symlinks)

    def lstat(self, path: PathLike) -> os.stat_result:
        """As `os.lstat`."""
        return self.stat(path, follow_symlinks=False)

    @query
    def stat_entry(self, identity: bytes) -> os.stat_result:
        """As `os.lstat`, by the identity that `scandir` gives."""
        return self._filesystem.stat_of(identity)

    @query
    def _type(self, path: PathLike, follow: bool = True) -> bytes | None:
        try:
            return self._filesystem.locate(path, follow=follow).type
        except (PathError, ValueError):  # not what the device raises: that says nothing
            return None

    def exists(self, path: PathLike) -> bool:
        """Whether a path leads to something; False for a dangling link."""
        return self._type(path) is not None

    def isfile(self, path: PathLike) -> bool:
        """Whether a path leads to a file."""
        return self._type(path) == FILE

    def isdir(self, path: PathLike) -> bool:
        """Whether a path leads to a directory."""
        return self._type(path) == DIRECTORY

    def islink(self, path: PathLike) -> bool:
        """Whether a path is a symbolic link."""
        return self._type(path, follow=False) == LINK

    @query
    def readlink(self, path: PathLike) -> str:
        """Target of a symbolic link.  Raises: PathError (EINVAL) for anything else."""
        return self._filesystem.readlink(path)
