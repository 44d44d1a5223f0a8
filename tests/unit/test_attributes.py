"""Owners, extended attributes and the archive header."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

import archive7
from archive7 import Archive, ArchiveHeader
from archive7.errors import UsageError
from archive7.extras import Extras, decode_extras
from tests.unit.archives import KEY, Vaults, assert_sound, noise


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as vaults:
        yield vaults


@pytest.fixture
def vault(vaults: Vaults) -> Archive:
    vault = vaults.open("x")
    vault.write_bytes("/f", b"data")
    vault.symlink("f", "/l")
    return vault


def test_attributes_are_kept(vault: Archive, vaults: Vaults) -> None:
    vault.setxattr("/f", "user.b", b"\0binary\xff")
    vault.setxattr("/f", "user.a", b"")
    vault.close()
    vault = vaults.open("r+")
    assert vault.listxattr("/f") == ["user.a", "user.b"]
    assert vault.getxattr("/l", "user.b") == b"\0binary\xff"
    vault.removexattr("/f", "user.a")
    assert vault.listxattr("/f") == ["user.b"]
    assert vault.read_bytes("/f") == b"data"


def test_link_has_attributes_of_its_own(vault: Archive) -> None:
    vault.setxattr("/l", "user.x", b"link", follow_symlinks=False)
    assert vault.listxattr("/f") == []
    assert vault.getxattr("/l", "user.x", follow_symlinks=False) == b"link"


def test_large_attributes_fit_up_to_64_kib(vault: Archive) -> None:
    vault.setxattr("/f", "user.big", noise(65_000))
    assert_sound(vault)
    vault.write_bytes("/f", b"changed")
    assert vault.getxattr("/f", "user.big") == noise(65_000)
    with pytest.raises(OSError, match="space") as error:
        vault.setxattr("/f", "user.more", noise(600))
    assert error.value.errno == errno.ENOSPC
    assert vault.listxattr("/f") == ["user.big"]
    used = vault.info().used
    vault.removexattr("/f", "user.big")
    assert vault.info().used <= used - 15


def test_flags_are_those_of_os(vault: Archive) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
        vault.setxattr("/f", "user.x", b"1", os.XATTR_REPLACE)
    vault.setxattr("/f", "user.x", b"1", os.XATTR_CREATE)
    with pytest.raises(FileExistsError):
        vault.setxattr("/f", "user.x", b"2", os.XATTR_CREATE)
    vault.setxattr("/f", "user.x", b"3", os.XATTR_REPLACE)
    assert vault.getxattr("/f", "user.x") == b"3"


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_impossible_names_are_refused(vault: Archive, name: str) -> None:
    with pytest.raises(OSError) as error:
        vault.setxattr("/f", name, b"")
    assert error.value.errno == errno.ERANGE


def test_missing_attribute_is_enodata_with_the_path(vault: Archive) -> None:
    for call in (vault.getxattr, vault.removexattr):
        with pytest.raises(OSError) as error:
            call("/f", "user.none")
        assert (error.value.errno, error.value.filename) == (errno.ENODATA, "/f")
    with pytest.raises(FileNotFoundError):
        vault.getxattr("/none", "user.none")


def test_owners_by_number_and_name(vault: Archive) -> None:
    vault.chown("/f", 1000, 100)
    status = vault.stat("/f")
    assert (status.st_uid, status.st_gid) == (1000, 100)
    vault.chown("/f", -1, "no such group on any host")
    status = vault.stat("/f")
    assert (status.st_uid, status.st_gid) == (1000, 65534)
    assert vault.owners("/f") == ("", "no such group on any host")
    vault.chown("/f", "root")
    assert vault.stat("/f").st_uid == 0
    assert vault.owners("/f")[0] == "root"
    with pytest.raises(OSError, match="Invalid"):
        vault.chown("/f", -2)


def test_owner_of_the_application(vault: Archive) -> None:
    owner = uuid4()
    vault.set_owner("/f", owner)
    identity = vault._filesystem.find("/f").identity
    assert vault._filesystem.entry(identity).owner == owner.bytes


def test_extras_of_later_versions_are_passed_over() -> None:
    known = Extras("me", "us", {"a": b"1"}).encode()
    later = b"\x09\x01\0\0\0\x02nxx"
    assert decode_extras(later + known) == Extras("me", "us", {"a": b"1"})


@pytest.mark.parametrize(
    "data", [b"\x01", b"\x01\x05\0\0\0\0a", b"\x01\x01\xff\xff\xff\xffa", b"\x02\0\0\0\0\x01\xff"]
)
def test_damaged_extras_are_corrupt(data: bytes) -> None:
    with pytest.raises(archive7.TreeCorruptError):
        decode_extras(data)


def test_header_is_kept_and_told(vaults: Vaults) -> None:
    header = ArchiveHeader(
        "Ärzte", owner=uuid4(), domain=uuid4(), node=uuid4(), type=3, role=-128, use=127
    )
    vault = vaults.open("x", header=header)
    assert vault.header == header
    vault.set_header(title="Neu", use=1)
    vault.close()
    with vaults.open("r") as vault:
        assert (vault.header.title, vault.header.use, vault.header.owner) == (
            "Neu",
            1,
            header.owner,
        )
        info = vault.info()
        assert (info.title, info.domain, info.role) == ("Neu", header.domain, -128)
        with pytest.raises(archive7.ReadOnlyError):
            vault.set_header(title="no")


@pytest.mark.parametrize(
    "wrong", [{"title": "x" * 257}, {"title": "a\0"}, {"type": 128}, {"use": -129}]
)
def test_header_that_does_not_fit_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ArchiveHeader(**wrong)  # type: ignore[arg-type]


def test_unknown_header_field_is_refused(vault: Archive) -> None:
    with pytest.raises(TypeError):
        vault.set_header(colour="red")
    assert vault.header.owner == UUID(int=0)
    assert KEY
