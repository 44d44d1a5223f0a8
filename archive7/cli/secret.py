"""Secrets: from a file, the environment or a prompt.

Owns the order of the sources and what a secret file may look like.  Promises: a secret is never
an argument and never part of a message; without a terminal to ask at, the error names the other
ways.  Options come before the environment, the environment before the prompt.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
from dataclasses import dataclass
from typing import Final

import click

from archive7 import Identity, UsageError
from archive7.keys import parse_key

from .report import warn

PASSWORD_VARIABLE: Final = "ARCHIVE7_PASSWORD"  # noqa: S105 - the name of a variable
NEW_PASSWORD_VARIABLE: Final = "ARCHIVE7_NEW_PASSWORD"  # noqa: S105 - likewise
KEY_FILE_VARIABLE: Final = "ARCHIVE7_KEY_FILE"
IDENTITY_FILE_VARIABLE: Final = "ARCHIVE7_IDENTITY_FILE"
_MAX_FILE_SIZE: Final = 65536  # bytes; more is not a secret but the wrong file
_PROMPT_COUNT: Final = 3


@dataclass(frozen=True)
class Sources:
    """Files that the options name."""

    password_file: str | None = None
    key_file: str | None = None
    identity_file: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no option names a file."""
        return self == Sources()


@dataclass(frozen=True, repr=False)
class Secret:
    """What opens an archive: a key, a password, a private key, or several."""

    key: bytes | None = None
    password: str | bytes | None = None
    identity: Identity | None = None


def find_secret(
    vault: str, sources: Sources, *, is_new: bool, is_quiet: bool, may_lack: bool = False
) -> Secret:
    """Take the secret from where there is one; ask for it if there is none.

    Args:
        vault: what the prompt names.
        sources: the options.
        is_new: the archive is being made: a password is asked for twice.
        is_quiet: no warnings.
        may_lack: no secret is needed: nothing is asked for.

    Raises: click.UsageError.
    """
    password: str | bytes | None = None
    if sources.is_empty:
        sources = Sources(
            key_file=_variable(KEY_FILE_VARIABLE), identity_file=_variable(IDENTITY_FILE_VARIABLE)
        )
        password = _from_environment(PASSWORD_VARIABLE)
        if sources.is_empty and password is None and not may_lack:
            password = _ask(vault, _WAYS, is_new=is_new)
    elif sources.password_file is not None:
        password = _read_password(sources.password_file, is_quiet=is_quiet)
    key, identity = sources.key_file, sources.identity_file
    return Secret(
        None if key is None else _read_key(key, is_quiet=is_quiet),
        password,
        None if identity is None else _read_identity(identity, is_quiet=is_quiet),
    )


_WAYS: Final = (
    f"give --password-file, --key-file or --identity, or set {PASSWORD_VARIABLE}, "
    f"{KEY_FILE_VARIABLE} or {IDENTITY_FILE_VARIABLE}"
)


def find_new_secret(
    vault: str, password_file: str | None, key_file: str | None, *, is_quiet: bool
) -> Secret:
    """A new secret, from an option, the environment or a prompt.  Raises: click.UsageError."""
    if password_file is not None and key_file is not None:
        raise click.UsageError("give one new secret: a password, a key or a recipient")
    if key_file is not None:
        return Secret(key=_read_key(key_file, is_quiet=is_quiet))
    if password_file is not None:
        return Secret(password=_read_password(password_file, is_quiet=is_quiet))
    password = _from_environment(NEW_PASSWORD_VARIABLE)
    if password is None:
        ways = (
            f"give --new-password-file, --new-key-file or --recipient, or set "
            f"{NEW_PASSWORD_VARIABLE}"
        )
        password = _ask(vault, ways, is_new=True)
    return Secret(password=password)


def _from_environment(name: str) -> str | bytes | None:
    value = _variable(name)
    return None if value is None else _as_text(os.fsencode(value))


def _variable(name: str) -> str | None:
    value = os.environ.get(name)
    if value == "":
        raise click.UsageError(f"{name} is set but empty: unset it, or give it a value")
    return value


def _as_text(password: bytes) -> str | bytes:
    """UTF-8 as str, so that the prompt and a file give the same; other bytes as they are."""
    try:
        return password.decode()
    except UnicodeDecodeError:
        return password


# --- files


def _read_password(path: str, *, is_quiet: bool) -> str | bytes:
    """The one line of a password file, without its end."""
    lines = _read_file(path, "password", is_quiet=is_quiet).splitlines()
    if len(lines) > 1 and any(lines[1:]):
        raise click.UsageError(f"the password file {path} has more than one line: keep only one")
    if not lines or not lines[0]:
        raise click.UsageError(f"the password file {path} has an empty first line")
    return _as_text(lines[0])


def _read_key(path: str, *, is_quiet: bool) -> bytes:
    """The key: 32 raw bytes, 64 hexadecimal digits, or the text of our own."""
    try:
        return parse_key(_read_file(path, "key", is_quiet=is_quiet), f"the key file {path}")
    except UsageError as error:
        raise click.UsageError(str(error)) from None


def _read_identity(path: str, *, is_quiet: bool) -> Identity:
    """The private key that `ar7 keys generate` wrote."""
    data = _read_file(path, "identity", is_quiet=is_quiet)
    try:
        return Identity.from_text(data.decode("ascii", errors="replace"))
    except UsageError as error:
        raise click.UsageError(f"the identity file {path}: {error}") from None


def _read_file(path: str, kind: str, *, is_quiet: bool) -> bytes:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_MAX_FILE_SIZE + 1)
    except OSError as error:
        raise click.UsageError(f"the {kind} file {path}: {error.strerror or error}") from None
    if len(data) > _MAX_FILE_SIZE:
        raise click.UsageError(f"the {kind} file {path} is too long to be one")
    is_open = os.name == "posix" and stat.S_ISREG(status.st_mode) and status.st_mode & 0o007
    if is_open and not is_quiet:
        warn(f"everyone on this machine can read the {kind} file {path}: chmod 600 {path}")
    return data


# --- the prompt


def _ask(vault: str, ways: str, *, is_new: bool) -> str:
    """Ask at the terminal, for a new password twice; where there is none, say the other `ways`."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(f"no secret for {vault}, and no terminal to ask at: {ways}")
    for _ in range(_PROMPT_COUNT):
        password = _prompt(f"{'New password' if is_new else 'Password'} for {vault}")
        if not password:
            click.echo("An empty password is none.", err=True)
        elif not is_new or password == _prompt("The same again"):
            return password
        else:
            click.echo("They differ.", err=True)
    raise click.UsageError("no password was given")


def _prompt(text: str) -> str:
    try:
        return getpass.getpass(f"{text}: ")
    except EOFError:
        click.echo(err=True)  # leave the line of the prompt
        raise click.UsageError("no password was given") from None
    except KeyboardInterrupt:
        click.echo(err=True)
        raise
