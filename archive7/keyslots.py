"""Keyslots: each a way from one secret to the master key.

Owns what a caller offers as a secret, the cost of a passphrase and its bounds, sealing and opening
one slot, and the slot table.  May assume: `crypto`; slots come from bytes that nobody vouches for
yet.  Promises: no Argon2id runs outside the bounds; every sealing draws its own salt, so a wrap
key is used once; secrets are never shown, pickled or copied.
"""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NoReturn

from .crypto import KEY_SIZE, Buffer, argon2id, hkdf, same, unwrap_key, wrap_key
from .errors import KdfLimitError, SuperblockCorruptError, UsageError
from .keys import Identity, Recipient, read_key_file
from .layout import (
    HYBRID_SLOT,
    KDF_CEILING,
    KDF_DEFAULT,
    KDF_FLOOR,
    KDF_UNASKED_MEMORY,
    MAX_KEYSLOTS,
    PASSPHRASE_SLOT,
    RAW_SLOT,
    SLOT_HEAD,
    SLOT_HYBRID,
    SLOT_ID_SIZE,
    SLOT_PASSPHRASE,
    SLOT_RAW,
    SLOT_SEAL,
    SLOT_X25519,
    X25519_SLOT,
)

_SALT_SIZE: Final = 32
_RAW_INFO: Final = b"archive7/3 raw key"
_RECIPIENT_INFO: Final = b"archive7/3 recipient"
_KIND_NAMES: Final = {
    SLOT_RAW: "raw key",
    SLOT_PASSPHRASE: "passphrase",
    SLOT_X25519: "x25519 recipient",
    SLOT_HYBRID: "hybrid recipient",
}
RECIPIENT_KINDS: Final = frozenset({SLOT_X25519, SLOT_HYBRID})
_LAST: Final = KDF_CEILING[0] * KDF_CEILING[1] + 1  # dearer than any passphrase
_BODY_SIZES: Final = {
    SLOT_RAW: RAW_SLOT.size + SLOT_SEAL.size,
    SLOT_PASSPHRASE: PASSPHRASE_SLOT.size + SLOT_SEAL.size,
    SLOT_X25519: X25519_SLOT.size,
    SLOT_HYBRID: HYBRID_SLOT.size,
}


def wipe(buffer: bytearray) -> None:
    """Overwrite a key, best effort: copies that Python or a library made are out of reach."""
    buffer[:] = bytes(len(buffer))


