"""check: every kind of damage that the working state can have gives a finding, no exception."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archive7 import Archive, Finding
from archive7.entry import DIRECTORY, FILE, ROOT_ID
from archive7.errors import Archive7Error, TransactionError, UsageError
from archive7.layout import (
    BLOCK_HEAD,
    BLOCK_SIZE,
    DATA_SIZE,
    EXTENT,
    PATH,
    SLOTS_OFFSET,
    STREAM,
)
from archive7.map import entry_slot
from archive7.streams.registry import encode_value, split
from tests.unit.archives import Vaults, errors_of, noise, open_archive

IDENTITY = slice(8, 28)


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as found:
        yield found


@pytest.fixture
def archive() -> Iterator[Archive]:
    """An archive in memory, to be damaged; it is not checked at the end."""
    archive = open_archive(io.BytesIO(), "x")
    archive.makedirs("/dir/sub")
    archive.write_bytes("/dir/file", noise(30_000))
    archive.write_bytes("/dir/other", noise(9000))
    archive.write_bytes("/small", b"small")
    archive.symlink("small", "/link")
    archive.write_bytes("/gone", noise(30_000))
    archive.remove("/gone")
    archive.sync()
    assert errors_of(archive) == errors_of(archive, "quick") == []
    yield archive
    archive.close()


# --- ways to break the working state; what is committed then is sealed in good order


def identity_of(archive: Archive, path: str) -> bytes:
    return archive._filesystem.find(path, follow=False).identity


def value_of(archive: Archive, path: str) -> tuple[bytes, bytes, bytes]:
    value = archive._manager.registry.tree.get(identity_of(archive, path))
    assert value is not None
    return split(value)


def put_record(archive: Archive, path: str, **fields: int) -> None:
    """Change fields of a file's stream record."""
    record, extents, owner = value_of(archive, path)
    names = ("identity", "begin", "end", "count", "length", "compression")
    values = dict(zip(names, STREAM.unpack(record), strict=True)) | fields
    tree = archive._manager.registry.tree
    tree.insert(
        identity_of(archive, path),
        encode_value(STREAM.pack(*values.values()), extents, owner),
    )


def record_of(archive: Archive, path: str) -> tuple[int, ...]:
    return STREAM.unpack(value_of(archive, path)[0])[1:]


def put_owner(archive: Archive, path: str, owner: bytes) -> None:
    record, extents, _ = value_of(archive, path)
    tree = archive._manager.registry.tree
    tree.insert(identity_of(archive, path), encode_value(record, extents, owner))


def relink(archive: Archive, path: str, index: int, previous: int, following: int) -> None:
    plain = archive._container.blocks.mutable(record_of(archive, path)[0] + index)
    _, _, *rest = BLOCK_HEAD.unpack_from(plain)
    BLOCK_HEAD.pack_into(plain, 0, previous, following, *rest)


def drop_entry(archive: Archive) -> None:
    archive._manager.registry.tree.delete(identity_of(archive, "/small"))


def drop_name(archive: Archive) -> None:
    archive._manager.paths.delete(ROOT_ID + b"small")


def name_to_nowhere(archive: Archive) -> None:
    archive._manager.paths.insert(ROOT_ID + b"ghost", PATH.pack(FILE, bytes(16)))


def wrong_type(archive: Archive) -> None:
    identity = identity_of(archive, "/link")
    archive._manager.paths.insert(ROOT_ID + b"link", PATH.pack(FILE, identity))


def second_name(archive: Archive) -> None:
    identity = identity_of(archive, "/small")
    archive._manager.paths.insert(ROOT_ID + b"second", PATH.pack(FILE, identity))


def directory_gone(archive: Archive) -> None:
    archive._manager.registry.tree.delete(identity_of(archive, "/dir"))


def circle(archive: Archive) -> None:
    """/dir in /dir/sub, and that in /dir."""
    filesystem = archive._filesystem
    identity, below = identity_of(archive, "/dir"), identity_of(archive, "/dir/sub")
    archive._manager.paths.delete(ROOT_ID + b"dir")
    archive._manager.paths.insert(below + b"dir", PATH.pack(DIRECTORY, identity))
    filesystem.update(identity, parent=below)
    filesystem.forget()


def broken_entry(archive: Archive) -> None:
    put_owner(archive, "/small", b"junk")


