"""Progress: a bar on the terminal while something takes long, nothing otherwise.

Owns stderr while it is shown; rich is loaded only then.  Promises: nothing is written where stderr
is no terminal or `--quiet` was given; a call costs well under a microsecond between two redraws.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from .interruption import Interruption
from .report import shown

Tell = Callable[[int, int, str], None]

_REDRAW: Final = 0.08  # seconds
_WIDE, _VERY_WIDE = 72, 110  # columns of a terminal that holds more than the bar
_PATH_WIDTH: Final = 30


@contextmanager
def progress(
    what: str, *, is_quiet: bool, interruption: Interruption | None = None
) -> Iterator[Tell]:
    """Yield what takes (done, total, path) and shows it.

    Args:
        what: the word before the bar.
        is_quiet: show nothing.
        interruption: where a Ctrl-C that waits is let through.
    """
    check = interruption.check if interruption else _nothing
    if is_quiet or sys.stderr is None or not sys.stderr.isatty():

        def tell(_done: int, _total: int, _path: str) -> None:
            check()

        yield tell
    else:
        with _bar(what) as draw:

            def tell_and_draw(done: int, total: int, path: str) -> None:
                check()
                draw(done, total, path)

            yield tell_and_draw
    check()


def _nothing() -> None:
    pass


@contextmanager
def _bar(what: str) -> Iterator[Tell]:
    """A bar with bytes, speed and time left; it goes away at the end."""
    from rich import progress as bars  # noqa: PLC0415 - 70 ms that only a terminal pays
    from rich.console import Console  # noqa: PLC0415

    console = Console(stderr=True)
    columns: list[bars.ProgressColumn] = [
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(bar_width=None),
        bars.TaskProgressColumn(),
        bars.TimeRemainingColumn(),
    ]
    if console.width >= _WIDE:
        columns += [bars.DownloadColumn(binary_units=True), bars.TransferSpeedColumn()]
    if console.width >= _VERY_WIDE:
        columns.append(bars.TextColumn("{task.fields[path]}", markup=False))
    with bars.Progress(
        *columns, console=console, transient=True, expand=True, redirect_stdout=False
    ) as display:
        task = display.add_task(what, total=None, path="")
        last = 0.0

        def draw(done: int, total: int, path: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _REDRAW:
                last = now
                display.update(task, completed=done, total=total or None, path=_short(path))

        yield draw


def _short(path: str) -> str:
    """The end of a path, of one width, so that the bar does not jump."""
    text = shown(path)
    if len(text) > _PATH_WIDTH:
        text = f"…{text[1 - _PATH_WIDTH :]}"
    return text.ljust(_PATH_WIDTH)
