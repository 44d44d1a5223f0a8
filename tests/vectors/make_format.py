"""Make the vectors of the layers above the keys in tests/vectors/format: one fault a file.

    python tests/vectors/make_format.py

A vector is a golden container and what is changed in it: `patches` of [offset, bytes in base 85]
or [offset, count of zeros], and `cut`, the size of the file.  What a key holder could have written
is sealed anew (tests/forge.py), so that only the fault is wrong.  The rest says what comes of it:

    layer      which has to refuse
    open       the exception of opening, or null
    write      the exception of opening for writing; "*": not to be tried
    refused    path -> exception of reading it (a directory: of listing it)
    lost       what cannot be read; all other paths of the golden container can, as they are there
    recovered  whether opening warns that a commit was passed over
    check      the layer, or one of those, in which `check` finds the fault, or null
    reader     whether the second reader must read all that is not lost, rather than refuse
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archive7.crypto import KIND_DATA, KIND_NODE
from archive7.device import MemoryDevice
from archive7.entry import LINKS_ID, ROOT_ID
from archive7.keyslots import Secrets
from archive7.layout import (
    BLOCK_SIZE,
    CHANGE,
    EXTENT,
    EXTENT_COUNT,
    MAP_ENTRY,
    NO_ENTRY,
    RING_OFFSET,
    ROOT_OFFSET,
    STREAM,
)
from archive7.root import slot_offset
from archive7.superblock import write_copies
from archive7.unlock import read
from tests.forge import SECRETS, Forge, changed_record
from tests.vectors.make_golden import FOLDER as GOLDEN
from tests.vectors.seeded import seeded

FOLDER = Path(__file__).resolve().parent / "format"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())
BIG, SMALL, DEEP = "/d/12024", "/d/4007", "/d/e/deep"  # in small_*: three blocks, one, one
ALL = "*"
BLOCK, BACK, TREE = "BlockCorruptError", "RollbackError", "TreeCorruptError"
CORRUPT = "CorruptError"
HEAD = 48

Vector = dict[str, Any]
Make = Callable[[Forge], None]
FAULTS: dict[str, tuple[str, Vector, Make]] = {}


def fault(base: str = "small_xaes", **expect: Any) -> Callable[[Make], Make]:
    """Register a fault; `expect` holds what differs from nothing being wrong."""

    def register(make: Make) -> Make:
        add(make.__name__, base, make, **expect)
        return make

    return register


def add(name: str, base: str, make: Make, **expect: Any) -> None:
    about = expect.pop("about", None) or (make.__doc__ or "").strip()
    refused = expect.get("refused", {})
    if isinstance(refused, str):  # of the one file that all faults of a stream's block hit
        refused = {BIG: refused}
    usual: Vector = {
        "about": about,
        "layer": name.split("_")[0],
        "base": base,
        "open": None,
        "write": expect.get("open"),
        "lost": [ALL] if expect.get("open") else sorted(refused),
        "recovered": False,
        "check": None,
        "reader": not (refused or expect.get("open")),
    }
    assert name not in FAULTS, name
    FAULTS[name] = base, usual | expect | {"refused": refused}, make


# --- where things stand


def identity(forge: Forge, path: str) -> bytes:
    found, names = ROOT_ID, forge.items(2)
    for name in path.strip("/").split("/") if path != "/" else ():
        found = names[found + name.encode()][1:]
    return found


def name_key(forge: Forge, path: str) -> bytes:
    parent, name = path.rsplit("/", 1)
    return identity(forge, parent or "/") + name.encode()


def position(forge: Forge, path: str = BIG, index: int = 0) -> int:
    """Position of a block of a file in one piece."""
    record = forge.items(1)[identity(forge, path)]
    return int(STREAM.unpack_from(record)[1]) + index


def slot(forge: Forge, place: int) -> int:
    return int(MAP_ENTRY.unpack(forge.entry(place))[0])


def at_slot(forge: Forge, number: int) -> bytes:
    offset = slot_offset(number)
    return bytes(forge.data[offset : offset + BLOCK_SIZE])


def put(forge: Forge, number: int, block: bytes) -> None:
    offset = slot_offset(number)
    forge.data[offset : offset + BLOCK_SIZE] = block


def flip(forge: Forge, number: int, at: int) -> None:
    forge.data[slot_offset(number) + at] ^= 1


def node_slot(forge: Forge, level: int = 0, ordinal: int = 0) -> int:
    return int(MAP_ENTRY.unpack(forge.above(level, ordinal))[0])


def value(forge: Forge, path: str, how: Callable[[bytes], bytes]) -> None:
    """Change the registry value of a path."""
    forge.change_value(1, identity(forge, path), how)


def record(forge: Forge, path: str, **fields: Any) -> None:
    size = STREAM.size
    value(forge, path, lambda old: changed_record(old[:size], **fields) + old[size:])


def entry(forge: Forge, path: str, how: Callable[[bytes], bytes]) -> None:
    """Change the entry of a path that has no extents."""
    at = STREAM.size + EXTENT_COUNT.size
    value(forge, path, lambda old: old[:at] + how(old[at:]))


def extents(forge: Forge, path: str, how: Callable[[list[list[int]]], None]) -> None:
    def change(old: bytes) -> bytes:
        (count,) = EXTENT_COUNT.unpack_from(old, STREAM.size)
        at, end = STREAM.size + EXTENT_COUNT.size, STREAM.size + EXTENT_COUNT.size + 12 * count
        runs = [list(run) for run in EXTENT.iter_unpack(old[at:end])]
        how(runs)
        body = b"".join(EXTENT.pack(*run) for run in runs)
        return old[: STREAM.size] + EXTENT_COUNT.pack(len(runs)) + body + old[end:]

    value(forge, path, change)


def replaced(data: bytes, at: int, part: bytes) -> bytes:
    return data[:at] + part + data[at + len(part) :]


# --- block: sealed bytes

for _suite, _parts in (
    ("xaes", {"prefix": 3, "nonce": 15, "ciphertext": 2000, "tag_prefix": 4082, "tag": 4090}),
    ("secretbox", {"nonce": 3, "ciphertext": 2000, "tag_prefix": 26, "tag": 36}),
):
    for _part, _at in _parts.items():
        add(
            f"block_flipped_{_part}_{_suite}", f"small_{_suite}",
            lambda forge, at=_at: flip(forge, slot(forge, position(forge)), at),
            about=f"One bit of the {_part.replace('_', ' ')} of a block of a file.",
            refused=BLOCK, check="block",
        )  # fmt: skip


def both(**expect: Any) -> Callable[[Make], Make]:
    """Register a fault in either suite."""

    def register(make: Make) -> Make:
        for suite in ("xaes", "secretbox"):
            add(f"{make.__name__}_{suite}", f"small_{suite}", make, **expect)
        return make

    return register


@both(refused=BLOCK, check="block")
def block_zeros(forge: Forge) -> None:
    """Zeros in the place of a block."""
    put(forge, slot(forge, position(forge)), bytes(BLOCK_SIZE))


@both(refused=BACK, check="block")
def block_swapped(forge: Forge) -> None:
    """Two blocks of one stream in one another's slots."""
    one, two = (slot(forge, position(forge, index=i)) for i in (0, 1))
    first, second = at_slot(forge, one), at_slot(forge, two)
    put(forge, one, second)
    put(forge, two, first)


