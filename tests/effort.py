"""How much random tests try: a default run takes seconds, ARCHIVE7_EFFORT=50 an hour."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

_FACTOR = float(os.environ.get("ARCHIVE7_EFFORT") or 1)


def examples(count: int, **others: Any) -> settings:
    """Settings for `count` examples of a default run."""
    return settings(max_examples=max(1, round(count * _FACTOR)), **others)
