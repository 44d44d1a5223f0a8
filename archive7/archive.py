"""Archive: `archive7.open()` and what it gives.

Owns the public face: modes, file objects, names and exceptions as in `os`, `shutil` and `pathlib`.
Assembles the layers; does no work of its own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final

from .attributes import Attributes
from .check import Check, CheckState, check_archive
from .commit import Container
from .compact import Compaction, Compactor
from .creation import Options, create_container, open_container
from .crypto import SUITES
from .errors import UsageError
from .filesystem import Filesystem
from .haven import ArchiveHaven, Haven, NoHaven
from .header import ArchiveHeader, decode_header
from .hostexport import export_tree
from .hosthaven import FolderHaven
from .hostimport import import_tree
from .info import ArchiveInfo, describe
from .keyslots import KdfCost, Secrets
from .mending import RepairReport
from .pathobject import ArchivePath
from .paths import FilesystemStreamManager, PathLike, path_text
from .repair import repair as write_repair
from .rescued import Rescue
from .salvage import rescue as write_rescue
from .session import change, query
from .snapshot import Recovered
from .transfer import Filter, Progress, Transfer, Wishes

if TYPE_CHECKING:
    from typing import Self


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
    header: ArchiveHeader | None = None,
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
        header: of a new archive, in the place of `title`: its owner and what it is for.
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
        header=(header or ArchiveHeader(title)).encode(),
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


def rescue(
    path: str | os.PathLike[str] | BinaryIO,
    target: str | os.PathLike[str] | Archive | None,
    *,
    key: bytes | None = None,
    password: str | bytes | None = None,
    max_kdf_memory: int = 256 << 20,
    progress: Callable[[int, int, str], object] | None = None,
    archive_key: bytes | None = None,
    archive_password: str | bytes | None = None,
) -> Rescue:
    """Write what can be read of a damaged archive somewhere else; the archive is not changed.

    Works without roots, map, registry or paths, as long as one copy of the superblock is there.
    What is proved goes below ``files``, what was deleted and kept below ``deleted``, what may be
    an older version below ``unproved``, files with holes (zeros) below ``partial``;
    ``report.json`` tells of every file.

    Args:
        target: a folder, new or empty; an archive that is open for writing; a path where a new
            archive is made, if it gets a secret; None to write nothing and only report.
        key, password: of the damaged archive.
        progress: called as ``progress(done, all, what)``: slots seen, then files written; the
            total stays.
        archive_key, archive_password: make a new archive at `target`, with this secret.

    Raises: WrongKeyError, FormatError, SuperblockCorruptError; OSError of the host.
    Cost: root, map and registry are read; where these are not whole, one pass over the file, with
    about 50 bytes of memory for each block that they do not explain; about 500 bytes for each
    file; each file is read once.
    """
    secrets = Secrets(key=key, password=password)
    with contextlib.ExitStack() as stack:

        def make_haven(report: Rescue) -> Haven:
            into = target
            if archive_key is not None or archive_password is not None:
                if into is None or isinstance(into, Archive):
                    raise UsageError("archive_key= and archive_password= are for a new archive")
                into = open(into, "x", key=archive_key, password=archive_password)
                stack.enter_context(into)
            if into is None:
                return NoHaven()
            if isinstance(into, Archive):
                return ArchiveHaven(into._filesystem, into.transaction)
            return FolderHaven(into, report.refuse)

        return write_rescue(
            path,
            make_haven,
            secrets,
            max_kdf_memory_kib=max_kdf_memory >> 10,
            progress=progress,
        )


def repair(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    apply: bool = False,
    discard: bool = False,
    key: bytes | None = None,
    password: str | bytes | None = None,
    max_kdf_memory: int = 256 << 20,
    progress: Callable[[int, int, str], object] | None = None,
) -> RepairReport:
    """Write anew what of a damaged archive can be derived from the rest; by default only tell.

    Derived are links between blocks, records and extents of streams (from the blocks), the list
    of free positions (from the map), trees (from the leaves that are left), names (from entries)
    and entries (from names and blocks; their modes and times are lost).  Nothing is guessed: what
    cannot be derived is in the report and stays as it is.  What has lost its name stands in
    ``/lost+found``.  All of it is one transaction.

    Args:
        apply: do it; else everything happens to a view of the file in a temporary file, and the
            report says what would be.
        discard: also free blocks of files that cannot be put together; get them by `rescue` first.
        progress: called as ``progress(done, all, what)``.

    Raises: WrongKeyError, FormatError, LockedError; CorruptError where superblock, roots or map
    are lost: use `rescue`.
    Cost: two passes over the file; 13 bytes of memory for each block of it.
    Durable: with `apply`, when this returns.
    """
    secrets = Secrets(key=key, password=password)
    limit = max_kdf_memory >> 10
    return write_repair(
        path, secrets, apply=apply, discard=discard, max_kdf_memory_kib=limit, progress=progress
    )


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


class Archive(Attributes):
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
            if self._container.is_blanking:  # the last writer was interrupted
                self._commit()

    @property
    def name(self) -> str:
        """The path, or the name of the file object, that the archive was opened with."""
        return self._container.device.name

    @property
    def mode(self) -> str:
        """The mode that the archive was opened with."""
        return self._mode

    @property
    def header(self) -> ArchiveHeader:
        """What the archive says of itself: title, owner, domain, node, type, role, use."""
        with self._lock:
            self.check_open()
            return decode_header(self._container.header)

    @change
    def set_header(self, /, **fields: object) -> None:
        """Change fields of the header, such as ``title=`` or ``owner=``.

        Raises: UsageError for what does not fit, TypeError for an unknown field.
        """
        header = replace(decode_header(self._container.header), **fields)  # type: ignore[arg-type]
        self._manager.meta = header.encode()

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

    def __truediv__(self, path: PathLike | ArchivePath) -> ArchivePath:
        """A path from ``/``, with the methods of `pathlib.Path`."""
        return ArchivePath(self) / path

    # --- whole trees

    def import_tree(
        self,
        source: str | os.PathLike[str],
        target: PathLike = "/",
        *,
        filter: Filter | None = None,  # noqa: A002 - as in tarfile
        progress: Progress | None = None,
        ownership: bool = False,
        xattrs: bool = True,
        resume: bool = False,
        commit_every: int | None = None,
    ) -> Transfer:
        """Copy a folder or file of the host into the directory `target`.

        Directories, files, symbolic and hard links, permission bits and times are kept; the
        target gets those of the folder.  Files that are there are replaced once the new one is
        read; what cannot be taken is in the report, and the rest goes on: what the host does
        not let read, what is no file (sockets, pipes, devices), names that are not UTF-8, and
        files that changed while they were read.

        Args:
            filter: called as ``filter(path below source, lstat)``, with slashes; False leaves
                out a file, or a directory with all that is in it.
            progress: called as ``progress(done bytes, all bytes, path)`` for pieces of large
                files and after each file, and with an empty path before the last commit; the
                files are counted before, which asks `filter` once more.
            ownership: keep user and group, by number and name.
            xattrs: keep extended attributes of the namespace ``user.`` (Linux).
            resume: leave files and links that are there with the same size and time.
            commit_every: bytes after which what is complete is committed, so that an
                interrupted import can be gone on with by `resume`; None for one transaction.

        Raises: FileNotFoundError for a missing source; FullError; TransactionError for
        `commit_every` inside a transaction.
        Cost: one insertion into each tree for each file; about 1 MB of memory.
        """
        wishes = Wishes(filter, progress, ownership, xattrs, resume)
        return import_tree(self, self._filesystem, source, path_text(target), wishes, commit_every)

    def export_tree(
        self,
        source: PathLike,
        target: str | os.PathLike[str],
        *,
        name: str | None = None,
        overwrite: bool = False,
        filter: Filter | None = None,  # noqa: A002 - as in tarfile
        progress: Progress | None = None,
        ownership: bool = False,
        xattrs: bool = True,
        resume: bool = False,
    ) -> Transfer:
        """Copy what stands at `source` into the folder `target` of the host.

        All that `import_tree` keeps comes back, but no setuid, setgid and sticky bits; the
        target gets mode and time if this makes it.  Nothing is written outside `target` or
        through a symbolic link.  A file has its name only once it is whole.  What the host
        cannot have (names, links, owners, attributes) is in the report.

        Args:
            name: make a folder of this name in `target` for a directory, instead of putting
                what is in it there; as for all folders, a link in its place is not followed.
            overwrite: replace files and links that are there.
            filter, progress: as of `import_tree`, with paths below `source`.
            ownership: set user and group, by name where the host knows it.
            xattrs: set extended attributes of the namespace ``user.`` (Linux).
            resume: leave files and links that are there with the same size and time.

        Raises: FileExistsError for what is there, unless `overwrite`; OSError of the host.
        Durable: nothing, until the host's own buffers are synced.
        """
        wishes = Wishes(filter, progress, ownership, xattrs, resume)
        return export_tree(self._filesystem, path_text(source), target, wishes, overwrite, name)

    # --- about the archive

    def check(
        self,
        level: str = "full",
        *,
        progress: Callable[[int, int, str], object] | None = None,
        seconds: float | None = None,
        resume: CheckState | None = None,
    ) -> Check:
        """Check every layer; what comes back is an iterator of what is wrong.

        The structures (0.5 % of an archive of large files) are checked at once, under one lock.
        With level full every block of data is then opened while the findings are iterated, 64 MiB
        at a time, and others use the archive in between; what is written behind the point where
        the check stands is for the next one.

        Args:
            level: quick (structures) or full (every block is opened, too).
            progress: called as ``progress(done blocks, all blocks, layer)``, while the archive
                is locked: it must not call it.
            seconds: stop after so long; ``is_complete`` of the result tells whether it did.
            resume: ``state`` of an earlier result, to go on behind what that has opened.

        Raises: TransactionError inside a transaction; UsageError for a state of another archive.
        Cost: each block is opened once.  Memory: about 3 bytes for each block, and what is found.
        """
        return check_archive(
            self._manager, self._filesystem, level,
            turn=self._check_turn, progress=progress, seconds=seconds, resume=resume,
        )  # fmt: skip

    @contextlib.contextmanager
    def _check_turn(self) -> Iterator[None]:
        """Alone in the archive, with nothing uncommitted."""
        with self._lock:
            self.check_open()
            self._check_outside()
            self._enter()
            if not self._manager.is_readonly:
                self._commit()
            with self._alone():
                yield

    def compact(
        self,
        *,
        progress: Callable[[int, int, str], object] | None = None,
        seconds: float | None = None,
        force: bool = False,
    ) -> Compaction:
        """Lay the blocks out in order and give free space back, in many small transactions.

        It may be stopped at any time, by Ctrl-C too, and goes on at the next call; other threads
        go on using the archive meanwhile.  It stops, and says why, where a reader in another
        process holds an older commit.  For a while the file grows by up to 1/64 or 64 MiB.

        Args:
            progress: called as ``progress(done blocks, all blocks, "compact")``.
            seconds: stop after so long.
            force: also where little is free and in disorder.

        Raises: FullError without room for a window; TransactionError inside a transaction.
        Cost: every block out of order is read and written twice.  Durable: when this returns.
        """
        end = None if seconds is None else time.monotonic() + seconds
        with self._outside_commit():
            before, compactor = self._container.device.size(), Compactor(self._container)
            reason = "" if force or compactor.is_needed() else "nothing to do"
        while not (reason or compactor.is_complete):
            with self._outside_commit():
                if compactor.is_blocked():
                    reason = "a reader holds an older commit"
                else:
                    compactor.step()
            if progress is not None:
                progress(compactor.done, compactor.total, "compact")
            if end is not None and time.monotonic() > end and not compactor.is_complete:
                reason = "out of time"
        after, is_complete = self._container.device.size(), reason in ("", "nothing to do")
        return Compaction(before, after, compactor.moved, is_complete, reason)

    @contextlib.contextmanager
    def _outside_commit(self) -> Iterator[None]:
        """Alone in the archive, with nothing uncommitted; what fails inside is rolled back."""
        with self._lock:
            self._manager.check_writable()
            self._check_outside()
            self._enter()
            self._commit()
            try:
                with self._alone():
                    yield
            except BaseException:
                if not self._container.is_failed:
                    self._roll_back()
                raise

    @query
    def info(self) -> ArchiveInfo:
        """Name, size, version and counters of the archive."""
        return describe(self._container, self.name, self._mode)
