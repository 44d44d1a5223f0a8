"""The vault of a verb: options that open it, opening, closing, and why it does not open.

Owns the options that all verbs share, the one call of `archive7.open` and the exit code 3.
Promises: the archive is closed whole however the verb ends; warnings of the library become lines
on stderr; messages name the file.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

import archive7
from archive7 import (
    Archive,
    Archive7Error,
    CorruptError,
    NotAnArchiveError,
    Recipient,
    RecoveredWarning,
    RepairReport,
    Rescue,
    SuperblockCorruptError,
    UnauthenticatedError,
    UsageError,
)

from .failure import CANNOT_OPEN, INTERRUPTED, WRONG_USE, Refusal, describe
from .interruption import Interruption, deferred
from .report import warn
from .secret import Secret, Sources, find_secret

F = TypeVar("F", bound=Callable[..., Any])

_MAX_RECEIPT: Final = 1000  # characters of a file with a receipt
_MIB: Final = 1 << 20  # bytes


@dataclass(frozen=True)
class Vault:
    """The archive that a verb works on, and how to open it."""

    path: str
    sources: Sources
    max_kdf_memory: int | None
    is_unauthenticated: bool
    expect: str | None
    accept_rollback: bool
    is_quiet: bool

    @contextmanager
    def reading(self) -> Iterator[Archive]:
        """Open the archive for reading while the block runs."""
        self._require()
        with self._told(), self._open("r", self._secret()) as archive:
            yield archive

    @contextmanager
    def writing(self, *, in_steps: bool = False) -> Iterator[tuple[Archive, Interruption]]:
        """Open the archive for writing; the block is one transaction, which Ctrl-C undoes.

        Args: in_steps: the block commits by itself, and Ctrl-C leaves what was committed.
        """
        self._require()
        secret = self._secret()
        outcome = f"{self.path} is as it was"
        if in_steps:
            outcome = f"{self.path} has what was complete; the same command goes on"
        try:
            with (
                self._told(),
                deferred() as interruption,
                self._open("r+", secret) as archive,
            ):
                with nullcontext() if in_steps else archive.transaction():
                    yield archive, interruption
                    interruption.check()
                outcome = "but by then it was done"
        except KeyboardInterrupt:
            raise Refusal(f"interrupted: {outcome}", INTERRUPTED) from None

    def rescue(
        self,
        target: str | None,
        progress: Callable[[int, int, str], object],
        *,
        to_archive: bool,
    ) -> Rescue:
        """Write what can be read into a new folder, or archive with the same secret, or nowhere.

        Ctrl-C leaves what was written by then.
        """
        self._require()
        secret = self._secret()
        options: dict[str, Any] = {**vars(secret), **self._limits()}
        if to_archive:
            if secret.key is None and secret.password is None:
                raise Refusal(
                    "the new archive needs a key or password: rescue to a folder", WRONG_USE
                )
            options |= {"archive_key": secret.key, "archive_password": secret.password}
        try:
            return archive7.rescue(self.path, target, progress=progress, **options)
        except (SuperblockCorruptError, NotAnArchiveError) as error:
            raise Refusal(
                f"{self.path}: {error}; without it there is no key: with a backup of the header "
                "it can be put back: ar7 keys restore",
                CANNOT_OPEN,
            ) from None
        except KeyboardInterrupt:
            outcome = "nothing was written"
            if target is not None:
                outcome = f"{target} has what was rescued by then, and report.json tells of it"
            raise Refusal(f"interrupted: {outcome}", INTERRUPTED) from None

    def restore_header(self, backup: str, *, force: bool) -> None:
        """Put the header of a backup, which the secret opens, into the archive."""
        self._require()
        secret = self._secret()
        with self._told(), deferred():
            try:
                archive7.restore_header(
                    self.path, backup, force=force, unauthenticated=self.is_unauthenticated,
                    **vars(secret), **self._limits(),
                )  # fmt: skip
            except UnauthenticatedError:
                raise self._not_proved() from None

    @contextmanager
    def changing_keys(self) -> Iterator[tuple[Archive, Interruption]]:
        """Open for changes of the secrets; Ctrl-C waits until one is in force or has failed."""
        self._require()
        secret = self._secret()
        try:
            with (
                self._told(),
                deferred() as interruption,
                self._open("r+", secret) as archive,
            ):
                yield archive, interruption
        except KeyboardInterrupt:
            raise Refusal(
                f"interrupted: ar7 keys list {self.path} shows what is in force", INTERRUPTED
            ) from None

    def repair(self, **options: Any) -> RepairReport:
        """Repair, or tell what a repair would do."""
        self._require()
        secret = self._secret()
        try:
            with self._told():
                return archive7.repair(
                    self.path, unauthenticated=self.is_unauthenticated,
                    **vars(secret), **self._limits(), **options,
                )  # fmt: skip
        except UnauthenticatedError:
            raise self._not_proved() from None
        except KeyboardInterrupt:
            raise Refusal("interrupted: nothing was changed", INTERRUPTED) from None

    @contextmanager
    def maintaining(self) -> Iterator[Archive]:
        """Open for work that is safe at every moment; Ctrl-C stops it between two steps."""
        self._require()
        secret = self.opener
        try:
            with self._told(), self._open("r+", secret) as archive:
                yield archive
        except KeyboardInterrupt:
            raise Refusal(
                "interrupted: what was done is kept, the next run goes on", INTERRUPTED
            ) from None

    @contextmanager
    def creating(
        self, recipients: Sequence[Recipient] = (), **options: Any
    ) -> Iterator[tuple[Archive, Interruption]]:
        """Make a new archive; if the block fails or Ctrl-C ends it, it is taken away again."""
        if os.path.lexists(self.path):
            raise Refusal(
                f"{self.path} exists already: choose another name, or remove it first", WRONG_USE
            )
        secret = self._secret(is_new=True, may_lack=bool(recipients))
        outcome = f"{self.path} was not made"
        try:
            with self._told(), deferred() as interruption:
                archive = self._open("x", secret, recipients=recipients, **options)
                try:
                    with archive, archive.transaction():
                        yield archive, interruption
                        interruption.check()
                except BaseException:
                    os.unlink(self.path)
                    raise
                outcome = "but by then it was done"
        except KeyboardInterrupt:
            raise Refusal(f"interrupted: {outcome}", INTERRUPTED) from None

    def _secret(self, *, is_new: bool = False, may_lack: bool = False) -> Secret:
        return find_secret(
            self.path, self.sources, is_new=is_new, is_quiet=self.is_quiet, may_lack=may_lack
        )

    def _limits(self) -> dict[str, Any]:
        if self.max_kdf_memory is None:
            return {}
        return {"max_kdf_memory": self.max_kdf_memory * _MIB}

    def _expected(self) -> str:
        """The receipt or id that was given, or stands in a file of that name."""
        assert self.expect is not None  # noqa: S101 - asked for only then
        if not os.path.isfile(self.expect):
            return self.expect
        with open(self.expect, encoding="ascii", errors="replace") as file:
            return file.read(_MAX_RECEIPT).strip()

    @functools.cached_property
    def opener(self) -> Secret:
        """The secret that opens the archive; asked for once."""
        return self._secret()

    def require(self) -> None:
        """Say that there is no such file."""
        self._require()

    def _not_proved(self) -> Refusal:
        return Refusal(
            f"{self.path}: only a private key opened it, so whoever has the public key may have "
            "made it: use a password or key of your own, or --unauthenticated where you know "
            "where it comes from",
            WRONG_USE,
        )

    def _require(self) -> None:
        """Say that there is no such file before a password is asked for."""
        if not os.path.exists(self.path):
            raise Refusal(
                f"{self.path}: no such file; ar7 create {self.path} makes one", CANNOT_OPEN
            )

    def _open(self, mode: str, secret: Secret, **options: Any) -> Archive:
        options |= {"unauthenticated": self.is_unauthenticated, **vars(secret), **self._limits()}
        if self.expect is not None and mode != "x":
            options |= {"expect": self._expected(), "accept_rollback": self.accept_rollback}
        try:
            return archive7.open(self.path, mode, **options)
        except UnauthenticatedError:
            raise self._not_proved() from None
        except (Archive7Error, OSError) as error:
            code, text = describe(error)
            text = text.replace(f"{self.path}: ", "", 1)  # first, and once
            if not isinstance(error, CorruptError | UsageError):
                code = CANNOT_OPEN
            raise Refusal(f"{self.path}: {text}", code) from None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Show the library's warnings as lines on stderr."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", RecoveredWarning)
            try:
                yield
            finally:
                for warning in caught:
                    warn(f"{self.path}: {warning.message}")


def takes_vault(command: F) -> F:
    """Give a verb its first argument; `vault_options` stands below all others, next to it."""

    @functools.wraps(command)
    def with_vault(
        vault: str,
        password_file: str | None,
        key_file: str | None,
        identity_file: str | None,
        max_kdf_memory: int | None,
        is_unauthenticated: bool,
        expect: str | None,
        accept_rollback: bool,
        is_quiet: bool,
        **rest: Any,
    ) -> Any:
        sources = Sources(password_file, key_file, identity_file)
        opened = Vault(
            vault, sources, max_kdf_memory, is_unauthenticated, expect, accept_rollback, is_quiet
        )
        return command(opened, **rest)

    wrapped: F = click.argument("vault", metavar="VAULT")(with_vault)  # type: ignore[assignment]
    return wrapped


def vault_options(command: F) -> F:
    """Give a verb the options that open its archive, last in its help."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: Final = (
    click.option(
        "--password-file",
        metavar="FILE",
        help="Take the password from the one line of FILE.",
    ),
    click.option(
        "--key-file", metavar="FILE", help="Take the key from FILE: 32 bytes or 64 hex digits."
    ),
    click.option(
        "--identity", "identity_file", metavar="FILE", help="Take the private key from FILE."
    ),
    click.option(
        "--max-kdf-memory",
        type=click.IntRange(19, 1024),
        metavar="MIB",
        help="Most memory that testing a password may take (default 256 MiB).",
    ),
    click.option(
        "--unauthenticated",
        "is_unauthenticated",
        is_flag=True,
        help="Write though a private key alone opens it.",
    ),
    click.option(
        "--expect",
        metavar="RECEIPT",
        help="Refuse what is older than this receipt (see info --receipt), or another archive id.",
    ),
    click.option(
        "--accept-rollback", is_flag=True, help="Open it though it is older than the receipt."
    ),
    click.option("-q", "--quiet", "is_quiet", is_flag=True, help="Only errors, no progress."),
)

as_json = click.option("--json", "is_json", is_flag=True, help="Report in JSON on stdout.")
