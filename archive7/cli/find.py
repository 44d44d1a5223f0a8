"""The verb find: entries by what is known of them."""

from __future__ import annotations

import functools
import operator
import re
import stat
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from archive7 import Archive, Condition, Found, Q

from .report import iso_text, say, say_json, shown, time_text
from .vault import Vault, as_json, takes_vault, vault_options

_KINDS: Final = {"f": "file", "d": "directory", "l": "link"}
_FORMATS: Final = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "link": stat.S_IFLNK}
_UNITS: Final = {unit: 1024**power for power, unit in enumerate(("", "k", "M", "G", "T"))}
_SPANS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _parsed(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """Have an option's value, or each of several, parsed; a ValueError is wrong use."""

    def convert(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(map(parse, value))
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return convert


def _size(text: str) -> Condition:
    """A size to compare with: +1M, -10k, =0, 512."""
    match = re.fullmatch(r"([-+=]?)([0-9]+)([kMGT]?)", text)
    if match is None:
        raise ValueError(f"{text!r} is no size: give one like +1M (more), -10k (less) or =0")
    size: int = int(match[2]) * _UNITS[match[3]]
    if match[1] == "+":
        return Q.size > size
    return Q.size < size if match[1] == "-" else Q.size == size


def _date(text: str) -> datetime:
    """A point in time: ISO 8601, in local time unless it has a zone, or so long ago: 7d."""
    try:
        if match := re.fullmatch(r"([0-9]+)([mhdw])", text):
            return datetime.now(UTC) - timedelta(**{_SPANS[match[2]]: int(match[1])})
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        message = "give one like 2026-01-31, 2026-01-31T12:00 or 7d (7 days ago; m, h, d, w)"
        raise ValueError(f"{text!r} is no date: {message}") from None


def _mode(text: str) -> Condition:
    """Permission bits, octal: 644 exactly, -022 all of these, /022 any of these."""
    match = re.fullmatch(r"([-/]?)([0-7]{1,4})", text)
    if match is None:
        raise ValueError(f"{text!r} is no mode: give octal digits, such as 644, -022 or /111")
    bits = int(match[2], 8)
    if match[1] == "-" or (match[1] and not bits):
        return Q.mode.has(bits)
    if match[1]:
        return _any([Q.mode.has(1 << place) for place in range(12) if bits & 1 << place])
    return Q.mode == bits


def _principal(text: str) -> int | str:
    """A user or group: a number, or a name."""
    return int(text) if re.fullmatch("[0-9]+", text) else text


def _any(conditions: Iterable[Condition]) -> Condition:
    return functools.reduce(operator.or_, conditions)


@click.command()
@takes_vault
@click.argument("path", metavar="[PATH]", default="/")
@click.option("--name", "names", metavar="PATTERN", multiple=True, help="Like '*.log'.")
@click.option(
    "--type", "kinds", type=click.Choice([*_KINDS]), multiple=True, help="File, directory, link."
)
@click.option(
    "--size", "sizes", metavar="SIZE", callback=_parsed(_size), multiple=True,
    help="+1M: more, -10k: less, =0: just so; k, M, G, T.",
)  # fmt: skip
@click.option("--newer", metavar="DATE", callback=_parsed(_date), help="Modified then or later.")
@click.option("--older", metavar="DATE", callback=_parsed(_date), help="Modified before.")
@click.option(
    "--mode", "modes", metavar="MODE", callback=_parsed(_mode), multiple=True,
    help="644: just so, -022: all of these bits, /022: any.",
)  # fmt: skip
@click.option("--user", metavar="USER", callback=_parsed(_principal), help="Number or name.")
@click.option("--group", metavar="GROUP", callback=_parsed(_principal), help="The same.")
@click.option("--deleted", "is_deleted", is_flag=True, help="What was deleted, and nothing else.")
@click.option("-l", "--long", "is_long", is_flag=True, help="Mode, size, time and link target.")
@click.option("-0", "--print0", "is_raw", is_flag=True, help="End each path with NUL: xargs -0.")
@as_json
@vault_options
def find(
    vault: Vault,
    path: str,
    newer: datetime | None,
    older: datetime | None,
    user: int | str | None,
    group: int | str | None,
    is_deleted: bool,
    is_long: bool,
    is_raw: bool,
    is_json: bool,
    **several: Any,
) -> None:
    """Find files, directories and links.

    Below PATH (default: all), by name, type, size, time, mode and owner.  All that is asked must
    hold; of several --name or --type, one.  DATE is 2026-01-31, 2026-01-31T12:00 or 7d, which is
    seven days ago.  Finding nothing is no error.

    \b
      ar7 find vault.ar7 logs --name '*.log' --size +1M --older 30d
      ar7 find vault.ar7 --deleted --long
      ar7 find -0 vault.ar7 --name '*.tmp' | xargs -0 ar7 rm vault.ar7 --
    """
    if is_raw and (is_long or is_json):
        raise click.UsageError("--print0 writes paths alone: leave out --long and --json")
    conditions = [
        *_several(**several),
        *([] if newer is None else [Q.modified >= newer]),
        *([] if older is None else [Q.modified < older]),
        *([] if user is None else [Q.user == user]),
        *([] if group is None else [Q.group == group]),
        *([Q.deleted] if is_deleted else []),
    ]
    with vault.reading() as archive:
        found = sorted(archive.find(*conditions, under=path), key=_order)
        if is_json:
            entries = [_record(archive, entry) for entry in found]
            say_json({"vault": vault.path, "path": path, "entries": entries})
        elif is_raw:
            for entry in found:
                sys.stdout.buffer.write(entry.path.encode() + b"\0")
        else:
            for entry in found:
                say(_details(archive, entry) if is_long else shown(entry.path))


def _several(
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    sizes: tuple[Condition, ...],
    modes: tuple[Condition, ...],
) -> Iterable[Condition]:
    """The conditions of options that may be given several times."""
    if names:
        yield _any([Q.name.like(name) for name in names])
    if kinds:
        yield Q.type.one_of(*(_KINDS[kind] for kind in kinds))
    yield from sizes
    yield from modes


def _order(found: Found) -> list[str]:
    """As the tree has them: a directory before what is in it."""
    return found.path.split("/")


def _target(archive: Archive, found: Found) -> str | None:
    """Where a link leads; of a deleted one this is not known."""
    is_link = found.type == "link" and not found.deleted_ns
    return archive.readlink(found.path) if is_link else None


def _record(archive: Archive, found: Found) -> dict[str, Any]:
    """What --json tells of an entry."""
    record = {
        "path": found.path,
        "name": found.name,
        "type": found.type,
        "size": found.size if found.type == "file" else None,
        "mode": f"{found.mode:04o}",
        "modified": iso_text(found.modified_ns),
        "modified_ns": found.modified_ns,
        "created": iso_text(found.created_ns),
        "created_ns": found.created_ns,
        "user": found.user,
        "group": found.group,
        "owner": str(found.owner),
        "id": str(found.id),
        "links": found.links,
        "deleted": iso_text(found.deleted_ns) if found.deleted_ns else None,
    }
    target = _target(archive, found)
    return record if target is None else {**record, "target": target}


def _details(archive: Archive, found: Found) -> str:
    mode = stat.filemode(_FORMATS[found.type] | found.mode)
    size = f"{found.size:,}" if found.type == "file" else "-"
    line = f"{mode} {size:>15} {time_text(found.modified_ns / 10**9)}  {shown(found.path)}"
    target = _target(archive, found)
    if found.deleted_ns:
        return f"{line} (deleted {time_text(found.deleted_ns / 10**9)})"
    return line if target is None else f"{line} -> {shown(target)}"
