"""Hard links: several names of one file, against the host's own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from archive7 import Archive, Delete
from archive7.entry import LINKS_ID
from tests.unit.archives import Vaults, assert_sound, errors_of


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Archive]:
    with Vaults(tmp_path) as vaults:
        yield vaults.open("x")


def links_of(vault: Archive) -> int:
    """How many keys the index of several names has."""
    return sum(key.startswith(LINKS_ID) for key, _ in vault._manager.paths.items())


def test_names_of_one_file_share_data_number_and_attributes(vault: Archive) -> None:
    vault.write_bytes("/a", b"one")
    vault.mkdir("/d")
    vault.link("/a", "/d/b")
    assert vault.stat("/a").st_ino == vault.stat("/d/b").st_ino
    assert vault.stat("/a").st_nlink == 2
    vault.write_bytes("/d/b", b"two, longer than before")
    vault.chmod("/a", 0o600)
    assert vault.read_bytes("/a") == b"two, longer than before"
    assert vault.stat("/d/b").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("gone", ["/a", "/b", "/c"])
def test_file_lives_until_its_last_name_goes(vault: Archive, gone: str) -> None:
    vault.write_bytes("/a", b"data")
    vault.link("/a", "/b")
    vault.link("/b", "/c")
    vault.remove(gone)
    left = sorted({"/a", "/b", "/c"} - {gone})
    assert [vault.read_bytes(path) for path in left] == [b"data"] * 2
    assert {vault.stat(path).st_nlink for path in left} == {2}
    assert_sound(vault)
    vault.remove(left[0])
    assert vault.stat(left[1]).st_nlink == 1
    assert links_of(vault) == 0, "a single name needs no index"
    assert_sound(vault)
    used = vault.info().used
    vault.remove(left[1])
    assert vault.info().used < used


def test_each_name_can_be_moved(vault: Archive) -> None:
    vault.write_bytes("/a", b"data")
    vault.mkdir("/d")
    vault.link("/a", "/b")
    vault.rename("/a", "/d/a")
    vault.rename("/b", "/d/b")
    assert_sound(vault)
    vault.remove("/d/a")
    assert vault.read_bytes("/d/b") == b"data"


def test_rename_over_one_of_several_names_takes_only_that_one(vault: Archive) -> None:
    vault.write_bytes("/a", b"old")
    vault.link("/a", "/b")
    vault.write_bytes("/new", b"new")
    vault.rename("/new", "/a")
    assert (vault.read_bytes("/a"), vault.read_bytes("/b")) == (b"new", b"old")
    assert vault.stat("/b").st_nlink == 1


def test_rename_of_one_name_onto_another_changes_nothing_as_posix_says(vault: Archive) -> None:
    vault.write_bytes("/a", b"data")
    vault.link("/a", "/b")
    vault.rename("/a", "/b")
    assert vault.listdir() == ["a", "b"]


def test_symbolic_link_gets_another_name_itself(vault: Archive) -> None:
    vault.symlink("nowhere", "/l")
    vault.link("/l", "/m")
    assert vault.readlink("/m") == "nowhere"
    assert vault.lstat("/m").st_nlink == 2


def test_open_file_survives_the_loss_of_all_its_names(vault: Archive) -> None:
    vault.write_bytes("/a", b"data")
    vault.link("/a", "/b")
    with vault.open("/a", "r+b") as file:
        vault.remove("/a")
        vault.remove("/b")
        file.seek(0)
        assert file.read() == b"data"
        file.write(b"more")
    assert vault.listdir() == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("d", "x"),
        ("f", "f2"),
        ("f", "d"),
        ("missing", "x"),
        ("f", "missing/x"),
        ("f", "f/x"),
        ("f", "x/"),
        ("f/", "x"),
    ],
)
def test_errors_are_those_of_os_link(
    vault: Archive, tmp_path: Path, source: str, target: str
) -> None:
    here = tmp_path / "host"
    (here / "d").mkdir(parents=True)
    vault.mkdir("/d")
    for name in ("f", "f2"):
        (here / name).write_bytes(b"")
        vault.write_bytes(f"/{name}", b"")
    with pytest.raises(OSError) as wanted:
        os.link(f"{here}/{source}", f"{here}/{target}")
    with pytest.raises(OSError) as found:
        vault.link(f"/{source}", f"/{target}")
    assert (type(found.value).__mro__[-4:], found.value.errno) == (
        type(wanted.value).__mro__[-4:],
        wanted.value.errno,
    ) or found.value.errno == wanted.value.errno
    assert (found.value.filename, found.value.filename2) == (f"/{source}", f"/{target}")


def test_rollback_takes_a_link_back(vault: Archive) -> None:
    vault.write_bytes("/a", b"data")
    with pytest.raises(KeyError), vault.transaction():
        vault.link("/a", "/b")
        raise KeyError
    assert vault.stat("/a").st_nlink == 1
    assert links_of(vault) == 0


def test_soft_deleted_name_keeps_the_file_when_the_others_go(vault: Archive) -> None:
    vault.write_bytes("/a", b"data")
    vault.link("/a", "/b")
    vault.remove("/a", how=Delete.SOFT)
    vault.remove("/b")
    assert_sound(vault)
    assert vault.undelete("/a") == "/a"
    assert vault.read_bytes("/a") == b"data"


def test_check_finds_a_name_that_the_entry_does_not_know(vault: Archive) -> None:
    vault.write_bytes("/a", b"data")
    vault.link("/a", "/b")
    identity = vault._filesystem.find("/a").identity
    key = next(key for key, _ in vault._manager.paths.items() if key.startswith(LINKS_ID))
    vault._manager.paths.delete(key)
    messages = {finding.message for finding in errors_of(vault)}
    assert any("names" in message for message in messages), messages
    vault._manager.paths.insert(key, b"")
    assert UUID(bytes=identity)


def test_directory_is_refused_with_eperm(vault: Archive) -> None:
    vault.mkdir("/d")
    with pytest.raises(OSError, match="not permitted") as error:
        vault.link("/d", "/e")
    assert error.value.errno == errno.EPERM
