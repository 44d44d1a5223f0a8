"""Archives behind the harness's interface: files, directories, links, transactions, file objects.

The content is what `walk`, `read_bytes` and `readlink` show.  Single operations commit by
themselves; they wait in a queue until `commit`, so that the history knows when they begin.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from posixpath import dirname, join
from typing import Final

from archive7.archive import Archive, _format
from archive7.commit import Container
from archive7.crypto import SUITE_XAES256GCM
from archive7.device import Device
from archive7.header import ArchiveHeader
from archive7.keyslots import Secrets
from archive7.layout import SLOTS_OFFSET
from archive7.paths import FilesystemStreamManager
from archive7.savepoint import Savepoint
from archive7.superblock import create, write_copies
from tests.crash.engine import Engine, Session, size
from tests.crash.history import Content

_NAMES: Final = ("a", "b", "c", "d", "long name " * 20, "ä")
_DIRECTORY, _FILE, _LINK = b"D", b"F", b"L"
_MOST: Final = 25
# what `check` says after a fallback, and after the write of a mark has failed half-way
_EXPECTED: Final = re.compile("was not whole|places of the ring are unreadable")


class ArchiveSession(Session):
    """One open archive."""

    def __init__(self, archive: Archive, model: Content | None = None) -> None:
        self.archive = archive
        self.model = {} if model is None else model
        self._queue: list[Callable[[], object]] = []
        self._depths: list[Savepoint | None] = []

    @property
    def container(self) -> Container:
        return self.archive._container

    # --- looking

    def content(self) -> Content:
        found: Content = {}
        archive = self.archive
        for top, folders, files in archive.walk("/"):
            for name in folders:
                found[join(top, name).encode()] = _DIRECTORY
            for name in files:
                path = join(top, name)
                if archive.islink(path):
                    found[path.encode()] = _LINK + archive.readlink(path).encode()
                    continue
                data = archive.read_bytes(path)
                assert archive.stat(path).st_size == len(data)
                found[path.encode()] = _FILE + data
        return found

    def audit(self) -> None:
        findings = [
            finding
            for finding in self.archive.check("full")
            if finding.severity != "note" and not _EXPECTED.search(finding.message)
        ]
        assert not findings, findings

    # --- changes

    def step(self, rng: random.Random) -> None:
        if not self._depths:
            self._depths.append(self.archive.begin_transaction())
        self._draw(rng)()

    def touch(self, rng: random.Random) -> None:
        if self._depths:
            self._draw(rng)()
        elif not self._queue:
            self._queue.append(self._draw(rng))

    def _draw(self, rng: random.Random) -> Callable[[], object]:
        """An operation; the model has it already."""
        files = [name for name, value in self.model.items() if value[:1] == _FILE]
        drawn = rng.random()
        if not files or drawn < 0.25:
            return self._create(rng)
        name = rng.choice(files)
        path = name.decode()
        if drawn < 0.45 and len(self.model) < _MOST:
            return self._write(rng, path)
        if drawn < 0.60:
            return self._rename(rng)
        if drawn < 0.68 or len(self.model) >= _MOST:
            del self.model[name]
            is_blanked = rng.random() < 0.2
            return lambda: self.archive.remove(path, blank=is_blanked)
        if drawn < 0.76:
            length = rng.choice((0, rng.randint(0, 9000), len(self.model[name]) - 1))
            self.model[name] = self.model[name][: length + 1].ljust(length + 1, b"\0")
            return lambda: self.archive.truncate(path, length)
        if drawn < 0.88:
            return self._directory(rng)
        data = rng.randbytes(size(rng))
        self.model[name] = _FILE + data
        return lambda: self.archive.write_bytes(path, data)

    def _folders(self) -> list[str]:
        return ["/", *(n.decode() for n, value in self.model.items() if value == _DIRECTORY)]

    def _new_path(self, rng: random.Random) -> str:
        path = join(rng.choice(self._folders()), rng.choice(_NAMES))
        while path.encode() in self.model:
            path += rng.choice("0123456789")
        return path

    def _create(self, rng: random.Random) -> Callable[[], object]:
        path = self._new_path(rng)
        if rng.random() < 0.1:
            self.model[path.encode()] = _LINK + b"/nowhere"
            return lambda: self.archive.symlink("/nowhere", path)
        data = rng.randbytes(size(rng))
        self.model[path.encode()] = _FILE + data
        return lambda: self.archive.write_bytes(path, data)

    def _write(self, rng: random.Random, path: str) -> Callable[[], object]:
        """Overwrite a part through a file object."""
        name = path.encode()
        old = self.model[name][1:]
        offset = rng.randint(0, len(old) + 100)
        data = rng.randbytes(max(1, size(rng)))
        new = old.ljust(offset, b"\0")
        self.model[name] = _FILE + new[:offset] + data + new[offset + len(data) :]

        def write() -> None:
            with self.archive.open(path, "r+b") as file:
                file.seek(offset)
                file.write(data)

        return write

    def _rename(self, rng: random.Random) -> Callable[[], object]:
        """Rename a file, a link or a directory with all below, perhaps over another file."""
        source = rng.choice(sorted(self.model)).decode()
        value = self.model[source.encode()]
        files = [n.decode() for n, v in self.model.items() if v[:1] == _FILE]
        target = self._new_path(rng)
        if value != _DIRECTORY and rng.random() < 0.3:
            target = rng.choice(files)
        if (target + "/").startswith(source + "/"):
            return lambda: None
        moved = {}
        for name in list(self.model):
            text = name.decode()
            if text == source or text.startswith(source + "/"):
                moved[(target + text[len(source) :]).encode()] = self.model.pop(name)
        self.model.update(moved)
        return lambda: self.archive.rename(source, target)

    def _directory(self, rng: random.Random) -> Callable[[], object]:
        """Make a directory, or remove an empty one."""
        parents = {dirname(name.decode()) for name in self.model}
        empty = [path for path in self._folders()[1:] if path not in parents]
        if empty and rng.random() < 0.4:
            path = rng.choice(empty)
            del self.model[path.encode()]
            return lambda: self.archive.rmdir(path)
        path = self._new_path(rng)
        self.model[path.encode()] = _DIRECTORY
        return lambda: self.archive.mkdir(path)

    # --- commits

    def commit(self, *, durable: bool) -> None:
        self._run()
        self.release()
        self._end()
        if durable:
            self.archive.sync()

    def _run(self) -> None:
        while self._queue:
            self._queue.pop(0)()

    def _end(self) -> None:
        while self._depths:
            self.archive.end_transaction(self._depths.pop(), failed=False)

    def rollback(self) -> None:
        self._queue.clear()
        while self._depths:
            self.archive.end_transaction(self._depths.pop(), failed=True)
        self.archive.rollback()

    def savepoint(self) -> Callable[[], None]:
        if not self._depths:
            self._depths.append(self.archive.begin_transaction())
        self._depths.append(self.archive.begin_transaction())
        depth, model = len(self._depths), dict(self.model)

        def back() -> None:
            while len(self._depths) >= depth:
                self.archive.end_transaction(self._depths.pop(), failed=True)
            self.model = model

        return back

    def release(self) -> None:
        while len(self._depths) > 1:
            self.archive.end_transaction(self._depths.pop(), failed=False)

    def refresh(self) -> None:
        self.archive.refresh()

    def close(self) -> None:
        self._run()
        self.release()
        self._end()
        self.archive.close()


class ArchiveEngine(Engine):
    """Archives with a raw key; the superblock is kept, no key is derived twice."""

    name = "archive"

    def __init__(self) -> None:
        self._superblock, self._master = create(SUITE_XAES256GCM, Secrets(key=bytes(range(32))))

    def create(self, device: Device) -> Session:
        device.truncate(SLOTS_OFFSET)
        write_copies(device, self._superblock, self._master)
        header = ArchiveHeader().encode()
        container = Container(device, self._superblock, self._master, create=True, header=header)
        _format(container)
        return ArchiveSession(_archive(container, "x"))

    def container(self, device: Device, *, readonly: bool = False) -> Container:
        return Container(device, self._superblock, self._master, readonly=readonly)

    def over(self, container: Container) -> Session:
        return ArchiveSession(_archive(container, "r" if container.is_readonly else "r+"))


def _archive(container: Container, mode: str) -> Archive:
    return Archive(FilesystemStreamManager("", b"", container=container), mode)
