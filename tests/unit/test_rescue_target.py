"""Where a rescue writes to, what it keeps, and what it refuses to do."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import stat
from pathlib import Path
from unittest import mock
from uuid import UUID

import pytest

import archive7
from archive7 import Delete
from archive7.device import FileDevice
from archive7.entry import DIRECTORY, FILE, Entry
from archive7.layout import (
    BLOCK_HEAD,
    BLOCK_SIZE,
    DATA_SIZE,
    PATH,
    RING_OFFSET,
    SLOTS_OFFSET,
    STREAM,
)
from archive7.streams.registry import encode_value
from tests.unit.archives import KEY, Vaults, open_archive
from tests.unit.command import Ar7
from tests.unit.specimen import Specimen, closed_specimen

OTHER_KEY = bytes(range(1, 33))


@pytest.fixture
def specimen(tmp_path: Path) -> Specimen:
    return closed_specimen(tmp_path, "xaes256gcm", random.Random(3))


def test_new_archive_gets_everything(specimen: Specimen, tmp_path: Path) -> None:
    path = tmp_path / "saved.ar7"
    report = archive7.rescue(specimen.path, path, key=KEY, archive_key=OTHER_KEY)
    assert report.is_whole
    with open_archive(path, key=OTHER_KEY) as vault:
        for name, data in specimen.files.items():
            assert vault.read_bytes(f"/files{name}") == data
        for name, data in specimen.deleted.items():
            assert vault.read_bytes(f"/deleted{name}") == data
        assert vault.stat("/files/three").st_nlink == 3
        assert vault.stat("/files/three").st_ino == vault.stat("/files/hard/two").st_ino
        assert vault.readlink("/files/link") == "large"
        with open_archive(specimen.path) as old:
            for name in ("/d0/0", "/large", "/d0", "/link"):
                if not old.exists(name):
                    continue
                was = old.stat(name, follow_symlinks=False)
                now = vault.stat(f"/files{name}", follow_symlinks=False)
                assert (was.st_mode, was.st_mtime_ns) == (now.st_mode, now.st_mtime_ns), name
            assert old.getxattr("/large", "user.x") == vault.getxattr("/files/large", "user.x")
        assert json.loads(vault.read_bytes("/report.json"))["is_complete"]
        assert [found for found in vault.check() if found.severity != "note"] == []


def test_open_archive_gets_it_and_keeps_what_it_has(specimen: Specimen, tmp_path: Path) -> None:
    with Vaults(tmp_path) as vaults:
        vault = vaults.open("x", "mine.ar7")
        vault.write_bytes("/files", b"mine")
        archive7.rescue(specimen.path, vault, key=KEY)
        assert vault.read_bytes("/files") == b"mine"
        for name, data in specimen.files.items():
            assert vault.read_bytes(f"/files~1{name}") == data


def test_archive_that_exists_is_not_replaced(specimen: Specimen, tmp_path: Path) -> None:
    path = tmp_path / "saved.ar7"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        archive7.rescue(specimen.path, path, key=KEY, archive_key=OTHER_KEY)
    assert path.read_bytes() == b"precious"


def test_folder_keeps_modes_times_and_hard_links(specimen: Specimen, tmp_path: Path) -> None:
    with open_archive(specimen.path, "r+") as vault:
        vault.write_bytes("/program", b"#!")
        vault.chmod("/program", 0o4755)
        vault.utime("/program", ns=(1, 1_000_000_001))
        vault.mkdir("/room")
        vault.utime("/room", ns=(1, 2_000_000_000))
        vault.setxattr("/program", "user.tag", b"blue")
    folder = tmp_path / "saved"
    archive7.rescue(specimen.path, folder, key=KEY)
    status = (folder / "files/program").stat()
    assert stat.S_IMODE(status.st_mode) == 0o755, "nobody gets rights by a rescue"
    assert status.st_mtime_ns == 1_000_000_001
    assert (folder / "files/room").stat().st_mtime_ns == 2_000_000_000
    assert (folder / "files/three").stat().st_nlink == 3
    assert os.path.samefile(folder / "files/three", folder / "files/hard/one")
    if hasattr(os, "getxattr") and "user.tag" in os.listxattr(folder / "files/program"):
        assert os.getxattr(folder / "files/program", "user.tag") == b"blue"


def test_deleted_files_are_apart_and_emptied_ones_are_not_made_up(tmp_path: Path) -> None:
    path = tmp_path / "vault.ar7"
    with open_archive(path, "x") as vault:
        for name in ("soft", "hard", "erased", "kept"):
            vault.write_bytes(f"/{name}", name.encode() * 3000)
        vault.remove("/soft", how=Delete.SOFT)
        vault.remove("/hard", how=Delete.HARD)
        vault.remove("/erased")
    report = archive7.rescue(path, tmp_path / "saved", key=KEY)
    told = {file.path: file.status for file in report.files}
    assert told == {"/kept": "whole", "/soft": "deleted"}
    assert (tmp_path / "saved/deleted/soft").read_bytes() == b"soft" * 3000
    assert report.is_whole


def test_list_writes_nothing(specimen: Specimen, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    report = archive7.rescue(specimen.path, None, key=KEY)
    assert sorted(tmp_path.rglob("*")) == before
    assert {file.path for file in report.files if file.status == "whole"} == set(specimen.files)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_progress_rises_to_a_total_that_stays(
    specimen: Specimen, tmp_path: Path, is_damaged: bool
) -> None:
    if is_damaged:
        specimen.harm("roots", rng=random.Random(1))
    told: list[tuple[int, int, str]] = []
    archive7.rescue(
        specimen.path, tmp_path / "saved", key=KEY, progress=lambda *args: told.append(args)
    )
    assert len({total for _, total, _ in told}) == 1
    done = [done for done, _, _ in told]
    assert done == sorted(done)
    assert done[-1] == told[-1][1]
    assert ("survey" in {what for _, _, what in told}) == is_damaged


def test_interrupted_rescue_leaves_a_report(specimen: Specimen, tmp_path: Path) -> None:
    calls = 0

    def stop(_done: int, _total: int, what: str) -> None:
        nonlocal calls
        calls += what == "rescue"
        if calls == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive7.rescue(specimen.path, tmp_path / "saved", key=KEY, progress=stop)
    report = json.loads((tmp_path / "saved/report.json").read_text())
    assert not report["is_complete"]
    assert 0 < len(report["files"]) < len(specimen.files)
    for file in report["files"]:
        if file["status"] == "whole":
            assert (tmp_path / "saved" / file["target"]).read_bytes() == (
                specimen.files[file["path"]]
            )
    assert not list((tmp_path / "saved").glob(".ar7-*"))


def test_interrupted_archive_keeps_what_was_complete(specimen: Specimen, tmp_path: Path) -> None:
    def stop(done: int, total: int, _what: str) -> None:
        if done > total * 0.9:
            raise KeyboardInterrupt

    path = tmp_path / "saved.ar7"
    with pytest.raises(KeyboardInterrupt):
        archive7.rescue(specimen.path, path, key=KEY, archive_key=KEY, progress=stop)
    with open_archive(path) as vault:
        kept = [name for name in specimen.files if vault.exists(f"/files{name}")]
        assert kept
        assert all(vault.read_bytes(f"/files{name}") == specimen.files[name] for name in kept)
        assert [found for found in vault.check() if found.severity != "note"] == []


def test_bad_spots_of_a_disc_are_damage_and_no_end(specimen: Specimen, tmp_path: Path) -> None:
    bad = sorted(specimen.slots["/large"])[10]
    spot, pread = SLOTS_OFFSET + (bad - 1) * BLOCK_SIZE, FileDevice.pread

    def failing(self: FileDevice, size: int, offset: int) -> bytes:
        if offset < spot + BLOCK_SIZE and offset + size > spot:
            raise OSError(errno.EIO, "bad spot")
        return pread(self, size, offset)

    with mock.patch.object(FileDevice, "pread", failing):
        report = archive7.rescue(specimen.path, tmp_path / "saved", key=KEY)
    told = {file.path: file for file in report.files}
    assert told["/large"].status == "partial"
    assert told["/large"].missing == DATA_SIZE
    assert {file.status for path, file in told.items() if path != "/large"} == {
        "whole", "deleted",
    }  # fmt: skip
    assert any("copy the disc" in note for note in report.notes)


def test_full_disc_ends_the_rescue(specimen: Specimen, tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        mock.patch("archive7.hosthaven.FolderHaven.write", side_effect=full),
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
    ):
        archive7.rescue(specimen.path, tmp_path / "saved", key=KEY)
    assert json.loads((tmp_path / "saved/report.json").read_text())["is_complete"] is False


@pytest.mark.parametrize("target", ["folder", "archive"])
def test_paths_longer_than_the_host_has_come_out_elsewhere(tmp_path: Path, target: str) -> None:
    path = tmp_path / "vault.ar7"
    with open_archive(path, "x") as vault:
        deep = [f"/{name * 190}" * 15 for name in "ab"]
        for half in deep:
            vault.makedirs(half)
        vault.write_bytes(f"{deep[1]}/file", b"deep")
        vault.rename(deep[1][:191], f"{deep[0]}/below")
    saved = tmp_path / "saved"
    options = {"archive_key": KEY} if target == "archive" else {}
    report = archive7.rescue(path, saved, key=KEY, **options)
    (file,) = report.files
    assert file.status == "whole"
    if target == "folder":
        assert (saved / file.target).read_bytes() == b"deep"
        assert file.target == "files/long-names/file"
    else:
        with open_archive(saved) as vault:
            assert [f.severity for f in vault.check() if f.severity != "note"] == []


# --- hostile archives: whoever has the key may have sealed anything


def _entry(kind: bytes, parent: bytes, name: bytes) -> Entry:
    return Entry(kind, parent, name, 1, 2**62, 0o7777)


def _plant(vault: archive7.Archive, identity: bytes, entry: Entry, record: bytes = b"") -> None:
    value = encode_value(record or STREAM.pack(identity, -1, -1, 0, 0, 0), b"", entry.encode())
    vault._filesystem._registry.tree.insert(identity, value)
    vault._filesystem._paths.insert(entry.parent + entry.name, PATH.pack(entry.type, identity))
    vault._filesystem.changes += 1
    vault.write_bytes("/last", b"commits")


@pytest.mark.parametrize("target", ["folder", "archive"])
def test_hostile_names_stay_inside(tmp_path: Path, target: str) -> None:
    path = tmp_path / "inner" / "vault.ar7"
    path.parent.mkdir()
    names = [b"..", b".", b"a/b", b"../../x", b"nul\0", b"\xff\xfe", b"n" * 255, b"same"]
    with open_archive(path, "x") as vault:
        root = vault._filesystem.find("/").identity
        for number, name in enumerate(names):
            _plant(vault, UUID(int=number + 5000).bytes, _entry(FILE, root, name))
        one, two = UUID(int=7001).bytes, UUID(int=7002).bytes
        _plant(vault, one, _entry(DIRECTORY, two, b"one"))  # a circle
        _plant(vault, two, _entry(DIRECTORY, one, b"two"))
        _plant(vault, UUID(int=7003).bytes, _entry(FILE, one, b"round"))
        _plant(vault, UUID(int=7004).bytes, _entry(FILE, UUID(int=99).bytes, b"nowhere"))
    saved = tmp_path / "inner" / ("saved.ar7" if target == "archive" else "saved")
    options = {"archive_key": KEY} if target == "archive" else {}
    report = archive7.rescue(path, saved, key=KEY, **options)
    assert len(report.files) == len(names) + 3
    assert sorted(child.name for child in tmp_path.iterdir()) == ["inner"]
    assert len(list((tmp_path / "inner").iterdir())) == 2
    if target == "archive":
        with open_archive(saved) as vault:
            assert [found for found in vault.check() if found.severity != "note"] == []


def test_claims_beyond_the_file_take_neither_time_nor_room(tmp_path: Path) -> None:
    path = tmp_path / "vault.ar7"
    with open_archive(path, "x") as vault:
        root = vault._filesystem.find("/").identity
        for number in range(20):
            identity = UUID(int=number + 5000).bytes
            count = (1 << 31) - 2 if number % 2 else 60_000
            record = STREAM.pack(identity, 1, 2, count, count * DATA_SIZE, 0)
            _plant(vault, identity, _entry(FILE, root, b"%d" % number), record)
        manager = vault._manager
        begin, _ = manager.take_run(1, 0)
        stray = UUID(int=6000).bytes
        head = BLOCK_HEAD.pack(-1, -1, (1 << 32) - 1, stray, bytes(20))
        vault._container.blocks.put(begin, bytearray(head + bytes(DATA_SIZE)))
        vault.write_bytes("/last", b"commits")
    with path.open("r+b") as file:
        file.seek(RING_OFFSET)
        file.write(random.Random(1).randbytes(8 * BLOCK_SIZE))
    for target, options in (("a", {}), ("b", {"archive_key": KEY})):
        archive7.rescue(path, tmp_path / target, key=KEY, **options)
    with open_archive(tmp_path / "b") as vault:
        assert vault.read_bytes("/files/last") == b"commits"
    assert (tmp_path / "b").stat().st_size < 4 << 20
    assert (tmp_path / "a/files/last").read_bytes() == b"commits"


def test_any_bytes_end_in_our_errors_alone(tmp_path: Path, rng: random.Random) -> None:
    path = tmp_path / "vault.ar7"
    with open_archive(path, "x") as vault:
        for number in range(10):
            vault.write_bytes(f"/{number}", rng.randbytes(6000))
    sound = path.read_bytes()
    for _ in range(30):
        data = bytearray(sound[: rng.choice((len(sound), rng.randrange(len(sound))))])
        for _ in range(rng.choice((1, 5, 50))):
            if data:
                at, size = rng.randrange(len(data)), rng.choice((1, 100, 5000))
                data[at : at + size] = rng.randbytes(len(data[at : at + size]))
        try:
            archive7.rescue(io.BytesIO(bytes(data)), None, key=KEY)
        except archive7.Archive7Error:
            pass


def test_file_that_ends_in_the_ring(tmp_path: Path) -> None:
    path = tmp_path / "vault.ar7"
    with open_archive(path, "x") as vault:
        vault.write_bytes("/a", b"a")
    sound = path.read_bytes()
    for size in (RING_OFFSET, RING_OFFSET + 1, RING_OFFSET + 4096, SLOTS_OFFSET - 1):
        report = archive7.rescue(io.BytesIO(sound[:size]), None, key=KEY)
        assert not report.is_whole


# --- the command


def test_command_rescues_into_an_archive_with_the_same_secret(ar7: Ar7) -> None:
    files = ar7.fill()
    said = ar7("rescue", "vault.ar7", "saved.ar7").stdout
    assert said.splitlines()[-1].startswith("next: ")
    with archive7.open(ar7.folder / "saved.ar7", key=KEY) as vault:
        assert {name: vault.read_bytes(f"/files{name}") for name in files} == files


def test_command_lists_and_tells_what_to_do(ar7: Ar7) -> None:
    ar7.fill()
    before = sorted(os.listdir(ar7.folder))
    said = ar7("rescue", "vault.ar7", "--list").stdout.splitlines()
    assert "whole     /a.txt" in said
    assert sorted(os.listdir(ar7.folder)) == before
    assert "DEST" in said[-1]
    ar7("rescue", "vault.ar7", code=2)
    ar7("rescue", "vault.ar7", "saved", "--list", code=2)
    told = ar7.json("rescue", "vault.ar7", "--list")
    assert told["dest"] is None
    assert {file["status"] for file in told["files"]} == {"whole"}


def test_command_without_a_superblock_says_what_helps(ar7: Ar7) -> None:
    ar7.fill()
    ar7.is_damaged = True
    with ar7.vault.open("r+b") as file:
        file.write(os.urandom(RING_OFFSET))
    assert "ar7 keys restore" in ar7("rescue", "vault.ar7", "saved", code=3).stderr
    assert not (ar7.folder / "saved").exists()


def test_command_tells_of_what_is_not_whole(ar7: Ar7) -> None:
    ar7.fill()
    ar7.is_damaged = True
    data = bytearray(ar7.vault.read_bytes())
    rng = random.Random(4)
    for slot in range(70, (len(data) - SLOTS_OFFSET) // BLOCK_SIZE, 3):
        at = SLOTS_OFFSET + slot * BLOCK_SIZE
        data[at : at + BLOCK_SIZE] = rng.randbytes(BLOCK_SIZE)
    ar7.vault.write_bytes(data)
    said = ar7("rescue", "vault.ar7", "saved", code=1).stdout
    assert "keep the damaged file" in said.splitlines()[-1]


def test_interrupted_command_says_what_is_there(ar7: Ar7) -> None:
    ar7.fill()
    with mock.patch("archive7.rescue", side_effect=KeyboardInterrupt):
        assert "report.json" in ar7("rescue", "vault.ar7", "saved", code=130).stderr
        assert "nothing" in ar7("rescue", "vault.ar7", "--list", code=130).stderr
