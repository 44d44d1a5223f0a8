"""Receipts: an older copy and a fork are refused, what came after is accepted."""

from __future__ import annotations

import io
import random
import shutil
from pathlib import Path
from uuid import UUID

import pytest

import archive7
from archive7 import Receipt, ReceiptError, RollbackError, UsageError
from archive7.layout import RECEIPT
from tests.unit.archives import KEY, assert_sound, noise, open_archive


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.ar7"


def written(path: Path, name: str, mode: str = "r+") -> Receipt:
    """One session that writes a file and takes a receipt."""
    with open_archive(path, mode) as archive:
        archive.write_bytes(f"/{name}", noise(3000))
        return archive.receipt()


def copy_of(path: Path, name: str) -> Path:
    return Path(shutil.copy(path, path.with_name(name)))


def test_same_state_and_later_ones_are_accepted(path: Path) -> None:
    receipts = [written(path, "0", "x")]
    for number in range(1, 6):
        receipts.append(written(path, str(number)))
        for receipt in receipts:
            for form in (receipt, str(receipt), bytes(receipt)):
                with open_archive(path, expect=form) as archive:
                    assert archive.exists(f"/{number}")
            with open_archive(path, "r+", expect=receipt):
                pass


def test_session_that_goes_on_is_accepted(path: Path) -> None:
    with open_archive(path, "x") as archive:
        archive.write_bytes("/a", b"a")
        receipt = archive.receipt()
        archive.write_bytes("/b", b"b")
        archive.sync()
        copy = copy_of(path, "live.ar7")
        archive.write_bytes("/c", b"c")
    for each in (copy, path):
        with open_archive(each, expect=receipt):
            pass


def test_older_copy_is_refused(path: Path) -> None:
    first = written(path, "a", "x")
    old = copy_of(path, "old.ar7")
    second = written(path, "b")
    for mode in ("r", "r+"):
        before = old.read_bytes()
        with pytest.raises(RollbackError, match="accept_rollback=True") as caught:
            open_archive(old, mode, expect=second)
        assert str(second.commit) in str(caught.value)
        assert f"in commit {first.commit + 1} " in str(caught.value)  # closing was one more
        assert old.read_bytes() == before, "refused before anything was written"
    with open_archive(old, "r+", expect=second, accept_rollback=True) as archive:
        assert not archive.exists("/b")
    with open_archive(old, expect=first):
        pass


def test_fork_that_moved_on_is_refused(path: Path) -> None:
    first = written(path, "a", "x")
    fork = copy_of(path, "fork.ar7")
    second = written(path, "b")
    forked = [written(fork, f"f{number}") for number in range(5)]
    assert forked[-1].commit > second.commit
    with pytest.raises(RollbackError):
        open_archive(fork, expect=second)
    with pytest.raises(RollbackError):
        open_archive(path, expect=forked[0])
    for each in (fork, path):
        with open_archive(each, expect=first):
            pass


def test_fork_inside_a_session_is_refused(path: Path) -> None:
    """A copy taken while the writer was at work, continued by another."""
    with open_archive(path, "x") as archive:
        archive.write_bytes("/a", b"a")
        archive.sync()
        fork = copy_of(path, "fork.ar7")
        archive.write_bytes("/b", b"b")
        receipt = archive.receipt()
    written(fork, "f")
    with pytest.raises(RollbackError):
        open_archive(fork, expect=receipt)


def test_commit_that_was_lost_is_refused(path: Path) -> None:
    written(path, "a", "x")
    copy = copy_of(path, "cut.ar7")
    with open_archive(path, "r+") as archive:
        archive.write_bytes("/b", b"b")
        receipt = archive.receipt()
    shutil.copy(copy, path)
    written(path, "c")
    with pytest.raises(RollbackError):
        open_archive(path, expect=receipt)


def test_receipt_of_another_archive_is_refused(path: Path, tmp_path: Path) -> None:
    receipt = written(path, "a", "x")
    other = tmp_path / "other.ar7"
    written(other, "a", "x")
    with pytest.raises(ReceiptError, match=str(receipt.container)):
        open_archive(other, expect=receipt, accept_rollback=True)


def test_container_id_is_expected(path: Path) -> None:
    receipt = written(path, "a", "x")
    for form in (receipt.container, str(receipt.container), receipt.container.bytes):
        with open_archive(path, expect=form):
            pass
    with pytest.raises(ReceiptError):
        open_archive(path, expect=UUID(int=1))


