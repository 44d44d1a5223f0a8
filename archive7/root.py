"""The root: block 0, which fixes every byte of the archive, and the ring it is written to.

Owns encoding, sealing and finding roots.  May assume a root cipher and a device.  Promises: a
root that decodes is genuine; what a root says is immutable.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from .crypto import BlockCipher, sha256
from .device import Device
from .errors import CorruptError
from .layout import (
    BLOCK_HEAD,
    BLOCK_SIZE,
    CHANGE,
    DATA_SIZE,
    INLINE_MAX,
    MAX_POSITIONS,
    MAX_SLOTS,
    MAX_SPECIAL_STREAMS,
    NO_ENTRY,
    NO_POSITION,
    RESERVE_COUNT,
    RING_OFFSET,
    RING_PLACES,
    ROOT,
    ROOT_CHANGES_OFFSET,
    ROOT_MARK_OFFSET,
    ROOT_OFFSET,
    SLOTS_OFFSET,
    STREAM,
)

NO_HASH: Final = bytes(32)
_NIL: Final = bytes(16)
_HEAD: Final = BLOCK_HEAD.pack(NO_POSITION, NO_POSITION, 0, _NIL, bytes(20))[:-20]
_GAP: Final = bytes(ROOT_CHANGES_OFFSET - ROOT_OFFSET - ROOT.size)


@dataclass(slots=True)
class Root:
    """One committed state; nobody changes it once it is made.

    Attributes:
        number: commit number, unique to the attempt.
        base_number, base_hash: the last commit known durable when this one was written.
        is_marked: all that this root refers to was synced before it was written.
        height, top: levels of map nodes and the map entry (12 bytes) of the topmost node.
        changes: position -> CHANGE (16 bytes), over the nodes.
        slots, used, positions, sealed: slots in the file, slots in use, positions given out
            so far, blocks ever sealed.
        reserve: first slot and count of the slots kept back for a full disc.
        streams: records (38 bytes) of the special streams.
        header: the archive header, 344 bytes.
    """

    number: int
    base_number: int
    base_hash: bytes
    is_marked: bool
    height: int
    flags: int
    session: bytes
    sequence: int
    slots: int
    used: int
    positions: int
    sealed: int
    top: bytes
    previous_hash: bytes
    reserve: tuple[int, int]
    streams: tuple[bytes, ...]
    header: bytes
    changes: dict[int, bytes] = field(repr=False)
    hash: bytes = field(default=NO_HASH, compare=False)

    def encode(self) -> bytes:
        """The 4008 bytes of data."""
        fixed = ROOT.pack(
            self.number,
            self.base_number,
            self.base_hash,
            self.is_marked,
            self.height,
            len(self.changes),
            len(self.streams),
            self.flags,
            self.session,
            self.sequence,
            self.slots,
            self.used,
            self.positions,
            self.sealed,
            self.top,
            self.previous_hash,
            *self.reserve,
        )
        parts = [self.header, fixed, _GAP, *self.changes.values(), b"", *self.streams]
        room = (INLINE_MAX - len(self.changes)) * CHANGE.size
        rest = DATA_SIZE - ROOT_CHANGES_OFFSET - INLINE_MAX * CHANGE.size
        parts[3 + len(self.changes)] = bytes(room + rest - len(self.streams) * STREAM.size)
        return b"".join(parts)

    def with_hash(self) -> tuple[Root, bytes]:
        """This root, which gets its hash, and its data."""
        data = self.encode()
        self.hash = hash_of(data)
        return self, data

    def marked(self) -> Root:
        """The same root with its mark (and the same hash)."""
        return replace(self, is_marked=True)


def first_root(session: bytes, sequence: int, header: bytes) -> Root:
    """The root of an empty container, whose first slots are the reserve."""
    root = Root(
        number=0, base_number=0, base_hash=NO_HASH, is_marked=False, height=0, flags=0,
        session=session, sequence=sequence, slots=RESERVE_COUNT, used=0, positions=1, sealed=0,
        top=NO_ENTRY, previous_hash=NO_HASH, reserve=(1, RESERVE_COUNT), streams=(),
        header=header, changes={},
    )  # fmt: skip
    return root.with_hash()[0]


def hash_of(data: bytes) -> bytes:
    """SHA-256 of a root's data with the mark zeroed."""
    if data[ROOT_MARK_OFFSET]:
        data = data[:ROOT_MARK_OFFSET] + b"\0" + data[ROOT_MARK_OFFSET + 1 :]
    return sha256(data)