def name_of_no_utf8(archive: Archive) -> None:
    identity = identity_of(archive, "/small")
    archive._manager.paths.insert(ROOT_ID + b"\xfe\xff", PATH.pack(FILE, identity))


def short_name_record(archive: Archive) -> None:
    archive._manager.paths.insert(ROOT_ID + b"small", b"x")


def short_value(archive: Archive) -> None:
    archive._manager.registry.tree.insert(identity_of(archive, "/small"), b"short")


def broken_extents(archive: Archive) -> None:
    record, _, owner = value_of(archive, "/dir/file")
    extents = EXTENT.pack(0, 5, 3) + EXTENT.pack(9, 50, 3)
    archive._manager.registry.tree.insert(
        identity_of(archive, "/dir/file"), encode_value(record, extents, owner)
    )


def overlapping_streams(archive: Archive) -> None:
    begin = record_of(archive, "/dir/file")[0]
    put_record(archive, "/small", begin=begin, end=begin)


def orphan_block(archive: Archive) -> None:
    archive._manager.new_block()


def stranger(archive: Archive) -> None:
    plain = archive._container.blocks.mutable(record_of(archive, "/small")[0])
    plain[IDENTITY] = bytes(20)


def missing_block(archive: Archive) -> None:
    archive._container.blocks.free(record_of(archive, "/dir/file")[0] + 2, 1)


def wrong_used_count(archive: Archive) -> None:
    archive._container.blocks.map.used += 1
    archive.write_bytes("/another", b"x")


def shared_slot(archive: Archive) -> None:
    chart = archive._container.blocks.map
    begin = record_of(archive, "/dir/file")[0]
    entry = chart.get(begin)
    chart.set(begin + 1, entry_slot(entry), entry[4:])


def slot_behind_the_end(archive: Archive) -> None:
    chart = archive._container.blocks.map
    begin = record_of(archive, "/dir/file")[0]
    chart.set(begin, 10**6, bytes(8))


def used_position_on_the_free_list(archive: Archive) -> None:
    archive._container.positions.learn([(record_of(archive, "/small")[0], 1)])


def tail_not_at_its_end(archive: Archive) -> None:
    put_record(archive, "/dir/file", end=record_of(archive, "/dir/file")[0])


