"""Secrets of an archive: adding, removing, changing, backup; what a private key alone proves."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import archive7
from archive7 import (
    Archive,
    CorruptError,
    KdfCost,
    KdfLimitError,
    ReadOnlyError,
    RollbackError,
    SuperblockCorruptError,
    SyncFailedError,
    TransactionError,
    UnauthenticatedError,
    UsageError,
    WrongKeyError,
    keyslots,
)
from archive7 import superblock as sb
from archive7.crypto import hkdf
from archive7.keys import Identity, generate_identity, generate_key_file
from archive7.keyslots import Keyslot, wipe
from archive7.layout import RING_OFFSET, SLOTS_OFFSET, SUPERBLOCK_SIZE
from tests.unit.archives import KEY, Vaults, assert_sound

FLOOR = KdfCost(19456, 2, 1)
OTHER = bytes(range(32, 64))
ANNA, BOB = generate_identity("hybrid"), generate_identity("x25519")


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as opened:
        yield opened


@pytest.fixture(autouse=True)
def argon2id_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Put HKDF in the place of Argon2id; record the costs it was asked for."""
    calls = []

    def cheap(phrase: bytes, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
        calls.append((memory_kib, passes, lanes))
        return hkdf(phrase, salt, b"cheap")

    monkeypatch.setattr(keyslots, "argon2id", cheap)
    return calls


def opens(path: Path, **secret: Any) -> bool:
    try:
        with archive7.open(path, **secret) as archive:
            assert_sound(archive)
    except WrongKeyError:
        return False
    return True


def kinds(archive: Archive) -> list[str]:
    return [info.kind for info in archive.keys.list()]


# --- list


def test_list_tells_what_is_known(vaults: Vaults) -> None:
    archive = vaults.open("x", password="phrase", kdf=FLOOR, recipients=[ANNA.recipient])
    one, two = archive.keys.list()
    assert (one.kind, one.label, one.cost, one.recipient) == ("passphrase", "", FLOOR, None)
    assert (two.kind, two.cost, two.recipient) == ("hybrid recipient", None, ANNA.recipient)
    assert one.is_mine
    assert not two.is_mine
    assert one.created_ns is not None
    assert len(one.id) == 16
    assert archive.info().keyslots == ("passphrase", "hybrid recipient")


def test_no_secret_in_what_is_told(vaults: Vaults) -> None:
    archive = vaults.open("x", password="tell-no-one", recipients=[BOB.recipient])
    archive.keys.add(key=OTHER, label="x")
    for text in (repr(archive.keys), repr(archive.keys.list()), repr(archive.info())):
        assert "tell-no-one" not in text
        assert OTHER.hex() not in text
        assert repr(OTHER)[2:-1] not in text


def test_closed_archive_has_no_keyring(vaults: Vaults) -> None:
    archive = vaults.open("x")
    keyring = archive.keys
    archive.close()
    for call in (keyring.list, lambda: keyring.add(key=OTHER), lambda: keyring.export_header("x")):
        with pytest.raises(archive7.ClosedError):
            call()


# --- add


def test_every_kind_of_secret_can_be_added(vaults: Vaults, tmp_path: Path) -> None:
    path, file = vaults.path(), tmp_path / "key"
    generate_key_file(file)
    archive = vaults.open("x")
    archive.write_text("/a", "hello")
    added = [
        archive.keys.add(password="phrase", kdf=FLOOR, label="phrase"),
        archive.keys.add(key=OTHER, label="key"),
        archive.keys.add(key_file=file, label="file"),
        archive.keys.add(recipient=ANNA.recipient, label="anna"),
        archive.keys.add(recipient=BOB.recipient, label="bob"),
    ]
    assert list(archive.keys.list()[1:]) == added
    archive.close()
    secrets: list[dict[str, Any]] = [
        {"key": KEY},
        {"password": "phrase"},
        {"key": OTHER},
        {"key_file": file},
        {"identity": ANNA},
        {"identity": BOB},
    ]
    for number, secret in enumerate(secrets):
        with archive7.open(path, **secret) as reader:
            assert reader.read_text("/a") == "hello"
            assert [info.is_mine for info in reader.keys.list()].index(True) == number
    assert not opens(path, password="other")
    assert not opens(path, identity=generate_identity("x25519"))


@pytest.mark.parametrize(
    "new",
    [
        {},
        {"key": OTHER, "password": "x"},
        {"key": OTHER, "recipient": BOB.recipient},
        {"key": b"short"},
        {"password": ""},
        {"recipient": b"no recipient"},
    ],
)
def test_senseless_secret_changes_nothing(vaults: Vaults, new: dict[str, Any]) -> None:
    archive = vaults.open("x")
    before = vaults.path().read_bytes()
    for call in (archive.keys.add, archive.keys.change):
        with pytest.raises(UsageError):
            call(**new)
    assert kinds(archive) == ["raw key"]
    assert vaults.path().read_bytes()[:RING_OFFSET] == before[:RING_OFFSET]


def test_label_is_taken_once(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.keys.add(key=OTHER, label="two")
    archive.keys.add(password="x", kdf=FLOOR)
    archive.keys.add(password="y", kdf=FLOOR)
    with pytest.raises(UsageError, match="'two'"):
        archive.keys.add(password="z", kdf=FLOOR, label="two")
    with pytest.raises(UsageError, match="255"):
        archive.keys.add(password="z", kdf=FLOOR, label="x" * 256)
    archive.keys.change("two", key=bytes(32), label="two")
    assert len(archive.keys.list()) == 4


def test_recipient_is_taken_once(vaults: Vaults) -> None:
    archive = vaults.open("x", recipients=[BOB.recipient, BOB.recipient])
    assert kinds(archive) == ["raw key", "x25519 recipient"]
    with pytest.raises(UsageError, match="already"):
        archive.keys.add(recipient=BOB.recipient)


def test_cost_out_of_bounds_is_refused(vaults: Vaults) -> None:
    archive = vaults.open("x")
    with pytest.raises(KdfLimitError):
        archive.keys.add(password="x", kdf=KdfCost(1024, 1, 1))
    assert kinds(archive) == ["raw key"]


def test_full_table_is_named(vaults: Vaults) -> None:
    archive = vaults.open("x")
    for number in range(12):
        archive.keys.add(recipient=generate_identity().recipient, label=f"{number:0>255}")
    with pytest.raises(UsageError, match="at most 12"):
        archive.keys.add(recipient=BOB.recipient)
    with pytest.raises(UsageError, match="room for"):
        for number in range(12):
            archive.keys.add(key=bytes([number]) * 32, label=f"k{number:0>254}")
    assert_sound(archive)
    archive.close()
    with archive7.open(vaults.path(), key=KEY) as reader:
        assert len([info for info in reader.keys.list() if info.recipient]) == 12


def test_nine_passphrases_are_too_many(vaults: Vaults) -> None:
    archive = vaults.open("x")
    for number in range(8):
        archive.keys.add(password=str(number), kdf=FLOOR)
    with pytest.raises(UsageError, match="at most 8"):
        archive.keys.add(password="9", kdf=FLOOR)


# --- remove


def test_removed_secret_opens_no_more(vaults: Vaults) -> None:
    archive = vaults.open("x")
    info = archive.keys.add(key=OTHER, label="two")
    archive.keys.add(recipient=ANNA.recipient, label="anna")
    archive.keys.remove(info.id)
    archive.keys.remove("anna")
    archive.close()
    assert opens(vaults.path(), key=KEY)
    assert not opens(vaults.path(), key=OTHER)
    assert not opens(vaults.path(), identity=ANNA)
    with archive7.open(vaults.path(), key=KEY) as reader:
        assert len(sb.notes(reader._container.superblock.info)) == 1, "its label went as well"
    assert OTHER not in vaults.path().read_bytes()


def test_removed_while_open_goes_on(vaults: Vaults) -> None:
    """Also the keyslot that opened the archive may go."""
    archive = vaults.open("x")
    archive.keys.add(key=OTHER)
    archive.keys.remove(archive.keys.list()[0].id)
    archive.write_text("/a", "after")
    assert [info.is_mine for info in archive.keys.list()] == [False]
    archive.keys.add(password="more", kdf=FLOOR)
    archive.close()
    vaults._secrets[vaults.path()] = {"key": OTHER}
    assert not opens(vaults.path(), key=KEY)
    assert opens(vaults.path(), password="more")


@pytest.mark.parametrize("which", ["", "nobody", "0" * 16, "two\0"])
def test_unknown_keyslot_is_named(vaults: Vaults, which: str) -> None:
    archive = vaults.open("x")
    archive.keys.add(key=OTHER, label="two")
    for call in (
        lambda: archive.keys.remove(which, force=True),
        lambda: archive.keys.change(which, key=bytes(32)),
    ):
        with pytest.raises(UsageError, match="no keyslot"):
            call()
    assert len(archive.keys.list()) == 2


def test_last_keyslot_goes_by_force_only(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.keys.add(key=OTHER, label="two")
    archive.keys.remove("two")
    [last] = archive.keys.list()
    with pytest.raises(UsageError, match="last one"):
        archive.keys.remove(last.id)
    assert opens(vaults.path(), key=KEY)
    archive.keys.remove(last.id, force=True)
    assert archive.keys.list() == ()
    archive.write_text("/a", "still open")
    archive.close()
    assert not opens(vaults.path(), key=KEY)
    vaults.damaged.add(vaults.path())


def test_keyslot_of_unknown_kind_does_not_count_as_the_last(vaults: Vaults) -> None:
    archive = vaults.open("x")
    container = archive._container
    unknown = Keyslot(99, os.urandom(8) + bytes(40))
    slots = (*container.superblock.slots, unknown)
    container.change_superblock(replace(container.superblock, slots=slots))
    assert kinds(archive) == ["raw key", "kind 99"]
    with pytest.raises(UsageError, match="last one"):
        archive.keys.remove(archive.keys.list()[0].id)
    archive.keys.add(key=OTHER, label="two")
    assert kinds(archive) == ["raw key", "kind 99", "raw key"]
    archive.keys.remove(unknown.id.hex())
    assert kinds(archive) == ["raw key", "raw key"]


# --- change


def test_change_replaces_mine(vaults: Vaults) -> None:
    archive = vaults.open("x", password="old", kdf=FLOOR)
    archive.keys.add(recipient=ANNA.recipient, label="anna")
    before = archive._container.superblock.sequence
    info = archive.keys.change(password="new", kdf=FLOOR)
    assert info.is_mine
    assert archive._container.superblock.sequence == before + 1, "in one step"
    assert kinds(archive) == ["hybrid recipient", "passphrase"]
    archive.close()
    assert not opens(vaults.path(), password="old")
    assert opens(vaults.path(), password="new")
    assert opens(vaults.path(), identity=ANNA)
    vaults._secrets[vaults.path()] = {"password": "new"}


def test_change_keeps_the_label_of_another(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.keys.add(key=OTHER, label="two")
    assert archive.keys.change("two", recipient=BOB.recipient).label == "two"
    assert archive.keys.change("two", password="x", kdf=FLOOR, label="three").label == "three"
    assert kinds(archive) == ["raw key", "passphrase"]
    assert archive.keys.list()[0].is_mine


def test_change_where_mine_is_gone(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.keys.add(key=KEY)
    archive.keys.remove(archive.keys.list()[0].id)
    with pytest.raises(UsageError, match="no keyslot"):
        archive.keys.change(key=OTHER)


# --- when a change is allowed


def test_reader_changes_nothing(vaults: Vaults) -> None:
    vaults.open("x").close()
    reader = vaults.open("r")
    for call in (
        lambda: reader.keys.add(key=OTHER),
        lambda: reader.keys.remove(reader.keys.list()[0].id, force=True),
        lambda: reader.keys.change(key=OTHER),
    ):
        with pytest.raises(ReadOnlyError):
            call()


def test_no_change_inside_a_transaction(vaults: Vaults) -> None:
    archive = vaults.open("x")
    with archive.transaction():
        archive.write_text("/a", "x")
        with pytest.raises(TransactionError):
            archive.keys.add(key=OTHER)
    assert archive.read_text("/a") == "x"
    assert kinds(archive) == ["raw key"]


def test_change_is_durable_with_all_that_was_before(vaults: Vaults) -> None:
    archive = vaults.open("x")
    file = archive.open("/a", "w")
    file.write("handed over at the flush")
    file.flush()
    archive.keys.add(key=OTHER)
    copied = vaults.folder / "copy.ar7"
    copied.write_bytes(vaults.path().read_bytes())
    with archive7.open(copied, key=OTHER) as other:
        assert other.read_text("/a") == "handed over at the flush"
        assert other.recovered is None
    file.write(" and more")
    file.close()
    assert archive.read_text("/a").endswith("and more")


def test_refused_change_leaves_open_files_alone(vaults: Vaults) -> None:
    archive = vaults.open("x")
    with archive.open("/a", "w") as file:
        file.write("begun")
        for call in (
            lambda: archive.keys.remove("nobody"),
            lambda: archive.keys.add(password="x", kdf=KdfCost(1, 1, 1)),
            lambda: archive.keys.add(key=OTHER, label="x" * 300),
            lambda: archive.keys.remove(archive.keys.list()[0].id),
        ):
            with pytest.raises((UsageError, KdfLimitError)):
                call()
        file.write(" and ended")
    assert archive.read_text("/a") == "begun and ended"


def test_failed_write_of_a_copy_ends_the_session(vaults: Vaults) -> None:
    """Either version may be on disk then: nothing more is written before it is opened anew."""
    archive = vaults.open("x")
    container = archive._container
    archive.write_text("/a", "kept")
    real = container.device.pwrite

    def full(data: Any, offset: int) -> None:
        if offset == 0:
            raise OSError(5, "Input/output error")
        real(data, offset)

    container.device.pwrite = full  # type: ignore[method-assign]
    with pytest.raises(SyncFailedError, match="superblock"):
        archive.keys.add(key=OTHER)
    for call in (
        lambda: archive.keys.add(key=OTHER),
        lambda: archive.write_text("/b", "x"),
        archive.sync,
    ):
        with pytest.raises(SyncFailedError):
            call()
    assert archive.read_text("/a") == "kept"
    archive.close()
    again = vaults.open("r+")
    assert again.read_text("/a") == "kept"
    again.keys.add(key=OTHER)


def test_interrupt_before_the_copies_changes_nothing(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = vaults.open("x")

    def interrupted(*_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(keyslots, "argon2id", interrupted)
    with pytest.raises(KeyboardInterrupt):
        archive.keys.add(password="x", kdf=FLOOR)
    archive.write_text("/a", "goes on")
    assert kinds(archive) == ["raw key"]


@pytest.mark.parametrize(
    "change", [lambda a: a.keys.add(key=OTHER), lambda a: a.keys.change(key=OTHER)]
)
def test_open_reader_follows(vaults: Vaults, change: Callable[[Archive], object]) -> None:
    """Its superblock is older than the roots then: it takes the new one, and goes on."""
    archive = vaults.open("x")
    archive.write_text("/a", "one")
    reader = vaults.open("r")
    change(archive)
    archive.write_text("/a", "two")
    assert reader.read_text("/a") == "one"
    assert reader.refresh()
    assert reader.read_text("/a") == "two"
    assert [info.id for info in reader.keys.list()] == [info.id for info in archive.keys.list()]
    vaults._secrets[vaults.path()] = {"key": OTHER}


def test_reader_whose_superblock_was_put_back_is_told(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.sync()
    old = vaults.path().read_bytes()[:RING_OFFSET]
    reader = vaults.open("r")
    archive.keys.add(key=OTHER)
    new = vaults.path().read_bytes()[:RING_OFFSET]
    _overwrite(vaults.path(), 0, old)
    with pytest.raises(RollbackError, match="older than the roots"):
        reader.refresh()
    _overwrite(vaults.path(), 0, new)
    assert reader.refresh()


def test_reader_meets_two_changes_at_once(vaults: Vaults, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has read the roots of one change when the next one has written its superblock."""
    archive = vaults.open("x")
    reader = vaults.open("r")
    container = reader._container
    follow, ids = container._follow_superblock, [KEY]

    def followed_late() -> None:
        if len(ids) == 1:
            ids.append(OTHER)
            archive.keys.add(key=OTHER, label="two")
        follow()

    monkeypatch.setattr(container, "_follow_superblock", followed_late)
    archive.keys.add(key=bytes(32), label="one")
    assert reader.refresh()
    assert [info.label for info in reader.keys.list()] == ["", "one", "two"]


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_many_changes_in_one_session(vaults: Vaults, rng: random.Random) -> None:
    """A model of the keyring, with files written between the changes."""
    archive, alive = vaults.open("x"), {"first": KEY}
    archive.keys.change(key=KEY, label="first")
    for number in range(25):
        archive.write_bytes("/f", rng.randbytes(rng.randint(0, 20_000)))
        label = rng.choice(sorted(alive))
        drawn = rng.random()
        if drawn < 0.5:
            alive[f"n{number}"] = rng.randbytes(32)
            archive.keys.add(key=alive[f"n{number}"], label=f"n{number}")
        elif drawn < 0.75:
            alive[label] = rng.randbytes(32)
            archive.keys.change(label, key=alive[label])
        elif len(alive) > 1:
            archive.keys.remove(label)
            del alive[label]
        assert {info.label for info in archive.keys.list()} == set(alive)
    archive.close()
    for key in alive.values():
        assert opens(vaults.path(), key=key)
    vaults._secrets[vaults.path()] = {"key": next(iter(alive.values()))}


# --- the master key


def test_master_key_is_kept_while_open_and_wiped_then(vaults: Vaults) -> None:
    for mode in ("x", "r+", "r"):
        archive = vaults.open(mode)
        master = archive._container.master
        assert any(master)
        archive.close()
        assert not any(master)


def test_master_key_is_wiped_where_opening_fails(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    vaults.open("x").close()
    _overwrite(vaults.path(), RING_OFFSET, bytes(SLOTS_OFFSET - RING_OFFSET))
    vaults.damaged.add(vaults.path())
    wiped: list[bytearray] = []
    monkeypatch.setattr("archive7.snapshot.wipe", lambda key: (wiped.append(key), wipe(key)))
    for mode in ("r", "r+"):
        with pytest.raises(CorruptError, match="no root"):
            archive7.open(vaults.path(), mode, key=KEY)
        assert wiped
        assert not any(any(key) for key in wiped)
        wiped.clear()


# --- what a private key alone proves


@pytest.fixture
def forged(vaults: Vaults) -> Path:
    """An archive that somebody made who has only public keys."""
    path = vaults.path("forged.ar7")
    with archive7.open(path, "x", recipients=[ANNA.recipient, BOB.recipient]) as archive:
        archive.write_text("/bill", "pay me")
        assert archive.info().is_authenticated, "to who made it"
        assert kinds(archive) == ["hybrid recipient", "x25519 recipient"]
    return path


@pytest.mark.parametrize("identity", [ANNA, BOB], ids=["hybrid", "x25519"])
def test_private_key_alone_reads_and_is_told(forged: Path, identity: Identity) -> None:
    with archive7.open(forged, identity=identity) as archive:
        assert archive.read_text("/bill") == "pay me"
        assert not archive.info().is_authenticated
        assert archive.refresh() is False


def test_private_key_alone_does_not_write(forged: Path) -> None:
    before = forged.read_bytes()
    for mode in ("r+", "a"):
        with pytest.raises(UnauthenticatedError, match="unauthenticated=True"):
            archive7.open(forged, mode, identity=BOB)
    assert forged.read_bytes() == before


def test_private_key_alone_writes_where_that_is_said(forged: Path) -> None:
    with archive7.open(forged, "r+", identity=BOB, unauthenticated=True) as archive:
        archive.write_text("/bill", "paid")
        assert not archive.info().is_authenticated
        archive.keys.add(key=KEY)
    with archive7.open(forged, "r+", key=KEY) as archive:
        assert archive.info().is_authenticated


def test_repair_by_a_private_key_alone(forged: Path) -> None:
    """Telling is reading; doing it is writing."""
    before = forged.read_bytes()
    archive7.repair(forged, identity=BOB)
    with pytest.raises(UnauthenticatedError):
        archive7.repair(forged, identity=BOB, apply=True)
    assert forged.read_bytes() == before
    archive7.repair(forged, identity=BOB, apply=True, unauthenticated=True)


def test_rescue_by_a_private_key(forged: Path, tmp_path: Path) -> None:
    archive7.rescue(forged, tmp_path / "saved", identity=ANNA)
    assert (tmp_path / "saved" / "files" / "bill").read_text() == "pay me"


def test_archive_with_only_recipients_asks_for_an_identity(forged: Path) -> None:
    with pytest.raises(WrongKeyError, match="2 would take identity="):
        archive7.open(forged, key=KEY)
    with pytest.raises(UsageError, match="recipients open nothing"):
        archive7.open(forged, recipients=[BOB.recipient])
    with pytest.raises(UsageError, match="no secret"):
        archive7.open(forged)
    with pytest.raises(UsageError, match="load_identity"):
        archive7.open(forged, identity=b"bytes")  # type: ignore[arg-type]


def test_secret_beside_the_private_key_proves(vaults: Vaults) -> None:
    """With both, the key is tried first, and the private key only if it opens nothing."""
    vaults.open("x", recipients=[BOB.recipient]).close()
    archive = vaults.open("r+", identity=BOB, key=KEY)
    assert archive.info().is_authenticated
    archive.close()
    with archive7.open(vaults.path(), identity=BOB, key=OTHER) as reader:
        assert not reader.info().is_authenticated


def test_forged_copy_does_not_displace_the_genuine_one(vaults: Vaults, forged: Path) -> None:
    """Somebody puts a newer copy, for the public key, beside the one that my key opens."""
    vaults.open("x", recipients=[BOB.recipient]).close()
    path = vaults.path()
    container = path.read_bytes()[24:40]
    with archive7.open(forged, "r+", identity=BOB, unauthenticated=True) as archive:
        archive.keys.change(archive.keys.list()[0].id, key=OTHER)
        assert archive._container.superblock.sequence > 1
    _overwrite(path, 0, forged.read_bytes()[:SUPERBLOCK_SIZE])
    with archive7.open(path, key=KEY, identity=BOB) as reader:
        assert reader.info().is_authenticated
        assert reader._container.superblock.container == container
    vaults.damaged.add(path)


def test_identity_at_creation_gets_a_keyslot(vaults: Vaults) -> None:
    archive = vaults.open("x", identity=ANNA)
    assert kinds(archive)[-1] == "hybrid recipient"
    archive.close()
    assert opens(vaults.path(), identity=ANNA)


# --- backup of the header


@pytest.fixture
def backup(vaults: Vaults) -> Path:
    """Of an archive with two keys."""
    with archive7.open(vaults.path(), "x", key=KEY) as archive:
        archive.keys.add(key=OTHER, label="two")
        archive.write_text("/a", "content")
        path = vaults.folder / "header"
        archive.keys.export_header(path)
    return path


def _destroy_header(path: Path) -> None:
    _overwrite(path, 0, random.Random(1).randbytes(2 * SUPERBLOCK_SIZE))


def test_backup_is_a_genuine_copy(vaults: Vaults, backup: Path) -> None:
    assert backup.read_bytes() in vaults.path().read_bytes()[: 2 * SUPERBLOCK_SIZE]
    assert backup.stat().st_size == SUPERBLOCK_SIZE
    assert backup.stat().st_mode & 0o777 == 0o600
    with archive7.open(vaults.path(), key=KEY) as reader:
        with pytest.raises(FileExistsError):
            reader.keys.export_header(backup)
        reader.keys.export_header(vaults.folder / "again")


def test_backup_of_a_header_that_is_damaged_meanwhile_is_refused(
    vaults: Vaults, backup: Path
) -> None:
    with archive7.open(vaults.path(), key=KEY) as reader:
        _destroy_header(vaults.path())
        with pytest.raises(SuperblockCorruptError, match="genuine"):
            reader.keys.export_header(vaults.folder / "again")
    assert not (vaults.folder / "again").exists()
    archive7.restore_header(vaults.path(), backup, key=KEY)


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_destroyed_header_comes_back(vaults: Vaults, backup: Path, key: bytes) -> None:
    _destroy_header(vaults.path())
    with pytest.raises(archive7.NotAnArchiveError):
        archive7.open(vaults.path(), key=key)
    archive7.restore_header(vaults.path(), backup, key=key)
    for secret in (KEY, OTHER):
        with archive7.open(vaults.path(), "r+", key=secret) as archive:
            assert archive.read_text("/a") == "content"
            assert_sound(archive)


def test_restore_over_an_intact_header_of_the_same_version(vaults: Vaults, backup: Path) -> None:
    archive7.restore_header(vaults.path(), backup, key=KEY)
    assert opens(vaults.path(), key=OTHER)


@pytest.mark.parametrize("destroyed", [False, True])
def test_older_backup_comes_back_by_force_only(
    vaults: Vaults, backup: Path, destroyed: bool
) -> None:
    with archive7.open(vaults.path(), "r+", key=KEY) as archive:
        archive.keys.remove("two")
        archive.keys.add(password="new", kdf=FLOOR)
    if destroyed:
        _destroy_header(vaults.path())
    before = vaults.path().read_bytes()
    with pytest.raises(UsageError, match="older than what the archive knows"):
        archive7.restore_header(vaults.path(), backup, key=KEY)
    assert vaults.path().read_bytes() == before
    archive7.restore_header(vaults.path(), backup, key=OTHER, force=True)
    assert opens(vaults.path(), key=OTHER)
    assert opens(vaults.path(), key=KEY)
    assert not opens(vaults.path(), password="new")


def test_backup_merely_copied_over_is_refused(vaults: Vaults, backup: Path) -> None:
    """As the roots know a newer version: that is what `restore_header` is for."""
    with archive7.open(vaults.path(), "r+", key=KEY) as archive:
        archive.keys.remove("two")
    whole = vaults.path().read_bytes()
    _overwrite(vaults.path(), 0, backup.read_bytes() * 2)
    with pytest.raises(RollbackError):
        archive7.open(vaults.path(), key=OTHER)
    vaults.path().write_bytes(whole)


def test_backup_newer_than_the_whole_file_is_told(vaults: Vaults, backup: Path) -> None:
    old = vaults.path().read_bytes()
    with archive7.open(vaults.path(), "r+", key=KEY) as archive:
        archive.keys.remove("two")
        archive.keys.export_header(vaults.folder / "newer")
    new = vaults.path().read_bytes()
    vaults.path().write_bytes(old)
    with pytest.raises(RollbackError, match="older than the superblock"):
        archive7.restore_header(vaults.path(), vaults.folder / "newer", key=KEY)
    assert vaults.path().read_bytes() == old
    vaults.path().write_bytes(new)


def test_backup_of_another_archive_is_refused(vaults: Vaults, backup: Path) -> None:
    vaults.open("x", "other.ar7").close()
    other = vaults.path("other.ar7")
    before = other.read_bytes()
    for _ in range(2):
        with pytest.raises(UsageError, match="another archive"):
            archive7.restore_header(other, backup, key=KEY, force=True)
    assert other.read_bytes() == before
    _destroy_header(other)
    with pytest.raises(CorruptError, match="no root opens under the key of this backup"):
        archive7.restore_header(other, backup, key=KEY, force=True)
    other.write_bytes(before)


@pytest.mark.parametrize("size", [0, 100, SUPERBLOCK_SIZE - 1, SUPERBLOCK_SIZE + 1])
def test_file_that_is_no_backup_is_named(vaults: Vaults, backup: Path, size: int) -> None:
    path = vaults.folder / "wrong"
    path.write_bytes(vaults.path().read_bytes()[:size])
    with pytest.raises(UsageError, match="no backup"):
        archive7.restore_header(vaults.path(), path, key=KEY)


def test_damaged_backup_and_wrong_secret_are_told_apart(vaults: Vaults, backup: Path) -> None:
    before = vaults.path().read_bytes()
    with pytest.raises(WrongKeyError, match="header"):
        archive7.restore_header(vaults.path(), backup, key=bytes(32))
    _overwrite(backup, 100, b"damaged")
    with pytest.raises(SuperblockCorruptError, match="header"):
        archive7.restore_header(vaults.path(), backup, key=KEY)
    assert vaults.path().read_bytes() == before


def test_restore_needs_the_lock(vaults: Vaults, backup: Path) -> None:
    writer = vaults.open("r+")
    with pytest.raises(archive7.LockedError):
        archive7.restore_header(vaults.path(), backup, key=KEY)
    writer.close()


def test_restore_by_a_private_key_alone_wants_to_be_said(vaults: Vaults) -> None:
    path, header = vaults.path(), vaults.folder / "header"
    with archive7.open(path, "x", key=KEY, recipients=[BOB.recipient]) as archive:
        archive.keys.export_header(header)
    _destroy_header(path)
    with pytest.raises(UnauthenticatedError):
        archive7.restore_header(path, header, identity=BOB)
    archive7.restore_header(path, header, identity=BOB, unauthenticated=True)
    assert opens(path, key=KEY)


def test_missing_backup_or_archive(vaults: Vaults, backup: Path) -> None:
    for path, header in ((vaults.path(), "nothing"), (vaults.folder / "nothing", str(backup))):
        with pytest.raises(FileNotFoundError):
            archive7.restore_header(path, header, key=KEY)


# --- cost of a password


def calibrated(
    monkeypatch: pytest.MonkeyPatch, per_kib: float, seconds: float = 0.5, **options: Any
) -> KdfCost:
    """On a machine whose Argon2id takes `per_kib` seconds for each KiB and pass."""
    clock = [0.0]

    def work(_p: bytes, _s: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
        KdfCost(memory_kib, passes, lanes).check()
        clock[0] += per_kib * memory_kib * passes
        return bytes(32)

    monkeypatch.setattr(keyslots, "argon2id", work)
    monkeypatch.setattr(keyslots.time, "perf_counter", lambda: clock[0])
    return KdfCost.calibrate(seconds, **options)


@pytest.mark.parametrize("per_kib", [1e-9, 1e-7, 5e-7, 2e-6, 1e-4, 0.1, 0.0])
@pytest.mark.parametrize("seconds", [0.05, 0.5, 5.0])
def test_calibration_stays_within_the_bounds(
    monkeypatch: pytest.MonkeyPatch, per_kib: float, seconds: float
) -> None:
    cost = calibrated(monkeypatch, per_kib, seconds)
    cost.check(262144)
    assert cost.lanes == 4


def test_calibration_meets_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calibrated(monkeypatch, 5e-7) == KdfCost(262144, 4, 4), "memory first, then passes"
    assert calibrated(monkeypatch, 2e-6) == KdfCost(83333, 3, 4)
    assert calibrated(monkeypatch, 2e-6, max_memory=64 << 20) == KdfCost(65536, 4, 4)
    assert calibrated(monkeypatch, 1e-8, max_memory=2 << 30).memory_kib == 2**20


@pytest.mark.parametrize(
    "arguments",
    [{"seconds": 0}, {"seconds": -1}, {"seconds": float("nan")}, {"max_memory": 1 << 20}],
)
def test_senseless_calibration_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="max_memory"):
        KdfCost.calibrate(**arguments)


# --- nothing is left behind


def test_no_secret_in_a_traceback(vaults: Vaults) -> None:
    """Arguments of frames are not shown, messages are: none has a secret."""
    archive = vaults.open("x")
    secret = "tr0ub4dor"
    messages = []
    for call in (
        lambda: archive.keys.add(password=secret, key=OTHER),
        lambda: archive.keys.add(password=secret, label="x" * 300),
        lambda: archive.keys.add(password=secret, kdf=KdfCost(1, 1, 1)),
        lambda: archive.keys.change("nobody", password=secret),
        lambda: archive7.open(vaults.path(), password=secret),
        lambda: archive7.restore_header(vaults.path(), vaults.path(), password=secret),
    ):
        with pytest.raises(archive7.Archive7Error) as caught:
            call()
        messages.append(str(caught.value))
    assert not any(secret in message for message in messages)
