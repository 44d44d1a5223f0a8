"""The face of an archive: modes, targets, secrets, info, threads, other processes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import archive7
from archive7 import Archive
from archive7.errors import LockedError, UsageError
from archive7.keyslots import KdfCost
from tests.unit.archives import KEY, Vaults, assert_sound, digest, noise, open_archive, tree_of

CHEAP = KdfCost(memory_kib=19456, passes=2, lanes=1)


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as found:
        yield found


# --- modes and targets


def test_each_mode_does_what_its_letter_says(vaults: Vaults) -> None:
    with vaults.open("a") as archive:
        archive.write_bytes("/f", b"made by a")
        assert archive.mode == "a"
    with vaults.open("a") as archive:
        assert archive.read_bytes("/f") == b"made by a"
        archive.write_bytes("/f", b"changed by a")
    with vaults.open("r+") as archive:
        assert archive.read_bytes("/f") == b"changed by a"
    with vaults.open("r") as archive:
        assert archive.read_bytes("/f") == b"changed by a"
    with vaults.open("w") as archive:
        assert archive.listdir("/") == []
    with vaults.open("w-", "other.ar7") as archive:
        assert archive.listdir("/") == []


def test_the_names_it_leaves_are_the_one_asked_for(vaults: Vaults) -> None:
    for mode in ("x", "w", "a", "r+", "r"):
        vaults.open(mode).close()
        assert os.listdir(vaults.folder) == ["vault.ar7"]
    assert vaults.path().stat().st_mode & 0o777 == 0o600


def test_a_failed_replacement_leaves_the_old_archive(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vaults.open("x") as archive:
        archive.write_bytes("/f", b"old")
    before = digest(vaults.path())
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "no")))
        with pytest.raises(OSError, match="no"):
            open_archive(vaults.path(), "w")
    assert digest(vaults.path()) == before
    assert os.listdir(vaults.folder) == ["vault.ar7"]


def test_a_link_to_an_archive_is_followed(vaults: Vaults) -> None:
    vaults.open("x").close()
    link = vaults.folder / "link"
    link.symlink_to("vault.ar7")
    with open_archive(link, "r+") as archive:
        archive.write_bytes("/f", b"x")
        with pytest.raises(LockedError):
            open_archive(vaults.path(), "r+")
    open_archive(link, "w").close()
    assert link.is_symlink()


def test_file_objects_are_targets(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w+b") as file:
        for number in range(3):
            with open_archive(file, "a") as archive:
                archive.write_bytes(f"/{number}", noise(10_000, number))
            assert not file.closed
        with open_archive(file) as archive:
            assert archive.listdir("/") == ["0", "1", "2"]
            assert_sound(archive)
    with (tmp_path / "f").open("rb") as file:
        with open_archive(file) as archive:
            assert archive.read_bytes("/2") == noise(10_000, 2)
        with pytest.raises(UsageError):
            open_archive(file, "r+")
    for target in (io.StringIO(), 5, None, object()):
        with pytest.raises((UsageError, TypeError)):
            open_archive(target, "r")


def test_passwords_open_in_any_unicode_form(vaults: Vaults) -> None:
    with vaults.open("x", password="cafe\u0301", kdf=CHEAP) as archive:
        archive.write_text("/f", "zwölf")
    for password in ("caf\u00e9", "cafe\u0301", "café".encode()):
        with archive7.open(vaults.path(), password=password) as archive:
            assert archive.read_text("/f") == "zwölf"


@pytest.mark.parametrize("suite", ["xaes256gcm", "secretbox"])
def test_info_tells_what_it_is(vaults: Vaults, suite: str) -> None:
    if suite == "secretbox":
        pytest.importorskip("libnacl", exc_type=(ImportError, OSError))
    before = time.time_ns()
    with vaults.open("x", suite=suite, title="Titel ü") as archive:
        archive.write_bytes("/f", noise(1_000_000))
        info = archive.info()
        assert (info.suite, info.title, info.mode) == (suite, "Titel ü", "x")
        assert info.name == str(vaults.path()) == archive.name
        assert before <= info.created <= time.time_ns()
        assert info.size == vaults.path().stat().st_size
        assert 1_000_000 < info.used < 1_100_000
        assert info.format == "3.0"
        assert isinstance(info.container, uuid.UUID)
        assert str(vaults.path()) in repr(archive)
    assert "closed" in repr(archive)


def test_unknown_suites_and_long_titles_are_refused(vaults: Vaults) -> None:
    with pytest.raises(UsageError, match="xaes256gcm"):
        open_archive(vaults.path(), "x", suite="rot13")
    with pytest.raises(UsageError, match="256"):
        open_archive(vaults.path(), "x", title="é" * 129)
    assert not vaults.path().exists()


def test_no_key_is_in_a_repr(vaults: Vaults) -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    archive = vaults.open("x", key=secret)
    for thing in (archive, archive._container, archive._manager, archive.info()):
        assert secret.decode() not in repr(thing)
        assert repr(secret) not in repr(thing)


# --- small things


def test_text_and_bytes(vaults: Vaults) -> None:
    archive = vaults.memory()
    assert archive.write_text("/t", "zwölf\n") == 6
    assert archive.read_text("/t") == "zwölf\n"
    assert archive.read_bytes("/t") == "zwölf\n".encode()
    assert archive.write_text("/t", "ü", encoding="latin-1") == 1
    with pytest.raises(UnicodeDecodeError):
        archive.read_text("/t")
    assert archive.read_text("/t", errors="replace") == "\ufffd"
    with pytest.raises(UnicodeEncodeError):
        archive.write_text("/t", "\udcff")
    assert archive.read_text("/t", "latin-1") == "ü"
    import array

    for data in (bytearray(b"abcd"), memoryview(b"abcdefgh")[::2], array.array("H", [1, 2])):
        size = archive.write_bytes("/b", data)
        assert archive.read_bytes("/b") == bytes(memoryview(data).tobytes())
        assert size == len(archive.read_bytes("/b"))
    with pytest.raises(TypeError):
        archive.write_bytes("/b", "text")  # type: ignore[arg-type]


def test_stat_has_what_os_stat_has(vaults: Vaults) -> None:
    archive = vaults.memory()
    before = time.time_ns()
    archive.write_bytes("/f", b"12345")
    status = archive.stat("/f")
    assert isinstance(status, os.stat_result)
    assert (status.st_size, status.st_nlink, status.st_dev) == (5, 1, 0)
    assert before <= status.st_mtime_ns <= time.time_ns()
    assert status.st_mtime == pytest.approx(status.st_mtime_ns / 1e9)
    assert status.st_ino != archive.stat("/").st_ino
    made = status.st_ctime_ns
    archive.write_bytes("/f", b"x")
    archive.utime("/f", (1.5, 2.5))
    status = archive.stat("/f")
    assert status.st_mtime_ns == 2_500_000_000
    assert status.st_ctime_ns == made, "the time of creation stays"
    archive.utime("/f")
    assert archive.stat("/f").st_mtime_ns >= before
    with pytest.raises(ValueError, match="both"):
        archive.utime("/f", (1, 2), ns=(1, 2))  # type: ignore[call-overload]


def test_makedirs_makes_all_or_nothing(vaults: Vaults) -> None:
    """Not as `os.makedirs`, which leaves what it made before it failed."""
    archive = vaults.memory()
    archive.write_bytes("/file", b"x")
    for path in ("/a/../file", "/a/b/" + "n" * 256, "/a/b/../../file/c"):
        with pytest.raises(OSError):
            archive.makedirs(path)
        assert archive.listdir("/") == ["file"]
    archive.makedirs("/a/../b/c")
    assert sorted(tree_of(archive)) == ["a", "b", "b/c", "file"]


def test_a_walk_may_be_pruned_and_may_remove(vaults: Vaults) -> None:
    archive = vaults.memory()
    for name in ("/a/b/c", "/a/skip/d", "/e"):
        archive.makedirs(name)
    seen = []
    for top, names, _ in archive.walk():
        seen.append(top)
        if "skip" in names:
            names.remove("skip")
    assert seen == ["/", "/a", "/a/b", "/a/b/c", "/e"]
    for top, names, files in archive.walk("/", topdown=False):
        for name in files:
            archive.remove(f"{top}/{name}")
        for name in names:
            archive.rmdir(f"{top}/{name}")
    assert archive.listdir("/") == []


# --- threads


def test_threads_share_an_archive(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.write_bytes("/shared", b"")
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            archive.mkdir(f"/{number}")
            for turn in range(25):
                path = f"/{number}/{turn}"
                archive.write_bytes(path, noise(3000 + 500 * turn, turn))
                with archive.open("/shared", "ab", 0) as file:
                    file.write(bytes([number]) * 10)
                assert archive.read_bytes(path) == noise(3000 + 500 * turn, turn)
                with archive.transaction():
                    archive.rename(path, f"{path}!")
                    assert not archive.exists(path)
                    archive.rename(f"{path}!", path)
                if turn % 5 == 0:
                    archive.remove(path)
                    archive.sync()
                archive.listdir("/")
        except BaseException as error:  # noqa: BLE001 - for the main thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    shared = archive.read_bytes("/shared")
    assert len(shared) == 6 * 25 * 10
    assert all(len(set(shared[at : at + 10])) == 1 for at in range(0, len(shared), 10))
    assert len(tree_of(archive)) == 6 * (1 + 20) + 1


def test_one_file_object_may_be_used_by_threads(vaults: Vaults) -> None:
    archive = vaults.memory()
    with archive.open("/f", "wb") as file:

        def write(number: int) -> None:
            for _ in range(200):
                file.write(bytes([number]) * 100)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    data = archive.read_bytes("/f")
    assert len(data) == 80_000
    assert all(len(set(data[at : at + 100])) == 1 for at in range(0, 80_000, 100))


# --- other processes

READER = """
import sys, zlib, archive7
from archive7.errors import SnapshotExpiredError
with archive7.open(sys.argv[1], key=bytes(range(32))) as archive:
    print("ready", flush=True)
    looks, last = 0, -1
    while last < int(sys.argv[2]):
        try:
            archive.refresh()
            turn = int(archive.read_text("/turn"))
            assert turn >= last, "time runs backwards"
            last = turn
            for name in archive.listdir("/data"):
                data = archive.read_bytes("/data/" + name)
                number, check = archive.read_text("/sums/" + name).split()
                assert int(number) <= turn
                assert zlib.crc32(data) == int(check), name
        except SnapshotExpiredError:
            continue
        looks += 1
    print("looks", looks, flush=True)
