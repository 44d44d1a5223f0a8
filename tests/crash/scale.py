"""Thresholds scaled down, so that small workloads fold, spill, sync, sweep and cut as large ones.

Only constants that decide when something happens, never what is promised.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Final
from unittest import mock

from archive7 import blocks, commit, compact, map as chart, slots, tail  # isort: skip

SMALL: Final[tuple[tuple[ModuleType, str, int], ...]] = (
    (commit, "_FRESH_LEAST", 40),  # slots between two forced syncs
    (commit, "_FRESH_MOST", 80),
    (commit, "_CUT_LEAST", 2),  # free slots at the end that are cut in passing
    (tail, "_LEAST", 4),  # free slots for which the end of the file is moved down
    (slots, "_LITTLE", 8),  # free slots that are not looked for
    (chart, "INLINE_MAX", 12),  # changes in a root
    (chart, "_DIRTY_LIMIT", 3),  # changed nodes in memory
    (chart, "NODE_CACHE", 4),
    (blocks, "_DIRTY_LIMIT", 12),  # changed blocks in memory
    (compact, "_STEP", 7),  # blocks moved at once
    (compact, "_WINDOW", 16),  # slots cleared at once
)


@contextmanager
def scaled(*, is_small: bool) -> Iterator[None]:
    """Run with small thresholds, or as they are."""
    with ExitStack() as stack:
        if is_small:
            for module, name, value in SMALL:
                assert hasattr(module, name), f"{module.__name__} has no {name} any more"
                stack.enter_context(mock.patch.object(module, name, value))
        yield
