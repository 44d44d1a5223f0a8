"""Directories: the methods of an archive that ask what stands where.

Owns the public face of looking: names and exceptions as in `os` and `os.path`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from .entry import DIRECTORY, FILE, LINK
from .files import Files
from .listing import DirEntry, walk
from .paths import PathLike, path_text
from .session import query


class Directories(Files):
    """Directories of an archive, and what they hold."""

    @query
    def listdir(self, path: PathLike = "/") -> list[str]:
        """The names in a directory, in order of their UTF-8."""
        return self._filesystem.names(self._filesystem.directory(path))

    @query
    def scandir(self, path: PathLike = "/") -> Iterator[DirEntry]:
        """The entries of a directory in order of their names, as they are now."""
        filesystem = self._filesystem
        base = path_text(path)
        base += "" if base.endswith("/") else "/"
        children = list(filesystem.children(filesystem.directory(path)))
        return iter([DirEntry(self, base, *child) for child in children])

    def walk(
        self,
        top: PathLike = "/",
        topdown: bool = True,
        onerror: Callable[[OSError], object] | None = None,
        followlinks: bool = False,
    ) -> Iterator[tuple[str, list[str], list[str]]]:
        """Walk a tree as `os.walk`: (path, names of directories, names of the others)."""
        return walk(self, str(top), topdown, onerror, followlinks)

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
        except (OSError, ValueError):
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
