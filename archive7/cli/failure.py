"""Failure: what goes wrong, as one line and an exit code.

Owns the exit codes and the words.  Promises: each line names the thing and, where there is one,
the remedy in terms of the command line; no traceback, no secret, no bytes of a file.
"""

from __future__ import annotations

import errno
import os
import traceback
from typing import Final

from archive7 import (
    Archive7Error,
    CorruptError,
    FormatError,
    FullError,
    LockedError,
    NotFoundError,
    PathError,
    SnapshotExpiredError,
    SuiteUnavailableError,
    SyncFailedError,
    UsageError,
    WrongKeyError,
)

DONE: Final = 0
ANSWER_IS_NO: Final = 1
WRONG_USE: Final = 2
CANNOT_OPEN: Final = 3
OUR_BUG: Final = 70  # EX_SOFTWARE
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
READER_GONE: Final = 141  # 128 + SIGPIPE

# The library speaks of arguments of archive7.open(), a user has options.
_ARGUMENTS: Final = {
    "max_kdf_memory=": "--max-kdf-memory",
    "password=": "--password-file or the prompt",
    "key=": "--key-file",
    "identity=": "--identity",
    "accept_rollback=": "--accept-rollback",
    "overwrite=True": "--overwrite",
    "call refresh() and retry": "run the command again",
}


class Refusal(Exception):  # noqa: N818 - no error of ours: the user's answer
    """An end with a message and a code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


def describe(error: Exception) -> tuple[int, str]:
    """Exit code and line for an exception that a verb met."""
    if isinstance(error, Refusal):
        return error.exit_code, error.message
    if isinstance(error, CorruptError):
        return ANSWER_IS_NO, f"damaged: {_words(error)}; ar7 check tells what else is"
    if isinstance(error, WrongKeyError):
        return CANNOT_OPEN, f"wrong secret: {_words(error)}"
    if isinstance(error, FormatError | SuiteUnavailableError):
        return CANNOT_OPEN, _words(error)
    if isinstance(error, LockedError):
        return CANNOT_OPEN, "in use: another program is writing to it; wait until it is done"
    if isinstance(error, SnapshotExpiredError):
        return ANSWER_IS_NO, _words(error)
    if isinstance(error, OSError):
        return _describe_system(error)
    if isinstance(error, UsageError):
        return WRONG_USE, _words(error)
    if isinstance(error, Archive7Error):
        return ANSWER_IS_NO, _words(error)
    return OUR_BUG, _describe_bug(error)


def _describe_system(error: OSError) -> tuple[int, str]:
    """An error of the operating system, or of a path inside the archive."""
    reason = _words(error.strerror or (error.args[-1] if error.args else type(error).__name__))
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None]
    text = ": ".join([" -> ".join(map(str, names)), reason] if names else [reason])
    if isinstance(error, PathError):
        if isinstance(error, NotFoundError):
            return ANSWER_IS_NO, f"{text} in the archive"
        if error.errno == errno.EINVAL and error.filename2 is not None:
            text = f"{names[0]} cannot be moved into itself"
        return WRONG_USE, text
    if isinstance(error, UsageError):
        return WRONG_USE, text
    if isinstance(error, FullError):
        return ANSWER_IS_NO, f"{text}; what was there before is intact: make room and try again"
    if isinstance(error, SyncFailedError):
        return ANSWER_IS_NO, f"{text}; run ar7 check before going on"
    if isinstance(error, FileExistsError):
        return WRONG_USE, f"{text}; --overwrite replaces it"
    return ANSWER_IS_NO, text


def _words(message: object) -> str:
    """The library's message in terms of the command line."""
    text = str(message)
    for argument, option in _ARGUMENTS.items():
        text = text.replace(argument, option)
    return text


def _describe_bug(error: Exception) -> str:
    """Kind and place of an exception that should not be; its text could hold anything."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}: this is a bug of archive7; please report it"