@both(refused=BACK, check="block")
def block_copied(forge: Forge) -> None:
    """The genuine block of another file."""
    put(forge, slot(forge, position(forge)), at_slot(forge, slot(forge, position(forge, SMALL))))


@both(refused=BACK, check="block")
def block_older(forge: Forge) -> None:
    """An older version of the very block, as its key once sealed it."""
    place = position(forge)
    sealed, _ = forge.seal(KIND_DATA, forge.block(place))
    put(forge, slot(forge, place), sealed)


@both(refused=BLOCK, check="block")
def block_node(forge: Forge) -> None:
    """A map node in the place of a block."""
    put(forge, slot(forge, position(forge)), at_slot(forge, node_slot(forge)))


@fault(refused=BLOCK, check="block")
def block_other_kind(forge: Forge) -> None:
    """Sealed under the key of nodes; the map has its tag."""
    place = position(forge)
    sealed, tag = forge.seal(KIND_NODE, forge.block(place))
    number = slot(forge, place)
    put(forge, number, sealed)
    forge.set_entry(place, MAP_ENTRY.pack(number, tag))


def sealed_with(forge: Forge, **attributes: Any) -> None:
    """Seal a block by a cipher of which something is another kind's; the map has its tag."""
    place = position(forge)
    number, plain = slot(forge, place), forge.block(place)
    with mock.patch.multiple(forge.ciphers[KIND_DATA], _ciphers={}, **attributes):
        sealed, tag = forge.seal(KIND_DATA, plain)
    put(forge, number, sealed)
    forge.set_entry(place, MAP_ENTRY.pack(number, tag))


@fault(refused=BLOCK, check="block")
def block_foreign_prefix(forge: Forge) -> None:
    """Sealed under the right key with a nonce prefix that is not of the kind."""
    other: Any = forge.ciphers[KIND_NODE]
    sealed_with(forge, _prefixes=other._prefixes, _known=other._known)


@fault(refused=BLOCK, check="block")
def block_foreign_aad(forge: Forge) -> None:
    """Sealed under the right key with the AAD of another kind."""
    other: Any = forge.ciphers[KIND_NODE]
    sealed_with(forge, _aad=other._aad)


@both(refused=BLOCK, check="block")
def block_wrong_index(forge: Forge) -> None:
    """A block that says it is number 7 of its stream."""
    forge.patch_block(position(forge), 8, (7).to_bytes(4, "big"))


@both(refused=BLOCK, check="block")
def block_wrong_stream(forge: Forge) -> None:
    """A block that says it is another stream's."""
    forge.patch_block(position(forge), 12, b"another stream's")


@both(check="block")
def block_wrong_digest(forge: Forge) -> None:
    """A digest that does not fit: reads may leave it, a check tells."""
    place = position(forge)
    plain = forge.block(place)
    plain[30] ^= 1
    forge.set_block(place, plain, is_right=False)


@fault()
def block_digest_commit_number(forge: Forge) -> None:
    """Another commit number behind the digest: nobody compares it."""
    place = position(forge)
    plain = forge.block(place)
    plain[44:48] = b"\xff\xff\xff\xff"
    forge.set_block(place, plain, is_right=False)


@fault("height_0", open=CORRUPT)
def block_cut(forge: Forge) -> None:
    """A file that ends in the middle of a block of a marked commit."""
    forge.set_root(is_marked=True)
    del forge.data[slot_offset(slot(forge, position(forge, "/last"))) + 2000 :]


