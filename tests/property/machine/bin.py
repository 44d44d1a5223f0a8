"""Deletion that can be undone, as the host would have it: what goes is moved to a hidden folder.

What is HARD deleted is kept there, too, and only marked: nobody can look at its data.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import dataclass, replace
from typing import Any

from tests.property.machine.image import Folder

Records = list["Record"]


@dataclass(frozen=True)
class Record:
    """Something that was deleted.

    Attributes:
        number: its name in the hidden folder.
        parent: inode of the directory where it stood.
        guard: a descriptor of that directory, so that no other gets its inode.
    """

    number: int
    parent: int
    name: str
    kind: str
    size: int
    is_restorable: bool
    guard: int


class Bin:
    """The calls that delete, and those that undo it."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.spares: dict[int, int] = {}
        self._records: Records = []
        self._guards: list[int] = []
        self._last = 0
        self._hidden = os.open("bin", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder.above)

    # --- deleting

    def delete(self, path: str, kind: str, how: str) -> None:
        """Delete.  Args: kind: remove, rmdir or rmtree; how: ERASE, SOFT or HARD."""
        if how == "ERASE" and kind != "rmtree":
            getattr(os, kind)(path)
        elif kind == "remove":
            self._remove(path, how)
        elif kind == "rmdir":
            self._rmdir(path, how)
        else:
            self._rmtree(path, how)

    def _remove(self, path: str, how: str) -> None:
        number = str(self._last + 1)
        try:
            os.link(path, number, dst_dir_fd=self._hidden, follow_symlinks=False)
        except OSError:
            os.remove(path)  # fails for the right reason
            raise
        try:
            if how == "HARD":
                self._check_hard(f"bin/{number}", path, names=2)
            record = self._record(path, f"bin/{number}", how)
            os.remove(path)
        except BaseException:
            self.folder.remove(f"bin/{number}")
            raise
        self._note(record)

    def _rmdir(self, path: str, how: str) -> None:
        last = path.rstrip("/").rpartition("/")[2]
        if last in ("", ".", "..") or not _is_empty_directory(path):
            os.rmdir(path)  # fails for the right reason
            raise AssertionError(f"{path} is gone")
        self._move(path, how)

    def _rmtree(self, path: str, how: str) -> None:
        try:
            if how == "ERASE":
                os.rmdir(path)
            else:
                self._rmdir(path, how)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or path.rstrip("/").endswith(".."):
                raise
            if how == "ERASE":
                os.rename(path, "dead", dst_dir_fd=self.folder.above)
                self.folder.remove("dead")
            else:
                self._move(path, how)

    def _move(self, path: str, how: str) -> None:
        """Move a directory to the hidden folder."""
        number = str(self._last + 1)
        record = self._record(path, None, how)
        os.rename(path, number, dst_dir_fd=self._hidden)
        if how == "HARD":
            try:
                for below, status in self.folder.paths():
                    if below.startswith(f"bin/{number}/") and stat.S_ISREG(status.st_mode):
                        self._check_hard(below, path, names=1)
            except OSError:
                os.rename(number, path.rstrip("/"), src_dir_fd=self._hidden)
                raise
        self._note(record)

    def _check_hard(self, where: str, path: str, names: int) -> None:
        """Refuse to free data that others need."""
        status = self.folder.lstat(where)
        if not stat.S_ISREG(status.st_mode):
            return
        code = 0
        if status.st_ino in {os.fstat(spare).st_ino for spare in self.spares.values()}:
            code = errno.EBUSY
        elif status.st_nlink - (status.st_ino in self.folder.attic) > names:
            code = errno.EMLINK
        if code:
            raise OSError(code, os.strerror(code), path)

    def _record(self, path: str, where: str | None, how: str) -> Record:
        """What will be known of something that is about to go."""
        above, _, name = path.rstrip("/").rpartition("/")
        guard = os.open(above + "/" if "/" in path.rstrip("/") else ".", os.O_PATH)
        self._guards.append(guard)
        status = os.lstat(path) if where is None else self.folder.lstat(where)
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
        found = kind[stat.S_IFMT(status.st_mode)]
        size = status.st_size if found == "file" else 0
        parent = os.fstat(guard).st_ino
        return Record(self._last + 1, parent, name, found, size, how != "HARD", guard)

    def _note(self, record: Record) -> None:
        self._last = record.number
        self._records.append(record)

    # --- looking

    def deleted(self) -> list[tuple[str, str, int, bool]]:
        """What was deleted, in order: path, type, size, whether it can be restored."""
        return [(self._former(r), r.kind, r.size, r.is_restorable) for r in self._records]

    def _former(self, record: Record) -> str:
        """Where something stood."""
        above = self._way(record.parent)
        return f"{'/?' if above is None else above.rstrip('/')}/{record.name}"

    def _directory(self, inode: int) -> str | None:
        """Path of a directory from the folder, if it is still there."""
        for path, status in self.folder.paths():
            if status.st_ino == inode:
                return path
        return None

    def _way(self, inode: int) -> str | None:
        """Path of a directory, over the places where its ancestors stood; None if one is gone."""
        path = self._directory(inode)
        if path is None:
            return None
        top, _, rest = path.partition("/")
        if top == "root":
            return f"/{rest}"
        number, _, rest = rest.partition("/")
        (record,) = (r for r in self._records if str(r.number) == number)
        above = self._way(record.parent)
        if above is None:
            return None
        return f"{above.rstrip('/')}/{record.name}/{rest}".rstrip("/")

    # --- undoing it

    def _find(self, item: int | str) -> Record:
        if isinstance(item, int):
            return self._records[item]
        found = [r for r in self._records if self._former(r) == item]
        if not found:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), item)
        return found[-1]

    def undelete(self, item: int | str, path: str | None) -> str:
        """Restore; return the path now.  Args: item: number in `deleted`, or where it stood."""
        record = self._find(item)
        former = self._former(record)
        if not record.is_restorable:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA), former)
        where = self._directory(record.parent)
        if path is None and (where is None or not where.startswith("root")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), former)
        told = former if path is None else path
        target = f"{where}/{record.name}"[4:] if path is None else path
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), told)
        try:
            os.rename(str(record.number), target, src_dir_fd=self._hidden)
        except OSError as error:
            raise type(error)(error.errno, error.strerror, told) from None
        self._records.remove(record)
        above, _, name = target.rstrip("/").rpartition("/")
        return f"{os.path.realpath(above or '/').rstrip('/')}/{name}"

    def purge(self, item: int | str | None) -> int:
        """Erase; return how many deletions."""
        found = list(self._records) if item is None else [self._find(item)]
        for record in found:
            self.folder.remove(f"bin/{record.number}")
            self._records.remove(record)
        return len(found)

    # --- images

    def forget_deletions(self) -> None:
        """Begin anew."""
        self._records.clear()
        for guard in self._guards:
            os.close(guard)
        self._guards.clear()

    def deletions_now(self) -> Records:
        """The deletions as they are."""
        return list(self._records)

    @staticmethod
    def moved_deletions(records: Any, directories: dict[int, int]) -> Records:
        """The same deletions after directories were made anew."""
        return [replace(r, parent=directories.get(r.parent, r.parent)) for r in records]

    def take_deletions(self, records: Records) -> None:
        """The deletions that there are from now on."""
        self._records = records


def _is_empty_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode) and not os.listdir(path)
    except (OSError, ValueError):
        return False


assert shutil.rmtree.avoids_symlink_attacks  # it takes dir_fd
