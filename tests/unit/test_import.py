"""Imports: what the host refuses, what changes meanwhile, what stands in the way, going on."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archive7 import Archive, ClosedError, TransactionError, UsageError, hostfile
from archive7.errors import FullError
from tests.devices import RecordingDevice
from tests.disk import Disk
from tests.unit.archives import Vaults, noise, open_archive, tree_of
from tests.unit.hosttrees import Calls, make_source, need_xattrs, snapshot

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX names and modes")

BIG = 5_000_000  # bytes, several pieces


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
def source(tmp_path: Path) -> Path:
    return make_source(tmp_path / "source")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    made = tmp_path / "in"
    made.mkdir()
    return made


def left_out(done: Any) -> dict[str, str]:
    """Names that were skipped, and why."""
    return {os.path.basename(path): reason for path, reason in done.skipped}


# --- one commit or several


def test_an_import_is_one_commit_and_is_undone_as_one(archive: Archive, source: Path) -> None:
    before = archive.info().commit
    archive.import_tree(source)
    assert archive.info().commit == before + 1
    tree = tree_of(archive)

    def stop(done: int, _total: int, _path: str) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.import_tree(source, "/again", progress=stop)
    assert tree_of(archive) == tree
    archive.import_tree(source)  # over itself
    assert tree_of(archive) == tree


def test_an_import_inside_a_transaction_is_part_of_it(archive: Archive, source: Path) -> None:
    with pytest.raises(ZeroDivisionError), archive.transaction():
        archive.write_bytes("/f", b"x")
        archive.import_tree(source)
        assert archive.exists("/big")
        raise ZeroDivisionError
    assert archive.listdir("/") == []
    with archive.transaction(), pytest.raises(TransactionError, match="commit_every"):
        archive.import_tree(source, commit_every=1)


@pytest.mark.parametrize("wrong", [0, -1])
def test_commits_are_after_some_bytes(archive: Archive, source: Path, wrong: int) -> None:
    with pytest.raises(UsageError, match="commit_every"):
        archive.import_tree(source, commit_every=wrong)


@pytest.mark.parametrize("stop_at", [*range(1, 12), 60, 119])
def test_an_interrupted_import_goes_on_where_it_was(
    vaults: Vaults, folder: Path, tmp_path: Path, stop_at: int
) -> None:
    for number in range(40):
        (folder / f"{number % 4}" / "sub").mkdir(parents=True, exist_ok=True)
        (folder / f"{number % 4}" / "sub" / f"{number}").write_bytes(noise(3000, number))
    (folder / "0" / "big").write_bytes(noise(BIG))
    os.link(folder / "0" / "big", folder / "3" / "big")
    archive = vaults.open("x")
    every = 40_000

    def interrupt(*_: object) -> None:
        if len(calls.told) == stop_at:
            raise KeyboardInterrupt

    calls = Calls(interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        archive.import_tree(folder, progress=calls, commit_every=every)
    archive.close()
    archive = vaults.open("r+")
    kept = sum(kind == "file" for kind, _, _ in tree_of(archive).values())
    assert kept >= len(calls.told) - 5 - every / 4096 - 2, "all but the last part is kept"
    done = archive.import_tree(folder, commit_every=every, resume=True)
    assert done.unchanged == kept
    assert done.files + done.hard_links == 42 - kept
    archive.export_tree("/", tmp_path / "back")
    assert snapshot(tmp_path / "back") == snapshot(folder)


def test_what_was_committed_stays_when_the_disc_is_full(folder: Path) -> None:
    for number in range(60):
        (folder / f"{number:02d}").write_bytes(noise(200_000, number))
    device = RecordingDevice(Disk())
    device.capacity = 6 << 20
    with open_archive(device, "x") as archive:
        with pytest.raises(FullError):
            archive.import_tree(folder, commit_every=1 << 20)
        names = archive.listdir("/")
        assert 10 < len(names) < 60
        device.capacity = 1 << 30
        done = archive.import_tree(folder, commit_every=1 << 20, resume=True)
        assert (done.unchanged, done.files) == (len(names), 60 - len(names))
        assert {name: data for name, (_, data, _) in tree_of(archive).items()} == {
            f"{number:02d}": noise(200_000, number) for number in range(60)
        }


# --- going on


def test_a_second_import_takes_what_has_changed(archive: Archive, source: Path) -> None:
    archive.import_tree(source)
    inodes = {path: archive.lstat(path).st_ino for path in archive.listdir("/")}
    again = archive.import_tree(source, resume=True)
    assert (again.files, again.links, again.bytes) == (0, 0, 0)
    assert (again.unchanged, again.directories, again.skipped) == (11, 3, [])
    assert inodes == {path: archive.lstat(path).st_ino for path in archive.listdir("/")}

    times = (source / "chunk").stat()
    (source / "big").write_bytes(b"shorter")
    os.utime(source / "big", ns=(0, times.st_mtime_ns))
    (source / "dir/file").write_bytes(b"TEXT\n")
    (source / "up").unlink()
    (source / "up").symlink_to("elsewhere")
    (source / "new").write_bytes(b"new")
    (source / "blank").chmod(0o600)
    again = archive.import_tree(source, resume=True)
    assert (again.files, again.links, again.unchanged) == (3, 1, 8)
    assert archive.read_bytes("/big") == b"shorter"
    assert archive.read_bytes("/dir/file") == b"TEXT\n"
    assert archive.readlink("/up") == "elsewhere"
    assert stat.S_IMODE(archive.stat("/blank").st_mode) == 0o600, "attributes follow"
    assert archive.import_tree(source).unchanged == 0


def test_a_change_of_the_same_size_within_a_tick_is_seen(archive: Archive, folder: Path) -> None:
    """The clock of files is coarse: what was written just now is read a little later."""
    for round_ in range(10):
        (folder / "f").write_bytes(b"%d" % round_)
        archive.import_tree(folder, resume=True)
        assert archive.read_bytes("/f") == b"%d" % round_


def test_hard_links_are_kept_by_a_second_import(archive: Archive, folder: Path) -> None:
    (folder / "a").write_bytes(noise(10_000))
    os.link(folder / "a", folder / "b")
    archive.import_tree(folder)
    (folder / "sub").mkdir()
    os.link(folder / "a", folder / "sub" / "c")
    again = archive.import_tree(folder, resume=True)
    assert (again.files, again.unchanged, again.hard_links) == (0, 2, 1)
    assert archive.stat("/sub/c").st_ino == archive.stat("/a").st_ino
    assert archive.stat("/a").st_nlink == 3
    (folder / "b").unlink()  # a file of its own from now on
    (folder / "b").write_bytes(b"other")
    again = archive.import_tree(folder, resume=True)
    assert archive.read_bytes("/b") == b"other"
    assert archive.read_bytes("/a") == archive.read_bytes("/sub/c") == noise(10_000)
    assert archive.stat("/a").st_nlink == 2
    archive.import_tree(folder)  # all anew
    assert archive.stat("/a").st_nlink == 2
    assert archive.stat("/a").st_ino == archive.stat("/sub/c").st_ino


# --- files that change while they are read


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"new")


def overwrite_and_hide(path: Path) -> None:
    status = path.stat()
    overwrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path) -> None:
    status = path.stat()
    path.rename(path.with_name("old"))
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "shrinks": lambda path: os.truncate(path, 10),
    "is emptied": lambda path: os.truncate(path, 0),
    "grows": lambda path: os.truncate(path, path.stat().st_size + 1_000_000),
    "grows by a byte": lambda path: os.truncate(path, path.stat().st_size + 1),
    "is overwritten": overwrite,
    "is overwritten, its time set back": overwrite_and_hide,
    "vanishes": os.unlink,
    "is replaced": replace,
}


def import_while(
    archive: Archive, folder: Path, change: Callable[[Path], object], **options: Any
) -> Any:
    """Import a folder with a large file that is changed once its first piece was read."""
    (folder / "a").write_bytes(b"before it")
    (folder / "file").write_bytes(noise(BIG, 1))
    (folder / "z").write_bytes(b"behind it")
    time.sleep(0.03)

    def act(_done: int, _total: int, path: str) -> None:
        if path.endswith("/file") and calls.paths.count(path) == 1:
            change(folder / "file")

    calls = Calls(act)
    return archive.import_tree(folder, progress=calls, **options)


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_that_changes_while_it_is_read_is_reported_and_not_stored(
    archive: Archive, folder: Path, what: str
) -> None:
    done = import_while(archive, folder, CHANGES[what])
    assert archive.listdir("/") == ["a", "z"]
    assert left_out(done).keys() == {"file"}
    assert "while it was read" in left_out(done)["file"]
    assert (done.files, done.bytes) == (2, 18)
    assert archive.info().used < 200_000, "its blocks are free again"


@pytest.mark.parametrize("what", CHANGES)
def test_the_older_version_stays_when_a_file_changes_while_it_is_read(
    archive: Archive, folder: Path, what: str
) -> None:
    archive.write_bytes("/file", noise(100_000, 7))
    done = import_while(archive, folder, CHANGES[what], commit_every=1)
    assert archive.read_bytes("/file") == noise(100_000, 7)
    assert left_out(done).keys() == {"file"}
    if what not in ("vanishes", "is replaced"):
        archive.import_tree(folder, resume=True)
        assert archive.read_bytes("/file") == (folder / "file").read_bytes()


@pytest.mark.parametrize("what", CHANGES)
def test_a_small_file_that_changes_while_it_is_read_is_reported(
    archive: Archive, folder: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_bytes(noise(10_000))
    time.sleep(0.03)
    read = os.read

    def act(descriptor: int, size: int) -> bytes:
        data = read(descriptor, size)
        if size == 10_001:
            CHANGES[what](folder / "file")
        return data

    monkeypatch.setattr(os, "read", act)
    done = archive.import_tree(folder)
    assert left_out(done).keys() == {"file"}
    assert archive.listdir("/") == []


def test_a_file_that_is_cut_by_another_thread_is_never_stored_as_a_mix(
    archive: Archive, folder: Path
) -> None:
    """Real truncations at any moment: what is stored is what the file was at some moment."""
    path, is_done = folder / "file", threading.Event()
    contents = [noise(size, size) for size in (BIG, BIG - 1, 3_000_000, 10_000, 0)]
    path.write_bytes(contents[0])

    def rewrite() -> None:
        while not is_done.wait(0.002):
            for data in contents:
                with path.open("r+b") as file:  # nothing is torn by what stands behind its end
                    os.truncate(path, 0)
                    file.write(data)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        stored, reported = 0, 0
        for _ in range(60):
            done = archive.import_tree(folder)
            reported += bool(done.skipped)
            stored += done.files
            assert done.files + len(done.skipped) == 1
            if archive.exists("/file"):
                data = archive.read_bytes("/file")
                assert any(whole.startswith(data) for whole in contents)
    finally:
        is_done.set()
        thread.join()
    assert reported
    assert archive.import_tree(folder).files == 1


def test_a_file_that_vanishes_before_it_is_read_is_reported(
    archive: Archive, source: Path
) -> None:
    def act(_done: int, _total: int, path: str) -> None:
        if path.endswith("/big"):
            (source / "chunk").unlink(missing_ok=True)

    done = archive.import_tree(source, progress=Calls(act))
    assert left_out(done) == {"chunk": os.strerror(errno.ENOENT)}
    assert archive.read_bytes("/dir/file") == b"text\n"


def test_a_folder_that_vanishes_or_moves_is_reported_and_the_rest_goes_on(
    archive: Archive, folder: Path, tmp_path: Path
) -> None:
    """More levels than descriptors are held, so that the way back is looked for."""
    below = folder.joinpath(*["d"] * 60)
    below.mkdir(parents=True)
    (below / "f").write_bytes(b"x")
    for level in range(60):
        (folder.joinpath(*["d"] * level) / "z").write_bytes(b"z")
    outer, inner = folder.joinpath(*["d"] * 10), folder.joinpath(*["d"] * 20)

    def act(_done: int, _total: int, path: str) -> None:
        if path.endswith("/f"):
            inner.rename(tmp_path / "inner")
            if is_lost:
                outer.rename(tmp_path / "outer")

    for is_lost in (False, True):
        target = f"/{is_lost}"
        done = archive.import_tree(folder, target, progress=Calls(act))
        there = [archive.exists(target + "/d" * level + "/z") for level in range(60)]
        if is_lost:
            assert there == [level < 10 or level >= 20 for level in range(60)]
            assert len(done.skipped) == 10
            assert all("left before its end" in reason for _, reason in done.skipped)
        else:
            assert all(there), "the way back is found by the names"
            assert done.skipped == []
            (tmp_path / "inner").rename(inner)


def test_a_folder_that_becomes_a_link_is_not_followed(
    archive: Archive, folder: Path, tmp_path: Path
) -> None:
    (folder / "dir").mkdir()
    (folder / "file").write_bytes(b"inside")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "f").write_bytes(b"outside")

    def swap(path: str, _status: os.stat_result) -> bool:
        if path == "dir":
            (folder / "dir").rmdir()
            (folder / "dir").symlink_to(tmp_path / "secret")
        if path == "file":
            (folder / "file").unlink()
            (folder / "file").symlink_to(tmp_path / "secret" / "f")
        return True

    done = archive.import_tree(folder, filter=swap)
    assert left_out(done).keys() == {"dir", "file"}
    assert archive.listdir("/") == []


def test_a_file_that_becomes_a_pipe_does_not_hold_the_import_up(
    archive: Archive, folder: Path
) -> None:
    (folder / "file").write_bytes(b"")

    def swap(path: str, _status: os.stat_result) -> bool:
        (folder / path).unlink()
        os.mkfifo(folder / path)
        return True

    done = archive.import_tree(folder, filter=swap)
    assert left_out(done).keys() == {"file"}


# --- what the host has and an archive has not


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes")
def test_names_that_are_not_utf8_are_reported(archive: Archive, folder: Path) -> None:
    top = os.fsencode(folder)
    for name in (b"bad\xff", b"good"):
        with open(os.path.join(top, name), "wb") as file:
            file.write(b"x")
    os.mkdir(os.path.join(top, b"dir\xfe"))
    os.symlink(b"target\xfd", os.path.join(top, b"link"))
    done = archive.import_tree(folder)
    assert archive.listdir("/") == ["good"]
    assert done.files == 1
    assert left_out(done).keys() == {"bad\\xff", "dir\\xfe", "link"}
    for path, reason in done.skipped:
        (path + reason).encode()  # can be printed
        assert "UTF-8" in reason
    done = archive.import_tree(os.fsdecode(os.path.join(top, b"bad\xff")))
    assert left_out(done).keys() == {"bad\\xff"}


def test_what_is_no_file_is_reported(archive: Archive, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "file").write_bytes(b"x")
    names = {"pipe", "socket"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "socket"))
        if os.geteuid() == 0 and sys.platform == "linux":
            os.mknod(folder / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
            names.add("device")
        done = archive.import_tree(folder)
    assert archive.listdir("/") == ["file"]
    assert left_out(done) == dict.fromkeys(names, "neither file, directory nor symbolic link")


def test_what_may_not_be_read_is_reported(
    archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.chmod(0o755)
    for name in ("a", "secret", "z"):
        (folder / name).write_bytes(b"x")
    for name in ("closed", "blind", "open"):
        (folder / name).mkdir()
        (folder / name / "f").write_bytes(b"x")
    (folder / "secret").chmod(0)
    (folder / "closed").chmod(0)
    (folder / "blind").chmod(0o444)
    monkeypatch.chdir(folder)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        done = archive.import_tree(".")
    finally:
        os.seteuid(user)
        for name in ("closed", "blind"):
            (folder / name).chmod(0o700)
    assert left_out(done) == dict.fromkeys(("secret", "closed", "f"), "Permission denied")
    assert sorted(tree_of(archive)) == ["a", "blind", "open", "open/f", "z"]


def test_an_archive_leaves_itself_out(vaults: Vaults) -> None:
    archive = vaults.open("x")
    (vaults.folder / "other").write_bytes(b"x")
    os.link(vaults.path(), vaults.folder / "same file")
    done = archive.import_tree(vaults.folder)
    assert archive.listdir("/") == ["other"]
    assert left_out(done) == dict.fromkeys(
        ("vault.ar7", "same file"), "this is the archive itself"
    )
    (vaults.folder / "same file").unlink()


def test_files_of_the_system_that_tell_no_size_are_reported(archive: Archive) -> None:
    if not os.path.exists("/proc/self/status"):
        pytest.skip("Linux has /proc")
    done = archive.import_tree("/proc/self/status")
    assert left_out(done).keys() == {"status"}
    assert archive.listdir("/") == []


# --- what stands in the way in the archive


def test_things_of_another_kind_in_the_way_of_an_import(archive: Archive, source: Path) -> None:
    archive.mkdir("/big")
    archive.mkdir("/link")
    archive.write_bytes("/dir", b"a file")
    archive.symlink("elsewhere", "/blank")
    archive.symlink("/elsewhere", "/empty")
    done = archive.import_tree(source)
    assert left_out(done).keys() == {"big", "dir", "link"}
    assert all("stands there in the archive" in reason for _, reason in done.skipped)
    assert archive.isdir("/big")
    assert archive.read_bytes("/dir") == b"a file"
    assert not archive.islink("/blank"), "an import does not write through links"
    assert archive.isdir("/empty")
    assert not archive.islink("/empty")
    assert not archive.exists("/elsewhere")


def test_a_file_that_is_replaced_goes_on_for_those_who_have_it_open(
    archive: Archive, source: Path
) -> None:
    archive.write_bytes("/big", b"old")
    archive.link("/big", "/other name")
    with archive.open("/big", "rb") as file:
        archive.import_tree(source)
        assert file.read() == b"old"
    assert archive.read_bytes("/other name") == b"old", "the old file has another name"
    assert archive.stat("/other name").st_nlink == 1
    assert archive.read_bytes("/big") == noise(2_500_000)


def test_what_is_not_wanted_from_the_host_stays_as_it_was(archive: Archive, folder: Path) -> None:
    (folder / "f").write_bytes(b"new")
    (folder / "d").mkdir()
    archive.mkdir("/d")
    archive.write_bytes("/f", b"old")
    for path in ("/f", "/d"):
        archive.chown(path, "someone", 77)
        archive.setxattr(path, "ours", b"kept")
        archive.setxattr(path, "user.host", b"of the host")
    created = archive.stat("/f").st_ctime_ns
    archive.import_tree(folder, xattrs=False)
    for path in ("/f", "/d"):
        assert archive.owners(path) == ("someone", "")
        assert archive.stat(path).st_gid == 77
        assert archive.listxattr(path) == ["ours", "user.host"]
    assert archive.read_bytes("/f") == b"new"
    assert archive.stat("/f").st_ctime_ns == created
    archive.import_tree(folder)
    for path in ("/f", "/d"):
        assert archive.listxattr(path) == ["ours"], "the host has no such attribute"


def test_the_callers_functions_may_change_the_archive(archive: Archive, folder: Path) -> None:
    """They run between two files, or between two pieces of one."""
    for name in ("a", "big", "c", "d/big", "d/e"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(noise(BIG if "big" in name else 10, len(name)))
    os.link(folder / "a", folder / "z")

    def act(_done: int, _total: int, path: str) -> None:
        with archive.open("/log", "a") as log:
            log.write(f"{path}\n")
        if path == "/a":
            archive.remove("/a")
        if path == "/big" and not archive.exists("/mine"):
            archive.write_bytes("/big", b"mine")
            archive.link("/big", "/mine")
        if path == "/d/big" and not archive.exists("/d/e"):
            archive.mkdir("/d/e")

    calls = Calls(act)
    done = archive.import_tree(folder, progress=calls)
    assert left_out(done).keys() == {"e"}
    assert archive.read_text("/log").splitlines() == [*calls.paths[:-1], ""]
    assert sorted(archive.listdir("/")) == ["big", "c", "d", "log", "mine", "z"]
    assert archive.read_bytes("/mine") == b"mine"
    assert archive.read_bytes("/big") == noise(BIG, 3)
    assert archive.read_bytes("/z") == noise(10, 1)
    assert archive.stat("/z").st_nlink == 1


@pytest.mark.parametrize("when", ["/d/a", "/d/big", "/d/e/f"])
def test_an_import_whose_directory_is_removed_ends(
    archive: Archive, folder: Path, when: str
) -> None:
    (folder / "d/e").mkdir(parents=True)
    for name in ("d/a", "d/big", "d/e/f", "d/z"):
        (folder / name).write_bytes(noise(BIG if "big" in name else 10))
    archive.mkdir("/target")

    def act(_done: int, _total: int, path: str) -> None:
        if path == f"/target{when}":
            archive.rmtree("/target/d")

    with pytest.raises(FileNotFoundError):
        archive.import_tree(folder, "/target", progress=Calls(act))
    assert sorted(tree_of(archive)) == ["target"]


def test_an_archive_that_is_closed_meanwhile_ends_an_import(vaults: Vaults, folder: Path) -> None:
    archive = vaults.open("x")
    (folder / "big").write_bytes(noise(BIG))
    with pytest.raises(ClosedError):
        archive.import_tree(folder, progress=Calls(lambda *_: archive.close()))
    with vaults.open("r") as reader:
        assert reader.listdir("/") == []


# --- extended attributes


def test_attributes_that_cannot_be_kept_are_reported(archive: Archive, folder: Path) -> None:
    need_xattrs(folder)
    path = folder / "f"
    path.write_bytes(b"x")
    os.setxattr(path, "user.good", b"1")
    os.setxattr(os.fsencode(path), b"user.bad\xff", b"2")
    if os.geteuid() == 0:
        os.setxattr(path, "trusted.secret", b"3")
    done = archive.import_tree(folder)
    assert archive.listxattr("/f") == ["user.good"]
    assert done.files == 1
    ((where, reason),) = done.skipped
    assert where == str(path)
    assert reason == "without its extended attribute user.bad\\xff: its name is not UTF-8"


def test_attributes_that_are_too_large_together_are_reported(
    archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filesystems that hold this much are rare: the calls are ours."""
    (folder / "f").write_bytes(b"x")
    sizes = {"user.a": 40_000, "user.b": 30_000, "user.c": 20_000, "user.d": 10}
    is_file = {"f": True}
    monkeypatch.setattr(
        os, "listxattr",
        lambda file: list(sizes) if is_file and stat.S_ISREG(os.stat(file).st_mode) else [],
        raising=False,
    )  # fmt: skip
    monkeypatch.setattr(os, "getxattr", lambda _file, name: bytes(sizes[name]), raising=False)
    monkeypatch.setattr("archive7.hostattributes._HAS_XATTRS", True)
    done = archive.import_tree(folder)
    assert archive.listxattr("/f") == ["user.a", "user.c", "user.d"]
    assert [reason.split(":")[0] for _, reason in done.skipped] == [
        "without its extended attribute user.b"
    ]


