"""pyzipper: a ZIP file with WinZip's AES-256, written and read from Python."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from .base import File, Peer, Session, Work, installed, missing


class ZipSession(Session):
    """One ZIP file for the stream, one for the small files; stored, not deflated."""

    def __init__(self, folder: Path) -> None:
        self._module = import_module("pyzipper")
        self._folder = folder
        self._password = os.urandom(16).hex().encode()

    @contextmanager
    def _writer(self, name: str) -> Iterator[Any]:
        """Yield a new ZIP file, synced when it ends."""
        module = self._module
        with (self._folder / name).open("wb") as raw:
            with module.AESZipFile(raw, "w", compression=module.ZIP_STORED) as archive:
                archive.setpassword(self._password)
                archive.setencryption(module.WZ_AES, nbits=256)
                yield archive
            raw.flush()
            os.fsync(raw.fileno())

    @contextmanager
    def _reader(self, name: str) -> Iterator[Any]:
        with self._module.AESZipFile(self._folder / name) as archive:
            archive.setpassword(self._password)
            yield archive

    @contextmanager
    def write_sequential(self, payload: memoryview, chunk: int) -> Iterator[Work]:
        (self._folder / "stream.zip").unlink(missing_ok=True)

        def work() -> None:
            with (
                self._writer("stream.zip") as archive,
                archive.open("stream", "w", force_zip64=True) as file,
            ):
                for offset in range(0, len(payload), chunk):
                    file.write(payload[offset : offset + chunk])

        yield work

    @contextmanager
    def read_sequential(self, chunk: int) -> Iterator[Work]:
        with self._reader("stream.zip") as archive, archive.open("stream") as file:

            def work() -> object:
                data = last = file.read(chunk)
                while data:
                    last = data
                    data = file.read(chunk)
                return last

            yield work

    @contextmanager
    def create_small(self, files: Sequence[File]) -> Iterator[Work]:
        (self._folder / "small.zip").unlink(missing_ok=True)

        def work() -> None:
            with self._writer("small.zip") as archive:
                for name, data in files:
                    archive.writestr(name, data)

        yield work

    @contextmanager
    def read_small(self, names: Sequence[str]) -> Iterator[Work]:
        with self._reader("small.zip") as archive:

            def work() -> object:
                data = None
                for name in names:
                    data = archive.read(name)
                return data

            yield work


class ZipAes(Peer):
    """No random access: a seek back decrypts from the begin."""

    name = "pyzipper AES"
    settings = "WinZip AES-256 (CTR + HMAC-SHA1, PBKDF2 for each file), stored, one fsync"
    is_encrypted = True

    def available(self) -> str | None:
        return missing("pyzipper")

    def version(self) -> str:
        return installed("pyzipper")

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        yield ZipSession(folder)
