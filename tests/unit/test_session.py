"""Transactions: all or nothing, savepoints, doom; and what happens to files that are open."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive7 import Archive
from archive7.errors import ClosedError, ExistsError, NotFoundError, TransactionError
from tests.unit.archives import Vaults, noise, open_archive, tree_of


class UndoneError(Exception):
    """Leaves a transaction."""


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as found:
        yield found


@pytest.fixture
def archive(vaults: Vaults) -> Archive:
    archive = vaults.open("x")
    archive.write_bytes("/old", b"old")
    return archive


def commits(archive: Archive) -> int:
    return archive.info().commit


def test_outside_a_transaction_every_operation_is_one_commit(archive: Archive) -> None:
    calls = [
        lambda: archive.mkdir("/d"), lambda: archive.makedirs("/e/f/g"),
        lambda: archive.write_bytes("/d/f", noise(50_000)), lambda: archive.rename("/d/f", "/f"),
        lambda: archive.truncate("/f", 7), lambda: archive.chmod("/f", 0o600),
        lambda: archive.utime("/f"), lambda: archive.symlink("f", "/l"),
        lambda: archive.replace("/f", "/old"), lambda: archive.remove("/l"),
        lambda: archive.rmdir("/d"),
    ]  # fmt: skip
    for number, call in enumerate(calls):
        before = commits(archive)
        call()
        assert commits(archive) == before + 1, number


def test_asking_commits_nothing(archive: Archive) -> None:
    before = commits(archive)
    archive.listdir("/"), archive.stat("/old"), archive.read_bytes("/old"), archive.exists("/x")
    list(archive.walk("/")), list(archive.check()), archive.info(), archive.refresh()
    with archive.open("/old") as file:
        file.read()
    archive.commit()
    assert commits(archive) == before


def test_a_transaction_is_one_commit_and_readers_see_it_whole(
    vaults: Vaults, archive: Archive
) -> None:
    before = commits(archive)
    with open_archive(vaults.path()) as reader:
        with archive.transaction():
            assert archive.in_transaction
            archive.mkdir("/d")
            with archive.open("/d/f", "wb") as file:
                file.write(noise(10_000))
            archive.remove("/old")
            assert commits(archive) == before
            assert not reader.refresh()
            assert reader.listdir("/") == ["old"]
        assert not archive.in_transaction
        assert commits(archive) == before + 1
        assert reader.listdir("/") == ["old"]
        assert reader.refresh()
        assert reader.listdir("/") == ["d"]
        assert reader.read_bytes("/d/f") == noise(10_000)


def test_an_exception_undoes_a_transaction_and_comes_out(archive: Archive) -> None:
    before = tree_of(archive), commits(archive)
    for error in (UndoneError, KeyboardInterrupt, MemoryError):
        with pytest.raises(error), archive.transaction():
            archive.mkdir("/d")
            archive.write_bytes("/d/big", noise(2_000_000))
            archive.rename("/old", "/d/old")
            archive.truncate("/d/old", 1)
            raise error
        assert (tree_of(archive), commits(archive)) == before


def test_savepoints_are_kept_and_undone_on_their_own(archive: Archive) -> None:
    with archive.transaction():
        archive.write_bytes("/1", b"one")
        with pytest.raises(UndoneError), archive.transaction():
            archive.write_bytes("/2", b"two")
            with archive.transaction():
                archive.write_bytes("/3", b"three")
            raise UndoneError
        assert archive.listdir("/") == ["1", "old"]
        with archive.transaction():
            archive.write_bytes("/4", b"four")
            with pytest.raises(UndoneError), archive.transaction():
                archive.remove("/1")
                raise UndoneError
    assert archive.listdir("/") == ["1", "4", "old"]


def test_deep_savepoints_come_undone_in_order(archive: Archive) -> None:
    def nest(depth: int) -> None:
        try:
            with archive.transaction():
                archive.write_bytes(f"/{depth}", noise(5000, depth))
                if depth < 12:
                    nest(depth + 1)
                assert archive.exists(f"/{depth}")
                if depth % 3 == 0:
                    raise UndoneError
        except UndoneError:
            assert not archive.exists(f"/{depth}")

    nest(1)
    assert archive.listdir("/") == ["1", "2", "old"]


def test_an_error_before_the_first_change_dooms_nothing(archive: Archive) -> None:
    with archive.transaction():
        archive.mkdir("/d")
        with pytest.raises(ExistsError):
            archive.mkdir("/d")
        with pytest.raises(NotFoundError):
            archive.remove("/missing")
        with pytest.raises(NotFoundError):
            archive.open("/missing")
        with pytest.raises(ExistsError):
            archive.open("/old", "x")
        with pytest.raises(OSError):
            archive.rename("/d", "/d/below")
        archive.write_bytes("/d/f", b"goes on")
    assert archive.read_bytes("/d/f") == b"goes on"


def test_a_swallowed_failure_half_way_dooms_the_transaction(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree_of(archive)
    with pytest.raises(TransactionError, match="rolled back"), archive.transaction():
        archive.mkdir("/d")
        with monkeypatch.context() as patch:
            patch.setattr(archive._filesystem, "forget", lambda: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                archive.rename("/old", "/d/old")
        with pytest.raises(TransactionError):
            archive.mkdir("/e")
        with pytest.raises(TransactionError):
            archive.open("/old", "w")
        with pytest.raises(TransactionError):
            archive.transaction().__enter__()
    assert tree_of(archive) == before
    archive.mkdir("/works again")


def test_a_failure_half_way_outside_a_transaction_leaves_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree_of(archive)
    for part, call in (
        ("entry", lambda: archive.remove("/old")),
        ("update", lambda: archive.rename("/old", "/new")),
        ("open_stream", lambda: archive.write_bytes("/old", b"new")),
        ("update", lambda: archive.chmod("/old", 0)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(archive._filesystem, part, lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                call()
    assert tree_of(archive) == before


def test_commit_rollback_and_check_are_refused_inside(archive: Archive) -> None:
    with archive.transaction():
        for call in (archive.commit, archive.sync, archive.rollback, lambda: archive.check()):
            with pytest.raises(TransactionError):
                call()
        archive.mkdir("/d")
    assert archive.isdir("/d")


def test_rollback_throws_away_what_files_handed_over(archive: Archive) -> None:
    with archive.open("/old", "r+b", 0) as file:
        file.write(b"NEW")
        assert archive.read_bytes("/old") == b"NEW"
        archive.rollback()
        assert archive.read_bytes("/old") == b"old"
        file.seek(0)
        assert file.read() == b"old"


def test_files_opened_in_an_undone_part_are_closed_and_others_go_on(archive: Archive) -> None:
    outer = archive.open("/old", "r+b", 0)
    with pytest.raises(UndoneError), archive.transaction():
        outer.write(b"changed and longer")
        inner = archive.open("/inner", "w+b", 0)
        inner.write(b"gone")
        raise UndoneError
    assert outer.seek(0) == 0
    assert outer.read() == b"old"
    outer.seek(0, 2)
    outer.write(b"er")
    outer.close()
    for call in (inner.read, lambda: inner.write(b"x"), lambda: inner.seek(0)):
        with pytest.raises(ClosedError):
            call()
    inner.close()
    assert archive.read_bytes("/old") == b"older"
    assert archive.listdir("/") == ["old"]


def test_a_buffer_of_an_undone_part_does_not_come_back(archive: Archive) -> None:
    with pytest.raises(UndoneError), archive.transaction():
        file = archive.open("/inner", "wb")
        file.write(b"in the buffer")
        raise UndoneError
    with pytest.raises(ClosedError):
        file.close()
    assert archive.listdir("/") == ["old"]


def test_closing_inside_a_transaction_rolls_it_back(vaults: Vaults, archive: Archive) -> None:
    with pytest.raises(TransactionError, match="closed"), archive.transaction():
        archive.write_bytes("/half", b"half")
        archive.close()
    assert archive.closed
    with vaults.open("r") as reader:
        assert reader.listdir("/") == ["old"]


def test_a_transaction_keeps_other_threads_waiting(archive: Archive) -> None:
    seen: list[list[str]] = []
    entered = threading.Event()

    def look() -> None:
        entered.wait()
        seen.append(archive.listdir("/"))

    thread = threading.Thread(target=look)
    thread.start()
    with archive.transaction():
        archive.mkdir("/a")
        entered.set()
        thread.join(0.05)
        assert not seen
        archive.mkdir("/b")
    thread.join()
    assert seen == [["a", "b", "old"]]


def test_an_uncommitted_transaction_of_a_dead_process_is_gone(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.write_bytes("/kept", b"kept")
    with pytest.raises(UndoneError), archive.transaction():
        archive.write_bytes("/lost", noise(3_000_000))
        data = vaults.path().read_bytes()  # as a kill would leave it
        raise UndoneError
    other = vaults.path("other.ar7")
    other.write_bytes(data)
    with warnings.catch_warnings(), vaults.open("r+", "other.ar7") as opened:
        assert opened.listdir("/") == ["kept"]


def test_an_archive_is_neither_pickled_nor_copied(archive: Archive) -> None:
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            call(archive)
