"""Rescue while a change of the master key is under way: blocks under both keys come out."""

from __future__ import annotations

from pathlib import Path

import archive7
from archive7.layout import RING_OFFSET, RING_PLACES
from tests.unit.archives import KEY, noise, open_archive


def stopped(path: Path) -> None:
    """An archive whose change of keys has only begun."""
    with open_archive(path, "x") as archive:
        archive.write_bytes("/file", noise(300_000))
    with open_archive(path, "r+") as archive:
        assert not archive.rekey([KEY], seconds=0).is_complete
        archive.write_bytes("/new", b"new")


def test_blocks_under_the_old_key(tmp_path: Path) -> None:
    path, target = tmp_path / "vault.ar7", tmp_path / "out"
    stopped(path)
    report = archive7.rescue(path, target, key=KEY)
    assert {file.path.lstrip("/"): file.status for file in report.files} == {
        "file": "whole",
        "new": "whole",
    }
    assert (target / "files" / "file").read_bytes() == noise(300_000)


def test_without_roots(tmp_path: Path) -> None:
    path, target = tmp_path / "vault.ar7", tmp_path / "out"
    stopped(path)
    data = bytearray(path.read_bytes())
    data[RING_OFFSET : RING_OFFSET + RING_PLACES * 4096] = bytes(RING_PLACES * 4096)
    path.write_bytes(data)
    archive7.rescue(path, target, key=KEY)
    found = [file.read_bytes() for file in target.rglob("*") if file.name == "file"]
    assert found == [noise(300_000)]
