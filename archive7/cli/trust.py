"""The verbs about who can read an archive from now on: rekey, shred."""

from __future__ import annotations

import dataclasses
from typing import Final

import click

import archive7
from archive7 import UsageError
from archive7.rekey import Kept

from .failure import ANSWER_IS_NO, DONE, WRONG_USE, Refusal
from .progress import progress
from .report import say, say_json, shown
from .secret import Secret, find_new_secret
from .vault import Vault, as_json, takes_vault, vault_options

_BLOCK_SIZE: Final = 4096  # bytes; rekey counts blocks


@click.command()
@takes_vault
@click.option(
    "--keep-password-file", metavar="FILE", multiple=True, help="Keep this password, too."
)
@click.option("--keep-key-file", metavar="FILE", multiple=True, help="Keep this key, too.")
@click.option("--drop", metavar="KEY", multiple=True, help="Not this recipient (id or label).")
@click.option("--blank", is_flag=True, help="Overwrite what stays of the old blocks at the end.")
@click.option("--seconds", type=float, help="Stop after so long; the next run goes on.")
@as_json
@vault_options
def rekey(
    vault: Vault,
    keep_password_file: tuple[str, ...],
    keep_key_file: tuple[str, ...],
    drop: tuple[str, ...],
    blank: bool,
    seconds: float | None,
    is_json: bool,
) -> int:
    """Change the master key, seal every block anew.

    The secret that opens the archive now stays, and so do recipients; other passwords and keys
    only if they are given.  Who kept the old master key can read and forge what is not sealed
    anew yet, until this has ended, and copies of the file from before for ever.  It may be
    stopped at any time, by Ctrl-C too: the same command goes on.  Exit code 1: not all was done.

    \b
      ar7 rekey vault.ar7
      ar7 rekey vault.ar7 --keep-password-file office.txt --drop anna
    """
    others = [
        *(find_new_secret(vault.path, file, None, is_quiet=vault.is_quiet)
          for file in keep_password_file),
        *(find_new_secret(vault.path, None, file, is_quiet=vault.is_quiet)
          for file in keep_key_file),
    ]  # fmt: skip
    with (
        vault.maintaining() as archive,
        progress("rekeying", is_quiet=vault.is_quiet) as tell,
    ):
        keep = [kept for secret in (vault.opener, *others) for kept in _kept(secret)]
        if archive.info().is_rekeying:
            keep, drop = [], ()
        report = archive.rekey(
            keep,
            drop=drop,
            blank=blank,
            seconds=seconds,
            progress=lambda n, total, what: tell(n * _BLOCK_SIZE, total * _BLOCK_SIZE, what),
        )
    if is_json:
        say_json({"vault": vault.path, **dataclasses.asdict(report)})
    elif not vault.is_quiet or not report.is_complete:
        for title, names in (("kept", report.kept), ("dropped", report.dropped)):
            if names:
                say(f"{title}: {shown(', '.join(names))}")
        if report.damaged:
            say(f"{report.damaged} blocks are damaged and stay so: ar7 check tells which")
        done = "has a new key" if report.is_complete else "is not done: run ar7 rekey again"
        say(f"{shown(vault.path)}: {done}")
    return DONE if report.is_complete else ANSWER_IS_NO


def _kept(secret: Secret) -> list[Kept]:
    """What of a secret can be kept: a private key belongs to a recipient, who comes along."""
    found: list[Kept] = []
    if secret.key is not None:
        found.append(secret.key)
    if secret.password is not None:
        found.append(archive7.Secrets(password=secret.password))
    return found


@click.command()
@takes_vault
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@as_json
@vault_options
def shred(vault: Vault, is_sure: bool, is_json: bool) -> int:
    """Destroy what opens an archive, for good.

    Both copies of the header, with all keyslots, are overwritten; no secret opens the archive
    after that.  No secret is needed for it.  Copies of the file, backups of the header and older
    versions that a disk of flash memory or a filesystem with snapshots may keep are not reached.

    \b
      ar7 shred vault.ar7
    """
    vault.require()
    if not is_sure and not click.confirm(
        f"Destroy {shown(vault.path)}? Nothing will open it again", err=True
    ):
        raise Refusal(f"{vault.path} is as it was", ANSWER_IS_NO)
    try:
        archive7.shred(vault.path)
    except UsageError as error:
        raise Refusal(f"{vault.path}: {error}", WRONG_USE) from None
    if is_json:
        say_json({"vault": vault.path, "shredded": True})
    elif not vault.is_quiet:
        say(f"{shown(vault.path)}: nothing opens it any more; remove the file when you like")
    return DONE
