"""The verb check: whether everything in an archive is as it was written."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Final

import click

from archive7 import Finding

from .failure import ANSWER_IS_NO, DONE, Refusal
from .progress import progress
from .report import count_text, say, say_json, shown
from .vault import Vault, as_json, takes_vault, vault_options

_BLOCK_SIZE: Final = 4096  # bytes; check counts blocks


@click.command()
@takes_vault
@click.option(
    "--level",
    type=click.Choice(["quick", "full"]),
    default="full",
    show_default=True,
    help="quick: structures; full: every block is opened, too.",
)
@as_json
@vault_options
def check(vault: Vault, level: str, is_json: bool) -> int:
    """Tell whether an archive is undamaged.

    Everything in it is read and compared; nothing is changed.  Exit code 0: sound; 1: damage was
    found; 3: it could not be opened.

    \b
      ar7 check vault.ar7
      ar7 check --json vault.ar7 | jq '.findings[].message'
    """
    started = time.monotonic()
    try:
        findings = list(_findings(vault, level))
    except Refusal as refusal:
        if refusal.exit_code != ANSWER_IS_NO:
            raise
        findings = [Finding("error", "opening", refusal.message)]
    error_count = sum(finding.severity == "error" for finding in findings)
    seconds = time.monotonic() - started
    if is_json:
        say_json(
            {
                "vault": vault.path,
                "level": level,
                "is_sound": not error_count,
                "findings": [dataclasses.asdict(finding) for finding in findings],
                "seconds": round(seconds, 3),
            }
        )
        return ANSWER_IS_NO if error_count else DONE
    for finding in findings:
        say(_line(finding))
    if error_count:
        say(f"{shown(vault.path)}: {count_text(error_count, 'error')} found in {seconds:.1f} s")
    elif not vault.is_quiet:
        say(f"{shown(vault.path)}: sound ({level} check, {seconds:.1f} s)")
    return ANSWER_IS_NO if error_count else DONE


def _findings(vault: Vault, level: str) -> Iterator[Finding]:
    with (
        vault.reading() as archive,
        progress("checking", is_quiet=vault.is_quiet) as tell,
    ):

        def tell_bytes(done: int, total: int, layer: str) -> None:
            tell(done * _BLOCK_SIZE, total * _BLOCK_SIZE, layer)

        yield from archive.check(level, progress=tell_bytes)


def _line(finding: Finding) -> str:
    """One finding in words: severity, layer, place, what."""
    places = [
        f"{name} {value}"
        for name, value in (("path", finding.path), ("block", finding.block))
        if value is not None
    ]
    where = f" ({', '.join(places)})" if places else ""
    return shown(f"{finding.severity}: {finding.layer}: {finding.message}{where}")
