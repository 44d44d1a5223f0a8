"""Calls from signal handlers and finalizers in the middle of others, and what failures leave."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import pytest

import archive7
from archive7 import Archive, blanking
from archive7.commit import Container
from archive7.filesystem import Filesystem
from archive7.reserve import Reserve
from tests.unit.archives import Vaults, assert_sound, noise

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="raises signals")


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as vaults:
        yield vaults


@pytest.fixture
def vault(vaults: Vaults) -> Archive:
    vault = vaults.open("x")
    vault.write_bytes("/kept", noise(60_000))
    return vault


@contextmanager
def signalled(owner: Any, name: str, call: Callable[[], object]) -> Iterator[list[Exception]]:
    """Have a signal handler make a call whenever a method is called; its refusals."""
    refused: list[Exception] = []
    real = getattr(owner, name)

    def handler(_number: int, _frame: FrameType | None) -> None:
        try:
            call()
        except archive7.TransactionError as error:
            refused.append(error)

    def replaced(*args: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGUSR1)
        return real(*args, **kwargs)

    before = signal.signal(signal.SIGUSR1, handler)
    with mock.patch.object(owner, name, replaced):
        yield refused
    signal.signal(signal.SIGUSR1, before)


def test_nothing_is_written_while_free_slots_are_overwritten(vault: Archive) -> None:
    vault.write_bytes("/secret", noise(90_000, 1))
    with signalled(blanking, "slot_offset", lambda: vault.write_bytes("/new", b"x" * 9000)) as no:
        vault.remove("/secret", blank=True)
    assert no
    assert not vault.exists("/new")
    assert vault.read_bytes("/kept") == noise(60_000)
    assert_sound(vault)


@pytest.mark.parametrize("name", ["close", "rollback", "sync", "check", "compact"])
def test_whole_calls_are_refused_in_the_middle_of_a_change(vault: Archive, name: str) -> None:
    with signalled(Filesystem, "unlink", lambda: list(getattr(vault, name)() or ())) as refused:
        vault.remove("/kept")
    assert refused
    assert vault.listdir() == []
    assert_sound(vault)


def test_what_rested_for_a_reader_is_overwritten_when_it_has_gone(vaults: Vaults) -> None:
    writer = vaults.open("x")
    writer.write_bytes("/secret", noise(40_000))
    writer.sync()
    before = vaults.path().read_bytes()
    reader = vaults.open("r")
    writer.remove("/secret", blank=True)
    writer.sync()
    reader.close()
    writer.sync()
    after = vaults.path().read_bytes()
    same = sum(
        before[at : at + 4096] == after[at : at + 4096]
        for at in range(98304 + 64 * 4096, min(len(before), len(after)), 4096)
    )
    assert same <= 3, "the map and the trees, not the secret"


def test_failure_of_another_call_keeps_what_a_file_handed_over(vault: Archive) -> None:
    with vault.open("/kept", "r+b", buffering=0) as file:
        file.write(b"A" * 10_000)
        failing = mock.patch.object(Filesystem, "_store", side_effect=MemoryError)
        with failing, pytest.raises(MemoryError):
            vault.mkdir("/d")
        file.write(b"B" * 10)
    assert vault.read_bytes("/kept")[:10_010] == b"A" * 10_000 + b"B" * 10


def test_interrupted_cut_of_the_end_leaves_the_reserve_its_own(vault: Archive) -> None:
    for i in range(30):
        vault.write_bytes(f"/{i}", noise(50_000, i))
    for i in range(0, 30, 2):
        vault.remove(f"/{i}")
    vault.sync()
    real = Reserve.move

    def move(reserve: Reserve) -> None:
        real(reserve)
        raise KeyboardInterrupt

    with mock.patch.object(Reserve, "move", move), pytest.raises(KeyboardInterrupt):
        vault.compact(force=True)
    for i in range(0, 30, 2):
        vault.write_bytes(f"/{i}", noise(50_000, i))
    assert_sound(vault)
    assert all(vault.read_bytes(f"/{i}") == noise(50_000, i) for i in range(30))
    assert Container


def test_open_file_that_was_deleted_and_purged_is_no_damage(vault: Archive) -> None:
    with vault.open("/kept", "rb") as file:
        vault.remove("/kept", how=archive7.Delete.SOFT)
        vault.purge()
        assert_sound(vault)
        assert file.read() == noise(60_000)


def test_hard_deletion_of_one_name_of_a_link_is_refused(vault: Archive) -> None:
    vault.symlink("kept", "/l")
    vault.link("/l", "/m")
    with pytest.raises(OSError, match="other names"):
        vault.remove("/l", how=archive7.Delete.HARD)
    assert vault.readlink("/m") == "kept"
