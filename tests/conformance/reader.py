"""A second reader of format 3.0, from docs/format.rst alone; it imports nothing of archive7.

    Reader(data, key=...) or Reader(data, password=...)
    .files()    {path: Item} of a filesystem
    .deleted()  the same of what was deleted, by the deletion's id in hex, a slash and the name
    .streams()  {number or id: bytes} of a container of any kind

It is small rather than fast.  One of REFUSED comes out of whatever must be refused.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from struct import error, iter_unpack, pack, unpack, unpack_from
from typing import NamedTuple, TypeVar

import xxhash
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import ciphers, hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

COPY, RING, SLOTS, BLOCK, DATA, FAN = 32768, 65536, 98304, 4096, 4008, 334
NONE, ROOT, NODE, PLAIN = bytes(12), b"root", b"node", b"data"
TOP, GONE = (bytes(14) + bytes((1, last)) for last in (0, 2))
REFUSED = (ValueError, error, InvalidTag)
# Type, content, mode, user, group, (created, modified), target, extended attributes.
Item = tuple[str, bytes, int, int, int, tuple[int, int], str, dict[str, bytes]]
Named = tuple[str, Item]
Pair = tuple[bytes, bytes, bool]
T = TypeVar("T")


class Stream(NamedTuple):
    id: bytes
    begin: int
    end: int
    size: int
    length: int
    runs: tuple[tuple[int, int], ...] = ()  # of positions and counts, where they are known


def need(is_right: bool, rule: str) -> None:
    if not is_right:
        raise ValueError(rule)


def attempt(function: Callable[..., T], *arguments: object) -> T | None:
    try:
        return function(*arguments)
    except REFUSED:
        return None


def cut(data: bytes, at: int, sizes: Iterable[int]) -> Iterator[bytes]:
    for size in sizes:
        need(at + size <= len(data), "sizes go beyond their structure")
        yield data[at : at + size]
        at += size


def hkdf(key: bytes, salt: bytes, info: bytes, size: int = 32) -> bytes:
    return HKDF(hashes.SHA256(), size, salt or None, info).derive(key)


class Superblock:  # a whole copy
    def __init__(self, copy: bytes) -> None:
        magic, major, self.suite, count, self.critical, self.id, self.epoch, *rest = unpack_from(
            ">8sH2xHHI4x16sIQQII", copy
        )
        self.sequence, self.commit, table, sealed = rest
        end = 68 + table
        need(len(copy) == COPY and magic == b"\x89AR7\r\n\x1a\n" and major == 3, "magic, version")
        need(hashlib.sha256(copy[:-64]).digest() == copy[-64:-32], "SHA-256")
        need(end + sealed <= COPY - 64, "parts go beyond the copy")
        self.copy, self.sealed, at = copy, copy[end : end + sealed], 68
        self.slots = list[tuple[int, bytes]]()
        for _ in range(count):
            kind, size = unpack_from(">HH", copy[:end], at)
            self.slots.append((kind, copy[at + 4 : at + 4 + size]))
            at += 4 + size
            need({1: 120, 2: 132}.get(kind, size) == size and at <= end, "size of a keyslot")
        need(at == end, "the slot table holds more than its keyslots")

    def key(self, master: bytes, purpose: bytes) -> bytes:
        info = b"archive7/3 " + purpose + pack(">HI", self.suite, self.epoch)
        return hkdf(master, self.id, info)

    def unseal(self, kind: int, body: bytes, secret: bytes) -> bytes:
        parameters, commitment, sealed = body[:-80], body[-80:-48], body[-48:]
        if kind == 1:
            kek = hkdf(secret, parameters[8:], b"archive7/3 raw key")
        else:
            memory, n, lanes = unpack_from(">III", parameters, 40)
            cost = {"iterations": n, "lanes": lanes, "memory_cost": memory}
            kek = Argon2id(salt=parameters[8:40], length=32, **cost).derive(secret)
        need(hmac.compare_digest(hkdf(kek, b"", b"commit"), commitment), "another secret")
        aad = self.id + pack(">IH", self.epoch, kind) + parameters
        return AESGCM(hkdf(kek, b"", b"wrap")).decrypt(bytes(12), sealed, aad)

    def check_sealed_part(self, master: bytes) -> None:
        cipher, at, kind = AESGCM(self.key(master, b"superblock seal")), 0, 1
        plain = cipher.decrypt(self.sealed[:12], self.sealed[12:], self.id)
        while at < len(plain) and kind:
            kind, size = unpack_from(">HH", plain, at)
            at += 4 + size
        need(at <= len(plain), "an item goes beyond the sealed part")


def unlock(data: bytes, kind: int, secret: bytes, limit: int) -> tuple[Superblock, bytes]:
    whole = (attempt(Superblock, data[at : at + COPY]) for at in (0, COPY))
    copies, tries, genuine = [copy for copy in whole if copy], [], {}
    for copy in copies:
        bodies = [body for found, body in copy.slots if found == kind]
        for body in bodies if kind == 1 or len(bodies) <= 8 else ():
            memory, passes, lanes = unpack_from(">III", body, 40) if kind == 2 else (19456, 2, 1)
            if 19456 <= memory <= min(limit, 1048576) and 2 <= passes <= 16 >= lanes >= 1:
                tries.append((memory * passes, copy, body))
    for _, copy, body in sorted(tries, key=lambda item: item[0]):
        is_known = copy.sequence in genuine
        master = b"" if is_known else attempt(copy.unseal, kind, body, secret) or b""
        for other in copies if master else ():
            mac = hmac.digest(other.key(master, b"superblock mac"), other.copy[:-32], "sha256")
            if hmac.compare_digest(mac, other.copy[-32:]):
                genuine[other.sequence] = other, master
    need(bool(genuine), "no keyslot opens, or no copy is genuine")
    best, master = genuine[max(genuine)]
    need(best.suite in (1, 2) and not best.critical, "unknown suite or critical flag")
    best.check_sealed_part(master)
    return best, master


class Sealer:  # of one kind of blocks
    def __init__(self, block: Superblock, master: bytes, kind: bytes) -> None:
        self.suite, self.key, self.aad = block.suite, block.key(master, kind), block.id + kind
        run = hkdf(block.key(master, b"nonce " + kind), block.id, b"prefixes", 3072)
        self.prefixes = set(cut(run, 0, [12] * 256))
        self.aes = ciphers.Cipher(ciphers.algorithms.AES(self.key), ciphers.modes.ECB())
        mask = int.from_bytes(self.aes.encryptor().update(bytes(16)))
        self.mask = (mask << 1) % (1 << 128) ^ (0x87 if mask >> 127 else 0)

    def open(self, block: bytes, wanted: bytes | None = None) -> bytes:
        need(len(block) == BLOCK, "a slot that is not there in full")
        tag = block[4080:4088] if self.suite == 1 else block[24:32]
        need(wanted in (None, tag), "another block than the map says")
        if self.suite == 2:
            import libnacl

            return bytes(libnacl.crypto_secretbox_open_easy(block[24:], block[:24], self.key))
        need(block[:12] in self.prefixes, "a nonce prefix of another kind")
        numbers = [int.from_bytes(bytes((0, i, 0x58, 0)) + block[:12]) ^ self.mask for i in (1, 2)]
        sub = self.aes.encryptor().update(b"".join(number.to_bytes(16) for number in numbers))
        return AESGCM(sub).decrypt(block[12:24], block[24:], self.aad)

    def has_right_digest(self, plain: bytes) -> bool:
        if self.suite == 1:
            return xxhash.xxh3_128_digest(plain[48:]) == plain[28:44]
        return hashlib.sha1(plain[48:], usedforsecurity=False).digest() == plain[28:48]


class Root:  # keeps the rules
    def __init__(self, plain: bytes) -> None:
        data = plain[48:]
        need(plain[:28] == b"\xff" * 8 + bytes(20), "the header of a root")
        self.number, self.base, self.base_hash, self.mark, self.height, *rest = unpack_from(
            ">QQ32sBBBBI16xQIII8x12s32xII", data, 344
        )
        changes, streams, flags, self.sequence, self.slots, used, self.positions, *rest = rest
        self.top, first, size = rest
        need(self.mark <= 1 and changes <= 180 and streams <= 16 and self.height <= 4, "a count")
        need(
            (self.top != NONE) == (self.height > 0) and used <= self.slots, "topmost entry, slots"
        )
        need(self.number < 1 << 63 and self.positions < 1 << 31, "number or positions")
        need(first + size <= self.slots + 1, "the reserve")
        self.hash = hashlib.sha256(data[:392] + b"\0" + data[393:]).digest()
        self.changes = dict(iter_unpack(">I12s", data[512 : 512 + 16 * changes]))
        self.streams = list(cut(data, DATA - 38 * streams, [38] * streams))
        self.kind = flags >> 8 & 255


class Map:  # of one root; for an old one a bad node counts as zeros
    def __init__(self, reader: Reader, root: Root, is_old: bool = False) -> None:
        self.reader, self.root, self.is_old = reader, root, is_old
        self.nodes = dict[tuple[int, int], bytes]()

    def above(self, level: int, ordinal: int) -> bytes:
        if level < self.root.height - 1:
            return self.entry(level + 1, ordinal)
        return self.root.top if (level, ordinal) == (self.root.height - 1, 0) else NONE

    def entry(self, level: int, number: int) -> bytes:
        place = level, number // FAN
        if place not in self.nodes:
            node = attempt(self.node, *place) if self.is_old else self.node(*place)
            self.nodes[place] = node or bytes(DATA)
        return self.nodes[place][number % FAN * 12 :][:12]

    def node(self, level: int, ordinal: int) -> bytes:
        entry = self.above(level, ordinal)
        if entry == NONE:
            return bytes(DATA)
        plain = self.reader.open_entry(NODE, entry)
        need(plain[8:20] == pack(">I4sI", ordinal, b"map\0", level), "another node")
        return plain[48:]

    def effective(self, position: int) -> bytes:
        found: bytes | None = self.root.changes.get(position)
        return self.entry(0, position) if found is None else found


class Reader:  # of a container in memory
    def __init__(self, data: bytes, key: bytes = b"", password: str = "", limit: int = 262144):
        self.data, secret = data, key or unicodedata.normalize("NFC", password).encode()
        self.superblock, master = unlock(data, 1 if key else 2, secret, limit)
        self.sealers = {k: Sealer(self.superblock, master, k) for k in (ROOT, NODE, PLAIN)}
        self.root = self.choose_root()
        self.map = Map(self, self.root)

    def open_entry(self, kind: bytes, entry: bytes) -> bytes:
        slot, sealer = int.from_bytes(entry[:4]), self.sealers[kind]
        need(slot > 0, "no block where one must be")
        at = SLOTS + BLOCK * (slot - 1)
        return sealer.open(self.data[at : at + BLOCK], entry[4:])

    def choose_root(self) -> Root:
        places = (self.data[at : at + BLOCK] for at in range(RING, SLOTS, BLOCK))
        plains = (attempt(self.sealers[ROOT].open, place) for place in places)
        roots = [Root(plain) for plain in plains if plain]
        floor = max((r.number, r.hash) if r.mark else (r.base, r.base_hash) for r in roots)
        by_hash = {root.hash: root for root in roots}
        for root in sorted(roots, key=lambda r: (r.number, r.mark), reverse=True):
            need(root.number >= floor[0], "a root below the floor")
            is_sure = root.mark or (root.number, root.hash) == floor
            is_whole = len(self.data) >= SLOTS + BLOCK * root.slots
            base = by_hash.get(root.base_hash) if is_whole else None
            if is_sure or (base and attempt(self.verify, root, base)):
                need(is_whole, "the file was cut")
                need(self.superblock.sequence >= max(r.sequence for r in roots), "old superblock")
                need(root.number >= self.superblock.commit, "old root")
                return root
        raise ValueError("no root can be taken")

    def verify(self, root: Root, base: Root) -> bool:
        new, old, skip = Map(self, root), Map(self, base, True), {*root.changes, *base.changes}
        nodes, pairs = [(root.height - 1, 0)], list[tuple[bytes, bytes]]()
        for level, ordinal in nodes:  # which grows
            numbers = range(FAN * ordinal, FAN * (ordinal + 1))
            if new.above(level, ordinal) in (NONE, old.above(level, ordinal)):
                continue
            new.entry(level, numbers[0])
            if level:
                nodes += [(level - 1, number) for number in numbers]
            else:
                pairs += [(new.entry(0, n), old.entry(0, n)) for n in numbers if n not in skip]
        for entry, before in pairs + [(new.effective(n), old.effective(n)) for n in skip]:
            if entry not in (NONE, before):
                plain = self.open_entry(PLAIN, entry)
                need(self.sealers[PLAIN].has_right_digest(plain), "the digest of a block")
        return True

    def block(self, position: int, stream_id: bytes, index: int | None) -> bytes:
        need(position > 0, "a position that cannot be")
        plain = self.open_entry(PLAIN, self.map.effective(position))
        need(index in (None, int.from_bytes(plain[8:12])), "another index")
        need(plain[12:28] == stream_id, "another stream")
        return plain

    def content(self, stream: Stream) -> bytes:
        known = (n for first, count in stream.runs for n in range(first, first + count))
        parts, last, following = list[bytes](), stream.begin, stream.begin
        for index in range(stream.size):
            last = next(known, following)
            plain = self.block(last, stream.id, index)
            (following,) = unpack_from(">i", plain, 4)
            parts.append(plain[48:])
        need(last == stream.end, "a chain that does not end at its end")
        return b"".join(parts)[: stream.length]

    def record(self, raw: bytes, stream_id: bytes | None = None) -> Stream:
        *fields, compression = unpack(">16siiIQH", raw)
        stream = Stream(*fields)
        need(compression == 0 and stream.id == (stream_id or stream.id), "compression or id")
        if stream.size:
            need(stream.begin > 0 < stream.end and stream.size <= self.root.positions, "positions")
            need(stream.size > 1 or stream.begin == stream.end, "one block with two ends")
        need(stream.length <= DATA * stream.size, "a length beyond the blocks")
        need(stream.size > 0 or stream[1:3] == (-1, -1), "an empty stream with something")
        return stream

    def special(self, number: int) -> Stream:
        if number >= len(self.root.streams):
            return Stream(bytes(16), -1, -1, 0, 0)
        return self.record(self.root.streams[number], bytes(15) + bytes((number + 1,)))

    def streams(self) -> dict[int | bytes, bytes]:
        if self.root.kind > 2:  # 3 many streams, 4 a filesystem
            return {key: self.content(stream) for key, (stream, _) in self.registry().items()}
        numbers = range(self.root.kind != 1, len(self.root.streams))
        return {number: self.content(self.special(number)) for number in numbers}

    def tree(self, number: int) -> Iterator[tuple[bytes, bytes]]:
        stream, last = self.special(number), None
        for key, value, is_far in self.node(*stream[:2], -1, set()) if stream.size else ():
            need(last is None or key > last, "keys out of order")
            yield key, self.content(self.record(value)) if is_far else value
            last = key

    def node(self, tree: bytes, position: int, level: int, seen: set[int]) -> Iterator[Pair]:
        need(position not in seen, "a node reached twice")
        seen.add(position)
        data = self.block(position, tree, None)[48:]
        magic, found, count, _ = unpack_from(">2sHHi", data)
        need(magic == b"BT" and found <= 32 and level in (-1, found), "magic or level")
        sizes, at = unpack_from(f">{count}H", data, 10), 10 + 2 * count
        need(max(sizes, default=0) <= 512, "a key that is too long")
        if found:
            children = unpack_from(f">{count + 1}I", data, at)
            keys = [b"", *cut(data, at + 4 * (count + 1), sizes)]
            for low, high, child in zip(keys, [*keys[1:], None], children, strict=True):
                for item in self.node(tree, child, found - 1, seen):
                    need(low <= item[0] and (high is None or item[0] < high), "a key out of place")
                    yield item
            return
        values = unpack_from(f">{count}H", data, at)
        parts = list(cut(data, at + 2 * count, [*sizes, *(size & 0x7FFF for size in values)]))
        for key, value, size in zip(parts[:count], parts[count:], values, strict=True):
            need(len(key) + len(value) <= 1280, "a value that is too long")
            yield key, value, size > 0x7FFF

    def registry(self) -> dict[bytes, tuple[Stream, bytes]]:
        found = {}
        for key, value in self.tree(1):
            stream, count = self.record(value[:38], key), int.from_bytes(value[38:42])
            runs, total, end = [(stream.begin, stream.size)], stream.size, 42 + 12 * count
            need(end <= len(value), "a value shorter than its extents")
            if count:
                runs, total = [], 0
            for first, position, size in iter_unpack(">IiI", value[42:end]):
                need(first == total and size > 0, "an extent")
                runs.append((position, size))
                total += size
            ends = (total, runs[0][0], sum(runs[-1]) - 1 if total else -1)
            need(ends == (stream.size, stream.begin, stream.end), "extents and record")
            found[key] = stream._replace(runs=tuple(runs)), value[end:]
        return found

    def files(self) -> dict[str, Item]:
        self.read_names()
        return dict(self.below(TOP, "", (TOP,)))

    def deleted(self) -> dict[str, Item]:
        self.read_names()
        found = dict[str, Item]()
        for deletion, value in self.names.get(GONE, {}).items():
            kind, entry, *_ = unpack(">c16sqQ16s", value[:49])
            path = f"{deletion.hex()}/{value[49:].decode()}"
            found.update(self.item(path, kind + entry, GONE + deletion, ()))
        return found

    def read_names(self) -> None:
        self.names, self.entries = dict[bytes, dict[bytes, bytes]](), self.registry()
        need(self.root.kind == 4 and TOP in self.entries, "no filesystem")
        for key, value in self.tree(2):
            self.names.setdefault(key[:16], {})[key[16:]] = value

    def below(self, directory: bytes, path: str, above: tuple[bytes, ...]) -> Iterator[Named]:
        for name, value in self.names.get(directory, {}).items():
            is_dots, bad = name in (b".", b".."), {0, ord("/")} & {*name}
            need(0 < len(name) < 256 and not is_dots and not bad, "a name that cannot be")
            yield from self.item(f"{path}/{name.decode()}", value, directory + name, above)

    def item(self, path: str, to: bytes, key: bytes, above: tuple[bytes, ...]) -> Iterator[Named]:
        need(len(to) == 17 and to[1:] in self.entries, "a name that leads nowhere")
        stream, raw = self.entries[to[1:]]
        head = unpack_from(">cB16s16sqqqIIIIHHI", raw)
        kind, _, parent, _, created, modified, _, mode, user, group, links, *sizes = head
        need(kind == to[:1] and kind in b"fdl" and len(raw) == 82 + sum(sizes), "type or sizes")
        name, target, extras = cut(raw, 82, sizes)
        need(links > 1 or parent + name == key, "another parent or name")
        content, times = self.content(stream) if kind == b"f" else b"", (created, modified)
        more = target.decode(), dict(self.xattrs(extras))
        yield path, (kind.decode(), content, mode, user, group, times, *more)
        if kind == b"d":
            need(to[1:] not in above, "a directory in itself")
            yield from self.below(to[1:], path, (*above, to[1:]))

    def xattrs(self, extras: bytes) -> Iterator[tuple[str, bytes]]:
        at = 0
        while at < len(extras):
            kind, name_size, size = unpack_from(">BBI", extras, at)
            name, value = cut(extras, at + 6, (name_size, size))
            at += 6 + name_size + size
            if kind == 1:
                yield name.decode(), value
