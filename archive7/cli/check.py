"""The verb check: whether everything in an archive is as it was written.

Owns the state file, which lets the next run go on.  Promises: it is replaced whole, also after
Ctrl-C, and holds no name and no secret.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from typing import Final

import click

from archive7 import Archive, Check, CheckState, Finding
from archive7.finding import finding

from .failure import ANSWER_IS_NO, DONE, Refusal
from .progress import progress
from .report import count_text, say, say_json, shown
from .vault import Vault, as_json, takes_vault, vault_options

_BLOCK_SIZE: Final = 4096  # bytes; check counts blocks
_MOST_STATE: Final = 65536  # bytes of a state file that are read


@click.command()
@takes_vault
@click.option(
    "--level",
    type=click.Choice(["quick", "full"]),
    default="full",
    show_default=True,
    help="quick: structures; full: every block is opened, too.",
)
@click.option(
    "--seconds", type=click.FloatRange(0), metavar="N", help="Stop after N seconds (full only)."
)
@click.option(
    "--state",
    "state_path",
    metavar="FILE",
    help="Go on where FILE says, and keep in it how far it came; removed at the end.",
)
@as_json
@vault_options
def check(
    vault: Vault, level: str, seconds: float | None, state_path: str | None, is_json: bool
) -> int:
    """Tell whether an archive is undamaged.

    Everything in it is read and compared; nothing is changed.  Exit code 0: sound; 1: damage was
    found, or it is not done yet; 3: it could not be opened.

    \b
      ar7 check vault.ar7
      ar7 check --seconds 600 --state vault.state vault.ar7  # again until 0
      ar7 check --json vault.ar7 | jq '.findings[].message'
    """
    started = time.monotonic()
    run = _Run(vault, level, seconds, state_path)
    try:
        findings = list(run.findings())
    except Refusal as refusal:
        if refusal.exit_code != ANSWER_IS_NO:
            raise
        findings = [finding("opening-failed", refusal.message)]
        run.is_complete = True
    errors = sum(found.severity == "error" for found in findings) + run.earlier_errors
    took = time.monotonic() - started
    if is_json:
        say_json(
            {
                "vault": vault.path,
                "level": level,
                "is_sound": run.is_complete and not errors,
                "is_complete": run.is_complete,
                "progress": round(run.share, 4),
                "earlier_errors": run.earlier_errors,
                "findings": [dataclasses.asdict(found) for found in findings],
                "seconds": round(took, 3),
            }
        )
    else:
        _tell(vault, level, run, findings, errors, took)
    return DONE if run.is_complete and not errors else ANSWER_IS_NO


class _Run:
    """One run of a check, which may go on from an earlier one.

    Attributes:
        is_complete: whether all was looked at; share: how much of it.
        earlier_errors: errors in the parts before, which are not told again.
        is_changed: the archive changed since the first part.
    """

    def __init__(
        self, vault: Vault, level: str, seconds: float | None, state_path: str | None
    ) -> None:
        self._vault, self._level, self._seconds = vault, level, seconds
        self._state_path = state_path
        self.has_state = state_path is not None
        self.is_complete = self.is_changed = False
        self.share = 1.0
        self.earlier_errors = 0

    def findings(self) -> Iterator[Finding]:
        """Check, and yield what is found."""
        state = self._read_state()
        with (
            self._vault.reading() as archive,
            progress("checking", is_quiet=self._vault.is_quiet) as tell,
        ):

            def tell_bytes(done: int, total: int, layer: str) -> None:
                tell(done * _BLOCK_SIZE, total * _BLOCK_SIZE, layer)

            yield from self._run(
                archive,
                archive.check(
                    self._level, progress=tell_bytes, seconds=self._seconds, resume=state
                ),
            )

    def _run(self, archive: Archive, checking: Check) -> Iterator[Finding]:
        self.earlier_errors = checking.earlier_errors
        try:
            yield from checking
        finally:
            self.is_complete = checking.is_complete
            self.is_changed = checking.state.is_changed
            if not self.is_complete:
                self.share = min(checking.state.done / checking.total, 0.9999)
            self._write_state(checking.state)

    def _read_state(self) -> CheckState | None:
        if self._state_path is None or not os.path.exists(self._state_path):
            return None
        with open(self._state_path, "rb") as file:
            return CheckState.from_json(file.read(_MOST_STATE))

    def _write_state(self, state: CheckState) -> None:
        path = self._state_path
        if path is None:
            return
        if state.is_complete:
            if os.path.exists(path):
                os.unlink(path)
            return
        part = f"{path}.part"
        with open(part, "w", encoding="utf-8") as file:
            file.write(state.to_json() + "\n")
        os.replace(part, path)


def _tell(
    vault: Vault, level: str, run: _Run, findings: list[Finding], errors: int, took: float
) -> None:
    """The findings, the result, and what to do next, in words."""
    for found in findings:
        say(_line(found))
    name = shown(vault.path)
    if errors:
        earlier = f", {run.earlier_errors} of them in earlier runs" if run.earlier_errors else ""
        say(f"{name}: {count_text(errors, 'error')} found in {took:.1f} s{earlier}")
    remedies = dict.fromkeys(found.remedy for found in findings if found.severity != "note")
    for remedy in remedies:
        say(f"next: {shown(remedy)}")
    if not run.is_complete:
        how = "run it again to go on" if run.has_state else "use --state to go on next time"
        say(f"{name}: {100 * run.share:.1f} % done in {took:.1f} s; {how}")
    elif not errors and not vault.is_quiet:
        say(f"{name}: sound ({level} check, {took:.1f} s)")
    if run.is_changed and run.is_complete and not vault.is_quiet:
        say("the archive changed between the runs: what is new is for the next check")


def _line(found: Finding) -> str:
    """One finding in words: severity, layer, place, what."""
    block = None if found.block is None else str(found.block)
    if block is not None and found.count > 1:
        block = f"{block} to {found.block + found.count - 1}"  # type: ignore[operator]
    places = [
        f"{name} {value}"
        for name, value in (("path", found.path), ("block", block), ("slot", found.slot))
        if value is not None
    ]
    where = f" ({', '.join(places)})" if places else ""
    return shown(f"{found.severity}: {found.layer}: {found.message}{where} [{found.code}]")
