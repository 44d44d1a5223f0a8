"""Archive header: what an archive says of itself, sealed in each root.

Owns the meaning of its fields.  Source: seed 001 (Archive7.Header), format.rst, "The root".
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from .errors import UsageError
from .layout import ARCHIVE_HEADER, ARCHIVE_MAGIC, VERSION_MAJOR, VERSION_MINOR

_NIL = UUID(int=0)
_MAX_TITLE_SIZE = 256


@dataclass(frozen=True)
class ArchiveHeader:
    """Who an archive belongs to and what it is for; the application gives the numbers a meaning.

    Attributes:
        title: up to 256 bytes of UTF-8.
        id: of the archive.
        owner, domain, node: identities of the application's.
        type, role, use: -128 to 127.
        created_ns: nanoseconds since 1970.

    Raises: UsageError for what does not fit.
    """

    title: str = ""
    id: UUID = field(default_factory=uuid4)
    owner: UUID = _NIL
    domain: UUID = _NIL
    node: UUID = _NIL
    type: int = 0
    role: int = 0
    use: int = 0
    created_ns: int = field(default_factory=time.time_ns)

    def __post_init__(self) -> None:
        if len(self.title.encode()) > _MAX_TITLE_SIZE or "\0" in self.title:
            raise UsageError("a title has at most 256 bytes of UTF-8 and no NUL")
        for name in ("type", "role", "use"):
            if not -128 <= getattr(self, name) <= 127:
                raise UsageError(f"{name} is a number from -128 to 127")

    def encode(self) -> bytes:
        """The 344 bytes in the root."""
        return ARCHIVE_HEADER.pack(
            ARCHIVE_MAGIC, b"a", VERSION_MAJOR, VERSION_MINOR, self.type, self.role, self.use,
            self.id.bytes, self.owner.bytes, self.domain.bytes, self.node.bytes,
            self.created_ns, self.title.encode(),
        )  # fmt: skip


def decode_header(data: bytes) -> ArchiveHeader:
    """Decode the 344 bytes; what is no UTF-8 in the title is left out."""
    _, _, _, _, kind, role, use, *rest = ARCHIVE_HEADER.unpack(data)
    identity, owner, domain, node, created, title = rest
    return ArchiveHeader(
        title=title.decode(errors="ignore").replace("\0", ""),
        id=UUID(bytes=identity),
        owner=UUID(bytes=owner),
        domain=UUID(bytes=domain),
        node=UUID(bytes=node),
        type=kind,
        role=role,
        use=use,
        created_ns=created,
    )
