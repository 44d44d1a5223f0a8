"""Trees of the host for tests: making them, and comparing all that `os.lstat` tells."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.unit.archives import noise

Snapshot = dict[str, tuple[object, ...]]


def snapshot(top: Path) -> Snapshot:
    """Kind, mode, time, attributes, content and other names of all below a folder, and of it."""
    found: Snapshot = {}
    names: dict[tuple[int, int], list[str]] = defaultdict(list)
    paths = [top, *sorted(top.rglob("*"))]
    for path in paths:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            names[status.st_dev, status.st_ino].append(str(path.relative_to(top)))
    for path in paths:
        status = path.lstat()
        common = (status.st_mtime_ns, attributes(path))
        content: tuple[object, ...]
        if path.is_symlink():
            content = ("link", os.readlink(path))
        elif path.is_dir():
            content = ("directory", stat.S_IMODE(status.st_mode))
        else:
            content = ("file", stat.S_IMODE(status.st_mode), path.read_bytes())
        same = names[status.st_dev, status.st_ino]
        found[str(path.relative_to(top))] = (*content, *common, *same[:1] * (len(same) > 1))
    return found


def attributes(path: Path) -> dict[str, bytes]:
    """The user's extended attributes."""
    if not hasattr(os, "listxattr") or path.is_symlink():
        return {}
    return {
        name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")
    }


def need_xattrs(folder: Path) -> None:
    """Skip where the filesystem has no extended attributes; with ARCHIVE7_REQUIRE_ALL=1 fail."""
    try:
        os.setxattr(folder, "user.archive7.test", b"x")
        os.removexattr(folder, "user.archive7.test")
    except (AttributeError, OSError) as error:
        missing = f"{folder} has no extended attributes: {error}"
        if os.environ.get("ARCHIVE7_REQUIRE_ALL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)


def make_source(top: Path) -> Path:
    """A tree with a bit of everything, at odd times and modes."""
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
    for number, path in enumerate(sorted([*top.rglob("*"), top], reverse=True)):
        if not path.is_symlink():
            path.chmod((0o640, 0o755, 0o700, 0o444)[number % 4] | (0o700 if path.is_dir() else 0))
        os.utime(path, ns=(5, 10**18 + number * 1_000_000_007), follow_symlinks=False)
    return top


class Calls:
    """A progress function that keeps what it was told, and may act on it."""

    def __init__(self, act: Any = None) -> None:
        self.told: list[tuple[int, int, str]] = []
        self._act = act

    def __call__(self, done: int, total: int, path: str) -> None:
        self.told.append((done, total, path))
        if self._act is not None:
            self._act(done, total, path)

    @property
    def paths(self) -> list[str]:
        """The paths in the order of the calls."""
        return [path for _, _, path in self.told]
