"""The verbs that only look: ls, deleted, info."""

from __future__ import annotations

import dataclasses
import posixpath
import stat
from collections.abc import Iterator
from os import stat_result
from typing import Any, Final

import click

from archive7 import Archive

from .report import iso_text, say, say_json, shown, size_text, time_text
from .vault import Vault, as_json, takes_vault, vault_options

_LABELS: Final = {
    "container": "container id",
    "sealed": "blocks sealed",
    "is_authenticated": "authenticated",
}
_UNPROVED: Final = "no: a private key alone opened it, anybody may have made it"
_TYPES: Final = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}


@click.command()
@takes_vault
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("-l", "--long", "is_long", is_flag=True, help="Mode, size, time and link target.")
@click.option("-R", "--recursive", "is_recursive", is_flag=True, help="All that is below.")
@as_json
@vault_options
def ls(
    vault: Vault, paths: tuple[str, ...], is_long: bool, is_recursive: bool, is_json: bool
) -> None:
    """List what is in an archive.

    The default PATH is the root.  Directories end with a slash.  With -R or several PATHs, whole
    paths are shown.

    \b
      ar7 ls -l vault.ar7 letters
      ar7 ls -R vault.ar7 | grep draft
      ar7 ls --json vault.ar7 letters | jq '.entries[].name'
    """
    has_paths = is_recursive or len(paths) > 1
    with vault.reading() as archive:
        found = (
            (path, kind)
            for top in paths or ("/",)
            for path, kind in _list(archive, top, is_recursive=is_recursive)
        )
        if is_json:
            entries = [_record(archive, path) for path, _ in found]
            say_json({"vault": vault.path, "paths": list(paths or ("/",)), "entries": entries})
            return
        for path, kind in found:
            name = shown(path if has_paths else posixpath.basename(path) or path)
            if kind == "directory" and not name.endswith("/"):
                name += "/"
            say(f"{_details(archive, path, kind, name)}" if is_long else name)


def _list(archive: Archive, top: str, *, is_recursive: bool) -> Iterator[tuple[str, str]]:
    """Yield path and type of what `ls` shows for `top`."""
    top = posixpath.normpath(posixpath.join("/", top)).replace("//", "/")
    if not stat.S_ISDIR(archive.stat(top).st_mode if _leads_on(archive, top) else 0):
        yield top, _type(archive.lstat(top))
        return
    pending = [top]
    while pending:
        path = pending.pop()
        below = []
        for entry in sorted(archive.scandir(path), key=lambda entry: entry.name):
            found = posixpath.join(path, entry.name)
            if entry.is_symlink():
                yield found, "link"
            elif entry.is_dir():
                yield found, "directory"
                below.append(found)
            else:
                yield found, "file"
        if is_recursive:
            pending += reversed(below)


def _leads_on(archive: Archive, path: str) -> bool:
    """Whether `path` leads to something that is there; a dangling link does not."""
    return not archive.islink(path) or archive.exists(path)


def _type(status: stat_result) -> str:
    return _TYPES.get(stat.S_IFMT(status.st_mode), "other")


def _record(archive: Archive, path: str) -> dict[str, Any]:
    """What --json tells of an entry."""
    status = archive.lstat(path)
    kind = _type(status)
    record = {
        "path": path,
        "name": posixpath.basename(path),
        "type": kind,
        "size": status.st_size if kind == "file" else None,
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "modified": iso_text(status.st_mtime_ns),
        "modified_ns": status.st_mtime_ns,
    }
    if kind == "link":
        record["target"] = archive.readlink(path)
    return record


def _details(archive: Archive, path: str, kind: str, name: str) -> str:
    status = archive.lstat(path)
    size = f"{status.st_size:,}" if kind == "file" else "-"
    line = f"{stat.filemode(status.st_mode)} {size:>15} {time_text(status.st_mtime)}  {name}"
    return f"{line} -> {shown(archive.readlink(path))}" if kind == "link" else line


# --- deleted


@click.command()
@takes_vault
@as_json
@vault_options
def deleted(vault: Vault, is_json: bool) -> None:
    """List what can be undeleted.

    All that was removed with rm --how soft or hard, the oldest first.
    `ar7 undelete` restores what was removed with --how soft.

    \b
      ar7 deleted vault.ar7
    """
    with vault.reading() as archive:
        items = archive.deleted()
    if is_json:
        entries = [
            {
                "id": str(item.id),
                "path": item.path,
                "type": item.type,
                "size": item.size,
                "deleted": iso_text(item.deleted_ns),
                "deleted_ns": item.deleted_ns,
                "is_restorable": item.is_restorable,
            }
            for item in items
        ]
        say_json({"vault": vault.path, "deleted": entries})
        return
    for item in items:
        note = "" if item.is_restorable else "  (its data are gone)"
        when = time_text(item.deleted_ns / 1e9)
        say(f"{when} {item.size:>15,}  {shown(item.path)}{note}")


# --- info


@click.command()
@takes_vault
@click.option(
    "--receipt", "is_receipt", is_flag=True, help="A receipt instead: keep it, for --expect."
)
@as_json
@vault_options
def info(vault: Vault, is_receipt: bool, is_json: bool) -> None:
    """Tell suite, format, sizes and commits.

    \b
      ar7 info vault.ar7
      ar7 info --json vault.ar7
      ar7 info --receipt vault.ar7 > vault.receipt
    """
    with vault.reading() as archive:
        if is_receipt:
            receipt = str(archive.receipt())
            say_json({"vault": vault.path, "receipt": receipt}) if is_json else say(receipt)
            return
        facts = dataclasses.asdict(archive.info())
    created = iso_text(facts.pop("created"))
    del facts["name"], facts["mode"]  # of this call, not of the archive
    facts = {"vault": vault.path, **facts, "created": created}
    for name in ("container", "owner", "domain", "node"):
        facts[name] = str(facts[name]) if facts[name].int else None
    if is_json:
        say_json(facts)
        return
    for name in ("size", "used", "free"):
        facts[name] = f"{facts[name]:,} bytes ({size_text(facts[name])})"
    for name in ("commit", "sealed"):
        facts[name] = f"{facts[name]:,}"
    facts["keyslots"] = f"{len(facts['keyslots'])} ({', '.join(facts['keyslots'])})"
    facts["is_authenticated"] = "yes" if facts["is_authenticated"] else _UNPROVED
    for name, value in facts.items():
        if value not in ("", None, 0):
            say(f"{_LABELS.get(name, name):<14}{shown(str(value))}")
