"""Cipher suites and key derivation: sealing and opening blocks.

Owns everything that touches a key; with `hpke`, for public keys, the only module that imports a
crypto or hash library.  May assume: buffers have the sizes of `layout`.  Promises: a plaintext
that did not verify is zeroed before anyone sees it, and no (key, nonce) pair is chosen by a
counter or from a pool.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from ctypes import c_char as _char
from ctypes import c_ulonglong as _ulonglong
from ctypes import create_string_buffer as _create_buffer
from typing import Any, Final, Protocol

import xxhash
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher as _Cipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import SuiteUnavailableError, VersionError
from .layout import (
    BLOCK_HEAD,
    BLOCK_SIZE,
    DIGEST_OFFSET,
    NONCE_SIZE,
    PLAIN_SIZE,
    SEALED_XAES,
    TAG_PREFIX_SIZE,
    TAG_SIZE,
    StructError,
)

KEY_SIZE: Final = 32
KIND_DATA: Final = b"data"
KIND_NODE: Final = b"node"
KIND_ROOT: Final = b"root"
SUITE_XAES256GCM: Final = 1
SUITE_SECRETBOX: Final = 2
SUITES: Final = {SUITE_XAES256GCM: "xaes256gcm", SUITE_SECRETBOX: "secretbox"}
_PREFIX_SIZE: Final = 12
_PREFIX_COUNT: Final = 256
_SEALED: Final = SEALED_XAES.unpack_from
_BOX: Final = BLOCK_SIZE - NONCE_SIZE
_digest_of = xxhash.xxh3_128_digest
_DIGEST: Final = slice(DIGEST_OFFSET, BLOCK_HEAD.size)

Buffer = bytes | bytearray | memoryview


def hkdf(key: Buffer, salt: Buffer, info: bytes, size: int = KEY_SIZE) -> bytes:
    """Derive `size` bytes by HKDF-SHA256 (RFC 5869)."""
    return HKDF(hashes.SHA256(), size, bytes(salt), info).derive(bytes(key))


def argon2id(passphrase: bytes, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
    """Derive a 32-byte key by Argon2id (RFC 9106).  The caller has checked the bounds."""
    kdf = Argon2id(
        salt=salt, length=KEY_SIZE, iterations=passes, lanes=lanes, memory_cost=memory_kib
    )
    return kdf.derive(passphrase)


def subkey(master: Buffer, container: bytes, purpose: bytes, suite: int, epoch: int) -> bytes:
    """Derive the key for one purpose from the master key (docs/format.rst, "Keys")."""
    info = b"archive7/3 " + purpose + suite.to_bytes(2, "big") + epoch.to_bytes(4, "big")
    return hkdf(master, container, info)


def mac(key: Buffer, data: Buffer) -> bytes:
    """HMAC-SHA256 (RFC 2104)."""
    return hmac.digest(bytes(key), data, "sha256")


def sha256(data: Buffer) -> bytes:
    """SHA-256 (FIPS 180-4)."""
    return hashlib.sha256(data).digest()


def plain_digest(data: Buffer) -> bytes:
    """SHA-1: the digest of a block that no suite has sealed yet (the seed's)."""
    return hashlib.sha1(data, usedforsecurity=False).digest()


def digest_fits(digest: bytes, data: Buffer) -> bool:
    """Whether `digest` is what one of the suites, or nobody yet, gives for `data`."""
    return xxhash.xxh3_128_digest(data) == digest[:16] or plain_digest(data) == digest


def same(one: Buffer, other: Buffer) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(bytes(one), bytes(other))


def seal_small(key: bytes, plain: Buffer, aad: bytes) -> bytes:
    """Seal a few bytes by AES-256-GCM: 12 bytes nonce, ciphertext, tag."""
    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, bytes(plain), aad)


def open_small(key: bytes, sealed: Buffer, aad: bytes) -> bytes | None:
    """Open what `seal_small` sealed; None if it does not verify."""
    data = bytes(sealed)
    try:
        return AESGCM(key).decrypt(data[:12], data[12:], aad)
    except (InvalidTag, ValueError):
        return None


def wrap_key(wrap: bytes, master: Buffer, aad: bytes) -> bytes:
    """Seal the master key under a key that is used once: all-zero nonce, 32 + 16 bytes.

    `wrap` must come from a salt drawn for this call; `keyslots` alone calls this.
    """
    return AESGCM(wrap).encrypt(bytes(12), master, aad)


def unwrap_key(wrap: bytes, sealed: bytes, aad: bytes) -> bytearray | None:
    """Open what `wrap_key` sealed; None if it does not verify."""
    master = bytearray(KEY_SIZE)
    try:
        AESGCM(wrap).decrypt_into(bytes(12), sealed, aad, master)
    except (InvalidTag, ValueError):
        master[:] = bytes(KEY_SIZE)
        return None
    return master


