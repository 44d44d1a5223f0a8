"""Archive: `archive7.open()` and what it gives.

Owns the public face: modes, file objects, names and exceptions as in `os`, `shutil` and `pathlib`.
Assembles the layers; does no work of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final
from uuid import UUID

from .commit import Container
from .creation import Options, create_container, open_container
from .crypto import SUITES
from .errors import UsageError
from .filesystem import Filesystem
from .guard import guard
from .header import ArchiveHeader, decode_header
from .hostexport import export_tree
from .hostimport import import_tree
from .info import ArchiveInfo, describe
from .keyring import Keyring
from .keys import Identity, Recipient
from .keyslots import KdfCost, Secrets
from .lineage import expect as expecting
from .lineage import take_receipt
from .pathobject import ArchivePath
from .paths import FilesystemStreamManager, PathLike, path_text
from .receipt import Receipt
from .session import change, query
from .snapshot import Recovered
from .transfer import Filter, Progress, Transfer, Wishes
from .upkeep import Upkeep

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
    key_file: str | os.PathLike[str] | None = None,
    identity: Identity | None = None,
    recipients: Iterable[Recipient] = (),
    suite: str = "xaes256gcm",
    kdf: KdfCost | None = None,
    title: str = "",
    header: ArchiveHeader | None = None,
    max_kdf_memory: int = 256 << 20,
    lock: bool = True,
    unauthenticated: bool = False,
    expect: Receipt | UUID | str | bytes | None = None,
    accept_rollback: bool = False,
) -> Archive:
    """Open or make an archive.

    Args:
        path: a path, or a seekable binary file object (locks and durability are yours then).
        mode: r read-only snapshot; r+ read and write, must exist; w replace; x make, must not
            exist; a read and write, made if missing.
        key: 32 random bytes.
        password: a passphrase; costs time on purpose (Argon2id).
        key_file: a file of a key: 32 bytes, 64 hexadecimal digits, or made by `archive7.keys`.
        identity: a private key; see `archive7.keys`.  Of the secrets given, any one will do.
        recipients: of a new archive: public keys whose owners can open it.
        suite: of a new archive: xaes256gcm, or secretbox for the original's ciphertext.
        kdf: cost of the passphrase of a new archive.
        title: of a new archive, up to 256 bytes of UTF-8.
        header: of a new archive, in the place of `title`: its owner and what it is for.
        max_kdf_memory: bytes that a keyslot may ask for.
        lock: False to write without a lock, where you know that nobody else does.
        unauthenticated: write to an archive though a private key alone opened it: anybody who
            has the public key may have made it.
        expect: a receipt (`Archive.receipt`) of this archive, or its container id: what is older
            than the receipt, or another archive, is refused before anything is written.
        accept_rollback: open it though it is older than the receipt: a copy was put back.

    Raises: FileNotFoundError, FileExistsError, LockedError, NotAnArchiveError, VersionError,
    WrongKeyError, CorruptError; UsageError (a ValueError) for a wrong mode or secret;
    UnauthenticatedError; RollbackError, ReceiptError where it is not what is expected.
    """
    kind = _check_mode(mode)
    if suite not in _SUITES:
        raise UsageError(f"unknown suite {suite!r}: use one of {', '.join(sorted(_SUITES))}")
    secrets = Secrets.of(key, password, key_file, identity, recipients)
    verify = None if expect is None else expecting(expect, accept_rollback=accept_rollback)
    first = (header or ArchiveHeader(title)).encode()
    options = Options(
        _SUITES[suite], kdf, first, max_kdf_memory >> 10, lock, unauthenticated, _format, verify
    )
    return _over(_container(path, kind, secrets, options), mode)


def _over(container: Container, mode: str) -> Archive:
    try:
        return Archive(FilesystemStreamManager("", b"", container=container), mode)
    except BaseException:
        container.close()
        raise


def _container(
    path: str | os.PathLike[str] | BinaryIO, kind: str, secrets: Secrets, options: Options
) -> Container:
    if kind == "a":
        kind = "r+" if _exists(path) else "x"
    if kind in ("w", "x"):
        return create_container(path, secrets, replace=kind == "w", options=options)
    return open_container(path, secrets, readonly=kind == "r", options=options)


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


class Archive(Upkeep):
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

    @property
    def keys(self) -> Keyring:
        """The secrets that open the archive: list, add, remove, change."""
        return Keyring(self._container, self._outside_commit)

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

    def receipt(self) -> Receipt:
        """A receipt of the present state, which is made durable first: keep it elsewhere.

        Whoever opens the archive with ``expect=`` this receipt is sure that the whole file was
        not put back to an older copy.  A reader can take one of a commit that is known durable.

        Raises: TransactionError inside a transaction; UsageError for a reader where the last
        commit may still get lost.
        """
        with self._lock:
            self.check_open()
            self._check_outside()
            self._enter()
            if self._manager.is_readonly:
                if not self._container.is_durable():
                    raise UsageError(
                        "the last commit may still get lost in a power cut: take the receipt "
                        "where the archive is open for writing"
                    )
            else:
                self._commit(durable=True)
            return take_receipt(self._container)

    def guard_memory(self) -> bool:
        """Keep the master key out of swap and core dumps, as far as the system allows.

        It concerns the pages of that key, not those of the crypto library and of opened blocks
        (docs/security.rst).  Returns: whether the pages are locked.
        """
        with self._lock:
            self.check_open()
            return guard(self._container.master)

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

    @query
    def info(self) -> ArchiveInfo:
        """Name, size, version and counters of the archive."""
        return describe(self._container, self.name, self._mode)