def decode(data: bytes) -> Root:
    """Decode the 4008 bytes of a root.  Raises CorruptError where they make no sense."""
    (
        number,
        base_number,
        base_hash,
        mark,
        height,
        change_count,
        stream_count,
        flags,
        session,
        sequence,
        slots,
        used,
        positions,
        sealed,
        top,
        previous_hash,
        reserve_slot,
        reserve_count,
    ) = ROOT.unpack_from(data, ROOT_OFFSET)
    if change_count > INLINE_MAX or stream_count > MAX_SPECIAL_STREAMS or height > 4:
        raise CorruptError("the root's counts are out of range", block=0)
    if mark > 1 or positions > MAX_POSITIONS or slots > MAX_SLOTS or number >= 2**63:
        raise CorruptError("the root's counts are out of range", block=0)
    if reserve_slot + reserve_count > slots + 1:
        raise CorruptError("the root's reserve lies behind the end", block=0)
    if (height == 0) != (top == NO_ENTRY) or used > slots:
        raise CorruptError("the root contradicts itself", block=0)
    end = ROOT_CHANGES_OFFSET + change_count * CHANGE.size
    changes = {}
    for at in range(ROOT_CHANGES_OFFSET, end, CHANGE.size):
        change = data[at : at + CHANGE.size]
        changes[int.from_bytes(change[:4], "big")] = change
    begin = DATA_SIZE - stream_count * STREAM.size
    return Root(
        number=number,
        base_number=base_number,
        base_hash=base_hash,
        is_marked=bool(mark),
        height=height,
        flags=flags,
        session=session,
        sequence=sequence,
        slots=slots,
        used=used,
        positions=positions,
        sealed=sealed,
        top=top,
        previous_hash=previous_hash,
        reserve=(reserve_slot, reserve_count),
        streams=tuple(data[at : at + STREAM.size] for at in range(begin, DATA_SIZE, STREAM.size)),
        header=data[:ROOT_OFFSET],
        changes=changes,
        hash=hash_of(data),
    )


class Ring:
    """The eight places where roots stand."""

    def __init__(self, device: Device, cipher: BlockCipher) -> None:
        self._device = device
        self._cipher = cipher
        self._run = cipher.run_buffer(1, BLOCK_HEAD.size)

    def seal(self, root: Root, data: bytes | None = None) -> bytes:
        """The sealed block (4096 bytes) of `root`."""
        if data is None:
            data = root.encode()
        digest = self._cipher.digester(root.number)(data)
        run = self._run
        BLOCK_HEAD.pack_into(run.plain, 0, NO_POSITION, NO_POSITION, 0, _NIL, digest)
        run.data[:] = data
        self._cipher.seal_run(run, [run.plain], 1)
        return bytes(run.sealed)

    def write(self, place: int, sealed: bytes) -> None:
        """Write a sealed root to `place` (0 to 7); not synced."""
        self._device.pwrite(sealed, RING_OFFSET + place * BLOCK_SIZE)

    def forget(self) -> None:
        """Overwrite the key."""
        self._cipher.forget()

    def raw(self) -> bytes:
        """The ring's bytes as they stand."""
        return self._device.pread(RING_PLACES * BLOCK_SIZE, RING_OFFSET)

    def read(self, raw: bytes | None = None) -> dict[int, Root]:
        """Every readable root by place; places that do not open are left out."""
        raw = self.raw() if raw is None else raw
        roots = {}
        for place in range(RING_PLACES):
            plain = self._cipher.open_block(raw[place * BLOCK_SIZE : (place + 1) * BLOCK_SIZE])
            if plain is not None:
                if plain[: len(_HEAD)] != _HEAD:
                    raise CorruptError("a root's header is not that of a root", block=0)
                roots[place] = decode(plain[BLOCK_HEAD.size :])
        return roots


def slot_offset(slot: int) -> int:
    """Offset of a slot (1, 2, 3 ...) from the start of the file."""
    return SLOTS_OFFSET + (slot - 1) * BLOCK_SIZE
