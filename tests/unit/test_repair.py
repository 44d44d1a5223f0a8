"""Repair: what can be derived is right again, what cannot is told, nothing readable is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import archive7
from archive7 import Archive, CorruptError, Delete, RepairReport
from archive7.entry import LINKS_ID, ROOT_ID, Entry, decode_entry
from archive7.layout import BLOCK_HEAD, BLOCK_SIZE, DATA_SIZE, RING_OFFSET
from archive7.map import entry_slot
from archive7.root import slot_offset
from archive7.streams.registry import encode_value, split
from tests.unit.archives import KEY, Vaults, assert_sound, noise, open_archive

FILES = {f"/dir/{n:03}": noise(50 + 37 * n, n) for n in range(150)}
BIG = {
    "/big": noise(400_000, 7),
    "/flat": noise(300_000, 6),
    "/dir/deep/er/file": noise(9000, 8),
    "/empty": b"",
}


def fill(path: Path) -> dict[str, bytes]:
    """An archive with all kinds of entries; returns the content of its files."""
    with open_archive(path, "x") as archive:
        archive.makedirs("/dir/deep/er")
        with archive.transaction():
            for name, data in (FILES | BIG).items():
                archive.write_bytes(name, data)
        archive.symlink("big", "/link")
        archive.link("/big", "/dir/again")
        archive.setxattr("/big", "user.large", noise(5000, 9))
        archive.write_bytes("/gone", noise(3000, 10))
        archive.remove("/gone", how=Delete.SOFT)
        archive.chmod("/big", 0o640)
    return FILES | BIG | {"/dir/again": BIG["/big"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.ar7"


def content(archive: Archive) -> dict[str, bytes]:
    """Every file that can be read whole."""
    found = {}
    for top, _, files in archive.walk("/"):
        for name in files:
            at = f"{top.rstrip('/')}/{name}"
            if not archive.islink(at):
                try:
                    found[at] = archive.read_bytes(at)
                except CorruptError:
                    continue
    return found


def mend(path: Path, **options: Any) -> RepairReport:
    """A dry run that leaves the file as it is and tells what the repair then does."""
    before = path.read_bytes()
    planned = archive7.repair(path, key=KEY, **options)
    assert path.read_bytes() == before
    assert not planned.is_applied
    done = archive7.repair(path, apply=True, key=KEY, **options)
    assert (done.mended, done.lost) == (planned.mended, planned.lost)
    assert len(done.remaining) == len(planned.remaining)
    return done


def ruin(path: Path, positions: Callable[[Archive], list[int]]) -> list[int]:
    """Overwrite the blocks at some positions."""
    with open_archive(path) as archive:
        chosen = positions(archive)
        chart = archive._container.blocks.map
        slots = [entry_slot(chart.get(position)) for position in chosen]
    with path.open("r+b") as file:
        for slot in slots:
            file.seek(slot_offset(slot))
            file.write(noise(BLOCK_SIZE, slot))
    return chosen


def tamper(path: Path, change: Callable[[Archive], object]) -> None:
    """Change an archive past its public face, as a faulty program would."""
    with open_archive(path, "r+") as archive:
        change(archive)
        archive._manager.flush()
        archive._container.commit(durable=True)


def nodes(archive: Archive, number: int, level: int) -> list[int]:
    """Positions of a tree's nodes."""
    tree = archive._manager.paths if number == 2 else archive._manager.registry.tree
    return [position for position, found, _ in tree.nodes() if found == level]


def identity(archive: Archive, name: str) -> bytes:
    return archive._filesystem.find(name, follow=False).identity


def store(archive: Archive, key: bytes, entry: Entry) -> None:
    tree = archive._manager.registry.tree
    record, extents, _ = split(tree.get(key) or b"")
    tree.insert(key, encode_value(record, extents, entry.encode()))


def entry_of(archive: Archive, name: str) -> tuple[bytes, Entry]:
    key = identity(archive, name)
    return key, archive._filesystem.entry(key)


# --- nothing to do


