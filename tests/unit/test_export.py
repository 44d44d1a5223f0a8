"""Exports: nothing outside the target, nothing half-written, nothing silently left out."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archive7 import Archive, ClosedError, Transfer, TreeCorruptError
from archive7.hostname import name_fault
from tests.unit.archives import Vaults, noise
from tests.unit.hosttrees import Calls, make_source, need_xattrs, snapshot

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX names and modes")


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    folder = tmp_path / "vaults"
    folder.mkdir()
    with Vaults(folder) as found:
        yield found


@pytest.fixture
def archive(vaults: Vaults) -> Archive:
    return vaults.open("x")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A target that is not there yet."""
    return tmp_path / "out"


def names_in(folder: Path) -> list[str]:
    """All paths below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- what is there already


def test_an_existing_file_is_kept_unless_overwrite_is_given(archive: Archive, out: Path) -> None:
    archive.write_bytes("/f", b"new")
    archive.symlink("f", "/l")
    out.mkdir()
    (out / "f").write_bytes(b"precious")
    with pytest.raises(FileExistsError) as caught:
        archive.export_tree("/", out)
    assert caught.value.filename == str(out / "f")
    assert (out / "f").read_bytes() == b"precious"
    (out / "l").write_bytes(b"precious, too")
    archive.export_tree("/", out, overwrite=True)
    assert (out / "f").read_bytes() == b"new"
    assert os.readlink(out / "l") == "f"
    assert names_in(out) == ["f", "l"]


def test_a_name_that_is_taken_meanwhile_is_kept(archive: Archive, out: Path) -> None:
    """Between the look and the writing: the host itself makes sure."""
    archive.write_bytes("/f", noise(3_000_000))
    out.mkdir()
    calls = Calls(lambda *_: (out / "f").write_bytes(b"precious"))
    with pytest.raises(FileExistsError):
        archive.export_tree("/", out, progress=calls)
    assert (out / "f").read_bytes() == b"precious"
    assert names_in(out) == ["f"]


def test_a_host_without_hard_links_keeps_what_is_there_too(
    archive: Archive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    archive.write_bytes("/a", b"new")
    archive.link("/a", "/b")
    archive.write_bytes("/f", b"new")
    out.mkdir()
    (out / "f").write_bytes(b"precious")
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FileExistsError):
        archive.export_tree("/", out)
    assert (out / "f").read_bytes() == b"precious"
    assert names_in(out) == ["a", "b", "f"]
    done = archive.export_tree("/", out, overwrite=True)
    assert (done.files, done.hard_links) == (3, 0), "a copy is better than nothing"
    assert (out / "b").read_bytes() == b"new"


def test_a_folder_in_the_way_of_a_file_and_the_other_way_round(
    archive: Archive, out: Path
) -> None:
    archive.write_bytes("/f", b"new")
    (out / "f").mkdir(parents=True)
    for overwrite in (False, True):
        with pytest.raises(FileExistsError) as caught:
            archive.export_tree("/", out, overwrite=overwrite)
        assert caught.value.filename == str(out / "f")
    (out / "f").rmdir()
    archive.remove("/f")
    archive.mkdir("/f")
    (out / "f").write_bytes(b"precious")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError):
            archive.export_tree("/", out, overwrite=overwrite)
    assert names_in(out) == ["f"]
    assert (out / "f").read_bytes() == b"precious"


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_export_never_writes_through_links(
    archive: Archive, tmp_path: Path, overwrite: bool
) -> None:
    archive.makedirs("/dir/sub")
    archive.write_bytes("/dir/f", b"new")
    archive.write_bytes("/f", b"new")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"precious")
    traps = [("f", outside / "f"), ("f", outside / "new"), ("dir", outside), ("dir", "../outside")]
    for number, (name, target) in enumerate(traps):
        out = tmp_path / f"out{number}"
        out.mkdir()
        (out / name).symlink_to(target)
        try:
            archive.export_tree("/", out, overwrite=overwrite)
        except FileExistsError:
            assert (out / name).is_symlink()
        else:
            assert overwrite
            assert name == "f"
            assert not (out / name).is_symlink()
        assert names_in(outside) == ["f"]
        assert (outside / "f").read_bytes() == b"precious"


def test_links_of_an_archive_are_made_and_not_followed(archive: Archive, tmp_path: Path) -> None:
    """A link to a folder, then a name below it: the way out of many an archiver."""
    outside = tmp_path / "outside"
    outside.mkdir()
    archive.symlink(str(outside), "/escape")
    archive.symlink("..", "/up")
    archive.mkdir("/d")
    archive.symlink("../../outside/f", "/d/f")
    archive.export_tree("/", tmp_path / "out")
    assert os.readlink(tmp_path / "out" / "escape") == str(outside)
    assert list(outside.iterdir()) == []
    archive.remove("/escape")
    archive.mkdir("/escape")
    archive.write_bytes("/escape/f", b"out")
    with pytest.raises(FileExistsError):
        archive.export_tree("/", tmp_path / "out", overwrite=True)
    assert list(outside.iterdir()) == []


def test_a_folder_that_is_moved_while_it_is_filled_is_not_left(
    archive: Archive, out: Path, tmp_path: Path
) -> None:
    """What is written stays in the folder that was made; the way up is not guessed."""
    deep = "/d" * 40
    archive.makedirs(deep)
    archive.write_bytes(deep + "/f", b"x")
    archive.write_bytes("/d/d/z", b"z")
    trap = tmp_path / "trap"
    trap.mkdir()

    def act(_done: int, _total: int, path: str) -> None:
        if path.endswith("/f"):
            (out / "d/d/d").rename(tmp_path / "moved")
            (out / "d").rename(tmp_path / "away")
            (out / "d").symlink_to(trap)

    with pytest.raises(OSError, match="Not a directory"):
        archive.export_tree("/", out, progress=Calls(act))
    assert list(trap.iterdir()) == []


def test_a_directory_gets_a_name_in_the_target(archive: Archive, out: Path) -> None:
    archive.makedirs("/a/b")
    archive.write_bytes("/a/b/f", b"x")
    archive.chmod("/a/b", 0o710)
    archive.utime("/a/b", ns=(0, 10**18))
    asked: list[str] = []
    done = archive.export_tree(
        "/a/b", out, name="c", filter=lambda path, _: asked.append(path) or True
    )
    assert (done.files, done.directories) == (1, 1)
    assert asked == ["c", "c/f"]
    assert names_in(out) == ["c", "c/f"]
    status = (out / "c").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o710, 10**18)
    (out / "c").chmod(0o700)
    done = archive.export_tree("/a/b", out, name="c", resume=True)
    assert (done.unchanged, (out / "c").stat().st_mtime_ns) == (1, 10**18)
    for name in ("..", "/etc", "x/y", ".", ""):
        done = archive.export_tree("/a/b", out, name=name)
        assert [reason for _, reason in done.skipped] == ["it is no name for a file"]
    (out / "l").symlink_to(out / "c")
    with pytest.raises(FileExistsError):
        archive.export_tree("/a/b", out, name="l", overwrite=True)
    archive.export_tree("/", out, name="root")
    assert (out / "root/a/b/f").read_bytes() == b"x"


# --- hard links


def test_a_first_name_that_was_swapped_is_not_linked(
    archive: Archive, out: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "f").write_bytes(b"secret")
    archive.mkdir("/a")
    archive.write_bytes("/a/f", b"one file")
    for name in ("b1", "b2", "c"):
        archive.mkdir(f"/{name}")
        archive.link("/a/f", f"/{name}/f")

    def swap(_done: int, _total: int, path: str) -> None:
        if path == "/a/f":
            (out / "a/f").unlink()
            (out / "a/f").symlink_to(secret / "f")
        elif path == "/b1/f":
            (out / "b1").rename(out / "b0")
            (out / "b1").symlink_to(secret)

    done = archive.export_tree("/", out, progress=Calls(swap))
    assert (done.files, done.hard_links) == (3, 1)
    for path in ("b0/f", "b2/f", "c/f"):
        assert (out / path).read_bytes() == b"one file"
    assert (secret / "f").stat().st_nlink == 1


def test_hard_links_replace_what_is_there_only_when_told(archive: Archive, out: Path) -> None:
    archive.write_bytes("/a", b"new")
    archive.link("/a", "/b")
    out.mkdir()
    (out / "b").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        archive.export_tree("/", out)
    assert (out / "b").read_bytes() == b"precious"
    for _ in range(2):
        done = archive.export_tree("/", out, overwrite=True)
        assert (done.files, done.hard_links) == (1, 1)
        assert (out / "a").stat().st_ino == (out / "b").stat().st_ino
    assert names_in(out) == ["a", "b"]


# --- modes, times, attributes


def test_no_setuid_bits_reach_the_host(archive: Archive, out: Path) -> None:
    archive.write_bytes("/f", b"x")
    archive.chmod("/f", 0o6755)
    archive.mkdir("/d")
    archive.chmod("/d", 0o7777)
    archive.chmod("/", 0o7755)
    archive.setxattr("/f", "security.capability", b"\x01\x00\x00\x02" + bytes(16))
    done = archive.export_tree("/", out)
    assert stat.S_IMODE((out / "f").stat().st_mode) == 0o755
    assert stat.S_IMODE((out / "d").stat().st_mode) == 0o777
    assert stat.S_IMODE(out.stat().st_mode) == 0o755
    assert done.skipped == []
    if hasattr(os, "listxattr"):
        assert "security.capability" not in os.listxattr(out / "f")


def test_a_folder_without_permissions_is_filled_first(archive: Archive, out: Path) -> None:
    archive.mkdir("/d")
    archive.mkdir("/d/e")
    archive.write_bytes("/d/e/f", b"x")
    for path in ("/d/e", "/d"):
        archive.chmod(path, 0)
        archive.utime(path, ns=(1, 10**18))
    if os.geteuid() == 0:
        os.chmod(out.parent, 0o777)
        for folder in out.parents:
            os.chmod(folder, os.stat(folder).st_mode | 0o111)
        os.seteuid(65534)  # root may do everything
    try:
        archive.export_tree("/", out)
    finally:
        os.seteuid(os.getuid())
    status = (out / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0, 10**18)
    (out / "d").chmod(0o700)
    status = (out / "d/e").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0, 10**18)
    (out / "d/e").chmod(0o700)
    assert (out / "d/e/f").read_bytes() == b"x"


def test_a_target_that_is_there_keeps_its_mode_and_time(archive: Archive, out: Path) -> None:
    archive.chmod("/", 0o700)
    archive.utime("/", ns=(0, 5))
    archive.mkdir("/d")
    archive.chmod("/d", 0o711)
    out.mkdir(mode=0o755)
    (out / "d").mkdir()
    archive.export_tree("/", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o755
    assert out.stat().st_mtime_ns != 5
    assert stat.S_IMODE((out / "d").stat().st_mode) == 0o711


def test_what_the_host_refuses_is_reported(
    archive: Archive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.write_bytes("/f", b"x")
    archive.setxattr("/f", "user.note", b"x")
    archive.setxattr("/f", "other", b"not for the host")
    archive.mkdir("/d")
    archive.setxattr("/d", "user.a\0b", b"x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for name in ("chown", "chmod", "utime", "setxattr"):
        if name != "setxattr" or hasattr(os, name):
            monkeypatch.setattr(os, name, refuse)
    done = archive.export_tree("/", out, ownership=True)
    monkeypatch.undo()
    assert (done.files, done.directories) == (1, 1)
    lost = {(path, reason.partition(":")[0]) for path, reason in done.skipped}
    everywhere = {"without its owner", "without its mode", "without its time"}
    note = "without its extended attribute user."
    assert lost == {(path, what) for path in ("/", "/d", "/f") for what in everywhere} | {
        ("/f", note + "note"),
        ("/d", note + "a\0b"),
    }
    assert (out / "f").read_bytes() == b"x"


def test_a_time_that_the_host_cannot_have_is_no_reason_to_stop(
    archive: Archive, out: Path
) -> None:
    archive.write_bytes("/f", b"x")
    for modified in (2**63 - 1, -(2**63)):
        archive.utime("/f", ns=(0, modified))
        archive.export_tree("/f", out, overwrite=True)
        assert (out / "f").read_bytes() == b"x"


def test_attributes_are_left_out_where_that_is_wanted(archive: Archive, out: Path) -> None:
    archive.write_bytes("/f", b"x")
    archive.setxattr("/f", "user.note", b"x")
    out.mkdir()
    need_xattrs(out)
    archive.export_tree("/", out, xattrs=False)
    assert os.listxattr(out / "f") == []
    archive.export_tree("/", out, overwrite=True)
    assert os.listxattr(out / "f") == ["user.note"]


# --- names


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "no name"), (".", "no name"), ("..", "no name"), ("a/b", "no name"),
        ("a\0", "no name"), ("a\\b", "path"), ("c:", "path"), ("what?", "path"),
        ("a\x1fb", "path"), ("end.", "ends"), ("end ", "ends"), ("CON", "device"),
        ("nul.txt", "device"), ("Com1", "device"), ("LPT³.x", "device"), ("aux .", "ends"),
    ],
)  # fmt: skip
def test_names_that_windows_cannot_have(name: str, word: str) -> None:
    assert word in (name_fault(name, "nt") or "")


def test_names_that_windows_can_have() -> None:
    for name in ("a", ".a", "a b", "com", "com10", "console", "nul_", "größe ☃", "a;b'c"):
        assert name_fault(name, "nt") is None
        assert name_fault(name) is None
    assert name_fault("CON: ", "posix") is None


def test_names_that_the_host_cannot_have_are_reported(
    archive: Archive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filesystems differ; here what they say is put into their mouth."""
    for path in ("/bad:dir", "/dir"):
        archive.mkdir(path)
        archive.write_bytes(path + "/f", b"x")
    archive.write_bytes("/bad:file", b"x")
    archive.write_bytes("/dir/bad:file", b"x")
    archive.symlink("dir", "/bad:link")
    archive.symlink("bad:target", "/link")
    archive.write_bytes("/z", b"x")

    def picky(call: Any) -> Any:
        def checked(*args: Any, **options: Any) -> Any:
            if any("bad" in str(arg) for arg in args):
                raise OSError(errno.EINVAL, "Invalid argument")
            return call(*args, **options)

        return checked

    for name in ("mkdir", "rename", "link", "symlink", "replace"):
        monkeypatch.setattr(os, name, picky(getattr(os, name)))
    for target in (out, out):  # a new folder, and one that is there
        done = archive.export_tree("/", target, overwrite=target.exists())
        assert {path for path, _ in done.skipped} == {
            "/bad:dir", "/bad:file", "/bad:link", "/dir/bad:file", "/link",
        }  # fmt: skip
        assert all("the host cannot have" in reason for _, reason in done.skipped)
        assert names_in(out) == ["dir", "dir/f", "z"]


