"""Real processes, really killed: SIGKILL at random moments, on a real file.

Nothing that `sync` acknowledged may be lost, and, as the page cache outlives the process, no other
acknowledged commit either.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import archive7
from tests.crash.archives import ArchiveSession
from tests.crash.history import digest
from tests.crash.victim import KEY

pytestmark = [pytest.mark.kill, pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")]

KILLS = 300
PER_FILE = 20  # kills before a new file
LONGEST = 0.04  # seconds that a writer lives at most, after it was forked or acknowledged


@pytest.fixture
def nursery() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(Path(__file__).with_name("victim.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    try:
        yield process
    finally:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


class Life:
    """One writer: what it said before it was killed."""

    def __init__(self, nursery: subprocess.Popen[bytes], path: Path, seed: int) -> None:
        assert nursery.stdin is not None and nursery.stdout is not None  # noqa: PT018
        nursery.stdin.write(f"{path} {seed}\n".encode())
        self._pipe = nursery.stdout.fileno()
        self._rest = b""
        self.lines: list[str] = []
        while not self._read(1.0, "child "):
            pass
        self.child = int(self.lines.pop(0).split()[1])

    def _read(self, timeout: float, wanted: str) -> bool:
        """Take in what was said; whether a line with `wanted` is among it."""
        if select.select([self._pipe], [], [], timeout)[0]:
            self._rest += os.read(self._pipe, 65536)
            *lines, self._rest = self._rest.split(b"\n")
            self.lines += [line.decode() for line in lines]
        return any(line.startswith(wanted) for line in self.lines)

    def wait(self) -> None:
        """Listen until something was acknowledged, however slow the machine is."""
        while not (self._read(1.0, "commit") or self._read(0, "durable")):
            assert not self._read(0, "dead"), self.lines

    def end(self, seconds: float) -> None:
        """Listen for a while, then kill it and hear the rest."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read(left, "")
        os.kill(self.child, signal.SIGKILL)
        while not self._read(1.0, "dead"):
            pass
        self.lines.remove("dead")


def judge(lines: list[str], found: str, before: str) -> int:
    """Check what is there against what was said; return the number of acknowledged commits."""
    errors = [line for line in lines if line.startswith("error")]
    assert not errors, errors
    allowed, acknowledged, durable = [before], 0, -1
    for line in lines:
        what, _, name = line.partition(" ")
        if what == "opened":
            assert name == before, "the writer opened another state than the reader before it"
        elif what == "begin":
            allowed.append(name)
        else:
            allowed = allowed[-1:]
            acknowledged += 1
            durable = len(lines) if what == "durable" else durable
    assert found in allowed, f"{acknowledged} acknowledged, the last durable at {durable}: lost"
    return acknowledged


def look(path: Path) -> str:
    """What a reader sees, checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", archive7.RecoveredWarning)
        with archive7.open(path, "r", key=KEY) as archive:
            session = ArchiveSession(archive)
            session.audit()
            return digest(session.content())


def test_nothing_acknowledged_is_lost(
    nursery: subprocess.Popen[bytes], tmp_path: Path, seed: int
) -> None:
    rng, total = random.Random(seed), 0
    for number in range(KILLS):
        path = tmp_path / f"{number // PER_FILE}.ar7"
        if not path.exists():
            archive7.open(path, "x", key=KEY).close()
        before = look(path)
        life = Life(nursery, path, rng.getrandbits(32))
        if number % 2:  # the others are killed at any moment, also before that
            life.wait()
        life.end(rng.uniform(0, LONGEST))
        total += judge(life.lines, look(path), before)
    print(f"{KILLS} kills, {total} acknowledged commits, none lost")
    assert total > KILLS // 4, "hardly anything was acknowledged: no proof"
