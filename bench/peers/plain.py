"""Plain files by system calls: the peer without encryption, and the client of mounted peers."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .base import File, Peer, Session, Work

CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY


def create_file(path: str, data: bytes, durable: bool) -> None:
    """Create one file with one write, and fsync it if `durable`."""
    descriptor = os.open(path, CREATE)
    try:
        os.write(descriptor, data)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FolderSession(Session):
    """Files below a folder.

    The stream is opened anew before every read, so that a mounted peer has to decrypt it again:
    FUSE drops the decrypted pages of a file at open.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stream = folder / "stream"
        self._small = folder
        self._count = 0

    def _fresh_folder(self) -> Path:
        self._count += 1
        self._small = self._folder / f"small-{self._count}"
        self._small.mkdir()
        return self._small

    @contextmanager
    def write_sequential(self, payload: memoryview, chunk: int) -> Iterator[Work]:
        self._stream.unlink(missing_ok=True)

        def work() -> None:
            descriptor = os.open(self._stream, CREATE)
            for offset in range(0, len(payload), chunk):
                os.write(descriptor, payload[offset : offset + chunk])
            os.fsync(descriptor)
            os.close(descriptor)

        yield work

    @contextmanager
    def read_sequential(self, chunk: int) -> Iterator[Work]:
        buffer = bytearray(chunk)
        with self._stream.open("rb", buffering=0) as file:

            def work() -> bytes:
                size = last = file.readinto(buffer)
                while size:
                    last = size
                    size = file.readinto(buffer)
                return bytes(buffer[:last])

            yield work

    @contextmanager
    def random_read(self, offsets: Sequence[int], size: int) -> Iterator[Work]:
        with self._stream.open("rb", buffering=0) as file:
            descriptor = file.fileno()

            def work() -> bytes:
                piece, pread = b"", os.pread
                for offset in offsets:
                    piece = pread(descriptor, size, offset)
                return piece

            yield work

    @contextmanager
    def random_overwrite(self, offsets: Sequence[int], page: bytes) -> Iterator[Work]:
        with self._stream.open("r+b", buffering=0) as file:
            descriptor = file.fileno()

            def work() -> None:
                pwrite = os.pwrite
                for offset in offsets:
                    pwrite(descriptor, page, offset)
                os.fsync(descriptor)

            yield work

    @contextmanager
    def create_small(self, files: Sequence[File]) -> Iterator[Work]:
        folder = str(self._fresh_folder())

        def work() -> None:
            for name, data in files:
                create_file(f"{folder}/{name}", data, durable=False)

        yield work

    @contextmanager
    def read_small(self, names: Sequence[str]) -> Iterator[Work]:
        folder = str(self._small)

        def work() -> bytes:
            data = b""
            for name in names:
                descriptor = os.open(f"{folder}/{name}", os.O_RDONLY)
                data = os.read(descriptor, 65536)
                os.close(descriptor)
            return data

        yield work

    @contextmanager
    def small_commit(self, files: Sequence[File], durable: bool) -> Iterator[Work]:
        folder = str(self._fresh_folder())
        parent = os.open(folder, os.O_RDONLY)

        def work() -> None:
            for name, data in files:
                create_file(f"{folder}/{name}", data, durable)
                if durable:
                    os.fsync(parent)

        try:
            yield work
        finally:
            os.close(parent)


class Plain(Peer):
    """Files of the filesystem itself."""

    name = "plain files"
    settings = "no encryption; small creates are neither synced nor atomic"

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        yield FolderSession(folder)
