"""The verbs about secrets: keys list, add, remove, change, generate, backup, restore."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

import archive7
from archive7 import KdfCost, KeyInfo, Recipient
from archive7.keys import generate_identity, generate_key_file, load_recipient

from ..layout import KDF_UNASKED_MEMORY
from .failure import WRONG_USE, Refusal
from .report import iso_text, say, say_json, shown, time_text, warn
from .secret import find_new_secret
from .vault import Vault, as_json, takes_vault, vault_options

F = TypeVar("F", bound=Callable[..., Any])

_MIB: Final = 1024  # KiB
_DEFAULT: Final = KdfCost()


@click.group()
def keys() -> None:
    """List, add, remove, change secrets; back up the header.

    Each keyslot of an archive is opened by one secret: a password, a key, or the private key
    that belongs to a public one.

    \b
      ar7 keys list vault.ar7
      ar7 keys add vault.ar7 --label office
      ar7 keys generate me.key && ar7 keys add vault.ar7 --recipient me.key.pub
    """


def new_secret_options(command: F) -> F:
    """Give a verb the options that name a new secret."""
    for option in reversed(_NEW_SECRET):
        command = option(command)
    return command


_NEW_SECRET: Final = (
    click.option(
        "--new-password-file", metavar="FILE", help="The new password is the one line of FILE."
    ),
    click.option("--new-key-file", metavar="FILE", help="The new key is in FILE."),
    click.option("--recipient", metavar="FILE", help="The public key of who shall open it."),
    click.option(
        "--seconds",
        type=click.FloatRange(0.01, 60),
        help="How long a guess at the new password takes here (default: 64 MiB, 3 passes).",
    ),
)


@keys.command("list")
@takes_vault
@as_json
@vault_options
def list_keys(vault: Vault, is_json: bool) -> None:
    """List the secrets that open an archive: id, kind, label, when they were added.

    A star marks the one that opened it now.

    \b
      ar7 keys list vault.ar7
    """
    with vault.reading() as archive:
        found = archive.keys.list()
    if is_json:
        say_json({"vault": vault.path, "keys": [_facts(info) for info in found]})
        return
    for info in found:
        say(_line(info))


@keys.command()
@takes_vault
@new_secret_options
@click.option("--label", default="", help="A name for it; sealed, like everything else.")
@as_json
@vault_options
def add(
    vault: Vault,
    new_password_file: str | None,
    new_key_file: str | None,
    recipient: str | None,
    seconds: float | None,
    label: str,
    is_json: bool,
) -> None:
    """Let one more secret open an archive.

    Without --new-password-file, --new-key-file, --recipient and ARCHIVE7_NEW_PASSWORD a new
    password is asked for.

    \b
      ar7 keys add vault.ar7 --label office
      ar7 keys add vault.ar7 --recipient anna.pub --label anna
    """
    with vault.changing_keys() as (archive, interruption):
        with interruption.waiting():
            new = _new(vault, new_password_file, new_key_file, recipient, seconds)
        info = archive.keys.add(label=label, **new)
    _report(vault, info, "added", is_json=is_json)


@keys.command()
@takes_vault
@click.argument("which", metavar="KEY")
@click.option("--force", is_flag=True, help="Also the last one: then nothing opens the archive.")
@as_json
@vault_options
def remove(vault: Vault, which: str, force: bool, is_json: bool) -> None:
    """Take a secret away; KEY is its id or label.

    It does not open this file any more.  It still opens copies of the file and backups of the
    header from before, and who used it may have kept what it gave.

    \b
      ar7 keys remove vault.ar7 office
    """
    with vault.changing_keys() as (archive, _):
        mine = [info for info in archive.keys.list() if info.is_mine]
        archive.keys.remove(which, force=force)
        is_mine = mine not in ([], [info for info in archive.keys.list() if info.is_mine])
    if is_mine:
        warn(f"the secret that was given now does not open {vault.path} any more")
    if is_json:
        say_json({"vault": vault.path, "removed": which, "is_mine": is_mine})
    elif not vault.is_quiet:
        say(f"{shown(vault.path)}: removed {shown(which)}")


@keys.command()
@takes_vault
@click.argument("which", metavar="[KEY]", required=False)
@new_secret_options
@click.option("--label", default=None, help="Another label than that of the old one.")
@as_json
@vault_options
def change(
    vault: Vault,
    which: str | None,
    new_password_file: str | None,
    new_key_file: str | None,
    recipient: str | None,
    seconds: float | None,
    label: str | None,
    is_json: bool,
) -> None:
    """Put a new secret in the place of an old one, in one step.

    KEY is the id or label of the old one; the default is the one that opened the archive.

    \b
      ar7 keys change vault.ar7
    """
    with vault.changing_keys() as (archive, interruption):
        with interruption.waiting():
            new = _new(vault, new_password_file, new_key_file, recipient, seconds)
        info = archive.keys.change(which, label=label, **new)
    _report(vault, info, "changed to", is_json=is_json)


@keys.command()
@click.argument("path", metavar="FILE")
@click.option(
    "--kind",
    type=click.Choice(["hybrid", "x25519", "raw"]),
    default="hybrid",
    show_default=True,
    help="A private key (hybrid: also safe from quantum computers), or a raw key.",
)
@as_json
def generate(path: str, kind: str, is_json: bool) -> None:
    """Make a new key in FILE, which only you can read.

    Of a private key the public part comes into FILE.pub: give it to who makes archives for you.
    Keep FILE apart from the archive, and keep a copy: without it nothing opens.

    \b
      ar7 keys generate me.key
      ar7 create vault.ar7 --recipient me.key.pub
      ar7 ls vault.ar7 --identity me.key
    """
    facts: dict[str, Any] = {"file": path, "kind": kind}
    public = f"{path}.pub"
    _require_new(path)
    if kind != "raw":
        _require_new(public)
    if kind == "raw":
        generate_key_file(path)
    else:
        identity = generate_identity(kind)
        identity.save(path)
        identity.recipient.save(public)
        facts |= {"public": public, "fingerprint": identity.recipient.fingerprint}
    if is_json:
        say_json(facts)
    elif kind == "raw":
        say(f"{shown(path)}: raw key")
    else:
        say(f"{shown(path)}: {kind}, public key {facts['fingerprint']} in {shown(public)}")


@keys.command()
@takes_vault
@click.argument("backup_file", metavar="FILE")
@as_json
@vault_options
def backup(vault: Vault, backup_file: str, is_json: bool) -> None:
    """Write the header, with all its keyslots, to a new file.

    If the first 64 KiB of the archive are ever destroyed, nothing opens it but this.  Make a new
    one after each change of the secrets, and destroy the old: a secret that was removed opens it.

    \b
      ar7 keys backup vault.ar7 vault.header
    """
    _require_new(backup_file)
    with vault.reading() as archive:
        archive.keys.export_header(backup_file)
    if is_json:
        say_json({"vault": vault.path, "file": backup_file})
    elif not vault.is_quiet:
        say(f"{shown(vault.path)}: header saved in {shown(backup_file)}")


@keys.command()
@takes_vault
@click.argument("backup_file", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@click.option("--force", is_flag=True, help="Also a backup that is older than the archive's own.")
@as_json
@vault_options
def restore(vault: Vault, backup_file: str, force: bool, is_json: bool) -> None:
    """Put a saved header back into an archive; the secret is one of the backup's.

    An older backup than what the archive knows is refused without --force: secrets that were
    removed since would open the archive again, and those that were added would not.

    \b
      ar7 keys restore vault.ar7 vault.header
    """
    vault.restore_header(backup_file, force=force)
    if is_json:
        say_json({"vault": vault.path, "file": backup_file})
    elif not vault.is_quiet:
        say(f"{shown(vault.path)}: header restored from {shown(backup_file)}")


# --- what they share


def _require_new(path: str) -> None:
    if os.path.lexists(path):
        raise Refusal(f"{path} exists already: choose another name", WRONG_USE)


def _new(
    vault: Vault,
    password_file: str | None,
    key_file: str | None,
    recipient: str | None,
    seconds: float | None,
) -> dict[str, Any]:
    """The new secret and its cost, as `Keyring.add` takes them."""
    if recipient is not None:
        if password_file is not None or key_file is not None:
            raise click.UsageError("give one new secret: a password, a key or a recipient")
        return {"recipient": read_recipient(recipient)}
    secret = find_new_secret(vault.path, password_file, key_file, is_quiet=vault.is_quiet)
    if secret.key is not None:
        return {"key": secret.key}
    kdf = _DEFAULT if seconds is None else KdfCost.calibrate(seconds)
    return {"password": secret.password, "kdf": kdf}


def read_recipient(path: str) -> Recipient:
    """The public key in a file.  Raises: click.UsageError."""
    try:
        return load_recipient(path)
    except (archive7.UsageError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise click.UsageError(f"the recipient's file {path}: {reason}") from None


def _facts(info: KeyInfo) -> dict[str, Any]:
    """What --json tells of a keyslot."""
    cost = info.cost
    return {
        "id": info.id,
        "kind": info.kind,
        "label": info.label,
        "created": None if info.created_ns is None else iso_text(info.created_ns),
        "created_ns": info.created_ns,
        "fingerprint": info.recipient.fingerprint if info.recipient else None,
        "memory_kib": cost.memory_kib if cost else None,
        "passes": cost.passes if cost else None,
        "lanes": cost.lanes if cost else None,
        "is_mine": info.is_mine,
    }


def _line(info: KeyInfo) -> str:
    mark = "*" if info.is_mine else " "
    when = "" if info.created_ns is None else time_text(info.created_ns / 1e9)
    notes = [shown(info.label)] if info.label else []
    if info.cost:
        cost = info.cost
        notes.append(f"({cost.memory_kib // _MIB} MiB, {cost.passes} passes, {cost.lanes} lanes)")
    if info.recipient:
        notes.append(f"({info.recipient.fingerprint})")
    return f"{mark} {info.id}  {info.kind:<17} {when:<16}  {' '.join(notes)}".rstrip()


def _report(vault: Vault, info: KeyInfo, what: str, *, is_json: bool) -> None:
    if info.cost and info.cost.memory_kib > KDF_UNASKED_MEMORY and not vault.is_quiet:
        warn(f"to open {vault.path} with it, give --max-kdf-memory")
    if is_json:
        say_json({"vault": vault.path, "key": _facts(info)})
    elif not vault.is_quiet:
        say(f"{shown(vault.path)}: {what} {info.kind} {info.id} {shown(info.label)}".rstrip())
