"""An archive as the subject of fault injection."""

from __future__ import annotations

import contextlib
import stat
from typing import Any

from archive7 import Archive
from archive7.commit import Container
from archive7.errors import ClosedError
from tests.devices import RecordingDevice
from tests.disk import Disk
from tests.faults.engine import State, Subject, silent
from tests.unit.archives import noise, open_archive

_FIXED_NS = 10**9  # times below are set by an operation, others are those of the run


def state_of(archive: Archive) -> State:
    """All that stands in an archive, except for times that are those of the run."""
    found: dict[str, object] = {"": archive.header.title}
    waiting = ["/"]
    while waiting:
        for entry in archive.scandir(waiting.pop()):
            path, status = entry.path, entry.stat(follow_symlinks=False)
            extras = archive._filesystem.extras(path, follow=False)
            if stat.S_ISDIR(status.st_mode):
                data: object = None
                waiting.append(path)
            elif stat.S_ISLNK(status.st_mode):
                data = archive.readlink(path)
            else:
                data = archive.read_bytes(path)
                assert status.st_size == len(data), path  # type: ignore[arg-type]
            time = status.st_mtime_ns if status.st_mtime_ns < _FIXED_NS else None
            owners = status.st_uid, status.st_gid
            found[path] = status.st_mode, status.st_nlink, data, time, owners, extras
    for item in archive.deleted():
        found[f"deleted {item.path}"] = item.type, item.size, item.is_restorable
    found["owners"] = {each.path: each.owner for each in archive.find() if each.owner.int}
    return found


def cool_container(container: Container) -> None:
    """Forget blocks and nodes of the map; nothing is uncommitted."""
    blocks, root = container.blocks, container.root
    blocks._cache.clear()
    blocks._in_room = None
    blocks.map.reset(root.height, root.top, dict(root.changes), root.used)


class ArchiveSubject(Subject):
    """An archive, with two open files beside the operation."""

    def open(self, device: Any, mode: str) -> Archive:
        return open_archive(device, mode)

    def container(self, opened: Archive) -> Container:
        return opened._container

    def state(self, opened: Archive) -> State:
        return state_of(opened)

    def check(self, opened: Archive) -> None:
        for finding in opened.check("full"):
            # that the write of a root broke off may be told
            allowed = finding.severity == "note" or (
                (finding.severity, finding.layer) == ("warning", "root")
            )
            # one copy may be torn or older, until a writer has opened the archive
            allowed |= opened.mode == "r" and finding.layer == "superblock"
            assert allowed, str(finding)

    def use(self, opened: Archive) -> None:
        opened.write_bytes("/goes on", b"yes")
        assert opened.read_bytes("/goes on") == b"yes"
        opened.remove("/goes on")
        opened.sync()

    def undo(self, opened: Archive) -> None:
        opened.rollback()

    def cool(self, opened: Archive) -> None:
        opened._manager.reload()
        opened._filesystem.attach()
        cool_container(opened._container)

    def stand_by(self, opened: Archive) -> Any:
        mode = "rb" if opened.mode == "r" else "r+b"
        return opened.open("/kept", "rb"), opened.open("/kept", mode)

    def check_bystander(self, bystander: Any, is_failed: bool) -> None:
        kept = noise(9000, 7)
        for file in bystander:
            try:
                file.seek(0)
                assert file.read() == kept
                if file.writable():
                    file.seek(8000)
                    file.write(kept[8000:])
                    file.flush()
            except ClosedError:
                pass
            with contextlib.suppress(ClosedError):
                file.close()


def fill(archive: Archive) -> None:
    """Something of everything; some of it not synced."""
    archive.mkdir("/dir")
    archive.write_bytes("/dir/big", noise(40_000, 1))
    archive.write_bytes("/dir/small", b"small")
    archive.write_bytes("/kept", noise(9000, 7))
    archive.mkdir("/empty")
    archive.mkdir("/tree")
    archive.mkdir("/tree/below")
    archive.write_bytes("/tree/below/file", noise(5000, 4))
    archive.symlink("dir/small", "/link")
    archive.symlink("dir", "/way")
    archive.setxattr("/dir/small", "user.kind", b"a")
    archive.write_bytes("/twice", b"twice")
    archive.link("/twice", "/tree/again")
    archive.write_bytes("/gone", noise(6000, 5))
    archive.remove("/gone", how=1)  # type: ignore[arg-type]
    archive.write_bytes("/shell", noise(6000, 6))
    archive.remove("/shell", how=2)  # type: ignore[arg-type]
    for number in range(6):  # so that the registry has several leaves
        archive.write_bytes(f"/tree/wide{number}", b"wide")
        archive.setxattr(f"/tree/wide{number}", "user.width", noise(800, number))
    archive.sync()
    archive.write_bytes("/dir/late", noise(5000, 2))
    archive.remove("/dir/late")
    archive.write_bytes("/late", noise(5000, 3))


def prepared() -> Disk:
    """The disc with the archive of `fill`, as a killed writer leaves it."""
    disk = Disk()
    with silent():
        fill(open_archive(RecordingDevice(disk), "x"))
    return disk.copy()
