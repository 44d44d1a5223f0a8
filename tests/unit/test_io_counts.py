"""Exact numbers of blocks sealed and opened, and of calls of the device: counted, never timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import archive7
from archive7.creation import Options, create_container, open_container
from archive7.crypto import SUITE_SECRETBOX, SUITE_XAES256GCM
from archive7.layout import BLOCK_SIZE, DATA_SIZE, RESERVE_COUNT
from archive7.streams import DataStream, DynamicMultiStreamManager, VirtualFileObject
from tests.audit import KEY, SECRETS, audit_bytes, read_all
from tests.logged import Call, LoggedDevice, shape

MIB = 1 << 20
BLOCKS = -(-MIB // DATA_SIZE)  # 262: blocks of 1 MiB


@dataclasses.dataclass
class Work:
    """What was done: data blocks and map nodes apart."""

    sealed: int
    opened: int
    nodes_sealed: int
    nodes_opened: int
    syncs: int
    calls: list[Call]

    @property
    def words(self) -> list[str]:
        return shape(self.calls)

    def sizes(self, kind: str) -> list[int]:
        """Sizes in blocks of the calls of one kind, roots left out."""
        return [c.size // BLOCK_SIZE for c in self.calls if c.kind == kind and not c.is_root]


class Bench:
    """A container in memory with counters."""

    def __init__(self, suite: int) -> None:
        self.device = LoggedDevice()
        options = Options(suite=suite)
        self._attach(create_container(self.device, SECRETS, replace=False, options=options))
        self.manager.commit(durable=True)

    def _attach(self, container: Any) -> None:
        manager = DynamicMultiStreamManager.over(container)
        assert isinstance(manager, DynamicMultiStreamManager)
        self.manager = manager

    def reopen(self) -> None:
        """With cold caches, past the sync of a session's first commit."""
        self.manager.close()
        self._attach(open_container(self.device, SECRETS, readonly=False))
        header = bytearray(self.manager.meta)
        header[-1] ^= 1
        self.manager.meta = bytes(header)
        self.manager.commit(durable=True)

    def count(self, call: Callable[[], object]) -> Work:
        counts = self.manager.container.blocks.counts
        before = dataclasses.replace(counts)
        self.device.take()
        call()
        nodes = counts.nodes_sealed - before.nodes_sealed
        return Work(
            sealed=counts.sealed - before.sealed - nodes,
            opened=counts.opened - before.opened,
            nodes_sealed=nodes,
            nodes_opened=counts.nodes_opened - before.nodes_opened,
            syncs=counts.syncs - before.syncs,
            calls=self.device.take(),
        )

    def commit(self, *, durable: bool = False) -> Work:
        return self.count(lambda: self.manager.commit(durable=durable))


@pytest.fixture(params=[SUITE_XAES256GCM, SUITE_SECRETBOX], ids=["xaes256gcm", "secretbox"])
def bench(request: pytest.FixtureRequest, need_secretbox: Any) -> Iterator[Bench]:
    if request.param == SUITE_SECRETBOX:
        need_secretbox()
    made = Bench(request.param)
    yield made
    made.manager.close()
    audit_bytes(made.device.getvalue())