# --- map


@fault(open=BLOCK)
def map_flipped_node(forge: Forge) -> None:
    """One bit of a node."""
    flip(forge, node_slot(forge), 2000)


@fault(open=BLOCK)
def map_zeros(forge: Forge) -> None:
    """Zeros in the place of a node."""
    put(forge, node_slot(forge), bytes(BLOCK_SIZE))


@fault(open=BACK)
def map_older_node(forge: Forge) -> None:
    """An older version of a node, as its key once sealed it."""
    sealed, _ = forge.seal(KIND_NODE, forge.node())
    put(forge, node_slot(forge), sealed)


@fault(open=BLOCK)
def map_block_as_node(forge: Forge) -> None:
    """A block in the place of a node."""
    put(forge, node_slot(forge), at_slot(forge, slot(forge, position(forge))))


@fault("height_2", open=BACK)
def map_swapped_nodes(forge: Forge) -> None:
    """The leaf in the place of the topmost node."""
    put(forge, node_slot(forge, 1), at_slot(forge, node_slot(forge, 0, 1)))


@fault(open=BLOCK)
def map_wrong_magic(forge: Forge) -> None:
    """A node without its magic."""
    plain = forge.node()
    plain[12:16] = b"mop\0"
    forge.set_node(plain)


@fault(open=BLOCK)
def map_wrong_level(forge: Forge) -> None:
    """A leaf that says it is of level 1."""
    plain = forge.node()
    plain[16:20] = (1).to_bytes(4, "big")
    forge.set_node(plain)


@fault("height_2", refused={"/far/away/file": BLOCK}, check="map")
def map_wrong_ordinal(forge: Forge) -> None:
    """A leaf that says it is number 0."""
    plain = forge.node(0, 1)
    plain[8:12] = bytes(4)
    forge.set_node(plain, 0, 1)


@fault("height_2", refused={"/far/away/file": BLOCK}, check="map")
def map_leaf_missing(forge: Forge) -> None:
    """The topmost node without the entry of the leaf of all blocks."""
    forge.set_node_entry(1, 1, NO_ENTRY)


@fault("height_2", refused={"/far/away/file": BLOCK}, check="map")
def map_leaf_behind_the_end(forge: Forge) -> None:
    """The entry of a leaf that names a slot behind the end of the file."""
    forge.set_node_entry(1, 1, MAP_ENTRY.pack(0xFFFFFFFF, b"prefix.."))


@fault(refused=BLOCK, check="stream")
def map_entry_missing(forge: Forge) -> None:
    """No entry where a stream has a block."""
    forge.set_entry(position(forge), NO_ENTRY)


@fault(refused=BLOCK, check="map")
def map_entry_behind_the_end(forge: Forge) -> None:
    """An entry that names a slot behind the end of the file."""
    forge.set_entry(position(forge), MAP_ENTRY.pack(forge.root.slots + 1, b"prefix.."))


@fault(refused=BLOCK, check="map")
def map_entry_far_behind_the_end(forge: Forge) -> None:
    """An entry that names the highest slot that there is."""
    forge.set_entry(position(forge), MAP_ENTRY.pack(0xFFFFFFFF, b"prefix.."))


@fault(refused=BACK, check="block")
def map_entry_other_prefix(forge: Forge) -> None:
    """An entry with another tag prefix than its block."""
    place = position(forge)
    forge.set_entry(place, MAP_ENTRY.pack(slot(forge, place), b"prefix.."))


@fault(refused=BLOCK, check="map")
def map_entry_shared(forge: Forge) -> None:
    """Two positions with one slot."""
    place = position(forge)
    forge.set_entry(place, forge.entry(place + 1))


@fault(check="map")
def map_entry_behind_the_positions(forge: Forge) -> None:
    """An entry at a position that was never given out."""
    forge.set_node_entry(0, 333, forge.entry(position(forge)))


@fault(check="map")
def map_entry_of_position_0(forge: Forge) -> None:
    """An entry at position 0, which stands for the root."""
    forge.set_node_entry(0, 0, forge.entry(position(forge)))


@fault(check="map")
def map_reserve_in_use(forge: Forge) -> None:
    """The reserve over a slot in use."""
    forge.set_root(reserve=(slot(forge, position(forge)), 1))


@fault("height_0", refused={"/last": BLOCK}, check="stream")
def map_change_missing(forge: Forge) -> None:
    """The change of a block is not among those of a marked root."""
    place = position(forge, "/last")
    changes = {p: change for p, change in forge.root.changes.items() if p != place}
    forge.set_root(is_marked=True, changes=changes)


@fault("height_0", refused={"/last": BLOCK}, check="map")
def map_change_behind_the_end(forge: Forge) -> None:
    """A change that names a slot behind the end of the file, in a marked root."""
    forge.set_entry(position(forge, "/last"), MAP_ENTRY.pack(0x7FFFFFFF, b"prefix.."))
    forge.set_root(is_marked=True)


@fault("height_1_changes", refused={"/1": BACK}, check="block")
def map_change_older(forge: Forge) -> None:
    """An older version of a block that the change names, in a marked root."""
    place = position(forge, "/1")
    sealed, _ = forge.seal(KIND_DATA, forge.block(place))
    put(forge, slot(forge, place), sealed)
    forge.set_root(is_marked=True)


