"""Transfer: trees of files from the host into an archive and back.

Owns reading and writing the host's files.  Promises: an export never leaves its target and never
writes through a symbolic link; what could not be taken is in the report, never silently dropped.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from .errors import ExistsError, PathError, UsageError

if TYPE_CHECKING:
    from .listing import DirEntry

Progress = Callable[[int, int, str], object]


class Tree(Protocol):
    """What a transfer needs of an archive."""

    def transaction(self) -> AbstractContextManager[object]: ...
    def open(self, path: str, mode: str, buffering: int = -1) -> IO[Any]: ...
    def write_bytes(self, path: str, data: bytes) -> int: ...
    def scandir(self, path: str) -> Iterator[DirEntry]: ...
    def walk(self, top: str) -> Iterator[tuple[str, list[str], list[str]]]: ...
    def lstat(self, path: str) -> os.stat_result: ...
    def isfile(self, path: str) -> bool: ...
    def isdir(self, path: str) -> bool: ...
    def islink(self, path: str) -> bool: ...
    def readlink(self, path: str) -> str: ...
    def mkdir(self, path: str) -> None: ...
    def makedirs(self, path: str, *, exist_ok: bool) -> None: ...
    def remove(self, path: str) -> None: ...
    def symlink(self, target: str, path: str) -> None: ...
    def chmod(self, path: str, mode: int) -> None: ...
    def utime(self, path: str, *, ns: tuple[int, int], follow_symlinks: bool) -> None: ...


_CHUNK: Final = 1 << 20
_MODE_MASK: Final = 0o777  # no setuid, setgid, sticky on the host
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@dataclass
class Transfer:
    """What was copied, and what was not.

    Attributes:
        files, directories, links, bytes: counts of what was copied.
        skipped: (path, reason) of what could not be copied.
    """

    files: int = 0
    directories: int = 0
    links: int = 0
    bytes: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


class _Report:
    """Counts, and calls the caller's progress function."""

    def __init__(
        self, total: int, progress: Progress | None, own: tuple[int, int] | None = None
    ) -> None:
        self.done = Transfer()
        self.own = own
        self._total = total
        self._progress = progress

    def add(self, size: int, path: str) -> None:
        """`size` more bytes of the file at `path` were copied."""
        self.done.bytes += size
        if self._progress is not None:
            self._progress(self.done.bytes, max(self._total, self.done.bytes), path)

    def skip(self, path: str, reason: str) -> None:
        """The file at `path` was not copied."""
        self.done.skipped.append((path, reason))


# --- into the archive


def import_tree(
    archive: Tree,
    source: str | os.PathLike[str],
    target: str,
    progress: Progress | None,
    own: tuple[int, int] | None,
) -> Transfer:
    """Copy a folder or file of the host into the directory `target` of an archive.

    `own` is device and inode of the archive itself, which is left out.
    """
    origin = os.fspath(source)
    if not isinstance(origin, str):
        raise UsageError("the source must be a str path")
    os.lstat(origin)
    total = _host_size(origin) if progress is not None else 0
    report = _Report(total, progress, own)
    base = target.rstrip("/")
    with archive.transaction():
        if os.path.isdir(origin):
            archive.makedirs(target, exist_ok=True)
            _import_directory(archive, origin, base, report)
        else:
            _import_one(archive, origin, f"{base}/{os.path.basename(origin)}", report)
    return report.done


def _host_size(origin: str) -> int:
    if not os.path.isdir(origin):
        return os.lstat(origin).st_size
    total = 0
    for folder, _, names in os.walk(origin):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def _import_directory(archive: Tree, origin: str, target: str, report: _Report) -> None:
    try:
        with os.scandir(origin) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        report.skip(origin, error.strerror or str(error))
        return
    for entry in entries:
        path = f"{target}/{entry.name}"
        try:
            path.encode()
        except UnicodeEncodeError:
            report.skip(os.fsencode(entry.path).hex(), "the name is not UTF-8 (hex given)")
            continue
        _import_one(archive, entry.path, path, report)


