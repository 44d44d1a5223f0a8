"""check of what only a holder of the key can write: claims without end, circles, free lists.

More at random: tests/fuzz.
"""

from __future__ import annotations

import dataclasses
import io
import random
import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archive7 import Archive, CorruptError, Finding
from archive7.btree import BTree
from archive7.entry import DELETED_ID, ROOT_ID
from archive7.finding import KINDS, Report
from archive7.layout import (
    CHANGE,
    DATA_SIZE,
    FANOUT,
    RING_PLACES,
    STREAM,
    TRASH_EXTENT,
    TRASH_HEAD,
    TREE_MAGIC,
    TREE_NODE,
    encode_numbers,
)
from archive7.map import entry_slot
from archive7.marks import Marks
from archive7.root import slot_offset
from archive7.streams.registry import encode_value, split
from tests.unit.archives import noise, open_archive

SMALL = 16 << 20  # bytes; what claims gigabytes must not get them


@pytest.fixture
def archive() -> Iterator[Archive]:
    """An archive in memory, to be damaged; it is not checked at the end."""
    archive = open_archive(io.BytesIO(), "x")
    archive.makedirs("/dir/sub")
    for number in range(20):
        archive.write_bytes(f"/dir/{number}", noise(9000, number))
    archive.sync()
    yield archive
    archive.close()


def found_in(archive: Archive, level: str = "full") -> list[Finding]:
    """What check finds, in little memory."""
    tracemalloc.start()
    found = list(archive.check(level))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < SMALL
    return found


def codes(archive: Archive, level: str = "full") -> set[str]:
    return {finding.code for finding in found_in(archive, level)}


def with_root(archive: Archive, **fields: object) -> bytes:
    """The file with another root in all places of the ring."""
    archive.sync()
    container = archive._container
    root = dataclasses.replace(container.root, is_marked=True, **fields)  # type: ignore[arg-type]
    sealed = container.ring.seal(root)
    for place in range(RING_PLACES):
        container.ring.write(place, sealed)
    size = container.device.size()
    return container.device.pread(size, 0)


def identity_of(archive: Archive, path: str) -> bytes:
    return archive._filesystem.find(path, follow=False).identity


def put_record(archive: Archive, path: str, **fields: int) -> None:
    tree, identity = archive._manager.registry.tree, identity_of(archive, path)
    record, extents, owner = split(tree.get(identity) or b"")
    names = ("identity", "begin", "end", "count", "length", "compression")
    values = dict(zip(names, STREAM.unpack(record), strict=True)) | fields
    tree.insert(identity, encode_value(STREAM.pack(*values.values()), extents, owner))


# --- claims


def test_a_root_that_claims_two_thousand_million_positions(archive: Archive) -> None:
    data = with_root(archive, positions=2**31 - 1)
    for mode in ("r", "r+"):
        with open_archive(io.BytesIO(data), mode) as claimed:
            assert codes(claimed, "quick") <= {"trash-incomplete"}
            assert claimed._container.positions.free_count >= 0


def test_a_root_that_claims_more_slots_than_there_are_is_refused(archive: Archive) -> None:
    data = with_root(archive, slots=2**32 - 1)
    for mode in ("r", "r+"):
        with pytest.raises(CorruptError, match="was cut"):
            open_archive(io.BytesIO(data), mode)


def test_a_map_that_names_a_slot_behind_the_end_is_no_index_error(archive: Archive) -> None:
    chart = archive._container.blocks.map
    chart.changes[5] = CHANGE.pack(5, 2**32 - 1, bytes(8))
    with pytest.raises(CorruptError, match="behind the end"):
        chart.used_slots(100)
    del chart.changes[5]


def test_free_positions_are_found_without_walking_over_what_is_not_there(
    archive: Archive,
) -> None:
    chart = archive._container.blocks.map
    end = archive._container.positions.end
    *_, last = chart.free_positions(2**31 - 1)
    assert sum(last) == 2**31 - 1
    assert last[0] <= end
    far = 40 * FANOUT**2 + 7
    chart.changes[far] = CHANGE.pack(far, 70, bytes(8))
    *_, before, last = chart.free_positions(2**31 - 1)
    assert (sum(before), last[0]) == (far, far + 1)
    del chart.changes[far]


