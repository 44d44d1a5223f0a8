"""The verbs find and tree of `ar7`: arguments, output, exit codes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from archive7 import Delete
from tests.unit.command import Ar7

NEW_YEAR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9
DAY = 86_400 * 10**9


@pytest.fixture
def filled(ar7: Ar7) -> Ar7:
    """The archive of `fill`, with logs of known size, age and mode."""
    ar7.fill()
    with ar7.opened("r+") as archive, archive.transaction():
        archive.makedirs("/logs/old")
        for number, path in enumerate(("/logs/a.log", "/logs/old/b.log", "/logs/c.txt")):
            archive.write_bytes(path, bytes(1024 * number))
            archive.utime(path, ns=(0, NEW_YEAR + number * DAY))
        archive.chmod("/logs/a.log", 0o4755)
        archive.chown("/logs/c.txt", "nobody-knows-her", 4242)
    return ar7


def lines(ar7: Ar7, *args: object) -> list[str]:
    return ar7(args[0], ar7.vault, *args[1:]).stdout.splitlines()


# --- find


def test_find_lists_everything_in_the_order_of_the_tree(filled: Ar7) -> None:
    with filled.opened("r+") as archive:
        archive.write_bytes("/dir.txt", b"")

    assert lines(filled, "find") == [
        "/a.txt", "/dir", "/dir/b.bin", "/dir/empty", "/dir.txt", "/link", "/logs",
        "/logs/a.log", "/logs/c.txt", "/logs/old", "/logs/old/b.log",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ("--name *.log", "/logs/a.log /logs/old/b.log"),
        ("--name a.*", "/a.txt /logs/a.log"),
        ("--name *.log --name *.txt", "/a.txt /logs/a.log /logs/c.txt /logs/old/b.log"),
        ("--type d", "/dir /logs /logs/old"),
        ("--type l --type d", "/dir /link /logs /logs/old"),
        ("logs", "/logs/a.log /logs/c.txt /logs/old /logs/old/b.log"),
        ("/logs/ --type f", "/logs/a.log /logs/c.txt /logs/old/b.log"),
        ("--size +2k --type f", "/dir/b.bin"),
        ("--size +1023 --size -25k", "/logs/c.txt /logs/old/b.log"),
        ("--size -1k --type f", "/a.txt /dir/empty /logs/a.log"),
        ("--size =0 --type f", "/dir/empty /logs/a.log"),
        ("--size 2k", "/logs/c.txt"),
        ("--size +1M", ""),
        ("--newer 2026-01-02T00:00:00Z --older 2026-01-03T00:00:00Z", "/logs/old/b.log"),
        ("--older 2026-01-03 --name ?.txt", ""),
        ("--older 2026-01-03T00:00+00:00", "/logs/a.log /logs/old/b.log"),
        ("--newer 1h --name a*", "/a.txt"),
        ("--older 1h --name a*", "/logs/a.log"),
        ("--mode 4755", "/logs/a.log"),
        ("--mode -4000", "/logs/a.log"),
        ("--mode -055 --type f", "/logs/a.log"),
        ("--mode /011 --type f", "/logs/a.log"),
        ("--mode /0 --name c.txt", "/logs/c.txt"),
        ("--mode -0 --name c.txt", "/logs/c.txt"),
        ("--user nobody-knows-her", "/logs/c.txt"),
        ("--group 4242", "/logs/c.txt"),
        ("--group 4242 --user 0", ""),
        ("--deleted", ""),
    ],
)
def test_find_asks(filled: Ar7, args: str, found: str) -> None:
    assert lines(filled, "find", *args.split()) == found.split()


def test_options_may_stand_before_the_vault(filled: Ar7) -> None:
    assert filled("find", "--size", "-1k", "--name", "*.log", filled.vault, "/").stdout == (
        "/logs/a.log\n"
    )


def test_finding_nothing_is_no_error(filled: Ar7) -> None:
    assert lines(filled, "find", "--name", "nothing") == []
    assert filled.json("find", filled.vault, "--name", "nothing")["entries"] == []


def test_find_below_what_is_not_there_answers_no(filled: Ar7) -> None:
    assert "nowhere" in filled("find", filled.vault, "nowhere", code=1).stderr
    assert "a.txt" in filled("find", filled.vault, "a.txt", code=2).stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--size 1.5M", "'1.5M' is no size"),
        ("--size +1X", "+1M (more)"),
        ("--size " + "9" * 5000, "limit"),
        ("--newer yesterday", "2026-01-31"),
        ("--older 99999999999d", "no date"),
        ("--older " + "9" * 5000 + "d", "no date"),
        ("--mode 888", "octal"),
        ("--mode u+x", "octal"),
        ("--type x", "'f', 'd', 'l'"),
        ("--print0 --long", "--print0"),
        ("-0 --json", "--print0"),
        ("one two", "two"),
    ],
)
def test_wrong_use_of_find_is_told(filled: Ar7, args: str, words: str) -> None:
    assert words in filled("find", filled.vault, *args.split(), code=2).stderr


def test_empty_pattern_is_wrong_use(filled: Ar7) -> None:
    assert "empty pattern" in filled("find", filled.vault, "--name", "", code=2).stderr


def test_find_long_tells_mode_size_time_and_target(filled: Ar7) -> None:
    told = lines(filled, "find", "--long", "--name", "a.log", "--name", "link", "--name", "logs")

    assert told[0].endswith("  /link -> dir/b.bin")
    assert told[1].split()[:2] == ["drwxr-xr-x", "-"]
    assert told[2].split()[:2] == ["-rwsr-xr-x", "0"]
    assert told[2].endswith("/logs/a.log")


def test_find_json_is_complete(filled: Ar7) -> None:
    told = filled.json("find", filled.vault, "logs", "--user", "nobody-knows-her")

    (entry,) = told["entries"]
    assert told["path"] == "logs"
    for name in ("created", "created_ns", "id"):
        assert entry.pop(name)
    assert entry == {
        "path": "/logs/c.txt", "name": "c.txt", "type": "file", "size": 2048, "mode": "0644",
        "modified": "2026-01-03T00:00:00+00:00", "modified_ns": NEW_YEAR + 2 * DAY,
        "user": 65534, "group": 4242, "owner": "00000000-0000-0000-0000-000000000000",
        "links": 1, "deleted": None,
    }  # fmt: skip
    (link,) = filled.json("find", filled.vault, "--type", "l")["entries"]
    assert (link["target"], link["size"]) == ("dir/b.bin", None)


def test_find_deleted_tells_where_it_stood(filled: Ar7) -> None:
    with filled.opened("r+") as archive:
        archive.rmtree("/logs/old", how=Delete.SOFT)
        archive.remove("/link", how=Delete.SOFT)

    assert lines(filled, "find", "--deleted") == ["/link", "/logs/old", "/logs/old/b.log"]
    assert lines(filled, "find", "--deleted", "logs", "--type", "f") == ["/logs/old/b.log"]
    assert lines(filled, "find", "logs") == ["/logs/a.log", "/logs/c.txt"]
    told = lines(filled, "find", "--deleted", "-l")
    assert all(" (deleted 20" in line for line in told)
    entries = filled.json("find", filled.vault, "--deleted")["entries"]
    assert "target" not in entries[0]
    moment = datetime.fromisoformat(entries[1]["deleted"])
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=5)
    assert entries[1]["deleted"] == entries[2]["deleted"]


def test_find_print0_writes_names_as_they_are(filled: Ar7) -> None:
    with filled.opened("r+") as archive:
        archive.write_bytes("/dir/two\nlines", b"")
        archive.write_bytes("/dir/größe\x1b", b"")

    raw = filled("find", "-0", filled.vault, "dir").stdout_bytes
    assert raw.decode().split("\0") == [
        "/dir/b.bin", "/dir/empty", "/dir/größe\x1b", "/dir/two\nlines", "",
    ]  # fmt: skip
    shown = filled("find", filled.vault, "dir").stdout
    assert "\x1b" not in shown
    assert shown.count("\n") == 4
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = filled.process("find", "-0", filled.vault, "dir", "--name", "gr*", env=plain)
    assert process.stdout == "/dir/größe\x1b\0".encode()


# --- tree


def test_tree_draws(filled: Ar7) -> None:
    assert (
        filled("tree", filled.vault).stdout
        == """\
