"""Lineage: which sessions wrote an archive, one after the other, and receipts compared with it.

Owns reading the lineage stream and what a caller expects of an archive.  May assume that the
stream manager notes each session in the first commit of the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from .commit import Container
from .errors import CorruptError, ReceiptError, RollbackError
from .layout import ID_SIZE
from .paths import FilesystemStreamManager
from .receipt import Receipt, decode_lineage, make_receipt, verify_receipt

Expected = Receipt | UUID


def read_lineage(manager: FilesystemStreamManager) -> list[tuple[bytes, int]]:
    """All records of the lineage.  Raises: CorruptError."""
    stream = manager.special_stream(manager.STREAM_LINEAGE)
    data = bytearray(stream.len)
    stream.read_into(0, memoryview(data))
    return decode_lineage(bytes(data))


def take_receipt(container: Container) -> Receipt:
    """A receipt of the last commit, which is known durable."""
    return make_receipt(container.root, container.superblock, container.master)


def expect(
    expected: Expected | str | bytes, *, accept_rollback: bool
) -> Callable[[Container], bool]:
    """What has to hold of a container before it is used.

    Returns: a function that raises ReceiptError or RollbackError, and returns whether a receipt
        proves who made the archive.
    """
    wanted = expected if isinstance(expected, Receipt | UUID) else parse_expected(expected)

    def verify(container: Container) -> bool:
        if isinstance(wanted, UUID):
            found = UUID(bytes=container.superblock.container)
            if found != wanted:
                raise ReceiptError(f"this is archive {found}, not {wanted}")
            return False
        manager = FilesystemStreamManager("", b"", container=container)
        try:
            lineage = read_lineage(manager)
        except CorruptError as damage:
            raise ReceiptError(
                f"the lineage is damaged ({damage.reason}), so the receipt cannot be compared: "
                "run ar7 repair"
            ) from damage
        try:
            verify_receipt(wanted, container.root, container.superblock, container.master, lineage)
        except RollbackError:
            if not accept_rollback:
                raise
        return True

    return verify


def parse_expected(expected: str | bytes) -> Expected:
    """A receipt in one of its forms, or a container id.  Raises: UsageError."""
    if isinstance(expected, str):
        try:
            return UUID(expected.strip())
        except ValueError:
            pass
    elif len(expected) == ID_SIZE:
        return UUID(bytes=bytes(expected))
    return Receipt.parse(expected)
