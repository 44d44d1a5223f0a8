"""Patterns: paths with wildcards, and the walk to what they match.

Owns the syntax of `pathlib`: ``*``, ``?`` and ``[...]`` within a name, ``**`` as a whole part for
any number of directories; case-sensitive, a dot in front is a character like any other.  Where
versions of Python differ, it is `Path.glob` of 3.13.  Promises: each path once, in the order of a
walk; a directory is listed only where a wildcard needs it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Final, NamedTuple, Protocol, TypeVar

from .entry import DIRECTORY, FILE, LINK
from .errors import PathError, TreeCorruptError, UsageError
from .filesystem import Filesystem
from .paths import PathLike, path_text

R = TypeVar("R")
States = frozenset[int]
_Child = tuple[str, bytes, bytes]  # name, type, identity

_WILD: Final = re.compile(r"[*?[]")
_RECURSIVE: Final = "**"


class Ask(Protocol):
    """Puts one question to the filesystem of an open archive, under its lock."""

    def __call__(self, question: Callable[[Filesystem], R], /) -> R: ...


def name_pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern for one name, which must match as a whole.

    Raises: TypeError, UsageError for an empty one.
    """
    if not isinstance(text, str):
        raise TypeError(f"a pattern is str, not {type(text).__name__}")
    if not text:
        raise UsageError("an empty pattern matches nothing: give '*' for everything")
    return re.compile(fnmatch.translate(text))


class Pattern:
    """A path with wildcards, as a machine that takes one name after the other.

    A state is the number of parts that are used up; several can be true at once, because ``**``
    may stand for any number of names.

    Args:
        text: relative or absolute; a slash at its end wants a directory.

    Attributes:
        is_absolute: whether it begins at the root.
        end: the state in which all is matched.

    Raises: TypeError; UsageError (a ValueError) for an empty pattern, and one of dots only.
    """

    def __init__(self, text: PathLike) -> None:
        text = path_text(text) if text != "" else "."
        self.is_absolute = text.startswith("/")
        names = [name for name in text.split("/") if name not in ("", ".")]
        if not names and not self.is_absolute:
            raise UsageError(f"unacceptable pattern: {text!r}: give '*' for everything")
        if text.endswith("/"):
            names.append("")
        self._parts: list[str | re.Pattern[str]] = [
            name_pattern(name) if _WILD.search(name) and name != _RECURSIVE else name
            for name in names
        ]
        self.end = len(self._parts)

    @property
    def first(self) -> States:
        """The states in the directory where matching begins."""
        return self.closed({0})

    def closed(self, states: set[int]) -> States:
        """The states in a directory: ``**`` and a slash at the end may be done there."""
        for state in range(self.end):
            if state in states and self._parts[state] in (_RECURSIVE, ""):
                states.add(state + 1)
        return frozenset(states)

    def step(self, states: States, name: str, kind: bytes) -> set[int]:
        """The states after a name of this type; of a directory they are not closed yet."""
        following = set()
        for state in states - {self.end}:
            part = self._parts[state]
            if name == "..":  # no name of a directory's: no wildcard stands for it
                if part == name:
                    following.add(state + 1)
            elif part == _RECURSIVE:
                if kind == DIRECTORY:
                    following.add(state)
                elif state + 1 == self.end:
                    following.add(self.end)
            elif part == name if isinstance(part, str) else part.match(name):
                following.add(state + 1)
        return following

    def names(self, states: States) -> tuple[list[str], bool]:
        """The names that these states wait for, and whether these are all they can take."""
        parts = [self._parts[state] for state in sorted(states - {self.end})]
        names = {part for part in parts if isinstance(part, str)} - {_RECURSIVE, ""}
        return sorted(names), all(isinstance(part, str) and part != _RECURSIVE for part in parts)

    def matches(self, path: str, kind: bytes) -> bool:
        """Whether an absolute path to something of this type matches from the root on."""
        states, names = self.first, path.split("/")[1:] if path != "/" else []
        for name in names[:-1]:
            states = self.closed(self.step(states, name, DIRECTORY))
        if not names:
            return self.end in states
        last = self.step(states, names[-1], kind)
        return self.end in (self.closed(last) if kind == DIRECTORY else last)


def glob(ask: Ask, pattern: Pattern, root: PathLike) -> Iterator[str]:
    """Iterate over the paths below `root` that match; none where `root` is no directory."""
    return _walk(ask, pattern, "/" if pattern.is_absolute else _plain(path_text(root)))


class _Here(NamedTuple):
    """A directory that a walk goes into."""

    prefix: str  # of the paths of what is in it
    identity: bytes
    states: States
    above: _Here | None  # the one it stands in; None where a link or ".." led here

    def check_circle(self) -> None:
        """Raise TreeCorruptError where a directory stands in itself."""
        above = self.above
        while above is not None:
            if above.identity == self.identity:
                raise TreeCorruptError("directories stand in a circle: run check")
            above = above.above


def _walk(ask: Ask, pattern: Pattern, text: str) -> Iterator[str]:
    top = ask(partial(_enter, path=text))
    if top is None:
        return
    if pattern.end in pattern.first:
        yield text
    prefix = {"/": "/", ".": ""}.get(text, text + "/")
    waiting = [_Here(prefix, top, pattern.first, None)]
    while waiting:
        here = waiting.pop()
        here.check_circle()
        below = []
        for name, kind, identity in _candidates(ask, pattern, here):
            path = here.prefix + name
            following = frozenset(pattern.step(here.states, name, kind))
            inside: bytes | None = None
            if following - {pattern.end} and kind != FILE:
                inside = ask(partial(_enter, path=path)) if kind == LINK else identity
            if inside is not None:
                following = pattern.closed(set(following))
                if following - {pattern.end}:
                    above = here if kind == DIRECTORY and name != ".." else None
                    below.append(_Here(f"{path}/", inside, following, above))
            if pattern.end in following:
                yield path
        waiting += reversed(below)


def _plain(path: str) -> str:
    """A path without what means nothing, as pathlib writes it."""
    text = str(PurePosixPath(path))
    return text[1:] if text.startswith("//") else text


def _candidates(ask: Ask, pattern: Pattern, here: _Here) -> list[_Child]:
    """What a directory has for its states: all of it, or the names that are wanted."""
    names, are_all = pattern.names(here.states)
    if not are_all:
        names = [name for name in names if name == ".."]  # which no listing has
    found = [ask(partial(_look, path=here.prefix, name=name)) for name in names]
    children = [child for child in found if child is not None]
    return children if are_all else children + ask(lambda fs: list(fs.children(here.identity)))


def _look(filesystem: Filesystem, path: str, name: str) -> _Child | None:
    """A name in a directory, be it a link; None where there is none."""
    try:
        place = filesystem.locate(path + name, follow=False)
    except PathError:
        return None
    return None if place.type is None else (name, place.type, place.identity)


def _enter(filesystem: Filesystem, path: str) -> bytes | None:
    """The directory that a path leads to, through links; None where there is none."""
    try:
        return filesystem.directory(path)
    except PathError:
        return None
