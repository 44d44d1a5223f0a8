"""Devices: bytes of a file, of memory, of any seekable object; and locks between processes."""

from __future__ import annotations

import copy
import errno
import io
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archive7 import device as module
from archive7.device import Device, FileDevice, MemoryDevice, ObjectDevice, ReadOnlyDevice
from archive7.errors import ClosedError, FullError, LockedError, ReadOnlyError, UsageError
from archive7.locks import Lock, NoLocks

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="open-file-description locks")
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

Maker = Callable[[bytes], Device]
KINDS = ["file", "memory", "BytesIO", "buffered file", "raw file"]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    """Makes a writable device that holds some bytes."""
    opened: list[Any] = []

    def device(data: bytes) -> Device:
        path = tmp_path / f"file{len(opened)}"
        path.write_bytes(data)
        if request.param == "file":
            opened.append(FileDevice(path))
        elif request.param == "memory":
            opened.append(MemoryDevice(data))
        elif request.param == "BytesIO":
            opened.append(ObjectDevice(io.BytesIO(data)))
        else:
            target = open(path, "r+b", 0 if request.param == "raw file" else -1)
            opened.append(target)
            opened.append(ObjectDevice(target))  # type: ignore[arg-type]
        made: Device = opened[-1]
        return made

    yield device
    for each in reversed(opened):
        each.close()


def content(device: Device) -> bytes:
    return device.pread(device.size() + 1, 0)


# --- what every device does


def test_pread_is_short_only_at_the_end(make: Maker) -> None:
    device = make(bytes(range(100)))
    assert device.size() == 100
    assert device.pread(10, 0) == bytes(range(10))
    assert device.pread(10, 85) == bytes(range(85, 95))
    assert device.pread(10, 95) == bytes(range(95, 100))
    assert device.pread(10, 100) == b""
    assert device.pread(10, 5000) == b""
    assert device.pread(0, 3) == b""


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_pwrite_writes_all_of_any_buffer(make: Maker, wrap: Callable[[bytes], Any]) -> None:
    device = make(b"0123456789")
    device.pwrite(wrap(b"abc"), 4)
    assert content(device) == b"0123abc789"
    device.pwrite(wrap(b"xyz"), 9)
    assert content(device) == b"0123abc78xyz"
    device.pwrite(wrap(b""), 3)
    assert content(device) == b"0123abc78xyz"


def test_pwrite_behind_the_end_leaves_zeros(make: Maker) -> None:
    device = make(b"ab")
    device.pwrite(b"cd", 6)
    assert content(device) == b"ab\0\0\0\0cd"


def test_truncate_cuts_or_extends_by_zeros(make: Maker) -> None:
    device = make(b"0123456789")
    device.truncate(4)
    assert content(device) == b"0123"
    device.truncate(7)
    assert (device.size(), content(device)) == (7, b"0123\0\0\0")
    device.truncate(7)
    assert device.size() == 7
    device.truncate(0)
    assert content(device) == b""


def test_sync_and_close_keep_everything(make: Maker) -> None:
    device = make(b"0123")
    device.pwrite(b"x" * 10_000, 2)
    device.sync()
    assert content(device) == b"01" + b"x" * 10_000
    with device as same:
        assert same is device
    device.close()


def test_device_refuses_pickling_and_copying(make: Maker) -> None:
    device = make(b"")
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=type(device).__name__):
            call(device)


def readonly_devices(folder: Path) -> Iterator[Device]:
    path = folder / "file"
    path.write_bytes(b"0123456789")
    with open(path, "rb") as target, open(path, "r+b") as writable:
        yield FileDevice(path, readonly=True)
        yield MemoryDevice(b"0123456789", readonly=True)
        yield ObjectDevice(target)
        yield ReadOnlyDevice(io.BytesIO(b"0123456789"))
        yield ReadOnlyDevice(writable)
        yield ObjectDevice(writable, readonly=True)


