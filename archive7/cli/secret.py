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

from .report import warn

PASSWORD_VARIABLE: Final = "ARCHIVE7_PASSWORD"  # noqa: S105 - the name of a variable
KEY_FILE_VARIABLE: Final = "ARCHIVE7_KEY_FILE"
_KEY_SIZE: Final = 32
_MAX_FILE_SIZE: Final = 65536  # bytes; more is not a secret but the wrong file
_PROMPT_COUNT: Final = 3


@dataclass(frozen=True, repr=False)
class Secret:
    """What opens an archive: a key, a password, or both."""

    key: bytes | None = None
    password: str | bytes | None = None


def find_secret(
    vault: str, password_file: str | None, key_file: str | None, *, is_new: bool, is_quiet: bool
) -> Secret:
    """Take the secret from where there is one; ask for it if there is none.

    Args:
        vault: what the prompt names.
        password_file, key_file: the options.
        is_new: the archive is being made: a password is asked for twice.
        is_quiet: no warnings.

    Raises: click.UsageError.
    """
    if password_file is None and key_file is None:
        key_file = _variable(KEY_FILE_VARIABLE)
        from_environment = _variable(PASSWORD_VARIABLE)
        if key_file is not None or from_environment is not None:
            key = None if key_file is None else _read_key(key_file, is_quiet=is_quiet)
            return Secret(key, from_environment and _as_text(os.fsencode(from_environment)))
        return Secret(password=_ask(vault, is_new=is_new))
    return Secret(
        None if key_file is None else _read_key(key_file, is_quiet=is_quiet),
        None if password_file is None else _read_password(password_file, is_quiet=is_quiet),
    )


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
    """The key: 32 raw bytes, or 64 hexadecimal digits."""
    data = _read_file(path, "key", is_quiet=is_quiet)
    if len(data) == _KEY_SIZE:
        return data
    digits = data.strip()
    if len(digits) == 2 * _KEY_SIZE:
        try:
            return bytes.fromhex(digits.decode("ascii"))
        except ValueError:
            pass  # the message of neither error may be shown: it quotes the data
    raise click.UsageError(
        f"the key file {path} has neither {_KEY_SIZE} bytes nor {2 * _KEY_SIZE} hexadecimal "
        f"digits: make one with `head -c {_KEY_SIZE} /dev/urandom > FILE`"
    )


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


def _ask(vault: str, *, is_new: bool) -> str:
    """Ask at the terminal, for a new password twice."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(
            f"no secret for {vault}, and no terminal to ask at: give --password-file or "
            f"--key-file, or set {PASSWORD_VARIABLE} or {KEY_FILE_VARIABLE}"
        )
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