def _import_one(archive: Tree, origin: str, target: str, report: _Report) -> None:
    """Copy one file, link or directory; what the host or the archive refuses is reported."""
    try:
        status = os.lstat(origin)
        link = os.readlink(origin) if stat.S_ISLNK(status.st_mode) else ""
    except OSError as error:
        report.skip(origin, error.strerror or str(error))
        return
    if (status.st_dev, status.st_ino) == report.own:
        report.skip(origin, "this is the archive itself")
        return
    try:
        _import_entry(archive, origin, target, status, link, report)
    except PathError as error:  # something else stands there, or a link leads to no UTF-8
        report.skip(origin, error.strerror or str(error))


def _import_entry(
    archive: Tree, origin: str, target: str, status: os.stat_result, link: str, report: _Report
) -> None:
    is_link = stat.S_ISLNK(status.st_mode)
    if archive.islink(target) or (is_link and archive.isfile(target)):
        archive.remove(target)  # and never written through
    if stat.S_ISDIR(status.st_mode):
        if not archive.isdir(target):
            archive.mkdir(target)
        _import_directory(archive, origin, target, report)
        report.done.directories += 1
    elif is_link:
        archive.symlink(link, target)
        report.done.links += 1
    elif stat.S_ISREG(status.st_mode):
        if not _import_file(archive, origin, target, report):
            return
        report.done.files += 1
    else:
        report.skip(origin, "neither file, directory nor symbolic link")
        return
    if not is_link:
        archive.chmod(target, stat.S_IMODE(status.st_mode))
    archive.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)


def _import_file(archive: Tree, origin: str, target: str, report: _Report) -> bool:
    try:
        descriptor = os.open(origin, os.O_RDONLY | _NOFOLLOW)
    except OSError as error:
        report.skip(origin, error.strerror or str(error))
        return False
    with open(descriptor, "rb", buffering=0) as source:
        size = os.fstat(descriptor).st_size
        first = _read(source, origin, report, min(_CHUNK, size + 1))
        if first is None:
            return False
        if len(first) <= size < _CHUNK:
            archive.write_bytes(target, first)
            report.add(len(first), target)
            return True
        with archive.open(target, "wb", buffering=0) as file:
            chunk: bytes | None = first
            while chunk:
                file.write(chunk)
                report.add(len(chunk), target)
                chunk = _read(source, origin, report)
    if chunk is None:
        archive.remove(target)
        return False
    return True


def _read(source: object, origin: str, report: _Report, size: int = _CHUNK) -> bytes | None:
    """The next chunk; None where the host cannot read it."""
    try:
        return bytes(source.read(size))  # type: ignore[attr-defined]
    except OSError as error:
        report.skip(origin, error.strerror or str(error))
        return None


# --- out of the archive


def export_tree(
    archive: Tree,
    source: str,
    target: str | os.PathLike[str],
    overwrite: bool,
    progress: Progress | None,
) -> Transfer:
    """Copy what stands at `source` of an archive into the folder `target` of the host."""
    folder = os.fspath(target)
    archive.lstat(source)
    report = _Report(_archive_size(archive, source) if progress else 0, progress)
    os.makedirs(folder, exist_ok=True)
    with _opened(folder) as base:
        if archive.isdir(source):
            _export_directory(archive, source, base, overwrite, report)
        else:
            name = source.rstrip("/").rpartition("/")[2]
            _export_one(archive, source, base.below(name), overwrite, report)
    return report.done


def _archive_size(archive: Tree, source: str) -> int:
    if not archive.isdir(source):
        return archive.lstat(source).st_size
    return sum(
        archive.lstat(f"{folder.rstrip('/')}/{name}").st_size
        for folder, _, names in archive.walk(source)
        for name in names
    )


