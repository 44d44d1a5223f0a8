"""Trees of the host: small files and a large one, in, again, and out."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inputs import MIB, SMALL_SIZE

import archive7
from archive7 import Archive, Transfer

COUNT = 20_000
FOLDER = 500  # files in each
LARGE = 256 * MIB


@pytest.fixture
def small_files(bench_folder: Path, payload: bytes) -> Path:
    """20,000 files of 2 KiB, in the page cache."""
    top = bench_folder / "small"
    for number in range(COUNT):
        folder = top / f"{number // FOLDER:04}"
        if number % FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"{number:06}.txt").write_bytes(payload[number : number + SMALL_SIZE])
    return top


@pytest.fixture
def large_file(bench_folder: Path, payload: bytes) -> Path:
    """256 MiB, in the page cache."""
    top = bench_folder / "large"
    top.mkdir()
    with (top / "file").open("wb") as file:
        for _ in range(LARGE // len(payload)):
            file.write(payload)
    return top


def measure(
    benchmark: Any, bench_folder: Path, key: bytes, run: Callable[[Archive, int], Transfer]
) -> float:
    """Seconds of the fastest of three runs, each in an archive of its own."""
    opened: list[Archive] = []

    def setup() -> tuple[tuple[Archive, int], dict[str, Any]]:
        for archive in opened:
            archive.close()
        path = bench_folder / f"vault{len(opened)}.ar7"
        opened.append(archive7.open(path, "x", key=key))
        return (opened[-1], len(opened)), {}

    done = benchmark.pedantic(run, setup=setup, rounds=3)
    opened[-1].close()
    assert done.skipped == []
    return float(benchmark.stats.stats.min)


def test_import_small(
    benchmark: Any, bench_folder: Path, key: bytes, small_files: Path, tell: Callable[[str], None]
) -> None:
    seconds = measure(benchmark, bench_folder, key, lambda a, _: a.import_tree(small_files))
    tell(f"import: {COUNT / seconds:,.0f} files of 2 KiB a second")


def test_import_unchanged(
    benchmark: Any, bench_folder: Path, key: bytes, small_files: Path, tell: Callable[[str], None]
) -> None:
    with archive7.open(bench_folder / "vault.ar7", "x", key=key) as archive:
        archive.import_tree(small_files)
        again = benchmark.pedantic(archive.import_tree, (small_files,), {"resume": True}, rounds=3)
    assert again.unchanged == COUNT
    tell(f"import, unchanged: {COUNT / benchmark.stats.stats.min:,.0f} files a second")


def test_export_small(
    benchmark: Any, bench_folder: Path, key: bytes, small_files: Path, tell: Callable[[str], None]
) -> None:
    with archive7.open(bench_folder / "vault.ar7", "x", key=key) as archive:
        archive.import_tree(small_files)
        folders = iter(range(3))
        benchmark.pedantic(
            lambda: archive.export_tree("/", bench_folder / f"out{next(folders)}"), rounds=3
        )
    tell(f"export: {COUNT / benchmark.stats.stats.min:,.0f} files of 2 KiB a second")


def test_large_both_ways(
    benchmark: Any, bench_folder: Path, key: bytes, large_file: Path, tell: Callable[[str], None]
) -> None:
    seconds = measure(benchmark, bench_folder, key, lambda a, _: a.import_tree(large_file))
    tell(f"import: {LARGE / seconds / MIB:,.0f} MiB/s")
    assert os.path.getsize(bench_folder / "vault0.ar7") > LARGE
