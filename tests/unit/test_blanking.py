"""Blanking: nothing of what was erased is left in the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from archive7 import Delete, blanking
from archive7.layout import BLOCK_SIZE, FLAG_BLANKING
from tests.unit.archives import Vaults, assert_sound, noise


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as vaults:
        yield vaults


def blocks_of(path: Path) -> set[bytes]:
    data = path.read_bytes()[98304:]
    return {data[at : at + BLOCK_SIZE] for at in range(0, len(data), BLOCK_SIZE)}


def used_blocks(vaults: Vaults) -> set[bytes]:
    """The sealed blocks that hold the file /secret."""
    vault = vaults.open("r+")
    vault.write_bytes("/secret", noise(40_000))
    vault.sync()
    before = blocks_of(vaults.path())
    container = vault._container
    identity = vault._filesystem.find("/secret").identity
    with vault.open("/secret", "rb", buffering=0) as file:
        extents = list(file.stream.extents)  # type: ignore[attr-defined]
    found = set()
    for begin, count in extents:
        for position in range(begin, begin + count):
            slot = int.from_bytes(container.blocks.map.get(position)[:4], "big")
            found.add(container.device.pread(BLOCK_SIZE, 98304 + (slot - 1) * BLOCK_SIZE))
    assert identity
    assert found <= before
    vault.close()
    return found


@pytest.mark.parametrize("how", [Delete.ERASE, Delete.HARD])
def test_old_blocks_are_overwritten(vaults: Vaults, how: Delete) -> None:
    with vaults.open("x") as vault:
        vault.write_bytes("/other", noise(50_000, 1))
    secret = used_blocks(vaults)
    vault = vaults.open("r+")
    vault.remove("/secret", how=how, blank=True)
    assert not secret & blocks_of(vaults.path())
    assert not vault._container.root.flags & FLAG_BLANKING
    assert_sound(vault)
    assert vault.read_bytes("/other") == noise(50_000, 1)


def test_without_blank_they_are_left(vaults: Vaults) -> None:
    vaults.open("x").close()
    secret = used_blocks(vaults)
    vault = vaults.open("r+")
    vault.write_bytes("/keeps the tail", b"x")
    vault.remove("/secret")
    assert secret & blocks_of(vaults.path())


def test_reader_postpones_it_until_it_has_gone(vaults: Vaults) -> None:
    vaults.open("x").close()
    secret = used_blocks(vaults)
    reader = vaults.open("r")
    writer = vaults.open("r+")
    writer.remove("/secret", blank=True)
    assert writer._container.root.flags & FLAG_BLANKING
    assert reader.read_bytes("/secret") == noise(40_000)
    reader.close()
    writer.write_bytes("/next", b"commit")
    assert not writer._container.root.flags & FLAG_BLANKING
    assert not secret & blocks_of(vaults.path())


def test_close_does_what_was_postponed(vaults: Vaults) -> None:
    vaults.open("x").close()
    secret = used_blocks(vaults)
    reader = vaults.open("r")
    writer = vaults.open("r+")
    writer.remove("/secret", blank=True)
    reader.close()
    writer.close()
    assert not secret & blocks_of(vaults.path())


def test_next_writer_goes_on_where_the_last_was_stopped(vaults: Vaults) -> None:
    vaults.open("x").close()
    secret = used_blocks(vaults)
    writer = vaults.open("r+")
    with (
        mock.patch.object(blanking, "slot_offset", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        writer.remove("/secret", blank=True)
    assert not writer.exists("/secret"), "the commit stands"
    with mock.patch.object(type(writer._container), "readers_hold", return_value=True):
        writer.close()
    assert secret & blocks_of(vaults.path())
    vaults.open("r+").close()
    assert not secret & blocks_of(vaults.path())


def test_rolled_back_removal_blanks_nothing(vaults: Vaults) -> None:
    vaults.open("x").close()
    used_blocks(vaults)
    vault = vaults.open("r+")
    with pytest.raises(KeyError), vault.transaction():
        vault.remove("/secret", blank=True)
        raise KeyError
    assert not vault._container.is_blanking
    assert vault.read_bytes("/secret") == noise(40_000)