/
├── a.txt
├── dir
│   ├── b.bin
│   └── empty
├── link -> dir/b.bin
└── logs
    ├── a.log
    ├── c.txt
    └── old
        └── b.log

3 directories, 6 files, 1 link
"""
    )
    assert (
        filled("tree", filled.vault, "logs/").stdout
        == """\
logs/
├── a.log
├── c.txt
└── old
    └── b.log

1 directory, 3 files
"""
    )


def test_tree_stops_at_a_depth(filled: Ar7) -> None:
    assert (
        filled("tree", filled.vault, "--depth", 1).stdout
        == """\
/
├── a.txt
├── dir
├── link -> dir/b.bin
└── logs

2 directories, 1 file, 1 link
"""
    )


def test_tree_adds_sizes_up(filled: Ar7) -> None:
    with filled.opened("r+") as archive:
        archive.link("/dir/b.bin", "/logs/again")

    assert (
        filled("tree", filled.vault, "--size", "--depth", 2).stdout
        == """\
[  28.0 KiB]  /
├── [       6 B]  a.txt
├── [       0 B]  dir
│   ├── [  25.0 KiB]  b.bin
│   └── [       0 B]  empty
├── [       0 B]  link -> dir/b.bin
└── [  28.0 KiB]  logs
    ├── [       0 B]  a.log
    ├── [  25.0 KiB]  again
    ├── [   2.0 KiB]  c.txt
    └── [   1.0 KiB]  old

