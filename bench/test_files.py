"""Small files: creating, reading, committing, opening, space and memory."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

import pytest
from inputs import MIB, SMALL_SIZE

import archive7
from archive7.archive import Archive
from archive7.layout import BLOCK_SIZE

COUNT = 2000
COMMITS = 1000
# Resident memory before archive7 is imported, and after a file of argv[2] MiB went both ways.
MEMORY = """
import os, sys
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
chunk, begin = os.urandom(1 << 20), resident()
import archive7
with archive7.open(sys.argv[1], "x", key=bytes(32)) as vault:
    with vault.open("/large", "wb") as file:
        for _ in range(int(sys.argv[2])):
            file.write(chunk)
    with vault.open("/large", "r+b") as file:
        for offset in range(0, int(sys.argv[2]) << 20, 50_000):
            file.seek(offset)
            file.write(chunk[:100])
        file.seek(0)
        while file.read(1 << 20):
            pass
    for number in range(3000):
        vault.write_bytes(f"/{number}", chunk[:2048])
    print(resident() - begin)
"""


@pytest.fixture
def vault(bench_folder: Path, key: bytes) -> Iterator[Archive]:
    """A new archive."""
    with archive7.open(bench_folder / "files.ar7", "x", key=key) as opened:
        yield opened


def fill(vault: Archive, count: int, data: bytes, prefix: str = "file") -> None:
    """Create small files in one transaction."""
    with vault.transaction():
        for number in range(count):
            vault.write_bytes(f"/{prefix}-{number:07}", data)


def test_create(
    benchmark: Any, vault: Archive, payload: bytes, counted: Any, tell: Callable[[str], None]
) -> None:
    names = iter("abcdefghij")
    with counted(vault._container) as counts:
        fill(vault, COUNT, payload[:SMALL_SIZE], next(names))
    tell(f"{COUNT} files in one transaction: {counts}")
    benchmark.pedantic(
        fill, setup=lambda: ((vault, COUNT, payload[:SMALL_SIZE], next(names)), {}), rounds=5
    )
    assert counts["sealed"] <= 1.3 * COUNT


def test_read_by_name(benchmark: Any, vault: Archive, payload: bytes) -> None:
    fill(vault, COUNT, payload[:SMALL_SIZE])

    def work() -> None:
        for number in range(COUNT):
            vault.read_bytes(f"/file-{number:07}")

    benchmark.pedantic(work, rounds=5, warmup_rounds=1)


def test_list(benchmark: Any, vault: Archive, payload: bytes) -> None:
    fill(vault, COUNT, payload[:10])
    assert len(benchmark.pedantic(vault.listdir, rounds=20)) == COUNT


def test_small_commit(
    vault: Archive, payload: bytes, counted: Any, tell: Callable[[str], None]
) -> None:
    fill(vault, 500, payload[:SMALL_SIZE])
    vault.sync()
    times = []
    with counted(vault._container) as counts:
        for number in range(COMMITS):
            begin = perf_counter()
            vault.write_bytes(f"/commit-{number:06}", payload[:SMALL_SIZE])
            times.append((perf_counter() - begin) * 1e6)
    tell(
        f"commit of one new file, not durable: median {median(times):.0f} us, "
        f"mean {fmean(times):.0f}; {COMMITS} of them: {counts}"
    )
    # data and two tree nodes, a split now and then; the root goes to the ring
    assert counts["sealed"] <= 3.3 * COMMITS
    assert counts["nodes_sealed"] <= 0.05 * COMMITS


def test_durable_commit(
    benchmark: Any, vault: Archive, payload: bytes, counted: Any, tell: Callable[[str], None]
) -> None:
    numbers = iter(range(1000))

    def work() -> None:
        vault.write_bytes(f"/durable-{next(numbers):06}", payload[:SMALL_SIZE])
        vault.sync()

    work()
    with counted(vault._container) as counts:
        work()
    tell(f"one durable commit: {counts}")
    benchmark.pedantic(work, rounds=50)
    assert counts["syncs"] == 1


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("count", [10, 10_000])
def test_open_is_constant(
    benchmark: Any, bench_folder: Path, key: bytes, tell: Any, count: int, mode: str
) -> None:
    path = bench_folder / "open.ar7"
    with archive7.open(path, "x", key=key) as vault:
        fill(vault, count, b"x" * 100)

    def work() -> int:
        with archive7.open(path, mode, key=key) as opened:
            counts = opened._container.blocks.counts
            return counts.opened + counts.nodes_opened

    opened = benchmark.pedantic(work, rounds=20, warmup_rounds=1)
    tell(f"open with {count} files, mode {mode}: {opened} blocks opened; must be <= 5 ms")
    assert opened <= 12


@pytest.mark.parametrize("count", [1000, 10_000])
def test_space_of_small_files(
    bench_folder: Path, key: bytes, payload: bytes, tell: Callable[[str], None], count: int
) -> None:
    path = bench_folder / "space.ar7"
    with archive7.open(path, "x", key=key):
        pass
    empty = path.stat().st_size
    with archive7.open(path, "r+", key=key) as vault:
        fill(vault, count, payload[:SMALL_SIZE])
    blocks = (path.stat().st_size - empty) / BLOCK_SIZE / count
    tell(f"{count} files of 2 KiB: {blocks:.3f} blocks each, must be <= 1.3")
    assert blocks <= 1.3


@pytest.mark.parametrize("size", [128, pytest.param(1024, marks=pytest.mark.large)])
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_bounded(bench_folder: Path, tell: Callable[[str], None], size: int) -> None:
    command = [sys.executable, "-c", MEMORY, str(bench_folder / "memory.ar7"), str(size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    resident = int(done.stdout) / MIB
    tell(f"{size} MiB written, changed and read: {resident:.0f} MiB resident, must be <= 100")
    assert resident <= 100
