"""What is driven: streams in a container, behind the interface that recorder and verdict use.

`Engine` makes and opens, `Session` is one writer or reader.  A session's `model` says what its
content must be; it is changed by the harness beside every call and never read back.
"""

from __future__ import annotations

import functools
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from unittest import mock
from uuid import UUID

from archive7 import root, snapshot
from archive7.commit import Container
from archive7.compact import Compactor
from archive7.crypto import SUITE_XAES256GCM, BlockCipher, block_cipher
from archive7.device import Device
from archive7.keyslots import Secrets
from archive7.layout import (
    ARCHIVE_HEADER,
    DATA_SIZE,
    SLOTS_OFFSET,
)
from archive7.savepoint import Savepoint
from archive7.streams import DataStream, DynamicMultiStreamManager
from archive7.superblock import create, write_copies
from tests.crash.history import Content
from tests.crash.structure import Structure

HEADER: Final = b"header"
_MOST_STREAMS: Final = 12


class Session(ABC):
    """One writer, or one reader."""

    model: Content

    @abstractmethod
    def content(self) -> Content:
        """What a user sees, every byte read."""

    @abstractmethod
    def audit(self) -> None:
        """Assert every structural invariant of the last commit."""

    @abstractmethod
    def step(self, rng: random.Random) -> None:
        """Do something at random and to the model as well; nothing is committed."""

    @abstractmethod
    def touch(self, rng: random.Random) -> None:
        """Change a few bytes."""

    @abstractmethod
    def commit(self, *, durable: bool) -> None:
        """Commit everything."""

    @abstractmethod
    def rollback(self) -> None:
        """Go back to the last commit."""

    @abstractmethod
    def savepoint(self) -> Callable[[], None]:
        """Note the state; what is returned goes back to it."""

    @abstractmethod
    def release(self) -> None:
        """Forget all savepoints."""

    def compact(self, rng: random.Random) -> None:
        """Lay out a part of the blocks anew, or all of them; nothing is uncommitted."""
        compactor = Compactor(self.container)
        for _ in range(rng.choice((1, 2, 4, 100))):
            if compactor.is_complete or compactor.is_blocked():
                break
            compactor.step()

    @abstractmethod
    def close(self) -> None:
        """Commit everything durably and close."""

    @abstractmethod
    def refresh(self) -> None:
        """Follow the writer (readers)."""

    @property
    @abstractmethod
    def container(self) -> Container:
        """The container below."""


class Engine(ABC):
    """Makes and opens what is driven."""

    name: str

    @abstractmethod
    def create(self, device: Device) -> Session:
        """Make a new one on an empty device."""

    @abstractmethod
    def container(self, device: Device, *, readonly: bool = False) -> Container:
        """Open an existing container."""

    @abstractmethod
    def over(self, container: Container) -> Session:
        """What stands on a container."""

    def open(self, device: Device, *, readonly: bool = False) -> Session:
        """Open an existing one."""
        return self.over(self.container(device, readonly=readonly))


# --- streams


class Manager(DynamicMultiStreamManager):
    """With identities that a seed decides."""

    _drawn = 0

    def new_identity(self) -> UUID:
        type(self)._drawn += 1
        return UUID(int=(self._drawn << 64) | 0x7000_0000_0000)


