"""The verb compact."""

from __future__ import annotations

import os
import signal

from tests.unit.command import Ar7


def churn(ar7: Ar7) -> dict[str, bytes]:
    """An archive with much free space in its middle."""
    files = ar7.fill()
    with ar7.opened("r+") as archive:
        for i in range(40):
            archive.write_bytes(f"/big {i}", os.urandom(300_000))
            archive.write_bytes(f"/small {i}", os.urandom(5000))
        archive.write_bytes("/last", os.urandom(6_000_000))  # too much to be moved at close
        archive.sync()
        for i in range(40):
            archive.remove(f"/big {i}")
    return files


def test_file_gets_smaller_and_keeps_its_content(ar7: Ar7) -> None:
    files = churn(ar7)
    before = ar7.vault.stat().st_size
    told = ar7.json("compact", "vault.ar7")
    assert told["is_complete"]
    assert told["after"] < before - 10_000_000
    assert ar7.vault.stat().st_size < told["after"] + 10 * 4096, "closing writes a few blocks"
    with ar7.opened() as archive:
        assert {path: archive.read_bytes(path) for path in files} == files
    assert "nothing to do" in ar7("compact", "vault.ar7").stdout


def test_reader_in_the_way_is_told(ar7: Ar7) -> None:
    churn(ar7)
    with ar7.opened():
        assert "reader" in ar7("compact", "--force", "vault.ar7", code=1).stdout


def test_ctrl_c_stops_it_whole(ar7: Ar7) -> None:
    with ar7.opened("x") as archive:
        for i in range(100):
            archive.write_bytes(f"/{i}", os.urandom(1_000_000))
        archive.sync()
        for i in range(0, 100, 2):
            archive.remove(f"/{i}")
    process = ar7.start("compact", "--force", "vault.ar7")
    try:
        process.wait(0.9)
    except Exception:  # noqa: BLE001 - still at it
        process.send_signal(signal.SIGINT)
    assert process.wait(60) in (0, 130)
    with ar7.opened() as archive:
        assert len(archive.listdir()) == 50