@fault("height_0", check="map")
def map_change_behind_the_positions(forge: Forge) -> None:
    """A change of a position that was never given out, in a marked root."""
    change = CHANGE.pack(0x7FFFFFF0, *MAP_ENTRY.unpack(forge.entry(position(forge, "/last"))))
    forge.set_root(is_marked=True, changes=forge.root.changes | {0x7FFFFFF0: change})


@fault(check="map")
def map_used_too_high(forge: Forge) -> None:
    """The root counts one used slot more than there are."""
    forge.set_root(used=forge.root.used + 1)


@fault(check="map")
def map_used_too_low(forge: Forge) -> None:
    """The root counts no used slot."""
    forge.set_root(used=0)


# --- root: nonsense under the right key

for _name, _at, _part, _about in (
    ("changes", 50, b"\xb5", "181 changes"),
    ("changes_most", 50, b"\xff", "255 changes"),
    ("streams", 51, b"\x11", "17 special streams"),
    ("height", 49, b"\x05", "A map of height 5"),
    ("height_most", 49, b"\xff", "A map of height 255"),
    ("height_without_node", 49, b"\x00", "Height 0 with a topmost node"),
    ("node_missing", 100, bytes(12), "A height without a topmost node"),
    ("mark", 48, b"\x02", "A mark that is neither 0 nor 1"),
    ("number", 0, b"\xff" * 8, "The highest number that 8 bytes can hold"),
    ("positions", 88, b"\xff" * 4, "More positions than there can be"),
    ("used", 84, b"\xff" * 4, "More used slots than slots"),
    ("reserve", 144, b"\xff" * 8, "A reserve behind the end"),
):
    add(
        f"root_{_name}", "small_xaes",
        lambda forge, at=_at, part=_part: forge.patch_root(ROOT_OFFSET + at, part),
        about=f"{_about}.", open=CORRUPT,
    )  # fmt: skip


@fault(open=CORRUPT)
def root_noise(forge: Forge) -> None:
    """A root of bytes of 255."""
    forge.write_root(b"\xff" * 4008)


for _name, _at, _part in (
    ("previous", 0, bytes(4)),
    ("next", 4, bytes(4)),
    ("index", 8, b"\0\0\0\1"),
    ("stream", 12, b"\1"),
):

    def _head(forge: Forge, at: int = _at, part: bytes = _part) -> None:
        head = replaced(b"\xff" * 8 + bytes(20), at, part)
        forge.write_root(forge.root.encode(), head=head)

    add(
        f"root_wrong_{_name}", "small_xaes", _head,
        about=f"Another {_name} in a root's header.", open=CORRUPT,
    )  # fmt: skip


@fault(open="FormatError")
def root_kind(forge: Forge) -> None:
    """A container of another kind of manager."""
    forge.set_root(flags=forge.root.flags & 0xFF | 3 << 8)


@fault(open=CORRUPT)
def root_slots_too_many(forge: Forge) -> None:
    """More slots than the file has."""
    forge.set_root(slots=forge.root.slots + 1000)


@fault(open=CORRUPT)
def root_slots_most(forge: Forge) -> None:
    """As many slots as can be: neither memory nor time follows from it."""
    forge.set_root(slots=0xFFFFFFFE)


@fault(check="map", write="*")
def root_slots_too_few(forge: Forge) -> None:
    """Fewer slots than the map names: a writer would cut the file, so this is for readers."""
    forge.set_root(slots=forge.root.used, reserve=(0, 0))


@fault(check="map")
def root_positions_too_few(forge: Forge) -> None:
    """Fewer positions than were given out."""
    forge.set_root(positions=position(forge))


@fault()
def root_sealed(forge: Forge) -> None:
    """Another count of sealed blocks, hash of the root before, session id: nobody reads them."""
    forge.set_root(sealed=0, previous_hash=bytes(32), session=b"another session.")


# --- opening: states of the ring


def ring(forge: Forge, place: int) -> slice:
    return slice(RING_OFFSET + place * BLOCK_SIZE, RING_OFFSET + (place + 1) * BLOCK_SIZE)


def newest(forge: Forge) -> int:
    return max(forge.roots, key=lambda p: forge.roots[p].number)


@fault(open=CORRUPT)
def opening_no_root(forge: Forge) -> None:
    """Zeros in all places of the ring."""
    forge.clear_ring([])


@fault(open=CORRUPT)
def opening_roots_flipped(forge: Forge) -> None:
    """One bit of each root."""
    for place in range(8):
        forge.data[RING_OFFSET + place * BLOCK_SIZE + 500] ^= 1


@fault()
def opening_one_root(forge: Forge) -> None:
    """One readable place of eight."""
    forge.clear_ring([5])


@fault(open=CORRUPT)
def opening_blocks_as_roots(forge: Forge) -> None:
    """A block in all places of the ring."""
    for place in range(8):
        forge.data[ring(forge, place)] = at_slot(forge, slot(forge, position(forge)))


@fault("height_0")
def opening_unmarked(forge: Forge) -> None:
    """The newest root is unmarked, and all in which it differs from its base is there."""
    forge.clear_ring([newest(forge), base_place(forge)])


def base_place(forge: Forge) -> int:
    return next(p for p, root in forge.roots.items() if root.hash == forge.root.base_hash)


LAST = {"recovered": True, "lost": ["/last"], "check": "root", "reader": True}


