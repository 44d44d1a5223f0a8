"""Copies inside an archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archive7 import Archive
from tests.unit.archives import Vaults, noise, tree_of


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Archive]:
    with Vaults(tmp_path) as vaults:
        vault = vaults.open("x")
        vault.makedirs("/d/e")
        vault.write_bytes("/d/f", noise(3_000_000))
        vault.symlink("f", "/d/l")
        vault.chmod("/d/f", 0o640)
        vault.utime("/d/f", ns=(5, 123_456_789))
        vault.setxattr("/d/f", "user.x", b"y")
        yield vault


def test_copy_has_data_and_attributes_of_its_own(vault: Archive) -> None:
    assert vault.copy("/d/f", "/g") == "/g"
    status = vault.stat("/g")
    assert (status.st_mode & 0o777, status.st_mtime_ns, status.st_nlink) == (0o640, 123_456_789, 1)
    assert vault.getxattr("/g", "user.x") == b"y"
    vault.write_bytes("/g", b"changed")
    assert vault.read_bytes("/d/f") == noise(3_000_000)


def test_copy_goes_into_a_directory_and_over_a_file(vault: Archive) -> None:
    assert vault.copy("/d/f", "/d/e") == "/d/e/f"
    vault.write_bytes("/old", b"old")
    inode = vault.stat("/old").st_ino
    vault.copy("/d/f", "/old")
    assert (vault.read_bytes("/old"), vault.stat("/old").st_ino) == (noise(3_000_000), inode)


def test_tree_is_copied_whole(vault: Archive) -> None:
    before = tree_of(vault, "/d")
    vault.copy("/d", "/copy")
    copied = {
        name.replace("copy", "d", 1): value for name, value in tree_of(vault, "/copy").items()
    }
    assert copied == before


def test_copied_link_is_a_link_on_request(vault: Archive) -> None:
    vault.copy("/d/l", "/m", follow_symlinks=False)
    assert vault.readlink("/m") == "f"
    vault.copy("/d/l", "/n")
    assert vault.isfile("/n")
    assert not vault.islink("/n")


def test_open_file_is_copied_with_what_was_handed_over(vault: Archive) -> None:
    with vault.open("/d/f", "r+b") as file:
        file.write(b"new")
        file.flush()
        vault.copy("/d/f", "/g")
    assert vault.read_bytes("/g")[:3] == b"new"


def test_impossible_copies_change_nothing(vault: Archive) -> None:
    before = tree_of(vault)
    for source, target, error in (
        ("/none", "/x", FileNotFoundError),
        ("/d/f", "/none/x", FileNotFoundError),
        ("/d/f", "/d/f", FileExistsError),
        ("/d", "/d/e", FileExistsError),
        ("/d", "/d/e/below", OSError),
        ("/d", "/d/f", FileExistsError),
    ):
        with pytest.raises(error):
            vault.copy(source, target)
    assert tree_of(vault) == before
