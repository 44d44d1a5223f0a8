"""A value of the registry that is too short for a record: damage, whatever asks for it."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

import archive7
from archive7 import Archive, CorruptError
from tests.unit.archives import KEY

ASKING: list[Callable[[Archive], object]] = [
    lambda archive: archive.read_bytes("/a"),
    lambda archive: archive.stat("/a"),
    lambda archive: [entry.stat() for entry in archive.scandir("/")],
]


@pytest.mark.parametrize("ask", ASKING)
def test_short_value(ask: Callable[[Archive], object]) -> None:
    with archive7.open(io.BytesIO(), "x", key=KEY) as archive:
        archive.write_bytes("/a", b"a")
        tree = archive._manager.registry.tree
        for key, value in list(tree.items()):
            if int.from_bytes(value[28:36], "big") == 1:  # the length of /a
                tree.insert(key, value[:10])
        with pytest.raises(CorruptError):
            ask(archive)
        archive.rollback()
