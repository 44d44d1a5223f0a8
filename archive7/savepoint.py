"""Savepoints: states inside a transaction to come back to."""

from __future__ import annotations

from typing import NamedTuple

from .map import Entry
from .slots import SlotMark


class Savepoint(NamedTuple):
    """A state inside a transaction to come back to; everything it refers to is written."""

    height: int
    top: Entry
    changes: dict[int, bytes]
    used: int
    slots: SlotMark
    positions: tuple[int, int]
    streams: tuple[bytes, ...]
    header: bytes
