"""Host walk: everything below a folder of the host, one thing after the other.

Owns the order (depth first, names in order, a folder before what is in it), the caller's filter,
and what is passed over: names that are not UTF-8, junctions, the archive itself.  Promises: no
recursion; what cannot be looked at is told, and the walk goes on.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .hostfolder import Descent, is_junction
from .transfer import Filter, Turn, reason_of


class Step(NamedTuple):
    """One step: into or out of the folder `name`, or what stands under `name`."""

    turn: Turn
    name: str
    status: os.stat_result


class HostWalk:
    """Everything below a folder of the host.

    Args:
        descent: stands at the top; it follows the walk.
        keep: the caller's filter, asked with the path below the top, with slashes.
        own: device and inode of the archive, which is passed over.
        on_skip: told path and reason of what cannot be looked at.
    """

    def __init__(
        self,
        descent: Descent,
        keep: Filter | None,
        own: tuple[int, int] | None,
        on_skip: Callable[[str, str], None],
    ) -> None:
        self._descent = descent
        self._keep = keep
        self._own = own
        self._on_skip = on_skip
        self._above: str | None = ""  # the path below the top; None if it must be made anew
        self._is_declined = False

    def relative(self, name: str) -> str:
        """The path below the top of a name in the folder where the walk stands."""
        if self._above is None:
            self._above = "/".join([*self._descent.names, ""])
        return self._above + name

    def decline(self) -> None:
        """Do not go into the folder of the last step; it gets no step out of it."""
        self._is_declined = True

    def steps(self, names: list[str] | None = None) -> Iterator[Step]:
        """Walk over all that stands in the top folder, or over some names in it."""
        waiting = [self._listed() if names is None else names[::-1]]
        entered: list[Step] = []
        while True:
            if waiting[-1]:
                step = self._look(waiting[-1].pop())
                if step is None or (step.turn is Turn.ENTER and not self._enter(step.name)):
                    continue
                self._is_declined = False
                yield step
                if step.turn is Turn.MEET:
                    continue
                if self._is_declined:
                    self._leave(waiting[-1])
                else:
                    entered.append(step)
                    waiting.append(self._listed())
            elif entered:
                waiting.pop()
                self._leave(waiting[-1])
                step = entered.pop()
                yield Step(Turn.LEAVE, step.name, step.status)
            else:
                return

    def _listed(self) -> list[str]:
        """The names in the folder where the walk stands, last first."""
        try:
            return sorted(os.listdir(self._descent.here), reverse=True)
        except OSError as error:
            self._on_skip(self._descent.path(), reason_of(error))
            return []

    def _look(self, name: str) -> Step | None:
        """What stands under a name; None if it is passed over."""
        descent = self._descent
        try:
            name.encode()
            status = os.stat(descent.prefix + name, follow_symlinks=False, **descent.where)
        except UnicodeEncodeError:
            self._on_skip(descent.path(name), "names in an archive must be UTF-8, this one is not")
            return None
        except OSError as error:
            self._on_skip(descent.path(name), reason_of(error))
            return None
        if self._own == (status.st_dev, status.st_ino):
            self._on_skip(descent.path(name), "this is the archive itself")
            return None
        if self._keep is not None and not self._keep(self.relative(name), status):
            return None
        if not stat.S_ISDIR(status.st_mode):
            return Step(Turn.MEET, name, status)
        if is_junction(status):
            self._on_skip(descent.path(name), "junctions cannot be kept")
            return None
        return Step(Turn.ENTER, name, status)

    def _enter(self, name: str) -> bool:
        try:
            self._descent.enter(name)
        except OSError as error:
            self._on_skip(self._descent.path(name), reason_of(error))
            return False
        self._above = None
        return True

    def _leave(self, waiting: list[str]) -> None:
        """Go up to where `waiting` names stand; forget them if there is no way back."""
        self._above = None
        try:
            with self._descent.leaving():
                pass
        except OSError as error:
            reason = f"left before its end: {reason_of(error)}"
            self._on_skip(self._descent.path(), reason)
            waiting.clear()