DAMAGE: dict[str, tuple[str, bool, Callable[[Archive], object]]] = {
    # name: layer of the finding, whether quick finds it, what is done
    "entry deleted": ("path", True, drop_entry),
    "name deleted": ("registry", True, drop_name),
    "name to nowhere": ("path", True, name_to_nowhere),
    "wrong type": ("path", True, wrong_type),
    "second name": ("path", True, second_name),
    "directory gone": ("registry", True, directory_gone),
    "circle": ("path", True, circle),
    "broken entry": ("registry", True, broken_entry),
    "name of no UTF-8": ("path", True, name_of_no_utf8),
    "short name record": ("path", True, short_name_record),
    "short value": ("registry", True, short_value),
    "broken extents": ("registry", True, broken_extents),
    "overlapping streams": ("stream", True, overlapping_streams),
    "orphan block": ("space", True, orphan_block),
    "block of a stranger": ("block", False, stranger),
    "missing block": ("stream", True, missing_block),
    "wrong used count": ("map", True, wrong_used_count),
    "shared slot": ("map", True, shared_slot),
    "slot behind the end": ("map", True, slot_behind_the_end),
    "position on the free list": ("space", True, used_position_on_the_free_list),
    "wrong end": ("stream", True, tail_not_at_its_end),
    "too many bytes": ("stream", True, lambda a: put_record(a, "/small", length=DATA_SIZE + 1)),
    "too few bytes": ("stream", True, lambda a: put_record(a, "/dir/file", length=10)),
    "wrong count": ("stream", True, lambda a: put_record(a, "/dir/file", count=3)),
    "previous link": ("stream", False, lambda a: relink(a, "/dir/file", 0, 7, 0)),
    "next link": (
        "stream", False,
        lambda a: relink(a, "/dir/file", 1, record_of(a, "/dir/file")[0], 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_raises_nothing(archive: Archive, name: str) -> None:
    layer, is_quick, damage = DAMAGE[name]
    damage(archive)
    for level in ("quick", "full"):
        found = [f for f in archive.check(level) if f.severity == "error"]
        if level == "full" or is_quick:
            assert layer in {f.layer for f in found}, f"{level}: {found}"
        for finding in found:
            assert finding.message
            assert isinstance(hash(finding), int)


def test_a_finding_names_the_file(archive: Archive) -> None:
    stranger(archive)
    found = errors_of(archive)
    assert "/small" in [f.path for f in found]
    assert all(isinstance(f, Finding) for f in found)


@pytest.mark.parametrize("level", ["quick", "full"])
def test_damage_on_disk_is_looked_past(vaults: Vaults, level: str) -> None:
    """Half of the blocks are noise: findings for them, and the rest is still looked at."""
    with vaults.open("x") as archive:
        with archive.transaction():
            for number in range(60):
                archive.write_bytes(f"/{number}", noise(9000, number))
        slots = {p: entry_slot(archive._container.blocks.map.get(p)) for p in range(1, 200)}
        begins = [STREAM.unpack(value_of(archive, f"/{n}")[0])[1] for n in range(60)]
    vaults.damaged.add(vaults.path())
    data = bytearray(vaults.path().read_bytes())
    with open_archive(io.BytesIO(bytes(data))) as archive:
        chart = archive._container.blocks.map
        for begin in begins[::2]:
            at = SLOTS_OFFSET + (entry_slot(chart.get(begin)) - 1) * BLOCK_SIZE
            data[at + 99] ^= 1
    assert slots
    with open_archive(io.BytesIO(bytes(data))) as archive:
        found = errors_of(archive, level)
    if level == "full":
        assert {f.path for f in found} == {f"/{n}" for n in range(0, 60, 2)}
    else:
        assert found == []  # it opens no block of files


def test_random_damage_to_trees_and_nodes_raises_nothing(seed: int) -> None:
    import random

    rng = random.Random(seed)
    file = io.BytesIO()
    with open_archive(file, "x") as archive, archive.transaction():
        for number in range(300):
            archive.write_bytes(f"/{number}", noise(100, number))
    whole = file.getvalue()
    found_any = 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 30))):
            data[rng.randrange(SLOTS_OFFSET, len(data))] ^= 1 << rng.randrange(8)
        try:
            archive = open_archive(io.BytesIO(bytes(data)))
        except Archive7Error:
            continue
        for level in ("quick", "full"):
            found_any += bool(errors_of(archive, level))
        archive.close()
    assert found_any


def test_progress_rises_to_the_end(archive: Archive) -> None:
    calls: list[tuple[int, int, str]] = []
    assert list(archive.check(progress=lambda *call: calls.append(call))) == []
    assert len(calls) > 3
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert all(call[0] <= call[1] for call in calls)


def test_levels_and_times_at_which_it_cannot_run(archive: Archive) -> None:
    for level in ("", "deep", None):
        with pytest.raises(UsageError, match="quick, full"):
            archive.check(level)  # type: ignore[arg-type]
    with archive.transaction(), pytest.raises(TransactionError):
        archive.check()


def test_check_changes_nothing(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.write_bytes("/f", noise(100_000))
    archive.sync()
    before = vaults.path().read_bytes()
    assert list(archive.check()) == list(archive.check("quick")) == []
    assert vaults.path().read_bytes() == before


def test_it_looks_at_what_is_open_and_not_yet_committed(archive: Archive) -> None:
    with archive.open("/dir/file", "r+b", 0) as file:
        file.write(noise(100_000, 5))
        assert list(archive.check()) == []
        file.truncate(10)
        assert list(archive.check()) == []


def test_speed_is_told(vaults: Vaults, capsys: pytest.CaptureFixture[str]) -> None:
    """20 MiB here; ARCHIVE7_CHECK_MIB says how much (no assertion: the bench has its own)."""
    size = int(os.environ.get("ARCHIVE7_CHECK_MIB", "20")) << 20
    with vaults.open("x") as archive:
        with archive.open("/big", "wb", 0) as file:
            for number in range(size >> 20):
                file.write(noise(1 << 20, number % 4))
        archive.sync()
        for level in ("full", "quick"):
            start = time.perf_counter()
            assert list(archive.check(level)) == []
            rate = (size >> 20) / (time.perf_counter() - start)
            with capsys.disabled():
                print(f" check {level}: {rate:.0f} MiB/s", end="")