# --- what the caller brings


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What one guess at a passphrase costs: memory, passes and lanes of Argon2id (RFC 9106).

    The default is RFC 9106's second recommended option, about 0.1 s and 64 MiB.
    """

    memory_kib: int = KDF_DEFAULT[0]
    passes: int = KDF_DEFAULT[1]
    lanes: int = KDF_DEFAULT[2]

    def check(self, max_memory_kib: int = KDF_CEILING[0]) -> None:
        """Refuse a cost out of bounds; nothing has been allocated or run by then.

        Raises: KdfLimitError.
        """
        values = (self.memory_kib, self.passes, self.lanes)
        names = ("memory_kib", "passes", "lanes")
        for name, value, low, high in zip(names, values, KDF_FLOOR, KDF_CEILING, strict=True):
            if value < low:
                raise KdfLimitError(f"Argon2id {name} {value} is below the floor of {low}")
            if value > high:
                raise KdfLimitError(
                    f"Argon2id {name} {value} is over the ceiling of {high}, "
                    "which max_kdf_memory= does not lift"
                )
        if self.memory_kib > max_memory_kib:
            raise KdfLimitError(
                f"Argon2id memory_kib {self.memory_kib} is over the limit of {max_memory_kib}: "
                f"allow it with max_kdf_memory= (at most {KDF_CEILING[0]} KiB)"
            )

    @classmethod
    def calibrate(
        cls, seconds: float = 0.5, *, max_memory: int = KDF_UNASKED_MEMORY << 10
    ) -> KdfCost:
        """Measure this machine; return a cost that makes one guess take about `seconds` on it.

        Memory is raised before passes, as it costs an attacker most.  Where other programs work
        meanwhile it finds too little: call it on an idle machine.

        Args:
            max_memory: bytes at most; above 256 MiB every opening needs ``max_kdf_memory=``.

        Raises: UsageError for a time or memory that makes no sense.
        Cost: about twice `seconds`.
        """
        if not seconds > 0 or max_memory >> 10 < KDF_FLOOR[0]:
            raise UsageError(
                f"seconds must be above 0, and max_memory at least {KDF_FLOOR[0]} KiB"
            )
        cost = cls(KDF_FLOOR[0], KDF_FLOOR[1])
        for _ in range(2):  # the first is short, and so not exact
            work = cost.memory_kib * cost.passes * seconds / cost._measure()
            memory = _between(int(work / KDF_DEFAULT[1]), KDF_FLOOR[0], max_memory >> 10)
            memory = min(memory, KDF_CEILING[0])
            passes = _between(round(work / memory), KDF_FLOOR[1], KDF_CEILING[1])
            cost = cls(memory, passes)
        return cost

    def _measure(self) -> float:
        """Seconds that one guess takes."""
        started = time.perf_counter()
        argon2id(b"measured", bytes(_SALT_SIZE), self.memory_kib, self.passes, self.lanes)
        return max(time.perf_counter() - started, 1e-6)


def _between(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


@dataclass(frozen=True, eq=False, repr=False)
class Secrets:
    """A raw key, a passphrase, a private key, or several: whichever opens a slot serves.

    Args:
        key: 32 bytes.
        password: a passphrase; str is normalised (NFC) and encoded as UTF-8, bytes are taken
            as they are.
        identity: a private key.
        recipients: whom new slots are sealed for; they open nothing.

    Raises: UsageError for no secret, an empty password, or a key of another length.
    """

    key: bytes | None = None
    password: str | bytes | None = None
    identity: Identity | None = None
    recipients: tuple[Recipient, ...] = ()
    passphrase: bytes | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if not (self.given or self.recipients):
            raise UsageError("no secret is given: pass key= (32 bytes) or password=")
        if self.identity is not None and not isinstance(self.identity, Identity):
            raise UsageError("identity must be what archive7.keys.load_identity() gives")
        if not all(isinstance(recipient, Recipient) for recipient in self.recipients):
            raise UsageError("a recipient must be what archive7.keys.load_recipient() gives")
        if self.key is not None:
            object.__setattr__(self, "key", _raw_key(self.key))
        if self.password is not None:
            object.__setattr__(self, "passphrase", _passphrase(self.password))

    @classmethod
    def of(
        cls,
        key: bytes | None,
        password: str | bytes | None,
        key_file: str | os.PathLike[str] | None = None,
        identity: Identity | None = None,
        recipients: Iterable[Recipient] = (),
    ) -> Secrets:
        """What a caller offers, with the key read from its file.

        Raises: UsageError as above, and for a key as well as a file of one; OSError.
        """
        if key_file is not None:
            if key is not None:
                raise UsageError("key= and key_file= are given: one of them is enough")
            key = read_key_file(key_file)
        return cls(key, password, identity, tuple(recipients))

    @property
    def given(self) -> list[str]:
        """Names of the secrets that are there."""
        names = ("key", "password", "identity")
        return [name for name in names if getattr(self, name) is not None]

    @property
    def receivers(self) -> tuple[Recipient, ...]:
        """Whom new slots are sealed for, the owner of the identity first."""
        mine = () if self.identity is None else (self.identity.recipient,)
        return tuple(dict.fromkeys((*mine, *self.recipients)))

    def __repr__(self) -> str:
        return f"Secrets({', '.join(f'{name}=...' for name in self.given)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets cannot be pickled or copied")


def _raw_key(key: object) -> bytes:
    if not isinstance(key, bytes | bytearray | memoryview):
        raise UsageError(f"key must be {KEY_SIZE} bytes; give a passphrase as password=")
    raw = bytes(key)
    if len(raw) != KEY_SIZE:
        raise UsageError(
            f"key must be {KEY_SIZE} bytes, not {len(raw)}: make one with "
            f"secrets.token_bytes({KEY_SIZE}), or give a passphrase as password="
        )
    return raw


def _passphrase(password: object) -> bytes:
    if isinstance(password, str):
        try:
            phrase = unicodedata.normalize("NFC", password).encode()
        except UnicodeEncodeError:  # its text would show the password
            raise UsageError(
                "password has characters that UTF-8 cannot encode: pass its bytes"
            ) from None
    elif isinstance(password, bytes | bytearray | memoryview):
        phrase = bytes(password)
    else:
        raise UsageError("password must be str or bytes")
    if not phrase:
        raise UsageError("the password is empty: give one, or a key= of 32 bytes")
    return phrase


# --- one slot


@dataclass(frozen=True, slots=True)
class Keyslot:
    """One entry of the slot table, verbatim; kinds unknown to this version pass through.

    A recipient's slot is the master key sealed by HPKE, info = "archive7/3 recipient", container
    id, epoch, kind, slot id.  Nothing in it tells whose it is.

    Derivation of the others: KEK = Argon2id(passphrase, salt) or HKDF(raw key, salt,
    "archive7/3 raw key"); commitment = HKDF(KEK, "", "commit"); wrap key = HKDF(KEK, "", "wrap");
    the master key is sealed by AES-256-GCM, nonce zero, under the wrap key. The nonce may be
    fixed because the salt, and so the wrap key, is drawn anew by whoever seals (`_seal`, the
    only place).
    AAD = container id, epoch (u32), kind (u16), and the body up to the commitment: slot id, salt,
    costs.

    Source: docs/format.rst, "Keyslots".
    """

    kind: int
    body: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.body) != _BODY_SIZES.get(self.kind, len(self.body)):
            raise SuperblockCorruptError(
                f"a {self.kind_name} keyslot has {len(self.body)} bytes, "
                f"not {_BODY_SIZES[self.kind]}"
            )

    @property
    def id(self) -> bytes:
        """The random id that the notes name the slot by."""
        return self.body[:SLOT_ID_SIZE]

    @property
    def parameters(self) -> bytes:
        """The body up to the commitment, of a kind that has one."""
        return self.body[: -SLOT_SEAL.size]

    @property
    def is_known(self) -> bool:
        return self.kind in _BODY_SIZES

    @property
    def is_recipient(self) -> bool:
        """Whether a private key opens it: who has the public one could have made it."""
        return self.kind in RECIPIENT_KINDS

    @property
    def kind_name(self) -> str:
        return _KIND_NAMES.get(self.kind, f"kind {self.kind}")

    @property
    def cost(self) -> KdfCost | None:
        """What opening costs; None where no Argon2id is run."""
        if self.kind != SLOT_PASSPHRASE:
            return None
        return KdfCost(*PASSPHRASE_SLOT.unpack_from(self.body)[2:])

    @property
    def price(self) -> int:
        """Order of trial: KiB that Argon2id walks over, 0 for a raw key; recipients at the end."""
        if self.is_recipient:
            return _LAST
        cost = self.cost
        return cost.memory_kib * cost.passes if cost else 0

    def fits(self, secrets: Secrets) -> bool:
        """Whether `secrets` has what this kind of slot takes."""
        if self.kind == SLOT_PASSPHRASE:
            return secrets.passphrase is not None
        if self.is_recipient:
            identity = secrets.identity
            return identity is not None and identity.recipient.slot_kind == self.kind
        return self.kind == SLOT_RAW and secrets.key is not None

    def derive(self, secrets: Secrets, max_memory_kib: int = KDF_UNASKED_MEMORY) -> bytes | None:
        """The KEK, if a secret is the one this slot commits to; else None.

        Raises: KdfLimitError, before Argon2id is run.
        Cost: one Argon2id for a passphrase, some microseconds for a raw key.
        """
        if self.is_recipient or not self.fits(secrets):
            return None
        cost = self.cost
        if cost:
            cost.check(max_memory_kib)
        kek = _kek(secrets, cost, self.body[SLOT_ID_SIZE : SLOT_ID_SIZE + _SALT_SIZE])
        commitment, _ = SLOT_SEAL.unpack_from(self.body, len(self.parameters))
        return kek if same(commitment, hkdf(kek, b"", b"commit")) else None

    def unwrap(self, kek: bytes, container: bytes, epoch: int) -> bytearray | None:
        """The master key, if this slot was sealed for `container` and `epoch`; else None."""
        _, sealed = SLOT_SEAL.unpack_from(self.body, len(self.parameters))
        aad = _aad(container, epoch, self.kind, self.parameters)
        return unwrap_key(hkdf(kek, b"", b"wrap"), sealed, aad)

    def receive(self, secrets: Secrets, container: bytes, epoch: int) -> bytearray | None:
        """The master key, if this was sealed for the identity, `container` and `epoch`.

        Raises: SuiteUnavailableError where the crypto library has no ML-KEM.
        Cost: about 0.2 ms.
        """
        if not self.is_recipient or not self.fits(secrets) or secrets.identity is None:
            return None
        info = _recipient_info(container, epoch, self.kind, self.id)
        opened = secrets.identity.open(self.body[SLOT_ID_SIZE:], info)
        if opened is None or len(opened) != KEY_SIZE:
            return None
        return bytearray(opened)

    def encode(self) -> bytes:
        return SLOT_HEAD.pack(self.kind, len(self.body)) + self.body


def seal_slots(
    secrets: Secrets, cost: KdfCost, master: bytearray, container: bytes, epoch: int
) -> tuple[Keyslot, ...]:
    """Seal the master key for each secret: raw key, passphrase, then `Secrets.receivers`.

    Raises: KdfLimitError for a cost out of bounds; UsageError for a public key that is none.
    """
    slots = []
    if secrets.key is not None:
        slots.append(_seal(Secrets(key=secrets.key), None, master, container, epoch))
    if secrets.password is not None:
        cost.check()
        slots.append(_seal(Secrets(password=secrets.password), cost, master, container, epoch))
    for recipient in secrets.receivers:
        slots.append(seal_for(recipient, master, container, epoch))
    return tuple(slots)


def seal_for(recipient: Recipient, master: Buffer, container: bytes, epoch: int) -> Keyslot:
    """Seal the master key for the owner of a public key."""
    slot_id, kind = os.urandom(SLOT_ID_SIZE), recipient.slot_kind
    sealed = recipient.seal(master, _recipient_info(container, epoch, kind, slot_id))
    return Keyslot(kind, slot_id + sealed)


def _recipient_info(container: bytes, epoch: int, kind: int, slot_id: bytes) -> bytes:
    return _RECIPIENT_INFO + _aad(container, epoch, kind, slot_id)


def _seal(
    secrets: Secrets, cost: KdfCost | None, master: bytearray, container: bytes, epoch: int
) -> Keyslot:
    """Seal under a salt of its own: that is why `wrap_key` may use a fixed nonce."""
    slot_id, salt = os.urandom(SLOT_ID_SIZE), os.urandom(_SALT_SIZE)
    if cost:
        kind, costs = SLOT_PASSPHRASE, (cost.memory_kib, cost.passes, cost.lanes)
        parameters = PASSPHRASE_SLOT.pack(slot_id, salt, *costs)
    else:
        kind, parameters = SLOT_RAW, RAW_SLOT.pack(slot_id, salt)
    kek = _kek(secrets, cost, salt)
    aad = _aad(container, epoch, kind, parameters)
    sealed = wrap_key(hkdf(kek, b"", b"wrap"), master, aad)
    return Keyslot(kind, parameters + SLOT_SEAL.pack(hkdf(kek, b"", b"commit"), sealed))


def _kek(secrets: Secrets, cost: KdfCost | None, salt: bytes) -> bytes:
    if cost and secrets.passphrase is not None:
        return argon2id(secrets.passphrase, salt, cost.memory_kib, cost.passes, cost.lanes)
    if not cost and secrets.key is not None:
        return hkdf(secrets.key, salt, _RAW_INFO)
    raise AssertionError("the slot's kind does not fit the secret")


def _aad(container: bytes, epoch: int, kind: int, parameters: bytes) -> bytes:
    return container + epoch.to_bytes(4, "big") + kind.to_bytes(2, "big") + parameters


def decode_slots(table: bytes, count: int) -> tuple[Keyslot, ...]:
    """Decode the slot table.  Raises: SuperblockCorruptError if it does not hold `count` slots."""
    if count > MAX_KEYSLOTS:
        raise SuperblockCorruptError(f"{count} keyslots, at most {MAX_KEYSLOTS} are allowed")
    items = islice(decode_items(table, "slot table"), count + 1)
    slots = tuple(Keyslot(kind, body) for kind, body in items)
    if len(slots) != count:
        less = "fewer" if len(slots) < count else "more"
        raise SuperblockCorruptError(f"the slot table has {less} than {count} keyslots")
    return slots


def decode_items(data: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield kind and body of each TLV item; slot table and sealed part have the same heads."""
    at = 0
    while at < len(data):
        body_at = at + SLOT_HEAD.size
        if body_at > len(data):
            raise SuperblockCorruptError(f"the {name} ends inside the head of an item")
        kind, size = SLOT_HEAD.unpack_from(data, at)
        at = body_at + size
        if at > len(data):
            raise SuperblockCorruptError(f"an item of the {name} reaches beyond its end")
        yield kind, data[body_at:at]
