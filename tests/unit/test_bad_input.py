"""Bad input: wrong secrets, foreign and damaged files, second writers; nothing wrong comes out.

Damage inside of an archive: test_adversary.py.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import archive7
from archive7.errors import (
    ClosedError,
    CorruptError,
    FormatError,
    LockedError,
    NotAnArchiveError,
    ReadOnlyError,
    UsageError,
    WrongKeyError,
)
from archive7.keyslots import KdfCost
from archive7.layout import (
    BLOCK_SIZE,
    SLOTS_OFFSET,
)
from tests.unit.archives import (
    KEY,
    Vaults,
    digest,
    errors_of,
    noise,
    open_archive,
    tree_of,
)

CHEAP = KdfCost(memory_kib=19456, passes=2, lanes=1)
SUITES = ("xaes256gcm", "secretbox")


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as found:
        yield found


def some(vaults: Vaults, **options: object) -> Path:
    """A small closed archive."""
    with vaults.open("x", **options) as archive:
        archive.mkdir("/dir")
        archive.write_bytes("/dir/file", noise(9000))
        archive.symlink("dir/file", "/link")
    return vaults.path()


# --- secrets


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_wrong_key_raises_and_leaves_the_file_alone(vaults: Vaults, mode: str) -> None:
    path = some(vaults)
    before = digest(path)
    for secret in ({"key": bytes(32)}, {"password": "guess"}):
        with pytest.raises(WrongKeyError):
            archive7.open(path, mode, **secret)
    assert digest(path) == before
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_wrong_password_raises_and_leaves_the_file_alone(vaults: Vaults, mode: str) -> None:
    path = some(vaults, password="right", kdf=CHEAP)
    before = digest(path)
    with pytest.raises(WrongKeyError):
        archive7.open(path, mode, password="wrong")
    with pytest.raises(WrongKeyError):
        archive7.open(path, mode, key=KEY)
    assert digest(path) == before


@pytest.mark.parametrize(
    "secret", [{}, {"key": b"short"}, {"key": bytes(33)}, {"password": ""}, {"password": b""}]
)
@pytest.mark.parametrize("mode", ["r", "r+", "w", "x", "a"])
def test_a_secret_that_cannot_be_one_is_refused(vaults: Vaults, secret: dict, mode: str) -> None:
    path = some(vaults)
    before = digest(path)
    target = path if mode != "x" else path.with_name("new")
    with pytest.raises(UsageError):
        archive7.open(target, mode, **secret)
    assert digest(path) == before
    assert not path.with_name("new").exists()


# --- modes


@pytest.mark.parametrize("mode", ["rb", "wb", "ab", "xb", "rt", "w+", "r+b", "a+", "", "R", "rw"])
def test_modes_of_open_are_refused_with_the_names_of_ours(vaults: Vaults, mode: str) -> None:
    path = some(vaults)
    before = digest(path)
    with pytest.raises(ValueError, match=r"'r'.*'r\+'.*'w'.*'x'.*'a'"):
        open_archive(path, mode)
    assert digest(path) == before


# --- not an archive


JUNK = {
    "empty": b"",
    "one byte": b"\x89",
    "text": b"hello " * 20_000,
    "zeros": bytes(100_000),
    "zip": b"PK\x03\x04" + bytes(70_000),
    "noise": noise(90_000),
    "magic alone": b"\x89AR7\r\n\x1a\n",
    "magic and noise": b"\x89AR7\r\n\x1a\n" + noise(90_000),
    "text mode": b"\x89AR7\n\x1a\n" + bytes(70_000),
}


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_what_is_no_archive_is_refused_untouched(vaults: Vaults, name: str, mode: str) -> None:
    path = vaults.path()
    path.write_bytes(JUNK[name])
    before = digest(path)
    with pytest.raises((FormatError, CorruptError)) as caught:
        open_archive(path, mode)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == JUNK[name]
    assert digest(path) == before
    if name in ("text", "zeros", "zip", "noise"):
        assert caught.type is NotAnArchiveError


@pytest.mark.parametrize("name", [n for n in JUNK if JUNK[n] and not n.startswith("magic")])
def test_replacing_refuses_a_file_that_is_not_ours(vaults: Vaults, name: str) -> None:
    path = vaults.path()
    path.write_bytes(JUNK[name])
    with pytest.raises(NotAnArchiveError):
        open_archive(path, "w")
    assert path.read_bytes() == JUNK[name]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_directory_is_no_archive(tmp_path: Path) -> None:
    for mode in ("r", "r+", "a", "w"):
        with pytest.raises(IsADirectoryError):
            open_archive(tmp_path, mode)
    with pytest.raises(FileExistsError):
        open_archive(tmp_path, "x")


def test_missing_and_existing_files(vaults: Vaults) -> None:
    for mode in ("r", "r+"):
        with pytest.raises(FileNotFoundError) as caught:
            open_archive(vaults.path(), mode)
        assert caught.value.filename is not None
    path = some(vaults)
    before = digest(path)
    for mode in ("x", "w-"):
        with pytest.raises(FileExistsError) as exists:
            open_archive(path, mode)
        assert exists.value.errno == 17
        assert exists.value.filename == str(path)
    assert digest(path) == before
    with pytest.raises(FileNotFoundError):
        open_archive(path.parent / "no" / "folder", "x")


# --- cut and lengthened files


def test_a_cut_file_never_gives_wrong_data(vaults: Vaults) -> None:
    path = some(vaults)
    whole = path.read_bytes()
    tree = tree_of(open_archive(io.BytesIO(whole)))
    sizes = {0, 7, 8, 100, 4095, 32767, 32768, 65535, 65536, 40_000, SLOTS_OFFSET - 1}
    sizes |= set(range(SLOTS_OFFSET, len(whole), BLOCK_SIZE // 2))
    messages: list[str] = []
    for size in sorted(sizes):
        data = whole[:size]
        try:
            with open_archive(io.BytesIO(data)) as archive:
                assert errors_of(archive), size
                assert errors_of(archive, "quick"), size
                found = tree_of(archive)
        except (FormatError, CorruptError) as error:
            messages.append(str(error))
        else:
            assert found == tree, size  # what was cut off was free
    assert len(messages) > 20
    assert min(map(len, messages)) > 10


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_cut_file_is_not_changed_by_the_failed_opening(vaults: Vaults, mode: str) -> None:
    path = some(vaults)
    vaults.damaged.add(path)
    for size in (10, 20_000, 40_000, SLOTS_OFFSET - 10, SLOTS_OFFSET + 270_000):
        os.truncate(path, size)
        before = digest(path)
        try:
            open_archive(path, mode).close()
        except (FormatError, CorruptError):
            assert digest(path) == before, size
        else:
            raise AssertionError(f"a file cut to {size} bytes was opened")
        some_other = vaults.path("other.ar7")
        some_other.unlink(missing_ok=True)
        with open_archive(some_other, "x") as archive:
            archive.write_bytes("/f", noise(9000))
        shutil.copy(some_other, path)
    vaults.damaged.discard(path)


@pytest.mark.parametrize("junk", [b"x", bytes(5000), noise(50_000)])
def test_bytes_behind_the_last_slot_are_ignored_noted_and_cut(vaults: Vaults, junk: bytes) -> None:
    path = some(vaults)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(junk)
    with vaults.open("r") as archive:
        assert archive.read_bytes("/dir/file") == noise(9000)
        notes = list(archive.check())
        assert [n.severity for n in notes] == ["note"]
        assert str(len(junk)) in notes[0].message
    with vaults.open("r+") as archive:
        assert archive.read_bytes("/dir/file") == noise(9000)
        assert path.stat().st_size == size
        assert list(archive.check()) == []


# --- a second writer


def test_a_second_writer_in_the_same_process_is_refused_at_once(vaults: Vaults) -> None:
    archive = vaults.open("x")
    for mode in ("r+", "a", "w"):
        with pytest.raises(LockedError) as caught:
            open_archive(vaults.path(), mode)
        assert isinstance(caught.value, BlockingIOError)
        assert caught.value.filename == str(vaults.path())
        assert caught.value.errno is not None
    archive.write_bytes("/f", b"still mine")
    with open_archive(vaults.path(), "r") as reader:
        assert reader.read_bytes("/f") == b"still mine"
    archive.close()
    vaults.open("r+").close()


def test_a_second_writer_in_another_process_is_refused_at_once(vaults: Vaults) -> None:
    vaults.open("x").write_bytes("/f", b"mine")
    program = """
