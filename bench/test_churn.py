"""Churn: how an archive wears while its files come, go and change."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Any
from uuid import UUID

import pytest
from inputs import MIB, PAGE_SIZE, SEED

import archive7
from archive7.archive import Archive
from archive7.layout import BLOCK_SIZE

LIVE = 64 * MIB, 80 * MIB
"""Bytes in files: below the first files are only made, above the second only removed."""
LARGEST = MIB
PER_TRANSACTION = 100
STEPS = 10
LARGE_SIZE = 256 * MIB
OVERWRITES = 100_000


@dataclass
class Fragments:
    """Runs of the blocks of all files, in positions and in slots."""

    blocks: int = 0
    extents: int = 0
    slot_runs: int = 0
    files: int = 0

    def __str__(self) -> str:
        blocks, files = max(1, self.blocks), max(1, self.files)
        return (
            f"{self.slot_runs / blocks * 1000:.0f} slot runs and "
            f"{self.extents / blocks * 1000:.0f} extents per 1000 blocks, "
            f"{self.slot_runs / files:.1f} slot runs a file"
        )


def fragments(vault: Archive) -> Fragments:
    """Count the runs of all files as the map has them."""
    found, manager = Fragments(), vault._manager
    blocks = vault._container.blocks
    for identity in [UUID(bytes=key) for key, _ in manager.registry.tree.items()]:
        record = manager.registry.read(identity)
        assert record is not None
        slots: list[int] = []
        for position, count in record[1]:
            slots += blocks.map.get_run(position, count)[0]
            found.extents += 1
        found.blocks += len(slots)
        found.files += bool(slots)
        found.slot_runs += bool(slots) + sum(b != a + 1 for a, b in pairwise(slots))
    return found


@dataclass
class Churn:
    """Files that are made, replaced, changed in place and removed, and what should be in them."""

    vault: Archive
    payload: bytes
    random: Random = field(default_factory=lambda: Random(SEED))
    files: dict[str, bytearray] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    live: int = 0
    peak: int = 0
    made: int = 0

    def size(self) -> int:
        """0 to 1 MiB, log-uniform."""
        return round((LARGEST + 1) ** self.random.random()) - 1

    def data(self, size: int) -> bytes:
        """Some part of the payload."""
        begin = self.random.randrange(len(self.payload) - size)
        return self.payload[begin : begin + size]

    def transaction(self, count: int) -> None:
        """So many operations in one commit."""
        with self.vault.transaction():
            for _ in range(count):
                self._one()
        self.peak = max(self.peak, self.live)

    def _one(self) -> None:
        drawn = self.random.random()
        if self.live < LIVE[0] or not self.names:
            self._write(f"/{self._new():07}")
        elif self.live > LIVE[1] or drawn < 0.25:
            self._remove()
        elif drawn < 0.5:
            self._write(f"/{self._new():07}")
        elif drawn < 0.75:
            self._write(self.random.choice(self.names))
        else:
            self._change(self.random.choice(self.names))

    def _new(self) -> int:
        self.made += 1
        return self.made

    def _write(self, name: str) -> None:
        data = self.data(self.size())
        if name not in self.files:
            self.names.append(name)
        self.live += len(data) - len(self.files.get(name, b""))
        self.files[name] = bytearray(data)
        self.vault.write_bytes(name, data)

    def _change(self, name: str) -> None:
        """Overwrite a part, perhaps beyond the end."""
        content = self.files[name]
        offset, data = self.random.randint(0, len(content)), self.data(self.size() // 4)
        self.live += max(0, offset + len(data) - len(content))
        content[offset : offset + len(data)] = data
        with self.vault.open(name, "r+b") as file:
            file.seek(offset)
            file.write(data)

    def _remove(self) -> None:
        at = self.random.randrange(len(self.names))
        self.names[at], self.names[-1] = self.names[-1], self.names[at]
        name = self.names.pop()
        self.live -= len(self.files.pop(name))
        self.vault.remove(name)

    def compare(self) -> None:
        """What is there is what was written."""
        assert self.vault.listdir() == sorted(name[1:] for name in self.files)
        for name, content in self.files.items():
            assert self.vault.read_bytes(name) == content, name


def check(path: Path, key: bytes) -> None:
    """Nothing is wrong in an archive."""
    with archive7.open(path, "r", key=key) as vault:
        found = [item for item in vault.check() if item.severity != "note"]
    assert not found, found


@pytest.mark.parametrize(
    "count", [50_000, pytest.param(1_000_000, marks=pytest.mark.large)], ids=["short", "long"]
)
def test_space_under_churn(
    bench_folder: Path, key: bytes, payload: bytes, tell: Callable[[str], None], count: int
) -> None:
    path = bench_folder / "churn.ar7"
    worst, history, begin = 0.0, deque[str](), perf_counter()
    with archive7.open(path, "x", key=key) as vault:
        churn = Churn(vault, payload)
        while churn.live < LIVE[0]:
            churn.transaction(PER_TRANSACTION)
        blocks, largest = vault._container.blocks, 0
        for number in range(1, count // PER_TRANSACTION + 1):
            churn.transaction(PER_TRANSACTION)
            largest = max(largest, blocks.map.used)
            ratio = path.stat().st_size / churn.peak
            worst = max(worst, ratio)
            if number % (count // PER_TRANSACTION // STEPS) == 0:
                history.append(f"{ratio:.2f}")
        seconds = perf_counter() - begin
        by_blocks = path.stat().st_size / (largest * BLOCK_SIZE)
        pieces = fragments(vault)
        churn.compare()
    tell(
        f"{count:,} operations, {seconds:.0f} s, live peak {churn.peak / MIB:.0f} MiB: file over "
        f"live peak {' '.join(history)}, worst {worst:.2f}, must be <= 1.3: "
        + ("reached" if worst <= 1.3 else "NOT reached")
    )
    tell(
        f"over the peak of used slots {by_blocks:.2f}; {pieces}; "
        f"closed: {path.stat().st_size / churn.live:.2f} of what is live"
    )
    check(path, key)


def rates(vault: Archive, size: int) -> tuple[float, float]:
    """Sequential read in MB/s, random reads of 4 KiB in 1/s: medians of five."""
    sequential, scattered = [], []
    buffer = bytearray(MIB)
    with vault.open("/large", "rb", buffering=0) as file:
        for seed in range(6):
            begin = perf_counter()
            file.seek(0)
            while file.readinto(buffer):  # type: ignore[attr-defined]
                pass
            sequential.append(size / 1e6 / (perf_counter() - begin))
            random = Random(seed)
            offsets = [random.randrange(size // PAGE_SIZE) * PAGE_SIZE for _ in range(5000)]
            begin = perf_counter()
            for offset in offsets:
                file.seek(offset)
                file.read(PAGE_SIZE)
            scattered.append(len(offsets) / (perf_counter() - begin))
    return median(sequential[1:]), median(scattered[1:])


def test_overwrites_do_not_slow_reads_down(
    bench_folder: Path, key: bytes, payload: bytes, tell: Any
) -> None:
    path, random = bench_folder / "worn.ar7", Random(SEED)
    with archive7.open(path, "x", key=key) as vault, vault.open("/large", "wb") as file:
        for _ in range(LARGE_SIZE // MIB):
            file.write(payload[:MIB])
    with archive7.open(path, "r+", key=key) as vault:
        fresh, first = rates(vault, LARGE_SIZE), fragments(vault)
        begin, largest = perf_counter(), 0
        with vault.open("/large", "r+b", buffering=0) as file:
            for _ in range(OVERWRITES // PER_TRANSACTION):
                with vault.transaction():
                    for _ in range(PER_TRANSACTION):
                        file.seek(random.randrange(LARGE_SIZE // PAGE_SIZE) * PAGE_SIZE)
                        at = random.randrange(len(payload) - PAGE_SIZE)
                        file.write(payload[at : at + PAGE_SIZE])
                largest = max(largest, path.stat().st_size)
        seconds = perf_counter() - begin
        worn, last = rates(vault, LARGE_SIZE), fragments(vault)
    tell(f"fresh: {first}; after {OVERWRITES:,} overwrites in {seconds:.0f} s: {last}")
    tell(f"file at most {largest / LARGE_SIZE:.2f} of the payload, must be <= 1.3")
    for name, before, after in zip(("sequential MB/s", "random 1/s"), fresh, worn, strict=True):
        tell(f"{name}: {before:,.0f} before, {after:,.0f} after, ratio {after / before:.2f}")
    check(path, key)
