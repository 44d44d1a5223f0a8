"""The oracle: which states there were, and what the calls that returned have promised.

Knows nothing of the code under test.  A state is what a user sees (`Content`); times are numbers
of operations on the disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

Content = dict[bytes, bytes]  # name -> bytes

NEVER: Final = 1 << 60


@dataclass(slots=True)
class State:
    """A state that a commit made, or tried to make.

    Attributes:
        begun: when the call began.
        acked: when it returned: from then on a kill cannot take it.
        durable: when a call returned that promises it after a power cut.
    """

    content: Content
    begun: int
    acked: int = NEVER
    durable: int = NEVER


class History:
    """All states in the order in which they were tried."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self._lossy: list[
            list[int]
        ] = []  # from, to: when even a kill may take what is not durable

    def begin(self, content: Content, now: int) -> State:
        """A call that is to make `content` the committed state begins."""
        state = State(dict(content), now)
        self.states.append(state)
        return state

    def acknowledge(self, state: State, now: int, *, durable: bool) -> None:
        """The call returned."""
        state.acked = min(state.acked, now)
        if durable:
            state.durable = min(state.durable, now)

    def lose(self, now: int) -> None:
        """A sync failed, or the power: only what is durable is sure until the next opening."""
        if not self._lossy or self._lossy[-1][1] < NEVER:
            self._lossy.append([now, NEVER])

    def opened(self, content: Content, begun: int, now: int) -> None:
        """A writer's opening returned with `content`, which is durable from now on."""
        self.states.append(State(dict(content), begun, now, now))
        if self._lossy and self._lossy[-1][1] == NEVER:
            self._lossy[-1][1] = now

    def allowed(self, now: int, *, power: bool) -> list[State]:
        """What may be found after a kill, or a power cut, when `now` operations were done.

        The newest comes first.
        """
        is_lossy = power or any(start <= now < end for start, end in self._lossy)
        found = []
        for state in reversed(self.states):
            if state.begun < now or state.acked <= now:
                found.append(state)
                if (state.durable if is_lossy else state.acked) <= now:
                    break
        return found


def digest(content: Content) -> str:
    """A short name for a content."""
    found = hashlib.sha256()
    for name in sorted(content):
        for part in (name, content[name]):
            found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()[:16]