@pytest.mark.parametrize("count", [2**31 - 1, 2**32 - 1, 10_000])
def test_records_that_count_without_end(archive: Archive, count: int) -> None:
    for number in range(20):
        put_record(archive, f"/dir/{number}", count=count, length=count * DATA_SIZE)
    archive.sync()
    assert {"entry-damaged", "block-lost"} <= codes(archive)


def test_a_free_list_without_end(archive: Archive) -> None:
    archive._container.positions._starts.append(2)
    archive._container.positions._counts[2] = 2**32
    found = [f for f in found_in(archive) if f.code == "position-used"]
    assert sum(f.count for f in found) <= archive._container.root.used
    assert found
    archive._container.positions._starts.pop()


# --- trees


def inner(level: int, children: list[int], keys: list[bytes]) -> bytes:
    sizes = encode_numbers("H", [len(key) for key in keys])
    head = TREE_NODE.pack(TREE_MAGIC, level, len(keys), -1)
    return head + sizes + encode_numbers("I", children) + b"".join(keys)


class Nodes:
    """A store of tree nodes that counts what is read."""

    def __init__(self, nodes: dict[int, bytes]) -> None:
        self.nodes = nodes
        self.reads = 0

    def read_node(self, position: int) -> bytes:
        self.reads += 1
        return self.nodes[position].ljust(DATA_SIZE, b"\0")


def test_a_tree_of_shared_branches_is_not_walked_without_end() -> None:
    """20 levels, each node with 50 times the same child: 50^20 ways to one leaf."""
    keys = [bytes([number]) for number in range(49)]
    nodes = {level: inner(level, [level - 1] * 50, keys) for level in range(1, 21)}
    nodes[0] = inner(0, [], [])[: TREE_NODE.size]
    store = Nodes(nodes)
    reasons = [str(error) for error in BTree(store, 20).check()]  # type: ignore[arg-type]
    assert any("twice" in reason for reason in reasons)
    assert store.reads < 100


def test_a_tree_of_shared_branches_in_an_archive(archive: Archive) -> None:
    tree = archive._manager.registry.tree
    stream = archive._manager.index_stream
    others = [stream.new_node() for _ in range(4)]
    keys = [bytes([number]) for number in range(49)]
    leaf = next(position for position, level, _ in tree.nodes() if not level)
    chain = [leaf, *others, tree.root]
    for level, position in enumerate(chain[1:], 1):
        stream.write_node(position, inner(level, [chain[level - 1]] * 50, keys).ljust(DATA_SIZE))
    tree.reset()
    archive._manager.index_stream.save()
    archive._container.streams = [bytes(s) for s in archive._manager._special]
    archive._container.commit(durable=True)
    before = archive._container.blocks.counts.opened
    assert "tree-damaged" in codes(archive)
    assert archive._container.blocks.counts.opened - before < 200


def test_nodes_in_no_use_are_told(archive: Archive) -> None:
    archive._manager.index_stream.new_node()
    archive.write_bytes("/more", b"")
    assert "tree-unreached" in codes(archive, "quick")


def test_a_damaged_leaf_of_the_registry_does_not_hide_the_others() -> None:
    with open_archive(io.BytesIO(), "x") as archive:
        with archive.transaction():
            for number in range(200):
                archive.write_bytes(f"/{number:03}", noise(100, number))
        archive.sync()
        tree = archive._manager.registry.tree
        leaves = [position for position, level, _ in tree.nodes() if not level]
        lost = len(tree.read(leaves[2]).keys)
        chart = archive._container.blocks.map
        last = archive._filesystem.find("/199").identity
        begin = STREAM.unpack((tree.get(last) or b"")[: STREAM.size])[1]
        slots = [entry_slot(chart.get(position)) for position in (leaves[2], begin)]
        data = bytearray(archive._container.device.pread(2**24, 0))
    for slot in slots:
        data[slot_offset(slot) + 99] ^= 1
    with open_archive(io.BytesIO(bytes(data))) as archive:
        found = list(archive.check())
    assert any(f.code == "block-damaged" and f.path == "/199" for f in found)
    assert sum(f.code == "name-dead" for f in found) == lost
    assert sum(f.count for f in found if f.code == "block-lost") == lost