def test_readonly_device_reads_and_refuses_every_change(tmp_path: Path) -> None:
    count = 0
    for device in readonly_devices(tmp_path):
        with device:
            count += 1
            assert device.is_readonly
            assert device.pread(4, 3) == b"3456"
            for call in (lambda d=device: d.pwrite(b"x", 0), lambda d=device: d.truncate(3)):
                with pytest.raises(ReadOnlyError) as caught:
                    call()
                assert caught.value.args[0] == errno.EROFS
            assert content(device) == b"0123456789"
    assert count == 6
    assert (tmp_path / "file").read_bytes() == b"0123456789"


# --- files


def test_file_is_created_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with FileDevice(path, create=True) as device:
        assert device.size() == 0
        assert device.name == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        FileDevice(path, create=True)


def test_file_that_is_not_there_or_no_file_is_refused_as_open_does(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileDevice(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        FileDevice(tmp_path / "missing", readonly=True)
    for readonly in (False, True):
        with pytest.raises(IsADirectoryError) as caught:
            FileDevice(tmp_path, readonly=readonly)
        assert caught.value.errno == errno.EISDIR
    assert list(tmp_path.iterdir()) == []


def test_link_is_resolved_once(tmp_path: Path) -> None:
    one, other, link = tmp_path / "one", tmp_path / "other", tmp_path / "link"
    one.write_bytes(b"one")
    other.write_bytes(b"other")
    link.symlink_to(one)
    with FileDevice(link) as device:
        link.unlink()
        link.symlink_to(other)
        device.lock_writer()
        device.pwrite(b"ONE", 0)
        assert device.path == one.resolve()
        assert device.name == str(link)
    assert (one.read_bytes(), other.read_bytes()) == (b"ONE", b"other")


def test_short_calls_are_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    calls = []

    def short_write(descriptor: int, data: Any, offset: int) -> int:
        calls.append((len(data), offset))
        return os.pwrite(descriptor, data[:3], offset)

    def short_read(descriptor: int, size: int, offset: int) -> bytes:
        return os.pread(descriptor, min(size, 4), offset)

    monkeypatch.setattr(module, "_pwrite", short_write)
    monkeypatch.setattr(module, "_pread", short_read)
    with FileDevice(path) as device:
        device.pwrite(b"0123456789", 5)
        assert calls == [(10, 5), (7, 8), (4, 11), (1, 14)]
        assert device.pread(100, 2) == b"\0\0\x000123456789"
        assert device.pread(3, 6) == b"123"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disc_is_a_full_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "file"
    path.touch()

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "_pwrite", fail)
    with FileDevice(path) as device, pytest.raises(FullError) as caught:
        device.pwrite(b"x", 0)
    assert caught.value.errno == number
    assert caught.value.filename == str(path)


def test_other_failures_are_not_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.touch()

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, "_pwrite", fail)
    monkeypatch.setattr(module, "_pread", fail)
    with FileDevice(path) as device:
        for call in (lambda: device.pwrite(b"x", 0), lambda: device.pread(1, 0)):
            with pytest.raises(OSError, match=str(errno.EIO)) as caught:
                call()
            assert not isinstance(caught.value, FullError)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disc_of_the_system_is_a_full_error() -> None:
    with FileDevice("/dev/full") as device, pytest.raises(FullError):
        device.pwrite(b"x" * 4096, 0)


def test_full_disc_of_an_object_is_a_full_error() -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(FullError):
        ObjectDevice(Full()).pwrite(b"x", 0)


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="no fdatasync here")
def test_sync_is_one_call_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.touch()
    calls: list[int] = []
    monkeypatch.setattr(os, "fdatasync", calls.append)
    with FileDevice(path) as device:
        device.pwrite(b"x", 0)
        assert calls == []
        device.sync()
        assert len(calls) == 1


