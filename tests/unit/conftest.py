"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.command import Ar7


@pytest.fixture
def ar7(tmp_path: Path) -> Iterator[Ar7]:
    """The command `ar7` in a folder of its own; the archive is checked at the end."""
    command = Ar7(tmp_path)
    yield command
    command.finish()