class RunBuffer:
    """Scratch for one plaintext, and room for a run of sealed blocks with views into it.

    One set of views serves every run: the bulk path makes no object per block beyond nonces and
    tags, and its plaintext stays in the processor's nearest cache.
    """

    __slots__ = ("boxes", "count", "data", "nonces", "plain", "plain_view", "sealed", "tags")

    def __init__(self, count: int, head_size: int, tag_offset: int) -> None:
        self.count = count
        self.plain = bytearray(PLAIN_SIZE)
        self.plain_view = memoryview(self.plain)
        self.data = self.plain_view[head_size:]
        self.sealed = sealed = memoryview(bytearray(BLOCK_SIZE * count))
        starts = range(0, len(sealed), BLOCK_SIZE)
        self.nonces = [sealed[at : at + NONCE_SIZE] for at in starts]
        self.boxes = [sealed[at + NONCE_SIZE : at + BLOCK_SIZE] for at in starts]
        self.tags = [sealed[at + tag_offset :][:TAG_PREFIX_SIZE] for at in starts]

    def wipe(self) -> None:
        """Zero the plaintext."""
        self.plain[:] = bytes(PLAIN_SIZE)


Wanted = tuple[bytes, bytes]  # what a plaintext has to begin and to end with


class OpenInto(Protocol):
    """Opens the block at `start` of `sealed` into the scratch `plain`; False if not genuine."""

    def __call__(self, sealed: memoryview, start: int, tag: bytes, plain: memoryview) -> bool:
        """Open one block that must have the tag prefix `tag`."""


class BlockCipher(ABC):
    """Seals and opens blocks of one kind under one key."""

    number: int
    tag_offset: int  # of the tag in a sealed block
    _key: bytearray

    @abstractmethod
    def seal_run(self, run: RunBuffer, plains: Iterable[Buffer], count: int) -> list[bytes]:
        """Seal `count` plaintexts one behind the other into `run`; return their tag prefixes.
        Each is sealed before the next is asked for: they may share one buffer.
        """

    @abstractmethod
    def open_run(
        self, run: RunBuffer, sealed: bytes, tags: Sequence[bytes]
    ) -> Iterator[memoryview]:
        """Open blocks one behind the other into the scratch of `run`, which is yielded.

        At the first that is not genuine, or has another tag prefix, this ends; scratch is zeroed.
        """

    def verify_run(
        self, run: RunBuffer, sealed: bytes, tags: Sequence[bytes], wanted: Sequence[Wanted]
    ) -> int:
        """How many blocks one behind the other, from the first on, are what they have to be.

        Args:
            run: scratch.
            sealed: the blocks, whole ones.
            tags: expected tag prefix of each.
            wanted: what each plaintext has to hold; its digest is compared, too.
        """
        matches, plain, sound = self.digest_matches, run.plain, 0
        for _, (begin, end) in zip(self.open_run(run, sealed, tags), wanted, strict=False):
            if not (plain.startswith(begin) and plain.endswith(end)):
                break
            if not matches(bytes(plain[_DIGEST]), run.data):
                break
            sound += 1
        return sound

    def run_buffer(self, count: int, head_size: int) -> RunBuffer:
        """A buffer for runs of up to `count` blocks."""
        return RunBuffer(count, head_size, self.tag_offset)

    @abstractmethod
    def opener(self) -> OpenInto:
        """What opens single blocks into scratch memory: see `OpenInto`."""

    @abstractmethod
    def open_block(self, sealed: Buffer, tag: bytes | None = None) -> bytes | None:
        """Open one block; None if it is not genuine or has not the tag prefix `tag`."""

    @abstractmethod
    def digester(self, commit: int) -> Callable[[Buffer], bytes]:
        """What makes the 20 bytes of the digest field from the data (4008 bytes)."""

    def forget(self) -> None:
        """Overwrite the key; nothing can be sealed or opened any more."""
        self._key[:] = bytes(len(self._key))

    def tag(self, sealed: Buffer) -> bytes:
        """The tag prefix of a sealed block."""
        return bytes(sealed[self.tag_offset : self.tag_offset + TAG_PREFIX_SIZE])

    def digest_matches(self, digest: bytes, data: Buffer) -> bool:
        """Whether `digest` is that of `data`, whatever commit it carries."""
        return self.digester(0)(data)[: self.digest_size] == digest[: self.digest_size]

    digest_size: int = 16


def xaes_subkey(key: Buffer, prefix: bytes) -> bytes:
    """Derive the AES-256-GCM key for the first 12 bytes of a nonce (C2SP XAES-256-GCM)."""
    # single blocks, as CMAC takes them
    encryptor = _Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    value = int.from_bytes(encryptor.update(bytes(16)), "big")
    doubled = (value << 1) & (2**128 - 1) ^ (0x87 if value >> 127 else 0)
    blocks = b"".join(
        (int.from_bytes(b"\x00" + bytes([i]) + b"X\x00" + prefix, "big") ^ doubled).to_bytes(
            16, "big"
        )
        for i in (1, 2)
    )
    return encryptor.update(blocks)


