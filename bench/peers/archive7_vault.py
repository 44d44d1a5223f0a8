"""Archive7 itself, through its public API only: `archive7.open` and the methods of `Archive`.

The ordered map is the one thing that has no public door; `open_map` is the seam to the tree.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from .base import File, Item, Peer, Session, Work, installed, missing


class OrderedMap(Protocol):
    """What the map workloads need of a tree."""

    def insert(self, key: bytes, value: bytes) -> object:
        """Add one key."""

    def get(self, key: bytes) -> object:
        """Return the value of a key."""


def open_map(vault: Any) -> OrderedMap:
    """Return an empty tree in a new internal stream of the vault."""
    registry = import_module("archive7.streams.registry")
    internal = import_module("archive7.streams.internal")
    manager = vault._manager
    tree: OrderedMap = registry.tree_in(
        internal.InternalStream(manager, None, manager.new_identity())
    )
    return tree


class Archive7Session(Session):
    """Containers below a folder: one for the stream, one for small files, one for the map.

    Writing workloads begin with a new container; reading ones open its files anew.
    """

    def __init__(self, folder: Path) -> None:
        self._open = import_module("archive7").open
        self._folder = folder
        self._key = os.urandom(32)
        self._vaults: dict[str, Any] = {}
        self._map: OrderedMap | None = None

    def close(self) -> None:
        """Close every container."""
        while self._vaults:
            self._vaults.popitem()[1].close()

    def _fresh(self, name: str) -> Any:
        """Create the container `name` anew and empty."""
        if name in self._vaults:
            self._vaults.pop(name).close()
        path = self._folder / f"{name}.ar7"
        path.unlink(missing_ok=True)
        vault = self._vaults[name] = self._open(path, "x", key=self._key)
        return vault

    @contextmanager
    def write_sequential(self, payload: memoryview, chunk: int) -> Iterator[Work]:
        vault = self._fresh("stream")

        def work() -> None:
            with vault.open("/stream", "wb") as file:
                for offset in range(0, len(payload), chunk):
                    file.write(payload[offset : offset + chunk])
            vault.sync()

        yield work

    @contextmanager
    def read_sequential(self, chunk: int) -> Iterator[Work]:
        buffer = bytearray(chunk)
        with self._vaults["stream"].open("/stream", "rb", buffering=0) as file:

            def work() -> bytes:
                size = last = file.readinto(buffer)
                while size:
                    last = size
                    size = file.readinto(buffer)
                return bytes(buffer[:last])

            yield work

    @contextmanager
    def random_read(self, offsets: Sequence[int], size: int) -> Iterator[Work]:
        with self._vaults["stream"].open("/stream", "rb", buffering=0) as file:

            def work() -> object:
                piece, seek, read = None, file.seek, file.read
                for offset in offsets:
                    seek(offset)
                    piece = read(size)
                return piece

            yield work

    @contextmanager
    def random_overwrite(self, offsets: Sequence[int], page: bytes) -> Iterator[Work]:
        vault = self._vaults["stream"]
        with vault.open("/stream", "r+b", buffering=0) as file:

            def work() -> None:
                seek, write = file.seek, file.write
                for offset in offsets:
                    seek(offset)
                    write(page)
                file.flush()
                vault.sync()

            yield work

    @contextmanager
    def create_small(self, files: Sequence[File]) -> Iterator[Work]:
        vault = self._fresh("small")

        def work() -> None:
            with vault.transaction():
                for name, data in files:
                    vault.write_bytes(f"/{name}", data)
            vault.sync()

        yield work

    @contextmanager
    def read_small(self, names: Sequence[str]) -> Iterator[Work]:
        vault = self._vaults["small"]

        def work() -> object:
            data = None
            for name in names:
                data = vault.read_bytes(f"/{name}")
            return data

        yield work

    @contextmanager
    def small_commit(self, files: Sequence[File], durable: bool) -> Iterator[Work]:
        vault = self._fresh("commit")

        def work() -> None:
            for name, data in files:
                vault.write_bytes(f"/{name}", data)
                if durable:
                    vault.sync()

        yield work

    @contextmanager
    def map_insert(self, items: Sequence[Item]) -> Iterator[Work]:
        vault = self._fresh("map")
        self._map = tree = open_map(vault)

        def work() -> None:
            insert = tree.insert
            for key, value in items:
                insert(key, value)
            vault.sync()

        yield work

    @contextmanager
    def map_get(self, keys: Sequence[bytes]) -> Iterator[Work]:
        assert self._map is not None
        get = self._map.get

        def work() -> object:
            value = None
            for key in keys:
                value = get(key)
            return value

        yield work


class Archive7(Peer):
    """What all the others are measured for."""

    name = "Archive7"
    settings = "suite xaes256gcm, raw key, default caches; create and write end with vault.sync()"
    is_encrypted = True
    is_rival = False

    def available(self) -> str | None:
        return missing("archive7")

    def version(self) -> str:
        return installed("archive7")

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        session = Archive7Session(folder)
        try:
            yield session
        finally:
            session.close()
