"""Snapshots: a reader sees whole commits while a writer goes on, on real files with real locks."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archive7.creation import Options, create_container, open_container
from archive7.device import FileDevice, MemoryDevice
from archive7.errors import (
    BlockCorruptError,
    ClosedError,
    RecoveredWarning,
    RollbackError,
    SnapshotExpiredError,
)
from archive7.layout import BLOCK_SIZE, DATA_SIZE, RING_OFFSET, RING_PLACES, SLOTS_OFFSET
from archive7.locks import Lock
from archive7.root import slot_offset
from archive7.streams import DataStream, DynamicMultiStreamManager
from tests.audit import KEY, SECRETS, audit_bytes, read_all
from tests.logged import LoggedDevice

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="locks that can be asked about")
SIZE = 40 * DATA_SIZE


class Writer:
    """A container file with one stream, whose content tells the commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        container = create_container(path, SECRETS, replace=False)
        self.manager = self.over(container)
        self.stream: DataStream = self.manager.new_stream()
        self.turn = -1
        self.write()

    @staticmethod
    def over(container: Any) -> DynamicMultiStreamManager:
        manager = DynamicMultiStreamManager.over(container)
        assert isinstance(manager, DynamicMultiStreamManager)
        return manager

    def write(self, *, durable: bool = True) -> bytes:
        """Overwrite the whole stream and commit."""
        self.turn += 1
        self.stream.write(0, memoryview(content(self.turn)))
        self.manager.commit(durable=durable)
        return content(self.turn)

    def write_a_little(self, *, durable: bool = False) -> None:
        """Overwrite one block and commit."""
        self.turn += 1
        self.stream.write(3 * DATA_SIZE, memoryview(content(self.turn)[:DATA_SIZE]))
        self.manager.commit(durable=durable)

    def reader(self, **options: Any) -> DynamicMultiStreamManager:
        return self.over(
            open_container(self.path, SECRETS, readonly=True, options=Options(**options))
        )

    def seen_by(self, reader: DynamicMultiStreamManager) -> bytes:
        stream = reader.open_stream(self.stream.identity)
        try:
            return read_all(stream)
        finally:
            stream.close()


