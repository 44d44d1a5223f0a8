"""Real processes over one real file: eight readers beside a writer, stopped and killed.

Every reader sees whole committed states, never an older one than before and never an older one
than was acknowledged before it looked.  No reader keeps the writer from going on, whatever becomes
of it, and what rested for it is free again when it is gone.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import archive7
from archive7 import SnapshotExpiredError
from archive7.durability import _REST_LIMIT as REST_LIMIT
from archive7.layout import BLOCK_SIZE
from tests.crash.sharer import (
    ACKNOWLEDGED,
    COMMITS,
    EXPIRED,
    HELD,
    KEY,
    LOOKS,
    REOPENED,
    SIZE,
    SLOWEST,
    WRITTEN,
    Board,
    prepare,
    state_of,
)

pytestmark = [
    pytest.mark.kill,
    pytest.mark.skipif(sys.platform != "linux", reason="stops processes, looks at locks"),
]

READERS = 8
STOPPED, KILLED = 1, 2  # rows of the readers that have a hard life
PATIENCE = 60  # seconds after which a process hangs
RESTS = 4096  # slots that rest for readers in the default run, instead of 65536


class Crowd:
    """The processes over one archive."""

    def __init__(self, folder: Path, seed: int, rests: int) -> None:
        self.path = folder / "shared.ar7"
        self.board = Board(folder / "board")
        self._folder = folder
        self._rests = str(rests)
        self._random = random.Random(seed)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        prepare(self.path)

    def start(self, row: int) -> None:
        """Start the writer (row 0) or a reader."""
        what, number = ("read", row) if row else ("write", self._random.getrandbits(32))
        command = [sys.executable, str(Path(__file__).with_name("sharer.py"))]
        command += [what, str(self.path), str(number), str(self._folder / "board"), self._rests]
        with (self._folder / f"errors-{row}").open("ab") as errors:
            self._running[row] = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors)

    def send(self, row: int, number: signal.Signals) -> None:
        """Send a signal."""
        self._running[row].send_signal(number)

    def kill(self, row: int) -> None:
        """Kill a process and clear it away."""
        process = self._running.pop(row)
        process.kill()
        process.wait(PATIENCE)
        assert process.stdin is not None
        process.stdin.close()

    def end(self, row: int) -> None:
        """Let a process come to its end, which must be a good one."""
        process = self._running.pop(row)
        try:
            process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        errors = (self._folder / f"errors-{row}").read_text()
        assert not process.returncode, f"{'reader' if row else 'writer'} {row}: {errors}"
        assert not errors, errors

    def await_(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; everybody must be alive meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            for row, process in list(self._running.items()):
                if process.poll() is not None:
                    self.end(row)
                    raise AssertionError(f"{row} went before its time")
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
            time.sleep(0.005)

    def go_on(self, commits: int) -> None:
        """Wait for so many more commits of the writer."""
        wanted = self.board.get(0, COMMITS) + commits
        self.await_(f"{commits} commits", lambda: self.board.get(0, COMMITS) >= wanted)

    def write_on(self, size: int) -> None:
        """Wait until the writer has written so many more bytes."""
        wanted = self.board.get(0, WRITTEN) + size
        self.await_(f"{size} bytes", lambda: self.board.get(0, WRITTEN) >= wanted)

    def reads_again(self, row: int) -> None:
        """Wait until a reader has looked twice more."""
        wanted = self.board.get(row, LOOKS) + 2
        self.await_(f"reader {row} reads", lambda: self.board.get(row, LOOKS) >= wanted)

    def clear(self) -> None:
        """Leave no process behind."""
        for row in list(self._running):
            self.kill(row)


@contextmanager
def crowd(folder: Path, seed: int, rests: int) -> Iterator[Crowd]:
    """A crowd, cleared away at the end; its archive is sound if nothing failed."""
    found = Crowd(folder, seed, rests)
    try:
        yield found
    finally:
        found.clear()
    check(found.path)


def check(path: Path) -> None:
    """Nothing is wrong in an archive."""
    with archive7.open(path, "r", key=KEY) as archive:
        assert not [finding for finding in archive.check() if finding.severity != "note"]


def hard_life(shared: Crowd, seconds: float, rng: random.Random, rests: int) -> tuple[int, int]:
    """Stop one reader and kill another now and then, and the writer too; return how often."""
    stops = kills = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        shared.send(STOPPED, signal.SIGSTOP)
        if rng.random() < 0.6:
            shared.go_on(rng.randint(1, 20))
        else:
            shared.write_on(4 * rests * BLOCK_SIZE)  # its snapshot is overwritten
        shared.kill(KILLED)
        shared.go_on(20)
        shared.start(KILLED)
        shared.send(STOPPED, signal.SIGCONT)
        shared.reads_again(STOPPED)
        shared.reads_again(KILLED)
        stops, kills = stops + 1, kills + 1
        if rng.random() < 0.3:
            shared.kill(0)
            shared.start(0)
            shared.go_on(1)
    return stops, kills


def share(folder: Path, seed: int, seconds: float, rests: int) -> None:
    """Eight readers and a writer, for so long."""
    with crowd(folder, seed, rests) as shared:
        for row in range(READERS + 1):
            shared.start(row)
        for row in range(1, READERS + 1):
            shared.reads_again(row)
        stops, kills = hard_life(shared, seconds, random.Random(seed), rests)
        for row in range(1, READERS + 1):
            shared.end(row)
        crowded = shared.board.get(0, SIZE)
        shared.go_on(100)  # nobody is left that anything rests for
        shared.end(0)
        rows = [shared.board.row(row) for row in range(READERS + 1)]
        seen, held, expired, reopened = (
            sum(row[cell] for row in rows[1:]) for cell in (LOOKS, HELD, EXPIRED, REOPENED)
        )
        print(
            f"{rows[0][COMMITS]} commits, {seen} states seen, {held} seen again, {expired} times "
            f"expired, {reopened} opened; {stops} stops, {kills} kills; slowest commit "
            f"{rows[0][SLOWEST] / 1e6:.0f} ms; file {crowded >> 20} MiB, "
            f"{shared.path.stat().st_size >> 20} MiB at the end"
        )
        with archive7.open(shared.path, "r", key=KEY) as archive:
            assert state_of(archive) == shared.board.get(0, ACKNOWLEDGED)
        assert shared.path.stat().st_size <= crowded + (8 << 20), "what rested is not used again"
        assert expired or stops < 8, "no snapshot expired"


@pytest.mark.slow
def test_readers_beside_a_writer(tmp_path: Path, seed: int) -> None:
    share(tmp_path, seed, 6, RESTS)


@pytest.mark.soak
def test_readers_beside_a_writer_for_long(tmp_path: Path, seed: int) -> None:
    share(tmp_path, seed, float(os.environ.get("ARCHIVE7_SOAK_SECONDS", "60")), REST_LIMIT)


def test_expired_snapshot_is_healed_by_refresh(tmp_path: Path) -> None:
    path, size = tmp_path / "expired.ar7", 8 << 20
    prepare(path)
    with archive7.open(path, "r+", key=KEY) as writer:

        def write(count: int) -> int:
            """Replace the file so often, durably; return the size of the archive."""
            for number in range(count):
                writer.write_bytes("/large", bytes([number]) * size)
                writer.sync()
            return path.stat().st_size

        alone = write(5)
        with archive7.open(path, "r", key=KEY) as reader:
            kept = write(10)
            assert reader.read_bytes("/large") == bytes([4]) * size, "nothing rested for it"
            assert kept > 10 * size
            crowded = write(70)  # more than rests for a reader
            with pytest.raises(SnapshotExpiredError, match="refresh"):
                reader.read_bytes("/large")
            assert reader.refresh()
            assert reader.read_bytes("/large") == bytes([69]) * size
            with reader.open("/large", "rb") as file:
                assert file.read(1) == bytes([69])
        assert crowded <= (256 << 20) + alone + 2 * size
        assert write(70) <= crowded, "what rested for the reader is not used again"
    print(f"alone {alone >> 20} MiB, crowded {crowded >> 20}, closed {path.stat().st_size >> 20}")
    check(path)
