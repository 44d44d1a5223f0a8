"""Queries: what each condition finds, what a search promises, and what is refused where."""

from __future__ import annotations

import datetime as datetime_module
import io
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from archive7 import Archive, Condition, Delete, Found, Q, search
from archive7.btree import BTree
from archive7.entry import DELETED_ID, DIRECTORY, ORPHANS_ID, ROOT_ID, Entry
from archive7.errors import ClosedError, TreeCorruptError, UsageError
from archive7.layout import PATH
from archive7.pattern import Pattern
from archive7.streams.registry import encode_value, split
from tests.unit.archives import Vaults, noise, open_archive

OWNER = UUID(int=7)
DAY = 86_400 * 10**9
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
EARLY = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))
BEGIN_NS = int(BEGIN.timestamp()) * 10**9


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as found:
        yield found


@pytest.fixture
def archive(vaults: Vaults) -> Archive:
    """Logs of growing size and age, a note, links."""
    archive = vaults.memory()
    with archive.transaction():
        archive.makedirs("/logs/old")
        for number in range(5):
            path = f"/logs/{'old/' if number < 2 else ''}{number}.log"
            archive.write_bytes(path, bytes(1000 * number))
            archive.utime(path, ns=(0, BEGIN_NS + number * DAY))
        archive.write_text("/note.txt", "hello")
        archive.utime("/note.txt", ns=(0, BEGIN_NS - 1))
        archive.chmod("/note.txt", 0o4640)
        archive.chown("/note.txt", 1000, 100)
        archive.set_owner("/note.txt", OWNER)
        archive.chown("/logs/3.log", "nobody-knows-her", "crew")
        archive.symlink("note.txt", "/zeiger→")
    return archive


def names(archive: Archive, *conditions: Condition, under: str = "/") -> str:
    """The names of what is found, sorted, in one line."""
    return " ".join(sorted(found.name for found in archive.find(*conditions, under=under)))


def paths(archive: Archive, *conditions: Condition, under: str = "/") -> list[str]:
    return sorted(found.path for found in archive.find(*conditions, under=under))


# --- fields and comparisons


def one(archive: Archive, path: str) -> Found:
    """What is told of one path."""
    (found,) = archive.find(Q.path == path)
    return found