class StreamSession(Session):
    """Streams under a manager."""

    def __init__(self, manager: Manager, model: Content | None = None) -> None:
        self.manager = manager
        self.model = {} if model is None else model
        self._held: dict[bytes, DataStream] = {}
        self._savepoints: list[Savepoint] = []

    @property
    def container(self) -> Container:
        return self.manager.container

    def content(self) -> Content:
        manager = self.manager
        found = {HEADER: manager.meta}
        for identity in list(manager.registry):
            stream = manager.open_stream(identity)
            data = bytearray(stream.len)
            assert stream.read_into(0, memoryview(data)) == len(data)
            manager.close_stream(stream)
            found[identity.bytes] = bytes(data)
        return found

    def audit(self) -> None:
        if not self.container.is_changed:  # the first commit makes the registry's root
            Structure(self.manager)

    # --- changes

    def step(self, rng: random.Random) -> None:
        names = [name for name in self.model if name != HEADER]
        kind = rng.random()
        if not names or (kind < 0.25 and len(names) < _MOST_STREAMS):
            self._make(rng)
        elif kind < 0.34 or len(names) >= _MOST_STREAMS:
            self._delete(rng.choice(names))
        elif kind < 0.36:  # much gets free, also at the end of the file
            for name in rng.sample(names, len(names) - len(names) // 4):
                self._delete(name)
        elif kind < 0.38:
            self._set_header(rng)
        elif kind < 0.40:
            # positions that nothing uses: the map gets taller without getting larger
            self.manager.take_run(rng.choice((350, 700, 700, 112_000)))
        elif kind < 0.55:
            self._truncate(rng, rng.choice(names))
        else:
            self._write(rng, rng.choice(names))

    def touch(self, rng: random.Random) -> None:
        names = [name for name in self.model if self.model[name] and name != HEADER]
        if not names:
            self._set_header(rng)
            return
        name = rng.choice(names)
        offset = rng.randrange(len(self.model[name]))
        self._put(name, offset, rng.randbytes(rng.randint(1, 20)))

    def _make(self, rng: random.Random) -> None:
        stream = self.manager.new_stream()
        name = stream.identity.bytes
        self.model[name] = b""
        self._held[name] = stream
        self._put(name, 0, rng.randbytes(size(rng)))
        self._let_go(rng, name)

    def _delete(self, name: bytes) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            held.close()
        assert self.manager.del_stream(UUID(bytes=name))
        del self.model[name]

    def _set_header(self, rng: random.Random) -> None:
        header = rng.randbytes(ARCHIVE_HEADER.size)
        self.manager.meta = header
        self.model[HEADER] = header

    def _truncate(self, rng: random.Random, name: bytes) -> None:
        old = self.model[name]
        length = rng.choice((0, len(old) // 2, rng.randint(0, len(old) + 3 * DATA_SIZE)))
        self._stream(name).truncate(length)
        self.model[name] = old[:length].ljust(length, b"\0")
        self._let_go(rng, name)

    def _write(self, rng: random.Random, name: bytes) -> None:
        old = len(self.model[name])
        offset = rng.choice((old, old, rng.randint(0, old), rng.randint(0, old + 2 * DATA_SIZE)))
        self._put(name, offset, rng.randbytes(size(rng)))
        self._let_go(rng, name)

    def _put(self, name: bytes, offset: int, data: bytes) -> None:
        if data:
            self._stream(name).write(offset, memoryview(data))
            old = self.model[name].ljust(offset, b"\0")
            self.model[name] = old[:offset] + data + old[offset + len(data) :]

    def _stream(self, name: bytes) -> DataStream:
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = self.manager.open_stream(UUID(bytes=name))
        return held

    def _let_go(self, rng: random.Random, name: bytes) -> None:
        """Close the stream, mostly."""
        if name in self._held and rng.random() < 0.8:
            self._held.pop(name).close()

    # --- commits

    def commit(self, *, durable: bool) -> None:
        self.release()
        self.manager.commit(durable=durable)

    def rollback(self) -> None:
        self._savepoints.clear()
        self.manager.rollback()
        self._forget_closed()

    def savepoint(self) -> Callable[[], None]:
        point, model = self.manager.savepoint(), dict(self.model)
        self._savepoints.append(point)
        depth = len(self._savepoints)

        def back() -> None:
            while len(self._savepoints) > depth:
                self.container.release(self._savepoints.pop())
            self.manager.rollback(self._savepoints.pop())
            self.model = model
            self._forget_closed()

        return back

    def release(self) -> None:
        while self._savepoints:
            self.container.release(self._savepoints.pop())

    def refresh(self) -> None:
        self.manager.refresh()

    def _forget_closed(self) -> None:
        self._held = {n: stream for n, stream in self._held.items() if not stream.is_closed}

    def close(self) -> None:
        self.release()
        self.manager.close()


def size(rng: random.Random) -> int:
    """Bytes to write: a few, a block, some blocks, a long run now and then."""
    drawn = rng.random()
    if drawn < 0.45:
        return rng.choice((0, rng.randint(1, 200), 2048, rng.randint(1, 4000)))
    if drawn < 0.80:
        return rng.choice((DATA_SIZE, rng.randint(1, 4) * DATA_SIZE, rng.randint(4000, 20000)))
    if drawn < 0.97:
        return rng.randint(4, 24) * DATA_SIZE + rng.randint(-200, 200)
    return rng.randint(24, 80) * DATA_SIZE + rng.randint(0, 5)


class StreamEngine(Engine):
    """Streams on a container with a raw key; the superblock is kept, no key is derived twice."""

    name = "streams"

    def __init__(self) -> None:
        self._superblock, self._master = create(SUITE_XAES256GCM, Secrets(key=bytes(range(32))))

    def create(self, device: Device) -> Session:
        device.truncate(SLOTS_OFFSET)
        write_copies(device, self._superblock, self._master)
        container = Container(device, self._superblock, self._master, create=True)
        return StreamSession(_over(container), {HEADER: container.header})

    def container(self, device: Device, *, readonly: bool = False) -> Container:
        return Container(device, self._superblock, self._master, readonly=readonly)

    def over(self, container: Container) -> Session:
        return StreamSession(_over(container))


def _over(container: Container) -> Manager:
    manager = Manager.over(container)
    assert isinstance(manager, Manager)
    return manager


@contextmanager
def one_cipher() -> Iterator[None]:
    """Derive keys once and decode a root once, not at each of thousands of openings."""
    kept: dict[tuple[object, ...], BlockCipher] = {}

    def cached(
        suite: int, master: bytes, container: bytes, epoch: int, kind: bytes
    ) -> BlockCipher:
        name = suite, bytes(master), container, epoch, kind
        if name not in kept:
            cipher = kept[name] = block_cipher(*name)
            # one scratch for all: nothing here runs beside another
            cipher.run_buffer = functools.cache(cipher.run_buffer)  # type: ignore[method-assign]
            cipher.forget = lambda: None  # type: ignore[method-assign]  # others use it, too
        return kept[name]

    decode = functools.lru_cache(1024)(root.decode)  # nobody changes a root once it is made
    with (
        mock.patch.object(snapshot, "block_cipher", cached),
        mock.patch.object(root, "decode", decode),
    ):
        yield
