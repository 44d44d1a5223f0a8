"""Keys in memory: overwritten when an archive is closed, in no repr, no pickle, no traceback."""

from __future__ import annotations

import io
import pickle
import sys
import traceback

import pytest

import archive7
from archive7 import KdfCost
from archive7.guard import guard
from tests.unit.archives import KEY, open_archive

SUITES = pytest.mark.parametrize("suite", ["xaes256gcm", "secretbox"])


@SUITES
def test_keys_are_overwritten_on_close(suite: str) -> None:
    archive = open_archive(io.BytesIO(), "x", suite=suite)
    archive.write_bytes("/a", b"a")
    container = archive._container
    keys = [container.master, *(cipher._key for cipher in container._ciphers)]
    keys.append(container.ring._cipher._key)
    assert all(any(key) for key in keys)
    archive.close()
    assert not any(any(key) for key in keys)


def test_key_that_is_changed_is_overwritten() -> None:
    with open_archive(io.BytesIO(), "x") as archive:
        old = archive._container.master
        archive.rekey([KEY])
        assert not any(old)
        assert any(archive._container.master)


def test_no_key_is_shown_or_pickled() -> None:
    password = "a secret that is nowhere"
    with archive7.open(
        io.BytesIO(), "x", key=KEY, password=password, kdf=KdfCost(19456, 2, 1)
    ) as archive:
        container = archive._container
        shown = " ".join(
            repr(thing)
            for thing in (
                archive, archive.keys, archive.keys.list(), archive.info(), archive.receipt(),
                container.superblock, archive7.Secrets(key=KEY, password=password),
            )
        )  # fmt: skip
        for secret in (KEY, bytes(container.master), password.encode()):
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown
        for thing in (archive, archive.keys, archive7.Secrets(key=KEY)):
            with pytest.raises(TypeError):
                pickle.dumps(thing)


def test_no_key_is_in_a_traceback() -> None:
    password = "a secret that is nowhere"
    file = io.BytesIO()
    archive7.open(file, "x", password=password, kdf=KdfCost(19456, 2, 1)).close()
    with pytest.raises(archive7.WrongKeyError) as caught:
        archive7.open(file, password=password + "!")
    told = "".join(traceback.format_exception_only(caught.value))
    cause: BaseException | None = caught.value
    while cause is not None:
        told += str(cause)
        cause = cause.__cause__ or cause.__context__
    assert password not in told


@pytest.mark.skipif(sys.platform != "linux", reason="told by /proc/self/smaps of Linux")
def test_guarded_memory_is_locked_and_not_dumped() -> None:
    with open_archive(io.BytesIO(), "x") as archive:
        if not archive.guard_memory():
            pytest.skip("this system lets no memory be locked (RLIMIT_MEMLOCK)")
        with open("/proc/self/smaps", encoding="ascii") as file:
            assert any(line.startswith("VmFlags:") and " lo" in line for line in file)
        archive.write_bytes("/a", b"goes on")
        assert archive.read_bytes("/a") == b"goes on"


def test_nothing_is_guarded_in_an_empty_buffer() -> None:
    assert guard(bytearray()) is False
