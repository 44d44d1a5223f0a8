"""sqlite3 of the standard library as an ordered map."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .base import Item, Peer, Session, Work

SCHEMA = "CREATE TABLE map(key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"


class SqliteSession(Session):
    """One database file, made anew by each `map_insert`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "map.db"
        self._database = sqlite3.connect(self._path, isolation_level=None)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @contextmanager
    def map_insert(self, items: Sequence[Item]) -> Iterator[Work]:
        self._database.close()
        self._path.unlink(missing_ok=True)
        self._database = sqlite3.connect(self._path, isolation_level=None)
        execute = self._database.execute
        execute(SCHEMA)

        def work() -> None:
            execute("BEGIN")
            for item in items:
                execute("INSERT INTO map VALUES (?, ?)", item)
            execute("COMMIT")

        yield work

    @contextmanager
    def map_get(self, keys: Sequence[bytes]) -> Iterator[Work]:
        execute = self._database.execute

        def work() -> object:
            row = None
            for key in keys:
                row = execute("SELECT value FROM map WHERE key = ?", (key,)).fetchone()
            return row[0] if row else None

        yield work


class Sqlite(Peer):
    """One INSERT or SELECT a key, all inserts in one transaction."""

    name = "sqlite3"
    settings = "no encryption; a file, WITHOUT ROWID, one transaction, synchronous FULL"

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        session = SqliteSession(folder)
        try:
            yield session
        finally:
            session.close()