class XaesCipher(BlockCipher):
    """Suite 1: XAES-256-GCM with 256 nonce prefixes per key, XXH3-128 as digest.

    A nonce cannot repeat by construction of a counter but only by chance: 12 bytes of the prefix
    select one of 256 keys, 12 bytes are random at each seal.
    """

    number = SUITE_XAES256GCM
    tag_offset = BLOCK_SIZE - TAG_SIZE

    def __init__(self, key: bytes, prefixes: bytes, aad: bytes) -> None:
        self._key = bytearray(key)
        self._aad = aad
        self._prefixes = [
            prefixes[i * _PREFIX_SIZE : (i + 1) * _PREFIX_SIZE] for i in range(_PREFIX_COUNT)
        ]
        self._known = frozenset(self._prefixes)
        self._ciphers: dict[bytes, AESGCM] = {}

    def forget(self) -> None:
        super().forget()
        self._known = frozenset()
        self._ciphers.clear()

    def _cipher(self, prefix: bytes) -> AESGCM | None:
        cipher = self._ciphers.get(prefix)
        if cipher is None and prefix in self._known:
            cipher = self._ciphers[prefix] = AESGCM(xaes_subkey(self._key, prefix))
        return cipher

    def seal_run(self, run: RunBuffer, plains: Iterable[Buffer], count: int) -> list[bytes]:
        drawn = os.urandom(1 + 12 * count)
        prefix = self._prefixes[drawn[0]]
        cipher = self._cipher(prefix)
        assert cipher is not None  # noqa: S101 - own prefixes are known
        seal, aad, at = cipher.encrypt_into, self._aad, 1
        for plain, box, room in zip(plains, run.boxes, run.nonces, strict=False):
            nonce = drawn[at : at + 12]
            seal(nonce, plain, aad, box)
            room[:] = prefix + nonce
            at += 12
        return [tag.tobytes() for tag in run.tags[:count]]

    def opener(self) -> OpenInto:
        ciphers, cipher_of, aad, fields = self._ciphers, self._cipher, self._aad, _SEALED
        nothing = bytes(PLAIN_SIZE)

        def open_into(sealed: memoryview, start: int, tag: bytes, plain: memoryview) -> bool:
            try:
                prefix, nonce, found = fields(sealed, start)
            except StructError:  # too short
                return False
            if found != tag:
                return False
            cipher = ciphers.get(prefix) or cipher_of(prefix)
            if cipher is None:
                return False
            box = sealed[start + NONCE_SIZE : start + BLOCK_SIZE]
            try:
                cipher.decrypt_into(nonce, box, aad, plain)
            except (InvalidTag, ValueError):
                plain[:] = nothing
                return False
            return True

        return open_into

    def open_run(
        self, run: RunBuffer, sealed: bytes, tags: Sequence[bytes]
    ) -> Iterator[memoryview]:
        view, ciphers, aad, plain = memoryview(sealed), self._ciphers, self._aad, run.plain_view
        start = 0
        try:
            for tag in tags:
                end = start + BLOCK_SIZE
                if sealed[end - TAG_SIZE : end - TAG_SIZE + TAG_PREFIX_SIZE] != tag:
                    break
                prefix = sealed[start : start + 12]
                cipher = ciphers.get(prefix) or self._cipher(prefix)
                if cipher is None:
                    break
                cipher.decrypt_into(
                    sealed[start + 12 : start + 24], view[start + 24 : end], aad, plain
                )
                yield plain
                start = end
            else:
                return
        except (InvalidTag, ValueError):
            pass
        run.wipe()

    def verify_run(
        self, run: RunBuffer, sealed: bytes, tags: Sequence[bytes], wanted: Sequence[Wanted]
    ) -> int:
        ciphers, cipher_of, aad = self._ciphers, self._cipher, self._aad
        room, data, view, hash_of = run.plain_view, run.data, memoryview(sealed), _digest_of
        starts, ends, digest_at = run.plain.startswith, run.plain.endswith, _DIGEST.start
        blocks = zip(SEALED_XAES.iter_unpack(sealed), tags, wanted, strict=False)
        sound, at = 0, NONCE_SIZE
        try:
            for (prefix, nonce, found), tag, (begin, end) in blocks:
                if found != tag:
                    break
                cipher = ciphers.get(prefix) or cipher_of(prefix)
                if cipher is None:
                    break
                cipher.decrypt_into(nonce, view[at : at + _BOX], aad, room)
                if not (starts(begin) and ends(end) and starts(hash_of(data), digest_at)):
                    break
                at += BLOCK_SIZE
                sound += 1
        except (InvalidTag, ValueError):
            run.wipe()
        return sound

    def open_block(self, sealed: Buffer, tag: bytes | None = None) -> bytes | None:
        data = bytes(sealed)
        if tag is not None and data[self.tag_offset : self.tag_offset + TAG_PREFIX_SIZE] != tag:
            return None
        prefix = data[:12]
        cipher = self._ciphers.get(prefix) or self._cipher(prefix)
        if cipher is None:
            return None
        try:
            return cipher.decrypt(data[12:24], data[24:], self._aad)
        except (InvalidTag, ValueError):
            return None

    def digester(self, commit: int) -> Callable[[Buffer], bytes]:
        suffix, hash_of = (commit & 0xFFFFFFFF).to_bytes(4, "big"), xxhash.xxh3_128_digest

        def digest(data: Buffer) -> bytes:
            return hash_of(data) + suffix

        return digest


