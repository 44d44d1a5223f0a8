"""Receipts: proof of how far an archive was, kept outside of it.

Owns the bytes of a receipt and whether an archive, by its root and its lineage, is what a receipt
says or a later state of that.  May assume a snapshot of a verified root.  Promises: a receipt
passes only if the state that it was taken of is an ancestor of the present one, or that itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from .crypto import Buffer, mac, same, subkey
from .errors import ReceiptError, RollbackError, UsageError
from .layout import INFO_RECEIPT_KEY, LINEAGE, OLD_KEY, RECEIPT, RECEIPT_MAGIC
from .root import Root
from .superblock import Superblock, info_bodies

_PREFIX: Final = "ar7r."
_PURPOSE: Final = b"receipt"
_MAC_SIZE: Final = 32
_ACCEPT: Final = "if you have put back an older copy on purpose, open it with accept_rollback=True"


@dataclass(frozen=True)
class Receipt:
    """What an archive was at one commit; it holds no secret.

    Attributes:
        container: container id.
        epoch: of the master key.
        sequence: of the superblock.
        session: id of the writing session.
        commit: number of the commit.
        hash: of its root.
        mac: over all this, under a key that only those have who open the archive.

    `str` and `bytes` give forms to keep; `Receipt.parse` takes both.
    """

    container: UUID
    epoch: int
    sequence: int
    session: bytes
    commit: int
    hash: bytes
    mac: bytes

    def __bytes__(self) -> bytes:
        return self._signed() + self.mac

    def __str__(self) -> str:
        return _PREFIX + base64.urlsafe_b64encode(bytes(self)).decode().rstrip("=")

    def _signed(self) -> bytes:
        return RECEIPT.pack(
            RECEIPT_MAGIC, self.container.bytes, self.epoch, self.sequence, self.session,
            self.commit, self.hash,
        )  # fmt: skip

    def is_genuine(self, key: Buffer) -> bool:
        """Whether it was made with this receipt key."""
        return same(self.mac, mac(key, self._signed()))

    @classmethod
    def parse(cls, data: str | bytes) -> Self:
        """Read a receipt from its text or bytes.  Raises: UsageError."""
        raw = _from_text(data) if isinstance(data, str) else bytes(data)
        if len(raw) != RECEIPT.size + _MAC_SIZE or not raw.startswith(RECEIPT_MAGIC):
            raise UsageError("this is no receipt of an archive")
        _, container, epoch, sequence, session, commit, root = RECEIPT.unpack_from(raw)
        signature = raw[RECEIPT.size :]
        return cls(UUID(bytes=container), epoch, sequence, session, commit, root, signature)


def _from_text(text: str) -> bytes:
    text = text.strip()
    if not text.startswith(_PREFIX):
        raise UsageError(f"a receipt begins with {_PREFIX}")
    encoded = text[len(_PREFIX) :]
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("this receipt was cut or changed on its way") from None


def receipt_key(superblock: Superblock, master: Buffer) -> bytes:
    """The key that receipts of the present epoch are made with."""
    return subkey(master, superblock.container, _PURPOSE, superblock.suite, superblock.epoch)


def make_receipt(root: Root, superblock: Superblock, master: Buffer) -> Receipt:
    """A receipt of a root that is known durable."""
    fields = (
        UUID(bytes=superblock.container), superblock.epoch, root.sequence, root.session,
        root.number, root.hash,
    )  # fmt: skip
    blank = Receipt(*fields, b"")
    return Receipt(*fields, mac(receipt_key(superblock, master), blank._signed()))


def _key_of(epoch: int, superblock: Superblock, master: Buffer) -> bytes | None:
    """The receipt key of an epoch, also of one before a change of the master key."""
    if epoch == superblock.epoch:
        return receipt_key(superblock, master)
    for body in info_bodies(superblock.info, INFO_RECEIPT_KEY):
        number, key = OLD_KEY.unpack(body)
        if number == epoch:
            return bytes(key)
    return None


def verify_receipt(
    receipt: Receipt,
    root: Root,
    superblock: Superblock,
    master: Buffer,
    lineage: Iterable[tuple[bytes, int]],
) -> None:
    """Compare an archive with a receipt.

    Args:
        lineage: (session, last commit of it that was continued) of all former sessions.

    Raises: ReceiptError where the receipt is not one of this archive; RollbackError where the
    archive is older than the receipt, or was continued from an older state.
    """
    if receipt.container.bytes != superblock.container:
        raise ReceiptError(
            f"the receipt is of archive {receipt.container}, this one is "
            f"{UUID(bytes=superblock.container)}"
        )
    key = _key_of(receipt.epoch, superblock, master)
    if key is None:
        if receipt.epoch > superblock.epoch:
            raise RollbackError(_older(receipt, root, "the master key was changed since; "))
        raise ReceiptError("nothing here tells the key that the receipt was made with")
    if not receipt.is_genuine(key):
        raise ReceiptError("the receipt was changed, or was not made of this archive")
    if receipt.sequence > superblock.sequence:
        raise RollbackError(_older(receipt, root, "the keyslots are older, too; "))
    if receipt.session == root.session:
        is_same = (receipt.commit, receipt.hash) == (root.number, root.hash)
        if is_same or receipt.commit < root.number:
            return
    elif any(s == receipt.session and receipt.commit <= last for s, last in lineage):
        return
    raise RollbackError(_older(receipt, root, ""))


def _older(receipt: Receipt, root: Root, note: str) -> str:
    return (
        f"the receipt is of commit {receipt.commit}, the archive is in commit {root.number} and "
        f"does not have that one in its past: it was put back to an older copy, and perhaps "
        f"continued from there; {note}{_ACCEPT}"
    )


def decode_lineage(data: bytes) -> list[tuple[bytes, int]]:
    """The content of the lineage stream: sessions and their last commits."""
    whole = len(data) - len(data) % LINEAGE.size
    return [(session, number) for session, number in LINEAGE.iter_unpack(data[:whole])]
