"""Growth: a thousand files to a million, in one directory and in a tree.

The archives are built once for the session, in one transaction each, and removed at its end.  Work
on them is rolled back, or done on a copy.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from shutil import copyfile
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import pytest
from inputs import MIB, SEED, SMALL_SIZE, random_payload

import archive7
from archive7.archive import Archive

KEY = random_payload(32, SEED + 4)
FOLDER_SIZE = 1000
ROUNDS = 7
ROUND_SIZE = 140
"""Operations in a round: seven rounds of new names must fit into a thousand files."""
CREATE_COUNT = 3000
MILLION = 1_000_000
SHAPES = ("one", "tree")
COUNTS = (1000, 10_000, 100_000, pytest.param(MILLION, marks=pytest.mark.large))
GROWTHS = ((1000, 10_000, 100_000), pytest.param((1000, MILLION), marks=pytest.mark.large))


class _BackError(Exception):
    """Leaves a transaction so that it is rolled back."""


def path_in(shape: str, number: int) -> str:
    """The path of a file: all in the root, or a thousand in each directory."""
    if shape == "one":
        return f"/file-{number:07}"
    return f"/folder-{number // FOLDER_SIZE:04}/file-{number % FOLDER_SIZE:04}"


def folders(shape: str, count: int) -> list[str]:
    """The directories that hold files."""
    if shape == "one":
        return ["/"]
    return [f"/folder-{number:04}" for number in range(-(-count // FOLDER_SIZE))]


class Forest:
    """Archives with so many empty files, made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, shape: str, count: int) -> Path:
        """Where an archive stands."""
        path = self.folder / f"{shape}-{count}.ar7"
        if not path.exists():
            self._build(path, shape, count)
        return path

    def open(self, shape: str, count: int) -> Archive:
        """Open an archive for writing."""
        return archive7.open(self.path(shape, count), "r+", key=KEY)

    @staticmethod
    def _build(path: Path, shape: str, count: int) -> None:
        with archive7.open(path, "x", key=KEY) as vault, vault.transaction():
            if shape == "tree":
                for name in folders(shape, count):
                    vault.mkdir(name)
            for number in range(count):
                vault.write_bytes(path_in(shape, number), b"")

    def check(self) -> None:
        """What was done on the archives left nothing behind."""
        for path in self.folder.glob("*.ar7"):
            with archive7.open(path, "r", key=KEY) as vault:
                found = [item for item in vault.check() if item.severity != "note"]
            assert not found, f"{path.name}: {found}"


@pytest.fixture(scope="session")
def forest() -> Iterator[Forest]:
    """The archives of this session, checked and removed at its end."""
    disk = os.environ.get("ARCHIVE7_BENCH_FOLDER", ".")
    with TemporaryDirectory(prefix="bench-", dir=disk) as folder:
        forest = Forest(Path(folder))
        yield forest
        forest.check()


def verdict(is_reached: bool) -> str:
    """The last words of a line that has a "must be"."""
    return "reached" if is_reached else "NOT reached"


# --- opening


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", COUNTS)
def test_open(benchmark: Any, forest: Forest, tell: Any, shape: str, count: int) -> None:
    path = forest.path(shape, count)

    def work() -> int:
        with archive7.open(path, "r+", key=KEY) as opened:
            counts = opened._container.blocks.counts
            return counts.opened + counts.nodes_opened

    opened = benchmark.pedantic(work, rounds=20, warmup_rounds=2)
    times = []
    for _ in range(20):
        begin = perf_counter()
        vault = archive7.open(path, "r+", key=KEY)
        times.append((perf_counter() - begin) * 1e3)
        vault.close()
    tell(
        f"open, {shape} {count:,}: {median(times):.2f} ms, {opened} blocks opened, "
        f"must be <= 5 ms: {verdict(median(times) <= 5)}"
    )
    assert opened <= 20


# --- one operation, from a thousand files to a million


def do_stat(vault: Archive, path: str) -> None:
    """Ask for one entry."""
    vault.stat(path)


def do_create(vault: Archive, path: str) -> None:
    """Make a small file beside another one."""
    vault.write_bytes(path + "-new", SMALL)


