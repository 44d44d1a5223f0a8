"""bplustree (the original archive7's index) as an ordered map.

Each insert is a transaction with one fsync of file and folder: it has no other way to insert keys
out of order. `BplustreeUnsynced` shows what is left without these syncs. Of its API only insert
and get are used; iteration does not work since Python 3.7.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from .base import Item, Peer, Session, Work, installed, missing

ORDER = 50
CACHE_NODES = 1024


class BytesSerializer:
    """Keeps bytes keys as they are; has the methods of bplustree's Serializer."""

    def serialize(self, obj: bytes, _key_size: int) -> bytes:
        """Return the key."""
        return obj

    def deserialize(self, data: bytes) -> bytes:
        """Return the key."""
        return data


class BplustreeSession(Session):
    """One tree file, made anew by each `map_insert`."""

    def __init__(self, folder: Path) -> None:
        self._tree_class = import_module("bplustree").BPlusTree
        self._path = folder / "map.tree"
        self._tree: Any = None

    def close(self) -> None:
        """Close the tree, if one is open."""
        if self._tree is not None:
            self._tree.close()
            self._tree = None

    def _fresh(self, key_size: int, value_size: int) -> Any:
        self.close()
        self._path.unlink(missing_ok=True)
        self._tree = self._tree_class(
            str(self._path),
            order=ORDER,
            key_size=key_size,
            value_size=value_size,
            cache_size=CACHE_NODES,
            serializer=BytesSerializer(),
        )
        return self._tree

    @contextmanager
    def map_insert(self, items: Sequence[Item]) -> Iterator[Work]:
        insert = self._fresh(len(items[0][0]), len(items[0][1])).insert

        def work() -> None:
            for key, value in items:
                insert(key, value)

        yield work

    @contextmanager
    def map_get(self, keys: Sequence[bytes]) -> Iterator[Work]:
        get = self._tree.get

        def work() -> object:
            value = None
            for key in keys:
                value = get(key)
            return value

        yield work


class UnsyncedSession(BplustreeSession):
    """The same, with bplustree's fsync taken out while it inserts."""

    @contextmanager
    def map_insert(self, items: Sequence[Item]) -> Iterator[Work]:
        memory: Any = import_module("bplustree.memory")
        sync: Callable[..., None] = memory.fsync_file_and_dir
        memory.fsync_file_and_dir = lambda *_: None
        try:
            with super().map_insert(items) as work:
                yield work
        finally:
            memory.fsync_file_and_dir = sync


class Bplustree(Peer):
    """A B+tree in pure Python, with a write-ahead log beside the file."""

    name = "bplustree"
    settings = "no encryption; one transaction and one sync (file and folder) for each insert"

    def available(self) -> str | None:
        return missing("bplustree")

    def version(self) -> str:
        return installed("bplustree")

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        session = BplustreeSession(folder)
        try:
            yield session
        finally:
            session.close()


class BplustreeUnsynced(Bplustree):
    """Informs only: what bplustree itself costs, without its syncs."""

    name = "bplustree unsynced"
    settings = "as bplustree, its fsync patched out while it inserts; informs only"
    is_rival = False

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        session = UnsyncedSession(folder)
        try:
            yield session
        finally:
            session.close()
