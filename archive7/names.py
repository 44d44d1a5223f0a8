"""Names: the methods of an archive that make, move and take away names.

Owns the public face of changing names: as in `os` and `shutil`.
"""

from __future__ import annotations

from .directories import Directories
from .listing import missing_above
from .paths import PathLike, path_text
from .session import change, release


class Names(Directories):
    """Names in an archive."""

    @change
    def mkdir(self, path: PathLike, mode: int = 0o755) -> None:
        """Make a directory.  Raises: FileExistsError, FileNotFoundError (no parent)."""
        self._filesystem.mkdir(path, mode)

    def makedirs(self, path: PathLike, mode: int = 0o755, exist_ok: bool = False) -> None:
        """Make a directory and the missing ones above it, as `os.makedirs`, in one commit."""
        with self._lock:
            if self._depth:
                self._make_all(path_text(path), mode, exist_ok)
                return
            with self.transaction():
                self._make_all(path_text(path), mode, exist_ok)

    def _make_all(self, text: str, mode: int, exist_ok: bool) -> None:
        for path, is_whole in missing_above(self, text):
            try:
                self.mkdir(path, mode if is_whole else 0o755)
            except OSError as failed:
                if exist_ok and self.isdir(path):
                    continue
                if is_whole or not isinstance(failed, FileExistsError):
                    raise

    @release
    def remove(self, path: PathLike) -> None:
        """Remove a file or symbolic link.  An open file goes on until it is closed."""
        self._filesystem.remove(path)

    unlink = remove

    @release
    def rmdir(self, path: PathLike) -> None:
        """Remove an empty directory."""
        self._filesystem.rmdir(path)

    @change
    def rename(self, source: PathLike, target: PathLike) -> None:
        """Rename or move, replacing the target as POSIX does, on all systems.  Cost: O(1)."""
        self._filesystem.rename(source, target)

    replace = rename

    @change
    def symlink(self, target: PathLike, path: PathLike, target_is_directory: bool = False) -> None:
        """Make a symbolic link at `path`; the last argument is for compatibility only."""
        self._filesystem.symlink(str(target), path)