def do_rename(vault: Archive, path: str) -> None:
    """Rename within a directory."""
    vault.rename(path, path + "-new")


def do_remove(vault: Archive, path: str) -> None:
    """Remove a file."""
    vault.remove(path)


SMALL = random_payload(SMALL_SIZE)
OPERATIONS = {
    "stat": do_stat,
    "create": do_create,
    "rename": do_rename,
    "remove": do_remove,
}


def one_round(
    vault: Archive, operation: Callable[[Archive, str], None], paths: list[str]
) -> tuple[float, float]:
    """Microseconds and opened blocks of one operation."""
    counts = vault._container.blocks.counts
    before = counts.opened + counts.nodes_opened
    begin = perf_counter()
    for path in paths:
        operation(vault, path)
    seconds = perf_counter() - begin
    blocks = counts.opened + counts.nodes_opened - before
    return seconds / len(paths) * 1e6, blocks / len(paths)


@contextmanager
def trials(forest: Forest, shape: str, counts: tuple[int, ...]) -> Iterator[dict[int, Archive]]:
    """Open archives in the middle of a transaction, which is rolled back at the end."""
    with suppress(_BackError), ExitStack() as stack:
        vaults = {count: stack.enter_context(forest.open(shape, count)) for count in counts}
        for vault in vaults.values():
            stack.enter_context(vault.transaction())
        yield vaults
        raise _BackError


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("counts", GROWTHS, ids=["thousands", "million"])
def test_operation_grows_with_the_logarithm(
    forest: Forest, tell: Callable[[str], None], counts: tuple[int, ...], name: str, shape: str
) -> None:
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    with trials(forest, shape, counts) as vaults:
        chosen = {c: Random(SEED).sample(range(c), ROUNDS * ROUND_SIZE) for c in counts}
        for at in range(0, ROUNDS * ROUND_SIZE, ROUND_SIZE):  # by turns: noise hits all of them
            for count, vault in vaults.items():
                numbers = chosen[count][at : at + ROUND_SIZE]
                paths = [path_in(shape, number) for number in numbers]
                found[count].append(one_round(vault, OPERATIONS[name], paths))
    times = {count: median(time for time, _ in found[count][1:]) for count in counts}
    blocks = {count: median(number for _, number in found[count][1:]) for count in counts}
    listed = ", ".join(
        f"{count:,}: {time:.1f} us ({blocks[count]:.1f} blocks opened)"
        for count, time in times.items()
    )
    ratio = times[counts[-1]] / times[counts[0]]
    tell(f"{name}, {shape}, {listed}; last/first {ratio:.1f}, must be logarithmic")
    # two trees of at most four levels, their map leaves and one node above
    assert all(number <= 16 for number in blocks.values())


# --- many at once


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", ["in order", "scattered"])
@pytest.mark.parametrize("count", [1000, 100_000, pytest.param(MILLION, marks=pytest.mark.large)])
def test_creates_in_one_transaction(
    benchmark: Any, forest: Forest, tell: Any, shape: str, count: int, order: str
) -> None:
    path = forest.folder / "copy"
    copyfile(forest.path(shape, count), path)
    random, numbers = Random(SEED), iter(range(100))
    places = folders(shape, count)

    def names() -> list[str]:
        made = next(numbers)
        if order == "in order":
            place = places[-1].rstrip("/")
            return [f"{place}/new-{made}-{number:05}" for number in range(CREATE_COUNT)]
        chosen = [random.choice(places).rstrip("/") for _ in range(CREATE_COUNT)]
        return [f"{c}/file-{random.randrange(count):07}-{made}-{i}" for i, c in enumerate(chosen)]

    with archive7.open(path, "r+", key=KEY) as vault:

        def work(paths: list[str]) -> None:
            with vault.transaction():
                for name in paths:
                    vault.write_bytes(name, SMALL)

        def prepare() -> tuple[tuple[list[str]], dict[str, Any]]:
            return (names(),), {}

        benchmark.pedantic(work, setup=prepare, rounds=5, warmup_rounds=1)
        rate = CREATE_COUNT / benchmark.stats.stats.median
        tell(
            f"create 2 KiB, {shape} {count:,}, {order}: {rate:,.0f} files/s, "
            f"must be >= 30,000: {verdict(rate >= 30_000)}"
        )
    path.unlink()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("call", ["listdir", "scandir", "walk"])
