"""Faults that did harm once: one test for each."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any, BinaryIO, cast
from unittest import mock

import pytest

import archive7.device
from archive7 import Archive, FullError
from archive7.device import FileDevice
from archive7.errors import ClosedError, PathError, SyncFailedError
from archive7.positions import PositionTable
from archive7.slots import SlotTable
from tests.devices import Fault, FaultingDevice, RecordingDevice
from tests.disk import Disk
from tests.faults.archivesubject import ArchiveSubject, prepared
from tests.unit.archives import assert_sound, noise, open_archive


@pytest.fixture
def device() -> FaultingDevice:
    return FaultingDevice(RecordingDevice(prepared()))


@pytest.fixture
def archive(device: FaultingDevice) -> Archive:
    archive = open_archive(device, "r+")
    ArchiveSubject().cool(archive)
    return archive


@pytest.mark.parametrize("name", ["exists", "isfile", "isdir", "islink"])
def test_what_cannot_be_read_is_not_missing(
    archive: Archive, device: FaultingDevice, name: str
) -> None:
    device.arm("pread", 1, Fault.EIO)
    with pytest.raises(OSError, match="Input/output"):
        getattr(archive, name)("/way/big")
    assert archive.exists("/way/big")
    assert not archive.exists("/no")


@pytest.mark.parametrize("topdown", [True, False])
def test_a_walk_leaves_out_nothing_that_cannot_be_read(
    archive: Archive, device: FaultingDevice, topdown: bool
) -> None:
    device.arm("pread", 1, Fault.EIO)
    with pytest.raises(OSError, match="Input/output"):
        list(archive.walk("/", topdown))
    told: list[OSError] = []
    ArchiveSubject().cool(archive)
    device.arm("pread", 1, Fault.EIO)
    assert list(archive.walk("/", topdown, told.append)) == []
    assert [error.errno for error in told] == [errno.EIO]
    assert list(archive.walk("/no", topdown)) == []  # as `os.walk` does it


def test_a_copy_goes_nowhere_else_because_a_read_failed(
    archive: Archive, device: FaultingDevice
) -> None:
    with archive.transaction():
        for number in range(40):  # so that names stand in several leaves
            archive.mkdir(f"/empty/{number}" + 200 * "x")
        archive.makedirs("/last/below")
    for at in range(1, 30):
        ArchiveSubject().cool(archive)
        device.arm("pread", at, Fault.EIO)
        try:
            archive.copy("/late", "/last/below")
        except PathError as error:
            raise AssertionError(f"read {at}: {error!r}") from error
        except OSError:
            device.disarm()
            assert not archive.exists("/last/below/late")
        else:
            break
    assert archive.exists("/last/below/late")


def test_a_path_is_not_resolved_otherwise_because_a_read_failed(
    archive: Archive, device: FaultingDevice
) -> None:
    device.arm("pread", 1, Fault.EIO)
    with pytest.raises(OSError, match="Input/output"):
        (archive / "way" / "small").resolve()
    assert str((archive / "way" / "small").resolve()) == "/dir/small"


def test_a_buffer_does_not_go_on_behind_an_interrupted_write(
    archive: Archive, device: FaultingDevice
) -> None:
    """`io` repeats a write that raised EINTR, but what came before it was rolled back."""
    file = archive.open("/new", "wb")
    file.write(noise(70_000, 1))
    device.arm("pwrite", 1, Fault.EINTR)
    with pytest.raises(OSError, match="interrupted"):
        file.write(noise(70_000, 2))
        file.write(noise(70_000, 3))
    device.disarm()
    with pytest.raises(ClosedError):
        file.write(noise(70_000, 4))
    file.close()
    assert not archive.exists("/new")
    assert_sound(archive)


def test_no_descriptor_is_left_where_a_file_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")

    def failing(_: int) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    opened: list[int] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *args: opened.append(real(*args)) or opened[-1])
    monkeypatch.setattr(os, "fstat", failing)
    with pytest.raises(OSError, match="Input/output"):
        FileDevice(path)
    monkeypatch.undo()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(opened[0])


def test_a_disc_too_full_to_lengthen_a_file_raises_full_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive7.device.os, "ftruncate", full)
    with pytest.raises(FullError):
        open_archive(tmp_path / "vault.ar7", "x")
    assert list(tmp_path.iterdir()) == []


class _Small(io.BytesIO):
    """A file object with little room."""

    room = 1 << 20

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.mark.parametrize("mode", ["x", "a"])
@pytest.mark.parametrize("room", [40_000, 100_000, 300_000])
def test_an_archive_can_be_made_in_a_file_object_once_there_is_room(mode: str, room: int) -> None:
    target = _Small()
    target.room = room
    with pytest.raises(FullError):
        open_archive(cast(BinaryIO, target), mode)
    assert target.getvalue() == b""
    target.room = 1 << 30
    with open_archive(cast(BinaryIO, target), mode) as archive:
        archive.mkdir("/dir")
        assert_sound(archive)


def test_locks_go_back_where_an_archive_cannot_be_made() -> None:
    device = FaultingDevice(RecordingDevice(Disk()))
    open_archive(device, "x")
    last, disk = device.counts["pwrite"], Disk()
    device = FaultingDevice(RecordingDevice(disk))
    device.arm("pwrite", last, Fault.EIO)
    with pytest.raises(OSError, match="Input/output"):
        open_archive(device, "x")
    assert not any(disk.grips.values())


def _failing(device: FaultingDevice) -> None:
    device.arm("pwrite", 1, Fault.FULL, persistent=True)


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_flush_that_failed_does_not_succeed_without_the_data(
    archive: Archive, device: FaultingDevice, buffering: int
) -> None:
    before = archive.read_bytes("/dir/big")
    file = archive.open("/dir/big", "r+b", buffering)
    file.write(noise(9000, 8))
    _failing(device)
    with pytest.raises(FullError):
        file.flush()
    device.disarm()
    with pytest.raises(ClosedError, match="thrown away"):
        file.flush()
    file.close()
    assert archive.read_bytes("/dir/big") == before
    assert_sound(archive)


def test_a_file_that_was_cut_is_not_written_over_its_old_version(
    archive: Archive, device: FaultingDevice
) -> None:
    """The cut was thrown away with the write that failed; the buffer still had data."""
    before = archive.read_bytes("/dir/big")
    file = archive.open("/dir/big", "wb")
    _failing(device)
    file.write(b"new")
    with pytest.raises(FullError):
        file.flush()
    device.disarm()
    with pytest.raises(ClosedError, match="thrown away"):
        file.write(noise(70_000))
    file.close()
    assert archive.read_bytes("/dir/big") == before


def test_one_file_does_not_lose_what_it_has_written_by_the_failure_of_another(
    archive: Archive, device: FaultingDevice
) -> None:
    before = archive.read_bytes("/dir/big")
    one, other = archive.open("/dir/big", "r+b", 0), archive.open("/late", "r+b", 0)
    one.write(b"handed over")
    _failing(device)
    with pytest.raises(FullError):
        other.write(noise(70_000))
    device.disarm()
    with pytest.raises(ClosedError, match="thrown away"):
        one.write(b" and more")
    with pytest.raises(ClosedError, match="thrown away"):
        one.close()
    other.close()
    assert archive.read_bytes("/dir/big") == before
    assert_sound(archive)


def test_a_write_that_failed_succeeds_later_where_nothing_else_was_lost(
    archive: Archive, device: FaultingDevice
) -> None:
    file = archive.open("/dir/big", "r+b", 0)
    file.write(noise(70_000, 1))
    file.flush()
    _failing(device)
    with pytest.raises(FullError):
        file.write(noise(70_000, 2))
    device.disarm()
    file.write(noise(70_000, 2))
    file.close()
    assert archive.read_bytes("/dir/big") == noise(70_000, 1) + noise(70_000, 2)
    assert_sound(archive)


def test_slots_that_were_never_written_do_not_count(archive: Archive) -> None:
    """No memory between the choice of slots and their writing."""
    with mock.patch.object(SlotTable, "append", side_effect=MemoryError):
        archive.mkdir("/fine")  # takes free slots
    take = SlotTable.take

    def failing(table: SlotTable, count: int) -> Any:
        take(table, count)
        table.append(8)
        raise MemoryError

    with mock.patch.object(SlotTable, "take", failing), pytest.raises(MemoryError):
        archive.write_bytes("/new", noise(9000))
    archive.mkdir("/dir/after")
    assert_sound(archive)
    device = archive._container.device
    assert isinstance(device, FaultingDevice)
    assert isinstance(device.inner, RecordingDevice)
    again = open_archive(RecordingDevice(device.inner.disk.copy()), "r")
    assert again.isdir("/dir/after")


def test_a_folder_that_cannot_be_asked_is_not_imported_as_a_file(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"data")
    real, asked = os.stat, []

    def failing(path: Any, **options: Any) -> os.stat_result:
        if str(path) == str(tmp_path / "source") and not asked:
            asked.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, **options)

    monkeypatch.setattr(os, "stat", failing)
    with pytest.raises(OSError, match="Input/output"):
        archive.import_tree(tmp_path / "source", "/imported")
    assert not archive.exists("/imported")
    archive.import_tree(tmp_path / "source", "/imported")
    assert archive.listdir("/imported") == ["file"]


def test_a_rollback_that_failed_shows_nothing_of_what_it_threw_away(archive: Archive) -> None:
    before = archive.read_bytes("/dir/big")
    file = archive.open("/dir/big", "r+b", 0)
    file.write(b"not committed")
    archive.open("/new", "wb", 0).write(noise(9000))
    failing = mock.patch.object(PositionTable, "undo", side_effect=MemoryError)
    with failing, pytest.raises(MemoryError):
        archive.rollback()
    with pytest.raises(SyncFailedError):
        archive.mkdir("/no")
    assert archive.read_bytes("/dir/big") == before
    assert not archive.exists("/new")
