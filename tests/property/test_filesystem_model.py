"""Random histories of filesystem calls, on an archive and in a real folder, compared call by call.

Transactions and savepoints are kept or rolled back (the folder is copied before), files stay open
over renames, removals and rollbacks, readers look at snapshots, and the archive is reopened.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.archives import Vaults, assert_sound, open_archive, tree_of
from tests.unit.test_filesystem import Host, host_tree, look, outcome

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux")

PARTS = ("a", "b", "c", "d")
SIZES = (0, 1, 100, 4008, 4009, 20_000)
Call = Callable[[Any], object]


class RollbackError(Exception):
    """Leaves a transaction."""


def some_path(rng: random.Random) -> str:
    depth = rng.choice((1, 1, 2, 2, 3))
    parts = [rng.choice(PARTS) for _ in range(depth)]
    if rng.random() < 0.1:
        parts.insert(rng.randrange(depth + 1), rng.choice(("..", ".", "")))
    text = "/".join(parts).strip("/") + ("/" if rng.random() < 0.05 else "")
    return "a" if text.startswith("..") else text


def _write(path: str, data: bytes, mode: str) -> Call:
    def call(system: Any) -> object:
        with system.open(path, mode) as file:
            if "+" in mode:
                file.seek(3)
            return file.write(data)

    return call


def _list(path: str) -> Call:
    def call(system: Any) -> object:
        return sorted((e.name, e.is_symlink()) for e in system.scandir(path))

    return call


def some_call(rng: random.Random) -> tuple[str, Call]:
    """One call with its arguments."""
    path, other = some_path(rng), some_path(rng)
    data = rng.randbytes(rng.choice(SIZES))
    plain = path.replace("..", ".")  # where it fails half-way the host keeps what it has made
    mode = rng.choice(("wb", "xb", "ab", "r+b", "w+b"))
    target = other.rstrip("/").replace(
        "..", "."
    )  # not upwards: the parent of ``/`` is ``/``, the folder's is not
    return rng.choice(
        [
            (f"mkdir {path}", lambda s: s.mkdir(path)),
            (f"mkdir {path}", lambda s: s.mkdir(path)),
            (f"makedirs {plain}", lambda s: s.makedirs(plain, exist_ok=True)),
            (f"open {path} {mode}", _write(path, data, mode)),
            (f"open {path} {mode}", _write(path, data, mode)),
            (f"write_bytes {path}", lambda s: s.write_bytes(path, data)),
            (f"read_bytes {path}", lambda s: s.read_bytes(path)),
            (f"remove {path}", lambda s: s.remove(path)),
            (f"rmdir {path}", lambda s: s.rmdir(path)),
            (f"rename {path} {other}", lambda s: s.rename(path, other)),
            (f"rename {path} {other}", lambda s: s.rename(path, other)),
            (f"symlink {target} {path}", lambda s: s.symlink(target, path)),
            (f"readlink {path}", lambda s: s.readlink(path)),
            (f"chmod {path}", lambda s: s.chmod(path, 0o750)),
            (f"truncate {path}", lambda s: s.truncate(path, len(data) // 2)),
            (f"stat {path}", lambda s: look(s.stat(path))),
            (f"lstat {path}", lambda s: look(s.lstat(path))),
            (f"scandir {path}", _list(path)),
        ]
    )


class Model:
    """Both sides and the files that are open on them."""

    def __init__(self, vaults: Vaults, rng: random.Random, spare: Path) -> None:
        self.vaults, self.rng, self.spare = vaults, rng, spare
        self.archive = vaults.open("x")
        self.files: list[tuple[Any, Any]] = []
        self.log: list[str] = []

    def call(self) -> None:
        what, call = some_call(self.rng)
        self.log.append(what)
        here, there = outcome(lambda: call(self.archive)), outcome(lambda: call(Host))
        assert here == there, "\n".join([*self.log[-30:], f"{here!r:.200}", f"{there!r:.200}"])

    def compare(self) -> None:
        """The same tree on both sides, and again as a new reader has it."""
        expected = host_tree()
        found = tree_of(self.archive)
        wrong = sorted({name for name, _ in found.items() ^ expected.items()})
        assert not wrong, "\n".join([*self.log[-30:], str(wrong)])
        if not self.archive.in_transaction:
            with open_archive(self.vaults.path()) as reader:
                assert tree_of(reader) == expected

    # --- open files

    def open(self) -> None:
        path = self.rng.choice(PARTS)
        if len(self.files) < 5 and os.path.isfile(path):
            self.log.append(f"keep {path} open")
            self.files.append((self.archive.open(path, "r+b", 0), open(path, "r+b", 0)))

    def use(self) -> None:
        if not self.files:
            return
        at = self.rng.randrange(len(self.files))
        ours, theirs = self.files[at]
        offset, data = self.rng.choice((0, 10, 5000)), self.rng.randbytes(self.rng.choice(SIZES))
        self.log.append(f"use file {at}: {offset}, {len(data)}")
        for file in (ours, theirs):
            file.seek(offset)
            file.write(data)
            file.flush()
            file.seek(0)
        assert ours.read() == theirs.read(), "\n".join(self.log[-30:])

    def close_files(self) -> None:
        self.log.append("close the files")
        for ours, theirs in self.files:
            ours.close()
            theirs.close()
        self.files.clear()

    # --- transactions

    def transaction(self, depth: int = 0) -> None:
        """A few calls that are kept, or thrown away on both sides."""
        is_kept = self.rng.random() < 0.5
        self.log.append(f"begin {depth}")
        if not is_kept:
            self.close_files()  # the folder is put back as a whole
            copy = self.spare / str(depth)
            shutil.copytree(".", copy, symlinks=True)
        try:
            with self.archive.transaction():
                for _ in range(self.rng.randrange(1, 12)):
                    if depth < 3 and self.rng.random() < 0.15:
                        self.transaction(depth + 1)
                    else:
                        self.call()
                if not is_kept:
                    raise RollbackError
        except RollbackError:
            self.restore(copy)
        self.log.append(f"{'keep' if is_kept else 'undo'} {depth}")
        self.compare()

    def restore(self, copy: Path) -> None:
        for name in os.listdir("."):
            if os.path.isdir(name) and not os.path.islink(name):
                shutil.rmtree(name)
            else:
                os.remove(name)
        shutil.copytree(copy, ".", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(copy)

    # --- reopening

    def reopen(self) -> None:
        self.close_files()
        self.log.append("reopen")
        self.archive.close()
        self.archive = self.vaults.open("r+")
        self.compare()

    def sync(self) -> None:
        self.log.append("sync")
        self.archive.sync()
        self.compare()

    def check(self) -> None:
        assert_sound(self.archive)


@pytest.mark.parametrize("part", range(3))
def test_histories_match_a_real_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, part: int
) -> None:
    old = os.umask(0o022)
    try:
        for history in range(4):
            rng = random.Random(f"{seed} {part} {history}")
            top = tmp_path / str(history)
            for name in ("home", "vault", "spare"):
                (top / name).mkdir(parents=True)
            monkeypatch.chdir(top / "home")
            with Vaults(top / "vault") as vaults:
                model = Model(vaults, rng, top / "spare")
                try:
                    for _ in range(150):
                        rng.choices(
                            [
                                model.call, model.open, model.use, model.close_files,
                                model.transaction, model.compare, model.reopen, model.sync,
                                model.check,
                            ],
                            [50, 5, 8, 1, 6, 3, 1, 1, 1],
                        )[0]()  # fmt: skip
                finally:
                    model.close_files()
                model.compare()
    finally:
        os.umask(old)
