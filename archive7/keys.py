"""Keys of one's own: identities, the recipients that belong to them, and files of keys.

An identity is a private key that opens what was sealed for its recipient, which is the public
key.  Owns the kinds of keys, their text, and reading and making key files.  May assume: `hpke`.
Promises: a private key is never shown, pickled or copied, and no error quotes what a file holds;
a file of a private key is made with mode 0600 and replaces nothing; a text that was cut or
changed is refused.
"""

from __future__ import annotations

import base64
import binascii
import os
import textwrap
from dataclasses import dataclass, field
from typing import Final, NoReturn

from .crypto import KEY_SIZE, Buffer, same, sha256
from .errors import UsageError
from .hpke import hpke_open, hpke_public, hpke_seal
from .layout import SLOT_HYBRID, SLOT_X25519

__all__ = [
    "Identity",
    "Recipient",
    "generate_identity",
    "generate_key_file",
    "load_identity",
    "load_recipient",
    "read_key_file",
]

_PRIVATE_SIZES: Final = {"x25519": 32, "hybrid": 96}
_PUBLIC_SIZES: Final = {"x25519": 32, "hybrid": 1216}
_SLOT_KINDS: Final = {"x25519": SLOT_X25519, "hybrid": SLOT_HYBRID}
_KINDS: Final = {number: kind for kind, number in _SLOT_KINDS.items()}
_IDENTITY_HEAD: Final = "archive7-identity-1"
_RECIPIENT_HEAD: Final = "archive7-recipient-1"
_KEY_HEAD: Final = "archive7-key-1"
_NAMES: Final = {
    _IDENTITY_HEAD: "an identity (give it as identity)",
    _RECIPIENT_HEAD: "a recipient (give it as recipient)",
    _KEY_HEAD: "a key (give it as key file)",
}
_CHECK_SIZE: Final = 4  # bytes of SHA-256 that catch a text cut or mistyped
_LINE: Final = 76
_MAX_FILE_SIZE: Final = 65536

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, repr=False)
class Recipient:
    """A public key: whoever has it can give the archive to its owner.

    Args:
        kind: x25519, or hybrid: X25519 and ML-KEM-768, either of which protects alone.
        public: the public key.

    Raises: UsageError for another kind, size, or no key.
    """

    kind: str
    public: bytes

    def __post_init__(self) -> None:
        if len(self.public) != _sizes(_PUBLIC_SIZES, self.kind):
            raise UsageError(
                f"a public key of kind {self.kind} has {_PUBLIC_SIZES[self.kind]} bytes, "
                f"not {len(self.public)}"
            )

    def __repr__(self) -> str:
        return f"<Recipient {self.kind} {self.fingerprint}>"

    @property
    def slot_kind(self) -> int:
        """Number of the kind of keyslot that is sealed for this."""
        return _SLOT_KINDS[self.kind]

    @property
    def text(self) -> str:
        """What `from_text` takes; it is no secret."""
        return _text(_RECIPIENT_HEAD, self.kind, self.public)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell recipients apart, for people to compare."""
        return sha256(self.kind.encode() + b" " + self.public)[:8].hex()

    @classmethod
    def from_text(cls, text: str) -> Recipient:
        """Take the text of a recipient.  Raises: UsageError."""
        return cls(*_data(_RECIPIENT_HEAD, _PUBLIC_SIZES, text, "the text"))

    @classmethod
    def of_slot(cls, slot_kind: int, public: bytes) -> Recipient | None:
        """The recipient of a kind of keyslot, None of an unknown one.  Raises: UsageError."""
        kind = _KINDS.get(slot_kind)
        return None if kind is None else cls(kind, public)

    def save(self, path: StrPath) -> None:
        """Write a new file that can be given to others.  Raises: FileExistsError."""
        write_new_file(path, self.text.encode(), mode=0o644)

    def seal(self, plain: Buffer, info: bytes) -> bytes:
        """Seal so that only the identity can open it.

        Raises: UsageError for a public key that is none; SuiteUnavailableError.
        """
        try:
            return hpke_seal(self.public, plain, info)
        except ValueError:
            raise UsageError(f"recipient {self.fingerprint} is not a usable public key") from None


@dataclass(frozen=True, eq=False, repr=False)
class Identity:
    """A private key.  Made by `generate_identity` or `load_identity`.

    Args:
        kind: x25519 or hybrid.
        private: X25519's private key; for hybrid the seed of ML-KEM-768 (64 bytes) behind it.

    Attributes:
        recipient: the public part.

    Raises: UsageError for another kind or size; SuiteUnavailableError.
    """

    kind: str
    private: bytes
    recipient: Recipient = field(init=False)

    def __post_init__(self) -> None:
        if len(self.private) != _sizes(_PRIVATE_SIZES, self.kind):
            raise UsageError(
                f"a private key of kind {self.kind} has {_PRIVATE_SIZES[self.kind]} bytes, "
                f"not {len(self.private)}"
            )
        recipient = Recipient(self.kind, hpke_public(self.private))
        object.__setattr__(self, "recipient", recipient)

    def __repr__(self) -> str:
        return f"<Identity {self.kind} {self.recipient.fingerprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("identities cannot be pickled or copied")

    def save(self, path: StrPath) -> None:
        """Write a new file that only you can read (0600); keep it as well as the archive.

        Raises: FileExistsError.
        """
        write_new_file(path, _text(_IDENTITY_HEAD, self.kind, self.private).encode())

    @classmethod
    def from_text(cls, text: str) -> Identity:
        """Take what a file of an identity holds.  Raises: UsageError."""
        return cls(*_data(_IDENTITY_HEAD, _PRIVATE_SIZES, text, "the text"))

    def open(self, sealed: Buffer, info: bytes) -> bytes | None:
        """Open what was sealed for the recipient; None if it was not.

        Raises: SuiteUnavailableError.
        """
        return hpke_open(self.private, sealed, info)


def generate_identity(kind: str = "hybrid") -> Identity:
    """Make a new private key.

    Args:
        kind: hybrid (X25519 and ML-KEM-768: as long as either holds), or x25519.

    Raises: UsageError; SuiteUnavailableError where there is no ML-KEM.
    """
    return Identity(kind, os.urandom(_sizes(_PRIVATE_SIZES, kind)))


def load_identity(path: StrPath) -> Identity:
    """Read a file that `Identity.save` wrote.  Raises: OSError; UsageError if it is none."""
    return Identity(*_data(_IDENTITY_HEAD, _PRIVATE_SIZES, _read(path), f"the file {path}"))


def load_recipient(path: StrPath) -> Recipient:
    """Read a file that `Recipient.save` wrote.  Raises: OSError; UsageError if it is none."""
    return Recipient(*_data(_RECIPIENT_HEAD, _PUBLIC_SIZES, _read(path), f"the file {path}"))


def generate_key_file(path: StrPath) -> bytes:
    """Make a random raw key and a new file of it (0600); return the key.

    Raises: FileExistsError.
    """
    key = os.urandom(KEY_SIZE)
    write_new_file(path, _text(_KEY_HEAD, "raw", key).encode())
    return key


def read_key_file(path: StrPath) -> bytes:
    """The raw key of a key file: 32 bytes, 64 hexadecimal digits, or `generate_key_file`'s text.

    Raises: OSError; UsageError if it is none.
    """
    return parse_key(_read_bytes(path), f"the key file {path}")


def parse_key(data: bytes, name: str) -> bytes:
    """The raw key in the bytes of a key file.  Raises: UsageError, which calls it `name`."""
    if len(data) == KEY_SIZE:
        return data
    text = data.decode("ascii", errors="replace").strip()
    if len(text) == 2 * KEY_SIZE:
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass  # its message must not be shown: it quotes the data
    if text.startswith("archive7-"):
        return _data(_KEY_HEAD, {"raw": KEY_SIZE}, text, name)[1]
    raise UsageError(
        f"{name} has neither {KEY_SIZE} bytes nor {2 * KEY_SIZE} hexadecimal digits: make one "
        f"with `ar7 keys generate --kind raw FILE`"
    )


def write_new_file(path: StrPath, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file that does not exist yet, and sync it.  Raises: FileExistsError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(path)
        raise


# --- text


def _text(head: str, kind: str, data: bytes) -> str:
    first = f"{head} {kind}"
    encoded = base64.b64encode(data + sha256(first.encode() + data)[:_CHECK_SIZE]).decode()
    return "\n".join([first, *textwrap.wrap(encoded, _LINE), ""])


def _data(head: str, sizes: dict[str, int], text: str, name: str) -> tuple[str, bytes]:
    """Kind and bytes of a text.  Raises: UsageError, which never quotes more than the head."""
    first, *lines = text.split("\n")
    found, _, kind = first.strip().partition(" ")
    if found != head:
        what = _NAMES.get(found, "something else")
        raise UsageError(f"{name} is not what is asked for, {head}: it is {what}")
    size = sizes.get(kind)
    if size is None:
        raise UsageError(f"{name} is of a kind unknown to this version, not {', '.join(sizes)}")
    try:
        data = base64.b64decode("".join("".join(lines).split()), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{name} is damaged: it is not base64") from None
    data, check = data[:-_CHECK_SIZE], data[-_CHECK_SIZE:]
    expected = sha256(f"{head} {kind}".encode() + data)[:_CHECK_SIZE]
    if len(data) != size or not same(check, expected):
        raise UsageError(f"{name} is damaged: it was cut or changed")
    return kind, data


def _sizes(sizes: dict[str, int], kind: str) -> int:
    if kind not in sizes:
        raise UsageError(f"unknown kind of key {kind!r}: use one of {', '.join(sorted(sizes))}")
    return sizes[kind]


def _read(path: StrPath) -> str:
    return _read_bytes(path).decode("ascii", errors="replace")


def _read_bytes(path: StrPath) -> bytes:
    with open(path, "rb") as file:
        data = file.read(_MAX_FILE_SIZE + 1)
    if len(data) > _MAX_FILE_SIZE:
        raise UsageError(f"the file {path} is too long to be a key")
    return data
