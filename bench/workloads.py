"""The table of workloads: what each does, in which unit it counts, and what it must reach.

The figures are those of the design's performance table ("must reach"); an `aim` is a wish.
"""

from collections.abc import Callable
from dataclasses import dataclass

from inputs import BLOCK_DATA_SIZE, CHUNK_SIZE, PAGE_SIZE, SMALL_SIZE, Inputs
from peers.base import Job, Session

BEST = "best encrypted peer"
ABSOLUTE = "absolute"

MakeJob = Callable[[Session, Inputs, int], Job]
"""Makes the job of one repeat from the session, the inputs and the number of the repeat."""


@dataclass(frozen=True)
class Target:
    """Archive7's median must be at least `factor` times the reference's in the same run."""

    factor: float
    reference: str
    """A peer's name, BEST, or ABSOLUTE: then `factor` is the figure itself."""
    is_aim: bool = False


@dataclass(frozen=True)
class Workload:
    """One row of the design's table."""

    name: str
    title: str
    method: str
    make_job: MakeJob
    amount: Callable[[Inputs], float]
    """How much one repeat does, in `unit` seconds."""
    unit: str = "operations/s"
    targets: tuple[Target, ...] = ()
    needs: str | None = None
    """The workload that fills what this one works on."""
    writes: bool = False
    expected: Callable[[Inputs, int, object], bool] | None = None
    """Judges what the work of a repeat returned, to catch work that was not done."""
    only: frozenset[str] | None = None
    """The peers it makes sense for; None = all that offer the method."""


def _offsets(inputs: Inputs, repeat: int) -> list[int]:
    return inputs.offsets(PAGE_SIZE, inputs.scale.read_count, repeat)


def _block_offsets(inputs: Inputs, repeat: int) -> list[int]:
    return inputs.offsets(BLOCK_DATA_SIZE, inputs.scale.read_count, repeat)


def _overwrite_offsets(inputs: Inputs, repeat: int) -> list[int]:
    return inputs.offsets(PAGE_SIZE, inputs.scale.overwrite_count, repeat)


def _ends_payload(inputs: Inputs, _repeat: int, piece: object) -> bool:
    return isinstance(piece, bytes) and bool(piece) and inputs.payload.endswith(piece)


def _megabytes(inputs: Inputs) -> float:
    return inputs.scale.stream_size / 1e6


def _is_page(inputs: Inputs, repeat: int, piece: object) -> bool:
    offset = _offsets(inputs, repeat)[-1]
    return piece == inputs.payload[offset : offset + PAGE_SIZE]


def _is_block(inputs: Inputs, repeat: int, piece: object) -> bool:
    offset = _block_offsets(inputs, repeat)[-1]
    return piece == inputs.payload[offset : offset + BLOCK_DATA_SIZE]


STREAM_WORKLOADS = (
    Workload(
        "sequential_write",
        "Sequential write, 1 MiB chunks, one sync at the end",
        "write_sequential",
        lambda s, i, _: s.write_sequential(memoryview(i.payload), CHUNK_SIZE),
        _megabytes,
        unit="MB/s",
        targets=(Target(2, BEST), Target(0.6, "bare loop", is_aim=True)),
        writes=True,
    ),
    Workload(
        "sequential_read",
        "Sequential read, 1 MiB chunks",
        "read_sequential",
        lambda s, _i, _: s.read_sequential(CHUNK_SIZE),
        _megabytes,
        unit="MB/s",
        targets=(Target(1.3, BEST), Target(0.6, "bare loop", is_aim=True)),
        needs="sequential_write",
        expected=_ends_payload,
    ),
    Workload(
        "random_read",
        "Random read of 4096 bytes at multiples of 4096",
        "random_read",
        lambda s, i, repeat: s.random_read(_offsets(i, repeat), PAGE_SIZE),
        lambda i: len(_offsets(i, 0)),
        targets=(Target(2, BEST), Target(3, BEST, is_aim=True)),
        needs="sequential_write",
        expected=_is_page,
    ),
    Workload(
        "random_block",
        "Random read of one block (4008 bytes at multiples of 4008)",
        "random_read",
        lambda s, i, repeat: s.random_read(_block_offsets(i, repeat), BLOCK_DATA_SIZE),
        lambda i: len(_block_offsets(i, 0)),
        needs="sequential_write",
        expected=_is_block,
        only=frozenset({"bare loop", "Archive7"}),
    ),
    Workload(
        "random_overwrite",
        "Random overwrite of 4096 bytes, one sync at the end",
        "random_overwrite",
        lambda s, i, repeat: s.random_overwrite(_overwrite_offsets(i, repeat), i.page),
        lambda i: len(_overwrite_offsets(i, 0)),
        targets=(Target(1.5, BEST), Target(2, BEST, is_aim=True)),
        needs="sequential_write",
        writes=True,
    ),
)

SMALL_WORKLOADS = (
    Workload(
        "create_small",
        f"Create files of {SMALL_SIZE} bytes, one transaction",
        "create_small",
        lambda s, i, _: s.create_small(i.files(i.scale.small_count)),
        lambda i: i.scale.small_count,
        targets=(Target(1, "SQLCipher"),),
        writes=True,
    ),
    Workload(
        "read_small",
        f"Read files of {SMALL_SIZE} bytes by name, in random order",
        "read_small",
        lambda s, i, _: s.read_small(i.names),
        lambda i: i.scale.small_count,
        targets=(Target(0.6, "SQLCipher"), Target(1, "SQLCipher", is_aim=True)),
        needs="create_small",
        expected=lambda i, _, data: dict(i.files(i.scale.small_count))[i.names[-1]] == data,
    ),
    Workload(
        "small_commit",
        f"Commits of one new file of {SMALL_SIZE} bytes, not durable (mean of all)",
        "small_commit",
        lambda s, i, _: s.small_commit(i.files(i.scale.commit_count), False),
        lambda i: i.scale.commit_count,
        targets=(Target(10_000, ABSOLUTE),),
        writes=True,
    ),
    Workload(
        "small_commit_durable",
        f"Commits of one new file of {SMALL_SIZE} bytes, each durable",
        "small_commit",
        lambda s, i, _: s.small_commit(i.files(i.scale.durable_count), True),
        lambda i: i.scale.durable_count,
        writes=True,
    ),
)

MAP_WORKLOADS = (
    Workload(
        "map_insert",
        "Ordered map: insert random 16-byte keys with 38-byte values, one by one",
        "map_insert",
        lambda s, i, _: s.map_insert(i.items),
        lambda i: i.scale.map_count,
        targets=(Target(40, "bplustree"), Target(0.4, "sqlite3")),
        writes=True,
    ),
    Workload(
        "map_get",
        "Ordered map: get every key, in random order, warm",
        "map_get",
        lambda s, i, _: s.map_get(i.keys),
        lambda i: i.scale.map_count,
        targets=(Target(1, "sqlite3"),),
        needs="map_insert",
        expected=lambda i, _, value: dict(i.items)[i.keys[-1]] == value,
    ),
)

WORKLOADS = STREAM_WORKLOADS + SMALL_WORKLOADS + MAP_WORKLOADS
BY_NAME = {workload.name: workload for workload in WORKLOADS}
