"""What makes vectors and golden containers come out the same at every run: randomness and time."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

NOW = 1_700_000_000_000_000_000


class Source:
    """`os.urandom` from SHAKE-128 of a name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pools = itertools.count()
        self._pool = b""

    def __call__(self, size: int) -> bytes:
        while len(self._pool) < size:
            pool = f"{self._name} {next(self._pools)}"
            self._pool += hashlib.shake_128(pool.encode()).digest(1 << 16)
        data, self._pool = self._pool[:size], self._pool[size:]
        return data


@contextmanager
def seeded(name: str, reserve: int = 1) -> Iterator[None]:
    """Randomness from `name`, a clock that steps by a millisecond, a small reserve."""
    clock = itertools.count(NOW, 1_000_001)
    with ExitStack() as stack:
        stack.enter_context(mock.patch("os.urandom", Source(name)))
        stack.enter_context(mock.patch("time.time_ns", side_effect=clock))
        for module in ("commit", "root", "reserve"):
            stack.enter_context(mock.patch(f"archive7.{module}.RESERVE_COUNT", reserve))
        yield


def noise(size: int, name: object) -> bytes:
    """Bytes that stand nowhere else."""
    return hashlib.shake_128(f"noise {name}".encode()).digest(size)