import sys, archive7
for mode in ("r+", "a", "w"):
    try:
        archive7.open(sys.argv[1], mode, key=bytes(range(32)))
    except archive7.LockedError:
        print("locked")
with archive7.open(sys.argv[1], key=bytes(range(32))) as archive:
    print(archive.read_bytes("/f").decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(vaults.path())],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["locked", "locked", "locked", "mine"]


# --- read-only


def test_everything_that_writes_is_refused_in_a_read_only_archive(vaults: Vaults) -> None:
    path = some(vaults)
    before = digest(path)
    archive = vaults.open("r")
    calls = [
        lambda: archive.mkdir("/new"),
        lambda: archive.makedirs("/new/deep"),
        lambda: archive.write_bytes("/new", b""),
        lambda: archive.write_text("/new", ""),
        lambda: archive.remove("/link"),
        lambda: archive.rmdir("/dir"),
        lambda: archive.rename("/link", "/other"),
        lambda: archive.replace("/link", "/other"),
        lambda: archive.symlink("x", "/new"),
        lambda: archive.chmod("/dir", 0),
        lambda: archive.utime("/dir"),
        lambda: archive.truncate("/dir/file", 0),
        lambda: archive.transaction().__enter__(),
        archive.commit,
        archive.rollback,
        archive.sync,
        lambda: archive.import_tree(path.parent),
        *[lambda m=m: archive.open("/dir/file", m) for m in ("w", "a", "x", "r+", "wb", "ab+")],
    ]
    for number, call in enumerate(calls):
        with pytest.raises(ReadOnlyError) as caught:
            call()
        assert isinstance(caught.value, io.UnsupportedOperation), number
        assert caught.value.errno == 30, number
    assert len(tree_of(archive)) == 3
    archive.close()
    assert digest(path) == before


def test_everything_is_refused_once_the_archive_is_closed(vaults: Vaults) -> None:
    some(vaults)
    archive = vaults.open("r+")
    archive.close()
    archive.close()
    assert archive.closed
    calls = [
        lambda: archive.mkdir("/new"), lambda: archive.listdir("/"), lambda: archive.stat("/"),
        lambda: archive.open("/dir/file"), lambda: archive.read_bytes("/dir/file"),
        lambda: archive.exists("/"), lambda: list(archive.check()), archive.info, archive.commit,
        archive.rollback, archive.sync, archive.refresh, lambda: archive.remove("/link"),
        lambda: list(archive.walk("/", onerror=None)), lambda: archive.transaction().__enter__(),
        archive.__enter__, lambda: archive.import_tree("/tmp"), lambda: archive.truncate("/", 0),
        lambda: archive.export_tree("/", "/tmp/archive7-never"),
    ]  # fmt: skip
    for number, call in enumerate(calls):
        with pytest.raises(ClosedError):
            print(number, call())
    assert not Path("/tmp/archive7-never").exists()
