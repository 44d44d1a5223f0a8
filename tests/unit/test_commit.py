"""Commits: exact input and output, the ring rule, durability, faults, and the end of the file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from archive7.commit import Container
from archive7.creation import Options, create_container, open_container
from archive7.crypto import SUITE_SECRETBOX, SUITE_XAES256GCM
from archive7.device import Buffer, Device, MemoryDevice
from archive7.errors import ClosedError, CorruptError, FullError, ReadOnlyError, SyncFailedError
from archive7.layout import (
    BLOCK_HEAD,
    BLOCK_SIZE,
    DATA_SIZE,
    FANOUT,
    INLINE_MAX,
    RESERVE_COUNT,
    RING_PLACES,
    SLOTS_OFFSET,
)
from archive7.root import Root, slot_offset
from archive7.streams import SingleStreamManager
from tests.audit import SECRETS, audit_bytes, read_all
from tests.devices import Fault, FaultingDevice
from tests.logged import LoggedDevice, shape

STREAM = b"s" * 16


@pytest.fixture(params=[SUITE_XAES256GCM, SUITE_SECRETBOX], ids=["xaes256gcm", "secretbox"])
def suite(request: pytest.FixtureRequest, need_secretbox: Any) -> int:
    if request.param == SUITE_SECRETBOX:
        need_secretbox()
    number: int = request.param
    return number


@pytest.fixture
def device() -> LoggedDevice:
    return LoggedDevice()


@pytest.fixture
def container(device: LoggedDevice, suite: int) -> Iterator[Container]:
    """A new container, past its first commit: opening a settled one writes the whole ring once."""
    made = create_container(device, SECRETS, replace=False, options=Options(suite=suite))
    put(made, 1)
    made.commit(durable=True)
    device.take()
    yield made
    made.close()
    audit_loose(device.getvalue())


def audit_loose(data: bytes) -> None:
    """Audit a container whose blocks belong to no stream."""
    reader = open_container(MemoryDevice(data), SECRETS, readonly=True)
    ends = range(1, reader.root.positions)
    used = [position for position in ends if any(reader.blocks.map.get(position))]
    reader.close()
    audit_bytes(data, SingleStreamManager, loose=used)


def plain(index: int, data: bytes) -> bytearray:
    head = BLOCK_HEAD.pack(-1, -1, index, STREAM, bytes(20))
    return bytearray(head + data.ljust(DATA_SIZE, b"\0"))


def put(container: Container, count: int, data: bytes = b"data") -> list[int]:
    """Put `count` new blocks in memory; return their positions."""
    first, _ = container.positions.take(count)
    for position in range(first, first + count):
        container.blocks.put(position, plain(position, data))
    return list(range(first, first + count))


def change(container: Container, position: int, data: bytes = b"changed") -> None:
    container.blocks.put(position, plain(position, data))


def data_of(container: Container, position: int) -> bytes:
    block = container.blocks.block(position, position, STREAM)
    return bytes(block[BLOCK_HEAD.size :]).rstrip(b"\0")


def write_bulk(container: Container, count: int) -> int:
    """Seal `count` whole blocks at once, as streams do; return the first position."""
    first, _ = container.positions.take(count)
    container.blocks.write_run(
        first, first, STREAM, (-1, -1), memoryview(bytes(count * DATA_SIZE))
    )
    return first


# --- what a commit writes


@pytest.mark.parametrize("count", [1, 2, 5, 100, INLINE_MAX - 1])
def test_small_commit_is_its_blocks_and_one_root_in_two_writes(
    container: Container, device: LoggedDevice, count: int
) -> None:
    put(container, count)
    assert device.take() == []
    number = container.commit()
    calls = device.take()
    assert shape(calls) == [f"{count} blocks", "root"]
    assert sum(call.size for call in calls) == (count + 1) * BLOCK_SIZE
    assert container.root.number == number
    assert not container.is_changed


def test_durable_commit_syncs_exactly_once(container: Container, device: LoggedDevice) -> None:
    put(container, 3)
    before = container.blocks.counts.syncs
    container.commit(durable=True)
    assert shape(device.take()) == ["3 blocks", "root", "sync", "root"]  # the mark, not synced
    assert container.blocks.counts.syncs == before + 1


def test_sync_makes_the_last_commit_durable_once(
    container: Container, device: LoggedDevice
) -> None:
    put(container, 1)
    container.commit()
    put(container, 1)
    container.commit()
    device.take()
    container.sync()
    assert shape(device.take()) == ["sync", "root"]
    container.sync()
    container.commit(durable=True)
    assert device.take() == []


def test_commit_of_nothing_costs_nothing(container: Container, device: LoggedDevice) -> None:
    number = container.root.number
    assert container.commit() == container.commit(durable=True) == number
    assert device.take() == []


def test_mark_is_written_to_another_place_than_the_root(
    container: Container, device: LoggedDevice
) -> None:
    put(container, 1)
    number = container.commit(durable=True)
    first, mark = (call.place for call in device.take() if call.is_root)
    assert first != mark
    roots = container.ring.read()
    assert (roots[first].number, roots[first].is_marked) == (number, False)
    assert (roots[mark].number, roots[mark].is_marked) == (number, True)
    assert roots[first].hash == roots[mark].hash


def test_changes_fold_into_nodes_when_the_root_is_full(
    container: Container, device: LoggedDevice
) -> None:
    counts = container.blocks.counts
    put(container, INLINE_MAX - 1)
    container.commit()
    assert (len(container.root.changes), counts.nodes_sealed) == (INLINE_MAX, 0)
    device.take()
    put(container, 1)
    container.commit()
    assert shape(device.take()) == ["1 blocks", "1 blocks", "root"]  # block, leaf, root
    assert (container.root.changes, container.root.height) == ({}, 1)
    assert counts.nodes_sealed == 1


def test_fold_comes_once_for_so_many_changes(container: Container) -> None:
    counts = container.blocks.counts
    for _ in range(10 * INLINE_MAX):
        put(container, 1)
        container.commit()
    # leaves: each fold has one or two, and the node above once there are several
    assert 8 <= counts.nodes_sealed <= 30


def test_fold_can_be_asked_for(container: Container, device: LoggedDevice) -> None:
    container.commit(fold=True)
    assert shape(device.take()) == ["1 blocks", "root"]
    assert container.root.changes == {}
    container.commit(fold=True)
    assert device.take() == []


def test_fold_touches_one_leaf_and_its_parents(container: Container, device: LoggedDevice) -> None:
    write_bulk(container, 256)
    write_bulk(container, 256)
    write_bulk(container, 256)
    container.commit(durable=True)
    assert container.root.height == 2
    counts = container.blocks.counts
    device.take()
    before = counts.nodes_sealed
    change(container, 2 * FANOUT + 5)
    container.commit(fold=True)
    assert counts.nodes_sealed - before == 2
    assert shape(device.take()) == ["1 blocks", "1 blocks", "1 blocks", "root"]


def test_bulk_goes_out_before_the_commit_in_runs_of_256(
    container: Container, device: LoggedDevice
) -> None:
    write_bulk(container, 256)
    assert shape(device.take()) == ["256 blocks"]
    container.rollback()


def test_many_changed_blocks_are_sealed_before_memory_runs_out(
    container: Container, device: LoggedDevice
) -> None:
    put(container, 2048)
    assert device.take() == []
    put(container, 1)
    assert shape(device.take()) == ["256 blocks"] * 8
    assert len(container.blocks.dirty) == 1
    container.rollback()


def test_commit_that_brings_much_syncs_before_its_root_and_is_marked(
    container: Container, device: LoggedDevice
) -> None:
    for _ in range(5):
        write_bulk(container, 256)
    device.take()
    container.commit()
    words = shape(device.take())
    assert words[-3:] == ["sync", "root", "sync"]
    assert container.root.is_marked


def test_sync_is_forced_after_so_much_in_small_commits(
    container: Container, device: LoggedDevice
) -> None:
    fresh = 0
    while True:
        put(container, 100)
        container.commit()
        words = shape(device.take())
        fresh += 100
        if "sync" in words:
            break
        assert fresh < 1200, "nothing was synced in 4 MiB"
    assert fresh >= 1000
    assert words[-2:] == ["sync", "root"]


# --- numbers, hashes, the ring


def test_numbers_rise_and_are_never_used_twice(container: Container, device: LoggedDevice) -> None:
    numbers = []
    for turn in range(30):
        put(container, 1)
        if turn % 3 == 1:
            container.rollback()
        else:
            numbers.append(container.commit(durable=turn % 5 == 0))
        assert container.next_number > numbers[-1]
    assert numbers == sorted(set(numbers))


def test_number_of_a_failed_commit_is_not_used_again(suite: int) -> None:
    memory = MemoryDevice()
    faulting = FaultingDevice(memory)
    options = Options(suite=suite)
    container = create_container(faulting, SECRETS, replace=False, options=options)
    put(container, 1)
    container.commit()
    attempt = container.next_number
    put(container, 1)
    faulting.arm("pwrite", 1, Fault.EIO)
    with pytest.raises(OSError, match="error"):
        container.commit()
    container.rollback()
    put(container, 1)
    assert container.commit() > attempt
    container.close()


def test_new_session_starts_above_every_readable_number(device: LoggedDevice) -> None:
    create_container(device, SECRETS, replace=False).close()
    one = open_container(device, SECRETS, readonly=False)
    put(one, 1)
    last = one.commit()
    survivor = LoggedDevice(device.getvalue())
    other = open_container(survivor, SECRETS, readonly=False)
    assert other.next_number > last
    other.close()
    one.close()


def test_root_names_its_predecessor_and_the_last_durable_one(container: Container) -> None:
    durable = container.root
    before = durable
    for _ in range(4):
        put(container, 1)
        container.commit()
        root = container.root
        assert root.previous_hash == before.hash
        assert (root.base_number, root.base_hash) == (durable.number, durable.hash)
        before = root
    container.sync()
    put(container, 1)
    container.commit()
    assert container.root.base_hash == before.hash


def test_ring_keeps_the_last_durable_root_and_its_base(suite: int) -> None:
    """Whatever is being written: a torn root may lie in that place."""

    class Watching(LoggedDevice):
        ring: Any = None
        durable: Root | None = None
        torn = 0

        def pwrite(self, data: Buffer, offset: int) -> None:
            super().pwrite(data, offset)
            if self.ring is not None and self.calls[-1].is_root:
                place = self.calls[-1].place
                roots = {p: r for p, r in self.ring.read().items() if p != place}
                hashes = {root.hash for root in roots.values()}
                assert self.durable is not None
                assert self.durable.hash in hashes, "the last durable root was overwritten"
                if self.has_base:
                    assert self.durable.base_hash in hashes, "its base was overwritten"
                self.torn += 1

        has_base = False

    device = Watching()
    container = create_container(device, SECRETS, replace=False, options=Options(suite=suite))
    device.ring, device.durable = container.ring, container.root
    for turn in range(60):
        put(container, 1)
        container.commit()
        if turn % 4 in (0, 3) or turn % 13 == 0:
            device.durable = None
            watched, device.ring = device.ring, None
            container.sync()
            device.ring, device.durable = watched, container.root
            device.has_base = True
    assert device.torn >= 60
    device.ring = None
    container.close()


def test_root_counts_what_it_refers_to(container: Container) -> None:
    for count in (5, 200, 7):
        put(container, count)
        container.commit()
        root, chart = container.root, container.blocks.map
        nodes = sum(1 for _ in chart.walk())
        entries = sum(any(chart.get(p)) for p in range(1, root.positions))
        assert root.used == nodes + entries
        assert root.slots == container.slots.count
        assert root.reserve == (1, RESERVE_COUNT)
    assert root.sealed >= 5 + 200 + 7


# --- rollback and savepoints


def test_rollback_brings_the_last_commit_back(container: Container, device: LoggedDevice) -> None:
    [kept] = put(container, 1, b"kept")
    container.header = b"h" * 344
    container.commit()
    root, generation = container.root, container.generation
    change(container, kept)
    put(container, 300)
    container.blocks.seal()
    container.header = b"x" * 344
    container.streams = [b"r" * 38]
    assert container.is_changed
    container.rollback()
    assert not container.is_changed
    assert container.generation > generation
    assert (container.header, container.streams) == (b"h" * 344, [])
    assert container.positions.end == root.positions
    assert data_of(container, kept) == b"kept"


def test_slots_of_what_was_rolled_back_are_used_again(container: Container) -> None:
    sizes = []
    for _ in range(5):
        put(container, 500)
        container.blocks.seal()
        container.rollback()
        sizes.append(container.slots.count)
    assert sizes == [sizes[0]] * 5


def test_savepoints_nest(container: Container) -> None:
    [position] = put(container, 1, b"zero")
    container.commit()
    marks = []
    for name in (b"one", b"two", b"three"):
        marks.append(container.savepoint())
        change(container, position, name)
        put(container, 10)
    container.rollback(marks.pop())
    assert data_of(container, position) == b"two"
    container.release(marks.pop())
    change(container, position, b"four")
    container.rollback(marks.pop())
    assert data_of(container, position) == b"zero"
    container.commit()
    assert data_of(container, position) == b"zero"


def test_savepoint_costs_the_changed_blocks_and_no_root(
    container: Container, device: LoggedDevice
) -> None:
    put(container, 3)
    mark = container.savepoint()
    assert shape(device.take()) == ["3 blocks"]
    container.rollback(mark)
    assert device.take() == []
    container.rollback()


# --- reuse


def test_committed_slots_are_reused_only_after_a_durable_commit(
    container: Container, device: LoggedDevice
) -> None:
    [position] = put(container, 1)
    container.commit(durable=True)
    device.take()
    written = []
    for turn in range(6):
        change(container, position, b"%d" % turn)
        container.commit()
        written += [call.offset for call in device.take() if not call.is_root]
    assert len(set(written)) == len(written), "a slot of a commit that is not durable was reused"
    container.sync()
    device.take()
    change(container, position, b"last")
    container.commit()
    again = [call.offset for call in device.take() if not call.is_root]
    assert again[0] != written[-1]
    assert again[0] < max(written), "nothing was reused"
    assert data_of(container, position) == b"last"


def test_file_does_not_grow_while_one_block_is_overwritten(container: Container) -> None:
    [position] = put(container, 1)
    container.commit(durable=True)
    for turn in range(300):
        change(container, position, b"%d" % turn)
        container.commit(durable=True)
    assert container.slots.count <= RESERVE_COUNT + 20


# --- faults


def test_failed_sync_poisons_the_writer_and_a_reopening_heals(suite: int) -> None:
    memory = MemoryDevice()
    faulting = FaultingDevice(memory)
    container = create_container(faulting, SECRETS, replace=False, options=Options(suite=suite))
    [position] = put(container, 1, b"durable")
    container.commit(durable=True)
    change(container, position, b"not durable")
    faulting.arm("sync", 1, Fault.EIO)
    with pytest.raises(SyncFailedError) as caught:
        container.commit(durable=True)
    assert caught.value.errno == errno.EIO
    assert container.is_failed
    for call in (container.commit, container.sync, container.savepoint, container.check_writable):
        with pytest.raises(SyncFailedError, match=r"reopen|anew"):
            call()
    before = memory.getvalue()
    container.close()
    assert memory.getvalue() == before, "a failed writer wrote at close"
    again = open_container(memory, SECRETS, readonly=False)
    assert data_of(again, position) in (b"durable", b"not durable")
    change(again, position, b"goes on")
    again.commit(durable=True)
    again.close()
    audit_loose(memory.getvalue())


@pytest.mark.parametrize("fault", [Fault.EIO, Fault.SHORT, Fault.LATE, Fault.INTERRUPT])
def test_failed_write_of_the_root_ends_the_session(suite: int, fault: Fault) -> None:
    """Whether it stands on disk cannot be known: an opening decides."""
    memory = MemoryDevice()
    faulting = FaultingDevice(memory)
    container = create_container(faulting, SECRETS, replace=False, options=Options(suite=suite))
    [position] = put(container, 1, b"before")
    container.commit()
    change(container, position, b"after")
    faulting.arm("pwrite", 1, fault, where=lambda offset: offset < SLOTS_OFFSET)
    with pytest.raises((OSError, KeyboardInterrupt)):
        container.commit()
    container.rollback()
    change(container, position, b"never")
    with pytest.raises(SyncFailedError):
        container.commit()
    before = memory.getvalue()
    container.close()
    assert memory.getvalue() == before
    again = open_container(memory, SECRETS, readonly=False)
    assert data_of(again, position) == (b"after" if fault is Fault.LATE else b"before")
    again.close()
    audit_loose(memory.getvalue())


@pytest.mark.parametrize("fault", [Fault.EIO, Fault.SHORT, Fault.LATE, Fault.INTERRUPT])
def test_failed_write_of_a_block_can_be_rolled_back_and_repeated(suite: int, fault: Fault) -> None:
    memory = MemoryDevice()
    faulting = FaultingDevice(memory)
    container = create_container(faulting, SECRETS, replace=False, options=Options(suite=suite))
    [position] = put(container, 1, b"before")
    container.commit()
    change(container, position, b"after")
    faulting.arm("pwrite", 1, fault)
    with pytest.raises((OSError, KeyboardInterrupt)):
        container.commit()
    container.rollback()
    assert data_of(container, position) == b"before"
    change(container, position, b"after")
    container.commit()
    container.close()
    again = open_container(memory, SECRETS, readonly=False)
    assert data_of(again, position) == b"after"
    again.close()
    audit_loose(memory.getvalue())


class SmallDisc(MemoryDevice):
    """Memory with room for so many bytes."""

    room = 1 << 60

    def pwrite(self, data: Buffer, offset: int) -> None:
        if offset + len(data) > max(self.room, self.size()):
            raise FullError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
        super().pwrite(data, offset)


def test_full_disc_raises_keeps_what_is_committed_and_works_again_with_room(suite: int) -> None:
    disc = SmallDisc()
    container = create_container(disc, SECRETS, replace=False, options=Options(suite=suite))
    positions = put(container, 50, b"kept")
    container.commit(durable=True)
    disc.room = disc.size() + 20 * BLOCK_SIZE
    put(container, 100)
    with pytest.raises(FullError) as caught:
        container.commit()
    assert caught.value.errno == errno.ENOSPC
    container.rollback()
    assert [data_of(container, position) for position in positions] == [b"kept"] * 50
    put(container, 10)
    container.commit(durable=True)
    disc.room = 1 << 60
    put(container, 100)
    container.commit(durable=True)
    container.close()
    audit_loose(disc.getvalue())


def test_free_space_inside_is_used_before_the_disc_counts_as_full(suite: int) -> None:
    disc = SmallDisc()
    container = create_container(disc, SECRETS, replace=False, options=Options(suite=suite))
    first = write_bulk(container, 256)
    container.commit(durable=True)
    disc.room = disc.size()
    container.blocks.free(first, 200)
    with pytest.raises(FullError):
        put(container, 190)
        container.commit()  # what this very commit frees may not be written yet
    container.rollback()
    container.is_emergency = True  # giving space back may use the reserve
    container.blocks.free(first, 200)
    container.commit()
    container.is_emergency = False
    put(container, 150)
    container.commit(durable=True)
    container.close()
    audit_loose(disc.getvalue())


def test_reserve_serves_emergencies_alone(suite: int) -> None:
    disc = SmallDisc()
    container = create_container(disc, SECRETS, replace=False, options=Options(suite=suite))
    [position] = put(container, 1)
    container.commit(durable=True)
    disc.room = disc.size()
    filled = 0
    with pytest.raises(FullError):
        while True:
            put(container, 1)
            container.commit()
            filled += 1
            assert filled < RESERVE_COUNT
    container.rollback()
    container.is_emergency = True
    change(container, position, b"emergency")
    container.commit(durable=True)
    container.is_emergency = False
    assert container.root.reserve == (0, 0)
    assert data_of(container, position) == b"emergency"
    disc.room = 1 << 60
    put(container, 1)
    container.commit(durable=True)
    put(container, 1)
    container.commit(durable=True)
    assert container.root.reserve[1] == RESERVE_COUNT
    container.close()
    audit_loose(disc.getvalue())


# --- closing


def test_close_folds_syncs_and_settles(device: LoggedDevice, suite: int) -> None:
    container = create_container(device, SECRETS, replace=False, options=Options(suite=suite))
    [position] = put(container, 1, b"data")
    container.commit()
    put(container, 1, b"never committed")
    device.take()
    container.close()
    words = shape([call for call in device.take() if call.kind != "pread"])
    assert words.count("sync") >= 3
    assert words[-1] in ("sync", "cut")
    again = open_container(device, SECRETS, readonly=True)
    roots = again.ring.read()
    assert len(roots) == RING_PLACES
    assert {root.hash for root in roots.values()} == {again.root.hash}
    assert all(root.is_marked for root in roots.values())
    assert again.root.changes == {}
    assert data_of(again, position) == b"data"
    assert not any(again.blocks.map.get(position + 1))
    again.close()


def test_close_gives_the_device_back_once(device: LoggedDevice) -> None:
    closed = []

    class Closing(LoggedDevice):
        def close(self) -> None:
            closed.append(self)

    target = Closing()
    container = create_container(target, SECRETS, replace=False)
    container.close()
    container.close()
    assert closed == [target]
    assert container.is_closed
    for call in (container.commit, container.sync, container.rollback, container.savepoint):
        with pytest.raises(ClosedError):
            call()


@pytest.mark.parametrize("kind", ["pwrite", "sync"])
def test_failing_close_raises_and_gives_the_device_back(kind: str) -> None:
    memory = MemoryDevice()
    closed = []

    class Closing(FaultingDevice):
        def close(self) -> None:
            closed.append(self)

    faulting = Closing(memory)
    container = create_container(faulting, SECRETS, replace=False)
    [position] = put(container, 1, b"data")
    container.commit(durable=True)
    faulting.arm(kind, 1, Fault.EIO, persistent=True)
    with pytest.raises(OSError, match=r"error|anew|sync"):
        container.close()
    assert closed == [faulting]
    assert container.is_closed
    again = open_container(memory, SECRETS, readonly=False)
    assert data_of(again, position) == b"data"
    again.close()
    audit_loose(memory.getvalue())


def test_unchanged_archive_is_not_written_by_opening_and_closing(device: LoggedDevice) -> None:
    create_container(device, SECRETS, replace=False).close()
    before = device.getvalue()
    device.take()
    open_container(device, SECRETS, readonly=False).close()
    assert [call for call in device.take() if call.kind != "pread"] == []
    assert device.getvalue() == before


def test_file_is_cut_at_close(device: LoggedDevice, suite: int) -> None:
    container = create_container(device, SECRETS, replace=False, options=Options(suite=suite))
    kept = write_bulk(container, 100)
    gone = [write_bulk(container, 256) for _ in range(8)]
    container.commit(durable=True)
    full = device.size()
    for first in gone:
        container.blocks.free(first, 256)
    container.commit(durable=True)
    container.close()
    assert device.size() < full - 7 * 256 * BLOCK_SIZE
    again = open_container(device, SECRETS, readonly=True)
    assert device.size() == slot_offset(again.root.slots + 1)
    for position in range(kept, kept + 100):
        assert data_of(again, position) == b""
    again.close()
    audit_loose(device.getvalue())


def test_bytes_behind_the_last_slot_are_cut_by_the_next_writer(device: LoggedDevice) -> None:
    create_container(device, SECRETS, replace=False).close()
    size = device.size()
    device.pwrite(b"junk" * 5000, size)
    reader = open_container(device, SECRETS, readonly=True)
    assert device.size() == size + 20_000
    reader.close()
    assert device.size() == size + 20_000
    open_container(device, SECRETS, readonly=False).close()
    assert device.size() == size


def test_cut_file_is_refused_and_left_alone(device: LoggedDevice) -> None:
    container = create_container(device, SECRETS, replace=False)
    write_bulk(container, 200)
    container.commit()
    container.close()
    device.truncate(device.size() - 1)
    before = device.getvalue()
    for readonly in (True, False):
        with pytest.raises(CorruptError, match="cut"):
            open_container(device, SECRETS, readonly=readonly)
    assert device.getvalue() == before


def test_reader_refuses_to_commit(device: LoggedDevice) -> None:
    create_container(device, SECRETS, replace=False).close()
    reader = open_container(device, SECRETS, readonly=True)
    device.take()
    for call in (reader.commit, reader.sync, reader.savepoint):
        with pytest.raises(ReadOnlyError) as caught:
            call()
        assert caught.value.args[0] == errno.EROFS
    reader.close()
    assert [call for call in device.take() if call.kind != "pread"] == []


# --- opening after a kill


def survivor(device: MemoryDevice) -> LoggedDevice:
    return LoggedDevice(device.getvalue())


def test_opening_after_a_kill_settles_once(container: Container, device: LoggedDevice) -> None:
    [position] = put(container, 1, b"there")
    container.commit()
    killed = survivor(device)
    again = open_container(killed, SECRETS, readonly=False)
    assert data_of(again, position) == b"there"
    assert again.recovered is None
    words = shape([call for call in killed.take() if call.kind != "pread"])
    assert words.count("sync") == 3
    assert {root.hash for root in again.ring.read().values()} == {again.root.hash}
    again.close()
    settled = survivor(killed)
    open_container(settled, SECRETS, readonly=False).close()
    assert [call for call in settled.take() if call.kind != "pread"] == []


def test_unmarked_commit_is_written_back_before_it_counts_as_durable(
    container: Container, device: LoggedDevice
) -> None:
    """A sync in the last session may have failed, and the page cache looks right all the same."""
    positions = put(container, 5, b"there")
    container.commit()
    slots = {int.from_bytes(container.blocks.map.get(p)[:4], "big") for p in positions}
    killed = survivor(device)
    again = open_container(killed, SECRETS, readonly=False)
    calls = [call for call in killed.take() if call.kind != "pread"]
    first_sync = next(at for at, call in enumerate(calls) if call.kind == "sync")
    back = {call.offset for call in calls[:first_sync] if call.kind == "pwrite"}
    assert {slot_offset(slot) for slot in slots} <= back
    assert any(call.is_root for call in calls[:first_sync])
    again.close()


def test_torn_commit_is_skipped_with_a_warning(container: Container, device: LoggedDevice) -> None:
    from archive7.errors import RecoveredWarning

    [position] = put(container, 1, b"before")
    container.commit(durable=True)
    change(container, position, b"after")
    number = container.commit()
    entry = container.blocks.map.get(position)
    killed = survivor(device)
    killed.pwrite(bytes(512), slot_offset(int.from_bytes(entry[:4], "big")) + 1024)
    with pytest.warns(RecoveredWarning, match=f"commit {number} was not whole"):
        again = open_container(killed, SECRETS, readonly=False)
    assert again.recovered is not None
    assert [skip.number for skip in again.recovered.skipped] == [number]
    assert again.recovered.number == again.root.number < number
    assert data_of(again, position) == b"before"
    change(again, position, b"goes on")
    assert again.commit() > number
    again.close()
    audit_loose(killed.getvalue())


def test_damage_to_a_durable_commit_is_no_crash(
    container: Container, device: LoggedDevice
) -> None:
    [position] = put(container, 1, b"before")
    container.commit(durable=True)
    change(container, position, b"after")
    container.commit(durable=True)
    entry = container.blocks.map.get(position)
    killed = survivor(device)
    killed.pwrite(bytes(512), slot_offset(int.from_bytes(entry[:4], "big")) + 1024)
    again = open_container(killed, SECRETS, readonly=False)
    assert again.recovered is None
    with pytest.raises(CorruptError):
        data_of(again, position)
    again.close()


def test_error_of_the_device_while_opening_is_raised_and_changes_nothing(
    container: Container, device: LoggedDevice
) -> None:
    [position] = put(container, 1, b"there")
    container.commit()
    killed = survivor(device)
    faulting = FaultingDevice(killed)
    faulting.arm("pread", 1, Fault.EIO, where=lambda offset: offset >= SLOTS_OFFSET)
    before = killed.getvalue()
    with pytest.raises(OSError, match="error"):
        open_container(faulting, SECRETS, readonly=False)
    assert faulting.fired == 1
    assert killed.getvalue() == before
    again = open_container(killed, SECRETS, readonly=False)
    assert data_of(again, position) == b"there"
    again.close()


# --- through a manager


def test_manager_rolls_back_what_fails(suite: int) -> None:
    memory = MemoryDevice()
    faulting = FaultingDevice(memory)
    manager = SingleStreamManager.over(
        create_container(faulting, SECRETS, replace=False, options=Options(suite=suite))
    )
    stream = manager.special_stream(0)
    stream.write(0, memoryview(b"kept"))
    manager.commit()
    stream.write(0, memoryview(b"lost and longer"))
    faulting.arm("pwrite", 1, Fault.FULL, persistent=True)
    with pytest.raises(FullError):
        manager.commit()
    assert read_all(stream) == b"kept"
    faulting.disarm()
    stream.write(0, memoryview(b"again"))
    manager.close()
    audit_bytes(memory.getvalue(), SingleStreamManager)
    device: Device = MemoryDevice(memory.getvalue())
    again = SingleStreamManager.over(open_container(device, SECRETS, readonly=True))
    assert read_all(again.special_stream(0)) == b"again"
    again.close()
