"""Host folders: the way from the top of a tree of the host down to where a walk stands.

Owns the descriptors of folders.  Promises: no name is resolved through a symbolic link; few
descriptors are open however deep the tree is; a folder that was moved meanwhile is noticed, and
no other one is taken for it.  Where the system has no calls relative to a folder (Windows), paths
take their place.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

HAS_DIR_FD: Final = (
    hasattr(os, "O_DIRECTORY")
    and {os.open, os.stat, os.mkdir, os.readlink, os.rename, os.unlink} <= os.supports_dir_fd
    and os.listdir in os.supports_fd
)
NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_MOST_OPEN: Final = 32  # descriptors, besides the top's; a process has 256 and more
_CLOSED: Final = -1


class _Folder:
    """One folder on the way; its descriptor is closed while the walk is far below."""

    __slots__ = ("descriptor", "identity", "name")

    def __init__(self, name: str, descriptor: int | None, status: os.stat_result) -> None:
        self.name = name
        self.descriptor = descriptor
        self.identity = (status.st_dev, status.st_ino)


class Descent:
    """The folders from a top down to where a walk stands.

    Args:
        top: path of the first folder (empty: the current one); a link there is followed.
        is_held: False to use paths below `top` instead of a descriptor, which takes no right to
            read the folder; nothing can be entered then.

    Attributes:
        prefix, where: what stands before a name, and the keyword arguments, in calls of `os` for
            something in the folder where the walk stands.

    Raises: OSError.
    """

    def __init__(self, top: str, *, is_held: bool = True) -> None:
        self._folders: list[_Folder] = []
        self.prefix = ""
        self.where: dict[str, Any] = {}
        if HAS_DIR_FD and is_held:
            descriptor = os.open(top or os.curdir, _FOLDER)
            self._folders.append(_folder_of(top, descriptor))
        else:
            self._folders.append(_Folder(top, None, os.stat(top or os.curdir)))
        self._stand()

    def _stand(self) -> None:
        """Have `prefix` and `where` say where the walk stands."""
        descriptor = self._folders[-1].descriptor
        if descriptor is None:
            self.prefix = os.path.join(*[folder.name for folder in self._folders], "")
            self.where = {}
        else:
            self.where = {"dir_fd": descriptor}

    @property
    def here(self) -> int | str:
        """The folder where the walk stands, as calls of `os` take it."""
        descriptor = self._folders[-1].descriptor
        return self.prefix or os.curdir if descriptor is None else descriptor

    @property
    def names(self) -> list[str]:
        """The names from the top down to here."""
        return [folder.name for folder in self._folders[1:]]

    def path(self, name: str = "") -> str:
        """The path of a name in this folder, or of the folder, for messages."""
        parts = [folder.name for folder in self._folders]
        return os.path.join(*parts, name) if name else os.path.join(*parts)

    # --- down and up

    def enter(self, name: str) -> None:
        """Go into a folder.  Raises: OSError (NotADirectoryError for a link or a file)."""
        if self._folders[0].descriptor is None:
            status = os.lstat(self.prefix + name)
            if not stat.S_ISDIR(status.st_mode) or is_junction(status):
                raise self._no_folder(name)
            self._folders.append(_Folder(name, None, status))
        else:
            self._folders.append(self._opened(name, self._folders[-1].descriptor))
            far = len(self._folders) - 1 - _MOST_OPEN
            if far > 0:
                self._let_go(self._folders[far])
        self._stand()

    def _no_folder(self, name: str) -> NotADirectoryError:
        return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.path(name))

    def _opened(self, name: str, above: int | None) -> _Folder:
        try:
            descriptor = os.open(name, _FOLDER | NO_FOLLOW, dir_fd=above)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):  # how Linux and BSD say: it is a link
                raise self._no_folder(name) from None
            error.filename = self.path(name)
            raise
        return _folder_of(name, descriptor)

    @contextmanager
    def leaving(self) -> Iterator[int | str]:
        """Go up; while the block runs, the folder that is left is what is yielded.

        Raises: OSError where the folder above is not where it was: then the walk stands in a
        folder that can only be left.
        """
        child = self._folders.pop()
        left = self.prefix if child.descriptor is None else child.descriptor
        try:
            if self._folders[0].descriptor is not None:
                self.where = {"dir_fd": _CLOSED}
                self._regain(child)
            self._stand()
            yield left
        finally:
            self._let_go(child)

    def _regain(self, child: _Folder) -> None:
        """Open the folder above `child` again, if it was closed meanwhile."""
        folder = self._folders[-1]
        if folder.descriptor is not None:
            return
        if child.descriptor is not None:
            try:
                found = self._opened("..", child.descriptor)
            except OSError:  # no right to search in the child, or it is gone
                pass
            else:
                if found.identity == folder.identity:
                    folder.descriptor = found.descriptor
                    return
                self._let_go(found)
        self._regain_from_top()

    def _regain_from_top(self) -> None:
        """Go the whole way down again, by the names."""
        found, folder = self._reopened(self.names), self._folders[-1]
        if found.identity != folder.identity:
            self._let_go(found)
            raise OSError(errno.ESTALE, "the folder was moved meanwhile", self.path())
        folder.descriptor = found.descriptor

    def _reopened(self, names: list[str]) -> _Folder:
        """Open the folder that names lead to from the top; the top's own for none."""
        top = self._folders[0]
        here = top
        for name in names:
            try:
                found = self._opened(name, here.descriptor)
            finally:
                if here is not top:
                    self._let_go(here)
            here = found
        return here

    @contextmanager
    def reached(self, names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """While the block runs: prefix and keywords for another folder below the top.

        Raises: OSError.
        """
        top = self._folders[0]
        if names == self.names:
            yield self.prefix, self.where
        elif top.descriptor is None:
            yield os.path.join(top.name, *names, ""), {}
        else:
            folder = self._reopened(names)
            try:
                yield "", {"dir_fd": _CLOSED if folder.descriptor is None else folder.descriptor}
            finally:
                if folder is not top:
                    self._let_go(folder)

    @staticmethod
    def _let_go(folder: _Folder) -> None:
        if folder.descriptor is not None:
            descriptor, folder.descriptor = folder.descriptor, None
            with suppress(OSError):  # nothing was written to it
                os.close(descriptor)

    def close(self) -> None:
        """Close all descriptors."""
        for folder in self._folders:
            self._let_go(folder)


def _folder_of(name: str, descriptor: int) -> _Folder:
    """The folder that a descriptor is of, which is closed if it cannot be asked."""
    try:
        return _Folder(name, descriptor, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise


def is_junction(status: os.stat_result) -> bool:
    """Whether a folder of Windows is a junction: a link in all but name."""
    mount_point = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", 0xA0000003)
    return bool(getattr(status, "st_reparse_tag", 0) == mount_point)
