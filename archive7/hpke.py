"""HPKE: sealing for a public key (RFC 9180, base mode, HKDF-SHA256, AES-256-GCM).

Owns everything that touches a private or public key.  A key is its components one behind the
other, X25519's first; an ML-KEM-768 private key is its seed.  With X25519 alone the KEM is
DHKEM(X25519, HKDF-SHA256), with both it is MLKEM768-X25519 (0x647a).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from .crypto import Buffer
from .errors import SuiteUnavailableError

_X25519_SIZE: Final = 32
_KEM_X25519: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_KEM_HYBRID: Final = hpke.Suite(
    hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM
)


def hpke_public(private: Buffer) -> bytes:
    """The public key of a private one, whose size tells the kind: 32 or 96 bytes.

    Raises: SuiteUnavailableError where the crypto library has no ML-KEM.
    """
    data = bytes(private)
    one = X25519PrivateKey.from_private_bytes(data[:_X25519_SIZE]).public_key().public_bytes_raw()
    if len(data) == _X25519_SIZE:
        return one
    with _needs_mlkem():
        other = MLKEM768PrivateKey.from_seed_bytes(data[_X25519_SIZE:])
        return one + other.public_key().public_bytes_raw()


def hpke_seal(public: Buffer, plain: Buffer, info: bytes) -> bytes:
    """Seal for a public key, of 32 or 1216 bytes: what was encapsulated, then the ciphertext.

    Raises: ValueError for a public key that is none; SuiteUnavailableError.
    """
    data = bytes(public)
    one = X25519PublicKey.from_public_bytes(data[:_X25519_SIZE])
    if len(data) == _X25519_SIZE:
        return _KEM_X25519.encrypt(plain, one, info)
    with _needs_mlkem():
        other = MLKEM768PublicKey.from_public_bytes(data[_X25519_SIZE:])
        return _KEM_HYBRID.encrypt(plain, hpke.MLKEM768X25519PublicKey(other, one), info)


def hpke_open(private: Buffer, sealed: Buffer, info: bytes) -> bytes | None:
    """Open what `hpke_seal` sealed; None if it does not verify.  Raises: SuiteUnavailableError."""
    data = bytes(private)
    one = X25519PrivateKey.from_private_bytes(data[:_X25519_SIZE])
    try:
        if len(data) == _X25519_SIZE:
            return _KEM_X25519.decrypt(sealed, one, info)
        with _needs_mlkem():
            other = MLKEM768PrivateKey.from_seed_bytes(data[_X25519_SIZE:])
            return _KEM_HYBRID.decrypt(sealed, hpke.MLKEM768X25519PrivateKey(other, one), info)
    except (InvalidTag, ValueError):
        return None


@contextlib.contextmanager
def _needs_mlkem() -> Iterator[None]:
    try:
        yield
    except UnsupportedAlgorithm:
        raise SuiteUnavailableError(
            "keys of kind hybrid need a cryptography whose library has ML-KEM-768: install its "
            "wheel, or use a key of kind x25519"
        ) from None
