"""Rescue after random histories: whatever is harmed, what is called whole is the last version.

The seeds are fixed: where all roots and every block of a later commit are hit, nothing can tell
that there was one (docs/design.rst, "Rescue"), and a random seed would meet that some day.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import archive7
from archive7 import Delete
from archive7.layout import BLOCK_SIZE, RING_OFFSET, RING_PLACES, SLOTS_OFFSET
from tests.unit.archives import KEY, open_archive

SIZES = (0, 5, 4008, 4009, 8016, 9000, 30_000)


@dataclass
class History:
    """What random operations have made of an archive."""

    rng: random.Random
    files: dict[str, bytes] = field(default_factory=dict)
    deleted: dict[str, list[bytes]] = field(default_factory=dict)

    def copy(self) -> History:
        return History(self.rng, dict(self.files), {k: [*v] for k, v in self.deleted.items()})

    def step(self, vault: archive7.Archive) -> None:
        """Do something."""
        names = sorted(self.files)
        if not names or self.rng.random() < 0.4:
            path = f"/{self.rng.choice('abc')}{self.rng.randrange(12)}"
            self.files[path] = self.rng.randbytes(self.rng.choice(SIZES))
            vault.write_bytes(path, self.files[path])
            return
        path = self.rng.choice(names)
        steps = (self._truncate, self._append, self._overwrite, self._remove, self._rename)
        self.rng.choice(steps)(vault, path)

    def _truncate(self, vault: archive7.Archive, path: str) -> None:
        length = self.rng.choice((0, 100, 4008, 8016))
        vault.truncate(path, length)
        self.files[path] = self.files[path][:length].ljust(length, b"\0")

    def _append(self, vault: archive7.Archive, path: str) -> None:
        more = self.rng.randbytes(self.rng.choice((10, 4008, 6000)))
        with vault.open(path, "ab") as file:
            file.write(more)
        self.files[path] += more

    def _overwrite(self, vault: archive7.Archive, path: str) -> None:
        data = self.files[path]
        at = self.rng.randrange(len(data) + 1)
        piece = self.rng.randbytes(500)
        with vault.open(path, "r+b") as file:
            file.seek(at)
            file.write(piece)
        self.files[path] = data[:at] + piece + data[at + 500 :]

    def _remove(self, vault: archive7.Archive, path: str) -> None:
        how = self.rng.choice((Delete.SOFT, Delete.ERASE))
        vault.remove(path, how=how)
        data = self.files.pop(path)
        if how == Delete.SOFT:
            self.deleted.setdefault(path, []).append(data)

    def _rename(self, vault: archive7.Archive, path: str) -> None:
        target = f"/r{self.rng.randrange(20)}"
        if target not in self.files:
            vault.rename(path, target)
            self.files[target] = self.files.pop(path)


class Stop(Exception):  # noqa: N818 - ends a transaction
    """Roll back."""


def _lived(path: Path, suite: str, rng: random.Random) -> tuple[bytes, History]:
    """The bytes of an archive with a history, closed or not, and what was committed."""
    history = History(rng)
    open_archive(path, "x", suite=suite).close()
    for _ in range(rng.randrange(1, 4)):
        with open_archive(path, "r+") as vault:
            with vault.transaction():
                for _ in range(rng.randrange(30)):
                    history.step(vault)
            if rng.random() < 0.3:
                vault.compact(force=True)
    if rng.random() < 0.25:
        return path.read_bytes(), history
    with open_archive(path, "r+") as vault:
        for _ in range(rng.randrange(40)):
            history.step(vault)
        if rng.random() < 0.5:
            return path.read_bytes(), history
        uncommitted = history.copy()
        try:
            with vault.transaction():
                for _ in range(rng.randrange(1, 20)):
                    uncommitted.step(vault)
                data = path.read_bytes()
                raise Stop
        except Stop:
            return data, history


def _harmed(data: bytes, rng: random.Random) -> bytes:
    """The same with roots and slots overwritten, and maybe cut."""
    harmed, count = bytearray(data), (len(data) - SLOTS_OFFSET) // BLOCK_SIZE
    kind = rng.randrange(4)
    first, places = (0, RING_PLACES) if kind < 2 else (rng.randrange(RING_PLACES), kind == 2)
    at, size = RING_OFFSET + first * BLOCK_SIZE, places * BLOCK_SIZE
    harmed[at : at + size] = rng.randbytes(size)
    for slot in rng.sample(range(count), rng.choice((0, 1, 2, count // 50, count // 20))):
        at = SLOTS_OFFSET + slot * BLOCK_SIZE
        harmed[at : at + BLOCK_SIZE] = rng.randbytes(BLOCK_SIZE)
    if rng.random() < 0.15:
        del harmed[SLOTS_OFFSET + rng.randrange(count) * BLOCK_SIZE + 77 :]
    return bytes(harmed)


@pytest.mark.parametrize("number", range(12))
def test_nothing_wrong_is_called_whole(
    tmp_path: Path, number: int, need_secretbox: Callable[[], None]
) -> None:
    rng = random.Random(number)
    suite = "secretbox" if number % 3 == 2 else "xaes256gcm"
    if suite == "secretbox":
        need_secretbox()
    data, history = _lived(tmp_path / "vault.ar7", suite, rng)
    for harm in range(4):
        target = tmp_path / f"saved{harm}"
        harmed = _harmed(data, rng) if harm else data
        report = archive7.rescue(io.BytesIO(harmed), target, key=KEY)
        for file in report.files:
            if "lost+found" in file.path:
                continue
            if file.status == "whole":
                assert history.files.get(file.path) == (target / file.target).read_bytes(), file
            if file.status == "deleted":
                assert (target / file.target).read_bytes() in history.deleted[file.path], file
        if not harm:
            found = {file.path for file in report.files if file.status in ("whole", "unproved")}
            assert found >= history.files.keys()
