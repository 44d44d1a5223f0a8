"""Sealed blocks: what they cost, and what the map costs beside a store without one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Any

import pytest
from inputs import MIB

from archive7.commit import Container
from archive7.layout import BLOCK_SIZE, DATA_SIZE, MAX_RUN
from archive7.map import Map
from archive7.streams import DynamicMultiStreamManager

STREAM = bytes(16)
RUN_SIZE = MAX_RUN * DATA_SIZE
RUNS = 64  # 64 MiB
READ_COUNT = 4000
REPEATS = 7


class NoMap(Map):
    """The map left out: entries stand in flat lists, nothing is sealed above the blocks."""

    flat_slots: list[int]
    flat_tags: list[bytes]

    def entries(self, position: int, count: int) -> list[bytes]:
        end = position + count
        pairs = zip(self.flat_slots[position:end], self.flat_tags[position:end], strict=True)
        return [slot.to_bytes(4, "big") + tag for slot, tag in pairs]

    def get_run(self, position: int, count: int) -> tuple[list[int], list[bytes]]:
        end = position + count
        return self.flat_slots[position:end], self.flat_tags[position:end]

    def set_run(self, position: int, slots: Any, tags: Any) -> None:
        """Leave everything as it is."""


@pytest.fixture
def container(bench_folder: Path, key: bytes) -> Iterator[Container]:
    """An empty container on the disk that is measured."""
    with DynamicMultiStreamManager(bench_folder / "blocks.ar7", key) as manager:
        yield manager.container


def write_all(container: Container, run: memoryview) -> None:
    """Write 64 MiB in runs of 256 blocks, at positions from 1 on."""
    for number in range(RUNS):
        index = number * MAX_RUN
        container.blocks.write_run(1 + index, index, STREAM, (index, index + 2), run)


def without_map(container: Container) -> NoMap:
    """A stand-in for the container's map with the same entries."""
    flat = NoMap(container.blocks, 0, bytes(12), {})
    slots, tags = container.blocks.map.get_run(1, RUNS * MAX_RUN)
    flat.flat_slots, flat.flat_tags = [0, *slots], [bytes(8), *tags]
    return flat


def compare(container: Container, work: Callable[[], object]) -> float:
    """Seconds with the map over seconds without it, both in turn."""
    real, flat = container.blocks.map, without_map(container)
    times: dict[Map, list[float]] = {real: [], flat: []}
    for _ in range(REPEATS):
        for chart, seconds in times.items():
            container.blocks.map = chart
            begin = perf_counter()
            work()
            seconds.append(perf_counter() - begin)
    container.blocks.map = real
    return median(times[real]) / median(times[flat])


def verdict(ratio: float, limit: float) -> str:
    """Say what the map costs, and whether that is within its price."""
    loss = 1 - 1 / ratio
    return f"{loss:.1%} lost to the map, must be < {limit:.0%}: " + (
        "reached" if loss < limit else "NOT reached"
    )


def test_write_runs(benchmark: Any, container: Container, payload: bytes, counted: Any) -> None:
    run = memoryview(payload)[:RUN_SIZE]
    with counted(container) as counts:
        benchmark.pedantic(write_all, (container, run), rounds=5)
    benchmark.extra_info.update(counts)
    assert counts["sealed"] == 5 * RUNS * MAX_RUN
    assert counts["written"] == 5 * RUNS * MAX_RUN * BLOCK_SIZE


def test_map_takes_little_space(
    container: Container, payload: bytes, counted: Any, tell: Callable[[str], None]
) -> None:
    run = memoryview(payload)[:RUN_SIZE]
    with counted(container) as counts:
        write_all(container, run)
        container.blocks.map.fold()
    space = counts["nodes_sealed"] / (RUNS * MAX_RUN)
    tell(f"map: {space:.3%} of the blocks it stands above; {counts}")
    assert space < 0.005


def test_map_costs_little_sequential_write(
    container: Container, payload: bytes, tell: Callable[[str], None]
) -> None:
    run = memoryview(payload)[:RUN_SIZE]
    write_all(container, run)
    container.blocks.map.fold()

    def work() -> None:
        write_all(container, run)
        if type(container.blocks.map) is Map:
            container.blocks.map.fold()

    tell("sequential write: " + verdict(compare(container, work), 0.10))


def test_map_costs_little_sequential_read(
    container: Container, payload: bytes, tell: Callable[[str], None]
) -> None:
    write_all(container, memoryview(payload)[:RUN_SIZE])
    container.blocks.map.fold()
    out = memoryview(bytearray(RUN_SIZE))

    def work() -> None:
        for index in range(0, RUNS * MAX_RUN, MAX_RUN):
            container.blocks.read_run(1 + index, MAX_RUN, index, STREAM, 0, out)

    tell("sequential read: " + verdict(compare(container, work), 0.10))


def test_map_costs_little_random_read(
    container: Container, payload: bytes, counted: Any, tell: Callable[[str], None]
) -> None:
    write_all(container, memoryview(payload)[:RUN_SIZE])
    container.blocks.map.fold()
    out = memoryview(bytearray(4096))
    random = Random(7)

    def work() -> None:
        read = container.blocks.read_run
        for index in random.sample(range(RUNS * MAX_RUN - 1), READ_COUNT):
            read(1 + index, 2, index, STREAM, 1000, out)

    with counted(container) as counts:
        ratio = compare(container, work)
    tell(f"random read: {verdict(ratio, 0.15)}; {counts}")
    assert counts["opened"] <= 2 * READ_COUNT * REPEATS * 2


def test_inline_changes_keep_reads_fast(
    benchmark: Any, container: Container, payload: bytes
) -> None:
    """Random reads while 100 changes stand in the root over the nodes."""
    write_all(container, memoryview(payload)[:RUN_SIZE])
    container.blocks.map.fold()
    for position in range(1, 5000, 50):
        slots, tags = container.blocks.map.get_run(position, 1)
        container.blocks.map.changes[position] = b"".join(
            (position.to_bytes(4, "big"), slots[0].to_bytes(4, "big"), tags[0])
        )
    out, random = memoryview(bytearray(4096)), Random(7)

    def work() -> None:
        for index in random.sample(range(RUNS * MAX_RUN - 1), READ_COUNT):
            container.blocks.read_run(1 + index, 2, index, STREAM, 1000, out)

    benchmark.pedantic(work, rounds=5, warmup_rounds=1)


def test_stream_of_one_mib_is_written_and_read(benchmark: Any, container: Container) -> None:
    """One run, straight through: the unit of everything above."""
    run, out = memoryview(bytes(RUN_SIZE)), memoryview(bytearray(RUN_SIZE))

    def work() -> None:
        container.blocks.write_run(1, 0, STREAM, (-1, -1), run)
        container.blocks.read_run(1, MAX_RUN, 0, STREAM, 0, out)

    benchmark.pedantic(work, rounds=30, warmup_rounds=2)
    benchmark.extra_info["bytes"] = 2 * MIB