def test_a_change_of_attributes_alone_is_taken_by_a_second_import(
    archive: Archive, folder: Path
) -> None:
    need_xattrs(folder)
    (folder / "f").write_bytes(b"x")
    os.setxattr(folder / "f", "user.a", b"1")
    archive.import_tree(folder)
    os.removexattr(folder / "f", "user.a")
    os.setxattr(folder / "f", "user.b", b"2")
    done = archive.import_tree(folder, resume=True)
    assert (done.files, done.unchanged) == (0, 1)
    assert archive.listxattr("/f") == ["user.b"]
    done = archive.import_tree(folder, resume=True, xattrs=False)
    assert archive.listxattr("/f") == ["user.b"]


def test_a_host_without_attributes_is_no_error(
    archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[str]:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    (folder / "f").write_bytes(b"x")
    monkeypatch.setattr(os, "listxattr", refuse, raising=False)
    assert archive.import_tree(folder).skipped == []


# --- the clock


def test_only_what_was_changed_just_now_is_waited_for(
    archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    for number in range(20):
        (folder / f"{number}").write_bytes(b"x")
    real = time.sleep
    monkeypatch.setattr(hostfile.time, "sleep", lambda s: slept.append(s) or real(s))
    archive.import_tree(folder)
    assert sum(slept) < 0.1
    slept.clear()
    archive.import_tree(folder)
    assert slept == []