def _libsodium() -> Any:
    """The loaded libsodium, or SuiteUnavailableError naming what to install."""
    try:
        import libnacl  # noqa: PLC0415 - an extra: only suite 2 needs it
    except (ImportError, OSError):
        raise SuiteUnavailableError(
            "suite 'secretbox' needs libnacl and libsodium: "
            "pip install archive7[secretbox], and the system package libsodium23 (Debian)"
        ) from None
    return libnacl.nacl


class SecretboxCipher(BlockCipher):
    """Suite 2: XSalsa20-Poly1305 as NaCl's secretbox, SHA-1 as digest (the seed's profile)."""

    number = SUITE_SECRETBOX
    tag_offset = NONCE_SIZE
    digest_size = 20

    def __init__(self, key: bytes) -> None:
        self._key = bytearray(key)
        self._room = (_char * len(key)).from_buffer(self._key)  # as libsodium takes it
        self._sodium = _libsodium()

    def seal_run(self, run: RunBuffer, plains: Iterable[Buffer], count: int) -> list[bytes]:
        drawn = os.urandom(NONCE_SIZE * count)
        seal, key = self._sodium.crypto_secretbox_easy, self._room
        for i, plain in enumerate(plains):
            nonce = drawn[i * NONCE_SIZE : (i + 1) * NONCE_SIZE]
            box = (_char * (BLOCK_SIZE - NONCE_SIZE)).from_buffer(run.boxes[i])
            if seal(box, bytes(plain), _ulonglong(PLAIN_SIZE), nonce, key):
                raise SuiteUnavailableError("libsodium refused to seal a block")
            run.nonces[i][:] = nonce
        return [tag.tobytes() for tag in run.tags[:count]]

    def opener(self) -> OpenInto:
        def open_into(sealed: memoryview, start: int, tag: bytes, plain: memoryview) -> bool:
            block = self.open_block(sealed[start : start + BLOCK_SIZE], tag)
            if block is None:
                return False
            plain[:] = block
            return True

        return open_into

    def open_run(
        self, run: RunBuffer, sealed: bytes, tags: Sequence[bytes]
    ) -> Iterator[memoryview]:
        for i, tag in enumerate(tags):
            block = self.open_block(sealed[i * BLOCK_SIZE : (i + 1) * BLOCK_SIZE], tag)
            if block is None:
                run.wipe()
                return
            run.plain[:] = block
            yield run.plain_view

    def open_block(self, sealed: Buffer, tag: bytes | None = None) -> bytes | None:
        data = bytes(sealed)
        if len(data) != BLOCK_SIZE or (tag is not None and self.tag(data) != tag):
            return None
        room = _create_buffer(PLAIN_SIZE)
        box = data[NONCE_SIZE:]
        if self._sodium.crypto_secretbox_open_easy(
            room, box, _ulonglong(len(box)), data[:NONCE_SIZE], self._room
        ):
            return None
        return bytes(room.raw)

    def digester(self, commit: int) -> Callable[[Buffer], bytes]:
        return plain_digest


def block_cipher(
    suite: int, master: Buffer, container: bytes, epoch: int, kind: bytes
) -> BlockCipher:
    """The cipher for blocks of `kind` of one container and epoch.

    Raises: VersionError for an unknown suite, SuiteUnavailableError without libsodium.
    """
    key = subkey(master, container, kind, suite, epoch)
    if suite == SUITE_XAES256GCM:
        nonce_key = subkey(master, container, b"nonce " + kind, suite, epoch)
        prefixes = hkdf(nonce_key, container, b"prefixes", _PREFIX_COUNT * _PREFIX_SIZE)
        return XaesCipher(key, prefixes, container + kind)
    if suite == SUITE_SECRETBOX:
        return SecretboxCipher(key)
    raise VersionError(f"cipher suite {suite} is not known to this version")
