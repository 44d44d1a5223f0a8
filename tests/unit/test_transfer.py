"""Trees of the host into an archive and back: all kept or reported, and no way out."""

from __future__ import annotations

import os
import stat
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive7 import Archive
from tests.unit.archives import Vaults, noise, tree_of

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
    """A tree with a bit of everything, at odd times and modes."""
    top = tmp_path / "source"
    (top / "dir" / "deep").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "blank").write_bytes(b"")
    (top / "dir" / "file").write_bytes(b"text\n")
    (top / "dir" / "deep" / "block").write_bytes(noise(4008))
    (top / "big").write_bytes(noise(2_500_000))
    (top / "chunk").write_bytes(noise(1 << 20))
    (top / "ünï 日本 'q' \n").write_bytes(b"odd name")
    (top / ("n" * 255)).write_bytes(b"long name")
    (top / "link").symlink_to("dir/file")
    (top / "up").symlink_to("../outside")
    (top / "absolute").symlink_to("/etc/passwd")
    (top / "dirlink").symlink_to("dir")
    for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):
        if not path.is_symlink():
            path.chmod((0o640, 0o755, 0o700, 0o444)[number % 4] | (0o700 if path.is_dir() else 0))
        os.utime(path, ns=(5, 10**18 + number * 1_000_000_007), follow_symlinks=False)
    return top


def snapshot(top: Path) -> dict[str, tuple[object, ...]]:
    """Kind, mode, time and content of all below a folder."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("directory", stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        else:
            mode = stat.S_IMODE(status.st_mode)
            found[name] = ("file", mode, status.st_mtime_ns, path.read_bytes())
    return found


def test_a_tree_comes_back_as_it_was(archive: Archive, source: Path, tmp_path: Path) -> None:
    done = archive.import_tree(source, "/copy")
    assert (done.files, done.directories, done.links) == (7, 3, 4)
    assert done.bytes == sum(p.stat().st_size for p in source.rglob("*")
                             if p.is_file() and not p.is_symlink())  # fmt: skip
    assert done.skipped == []
    status = archive.lstat("/copy/link")
    assert status.st_mtime_ns == (source / "link").lstat().st_mtime_ns
    back = archive.export_tree("/copy", tmp_path / "back")
    assert (back.files, back.directories, back.links, back.bytes) == (7, 3, 4, done.bytes)
    assert snapshot(tmp_path / "back") == snapshot(source)


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


def test_one_file_and_one_link_can_be_copied(
    archive: Archive, source: Path, tmp_path: Path
) -> None:
    archive.import_tree(source / "big")
    archive.import_tree(source / "link", "/")
    assert archive.read_bytes("/big") == noise(2_500_000)
    assert archive.readlink("/link") == "dir/file"
    archive.export_tree("/big", tmp_path / "out")
    assert (tmp_path / "out" / "big").read_bytes() == noise(2_500_000)


def test_progress_tells_bytes_and_ends_at_the_total(
    archive: Archive, source: Path, tmp_path: Path
) -> None:
    for run in (
        lambda told: archive.import_tree(source, "/copy", progress=told),
        lambda told: archive.export_tree("/copy", tmp_path / "back", progress=told),
    ):
        calls: list[tuple[int, int, str]] = []
        done = run(lambda *call, calls=calls: calls.append(call))
        assert [c[0] for c in calls] == sorted(c[0] for c in calls)
        assert calls[-1][0] == done.bytes
        assert all(c[0] <= c[1] for c in calls)
        assert sum("big" in c[2] for c in calls) == 3, "a big file goes in chunks"


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


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes")
def test_names_that_are_not_utf8_are_reported(archive: Archive, tmp_path: Path) -> None:
    top = os.fsencode(tmp_path / "in")
    os.mkdir(top)
    for name in (b"bad\xff", b"good"):
        with open(os.path.join(top, name), "wb") as file:
            file.write(b"x")
    os.mkdir(os.path.join(top, b"dir\xfe"))
    os.symlink(b"target\xfd", os.path.join(top, b"link"))
    done = archive.import_tree(tmp_path / "in")
    assert archive.listdir("/") == ["good"]
    assert done.files == 1
    assert len(done.skipped) == 3
    for path, reason in done.skipped:
        (path + reason).encode()  # can be printed
        assert "UTF-8" in reason


def test_what_is_no_file_is_reported(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "file").write_bytes(b"x")
    done = archive.import_tree(tmp_path / "in")
    assert archive.listdir("/") == ["file"]
    assert [os.path.basename(p) for p, _ in done.skipped] == ["pipe"]


def test_what_vanishes_or_cannot_be_read_is_reported_and_the_rest_goes_on(
    archive: Archive, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.lstat

    def vanish(path: object, *args: object, **options: object) -> os.stat_result:
        if str(path).endswith("blank"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path, *args, **options)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(os, "lstat", vanish)
    done = archive.import_tree(source)
    assert [os.path.basename(p) for p, _ in done.skipped] == ["blank"]
    assert archive.read_bytes("/dir/file") == b"text\n"
    assert not archive.exists("/blank")


def test_a_missing_source_raises(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        archive.import_tree(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        archive.export_tree("/missing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_things_of_another_kind_in_the_way_of_an_import(archive: Archive, source: Path) -> None:
    archive.mkdir("/big")
    archive.write_bytes("/dir", b"a file")
    archive.symlink("elsewhere", "/blank")
    done = archive.import_tree(source)
    names = {os.path.basename(p) for p, _ in done.skipped}
    assert names == {"big", "dir"}
    assert archive.isdir("/big")
    assert archive.read_bytes("/dir") == b"a file"
    assert not archive.islink("/blank"), "an import does not write through links"
    assert not archive.exists("/elsewhere")


# --- export


def test_an_existing_file_is_kept_unless_overwrite_is_given(
    archive: Archive, tmp_path: Path
) -> None:
    archive.write_bytes("/f", b"new")
    archive.symlink("f", "/l")
    out = tmp_path / "out"
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
        assert snapshot(outside).keys() == {"f"}
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


def test_no_setuid_bits_reach_the_host(archive: Archive, tmp_path: Path) -> None:
    archive.write_bytes("/f", b"x")
    archive.chmod("/f", 0o6755)
    archive.mkdir("/d")
    archive.chmod("/d", 0o7777)
    archive.export_tree("/", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/f").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "out/d").stat().st_mode) == 0o777


def test_a_folder_without_permissions_is_filled_first(archive: Archive, tmp_path: Path) -> None:
    archive.mkdir("/d")
    archive.write_bytes("/d/f", b"x")
    archive.chmod("/d", 0o500)
    archive.utime("/d", ns=(1, 10**18))
    archive.export_tree("/", tmp_path / "out")
    status = (tmp_path / "out/d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o500, 10**18)
    (tmp_path / "out/d").chmod(0o700)


def test_deep_trees_can_be_copied(archive: Archive, tmp_path: Path) -> None:
    with archive.transaction():
        path = ""
        for _ in range(300):
            path += "/d"
            archive.mkdir(path)
        archive.write_bytes(path + "/f", b"deep")
    assert sum(1 for _ in archive.walk("/")) == 301
    archive.export_tree("/", tmp_path / "out")
    assert (tmp_path / ("out" + path) / "f").read_bytes() == b"deep"
    archive.import_tree(tmp_path / "out", "/again")
    assert archive.read_bytes("/again" + path + "/f") == b"deep"
