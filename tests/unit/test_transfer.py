"""Trees of the host into an archive and back: all kept or reported."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive7 import Archive, Transfer
from tests.unit.archives import Vaults, noise, tree_of
from tests.unit.hosttrees import Calls, make_source, need_xattrs, snapshot

WHOLE = 2_500_000 + (1 << 20) + 4008 + 5 + 8 + 9  # bytes of all files of the source

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
def source(tmp_path: Path) -> Path:
    return make_source(tmp_path / "source")


def test_a_tree_comes_back_as_it_was(archive: Archive, source: Path, tmp_path: Path) -> None:
    done = archive.import_tree(source, "/copy")
    assert done == Transfer(files=7, directories=3, links=4, bytes=WHOLE)
    status = archive.lstat("/copy/link")
    assert status.st_mtime_ns == (source / "link").lstat().st_mtime_ns
    back = archive.export_tree("/copy", tmp_path / "back")
    assert back == done
    assert snapshot(tmp_path / "back") == snapshot(source)


def test_the_root_takes_and_gives_the_attributes_of_the_folder(
    archive: Archive, source: Path, tmp_path: Path
) -> None:
    source.chmod(0o711)
    os.utime(source, ns=(1, 10**18 + 9))
    archive.import_tree(source)
    assert stat.S_IMODE(archive.stat("/").st_mode) == 0o711
    archive.export_tree("/", tmp_path / "back")
    assert snapshot(tmp_path / "back") == snapshot(source)


def test_hard_links_and_attributes_come_back(
    archive: Archive, source: Path, tmp_path: Path
) -> None:
    need_xattrs(source)
    os.link(source / "big", source / "dir" / "big too")
    os.link(source / "dir" / "file", source / "a file")
    os.link(source / "dir" / "file", source / "empty" / "file")
    os.link(source / "link", source / "another link", follow_symlinks=False)
    for path in (source, source / "dir", source / "blank", source / "big"):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(0o700)
        os.setxattr(path, "user.note", path.name.encode())
        os.setxattr(path, "user.bin", bytes(range(256)))
        path.chmod(mode)
    os.utime(source, ns=(0, 10**18))

    done = archive.import_tree(source)

    assert (done.files, done.links, done.hard_links, done.skipped) == (7, 4, 4, [])
    assert archive.stat("/a file").st_ino == archive.stat("/empty/file").st_ino
    assert archive.stat("/a file").st_nlink == 3
    assert archive.getxattr("/big", "user.note") == b"big"
    back = archive.export_tree("/", tmp_path / "back")
    assert (back.files, back.links, back.hard_links, back.skipped) == (7, 4, 4, [])
    assert back.bytes == done.bytes
    assert snapshot(tmp_path / "back") == snapshot(source)


def test_a_system_that_knows_only_paths_does_the_same(
    archive: Archive, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows: no calls relative to a folder, none on descriptors, links not at a place."""
    os.link(source / "big", source / "dir" / "big too")
    os.utime(source / "dir", ns=(0, 10**18))
    monkeypatch.setattr("archive7.hostfolder.HAS_DIR_FD", False)
    monkeypatch.setattr("archive7.hostexport._HAS_HANDLES", False)
    monkeypatch.setattr("archive7.hostpart._LINKS_AT", False)
    done = archive.import_tree(source, progress=lambda *_: None)
    assert (done.files, done.directories, done.links, done.hard_links) == (7, 3, 4, 1)
    assert archive.import_tree(source, resume=True).unchanged == 12
    out = tmp_path / "out"
    assert archive.export_tree("/", out, progress=lambda *_: None) == done
    assert snapshot(out)["dir"] == snapshot(source)["dir"]
    assert {**snapshot(out), ".": ()} == {**snapshot(source), ".": ()}
    with pytest.raises(FileExistsError):
        archive.export_tree("/", out)
    assert archive.export_tree("/", out, resume=True).unchanged == 12
    assert archive.export_tree("/", out, overwrite=True).files == 7
    shutil.rmtree(out / "dir")
    (out / "dir").symlink_to(tmp_path)
    with pytest.raises(FileExistsError):
        archive.export_tree("/", out, overwrite=True)


