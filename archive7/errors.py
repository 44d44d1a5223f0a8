"""Every exception of Archive7, grouped by whose fault it is.

Owns the exception tree and nothing else.  Everything derives from `Archive7Error`; what has a
builtin counterpart also derives from that, so callers may catch `FileNotFoundError` and the like.
Damage (`CorruptError`) is never an `OSError`: no `except OSError: continue` can hide it.
"""

from __future__ import annotations

import builtins
import io
from typing import Any


class Archive7Error(Exception):
    """Base of all errors of this package."""


# --- the bytes are not ours


class FormatError(Archive7Error):
    """The bytes are not something this version can read."""


class NotAnArchiveError(FormatError):
    """The file does not begin with a superblock of Archive7."""


class VersionError(FormatError):
    """The file needs a version, a suite, a flag or a keyslot kind that is not known here."""


class KdfLimitError(FormatError):
    """A keyslot asks for more memory or time than is allowed before its key is known."""


# --- the key


class WrongKeyError(Archive7Error):
    """No offered secret opens a keyslot."""


class SuiteUnavailableError(Archive7Error):
    """The cipher suite needs a library that is not installed."""


# --- the bytes are ours and damaged


class CorruptError(Archive7Error):
    """Something of this archive is damaged.

    Args:
        reason: what is wrong and what to do.
        block: position of the block, where it is known.
        stream: identity of the stream, where it is known.
        path: path of the file, where it is known.
    """

    def __init__(
        self,
        reason: str,
        *,
        block: int | None = None,
        stream: object = None,
        path: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.block = block
        self.stream = stream
        self.path = path

    def __str__(self) -> str:
        where = [
            f"{name} {value}"
            for name, value in (
                ("block", self.block),
                ("stream", self.stream),
                ("path", self.path),
            )
            if value is not None
        ]
        return f"{self.reason} ({', '.join(where)})" if where else self.reason

    def __reduce__(self) -> tuple[Any, ...]:
        return (_corrupt, (type(self), self.reason, self.block, self.stream, self.path))


def _corrupt(
    kind: type[CorruptError], reason: str, block: int | None, stream: object, path: str | None
) -> CorruptError:
    """Rebuild a pickled CorruptError."""
    return kind(reason, block=block, stream=stream, path=path)


class SuperblockCorruptError(CorruptError):
    """No copy of the superblock is whole."""


class BlockCorruptError(CorruptError):
    """A block does not open, or is not the block that belongs at its position."""


class RollbackError(CorruptError):
    """A block, a root or a superblock copy was put back to an older version."""


class ReceiptError(CorruptError):
    """A receipt is not one of this archive, or cannot be compared with it."""


class TreeCorruptError(CorruptError):
    """A tree node, a stream record or a directory entry contradicts its surroundings."""


class RecordCorruptError(CorruptError):
    """A record of an archive format is damaged."""


class SnapshotExpiredError(Archive7Error):
    """The snapshot of this reader was overwritten by the writer: call refresh() and retry."""


class RekeyedError(SnapshotExpiredError):
    """The master key was changed meanwhile: close the archive and open it again."""


class RecoveredWarning(RuntimeWarning):
    """The newest commit was not whole: the archive opened in an earlier one."""


# --- the caller's mistake


class UsageError(Archive7Error, ValueError):
    """The call makes no sense as it stands."""


class UnauthenticatedError(UsageError):
    """A private key alone opened the archive, so anybody may have made it: it is not written."""


class ClosedError(UsageError):
    """The archive, the stream or the file object is closed."""


class ReadOnlyError(UsageError, io.UnsupportedOperation):
    """The archive is open for reading only (errno EROFS)."""


class TransactionError(UsageError):
    """The transaction was doomed by an earlier exception, or is used out of order."""


# --- the surroundings


class LockedError(Archive7Error, BlockingIOError):
    """Another writer, in this or another process, holds the archive."""


class FullError(Archive7Error, OSError):
    """No space is left (errno ENOSPC); everything committed is intact."""


class SyncFailedError(Archive7Error, OSError):
    """A sync failed: what is on disk is unknown, no more commits until the archive is reopened."""


# --- paths inside the archive


class PathError(Archive7Error, OSError):
    """A path inside the archive cannot be used so."""


class NotFoundError(PathError, FileNotFoundError):
    """No such file or directory (errno ENOENT)."""


class ExistsError(PathError, FileExistsError):
    """The name exists already (errno EEXIST)."""


class IsADirectoryError(PathError, builtins.IsADirectoryError):  # noqa: A001 - shadows on purpose, is one
    """The path names a directory (errno EISDIR)."""


class NotADirectoryError(PathError, builtins.NotADirectoryError):  # noqa: A001 - shadows on purpose, is one
    """A part of the path is not a directory (errno ENOTDIR)."""


class NotEmptyError(PathError):
    """The directory is not empty (errno ENOTEMPTY)."""


class NotPermittedError(PathError, PermissionError):
    """The operation is not permitted (errno EPERM)."""


class NameTooLongError(PathError):
    """A name has more than 255 bytes of UTF-8 (errno ENAMETOOLONG)."""


class LoopError(PathError):
    """Too many symbolic links (errno ELOOP)."""
