"""Random trees of the host, imported and exported, are equal in all that `os.lstat` tells."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.archives import assert_sound, noise, open_archive
from tests.unit.hosttrees import Calls, snapshot

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX names and modes")

SIZES = (0, 1, 100, 4007, 4008, 4009, 30_000, 1_026_047, 1_026_048, 1_026_049)
NAMES = st.one_of(
    st.sampled_from(["a", "b", "c", "d", "é", "e\u0301", "-x", "x y", "\n", "\x7f", "☃" * 85]),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1).map(
        lambda text: text.encode()[:255].decode(errors="ignore")
    ),
).filter(lambda name: name not in ("", ".", ".."))
TIMES = st.integers(-(10**9), 4 * 10**18)
MODES = st.integers(0, 0o777)
READABLE = 0 if os.name == "posix" and os.geteuid() == 0 else 0o400
NODES = st.recursive(
    st.one_of(
        st.tuples(st.just("file"), st.sampled_from(SIZES), st.integers(0, 5)),
        st.tuples(st.just("link"), st.one_of(NAMES, st.just("../a"), st.just("/b"))),
        st.tuples(st.just("again"), st.integers(0, 20)),
    ),
    lambda below: st.tuples(st.just("directory"), st.dictionaries(NAMES, below, max_size=5)),
    max_leaves=20,
)
TREES = st.dictionaries(NAMES, NODES, max_size=6)


class Builder:
    """Makes a tree; the dressing (mode, time, attributes) is drawn for each part of it."""

    def __init__(self, data: st.DataObject, *, has_xattrs: bool) -> None:
        self.data = data
        self.has_xattrs = has_xattrs
        self.files: list[Path] = []

    def fill(self, top: Path, tree: dict[str, tuple[object, ...]]) -> None:
        for name, node in tree.items():
            path = top / name
            if os.path.lexists(path):
                continue  # a host that takes two names for one
            self.make(path, node)
        self.dress(top, mode=self.data.draw(MODES) | 0o700)

    def make(self, path: Path, node: tuple[object, ...]) -> None:
        kind, *rest = node
        if kind == "directory":
            path.mkdir()
            self.fill(path, rest[0])  # type: ignore[arg-type]
        elif kind == "file":
            path.write_bytes(noise(*rest))  # type: ignore[arg-type]
            self.dress(path, mode=self.data.draw(MODES) | READABLE)
            self.files.append(path)
        elif kind == "link":
            path.symlink_to(str(rest[0]))
            modified = self.data.draw(TIMES)
            os.utime(path, ns=(0, modified), follow_symlinks=False)
            self.files.append(path)
        elif self.files:
            first = self.files[int(str(rest[0])) % len(self.files)]
            os.link(first, path, follow_symlinks=False)

    def dress(self, path: Path, mode: int) -> None:
        if self.has_xattrs and self.data.draw(st.booleans()):
            os.setxattr(path, "user." + "n" * self.data.draw(st.integers(1, 40)), b"\0value")
        path.chmod(mode)
        os.utime(path, ns=(0, self.data.draw(TIMES)))


def takes_xattrs(folder: Path) -> bool:
    try:
        os.setxattr(folder, "user.test", b"x")
        os.removexattr(folder, "user.test")
    except (AttributeError, OSError):
        return False
    return True


@given(tree=TREES, data=st.data())
def test_a_tree_comes_back_as_it_was(
    tree: dict[str, tuple[object, ...]], data: st.DataObject
) -> None:
    home = Path(tempfile.mkdtemp(prefix="archive7-"))
    try:
        source, out = home / "source", home / "out"
        source.mkdir()
        builder = Builder(data, has_xattrs=takes_xattrs(home))
        builder.fill(source, tree)
        before = snapshot(source)
        every = data.draw(st.sampled_from([None, 1, 10_000]))
        with open_archive(home / "vault.ar7", "x") as archive:
            calls = Calls()
            done = archive.import_tree(source, commit_every=every, progress=calls)
            assert done.skipped == []
            assert calls.told[-1][0] == calls.told[-1][1]
            again = archive.import_tree(source, resume=True)
            assert (again.files, again.links, again.hard_links, again.bytes) == (0, 0, 0, 0)
            assert again.unchanged == done.files + done.links + done.hard_links
            assert_sound(archive)
        with open_archive(home / "vault.ar7") as archive:
            back = archive.export_tree("/", out)
            assert back == done
            assert snapshot(out) == before
            again = archive.export_tree("/", out, resume=True)
            assert again.unchanged == done.files + done.links + done.hard_links
    finally:
        shutil.rmtree(home)
