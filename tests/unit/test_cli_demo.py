"""`ar7 demo`: it shows what it should, and it can fail."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

import archive7
from archive7 import demo
from tests.unit.command import PACKAGE, Ar7

STEPS = "packed listed overwrote reopened added checked refused".split()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Temporary files in a folder of the test; the large file is not so large."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(demo, "_LARGE_SIZE", 2_000_000)
    return folder


def make_folder(ar7: Ar7) -> Path:
    folder = ar7.folder / "source"
    (folder / "sub" / ".git").mkdir(parents=True)
    (folder / "sub" / ".git" / "config").write_bytes(b"not packed")
    (folder / "a-telling-name.txt").write_bytes(b"hello\n")
    (folder / "sub" / "b.bin").write_bytes(os.urandom(3_000_000))
    (folder / "link").symlink_to("sub")
    os.mkfifo(folder / "pipe")
    return folder


def test_demo_shows_every_step_and_leaves_nothing(ar7: Ar7, small: Path) -> None:
    told = ar7("demo", "--folder", make_folder(ar7)).stdout

    assert [step for step in STEPS if f"ok   {step}" not in told] == []
    assert "packed     2 files, 3.00 MB" in told
    assert "MB/s" in told
    assert "WrongKeyError: " in told
    assert "a-telling-name.txt" in told
    assert told.endswith("Everything was right.  The temporary folder is removed.\n")
    assert list(small.iterdir()) == []


@pytest.mark.parametrize("sizes", [[0], [0, 0, 3], [5000]])
def test_demo_takes_small_files(ar7: Ar7, sizes: list[int]) -> None:
    folder = ar7.folder / "source"
    folder.mkdir()
    for number, size in enumerate(sizes):
        (folder / f"{number}").write_bytes(os.urandom(size))

    ar7("demo", "--folder", folder)


def test_demo_of_an_empty_folder_is_wrong_use(ar7: Ar7) -> None:
    (ar7.folder / "source" / "empty").mkdir(parents=True)

    assert "no file to pack" in ar7("demo", "--folder", "source", code=2).stderr


def test_demo_finds_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "archive7").mkdir(parents=True)
    for name in ("setup.cfg", "pyproject.toml", "archive7/__init__.py"):
        (project / name).write_bytes(b"")

    monkeypatch.chdir(project)
    assert demo.find_folder() == str(project)
    monkeypatch.chdir(tmp_path)
    # the tree around the package, or the package itself where it is installed elsewhere
    assert demo.find_folder() in {
        str(PACKAGE),
        *map(str, PACKAGE.parents),
        str(PACKAGE / "archive7"),
    }


def test_demo_fails_if_a_byte_is_wrong(ar7: Ar7, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(ar7)
    write = archive7.Archive.write_bytes

    def write_wrongly(archive: archive7.Archive, path: str, data: bytes) -> int:
        return write(archive, path, bytes(len(data)))

    monkeypatch.setattr(archive7.Archive, "write_bytes", write_wrongly)
    told = ar7("demo", "--folder", folder, code=1).stdout

    assert "WRONG: /large.bin differs" in told
    assert "not right" in told.splitlines()[-1]
    assert "Everything was right" not in told


def test_demo_fails_if_a_file_is_missing(ar7: Ar7, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(ar7)
    monkeypatch.setattr(archive7.Archive, "walk", lambda *_: iter(()))

    assert "WRONG: the names" in ar7("demo", "--folder", folder, code=1).stdout
