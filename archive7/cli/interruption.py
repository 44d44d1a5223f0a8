"""Ctrl-C: it waits for a moment at which nothing is half done.

Owns the handler of SIGINT while an archive is open for writing.  Promises: the first Ctrl-C
raises KeyboardInterrupt only where `check` is called, inside `waiting`, or at the end; a second
one raises it at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """What a Ctrl-C has asked for."""

    def __init__(self) -> None:
        self._is_asked = False
        self._is_waiting = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed since the start."""
        if self._is_asked:
            raise KeyboardInterrupt

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let Ctrl-C through at once: for reading from a terminal or a pipe, which may last."""
        self._is_waiting = True
        try:
            self.check()
            yield
        finally:
            self._is_waiting = False

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_asked or self._is_waiting:
            raise KeyboardInterrupt
        self._is_asked = True


@contextmanager
def deferred() -> Iterator[Interruption]:
    """Hold Ctrl-C back until `check`, or until the block ends."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGINT, interruption._take)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, before)
    interruption.check()