class _Folder:
    """A folder of the host, held by its descriptor where the system can."""

    def __init__(self, path: str, descriptor: int | None) -> None:
        self.path = path
        self.descriptor = descriptor

    def below(self, name: str) -> _Name:
        """A name in this folder."""
        if name in ("", ".", "..") or "/" in name or "\0" in name or os.sep in name:
            raise UsageError(f"{name!r} cannot be a file name on this system")
        return _Name(self, name)


@dataclass(frozen=True)
class _Name:
    """A name in a folder of the host; never resolved through a link."""

    folder: _Folder
    name: str

    @property
    def path(self) -> str:
        """For messages."""
        return os.path.join(self.folder.path, self.name)

    @property
    def where(self) -> dict[str, Any]:
        """Keyword arguments for the calls of `os`."""
        folder = self.folder.descriptor
        return {} if folder is None else {"dir_fd": folder}

    @property
    def target(self) -> str:
        """First argument for the calls of `os`."""
        return self.path if self.folder.descriptor is None else self.name


_HAS_DIR_FD: Final = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")


@contextlib.contextmanager
def _opened(path: str, name: _Name | None = None) -> Iterator[_Folder]:
    """Open a folder without following a link at its end."""
    if not _HAS_DIR_FD:
        if name is not None and os.path.islink(path):
            raise ExistsError(17, "a symbolic link stands where a folder goes", path)
        yield _Folder(path, None)
        return
    flags = os.O_RDONLY | os.O_DIRECTORY
    if name is None:
        descriptor = os.open(path, flags)
    else:
        descriptor = os.open(name.target, flags | _NOFOLLOW, **name.where)
    try:
        yield _Folder(path, descriptor)
    finally:
        os.close(descriptor)


def _export_directory(
    archive: Tree, source: str, folder: _Folder, overwrite: bool, report: _Report
) -> None:
    base = source.rstrip("/")
    for entry in archive.scandir(source):
        _export_one(archive, f"{base}/{entry.name}", folder.below(entry.name), overwrite, report)


def _export_one(archive: Tree, source: str, name: _Name, overwrite: bool, report: _Report) -> None:
    status = archive.lstat(source)
    times = (status.st_mtime_ns, status.st_mtime_ns)
    if stat.S_ISDIR(status.st_mode):
        with contextlib.suppress(FileExistsError):
            os.mkdir(name.target, 0o700, **name.where)
        try:
            with _opened(name.path, name) as folder:
                _export_directory(archive, source, folder, overwrite, report)
        except NotADirectoryError:
            raise ExistsError(17, "a file or link stands where a folder goes", name.path) from None
        os.chmod(name.target, status.st_mode & _MODE_MASK, **name.where)
        os.utime(name.target, ns=times, **name.where)
        report.done.directories += 1
    elif stat.S_ISLNK(status.st_mode):
        _clear(name, overwrite)
        os.symlink(archive.readlink(source), name.target, **name.where)
        report.done.links += 1
    else:
        _clear(name, overwrite)
        _export_file(archive, source, name, status, report)
        report.done.files += 1


def _clear(name: _Name, overwrite: bool) -> None:
    """Make way for a file."""
    if overwrite:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name.target, **name.where)


def _export_file(
    archive: Tree, source: str, name: _Name, status: os.stat_result, report: _Report
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW
    try:
        descriptor = os.open(name.target, flags, 0o600, **name.where)
    except FileExistsError:
        raise ExistsError(
            17, "the file exists on the host: give overwrite=True to replace it", name.path
        ) from None
    try:
        with open(descriptor, "wb", buffering=0) as file, archive.open(source, "rb", 0) as origin:
            while chunk := origin.read(_CHUNK):
                file.write(chunk)
                report.add(len(chunk), source)
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), status.st_mode & _MODE_MASK)
    except BaseException:  # nothing half-written is left, also by Ctrl-C
        os.unlink(name.target, **name.where)
        raise
    os.utime(name.target, ns=(status.st_mtime_ns, status.st_mtime_ns), **name.where)
