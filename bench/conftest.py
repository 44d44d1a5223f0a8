"""Fixtures of the pytest-benchmark cases: a folder on the real disk, seeded data, the machine.

`ARCHIVE7_BENCH_FOLDER` names the disk to measure (default: the current folder); the files stand
in a temporary folder below it, never in /tmp, which may be memory.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from inputs import MIB, SEED, random_payload
from machine import describe

PAYLOAD_SIZE = 16 * MIB


def _disk() -> Path:
    return Path(os.environ.get("ARCHIVE7_BENCH_FOLDER", "."))


@pytest.fixture
def bench_folder() -> Iterator[Path]:
    """An empty folder on the disk that is measured, removed at the end."""
    with TemporaryDirectory(prefix="bench-", dir=_disk()) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def payload() -> bytes:
    """16 MiB of seeded random bytes."""
    return random_payload(PAYLOAD_SIZE)


@pytest.fixture(scope="session")
def make_payload() -> Callable[[int], bytes]:
    """A maker of seeded random bytes: `make_payload(size)`, always the same for a size."""
    made: dict[int, bytes] = {}

    def make(size: int) -> bytes:
        if size not in made:
            made[size] = random_payload(size)
        return made[size]

    return make


@pytest.fixture
def key() -> bytes:
    """A fixed master secret: 32 bytes."""
    return random_payload(32, SEED + 4)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line beside the times, whatever is captured."""

    def show(line: str) -> None:
        with capsys.disabled():
            print(f"\n    {line}", end="", flush=True)

    return show


class Counts(dict[str, int]):
    """Blocks sealed and opened, nodes, bytes written, syncs: of one piece of work."""

    def __str__(self) -> str:
        return ", ".join(f"{name} {count:,}" for name, count in self.items() if count)


@pytest.fixture
def counted() -> Callable[..., Any]:
    """`with counted(container) as counts:` fills `counts` with what the body did."""

    @contextmanager
    def count(container: Any) -> Iterator[Counts]:
        before, counts = asdict(container.blocks.counts), Counts()
        yield counts
        after = asdict(container.blocks.counts)
        counts.update({name: after[name] - before[name] for name in after})

    return count


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Add what every result must name: versions, filesystem, cost of a sync, load."""
    with TemporaryDirectory(prefix="bench-", dir=_disk()) as folder:
        machine_info["archive7_bench"] = describe(Path(folder))
