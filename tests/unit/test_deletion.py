"""Deletion that can be undone, that keeps the record, and that leaves nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive7 import Archive, Delete, Deleted
from tests.unit.archives import Vaults, assert_sound, noise, tree_of


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as vaults:
        yield vaults


@pytest.fixture
def vault(vaults: Vaults) -> Archive:
    vault = vaults.open("x")
    vault.makedirs("/d/e")
    vault.write_bytes("/d/f", noise(9000))
    vault.write_bytes("/d/e/g", b"g")
    vault.symlink("f", "/d/l")
    return vault


def test_soft_deleted_file_comes_back_as_it_was(vault: Archive, vaults: Vaults) -> None:
    before = vault.stat("/d/f")
    vault.remove("/d/f", how=Delete.SOFT)
    assert not vault.exists("/d/f")
    (item,) = vault.deleted()
    assert (item.path, item.type, item.size, item.is_restorable) == ("/d/f", "file", 9000, True)
    assert_sound(vault)
    vault.close()
    vault = vaults.open("r+")
    assert vault.undelete(item) == "/d/f"
    assert (vault.stat("/d/f"), vault.read_bytes("/d/f")) == (before, noise(9000))
    assert vault.deleted() == []


def test_soft_deleted_name_is_free_for_others(vault: Archive) -> None:
    vault.remove("/d/f", how=Delete.SOFT)
    vault.write_bytes("/d/f", b"another")
    with pytest.raises(FileExistsError) as error:
        vault.undelete("/d/f")
    assert error.value.filename == "/d/f"
    assert vault.undelete("/d/f", "/d/old") == "/d/old"
    assert (vault.read_bytes("/d/f"), vault.read_bytes("/d/old")) == (b"another", noise(9000))


def test_last_deletion_of_a_path_comes_back_first(vault: Archive) -> None:
    for text in (b"first", b"second"):
        vault.write_bytes("/x", text)
        vault.remove("/x", how=Delete.SOFT)
    vault.undelete("/x")
    assert vault.read_bytes("/x") == b"second"
    vault.undelete("/x", "/y")
    assert vault.read_bytes("/y") == b"first"


def test_directory_goes_and_comes_back_with_all_it_holds(vault: Archive) -> None:
    before = tree_of(vault)
    vault.rmtree("/d", how=Delete.SOFT)
    assert vault.listdir() == []
    assert_sound(vault)
    assert [item.path for item in vault.deleted()] == ["/d"]
    vault.undelete("/d")
    assert tree_of(vault) == before


def test_deletions_inside_a_deleted_directory_wait_for_it(vault: Archive) -> None:
    vault.remove("/d/f", how=Delete.SOFT)
    vault.rmtree("/d", how=Delete.SOFT)
    first, second = vault.deleted()
    assert (first.path, second.path) == ("/d/f", "/d")
    with pytest.raises(FileNotFoundError, match="give a path"):
        vault.undelete(first)
    vault.undelete(second)
    vault.undelete(first)
    assert vault.isfile("/d/f")


def test_deletion_outlives_its_erased_directory(vault: Archive) -> None:
    vault.remove("/d/f", how=Delete.SOFT)
    vault.rmtree("/d")
    (item,) = vault.deleted()
    assert_sound(vault)
    with pytest.raises(FileNotFoundError, match="give a path"):
        vault.undelete(item)
    assert vault.undelete(item, "/saved") == "/saved"
    assert vault.read_bytes("/saved") == noise(9000)


def test_hard_deletion_frees_the_data_and_keeps_the_record(vault: Archive) -> None:
    used = vault.info().used
    vault.remove("/d/f", how=Delete.HARD)
    assert vault.info().used <= used - 2 * 4096
    (item,) = vault.deleted()
    assert (item.path, item.size, item.is_restorable) == ("/d/f", 9000, False)
    with pytest.raises(OSError, match="with its data") as error:
        vault.undelete(item)
    assert error.value.errno == errno.ENODATA


def test_hard_deletion_of_a_tree(vault: Archive) -> None:
    vault.rmtree("/d", how=Delete.HARD)
    (item,) = vault.deleted()
    assert (item.path, item.is_restorable) == ("/d", False)
    assert_sound(vault)


def test_hard_deletion_refuses_what_is_in_use(vault: Archive) -> None:
    before = tree_of(vault)
    with vault.open("/d/f") as _, pytest.raises(OSError, match="close the file") as error:
        vault.rmtree("/d", how=Delete.HARD)
    assert error.value.errno == errno.EBUSY
    vault.link("/d/f", "/f2")
    with pytest.raises(OSError, match="other names") as error:
        vault.remove("/f2", how=Delete.HARD)
    assert error.value.errno == errno.EMLINK
    vault.remove("/f2")
    assert tree_of(vault) == before


def test_purge_erases_for_good(vault: Archive) -> None:
    start = vault.info().used
    vault.rmtree("/d", how=Delete.SOFT)
    assert vault.purge() == 1
    assert vault.deleted() == []
    assert vault.info().used < start
    assert_sound(vault)


def test_purge_takes_one(vault: Archive) -> None:
    vault.remove("/d/f", how=Delete.SOFT)
    vault.remove("/d/e/g", how=Delete.SOFT)
    assert vault.purge("/d/f") == 1
    assert [item.path for item in vault.deleted()] == ["/d/e/g"]


def test_what_was_never_deleted_is_not_found(vault: Archive) -> None:
    for call in (vault.undelete, vault.purge):
        with pytest.raises(FileNotFoundError):
            call("/d/f")
    item = Deleted(new_uuid(), "/d/f", "file", 1, 1, True)
    with pytest.raises(FileNotFoundError):
        vault.undelete(item)


def new_uuid():  # type: ignore[no-untyped-def]
    """An identity that stands for nothing."""
    return __import__("uuid").uuid4()


def test_rmtree_takes_everything_and_gives_the_space_back(vault: Archive) -> None:
    vault.makedirs("/deep/" + "/".join("x" * 60))
    for i in range(300):
        vault.write_bytes(f"/deep/{i}", noise(5000, i))
    used = vault.info().used
    vault.rmtree("/deep")
    vault.rmtree("/d")
    assert vault.listdir() == []
    assert vault.info().used < used - 600
    assert_sound(vault)


def test_rmtree_has_the_errors_of_its_kind(vault: Archive) -> None:
    with pytest.raises(FileNotFoundError):
        vault.rmtree("/nothing")
    with pytest.raises(NotADirectoryError):
        vault.rmtree("/d/f")
    with pytest.raises(NotADirectoryError):
        vault.rmtree("/d/l")
    with pytest.raises(OSError, match="busy"):
        vault.rmtree("/")
    vault.rmtree("/nothing", ignore_errors=True)


def test_rmtree_leaves_open_files_readable(vault: Archive) -> None:
    with vault.open("/d/f", "rb") as file:
        vault.rmtree("/d")
        assert file.read() == noise(9000)
    assert_sound(vault)


def test_ten_thousand_levels_deep(vaults: Vaults) -> None:
    vault = vaults.memory()
    with vault.transaction():
        vault.mkdir("/top")
        for _ in range(10_000):
            vault.mkdir("/new")
            vault.rename("/top", "/new/n")
            vault.rename("/new", "/top")
    vault.rmtree("/top")
    assert vault.listdir() == []


@pytest.mark.parametrize("how", [0, 4, "SOFT"])
def test_unknown_way_of_deleting_is_refused(vault: Archive, how: object) -> None:
    with pytest.raises(ValueError, match="Delete"):
        vault.remove("/d/f", how=how)  # type: ignore[arg-type]
    assert vault.isfile("/d/f")


def test_rollback_brings_a_deletion_back(vault: Archive) -> None:
    before = tree_of(vault)
    with pytest.raises(KeyError), vault.transaction():
        vault.rmtree("/d", how=Delete.SOFT)
        vault.purge()
        raise KeyError
    assert tree_of(vault) == before
    assert vault.deleted() == []
