"""`Archive.glob` beside `pathlib.Path.glob`: the same tree, the same pattern, the same paths.

The archive does what Python 3.13 does.  `reference` makes up for the differences of others:
before 3.13 a ``**`` at the end gave directories only, and ``**`` within a part was refused;
before 3.12 a name without wildcards at the end was not found where it is a dangling link; where
``**`` stands twice, some versions give paths twice.
"""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given
from hypothesis import strategies as st

from archive7 import Archive
from tests.effort import examples
from tests.unit.archives import assert_sound, open_archive

Tree = list[tuple[str, str, int, int]]

WILD = set("*?[")
NAMES = ["a", "b", "ab", ".a", "A", "a-b", "a[b]", "!", "ä", "a\nb", "x.txt", "y.txt", "a b", "]"]
# kind, name, which of the directories so far it stands in, which name a link leads to
trees = st.lists(
    st.tuples(
        st.sampled_from("ddddffl"), st.sampled_from(NAMES), st.integers(0, 30), st.integers(0, 30)
    ),
    max_size=25,
)
parts = st.one_of(
    st.sampled_from(["**", "*", "a", "ab", "?", "..", "*.txt", ".*", "[ab]", "[!a]", "a*", "*b"]),
    st.sampled_from(["a[[]b]", "[", "[]", "[!]", "[]]", "[a-b]*", "a?b", "*a*", "**a", "."]),
    st.sampled_from(NAMES),
    st.text("ab.*?[]!-ä", min_size=1, max_size=4),
)
patterns = st.tuples(st.lists(parts, min_size=1, max_size=5), st.sampled_from(["", "/"])).map(
    lambda made: "/".join(made[0]) + made[1]
)


def plant(tree: Tree, folder: Path, archive: Archive, top: str) -> None:
    """Make the tree on both sides; a name that is taken already is left out.

    Links are few: through links that lead up, paths multiply with every part of a pattern.
    """
    folders, paths, links = [folder], [folder], 0
    for kind, name, where, target in tree:
        path = folders[where % len(folders)] / name
        there = top + str(path).removeprefix(str(folder))
        if os.path.lexists(path) or (kind == "l" and links == 4):
            continue
        if kind == "d":
            path.mkdir()
            archive.mkdir(there)
            folders.append(path)
        elif kind == "f":
            path.write_bytes(b"")
            archive.write_bytes(there, b"")
        else:
            leads_to = os.path.relpath(paths[target % len(paths)], path.parent)
            leads_to += "" if target < 24 else "/gone"
            path.symlink_to(leads_to)
            archive.symlink(leads_to, there)
            links += 1
        paths.append(path)


def reference(folder: Path, pattern: str) -> list[str]:
    """What Python 3.13 finds."""
    if sys.version_info < (3, 13):
        parts = pattern.split("/")
        pattern = "/".join(p if p == "**" else re.sub(r"\*+", "*", p) for p in parts)
    found = set(map(str, folder.glob(pattern)))
    if sys.version_info < (3, 13) and pattern.endswith("**"):
        found |= set(map(str, folder.glob(f"{pattern}/*")))
    head, _, last = pattern.rpartition("/")
    if sys.version_info < (3, 12) and last not in ("", ".") and not WILD & set(last):
        above = folder.glob(f"{head}/") if Path(head).parts else [folder]
        found |= {str(path / last) for path in above if os.path.lexists(path / last)}
    return sorted(found)


def is_fair(pattern: str) -> bool:
    """Whether it has a name, and does not go down and up so often that paths have no end."""
    parts = pattern.split("/")
    return bool(set(pattern) - {".", "/"}) and not (".." in parts and parts.count("**") > 1)


@examples(300)
@given(trees, patterns.filter(is_fair))
@example([("d", "a", 0, 0), ("l", "b", 0, 1), ("d", "ab", 1, 0)], "**/ab")
@example([("d", "a", 0, 0), ("l", "b", 1, 0)], "a/**/*")
@example([("d", "a", 0, 0), ("l", "b", 0, 1)], "**/")
@example([("d", "a", 0, 0), ("d", "b", 1, 0)], "**/../*")
@example([("l", "a", 0, 30)], "a")
@example([("d", "a", 0, 0), ("d", "a", 1, 0), ("f", "b", 2, 0)], "**/a/**/**")
def test_glob_finds_what_pathlib_finds(tree: Tree, pattern: str) -> None:
    top = "/1/2/3/4/5/top"  # what stands above has nothing else in it, as far as ".." leads
    with TemporaryDirectory() as place, open_archive(io.BytesIO(), "x") as archive:
        folder = Path(place + top)
        folder.mkdir(parents=True)
        archive.makedirs(top)
        with archive.transaction():
            plant(tree, folder, archive, top)

        found = list(archive.glob(pattern, top))
        expected = reference(folder, pattern)

        assert sorted(found) == [top + path.removeprefix(str(folder)) for path in expected]
        assert_sound(archive)
