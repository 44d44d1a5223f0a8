"""Listings: directory entries and walks, as `os.scandir` and `os.walk` give them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Protocol

from .entry import DIRECTORY, FILE, LINK


class Listed(Protocol):
    """What a listing needs of an archive."""

    def scandir(self, path: str) -> Iterator[DirEntry]: ...

    def stat(self, path: str) -> os.stat_result: ...

    def stat_entry(self, identity: bytes) -> os.stat_result: ...

    def isdir(self, path: str) -> bool: ...

    def isfile(self, path: str) -> bool: ...


class DirEntry:
    """One entry of a directory, as `os.DirEntry`; it has no `__fspath__` on purpose.

    Attributes:
        name, path: of the entry.
    """

    __slots__ = ("_archive", "_identity", "_type", "name", "path")

    def __init__(
        self, archive: Listed, base: str, name: str, kind: bytes, identity: bytes
    ) -> None:
        self._archive = archive
        self._type = kind
        self._identity = identity
        self.name = name
        self.path = f"{base}/{name}"

    def inode(self) -> int:
        """The number that `stat` tells as `st_ino`."""
        return int.from_bytes(self._identity[8:], "big")

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether this is a directory, or a link to one."""
        if self._type == LINK and follow_symlinks:
            return self._archive.isdir(self.path)
        return self._type == DIRECTORY

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether this is a file, or a link to one."""
        if self._type == LINK and follow_symlinks:
            return self._archive.isfile(self.path)
        return self._type == FILE

    def is_symlink(self) -> bool:
        """Whether this is a symbolic link."""
        return self._type == LINK

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """As `os.stat`, or `os.lstat`."""
        if self._type == LINK and follow_symlinks:
            return self._archive.stat(self.path)
        return self._archive.stat_entry(self._identity)

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"


def walk(
    archive: Listed,
    top: str,
    topdown: bool,
    onerror: Callable[[OSError], object] | None,
    followlinks: bool,
) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`; a directory may be emptied or pruned while it is walked."""
    try:
        entries = list(archive.scandir(top))
    except OSError as error:
        if onerror is not None:
            onerror(error)
        return
    directories = [entry.name for entry in entries if entry.is_dir()]
    links = {entry.name for entry in entries if entry.is_symlink()}
    others = [entry.name for entry in entries if not entry.is_dir()]
    if topdown:
        yield top, directories, others
    for name in directories:
        if followlinks or name not in links:
            below = f"{top.rstrip('/')}/{name}"
            yield from walk(archive, below, topdown, onerror, followlinks)
    if not topdown:
        yield top, directories, others