def test_names_of_windows_are_asked_for_before_anything_is_written(
    archive: Archive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.mkdir("/aux")
    archive.write_bytes("/aux/f", b"x")
    archive.write_bytes("/a:stream", b"x")
    archive.write_bytes("/fine", b"x")
    monkeypatch.setattr("archive7.hostexport.name_fault", lambda name: name_fault(name, "nt"))
    done = archive.export_tree("/", out)
    assert [path for path, _ in done.skipped] == ["/a:stream", "/aux"]
    assert names_in(out) == ["fine"]


def test_names_that_the_host_takes_for_one_are_reported(archive: Archive, out: Path) -> None:
    """As on filesystems without case: the second one is there already, in a new folder."""
    archive.write_bytes("/b", b"x")
    archive.mkdir("/c")
    archive.symlink("x", "/d")

    def collide(path: str, _status: os.stat_result) -> bool:
        (out / path).write_bytes(b"the other one")
        return True

    done = archive.export_tree("/", out, filter=collide, overwrite=True)
    assert [path for path, _ in done.skipped] == ["/b", "/c", "/d"]
    assert all("cannot tell its name" in reason for _, reason in done.skipped)
    assert {path.read_bytes() for path in out.iterdir()} == {b"the other one"}


# --- nothing half-written


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disc_leaves_no_half_file(archive: Archive, out: Path, overwrite: bool) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs root on Linux")
    archive.write_bytes("/a", noise(1_000_000))
    archive.write_bytes("/b", noise(9_000_000))
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(out)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        if overwrite:
            (out / "b").write_bytes(b"precious")
        with pytest.raises(OSError, match="No space") as caught:
            archive.export_tree("/", out, overwrite=overwrite)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(out / "b")
        assert names_in(out) == (["a", "b"] if overwrite else ["a"])
        assert (out / "a").read_bytes() == noise(1_000_000)
        if overwrite:
            assert (out / "b").read_bytes() == b"precious"
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_writes_that_take_only_a_part_are_gone_on_with(
    archive: Archive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.write_bytes("/f", noise(2_000_000))
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, memoryview(data)[:70_001]))
    archive.export_tree("/", out)
    assert (out / "f").read_bytes() == noise(2_000_000)