CASES = [
    ('Q.type == "link"', "zeiger→"),
    ('Q.type != "file"', "logs old zeiger→"),
    ('Q.type.one_of("directory", "link")', "logs old zeiger→"),
    ("Q.type.one_of()", ""),
    ('Q.name == "3.log"', "3.log"),
    ('Q.name == "3.lo"', ""),
    ('Q.name == "zeiger→"', "zeiger→"),
    ('Q.name == "\\udc80"', ""),
    ('Q.name != "3.log"', "0.log 1.log 2.log 4.log logs note.txt old zeiger→"),
    ('Q.name > "note.txt"', "old zeiger→"),
    ('Q.name <= "1.log"', "0.log 1.log"),
    ('Q.name.between("1.log", "3.log")', "1.log 2.log 3.log"),
    ('Q.name.one_of("old", "new", "logs")', "logs old"),
    ('Q.name.like("*.log")', "0.log 1.log 2.log 3.log 4.log"),
    ('Q.name.like("[34].*")', "3.log 4.log"),
    ('Q.name.like("*.LOG")', ""),
    ('Q.name.like("*.lo")', ""),
    ('Q.name.like("zeiger?")', "zeiger→"),
    ('Q.name.matches(r"\\d\\.log")', "0.log 1.log 2.log 3.log 4.log"),
    ('Q.name.matches(r"\\d")', ""),
    ('Q.path == "/logs/3.log"', "3.log"),
    ('Q.path < "/logs/3"', "2.log logs"),
    ('Q.path.like("/logs/*.log")', "2.log 3.log 4.log"),
    ('Q.path.like("logs/*.log")', "2.log 3.log 4.log"),
    ('Q.path.like("**/*.log")', "0.log 1.log 2.log 3.log 4.log"),
    ('Q.path.like("*/*/")', "old"),
    ('Q.path.like("*")', "logs note.txt zeiger→"),
    ('Q.path.matches(r"/logs/\\d.*")', "2.log 3.log 4.log"),
    ('Q.path.one_of("/logs", "/note.txt")', "logs note.txt"),
    ("Q.size == 3000", "3.log"),
    ("Q.size > 2999.5", "3.log 4.log"),
    ("Q.size.between(5, 2000)", "1.log 2.log note.txt zeiger→"),
    ("Q.size == 8", "zeiger→"),
    ('(Q.size == 0) & (Q.type == "file")', "0.log"),
    ("Q.modified < BEGIN", "note.txt"),
    ("Q.modified <= BEGIN", "0.log note.txt"),
    ("Q.modified == BEGIN_NS + DAY", "1.log"),
    ("Q.modified.between(BEGIN + timedelta(1), BEGIN + timedelta(2))", "1.log 2.log"),
    ("Q.modified.one_of(BEGIN, BEGIN_NS - 1)", "0.log note.txt"),
    ("Q.created < BEGIN", ""),
    ("Q.mode == 0o4640", "note.txt"),
    ("Q.mode.has(0o4000)", "note.txt"),
    ("Q.mode.has(0o111)", "logs old zeiger→"),
    ("Q.mode.has(0o4004)", ""),
    ('Q.mode.has(0) & (Q.type == "link")', "zeiger→"),
    ("Q.user == 1000", "note.txt"),
    ("Q.user.one_of(1000, 1001)", "note.txt"),
    ('Q.user == "nobody-knows-her"', "3.log"),
    ('Q.user != "nobody-knows-her"', "0.log 1.log 2.log 4.log logs note.txt old zeiger→"),
    ('Q.user.one_of("nobody-knows-her", 1000)', "3.log note.txt"),
    ('Q.user == "crew"', ""),
    ('Q.group == "crew"', "3.log"),
    ("Q.group == 100", "note.txt"),
    ("Q.owner == OWNER", "note.txt"),
    ("Q.links > 1", ""),
    ("Q.deleted", ""),
]
NAMESPACE = {"Q": Q, "BEGIN": BEGIN, "BEGIN_NS": BEGIN_NS, "DAY": DAY, "OWNER": OWNER,
             "UUID": UUID, "datetime": datetime_module, "timedelta": timedelta}  # fmt: skip


@pytest.mark.parametrize(("text", "found"), CASES)
def test_condition_finds(archive: Archive, text: str, found: str) -> None:
    condition = eval(text, NAMESPACE)
    rest = " ".join(name for name in names(archive).split() if name not in found.split())

    assert names(archive, condition) == found
    assert names(archive, ~condition) == rest
    assert names(archive, eval(repr(condition), NAMESPACE)) == found
    assert names(archive, eval(repr(~condition), NAMESPACE)) == rest


def test_ids_and_parents_are_those_of_the_directories(archive: Archive) -> None:
    logs, old = one(archive, "/logs"), one(archive, "/logs/old")

    assert logs.parent == UUID(bytes=ROOT_ID)
    assert old.parent == logs.id
    assert names(archive, Q.parent == old.id) == "0.log 1.log"
    assert names(archive, Q.id.one_of(old.id, logs.id)) == "logs old"
    assert names(archive, Q.id > one(archive, "/logs/4.log").id) == "note.txt zeiger→"


def test_everything_is_told(archive: Archive) -> None:
    found = one(archive, "/note.txt")
    status = archive.stat("/note.txt")

    assert found.id.bytes[8:] == status.st_ino.to_bytes(8, "big")
    assert found == Found(
        path="/note.txt", name="note.txt", type="file", id=found.id, parent=UUID(bytes=ROOT_ID),
        size=5, created_ns=status.st_ctime_ns, modified_ns=BEGIN_NS - 1, mode=0o4640, user=1000,
        group=100, owner=OWNER, links=1, deleted_ns=0,
    )  # fmt: skip
    assert one(archive, "/zeiger→").size == archive.lstat("/zeiger→").st_size == 8
    assert one(archive, "/logs").size == 0


