"""An adversary with a pen: every slot, ring place and superblock copy of a small archive in turn.

What the current root refers to raises the right exception at the first read that depends on it
and `check` finds it; the rest changes nothing; wrong data never come out.  In both suites.
"""

from __future__ import annotations

import io
import itertools
import warnings
from dataclasses import dataclass

import pytest

import archive7
from archive7.errors import (
    Archive7Error,
    BlockCorruptError,
    CorruptError,
    NotAnArchiveError,
    RecoveredWarning,
    RollbackError,
    SuperblockCorruptError,
)
from archive7.layout import (
    BLOCK_SIZE,
    RING_OFFSET,
    RING_PLACES,
    SLOTS_OFFSET,
    SUPERBLOCK_SIZE,
    TREE_FREE_MAGIC,
)
from tests.audit import audit
from tests.unit.archives import (
    Tree,
    assert_sound,
    errors_of,
    noise,
    open_archive,
    tree_of,
)

SUITES = ("xaes256gcm", "secretbox")


@dataclass
class Victim:
    """A closed archive, its past, and what its root refers to."""

    data: bytes
    older: list[bytes]
    tree: Tree
    used: dict[int, str]
    slots: int

    def slot(self, number: int, data: bytes | None = None) -> bytes:
        at = SLOTS_OFFSET + (number - 1) * BLOCK_SIZE
        return (self.data if data is None else data)[at : at + BLOCK_SIZE]

    def with_slot(self, number: int, block: bytes, data: bytes | None = None) -> bytes:
        at = SLOTS_OFFSET + (number - 1) * BLOCK_SIZE
        data = self.data if data is None else data
        return data[:at] + block + data[at + BLOCK_SIZE :]


def victim(suite: str) -> Victim:
    """An archive with a past: files were overwritten, so that older blocks can be put back."""
    target, older = io.BytesIO(), []
    for version in range(6):
        with open_archive(target, "a", suite=suite) as archive:
            archive.makedirs("/dir/sub", exist_ok=True)
            for number in range(6):
                archive.write_bytes(f"/dir/{number}", noise(3000 + 2000 * number, version))
                archive.sync()
            with archive.open("/grows", "ab") as file:
                file.write(noise(5000, version))
            if version == 2:
                archive.symlink("dir/3", "/link")
        older.append(target.getvalue())
    with open_archive(io.BytesIO(older[-1])) as archive:
        assert_sound(archive)
        seen = audit(archive._manager)
        used = {s: what for s, what in seen.slots.items() if what != "the reserve"}
        for slot, what in used.items():
            if what.startswith("block "):
                position = int(what[6:])
                data = bytes(archive._container.blocks.load(position))[48:50]
                is_idle = seen.owners[position].endswith((" 0", " 3")) or data == TREE_FREE_MAGIC
                used[slot] += f" of {'what nobody reads' if is_idle else seen.owners[position]}"
        slots = archive._container.root.slots
        tree = tree_of(archive)
    return Victim(older[-1], older[:-1], tree, used, slots)


@pytest.fixture(scope="module", params=SUITES)
def target(request: pytest.FixtureRequest) -> Victim:
    if request.param == "secretbox":
        pytest.importorskip("libnacl", exc_type=(ImportError, OSError))
    return victim(request.param)


def read_all(data: bytes) -> tuple[Tree, list[type[Exception]], bool]:
    """Every file that can be read, what was raised, and whether check found errors."""
    found: Tree = {}
    raised: list[type[Exception]] = []
    is_found = False

    def visit(archive: archive7.Archive, top: str) -> None:
        try:
            names = archive.listdir(top)
        except CorruptError as error:
            raised.append(type(error))
            return
        for name in names:
            path = f"{top.rstrip('/')}/{name}".lstrip("/")
            try:
                status = archive.lstat(path)
                mode = status.st_mode & 0o7777
                if archive.islink(path):
                    found[path] = ("link", archive.readlink(path), mode)
                elif archive.isdir(path):
                    found[path] = ("directory", None, mode)
                    visit(archive, path)
                else:
                    found[path] = ("file", archive.read_bytes(path), mode)
            except CorruptError as error:
                raised.append(type(error))

    try:
        with open_archive(io.BytesIO(data)) as archive:
            is_found = bool(errors_of(archive))
            visit(archive, "/")
    except CorruptError as error:
        raised.append(type(error))
        is_found = True
    return found, raised, is_found