@fault("height_0", **LAST)
def opening_torn_block(forge: Forge) -> None:
    """A block of the newest, unmarked root is not whole: the commit before is the state."""
    flip(forge, slot(forge, position(forge, "/last")), 100)


@fault("height_0", **LAST)
def opening_older_block(forge: Forge) -> None:
    """An older version of a block of the newest, unmarked root."""
    place = position(forge, "/last")
    sealed, _ = forge.seal(KIND_DATA, forge.block(place))
    put(forge, slot(forge, place), sealed)


@fault("height_0", **LAST)
def opening_digest(forge: Forge) -> None:
    """A digest that does not fit, in a block of an unmarked root."""
    place = position(forge, "/last")
    plain = forge.block(place)
    plain[29] ^= 1
    forge.set_block(place, plain, is_right=False)


@fault("height_0", open=CORRUPT)
def opening_cut(forge: Forge) -> None:
    """A file that ends before the last slot of all roots."""
    del forge.data[slot_offset(slot(forge, position(forge, "/last"))) :]


@fault("height_0", **LAST)
def opening_base_missing(forge: Forge) -> None:
    """The base of the newest root is not in the ring; the floor is another one."""
    forge.set_root(base_hash=b"no root has this hash of 32 bytes")


@fault("height_0", open=CORRUPT)
def opening_floor_missing(forge: Forge) -> None:
    """The newest root names a base that is not in the ring, and there is no other root."""
    forge.clear_ring([newest(forge)])


@fault("height_0", open=CORRUPT)
def opening_below_the_floor(forge: Forge) -> None:
    """The base that the newest root names has a higher number than all that can be taken."""
    forge.set_root(base_number=forge.root.number, base_hash=bytes(32))


@fault("height_0", open=CORRUPT)
def opening_torn_and_floor_missing(forge: Forge) -> None:
    """The newest root does not verify and the root that it stands on is not readable."""
    flip(forge, slot(forge, position(forge, "/last")), 100)
    forge.clear_ring([p for p, root in forge.roots.items() if root.hash != forge.root.base_hash])


@fault("folded_and_killed", recovered=True, lost=["/0", "/1", "/2"], check="root", reader=True)
def opening_torn_node(forge: Forge) -> None:
    """A node of the newest, unmarked root is not whole."""
    flip(forge, node_slot(forge), 100)


@fault("folded_and_killed", recovered=True, lost=["/0", "/1", "/2"], check="root", reader=True)
def opening_torn_block_in_a_leaf(forge: Forge) -> None:
    """A block that only a leaf of the newest, unmarked root names."""
    flip(forge, slot(forge, position(forge, "/1", 3)), 100)


@fault("height_0", refused={"/last": BLOCK}, check="block")
def opening_mark_is_trusted(forge: Forge) -> None:
    """A marked root is taken unseen: the damage shows where it is read."""
    flip(forge, slot(forge, position(forge, "/last")), 100)
    forge.set_root(is_marked=True)


@fault("height_0")
def opening_mark_before_none(forge: Forge) -> None:
    """Of two copies of the newest root the marked one goes first."""
    spare = next(p for p in range(8) if p not in (newest(forge), base_place(forge)))
    forge.write_root(forge.root.marked().encode(), [spare])
    forge.data[ring(forge, base_place(forge))] = bytes(BLOCK_SIZE)


@fault(open=BACK)
def opening_superblock_older(forge: Forge) -> None:
    """A root that knows a newer superblock than there is."""
    forge.set_root(sequence=forge.root.sequence + 1)


@fault(open=BACK, about="A root older than the commit at which the superblock was written.")
def opening_root_older(forge: Forge) -> None:
    unlocked_commit(forge, forge.root.number + 1)


def unlocked_commit(forge: Forge, number: int) -> None:
    """Write a superblock that names a commit, in both copies."""
    device = MemoryDevice(bytes(forge.data))
    unlocked = read(device, SECRETS, 1 << 18)
    write_copies(device, replace(unlocked.superblock, commit=number), unlocked.master)
    forge.data[:] = device.getvalue()


# --- stream: the chain of a special stream

STREAMS: dict[str, tuple[dict[str, Any], str]] = {
    "count_too_high": ({"count": 4}, "One block more than there are"),
    "count_beyond_all": ({"count": 0x7FFFFFFF, "length": 0}, "More blocks than positions"),
    "begin_zero": ({"begin": 0}, "A stream that begins in the root"),
    "begin_none": ({"begin": -1}, "Blocks without a begin"),
    "begin_negative": ({"begin": -7}, "A begin that is no position"),
    "end_zero": ({"end": 0}, "A stream that ends in the root"),
    "length": ({"length": 1 << 60}, "A length beyond the blocks"),
    "compression": ({"compression": 1}, "An unknown compression"),
    "identity": ({"identity": b"another stream's"}, "The record of another stream"),
    "one_block_two_ends": ({"count": 1, "length": 4008}, "One block with two ends"),
}
for _name, (_fields, _about) in STREAMS.items():
    add(
        f"stream_{_name}", "many",
        lambda forge, fields=_fields: forge.set_stream(2, **fields),
        about=f"{_about}, in the record of a special stream.",
        **({"check": "stream"} if _name == "count_too_high" else {"open": TREE}),
    )  # fmt: skip


# --- extent: where the blocks of a file stand

LEFT = {"/left": TREE}


@fault("fragmented", refused=LEFT, check="registry")
def extent_gap(forge: Forge) -> None:
    """A gap between two extents."""
    extents(forge, "/left", lambda runs: runs[1].__setitem__(0, runs[1][0] + 1))