def stream_of(bench: Bench, size: int) -> DataStream:
    """A committed stream, and nothing in the caches."""
    stream = bench.manager.new_stream()
    stream.write(0, memoryview(bytes(range(256)) * (size // 256 + 1))[:size])
    bench.manager.commit()
    bench.reopen()
    return bench.manager.open_stream(stream.identity)


# --- sequential writing


def test_1_mib_in_one_call_is_sealed_once_in_runs(bench: Bench) -> None:
    stream = bench.manager.new_stream()
    work = bench.count(lambda: stream.write(0, memoryview(bytes(MIB))))
    assert work.sizes("pwrite") == [256, 5]  # whole blocks straight from the caller's buffer
    assert (work.sealed, work.opened) == (BLOCKS - 1, 0)
    assert work.sizes("pread") == []
    end = bench.commit()
    # the part of a block at the end, and the registry's leaf; what the map folds; one root
    assert (end.sealed, end.opened) == (2, 0)
    assert end.words[-1] == "root"
    assert sum(end.sizes("pwrite")) == end.sealed + end.nodes_sealed
    assert end.syncs == 0


def test_1_mib_in_64_kib_pieces_seals_each_block_once(bench: Bench) -> None:
    stream = bench.manager.new_stream()

    def write() -> None:
        for _ in range(16):
            stream.write(stream.len, memoryview(bytes(65536)))

    work = bench.count(write)
    end = bench.commit()
    assert work.sealed + end.sealed == BLOCKS + 1  # and the registry's leaf
    assert work.opened + end.opened == 0
    assert len(work.sizes("pwrite")) == 16
    assert len(end.sizes("pwrite")) <= 2
    assert (work.syncs, end.syncs) == (0, 0)


def test_1_mib_byte_by_byte_pieces_are_gathered_until_the_commit(bench: Bench) -> None:
    stream = bench.manager.new_stream()

    def write() -> None:
        for _ in range(1024):
            stream.write(stream.len, memoryview(bytes(1024)))

    work = bench.count(write)
    assert (work.sealed, work.calls) == (0, [])
    end = bench.commit()
    assert end.sealed == BLOCKS + 1
    assert sum(end.sizes("pwrite")) == end.sealed + end.nodes_sealed
    assert end.opened == 0


def test_durable_commit_of_1_mib_syncs_once(bench: Bench) -> None:
    stream = bench.manager.new_stream()
    stream.write(0, memoryview(bytes(MIB)))
    assert bench.commit(durable=True).syncs == 1


# --- sequential reading


def test_1_mib_is_read_in_runs_each_block_once(bench: Bench) -> None:
    stream = stream_of(bench, MIB)
    buffer = bytearray(MIB)
    work = bench.count(lambda: stream.read_into(0, memoryview(buffer)))
    assert (work.opened, work.sealed) == (BLOCKS, 0)
    data = [size for size in work.sizes("pread") if size > 1]
    assert max(data) == 256
    assert sum(work.sizes("pread")) == BLOCKS + work.nodes_opened
    assert bytes(buffer[:300]) == bytes(range(256)) + bytes(range(44))


def test_buffered_reading_opens_each_block_once(bench: Bench) -> None:
    """Reads begin and end inside blocks: the one between two of them is not opened twice."""
    stream = stream_of(bench, 100 * DATA_SIZE)

    def read() -> None:
        for offset in range(0, 100 * DATA_SIZE, 4096):
            stream.read_into(offset, memoryview(bytearray(4096)))

    work = bench.count(read)
    assert work.opened == 100
    assert sum(work.sizes("pread")) == 100 + work.nodes_opened


# --- random reading


@pytest.mark.parametrize("index", [0, 1, 333, 334, 700, 999])
def test_random_read_opens_one_block_and_one_node_a_level(bench: Bench, index: int) -> None:
    stream = stream_of(bench, 1000 * DATA_SIZE)
    height = bench.manager.container.root.height
    assert height == 2
    read = lambda: stream.read_into(index * DATA_SIZE, memoryview(bytearray(DATA_SIZE)))  # noqa: E731
    work = bench.count(read)
    assert work.opened == 1
    assert work.nodes_opened <= height
    assert work.sizes("pread") == [1] * (1 + work.nodes_opened)
    again = bench.count(read)
    assert again.nodes_opened == 0
    assert again.opened <= 1


def test_read_across_a_boundary_is_one_call(bench: Bench) -> None:
    stream = stream_of(bench, 100 * DATA_SIZE)
    stream.read_into(0, memoryview(bytearray(10)))  # the map's nodes are in memory now
    work = bench.count(lambda: stream.read_into(50 * DATA_SIZE - 100, memoryview(bytearray(4096))))
    assert (work.opened, work.sizes("pread")) == (2, [2])


def test_block_that_is_read_often_is_opened_twice_at_most(bench: Bench) -> None:
    stream = stream_of(bench, 100 * DATA_SIZE)

    def read() -> None:
        for _ in range(50):
            stream.read_into(70 * DATA_SIZE, memoryview(bytearray(DATA_SIZE)))

    assert bench.count(read).opened <= 2


# --- small changes


def test_whole_block_is_overwritten_without_being_opened(bench: Bench) -> None:
    stream = stream_of(bench, 1000 * DATA_SIZE)
    stream.read_into(0, memoryview(bytearray(10)))
    work = bench.count(lambda: stream.write(500 * DATA_SIZE, memoryview(b"x" * (4 * DATA_SIZE))))
    assert (work.opened, work.sealed) == (0, 4)
    assert work.sizes("pwrite") == [4]


def test_part_of_a_block_costs_that_block_the_registry_and_a_root(bench: Bench) -> None:
    stream = stream_of(bench, 1000 * DATA_SIZE)
    work = bench.count(lambda: stream.write(500 * DATA_SIZE + 7, memoryview(b"part")))
    assert (work.opened, work.sealed) == (1, 0)
    assert work.sizes("pwrite") == []
    end = bench.commit()
    assert (end.sealed, end.nodes_sealed, end.syncs) == (2, 0, 0)
    assert [word for word in end.words if not word.startswith("read")] == ["2 blocks", "root"]


def test_appended_byte_costs_one_block_the_registry_and_a_root(bench: Bench) -> None:
    stream = stream_of(bench, 1000 * DATA_SIZE + 100)
    work = bench.count(lambda: stream.write(stream.len, memoryview(b"x")))
    assert (work.opened, work.sealed) == (1, 0)
    end = bench.commit()
    assert (end.sealed, end.nodes_sealed, end.syncs) == (2, 0, 0)
    again = bench.count(lambda: stream.write(stream.len, memoryview(b"y")))
    assert (again.opened, again.calls) == (0, [])
    assert bench.commit(durable=True).words == ["2 blocks", "root", "sync", "root"]


def test_byte_appended_to_a_full_block_does_not_rewrite_that_block(bench: Bench) -> None:
    """Its `next` names the position that the stream has taken ahead."""
    stream = bench.manager.new_stream()
    stream.write(0, memoryview(bytes(10 * DATA_SIZE)))
    stream.write(10 * DATA_SIZE, memoryview(bytes(DATA_SIZE)))
    bench.manager.commit()
    work = bench.count(lambda: stream.write(stream.len, memoryview(b"x")))
    end = bench.commit()
    assert work.opened + work.sealed + end.opened == 0
    assert end.sealed == 2


def test_file_object_costs_what_its_stream_costs(bench: Bench) -> None:
    stream = stream_of(bench, 1000 * DATA_SIZE)
    file = VirtualFileObject(stream, "name", "r+")
    work = bench.count(lambda: (file.seek(0, 2), file.seek(800 * DATA_SIZE), file.tell()))
    assert work.calls == []
    work = bench.count(lambda: file.read(DATA_SIZE))
    assert work.opened == 1
    assert bench.count(lambda: file.truncate(file.stream.len)).sealed == 0


# --- deleting and cutting


def test_deleting_a_big_stream_opens_no_data_block(bench: Bench) -> None:
    stream = stream_of(bench, 5000 * DATA_SIZE)
    identity, manager = stream.identity, bench.manager
    stream.close()
    manager.registry.read(identity)  # the registry's leaf is in memory now
    work = bench.count(lambda: manager.del_stream(identity))
    assert (work.opened, work.sealed, work.syncs) == (0, 0, 0)
    assert work.nodes_opened <= -(-5000 // 334) + 2
    assert work.sizes("pread") == [1] * work.nodes_opened
    end = bench.commit()
    assert end.opened <= 1
    assert end.sealed <= 2  # the registry's leaf, and the tail of its stream
    assert end.nodes_sealed <= 3


@pytest.mark.parametrize(("length", "tails"), [(0, 0), (2000 * DATA_SIZE, 1), (77, 1)])
def test_cutting_a_big_stream_opens_its_new_tail_alone(
    bench: Bench, length: int, tails: int
) -> None:
    stream = stream_of(bench, 5000 * DATA_SIZE)
    work = bench.count(lambda: stream.truncate(length))
    assert len({call.offset for call in work.calls}) == work.nodes_opened + tails
    assert tails <= work.opened <= 2 * tails
    assert work.sealed == 0
    assert work.nodes_opened <= -(-5000 // 334) + 2


def test_lengthening_seals_zeros_once(bench: Bench) -> None:
    stream = stream_of(bench, 100)
    work = bench.count(lambda: stream.truncate(1000 * DATA_SIZE))
    end = bench.commit()
    # and the registry's leaf, and a tail whose next one was not known when it was written
    assert 1001 <= work.sealed + end.sealed <= 1003
    assert work.opened <= 2
    assert read_all(stream)[100:] == bytes(1000 * DATA_SIZE - 100)


# --- the filesystem on top


def sealed_by(vault: archive7.Archive, device: LoggedDevice, call: Callable[[], object]) -> Any:
    counts = vault._container.blocks.counts
    before = dataclasses.replace(counts)
    device.take()
    call()
    calls = device.take()
    return counts.sealed - before.sealed, counts.nodes_sealed - before.nodes_sealed, calls


def test_new_small_file_is_five_blocks_and_two_writes() -> None:
    device = LoggedDevice()
    with archive7.open(device, "x", key=KEY) as vault:
        vault.mkdir("/folder")
        for number in range(20):
            vault.write_bytes(f"/folder/{number}", bytes(2048))
        vault.sync()
        totals = []
        for number in range(20, 220):
            path = f"/folder/{number}"
            sealed, nodes, calls = sealed_by(
                vault, device, lambda path=path: vault.write_bytes(path, bytes(2048))
            )
            assert sealed - nodes <= 5, shape(calls)
            writes = [call for call in calls if call.kind == "pwrite"]
            assert len(writes) == 2 + bool(nodes), shape(calls)
            assert sum(call.is_root for call in writes) == 1
            assert "sync" not in shape(calls)
            totals.append(sealed + 1)
        assert sum(totals) / len(totals) <= 6
        assert vault.read_bytes("/folder/219") == bytes(2048)


def test_small_file_made_durable_syncs_exactly_once() -> None:
    device = LoggedDevice()
    with archive7.open(device, "x", key=KEY) as vault:
        vault.write_bytes("/first", b"")
        vault.sync()
        vault.write_bytes("/file", bytes(2048))
        _, _, calls = sealed_by(vault, device, vault.sync)
        assert shape(calls) == ["sync", "root"]


def test_asking_for_a_file_that_was_read_costs_nothing() -> None:
    device = LoggedDevice()
    with archive7.open(device, "x", key=KEY) as vault:
        vault.write_bytes("/file", bytes(2048))
    with archive7.open(device, "r", key=KEY) as vault:
        assert vault.read_bytes("/file") == bytes(2048)
        _, _, calls = sealed_by(vault, device, lambda: (vault.stat("/file"), vault.listdir("/")))
        assert calls == []


def test_transaction_is_one_commit() -> None:
    device = LoggedDevice()
    with archive7.open(device, "x", key=KEY) as vault:
        vault.write_bytes("/first", b"")
        vault.sync()

        def many() -> None:
            with vault.transaction():
                for number in range(50):
                    vault.write_bytes(f"/{number}", bytes(100))

        _, _, calls = sealed_by(vault, device, many)
        assert sum(call.is_root for call in calls) == 1
        assert "sync" not in shape(calls)


def test_empty_container_is_superblock_ring_and_reserve(bench: Bench) -> None:
    fresh = LoggedDevice()
    create_container(fresh, SECRETS, replace=False).close()
    assert fresh.size() == 98304 + RESERVE_COUNT * BLOCK_SIZE
