"""A process that shares an archive: `python sharer.py write|read PATH NUMBER BOARD RESTS`.

Driven by test_sharing.  A writer commits states that prove themselves: the file /sum has the
number of the state and a digest over all other files.  A reader follows and verifies.  The board
is a file that both map into memory: the writer notes the last acknowledged state there, so that a
reader knows what it must not fall behind; each process counts in a row of its own.  RESTS is how
many slots rest for readers before their snapshots expire.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import select
import struct
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # behind the installed package

import archive7  # noqa: E402 - after the path is right
from archive7 import Archive, durability  # noqa: E402

KEY = bytes(range(32))
SUM = "/sum"
FILES = 12
LARGEST = 2_000_000
ROW = struct.Struct("<8Q")
ROWS = 16
ACKNOWLEDGED, COMMITS, SLOWEST, SIZE, WRITTEN = range(5)  # the writer's row, number 0
SEEN, LOOKS, EXPIRED, REOPENED, HELD = range(5)  # a reader's


class Board:
    """Rows of numbers that all processes see."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(ROW.size * ROWS))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), ROW.size * ROWS)
        self._cells = memoryview(self._map).cast("Q")

    def get(self, row: int, cell: int) -> int:
        """One number."""
        return self._cells[row * 8 + cell]

    def set(self, row: int, cell: int, number: int) -> None:
        """Set one number; eight aligned bytes, which nobody sees by halves."""
        self._cells[row * 8 + cell] = number

    def count(self, row: int, cell: int, more: int = 1) -> None:
        """Add to a number; only its owner does."""
        self.set(row, cell, self.get(row, cell) + more)

    def row(self, row: int) -> tuple[int, ...]:
        """All numbers of a row."""
        return tuple(self._cells[row * 8 : row * 8 + 8])


def sum_of(number: int, contents: Mapping[str, bytes]) -> bytes:
    """What /sum has: the number of the state, the digest of all names and contents."""
    total = hashlib.sha1(number.to_bytes(8, "big"), usedforsecurity=False)
    for name in sorted(contents):
        total.update(name.encode() + b"\0" + contents[name])
    return number.to_bytes(8, "big") + total.digest()


def state_of(archive: Archive) -> int:
    """The number of the state that is seen, which is whole."""
    names = [name for name in archive.listdir() if name != SUM[1:]]
    contents = {name: hashed(archive.read_bytes(f"/{name}")) for name in names}
    found = archive.read_bytes(SUM)
    number = int.from_bytes(found[:8], "big")
    assert found == sum_of(number, contents), f"state {number} is not whole: {names}"
    return number


def hashed(data: bytes) -> bytes:
    """The digest of one content."""
    return hashlib.sha1(data, usedforsecurity=False).digest()


def prepare(path: Path) -> None:
    """Make the archive in its first state."""
    with archive7.open(path, "x", key=KEY) as archive:
        archive.write_bytes(SUM, sum_of(0, {}))


class Writer:
    """Changes several files in a transaction, which then fit together."""

    def __init__(self, archive: Archive, board: Board, seed: int) -> None:
        self._archive = archive
        self._board = board
        self._random = random.Random(seed)
        self._payload = self._random.randbytes(2 * LARGEST)
        self.number = state_of(archive)
        names = [name for name in archive.listdir() if name != SUM[1:]]
        self._digests = {name: hashed(archive.read_bytes(f"/{name}")) for name in names}

    def step(self) -> None:
        """One committed state more, seen by the board after it was acknowledged."""
        begin = time.monotonic_ns()
        with self._archive.transaction():
            for _ in range(self._random.randint(1, 5)):
                self._change()
            self.number += 1
            self._archive.write_bytes(SUM, sum_of(self.number, self._digests))
        self._board.set(0, ACKNOWLEDGED, self.number)
        if self._random.random() < 0.1:
            self._archive.sync()
        self._board.count(0, COMMITS)
        took = time.monotonic_ns() - begin
        self._board.set(0, SLOWEST, max(took, self._board.get(0, SLOWEST)))
        self._board.set(0, SIZE, os.stat(self._archive.name).st_size)

    def _change(self) -> None:
        name = f"file-{self._random.randrange(FILES)}"
        drawn = self._random.random()
        if drawn < 0.15 and name in self._digests:
            self._archive.remove(f"/{name}")
            del self._digests[name]
        elif drawn < 0.3 and name in self._digests:
            other = f"file-{self._random.randrange(FILES)}"
            self._archive.rename(f"/{name}", f"/{other}")
            self._digests[other] = self._digests.pop(name)
        else:
            begin = self._random.randrange(LARGEST)
            size = self._random.choice((0, 100, 5000, LARGEST))
            data = self._payload[begin : begin + self._random.randint(0, size)]
            self._archive.write_bytes(f"/{name}", data)
            self._digests[name] = hashed(data)
            self._board.count(0, WRITTEN, len(data))


def write(path: str, seed: int, board: Board) -> None:
    """Commit until nobody listens any more."""
    with archive7.open(path, "r+", key=KEY) as archive:
        writer = Writer(archive, board, seed)
        assert writer.number >= board.get(0, ACKNOWLEDGED), "an acknowledged state is gone"
        while not select.select([sys.stdin], [], [], 0)[0]:
            writer.step()


class Reader:
    """Follows a writer; what it sees is one committed state, and never an older one."""

    def __init__(self, path: str, board: Board, row: int) -> None:
        self._path = path
        self._board = board
        self._row = row
        self._random = random.Random(row)
        self._last = 0

    def live(self) -> None:
        """Look until nobody listens any more."""
        while not select.select([sys.stdin], [], [], 0)[0]:
            acknowledged = self._board.get(0, ACKNOWLEDGED)
            with archive7.open(self._path, "r", key=KEY) as archive:
                self._follow(archive, acknowledged)
            self._board.count(self._row, REOPENED)

    def _follow(self, archive: Archive, acknowledged: int) -> None:
        for _ in range(self._random.randint(1, 200)):
            self._look(archive, acknowledged)
            if self._random.random() < 0.3:
                self._look(archive, self._last, is_held=True)
            if select.select([sys.stdin], [], [], 0)[0]:
                return
            acknowledged = self._board.get(0, ACKNOWLEDGED)
            archive.refresh()

    def _look(self, archive: Archive, wanted: int, *, is_held: bool = False) -> None:
        """Verify; a snapshot that expired is taken anew, however often."""
        while True:
            try:
                number = state_of(archive)
                break
            except archive7.SnapshotExpiredError:
                self._board.count(self._row, EXPIRED)
                is_held, wanted = False, self._board.get(0, ACKNOWLEDGED)
                archive.refresh()
        assert number >= max(wanted, self._last), f"{number} after {self._last}, {wanted} is there"
        assert not is_held or number == self._last, (
            f"a snapshot went from {self._last} to {number}"
        )
        self._last = number
        self._board.set(self._row, SEEN, number)
        self._board.count(self._row, HELD if is_held else LOOKS)


def main() -> None:
    """Write or read."""
    what, path, number, board, rests = sys.argv[1:]
    durability._REST_LIMIT = int(rests)
    warnings.simplefilter("ignore", archive7.RecoveredWarning)
    if what == "write":
        write(path, int(number), Board(Path(board)))
    else:
        Reader(path, Board(Path(board)), int(number)).live()


if __name__ == "__main__":
    main()
