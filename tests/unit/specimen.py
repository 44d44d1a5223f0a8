"""Specimens for rescues: archives with a history, a model of them, and ways to harm them."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import archive7
from archive7 import Delete
from archive7.layout import BLOCK_SIZE, DATA_SIZE, RING_OFFSET, SLOTS_OFFSET, SUPERBLOCK_SIZE
from archive7.map import entry_slot
from tests.unit.archives import KEY, open_archive

PARTS = ("roots", "map", "registry", "paths")


@dataclass
class Specimen:
    """An archive and what is in it.

    Attributes:
        files: path -> bytes; several paths of one file are in `names`.
        deleted: path -> bytes of what was deleted and kept.
        slots: path -> slots of its blocks.
        parts: name of a part -> its slots.
    """

    path: Path
    suite: str
    count: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    deleted: dict[str, bytes] = field(default_factory=dict)
    names: list[set[str]] = field(default_factory=list)
    slots: dict[str, set[int]] = field(default_factory=dict)
    parts: dict[str, set[int]] = field(default_factory=dict)

    def copy(self, path: Path) -> Specimen:
        """The same in another file, which may be harmed."""
        shutil.copyfile(self.path, path)
        return Specimen(
            path, self.suite, self.count, self.files, self.deleted, self.names, self.slots,
            self.parts,
        )  # fmt: skip

    def harm(self, *parts: str, rng: random.Random) -> set[int]:
        """Overwrite parts (see `PARTS`, superblock A and B, or a percentage); the slots."""
        bad: set[int] = set()
        with self.path.open("r+b") as file:
            for part in parts:
                if part in ("A", "B", "roots"):
                    file.seek({"A": 0, "B": SUPERBLOCK_SIZE, "roots": RING_OFFSET}[part])
                    file.write(rng.randbytes(32768))
                elif part == "cut":
                    kept = self.count * 3 // 4
                    file.truncate(SLOTS_OFFSET + kept * BLOCK_SIZE + 77)
                    bad |= set(range(kept + 1, self.count + 1))
                elif part.endswith("%"):
                    wanted = self.count * int(part[:-1]) // 100
                    bad |= set(rng.sample(range(1, self.count + 1), max(1, wanted)))
                else:
                    bad |= self.parts[part]
            for slot in bad:
                if slot <= self.count * 3 // 4 or "cut" not in parts:
                    file.seek(SLOTS_OFFSET + (slot - 1) * BLOCK_SIZE)
                    file.write(rng.randbytes(BLOCK_SIZE))
        return bad

    def look(self, vault: archive7.Archive) -> None:
        """Note where everything stands."""
        container = vault._container
        chart = container.blocks.map
        self.count = container.root.slots
        self.parts = {
            "map": {entry_slot(entry) for _, _, entry, _ in chart.walk()},
            "registry": self._chain(vault, 1),
            "paths": self._chain(vault, 2),
        }
        for path in self.files:
            self.slots[path] = self._slots(vault, vault._filesystem.find(path).identity)

    @staticmethod
    def _chain(vault: archive7.Archive, number: int) -> set[int]:
        chart = vault._container.blocks.map
        stream = vault._manager.special_stream(number)
        return {entry_slot(chart.get(block.position)) for block in stream}

    @staticmethod
    def _slots(vault: archive7.Archive, identity: bytes) -> set[int]:
        stream = vault._manager.open_stream(UUID(bytes=identity))
        chart = vault._container.blocks.map
        found = {
            entry_slot(chart.get(position))
            for begin, count in stream.extents
            for position in range(begin, begin + count)
        }
        vault._manager.close_stream(stream)
        return found


def closed_specimen(folder: Path, suite: str, rng: random.Random) -> Specimen:
    """An archive with a history of several sessions, that was closed."""
    specimen = Specimen(folder / f"{suite}.ar7", suite)
    with open_archive(specimen.path, "x", suite=suite) as vault, vault.transaction():
        _fill(vault, specimen, rng)
    with open_archive(specimen.path, "r+") as vault:
        _change(vault, specimen, rng)
    with open_archive(specimen.path, "r+") as vault:
        _delete(vault, specimen, rng)
    with open_archive(specimen.path) as vault:
        specimen.look(vault)
    return specimen


def killed_specimen(folder: Path, suite: str, rng: random.Random) -> Specimen:
    """The same, then written to further and never closed."""
    specimen = closed_specimen(folder, suite, rng)
    path = folder / f"{suite}-killed.ar7"
    with open_archive(specimen.path, "r+") as vault:
        _write(vault, specimen, "/late/new", rng.randbytes(9000), mkdir=True)
        for name in sorted(specimen.files)[:3]:
            if vault.stat(name).st_nlink == 1:
                _write(vault, specimen, name, rng.randbytes(7000))
        vault.sync()
        _write(vault, specimen, "/late/newer", rng.randbytes(5000))
        vault.rename("/late/new", "/late/renamed")
        specimen.files["/late/renamed"] = specimen.files.pop("/late/new")
        specimen.slots.clear()
        specimen.look(vault)
        shutil.copyfile(specimen.path, path)
    specimen.path = path
    return specimen


def _write(
    vault: archive7.Archive, specimen: Specimen, path: str, data: bytes, *, mkdir: bool = False
) -> None:
    if mkdir:
        vault.makedirs(path.rpartition("/")[0], exist_ok=True)
    vault.write_bytes(path, data)
    specimen.files[path] = data


def _fill(vault: archive7.Archive, specimen: Specimen, rng: random.Random) -> None:
    sizes = (0, 1, 10, 3000, DATA_SIZE, DATA_SIZE + 1, 2 * DATA_SIZE, 9000, 40_000)
    for i in range(90):
        path = f"/d{i % 6}/ä{i % 6}/{i}" if i % 3 else f"/d{i % 6}/{i}"
        _write(vault, specimen, path, rng.randbytes(sizes[i % len(sizes)]), mkdir=True)
    deep = "/deep" * 12
    _write(vault, specimen, f"{deep}/file", rng.randbytes(6000), mkdir=True)
    _write(vault, specimen, "/large", rng.randbytes(1_500_000))
    for name in ("/hard/one", "/hard/two", "/three"):
        if name == "/hard/one":
            _write(vault, specimen, name, rng.randbytes(12_000), mkdir=True)
        else:
            vault.link("/hard/one", name)
            specimen.files[name] = specimen.files["/hard/one"]
    specimen.names.append({"/hard/one", "/hard/two", "/three"})
    vault.symlink("large", "/link")
    vault.setxattr("/large", "user.x", rng.randbytes(3000))
    vault.chmod("/d0/0", 0o4640)
    vault.utime("/d0/0", ns=(1, 1_000_000_001))


def _change(vault: archive7.Archive, specimen: Specimen, rng: random.Random) -> None:
    for path in ("/d1/ä1/1", "/d4/ä4/16"):  # fragmented: grown by turns
        for other in (path, "/large"):
            data = rng.randbytes(5000)
            with vault.open(other, "ab") as file:
                file.write(data)
            specimen.files[other] += data
    with vault.open("/large", "r+b") as file:  # overwritten in the middle
        piece = rng.randbytes(60_000)
        file.seek(300_000)
        file.write(piece)
    large = specimen.files["/large"]
    specimen.files["/large"] = large[:300_000] + piece + large[360_000:]
    cut = [path for path in sorted(specimen.files) if len(specimen.files[path]) == 40_000]
    for path, length in zip(cut, (9_000, 0, 2 * DATA_SIZE, DATA_SIZE, 20_000), strict=False):
        vault.truncate(path, length)
        specimen.files[path] = specimen.files[path][:length]
    for path in rng.sample(sorted(specimen.files), 25):
        if vault.stat(path).st_nlink == 1 and path != "/large":
            _write(vault, specimen, path, rng.randbytes(rng.choice((5, 4000, 13_000))))


def _delete(vault: archive7.Archive, specimen: Specimen, rng: random.Random) -> None:
    plain = [path for path in sorted(specimen.files) if path.startswith("/d")]
    plain = [path for path in plain if not path.startswith("/deep")]
    gone = rng.sample(plain, 12)
    for path in gone[:6]:
        vault.remove(path)
        del specimen.files[path]
    for path in gone[6:]:
        vault.remove(path, how=Delete.SOFT)
        specimen.deleted[path] = specimen.files.pop(path)
    vault.makedirs("/kept/below")
    vault.write_bytes("/kept/below/file", b"kept" * 2000)
    vault.rmtree("/kept", how=Delete.SOFT)
    specimen.deleted["/kept/below/file"] = b"kept" * 2000


__all__ = ["KEY", "PARTS", "Specimen", "closed_specimen", "killed_specimen"]
