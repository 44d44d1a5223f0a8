"""Choices: which files of a tree a verb takes, and what of them.

Owns the options that adding and extracting share, and the meaning of their patterns.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from ..entry import DIRECTORY, FILE
from ..pattern import Pattern
from .vault import Vault

F = TypeVar("F", bound=Callable[..., Any])
Filter = Callable[[str, os.stat_result], bool]


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        include: patterns of files to take; none means all of them.
        exclude: patterns of files and directories to leave out.
        xattrs, owner, resume: as `Archive.import_tree` has them.
    """

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    xattrs: bool
    owner: bool
    resume: bool = False

    def options(self, *, has_name: bool = False) -> dict[str, Any]:
        """Keyword arguments for the library; with `has_name` paths begin with the top's name."""
        keep = self._filter()
        if keep is not None and has_name:
            keep = _below_the_name(keep)
        return {
            "filter": keep,
            "xattrs": self.xattrs,
            "ownership": self.owner,
            "resume": self.resume,
        }

    def _filter(self) -> Filter | None:
        if not self.include and not self.exclude:
            return None
        wanted = [_pattern(text) for text in self.include]
        unwanted = [_pattern(text) for text in self.exclude]

        def keep(path: str, status: os.stat_result) -> bool:
            kind = DIRECTORY if stat.S_ISDIR(status.st_mode) else FILE
            if any(pattern.matches(f"/{path}", kind) for pattern in unwanted):
                return False
            if kind == DIRECTORY or not wanted:
                return True
            return any(pattern.matches(f"/{path}", kind) for pattern in wanted)

        return keep


def _below_the_name(keep: Filter) -> Filter:
    """The filter, for paths that begin with the name of the top, which is always kept."""

    def kept(path: str, status: os.stat_result) -> bool:
        below = path.partition("/")[2]
        return not below or keep(below, status)

    return kept


def _pattern(text: str) -> Pattern:
    """A pattern; one without a slash, but for its end, is for names wherever they stand."""
    if not text.strip("/"):
        raise click.UsageError(f"the pattern {text!r} matches nothing")
    return Pattern(text if "/" in text[:-1] else f"**/{text}")


def takes_choice(command: F) -> F:
    """Give a verb, below `takes_vault`, the options for what it takes, as one `Choice`."""

    @functools.wraps(command)
    def with_choice(
        vault: Vault,
        *,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        xattrs: bool,
        owner: bool,
        resume: bool = False,
        **rest: Any,
    ) -> Any:
        return command(vault, choice=Choice(include, exclude, xattrs, owner, resume), **rest)

    wrapped: F = with_choice  # type: ignore[assignment]
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


_OPTIONS: Final = (
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave out files and folders that match.",
    ),
    click.option(
        "--include", multiple=True, metavar="PATTERN", help="Take only files that match."
    ),
    click.option(
        "--xattrs/--no-xattrs",
        default=True,
        show_default=True,
        help="Keep extended attributes.",
    ),
    click.option("--owner", is_flag=True, help="Keep user and group."),
)

resume = click.option(
    "--resume", is_flag=True, help="Leave files that are there with this size and time."
)