def assert_caught(target: Victim, data: bytes, what: str) -> list[type[Exception]]:
    """Used blocks: something raises, check finds it, and all that is read is right."""
    found, raised, is_found = read_all(data)
    wrong = [name for name, item in found.items() if target.tree[name] != item]
    assert not wrong, f"{what}: wrong data in {wrong}"
    assert is_found, f"{what}: check finds nothing"
    if "nobody reads" not in what:
        assert raised, f"{what}: nothing raises"
    return raised


def assert_harmless(target: Victim, data: bytes, what: str) -> None:
    found, raised, is_found = read_all(data)
    assert (found, raised, is_found) == (target.tree, [], False), what


def test_damage_to_any_used_slot_is_caught(target: Victim) -> None:
    for number, what in target.used.items():
        block = target.slot(number)
        for at in (0, 30, 2000, 4090):
            bad = block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :]
            raised = assert_caught(target, target.with_slot(number, bad), f"flip {at} of {what}")
            assert set(raised) <= {BlockCorruptError}, what
        raised = assert_caught(
            target, target.with_slot(number, bytes(BLOCK_SIZE)), f"zeros over {what}"
        )
        assert set(raised) <= {BlockCorruptError}, what


def test_a_swapped_block_is_caught_wherever_it_comes_from(target: Victim) -> None:
    numbers = sorted(target.used)
    for step in (1, 7):
        for number, other in zip(numbers, numbers[step:] + numbers[:step], strict=True):
            what = f"{target.used[number]} swapped with {target.used[other]}"
            data = target.with_slot(number, target.slot(other))
            data = target.with_slot(other, target.slot(number), data)
            raised = assert_caught(target, data, what)
            if "node" not in what:
                assert set(raised) <= {RollbackError}, what


def test_an_older_block_put_back_is_caught(target: Victim) -> None:
    """The very bytes that stood in the slot before, and those of any earlier block."""
    count = 0
    for number, what in target.used.items():
        for data, source in itertools.product(target.older, (number, 70, 80, 90)):
            block = target.slot(source, data)
            if len(block) < BLOCK_SIZE or block in target.data:
                continue
            count += 1
            raised = assert_caught(target, target.with_slot(number, block), f"older {what}")
            assert set(raised) <= {RollbackError, BlockCorruptError}, what
    assert count > 20


def test_damage_to_slots_that_are_free_changes_nothing(target: Victim) -> None:
    count = 0
    for number in range(1, target.slots + 1):
        if number not in target.used:
            count += 1
            for block in (bytes(BLOCK_SIZE), noise(BLOCK_SIZE), target.slot(max(target.used))):
                assert_harmless(target, target.with_slot(number, block), f"slot {number}")
    assert count >= 64


def test_damage_to_single_places_of_the_ring_changes_nothing(target: Victim) -> None:
    for place in range(RING_PLACES):
        at = RING_OFFSET + place * BLOCK_SIZE
        for block in (bytes(BLOCK_SIZE), noise(BLOCK_SIZE), target.older[2][at : at + BLOCK_SIZE]):
            data = target.data[:at] + block + target.data[at + BLOCK_SIZE :]
            assert read_all(data)[:2] == (target.tree, []), place


