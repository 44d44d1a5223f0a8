"""The verbs that keep an archive in shape, or save it: compact, repair, rescue."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import click

from archive7 import RepairReport, Rescue

from .failure import ANSWER_IS_NO, DONE
from .progress import progress
from .report import count_text, say, say_json, shown, size_text
from .vault import Vault, as_json, takes_vault, vault_options

_BLOCK_SIZE = 4096  # bytes; compact counts blocks


@click.command()
@takes_vault
@click.option("--seconds", type=float, help="Stop after so long; the next run goes on.")
@click.option("--force", is_flag=True, help="Also where little is free and in disorder.")
@as_json
@vault_options
def compact(vault: Vault, seconds: float | None, force: bool, is_json: bool) -> int:
    """Give free space back, lay files out in order.

    It works in small steps, each of them safe: Ctrl-C or a crash lose nothing, the next run goes
    on.  For a while the file grows by up to 1/64, at least 64 MiB.  Exit code 1: not all was
    done, because a reader holds an older state or the time was over.

    \b
      ar7 compact vault.ar7
    """
    with (
        vault.maintaining() as archive,
        progress("compacting", is_quiet=vault.is_quiet) as tell,
    ):
        done = archive.compact(
            progress=lambda n, total, what: tell(n * _BLOCK_SIZE, total * _BLOCK_SIZE, what),
            seconds=seconds,
            force=force,
        )
    if is_json:
        say_json({"vault": vault.path, **dataclasses.asdict(done)})
    elif not vault.is_quiet or not done.is_complete:
        note = f" ({done.reason})" if done.reason else ""
        sizes = f"{size_text(done.before)} -> {size_text(done.after)}"
        say(f"{shown(vault.path)}: {sizes}{note}")
    return DONE if done.is_complete else ANSWER_IS_NO


@click.command()
@takes_vault
@click.option("--apply", "is_applied", is_flag=True, help="Do it; else it is only told.")
@click.option(
    "--discard",
    is_flag=True,
    help="Also free blocks of files that cannot be put together (rescue them first).",
)
@as_json
@vault_options
def repair(vault: Vault, is_applied: bool, discard: bool, is_json: bool) -> int:
    """Write anew what of a damaged archive follows from the rest.

    Links between blocks, records of files, lists of free places, trees, names and entries are
    derived from one another; what cannot be derived is told and stays as it is, nothing is
    guessed.  What has lost its name is in /lost+found afterwards.  Without --apply nothing is
    changed: the result is what a repair would do, and what a check would find then.
    Exit code 0: nothing was wrong, or all of it was mended; 1: there is something to do or left.

    \b
      ar7 repair vault.ar7
      ar7 repair --apply vault.ar7
    """
    with progress("repairing", is_quiet=vault.is_quiet) as tell:
        report = vault.repair(
            apply=is_applied,
            discard=discard,
            progress=lambda n, total, what: tell(n * _BLOCK_SIZE, total * _BLOCK_SIZE, what),
        )
    is_done = report.is_sound and not report.lost and (is_applied or not report.mended)
    if is_json:
        document = dataclasses.asdict(report)
        say_json({"vault": vault.path, "is_sound": report.is_sound, **document})
    elif not vault.is_quiet or not is_done:
        for line in _repair_lines(vault, report):
            say(line)
    return DONE if is_done else ANSWER_IS_NO


def _repair_lines(vault: Vault, report: RepairReport) -> Iterator[str]:
    """A repair in words."""
    word = "mended" if report.is_applied else "would mend"
    for title, notes in ((word, report.mended), ("lost", report.lost)):
        for note in notes:
            where = note.path or note.stream
            yield shown(f"{title}: {note.layer}: {note.message}{f' ({where})' if where else ''}")
    errors = sum(finding.severity == "error" for finding in report.remaining)
    then = "sound afterwards" if report.is_sound else f"{count_text(errors, 'error')} left"
    if not report.mended and report.is_sound:
        yield f"{shown(vault.path)}: nothing to repair"
    elif report.is_applied:
        yield f"{shown(vault.path)}: {count_text(len(report.mended), 'repair')}, {then}"
    else:
        yield f"{shown(vault.path)}: not changed; --apply would leave it so: {then}"


@click.command()
@takes_vault
@click.argument("target", metavar="DEST", required=False)
@click.option("--archive", "is_archive", is_flag=True, help="DEST is a new archive.")
@click.option("--list", "is_list", is_flag=True, help="Only report; write nothing.")
@as_json
@vault_options
def rescue(
    vault: Vault, target: str | None, is_archive: bool, is_list: bool, is_json: bool
) -> int:
    """Get what can be read out of a damaged archive.

    DEST is a new folder, or a new archive with the same secret if it ends in .ar7.  Below `files`
    comes what is proved, below `deleted` what was deleted and kept, below `unproved` what may be
    an older version, below `partial` what has holes; report.json tells of every file.  VAULT is
    only read.
    Exit code 1: not every file is whole.

    \b
      ar7 rescue vault.ar7 saved
      ar7 rescue vault.ar7 saved.ar7
      ar7 rescue vault.ar7 --list
    """
    if (target is None) != is_list:
        raise click.UsageError("give DEST, or --list to write nothing")
    to_archive = target is not None and (is_archive or target.endswith(".ar7"))
    with progress("rescuing", is_quiet=vault.is_quiet) as tell:
        report = vault.rescue(
            target,
            lambda n, total, what: tell(n * _BLOCK_SIZE, total * _BLOCK_SIZE, what),
            to_archive=to_archive,
        )
    if is_json:
        say_json({"vault": vault.path, "dest": target, **dataclasses.asdict(report)})
    elif not vault.is_quiet:
        _say_rescue(vault, target, report, is_list=is_list)
    return DONE if report.is_whole else ANSWER_IS_NO


def _say_rescue(vault: Vault, target: str | None, report: Rescue, *, is_list: bool) -> None:
    """Say what came out, and what to do next."""
    if is_list:
        for file in report.files:
            missing = f" ({size_text(file.missing)} missing)" if file.missing else ""
            say(f"{file.status:8}  {shown(file.path)}{missing}")
    for note in [*report.notes, *report.refused]:
        say(shown(note))
    statuses = ("whole", "deleted", "unproved", "partial", "lost")
    counts = ", ".join(f"{report.count(status)} {status}" for status in statuses)
    where = "" if target is None else f" -> {shown(target)}"
    say(f"{shown(vault.path)}{where}: files: {counts}")
    say(_next_step(report, target))


def _next_step(report: Rescue, target: str | None) -> str:
    """What to do next, in one line."""
    if target is None:
        return "next: the same with DEST in the place of --list writes them"
    if report.is_whole:
        return "next: all is there, below `files`; check what you need, then let the old one go"
    asks = []
    if report.count("unproved"):
        asks.append("look through `unproved`, which may be older versions")
    if report.count("partial"):
        asks.append("`partial` has zeros where data are missing")
    if report.count("lost"):
        asks.append("what is lost has to come from a backup: see report.json")
    asks.append("keep the damaged file until you have what you need")
    return "next: " + "; ".join(asks)
