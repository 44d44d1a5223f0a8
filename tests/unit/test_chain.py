"""Chains: the last block tells how much of it counts, whatever was done to the stream."""

from __future__ import annotations

import random
from unittest import mock

import pytest

from archive7.errors import TransactionError
from archive7.layout import BLOCK_HEAD, DATA_SIZE
from archive7.streams import DataStream, DynamicMultiStreamManager
from archive7.streams.chain import tail_next, tail_used
from tests.audit import audit
from tests.unit.archives import Vaults

KEY = bytes(range(32))


@pytest.mark.parametrize("used", [0, 1, 4007])
def test_partial_tail_tells_its_bytes(used: int) -> None:
    assert tail_next(used, 77) == -2 - used
    assert tail_used(tail_next(used, 77)) == used


@pytest.mark.parametrize("following", [-1, 1, 2**31 - 1])
def test_full_tail_may_name_what_follows(following: int) -> None:
    assert tail_next(DATA_SIZE, following) == following
    assert tail_used(following) == DATA_SIZE


def told(manager: DynamicMultiStreamManager, stream: DataStream) -> int:
    """The length of a stream by its last block alone, as it was committed."""
    plain = manager.container.blocks.load(stream.extents.position(stream.count - 1))
    _, following, index, *_ = BLOCK_HEAD.unpack_from(plain)
    return index * DATA_SIZE + tail_used(following)


def test_length_is_told_after_every_commit(tmp_path: object, seed: int) -> None:
    rng = random.Random(seed)
    with DynamicMultiStreamManager(f"{tmp_path}/c.ar7", KEY) as manager:
        stream = manager.new_stream()
        for _ in range(150):
            length = stream.len
            match rng.randrange(5):
                case 0:
                    stream.truncate(rng.choice((0, 1, DATA_SIZE, rng.randint(0, length + 9000))))
                case 1:
                    stream.write(0, memoryview(bytes(DATA_SIZE * rng.randint(1, 9))))
                    stream.truncate(min(stream.len, length or 1))
                case 2:
                    stream.truncate(-(-length // DATA_SIZE) * DATA_SIZE)
                case _:
                    data = rng.randbytes(rng.choice((1, 100, DATA_SIZE, 5 * DATA_SIZE + 3)))
                    stream.write(rng.choice((length, rng.randint(0, length))), memoryview(data))
            if rng.random() < 0.5:
                manager.commit(durable=rng.random() < 0.2)
                assert not stream.count or told(manager, stream) == stream.len
                audit(manager)


def test_small_file_and_appending_tell_their_length(tmp_path: object) -> None:
    with Vaults(tmp_path) as vaults:  # type: ignore[arg-type]
        archive = vaults.open("x")
        for size in (0, 1, DATA_SIZE - 1, DATA_SIZE, DATA_SIZE + 1, 300_000):
            archive.write_bytes(f"/{size}", bytes(size))
            with archive.open(f"/{size}", "ab") as file:
                for piece in (1, 4000, 7, 8, 5000):
                    file.write(bytes(piece))
                    file.flush()
        assert archive.stat("/0").st_size == 9016


def test_write_that_failed_half_way_is_not_committed(tmp_path: object) -> None:
    with DynamicMultiStreamManager(f"{tmp_path}/c.ar7", KEY) as manager:
        stream = manager.new_stream()
        stream.write(0, memoryview(b"before"))
        manager.commit()
        blocks = manager.container.blocks
        with (
            mock.patch.object(blocks, "put", side_effect=MemoryError),
            pytest.raises(MemoryError),
        ):
            stream.write(5000, memoryview(b"after"))
        with pytest.raises(TransactionError, match="half-way"):
            manager.commit()
        assert stream.len == 6  # the commit that failed was rolled back
        stream.write(6, memoryview(b" and after"))
        manager.commit()
        audit(manager)


def test_record_that_is_stored_by_hand_fits_its_last_block(tmp_path: object) -> None:
    with DynamicMultiStreamManager(f"{tmp_path}/c.ar7", KEY) as manager:
        stream = manager.new_stream()
        stream.write(0, memoryview(b"x"))
        manager.registry.update(stream, b"owner")
        assert not stream.is_dirty
        manager.commit()
        assert told(manager, stream) == 1
        audit(manager)
