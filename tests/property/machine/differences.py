"""Where the archive differs from Linux on purpose: one table, with the reasons.

A row is of one of four kinds.  "shown": both sides answer, differently, and that is all.
"unasked": a call that is not made, since the sides would go different ways.  "bent": the host is
made to do as the archive does (host.py says where).  "masked": what a stat tells and is not
compared.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.property.machine.calls import Outcome

Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Difference:
    """One difference.

    Attributes:
        kind: shown, unasked, bent or masked.
        calls: which it is about.
        what: what differs.
        reason: why that is meant.
        applies: shown: (arguments, archive's outcome, host's outcome) -> whether this is it.
    """

    kind: str
    calls: str
    what: str
    reason: str
    applies: Callable[[Arguments, Outcome, Outcome], object] = lambda args, here, there: False

    def is_about(self, name: str) -> bool:
        """Whether a call is one of these."""
        return self.calls == "all" or name in self.calls.split()


def _codes(here: Outcome, there: Outcome) -> tuple[object, object]:
    """The errno of two failures; None for anything else."""
    return (
        here[1] if len(here) == 4 else None,
        there[1] if len(there) == 4 else None,
    )


def _both_failed(here: Outcome, there: Outcome) -> bool:
    return None not in _codes(here, there)


DIFFERENCES: Final = (
    Difference(
        "masked", "stat lstat scandir tree", "st_atime, st_ctime",
        "no times of access are kept, st_ctime is the time of creation",
    ),
    Difference(
        "masked", "stat lstat scandir tree", "st_size and st_nlink of directories",
        "they tell of the host's filesystem: 1 and 0 in an archive",
    ),
    Difference(
        "masked", "tree", "st_mtime of directories whose content changed",
        "a change of a name is no change of its directory: that would be one more block to write",
    ),
    Difference(
        "shown", "utime", "the name of the file in the error",
        "os.utime leaves it out",
        lambda args, here, there: (
            _both_failed(here, there) and here[:2] == there[:2] and here[2] == args[0]
        ),
    ),
    Difference(
        "shown", "rename replace link symlink copy undelete", "which of two errors comes first",
        "a name that is too long and another mistake: what Linux finds first depends on the "
        "filesystem below",
        lambda args, here, there: (
            _both_failed(here, there) and errno.ENAMETOOLONG in _codes(here, there)
        ),
    ),
    Difference(
        "shown", "scandir walk", "entries below a path of almost 4096 bytes",
        "an entry of an archive's directory knows its file, where the host's has a path only",
        lambda args, here, there: len(os.fsencode(args[0])) > 3800,
    ),
    Difference(
        "shown", "all", "which of two errors comes first",
        "NUL in a path and another mistake: Python looks for NUL before Linux looks at all",
        lambda args, here, there: _codes(here, there)[0] and there == ("ValueError",),
    ),
    Difference(
        "shown", "setxattr", "the error for a value of more than 64 KiB",
        "the system refuses it as too long an argument before it asks the filesystem",
        lambda args, here, there: _both_failed(here, there) and there[1] == errno.E2BIG,
    ),
    Difference(
        "shown", "delete", "EBUSY or EMLINK",
        "which file of a tree is looked at first is nobody's business",
        lambda args, here, there: (
            args[1:] == ("rmtree", "HARD")
            and set(_codes(here, there)) == {errno.EBUSY, errno.EMLINK}
        ),
    ),
    Difference(
        "unasked", "setxattr removexattr", "attributes of symbolic links",
        "Linux refuses user.* there, the archive keeps them",
    ),
    Difference(
        "unasked", "setxattr", "names without user., values of more than 64 KiB together",
        "which namespaces there are and how much they hold is up to the host's filesystem",
    ),
    Difference(
        "unasked", "chmod mkdir", "the bit setgid of directories",
        "new entries inherit it on Linux; in an archive owners are kept, not enforced",
    ),
    Difference(
        "unasked", "all", "names that are not UTF-8",
        "the host keeps any bytes, the archive refuses them with EILSEQ",
    ),
    Difference(
        "bent", "makedirs", "directories made before one that failed",
        "an operation of the archive happens or does not; os.makedirs leaves them",
    ),
    Difference(
        "bent", "copy", "errors of shutil without errno, and copytree into its own source",
        "shutil.Error and SameFileError are EEXIST or EINVAL with the path in an archive; "
        "copytree would not end",
    ),
    Difference(
        "bent", "copy", "directories missing above the target of a tree",
        "copytree makes them, copy does not, as for files",
    ),
    Difference(
        "bent", "copy", "attributes that only the replaced file had",
        "a copy has those of its source; copy2 leaves others there",
    ),
    Difference(
        "bent", "rmtree", "a path without a name, such as . or a link to a directory",
        "the errors are those of rmdir and nothing is removed; shutil.rmtree empties it first",
    ),
    Difference(
        "bent", "deleted undelete purge", "deletion that can be undone",
        "the host has none: a hidden folder plays it",
    ),
)  # fmt: skip


def is_meant(name: str, args: Arguments, here: Outcome, there: Outcome) -> bool:
    """Whether two outcomes differ as one of the rows tells."""
    return any(
        row.kind == "shown" and row.is_about(name) and row.applies(args, here, there)
        for row in DIFFERENCES
    )
