"""The verb repair: told first, done with --apply; the exit code says whether something is left."""

from __future__ import annotations

from archive7.map import entry_slot
from archive7.root import slot_offset
from tests.unit.command import Ar7


def ruin_registry(ar7: Ar7) -> None:
    with ar7.opened() as archive:
        chart = archive._container.blocks.map
        root = archive._manager.registry.tree.root
        slot = entry_slot(chart.get(root))
    with ar7.vault.open("r+b") as file:
        file.seek(slot_offset(slot))
        file.write(b"\xff" * 4096)


def test_repair_is_told_and_then_done(ar7: Ar7) -> None:
    files = ar7.fill()
    ruin_registry(ar7)
    before = ar7.vault.read_bytes()
    told = ar7("repair", "vault.ar7", code=1).stdout
    assert "would mend: " in told
    assert "--apply" in told.splitlines()[-1]
    assert ar7.vault.read_bytes() == before
    told = ar7("repair", "--apply", "vault.ar7", code=1).stdout  # a link's target is lost
    assert "symbolic link" in told
    assert "sound afterwards" in told.splitlines()[-1]
    ar7("check", "vault.ar7")
    with ar7.opened() as archive:
        assert archive.read_bytes("/a.txt") == files["/a.txt"]
    assert "nothing to repair" in ar7("repair", "vault.ar7").stdout


def test_report_in_json(ar7: Ar7) -> None:
    ar7.fill()
    ruin_registry(ar7)
    ar7.is_damaged = True
    document = ar7.json("repair", "vault.ar7", code=1)
    assert document["is_sound"] is True
    assert document["is_applied"] is False
    assert {mend["layer"] for mend in document["mended"]} >= {"registry"}


def test_lost_map_sends_to_rescue(ar7: Ar7) -> None:
    ar7.fill()
    ar7.is_damaged = True
    with ar7.opened() as archive:
        slot = entry_slot(archive._container.blocks.map.top)
    with ar7.vault.open("r+b") as file:
        file.seek(slot_offset(slot))
        file.write(b"\xff" * 4096)
    assert "rescue" in ar7("repair", "vault.ar7", code=1).stderr
