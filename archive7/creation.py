"""Creation: making and opening container files on the host.

Owns temporary names, the order of creating and publishing a file, and taking the locks.  May
assume superblock and commit layers.  Promises: a file under its final name is a whole container;
an existing file is replaced only when it is ours, unlocked and the new one is complete.
"""

from __future__ import annotations

import contextlib
import os
import secrets as _random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from .commit import Container
from .crypto import SUITE_XAES256GCM
from .device import Device, FileDevice, MemoryDevice, ObjectDevice
from .errors import (
    CorruptError,
    ExistsError,
    FormatError,
    NotAnArchiveError,
    RollbackError,
    UnauthenticatedError,
    UsageError,
    WrongKeyError,
)
from .keyslots import KdfCost, Secrets, wipe
from .layout import ARCHIVE_HEADER, MAGIC, SLOTS_OFFSET
from .locks import Lock, NoLocks
from .root import Root
from .superblock import create, write_copies
from .unlock import Unlocked, read, rewrite_damaged_copy

Target = str | os.PathLike[str] | BinaryIO | Device

MAX_KDF_MEMORY_KIB: Final = 262144


@dataclass(frozen=True)
class Options:
    """How a container is made or opened.

    Attributes:
        suite: cipher suite of a new container.
        kdf: cost of a new passphrase slot.
        header: archive header (344 bytes) of a new container.
        max_kdf_memory_kib: most memory a keyslot may ask for.
        lock: False to do without locks, where the caller knows to be alone.
        unauthenticated: write also where a private key alone opened it.
        prepare: called with a new container before it gets its name.
        verify: called with a snapshot before anything is written or shown; raises if it is not
            what is wanted, returns whether it proves who made the archive.
    """

    suite: int = SUITE_XAES256GCM
    kdf: KdfCost | None = None
    header: bytes = bytes(ARCHIVE_HEADER.size)
    max_kdf_memory_kib: int = MAX_KDF_MEMORY_KIB
    lock: bool = True
    unauthenticated: bool = False
    prepare: Callable[[Container], None] | None = None
    verify: Callable[[Container], bool] | None = None


def open_container(
    target: Target, secrets: Secrets, *, readonly: bool, options: Options | None = None
) -> Container:
    """Open an existing container.

    Raises: FileNotFoundError, LockedError, FormatError, WrongKeyError, CorruptError,
    UnauthenticatedError; the file is not touched where one of them is raised.
    """
    chosen = options or Options()
    device = device_of(target, readonly=readonly)
    try:
        if not chosen.lock:
            device.locks = NoLocks()
        elif not readonly and isinstance(device, FileDevice):
            device.lock_writer()
        with naming(device):
            return _open(device, secrets, readonly or device.is_readonly, chosen)
    except BaseException:
        device.close()
        raise


def _open(device: Device, secrets: Secrets, is_readonly: bool, options: Options) -> Container:
    unlocked = read(device, secrets, options.max_kdf_memory_kib)
    try:
        seen, is_proved = _is_proved(device, unlocked, options)
        if not is_readonly:
            require_authenticated(unlocked, options, is_proved=is_proved)
        container = Container(
            device, unlocked.superblock, unlocked.master, readonly=is_readonly,
            confirmed=lambda root: _confirm(device, unlocked, seen, root, is_readonly=is_readonly),
        )  # fmt: skip
        container.is_authenticated = unlocked.is_authenticated or is_proved
        container.opened_by = unlocked.slot.id
        return container
    finally:
        wipe(unlocked.master)


def _confirm(
    device: Device, unlocked: Unlocked, seen: Root | None, root: Root, *, is_readonly: bool
) -> None:
    """Before a writer writes, or a reader reads: is this what was looked at?"""
    if seen is not None and (root.number < seen.number or (
        root.number == seen.number and root.hash != seen.hash
    )):  # fmt: skip
        raise RollbackError("the file was put back to another state while it was opened")
    if not is_readonly:
        rewrite_damaged_copy(device, unlocked)


def _is_proved(device: Device, unlocked: Unlocked, options: Options) -> tuple[Root | None, bool]:
    """Look at an archive before it is used: its root, and whether that proves who made it."""
    if options.verify is None:
        return None, False
    container = Container(device, unlocked.superblock, unlocked.master, readonly=True)
    try:
        return container.root, options.verify(container)
    finally:
        container.forget_keys()
        with contextlib.suppress(OSError):  # as when it was taken
            device.locks.release(Lock.READERS)


