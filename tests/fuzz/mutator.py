"""Mutations of small containers, from a seed: of bytes, and behind the seals with the key.

`raw` flips, zeroes and swaps what stands in the file: every seal tells.  `sealed` changes what is
under the seals (blocks, tree nodes, map nodes, entries of the map, roots) and seals it again, as
one who has the key could: nothing but the invariants of each layer tells.
"""

from __future__ import annotations

import dataclasses
import io
import random
import warnings
from collections.abc import Callable
from typing import Any

import archive7
from archive7 import Archive, CorruptError
from archive7.layout import (
    BLOCK_HEAD,
    BLOCK_SIZE,
    FANOUT,
    PLAIN_SIZE,
    RING_PLACES,
    SLOTS_OFFSET,
    TREE_MAGIC,
    TREE_NODE,
)
from archive7.map import entry_slot
from archive7.root import Root

KEY = bytes(range(32))
_NUMBERS = (0, 1, 2, 3, 255, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)


def container() -> bytes:
    """A closed container with a bit of everything: trees of two levels, large files, links."""
    file = io.BytesIO()
    rng = random.Random(7)
    with archive7.open(file, "x", key=KEY) as archive:
        with archive.transaction():
            archive.makedirs("/a/b/c")
            for number in range(40):
                archive.write_bytes(f"/a/{number}", rng.randbytes(rng.choice((0, 9, 4008, 9000))))
            archive.write_bytes("/large", rng.randbytes(400_000))
            archive.symlink("a/1", "/link")
            archive.link("/a/2", "/a/b/second")
            archive.setxattr("/a/3", "user.large", rng.randbytes(3000))
        archive.remove("/a/4", how=archive7.Delete.SOFT)
        archive.remove("/a/5")
        for number in range(6):  # in pieces
            for name in ("one", "two"):
                with archive.open(f"/a/b/{name}", "ab") as part:
                    part.write(rng.randbytes(7000 + number))
                archive.sync()
    return file.getvalue()


# --- bytes


