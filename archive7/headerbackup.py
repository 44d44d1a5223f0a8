"""Backup of the header: putting a saved superblock back into an archive that lost its own.

Owns when a backup may be put back.  May assume `unlock`, `commit`.  Promises: nothing is written
before the backup proved genuine and the archive's roots opened under its key; what is put back is
a new version of the superblock, so roots that know a newer one do not refuse it; an older set of
secrets comes back only by force.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

from .commit import Container
from .creation import Options, Target, device_of, naming, require_authenticated
from .crypto import KIND_ROOT, block_cipher
from .device import Device, FileDevice
from .errors import CorruptError, UsageError
from .keyslots import Secrets, wipe
from .layout import KIND_FILESYSTEM, SUPERBLOCK_SIZE
from .locks import NoLocks
from .paths import FilesystemStreamManager
from .root import Ring
from .superblock import Copy, genuine_copies, read_copy
from .unlock import Unlocked, read


def restore_header(
    target: Target,
    backup: str | os.PathLike[str],
    secrets: Secrets,
    *,
    force: bool,
    options: Options,
) -> None:
    """Put the superblock of a backup in force.

    Args:
        secrets: what opens the backup.
        force: also where the archive knows a newer version, whose changes are lost.

    Raises: UsageError for another archive's backup, or one that is older than what the archive
        knows; CorruptError where no root opens under its key.
    Durable: when this returns.
    """
    unlocked = _read_backup(backup, secrets, options)
    try:
        require_authenticated(unlocked, options)
        device = device_of(target, readonly=False)
        try:
            if not options.lock:
                device.locks = NoLocks()
            elif isinstance(device, FileDevice):
                device.lock_writer()
            with naming(device):
                _restore(device, unlocked, force=force)
        finally:
            device.close()
    finally:
        wipe(unlocked.master)


def _read_backup(path: str | os.PathLike[str], secrets: Secrets, options: Options) -> Unlocked:
    device = FileDevice(path, readonly=True)
    try:
        if device.size() != SUPERBLOCK_SIZE:
            raise UsageError(
                f"{device.name} is no backup of a header: such a file has {SUPERBLOCK_SIZE} bytes"
            )
        with naming(device):
            return read(device, secrets, options.max_kdf_memory_kib)
    finally:
        device.close()


def _restore(device: Device, unlocked: Unlocked, *, force: bool) -> None:
    saved, master = unlocked.superblock, unlocked.master
    known = _highest_known(device, unlocked, force=force)
    if saved.sequence < known and not force:
        raise UsageError(
            f"the backup (sequence {saved.sequence}) is older than what the archive knows "
            f"({known}): secrets that were removed since would open it again, and those that were "
            "added would not; force it if that is wanted"
        )
    # as if the backup were the version that the roots know: its slots, their number
    container = Container(device, replace(saved, sequence=max(saved.sequence, known)), master)
    try:
        if container.kind == KIND_FILESYSTEM:  # it notes the session in the lineage
            with contextlib.suppress(CorruptError):
                FilesystemStreamManager("", b"", container=container)
        container.change_superblock(container.superblock)
    finally:
        container.close()


def _highest_known(device: Device, unlocked: Unlocked, *, force: bool) -> int:
    """The newest version of the superblock that the archive shows signs of."""
    saved, master = unlocked.superblock, unlocked.master
    whole = [
        copy for copy in (read_copy(device, 0), read_copy(device, 1)) if isinstance(copy, Copy)
    ]
    if whole and all(copy.superblock.container != saved.container for copy in whole):
        raise UsageError("the backup is of another archive: the container ids differ")
    if not force and any(copy.superblock.epoch > saved.epoch for copy in whole):
        raise UsageError(
            "the backup is of a time before the archive's key was changed: open the archive as it "
            "is; force it to undo that change"
        )
    ring = Ring(device, block_cipher(saved.suite, master, saved.container, saved.epoch, KIND_ROOT))
    roots = ring.read()
    if not roots:
        raise CorruptError(
            "no root opens under the key of this backup: it is of another archive, or of a time "
            "before its key was changed, or the roots are lost",
            block=0,
        )
    copies = genuine_copies(device, saved.container, master)
    return max(
        *(root.sequence for root in roots.values()),
        *(copy.superblock.sequence for copy in copies),
        0,
    )