def test_changed_receipt_is_refused(path: Path) -> None:
    receipt = written(path, "a", "x")
    raw = bytes(receipt)
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises((ReceiptError, RollbackError, UsageError)):
            open_archive(path, expect=changed)
    assert len(raw) == RECEIPT.size + 32


@pytest.mark.parametrize("text", ["", "ar7r.", "ar7r.AAAA", "ar7r.!!", "x", "é", "ar7r.ü"])
def test_text_that_is_no_receipt(text: str) -> None:
    with pytest.raises(UsageError):
        Receipt.parse(text)


def test_reader_takes_a_receipt_of_what_is_durable(path: Path) -> None:
    receipt = written(path, "a", "x")
    with open_archive(path, expect=receipt) as reader:
        again = reader.receipt()
    with open_archive(path, expect=again):
        pass
    with open_archive(path, "r+") as writer:
        writer.write_bytes("/b", b"b")
        with open_archive(path) as reader, pytest.raises(UsageError, match="power cut"):
            reader.receipt()


def test_receipt_shows_no_secret_and_is_text(path: Path) -> None:
    receipt = written(path, "a", "x")
    assert Receipt.parse(str(receipt)) == Receipt.parse(bytes(receipt)) == receipt
    assert str(receipt).isascii()
    assert KEY.hex() not in repr(receipt)


def test_not_inside_a_transaction(path: Path) -> None:
    with (
        open_archive(path, "x") as archive,
        archive.transaction(),
        pytest.raises(archive7.TransactionError),
    ):
        archive.receipt()


def test_session_without_a_commit_leaves_nothing(path: Path) -> None:
    written(path, "a", "x")
    for _ in range(3):
        with open_archive(path, "r+"):
            pass
    with open_archive(path) as archive:
        assert archive._manager.special_stream(3).len == 0


def test_long_lineage() -> None:
    """More sessions than one block holds; rollbacks leave no trace in it."""
    file = io.BytesIO()
    with open_archive(file, "x") as archive:
        first = archive.receipt()
    for number in range(200):
        with open_archive(file, "r+") as archive:
            if number % 7 == 0:
                with pytest.raises(KeyError), archive.transaction():
                    archive.write_bytes("/gone", b"x")
                    raise KeyError
            archive.write_bytes("/a", bytes([number]))
    with open_archive(file, expect=first) as archive:
        assert archive._manager.special_stream(3).len == 200 * 24
        assert_sound(archive)


def test_random_histories(seed: int) -> None:
    """Copies, forks and sessions at random: accepted is what descends from the receipt."""
    rng = random.Random(seed)
    files = [io.BytesIO()]
    with open_archive(files[0], "x") as archive:
        histories = [[archive.receipt()]]
    for _ in range(40):
        at = rng.randrange(len(files))
        if rng.random() < 0.3:
            files.append(io.BytesIO(files[at].getvalue()))
            histories.append(list(histories[at]))
            continue
        with open_archive(files[at], "r+") as archive:
            for _ in range(rng.randint(1, 3)):
                archive.write_bytes(f"/{rng.randrange(9)}", rng.randbytes(100))
                if rng.random() < 0.6:
                    histories[at].append(archive.receipt())
    everything = {receipt for receipts in histories for receipt in receipts}
    for file, receipts in zip(files, histories, strict=True):
        for receipt in everything:
            if receipt in receipts:
                open_archive(file, expect=receipt).close()
            else:
                with pytest.raises(RollbackError):
                    open_archive(file, expect=receipt)


def test_restoring_the_header_is_part_of_the_lineage(path: Path, tmp_path: Path) -> None:
    receipt = written(path, "a", "x")
    with open_archive(path, "r+") as archive:
        archive.keys.export_header(tmp_path / "header")
    archive7.restore_header(path, tmp_path / "header", key=KEY)
    with open_archive(path, expect=receipt):
        pass


def test_receipt_proves_what_a_private_key_alone_opened(path: Path) -> None:
    identity = archive7.keys.generate_identity("x25519")
    with open_archive(path, "x") as archive:
        archive.keys.add(recipient=identity.recipient)
        receipt = archive.receipt()
    with pytest.raises(archive7.UnauthenticatedError):
        archive7.open(path, "r+", identity=identity, expect=receipt.container)
    with archive7.open(path, "r+", identity=identity, expect=receipt) as archive:
        assert archive.info().is_authenticated
