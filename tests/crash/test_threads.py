"""One archive used by eight threads at once; what each of them did is compared with a model."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from unittest import mock

import pytest

from archive7 import Archive, btree
from tests.unit.archives import Vaults

THREADS: Final = 8
NAMES: Final = [f"name-{number}" for number in range(12)]
SIZES: Final = (0, 30, 3000, 20_000, 200_000)


class _BackError(Exception):
    """Leaves a transaction so that it is rolled back."""


@pytest.fixture(autouse=True)
def _hasty() -> Iterator[None]:
    """Threads change often, and trees keep few nodes in memory."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    with mock.patch.object(btree, "_CACHE", 8):
        yield
    sys.setswitchinterval(before)


class Worker:
    """One thread: a directory of its own, and what must be in it."""

    def __init__(self, archive: Archive, number: int, seed: int) -> None:
        self.archive = archive
        self.home = f"/own-{number}"
        self.model: dict[str, bytes] = {}
        self.increments = 0
        self.operations = 0
        self._random = random.Random(seed + number)
        self._payload = self._random.randbytes(2 * max(SIZES))
        archive.mkdir(self.home)

    def run(self, deadline: float) -> None:
        """Do one thing after the other."""
        steps: list[Callable[[], None]] = [
            self.write, self.write, self.change, self.read, self.read, self.look, self.list,
            self.remove, self.rename, self.transact, self.count, self.pair, self.wander,
        ]  # fmt: skip
        while time.monotonic() < deadline:
            self._random.choice(steps)()
            self.operations += 1

    def _data(self) -> bytes:
        size = self._random.choice(SIZES)
        begin = self._random.randrange(len(self._payload) - size)
        return self._payload[begin : begin + self._random.randint(0, size)]

    def _name(self) -> str:
        return self._random.choice(NAMES)

    def _path(self, name: str) -> str:
        return f"{self.home}/{name}"

    # --- in its own directory

    def write(self) -> None:
        name, data = self._name(), self._data()
        self.archive.write_bytes(self._path(name), data)
        self.model[name] = data

    def change(self) -> None:
        name, data = self._name(), self._data()
        with self.archive.open(self._path(name), "ab") as file:
            file.write(data)
        content = self.model.get(name, b"") + data
        with self.archive.open(self._path(name), "r+b") as file:
            file.seek(len(content) // 2)
            file.write(b"inside")
            file.seek(0)
            begin = file.read(10)
        middle = len(content) // 2
        content = content[:middle] + b"inside" + content[middle + 6 :]
        assert begin == content[:10]
        self.model[name] = content[: max(SIZES)]
        self.archive.truncate(self._path(name), len(self.model[name]))

    def read(self) -> None:
        name = self._name()
        if name in self.model:
            assert self.archive.read_bytes(self._path(name)) == self.model[name]
        else:
            with pytest.raises(FileNotFoundError):
                self.archive.read_bytes(self._path(name))

    def look(self) -> None:
        name = self._name()
        is_there = name in self.model
        assert self.archive.exists(self._path(name)) == is_there
        assert self.archive.isfile(self._path(name)) == is_there
        assert not self.archive.isdir(self._path(name))
        if is_there:
            assert self.archive.stat(self._path(name)).st_size == len(self.model[name])

    def list(self) -> None:
        assert self.archive.listdir(self.home) == sorted(self.model)
        sizes = {entry.name: entry.stat().st_size for entry in self.archive.scandir(self.home)}
        assert sizes == {name: len(data) for name, data in self.model.items()}

    def remove(self) -> None:
        name = self._name()
        if name in self.model:
            self.archive.remove(self._path(name))
            del self.model[name]

    def rename(self) -> None:
        name, other = self._name(), self._name()
        if name in self.model:
            self.archive.rename(self._path(name), self._path(other))
            self.model[other] = self.model.pop(name)

    def transact(self) -> None:
        """Some changes at once, or none, or those before a savepoint."""
        before = dict(self.model)
        try:
            with self.archive.transaction():
                self.write()
                self.change()
                kept = dict(self.model)
                try:
                    with self.archive.transaction():
                        self.remove()
                        self.write()
                        if self._random.random() < 0.5:
                            raise _BackError
                except _BackError:
                    self.model = kept
                self.list()
                if self._random.random() < 0.3:
                    raise _BackError
        except _BackError:
            self.model = before
        self.list()

    # --- where all meet

    def count(self) -> None:
        """Read, add one, write: nobody comes between."""
        with self.archive.transaction():
            number = int(self.archive.read_bytes("/counter"))
            self.archive.write_bytes("/counter", str(number + 1).encode())
        self.increments += 1

    def pair(self) -> None:
        """Two files that are equal whenever a transaction looks."""
        with self.archive.transaction():
            data = self.archive.read_bytes("/common/one")
            assert data == self.archive.read_bytes("/common/other")
            data = self._data()
            self.archive.write_bytes("/common/one", data)
            self.archive.write_bytes("/common/other", data)

    def wander(self) -> None:
        """Walk over what the others are changing."""
        for place, _, names in self.archive.walk("/"):
            assert place == "/" or place.startswith(("/own-", "/common"))
            assert place.startswith("/own-") or set(names) <= {"counter", "one", "other"}


def work(archive: Archive, seconds: float, seed: int) -> list[Worker]:
    """Let all threads run; the first exception of any of them is raised."""
    archive.write_bytes("/counter", b"0")
    archive.mkdir("/common")
    for name in ("one", "other"):
        archive.write_bytes(f"/common/{name}", b"")
    workers = [Worker(archive, number, seed) for number in range(THREADS)]
    errors: list[BaseException] = []
    deadline = time.monotonic() + seconds

    def run(worker: Worker) -> None:
        try:
            worker.run(deadline)
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(w,), daemon=True) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 60)
        assert not thread.is_alive(), "the threads wait for one another"
    if errors:
        raise errors[0]
    return workers