@fault("fragmented", refused=LEFT, check="registry")
def extent_overlap(forge: Forge) -> None:
    """Two extents that begin at one index."""
    extents(forge, "/left", lambda runs: runs[1].__setitem__(0, 0))


@fault("fragmented", refused=LEFT, check="registry")
def extent_empty(forge: Forge) -> None:
    """An extent of no blocks."""
    extents(forge, "/left", lambda runs: runs.insert(1, [runs[0][2], runs[1][1], 0]))


@fault("fragmented", refused=LEFT, check="registry")
def extent_negative(forge: Forge) -> None:
    """An extent at a position below 0."""
    extents(forge, "/left", lambda runs: runs[1].__setitem__(1, -5))


@fault("fragmented", refused=LEFT, check="registry")
def extent_zero(forge: Forge) -> None:
    """An extent that begins in the root."""
    extents(forge, "/left", lambda runs: runs[1].__setitem__(1, 0))


@fault("fragmented", refused=LEFT, check="registry")
def extent_sum(forge: Forge) -> None:
    """More blocks in the extents than in the record."""
    extents(forge, "/left", lambda runs: runs[-1].__setitem__(2, runs[-1][2] + 1))


@fault("fragmented", refused=LEFT, check="registry")
def extent_huge(forge: Forge) -> None:
    """An extent of all positions that there are."""
    extents(forge, "/left", lambda runs: runs[-1].__setitem__(2, 0x7FFFFFFF))


@fault("fragmented", refused=LEFT, check="registry")
def extent_begin(forge: Forge) -> None:
    """A record that begins at another position than the extents."""
    record(forge, "/left", begin=position(forge, "/right"))


@fault("fragmented", refused={"/left": BLOCK}, check="stream")
def extent_foreign(forge: Forge) -> None:
    """An extent over the blocks of another file."""
    other = position(forge, "/right")
    extents(forge, "/left", lambda runs: runs[1].__setitem__(1, other))


@fault("fragmented", refused={"/left": BLOCK}, check="stream")
def extent_twice(forge: Forge) -> None:
    """Two extents over the same blocks."""
    extents(forge, "/left", lambda runs: runs[2].__setitem__(1, runs[1][1]))


@fault("fragmented", refused={"/left": BLOCK}, check="stream")
def extent_behind_the_positions(forge: Forge) -> None:
    """An extent at positions that were never given out."""
    extents(forge, "/left", lambda runs: runs[1].__setitem__(1, 0x70000000))


# --- tree: nodes


def node_at(forge: Forge, number: int = 2, path: str = "root") -> int:
    """The root of a tree, or its first or last leaf."""
    if path == "root":
        return int(forge.stream(number)[1])
    leaves = forge.leaves(number)
    return leaves[0 if path == "first" else -1].position


def patch_node(forge: Forge, place: int, at: int, part: bytes) -> None:
    forge.patch_block(place, HEAD + at, part)


TOP = {"/": TREE}
EVERYTHING = {"refused": TOP, "lost": [ALL], "check": "path"}


@fault(**EVERYTHING, write=TREE)
def tree_magic(forge: Forge) -> None:
    """A root of a tree without its magic."""
    patch_node(forge, node_at(forge), 0, b"XT")


@fault(**EVERYTHING, write=TREE)
def tree_free_node(forge: Forge) -> None:
    """A free node as the root of a tree."""
    patch_node(forge, node_at(forge), 0, b"BF")


@fault(**EVERYTHING, write=TREE)
def tree_level(forge: Forge) -> None:
    """A node of level 33."""
    patch_node(forge, node_at(forge), 2, b"\0\x21")


@fault(**EVERYTHING, write=TREE)
def tree_count(forge: Forge) -> None:
    """More keys than a node has room for."""
    patch_node(forge, node_at(forge), 4, b"\xff\xff")


@fault(**EVERYTHING, write=TREE)
def tree_key_size(forge: Forge) -> None:
    """A key that goes beyond its node."""
    patch_node(forge, node_at(forge), 10, b"\xff\xff")


@fault("many", **EVERYTHING)
def tree_child_level(forge: Forge) -> None:
    """A leaf that says it is an inner node."""
    patch_node(forge, node_at(forge, path="first"), 2, b"\0\1")


@fault("many", **EVERYTHING)
def tree_circle(forge: Forge) -> None:
    """A node that is its own child."""
    set_child(forge, 2, 0, node_at(forge))


@fault("many", **(EVERYTHING | {"refused": {"/": BLOCK}}))
def tree_child_missing(forge: Forge) -> None:
    """A child at a position without a block."""
    set_child(forge, 2, 0, 0x7FFFFFFE)


@fault("many", **EVERYTHING)
def tree_child_of_another_stream(forge: Forge) -> None:
    """A child that is a node of another tree."""
    set_child(forge, 2, 0, node_at(forge, 1, "first"))


def set_child(forge: Forge, number: int, at: int, child: int) -> None:
    place = node_at(forge, number)
    count = int.from_bytes(forge.block(place)[HEAD + 4 : HEAD + 6], "big")
    patch_node(forge, place, 10 + 2 * count + 4 * at, child.to_bytes(4, "big"))


