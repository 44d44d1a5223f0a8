"""A damaged lineage: receipts cannot be compared, but the archive is read and written."""

from __future__ import annotations

from pathlib import Path

import pytest

import archive7
from archive7 import ReceiptError
from archive7.map import entry_slot
from archive7.root import slot_offset
from tests.unit.archives import KEY, open_archive


def test_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "vault.ar7"
    open_archive(path, "x").close()
    for content in (b"1", b"2", b"3"):
        with open_archive(path, "r+") as archive:
            archive.write_bytes("/a", content)
            receipt = archive.receipt()
    with open_archive(path) as archive:
        stream = archive._manager.special_stream(archive._manager.STREAM_LINEAGE)
        entry = archive._container.blocks.map.get(stream.extents.position(0))
    data = bytearray(path.read_bytes())
    data[slot_offset(entry_slot(entry)) + 100] ^= 1
    path.write_bytes(data)
    for content in (b"4", b"5"):
        with open_archive(path, "r+") as archive:
            archive.write_bytes("/a", content)
    with pytest.raises(ReceiptError, match="damaged"):
        open_archive(path, expect=receipt)
    assert archive7.repair(path, key=KEY, apply=True).mended
    with open_archive(path, "r+") as archive:
        assert archive.read_bytes("/a") == b"5"
        archive.write_bytes("/a", b"6")
        receipt = archive.receipt()
        assert not [found for found in archive.check() if found.severity == "error"]
    with open_archive(path, "r+", expect=receipt) as archive:
        archive.write_bytes("/a", b"7")
    open_archive(path, expect=receipt).close()
