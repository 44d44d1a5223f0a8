"""Images of a folder of the host: everything in it as it was, to be put back later.

Files keep their inodes (and so what is open stays open on the right one): while an image is kept,
each file has one more name, in an attic outside of what the calls see.
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, field
from typing import Any, Final

TOPS: Final = ("root", "bin")


@dataclass
class Thing:
    """What a file, link or directory holds besides its names."""

    kind: int
    mode: int
    modified_ns: int
    attributes: dict[str, bytes]
    content: bytes = b""


@dataclass
class Image:
    """A folder as it was.

    Attributes:
        things: inode -> what it holds.
        names: path from the folder -> inode; a directory before what is in it.
        orphans: number of an open file without a name -> its content and time.
        notes: what the keeper of the folder wants to know again.
    """

    things: dict[int, Thing] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    orphans: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    notes: Any = None

    def moved(self, directories: dict[int, int]) -> None:
        """Directories were made anew: old inode -> new inode."""
        self.things = {directories.get(key, key): thing for key, thing in self.things.items()}
        self.names = {path: directories.get(key, key) for path, key in self.names.items()}


class Folder:
    """The folder that images are taken of; names below it are relative to an open descriptor."""

    def __init__(self, path: str) -> None:
        self.above = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        for name in (*TOPS, "attic"):
            os.mkdir(name, dir_fd=self.above)
        self.attic: set[int] = set()

    def clear(self) -> None:
        """Remove everything."""
        for top in TOPS:
            self._empty(top)
        self.empty_attic()
        root = self.descriptor("root")
        try:
            os.chmod(root, 0o755)
            os.utime(root)
            for name in user_attributes(root):
                os.removexattr(root, name)
        finally:
            os.close(root)

    def _empty(self, top: str) -> None:
        for name in self.names_in(top):
            self.remove(f"{top}/{name}")

    def remove(self, path: str) -> None:
        """Remove whatever stands there."""
        if stat.S_ISDIR(self.lstat(path).st_mode):
            shutil.rmtree(path, dir_fd=self.above)
        else:
            os.unlink(path, dir_fd=self.above)

    def descriptor(self, path: str, flags: int = os.O_RDONLY) -> int:
        """Open what stands there."""
        return os.open(path, flags | os.O_NOFOLLOW, dir_fd=self.above)

    def names_in(self, path: str) -> list[str]:
        """The names in a directory, in order."""
        found = self.descriptor(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(os.listdir(found))
        finally:
            os.close(found)

    def lstat(self, path: str) -> os.stat_result:
        """As `os.lstat`."""
        return os.stat(path, dir_fd=self.above, follow_symlinks=False)

    def paths(self) -> list[tuple[str, os.stat_result]]:
        """Everything in it: a directory before what is in it."""
        found: list[tuple[str, os.stat_result]] = []
        waiting = list(reversed(TOPS))
        while waiting:
            path = waiting.pop()
            status = self.lstat(path)
            found.append((path, status))
            if stat.S_ISDIR(status.st_mode):
                waiting += [f"{path}/{name}" for name in reversed(self.names_in(path))]
        return found

    # --- images

    def capture(self, spares: dict[int, int]) -> Image:
        """Take an image.  Args: spares: descriptors of the open files by number."""
        image = Image()
        for path, status in self.paths():
            inode = image.names[path] = status.st_ino
            if inode not in image.things:
                image.things[inode] = self._thing(path, status)
            if not stat.S_ISDIR(status.st_mode) and inode not in self.attic:
                self._link(path, f"attic/{inode}")
                self.attic.add(inode)
        for number, spare in spares.items():
            status = os.fstat(spare)
            if status.st_ino not in image.things:
                image.orphans[number] = (read_all(spare), status.st_mtime_ns)
        return image

    def _link(self, source: str, target: str) -> None:
        os.link(
            source, target, src_dir_fd=self.above, dst_dir_fd=self.above, follow_symlinks=False
        )

    def _thing(self, path: str, status: os.stat_result) -> Thing:
        kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
        thing = Thing(kind, mode, status.st_mtime_ns, {})
        if kind != stat.S_IFLNK:
            found = self.descriptor(path)
            try:
                thing.attributes = {k: os.getxattr(found, k) for k in user_attributes(found)}
                if kind == stat.S_IFREG:
                    thing.content = read_all(found)
            finally:
                os.close(found)
        return thing

    def restore(self, image: Image, spares: dict[int, int]) -> dict[int, int]:
        """Put everything back; return the directories made anew: old inode -> new inode."""
        for top in TOPS:
            self._empty(top)
        made: dict[int, int] = {}
        for path, inode in image.names.items():
            if image.things[inode].kind != stat.S_IFDIR:
                self._link(f"attic/{inode}", path)
            else:
                if path not in TOPS:
                    os.mkdir(path, dir_fd=self.above)
                made[inode] = self.lstat(path).st_ino
        done = set()
        for path, inode in reversed(image.names.items()):
            if inode not in done:
                self._put_back(path, image.things[inode])
            done.add(inode)
        for number, (content, modified_ns) in image.orphans.items():
            if number in spares:
                write_all(spares[number], content, modified_ns)
        return made

    def _put_back(self, path: str, thing: Thing) -> None:
        times = (thing.modified_ns, thing.modified_ns)
        if thing.kind == stat.S_IFLNK:
            os.utime(path, ns=times, dir_fd=self.above, follow_symlinks=False)
            return
        is_file = thing.kind == stat.S_IFREG
        found = self.descriptor(path, os.O_RDWR if is_file else os.O_RDONLY)
        try:
            if is_file:
                write_all(found, thing.content, thing.modified_ns)
            for name in user_attributes(found):
                os.removexattr(found, name)
            for name, value in thing.attributes.items():
                os.setxattr(found, name, value)
            os.chmod(found, thing.mode)
            os.utime(found, ns=times)
        finally:
            os.close(found)

    def empty_attic(self) -> None:
        """No image is kept any more."""
        self._empty("attic")
        self.attic.clear()


def user_attributes(descriptor: int) -> list[str]:
    """The names of the extended attributes that a user may have set."""
    return [name for name in os.listxattr(descriptor) if name.startswith("user.")]


def read_all(descriptor: int) -> bytes:
    """All bytes of a file; its position stays."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def write_all(descriptor: int, content: bytes, modified_ns: int) -> None:
    """Give a file this content and time; its position stays."""
    if read_all(descriptor) != content:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
    os.utime(descriptor, ns=(modified_ns, modified_ns))
