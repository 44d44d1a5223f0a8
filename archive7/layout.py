"""Every structure, magic, offset, size and limit on disk, once.

Owns the bytes of the format (docs/format.rst has the same tables, compared by a test).  Integers
are big-endian and unpadded.  Sizes are in bytes.  No other module imports `struct`.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812 - the class's name in our spelling
from typing import Final, Literal, NewType

__all__ = ["BlockPosition", "CommitNumber", "StructError", "decode_numbers", "encode_numbers"]

BlockPosition = NewType("BlockPosition", int)
CommitNumber = NewType("CommitNumber", int)

# --- file

BLOCK_SIZE: Final = 4096
SUPERBLOCK_SIZE: Final = 32768  # room for 12 hybrid recipients and their public keys
SUPERBLOCK_OFFSETS: Final = (0, SUPERBLOCK_SIZE)
RING_OFFSET: Final = 2 * SUPERBLOCK_SIZE
RING_PLACES: Final = 8
SLOTS_OFFSET: Final = RING_OFFSET + RING_PLACES * BLOCK_SIZE
MAX_SLOTS: Final = 2**32 - 1
MAX_POSITIONS: Final = 2**31 - 1
MAX_RUN: Final = 256  # blocks in one system call: 1 MiB

# --- superblock

MAGIC: Final = b"\x89AR7\r\n\x1a\n"
VERSION_MAJOR: Final = 3
VERSION_MINOR: Final = 0
# magic, major, minor, suite, slot count, critical flags, optional flags, container id, key epoch,
# sequence, commit number, size of the slot table, size of the sealed part
SUPERBLOCK_HEAD: Final = Struct("!8sHHHHII16sIQQII")
# slot kind, size of what follows; that begins with the slot id in every kind
SLOT_HEAD: Final = Struct("!HH")
SLOT_ID_SIZE: Final = 8
SLOT_RAW: Final = 1
SLOT_PASSPHRASE: Final = 2
SLOT_X25519: Final = 3
SLOT_HYBRID: Final = 4
# parameters of a raw key slot: slot id, salt
RAW_SLOT: Final = Struct("!8s32s")
# parameters of a passphrase slot: slot id, salt, memory in KiB, passes, lanes
PASSPHRASE_SLOT: Final = Struct("!8s32sIII")
# after the parameters of either: commitment, sealed master key (32 + 16)
SLOT_SEAL: Final = Struct("!32s48s")
# a recipient's slot: slot id, sealed master key (what HPKE encapsulated, then 32 + 16)
X25519_SLOT: Final = Struct("!8s80s")
HYBRID_SLOT: Final = Struct("!8s1168s")
MAX_KEYSLOTS: Final = 256
MAX_PASSPHRASE_SLOTS: Final = 8
MAX_RECIPIENT_SLOTS: Final = 12
# Argon2id: memory in KiB, passes, lanes.  The floor is OWASP's, the ceiling ours.
KDF_FLOOR: Final = (19456, 2, 1)
KDF_DEFAULT: Final = (65536, 3, 4)
KDF_CEILING: Final = (2**20, 16, 16)
KDF_UNASKED_MEMORY: Final = 2**18  # KiB that a reader spends without max_kdf_memory=
# kind, size of what follows: the sealed part; kind 0 begins the padding
INFO_HEAD: Final = Struct("!HH")
INFO_END: Final = 0
INFO_NOTE: Final = 1
INFO_RECIPIENT: Final = 2
INFO_OLD_KEY: Final = 3
INFO_RECEIPT_KEY: Final = 4
INFO_UNIT: Final = 256  # the sealed part is padded to a multiple: its size tells no label's
# slot id, created (ns), then the label in UTF-8
NOTE: Final = Struct("!8sQ")
MAX_LABEL_SIZE: Final = 255
# slot id, slot kind, then the recipient's public key
RECIPIENT: Final = Struct("!8sH")
# epoch, key of it: the master key of the epoch before, or the receipt key of an earlier one
OLD_KEY: Final = Struct("!I32s")
# SHA-256 of all before it; HMAC-SHA256 of all before it, also of the SHA-256
SUPERBLOCK_TAIL: Final = Struct("!32s32s")
SUPERBLOCK_BODY_SIZE: Final = SUPERBLOCK_SIZE - SUPERBLOCK_HEAD.size - SUPERBLOCK_TAIL.size

# --- block

NONCE_SIZE: Final = 24
TAG_SIZE: Final = 16
TAG_PREFIX_SIZE: Final = 8  # bytes of the tag that the map keeps
# suite 1: both halves of the nonce and the tag prefix of a sealed block; the ciphertext left out
SEALED_XAES: Final = Struct("!12s12s4056x8s8x")
# previous, next, index, stream id, digest
BLOCK_HEAD: Final = Struct("!iiI16s20s")
BLOCK: Final = Struct("!iiI16s20s4008s")
PLAIN_SIZE: Final = BLOCK.size
DATA_SIZE: Final = PLAIN_SIZE - BLOCK_HEAD.size
# a head without its digest: what a check knows of a block beforehand
_BLOCK_LEAD: Final = Struct("!iiI16s")
pack_lead: Final = _BLOCK_LEAD.pack
DIGEST_OFFSET: Final = _BLOCK_LEAD.size
# index, stream id: what every read compares, at IDENTITY_OFFSET of the plaintext
BLOCK_IDENTITY: Final = Struct("!I16s")
IDENTITY_OFFSET: Final = 8
NO_POSITION: Final = -1
TAIL_BASE: Final = -2  # next of a stream's last block of which n < 4008 bytes count: this - n

# --- streams

# identity, begin, end, count, length, compression
STREAM: Final = Struct("!16siiIQH")
# count of extents that follow the stream record in the registry (0: a single run)
EXTENT_COUNT: Final = Struct("!I")
# first index, begin, count of blocks
EXTENT: Final = Struct("!IiI")

# --- map

# position, slot, tag prefix
CHANGE: Final = Struct("!II8s")
# slot, tag prefix
MAP_ENTRY: Final = Struct("!I8s")
NO_ENTRY: Final = bytes(MAP_ENTRY.size)
FANOUT: Final = DATA_SIZE // MAP_ENTRY.size
# magic, level, commit number: stands where a data block has its stream id
NODE_IDENTITY: Final = Struct("!4sIQ")
NODE_MAGIC: Final = b"map\0"
INLINE_MAX: Final = 180

RESERVE_COUNT: Final = 64  # slots kept back so that deleting works on a full disc

# --- root

# magic, type, major, minor, type, role, use, id, owner, domain, node, created (ns), title
ARCHIVE_HEADER: Final = Struct("!8scHHbbb16s16s16s16sQ256s")
ARCHIVE_MAGIC: Final = b"archive7"
# commit number, base number, base hash, mark, height, changes, streams, flags, session id,
# superblock sequence, slots, used slots, positions, sealed blocks, top slot, top tag prefix,
# hash of the previous root, first reserve slot, reserve count
ROOT: Final = Struct("!QQ32sBBBBI16sQIIIQ12s32sII")
ROOT_OFFSET: Final = ARCHIVE_HEADER.size
ROOT_MARK_OFFSET: Final = ROOT_OFFSET + 48
ROOT_CHANGES_OFFSET: Final = 512
MAX_SPECIAL_STREAMS: Final = 16
FLAG_BLANKING: Final = 1  # free slots are being overwritten (ERASE with blank=True)
FLAG_TRASH: Final = 2  # the trash stream lists the free positions of this very commit
KIND_SHIFT: Final = 8  # bits 8 to 15 of the flags: the kind of stream manager
KIND_NONE: Final = 0  # not decided yet
KIND_SINGLE: Final = 1
KIND_FIXED: Final = 2
KIND_DYNAMIC: Final = 3
KIND_FILESYSTEM: Final = 4

# --- trees

# magic, level (0 = leaf), count of items, first free node (root only, else -1); then the sizes
# (2 bytes each) of all keys and, in a leaf, of all values; then in an inner node count + 1
# children (4 bytes each); then all keys, then all values
TREE_NODE: Final = Struct("!2sHHi")
TREE_MAGIC: Final = b"BT"
TREE_FREE_MAGIC: Final = b"BF"
TREE_CAPACITY: Final = DATA_SIZE - TREE_NODE.size
TREE_SIZE_SIZE: Final = 2  # bytes of one key or value size
TREE_CHILD_SIZE: Final = 4
VALUE_IN_STREAM: Final = 0x8000  # in a value's size: the value is the record of a stream
MAX_KEY_SIZE: Final = 512
MAX_ITEM_SIZE: Final = 1280

# --- filesystem

# type, flags, parent, owner, created, modified, deleted (ns; 0: not deleted), mode, user, group,
# links, size of name, size of link target, size of extended attributes; then these three
ENTRY: Final = Struct("!cB16s16sqqqIIIIHHI")
ENTRY_MODIFIED_OFFSET: Final = 42
ENTRY_LINKS_OFFSET: Final = 70
TIME: Final = Struct("!q")
# kind, size of name, size of value; then name and value
EXTRA: Final = Struct("!BBI")
EXTRA_ATTRIBUTE: Final = 1  # extended attribute
EXTRA_USER: Final = 2  # name of the user, no name
EXTRA_GROUP: Final = 3  # name of the group, no name
MAX_ATTRIBUTES_SIZE: Final = 65536  # of all extras of an entry, encoded
# type, id: what stands under parent id + name in the paths tree
PATH: Final = Struct("!c16s")
# type, id, deleted (ns), length in bytes, former parent: what stands under the id of deleted
# names + id of the deletion in the paths tree; then the former name
DELETED: Final = Struct("!c16sqQ16s")
ID_SIZE: Final = 16
FLAG_EMPTIED: Final = 1  # in the flags of an entry: deleted, its data freed
MAX_NAME_SIZE: Final = 255
MAX_TARGET_SIZE: Final = 4095

# --- trash stream

# count of extents
TRASH_HEAD: Final = Struct("!I")
# begin, count
TRASH_EXTENT: Final = Struct("!II")

# --- lineage stream, receipts

# session id, number of its last commit that was continued
LINEAGE: Final = Struct("!16sQ")
# magic, container id, epoch, sequence of the superblock, session id, commit number, hash of the
# root; behind it the MAC
RECEIPT: Final = Struct("!4s16sIQ16sQ32s")
RECEIPT_MAGIC: Final = b"AR7R"

# --- Linux: struct flock, native order (type, whence, start, size, process)
_FLOCK: Final = Struct("hhqqi4x")

assert SUPERBLOCK_HEAD.size == 68  # noqa: S101 - a wrong layout must not import
assert PASSPHRASE_SLOT.size == RAW_SLOT.size + 12 == SLOT_ID_SIZE + 32 + 12  # noqa: S101
assert BLOCK_HEAD.size == 48 and PLAIN_SIZE == 4056 and DATA_SIZE == 4008  # noqa: S101, PT018
assert PLAIN_SIZE + NONCE_SIZE + TAG_SIZE == BLOCK_SIZE  # noqa: S101
assert FANOUT == 334 and FANOUT * MAP_ENTRY.size == DATA_SIZE  # noqa: S101, PT018
assert STREAM.size == 38 and ARCHIVE_HEADER.size == 344  # noqa: S101, PT018
assert ROOT_OFFSET + ROOT.size <= ROOT_CHANGES_OFFSET  # noqa: S101
assert (  # noqa: S101
    ROOT_CHANGES_OFFSET + INLINE_MAX * CHANGE.size + MAX_SPECIAL_STREAMS * STREAM.size <= DATA_SIZE
)


def encode_numbers(kind: Literal["H", "I"], numbers: Sequence[int]) -> bytes:
    """Encode 2-byte ("H") or 4-byte ("I") unsigned numbers, one after the other."""
    return _row(kind, len(numbers)).pack(*numbers)


@lru_cache(maxsize=2048)
def _row(kind: str, count: int) -> Struct:
    """So many numbers one after the other."""
    return Struct(f"!{count}{kind}")


def decode_numbers(kind: Literal["H", "I"], data: bytes | bytearray | memoryview) -> array[int]:
    """Decode what `encode_numbers` made."""
    numbers = array(kind)
    numbers.frombytes(data)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


@lru_cache(maxsize=FANOUT)
def entry_row(count: int) -> Struct:
    """So many map entries one after the other, each as 12 bytes."""
    return Struct(f"!{f'{MAP_ENTRY.size}s' * count}")


@lru_cache(maxsize=FANOUT)
def entry_fields(count: int) -> Struct:
    """Slots and tag prefixes of so many map entries, by turns."""
    return Struct("!" + MAP_ENTRY.format[1:] * count)
