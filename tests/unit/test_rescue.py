"""Rescue: what can be read of a badly damaged archive comes out, proved or told apart."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

import archive7
from archive7.layout import BLOCK_SIZE, RING_OFFSET, SLOTS_OFFSET
from archive7.map import entry_slot
from tests.unit.archives import KEY, open_archive
from tests.unit.command import Ar7


class Patient:
    """An archive with known content, of which parts can be destroyed."""

    def __init__(self, folder: Path, suite: str) -> None:
        self.path = folder / "vault.ar7"
        self.target = folder / "saved"
        self.suite = suite
        self.content = self._fill(suite)
        with open_archive(self.path) as vault:
            container = vault._container
            self.count = container.root.slots
            self.nodes = [entry_slot(entry) for _, _, entry, _ in container.blocks.map.walk()]
            self.registry = self._chain(vault, 1)
            self.paths = self._chain(vault, 2)
            self.slots = {path: self._slots(vault, path) for path in self.content}

    def _fill(self, suite: str) -> dict[str, bytes]:
        rng, content = random.Random(7), {}
        with open_archive(self.path, "x", suite=suite) as vault, vault.transaction():
            for i in range(8):
                vault.makedirs(f"/d{i}/ä{i}")
            for i in range(240):
                path = f"/d{i % 8}/ä{i % 8}/{i}" if i % 3 else f"/d{i % 8}/{i}"
                content[path] = rng.randbytes(rng.choice((0, 10, 3000, 9000, 40_000)))
                vault.write_bytes(path, content[path])
            vault.symlink("d0", "/link")
            vault.setxattr("/d0/0", "user.x", rng.randbytes(9000))
        with open_archive(self.path, "r+") as vault:
            for path in rng.sample(sorted(content), 60):
                vault.remove(path)
                del content[path]
            for path in rng.sample(sorted(content), 60):
                content[path] = rng.randbytes(len(content[path]))
                vault.write_bytes(path, content[path])
        return content

    @staticmethod
    def _chain(vault: archive7.Archive, number: int) -> list[int]:
        chart = vault._container.blocks.map
        blocks = vault._manager.special_stream(number)
        return [entry_slot(chart.get(block.position)) for block in blocks]

    @staticmethod
    def _slots(vault: archive7.Archive, path: str) -> set[int]:
        identity = vault._filesystem.find(path).identity
        stream = vault._manager.open_stream(UUID(bytes=identity))
        chart = vault._container.blocks.map
        found = {
            entry_slot(chart.get(position))
            for begin, count in stream.extents
            for position in range(begin, begin + count)
        }
        vault._manager.close_stream(stream)
        return found

    def destroy(self, *slots: int, ring: bool = False) -> None:
        with self.path.open("r+b") as file:
            for slot in slots:
                file.seek(SLOTS_OFFSET + (slot - 1) * BLOCK_SIZE)
                file.write(os.urandom(BLOCK_SIZE))
            if ring:
                file.seek(RING_OFFSET)
                file.write(os.urandom(8 * BLOCK_SIZE))

    def rescue(self) -> archive7.Rescue:
        before = self.path.read_bytes()
        report = archive7.rescue(self.path, self.target, key=KEY)
        assert self.path.read_bytes() == before, "the source is only read"
        assert json.loads((self.target / "report.json").read_text())["files"]
        return report

    def found(self, path: str, *places: str) -> bool:
        """Whether a file came out byte for byte, in one of these folders."""
        files = [self.target / place / path[1:] for place in places]
        return any(file.is_file() and file.read_bytes() == self.content[path] for file in files)


@pytest.fixture(params=["xaes256gcm", "secretbox"])
def patient(
    tmp_path: Path, request: pytest.FixtureRequest, need_secretbox: Callable[[], None]
) -> Patient:
    if request.param == "secretbox":
        need_secretbox()
    return Patient(tmp_path, request.param)


def test_sound_archive_comes_out_whole(patient: Patient) -> None:
    report = patient.rescue()
    assert {file.status for file in report.files} == {"whole"}
    assert len(report.files) == len(patient.content)
    assert report.notes == []
    assert all(patient.found(path, "files") for path in patient.content)
    assert os.readlink(patient.target / "files" / "link") == "d0"
    assert not (patient.target / "unproved").exists()


def test_files_without_a_damaged_block_come_out_when_a_part_is_overwritten(
    patient: Patient,
) -> None:
    bad = set(random.Random(1).sample(range(1, patient.count + 1), patient.count // 50))
    bad -= {*patient.registry, *patient.paths, *patient.nodes}
    patient.destroy(*bad)
    report = patient.rescue()
    told = {file.path: file for file in report.files}
    for path, slots in patient.slots.items():
        if slots & bad:
            assert told[path].status in ("partial", "lost", "unproved")
        else:
            assert patient.found(path, "files"), path


def test_all_roots_lost(patient: Patient) -> None:
    patient.destroy(ring=True)
    report = patient.rescue()
    # blocks of the other suite carry no commit: newer ones than the map's may have been lost
    place = "unproved" if patient.suite == "secretbox" else "files"
    assert all(patient.found(path, place) for path in patient.content)
    assert any("root" in note for note in report.notes)


def test_whole_map_lost(patient: Patient) -> None:
    patient.destroy(*patient.nodes)
    patient.rescue()
    wrong = [p for p in patient.content if not patient.found(p, "files", "unproved")]
    # blocks of the other suite carry no commit: of what was overwritten any version may come
    assert len(wrong) <= (60 if patient.suite == "secretbox" else 0), wrong


def test_whole_registry_lost_gives_contents_and_names(patient: Patient) -> None:
    patient.destroy(*patient.registry)
    report = patient.rescue()
    assert any("registry" in note for note in report.notes)
    assert all(patient.found(path, "files") for path in patient.content)
    assert {file.status for file in report.files} == {"whole"}


def test_paths_lost_matter_little(patient: Patient) -> None:
    patient.destroy(*patient.paths)
    report = patient.rescue()
    assert all(patient.found(path, "files") for path in patient.content)
    assert {file.status for file in report.files} == {"whole"}


def test_one_copy_of_the_superblock_is_enough(patient: Patient) -> None:
    with patient.path.open("r+b") as file:
        file.write(os.urandom(32768))
    patient.rescue()
    assert all(patient.found(path, "files") for path in patient.content)


def test_without_superblock_nothing_can_be_opened(patient: Patient) -> None:
    with patient.path.open("r+b") as file:
        file.write(os.urandom(65536))
    with pytest.raises(archive7.FormatError):
        patient.rescue()


def test_wrong_key_is_told_and_full_folder_refused(patient: Patient) -> None:
    with pytest.raises(archive7.WrongKeyError):
        archive7.rescue(patient.path, patient.target, key=bytes(32))
    assert not patient.target.exists()
    patient.target.mkdir()
    (patient.target / "mine").write_text("precious")
    with pytest.raises(FileExistsError):
        archive7.rescue(patient.path, patient.target, key=KEY)


def test_cut_file_gives_what_is_left(patient: Patient) -> None:
    with patient.path.open("r+b") as file:
        file.truncate(SLOTS_OFFSET + patient.count // 2 * BLOCK_SIZE + 77)
    report = patient.rescue()
    assert report.files


def test_newest_whole_state_comes_out_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "vault.ar7"
    vault = open_archive(path, "x")
    vault.write_bytes("/old", b"old v1")
    vault.sync()
    vault.write_bytes("/old", b"new v2")
    vault.write_bytes("/new", b"new")
    copy = tmp_path / "killed.ar7"
    copy.write_bytes(path.read_bytes())
    vault.close()
    report = archive7.rescue(copy, tmp_path / "saved", key=KEY)
    assert {file.path: file.status for file in report.files} == {"/old": "whole", "/new": "whole"}
    assert (tmp_path / "saved" / "files" / "old").read_bytes() == b"new v2"


def test_deep_trees_and_taken_names_come_out(tmp_path: Path) -> None:
    path = tmp_path / "vault.ar7"
    with open_archive(path, "x") as vault:
        deep = "/d" * 300
        vault.makedirs(deep)
        vault.write_bytes(deep + "/f", b"deep")
        vault.write_bytes("/files", b"taken")
    report = archive7.rescue(path, tmp_path / "saved", key=KEY)
    assert {file.status for file in report.files} == {"whole"}
    assert (tmp_path / "saved" / "files" / (deep[1:] + "/f")).read_bytes() == b"deep"


def test_no_entry_leads_out_of_the_folder(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    path = tmp_path / "vault.ar7"
    with open_archive(path, "x") as vault:
        vault.symlink(str(victim), "/a")
        vault.symlink("payload", "/b")
        link = vault._filesystem.find("/a", follow=False).identity
        inner = vault._filesystem.find("/b", follow=False).identity
        vault._filesystem.update(inner, parent=link, name=b"inside")
        vault.write_bytes("/f", b"data")
        file = vault._filesystem.find("/f").identity
        vault._filesystem.update(file, parent=link, name=b"../../escape")
        vault.sync()
    archive7.rescue(path, tmp_path / "saved", key=KEY)
    assert list(victim.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["saved", "vault.ar7", "victim"]


def test_command_line_reports_and_exits_with_1(ar7: Ar7) -> None:
    ar7.fill()
    assert "0 lost" in ar7("rescue", "vault.ar7", "saved").stdout
    with ar7.vault.open("r+b") as file:
        file.seek(RING_OFFSET)
        file.write(os.urandom(8 * BLOCK_SIZE))
    ar7.is_damaged = True
    told = ar7.json("rescue", "vault.ar7", "saved2", code=1)
    assert {item["status"] for item in told["files"]} == {"whole"}
    assert told["notes"]


def _killed_without_roots(folder: Path, suite: str) -> Path:
    """A copy of an archive that is written to, without its roots."""
    path, copy = folder / "vault.ar7", folder / "killed.ar7"
    with open_archive(path, "x", suite=suite) as vault:
        for name in ("kept", "changed", "moved", "removed"):
            vault.write_bytes(f"/{name}", name.encode() * 2000)
    with open_archive(path, "r+") as vault:
        vault.write_bytes("/changed", b"new" * 3000)
        vault.rename("/moved", "/elsewhere")
        vault.remove("/removed")
        vault.write_bytes("/added", b"added" * 3000)
        copy.write_bytes(path.read_bytes())
    with copy.open("r+b") as file:
        file.seek(RING_OFFSET)
        file.write(os.urandom(8 * BLOCK_SIZE))
    return copy


def test_without_roots_only_what_was_touched_since_the_last_fold_is_unproved(
    tmp_path: Path,
) -> None:
    copy = _killed_without_roots(tmp_path, "xaes256gcm")
    report = archive7.rescue(copy, tmp_path / "saved", key=KEY)
    told = {file.path: file.status for file in report.files}
    assert told["/kept"] == "whole"
    assert {told[path] for path in ("/changed", "/added", "/elsewhere")} == {"unproved"}
    unproved = tmp_path / "saved" / "unproved"
    assert (unproved / "changed").read_bytes() == b"new" * 3000
    assert (unproved / "added").read_bytes() == b"added" * 3000
    assert (unproved / "elsewhere").read_bytes() == b"moved" * 2000
    assert told.get("/removed") != "whole"


def test_without_roots_a_lost_newer_block_cannot_make_the_older_one_proved(
    tmp_path: Path,
) -> None:
    copy = _killed_without_roots(tmp_path, "xaes256gcm")
    sound, count = copy.read_bytes(), (copy.stat().st_size - SLOTS_OFFSET) // BLOCK_SIZE
    old = b"changed" * 2000
    for slot in range(65, count + 1):
        data = bytearray(sound)
        at = SLOTS_OFFSET + (slot - 1) * BLOCK_SIZE
        data[at : at + BLOCK_SIZE] = os.urandom(BLOCK_SIZE)
        copy.write_bytes(data)
        target = tmp_path / f"saved{slot}"
        for file in archive7.rescue(copy, target, key=KEY).files:
            if file.status == "whole":
                assert (target / file.target).read_bytes() != old, slot


def test_all_versions_come_out_where_blocks_do_not_tell_the_newer_one(
    tmp_path: Path, need_secretbox: Callable[[], None]
) -> None:
    need_secretbox()
    path, versions = tmp_path / "vault.ar7", [bytes([65 + i]) * 3000 for i in range(3)]
    with open_archive(path, "x", suite="secretbox") as vault:
        vault.write_bytes("/other", b"other")
        for version in versions:
            with vault.open("/file", "wb") as file:
                file.write(version)
            vault.sync()
    with open_archive(path) as vault:
        nodes = [entry_slot(entry) for _, _, entry, _ in vault._container.blocks.map.walk()]
    with path.open("r+b") as file:
        for slot in nodes:
            file.seek(SLOTS_OFFSET + (slot - 1) * BLOCK_SIZE)
            file.write(os.urandom(BLOCK_SIZE))
    report = archive7.rescue(path, tmp_path / "saved", key=KEY)
    told = [file for file in report.files if file.path == "/file"]
    assert {file.status for file in told} == {"unproved"}
    found = {(tmp_path / "saved" / file.target).read_bytes() for file in told}
    assert versions[-1] in found
    assert found <= set(versions)
    assert len(found) > 1
