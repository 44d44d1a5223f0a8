"""Queries: entries looked at in a second, by what is asked, and how that grows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pytest

import archive7
from archive7 import Archive, Condition, Q

FOLDER_SIZE = 1000  # entries in each directory, which is one of them
ROUNDS = 5
TARGET = 200_000  # entries a second at least, for a query that finds few
COUNTS = [1000, 10_000, 100_000, pytest.param(1_000_000, marks=pytest.mark.large)]
# What is asked, and whether it finds few.
QUERIES: dict[str, tuple[list[Condition], bool]] = {
    "size": ([Q.size > 1_000_000], True),
    "modified": ([Q.modified < 0], True),
    "name": ([Q.name == "file-0100.log"], True),
    "name like": ([Q.name.like("*.pdf")], True),
    "name like and size": ([Q.name.like("*.log"), Q.size > 1_000_000], True),
    "user by name": ([Q.user == "ann"], True),
    "path like": ([Q.path.like("/d0000/*.log")], True),
    "deleted": ([Q.deleted], True),
    "name like (1 % found)": ([Q.name.like("*.log")], False),
    "everything": ([], False),
}


def fill(vault: Archive, count: int) -> None:
    """Make so many entries in one transaction: directories of empty files, each 100th a log."""
    with vault.transaction():
        for folder in range(count // FOLDER_SIZE):
            vault.mkdir(f"/d{folder:04}")
            for number in range(1, FOLDER_SIZE):
                suffix = "txt" if number % 100 else "log"
                vault.write_bytes(f"/d{folder:04}/file-{number:04}.{suffix}", b"")


@pytest.fixture(params=COUNTS)
def vault(request: Any, bench_folder: Path, key: bytes) -> Iterator[tuple[Archive, int]]:
    """An archive of so many entries, opened anew for reading."""
    path = bench_folder / "query.ar7"
    with archive7.open(path, "x", key=key) as made:
        fill(made, request.param)
    with archive7.open(path, "r", key=key) as opened:
        yield opened, request.param


def seconds(work: Callable[[], int]) -> tuple[float, int]:
    """The median of some rounds after one to warm up, and what the last one gave."""
    times = []
    result = work()
    for _ in range(ROUNDS):
        begin = perf_counter()
        result = work()
        times.append(perf_counter() - begin)
    return median(times), result


def test_find(vault: tuple[Archive, int], tell: Callable[[str], None]) -> None:
    archive, count = vault
    for name, (conditions, is_few) in QUERIES.items():
        taken, found = seconds(lambda asked=conditions: sum(1 for _ in archive.find(*asked)))
        rate = count / taken
        tell(
            f"{count:9,} entries, {name:22} {found:9,} found {taken * 1e3:10.1f} ms "
            f"{rate:12,.0f} entries/s{f', must be >= {TARGET:,}' if is_few else ''}"
        )


def test_find_below_a_small_directory(
    benchmark: Any, vault: tuple[Archive, int], tell: Callable[[str], None], counted: Any
) -> None:
    archive, count = vault

    def work() -> int:
        return sum(1 for _ in archive.find(Q.size == 0, under="/d0000"))

    assert benchmark.pedantic(work, rounds=ROUNDS, warmup_rounds=1) == FOLDER_SIZE - 1
    with counted(archive._container) as counts:
        work()
    opened = str(counts) or "all from the cache"
    tell(f"{count:9,} entries, {FOLDER_SIZE - 1} of them below: {opened}")


def test_glob(vault: tuple[Archive, int], tell: Callable[[str], None]) -> None:
    archive, count = vault
    for pattern in ("d0000/file-0100.log", "d0000/*.log", "*/file-0100.log", "**/*.log"):
        taken, found = seconds(lambda asked=pattern: sum(1 for _ in archive.glob(asked)))
        tell(f"{count:9,} entries, glob {pattern:20} {found:9,} found {taken * 1e3:10.2f} ms")
