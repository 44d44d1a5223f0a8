"""Reports: what goes to stdout and stderr, for people and for programs.

Owns the one-line messages, JSON, sizes and times in words, and names made fit for a terminal.
Promises: a name from an archive never reaches a terminal with control characters in it; JSON is
one complete document, written only once the work is done.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import Any, Final

import click

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


def warn(text: str) -> None:
    """Write a warning to stderr."""
    click.echo(f"ar7: warning: {shown(text)}", err=True)


def fail(text: str) -> None:
    """Write an error to stderr, in one line."""
    click.echo(f"ar7: {shown(text)}", err=True)


def say(text: str) -> None:
    """Write one line to stdout."""
    print(text)  # click.echo would flush each line


def say_json(document: dict[str, Any]) -> None:
    """Write the document to stdout."""
    print(json.dumps(document, indent=2, default=_plain))


def _plain(value: object) -> Any:
    """What json cannot write itself: bytes as hexadecimal digits, sets as lists, paths as text."""
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


def shown(text: str) -> str:
    """The text with control characters and the like escaped, so that a name stays a name."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def size_text(size: float) -> str:
    """A number of bytes in words: 0 B, 12.3 MiB."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in _UNITS:
        size /= 1024
        if size < 1000 or unit == _UNITS[-1]:
            break
    return f"{size:.1f} {unit}"


def count_text(count: int, noun: str) -> str:
    """A number of things in words: 1 file, 12 files, 3 directories."""
    if count == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {plural}"


def time_text(seconds: float) -> str:
    """A time stamp as local time, to the minute."""
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # years that datetime does not know
        return f"@{seconds:.0f}"


def iso_text(nanoseconds: int) -> str | None:
    """A time stamp as ISO 8601 in UTC; None for years that cannot be written so."""
    try:
        return datetime.fromtimestamp(nanoseconds // 10**9, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def drop_stdout() -> None:
    """Send what is still buffered for a reader who has gone nowhere."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