def interrupted(stop_at: int) -> Calls:
    """A progress function that raises KeyboardInterrupt at one of its calls."""

    def stop(*_: object) -> None:
        if len(calls.told) == stop_at:
            raise KeyboardInterrupt

    calls = Calls(stop)
    return calls


def test_an_interrupted_export_leaves_no_half_file_and_goes_on(
    archive: Archive, tmp_path: Path
) -> None:
    source = make_source(tmp_path / "source")
    os.link(source / "big", source / "dir" / "same")
    archive.import_tree(source)
    calls = Calls()
    archive.export_tree("/", tmp_path / "whole", progress=calls)
    for stop_at in range(1, len(calls.told) + 1):
        out = tmp_path / f"out{stop_at}"

        with pytest.raises(KeyboardInterrupt):
            archive.export_tree("/", out, progress=interrupted(stop_at))
        for path in out.rglob("*"):
            twin = source / path.relative_to(out)
            assert twin.lstat().st_mode & 0o170000 == path.lstat().st_mode & 0o170000
            if path.is_file():
                assert path.read_bytes() == twin.read_bytes()
                assert path.lstat().st_mtime_ns == twin.lstat().st_mtime_ns
        done = archive.export_tree("/", out, resume=True)
        assert done.files + done.links + done.hard_links + done.unchanged == 12
        assert done.unchanged > 0
        os.utime(out, ns=(0, source.stat().st_mtime_ns))  # of the target only the mode is set
        assert snapshot(out) == snapshot(source)