def test_write_back_is_started_for_long_rows_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[int, int]] = []
    monkeypatch.setattr(
        module, "_start_writing", lambda descriptor, offset, size: started.append((offset, size))
    )
    path = tmp_path / "file"
    path.touch()
    mib = bytes(1 << 20)
    with FileDevice(path) as device:
        for number in range(20):
            device.pwrite(mib, number << 20)
        assert started == [(0, 8 << 20), (8 << 20, 8 << 20)]
        for number in range(40):
            device.pwrite(b"x", number * 7919 % 100_000)
        assert len(started) == 2


def test_closed_file_refuses_everything(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123")
    device = FileDevice(path)
    device.close()
    device.close()
    calls: list[Callable[[], object]] = [
        lambda: device.pread(1, 0),
        lambda: device.pwrite(b"x", 0),
        lambda: device.truncate(0),
        device.sync,
        device.size,
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="file"):
            call()
    assert path.read_bytes() == b"0123"


# --- memory and objects


def test_memory_keeps_its_bytes_to_itself() -> None:
    source = bytearray(b"0123")
    device = MemoryDevice(bytes(source))
    device.pwrite(source, 2)
    source[:] = b"xxxx"
    value = device.getvalue()
    device.pwrite(b"y", 0)
    assert value == b"010123"


def test_object_that_cannot_seek_is_refused() -> None:
    reading, writing = os.pipe()
    try:
        with open(reading, "rb", 0, closefd=False) as target, pytest.raises(UsageError):
            ObjectDevice(target)  # type: ignore[arg-type]
    finally:
        os.close(reading)
        os.close(writing)


def test_object_is_flushed_and_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "w+b") as target:
        device = ObjectDevice(target)
        device.pwrite(b"x" * 10, 0)
        assert path.read_bytes() == b""
        device.sync()
        assert path.read_bytes() == b"x" * 10
        device.pwrite(b"y", 0)
        device.close()
        assert path.read_bytes() == b"y" + b"x" * 9
        assert not target.closed
    device.close()  # also once the object is closed
    assert device.name == str(path)


def test_object_that_reads_in_pieces_is_read_whole() -> None:
    class Piecemeal(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 3))

    device = ObjectDevice(Piecemeal(bytes(range(50))))
    assert device.pread(20, 10) == bytes(range(10, 30))
    assert device.pread(20, 45) == bytes(range(45, 50))


def test_memory_and_objects_have_no_locks() -> None:
    for device in (MemoryDevice(), ObjectDevice(io.BytesIO())):
        assert isinstance(device.locks, NoLocks)
        assert device.locks.can_query is False
        for lock in Lock:
            assert device.locks.take(lock, shared=False) is True
            assert device.locks.held_by_others(lock) is None
            device.locks.release(lock)


# --- locks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "vault.ar7"
    made.write_bytes(bytes(100))
    return made


def test_second_writer_in_the_same_process_is_refused(path: Path) -> None:
    with FileDevice(path) as one, FileDevice(path) as other:
        one.lock_writer()
        with pytest.raises(LockedError) as caught:
            other.lock_writer()
        assert caught.value.errno == errno.EAGAIN
        assert caught.value.filename == str(path)
        one.close()
        other.lock_writer()


def test_closing_another_descriptor_of_the_file_releases_nothing(path: Path) -> None:
    """As POSIX's own record locks would."""
    with FileDevice(path) as one:
        one.lock_writer()
        path.read_bytes()
        FileDevice(path).close()
        with FileDevice(path) as other, pytest.raises(LockedError):
            other.lock_writer()


