"""Information about an archive: what `Archive.info` tells."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from .commit import Container
from .crypto import SUITES
from .epochs import old_key
from .header import decode_header
from .layout import ARCHIVE_HEADER, BLOCK_SIZE


@dataclass(frozen=True)
class ArchiveInfo:
    """What `Archive.info` tells.

    Attributes:
        name, mode: as opened.
        container: container id.
        suite: name of the cipher suite.
        format: version of the format.
        commit: number of the last commit.
        created: nanoseconds since 1970.
        title, owner, domain, node, type, role, use: from the archive header.
        size: of the file in bytes.
        used, free: bytes in use and free in it, blocks only.
        sealed: blocks sealed so far; a new key is advised from 2^36 on.
        keyslots: kinds of the keyslots, in the order in which they were added.
        is_authenticated: False where a private key alone opened it: whoever has the public key
            may have made the archive.
        epoch: number of the master key.
        is_rekeying: a change of the master key was begun and has not ended.
    """

    name: str
    mode: str
    container: UUID
    suite: str
    format: str
    commit: int
    created: int
    title: str
    owner: UUID
    domain: UUID
    node: UUID
    type: int
    role: int
    use: int
    size: int
    used: int
    free: int
    sealed: int
    keyslots: tuple[str, ...]
    is_authenticated: bool
    epoch: int
    is_rekeying: bool


def describe(container: Container, name: str, mode: str) -> ArchiveInfo:
    """What is known of an open container without reading more of it."""
    root = container.root
    _, _, major, minor, *_ = ARCHIVE_HEADER.unpack(root.header)
    header = decode_header(root.header)
    return ArchiveInfo(
        name=name,
        mode=mode,
        container=UUID(bytes=container.superblock.container),
        suite=SUITES[container.superblock.suite],
        format=f"{major}.{minor}",
        commit=root.number,
        created=header.created_ns,
        title=header.title,
        owner=header.owner,
        domain=header.domain,
        node=header.node,
        type=header.type,
        role=header.role,
        use=header.use,
        size=container.device.size(),
        used=root.used * BLOCK_SIZE,
        free=(root.slots - root.used) * BLOCK_SIZE,
        sealed=root.sealed,
        keyslots=tuple(slot.kind_name for slot in container.superblock.slots),
        is_authenticated=container.is_authenticated,
        epoch=container.superblock.epoch,
        is_rekeying=old_key(container.superblock) is not None,
    )
