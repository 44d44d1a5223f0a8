"""A full disc: FullError, all committed intact, deleting works, a retry once there is room.

On a tmpfs of a few MiB where the tests may mount one, and on a device with a limit everywhere.
"""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archive7 import Archive
from archive7.errors import FullError
from tests.devices import RecordingDevice
from tests.disk import Disk
from tests.unit.archives import Tree, assert_sound, noise, open_archive, tree_of

ROOM = 6 << 20


@pytest.fixture
def small_disc(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disc with 6 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs root on Linux")
    options = f"size={ROOM}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture(params=["device", "tmpfs"])
def full(request: pytest.FixtureRequest) -> Any:
    """Opens the archive on a disc that will get full."""
    if request.param == "tmpfs":
        folder = request.getfixturevalue("small_disc")
        return lambda mode: open_archive(folder / "vault.ar7", mode)
    disk = Disk()

    def opened(mode: str) -> Archive:
        device = RecordingDevice(disk)
        device.capacity = ROOM
        return open_archive(device, mode)

    return opened


def fill_up(archive: Archive, size: int = 200_000) -> Tree:
    """Write files until the disc is full; the tree that was committed."""
    for number in itertools.count():
        try:
            archive.write_bytes(f"/{number}", noise(size, number))
        except FullError as error:
            caught = error
            break
        assert number < 1000, "the disc never got full"
    assert isinstance(caught, OSError)
    assert caught.errno == errno.ENOSPC
    assert caught.filename is not None
    return tree_of(archive)


def test_a_full_disc_raises_and_keeps_what_was_committed(full: Any) -> None:
    with full("x") as archive:
        tree = fill_up(archive)
        assert len(tree) > 15
        assert tree == {str(n): ("file", noise(200_000, n), 0o644) for n in range(len(tree))}
        assert_sound(archive)
        for _ in range(3):  # it stays full, and usable
            with pytest.raises(FullError):
                archive.write_bytes("/more", noise(400_000))
            assert not archive.exists("/more")
            assert archive.read_bytes("/3") == noise(200_000, 3)
    with full("r") as archive:
        assert tree_of(archive) == tree
        assert_sound(archive)


def test_deleting_works_on_a_full_disc_and_makes_room(full: Any) -> None:
    with full("x") as archive:
        tree = fill_up(archive)
        while True:  # to the last block
            try:
                archive.write_bytes(f"/small{len(tree)}", noise(5000, len(tree)))
            except FullError:
                break
            tree = tree_of(archive)
        archive.remove("/0")
        archive.remove("/1")
        archive.truncate("/2", 10)
        assert archive.read_bytes("/2") == noise(200_000, 2)[:10]
        archive.write_bytes("/again", noise(150_000, 99))
        assert archive.read_bytes("/again") == noise(150_000, 99)
        assert_sound(archive)
    with full("r+") as archive:
        assert archive.read_bytes("/again") == noise(150_000, 99)
        assert_sound(archive)


def test_everything_can_be_deleted_from_a_full_disc(full: Any) -> None:
    with full("x") as archive:
        for name in fill_up(archive, 7000):
            archive.remove(f"/{name}")
        assert tree_of(archive) == {}
        assert len(fill_up(archive, 100_000)) > 20


def test_a_transaction_on_a_full_disc_is_undone_and_can_be_repeated(full: Any) -> None:
    with full("x") as archive:
        archive.write_bytes("/old", noise(2_000_000))
        before = tree_of(archive)
        for _ in range(2):
            with pytest.raises(FullError), archive.transaction():
                archive.mkdir("/dir")
                for number in range(40):
                    archive.write_bytes(f"/dir/{number}", noise(200_000, number))
            assert tree_of(archive) == before
            assert_sound(archive)
        with archive.transaction():
            archive.remove("/old")
        archive.write_bytes("/new", noise(3_000_000))
        assert archive.read_bytes("/new") == noise(3_000_000)


def test_a_file_that_fills_the_disc_can_be_written_again_once_there_is_room(full: Any) -> None:
    with full("x") as archive:
        archive.write_bytes("/ballast", noise(3_000_000, 1))
        with pytest.raises(FullError), archive.open("/big", "wb") as file:
            for number in range(100):
                file.write(noise(100_000, number))
        assert_sound(archive)
        archive.remove("/ballast")
        with archive.open("/big", "wb") as file:
            for number in range(20):
                file.write(noise(100_000, number))
        assert archive.read_bytes("/big") == b"".join(noise(100_000, n) for n in range(20))


def test_an_archive_closes_on_a_full_disc(full: Any) -> None:
    archive = full("x")
    tree = fill_up(archive)
    archive.close()
    with full("r") as archive:
        assert tree_of(archive) == tree


def test_no_archive_is_left_where_there_is_no_room_for_one(small_disc: Path) -> None:
    (small_disc / "ballast").write_bytes(bytes(ROOM - 100_000))
    with pytest.raises(FullError):
        open_archive(small_disc / "vault.ar7", "x")
    assert [path.name for path in small_disc.iterdir()] == ["ballast"]