"""


def start_reader(path: Path, last: int) -> subprocess.Popen[str]:
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(path), str(last)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    return reader


def write_turn(archive: Archive, turn: int) -> None:
    """One transaction whose parts belong together."""
    import zlib

    with archive.transaction():
        archive.write_text("/turn", str(turn))
        for number in (turn % 5, (turn * 3) % 5):
            data = noise(2000 + (turn * 977) % 60_000, turn)
            archive.write_bytes(f"/data/{number}", data)
            archive.write_text(f"/sums/{number}", f"{turn} {zlib.crc32(data)}")


def test_readers_in_other_processes_see_whole_commits_only(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.mkdir("/data")
    archive.mkdir("/sums")
    write_turn(archive, 0)
    turns = 300
    readers = [start_reader(vaults.path(), turns) for _ in range(2)]
    try:
        for turn in range(1, turns + 1):
            write_turn(archive, turn)
            if turn % 40 == 0:
                archive.sync()
            if turn % 10 == 0:
                time.sleep(0.005)
        for reader in readers:
            out, err = reader.communicate(timeout=60)
            assert reader.returncode == 0, err
            assert int(out.split()[1]) > 0
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_stopped_or_killed_reader_never_blocks_the_writer(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.mkdir("/data")
    archive.mkdir("/sums")
    write_turn(archive, 0)
    archive.sync()
    reader = start_reader(vaults.path(), 10**9)
    try:
        reader.send_signal(signal.SIGSTOP)
        for turn in range(1, 60):
            write_turn(archive, turn)
            archive.sync()
        held = vaults.path().stat().st_size
        reader.kill()
        reader.wait()
        for turn in range(60, 120):
            write_turn(archive, turn)
            archive.sync()
        assert vaults.path().stat().st_size < 3 * held
    finally:
        reader.kill()
        reader.communicate()
    archive.close()
    vaults.open("r+").close()  # no lock is left


def test_a_snapshot_stays_as_it_is_until_refresh(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.write_bytes("/f", noise(500_000, 0))
    archive.sync()
    with open_archive(vaults.path()) as reader:
        for turn in range(1, 8):
            archive.write_bytes("/f", noise(500_000, turn))
            archive.sync()
        assert reader.read_bytes("/f") == noise(500_000, 0)
        assert reader.refresh()
        assert not reader.refresh()
        assert reader.read_bytes("/f") == noise(500_000, 7)
        with reader.open("/f", "rb") as file:
            assert file.read(10) == noise(500_000, 7)[:10]
            archive.remove("/f")
            assert reader.refresh()
            assert not reader.exists("/f")
    assert not archive.refresh()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_writer_leaves_no_lock_and_all_that_it_synced(vaults: Vaults) -> None:
    program = f"""
import archive7
archive = archive7.open({str(vaults.path())!r}, "x", key=bytes(range(32)))
archive.write_bytes("/synced", bytes(100_000))
archive.sync()
archive.write_bytes("/committed", b"x")
print("ready", flush=True)
with archive.transaction():
    archive.write_bytes("/half", bytes(5_000_000))
    print("half", flush=True)
    import time
    time.sleep(60)
"""
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer.stdout as out:
        assert [out.readline(), out.readline()] == ["ready\n", "half\n"]
        writer.kill()
        writer.wait()
    with vaults.open("r+") as archive:
        assert archive.listdir("/") == ["committed", "synced"]
        assert_sound(archive)
    assert KEY