CHILD = """
import signal, sys, archive7
signal.signal(signal.SIGINT, signal.default_int_handler)
with archive7.open(sys.argv[1], key=bytes(range(32))) as archive:
    print("ready", flush=True)
    archive.export_tree("/", sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python ends without its handler
"""


@pytest.mark.kill
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_at_any_moment_leaves_no_half_file(
    vaults: Vaults, tmp_path: Path, rng: random.Random, how: signal.Signals
) -> None:
    """Ctrl-C leaves nothing else either; a kill may leave one .part file."""
    with vaults.open("x") as archive, archive.transaction():
        for number in range(3000):
            archive.write_bytes(f"/{number:04d}", noise(number % 3000, number))
            archive.chmod(f"/{number:04d}", 0o640)
            archive.utime(f"/{number:04d}", ns=(0, 10**18 + number))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for attempt in range(12):
        out = tmp_path / f"out{attempt}"
        command = [sys.executable, "-c", CHILD, str(vaults.path()), str(out)]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0.002, 0.15))
            child.send_signal(how)
            _, told = child.communicate(timeout=60)
        if child.returncode != 0 and how == signal.SIGINT:
            assert b"KeyboardInterrupt" in told
        parts = 0
        for path in out.iterdir() if out.exists() else ():
            if path.name.startswith(".ar7-"):
                parts += 1
                continue
            number = int(path.name)
            status = path.stat()
            assert path.read_bytes() == noise(number % 3000, number)
            assert (status.st_mtime_ns, status.st_mode & 0o777) == (10**18 + number, 0o640)
        assert parts <= (how == signal.SIGKILL)


