"""`Archive.find` against asking each path: random trees, random conditions, the same entries.

A condition is drawn together with a function that says the same of what `lstat` and the like tell
of a path.  What was deleted is asked for, too: it must be what was there before.
"""

from __future__ import annotations

import io
import operator
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive7 import Archive, Condition, Delete, Q, search
from tests.effort import examples
from tests.unit.archives import assert_sound, open_archive

TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
KINDS = sorted(TYPES.values())
NAMES = ["a", "b", "ab", ".c", "x.log", "y.log", "ä", "☃.log"]
USERS = [0, 7, "ann", "bob"]
TIMES = [0, 1000, 10**9, 1_700_000_000 * 10**9, -(10**9)]
MODES = [0, 0o600, 0o644, 0o755, 0o4755]
SIZES = [0, 1, 2, 4008, 4009, 9000]
COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What the archive tells of a path when it is asked for that alone."""

    path: str
    name: str
    type: str
    size: int
    mode: int
    modified: int
    created: int
    users: frozenset[int | str]
    links: int


Sample = tuple[Condition, Callable[[Known], bool]]


def known(archive: Archive, path: str) -> Known:
    status = archive.lstat(path)
    user, _ = archive.owners(path, follow_symlinks=False)
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    return Known(
        path, path.rpartition("/")[2], kind, status.st_size, stat.S_IMODE(status.st_mode),
        status.st_mtime_ns, status.st_ctime_ns, frozenset({status.st_uid, user} - {""}),
        status.st_nlink,
    )  # fmt: skip


def everything(archive: Archive, top: str = "/") -> list[Known]:
    return [
        known(archive, f"{folder.rstrip('/')}/{name}")
        for folder, folders, files in archive.walk(top)
        for name in folders + files
    ]


# --- trees

entries = st.tuples(
    st.sampled_from("dddffffl"), st.sampled_from(NAMES), st.integers(0, 20),
    st.sampled_from(SIZES), st.sampled_from(MODES), st.sampled_from(TIMES),
    st.sampled_from(USERS), st.booleans(),
)  # fmt: skip
trees = st.lists(entries, max_size=30)


def plant(archive: Archive, tree: list[tuple[Any, ...]]) -> list[str]:
    """Make the entries; return the directories."""
    folders = [""]
    for kind, name, where, size, mode, modified, user, has_extras in tree:
        path = f"{folders[where % len(folders)]}/{name}"
        if archive.exists(path) or archive.islink(path):
            continue
        if kind == "d":
            archive.mkdir(path)
            folders.append(path)
        elif kind == "f":
            archive.write_bytes(path, bytes(size))
        else:
            archive.symlink("t" * (size % 300 + 1), path)
        archive.chmod(path, mode, follow_symlinks=False)
        archive.chown(path, user, follow_symlinks=False)
        if has_extras:
            archive.setxattr(path, "user.x", bytes(size % 2000), follow_symlinks=False)
        archive.utime(path, ns=(0, modified), follow_symlinks=False)
    return folders


# --- conditions


def compared(field: Any, read: Callable[[Known], Any], sign: str, value: Any) -> Sample:
    compare = COMPARE[sign]
    return compare(field, value), lambda k: bool(compare(read(k), value))


def mixed(both: tuple[Sample, Sample], sign: str) -> Sample:
    (left, is_left), (right, is_right) = both
    if sign == "&":
        return left & right, lambda k: is_left(k) and is_right(k)
    return left | right, lambda k: is_left(k) or is_right(k)


def as_moment(nanoseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)


signs = st.sampled_from(sorted(COMPARE))
equal = st.sampled_from(["==", "!="])
times = st.sampled_from(TIMES)
users = st.frozensets(st.sampled_from(USERS))
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(lambda p: "/" + "/".join(p))
globs = st.sampled_from(["*", "?", "*.log", "[!a]*", "a*", "☃*", "*b", "[ab]"])
parts = st.one_of(globs, st.just("**"), st.sampled_from(NAMES))
wholes = st.tuples(st.lists(parts, min_size=1, max_size=4), st.sampled_from(["", "/"]))


leaves: st.SearchStrategy[Sample] = st.one_of(
    st.builds(partial(compared, Q.type, attrgetter("type")), equal, st.sampled_from(KINDS)),
    st.builds(partial(compared, Q.name, attrgetter("name")), signs, st.sampled_from(NAMES)),
    st.builds(partial(compared, Q.path, attrgetter("path")), signs, paths),
    st.builds(partial(compared, Q.size, attrgetter("size")), signs, st.sampled_from(SIZES)),
    st.builds(partial(compared, Q.mode, attrgetter("mode")), signs, st.sampled_from(MODES)),
    st.builds(partial(compared, Q.links, attrgetter("links")), signs, st.integers(0, 2)),
    st.builds(partial(compared, Q.modified, attrgetter("modified")), signs, times),
    st.builds(partial(compared, Q.created, attrgetter("created")), signs, times),
    times.map(lambda t: (Q.modified >= as_moment(t), lambda k: k.modified >= t)),
    globs.map(lambda p: (Q.name.like(p), lambda k: fnmatchcase(k.name, p))),
    st.sets(st.sampled_from(NAMES)).map(lambda v: (Q.name.one_of(*v), lambda k: k.name in v)),
    st.sampled_from(MODES).map(lambda v: (Q.mode.has(v), lambda k: k.mode & v == v)),
    st.sampled_from(USERS).map(lambda v: (Q.user == v, lambda k: v in k.users)),
    users.map(lambda v: (Q.user.one_of(*v), lambda k: bool(v & k.users))),
)
samples: st.SearchStrategy[Sample] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(mixed, st.tuples(inner, inner), st.sampled_from("&|")),
        inner.map(lambda sample: (~sample[0], lambda k: not sample[1](k))),
    ),
    max_leaves=6,
)


@examples(150)
@given(trees, st.lists(samples, min_size=1, max_size=4), st.integers(0, 20))
def test_find_finds_what_asking_each_path_finds(
    tree: list[tuple[Any, ...]], asked: list[Sample], where: int
) -> None:
    with open_archive(io.BytesIO(), "x") as archive, pytest.MonkeyPatch.context() as patch:
        with archive.transaction():
            folders = plant(archive, tree)
        top = folders[where % len(folders)] or "/"
        for condition, is_right in asked:
            expected = sorted(k.path for k in everything(archive, top) if is_right(k))
            for limit in (-1, 10**6):  # a scan of everything, a walk of the subtree
                patch.setattr(search, "_WALKED", limit)
                found = list(archive.find(condition, under=top))
                assert sorted(entry.path for entry in found) == expected, condition
                assert [entry.id for entry in found] == sorted(entry.id for entry in found)


@examples(60)
@given(trees, st.lists(wholes, min_size=1, max_size=5))
def test_path_like_finds_what_glob_finds(
    tree: list[tuple[Any, ...]], asked: list[tuple[list[str], str]]
) -> None:
    with open_archive(io.BytesIO(), "x") as archive:
        with archive.transaction():
            plant(archive, tree)  # no link leads to a directory: glob would go through it
        for made, slash in asked:
            pattern = "/".join(made) + slash
            expected = set(archive.glob(pattern)) - {"/"}
            assert {found.path for found in archive.find(Q.path.like(pattern))} == expected, (
                pattern
            )


@examples(60)
@given(trees, st.lists(st.integers(0, 30), max_size=4), samples)
def test_deleted_is_what_is_gone(
    tree: list[tuple[Any, ...]], removed: list[int], sample: Sample
) -> None:
    condition, is_right = sample
    with open_archive(io.BytesIO(), "x") as archive:
        with archive.transaction():
            plant(archive, tree)
        before = {k.path: k for k in everything(archive)}
        for number in removed:
            here = sorted(k.path for k in everything(archive))
            if here:
                path = here[number % len(here)]
                remove = archive.rmtree if archive.isdir(path) else archive.remove
                remove(path, how=Delete.SOFT)
        left = {k.path for k in everything(archive)}

        assert (
            {f.path for f in archive.find()} == {f.path for f in archive.find(~Q.deleted)} == left
        )
        assert {f.path for f in archive.find(Q.deleted)} == before.keys() - left
        gone = {path for path in before.keys() - left if is_right(before[path])}
        assert {f.path for f in archive.find(condition, Q.deleted)} == gone
        assert_sound(archive)
