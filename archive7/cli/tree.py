"""The verb tree: directories with what is in them, as a drawing."""

from __future__ import annotations

import posixpath
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import click

from archive7 import Archive

from .report import count_text, say, say_json, shown, size_text
from .vault import Vault, as_json, takes_vault, vault_options

_LINES: Final = ("├── ", "└── ", "│   ", "    ")
_PLAIN_LINES: Final = ("|-- ", "`-- ", "|   ", "    ")  # for a stdout without these characters


@dataclass
class _Row:
    """One line: what it shows, and how deep it stands."""

    path: str
    name: str
    kind: str
    depth: int
    lines: str
    size: int = 0


@click.command()
@takes_vault
@click.argument("path", metavar="[PATH]", default="/")
@click.option(
    "--depth", type=click.IntRange(min=1), metavar="N", help="Show no more than N levels."
)
@click.option(
    "--size", "has_sizes", is_flag=True, help="With sizes; of a directory, all that is below."
)
@as_json
@vault_options
def tree(vault: Vault, path: str, depth: int | None, has_sizes: bool, is_json: bool) -> None:
    """Draw directories and what is in them.

    Below PATH; the default is the root.  Symbolic links are not followed.

    \b
      ar7 tree vault.ar7 letters --depth 2
      ar7 tree --size vault.ar7
    """
    counts: Counter[str] = Counter()
    with vault.reading() as archive:
        rows = _rows(archive, path, None if has_sizes or is_json else depth)
        total = 0
        if has_sizes or is_json:
            measured = list(rows)
            total = _measure(archive, measured)
            rows = (row for row in measured if depth is None or row.depth <= depth)
        if is_json:
            entries = [_record(archive, row) for row in rows]
            say_json({"vault": vault.path, "path": path, "size": total, "entries": entries})
            return
        say(_label(shown(path), total, has_sizes))
        for row in rows:
            counts[row.kind] += 1
            name = shown(row.name)
            if row.kind == "link":
                name += f" -> {shown(archive.readlink(row.path))}"
            say(row.lines + _label(name, row.size, has_sizes))
    kinds = [kind for kind in ("directory", "file", "link") if counts[kind] or kind != "link"]
    say("\n" + ", ".join(count_text(counts[kind], kind) for kind in kinds))


def _rows(archive: Archive, top: str, depth: int | None) -> Iterator[_Row]:
    """Yield a row for each entry, those of a directory behind its own."""
    more, last, go_on, nothing = _lines()
    folders = [(list(archive.scandir(top))[::-1], "")]
    while folders:
        entries, lines = folders[-1]
        if not entries:
            folders.pop()
            continue
        entry = entries.pop()
        kind = "link" if entry.is_symlink() else "directory" if entry.is_dir() else "file"
        head = lines + (more if entries else last)
        yield _Row(entry.path, entry.name, kind, len(folders), head)
        if kind == "directory" and (depth is None or len(folders) < depth):
            below = list(archive.scandir(entry.path))[::-1]
            folders.append((below, lines + (go_on if entries else nothing)))


def _lines() -> tuple[str, str, str, str]:
    try:
        "".join(_LINES).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return _PLAIN_LINES
    return _LINES


def _measure(archive: Archive, rows: list[_Row]) -> int:
    """Set all sizes; a directory has what is below, a file with several names counts once."""
    seen: set[int] = set()
    totals = [0]  # of the directories that are under way, by depth; a row adds to the one above
    for row in reversed(rows):  # what is below comes first
        totals += [0] * (row.depth + 1 - len(totals))
        if row.kind == "file":
            status = archive.lstat(row.path)
            row.size = status.st_size
            if status.st_ino not in seen:
                totals[row.depth - 1] += row.size
            if status.st_nlink > 1:
                seen.add(status.st_ino)
        elif row.kind == "directory":
            row.size, totals[row.depth] = totals[row.depth], 0
            totals[row.depth - 1] += row.size
    return totals[0]


def _label(name: str, size: int, has_sizes: bool) -> str:
    return f"[{size_text(size):>10}]  {name}" if has_sizes else name


def _record(archive: Archive, row: _Row) -> dict[str, Any]:
    """What --json tells of an entry."""
    record = {
        "path": posixpath.join("/", row.path),
        "name": row.name,
        "type": row.kind,
        "depth": row.depth,
        "size": None if row.kind == "link" else row.size,
    }
    if row.kind == "link":
        record["target"] = archive.readlink(row.path)
    return record