def compare(archive: Archive, workers: list[Worker]) -> None:
    """What is there is what the threads did."""
    for worker in workers:
        assert archive.listdir(worker.home) == sorted(worker.model)
        for name, data in worker.model.items():
            assert archive.read_bytes(f"{worker.home}/{name}") == data
    assert int(archive.read_bytes("/counter")) == sum(worker.increments for worker in workers)


def thread(folder: Path, seconds: float, seed: int) -> None:
    """Eight threads over one archive, for so long."""
    with Vaults(folder) as vaults:
        archive = vaults.open("x")
        workers = work(archive, seconds, seed)
        compare(archive, workers)
        archive.close()
        with vaults.open("r") as again:
            compare(again, workers)
        print(f"{sum(worker.operations for worker in workers)} operations in {seconds} s")


@pytest.mark.slow
def test_threads_share_an_archive(tmp_path: Path, seed: int) -> None:
    thread(tmp_path, 5, seed)


@pytest.mark.soak
def test_threads_share_an_archive_for_long(tmp_path: Path, seed: int) -> None:
    thread(tmp_path, float(os.environ.get("ARCHIVE7_SOAK_SECONDS", "60")), seed)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_archive_closes_while_others_write(tmp_path: Path, rng: random.Random) -> None:
    with Vaults(tmp_path) as vaults:
        for number in range(10):
            archive = vaults.open("x", f"{number}.ar7")
            threads = [
                threading.Thread(target=pour, args=(archive, f"/{at}"), daemon=True)
                for at in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(rng.uniform(0, 0.03))
            closing = threading.Thread(target=archive.close, daemon=True)
            for thread in (closing, *threads):
                if thread is closing:
                    thread.start()
                thread.join(60)
                assert not thread.is_alive(), "the threads wait for one another"


def pour(archive: Archive, path: str) -> None:
    """Open files and write to them until the archive is closed."""
    data = bytes(100_000)
    with suppress(ValueError):
        while True:
            with archive.open(path, "ab") as file:
                for _ in range(5):
                    file.write(data)
