"""The program: all verbs in one group, and the one place where a run ends.

Owns dispatch and turning what comes out of a verb into exit code and line.  Promises: whatever a
verb raises, the process ends with one line on stderr and a code of `failure`.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

import click
from click.exceptions import Exit

import archive7

from .change import cp, mkdir, mv, rm, undelete
from .check import check
from .content import cat, get, put
from .demonstration import demo
from .failure import INTERRUPTED, READER_GONE, WRONG_USE, Refusal, describe
from .find import find
from .keys import keys
from .look import deleted, info, ls
from .maintenance import compact, repair, rescue
from .pack import add, create, extract
from .report import drop_stdout, fail
from .tree import tree
from .trust import rekey, shred


class Program(click.Group):
    """The group, with ends of our own."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line and leave with the exit code."""
        extra["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(*args, **extra)
        except click.ClickException as error:
            code = _end(error)
        sys.exit(code or 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; what it raises becomes a line and a code."""
        try:
            if sys.stdout is None:
                raise Refusal("stdout is closed: give it a place to go", WRONG_USE)
            code = super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, Exit):
            raise
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                fail("interrupted")
            code = INTERRUPTED
        except BrokenPipeError:
            drop_stdout()
            code = READER_GONE
        except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback
            code, text = describe(error)
            fail(text)
        return code


def _end(error: click.ClickException) -> int:
    """Say in one line what is wrong with the command line, and where to read more."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2; its message is the help
        error.show()
    elif isinstance(error, click.UsageError) and context is not None:
        text = " ".join(error.format_message().split()).rstrip(".")
        fail(f"{text} (see {context.command_path} --help)")
    else:
        fail(" ".join(error.format_message().split()))
    return error.exit_code


@click.group(
    cls=Program,
    name="ar7",
    context_settings={"help_option_names": ["--help"], "max_content_width": 99},
    no_args_is_help=True,
)
@click.version_option(archive7.__version__, prog_name="ar7")
def program() -> None:
    """Keep files in an encrypted archive.

    The archive is one file, VAULT.  Its password is asked for, or comes from --password-file or
    ARCHIVE7_PASSWORD; a key comes from --key-file or ARCHIVE7_KEY_FILE, a private key from
    --identity or ARCHIVE7_IDENTITY_FILE.  Paths in the archive begin at its root, with or without
    a slash in front.

    \b
      ar7 create vault.ar7 ~/letters        make an archive of a folder
      ar7 ls -l vault.ar7 /letters          see what is in it
      ar7 extract vault.ar7 restored        get everything back

    Exit codes: 0 done; 1 the answer is no (damage, no such path) or the work failed; 2 wrong
    use; 3 the archive cannot be opened (wrong secret, in use, not an archive).
    """


for _command in (
    create, add, ls, tree, find, cat, put, get, extract, rm, deleted, undelete, cp, mkdir, mv,
    info, keys, rekey, shred, check, compact, repair, rescue, demo,
):  # fmt: skip
    program.add_command(_command)
