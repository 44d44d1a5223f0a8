"""Remedies: what is done to archives that are closed: damaged, not to be opened, or to go.

Owns the public functions `rescue`, `repair`, `restore_header` and `shred`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import BinaryIO

from .archive import Archive, open  # noqa: A004 - the name users know
from .creation import Options, require_ours
from .device import FileDevice
from .errors import UsageError
from .haven import ArchiveHaven, Haven, NoHaven
from .headerbackup import restore_header as put_header_back
from .hosthaven import FolderHaven
from .keys import Identity
from .keyslots import Secrets
from .layout import RING_OFFSET
from .mending import RepairReport
from .repair import repair as write_repair
from .rescued import Rescue
from .salvage import rescue as write_rescue


def rescue(
    path: str | os.PathLike[str] | BinaryIO,
    target: str | os.PathLike[str] | Archive | None,
    *,
    key: bytes | None = None,
    password: str | bytes | None = None,
    key_file: str | os.PathLike[str] | None = None,
    identity: Identity | None = None,
    max_kdf_memory: int = 256 << 20,
    progress: Callable[[int, int, str], object] | None = None,
    archive_key: bytes | None = None,
    archive_password: str | bytes | None = None,
    archive_identity: Identity | None = None,
) -> Rescue:
    """Write what can be read of a damaged archive somewhere else; the archive is not changed.

    Works without roots, map, registry or paths, as long as one copy of the superblock is there.
    What is proved goes below ``files``, what was deleted and kept below ``deleted``, what may be
    an older version below ``unproved``, files with holes (zeros) below ``partial``;
    ``report.json`` tells of every file.

    Args:
        target: a folder, new or empty; an archive that is open for writing; a path where a new
            archive is made, if it gets a secret; None to write nothing and only report.
        key, password, key_file, identity: of the damaged archive.
        progress: called as ``progress(done, all, what)``: slots seen, then files written; the
            total stays.
        archive_key, archive_password, archive_identity: make a new archive at `target`, with
            this secret.

    Raises: WrongKeyError, FormatError, SuperblockCorruptError; OSError of the host.
    Cost: root, map and registry are read; where these are not whole, one pass over the file, with
    about 50 bytes of memory for each block that they do not explain; about 500 bytes for each
    file; each file is read once.
    """
    secrets = Secrets.of(key, password, key_file, identity)
    new = {"key": archive_key, "password": archive_password, "identity": archive_identity}
    with contextlib.ExitStack() as stack:

        def make_haven(report: Rescue) -> Haven:
            into = target
            if any(value is not None for value in new.values()):
                if into is None or isinstance(into, Archive):
                    raise UsageError("archive_key= and archive_password= are for a new archive")
                into = open(into, "x", **new)  # type: ignore[arg-type]
                stack.enter_context(into)
            if into is None:
                return NoHaven()
            if isinstance(into, Archive):
                return ArchiveHaven(into._filesystem, into.transaction)
            return FolderHaven(into, report.refuse)

        limit = max_kdf_memory >> 10
        return write_rescue(path, make_haven, secrets, max_kdf_memory_kib=limit, progress=progress)


def repair(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    apply: bool = False,
    discard: bool = False,
    key: bytes | None = None,
    password: str | bytes | None = None,
    key_file: str | os.PathLike[str] | None = None,
    identity: Identity | None = None,
    max_kdf_memory: int = 256 << 20,
    unauthenticated: bool = False,
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
        unauthenticated: as of `open`; a report alone does not need it.
        progress: called as ``progress(done, all, what)``.

    Raises: WrongKeyError, FormatError, LockedError; CorruptError where superblock, roots or map
    are lost: use `rescue`.
    Cost: two passes over the file; 13 bytes of memory for each block of it.
    Durable: with `apply`, when this returns.
    """
    secrets = Secrets.of(key, password, key_file, identity)
    options = Options(
        max_kdf_memory_kib=max_kdf_memory >> 10, unauthenticated=unauthenticated or not apply
    )
    return write_repair(
        path, secrets, apply=apply, discard=discard, options=options, progress=progress
    )


def restore_header(
    path: str | os.PathLike[str] | BinaryIO,
    backup: str | os.PathLike[str],
    *,
    key: bytes | None = None,
    password: str | bytes | None = None,
    key_file: str | os.PathLike[str] | None = None,
    identity: Identity | None = None,
    force: bool = False,
    max_kdf_memory: int = 256 << 20,
    lock: bool = True,
    unauthenticated: bool = False,
) -> None:
    """Put a backup that `Keyring.export_header` wrote in the place of an archive's superblock.

    The archive then opens with the secrets of the backup, and with no others.

    Args:
        path: the archive, closed; its own superblock may be gone.
        key, password, key_file, identity: what opens the backup.
        force: also where the archive knows a newer version of its superblock: secrets that were
            removed since open it again, those that were added do not.
        max_kdf_memory, lock, unauthenticated: as of `open`.

    Raises: UsageError for the backup of another archive, or an older one without `force`;
        WrongKeyError; RollbackError where the whole file is older than the backup;
        CorruptError where no root opens under its key.
    Durable: when this returns.
    """
    secrets = Secrets.of(key, password, key_file, identity)
    options = Options(
        max_kdf_memory_kib=max_kdf_memory >> 10, lock=lock, unauthenticated=unauthenticated
    )
    put_header_back(path, backup, secrets, force=force, options=options)


def shred(path: str | os.PathLike[str]) -> None:
    """Destroy what opens an archive: both copies of its superblock, with all keyslots.

    No secret is needed.  The rest of the file stays; without the master key it is noise.  Out of
    reach are copies of the file, backups of the header, and what the storage keeps on its own:
    flash memory writes elsewhere and erases later, filesystems may have snapshots.

    Raises: FileNotFoundError, LockedError while a writer has it open; NotAnArchiveError.
    Durable: when this returns, as far as the storage tells.
    """
    device = FileDevice(path)
    try:
        device.lock_writer()
        require_ours(device)
        for data in (os.urandom(RING_OFFSET), bytes(RING_OFFSET)):
            device.pwrite(data, 0)
            device.sync()
    finally:
        device.close()
