"""Names: the methods of an archive that make, move and take away names.

Owns the public face of changing names: as in `os` and `shutil`.
"""

from __future__ import annotations

import errno
from uuid import UUID

from .copying import copy_entry
from .deletion import Delete, Deleted
from .directories import Directories
from .entry import DIRECTORY, FILE, LINK
from .errors import PathError
from .listing import missing_above
from .paths import PathLike, failure, path_text, text_of
from .session import change, query, release


class Names(Directories):
    """Names in an archive."""

    @change
    def mkdir(self, path: PathLike, mode: int = 0o755) -> None:
        """Make a directory.  Raises: FileExistsError, FileNotFoundError (no parent)."""
        self._filesystem.mkdir(path, mode)

    def makedirs(self, path: PathLike, mode: int = 0o755, exist_ok: bool = False) -> None:
        """Make a directory and the missing ones above it, as `os.makedirs`, or none of them."""
        with self._lock:
            if self._depth:
                made: list[str] = []
                try:
                    self._make_all(path_text(path), mode, exist_ok, made)
                except PathError:
                    for each in reversed(made):
                        self.rmdir(each)
                    raise
                return
            with self.transaction():
                self._make_all(path_text(path), mode, exist_ok, [])

    def _make_all(self, text: str, mode: int, exist_ok: bool, made: list[str]) -> None:
        for path, is_whole in missing_above(self, text):
            try:
                self.mkdir(path, mode if is_whole else 0o755)
                made.append(path)
            except OSError as failed:
                if exist_ok and self.isdir(path):
                    continue
                if is_whole or not isinstance(failed, FileExistsError):
                    raise

    @release
    def remove(self, path: PathLike, *, how: Delete = Delete.ERASE, blank: bool = False) -> None:
        """Remove a file or symbolic link.  An open file goes on until it is closed.

        Args:
            how: SOFT keeps it for `undelete`, HARD frees the data and keeps what was known of
                it for `deleted`, ERASE leaves nothing.
            blank: overwrite what was freed, once the commit is durable; see `blank`.

        Raises: FileNotFoundError, IsADirectoryError; PathError (EBUSY, EMLINK) for HARD where
        the file is open or has other names.
        """
        self._filesystem.remove(path, Delete(how))
        self._blank_later(blank)

    unlink = remove

    @release
    def rmdir(self, path: PathLike, *, how: Delete = Delete.ERASE, blank: bool = False) -> None:
        """Remove an empty directory; see `remove`.  Raises: PathError (ENOTEMPTY)."""
        self._filesystem.rmdir(path, Delete(how))
        self._blank_later(blank)

    @release
    def rmtree(
        self,
        path: PathLike,
        *,
        ignore_errors: bool = False,
        how: Delete = Delete.ERASE,
        blank: bool = False,
    ) -> None:
        """Remove a directory and all that stands in it, as `shutil.rmtree`; see `remove`.

        Cost: SOFT that of one name, the others that of every name and block below.
        """
        try:
            self._filesystem.rmtree(path, Delete(how))
        except PathError:
            if not ignore_errors:
                raise
        self._blank_later(blank)

    @query
    def deleted(self) -> list[Deleted]:
        """What was deleted SOFT or HARD and not purged, in the order of deletion."""
        return list(self._filesystem.deleted())

    @change
    def undelete(self, item: Deleted | UUID | PathLike, path: PathLike | None = None) -> str:
        """Restore what was deleted SOFT, where it stood or at `path`; return its path now.

        Args:
            item: of `deleted`, its id, or the path where it stood (the last deletion counts).

        Raises: FileNotFoundError (never deleted, or its directory is gone: give a path),
        FileExistsError; PathError (ENODATA) where the data are gone.
        """
        return self._filesystem.undelete(self._deletion(item), path)

    @release
    def purge(self, item: Deleted | UUID | PathLike | None = None, *, blank: bool = False) -> int:
        """Erase what was deleted SOFT or HARD (None: all of it); return how many deletions."""
        if item is None:
            items = [each.id for each in self._filesystem.deleted()]
        else:
            items = [self._deletion(item)]
        for each in items:
            self._filesystem.purge(each)
        self._blank_later(blank)
        return len(items)

    def _deletion(self, item: Deleted | UUID | PathLike) -> UUID:
        """The id of a deletion."""
        if isinstance(item, UUID):
            return item
        if isinstance(item, Deleted):
            return item.id
        wanted = "/" + path_text(item).strip("/")
        found = [each.id for each in self._filesystem.deleted() if each.path == wanted]
        if not found:
            raise failure(errno.ENOENT, item)
        return found[-1]

    @change
    def rename(self, source: PathLike, target: PathLike) -> None:
        """Rename or move, replacing the target as POSIX does, on all systems.  Cost: O(1)."""
        self._filesystem.rename(source, target)

    replace = rename

    @change
    def copy(self, source: PathLike, target: PathLike, *, follow_symlinks: bool = True) -> str:
        """Copy a file, as `shutil.copy2`, or a directory with all it holds, as `copytree`.

        A file goes into `target` if that is a directory, and replaces a file; a directory must
        not be there yet.  Mode, time, owners and extended attributes are copied, too; links in a
        directory are copied as links.  Returns: the path of the copy.
        Raises: FileExistsError, FileNotFoundError, IsADirectoryError; PathError (EINVAL) for a
        directory into itself.
        """
        filesystem = self._filesystem
        old = filesystem.find(source, follow=follow_symlinks)
        path = path_text(target)
        if old.type != DIRECTORY and filesystem.is_directory(path):
            name = path_text(source).rstrip("/").rpartition("/")[2]
            path = f"{path.rstrip('/')}/{name}"
        if old.type == FILE:
            new = filesystem.locate(path, creates=True)
            if new.type == DIRECTORY:
                raise failure(errno.EISDIR, path)
            if new.identity == old.identity:
                raise failure(errno.EEXIST, path)
        else:
            new = filesystem.vacant(path)
            if old.type == LINK and path.endswith("/"):
                raise failure(errno.ENOENT, path)
        copy_entry(filesystem, old, new, source)
        return path

    @change
    def link(self, source: PathLike, target: PathLike) -> None:
        """Give a file or symbolic link another name, as `os.link`.

        Raises: FileExistsError, FileNotFoundError; PermissionError for a directory.
        """
        self._filesystem.hard_link(source, target)

    @change
    def symlink(self, target: PathLike, path: PathLike, target_is_directory: bool = False) -> None:
        """Make a symbolic link at `path`; the last argument is for compatibility only."""
        self._filesystem.symlink(text_of(target), path)
