"""Files that nobody closes: the collector closes them in the middle of anything."""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import archive7
from archive7 import Archive
from tests.unit.archives import Vaults, assert_sound, noise


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Archive]:
    with Vaults(tmp_path) as vaults, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield vaults.open("x")


@pytest.fixture
def eager_collector() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(40, 1, 1)
    yield
    gc.set_threshold(*before)


def data_of(i: int, mode: str) -> Any:
    """What is written to file number `i`."""
    text = noise(5000, i).hex()
    return text if mode == "w" else text.encode()


def forget(vault: Archive, path: str, data: Any, mode: str = "wb") -> None:
    """Leave an open file with unwritten data in a reference cycle."""
    file = vault.open(path, mode)
    file.write(data)
    cycle: list[object] = [file]
    cycle.append(cycle)


@pytest.mark.usefixtures("eager_collector")
@pytest.mark.parametrize("mode", ["wb", "ab", "w+b", "w"])
def test_collected_files_neither_damage_anything_nor_lose_data(vault: Archive, mode: str) -> None:
    for i in range(120):
        forget(vault, f"/lost {i}", data_of(i, mode), mode)
        with vault.transaction():
            vault.write_bytes(f"/kept {i}", noise(30_000, i))
    gc.collect()
    vault.sync()
    assert_sound(vault)
    for i in range(120):
        assert vault.read_bytes(f"/kept {i}") == noise(30_000, i)
        assert vault.read_bytes(f"/lost {i}") == noise(5000, i).hex().encode()


@pytest.mark.usefixtures("eager_collector")
def test_collector_during_savepoints_and_rollbacks(vault: Archive) -> None:
    for i in range(60):
        forget(vault, f"/lost {i}", noise(9000, i))
        with pytest.raises(KeyError), vault.transaction():
            vault.write_bytes(f"/gone {i}", noise(30_000, i))
            with vault.transaction():
                vault.write_bytes(f"/gone too {i}", noise(3000, i))
            raise KeyError
    gc.collect()
    assert not [name for name in vault.listdir() if name.startswith("gone")]


def test_data_left_by_a_finalizer_are_there_after_the_next_call(vault: Archive) -> None:
    container = vault._container
    forget(vault, "/lost", b"data")
    with container.lock:
        container.is_busy = True
        gc.collect()
        container.is_busy = False
    assert len(container.late) >= 3, "write, flush, close"
    assert container.is_changed is False
    vault.write_bytes("/other", b"")
    assert vault.read_bytes("/lost") == b"data"
    assert container.late == []


@pytest.mark.skipif(sys.platform == "win32", reason="raises signals")
def test_signal_handler_in_the_middle_of_a_call_is_refused(vault: Archive) -> None:
    caught: list[BaseException] = []

    def handler(_number: int, _frame: FrameType | None) -> None:
        for call in (lambda: vault.write_bytes("/x", b"x"), vault.listdir, vault.sync):
            try:
                call()
            except archive7.TransactionError as error:
                caught.append(error)

    real = vault._container.blocks.seal

    def seal() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        real()

    before = signal.signal(signal.SIGUSR1, handler)
    vault._container.blocks.seal = seal  # type: ignore[method-assign]
    try:
        vault.write_bytes("/file", noise(9000))
    finally:
        del vault._container.blocks.seal
        signal.signal(signal.SIGUSR1, before)
    assert len(caught) >= 2
    assert vault.listdir() == ["file"]
    assert vault.read_bytes("/file") == noise(9000)
