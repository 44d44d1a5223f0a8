"""The verbs for whole trees: create, add, extract.

Each is one step in the archive: all of it, or nothing, unless it may be resumed.  What the host
refuses to give or to take is named, and the exit code says that something is missing.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
import time
from typing import Any, Final

import click

from archive7 import Archive, KdfCost, Transfer

from ..layout import KDF_UNASKED_MEMORY
from .choice import Choice, resume, takes_choice
from .failure import ANSWER_IS_NO, DONE, WRONG_USE, Refusal
from .interruption import Interruption
from .keys import read_recipient
from .progress import progress
from .report import count_text, say, say_json, size_text, warn
from .vault import Vault, as_json, takes_vault, vault_options

_MIB: Final = 1024  # KiB
_DEFAULT: Final = KdfCost()
_STEP: Final = 64 << 20  # bytes after which an import that may be resumed is committed

Sources = tuple[str, ...]

_sources = click.argument(
    "sources",
    metavar="SOURCE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True),
)
_to = click.option(
    "--to", "target", metavar="DIR", default="/", help="Directory in the archive (default: /)."
)


# --- into the archive


@click.command()
@takes_vault
@click.argument("sources", metavar="[SOURCE]...", nargs=-1, type=click.Path(exists=True))
@_to
@click.option(
    "--suite",
    type=click.Choice(["xaes256gcm", "secretbox"]),
    default="xaes256gcm",
    show_default=True,
    help="Cipher suite.",
)
@click.option("--title", default="", help="A title; it is sealed as all else.")
@click.option(
    "--recipient",
    "recipients",
    metavar="FILE",
    multiple=True,
    help="A public key whose owner can open it; may be given several times.",
)
@click.option(
    "--kdf-memory",
    type=click.IntRange(19, 1024),
    default=_DEFAULT.memory_kib // _MIB,
    show_default=True,
    metavar="MIB",
    help="Memory that one guess at the password costs.",
)
@click.option(
    "--kdf-passes",
    type=click.IntRange(2, 16),
    default=_DEFAULT.passes,
    show_default=True,
    help="Passes over that memory.",
)
@click.option(
    "--kdf-lanes",
    type=click.IntRange(1, 16),
    default=_DEFAULT.lanes,
    show_default=True,
    help="Lanes, which processors can share.",
)
@takes_choice
@as_json
@vault_options
def create(
    vault: Vault,
    sources: Sources,
    target: str,
    suite: str,
    title: str,
    recipients: tuple[str, ...],
    kdf_memory: int,
    kdf_passes: int,
    kdf_lanes: int,
    choice: Choice,
    is_json: bool,
) -> int:
    """Make an archive, empty or of a folder.

    Each SOURCE is added as by ar7 add.  VAULT must not exist; if something goes wrong, it is taken
    away again.  With a password and a key, either opens the archive.  With --recipient and no
    other secret, only the recipients can open it.

    \b
      ar7 create vault.ar7
      ar7 create vault.ar7 ~/letters ~/photos
      ar7 create vault.ar7 --key-file vault.key --json ~/letters
    """
    named = _name(sources, vault)
    kdf = KdfCost(kdf_memory * _MIB, kdf_passes, kdf_lanes)
    started = time.monotonic()
    known = [read_recipient(path) for path in recipients]
    with vault.creating(known, suite=suite, title=title, kdf=kdf) as (archive, interruption):
        done = _add(archive, named, target, vault, interruption, choice)
    facts = {"to": target, "sources": list(sources), "suite": suite}
    if kdf.memory_kib > KDF_UNASKED_MEMORY and not vault.is_quiet:
        warn(f"to open {vault.path} with the password, give --max-kdf-memory {kdf_memory}")
    size = os.stat(vault.path).st_size
    words = f"created {vault.path}"
    if sources:
        words += f" with {_counts(done)}"
    return _finish(
        vault, done, is_json, words, time.monotonic() - started, {**facts, "size": size}
    )


@click.command()
@takes_vault
@_sources
@_to
@takes_choice
@resume
@as_json
@vault_options
def add(vault: Vault, sources: Sources, target: str, choice: Choice, is_json: bool) -> int:
    """Copy folders and files into an archive.

    Each SOURCE comes to stand in --to under its own name; of "." what is in it.  Folders that are
    there already are added to, files are replaced.  It is all added, or nothing; with --resume,
    what was complete when Ctrl-C was pressed stays, and the same command goes on.

    A PATTERN without a slash is for names at any depth, one with a slash for paths below SOURCE;
    ** stands for any folders, a slash at the end wants a folder.

    \b
      ar7 add vault.ar7 letters photo.jpg
      ar7 add vault.ar7 ~/projects/website --to /backups/2026
      ar7 add vault.ar7 ~/photos --resume --exclude '*.tmp' --exclude cache/
    """
    named = _name(sources, vault)
    started = time.monotonic()
    with vault.writing(in_steps=choice.resume) as (archive, interruption):
        done = _add(archive, named, target, vault, interruption, choice)
    words = f"added {_counts(done)} to {vault.path}"
    facts = {"to": target, "sources": list(sources)}
    return _finish(vault, done, is_json, words, time.monotonic() - started, facts)


def _name(sources: Sources, vault: Vault) -> dict[str, str]:
    """Map the name in the archive ("" for what is in a folder) to each source."""
    named: dict[str, str] = {}
    vault_path = os.path.realpath(vault.path)
    for source in sources:
        path = os.path.realpath(source)
        if vault_path == path or vault_path.startswith(os.path.join(path, "")):
            raise Refusal(
                f"{vault.path} lies in {source} and cannot hold itself: "
                "keep the archive elsewhere, or name what is in the folder",
                WRONG_USE,
            )
        name = os.path.basename(source.rstrip("/" + os.sep))
        name = "" if name in (".", "..") else name  # "folder/." is what is in it, as for cp
        if name in named:
            raise Refusal(
                f"{named[name]} and {source} would both become {name or 'the top'}: "
                "add one after the other, with --to",
                WRONG_USE,
            )
        named[name] = source
    return named


def _add(
    archive: Archive,
    named: dict[str, str],
    target: str,
    vault: Vault,
    interruption: Interruption,
    choice: Choice,
) -> Transfer:
    total = Transfer()
    options = choice.options() | {"commit_every": _STEP if choice.resume else None}
    if target.strip("/"):
        archive.makedirs(target, exist_ok=True)
    for name, source in named.items():
        with progress(
            f"adding {name or source}", is_quiet=vault.is_quiet, interruption=interruption
        ) as tell:
            place = target
            if os.path.isdir(source):
                place = posixpath.join(target, name)
                total.directories += bool(name)  # import_tree counts what is below
            _sum(total, archive.import_tree(source, place, progress=tell, **options))
    return total


# --- out of the archive


@click.command()
@takes_vault
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.argument("target", metavar="DEST")
@click.option("--overwrite", is_flag=True, help="Replace files that are in DEST already.")
@takes_choice
@resume
@as_json
@vault_options
def extract(
    vault: Vault,
    paths: tuple[str, ...],
    target: str,
    overwrite: bool,
    choice: Choice,
    is_json: bool,
) -> int:
    """Copy folders and files out of an archive.

    All, or each PATH, goes into the folder DEST, which is made if need be.  Each PATH comes to
    stand in DEST under its own name.  Modes and times are restored, but no setuid bits; nothing
    is written outside DEST or through a link.

    A PATTERN without a slash is for names at any depth, one with a slash for paths below PATH;
    ** stands for any folders, a slash at the end wants a folder.

    \b
      ar7 extract vault.ar7 restored
      ar7 extract vault.ar7 letters photos/2026 .
      ar7 extract vault.ar7 photos . --resume --include '*.jpg'
    """
    started = time.monotonic()
    total = Transfer()
    with vault.reading() as archive:
        for path in paths:
            archive.lstat(path)  # before anything is written
        for path in paths or ("/",):
            name = posixpath.basename(posixpath.normpath(posixpath.join("/", path)))
            is_folder = bool(name) and archive.isdir(path) and not archive.islink(path)
            options = choice.options(has_name=is_folder) | {"name": name if is_folder else None}
            with progress(f"extracting {name or vault.path}", is_quiet=vault.is_quiet) as tell:
                done = archive.export_tree(
                    path, target, overwrite=overwrite, progress=tell, **options
                )
            _sum(total, done)
    words = f"extracted {_counts(total)} to {target}"
    facts = {"paths": list(paths or ("/",)), "to": target}
    return _finish(vault, total, is_json, words, time.monotonic() - started, facts)


# --- the report


def _sum(total: Transfer, part: Transfer) -> None:
    for field in dataclasses.fields(Transfer):
        setattr(total, field.name, getattr(total, field.name) + getattr(part, field.name))


def _counts(done: Transfer) -> str:
    parts = [count_text(done.files, "file"), count_text(done.directories, "directory")]
    if done.links:
        parts.append(count_text(done.links, "link"))
    if done.hard_links:
        parts.append(count_text(done.hard_links, "hard link"))
    parts.append(size_text(done.bytes))
    if done.unchanged:
        parts.append(f"{done.unchanged:,} unchanged")
    return ", ".join(parts)


def _finish(
    vault: Vault,
    done: Transfer,
    is_json: bool,
    words: str,
    seconds: float,
    facts: dict[str, Any],
) -> int:
    """Report; the exit code says whether all was copied."""
    if is_json:
        counts = dataclasses.asdict(done)
        counts["skipped"] = [{"path": path, "reason": reason} for path, reason in done.skipped]
        say_json({"vault": vault.path, **facts, **counts, "seconds": round(seconds, 3)})
    else:
        for path, reason in done.skipped:
            is_part = reason.startswith("without ")
            warn(f"{path} {'was copied' if is_part else 'was left out:'} {reason}")
        if not vault.is_quiet:
            speed = f", {size_text(done.bytes / seconds)}/s" if done.bytes else ""
            say(f"{words} in {seconds:.1f} s{speed}")
    return ANSWER_IS_NO if done.skipped else DONE
