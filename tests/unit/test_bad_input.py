"""Bad input: wrong secrets, foreign and damaged files, second writers; nothing wrong comes out.

The adversary tests damage every slot, ring place and superblock copy of a small archive in turn:
what the current root refers to raises, the rest changes nothing.  The whole ways of doing so
(every pair of slots, every superblock) are the trust issue's.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.audit import audit
from tests.unit.archives import (
    KEY,
    Tree,
    Vaults,
    assert_sound,
    digest,
    errors_of,
    noise,
    open_archive,
    tree_of,
)

import archive7
from archive7.errors import (
    Archive7Error,
    BlockCorruptError,
    ClosedError,
    CorruptError,
    FormatError,
    LockedError,
    NotAnArchiveError,
    ReadOnlyError,
    RecoveredWarning,
    RollbackError,
    SuperblockCorruptError,
    UsageError,
    WrongKeyError,
)
from archive7.keyslots import KdfCost
from archive7.layout import (
    BLOCK_SIZE,
    RING_OFFSET,
    RING_PLACES,
    SLOTS_OFFSET,
    SUPERBLOCK_SIZE,
    TREE_FREE_MAGIC,
)

CHEAP = KdfCost(memory_kib=19456, passes=2, lanes=1)
SUITES = ("xaes256gcm", "secretbox")


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as found:
        yield found


def some(vaults: Vaults, **options: object) -> Path:
    """A small closed archive."""
    with vaults.open("x", **options) as archive:
        archive.mkdir("/dir")
        archive.write_bytes("/dir/file", noise(9000))
        archive.symlink("dir/file", "/link")
    return vaults.path()


# --- secrets


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_wrong_key_raises_and_leaves_the_file_alone(vaults: Vaults, mode: str) -> None:
    path = some(vaults)
    before = digest(path)
    for secret in ({"key": bytes(32)}, {"password": "guess"}):
        with pytest.raises(WrongKeyError):
            archive7.open(path, mode, **secret)
    assert digest(path) == before
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_wrong_password_raises_and_leaves_the_file_alone(vaults: Vaults, mode: str) -> None:
    path = some(vaults, password="right", kdf=CHEAP)
    before = digest(path)
    with pytest.raises(WrongKeyError):
        archive7.open(path, mode, password="wrong")
    with pytest.raises(WrongKeyError):
        archive7.open(path, mode, key=KEY)
    assert digest(path) == before


@pytest.mark.parametrize(
    "secret", [{}, {"key": b"short"}, {"key": bytes(33)}, {"password": ""}, {"password": b""}]
)
@pytest.mark.parametrize("mode", ["r", "r+", "w", "x", "a"])
def test_a_secret_that_cannot_be_one_is_refused(vaults: Vaults, secret: dict, mode: str) -> None:
    path = some(vaults)
    before = digest(path)
    target = path if mode != "x" else path.with_name("new")
    with pytest.raises(UsageError):
        archive7.open(target, mode, **secret)
    assert digest(path) == before
    assert not path.with_name("new").exists()


# --- modes


@pytest.mark.parametrize("mode", ["rb", "wb", "ab", "xb", "rt", "w+", "r+b", "a+", "", "R", "rw"])
def test_modes_of_open_are_refused_with_the_names_of_ours(vaults: Vaults, mode: str) -> None:
    path = some(vaults)
    before = digest(path)
    with pytest.raises(ValueError, match=r"'r'.*'r\+'.*'w'.*'x'.*'a'"):
        open_archive(path, mode)
    assert digest(path) == before


# --- not an archive


JUNK = {
    "empty": b"",
    "one byte": b"\x89",
    "text": b"hello " * 20_000,
    "zeros": bytes(100_000),
    "zip": b"PK\x03\x04" + bytes(70_000),
    "noise": noise(90_000),
    "magic alone": b"\x89AR7\r\n\x1a\n",
    "magic and noise": b"\x89AR7\r\n\x1a\n" + noise(90_000),
    "text mode": b"\x89AR7\n\x1a\n" + bytes(70_000),
}


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_what_is_no_archive_is_refused_untouched(vaults: Vaults, name: str, mode: str) -> None:
    path = vaults.path()
    path.write_bytes(JUNK[name])
    before = digest(path)
    with pytest.raises((FormatError, CorruptError)) as caught:
        open_archive(path, mode)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == JUNK[name]
    assert digest(path) == before
    if name in ("text", "zeros", "zip", "noise"):
        assert caught.type is NotAnArchiveError


@pytest.mark.parametrize("name", [n for n in JUNK if JUNK[n] and not n.startswith("magic")])
def test_replacing_refuses_a_file_that_is_not_ours(vaults: Vaults, name: str) -> None:
    path = vaults.path()
    path.write_bytes(JUNK[name])
    with pytest.raises(NotAnArchiveError):
        open_archive(path, "w")
    assert path.read_bytes() == JUNK[name]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_directory_is_no_archive(tmp_path: Path) -> None:
    for mode in ("r", "r+", "a", "w"):
        with pytest.raises(IsADirectoryError):
            open_archive(tmp_path, mode)
    with pytest.raises(FileExistsError):
        open_archive(tmp_path, "x")


def test_missing_and_existing_files(vaults: Vaults) -> None:
    for mode in ("r", "r+"):
        with pytest.raises(FileNotFoundError) as caught:
            open_archive(vaults.path(), mode)
        assert caught.value.filename is not None
    path = some(vaults)
    before = digest(path)
    for mode in ("x", "w-"):
        with pytest.raises(FileExistsError) as exists:
            open_archive(path, mode)
        assert exists.value.errno == 17
        assert exists.value.filename == str(path)
    assert digest(path) == before
    with pytest.raises(FileNotFoundError):
        open_archive(path.parent / "no" / "folder", "x")


# --- cut and lengthened files


def test_a_cut_file_never_gives_wrong_data(vaults: Vaults) -> None:
    path = some(vaults)
    whole = path.read_bytes()
    tree = tree_of(open_archive(io.BytesIO(whole)))
    sizes = {0, 7, 8, 100, 4095, 16383, 16384, 32767, 32768, 40_000, SLOTS_OFFSET - 1}
    sizes |= set(range(SLOTS_OFFSET, len(whole), BLOCK_SIZE // 2))
    refused = 0
    for size in sorted(sizes):
        data = whole[:size]
        try:
            with open_archive(io.BytesIO(data)) as archive:
                assert errors_of(archive), size
                assert errors_of(archive, "quick"), size
                found = tree_of(archive)
        except (FormatError, CorruptError) as error:
            refused += 1
            assert len(str(error)) > 10
        else:
            assert found == tree, size  # what was cut off was free
    assert refused > 20


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_cut_file_is_not_changed_by_the_failed_opening(vaults: Vaults, mode: str) -> None:
    path = some(vaults)
    vaults.damaged.add(path)
    for size in (10, 20_000, 40_000, SLOTS_OFFSET - 10, SLOTS_OFFSET + 270_000):
        os.truncate(path, size)
        before = digest(path)
        try:
            open_archive(path, mode).close()
        except (FormatError, CorruptError):
            assert digest(path) == before, size
        else:
            raise AssertionError(f"a file cut to {size} bytes was opened")
        some_other = vaults.path("other.ar7")
        some_other.unlink(missing_ok=True)
        with open_archive(some_other, "x") as archive:
            archive.write_bytes("/f", noise(9000))
        shutil.copy(some_other, path)
    vaults.damaged.discard(path)


@pytest.mark.parametrize("junk", [b"x", bytes(5000), noise(50_000)])
def test_bytes_behind_the_last_slot_are_ignored_noted_and_cut(vaults: Vaults, junk: bytes) -> None:
    path = some(vaults)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(junk)
    with vaults.open("r") as archive:
        assert archive.read_bytes("/dir/file") == noise(9000)
        notes = list(archive.check())
        assert [n.severity for n in notes] == ["note"]
        assert str(len(junk)) in notes[0].message
    with vaults.open("r+") as archive:
        assert archive.read_bytes("/dir/file") == noise(9000)
        assert path.stat().st_size == size
        assert list(archive.check()) == []


# --- a second writer


def test_a_second_writer_in_the_same_process_is_refused_at_once(vaults: Vaults) -> None:
    archive = vaults.open("x")
    for mode in ("r+", "a", "w"):
        with pytest.raises(LockedError) as caught:
            open_archive(vaults.path(), mode)
        assert isinstance(caught.value, BlockingIOError)
        assert caught.value.filename == str(vaults.path())
        assert caught.value.errno is not None
    archive.write_bytes("/f", b"still mine")
    with open_archive(vaults.path(), "r") as reader:
        assert reader.read_bytes("/f") == b"still mine"
    archive.close()
    vaults.open("r+").close()


def test_a_second_writer_in_another_process_is_refused_at_once(vaults: Vaults) -> None:
    vaults.open("x").write_bytes("/f", b"mine")
    program = """