def require_authenticated(
    unlocked: Unlocked, options: Options, *, is_proved: bool = False
) -> None:
    """Refuse to write what anybody may have made, unless the caller says so.

    Args:
        is_proved: a receipt proves it.

    Raises: UnauthenticatedError.
    """
    if unlocked.is_authenticated or options.unauthenticated or is_proved:
        return
    raise UnauthenticatedError(
        "only a private key opened this archive, so whoever has the public key may have made it: "
        "open it with a key or password of your own, or read only (mode 'r'), or, where you know "
        "where it comes from, with unauthenticated=True"
    )


@contextlib.contextmanager
def naming(device: Device) -> Iterator[None]:
    """Errors of opening say which file they are about."""
    try:
        yield
    except (FormatError, WrongKeyError, UnauthenticatedError) as error:
        raise type(error)(f"{device.name}: {error}") from error
    except CorruptError as error:
        error.reason = f"{device.name}: {error.reason}"
        raise


def create_container(
    target: Target, secrets: Secrets, *, replace: bool, options: Options | None = None
) -> Container:
    """Make a new container; with `replace` an existing one gives way to it.

    Durable: file and name, when this returns.
    Raises: FileExistsError, LockedError; NotAnArchiveError for a file that is not ours.
    """
    chosen = options or Options()
    if isinstance(target, str | os.PathLike):
        return _create_file(Path(os.path.realpath(target)), secrets, replace, chosen)
    device = device_of(target, readonly=False)
    try:
        if device.size():
            if not replace:
                raise ExistsError(17, "the file object is not empty", device.name)
            require_ours(device)
            device.truncate(0)
        return _fill_or_empty(device, secrets, chosen)
    except BaseException:
        device.close()
        raise


def _fill_or_empty(device: Device, secrets: Secrets, options: Options) -> Container:
    """Fill an empty device; empty it again if that fails, so that it can be tried once more."""
    try:
        return _fill(device, secrets, options)
    except BaseException:
        with contextlib.suppress(OSError):  # what is raised is why it failed
            device.truncate(0)
        raise


def device_of(target: Target, *, readonly: bool) -> Device:
    if isinstance(target, Device):
        return target
    if isinstance(target, str | os.PathLike):
        return FileDevice(target, readonly=readonly)
    if not hasattr(target, "seek"):
        raise UsageError("the target must be a path or a seekable binary file object")
    if hasattr(target, "encoding"):
        raise UsageError("the target must be a binary file object, not a text one")
    device = ObjectDevice(target, readonly=readonly)
    if device.is_readonly and not readonly:
        raise UsageError("the file object is read-only: open the archive with mode 'r'")
    return device


def _fill(device: Device, secrets: Secrets, options: Options) -> Container:
    """Write superblock and first root to an empty device."""
    superblock, master = create(options.suite, secrets, options.kdf)
    try:
        device.truncate(SLOTS_OFFSET)
        write_copies(device, superblock, master)
        container = Container(device, superblock, master, create=True, header=options.header)
        container.opened_by = superblock.slots[0].id
        if options.prepare is not None:
            options.prepare(container)
        return container
    finally:
        wipe(master)


def require_ours(device: Device) -> None:
    """Refuse to replace a non-empty file that is no container."""
    if device.size() and device.pread(len(MAGIC), 0) != MAGIC:
        raise NotAnArchiveError(
            f"{device.name} is not an Archive7 container and is not replaced: "
            "remove it first, or choose another name"
        )


def _create_file(path: Path, secrets: Secrets, replace: bool, options: Options) -> Container:
    if not replace and os.path.lexists(path):
        raise ExistsError(17, os.strerror(17), str(path))
    old = None
    if replace and path.exists():
        old = FileDevice(path)
    temporary = path.with_name(f".{path.name}.{_random.token_hex(6)}.tmp")
    device = None
    try:
        if old is not None:
            old.lock_writer()
            require_ours(old)
        device = FileDevice(temporary, create=True)
        device.lock_writer()
        container = _fill(device, secrets, options)
        device.rename(path, lambda: publish(temporary, path, replace=replace))
    except BaseException:
        if device is not None:
            device.close()
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    finally:
        if old is not None:
            with contextlib.suppress(OSError):  # nothing was written to it
                old.close()
    return container


def publish(temporary: Path, path: Path, *, replace: bool) -> None:
    """Give a finished file its final name, durably."""
    if replace:
        os.replace(temporary, path)
    else:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise ExistsError(17, os.strerror(17), str(path)) from None
        except OSError:  # a filesystem without hard links
            if os.path.lexists(path):
                raise ExistsError(17, os.strerror(17), str(path)) from None
            os.rename(temporary, path)
        else:
            temporary.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to stable storage, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def memory_container(secrets: Secrets, *, options: Options | None = None) -> Container:
    """A new container in memory."""
    return create_container(MemoryDevice(), secrets, replace=False, options=options)
