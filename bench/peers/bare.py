"""The bare loop: what Python and `cryptography` can do at best with sealed 4 KiB blocks.

Blocks as in the container (nonce, ciphertext, tag; header, digest, data), but no map, no links
that anyone checks, no cache, no files: an upper bound, not a product.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from .base import Peer, Session, Work, missing

BLOCK_SIZE = 4096
HEADER = struct.Struct("!iiI16s20s")
DATA_SIZE = 4008
NONCE_SIZE = 24
PREFIX_SIZE = 12
RUN_COUNT = 256
AAD = b"bare"
STREAM = bytes(16)
COMMIT = bytes(4)


class BareSession(Session):
    """One file of sealed blocks, written and read in runs of 256."""

    def __init__(self, folder: Path) -> None:
        aead = import_module("cryptography.hazmat.primitives.ciphers.aead")
        cipher = aead.AESGCM(os.urandom(32))
        self._encrypt: Callable[..., int] = cipher.encrypt_into
        self._decrypt: Callable[..., int] = cipher.decrypt_into
        self._digest: Callable[[memoryview], bytes] = import_module("xxhash").xxh3_128_digest
        self._path = folder / "blocks"
        self._plain = bytearray(HEADER.size + DATA_SIZE)
        self._buffer = memoryview(bytearray(RUN_COUNT * BLOCK_SIZE))
        self._size = 0

    def _seal_run(self, payload: memoryview, index: int) -> memoryview:
        """Seal the blocks of `payload`, at most one run, from `index` on."""
        encrypt, digest, pack = self._encrypt, self._digest, HEADER.pack_into
        buffer, plain = self._buffer, self._plain
        count = -(-len(payload) // DATA_SIZE)
        prefix, nonces = os.urandom(PREFIX_SIZE), os.urandom(PREFIX_SIZE * count)
        begin = 0
        for number in range(count):
            data = payload[number * DATA_SIZE : (number + 1) * DATA_SIZE]
            pack(plain, 0, index - 1, index + 1, index, STREAM, digest(data) + COMMIT)
            plain[HEADER.size : HEADER.size + len(data)] = data
            nonce = nonces[number * PREFIX_SIZE : (number + 1) * PREFIX_SIZE]
            buffer[begin : begin + NONCE_SIZE] = prefix + nonce
            encrypt(nonce, plain, AAD, buffer[begin + NONCE_SIZE : begin + BLOCK_SIZE])
            begin += BLOCK_SIZE
            index += 1
        return buffer[:begin]

    def _open_run(self, sealed: memoryview, out: memoryview) -> None:
        """Open the blocks of `sealed` and copy their data into `out`."""
        decrypt, plain = self._decrypt, self._plain
        opened = memoryview(plain)[HEADER.size :]
        target = 0
        for begin in range(0, len(sealed), BLOCK_SIZE):
            nonce = sealed[begin + PREFIX_SIZE : begin + NONCE_SIZE]
            decrypt(nonce, sealed[begin + NONCE_SIZE : begin + BLOCK_SIZE], AAD, plain)
            out[target : target + DATA_SIZE] = opened
            target += DATA_SIZE

    @contextmanager
    def write_sequential(self, payload: memoryview, chunk: int) -> Iterator[Work]:
        self._path.unlink(missing_ok=True)
        self._size = len(payload)
        run = RUN_COUNT * DATA_SIZE

        def work() -> None:
            descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY)
            for index, offset in enumerate(range(0, len(payload), run)):
                sealed = self._seal_run(payload[offset : offset + run], index * RUN_COUNT)
                os.pwrite(descriptor, sealed, index * len(self._buffer))
            os.fsync(descriptor)
            os.close(descriptor)

        yield work

    @contextmanager
    def read_sequential(self, chunk: int) -> Iterator[Work]:
        out = memoryview(bytearray(RUN_COUNT * DATA_SIZE))
        tail = (self._size - 1) % len(out) + 1
        with self._path.open("rb", buffering=0) as file:

            def work() -> bytes:
                while size := file.readinto(self._buffer):
                    self._open_run(self._buffer[:size], out)
                return bytes(out[:tail])

            yield work

    @contextmanager
    def random_read(self, offsets: Sequence[int], size: int) -> Iterator[Work]:
        out = memoryview(bytearray(3 * DATA_SIZE + size))
        with self._path.open("rb", buffering=0) as file:
            descriptor = file.fileno()

            def work() -> bytes:
                skip, preadv, buffer, open_run = 0, os.preadv, self._buffer, self._open_run
                for offset in offsets:
                    first, skip = divmod(offset, DATA_SIZE)
                    last = (offset + size - 1) // DATA_SIZE
                    sealed = buffer[: (last + 1 - first) * BLOCK_SIZE]
                    preadv(descriptor, [sealed], first * BLOCK_SIZE)
                    open_run(sealed, out)
                return bytes(out[skip : skip + size])

            yield work

    @contextmanager
    def random_overwrite(self, offsets: Sequence[int], page: bytes) -> Iterator[Work]:
        out = memoryview(bytearray(3 * DATA_SIZE + len(page)))
        descriptor = os.open(self._path, os.O_RDWR)

        def work() -> None:
            buffer, seal_run, open_run = self._buffer, self._seal_run, self._open_run
            for offset in offsets:
                first, skip = divmod(offset, DATA_SIZE)
                count = (offset + len(page) - 1) // DATA_SIZE + 1 - first
                sealed = buffer[: count * BLOCK_SIZE]
                os.preadv(descriptor, [sealed], first * BLOCK_SIZE)
                open_run(sealed, out)
                out[skip : skip + len(page)] = page
                sealed = seal_run(out[: count * DATA_SIZE], first)
                os.pwrite(descriptor, sealed, first * BLOCK_SIZE)
            os.fsync(descriptor)

        try:
            yield work
        finally:
            os.close(descriptor)


class Bare(Peer):
    """The bound, not a rival: nothing of it could be called a filesystem."""

    name = "bare loop"
    settings = "AES-256-GCM blocks, XXH3-128, packed headers, one system call per 256 blocks"
    is_rival = False

    def available(self) -> str | None:
        return missing("cryptography") or missing("xxhash")

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        yield BareSession(folder)