# --- going on


def test_a_second_export_leaves_what_is_there(archive: Archive, tmp_path: Path) -> None:
    source = make_source(tmp_path / "source")
    os.link(source / "big", source / "dir" / "same")
    archive.import_tree(source)
    out = tmp_path / "out"
    archive.export_tree("/", out)
    inode = (out / "big").stat().st_ino
    done = archive.export_tree("/", out, resume=True)
    assert done == Transfer(directories=3, unchanged=12)
    assert (out / "big").stat().st_ino == inode
    (out / "chunk").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        archive.export_tree("/", out, resume=True)
    (out / "dir/file").unlink()
    (out / "up").unlink()
    (out / "up").symlink_to("elsewhere")
    done = archive.export_tree("/", out, resume=True, overwrite=True)
    assert (done.files, done.links, done.unchanged) == (2, 1, 9)
    os.utime(out, ns=(0, source.stat().st_mtime_ns))  # it was there: its time is not ours
    assert snapshot(out) == snapshot(source)


# --- while others work in the archive


def test_what_is_removed_meanwhile_is_passed_over_or_reported(archive: Archive, out: Path) -> None:
    archive.mkdir("/d")
    for name in ("a", "b", "c", "d/x", "e"):
        archive.write_bytes(f"/{name}", noise(2_000_000))

    def remove(_done: int, _total: int, path: str) -> None:
        if path == "/a" and archive.exists("/b"):
            archive.remove("/b")
            archive.rmtree("/d")

    def remove_too(path: str, _status: os.stat_result) -> bool:
        if path == "c" and calls.told:  # not while the files are counted
            archive.remove("/c")
        return True

    calls = Calls(remove)
    done = archive.export_tree("/", out, progress=calls, filter=remove_too)
    assert names_in(out) == ["a", "e"]
    assert [path for path, _ in done.skipped] == ["/c"]