def content(turn: int) -> bytes:
    return random.Random(turn).randbytes(DATA_SIZE) * (SIZE // DATA_SIZE)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "vault.ar7")
    yield made
    made.manager.close()
    audit_bytes(made.path.read_bytes())


# --- whole commits


@pytest.mark.parametrize("durable", [False, True])
def test_reader_stays_in_its_commit_while_the_writer_goes_on(
    writer: Writer, durable: bool
) -> None:
    first = content(0)
    with writer.reader() as reader:
        number = reader.container.root.number
        for _ in range(10):
            newest = writer.write(durable=durable)
            assert writer.seen_by(reader) == first
            assert reader.container.root.number == number
        assert reader.refresh() is True
        assert writer.seen_by(reader) == newest
        assert reader.container.root.number > number
        assert reader.refresh() is False


def test_what_is_not_committed_is_seen_by_nobody(writer: Writer) -> None:
    writer.stream.write(0, memoryview(b"not committed"))
    with writer.reader() as reader:
        assert writer.seen_by(reader) == content(0)
        assert reader.refresh() is False
        writer.manager.commit()
        assert writer.seen_by(reader) == content(0)
        assert reader.refresh() is True
        assert writer.seen_by(reader).startswith(b"not committed")


def test_each_reader_has_its_own_commit(writer: Writer) -> None:
    readers = []
    for _ in range(5):
        readers.append((writer.reader(), content(writer.turn)))
        writer.write()
    for reader, wanted in reversed(readers):
        assert writer.seen_by(reader) == wanted
    for reader, _ in readers:
        assert reader.refresh() is True
        assert writer.seen_by(reader) == content(writer.turn)
        reader.close()


def test_open_streams_of_a_reader_follow_refresh(writer: Writer) -> None:
    with writer.reader() as reader:
        stream = reader.open_stream(writer.stream.identity)
        generation = reader.container.generation
        writer.stream.truncate(0)
        writer.stream.write(0, memoryview(b"short"))
        other = writer.manager.new_stream()
        writer.manager.commit()
        assert read_all(stream) == content(0)
        assert reader.refresh() is True
        assert reader.container.generation > generation
        assert read_all(stream) == b"short"
        assert reader.open_stream(other.identity).len == 0
        other.close()
        writer.manager.del_stream(other.identity)
        writer.manager.commit()
        gone = reader.open_stream(other.identity)
        assert reader.refresh() is True
        with pytest.raises(ClosedError):
            read_all(gone)


def test_reader_sees_one_commit_in_many_threads(writer: Writer) -> None:
    """While commits of one block each go on: every read is one of the whole commits."""
    seen: list[str] = []
    stop = threading.Event()

    def read() -> None:
        with writer.reader() as reader:
            while not stop.is_set():
                data = writer.seen_by(reader)
                blocks = {data[at : at + DATA_SIZE] for at in range(0, SIZE, DATA_SIZE)}
                if len(blocks) != 1:
                    seen.append(f"{len(blocks)} commits in one")
                    return
                reader.refresh()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(60):
            writer.write(durable=turn % 7 == 0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert seen == []


def test_refresh_is_nothing_to_a_writer(writer: Writer) -> None:
    writer.stream.write(0, memoryview(b"kept"))
    assert writer.manager.refresh() is False
    assert read_all(writer.stream)[:4] == b"kept"


def test_closed_snapshot_refuses(writer: Writer) -> None:
    reader = writer.reader()
    reader.close()
    with pytest.raises(ClosedError):
        reader.refresh()
    with pytest.raises(ClosedError):
        reader.open_stream(writer.stream.identity)


def test_reader_writes_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "vault.ar7")
    writer.write(durable=False)
    writer.manager.close()
    device = LoggedDevice(writer.path.read_bytes() + b"junk")
    before = device.getvalue()
    reader = writer.over(open_container(device, SECRETS, readonly=True))
    assert writer.seen_by(reader) == content(1)
    reader.refresh()
    reader.close()
    assert {call.kind for call in device.take()} == {"pread"}
    assert device.getvalue() == before


def test_reader_of_a_file_without_permission_to_write(writer: Writer) -> None:
    writer.manager.close()
    writer.path.chmod(0o400)
    with writer.reader() as reader:
        assert writer.seen_by(reader) == content(0)
    writer.path.chmod(0o600)


def test_reader_reads_where_nothing_can_be_locked(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read-only media: taking the readers' lock fails, reading does not."""

    def refuse(*_: object, **__: object) -> bool:
        raise PermissionError(1, "no locks here")

    writer.manager.close()
    device = FileDevice(writer.path, readonly=True)
    monkeypatch.setattr(device.locks, "take", refuse)
    reader = writer.over(open_container(device, SECRETS, readonly=True))
    assert writer.seen_by(reader) == content(0)
    reader.close()


# --- locks


@LINUX
def test_reader_holds_the_readers_lock_until_it_closes(writer: Writer) -> None:
    locks = writer.manager.container.device.locks
    assert locks.held_by_others(Lock.READERS) is False
    one, other = writer.reader(), writer.reader()
    assert locks.held_by_others(Lock.READERS) is True
    one.close()
    assert locks.held_by_others(Lock.READERS) is True
    other.close()
    assert locks.held_by_others(Lock.READERS) is False


@LINUX
def test_freed_slots_rest_while_a_reader_is_there(writer: Writer) -> None:
    reader = writer.reader()
    for _ in range(15):
        writer.write()
    assert writer.seen_by(reader) == content(0)
    resting = writer.path.stat().st_size
    assert resting > SLOTS_OFFSET + 15 * 40 * BLOCK_SIZE
    reader.close()
    for _ in range(15):
        writer.write()
    assert writer.path.stat().st_size <= resting + 2 * 40 * BLOCK_SIZE
    writer.manager.close()
    assert writer.path.stat().st_size < resting


@LINUX
def test_writer_says_when_readers_need_not_verify(writer: Writer) -> None:
    with writer.reader() as reader:
        assert reader.container.device.locks.held_by_others(Lock.RECOVERED) is True
    writer.write_a_little()
    before = LoggedDevice(writer.path.read_bytes())
    with FileDevice(writer.path, readonly=True) as probe:
        assert probe.locks.held_by_others(Lock.RECOVERED) is True
        writer.manager.close()
        assert probe.locks.held_by_others(Lock.RECOVERED) is False
    # the same bytes without that lock: what is not known durable is opened and compared
    reader = writer.over(open_container(before, SECRETS, readonly=True))
    assert reader.container.root.number > 0
    reads = [call for call in before.take() if call.offset >= SLOTS_OFFSET]
    assert len(reads) >= 2
    reader.close()


def test_reader_in_another_process_sees_whole_commits(writer: Writer) -> None:
    script = (
        "import sys, hashlib\n"
        "from uuid import UUID\n"
        "from archive7.creation import open_container\n"
        "from archive7.keyslots import Secrets\n"
        "from archive7.streams import DynamicMultiStreamManager\n"
        "secrets = Secrets(key=bytes.fromhex(sys.argv[2]))\n"
        "container = open_container(sys.argv[1], secrets, readonly=True)\n"
        "manager = DynamicMultiStreamManager.over(container)\n"
        "stream = manager.open_stream(UUID(sys.argv[3]))\n"
        "for line in sys.stdin:\n"
        "    if line.strip() == 'refresh': manager.refresh()\n"
        "    data = bytearray(stream.len)\n"
        "    stream.read_into(0, memoryview(data))\n"
        "    print(hashlib.sha256(data).hexdigest(), flush=True)\n"
    )
    arguments = [str(writer.path), KEY.hex(), str(writer.stream.identity)]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    import hashlib

    def ask(word: str) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(word + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    try:
        digests = [hashlib.sha256(content(turn)).hexdigest() for turn in range(8)]
        assert ask("read") == digests[0]
        for turn in range(1, 7):
            writer.write(durable=turn % 2 == 0)
            assert ask("read") == digests[turn - 1]
            assert ask("refresh") == digests[turn]
    finally:
        process.communicate()
    assert process.returncode == 0
    locks = writer.manager.container.device.locks
    assert not locks.held_by_others(Lock.READERS)


# --- expired snapshots


def expire(writer: Writer) -> None:
    """Write until nothing of an earlier commit is left."""
    for _ in range(12):
        writer.write()


def test_expired_snapshot_is_told_from_damage(writer: Writer) -> None:
    """A reader without a lock: its blocks are overwritten, and it never gets wrong data."""
    with writer.reader(lock=False) as reader:
        stream = reader.open_stream(writer.stream.identity)
        expire(writer)
        for _ in range(3):
            with pytest.raises(SnapshotExpiredError, match="refresh"):
                read_all(stream)
        assert reader.refresh() is True
        assert read_all(stream) == content(writer.turn)


def test_expired_snapshot_gives_old_data_or_raises_at_every_block(writer: Writer) -> None:
    wanted = content(0)
    with writer.reader(lock=False) as reader:
        stream = reader.open_stream(writer.stream.identity)
        for _ in range(6):
            writer.write_a_little(durable=True)
        expired = 0
        for index in range(SIZE // DATA_SIZE):
            buffer = bytearray(DATA_SIZE)
            try:
                stream.read_into(index * DATA_SIZE, memoryview(buffer))
            except SnapshotExpiredError:
                expired += 1
            else:
                assert buffer == wanted[index * DATA_SIZE :][:DATA_SIZE]
        assert expired <= 1


def test_damage_under_a_reader_is_damage(writer: Writer) -> None:
    """The newest root has the same entry: refreshing would not help."""
    with writer.reader(lock=False) as reader:
        stream = reader.open_stream(writer.stream.identity)
        position = stream.extents.position(20)
        slot = int.from_bytes(reader.container.blocks.map.get(position)[:4], "big")
        writer.write_a_little()
        with open(writer.path, "r+b") as file:
            file.seek(slot_offset(slot) + 2000)
            file.write(bytes(100))
        with pytest.raises(BlockCorruptError) as caught:
            read_all(stream)
        assert caught.value.block == position
    writer.write()


def test_snapshot_of_a_file_that_got_shorter_is_expired(writer: Writer) -> None:
    big = writer.manager.new_stream()
    big.write(0, memoryview(bytes(3000 * DATA_SIZE)))
    writer.manager.commit(durable=True)
    with writer.reader(lock=False) as reader:
        stream = reader.open_stream(big.identity)
        big.close()
        writer.manager.del_stream(big.identity)
        writer.manager.commit(durable=True)
        writer.manager.close()
        assert writer.path.stat().st_size < SLOTS_OFFSET + 1000 * BLOCK_SIZE
        with pytest.raises(SnapshotExpiredError):
            read_all(stream)


# --- going back is refused


def test_file_that_was_put_back_is_told_at_refresh(writer: Writer) -> None:
    old = writer.path.read_bytes()
    for _ in range(3):
        writer.write()
    writer.manager.close()
    device = MemoryDevice(writer.path.read_bytes())
    reader = open_container(device, SECRETS, readonly=True)
    device.truncate(0)
    device.pwrite(old, 0)
    with pytest.raises(RollbackError, match="put back"):
        reader.refresh()
    reader.close()


def test_ring_that_was_put_back_alone_is_told(writer: Writer) -> None:
    """The roots are those of commit 0, the blocks are not."""
    ring = slice(RING_OFFSET, RING_OFFSET + RING_PLACES * BLOCK_SIZE)
    old = writer.path.read_bytes()[ring]
    expire(writer)
    writer.manager.close()
    data = bytearray(writer.path.read_bytes())
    data[ring] = old
    device = MemoryDevice(bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecoveredWarning)
        reader = writer.over(open_container(device, SECRETS, readonly=True))
    with pytest.raises((RollbackError, BlockCorruptError)):
        writer.seen_by(reader)
    reader.close()
