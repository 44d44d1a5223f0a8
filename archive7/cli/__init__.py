"""The command line `ar7`: one module for each group of verbs.

Owns words and bytes between a person or a script and an archive: arguments, secrets, progress,
reports, exit codes.  May assume the public API alone.  Promises: a secret never comes from an
argument and never goes into output; errors are one line on stderr; exit codes are 0 done, 1 the
answer is no, 2 wrong use, 3 cannot open.  This module imports neither click nor rich.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run `ar7` with `args` (default: those of the process) and leave with its exit code."""
    missing = [name for name in ("click", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"ar7: {' and '.join(missing)} not found: pip install archive7[cli]", file=sys.stderr
        )
        sys.exit(2)
    importlib.import_module("archive7.cli.program").program.main(args, prog_name="ar7")
