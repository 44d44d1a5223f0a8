"""Archive: `archive7.open()` and what it gives.

Owns the public face: modes, file objects, names and exceptions as in `os`, `shutil` and `pathlib`.
Assembles the layers; does no work of its own.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, TextIO, overload
from uuid import uuid4

from .check import Finding, check_archive
from .commit import Container
from .creation import Options, create_container, open_container
from .crypto import SUITES
from .entry import DIRECTORY, FILE, LINK
from .errors import UsageError
from .fileopen import Mode, buffered, parse_mode
from .filesystem import Filesystem
from .info import ArchiveInfo, describe
from .keyslots import KdfCost, Secrets
from .layout import ARCHIVE_HEADER, ARCHIVE_MAGIC, VERSION_MAJOR, VERSION_MINOR
from .listing import DirEntry, missing_above, walk
from .paths import FilesystemStreamManager, PathLike, failure, path_text
from .session import Session, change, query, release
from .snapshot import Recovered
from .streams import VirtualFileObject
from .transfer import Progress, Transfer, export_tree, import_tree

if TYPE_CHECKING:
    from typing import Self

    from _typeshed import OpenBinaryMode, OpenTextMode
    from typing_extensions import Buffer

_MODES: Final = {"r", "r+", "w", "x", "w-", "a"}
_SUITES: Final = {name: number for number, name in SUITES.items()}


def open(  # noqa: A001 - the name users know
    path: str | os.PathLike[str] | BinaryIO,
    mode: str = "r",
    *,
    key: bytes | None = None,
    password: str | bytes | None = None,
    suite: str = "xaes256gcm",
    kdf: KdfCost | None = None,
    title: str = "",
    max_kdf_memory: int = 256 << 20,
    lock: bool = True,
) -> Archive:
    """Open or make an archive.

    Args:
        path: a path, or a seekable binary file object (locks and durability are yours then).
        mode: r read-only snapshot; r+ read and write, must exist; w replace; x make, must not
            exist; a read and write, made if missing.
        key: 32 random bytes.
        password: a passphrase; costs time on purpose (Argon2id).
        suite: of a new archive: xaes256gcm, or secretbox for the original's ciphertext.
        kdf: cost of the passphrase of a new archive.
        title: of a new archive, up to 256 bytes of UTF-8.
        max_kdf_memory: bytes that a keyslot may ask for.
        lock: False to write without a lock, where you know that nobody else does.

    Raises: FileNotFoundError, FileExistsError, LockedError, NotAnArchiveError, VersionError,
    WrongKeyError, CorruptError; UsageError (a ValueError) for a wrong mode or secret.
    """
    kind = _check_mode(mode)
    if suite not in _SUITES:
        raise UsageError(f"unknown suite {suite!r}: use one of {', '.join(sorted(_SUITES))}")
    secrets = Secrets(key=key, password=password)
    options = Options(
        suite=_SUITES[suite],
        kdf=kdf,
        header=_header(title),
        max_kdf_memory_kib=max_kdf_memory >> 10,
        lock=lock,
        prepare=_format,
    )
    if kind == "a":
        kind = "r+" if _exists(path) else "x"
    if kind in ("w", "x"):
        container = create_container(path, secrets, replace=kind == "w", options=options)
    else:
        container = open_container(path, secrets, readonly=kind == "r", options=options)
    try:
        return Archive(FilesystemStreamManager("", b"", container=container), mode)
    except BaseException:
        container.close()
        raise


def _format(container: Container) -> None:
    """Make an empty filesystem in a new container."""
    manager = FilesystemStreamManager("", b"", container=container)
    Filesystem(manager).format()
    manager.commit(durable=True)


def _check_mode(mode: str) -> str:
    if mode not in _MODES:
        raise UsageError(
            f"invalid mode {mode!r}: use 'r' (read), 'r+' (read and write), 'w' (replace), "
            "'x' (make) or 'a' (read and write, make if missing); files inside are opened by "
            "Archive.open()"
        )
    return "x" if mode == "w-" else mode


def _exists(path: str | os.PathLike[str] | BinaryIO) -> bool:
    if isinstance(path, str | os.PathLike):
        return os.path.lexists(path)
    return path.seek(0, os.SEEK_END) > 0


def _header(title: str) -> bytes:
    encoded = title.encode()
    if len(encoded) > 256:
        raise UsageError("a title has at most 256 bytes of UTF-8")
    nil = bytes(16)
    return ARCHIVE_HEADER.pack(
        ARCHIVE_MAGIC, b"a", VERSION_MAJOR, VERSION_MINOR, 0, 0, 0,
        uuid4().bytes, nil, nil, nil, time.time_ns(), encoded,
    )  # fmt: skip


class Archive(Session):
    """An encrypted filesystem in one file.  Made by `archive7.open`.

    Paths are POSIX, absolute or relative to ``/``, `str` or `PurePosixPath`.  Methods have the
    names, arguments and exceptions of `os`, `shutil` and `pathlib`.
    """

    def __init__(self, manager: FilesystemStreamManager, mode: str) -> None:
        super().__init__(manager)
        self._mode = mode
        self._filesystem.attach()
        if not manager.is_readonly:
            self._filesystem.sweep()

    @property
    def name(self) -> str:
        """The path, or the name of the file object, that the archive was opened with."""
        return self._container.device.name

    @property
    def mode(self) -> str:
        """The mode that the archive was opened with."""
        return self._mode

    @property
    def recovered(self) -> Recovered | None:
        """What opening left behind because it was not whole, or None."""
        return self._container.recovered

    def __enter__(self) -> Self:
        self.check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"mode {self._mode!r}"
        return f"<Archive {self.name!r}, {state}>"

    # --- files

    @overload
    def open(
        self, path: PathLike, mode: OpenTextMode = "r", buffering: int = -1,
        encoding: str | None = None, errors: str | None = None, newline: str | None = None,
    ) -> TextIO: ...  # fmt: skip

    @overload
    def open(
        self, path: PathLike, mode: OpenBinaryMode, buffering: int = -1,
        encoding: None = None, errors: None = None, newline: None = None,
    ) -> BinaryIO: ...  # fmt: skip

    @overload
    def open(
        self, path: PathLike, mode: str, buffering: int = -1,
        encoding: str | None = None, errors: str | None = None, newline: str | None = None,
    ) -> IO[Any]: ...  # fmt: skip

    def open(
        self,
        path: PathLike,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        r"""Open a file as builtin `open` does; text is UTF-8 with newline ``\n`` unless given.

        What is written belongs to the commit that `flush` or `close` makes.
        Raises: FileNotFoundError, FileExistsError, IsADirectoryError, ValueError as `open`.
        """
        found = parse_mode(mode, buffering, encoding, errors, newline)
        with self._lock:
            self.check_open()
            raw = self._open_raw(path, found)
            file = buffered(raw, found, buffering, encoding, errors, newline)
            self._track(file)
            return file

    def _open_raw(self, path: PathLike, mode: Mode) -> VirtualFileObject:
        filesystem = self._filesystem
        if mode.is_writing:
            self._manager.check_writable()
            self._check_doom()
        place = filesystem.locate(path, follow=not mode.is_exclusive, creates=mode.creates)
        if place.type == DIRECTORY and not mode.is_exclusive:
            raise failure(errno.EISDIR, path)
        if place.type is None:
            if not mode.creates:
                raise failure(errno.ENOENT, path)
        elif mode.is_exclusive:
            raise failure(errno.EEXIST, path)
        identity = place.identity
        try:
            if place.type is None:
                identity = filesystem.create_file(place, memoryview(b""), 0o644)
            stream = filesystem.open_stream(identity)
            return VirtualFileObject(
                stream, str(path), mode.raw, on_flush=self._file_flushed,
                on_close=self._file_closed, on_error=self._file_failed,
            )  # fmt: skip
        except BaseException:
            if place.type is None:
                self._doom()
            raise

    @query
    def read_bytes(self, path: PathLike) -> bytes:
        """All bytes of a file.  Cost: two look-ups and its blocks."""
        place = self._filesystem.find(path)
        if place.type == DIRECTORY:
            raise failure(errno.EISDIR, path)
        return self._filesystem.read(place.identity)

    @change
    def write_bytes(self, path: PathLike, data: Buffer) -> int:
        """Make or replace a file; return the number of bytes."""
        view = memoryview(data)
        if view.format != "B" or view.ndim != 1 or not view.contiguous:
            view = memoryview(view.tobytes())
        filesystem = self._filesystem
        place = filesystem.locate(path, creates=True)
        if place.type is None:
            filesystem.create_file(place, view, 0o644)
        elif place.type == FILE:
            filesystem.rewrite(place.identity, view)
        else:
            raise failure(errno.EISDIR, path)
        return len(view)

    def read_text(self, path: PathLike, encoding: str = "utf-8", errors: str = "strict") -> str:
        """All text of a file."""
        return self.read_bytes(path).decode(encoding, errors)

    def write_text(
        self, path: PathLike, text: str, encoding: str = "utf-8", errors: str = "strict"
    ) -> int:
        """Make or replace a file with text; return the number of characters."""
        self.write_bytes(path, text.encode(encoding, errors))
        return len(text)

    @release
    def truncate(self, path: PathLike, length: int) -> None:
        """Cut or lengthen a file.  Raises: PathError (EINVAL) for a negative length."""
        if length < 0:
            raise failure(errno.EINVAL, path_text(path))
        place = self._filesystem.find(path)
        if place.type == DIRECTORY:
            raise failure(errno.EISDIR, path)
        self._filesystem.truncate(place.identity, length)

    # --- asking

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

    # --- changing

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

    @change
    def chmod(self, path: PathLike, mode: int, *, follow_symlinks: bool = True) -> None:
        """Set the permission bits.  They are kept, not enforced."""
        self._filesystem.chmod(path, mode, follow=follow_symlinks)

    @change
    def utime(
        self,
        path: PathLike,
        times: tuple[float, float] | None = None,
        *,
        ns: tuple[int, int] | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        """Set the time of modification as `os.utime` (times of access are not kept)."""
        if times is not None and ns is not None:
            raise ValueError("utime: you may specify either 'times' or 'ns' but not both")
        if ns is not None:
            modified = ns[1]
        else:
            modified = time.time_ns() if times is None else round(times[1] * 1e9)
        self._filesystem.utime(path, modified, follow=follow_symlinks)

    # --- whole trees

    def import_tree(
        self,
        source: str | os.PathLike[str],
        target: PathLike = "/",
        *,
        progress: Progress | None = None,
    ) -> Transfer:
        """Copy a folder or file of the host into the directory `target`, in one transaction.

        Directories, files, symbolic links, permission bits and times are kept.  What vanishes
        or cannot be read meanwhile is reported in the result, the rest goes on.
        Args: progress: called as ``progress(done bytes, all bytes, path)``.
        """
        own = self._container.device.identity
        return import_tree(self, source, path_text(target), progress, own)

    def export_tree(
        self,
        source: PathLike,
        target: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Transfer:
        """Copy what stands at `source` into the folder `target` of the host.

        Never writes outside `target`, never through a symbolic link, sets no setuid bits.
        Raises: FileExistsError for an existing file unless `overwrite`.
        """
        return export_tree(self, path_text(source), target, overwrite, progress)

    # --- about the archive

    def check(
        self, level: str = "full", *, progress: Callable[[int, int, str], object] | None = None
    ) -> Iterator[Finding]:
        """Check every layer; yield what is wrong.

        Args:
            level: quick (structures) or full (every block is opened, too).
            progress: called as ``progress(done blocks, all blocks, layer)``.
        Raises: TransactionError inside a transaction.
        """
        with self._lock:
            self.check_open()
            self._check_outside()
            if not self._manager.is_readonly:
                self._commit()
        return check_archive(self._manager, self._filesystem, level, progress)

    @query
    def info(self) -> ArchiveInfo:
        """Name, size, version and counters of the archive."""
        return describe(self._container, self.name, self._mode)