@fault("many", open=None, refused={}, check="path", reader=False, lost=[])
def tree_free_list_circle(forge: Forge) -> None:
    """A free list that begins in the root of its tree: a check tells, readers never go there."""
    patch_node(forge, node_at(forge), 6, node_at(forge).to_bytes(4, "big"))


FAR = {"/file": TREE}


@fault("far_values", refused=FAR, check="registry")
def tree_far_value_count(forge: Forge) -> None:
    """The record of a large value with more blocks than positions."""
    far(forge, lambda old: changed_record(old, count=0x7FFFFFFF, length=5))


@fault("far_values", refused=FAR, check="registry")
def tree_far_value_size(forge: Forge) -> None:
    """The place holder of a large value is not 38 bytes."""
    far(forge, lambda old: old[:-1])


@fault("far_values", refused=FAR, check="registry")
def tree_far_value_compressed(forge: Forge) -> None:
    """An unknown compression of a large value."""
    far(forge, lambda old: changed_record(old, compression=7))


@fault("far_values", refused={"/file": BLOCK}, check="registry")
def tree_far_value_foreign(forge: Forge) -> None:
    """A large value that begins in another stream."""
    far(forge, lambda old: changed_record(old, begin=int(forge.stream(1)[1])))


def far(forge: Forge, how: Callable[[bytes], bytes]) -> None:
    forge.change_value(1, identity(forge, "/file"), how)


# --- registry and entries

BIG_TREE = {BIG: TREE}


@fault(refused=BIG_TREE, check="registry")
def registry_short(forge: Forge) -> None:
    """A value shorter than a record and its count."""
    value(forge, BIG, lambda old: old[:41])


@fault(refused=BIG_TREE, check="registry")
def registry_empty(forge: Forge) -> None:
    """A value of no bytes."""
    value(forge, BIG, lambda old: b"")


@fault(refused=BIG_TREE, check="registry")
def registry_extents_cut(forge: Forge) -> None:
    """More extents than the value has room for."""
    value(forge, BIG, lambda old: replaced(old, 38, b"\xff\xff\xff\xff"))


@fault(refused=BIG_TREE, check="path")
def registry_missing(forge: Forge) -> None:
    """A name whose id has no value."""
    forge.set_value(1, identity(forge, BIG), None)


@fault(open="FormatError")
def registry_no_root_directory(forge: Forge) -> None:
    """No value for the root directory."""
    forge.set_value(1, ROOT_ID, None)


for _name, _fields, _about in (
    ("identity", {"identity": b"another stream's"}, "The record of another stream"),
    ("count", {"count": 2}, "Fewer blocks than the length needs"),
    ("count_beyond_all", {"count": 0x7FFFFFFF}, "More blocks than positions"),
    ("begin", {"begin": -1}, "Blocks without a begin"),
    ("compression", {"compression": 1}, "An unknown compression"),
    ("end", {"end": 0}, "A stream that ends in the root"),
):
    add(
        f"registry_record_{_name}", "small_xaes",
        lambda forge, fields=_fields: record(forge, BIG, **fields),
        about=f"{_about}, in the record of a file.", refused=BIG_TREE,
        check="registry stream",
    )  # fmt: skip


@fault(refused=BIG_TREE, check="registry")
def entry_short(forge: Forge) -> None:
    """An entry of 81 bytes."""
    entry(forge, BIG, lambda old: old[:81])


@fault(refused=BIG_TREE, check="registry")
def entry_type(forge: Forge) -> None:
    """An entry of an unknown type."""
    entry(forge, BIG, lambda old: b"x" + old[1:])


@fault(refused=BIG_TREE, check="registry")
def entry_name_size(forge: Forge) -> None:
    """A name longer than the entry."""
    entry(forge, BIG, lambda old: replaced(old, 74, b"\xff\xff"))


@fault(refused=BIG_TREE, check="registry")
def entry_extras_size(forge: Forge) -> None:
    """Extras longer than the entry."""
    entry(forge, BIG, lambda old: replaced(old, 78, b"\xff\xff\xff\xff"))


@fault(refused=BIG_TREE, check="registry")
def entry_longer(forge: Forge) -> None:
    """One byte behind an entry."""
    entry(forge, BIG, lambda old: old + b"\0")


def with_extras(forge: Forge, extras: bytes) -> None:
    entry(forge, BIG, lambda old: replaced(old, 78, len(extras).to_bytes(4, "big")) + extras)


@fault(refused=BIG_TREE, check="registry")
def entry_extra_cut(forge: Forge) -> None:
    """An extended attribute that goes beyond the extras."""
    with_extras(forge, b"\1\4\0\0\0\x09user")


@fault(refused=BIG_TREE, check="registry")
def entry_extra_not_utf8(forge: Forge) -> None:
    """An extended attribute whose name is not UTF-8."""
    with_extras(forge, b"\1\2\0\0\0\1\xff\xfev")


@fault()
def entry_extra_unknown(forge: Forge) -> None:
    """An item of an unknown kind is passed over."""
    with_extras(forge, b"\x63\2\0\0\0\3\xff\xfenew")


@fault(refused={"/d/link": TREE}, check="registry")
def entry_target_not_utf8(forge: Forge) -> None:
    """A link whose target is not UTF-8."""
    entry(forge, "/d/link", lambda old: replaced(old, len(old) - 2, b"\xff\xfe"))


@fault(check="path", reader=False)
def entry_other_parent(forge: Forge) -> None:
    """An entry that says it stands in another directory: a check tells."""
    entry(forge, BIG, lambda old: replaced(old, 2, ROOT_ID))


