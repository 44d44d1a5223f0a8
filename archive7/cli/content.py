"""The verbs for one file's bytes: cat, put, get."""

from __future__ import annotations

import os
import posixpath
import secrets
import shutil
import stat
import sys
from pathlib import Path
from typing import IO, Final, Protocol

import click

from archive7 import Archive

from .failure import WRONG_USE, Refusal
from .interruption import Interruption
from .vault import Vault, takes_vault, vault_options

_CHUNK_SIZE: Final = 1 << 20  # bytes


class _Source(Protocol):
    """What `put` reads from; None means: nothing now."""

    def read(self, size: int, /) -> bytes | None: ...


@click.command()
@takes_vault
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@vault_options
def cat(vault: Vault, paths: tuple[str, ...]) -> None:
    """Write files to stdout, byte for byte.

    Nothing is written if one of them is missing.

    \b
      ar7 cat vault.ar7 letters/draft.txt
      ar7 cat vault.ar7 logs/1 logs/2 | grep error
    """
    with vault.reading() as archive:
        for path in paths:
            _require_file(archive, path)
        for path in paths:
            with archive.open(path, "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer, _CHUNK_SIZE)
        sys.stdout.buffer.flush()


def _require_file(archive: Archive, path: str) -> os.stat_result:
    status = archive.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise Refusal(f"{path} is a directory: ar7 extract takes it out", WRONG_USE)
    return status


# --- into the archive


@click.command()
@takes_vault
@click.argument("path", metavar="PATH")
@click.option(
    "--from",
    "source",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Read FILE instead of stdin.",
)
@click.option("-p", "--parents", is_flag=True, help="Make the directories that PATH needs.")
@vault_options
def put(vault: Vault, path: str, source: str | None, parents: bool) -> None:
    """Write stdin to a file in an archive.

    With --from, FILE instead of stdin.  What PATH held is replaced, in one step: whole, or not
    at all.

    \b
      pg_dump mail | ar7 put vault.ar7 dumps/mail.sql --password-file secret
      ar7 put vault.ar7 letters/draft.txt --from draft.txt
    """
    with vault.writing() as (archive, interruption):
        parent = posixpath.dirname(path.rstrip("/"))
        if parents and parent:
            archive.makedirs(parent, exist_ok=True)
        if source is None and sys.stdin is None:
            raise Refusal("stdin is closed: pipe something in, or give --from", WRONG_USE)
        if source is None:
            # raw: a terminal's Ctrl-D is the end at once, and a stdin that does not block is seen
            _write(archive, path, getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), interruption)
        else:
            with open(source, "rb", buffering=0) as file:
                _write(archive, path, file, interruption)


def _write(archive: Archive, path: str, source: _Source, interruption: Interruption) -> None:
    with archive.open(path, "wb") as file:
        while True:
            with interruption.waiting():
                chunk = source.read(_CHUNK_SIZE)
            if chunk is None:
                raise Refusal("stdin gives nothing now and may later: pipe it through cat", 1)
            if not chunk:
                return
            file.write(chunk)


# --- out of it


@click.command()
@takes_vault
@click.argument("path", metavar="PATH")
@click.argument("target", metavar="[DEST]", default=".")
@click.option("--overwrite", is_flag=True, help="Replace DEST if it is there.")
@vault_options
def get(vault: Vault, path: str, target: str, overwrite: bool) -> None:
    """Copy one file out of an archive.

    DEST is a file, a directory, or - for stdout; the default is the current directory.  DEST
    appears once it is whole, with mode and time.

    \b
      ar7 get vault.ar7 letters/draft.txt
      ar7 get vault.ar7 letters/draft.txt /tmp/draft.txt --overwrite
    """
    with vault.reading() as archive:
        status = _require_file(archive, path)
        if target == "-":
            with archive.open(path, "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer, _CHUNK_SIZE)
            sys.stdout.buffer.flush()
            return
        place = Path(target)
        if place.is_dir():
            place /= posixpath.basename(posixpath.normpath(path))
        if os.path.lexists(place) and not overwrite:
            raise Refusal(f"{place} exists already: --overwrite replaces it", WRONG_USE)
        if not place.parent.is_dir():
            raise Refusal(f"{place.parent} is no directory: make it first", WRONG_USE)
        if place.is_dir() and not place.is_symlink():
            raise Refusal(f"{place} is a directory: give another DEST", WRONG_USE)
        with archive.open(path, "rb") as file:
            _save(file, place, status, overwrite=overwrite)


def _save(file: IO[bytes], place: Path, status: os.stat_result, *, overwrite: bool) -> None:
    """Write a file of the host under a temporary name, then give it its own."""
    temporary = place.with_name(f".{secrets.token_hex(6)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as out:
            shutil.copyfileobj(file, out, _CHUNK_SIZE)
        # read and write and execute only: no setuid from an archive
        temporary.chmod(stat.S_IMODE(status.st_mode) & 0o777)
        os.utime(temporary, ns=(status.st_mtime_ns, status.st_mtime_ns))
        if not overwrite and os.path.lexists(place):
            raise Refusal(f"{place} exists already: --overwrite replaces it", WRONG_USE)
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