3 directories, 6 files, 1 link
"""
    )


def test_tree_json_is_complete(filled: Ar7) -> None:
    told = filled.json("tree", filled.vault, "logs", "--depth", 1)

    assert told == {
        "vault": str(filled.vault),
        "path": "logs",
        "size": 3072,
        "entries": [
            {"path": "/logs/a.log", "name": "a.log", "type": "file", "depth": 1, "size": 0},
            {"path": "/logs/c.txt", "name": "c.txt", "type": "file", "depth": 1, "size": 2048},
            {"path": "/logs/old", "name": "old", "type": "directory", "depth": 1, "size": 1024},
        ],
    }
    assert filled.json("tree", filled.vault)["entries"][4] == {
        "path": "/link", "name": "link", "type": "link", "depth": 1, "size": None,
        "target": "dir/b.bin",
    }  # fmt: skip


def test_tree_of_an_empty_directory(filled: Ar7) -> None:
    with filled.opened("r+") as archive:
        archive.mkdir("/nothing")

    assert filled("tree", filled.vault, "nothing").stdout == (
        "nothing\n\n0 directories, 0 files\n"
    )


def test_tree_of_what_is_no_directory(filled: Ar7) -> None:
    assert "nowhere" in filled("tree", filled.vault, "nowhere", code=1).stderr
    assert "Not a directory" in filled("tree", filled.vault, "a.txt", code=2).stderr
    assert "depth" in filled("tree", filled.vault, "--depth", 0, code=2).stderr


def test_tree_does_not_follow_links(filled: Ar7) -> None:
    with filled.opened("r+") as archive:
        archive.symlink("..", "/dir/up")

    assert "up -> ..\n" in filled("tree", filled.vault, "dir").stdout
    assert lines(filled, "tree", "dir/up/logs/old")[1] == "└── b.log"


def test_tree_can_be_deep(ar7: Ar7) -> None:
    ar7.fill()
    path = "/deep" * 400
    with ar7.opened("r+") as archive:
        archive.makedirs(path)
        archive.write_bytes(f"{path}/leaf", bytes(10))

    assert len(lines(ar7, "tree", "deep")) == 400 + 3
    told = ar7.json("tree", ar7.vault, "deep", "--size")
    assert [entry["size"] for entry in told["entries"]] == [10] * 400


def test_names_cannot_steer_the_terminal(ar7: Ar7) -> None:
    ar7.fill()
    with ar7.opened("r+") as archive:
        archive.write_bytes("/evil\x1b[2J\r\n\u202e", b"")
        archive.symlink("\x1b[31m", "/steer")

    for args in (("find",), ("find", "-l"), ("tree",), ("tree", "--size")):
        told = ar7(*args, ar7.vault).stdout
        assert not {"\x1b", "\r", "\u202e"} & set(told)


def test_tree_draws_with_what_stdout_can_show(filled: Ar7) -> None:
    plain = {"PYTHONIOENCODING": "ascii"}
    drawn = filled.process("tree", filled.vault, "logs", env=plain).stdout.decode("ascii")

    assert drawn.splitlines()[1:5] == ["|-- a.log", "|-- c.txt", "`-- old", "    `-- b.log"]