@pytest.mark.parametrize("count", COUNTS)
def test_listing(
    benchmark: Any, forest: Forest, tell: Any, shape: str, call: str, count: int
) -> None:
    places = folders(shape, count)
    with forest.open(shape, count) as vault:

        def work() -> int:
            if call == "walk":
                return sum(len(names) for _, _, names in vault.walk("/"))
            if call == "listdir":
                return sum(len(vault.listdir(place)) for place in places)
            return sum(1 for place in places for _ in vault.scandir(place))

        rounds = 20 if count <= 10_000 else 5
        assert benchmark.pedantic(work, rounds=rounds, warmup_rounds=1) == count
    rate = count / benchmark.stats.stats.median
    tell(
        f"{call}, {shape} {count:,}: {rate:,.0f} names/s, must be >= 300,000: "
        f"{verdict(rate >= 300_000)}"
    )


# --- memory, of a process of its own

MEMORY = """
import os, random, sys
PAGE = os.sysconf("SC_PAGE_SIZE")
def resident(name="VmRSS"):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024
def step(name):
    print(f"{name} {resident() - begin:.0f} {resident('VmHWM') - begin:.0f}")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
source, shape, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
def path(number):
    if shape == "one":
        return f"/file-{number:07}"
    return f"/folder-{number // 1000:04}/file-{number % 1000:04}"
data, begin = os.urandom(2048), resident()
import archive7
key = bytes.fromhex(sys.argv[4])
with archive7.open(sys.argv[5], "x", key=key) as vault:
    with vault.transaction():
        for number in range(count // 1000 if shape == "tree" else 0):
            vault.mkdir(f"/folder-{number:04}")
        for number in range(count):
            vault.write_bytes(path(number), b"")
    step("build")
with archive7.open(source, "r+", key=key) as vault:
    step("open")
    for _ in range(20000):
        vault.stat(path(random.randrange(count)))
    step("stat")
    with vault.transaction():
        for number in range(5000):
            vault.write_bytes(path(random.randrange(count)) + f"-{number}", data)
    step("create")
    for number in random.sample(range(count), count // 100):
        vault.rename(path(number), path(number) + "x")
        vault.remove(path(number) + "x")
    step("rename,remove")
    places = ["/"] if shape == "one" else [f"/folder-{n:04}" for n in range(count // 1000)]
    for place in places:
        for entry in vault.scandir(place):
            pass
    del entry
    step("scandir")
    for place in places:
        vault.listdir(place)
    step("listdir")
    for finding in vault.check("quick"):
        pass
    step("check-quick")
    for finding in vault.check():
        pass
    step("check-full")
step("close")
"""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [100_000, pytest.param(MILLION, marks=pytest.mark.large)])
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory(forest: Forest, tell: Callable[[str], None], shape: str, count: int) -> None:
    copy, made = forest.folder / "copy", forest.folder / "made"
    copyfile(forest.path(shape, count), copy)
    command = [sys.executable, "-c", MEMORY, copy, shape, str(count), KEY.hex(), made]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    copy.unlink()
    made.unlink()
    steps = [line.split() for line in done.stdout.splitlines()]
    listed = ", ".join(f"{name} {now} ({peak})" for name, now, peak in steps)
    highest = max(int(peak) for _, _, peak in steps)
    tell(
        f"MiB resident over the interpreter (peak), {shape} {count:,}: {listed}; "
        f"must be <= 100: {verdict(highest <= 100)}"
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_space_of_empty_files(forest: Forest, tell: Callable[[str], None], shape: str) -> None:
    count = 100_000
    size = forest.path(shape, count).stat().st_size
    tell(f"{shape}, {count:,} empty files: {size / MIB:.0f} MiB, {size / count:.0f} bytes each")