def test_a_time_without_a_zone_is_local(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-3")
    time.tzset()
    try:
        assert names(archive, Q.modified == datetime(2026, 1, 1, 3)) == "0.log"  # noqa: DTZ001
        assert (
            names(archive, Q.modified == BEGIN.astimezone(timezone(timedelta(hours=5)))) == "0.log"
        )
    finally:
        monkeypatch.undo()
        time.tzset()


def test_times_are_exact_to_the_microsecond(archive: Archive) -> None:
    moment = datetime(2026, 6, 1, 12, 30, 15, 123457, tzinfo=UTC)
    archive.utime("/note.txt", ns=(0, 1_780_317_015_123_457_000))

    assert names(archive, Q.modified == moment) == "note.txt"
    assert names(archive, Q.modified > moment - timedelta(microseconds=1)) == names(
        archive, Q.modified >= moment
    )


# --- combinations


def test_conditions_combine(archive: Archive) -> None:
    log, large = Q.name.like("*.log"), Q.size >= 3000

    assert names(archive, log, large) == names(archive, log & large) == "3.log 4.log"
    assert names(archive, log & ~large) == "0.log 1.log 2.log"
    assert names(archive, ~log & ~(Q.type == "directory")) == "note.txt zeiger→"
    assert names(archive, (Q.size == 5) | large) == "3.log 4.log note.txt"
    assert names(archive, ~(log | (Q.type == "directory"))) == "note.txt zeiger→"
    assert names(archive, large | (Q.size == 5) & log) == "3.log 4.log"
    assert repr(large & log | ~(Q.size == 5)) == (
        "(((Q.size >= 3000) & Q.name.like('*.log')) | ~(Q.size == 5))"
    )


def test_no_condition_finds_what_a_walk_finds(archive: Archive) -> None:
    walked = [
        f"{top.rstrip('/')}/{name}"
        for top, folders, files in archive.walk()
        for name in folders + files
    ]

    assert paths(archive) == sorted(walked)


def test_a_condition_can_be_used_again(archive: Archive) -> None:
    log = Q.name.like("*.log")

    assert names(archive, log & (Q.size > 0), log) == names(archive, log, Q.size > 0)
    assert names(archive, log) == "0.log 1.log 2.log 3.log 4.log"


def test_many_conditions_need_no_deep_stack(archive: Archive) -> None:
    either = Q.name == "3.log"
    both = Q.size >= 0
    for number in range(3000):
        either |= Q.size == 10_000 + number
        both &= Q.size != 10_000 + number

    assert names(archive, either, both) == "3.log"


def test_paths_are_built_last(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    matches = Pattern.matches

    def counting(self: Pattern, path: str, kind: bytes) -> bool:
        asked.append(path)
        return matches(self, path, kind)

    monkeypatch.setattr(Pattern, "matches", counting)
    path, large, log = Q.path.like("**/*.log"), Q.size > 3000, Q.name.like("*.log")
    for query in (path & large, large & path, (path & log) & large, path & (log & large)):
        asked.clear()
        assert names(archive, query) == "4.log"
        assert asked == ["/logs/4.log"]
    asked.clear()
    assert names(archive, path | ~large | log)
    assert asked == []
    assert names(archive, (path | (Q.size > 10**9)) & large) == "4.log"
    assert asked == ["/logs/4.log"]


# --- mistakes


MISTAKES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: Q.size > "1", TypeError, "Q.size is compared with numbers, not str"),
    (lambda: Q.size == True, TypeError, "bool"),  # noqa: E712
    (lambda: Q.size.between(1, None), TypeError, "NoneType"),
    (lambda: Q.mode.has("7"), TypeError, "integer"),
    (lambda: Q.mode.has(0.5), TypeError, "integer"),
    (lambda: Q.name == b"a", TypeError, "bytes"),
    (lambda: Q.name.like(b"*"), TypeError, "bytes"),
    (lambda: Q.name.like(""), UsageError, "empty pattern"),
    (lambda: Q.path.like(""), UsageError, "unacceptable pattern"),
    (lambda: Q.name.matches("("), UsageError, "not a regular expression"),
    (lambda: Q.name.matches(b"a"), TypeError, "bytes"),
    (lambda: Q.name.matches(7), TypeError, ""),
    (lambda: Q.type == "dir", UsageError, "file, directory, link, not 'dir'"),
    (lambda: Q.type.one_of("file", None), UsageError, "None"),
    (lambda: Q.type == ["file"], UsageError, "file"),
    (lambda: Q.id == "a", TypeError, "UUID"),
    (lambda: Q.owner == b"", TypeError, "UUID"),
    (lambda: Q.modified > 1.5, TypeError, "datetime"),
    (lambda: Q.modified > True, TypeError, "bool"),
    (lambda: Q.modified > EARLY, UsageError, "out of range"),
    (lambda: Q.user == 1.5, TypeError, "float"),
    (lambda: Q.user.one_of("a", None), TypeError, "NoneType"),
    (lambda: Q.deleted == 1, TypeError, "True or False"),
    (lambda: Q.user < 7, TypeError, "not supported"),
    (lambda: Q.type < "file", TypeError, "not supported"),
    (lambda: (Q.size > 1) and (Q.size < 2), TypeError, "combined with & | ~"),
    (lambda: not Q.size > 1, TypeError, "combined with & | ~"),
    (lambda: 1 < Q.size < 2, TypeError, "combined with & | ~"),
    (lambda: not Q.deleted, TypeError, "combined with & | ~"),
    (lambda: (Q.size > 1) & True, TypeError, "combines conditions, not bool"),
    (lambda: (Q.size > 1) | Q.name, TypeError, "combines conditions, not Name"),
    (lambda: Q.colour, AttributeError, "colour"),
    (lambda: setattr(Q, "size", 1), AttributeError, "read-only"),
]  # fmt: skip