# --- path: names


def name_value(forge: Forge, path: str, new: bytes | None) -> None:
    forge.set_value(2, name_key(forge, path), new)


@fault(refused=BIG_TREE, check="path")
def path_short(forge: Forge) -> None:
    """A path value of 16 bytes."""
    name_value(forge, BIG, b"f" + bytes(15))


@fault(refused=BIG_TREE, check="path")
def path_long(forge: Forge) -> None:
    """A path value of 18 bytes."""
    name_value(forge, BIG, b"f" + identity(forge, BIG) + b"\0")


@fault(refused=BIG_TREE, check="path")
def path_type_unknown(forge: Forge) -> None:
    """A path value of an unknown type."""
    name_value(forge, BIG, b"x" + identity(forge, BIG))


@fault(refused=BIG_TREE, check="path")
def path_other_type(forge: Forge) -> None:
    """A name that says it leads to a link, where the entry is a file's."""
    name_value(forge, BIG, b"l" + identity(forge, BIG))


@fault(refused=BIG_TREE, check="path")
def path_nowhere(forge: Forge) -> None:
    """A name that leads to an id without a value."""
    name_value(forge, BIG, b"f" + b"nobody's id ....")


@fault(lost=[BIG], check="registry", reader=True)
def path_missing(forge: Forge) -> None:
    """An entry to which no name leads: it cannot be reached, a check tells."""
    name_value(forge, BIG, None)


@fault(refused={"/d/e": TREE}, lost=["/d/e", DEEP], check="path")
def path_circle(forge: Forge) -> None:
    """A name of a directory that leads to the directory in which it stands."""
    name_value(forge, "/d/e", b"d" + identity(forge, "/d"))


for _name, _bytes in (
    ("not_utf8", b"\xc3("), ("slash", b"a/b"), ("zero", b"a\0b"), ("dots", b".."),
    ("dot", b"."), ("empty", b""), ("too_long", b"x" * 256),
):  # fmt: skip

    def _named(forge: Forge, name: bytes = _bytes) -> None:
        forge.set_value(2, ROOT_ID + name, b"f" + identity(forge, BIG))

    add(
        f"path_name_{_name}", "small_xaes", _named,
        about=f"A name in the root directory that cannot be one ({_name.replace('_', ' ')}).",
        refused={"/": TREE}, lost=[ALL], check="path",
    )  # fmt: skip


@fault("links", refused={}, reader=True, check="registry")
def path_links_missing(forge: Forge) -> None:
    """A file with several names, one of which is not among its names."""
    one = identity(forge, "/one")
    forge.set_value(2, LINKS_ID + one + name_key(forge, "/d/four"), None)


# --- trash: positions that are free


def trash(forge: Forge, content: bytes) -> None:
    begin = int(forge.stream(0)[1])
    forge.patch_block(begin, HEAD, content)


@fault("trash", write=TREE, check="space")
def trash_count(forge: Forge) -> None:
    """More extents than the trash stream has."""
    trash(forge, b"\xff\xff\xff\xff")


@fault("trash", write=TREE, check="space")
def trash_behind_the_positions(forge: Forge) -> None:
    """Free positions that were never given out."""
    trash(forge, b"\0\0\0\1\x7f\0\0\0\0\0\0\x05")


@fault("trash", write=TREE, check="space")
def trash_overlap(forge: Forge) -> None:
    """A free position in two extents."""
    trash(forge, b"\0\0\0\2" + b"\0\0\0\4\0\0\0\2" + b"\0\0\0\5\0\0\0\1")


@fault("trash", write=TREE, check="space")
def trash_huge(forge: Forge) -> None:
    """Four thousand million free positions."""
    trash(forge, b"\0\0\0\1\0\0\0\1\xff\xff\xff\xff")


# --- writing the files


def patches(base: bytes, data: bytes) -> list[list[Any]]:
    """What turns `base` into `data`: a block at most each."""
    found: list[list[Any]] = []
    for at in range(0, len(data), BLOCK_SIZE):
        old, new = base[at : at + BLOCK_SIZE], data[at : at + BLOCK_SIZE]
        if old.startswith(new):  # the same, or cut
            continue
        differ = [i for i in range(len(new)) if i >= len(old) or old[i] != new[i]]
        first, last = differ[0], differ[-1] + 1
        if any(new):
            found.append([at + first, base64.b85encode(new[first:last]).decode()])
        else:
            found.append([at + first, last - first])
    return found


def secrets_of(base: str) -> Secrets:
    return Secrets(key=bytes.fromhex(MANIFEST[base]["secret"]["key"]))


def build(name: str) -> Vector:
    """Make one vector."""
    base, expect, make = FAULTS[name]
    data = (GOLDEN / f"{base}.ar7").read_bytes()
    with seeded(name):
        forge = Forge(data, secrets_of(base))
        if len(forge.places) == 8 and not name.startswith("opening"):
            forge.clear_ring([0])  # so that a vector has one new root, not eight
        make(forge)
    changed = bytes(forge.data)
    return expect | {"cut": len(changed), "patches": patches(data, changed)}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.json"):
        if old.stem not in FAULTS:
            old.unlink()
    for name in FAULTS:
        text = json.dumps(build(name), indent=1, sort_keys=True)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="ascii")
    print(len(FAULTS), "vectors")


if __name__ == "__main__":
    main()
