"""SQLCipher through sqlcipher3, in the layout that is fastest for each workload.

The stream is kept twice: in rows of one chunk for the sequential workloads, in rows of 4 KiB for
the random ones (`substr` and a newly opened blob handle on bigger rows are slower).
`Sqlcipher` runs with its default cache, as every peer runs with its defaults; `SqlcipherTuned`
has a bigger one, and a blob handle that has walked its whole overflow chain before it is timed.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from .base import File, Peer, Session, Work, installed, missing

PAGE_SIZE = 4096
TUNED_CACHE_KIB = 24 * 1024
"""The same as Archive7's block cache; SQLCipher's default is 2 MB."""

CHUNKS = "CREATE TABLE chunk(id INTEGER PRIMARY KEY, data BLOB)"
PAGES = "CREATE TABLE page(id INTEGER PRIMARY KEY, data BLOB)"
FILES = "CREATE TABLE file(name TEXT PRIMARY KEY, data BLOB)"


class SqlcipherSession(Session):
    """Databases below a folder: one for chunks, one for pages, one for small files."""

    cache_kib: ClassVar[int | None] = None
    """The size of the page cache; None = the default."""
    reads_any_offset = False

    def __init__(self, folder: Path) -> None:
        self._connect = import_module("sqlcipher3").connect
        self._folder = folder
        self._key = os.urandom(32).hex()
        self._databases: dict[str, Any] = {}
        self._payload = memoryview(b"")

    def close(self) -> None:
        """Close every database."""
        for database in self._databases.values():
            database.close()
        self._databases.clear()

    def _fresh(self, name: str, schema: str, journal: str = "DELETE", sync: str = "FULL") -> Any:
        """Create the database `name` anew, with one table."""
        if name in self._databases:
            self._databases.pop(name).close()
        for path in self._folder.glob(f"{name}.db*"):
            path.unlink()
        database = self._connect(str(self._folder / f"{name}.db"), isolation_level=None)
        self._databases[name] = database
        database.execute(f"PRAGMA key = \"x'{self._key}'\"")
        if self.cache_kib is not None:
            database.execute(f"PRAGMA cache_size = -{self.cache_kib}")
        database.execute(f"PRAGMA journal_mode = {journal}")
        database.execute(f"PRAGMA synchronous = {sync}")
        database.execute(schema)
        return database

    def _pages(self) -> Any:
        """Return the stream in rows of 4 KiB, filled once."""
        if "page" not in self._databases:
            database = self._fresh("page", PAGES)
            rows = (
                (offset // PAGE_SIZE, self._payload[offset : offset + PAGE_SIZE])
                for offset in range(0, len(self._payload), PAGE_SIZE)
            )
            database.execute("BEGIN")
            database.executemany("INSERT INTO page VALUES (?, ?)", rows)
            database.execute("COMMIT")
        return self._databases["page"]

    @contextmanager
    def write_sequential(self, payload: memoryview, chunk: int) -> Iterator[Work]:
        database = self._fresh("chunk", CHUNKS)
        self._payload = payload

        def work() -> None:
            database.execute("BEGIN")
            for row, offset in enumerate(range(0, len(payload), chunk)):
                data = payload[offset : offset + chunk]
                database.execute("INSERT INTO chunk VALUES (?, ?)", (row, data))
            database.execute("COMMIT")

        yield work

    @contextmanager
    def read_sequential(self, chunk: int) -> Iterator[Work]:
        database = self._databases["chunk"]

        def work() -> object:
            data = None
            for row in database.execute("SELECT data FROM chunk ORDER BY id"):
                data = row[0]
            return data

        yield work

    @contextmanager
    def random_read(self, offsets: Sequence[int], size: int) -> Iterator[Work]:
        execute = self._pages().execute
        rows = [(offset // PAGE_SIZE,) for offset in offsets]

        def work() -> object:
            data = None
            for row in rows:
                data = execute("SELECT data FROM page WHERE id = ?", row).fetchone()
            return data[0] if data else None

        yield work

    @contextmanager
    def random_overwrite(self, offsets: Sequence[int], page: bytes) -> Iterator[Work]:
        execute = self._pages().execute
        rows = [(page, offset // PAGE_SIZE) for offset in offsets]

        def work() -> None:
            execute("BEGIN")
            for row in rows:
                execute("UPDATE page SET data = ? WHERE id = ?", row)
            execute("COMMIT")

        yield work

    @contextmanager
    def create_small(self, files: Sequence[File]) -> Iterator[Work]:
        execute = self._fresh("file", FILES).execute

        def work() -> None:
            execute("BEGIN")
            for file in files:
                execute("INSERT INTO file VALUES (?, ?)", file)
            execute("COMMIT")

        yield work

    @contextmanager
    def read_small(self, names: Sequence[str]) -> Iterator[Work]:
        execute = self._databases["file"].execute

        def work() -> object:
            data = None
            for name in names:
                data = execute("SELECT data FROM file WHERE name = ?", (name,)).fetchone()
            return data[0] if data else None

        yield work

    @contextmanager
    def small_commit(self, files: Sequence[File], durable: bool) -> Iterator[Work]:
        database = self._fresh("commit", FILES, "WAL", "FULL" if durable else "NORMAL")

        def work() -> None:
            for file in files:
                database.execute("INSERT INTO file VALUES (?, ?)", file)

        yield work


class TunedSession(SqlcipherSession):
    """A big cache, and random reads by a blob handle that knows every page of its blob."""

    cache_kib = TUNED_CACHE_KIB
    reads_any_offset = True

    @contextmanager
    def random_read(self, offsets: Sequence[int], size: int) -> Iterator[Work]:
        blob = self._walked_blob(is_read_only=True)

        def work() -> object:
            data = None
            seek, read = blob.seek, blob.read
            for offset in offsets:
                seek(offset)
                data = read(size)
            return data

        try:
            yield work
        finally:
            blob.close()

    @contextmanager
    def random_overwrite(self, offsets: Sequence[int], page: bytes) -> Iterator[Work]:
        blob = self._walked_blob(is_read_only=False)
        execute = self._databases["blob"].execute

        def work() -> None:
            seek, write = blob.seek, blob.write
            execute("BEGIN")
            for offset in offsets:
                seek(offset)
                write(page)
            blob.close()
            execute("COMMIT")

        yield work

    def _walked_blob(self, is_read_only: bool) -> Any:
        if "blob" not in self._databases:
            database = self._fresh("blob", FILES)
            database.execute("INSERT INTO file VALUES ('stream', ?)", (self._payload,))
        blob = self._databases["blob"].open_blob("file", "data", 1, is_read_only)
        while blob.read(1 << 20):
            pass
        return blob


class Sqlcipher(Peer):
    """AES-256-CBC and HMAC-SHA512 a page."""

    name = "SQLCipher"
    settings = (
        "AES-256-CBC + HMAC-SHA512, raw key; cache 2 MB, journal DELETE, synchronous FULL "
        "(defaults); small commits: WAL, FULL if durable else NORMAL; rows of 1 MiB, random: 4 KiB"
    )
    is_encrypted = True

    def available(self) -> str | None:
        return missing("sqlcipher3")

    def version(self) -> str:
        module = import_module("sqlcipher3")
        return f"{installed('sqlcipher3-wheels')} (SQLite {module.sqlite_version})"

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        session = SqlcipherSession(folder)
        try:
            yield session
        finally:
            session.close()


class SqlcipherTuned(Sqlcipher):
    """Informs only: its preparation reads the whole stream, at a cost that grows with it."""

    name = "SQLCipher tuned"
    settings = "cache 24 MiB; random: one blob, walked before the clock starts; informs only"
    is_rival = False

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        session = TunedSession(folder)
        try:
            yield session
        finally:
            session.close()