def raw(data: bytes, rng: random.Random, count: int = 1) -> bytes:
    """`data` with `count` pieces flipped, zeroed, overwritten, swapped, or the end cut."""
    changed = bytearray(data)
    for _ in range(count):
        rng.choice((_flip, _flip, _zero, _noise, _swap, _swap, _cut))(changed, rng)
    return bytes(changed)


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _piece(data: bytearray, rng: random.Random) -> slice:
    """A few bytes, a whole block, or several."""
    if rng.random() < 0.4:
        begin = rng.randrange(max(1, len(data)))
        return slice(begin, begin + rng.choice((1, 4, 100, 600)))
    begin = rng.randrange(max(1, len(data) // BLOCK_SIZE)) * BLOCK_SIZE
    return slice(begin, begin + BLOCK_SIZE * rng.choice((1, 1, 3, 20)))


def _zero(data: bytearray, rng: random.Random) -> None:
    piece = _piece(data, rng)
    data[piece] = bytes(len(data[piece]))


def _noise(data: bytearray, rng: random.Random) -> None:
    piece = _piece(data, rng)
    data[piece] = rng.randbytes(len(data[piece]))


def _swap(data: bytearray, rng: random.Random) -> None:
    slots = (len(data) - SLOTS_OFFSET) // BLOCK_SIZE
    if slots < 2:
        return
    one, other = (SLOTS_OFFSET + BLOCK_SIZE * rng.randrange(slots) for _ in range(2))
    first = data[one : one + BLOCK_SIZE]
    data[one : one + BLOCK_SIZE] = data[other : other + BLOCK_SIZE]
    data[other : other + BLOCK_SIZE] = first


def _cut(data: bytearray, rng: random.Random) -> None:
    if rng.random() < 0.3:
        del data[rng.randrange(len(data) + 1) :]


# --- behind the seals


def sealed(data: bytes, rng: random.Random, count: int = 1) -> bytes:
    """`data` with `count` mutations of what is under the seals, all of them sealed again."""
    file = io.BytesIO(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive = archive7.open(file, "r+", key=KEY)
        try:
            for _ in range(count):
                rng.choice(_SEALED)(archive, rng)
            archive._container.blocks.map.is_changed = True
            archive._container.commit(durable=True, fold=rng.random() < 0.7)
        except (CorruptError, IndexError):
            pass  # it damaged what it needed itself: what stands in the file is the result
        if rng.random() < 0.3:
            mutate_root(archive, rng)
        archive._container.abandon()
        archive._files.clear()
    return file.getvalue()


def number(rng: random.Random) -> int:
    """A number of 32 bits at which something may break."""
    return rng.choice(_NUMBERS) if rng.random() < 0.7 else rng.randrange(200)


def _position(archive: Archive, rng: random.Random) -> int:
    """The position of a block, trees' blocks more often than others."""
    trees = [
        position
        for tree in (archive._manager.registry.tree, archive._manager.paths)
        for position in _positions_of(tree)
    ]
    if rng.random() < 0.7 and trees:
        return rng.choice(trees)
    chart = archive._container.blocks.map
    used = [p for p in range(1, 400) if entry_slot(chart.get(p))]
    return rng.choice(used)


def _positions_of(tree: Any) -> list[int]:
    try:
        return [position for position, _, _ in tree.nodes()]
    except CorruptError:
        return []


def mutate_block(archive: Archive, rng: random.Random) -> None:
    """Bytes of a block: of its head, of the head of a tree node, or anywhere."""
    plain = archive._container.blocks.mutable(_position(archive, rng))
    head = BLOCK_HEAD.size
    places = (range(28), range(head, head + TREE_NODE.size), range(head, head + 300))
    where = rng.choice((*places, range(PLAIN_SIZE)))
    for _ in range(rng.choice((1, 1, 4))):
        at = rng.choice(where)
        if rng.random() < 0.5:
            plain[at] ^= 1 << rng.randrange(8)
        else:
            at = min(at, PLAIN_SIZE - 4)
            plain[at : at + 4] = number(rng).to_bytes(4, "big")


def mutate_children(archive: Archive, rng: random.Random) -> None:
    """Children of an inner node: circles, nodes reached twice, blocks of others."""
    blocks = archive._container.blocks
    position = _position(archive, rng)
    plain = blocks.mutable(position)
    magic, level, count, _ = TREE_NODE.unpack_from(plain, BLOCK_HEAD.size)
    if magic == TREE_MAGIC and level:
        at = BLOCK_HEAD.size + TREE_NODE.size + 2 * count + 4 * rng.randrange(count + 1)
        target = rng.choice((position, _position(archive, rng), number(rng)))
        at = min(at, PLAIN_SIZE - 4)
        plain[at : at + 4] = target.to_bytes(4, "big")


def copy_block(archive: Archive, rng: random.Random) -> None:
    """The plaintext of one block in the place of another."""
    blocks = archive._container.blocks
    source, target = _position(archive, rng), _position(archive, rng)
    blocks.mutable(target)[:] = bytes(blocks.load(source))


def mutate_value(archive: Archive, rng: random.Random) -> None:
    """Bytes of a registry or paths value."""
    tree = rng.choice((archive._manager.registry.tree, archive._manager.paths))
    items = list(tree.items())
    key, value = rng.choice(items)
    changed = bytearray(value)
    for _ in range(rng.choice((1, 3))):
        at = rng.randrange(len(changed)) if changed else 0
        changed[at : at + 4] = number(rng).to_bytes(4, "big")
    how = rng.random()
    if how < 0.15:
        tree.delete(key)
    elif how < 0.3:
        tree.insert(key, rng.choice(items)[1])
    elif how < 0.4:
        tree.insert(key, bytes(changed[: rng.randrange(len(changed) + 1)]))
    else:
        tree.insert(key, bytes(changed))
    tree.flush()


def mutate_map(archive: Archive, rng: random.Random) -> None:
    """An entry of the map: another's slot, one behind the end, a position never given out."""
    chart = archive._container.blocks.map
    entry = chart.get(_position(archive, rng))
    slot = entry_slot(entry) if rng.random() < 0.6 else number(rng)
    far = rng.choice((5 * FANOUT, FANOUT**2 + 1, 2**31 - 1, 2**32 - 1))
    position = rng.choice((_position(archive, rng), rng.randrange(FANOUT), far))
    chart.changes[position] = position.to_bytes(4, "big") + slot.to_bytes(4, "big") + entry[4:]


def mutate_node(archive: Archive, rng: random.Random) -> None:
    """Bytes of a node of the map."""
    chart = archive._container.blocks.map
    node = chart._change(rng.randrange(max(1, chart.height)), 0)
    at = 12 * rng.randrange(FANOUT)
    node[at : at + 4] = number(rng).to_bytes(4, "big")


def mutate_root(archive: Archive, rng: random.Random) -> None:
    """One field of the root, or any bytes of it; in all places of the ring."""
    ring, root = archive._container.ring, archive._container.root
    changes: tuple[Callable[[], Root], ...] = (
        lambda: dataclasses.replace(root, positions=rng.choice((1, 2, 50, 2**31 - 1))),
        lambda: dataclasses.replace(
            root, slots=rng.choice((root.used, root.slots + 1, 2**32 - 1))
        ),
        lambda: dataclasses.replace(root, used=rng.randrange(root.slots)),
        lambda: dataclasses.replace(root, height=rng.choice((1, 2, 3, 4))),
        lambda: dataclasses.replace(root, reserve=(rng.randrange(root.slots), 1)),
        lambda: dataclasses.replace(root, reserve=(0, root.slots)),
        lambda: dataclasses.replace(root, flags=root.flags ^ 1 << rng.randrange(12)),
        lambda: dataclasses.replace(root, streams=root.streams[: rng.randrange(5)]),
        lambda: dataclasses.replace(root, streams=_mutated(root.streams, rng)),
    )
    found = rng.choice(changes)()
    data = bytearray(dataclasses.replace(found, is_marked=True).encode())
    if rng.random() < 0.2:
        at = rng.randrange(344, len(data) - 4)
        data[at : at + 4] = number(rng).to_bytes(4, "big")
    block = ring.seal(root, bytes(data))
    for place in range(RING_PLACES):
        ring.write(place, block)


def _mutated(streams: tuple[bytes, ...], rng: random.Random) -> tuple[bytes, ...]:
    changed = [bytearray(record) for record in streams]
    record = rng.choice(changed)
    at = rng.randrange(len(record) - 4)
    record[at : at + 4] = number(rng).to_bytes(4, "big")
    return tuple(map(bytes, changed))


_SEALED: tuple[Callable[[Archive, random.Random], None], ...] = (
    mutate_block, mutate_block, mutate_children, copy_block, mutate_value, mutate_value,
    mutate_map, mutate_node,
)  # fmt: skip