def test_a_circle_of_directories_ends_an_export(vaults: Vaults, out: Path) -> None:
    """Only in an archive that was damaged on purpose."""
    archive = vaults.open("x")
    vaults.damaged.add(vaults.path())
    archive.makedirs("/a/b")
    filesystem = archive._filesystem
    above, below = filesystem.find("/a").identity, filesystem.find("/a/b").identity
    filesystem.manager.paths.insert(below + b"c", b"d" + above)
    archive.commit()
    with pytest.raises(TreeCorruptError, match="circle"):
        archive.export_tree("/", out)
    assert names_in(out) == ["a", "a/b", "a/b/c"]


def test_a_closed_archive_ends_an_export(vaults: Vaults, out: Path) -> None:
    archive = vaults.open("x")
    archive.write_bytes("/a", noise(3_000_000))
    with pytest.raises(ClosedError):
        archive.export_tree("/", out, progress=Calls(lambda *_: archive.close()))
    assert names_in(out) == []
    with pytest.raises(ClosedError):
        archive.export_tree("/", out)


def test_an_export_reads_a_snapshot(vaults: Vaults, out: Path) -> None:
    with vaults.open("x") as writer:
        writer.write_bytes("/a", b"old")
        writer.sync()
        with vaults.open("r") as reader:
            writer.write_bytes("/b", b"new")
            assert reader.export_tree("/", out).files == 1
    assert names_in(out) == ["a"]
