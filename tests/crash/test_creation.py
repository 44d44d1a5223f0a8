"""Creation: every crash of `archive7.open(path, "x")` and `"w"`, names and bytes lost apart.

The name is absent, or that of the old archive, or that of a whole new one; once the call returned
it is the new one for ever; and what a crash left behind hinders no other attempt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from unittest import mock

import pytest

import archive7
from archive7 import creation
from archive7.keyslots import Secrets
from tests.crash.archives import ArchiveSession
from tests.crash.cuts import every_cut
from tests.crash.engine import one_cipher
from tests.crash.folder import Folder, HostFile, HostOs, HostPath, standing_in
from tests.crash.history import Content
from tests.disk import KEPT, LOST, Disk, Grip

PATH, KEY = "/folder/a.ar7", bytes(range(32))
OLD: Content = {b"/old": b"F" + b"old" * 1000}


@pytest.fixture(autouse=True)
def _one_cipher() -> Iterator[None]:
    with one_cipher():
        yield


def look(folder: Folder) -> Content | None:
    """What stands under the name, checked; None if there is nothing."""
    with standing_in(folder):
        try:
            with archive7.open(PATH, "r", key=KEY) as archive:
                session = ArchiveSession(archive)
                session.audit()
                found = session.content()
        except FileNotFoundError:
            return None
        with archive7.open(PATH, "r+", key=KEY) as archive:
            archive.mkdir("/later")
    return found


def old_one(*, has_links: bool) -> Folder:
    """A folder with an archive in it."""
    folder = Folder(has_links=has_links)
    with standing_in(folder), archive7.open(PATH, "x", key=KEY) as archive:
        archive.write_bytes("/old", OLD[b"/old"][1:])
    return folder.settled()


class Creation:
    """One creation, recorded, and its crash states.

    Args:
        mode: of the call.
        has_links: whether the filesystem has hard links.

    Attributes:
        states: judged; `again`: attempts after a crash.
    """

    def __init__(self, mode: str, *, has_links: bool) -> None:
        self.before = old_one(has_links=has_links) if mode == "w" else Folder(has_links=has_links)
        self.old = OLD if mode == "w" else None
        folder = self.before.copy()
        with standing_in(folder):
            archive = archive7.open(PATH, mode, key=KEY)  # type: ignore[call-overload]
            self.returned = len(folder.log)
            archive._container.device.kill()
        self.log = folder.log
        self.states = self.again = 0
        self._seen: dict[object, Content | None] = {}
        self._retried: set[tuple[str, ...]] = set()

    def run(self, rng: random.Random) -> None:
        """Judge all of them."""
        folder = self.before.copy()
        self._moment(folder, 0, rng)
        for at, change in enumerate(self.log[: self.returned], 1):
            folder.apply(change)
            if not isinstance(getattr(change, "operation", None), Grip):
                self._moment(folder, at, rng)

    def _moment(self, folder: Folder, at: int, rng: random.Random) -> None:
        self._judge(folder.copy(), at)
        for names in folder.cuts():
            self._judge(folder.left(names, lambda disk: disk.cut(lambda _, __: LOST)), at)
            self._judge(folder.left(names, lambda disk: disk.cut(lambda _, __: KEPT)), at)
            for disk in folder.files:
                if disk.loose:
                    self._tear(folder, names, disk, at, rng)

    def _tear(
        self, folder: Folder, names: dict[str, int], torn: Disk, at: int, rng: random.Random
    ) -> None:
        """One file in every way, the others whole."""
        for _, cut in every_cut(torn, rng, lost=1, tears=1):
            self._judge(
                folder.left(
                    names,
                    lambda disk, cut=cut: cut if disk is torn else disk.cut(lambda _, __: KEPT),  # type: ignore[misc]
                ),
                at,
            )

    def _judge(self, folder: Folder, at: int) -> None:
        self.states += 1
        file = folder.names.get(PurePosixPath(PATH).name)
        name = None if file is None else folder.files[file].image()
        if name not in self._seen:
            try:
                self._seen[name] = look(folder.copy())
            except Exception as error:
                raise AssertionError(f"operation {at} of {len(self.log)}: {error!r}") from error
        found = self._seen[name]
        may_be = ({},) if at >= self.returned else (self.old, {})
        assert found in may_be, f"operation {at} of {len(self.log)}: {found and list(found)}"
        self._try_again(folder)

    def _try_again(self, folder: Folder) -> None:
        """Whatever was left behind, another attempt succeeds."""
        left = tuple(sorted(folder.names))
        if left in self._retried:
            return
        self._retried.add(left)
        self.again += 1
        folder = folder.settled()
        is_there = PurePosixPath(PATH).name in left
        with standing_in(folder):
            if is_there:
                with pytest.raises(FileExistsError):
                    archive7.open(PATH, "x", key=KEY)
            archive7.open(PATH, "w" if is_there else "x", key=KEY).close()
        assert look(folder) == {}
        assert set(folder.names) == {*left, PurePosixPath(PATH).name}, "it leaves nothing behind"


WAYS = [("x", True), ("x", False), ("w", True)]


@pytest.mark.parametrize(("mode", "has_links"), WAYS)
def test_name_is_that_of_a_whole_archive(mode: str, has_links: bool, seed: int) -> None:
    made = Creation(mode, has_links=has_links)
    made.run(random.Random(seed))
    print(f"{made.states} states of creation, {made.again} other attempts")
    assert made.states > 1000
    assert made.again > 1


# --- mutants


def folder_not_synced() -> AbstractContextManager[Any]:
    """The folder is not synced after the file got its name."""
    return mock.patch.object(creation, "sync_folder")


def file_not_synced() -> AbstractContextManager[Any]:
    """The file gets its name before it is synced."""
    return mock.patch.object(HostFile, "sync")


@contextmanager
def named_before_it_is_made() -> Iterator[None]:
    """The file gets its name at once."""
    fill = creation._fill

    def fill_named(device: HostFile, secrets: Secrets, options: creation.Options) -> object:
        HostOs.link(device.name, PATH)
        return fill(device, secrets, options)

    def publish(temporary: HostPath, path: HostPath, *, replace: bool) -> None:
        temporary.unlink()
        HostOs.fsync(HostOs.open(path.parent, 0))

    with (
        mock.patch.object(creation, "_fill", fill_named),
        mock.patch.object(creation, "publish", publish),
    ):
        yield


def old_removed_first() -> AbstractContextManager[Any]:
    """The old file is removed, then the new one gets its name."""

    def replace(source: object, target: object) -> None:
        HostOs.unlink(target)
        HostOs.link(source, target)
        HostOs.unlink(source)

    return mock.patch.object(HostOs, "replace", staticmethod(replace))


def named_after_sync_of_folder() -> AbstractContextManager[Any]:
    """The folder is synced before the file gets its name (swapped order)."""
    do, sync = creation.publish, creation.sync_folder

    def publish(temporary: Path, path: Path, *, replace: bool) -> None:
        sync(path.parent)
        with mock.patch.object(creation, "sync_folder"):
            do(temporary, path, replace=replace)

    return mock.patch.object(creation, "publish", publish)


@pytest.mark.parametrize(
    ("mutant", "mode"),
    [
        (folder_not_synced, "x"),
        (folder_not_synced, "w"),
        (file_not_synced, "x"),
        (file_not_synced, "w"),
        (named_before_it_is_made, "x"),
        (old_removed_first, "w"),
        (named_after_sync_of_folder, "x"),
        (named_after_sync_of_folder, "w"),
    ],
)
def test_mutant_of_creation_is_caught(
    mutant: Callable[[], AbstractContextManager[Any]], mode: str, seed: int
) -> None:
    with mutant():
        made = Creation(mode, has_links=True)
        with pytest.raises(AssertionError, match="operation"):
            made.run(random.Random(seed))
