"""Every peer that can run here gives back what it was given: else its speed means nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from inputs import BLOCK_DATA_SIZE, CHUNK_SIZE, MIB, PAGE_SIZE, Inputs, Scale
from peers import all_peers
from peers.base import Job, Peer, Session

SCALE = Scale(2 * MIB, 50, 50, 40, 20, 5, 200)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """Small inputs, the same for every peer."""
    return Inputs(SCALE)


@pytest.fixture(params=all_peers(), ids=lambda peer: peer.name)
def session(request: pytest.FixtureRequest, bench_folder: Path) -> Iterator[Session]:
    """An open session of each peer; skipped with the reason where it is not available."""
    peer: Peer = request.param
    reason = peer.available()
    if reason is not None:
        pytest.skip(reason)
    with peer.open(bench_folder) as opened:
        yield opened


def do(job: Job) -> object:
    """Run a job without timing it."""
    with job as work:
        return work()


def needs(session: Session, *methods: str) -> None:
    """Skip where the peer does not offer a workload."""
    for method in methods:
        if not session.can(method):
            pytest.skip(f"does not offer {method}")


def test_stream_reads_back(session: Session, inputs: Inputs) -> None:
    needs(session, "write_sequential", "read_sequential")
    for _ in range(2):
        do(session.write_sequential(memoryview(inputs.payload), CHUNK_SIZE))
        last = do(session.read_sequential(CHUNK_SIZE))
        assert isinstance(last, bytes)
        assert last
        assert inputs.payload.endswith(last)


def test_random_reads_hit_their_offsets(session: Session, inputs: Inputs) -> None:
    needs(session, "write_sequential", "random_read")
    do(session.write_sequential(memoryview(inputs.payload), CHUNK_SIZE))
    for offset in inputs.offsets(PAGE_SIZE, 50, 0):
        expected = inputs.payload[offset : offset + PAGE_SIZE]
        assert do(session.random_read([offset], PAGE_SIZE)) == expected


def test_overwritten_pages_read_back_and_others_stay(session: Session, inputs: Inputs) -> None:
    needs(session, "write_sequential", "random_overwrite", "random_read")
    do(session.write_sequential(memoryview(inputs.payload), CHUNK_SIZE))
    changed = inputs.offsets(PAGE_SIZE, 50, 0)
    do(session.random_overwrite(changed, inputs.page))
    for offset in range(0, len(inputs.payload), PAGE_SIZE):
        original = inputs.payload[offset : offset + PAGE_SIZE]
        expected = inputs.page if offset in changed else original
        assert do(session.random_read([offset], PAGE_SIZE)) == expected


def test_small_files_read_back(session: Session, inputs: Inputs) -> None:
    needs(session, "create_small", "read_small")
    files = inputs.files(SCALE.small_count)
    for _ in range(2):
        do(session.create_small(files))
    for name, data in files:
        assert do(session.read_small([name])) == data


@pytest.mark.parametrize("durable", [False, True])
def test_small_commits_work_twice(session: Session, inputs: Inputs, durable: bool) -> None:
    needs(session, "small_commit")
    for _ in range(2):
        do(session.small_commit(inputs.files(SCALE.durable_count), durable))


def test_map_gives_every_value(session: Session, inputs: Inputs) -> None:
    needs(session, "map_insert", "map_get")
    for _ in range(2):
        do(session.map_insert(inputs.items))
    for key, value in inputs.items:
        assert do(session.map_get([key])) == value


def test_block_reads_agree_with_the_payload(session: Session, inputs: Inputs) -> None:
    """Offsets that are no multiple of a page, for the peers that take any."""
    needs(session, "write_sequential", "random_read")
    if not session.reads_any_offset:
        pytest.skip("reads whole pages")
    do(session.write_sequential(memoryview(inputs.payload), CHUNK_SIZE))
    for offset in inputs.offsets(BLOCK_DATA_SIZE, 50, 0):
        expected = inputs.payload[offset : offset + BLOCK_DATA_SIZE]
        assert do(session.random_read([offset], BLOCK_DATA_SIZE)) == expected