def test_sound_archive_is_left_alone(path: Path) -> None:
    fill(path)
    report = mend(path)
    assert not report.mended and not report.lost and not report.remaining  # noqa: PT018
    assert report.is_sound


# --- trees


@pytest.mark.parametrize("number", [1, 2], ids=["registry", "paths"])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("which", [0, 1, -1])
def test_node_of_a_tree_that_is_lost(path: Path, number: int, level: int, which: int) -> None:
    expected = fill(path)
    ruin(
        path,
        lambda archive: [
            nodes(archive, number, level)[min(which, len(nodes(archive, number, level)) - 1)]
        ],
    )
    report = mend(path)
    assert report.is_sound, report.remaining
    assert report.mended
    with open_archive(path, "r+") as archive:
        assert content(archive) == expected
        assert_sound(archive)
        archive.write_bytes("/new", b"new")
        if number == 2:
            assert archive.stat("/big").st_mode & 0o777 == 0o640
            assert archive.readlink("/link") == "big"
            assert [found.path for found in archive.deleted()] != []


@pytest.mark.parametrize("number", [1, 2], ids=["registry", "paths"])
def test_all_inner_nodes_and_half_the_leaves(path: Path, number: int) -> None:
    expected = fill(path)
    ruin(path, lambda a: nodes(a, number, 1) + nodes(a, number, 0)[::2])
    report = mend(path)
    assert report.is_sound, report.remaining
    with open_archive(path) as archive:
        found = content(archive)
        assert set(found.values()) == set(expected.values())
        if number == 1:  # the paths know all names; an extra name of a lost entry is one
            assert found == expected


def test_whole_registry(path: Path) -> None:
    expected = fill(path)
    ruin(path, lambda a: [p for p, _, _ in a._manager.registry.tree.nodes()])
    report = mend(path)
    assert report.is_sound, report.remaining
    assert any("symbolic link" in mend.message for mend in report.lost)
    with open_archive(path) as archive:
        assert content(archive) == expected


def test_both_trees(path: Path) -> None:
    """Nothing but blocks is left: every file comes back without a name."""
    expected = fill(path)
    ruin(path, lambda a: [p for t in (a._manager.registry.tree, a._manager.paths)
                          for p, _, _ in t.nodes()])  # fmt: skip
    report = mend(path)
    assert report.is_sound, report.remaining
    with open_archive(path) as archive:
        found = content(archive)
        assert found.pop("/big") == BIG["/big"]  # its entry is too large for a leaf, and its own
        assert all(name.startswith("/lost+found/") for name in found)
        wanted = {data for data in expected.values() if data and data != BIG["/big"]}
        assert wanted <= set(found.values())


# --- data


def test_damaged_data_stay_as_they_are_and_are_told(path: Path) -> None:
    expected = fill(path)
    ruin(
        path,
        lambda a: [a._manager.open_stream(UUID(bytes=identity(a, "/big"))).extents.position(5)],
    )
    report = mend(path)
    assert not report.is_sound
    assert [m.path for m in report.lost] == ["/big"]
    assert "rescue" in report.lost[0].message
    with open_archive(path, "r+") as archive:
        expected = {n: d for n, d in expected.items() if d != BIG["/big"]}
        assert content(archive) == expected
        with pytest.raises(CorruptError):
            archive.read_bytes("/big")
        archive.remove("/big")
        archive.remove("/dir/again")
        assert_sound(archive)


def test_file_with_a_damaged_block_and_no_entry(path: Path) -> None:
    """The block is found between its neighbours."""
    expected = fill(path)

    def chosen(archive: Archive) -> list[int]:
        stream = archive._manager.open_stream(UUID(bytes=identity(archive, "/flat")))
        return [
            stream.extents.position(50),
            *(p for p, _, _ in archive._manager.registry.tree.nodes()),
        ]

    ruin(path, chosen)
    report = mend(path)
    with open_archive(path) as archive:
        assert archive.stat("/flat").st_size == len(BIG["/flat"])
        with archive.open("/flat", "rb", buffering=0) as file:
            assert file.read(50 * DATA_SIZE) == BIG["/flat"][: 50 * DATA_SIZE]
            file.seek(51 * DATA_SIZE)
            assert file.read() == BIG["/flat"][51 * DATA_SIZE :]
        expected = {n: d for n, d in expected.items() if d != BIG["/flat"]}
        assert content(archive) == expected
    assert [finding.layer for finding in report.remaining if finding.severity == "error"] == [
        "block"
    ]


