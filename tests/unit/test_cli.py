"""The verbs of `ar7`, each through its arguments, its output and its exit code."""

from __future__ import annotations

import os
import shutil
import stat
from datetime import datetime
from pathlib import Path

import pytest

import archive7
from archive7.cli import report
from archive7.cli.program import program
from archive7.layout import RING_OFFSET, SLOTS_OFFSET
from tests.unit.command import KEY, Ar7

VERBS = (
    "add cat check compact cp create deleted demo extract find get info keys ls mkdir mv put "
    "rekey repair rescue rm shred tree undelete"
).split()


def make_tree(folder: Path) -> Path:
    """A folder with what folders have."""
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"hello\n")
    (folder / "sub" / "b.bin").write_bytes(os.urandom(100_000))
    (folder / "a.txt").chmod(0o640)
    (folder / "link").symlink_to("sub/b.bin")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "größe ☃").write_bytes(b"")
    os.utime(folder / "a.txt", ns=(10**18 + 1, 10**18 + 7))
    folder.chmod(0o750)
    os.utime(folder, ns=(10**18, 10**18 + 9))
    return folder


def tree_of(folder: Path) -> dict[str, object]:
    """All that stands below a folder of the host: content, mode, time."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            content = path.read_bytes() if path.is_file() else None
            found[name] = (content, stat.S_IMODE(status.st_mode), status.st_mtime_ns)
    return found


# --- help


def test_help_lists_every_verb(ar7: Ar7) -> None:
    told = ar7("--help").stdout

    assert sorted(program.commands) == VERBS
    assert [verb for verb in VERBS if f"\n  {verb} " not in told] == []
    assert "..." not in told.partition("Commands:")[2], "a short help was cut"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_an_example(ar7: Ar7, verb: str) -> None:
    told = ar7(verb, "--help").stdout

    assert f"    ar7 {verb}" in told or f"| ar7 {verb}" in told
    assert max(map(len, told.splitlines())) <= 80


def test_without_a_verb_the_help_is_shown(ar7: Ar7) -> None:
    result = ar7.process()

    assert result.returncode == 2
    assert b"Commands:" in result.stdout + result.stderr


def test_version_is_the_package_version(ar7: Ar7) -> None:
    assert archive7.__version__ in ar7("--version").stdout


# --- create, add, extract


def test_created_archive_is_empty_and_opens(ar7: Ar7) -> None:
    assert ar7("create", ar7.vault).stdout.startswith(f"created {ar7.vault} in ")

    with ar7.opened() as archive:
        assert archive.listdir("/") == []


def test_tree_goes_in_and_comes_back(ar7: Ar7) -> None:
    source = make_tree(ar7.folder / "source")

    ar7("create", ar7.vault, "source")
    ar7("extract", ar7.vault, "out")

    assert tree_of(ar7.folder / "out" / "source") == tree_of(source)
    back = (ar7.folder / "out" / "source").stat()
    assert (stat.S_IMODE(back.st_mode), back.st_mtime_ns) == (0o750, 10**18 + 9)


def test_create_tells_what_it_did_in_json(ar7: Ar7) -> None:
    make_tree(ar7.folder / "source")

    told = ar7.json("create", ar7.vault, "source", "--to", "/in/here")

    assert told.pop("seconds") >= 0
    assert told == {
        "vault": str(ar7.vault),
        "to": "/in/here",
        "sources": ["source"],
        "suite": "xaes256gcm",
        "size": ar7.vault.stat().st_size,
        "files": 3,
        "directories": 3,
        "links": 2,
        "hard_links": 0,
        "bytes": 100_006,
        "unchanged": 0,
        "skipped": [],
    }


def test_create_refuses_a_file_that_is_there(ar7: Ar7) -> None:
    ar7.vault.write_bytes(b"precious")
    ar7.is_damaged = True

    assert "exists already" in ar7("create", ar7.vault, code=2).stderr
    assert ar7.vault.read_bytes() == b"precious"


def test_create_that_fails_leaves_no_file(ar7: Ar7) -> None:
    make_tree(ar7.folder / "source")

    ar7("create", ar7.vault, "source", "--to", "/x/" + "n" * 256, code=2)

    assert not ar7.vault.exists()


def test_create_takes_suite_title_and_cost(ar7: Ar7) -> None:
    options = "--kdf-memory 19 --kdf-passes 2 --kdf-lanes 1 --title letters".split()
    secret = {"ARCHIVE7_PASSWORD": "p", "ARCHIVE7_KEY_FILE": str(ar7.key_file)}

    ar7("create", ar7.vault, *options, env=secret)

    told = ar7.json("info", ar7.vault)
    assert (told["title"], told["suite"]) == ("letters", "xaes256gcm")
    archive7.open(ar7.vault, password="p", max_kdf_memory=19 << 20).close()


def test_create_says_when_opening_will_need_an_option(ar7: Ar7) -> None:
    # only said: the key file makes no keyslot that costs memory
    result = ar7("create", ar7.vault, "--kdf-memory", 512)

    assert "--max-kdf-memory 512" in result.stderr


def test_add_puts_each_source_under_its_name(ar7: Ar7) -> None:
    make_tree(ar7.folder / "one")
    make_tree(ar7.folder / "two")
    (ar7.folder / "file").write_bytes(b"x")
    ar7.fill()

    told = ar7("add", ar7.vault, "one", "two/", "file", "--to", "dir/new").stdout

    assert told.startswith("added 7 files, 6 directories, 4 links, 195.3 KiB to ")
    with ar7.opened() as archive:
        assert archive.listdir("/dir/new") == ["file", "one", "two"]
        assert archive.read_bytes("/dir/new/two/a.txt") == b"hello\n"
        assert stat.S_IMODE(archive.stat("/dir/new/one").st_mode) == 0o750


def test_add_of_a_dot_adds_what_is_in_it(ar7: Ar7) -> None:
    source = make_tree(ar7.folder / "source")
    ar7.fill()

    ar7("add", ar7.vault, f"{source}/.")

    with ar7.opened() as archive:
        assert {"a.txt", "sub", "link", "dir"} <= set(archive.listdir("/"))


def test_add_replaces_files_and_keeps_the_rest(ar7: Ar7) -> None:
    source = make_tree(ar7.folder / "source")
    ar7("create", ar7.vault, "source")
    (source / "a.txt").write_bytes(b"new")
    (source / "sub" / "b.bin").unlink()

    ar7("add", ar7.vault, "source")

    with ar7.opened() as archive:
        assert archive.read_bytes("/source/a.txt") == b"new"
        assert archive.exists("/source/sub/b.bin")


def test_add_refuses_two_sources_of_one_name(ar7: Ar7) -> None:
    make_tree(ar7.folder / "one" / "same")
    make_tree(ar7.folder / "two" / "same")
    ar7.fill()

    assert "both become same" in ar7("add", ar7.vault, "one/same", "two/same", code=2).stderr


def test_add_refuses_to_put_the_archive_into_itself(ar7: Ar7) -> None:
    ar7.fill()

    for source in (".", ar7.vault, ar7.folder):
        assert "cannot hold itself" in ar7("add", ar7.vault, source, code=2).stderr


def test_add_of_what_is_not_there_is_wrong_use(ar7: Ar7) -> None:
    ar7.fill()

    assert "nowhere" in ar7("add", ar7.vault, "nowhere", code=2).stderr


def test_add_names_what_it_could_not_take(ar7: Ar7) -> None:
    source = make_tree(ar7.folder / "source")
    os.mkfifo(source / "pipe")
    ar7.fill()

    result = ar7("add", ar7.vault, "source", code=1)
    told = ar7.json("add", ar7.vault, "source", code=1)

    assert "source/pipe was left out" in result.stderr
    assert [skipped["path"] for skipped in told["skipped"]] == ["source/pipe"]
    assert told["files"] == 3


def test_extract_takes_only_what_is_named(ar7: Ar7) -> None:
    files = ar7.fill()

    told = ar7.json("extract", ar7.vault, "dir", "a.txt", "out")

    assert sorted(tree_of(ar7.folder / "out")) == ["a.txt", "dir", "dir/b.bin", "dir/empty"]
    assert (ar7.folder / "out" / "dir" / "b.bin").read_bytes() == files["/dir/b.bin"]
    assert (told["files"], told["directories"], told["bytes"]) == (3, 1, 25_606)
    assert told["paths"] == ["dir", "a.txt"]


def test_extract_of_what_is_not_there_writes_nothing(ar7: Ar7) -> None:
    ar7.fill()

    assert "nowhere" in ar7("extract", ar7.vault, "a.txt", "nowhere", "out", code=1).stderr
    assert not (ar7.folder / "out").exists()


def test_extract_replaces_only_when_told(ar7: Ar7) -> None:
    ar7.fill()
    (ar7.folder / "a.txt").write_bytes(b"mine")

    assert "--overwrite" in ar7("extract", ar7.vault, ".", code=2).stderr
    assert (ar7.folder / "a.txt").read_bytes() == b"mine"
    ar7("extract", ar7.vault, ".", "--overwrite")
    assert (ar7.folder / "a.txt").read_bytes() == b"hello\n"


def test_quiet_says_nothing(ar7: Ar7) -> None:
    make_tree(ar7.folder / "source")

    for args in (
        ("create", ar7.vault, "source"),
        ("add", ar7.vault, "source"),
        ("extract", ar7.vault, "out"),
        ("check", ar7.vault),
    ):
        assert ar7(*args, "--quiet").output == ""


# --- ls, info


def test_ls_lists_names(ar7: Ar7) -> None:
    ar7.fill()

    assert ar7("ls", ar7.vault).stdout == "a.txt\ndir/\nlink\n"
    assert ar7("ls", ar7.vault, "dir").stdout == "b.bin\nempty\n"
    assert ar7("ls", ar7.vault, "/dir/b.bin").stdout == "b.bin\n"
    assert ar7("ls", ar7.vault, "dir", "a.txt").stdout == "/dir/b.bin\n/dir/empty\n/a.txt\n"


def test_ls_goes_down_with_r(ar7: Ar7) -> None:
    ar7.fill()

    listed = ar7("ls", "-R", ar7.vault).stdout.splitlines()

    assert sorted(listed) == ["/a.txt", "/dir/", "/dir/b.bin", "/dir/empty", "/link"]


def test_ls_long_tells_mode_size_and_target(ar7: Ar7) -> None:
    ar7.fill()

    lines = ar7("ls", "-l", ar7.vault, "/").stdout.splitlines()

    assert lines[0].split()[:2] == ["-rw-r--r--", "6"]
    assert lines[1].startswith("drwxr-xr-x")
    assert lines[1].endswith("dir/")
    assert lines[2].endswith("link -> dir/b.bin")
    assert ar7("ls", "-l", ar7.vault, "/dir").stdout.splitlines()[0].split()[1] == "25,600"


def test_ls_json_is_complete(ar7: Ar7) -> None:
    files = ar7.fill()

    told = ar7.json("ls", "-R", ar7.vault)
    entries = {entry["path"]: entry for entry in told["entries"]}

    assert set(entries) == {*files, "/dir", "/link"}
    assert {path: entries[path]["size"] for path in files} == {
        path: len(data) for path, data in files.items()
    }
    assert entries["/link"] | {"modified": "", "modified_ns": 0} == {
        "path": "/link",
        "name": "link",
        "type": "link",
        "size": None,
        "mode": "0777",
        "modified": "",
        "modified_ns": 0,
        "target": "dir/b.bin",
    }
    moment = datetime.fromisoformat(entries["/a.txt"]["modified"])
    assert int(moment.timestamp()) == entries["/a.txt"]["modified_ns"] // 10**9


def test_ls_follows_a_link_to_a_directory_only_when_named(ar7: Ar7) -> None:
    ar7.fill()
    with ar7.opened("r+") as archive:
        archive.symlink("dir", "/to")
        archive.symlink("nowhere", "/dangling")

    assert ar7("ls", ar7.vault, "to").stdout == "b.bin\nempty\n"
    assert "/to/b.bin" not in ar7("ls", "-R", ar7.vault).stdout
    assert ar7("ls", ar7.vault, "dangling").stdout == "dangling\n"


def test_ls_of_what_is_not_there_answers_no(ar7: Ar7) -> None:
    ar7.fill()

    result = ar7("ls", ar7.vault, "nowhere", code=1)
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert ar7("ls", "--json", ar7.vault, "nowhere", code=1).stdout == ""


def test_names_cannot_steer_the_terminal(ar7: Ar7) -> None:
    ar7.fill()
    name = "/evil\x1b[2J\r\n\u202e"
    with ar7.opened("r+") as archive:
        archive.write_bytes(name, b"")
        archive.symlink("\x1b[31m", "/steer")

    for args in (("ls",), ("ls", "-l"), ("ls", "-R")):
        told = ar7(*args, ar7.vault).stdout
        assert "\x1b" not in told
        assert "\r" not in told
        assert "\u202e" not in told
    assert "\x1b" not in ar7("rm", ar7.vault, f"{name}/x", code=2).stderr
    assert name in [entry["path"] for entry in ar7.json("ls", ar7.vault)["entries"]]


def test_info_tells_the_same_in_both_forms(ar7: Ar7) -> None:
    ar7.fill()

    told = ar7.json("info", ar7.vault)
    words = ar7("info", ar7.vault).stdout

    assert told["size"] == ar7.vault.stat().st_size
    assert told["container"] in words
    assert f"{told['size']:,} bytes" in words
    assert set(told) >= {"vault", "suite", "format", "commit", "created", "used", "free", "sealed"}


# --- cat, put, get


def test_cat_writes_bytes_one_after_the_other(ar7: Ar7) -> None:
    files = ar7.fill()

    result = ar7("cat", ar7.vault, "link", "a.txt")

    assert result.stdout_bytes == files["/dir/b.bin"] + files["/a.txt"]


def test_cat_writes_nothing_if_one_is_missing(ar7: Ar7) -> None:
    ar7.fill()

    assert ar7("cat", ar7.vault, "a.txt", "nowhere", code=1).stdout == ""
    assert ar7("cat", ar7.vault, "a.txt", "dir", code=2).stdout == ""


def test_put_takes_stdin_and_replaces(ar7: Ar7) -> None:
    ar7.fill()
    data = bytes(range(256)) * 10_000

    ar7("put", ar7.vault, "a.txt", input=data)
    ar7("put", ar7.vault, "/new/deep/file", "-p", input=b"")

    with ar7.opened() as archive:
        assert archive.read_bytes("/a.txt") == data
        assert archive.read_bytes("/new/deep/file") == b""


def test_put_takes_a_file(ar7: Ar7) -> None:
    ar7.fill()
    (ar7.folder / "here").write_bytes(b"from a file")

    ar7("put", ar7.vault, "there", "--from", "here")

    with ar7.opened() as archive:
        assert archive.read_bytes("/there") == b"from a file"


def test_put_where_it_cannot_go_changes_nothing(ar7: Ar7) -> None:
    ar7.fill()

    ar7("put", ar7.vault, "dir", input=b"x", code=2)
    ar7("put", ar7.vault, "no/where", input=b"x", code=1)
    ar7("put", ar7.vault, "a.txt/below", "-p", input=b"x", code=2)
    ar7("put", ar7.vault, "a.txt", "--from", "nowhere", code=2)

    with ar7.opened() as archive:
        assert archive.listdir("/") == ["a.txt", "dir", "link"]
        assert archive.read_bytes("/a.txt") == b"hello\n"


def test_get_writes_mode_and_time(ar7: Ar7) -> None:
    files = ar7.fill()
    with ar7.opened("r+") as archive:
        archive.chmod("/dir/b.bin", 0o4755)
        archive.utime("/dir/b.bin", ns=(0, 10**18 + 5))

    ar7("get", ar7.vault, "dir/b.bin")
    ar7("get", ar7.vault, "link", "renamed")

    for name in ("b.bin", "renamed"):
        status = (ar7.folder / name).stat()
        assert (ar7.folder / name).read_bytes() == files["/dir/b.bin"]
        assert stat.S_IMODE(status.st_mode) == 0o755, "setuid must not come out"
        assert status.st_mtime_ns == 10**18 + 5


def test_get_writes_to_stdout(ar7: Ar7) -> None:
    files = ar7.fill()

    assert ar7("get", ar7.vault, "dir/b.bin", "-").stdout_bytes == files["/dir/b.bin"]


def test_get_replaces_only_when_told(ar7: Ar7) -> None:
    ar7.fill()
    (ar7.folder / "a.txt").write_bytes(b"mine")

    assert "--overwrite" in ar7("get", ar7.vault, "a.txt", code=2).stderr
    assert (ar7.folder / "a.txt").read_bytes() == b"mine"
    ar7("get", ar7.vault, "a.txt", "--overwrite")
    assert (ar7.folder / "a.txt").read_bytes() == b"hello\n"
    ar7("get", ar7.vault, "dir", code=2)
    ar7("get", ar7.vault, "nowhere", code=1)
    assert "no directory" in ar7("get", ar7.vault, "a.txt", "no/where", code=2).stderr


def test_get_does_not_write_through_a_link(ar7: Ar7) -> None:
    ar7.fill()
    (ar7.folder / "precious").write_bytes(b"precious")
    (ar7.folder / "a.txt").symlink_to("precious")

    ar7("get", ar7.vault, "a.txt", "--overwrite")

    assert (ar7.folder / "precious").read_bytes() == b"precious"
    assert not (ar7.folder / "a.txt").is_symlink()


# --- rm, mkdir, mv


def test_rm_removes_all_or_nothing(ar7: Ar7) -> None:
    ar7.fill()

    ar7("rm", ar7.vault, "a.txt", "nowhere", code=1)
    assert "rm -r" in ar7("rm", ar7.vault, "a.txt", "dir", code=2).stderr
    assert ar7("ls", ar7.vault).stdout == "a.txt\ndir/\nlink\n"
    ar7("rm", "-rf", ar7.vault, "a.txt", "nowhere", "dir")
    assert ar7("ls", ar7.vault).stdout == "link\n"


def test_rm_r_does_not_follow_links(ar7: Ar7) -> None:
    ar7.fill()
    with ar7.opened("r+") as archive:
        archive.makedirs("/tree/sub/deep")
        archive.symlink("/dir", "/tree/sub/link")
        archive.write_bytes("/tree/sub/deep/file", b"x")

    ar7("rm", "-r", ar7.vault, "tree")

    assert ar7("ls", "-R", ar7.vault).stdout == "/a.txt\n/dir/\n/link\n/dir/b.bin\n/dir/empty\n"


def test_rm_of_the_root_is_refused(ar7: Ar7) -> None:
    ar7.fill()

    for path in ("/", ".", "dir/.."):
        ar7("rm", "-r", ar7.vault, path, code=2)
    assert ar7("ls", ar7.vault).stdout == "a.txt\ndir/\nlink\n"


def test_mkdir_makes_all_or_nothing(ar7: Ar7) -> None:
    ar7.fill()

    ar7("mkdir", ar7.vault, "new", "a.txt", code=2)
    ar7("mkdir", ar7.vault, "no/where", code=1)
    assert ar7("ls", ar7.vault).stdout == "a.txt\ndir/\nlink\n"
    ar7("mkdir", ar7.vault, "-p", "dir", "x/y/z")
    assert ar7("ls", "-R", ar7.vault, "x").stdout == "/x/y/\n/x/y/z/\n"


def test_mv_renames_and_moves(ar7: Ar7) -> None:
    files = ar7.fill()

    ar7("mv", ar7.vault, "a.txt", "b.txt")
    ar7("mv", ar7.vault, "b.txt", "link", "dir")
    ar7("mv", ar7.vault, "dir/b.txt", "dir/empty")

    assert ar7("ls", "-R", ar7.vault).stdout == "/dir/\n/dir/b.bin\n/dir/empty\n/dir/link\n"
    with ar7.opened() as archive:
        assert archive.read_bytes("/dir/empty") == files["/a.txt"]


def test_mv_that_cannot_be_changes_nothing(ar7: Ar7) -> None:
    ar7.fill()

    assert "into itself" in ar7("mv", ar7.vault, "dir", "dir/sub", code=2).stderr
    assert "mkdir" in ar7("mv", ar7.vault, "dir", "a.txt", "nowhere", code=2).stderr
    ar7("mv", ar7.vault, "a.txt", "nowhere", "dir", code=1)
    assert ar7("ls", ar7.vault).stdout == "a.txt\ndir/\nlink\n"


# --- check


def test_check_of_a_sound_archive(ar7: Ar7) -> None:
    ar7.fill()

    told = ar7.json("check", ar7.vault)

    assert "sound" in ar7("check", ar7.vault, "--level", "quick").stdout
    assert told.pop("seconds") >= 0
    assert told == {
        "vault": str(ar7.vault), "level": "full", "is_sound": True, "is_complete": True,
        "progress": 1.0, "earlier_errors": 0, "findings": [],
    }  # fmt: skip


def test_check_finds_a_flipped_bit(ar7: Ar7) -> None:
    ar7.fill()
    flip(ar7)

    told = ar7.json("check", ar7.vault, code=1)
    words = ar7("check", ar7.vault, code=1).stdout

    assert not told["is_sound"]
    errors = [finding for finding in told["findings"] if finding["severity"] == "error"]
    assert errors
    assert set(errors[0]) == {
        "severity", "layer", "message", "block", "stream", "path", "code", "slot", "count",
        "remedy",
    }  # fmt: skip
    assert f"next: {errors[0]['remedy']}" in words
    assert f"{len(errors)} error" in words


def test_check_tells_of_an_archive_too_damaged_to_open(ar7: Ar7) -> None:
    ar7.fill()
    ar7.is_damaged = True
    with open(ar7.vault, "r+b") as file:
        file.seek(RING_OFFSET)
        file.write(b"\xff" * (SLOTS_OFFSET - RING_OFFSET))

    told = ar7.json("check", ar7.vault, code=1)

    assert not told["is_sound"]
    assert told["findings"][0]["layer"] == "opening"


def flip(ar7: Ar7) -> None:
    """Flip a bit in a block of /dir/b.bin."""
    ar7.is_damaged = True
    before = ar7.vault.read_bytes()
    shutil.copy(ar7.vault, ar7.folder / "copy")
    for offset in range(len(before) - 2048, 0, -4096):
        damaged = bytearray(before)
        damaged[offset] ^= 1
        ar7.vault.write_bytes(damaged)
        with archive7.open(ar7.vault, key=KEY) as archive:
            try:
                archive.read_bytes("/dir/b.bin")
            except archive7.CorruptError:
                return
    raise AssertionError("no block of the file was found")


# --- words


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1023 * 1024, "1.0 MiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 40, "3.0 TiB"),
        (9000 << 40, "9000.0 TiB"),
    ],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert report.size_text(size) == text


def test_counts_in_words() -> None:
    assert [report.count_text(count, "directory") for count in (0, 1, 2000)] == [
        "0 directories",
        "1 directory",
        "2,000 directories",
    ]


def test_times_beyond_the_calendar_are_shown() -> None:
    assert report.time_text(2**62 / 1e9) != ""
    assert report.time_text(1e15) == "@1000000000000000"
    assert report.iso_text(10**30) is None
    assert report.iso_text(-1) == "1969-12-31T23:59:59+00:00"
