"""A device in memory that notes every call, for tests that count them."""

from __future__ import annotations

from typing import NamedTuple

from archive7.device import Buffer, MemoryDevice
from archive7.layout import BLOCK_SIZE, RING_OFFSET, SLOTS_OFFSET


class Call(NamedTuple):
    """One call of a device."""

    kind: str
    offset: int = 0
    size: int = 0

    @property
    def is_root(self) -> bool:
        """Whether it is about the ring."""
        return RING_OFFSET <= self.offset < SLOTS_OFFSET

    @property
    def place(self) -> int:
        """The place of the ring."""
        return (self.offset - RING_OFFSET) // BLOCK_SIZE


class LoggedDevice(MemoryDevice):
    """Bytes in memory, and every call since `calls` was cleared."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.calls: list[Call] = []

    def pread(self, size: int, offset: int) -> bytes:
        self.calls.append(Call("pread", offset, size))
        return super().pread(size, offset)

    def pwrite(self, data: Buffer, offset: int) -> None:
        self.calls.append(Call("pwrite", offset, len(data)))
        super().pwrite(data, offset)

    def sync(self) -> None:
        self.calls.append(Call("sync"))

    def truncate(self, size: int) -> None:
        self.calls.append(Call("truncate", 0, size))
        super().truncate(size)

    def take(self) -> list[Call]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls


def shape(calls: list[Call]) -> list[str]:
    """Calls as words: `3 blocks`, `root`, `sync`, `read 2`, `cut`; sizes in blocks."""
    words = []
    for call in calls:
        blocks, rest = divmod(call.size, BLOCK_SIZE)
        assert not rest or call.kind == "truncate", call
        if call.kind == "pwrite":
            words.append("root" if call.is_root else f"{blocks} blocks")
        elif call.kind == "pread":
            words.append(f"read {blocks}")
        else:
            words.append("cut" if call.kind == "truncate" else call.kind)
    return words