def test_owners_come_back_where_that_is_wanted(
    archive: Archive, source: Path, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving files to others needs root")
    os.chown(source / "big", 65534, 0)
    os.chown(source / "link", 12345, 54321, follow_symlinks=False)
    os.chown(source / "dir", 0, 65534)
    archive.import_tree(source, "/with", ownership=True)
    archive.import_tree(source, "/without")
    assert archive.owners("/with/big")[0] == "nobody"
    assert archive.owners("/with/link", follow_symlinks=False) == ("", "")
    assert archive.lstat("/without/big").st_uid == archive.lstat("/without/link").st_gid == 0
    archive.export_tree("/with", tmp_path / "with", ownership=True)
    archive.export_tree("/with", tmp_path / "plain")
    for name in ("big", "link", "dir", "blank"):
        ours, theirs = (source / name).lstat(), (tmp_path / "with" / name).lstat()
        assert (ours.st_uid, ours.st_gid) == (theirs.st_uid, theirs.st_gid)
        assert (tmp_path / "plain" / name).lstat().st_uid == 0


def test_owners_are_found_by_name_before_number(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    archive.write_bytes("/f", b"x")
    archive.chown("/f", 4242, "root")
    archive.write_bytes("/g", b"x")
    archive.chown("/g", "no such user here", 17)
    monkeypatch.setattr(os, "chown", lambda _file, user, group: asked.append((user, group)))
    archive.export_tree("/", tmp_path / "out", ownership=True)
    assert asked == [(4242, 0), (65534, 17), (0, 0)]


def test_one_file_and_one_link_can_be_copied(
    archive: Archive, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.import_tree(source / "big")
    archive.import_tree(source / "link", "/")
    assert archive.read_bytes("/big") == noise(2_500_000)
    assert archive.readlink("/link") == "dir/file"
    archive.export_tree("/big", tmp_path / "out")
    assert (tmp_path / "out" / "big").read_bytes() == noise(2_500_000)
    status = (source / "big").stat()
    assert (tmp_path / "out" / "big").stat().st_mtime_ns == status.st_mtime_ns
    archive.export_tree("link", tmp_path / "out")
    assert os.readlink(tmp_path / "out" / "link") == "dir/file"
    monkeypatch.chdir(source / "dir")
    archive.import_tree("file", "/here")
    archive.import_tree(".", "/there")
    assert archive.read_bytes("/here/file") == archive.read_bytes("/there/file") == b"text\n"


def test_a_link_to_a_directory_is_followed_only_at_the_top(
    archive: Archive, source: Path, tmp_path: Path
) -> None:
    archive.import_tree(source / "dirlink", "/d")
    assert archive.listdir("/d") == ["deep", "file"]
    archive.symlink("d", "/l")
    archive.symlink("l2", "/l1")
    archive.symlink("l1", "/l2")
    archive.export_tree("/l", tmp_path / "out")
    assert (tmp_path / "out" / "file").read_bytes() == b"text\n"
    archive.export_tree("/l1", tmp_path / "circle")
    assert os.readlink(tmp_path / "circle" / "l1") == "l2"


def test_progress_tells_bytes_and_ends_at_the_total(
    archive: Archive, source: Path, tmp_path: Path
) -> None:
    for run in (
        lambda told: archive.import_tree(source, "/copy", progress=told),
        lambda told: archive.export_tree("/copy", tmp_path / "back", progress=told),
        lambda told: archive.import_tree(source, "/copy", progress=told, resume=True),
        lambda told: archive.export_tree("/copy", tmp_path / "back", progress=told, resume=True),
    ):
        calls = Calls()
        done = run(calls)
        counts = [c[0] for c in calls.told]
        assert counts == sorted(counts)
        assert len({c[1] for c in calls.told}) == 1
        assert calls.told[-1][0] == calls.told[-1][1] == WHOLE
        assert done.bytes in (0, WHOLE)
        assert "/copy/blank" in calls.paths, "files of no size are told, too"
        assert calls.paths.count("/copy/big") == (3 if done.bytes else 1), "big ones in pieces"


def test_an_import_tells_when_the_commit_begins(archive: Archive, source: Path) -> None:
    seen: list[bool] = []
    calls = Calls(lambda _done, _total, path: path or seen.append(archive.in_transaction))
    archive.import_tree(source, progress=calls)
    assert seen == [True]
    assert calls.paths[-1] == ""


def test_files_are_chosen_by_a_filter(archive: Archive, source: Path, tmp_path: Path) -> None:
    asked: dict[str, int] = {}

    def keep(path: str, status: os.stat_result) -> bool:
        asked[path] = stat.S_IFMT(status.st_mode)
        return path not in ("big", "dir/deep", "link")

    done = archive.import_tree(source, "/copy", filter=keep)
    assert "dir/deep/block" not in asked
    assert asked.keys() == {str(p.relative_to(source)) for p in source.rglob("*")} - {
        "dir/deep/block"
    }
    assert (asked["dir"], asked["dir/file"], asked["up"]) == (
        stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK,
    )  # fmt: skip
    assert (done.files, done.directories, done.links, done.skipped) == (5, 2, 3, [])
    assert set(archive.listdir("/copy/dir")) == {"file"}

    asked.clear()
    calls = Calls()
    done = archive.export_tree(
        "/copy", tmp_path / "out", progress=calls,
        filter=lambda path, status: asked.update({path: status.st_size}) or path != "dir",
    )  # fmt: skip
    assert asked["chunk"] == 1 << 20
    assert "dir/file" not in asked
    assert not (tmp_path / "out" / "dir").exists()
    assert (done.files, done.directories) == (4, 1)
    assert calls.told[-1][0] == calls.told[-1][1] == done.bytes


def test_a_filter_is_asked_for_a_single_file_and_may_end_all(
    archive: Archive, source: Path, tmp_path: Path
) -> None:
    assert archive.import_tree(source / "big", filter=lambda *_: False) == Transfer()
    archive.import_tree(source / "big", "/")
    assert archive.export_tree("/big", tmp_path / "o", filter=lambda *_: False) == Transfer()

    def stop(path: str, _status: os.stat_result) -> bool:
        if path == "chunk":
            raise ZeroDivisionError
        return True

    tree = tree_of(archive)
    with pytest.raises(ZeroDivisionError):
        archive.import_tree(source, "/new", filter=stop)
    assert tree_of(archive) == tree


def test_big_files_do_not_go_through_memory(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "big").open("wb") as file:
        for number in range(40):
            file.write(noise(1 << 20, number))
    tracemalloc.start()
    try:
        archive.import_tree(tmp_path / "in")
        archive.export_tree("/big", tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 36 << 20, f"{peak >> 20} MiB"
    assert (tmp_path / "out/big").read_bytes() == (tmp_path / "in/big").read_bytes()


def test_a_missing_source_raises(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        archive.import_tree(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        archive.export_tree("/missing", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="str"):
        archive.import_tree(os.fsencode(tmp_path))  # type: ignore[arg-type]


def test_a_report_can_be_pickled_and_compared() -> None:
    done = Transfer(files=1, skipped=[("a", "b")])
    assert pickle.loads(pickle.dumps(done)) == done
    assert Transfer().skipped is not Transfer().skipped


# --- deep and many


def make_deep(top: Path, levels: int) -> None:
    """Folders in folders, deeper than a path can say, with a file at the end of the way."""
    folder = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    file = os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=folder)
    os.write(file, b"deep")
    os.close(file)
    os.utime(folder, ns=(0, 10**18))
    os.close(folder)


def depth_of(top: Path) -> tuple[int, bytes, int]:
    """How many folders stand in one another, what the file holds, the last folder's time."""
    levels, folder = 0, os.open(top, os.O_RDONLY)
    while "d" in os.listdir(folder):
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder, levels = below, levels + 1
    file = os.open("f", os.O_RDONLY, dir_fd=folder)
    data = os.read(file, 10)
    modified = os.fstat(folder).st_mtime_ns
    os.close(file)
    os.close(folder)
    return levels, data, modified


@pytest.mark.parametrize(
    "levels", [300, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.slow])]
)
def test_deep_trees_can_be_copied(vaults: Vaults, tmp_path: Path, levels: int) -> None:
    deep, back = tmp_path / "deep", tmp_path / "back"
    deep.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with vaults.open("x") as archive:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
        try:
            make_deep(deep, levels)
            done = archive.import_tree(deep, "/deep", progress=lambda *_: None)
            assert (done.files, done.directories, done.skipped) == (1, levels, [])
            done = archive.export_tree("/deep", back, progress=lambda *_: None)
            assert (done.files, done.directories, done.skipped) == (1, levels, [])
            assert depth_of(back) == depth_of(deep) == (levels, b"deep", 10**18)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for folder in (deep, back):
                subprocess.run(["rm", "-rf", folder], check=True)
        if levels > 1000:
            archive.rmtree("/deep")  # check names each directory by its path: too slow


MEASURE = """
import resource, sys, archive7
with archive7.open(sys.argv[1], "x", key=bytes(32)) as archive:
    done = archive.import_tree(sys.argv[2], "/in", progress=lambda *_: None)
    archive.export_tree("/in", sys.argv[3])
    print(done.files, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.full
@pytest.mark.slow
def test_a_hundred_thousand_files_take_little_memory(tmp_path: Path) -> None:
    """Measured in a process of its own, after a run with a tenth of the files."""
    peaks = []
    for count in (10_000, 100_000):
        top = tmp_path / f"in{count}"
        for number in range(count):
            if number % 1000 == 0:
                folder = top / f"{number // 1000:03d}"
                folder.mkdir(parents=True)
            (folder / f"{number:06d}").write_bytes(number.to_bytes(4, "big") * 512)
        names = [tmp_path / f"vault{count}", top, tmp_path / f"out{count}"]
        run = subprocess.run(
            [sys.executable, "-c", MEASURE, *map(str, names)],
            capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        files, peak = map(int, run.stdout.split())
        assert files == count
        peaks.append(peak)
        shutil.rmtree(top)
    print(f"{peaks[0]} KiB, then {peaks[1]} KiB")
    # Caches get full; and the one transaction has a log of its positions, 100 bytes a file.
    assert peaks[1] - peaks[0] < 48 << 10
