"""Rekey: every block under a new key, secrets that come along, going on after an interruption."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import archive7
from archive7 import KdfCost, RekeyedError, Secrets, UsageError, WrongKeyError, keys, rekey
from archive7.crypto import KIND_DATA, block_cipher
from archive7.layout import BLOCK_SIZE, RING_OFFSET, RING_PLACES
from archive7.map import entry_slot
from archive7.root import slot_offset
from archive7.superblock import info_bodies, notes, with_bodies
from tests.unit.archives import KEY, Tree, assert_sound, noise, open_archive, tree_of

CHEAP = KdfCost(19456, 2, 1)
SECOND = bytes(range(1, 33))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.ar7"


def fill(path: Path, **options: object) -> Tree:
    with open_archive(path, "x", **options) as archive:
        archive.makedirs("/a/b")
        with archive.transaction():
            for number in range(120):
                archive.write_bytes(f"/a/{number}", noise(number * 50, number))
        archive.write_bytes("/big", noise(700_000))
        archive.write_bytes("/gone", noise(50_000))
        archive.remove("/gone")
        return tree_of(archive)


def old_blocks(path: Path, master: bytes, container: bytes, suite: int = 1) -> int:
    """How many slots and places of the ring open under a master key of epoch 1, as data."""
    cipher = block_cipher(suite, master, container, 1, KIND_DATA)
    data = path.read_bytes()
    return sum(
        cipher.open_block(data[at : at + BLOCK_SIZE]) is not None
        for at in range(slot_offset(1), len(data) - BLOCK_SIZE + 1, BLOCK_SIZE)
    )


@pytest.mark.parametrize("suite", ["xaes256gcm", "secretbox"])
def test_everything_is_sealed_anew(path: Path, suite: str) -> None:
    expected = fill(path, suite=suite)
    with open_archive(path, "r+") as archive:
        container = archive._container
        master, identity = bytes(container.master), container.superblock.container
        report = archive.rekey([KEY], blank=True)
        assert report.is_complete
        assert report.damaged == 0
        assert (report.kept, report.dropped) == (("raw key",), ())
        assert tree_of(archive) == expected
        assert_sound(archive)
        assert container.master != master
        number = archive._container.superblock.suite
    assert old_blocks(path, master, identity, number) == 0
    with open_archive(path, "r+") as archive:
        assert tree_of(archive) == expected
        archive.write_bytes("/new", b"new")
        assert_sound(archive)


def test_which_secrets_come_along(path: Path) -> None:
    fill(path)
    mine, theirs = keys.generate_identity("x25519"), keys.generate_identity("x25519")
    with open_archive(path, "r+") as archive:
        archive.keys.add(password="kept", label="home", kdf=CHEAP)
        archive.keys.add(password="dropped", label="work", kdf=CHEAP)
        archive.keys.add(key=SECOND, label="second")
        archive.keys.add(recipient=mine.recipient, label="me")
        archive.keys.add(recipient=theirs.recipient, label="them")
        report = archive.rekey(["kept", KEY], drop=["them"])
        assert report.kept == ("raw key", "home", "me")
        assert report.dropped == ("work", "second", "them")
        assert [info.label for info in archive.keys.list()] == ["", "home", "me"]
        assert [info.is_mine for info in archive.keys.list()] == [True, False, False]
        assert archive.keys.list()[1].cost == CHEAP
    for secret in ({"key": KEY}, {"password": "kept"}, {"identity": mine}):
        archive7.open(path, **secret).close()  # type: ignore[arg-type]
    for secret in ({"key": SECOND}, {"password": "dropped"}, {"identity": theirs}):
        with pytest.raises(WrongKeyError):
            archive7.open(path, **secret)  # type: ignore[arg-type]


def test_secret_that_opens_nothing_changes_nothing(path: Path) -> None:
    fill(path)
    with open_archive(path, "r+") as archive:
        for keep in ((), ["wrong"], [SECOND], [KEY, SECOND]):
            with pytest.raises(UsageError):
                archive.rekey(keep)
        with pytest.raises(UsageError, match="nobody"):
            archive.rekey([KEY], drop=["nobody"])
        assert archive._container.superblock.epoch == 1
    open_archive(path).close()


def test_goes_on_where_it_was_stopped(path: Path) -> None:
    expected = fill(path)
    with open_archive(path, "r+") as archive:
        report = archive.rekey([KEY], seconds=0)
        assert not report.is_complete
        assert tree_of(archive) == expected
        assert_sound(archive)
        with pytest.raises(UsageError, match="under way"):
            archive.rekey([KEY])
        archive.write_bytes("/between", b"x")
    with open_archive(path) as archive:
        assert archive.read_bytes("/big") == noise(700_000)
    with open_archive(path, "r+") as archive:
        assert archive.rekey().is_complete
        assert archive.read_bytes("/between") == b"x"
        assert_sound(archive)
        archive.remove("/between")
        assert tree_of(archive) == expected
        with pytest.raises(UsageError):
            archive.rekey()


def test_reader_keeps_its_snapshot_and_is_told(path: Path) -> None:
    expected = fill(path)
    with open_archive(path, "r+") as writer, open_archive(path) as reader:
        reader.read_bytes("/a/1")
        writer.rekey([KEY])
        assert tree_of(reader) == expected
        with pytest.raises(RekeyedError, match="again"):
            reader.refresh()
        with open_archive(path) as later:
            assert tree_of(later) == expected
            writer.write_bytes("/more", b"m")
            later.refresh()
            assert later.read_bytes("/more") == b"m"


def test_old_roots_and_nodes_are_not_accepted(path: Path) -> None:
    """A ring and a superblock put back from before open nothing."""
    fill(path)
    before = path.read_bytes()
    with open_archive(path, "r+") as archive:
        archive.rekey([KEY])
    after = bytearray(path.read_bytes())
    after[RING_OFFSET : RING_OFFSET + RING_PLACES * BLOCK_SIZE] = before[
        RING_OFFSET : RING_OFFSET + RING_PLACES * BLOCK_SIZE
    ]
    path.write_bytes(after)
    with pytest.raises(archive7.CorruptError):
        open_archive(path)


def test_receipts_from_before_are_still_compared(path: Path, tmp_path: Path) -> None:
    fill(path)
    old = Path(shutil.copy(path, tmp_path / "old.ar7"))
    with open_archive(path, "r+") as archive:
        archive.write_bytes("/later", b"x")
        first = archive.receipt()
        archive.rekey([KEY])
        archive.rekey([KEY])
        second = archive.receipt()
    for receipt in (first, second):
        with open_archive(path, expect=receipt):
            pass
    for receipt in (first, second):
        with pytest.raises(archive7.CorruptError):
            open_archive(old, expect=receipt)


def test_damaged_block_is_counted_and_left(path: Path) -> None:
    fill(path)
    with open_archive(path) as archive:
        stream = archive._filesystem.open_stream(
            archive._filesystem.find("/big", follow=False).identity
        )
        slot = entry_slot(archive._container.blocks.map.get(stream.extents.position(9)))
    with path.open("r+b") as file:
        file.seek(slot_offset(slot))
        file.write(noise(BLOCK_SIZE))
    with open_archive(path, "r+") as archive:
        report = archive.rekey([KEY])
        assert report.is_complete
        assert report.damaged == 1
        with pytest.raises(archive7.CorruptError):
            archive.read_bytes("/big")
        assert archive.read_bytes("/a/5") == noise(250, 5)


def test_transaction_and_reader_are_refused(path: Path) -> None:
    fill(path)
    with open_archive(path) as reader, pytest.raises(archive7.ReadOnlyError):
        reader.rekey([KEY])
    with (
        open_archive(path, "r+") as archive,
        archive.transaction(),
        pytest.raises(archive7.TransactionError),
    ):
        archive.rekey([KEY])


def test_progress_reaches_the_end() -> None:
    with open_archive(io.BytesIO(), "x") as archive:
        archive.write_bytes("/a", noise(100_000))
        told: list[tuple[int, int, str]] = []
        archive.rekey([KEY], progress=lambda *args: told.append(args))
        done, total, what = told[-1]
        assert done == total
        assert what == "rekey"
        assert_sound(archive)


def test_a_key_and_a_password_in_one(path: Path) -> None:
    fill(path)
    with open_archive(path, "r+") as archive:
        archive.keys.add(password="kept", kdf=CHEAP)
        assert archive.rekey([Secrets(KEY, "kept")]).kept == ("raw key", "passphrase")
    archive7.open(path, key=KEY).close()
    archive7.open(path, password="kept").close()


def test_items_of_later_versions_stay(path: Path) -> None:
    """docs/format.rst: a writer keeps items of unknown kinds."""
    fill(path)
    with open_archive(path, "r+") as archive:
        container = archive._container
        info = with_bodies(container.superblock.info, 77, [b"later"])
        container.change_superblock(replace(container.superblock, info=info))
        archive.keys.add(key=SECOND)
        assert archive.rekey([KEY]).is_complete
        assert info_bodies(container.superblock.info, 77) == [b"later"]
        assert [note.slot for note in notes(container.superblock.info)] == [
            slot.id for slot in container.superblock.slots
        ]


def test_receipts_of_the_last_epochs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their keys do not fill the superblock."""
    monkeypatch.setattr(rekey, "_RECEIPT_KEYS", 3)
    file = io.BytesIO()
    receipts = []
    with open_archive(file, "x") as archive:
        for _ in range(6):
            receipts.append(archive.receipt())
            archive.rekey([KEY])
    for receipt in receipts[-3:]:
        open_archive(file, expect=receipt).close()
    for receipt in receipts[:3]:
        with pytest.raises(archive7.ReceiptError):
            open_archive(file, expect=receipt)