def test_what_cannot_be_put_together_stays_until_it_is_discarded(path: Path) -> None:
    fill(path)

    def chosen(archive: Archive) -> list[int]:
        stream = archive._manager.open_stream(UUID(bytes=identity(archive, "/flat")))
        at = stream.extents.position
        return [at(50), at(51), *(p for p, _, _ in archive._manager.registry.tree.nodes())]

    ruin(path, chosen)
    report = mend(path)
    assert not report.is_sound
    assert any("discard" in m.message for m in report.lost)
    report = mend(path, discard=True)
    assert report.is_sound, report.remaining


# --- what a faulty program may have left


def test_links_between_blocks(path: Path) -> None:
    expected = fill(path)

    def change(archive: Archive) -> None:
        stream = archive._manager.open_stream(UUID(bytes=identity(archive, "/big")))
        for index in (0, 5, stream.count - 1):
            plain = archive._container.blocks.mutable(stream.extents.position(index))
            fields = list(BLOCK_HEAD.unpack_from(plain))
            fields[:2] = [3, 4]
            BLOCK_HEAD.pack_into(plain, 0, *fields)

    tamper(path, change)
    report = mend(path)
    assert report.is_sound, report.remaining
    assert [m.path for m in report.mended] == ["/big"]
    with open_archive(path) as archive:
        assert content(archive) == expected


def test_record_and_extents(path: Path) -> None:
    expected = fill(path)

    def change(archive: Archive) -> None:
        tree = archive._manager.registry.tree
        for name, at in (("/big", 20), ("/dir/deep/er/file", 28)):
            key = identity(archive, name)
            value = bytearray(tree.get(key) or b"")
            value[at : at + 4] = (1).to_bytes(4, "big")
            tree.insert(key, bytes(value))

    tamper(path, change)
    report = mend(path)
    assert report.is_sound, report.remaining
    with open_archive(path) as archive:
        assert content(archive) == expected


def _no_name(a: Archive) -> None:
    a._manager.paths.delete(ROOT_ID + b"big")


def _no_entry(a: Archive) -> None:
    a._manager.registry.tree.delete(identity(a, "/dir/003"))


def _no_directory(a: Archive) -> None:
    a._manager.registry.tree.delete(identity(a, "/dir"))


def _no_directory_at_all(a: Archive) -> None:
    _no_directory(a)
    a._manager.paths.delete(ROOT_ID + b"dir")


def _no_root(a: Archive) -> None:
    a._manager.registry.tree.delete(ROOT_ID)


def _wrong_type(a: Archive) -> None:
    value = a._manager.paths.get(ROOT_ID + b"big") or b""
    a._manager.paths.insert(ROOT_ID + b"big", b"d" + value[1:])


def _wrong_count(a: Archive) -> None:
    key, entry = entry_of(a, "/big")
    store(a, key, entry.changed(links=7))


def _no_links(a: Archive) -> None:
    key, entry = entry_of(a, "/dir/004")
    store(a, key, entry.changed(links=0))


def _no_list(a: Archive) -> None:
    a._manager.paths.delete(LINKS_ID + identity(a, "/big") + ROOT_ID + b"big")


def _circle(a: Archive) -> None:
    a.makedirs("/x/y/z")
    (x, top), (z, _) = entry_of(a, "/x"), entry_of(a, "/x/y/z")
    a._manager.paths.insert(z + b"x", b"d" + x)
    a._manager.paths.delete(ROOT_ID + b"x")
    store(a, x, top.changed(parent=z))


