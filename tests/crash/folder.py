"""A folder for tests: names that a power cut loses or keeps on their own, and files on `Disk`s.

What `archive7.creation` asks of the host is answered from here.  Until the folder is synced each
new name, removal and renaming may be lost or kept, whatever becomes of the others and of the bytes
in the files; a renaming happens as a whole.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final
from unittest import mock

from archive7 import creation
from archive7.errors import LockedError
from archive7.locks import Lock
from tests.devices import RecordingDevice
from tests.disk import Disk, Operation

_FOLDER: Final = 99  # its descriptor


@dataclass(frozen=True, slots=True)
class Entry:
    """A change of the folder: a file got a name, lost one, or both at once."""

    file: int
    gone: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class FolderSync:
    """The names are on stable storage."""


@dataclass(frozen=True, slots=True)
class InFile:
    """Something happened in a file."""

    file: int
    operation: Operation


Change = Entry | FolderSync | InFile
Names = dict[str, int]


class Folder:
    """A folder on a disk.

    Attributes:
        files: all that ever were.
        names: what a look sees; `certain`: what a power cut cannot take.
        loose: changes of names since the last sync of the folder.
        log: everything that happened.
        has_links: whether the filesystem has hard links.
    """

    def __init__(self, *, has_links: bool = True) -> None:
        self.files: list[Disk] = []
        self.names: Names = {}
        self.certain: Names = {}
        self.loose: list[Entry] = []
        self.log: list[Change] = []
        self.has_links = has_links

    def copy(self) -> Folder:
        """The same folder, to go another way; all processes have died."""
        other = Folder(has_links=self.has_links)
        other.files = [disk.copy() for disk in self.files]
        other.names, other.certain = dict(self.names), dict(self.certain)
        other.loose = list(self.loose)
        return other

    def settled(self) -> Folder:
        """The same with nothing unsynced."""
        names = dict(self.names)
        files = [Disk(dict(disk.view), disk.size) for disk in self.files]
        return _folder(names, files, self)

    def do(self, change: Change) -> None:
        """Let `change` happen, and log it.  Files change by their devices."""
        self.log.append(change)
        self._apply(change)

    def apply(self, change: Change) -> None:
        """Let happen what another folder's log says."""
        if isinstance(change, InFile):
            while len(self.files) <= change.file:
                self.files.append(Disk())
            self.files[change.file].apply(change.operation)
        else:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        if isinstance(change, Entry):
            _enter(self.names, change)
            self.loose.append(change)
        elif isinstance(change, FolderSync):
            self.certain, self.loose = dict(self.names), []

    def cuts(self) -> Iterator[Names]:
        """The names that a power cut may leave, in every way."""
        for kept in itertools.product((False, True), repeat=len(self.loose)):
            names = dict(self.certain)
            for is_kept, change in zip(kept, self.loose, strict=True):
                if is_kept:
                    _enter(names, change)
            yield names

    def left(self, names: Names, cut: Callable[[Disk], Disk]) -> Folder:
        """The folder after a power cut that left these names, and did `cut` to each file."""
        return _folder(dict(names), [cut(disk) for disk in self.files], self)


def _folder(names: Names, files: list[Disk], like: Folder) -> Folder:
    folder = Folder(has_links=like.has_links)
    folder.files, folder.names, folder.certain = files, names, dict(names)
    return folder


def _enter(names: Names, change: Entry) -> None:
    if change.gone is not None:
        names.pop(change.gone, None)
    if change.name is not None:
        names[change.name] = change.file


# --- what creation.py sees


def _name(path: object) -> str:
    return PurePosixPath(str(path)).name


class HostFile(RecordingDevice):
    """A file in the folder, as `FileDevice` is one on the host."""

    folder: Folder

    def __init__(
        self, path: str | os.PathLike[str], *, readonly: bool = False, create: bool = False
    ) -> None:
        folder, name = self.folder, _name(path)
        if create:
            assert name not in folder.names
            folder.files.append(Disk())
            folder.do(Entry(len(folder.files) - 1, name=name))
        elif name not in folder.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self._file = folder.names[name]
        super().__init__(folder.files[self._file], readonly=readonly, name=str(path))

    def record(self, operation: Operation) -> None:
        super().record(operation)
        self.folder.log.append(InFile(self._file, operation))

    def lock_writer(self) -> None:
        """Become the one writer."""
        if not self.locks.take(Lock.WRITER, shared=False):
            raise LockedError(errno.EAGAIN, "another writer", self.name)

    def rename(self, path: PurePosixPath, rename: Callable[[], None]) -> None:
        """Let `rename` give the file another name."""
        rename()
        self.name = str(path)


class HostPath(PurePosixPath):
    """A path that asks the folder."""

    def exists(self) -> bool:
        """Whether there is something of that name."""
        return self.name in HostFile.folder.names

    def unlink(self) -> None:
        """Remove the name."""
        HostOs.unlink(self)


class HostPaths:
    """`os.path`."""

    @staticmethod
    def realpath(path: object) -> str:
        """There are no links."""
        return str(path)

    @staticmethod
    def lexists(path: object) -> bool:
        """Whether there is something of that name."""
        return _name(path) in HostFile.folder.names


class HostOs:
    """What creation.py needs of `os`."""

    path = HostPaths
    O_DIRECTORY = os.O_RDONLY
    O_RDONLY = os.O_RDONLY
    PathLike = os.PathLike
    strerror = staticmethod(os.strerror)

    @staticmethod
    def link(source: object, target: object) -> None:
        """Give a file another name."""
        folder = HostFile.folder
        if not folder.has_links:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        if _name(target) in folder.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        folder.do(Entry(folder.names[_name(source)], name=_name(target)))

    @staticmethod
    def replace(source: object, target: object) -> None:
        """Rename, over what is there."""
        folder = HostFile.folder
        folder.do(Entry(folder.names[_name(source)], _name(source), _name(target)))

    rename = replace

    @staticmethod
    def unlink(path: object) -> None:
        """Remove a name."""
        folder = HostFile.folder
        if _name(path) not in folder.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        folder.do(Entry(folder.names[_name(path)], gone=_name(path)))

    @staticmethod
    def open(_path: object, _flags: int) -> int:
        """Only the folder is opened in this way."""
        return _FOLDER

    @staticmethod
    def fsync(descriptor: int) -> None:
        """Sync the folder."""
        assert descriptor == _FOLDER
        HostFile.folder.do(FolderSync())

    @staticmethod
    def close(descriptor: int) -> None:
        """Nothing is open."""
        assert descriptor == _FOLDER


@contextmanager
def standing_in(folder: Folder) -> Iterator[Folder]:
    """Let `archive7.open` work in `folder`."""
    patches: list[Any] = [
        mock.patch.object(HostFile, "folder", folder, create=True),
        mock.patch.object(creation, "FileDevice", HostFile),
        mock.patch.object(creation, "Path", HostPath),
        mock.patch.object(creation, "os", HostOs),
    ]
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield folder
