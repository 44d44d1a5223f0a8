"""Whereabouts: the paths of what a rescue found, as far as names are left.

Owns the way from an identity up to the root directory.  May assume remains.  Promises: it ends,
whatever the entries say; what hangs in the air comes to stand below ``lost+found``.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from .entry import DELETED_ID, DIRECTORY, HIDDEN, ORPHANS_ID, ROOT_ID
from .layout import ID_SIZE
from .remains import Remains

NAMELESS: Final = "lost+found"
_DEEPEST: Final = 4096  # directories above one another; what is deeper hangs in the air
_MOST_KEPT: Final = 4096  # ways to directories that are remembered


class Where(NamedTuple):
    """A path.

    Attributes:
        parts: the names, from the top.
        is_deleted: whether it or a directory above it was deleted.
        is_proved: whether the name and all above it are the last ones.
    """

    parts: tuple[str, ...]
    is_deleted: bool
    is_proved: bool

    @property
    def path(self) -> str:
        """The path from ``/``."""
        return "/" + "/".join(self.parts)


class _Step(NamedTuple):
    """One name on the way up."""

    parent: bytes
    name: bytes
    is_deleted: bool
    is_proved: bool


class Whereabouts:
    """Paths by identity."""

    def __init__(self, remains: Remains) -> None:
        self._remains = remains
        self._ways: dict[bytes, Where] = {}

    def of(self, identity: bytes) -> list[Where]:
        """All paths of a file, directory or link; none for what was removed while it was open."""
        steps = self._steps(identity)
        if steps is None:
            return []
        if not steps:
            entry = self._remains.entry(identity)
            is_deleted = entry is not None and entry.parent == DELETED_ID
            is_proved = self._remains.is_proved(identity)
            return [Where((NAMELESS, str(UUID(bytes=identity))), is_deleted, is_proved)]
        return list(dict.fromkeys(self._where(step) for step in steps))

    def _where(self, step: _Step) -> Where:
        above = self._way(step.parent)
        return Where(
            (*above.parts, step.name.decode(errors="replace")),
            above.is_deleted or step.is_deleted,
            above.is_proved and step.is_proved,
        )

    def _way(self, directory: bytes) -> Where:
        """The path of a directory."""
        known = self._ways.get(directory)
        if known is None:
            if len(self._ways) >= _MOST_KEPT:
                self._ways.clear()
            known = self._ways[directory] = self._climb(directory)
        return known

    def _climb(self, directory: bytes) -> Where:
        names: list[str] = []
        here, seen = directory, set[bytes]()
        is_deleted, is_proved = False, True
        while here != ROOT_ID:
            steps = self._steps(here) if self._is_directory(here) else None
            if not steps or here in seen or len(seen) >= _DEEPEST:
                names += [str(UUID(bytes=here)), NAMELESS]
                break
            seen.add(here)
            step = steps[0]
            names.append(step.name.decode(errors="replace"))
            here = step.parent
            is_deleted |= step.is_deleted
            is_proved &= step.is_proved
        return Where(tuple(reversed(names)), is_deleted, is_proved)

    def _is_directory(self, identity: bytes) -> bool:
        remains = self._remains
        if identity in HIDDEN:
            return False
        entry, kind = remains.entry(identity), remains.types.get(identity)
        if entry is not None:
            return entry.type == DIRECTORY
        if kind is None and identity in remains.buried:
            kind = remains.buried[identity].type
        return kind == DIRECTORY

    def _steps(self, identity: bytes) -> list[_Step] | None:
        """The names of something, the best first; None for what is to be passed over."""
        remains = self._remains
        entry, is_proved = remains.entry(identity), remains.is_proved(identity)
        is_touched = identity in remains.touched
        keys = list(remains.names.get(identity, ()))
        own = b""
        if entry is not None and entry.parent not in HIDDEN:
            own = entry.parent + entry.name
        if own and (is_touched or (is_proved and not remains.is_paths_whole)):
            keys = [own, *(key for key in keys if key != own)]
        others = []
        if entry is not None and entry.links > max(1, len(keys)):
            others = [key for key in remains.older_names.get(identity, ()) if key not in keys]
        if keys:
            steps = [_step(key, not is_touched) for key in keys]
            return steps + [_step(key, False) for key in others]
        buried = remains.buried.get(identity)
        if buried is not None:
            return [_Step(buried.parent, buried.name, True, not is_touched)]
        if identity in remains.orphans or (entry is not None and entry.parent == ORPHANS_ID):
            return None
        if own:
            others = [key for key in others if key != own]
            return [_step(own, is_proved), *(_step(key, False) for key in others)]
        return [_step(key, False) for key in remains.older_names.get(identity, ())]


def _step(key: bytes, is_proved: bool) -> _Step:
    return _Step(key[:ID_SIZE], key[ID_SIZE:], False, is_proved)
