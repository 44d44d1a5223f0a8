"""check in parts: a budget, a state, going on; and what the archive does in between."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from archive7 import Archive, CheckState, UsageError
from archive7 import check as check_module
from archive7.errors import ClosedError
from archive7.layout import BLOCK_SIZE, SLOTS_OFFSET, STREAM
from archive7.map import entry_slot
from tests.unit.archives import noise, open_archive
from tests.unit.command import Ar7

FILES = 12


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "_STEP", 10)


@pytest.fixture
def archive() -> Iterator[Archive]:
    archive = open_archive(io.BytesIO(), "x")
    for number in range(FILES):
        archive.write_bytes(f"/{number}", noise(20_000, number))
    archive.sync()
    yield archive
    archive.close()


def in_parts(archive: Archive, state: CheckState | None = None) -> Iterator[tuple]:
    """Runs without any time: each makes one step."""
    for _ in range(100):
        run = archive.check(seconds=0, resume=state)
        yield run, list(run)
        if run.is_complete:
            return
        state = CheckState.from_json(run.state.to_json())
    raise AssertionError("it does not come to an end")


def test_parts_open_every_block_once(archive: Archive) -> None:
    counts = archive._container.blocks.counts
    before = counts.opened
    assert list(archive.check()) == []
    whole = counts.opened - before
    before, runs = counts.opened, [run for run, _ in in_parts(archive)]
    structures = whole - FILES * 5
    assert len(runs) > 4
    assert counts.opened - before == FILES * 5 + len(runs) * structures
    done = [run.state.done for run in runs]
    assert done == sorted(done)
    assert done[-1] == runs[-1].total == FILES * 5
    assert all(run.total == FILES * 5 for run in runs)
    assert [run.is_complete for run in runs] == [False] * (len(runs) - 1) + [True]


def damage(archive: Archive, path: str) -> None:
    """Flip a bit in the first block of a file, on disk."""
    identity = archive._filesystem.find(path).identity
    value = archive._manager.registry.tree.get(identity)
    assert value is not None
    begin = STREAM.unpack(value[: STREAM.size])[1]
    slot = entry_slot(archive._container.blocks.map.get(begin))
    offset = SLOTS_OFFSET + (slot - 1) * BLOCK_SIZE + 100
    device = archive._container.device
    device.pwrite(bytes([device.pread(1, offset)[0] ^ 1]), offset)


def test_damage_is_found_once_and_remembered(archive: Archive) -> None:
    for number in (1, 7, 11):
        damage(archive, f"/{number}")
    found = [finding for _, part in in_parts(archive) for finding in part]
    assert sorted(f.path or "" for f in found) == ["/1", "/11", "/7"]
    last = [run for run, _ in in_parts(archive)][-1]
    assert last.state.errors == 3
    assert last.is_complete


def test_what_changes_behind_the_point_is_for_the_next_round(archive: Archive) -> None:
    parts = in_parts(archive)
    for _ in range(3):
        run, found = next(parts)
        assert not found
        assert not run.state.is_changed
    archive.write_bytes("/0", noise(30_000, 99))  # its id is before the point
    archive.write_bytes("/new", noise(30_000, 98))
    archive.remove("/8")
    rest = list(parts)
    assert not any(found for _, found in rest)
    assert all(run.state.is_changed for run, _ in rest)
    assert not list(archive.check())
    assert not archive.check().state.is_changed


def test_others_write_while_it_is_iterated(archive: Archive) -> None:
    run = archive.check()
    for number in range(4):
        run._advance()
        archive.write_bytes(f"/{FILES - 1 - number}", noise(50_000, number))
        archive.remove(f"/{number}")
    assert list(run) == []
    assert run.state.is_changed
    assert run.is_complete


def test_another_thread_gets_its_turn(archive: Archive) -> None:
    wrote = threading.Event()

    def write() -> None:
        archive.write_bytes("/thread", b"x")
        wrote.set()

    run = archive.check()
    thread = threading.Thread(target=write)
    with archive._lock:
        thread.start()
        time.sleep(0.01)
        run._advance()
    thread.join(30)
    assert wrote.is_set()
    assert list(run) == []


def test_a_closed_archive_ends_it(archive: Archive) -> None:
    run = archive.check()
    archive.close()
    with pytest.raises(ClosedError):
        next(run)


def test_states_that_are_none(archive: Archive) -> None:
    state = archive.check().state
    good = json.loads(state.to_json())
    assert CheckState.from_json(state.to_json()) == state
    bad = [b"", b"\xff", "[]", "3", "{}", "[" * 10_000, json.dumps(good | {"more": 1})]
    wrong: list[dict[str, object]] = [
        {"index": -1}, {"key": "zz"}, {"key": "00"}, {"done": "1"}, {"is_changed": 1},
    ]  # fmt: skip
    bad += [json.dumps(good | change) for change in wrong]
    for text in bad:
        with pytest.raises(UsageError, match="no state of a check"):
            CheckState.from_json(text)
    with pytest.raises(UsageError, match="another archive"):
        archive.check(resume=replace(state, container="00" * 16))
    with pytest.raises(UsageError, match="full"):
        archive.check("quick", resume=state)
    with pytest.raises(UsageError, match="negative"):
        archive.check(seconds=-1)
    for odd in (replace(state, index=2**40), replace(state, key="f" * 32)):
        assert list(archive.check(resume=odd)) == []


def test_a_state_holds_no_name_and_no_secret(archive: Archive) -> None:
    run = archive.check(seconds=0)
    list(run)
    found = json.loads(run.state.to_json())
    assert set(found) == {
        "container", "commit", "root", "key", "index", "done", "errors", "is_changed",
        "is_complete",
    }  # fmt: skip


def test_the_command_goes_on_until_it_is_done(ar7: Ar7) -> None:
    ar7("create", ar7.vault)
    for number in range(6):
        ar7("put", ar7.vault, f"{number}", input=noise(60_000, number))
    state = ar7.folder / "state"
    before = 0.0
    for _ in range(6):  # one step each
        told = ar7.json("check", ar7.vault, "--seconds", "0", "--state", str(state), code=1)
        assert (told["findings"], told["is_sound"], told["is_complete"]) == ([], False, False)
        assert before < told["progress"] < 1
        before = told["progress"]
        assert state.exists()
    told = ar7.json("check", ar7.vault, "--seconds", "0", "--state", str(state))
    assert told["is_sound"]
    assert told["is_complete"]
    assert told["progress"] == 1
    assert not state.exists()
    words = ar7("check", ar7.vault, "--seconds", "0", code=1).stdout
    assert "% done" in words
    assert "--state" in words
    state.write_text("nonsense")
    assert "no state" in ar7("check", ar7.vault, "--state", str(state), code=2).stderr