# --- names


def put_owner(archive: Archive, path: str, **fields: object) -> None:
    archive._filesystem.update(identity_of(archive, path), **fields)


def name(archive: Archive, path: str, key: bytes) -> None:
    """Give an entry another name without any of the rules."""
    kind = archive._filesystem.find(path)
    archive._manager.paths.insert(key, (kind.type or b"f") + kind.identity)


DAMAGE: dict[str, tuple[str, Callable[[Archive], object]]] = {
    "no link": ("entry-links", lambda a: put_owner(a, "/dir/1", links=0)),
    "two links of one": ("entry-links", lambda a: put_owner(a, "/dir/1", links=2)),
    "deleted and not": ("entry-deleted", lambda a: put_owner(a, "/dir/1", deleted=5)),
    "extras": ("entry-damaged", lambda a: put_owner(a, "/dir/1", extra=b"x")),
    "root": ("entry-damaged", lambda a: a._filesystem.update(ROOT_ID, type=b"f")),
    "short key": ("name-damaged", lambda a: name(a, "/dir/1", b"short")),
    "key of an entry": (
        "entry-damaged",
        lambda a: a._manager.registry.tree.insert(b"short", bytes(80)),
    ),
    "slash": ("name-damaged", lambda a: name(a, "/dir/1", ROOT_ID + b"a/b")),
    "dots": ("name-damaged", lambda a: name(a, "/dir/1", ROOT_ID + b"..")),
    "NUL": ("name-damaged", lambda a: name(a, "/dir/1", ROOT_ID + b"a\0")),
    "empty": ("name-damaged", lambda a: name(a, "/dir/1", ROOT_ID)),
    "deleted name": ("name-damaged", lambda a: name(a, "/dir/1", DELETED_ID + bytes(16))),
    "compression": ("record-wrong", lambda a: put_record(a, "/dir/1", compression=9)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_contradicts_itself_is_told(archive: Archive, what: str) -> None:
    code, damage = DAMAGE[what]
    damage(archive)
    assert code in codes(archive, "quick")


def test_bytes_behind_the_end_of_a_file(archive: Archive) -> None:
    value = archive._manager.registry.tree.get(identity_of(archive, "/dir/1")) or b""
    end = STREAM.unpack(value[: STREAM.size])[2]
    archive._container.blocks.mutable(end)[-1] = 1
    archive._container.commit()
    assert codes(archive) == {"tail-wrong"}
    assert codes(archive, "quick") == set()


def test_a_deep_tree_with_damage_at_each_level(archive: Archive) -> None:
    path = ""
    with archive.transaction():
        for _ in range(300):
            path += "/d"
            archive.mkdir(path)
            archive._filesystem.update(identity_of(archive, path), deleted=1)
    found = [f for f in archive.check("quick") if f.code == "entry-deleted"]
    assert len(found) == 300
    assert found[0].path == "/d"
    assert max(len(f.path or "") for f in found) < 600
    assert sum((f.path or "").startswith("/...") for f in found) == 300 - 256


# --- the list of free positions on disk


@pytest.mark.parametrize(
    ("extents", "code"),
    [
        ([(2**31, 2**31)], "trash-wrong"),
        ([(0, 1)], "trash-wrong"),
        ([(5, 0)], "trash-wrong"),
        ([(2, 3)], "position-used"),
        ([], "trash-incomplete"),
    ],
)
def test_a_trash_stream_that_is_wrong(extents: list[tuple[int, int]], code: str) -> None:
    file = io.BytesIO()
    with open_archive(file, "x") as archive:
        for number in range(6):
            archive.write_bytes(f"/{number}", noise(40_000, number))
        archive.remove("/1")
        archive.remove("/3")
    with open_archive(file, "r+") as archive:
        container = archive._container
        trash = archive._manager.special_stream(0)
        assert trash.len
        data = TRASH_HEAD.pack(len(extents)) + b"".join(TRASH_EXTENT.pack(*e) for e in extents)
        trash.write(0, memoryview(data.ljust(trash.len, b"\0")))
        archive._manager.flush()
        container.has_trash = True
        container.commit(durable=True, fold=True)
        data = container.device.pread(container.device.size(), 0)
        container.abandon()
        archive._files.clear()
    with open_archive(io.BytesIO(data)) as archive:
        assert code in codes(archive, "quick")


# --- findings


def test_neighbours_with_the_same_damage_are_one_finding(archive: Archive) -> None:
    archive.write_bytes("/large", noise(DATA_SIZE * 300))
    archive.sync()
    value = archive._manager.registry.tree.get(identity_of(archive, "/large")) or b""
    begin = STREAM.unpack(value[: STREAM.size])[1]
    chart, device = archive._container.blocks.map, archive._container.device
    for index in [*range(10, 250), 299]:
        slot = entry_slot(chart.get(begin + index))
        device.pwrite(bytes(100), slot_offset(slot) + 500)
    found = found_in(archive)
    assert [(f.code, f.block, f.count, f.path) for f in found] == [
        ("block-damaged", begin + 10, 240, "/large"),
        ("block-damaged", begin + 299, 1, "/large"),
    ]


def test_every_code_stands_in_the_documents() -> None:
    page = Path(__file__).parents[2] / "docs" / "cli.rst"
    rows = re.findall(r"^``([a-z-]+)`` +(note|warning|error) +(\w+)  ", page.read_text(), re.M)
    assert {code: (severity, layer) for code, severity, layer in rows} == {
        code: (kind.severity, kind.layer) for code, kind in KINDS.items()
    }


def test_a_report_asks_for_a_path_once() -> None:
    asked: list[bytes] = []

    def path_of(identity: bytes) -> str:
        asked.append(identity)
        return "/x"

    report = Report(path_of)
    report.stream = bytes(16)
    for block in (5, 6, 9):
        report.tell("block-missing", "gone", block=block)
    found = report.take()
    assert [(f.block, f.count, f.path) for f in found] == [(5, 2, "/x"), (9, 1, "/x")]
    assert (report.told, report.errors, asked) == (3, 2, [bytes(16)])
    assert report.take() == []


def test_marks_agree_with_a_plain_list(rng: random.Random) -> None:
    size = 3 * FANOUT
    for _ in range(60):
        marks, plain = Marks(), [0] * size
        for _ in range(rng.randrange(8)):
            first = rng.randrange(size)
            count, mark = rng.randrange(1, size - first + 1), rng.randrange(1, 4)
            marks.fill(first, count, mark)
            plain[first : first + count] = [mark] * count
            at, mark = rng.randrange(size), rng.randrange(1, 4)
            marks.put(at, mark)
            plain[at] = mark
        first = rng.randrange(size)
        limit = rng.randrange(1, size - first + 1)
        same = next((i for i in range(limit) if plain[first + i] != plain[first]), limit)
        assert marks.stretch(first, limit) == (plain[first], same)
        assert marks.are(first, same, plain[first])
        assert same == limit or not marks.are(first, same + 1, plain[first])
        for mark in range(1, 4):
            assert marks.count(mark) == plain.count(mark)
            places = [p for a, n in marks.stretches(mark) for p in range(a, a + n)]
            assert places == [p for p in range(size) if plain[p] == mark]
        limit = rng.choice((limit, 2**32))
        places = [p for a, n in marks.marked(first, limit) for p in range(a, a + n)]
        assert places == [p for p in range(first, min(size, first + limit)) if plain[p]]