def _bad_name(a: Archive) -> None:
    key, entry = entry_of(a, "/dir/005")
    a._manager.paths.delete(entry.parent + entry.name)
    a._manager.paths.insert(entry.parent + b"\xff\xfe", b"f" + key)
    store(a, key, entry.changed(name=b"\xff\xfe"))


def _nowhere(a: Archive) -> None:
    a._manager.paths.insert(ROOT_ID + b"nowhere", b"?")


def _other_name(a: Archive) -> None:
    key, _ = entry_of(a, "/dir/006")
    a._manager.paths.insert(ROOT_ID + b"second", b"f" + key)


def _deleted(a: Archive) -> None:
    key, entry = entry_of(a, "/dir/007")
    store(a, key, entry.changed(deleted=5))


FAULTS = [
    _no_name, _no_entry, _no_directory, _no_directory_at_all, _no_root, _wrong_type, _wrong_count,
    _no_links, _no_list, _circle, _bad_name, _nowhere, _other_name, _deleted,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_names_and_entries(path: Path, fault: Callable[[Archive], None]) -> None:
    expected = fill(path)
    tamper(path, fault)
    if fault is _no_root:
        with pytest.raises(archive7.FormatError):
            open_archive(path)
    else:
        with open_archive(path) as archive:
            assert any(finding.severity == "error" for finding in archive.check())
    report = mend(path)
    assert report.is_sound, report.remaining
    assert report.mended
    with open_archive(path, "r+") as archive:
        found = content(archive)
        assert set(expected.values()) == set(found.values())
        kept = {n: d for n, d in found.items() if "/lost+found/" not in n and n != "/second"}
        assert all(expected[name] == data for name, data in kept.items())
        assert_sound(archive)


def test_several_faults_at_once(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    expected = fill(path)
    for fault in rng.sample([_no_name, _wrong_count, _bad_name, _other_name, _nowhere], 3):
        tamper(path, fault)
    ruin(path, lambda a: rng.sample(nodes(a, 1, 0), 2) + rng.sample(nodes(a, 2, 0), 2))
    report = mend(path)
    assert report.is_sound, report.remaining
    # of an empty file nothing may be left: it has no blocks, and may lose both name and entry
    with open_archive(path) as archive:
        assert set(expected.values()) - {b""} <= set(content(archive).values())


# --- what repair cannot do


def test_lost_map_is_told_and_nothing_is_changed(path: Path) -> None:
    fill(path)
    with open_archive(path) as archive:
        slot = entry_slot(archive._container.blocks.map.entry_of(0, 0))
    with path.open("r+b") as file:
        file.seek(slot_offset(slot))
        file.write(noise(BLOCK_SIZE))
    before = path.read_bytes()
    with pytest.raises(CorruptError, match="rescue"):
        archive7.repair(path, key=KEY)
    assert path.read_bytes() == before


def test_lost_roots_are_told(path: Path) -> None:
    fill(path)
    with path.open("r+b") as file:
        file.seek(RING_OFFSET)
        file.write(noise(8 * BLOCK_SIZE))
    with pytest.raises(CorruptError):
        archive7.repair(path, apply=True, key=KEY)


def test_damaged_copies_and_roots_are_made_whole(path: Path) -> None:
    expected = fill(path)
    with path.open("r+b") as file:
        file.write(noise(500))
        file.seek(RING_OFFSET)
        file.write(noise(3 * BLOCK_SIZE))
    report = mend(path)
    assert report.is_sound
    with open_archive(path) as archive:
        assert list(archive.check()) == []
        assert content(archive) == expected


def test_writer_is_refused_while_another_writes(path: Path, tmp_path: Path) -> None:
    with Vaults(tmp_path) as vaults:
        archive = vaults.open("x")
        archive.write_bytes("/a", b"a")
        archive.sync()
        with pytest.raises(archive7.LockedError):
            archive7.repair(path, apply=True, key=KEY)
        assert archive7.repair(path, key=KEY).is_sound


def test_decoded_entry_is_what_was_stored() -> None:
    entry = Entry(b"f", ROOT_ID, b"n", 1, 2, 3)
    assert decode_entry(entry.encode()) == entry