def test_seven_lost_places_are_survived_and_eight_are_told(target: Victim) -> None:
    ring = slice(RING_OFFSET, RING_OFFSET + RING_PLACES * BLOCK_SIZE)
    for kept in range(RING_PLACES):
        at = kept * BLOCK_SIZE
        places = bytearray(RING_PLACES * BLOCK_SIZE)
        places[at : at + BLOCK_SIZE] = target.data[ring][at : at + BLOCK_SIZE]
        data = target.data[: ring.start] + bytes(places) + target.data[ring.stop :]
        assert read_all(data)[:2] == (target.tree, []), kept
    data = target.data[: ring.start] + bytes(ring.stop - ring.start) + target.data[ring.stop :]
    with pytest.raises(CorruptError, match="root"):
        open_archive(io.BytesIO(data))


def test_a_damaged_superblock_copy_is_found_and_mended_by_the_next_writer(target: Victim) -> None:
    for copy in (0, 1):
        for at in (0, 8, 20, 70, 300, 8000, SUPERBLOCK_SIZE - 1):
            offset = copy * SUPERBLOCK_SIZE + at
            data = bytearray(target.data)
            data[offset] ^= 0x40
            found, raised, is_found = read_all(bytes(data))
            assert (found, raised, is_found) == (target.tree, [], True), (copy, at)
            file = io.BytesIO(bytes(data))
            with open_archive(file, "r+") as archive:
                assert_sound(archive)
            assert file.getvalue()[: 2 * SUPERBLOCK_SIZE] == target.data[: 2 * SUPERBLOCK_SIZE]


def test_both_superblock_copies_damaged_is_told(target: Victim) -> None:
    data = bytearray(target.data)
    for copy in (0, 1):
        data[copy * SUPERBLOCK_SIZE + 5000] ^= 1
    with pytest.raises(SuperblockCorruptError):
        open_archive(io.BytesIO(data))
    for copy in (0, 1):
        data[copy * SUPERBLOCK_SIZE] ^= 1
    with pytest.raises(NotAnArchiveError):
        open_archive(io.BytesIO(data))


def test_superblocks_of_another_archive_are_refused(target: Victim) -> None:
    """Same key, another container id: no root opens."""
    other = io.BytesIO()
    open_archive(other, "x").close()
    data = other.getvalue()[: 2 * SUPERBLOCK_SIZE] + target.data[2 * SUPERBLOCK_SIZE :]
    with pytest.raises(CorruptError):
        open_archive(io.BytesIO(data))


def test_a_killed_writers_file_damaged_anywhere_opens_in_a_committed_state() -> None:
    """With commits that no sync has followed: an older one may come, with a warning."""
    file = io.BytesIO()
    archive = open_archive(file, "x")
    trees: list[Tree] = []
    for number in range(12):
        archive.write_bytes(f"/{number % 4}", noise(500 + 4000 * (number % 3), number))
        trees.append(tree_of(archive))
        if number == 7:
            archive.sync()
    data = file.getvalue()
    archive.close()
    offsets = [*range(RING_OFFSET + 50, len(data), BLOCK_SIZE)]
    fallen = 0
    for offset in offsets:
        bad = bytearray(data)
        bad[offset] ^= 1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with open_archive(io.BytesIO(bytes(bad))) as reader:
                    found = tree_of(reader)
                    recovered = reader.recovered
                    findings = errors_of(reader)
            except CorruptError:
                continue
        assert found in trees[7:], offset
        if recovered:
            fallen += 1
            assert any(issubclass(w.category, RecoveredWarning) for w in caught)
            assert findings
    assert fallen


def test_random_bytes_anywhere_raise_nothing_else(target: Victim, seed: int) -> None:
    import random

    rng = random.Random(seed)
    for _ in range(60):
        data = bytearray(target.data)
        for _ in range(rng.choice((1, 2, 10))):
            at = rng.randrange(len(data))
            part = rng.randbytes(rng.choice((1, 8, 600)))
            data[at : at + len(part)] = part
        try:
            found, _, _ = read_all(bytes(data))
        except Archive7Error:
            continue
        assert all(target.tree[name] == item for name, item in found.items())
