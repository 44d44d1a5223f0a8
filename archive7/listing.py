"""Listings: directory entries and walks, as `os.scandir` and `os.walk` give them."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from typing import Protocol

from .entry import DIRECTORY, FILE, LINK
from .errors import PathError


class Listed(Protocol):
    """What a listing needs of an archive."""

    def scandir(self, path: str) -> Scan: ...

    def stat(self, path: str) -> os.stat_result: ...

    def exists(self, path: str) -> bool: ...

    def stat_entry(self, identity: bytes) -> os.stat_result: ...


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
        self.path = base + name

    def inode(self) -> int:
        """The number that `stat` tells as `st_ino`."""
        return int.from_bytes(self._identity[8:], "big")

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether this is a directory, or a link to one."""
        return self._leads_to(follow_symlinks) == DIRECTORY

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether this is a file, or a link to one."""
        return self._leads_to(follow_symlinks) == FILE

    def _leads_to(self, follow_symlinks: bool) -> bytes | None:
        """The type; None for a dangling link.  Raises errors.LoopError and the like."""
        if self._type != LINK or not follow_symlinks:
            return self._type
        try:
            mode = self._archive.stat(self.path).st_mode
        except FileNotFoundError:
            return None
        return DIRECTORY if stat.S_ISDIR(mode) else FILE

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


class Scan:
    """The entries of a directory, as `os.scandir` gives them: an iterator, a context manager.

    Names are read some at a time: what comes or goes while one iterates is seen or not.

    Args:
        read: gives (name, type, id) of the entries behind a name; nothing at the end.
    """

    def __init__(
        self, archive: Listed, base: str, read: Callable[[str], list[tuple[str, bytes, bytes]]]
    ) -> None:
        self._entries = self._iterate(archive, base, read, read(""))

    @staticmethod
    def _iterate(
        archive: Listed,
        base: str,
        read: Callable[[str], list[tuple[str, bytes, bytes]]],
        children: list[tuple[str, bytes, bytes]],
    ) -> Iterator[DirEntry]:
        while children:
            for name, kind, identity in children:
                yield DirEntry(archive, base, name, kind, identity)
            children = read(children[-1][0])

    def __iter__(self) -> Iterator[DirEntry]:
        return self._entries

    def __next__(self) -> DirEntry:
        return next(self._entries)

    def close(self) -> None:
        """Nothing is left to iterate over."""
        self._entries = iter(())

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def walk(
    archive: Listed,
    top: str,
    topdown: bool,
    onerror: Callable[[OSError], object] | None,
    followlinks: bool,
) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`; a directory may be emptied or pruned while it is walked.

    Without `onerror` an error of the device is raised: only what is not there is passed over.
    """
    waiting: list[str | tuple[str, list[str], list[str]]] = [top]
    while waiting:
        here = waiting.pop()
        if isinstance(here, tuple):  # all below it was given
            yield here
            continue
        try:
            entries = list(archive.scandir(here))
        except OSError as error:
            if onerror is not None:
                onerror(error)
            elif not isinstance(error, PathError):  # of the device: what is there is not known
                raise
            continue
        folders = {entry.name for entry in entries if _is_folder(entry)}
        links = {entry.name for entry in entries if entry.is_symlink()}
        directories = [entry.name for entry in entries if entry.name in folders]
        others = [entry.name for entry in entries if entry.name not in folders]
        found = here, directories, others
        if topdown:
            yield found
        else:
            waiting.append(found)
        base = here if here.endswith("/") else f"{here}/"
        waiting += [
            base + name for name in reversed(directories) if followlinks or name not in links
        ]


def _is_folder(entry: DirEntry) -> bool:
    """Whether a walk goes into an entry; a loop of links is none."""
    try:
        return entry.is_dir()
    except PathError:
        return False


def missing_above(archive: Listed, path: str) -> list[tuple[str, bool]]:
    """What `os.makedirs` makes, topmost first: (path, whether it is the whole one)."""
    paths = [(path, True)]
    while True:
        head, tail = posixpath.split(paths[-1][0])
        if not tail:
            head, tail = posixpath.split(head)
        if not head or not tail or archive.exists(head):
            return paths[::-1]
        if tail == ".":
            paths.pop()
        paths.append((head, False))