def in_another_process(path: Path, body: str) -> str:
    """Run `body` with `device` open there; what it prints comes back."""
    script = (
        "import sys\n"
        "from archive7.device import FileDevice\n"
        "from archive7.errors import LockedError\n"
        "from archive7.locks import Lock\n"
        "device = FileDevice(sys.argv[1])\n" + body
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


TRY = "try:\n    device.lock_writer(); print('writer')\nexcept LockedError: print('locked')\n"


def test_second_writer_in_another_process_is_refused(path: Path) -> None:
    with FileDevice(path) as device:
        assert in_another_process(path, TRY) == "writer"
        device.lock_writer()
        assert in_another_process(path, TRY) == "locked"
    assert in_another_process(path, TRY) == "writer"


def test_lock_of_a_killed_process_is_gone(path: Path) -> None:
    script = (
        "import sys, time\n"
        "from archive7.device import FileDevice\n"
        "device = FileDevice(sys.argv[1])\n"
        "device.lock_writer()\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with FileDevice(path) as device:
            with pytest.raises(LockedError):
                device.lock_writer()
            process.kill()
            process.wait()
            device.lock_writer()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@LINUX
def test_readers_share_their_lock_and_writers_can_ask(path: Path) -> None:
    ask = "print([device.locks.held_by_others(lock) for lock in Lock])\n"
    with FileDevice(path) as writer, FileDevice(path, readonly=True) as reader:
        writer.lock_writer()
        assert writer.locks.can_query
        assert [writer.locks.held_by_others(lock) for lock in Lock] == [False] * 3
        assert reader.locks.held_by_others(Lock.WRITER) is True
        assert reader.locks.take(Lock.READERS, shared=True)
        with FileDevice(path, readonly=True) as another:
            assert another.locks.take(Lock.READERS, shared=True)
        assert writer.locks.held_by_others(Lock.READERS) is True
        assert writer.locks.held_by_others(Lock.RECOVERED) is False
        assert in_another_process(path, ask) == "[True, True, False]"
        reader.locks.release(Lock.READERS)
        assert writer.locks.held_by_others(Lock.READERS) is False
        assert writer.locks.take(Lock.RECOVERED, shared=False)
        assert reader.locks.held_by_others(Lock.RECOVERED) is True
        assert reader.locks.take(Lock.READERS, shared=True)
        assert writer.locks.take(Lock.READERS, shared=False) is False
    assert in_another_process(path, ask) == "[False, False, False]"


@LINUX
def test_locks_lie_behind_any_end_of_the_file(path: Path) -> None:
    with FileDevice(path) as device:
        device.lock_writer()
        device.truncate(0)
        device.pwrite(bytes(10_000), 0)
        assert in_another_process(path, TRY) == "locked"


def test_file_that_was_replaced_meanwhile_is_refused(path: Path, tmp_path: Path) -> None:
    with FileDevice(path) as device:
        newer = tmp_path / "newer"
        newer.write_bytes(b"newer")
        os.replace(newer, path)
        with pytest.raises(LockedError, match="replaced"):
            device.lock_writer()


def test_renamed_file_takes_its_lock_along(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "final.ar7"
    with FileDevice(path) as device:
        device.lock_writer()
        device.rename(target, lambda: os.rename(path, target))
        assert (device.path, device.name) == (target, str(target))
        device.pwrite(b"x", 0)
        with FileDevice(target) as other, pytest.raises(LockedError):
            other.lock_writer()


@FORKS
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_closes_the_childs_copy_and_leaves_the_parents_lock(path: Path) -> None:
    with FileDevice(path) as device:
        device.lock_writer()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                try:
                    device.pread(1, 0)
                    answer = b"read"
                except ClosedError:
                    answer = b"closed"
                os.write(writing, answer)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        assert os.read(reading, 20) == b"closed"
        os.close(reading)
        assert device.pread(1, 0) == b"\0"
        assert in_another_process(path, TRY) == "locked"


@FORKS
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_lock_goes_with_the_parent_though_a_child_lives_on(path: Path) -> None:
    device = FileDevice(path)
    device.lock_writer()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)  # until the parent closes its end
        os._exit(0)
    os.close(reading)
    try:
        device.close()
        deadline = time.monotonic() + 30
        while True:  # the child may not have run yet
            try:
                with FileDevice(path) as other:
                    other.lock_writer()
                break
            except LockedError:
                assert time.monotonic() < deadline, "the child keeps the lock"
                time.sleep(0.01)
    finally:
        os.close(writing)
        os.waitpid(child, 0)