@pytest.mark.parametrize(("attempt", "kind", "words"), MISTAKES)
def test_mistake_is_told_where_it_is_written(
    attempt: Callable[[], object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words.replace("|", r"\|") or None):
        attempt()


def test_find_refuses_at_once_what_is_no_condition(archive: Archive) -> None:
    wrong: Any
    for wrong in (Q.size, "x", None, True, lambda found: True):
        with pytest.raises(TypeError, match="made of conditions on Q"):
            archive.find(wrong)


# --- below a directory


@pytest.fixture(params=["walk", "scan"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A subtree is walked, or looked for in a scan of everything."""
    monkeypatch.setattr(search, "_WALKED", 10**6 if request.param == "walk" else -1)
    return str(request.param)


def test_under_finds_what_stands_below(archive: Archive, way: str) -> None:
    assert names(archive, under="/logs") == "0.log 1.log 2.log 3.log 4.log old"
    assert names(archive, under="logs/old/") == "0.log 1.log"
    assert names(archive, Q.size > 500, under="/logs/old") == "1.log"
    assert names(archive, Q.type == "directory", under="/logs/old") == ""
    assert names(archive, under="/logs/../logs/old/.") == "0.log 1.log"
    archive.symlink("logs/old", "/way")
    assert paths(archive, under="/way") == ["/logs/old/0.log", "/logs/old/1.log"]
    archive.rename("/logs/old", "/old")
    assert paths(archive, under="/old") == ["/old/0.log", "/old/1.log"]
    assert names(archive, under="/logs") == "2.log 3.log 4.log"


def test_under_wants_a_directory(archive: Archive) -> None:
    with pytest.raises(FileNotFoundError):
        archive.find(under="/nowhere")
    with pytest.raises(NotADirectoryError):
        archive.find(under="/note.txt")


def test_file_with_several_names_is_found_once(archive: Archive, way: str) -> None:
    archive.link("/note.txt", "/logs/second")
    archive.link("/note.txt", "/logs/third")

    (found,) = archive.find(Q.links > 1)
    assert (found.path, found.links) == ("/note.txt", 3)
    assert names(archive, under="/logs") == "0.log 1.log 2.log 3.log 4.log old"
    archive.remove("/note.txt")
    (found,) = archive.find(Q.links == 2, under="/logs")
    assert found.path in {"/logs/second", "/logs/third"}


@pytest.mark.parametrize("count", [10, 3000])
def test_walk_and_scan_find_the_same(
    vaults: Vaults, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = vaults.memory()
    with archive.transaction():
        archive.makedirs("/a/b")
        archive.mkdir("/c")
        for number in range(count):
            archive.write_bytes(f"/{'a/b' if number % 3 else 'c'}/{number}", bytes(number % 7))
    found = {}
    for limit in (-1, search._WALKED, 10**6):
        monkeypatch.setattr(search, "_WALKED", limit)
        found[limit] = list(archive.find(Q.size > 2, under="/a"))

    assert len(found[-1]) == sum(number % 3 > 0 and number % 7 > 2 for number in range(count))
    assert found[-1] == found[10**6] == found[search._WALKED]
    assert [entry.id for entry in found[-1]] == sorted(entry.id for entry in found[-1])


def test_cheaper_way_is_taken(vaults: Vaults, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = vaults.memory()
    with archive.transaction():
        for folder, count in (("/small", 20), ("/large", 2000)):
            archive.mkdir(folder)
            for number in range(count):
                archive.write_bytes(f"{folder}/{number}", b"")
    leaves: list[bytes] = []
    leaf = BTree.leaf
    monkeypatch.setattr(BTree, "leaf", lambda self, low: leaves.append(low) or leaf(self, low))

    assert len(list(archive.find(under="/small"))) == 20
    assert leaves == [], "a walk and a look-up for each"
    assert len(list(archive.find(under="/large"))) == 2000
    assert len(leaves) == len(set(leaves)) > 50, "a scan"


def test_results_come_in_the_order_of_ids(archive: Archive, way: str) -> None:
    for top in ("/", "/logs"):
        ids = [found.id for found in archive.find(under=top)]
        assert ids == sorted(ids)


# --- what is not there for users


def test_deleted_is_found_only_by_name(archive: Archive) -> None:
    before = names(archive)
    archive.remove("/note.txt", how=Delete.SOFT)
    deletion = archive.deleted()[-1]

    assert names(archive) == before.replace("note.txt ", "")
    assert names(archive, Q.deleted | ~Q.deleted) == before
    assert names(archive, Q.deleted == True) == "note.txt"  # noqa: E712
    assert names(archive, Q.deleted != True) == names(archive, ~Q.deleted) == names(archive)  # noqa: E712
    assert names(archive, Q.deleted == False) == names(archive)  # noqa: E712
    assert names(archive, ~~Q.deleted) == "note.txt"
    assert names(archive, ~(Q.deleted & (Q.size == 0))) == before
    (found,) = archive.find(Q.deleted)
    assert (found.path, found.name, found.parent) == ("/note.txt", "note.txt", UUID(bytes=ROOT_ID))
    assert (found.deleted_ns, found.size) == (deletion.deleted_ns, 5)
    assert names(archive, Q.deleted, Q.name == "note.txt") == "note.txt"
    assert names(archive, Q.deleted, Q.path.like("/n*"), Q.parent == found.parent) == "note.txt"
    archive.undelete(deletion)
    assert names(archive) == before


def test_what_was_deleted_with_its_directory_is_deleted(archive: Archive, way: str) -> None:
    archive.rmtree("/logs/old", how=Delete.SOFT)
    deleted = ["/logs/old", "/logs/old/0.log", "/logs/old/1.log"]

    assert names(archive, under="/logs") == "2.log 3.log 4.log"
    assert paths(archive, Q.deleted) == paths(archive, Q.deleted, under="/logs") == deleted
    assert (
        paths(
            archive,
            Q.deleted,
            under="/logs",
        )
        == deleted
    )
    assert len({found.deleted_ns for found in archive.find(Q.deleted)}) == 1
    assert names(archive, ~Q.deleted, under="/logs") == "2.log 3.log 4.log"
    archive.rename("/logs", "/moved")
    assert paths(archive, Q.deleted, Q.type == "directory") == ["/moved/old"]
    archive.rmtree("/moved", how=Delete.HARD)
    assert names(archive) == "note.txt zeiger→"
    assert len(paths(archive, Q.deleted)) == 7
    first, second = archive.deleted()
    times = {found.path: found.deleted_ns for found in archive.find(Q.deleted)}
    assert times["/moved/old/0.log"] == times["/moved/old"] == first.deleted_ns
    assert times["/moved/2.log"] == times["/moved"] == second.deleted_ns


def test_path_of_a_deleted_one_whose_directory_is_gone(archive: Archive) -> None:
    archive.remove("/logs/old/0.log", how=Delete.SOFT)
    archive.rmtree("/logs")

    (found,) = archive.find(Q.deleted)
    assert found.path == archive.deleted()[0].path == "/?/0.log"
    assert list(archive.find(Q.deleted, under="/")) == [found]


def test_removed_but_open_file_is_not_found(archive: Archive, way: str) -> None:
    with archive.open("/logs/3.log", "rb") as file:
        archive.remove("/logs/3.log")
        assert archive._filesystem.entry(file.raw.stream.identity.bytes).parent == ORPHANS_ID  # type: ignore[attr-defined]
        assert "3.log" not in names(archive)
        assert "3.log" not in names(archive, Q.deleted | ~Q.deleted)
        assert "3.log" not in names(archive, ~(Q.path == "/nothing"), under="/logs")


def test_stream_without_an_entry_is_not_found(archive: Archive) -> None:
    before = names(archive)
    stream = archive._manager.new_stream()

    assert names(archive) == before
    archive._manager.close_stream(stream)
    archive._manager.del_stream(stream.identity)


# --- entries of all shapes


def test_entry_with_large_extras_is_found(archive: Archive) -> None:
    archive.setxattr("/note.txt", "user.large", bytes(5000))
    archive.chown("/note.txt", "ann", -1)

    assert names(archive, Q.user == "ann", Q.size == 5) == "note.txt"
    assert names(archive, Q.group == "ann") == ""


def test_file_in_many_pieces_is_found(vaults: Vaults) -> None:
    archive = vaults.open("x")
    with (
        archive.transaction(),
        archive.open("/a", "wb", 0) as one,
        archive.open("/b", "wb", 0) as two,
    ):
        for number in range(20):
            one.write(noise(9000, number))
            two.write(noise(5000, number))
    value = archive._manager.registry.tree.get(next(archive.find(Q.name == "a")).id.bytes)
    assert value is not None
    assert split(value)[1], "it has several extents, or this tests nothing"

    assert [found.size for found in archive.find(Q.size > 100_000)] == [180_000]
    assert names(archive, Q.mode == 0o644) == "a b"


def test_size_of_an_open_file_is_what_it_was_handed(archive: Archive) -> None:
    with archive.transaction(), archive.open("/note.txt", "ab") as file:
        file.write(bytes(100_000))
        file.flush()
        assert archive.stat("/note.txt").st_size == 100_005
        assert [found.size for found in archive.find(Q.name == "note.txt")] == [100_005]
        assert names(archive, Q.size > 100_000) == "note.txt"


DAMAGES: dict[str, Callable[[Entry], bytes]] = {
    "too short": lambda entry: b"short",
    "nothing but zeros": lambda entry: bytes(200),
    "no such type": lambda entry: b"x" + entry.encode()[1:],
    "more than its sizes": lambda entry: entry.encode() + b"x",
    "less than its sizes": lambda entry: entry.encode()[:-1],
    "name not UTF-8": lambda entry: entry.changed(name=b"\xff").encode(),
    "in no directory": lambda entry: entry.changed(parent=bytes(16)).encode(),
    "deleted without origin": lambda entry: entry.changed(parent=DELETED_ID, deleted=1).encode(),
    "directory in itself": lambda entry: entry.changed(type=DIRECTORY).encode(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("under", ["/", "/d"])
def test_damaged_entry_is_told(damage: str, under: str) -> None:
    archive = open_archive(io.BytesIO(), "x")
    archive.mkdir("/d")
    archive.write_bytes("/d/f", b"")
    (found,) = archive.find(Q.name == "f")
    key, tree = found.id.bytes, archive._manager.registry.tree
    entry = archive._filesystem.entry(key)
    if damage == "directory in itself":
        entry = entry.changed(parent=key)
    owner = DAMAGES[damage](entry)
    tree.insert(key, encode_value(split(tree.get(key) or b"")[0], b"", owner))

    for conditions in ((), (Q.deleted | ~Q.deleted,)):
        if damage == "deleted without origin" and not conditions:
            continue  # it is not asked for
        with pytest.raises(TreeCorruptError, match="run check"):
            list(archive.find(*conditions, under=under))
    archive.close()


def test_circle_of_directories_is_told() -> None:
    archive = open_archive(io.BytesIO(), "x")
    archive.makedirs("/a/b")
    outer, inner = archive.find()
    archive._manager.paths.insert(inner.id.bytes + b"a", PATH.pack(DIRECTORY, outer.id.bytes))

    with pytest.raises(TreeCorruptError, match="circle"):
        list(archive.find(under="/a"))
    archive.close()


# --- while others work


def test_reading_meanwhile_is_allowed(vaults: Vaults) -> None:
    archive = vaults.open("x")
    for number in range(600):
        archive.write_bytes(f"/{number}", b"x")
    count = 0
    for found in archive.find(Q.size == 1):
        with archive.open(found.path) as file:
            count += len(file.read())
        archive.stat(found.path)
        archive.commit()

    assert count == 600


@pytest.mark.parametrize("count", [1, 3, 600])
def test_change_meanwhile_is_told_at_the_next_step(vaults: Vaults, count: int) -> None:
    archive = vaults.memory()
    with archive.transaction():
        for number in range(count):
            archive.write_bytes(f"/{number:03}", b"x")
    found = archive.find()
    archive.remove(next(found).path)

    with pytest.raises(UsageError, match="take list"):
        next(found)
    for entry in list(archive.find()):
        archive.remove(entry.path)
    assert list(archive.find()) == []


def test_change_by_another_thread_is_told(archive: Archive) -> None:
    for change in (
        lambda: archive.rename("/note.txt", "/renamed"),
        lambda: archive.chmod("/logs", 0o700),
        lambda: archive.write_bytes("/new", b""),
        lambda: archive.write_bytes("/logs/3.log", b"longer"),
    ):
        found = archive.find()
        next(found)
        writer = threading.Thread(target=change)
        writer.start()
        writer.join(timeout=30)
        assert not writer.is_alive()
        with pytest.raises(UsageError):
            next(found)


def test_change_before_the_first_step_is_told(archive: Archive) -> None:
    found = archive.find()
    archive.mkdir("/new")

    with pytest.raises(UsageError):
        next(found)


def test_rollback_meanwhile_is_told(archive: Archive) -> None:
    found: Iterator[Found] = iter(())
    with pytest.raises(ZeroDivisionError), archive.transaction():
        archive.mkdir("/new")
        found = archive.find()
        assert next(found).name
        raise ZeroDivisionError

    with pytest.raises(UsageError):
        next(found)
    assert "new" not in names(archive)


def test_search_inside_a_transaction_sees_it(archive: Archive) -> None:
    with archive.transaction():
        archive.write_bytes("/new", b"x")
        archive.remove("/note.txt")
        assert names(archive, under="/").split()[-3:] == ["new", "old", "zeiger→"]


def test_reader_sees_its_snapshot_until_it_refreshes(vaults: Vaults) -> None:
    writer = vaults.open("x")
    writer.write_bytes("/a", b"")
    with vaults.open("r") as reader:
        writer.write_bytes("/b", b"")
        assert names(reader) == "a"
        found = reader.find()
        next(found)
        assert reader.refresh()
        with pytest.raises(UsageError):
            next(found)
        assert names(reader) == "a b"
        assert not reader.refresh()


def test_refresh_without_news_does_not_disturb(vaults: Vaults) -> None:
    with vaults.open("x") as writer:
        for name in "abc":
            writer.mkdir(f"/{name}")
    with vaults.open("r") as reader:
        found = reader.find()
        first = next(found).name
        assert not reader.refresh()
        assert first + "".join(entry.name for entry in found) == "abc"


def test_closed_archive_tells(vaults: Vaults) -> None:
    archive = vaults.memory()
    archive.mkdir("/a")
    found = archive.find()
    archive.close()

    with pytest.raises(ClosedError):
        next(found)
    with pytest.raises(ClosedError):
        archive.find()


def test_lock_is_taken_for_a_part_at_a_time(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_LEAVES", 1)
    archive = vaults.memory()
    with archive.transaction():
        for number in range(500):
            archive.mkdir(f"/{number}")
    parts: list[int] = []
    more = search.Search.more
    monkeypatch.setattr(
        search.Search, "more", lambda self: parts.append(len(found := more(self))) or found
    )

    assert len(list(archive.find())) == 500
    assert len(parts) > 10
    assert max(parts) < 100
    parts.clear()
    assert list(archive.find(Q.size > 0)) == []
    assert len(parts) > 10