import sys, archive7
for mode in ("r+", "a", "w"):
    try:
        archive7.open(sys.argv[1], mode, key=bytes(range(32)))
    except archive7.LockedError:
        print("locked")
with archive7.open(sys.argv[1], key=bytes(range(32))) as archive:
    print(archive.read_bytes("/f").decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(vaults.path())],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["locked", "locked", "locked", "mine"]


# --- read-only


def test_everything_that_writes_is_refused_in_a_read_only_archive(vaults: Vaults) -> None:
    path = some(vaults)
    before = digest(path)
    archive = vaults.open("r")
    calls = [
        lambda: archive.mkdir("/new"),
        lambda: archive.makedirs("/new/deep"),
        lambda: archive.write_bytes("/new", b""),
        lambda: archive.write_text("/new", ""),
        lambda: archive.remove("/link"),
        lambda: archive.rmdir("/dir"),
        lambda: archive.rename("/link", "/other"),
        lambda: archive.replace("/link", "/other"),
        lambda: archive.symlink("x", "/new"),
        lambda: archive.chmod("/dir", 0),
        lambda: archive.utime("/dir"),
        lambda: archive.truncate("/dir/file", 0),
        lambda: archive.transaction().__enter__(),
        archive.commit,
        archive.rollback,
        archive.sync,
        lambda: archive.import_tree(path.parent),
        *[lambda m=m: archive.open("/dir/file", m) for m in ("w", "a", "x", "r+", "wb", "ab+")],
    ]
    for number, call in enumerate(calls):
        with pytest.raises(ReadOnlyError) as caught:
            call()
        assert isinstance(caught.value, io.UnsupportedOperation), number
        assert caught.value.errno == 30, number
    assert len(tree_of(archive)) == 3
    archive.close()
    assert digest(path) == before


def test_everything_is_refused_once_the_archive_is_closed(vaults: Vaults) -> None:
    some(vaults)
    archive = vaults.open("r+")
    archive.close()
    archive.close()
    assert archive.closed
    calls = [
        lambda: archive.mkdir("/new"), lambda: archive.listdir("/"), lambda: archive.stat("/"),
        lambda: archive.open("/dir/file"), lambda: archive.read_bytes("/dir/file"),
        lambda: archive.exists("/"), lambda: list(archive.check()), archive.info, archive.commit,
        archive.rollback, archive.sync, archive.refresh, lambda: archive.remove("/link"),
        lambda: list(archive.walk("/", onerror=None)), lambda: archive.transaction().__enter__(),
        archive.__enter__, lambda: archive.import_tree("/tmp"), lambda: archive.truncate("/", 0),
        lambda: archive.export_tree("/", "/tmp/archive7-never"),
    ]  # fmt: skip
    for number, call in enumerate(calls):
        with pytest.raises(ClosedError):
            print(number, call())
    assert not Path("/tmp/archive7-never").exists()


# --- damage


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
                is_idle = seen.owners[position].endswith(" 0") or data == TREE_FREE_MAGIC
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
