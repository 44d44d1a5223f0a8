"""`ar7 add` and `ar7 extract`: what is chosen, kept, left out and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.command import Ar7, Terminal
from tests.unit.hosttrees import make_source, need_xattrs, snapshot

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX names and modes")


@pytest.fixture
def photos(ar7: Ar7) -> Path:
    """A folder to choose from."""
    top = ar7.folder / "photos"
    for name in ("a.jpg", "a.tmp", "2025/b.jpg", "2025/c.raw", "2026/cache/d.jpg", "cache"):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return top


def paths_in(ar7: Ar7) -> list[str]:
    """The files below /photos in the archive."""
    entries = ar7.json("ls", "-R", ar7.vault)["entries"]
    files = [entry["path"] for entry in entries if entry["type"] == "file"]
    return [path.removeprefix("/photos/") for path in files]


CHOICES = {
    (): {"a.jpg", "a.tmp", "2025/b.jpg", "2025/c.raw", "2026/cache/d.jpg", "cache"},
    ("--exclude", "*.tmp"): {"a.jpg", "2025/b.jpg", "2025/c.raw", "2026/cache/d.jpg", "cache"},
    ("--include", "*.jpg"): {"a.jpg", "2025/b.jpg", "2026/cache/d.jpg"},
    ("--include", "*.jpg", "--exclude", "2025"): {"a.jpg", "2026/cache/d.jpg"},
    ("--include", "*.jpg", "--include", "*.raw", "--exclude", "cache"): {
        "a.jpg", "2025/b.jpg", "2025/c.raw",
    },
    ("--exclude", "cache/"): {"a.jpg", "a.tmp", "2025/b.jpg", "2025/c.raw", "cache"},
    ("--exclude", "/cache"): {"a.jpg", "a.tmp", "2025/b.jpg", "2025/c.raw", "2026/cache/d.jpg"},
    ("--exclude", "2026/*"): {"a.jpg", "a.tmp", "2025/b.jpg", "2025/c.raw", "cache"},
    ("--include", "202?/*.jpg"): {"2025/b.jpg"},
    ("--include", "202?/**/*.jpg"): {"2025/b.jpg", "2026/cache/d.jpg"},
}  # fmt: skip


@pytest.mark.parametrize("options", CHOICES)
def test_files_are_chosen_by_patterns(ar7: Ar7, photos: Path, options: tuple[str, ...]) -> None:
    ar7("create", ar7.vault, "photos", *options)
    assert set(paths_in(ar7)) == CHOICES[options]
    ar7.vault.unlink()

    ar7("create", ar7.vault, "photos")
    told = ar7.json("extract", ar7.vault, "photos", "out", *options)
    out = ar7.folder / "out" / "photos"
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == CHOICES[options]
    assert told["files"] == len(found)
    assert told["skipped"] == []


def test_a_pattern_that_means_nothing_is_wrong_use(ar7: Ar7, photos: Path) -> None:
    ar7.fill()
    assert "pattern" in ar7("add", ar7.vault, "photos", "--exclude", "", code=2).stderr
    assert paths_in(ar7) == ["/a.txt", "/dir/b.bin", "/dir/empty"]


def test_hard_links_attributes_and_owners_come_back(ar7: Ar7) -> None:
    need_xattrs(ar7.folder)
    source = make_source(ar7.folder / "source")
    os.link(source / "big", source / "dir" / "same")
    os.setxattr(source / "big", "user.note", b"x")
    modified = source.stat().st_mtime_ns
    os.utime(source / "dir", ns=(0, 10**18))
    os.utime(source, ns=(0, modified))

    told = ar7("create", ar7.vault, "source", "--owner").stdout
    assert " with 7 files, 4 directories, 4 links, 1 hard link, 3.4 MiB in " in told
    # The root of the archive belongs to root: another user is told that it cannot be given away.
    told = ar7("extract", ar7.vault, "out", "--owner", code=os.geteuid() != 0).stdout

    assert told.startswith("extracted 7 files, 4 directories, 4 links, 1 hard link, 3.4 MiB to ")
    assert snapshot(ar7.folder / "out" / "source") == snapshot(source)
    ar7("extract", ar7.vault, "plain", "--no-xattrs")
    assert os.listxattr(ar7.folder / "plain" / "source" / "big") == []
    ar7("add", ar7.vault, "source", "--no-xattrs")
    with ar7.opened() as archive:
        assert archive.listxattr("/source/big") == ["user.note"], "what is not wanted stays"


def test_what_is_unchanged_is_counted(ar7: Ar7, photos: Path) -> None:
    ar7("create", ar7.vault, "photos")
    (photos / "a.jpg").write_bytes(b"other")

    told = ar7("add", ar7.vault, "photos", "--resume").stdout
    assert told.startswith("added 1 file, 4 directories, 5 B, 5 unchanged to ")
    told = ar7("extract", ar7.vault, "out").stdout
    assert told.startswith("extracted 6 files, 4 directories, ")
    told = ar7("extract", ar7.vault, "out", "--resume").stdout
    assert told.startswith("extracted 0 files, 4 directories, 0 B, 6 unchanged to ")
    document = ar7.json("add", ar7.vault, "photos", "--resume")
    assert (document["unchanged"], document["files"], document["hard_links"]) == (6, 0, 0)


def test_extract_names_what_the_host_cannot_have(
    ar7: Ar7, monkeypatch: pytest.MonkeyPatch
) -> None:
    ar7.fill()
    with ar7.opened("r+") as archive:
        archive.setxattr("/a.txt", "user.a\0b", b"x")
        archive.write_bytes("/con", b"x")
    monkeypatch.setattr(
        "archive7.hostexport.name_fault",
        lambda name: "no such name here" * (name == "con") or None,
    )

    result = ar7("extract", ar7.vault, "out", code=1)

    assert "/con was left out: no such name here\n" in result.stderr
    assert "/a.txt was copied without its extended attribute user.a\\x00b: " in result.stderr
    assert (ar7.folder / "out" / "a.txt").read_bytes() == b"hello\n"


def test_extract_does_not_follow_a_link_in_the_place_of_a_folder(ar7: Ar7) -> None:
    ar7.fill()
    (ar7.folder / "elsewhere").mkdir()
    (ar7.folder / "out").mkdir()
    (ar7.folder / "out" / "dir").symlink_to("../elsewhere")

    for options in ((), ("--overwrite",), ("--resume",)):
        result = ar7("extract", ar7.vault, "dir", "out", *options, code=2)
        assert "out/dir: a file or link stands where a folder goes" in result.stderr

    assert os.listdir(ar7.folder / "elsewhere") == []
    (ar7.folder / "out").rename(ar7.folder / "real")
    (ar7.folder / "out").symlink_to("real")
    ar7("extract", ar7.vault, "a.txt", "out")  # DEST itself may be one
    assert (ar7.folder / "real" / "a.txt").read_bytes() == b"hello\n"


def many(ar7: Ar7) -> int:
    """A folder with 300 MB in files of 1 MB: several commits of an add that may be resumed."""
    top = ar7.folder / "many"
    top.mkdir()
    for number in range(300):
        with (top / f"{number:03d}").open("wb") as file:
            file.write(b"%d" % number)
            file.truncate(1_000_000)
    return 300


@pytest.mark.kill
@pytest.mark.parametrize("verb", ["add", "extract"])
def test_ctrl_c_leaves_what_is_complete_and_the_same_command_goes_on(ar7: Ar7, verb: str) -> None:
    count = many(ar7)
    ar7.fill()
    command: tuple[object, ...] = ("add", ar7.vault, "many", "--resume")
    if verb == "extract":
        ar7(*command)
        command = ("extract", ar7.vault, "many", "out", "--resume")

    process = ar7.start(*command, stderr=subprocess.PIPE)
    size = ar7.vault.stat().st_size
    while process.poll() is None:
        if verb == "add" and ar7.vault.stat().st_size > size + 150_000_000:
            break
        if verb == "extract" and (ar7.folder / "out/many/100").exists():
            break
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1].decode()

    assert process.returncode == 130, told
    done = ar7.json(*command)
    if verb == "add":
        assert told == (
            f"ar7: interrupted: {ar7.vault} has what was complete; the same command goes on\n"
        )
        assert done["unchanged"] >= 60
    else:
        assert done["unchanged"] >= 100
    assert done["unchanged"] + done["files"] == count
    with ar7.opened() as archive:
        for number in range(count):
            assert archive.read_bytes(f"/many/{number:03d}").startswith(b"%d" % number)
    if verb == "extract":
        assert snapshot(ar7.folder / "out/many") == snapshot(ar7.folder / "many")


@pytest.mark.kill
def test_bar_of_an_add_that_may_be_resumed(ar7: Ar7) -> None:
    many(ar7)
    ar7.fill()
    with Terminal(ar7, "add", "--resume", ar7.vault, "many") as terminal:
        terminal.wait_for("adding many")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.shown
    assert "the same command goes on" in terminal.shown
    with Terminal(ar7, "add", "--resume", ar7.vault, "many") as terminal:
        assert terminal.end() == 0
    assert "added" in terminal.shown
