"""Suites and key derivation, against published vectors and libraries that are not ours."""

from __future__ import annotations

import hashlib
import json
import os
import runpy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from archive7 import crypto
from archive7.crypto import (
    KIND_DATA,
    KIND_NODE,
    KIND_ROOT,
    SUITE_SECRETBOX,
    SUITE_XAES256GCM,
    BlockCipher,
    XaesCipher,
    block_cipher,
    xaes_subkey,
)
from archive7.errors import SuiteUnavailableError, VersionError
from archive7.layout import (
    BLOCK_HEAD,
    BLOCK_SIZE,
    NONCE_SIZE,
    PLAIN_SIZE,
    TAG_PREFIX_SIZE,
    TAG_SIZE,
)

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
MASTER = bytes(range(32))
CONTAINER = bytes(range(100, 116))
SUITES = [SUITE_XAES256GCM, SUITE_SECRETBOX]


def load(name: str) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads((VECTORS / "crypto" / f"{name}.json").read_text())
    return vector


def need_libsodium() -> Any:
    """libnacl, or a skip that says what is missing; with ARCHIVE7_REQUIRE_ALL=1 a failure."""
    try:
        import libnacl
        import libnacl.secret
    except (ImportError, OSError) as error:
        missing = f"libnacl (pip) or libsodium23 (Debian) is missing: {error}"
        if os.environ.get("ARCHIVE7_REQUIRE_ALL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return libnacl


def make(suite: int, kind: bytes = KIND_DATA, epoch: int = 1) -> BlockCipher:
    if suite == SUITE_SECRETBOX:
        need_libsodium()
    return block_cipher(suite, MASTER, CONTAINER, epoch, kind)


@pytest.fixture(params=SUITES, ids=["xaes256gcm", "secretbox"])
def suite(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def plaintext(number: int) -> bytes:
    return hashlib.shake_128(b"%d" % number).digest(PLAIN_SIZE)


def plaintexts(count: int) -> list[bytes]:
    """`count` plaintexts that are all different."""
    return [plaintext(number) for number in range(count)]


def seal(
    cipher: BlockCipher, plains: Sequence[bytes], room: int | None = None
) -> tuple[bytes, list[bytes]]:
    """Seal a run; return its bytes and tag prefixes."""
    run = cipher.run_buffer(room or len(plains), BLOCK_HEAD.size)
    tags = cipher.seal_run(run, plains, len(plains))
    return bytes(run.sealed[: len(plains) * BLOCK_SIZE]), tags


def open_all(cipher: BlockCipher, sealed: bytes, tags: Sequence[bytes]) -> list[bytes]:
    """The plaintexts that come out of a run, up to the first block that is not genuine."""
    run = cipher.run_buffer(1, BLOCK_HEAD.size)
    run.plain[:] = b"\xaa" * PLAIN_SIZE
    opened = []
    for plain in cipher.open_run(run, sealed, tags):
        assert bytes(plain) == run.plain  # what is yielded is the scratch of the run
        opened.append(bytes(plain))
    if len(opened) < len(tags):
        assert run.plain == bytes(PLAIN_SIZE), "the scratch was not zeroed"
    return opened


def open_one(cipher: BlockCipher, sealed: bytes, start: int, tag: bytes) -> bytes | None:
    """What `open_into` opens; where it refuses, it must have left nothing of the plaintext."""
    room = bytearray(b"\xaa" * PLAIN_SIZE)
    if cipher.opener()(sealed, start, tag, memoryview(room)):
        return bytes(room)
    assert room in (bytes(PLAIN_SIZE), b"\xaa" * PLAIN_SIZE), "unverified plaintext came out"
    return None


def blocks_of(sealed: bytes) -> list[bytes]:
    return [sealed[at : at + BLOCK_SIZE] for at in range(0, len(sealed), BLOCK_SIZE)]


# --- XAES-256-GCM, c2sp.org/XAES-256-GCM

XAES = [
    (
        1,
        "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b",
        b"",
        "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
    ),
    (
        3,
        "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8",
        b"c2sp.org/XAES-256-GCM",
        "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
    ),
]


def xaes_seal(key: bytes, nonce: bytes, plain: bytes, aad: bytes) -> bytes:
    return AESGCM(xaes_subkey(key, nonce[:12])).encrypt(nonce[12:], plain, aad)


@pytest.mark.parametrize(("byte", "subkey", "aad", "sealed"), XAES)
def test_xaes_matches_the_published_vectors(
    byte: int, subkey: str, aad: bytes, sealed: str
) -> None:
    key, nonce = bytes([byte]) * 32, b"ABCDEFGHIJKLMNOPQRSTUVWX"
    assert xaes_subkey(key, nonce[:12]).hex() == subkey
    assert xaes_seal(key, nonce, b"XAES-256-GCM", aad).hex() == sealed


def accumulated(rounds: int) -> str:
    """The specification's randomised test: everything from one SHAKE-128 of nothing.

    hashlib squeezes all at once: 568 bytes a round.
    """
    stream = hashlib.shake_128(b"").digest(rounds * (32 + 24 + 2 + 2 * 255))
    digest, at = hashlib.shake_128(), 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return stream[at - size : at]

    for _ in range(rounds):
        key, nonce = take(32), take(24)
        plain = take(take(1)[0])
        aad = take(take(1)[0])
        digest.update(xaes_seal(key, nonce, plain, aad))
    return digest.hexdigest(32)


def test_xaes_matches_the_published_accumulated_hash() -> None:
    expected = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
    assert accumulated(10_000) == expected


@pytest.mark.full
def test_xaes_matches_the_published_accumulated_hash_of_a_million() -> None:
    expected = "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"
    assert accumulated(1_000_000) == expected


def test_block_of_suite_1_is_xaes_as_the_specification_has_it() -> None:
    key, prefix, aad = bytes([3]) * 32, b"ABCDEFGHIJKL", b"c2sp.org/XAES-256-GCM"
    cipher = XaesCipher(key, prefix * 256, aad)
    sealed, [tag] = seal(cipher, [plaintext(0)])
    assert sealed[:12] == prefix
    assert sealed[NONCE_SIZE:] == xaes_seal(key, sealed[:24], plaintext(0), aad)
    assert tag == sealed[-TAG_SIZE:][:TAG_PREFIX_SIZE]


# --- secretbox, NaCl

NACL_KEY = "1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389"
NACL_NONCE = "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37"
NACL_PLAIN = (
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc"
    "e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31"
    "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde"
    "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864"
    "5e0705"
)
NACL_SEALED = (
    "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce"
    "48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c972"
    "71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae"
    "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3"
    "7973f622a43d14a6599b1f654cb45a74e355a5"
)


def test_libsodium_gives_the_vector_of_nacl() -> None:
    libnacl = need_libsodium()
    key, nonce = bytes.fromhex(NACL_KEY), bytes.fromhex(NACL_NONCE)
    assert libnacl.crypto_secretbox(bytes.fromhex(NACL_PLAIN), nonce, key).hex() == NACL_SEALED


def test_block_of_suite_2_starts_with_the_key_stream_of_the_vector_of_nacl(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need_libsodium()
    cipher = crypto.SecretboxCipher(bytes.fromhex(NACL_KEY))
    plain = bytes.fromhex(NACL_PLAIN)
    monkeypatch.setattr(os, "urandom", lambda size: bytes.fromhex(NACL_NONCE))
    sealed, _ = seal(cipher, [plain.ljust(PLAIN_SIZE, b"\0")])
    assert sealed[:NONCE_SIZE].hex() == NACL_NONCE
    # the tag covers all 4056 bytes, so only what follows it is in the vector
    text_at = NONCE_SIZE + TAG_SIZE
    assert sealed[text_at : text_at + len(plain)].hex() == NACL_SEALED[2 * TAG_SIZE :]


def test_block_of_suite_2_is_what_libnacl_writes() -> None:
    libnacl = need_libsodium()
    key = crypto.subkey(MASTER, CONTAINER, KIND_DATA, SUITE_SECRETBOX, 1)
    box = libnacl.secret.SecretBox(key)
    sealed, [tag] = seal(make(SUITE_SECRETBOX), [plaintext(0)])
    assert sealed == box.encrypt(plaintext(0), sealed[:NONCE_SIZE])
    assert box.decrypt(sealed) == plaintext(0)
    assert tag == sealed[NONCE_SIZE : NONCE_SIZE + TAG_PREFIX_SIZE]


def test_block_that_libnacl_wrote_opens() -> None:
    libnacl = need_libsodium()
    key = crypto.subkey(MASTER, CONTAINER, KIND_DATA, SUITE_SECRETBOX, 1)
    plain = hashlib.shake_128(b"libnacl").digest(PLAIN_SIZE)
    sealed = libnacl.secret.SecretBox(key).encrypt(plain)
    assert make(SUITE_SECRETBOX).open_block(sealed) == plain


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_missing_libsodium_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    real = __import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "libnacl":
            raise error(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr("builtins.__import__", refuse)
    with pytest.raises(SuiteUnavailableError, match=r"archive7\[secretbox\].*libsodium23"):
        block_cipher(SUITE_SECRETBOX, MASTER, CONTAINER, 1, KIND_DATA)


# --- HKDF, HMAC, SHA-256, Argon2id

RFC5869 = [
    (
        "0b" * 22,
        bytes(range(13)).hex(),
        bytes(range(0xF0, 0xFA)).hex(),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(80)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "0b" * 22,
        "",
        "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("key", "salt", "info", "expected"), RFC5869)
def test_hkdf_matches_rfc_5869(key: str, salt: str, info: str, expected: str) -> None:
    derived = crypto.hkdf(
        bytes.fromhex(key), bytes.fromhex(salt), bytes.fromhex(info), len(expected) // 2
    )
    assert derived.hex() == expected


def test_argon2id_of_the_library_matches_rfc_9106() -> None:
    kdf = Argon2id(
        salt=b"\x02" * 16,
        length=32,
        iterations=3,
        lanes=4,
        memory_cost=32,
        ad=b"\x04" * 12,
        secret=b"\x03" * 8,
    )
    expected = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    assert kdf.derive(b"\x01" * 32).hex() == expected


# The RFC's only vector has a secret and associated data, which the wrapper does not take; these
# are those of its authors' program (phc-winner-argon2, src/test.c, version 0x13).
PHC = [
    (65536, 2, 1, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"),
    (256, 2, 1, "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"),
    (256, 2, 2, "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"),
]


@pytest.mark.parametrize(("memory_kib", "passes", "lanes", "expected"), PHC)
def test_argon2id_matches_the_reference_program(
    memory_kib: int, passes: int, lanes: int, expected: str
) -> None:
    derived = crypto.argon2id(b"password", b"somesalt", memory_kib, passes, lanes)
    assert derived.hex() == expected


def test_mac_matches_rfc_4231() -> None:
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert crypto.mac(b"Jefe", b"what do ya want for nothing?").hex() == expected


def test_sha256_matches_fips_180() -> None:
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert crypto.sha256(b"abc").hex() == expected


def test_same_compares_whole_buffers() -> None:
    assert crypto.same(b"abc", bytearray(b"abc"))
    assert not crypto.same(b"abc", b"abd")
    assert not crypto.same(b"abc", b"ab")


def test_subkeys_differ_by_every_input() -> None:
    base: tuple[Any, ...] = (MASTER, CONTAINER, b"data", 1, 1)
    other: tuple[Any, ...] = (bytes(32), bytes(16), b"node", 2, 2)
    keys = {crypto.subkey(*base)}
    for i in range(5):
        inputs = [*base]
        inputs[i] = other[i]
        keys.add(crypto.subkey(*inputs))
    assert len(keys) == 6


# --- the small seals


def test_small_seal_opens_with_its_key_and_aad_only() -> None:
    sealed = crypto.seal_small(MASTER, b"text", b"aad")
    assert crypto.open_small(MASTER, sealed, b"aad") == b"text"
    assert crypto.open_small(MASTER, sealed, b"other") is None
    assert crypto.open_small(bytes(32), sealed, b"aad") is None


def test_small_seal_draws_a_nonce_each_time() -> None:
    assert len({crypto.seal_small(MASTER, b"text", b"")[:12] for _ in range(100)}) == 100


@pytest.mark.parametrize("size", range(33))
def test_cut_small_seal_does_not_open(size: int) -> None:
    sealed = crypto.seal_small(MASTER, b"texts", b"")
    assert len(sealed) == 33
    assert crypto.open_small(MASTER, sealed[:size], b"") is None


def test_wrapped_key_opens_as_a_buffer_that_can_be_wiped() -> None:
    sealed = crypto.wrap_key(MASTER, bytearray(b"k" * 32), b"aad")
    assert len(sealed) == 48
    master = crypto.unwrap_key(MASTER, sealed, b"aad")
    assert master == bytearray(b"k" * 32)
    assert isinstance(master, bytearray)


def test_wrapped_key_that_was_changed_does_not_open() -> None:
    sealed = crypto.wrap_key(MASTER, bytearray(32), b"aad")
    for at in range(48):
        changed = bytearray(sealed)
        changed[at] ^= 0x10
        assert crypto.unwrap_key(MASTER, bytes(changed), b"aad") is None
    assert crypto.unwrap_key(MASTER, sealed, b"") is None
    assert crypto.unwrap_key(MASTER, sealed[:-1], b"aad") is None
    assert crypto.unwrap_key(MASTER, b"", b"aad") is None


# --- runs and blocks


@pytest.mark.parametrize("count", [1, 2, 7, 256])
def test_run_comes_back(suite: int, count: int) -> None:
    cipher, plains = make(suite), plaintexts(count)
    sealed, tags = seal(cipher, plains)
    assert len(sealed) == count * BLOCK_SIZE
    assert len(tags) == count
    assert open_all(cipher, sealed, tags) == plains


def test_run_seals_each_plaintext_before_it_asks_for_the_next(suite: int) -> None:
    cipher, plains = make(suite), plaintexts(5)
    run = cipher.run_buffer(5, BLOCK_HEAD.size)

    def shared() -> Iterator[bytearray]:
        for plain in plains:
            run.plain[:] = plain
            yield run.plain

    tags = cipher.seal_run(run, shared(), 5)
    assert open_all(cipher, bytes(run.sealed), tags) == plains


def test_sealing_leaves_the_plaintext_as_it_is(suite: int) -> None:
    mine = bytearray(plaintext(0))
    run = make(suite).run_buffer(1, BLOCK_HEAD.size)
    make(suite).seal_run(run, [mine], 1)
    assert mine == plaintext(0)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_any_buffer_is_sealed(suite: int, wrap: Callable[[bytes], Any]) -> None:
    cipher = make(suite)
    run = cipher.run_buffer(1, BLOCK_HEAD.size)
    [tag] = cipher.seal_run(run, [wrap(plaintext(3))], 1)
    assert cipher.open_block(bytes(run.sealed), tag) == plaintext(3)


def test_run_block_and_single_opening_give_the_same(suite: int) -> None:
    cipher, plains = make(suite), plaintexts(3)
    run, tags = seal(cipher, plains)
    for number, (sealed, tag) in enumerate(zip(blocks_of(run), tags, strict=True)):
        assert cipher.tag(sealed) == tag
        assert len(tag) == TAG_PREFIX_SIZE
        assert cipher.open_block(sealed, tag) == plains[number]
        assert cipher.open_block(memoryview(sealed)) == plains[number]
        assert open_one(cipher, run, number * BLOCK_SIZE, tag) == plains[number]
        assert open_one(cipher, sealed, 0, tag) == plains[number]


def test_tag_prefix_is_a_part_of_the_sealed_block(suite: int) -> None:
    cipher = make(suite)
    sealed, [tag] = seal(cipher, [plaintext(0)])
    start = BLOCK_SIZE - TAG_SIZE if suite == SUITE_XAES256GCM else NONCE_SIZE
    assert cipher.tag_offset == start
    assert sealed[start : start + TAG_PREFIX_SIZE] == tag


def test_sealing_leaves_what_is_behind_the_run_alone(suite: int) -> None:
    cipher = make(suite)
    run = cipher.run_buffer(4, BLOCK_HEAD.size)
    run.sealed[2 * BLOCK_SIZE :] = b"\xaa" * (2 * BLOCK_SIZE)
    tags = cipher.seal_run(run, plaintexts(2), 2)
    assert len(tags) == 2
    assert run.sealed[2 * BLOCK_SIZE :] == b"\xaa" * (2 * BLOCK_SIZE)


def test_opening_stops_where_the_tags_end(suite: int) -> None:
    cipher, plains = make(suite), plaintexts(4)
    sealed, tags = seal(cipher, plains)
    assert open_all(cipher, sealed, tags[:2]) == plains[:2]


def test_run_buffer_has_its_views_at_the_offsets_of_the_format(suite: int) -> None:
    cipher = make(suite)
    run = cipher.run_buffer(3, BLOCK_HEAD.size)
    assert run.count == 3
    assert len(run.plain) == PLAIN_SIZE
    assert len(run.data) == PLAIN_SIZE - BLOCK_HEAD.size
    assert len(run.sealed) == 3 * BLOCK_SIZE
    run.sealed[:] = bytes(i * 31 & 0xFF for i in range(3 * BLOCK_SIZE))
    for number in range(3):
        block = bytes(run.sealed[number * BLOCK_SIZE :][:BLOCK_SIZE])
        assert run.nonces[number] == block[:NONCE_SIZE]
        assert run.boxes[number] == block[NONCE_SIZE:]
        assert run.tags[number] == cipher.tag(block)
    run.data[:] = b"d" * len(run.data)
    assert run.plain == bytes(BLOCK_HEAD.size) + b"d" * len(run.data)
    run.wipe()
    assert run.plain == bytes(PLAIN_SIZE)


def test_other_reader_of_the_same_keys_opens(suite: int) -> None:
    sealed, tags = seal(make(suite), plaintexts(2))
    assert open_all(make(suite), sealed, tags) == plaintexts(2)


REGIONS: dict[int, dict[str, int]] = {
    SUITE_XAES256GCM: {
        "first of the nonce prefix": 0,
        "last of the nonce prefix": 11,
        "first of the nonce": 12,
        "last of the nonce": 23,
        "first of the ciphertext": 24,
        "middle of the ciphertext": 2000,
        "last of the ciphertext": BLOCK_SIZE - TAG_SIZE - 1,
        "first of the tag": BLOCK_SIZE - TAG_SIZE,
        "last of the tag prefix": BLOCK_SIZE - TAG_SIZE + TAG_PREFIX_SIZE - 1,
        "first behind the tag prefix": BLOCK_SIZE - TAG_SIZE + TAG_PREFIX_SIZE,
        "last of the tag": BLOCK_SIZE - 1,
    },
    SUITE_SECRETBOX: {
        "first of the nonce": 0,
        "last of the nonce": 23,
        "first of the tag": 24,
        "last of the tag prefix": 31,
        "first behind the tag prefix": 32,
        "last of the tag": 39,
        "first of the ciphertext": 40,
        "middle of the ciphertext": 2000,
        "last of the ciphertext": BLOCK_SIZE - 1,
    },
}


@pytest.mark.parametrize(
    ("number", "at"),
    [
        pytest.param(number, at, id=f"{number} {name}")
        for number, regions in REGIONS.items()
        for name, at in regions.items()
    ],
)
def test_flipped_bit_does_not_open(number: int, at: int) -> None:
    cipher, plains = make(number), plaintexts(3)
    run, tags = seal(cipher, plains)
    for bit in (0, 7):
        sealed = bytearray(run)
        sealed[BLOCK_SIZE + at] ^= 1 << bit
        changed = bytes(sealed[BLOCK_SIZE : 2 * BLOCK_SIZE])
        assert cipher.open_block(changed) is None
        for tag in (tags[1], cipher.tag(changed)):  # as it was, and as it stands there now
            assert cipher.open_block(changed, tag) is None
            assert open_one(cipher, bytes(sealed), BLOCK_SIZE, tag) is None
            assert open_all(cipher, bytes(sealed), [tags[0], tag, tags[2]]) == plains[:1]


def test_scratch_is_zero_after_a_failure_in_the_ciphertext(suite: int) -> None:
    """GCM has decrypted the whole block by the time its tag turns out to be wrong."""
    cipher, plains = make(suite), plaintexts(4)
    run, tags = seal(cipher, plains)
    sealed = bytearray(run)
    sealed[2 * BLOCK_SIZE - TAG_SIZE - 1] ^= 1
    back = cipher.run_buffer(5, BLOCK_HEAD.size)
    opening = cipher.open_run(back, bytes(sealed), tags)
    assert bytes(next(opening)) == plains[0]
    assert next(opening, None) is None
    assert back.plain == bytes(PLAIN_SIZE)
    room = bytearray(b"\xaa" * PLAIN_SIZE)
    assert not cipher.opener()(bytes(sealed), BLOCK_SIZE, tags[1], memoryview(room))
    assert room in (bytes(PLAIN_SIZE), b"\xaa" * PLAIN_SIZE)


def test_wrong_tag_prefix_is_refused_before_opening(
    suite: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cipher = make(suite)
    run, tags = seal(cipher, plaintexts(2))
    sealed = blocks_of(run)
    monkeypatch.setattr(XaesCipher, "_cipher", refuse_to_be_called)
    if isinstance(cipher, XaesCipher):
        cipher._ciphers.clear()
    else:
        cipher._sodium = None  # whoever uses it raises
    assert cipher.open_block(sealed[0], tags[1]) is None
    assert cipher.open_block(sealed[0], bytes(TAG_PREFIX_SIZE)) is None
    assert open_one(cipher, run, 0, tags[1]) is None
    assert open_all(cipher, run, tags[::-1]) == []


def refuse_to_be_called(*_: object) -> Any:
    raise AssertionError("the block was opened")


def test_swapped_blocks_do_not_open_under_each_others_tags(suite: int) -> None:
    cipher = make(suite)
    run, tags = seal(cipher, plaintexts(2))
    swapped = b"".join(blocks_of(run)[::-1])
    assert open_all(cipher, swapped, tags) == []
    assert open_one(cipher, swapped, 0, tags[0]) is None


@pytest.mark.parametrize("size", [0, 1, 23, 24, 39, 40, 4095])
def test_cut_block_does_not_open(suite: int, size: int) -> None:
    cipher = make(suite)
    run, tags = seal(cipher, plaintexts(1))
    assert cipher.open_block(run[:size]) is None
    assert open_all(cipher, run[:size], tags) == []
    assert open_one(cipher, run[:size], 0, tags[0]) is None


@pytest.mark.parametrize("size", [0, 1, 24, 40, 4095])
def test_cut_run_opens_up_to_the_cut(suite: int, size: int) -> None:
    cipher, plains = make(suite), plaintexts(3)
    run, tags = seal(cipher, plains)
    cut = run[: 2 * BLOCK_SIZE + size]
    assert open_all(cipher, cut, tags) == plains[:2]
    assert open_one(cipher, cut, 2 * BLOCK_SIZE, tags[2]) is None


def test_block_with_bytes_behind_it_does_not_open(suite: int) -> None:
    cipher = make(suite)
    sealed, _ = seal(cipher, plaintexts(1))
    assert cipher.open_block(sealed + b"\0") is None


@pytest.mark.parametrize(("kind", "other"), [(KIND_DATA, KIND_NODE), (KIND_NODE, KIND_ROOT)])
def test_block_of_another_kind_does_not_open(suite: int, kind: bytes, other: bytes) -> None:
    sealed, [tag] = seal(make(suite, kind), plaintexts(1))
    assert make(suite, other).open_block(sealed, tag) is None
    assert open_all(make(suite, other), sealed, [tag]) == []
    assert open_one(make(suite, other), sealed, 0, tag) is None


def test_kind_is_bound_by_the_aad_too() -> None:
    key, prefixes = bytes(32), bytes(range(12)) * 256
    sealed, [tag] = seal(XaesCipher(key, prefixes, CONTAINER + KIND_DATA), plaintexts(1))
    other = XaesCipher(key, prefixes, CONTAINER + KIND_NODE)
    assert other.open_block(sealed) is None
    assert open_one(other, sealed, 0, tag) is None
    assert open_all(other, sealed, [tag]) == []
    assert XaesCipher(key, prefixes, CONTAINER + KIND_DATA).open_block(sealed) == plaintext(0)


def test_block_of_another_epoch_container_or_master_does_not_open(suite: int) -> None:
    sealed, _ = seal(make(suite), plaintexts(1))
    assert make(suite, epoch=2).open_block(sealed) is None
    assert block_cipher(suite, MASTER, bytes(16), 1, KIND_DATA).open_block(sealed) is None
    assert block_cipher(suite, bytes(32), CONTAINER, 1, KIND_DATA).open_block(sealed) is None


def test_block_of_the_other_suite_does_not_open(suite: int) -> None:
    need_libsodium()
    sealed, _ = seal(make(suite), plaintexts(1))
    assert make(3 - suite).open_block(sealed) is None


@pytest.mark.parametrize("number", [0, 3, 65535])
def test_unknown_suite_is_refused_by_number(number: int) -> None:
    with pytest.raises(VersionError, match=str(number)):
        block_cipher(number, MASTER, CONTAINER, 1, KIND_DATA)


# --- nonces


def test_nonces_do_not_repeat(suite: int) -> None:
    cipher = make(suite)
    run = cipher.run_buffer(256, BLOCK_HEAD.size)
    nonces = set()
    for _ in range(16):
        cipher.seal_run(run, [bytes(PLAIN_SIZE)] * 256, 256)
        nonces |= {block[:NONCE_SIZE] for block in blocks_of(bytes(run.sealed))}
    assert len(nonces) == 16 * 256


def test_equal_plaintexts_seal_differently(suite: int) -> None:
    run, tags = seal(make(suite), [bytes(PLAIN_SIZE)] * 2)
    one, other = blocks_of(run)
    assert tags[0] != tags[1]
    assert one[NONCE_SIZE:] != other[NONCE_SIZE:]


def drawn_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    urandom = os.urandom

    def record(size: int) -> bytes:
        sizes.append(size)
        return urandom(size)

    monkeypatch.setattr(os, "urandom", record)
    return sizes


def test_every_run_draws_its_own_nonces(suite: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cipher = make(suite)
    sizes = drawn_sizes(monkeypatch)
    seal(cipher, plaintexts(8))
    seal(cipher, plaintexts(1))
    per_block = 12 if suite == SUITE_XAES256GCM else 24
    extra = 1 if suite == SUITE_XAES256GCM else 0
    assert sizes == [extra + 8 * per_block, extra + per_block]


def test_nonce_prefixes_are_256_per_container_and_chosen_at_random() -> None:
    one, other = make(SUITE_XAES256GCM), make(SUITE_XAES256GCM)
    prefixes = {seal(one, [bytes(PLAIN_SIZE)])[0][:12] for _ in range(3000)}
    assert 240 < len(prefixes) <= 256  # fewer than 241 of 256: under 1 in 10^11
    assert isinstance(other, XaesCipher)
    assert prefixes <= set(other._prefixes)
    assert len(set(other._prefixes)) == 256


def test_one_run_has_one_prefix() -> None:
    run, _ = seal(make(SUITE_XAES256GCM), [bytes(PLAIN_SIZE)] * 64)
    assert len({block[:12] for block in blocks_of(run)}) == 1


def test_foreign_nonce_prefix_costs_no_key() -> None:
    cipher = make(SUITE_XAES256GCM)
    assert isinstance(cipher, XaesCipher)
    sealed = bytes(BLOCK_SIZE)
    assert cipher.open_block(sealed) is None
    assert open_one(cipher, sealed, 0, bytes(TAG_PREFIX_SIZE)) is None
    assert open_all(cipher, sealed, [bytes(TAG_PREFIX_SIZE)]) == []
    assert cipher._ciphers == {}


# --- digests


def test_digest_of_suite_1_is_xxh3_and_the_commit_number() -> None:
    import xxhash

    cipher, data = make(SUITE_XAES256GCM), bytes(4008)
    digest = cipher.digester(2**32 + 5)
    assert digest(data) == xxhash.xxh3_128_digest(data) + b"\0\0\0\5"
    assert digest(b"\1" * 4008) == xxhash.xxh3_128_digest(b"\1" * 4008) + b"\0\0\0\5"
    assert cipher.digest_matches(cipher.digester(9)(data), data)


def test_digest_of_suite_2_is_sha1() -> None:
    cipher, data = make(SUITE_SECRETBOX), bytes(4008)
    digest = cipher.digester(5)(data)
    assert digest == hashlib.sha1(data).digest()
    assert cipher.digest_matches(digest, data)


def test_digest_tells_other_data(suite: int) -> None:
    cipher = make(suite)
    digest = cipher.digester(1)
    assert len(digest(bytes(4008))) == 20
    assert not cipher.digest_matches(digest(bytes(4008)), bytes(4007) + b"\1")
    for at in range(cipher.digest_size):
        damaged = bytearray(digest(bytes(4008)))
        damaged[at] ^= 1
        assert not cipher.digest_matches(bytes(damaged), bytes(4008))


def test_digest_is_that_of_any_buffer(suite: int) -> None:
    digest, data = make(suite).digester(7), plaintext(1)[:4008]
    assert digest(data) == digest(bytearray(data)) == digest(memoryview(data))


# --- frozen


def test_subkeys_are_those_of_the_format() -> None:
    vector = load("subkeys")
    master, container = bytes.fromhex(vector["master"]), bytes.fromhex(vector["container"])
    for key in vector["keys"]:
        derived = crypto.subkey(
            master, container, key["purpose"].encode(), key["suite"], key["epoch"]
        )
        assert derived.hex() == key["key"]
    assert len({key["key"] for key in vector["keys"]}) == len(vector["keys"]) == 32


@pytest.mark.parametrize("name", ["xaes256gcm", "secretbox"])
def test_frozen_block_opens(name: str) -> None:
    vector = load(f"block_{name}")
    if vector["suite"] == SUITE_SECRETBOX:
        need_libsodium()
    cipher = block_cipher(
        vector["suite"],
        bytes.fromhex(vector["master"]),
        bytes.fromhex(vector["container"]),
        vector["epoch"],
        vector["kind"].encode(),
    )
    plain = hashlib.shake_128(vector["plain"]["shake_128"].encode())
    opened = cipher.open_block(bytes.fromhex(vector["sealed"]), bytes.fromhex(vector["tag"]))
    assert opened == plain.digest(vector["plain"]["size"])


SCRIPT = runpy.run_path(str(VECTORS / "make_crypto.py"))


@pytest.mark.parametrize("name", sorted(SCRIPT["VECTORS"]))
def test_vector_is_what_its_script_makes(name: str) -> None:
    if name == "block_secretbox":
        need_libsodium()
    text = (VECTORS / "crypto" / f"{name}.json").read_text()
    assert text == SCRIPT["encode_json"](SCRIPT["build"](name))


def test_every_vector_has_its_script() -> None:
    files = {path.stem for path in (VECTORS / "crypto").glob("*.json")}
    assert files == set(SCRIPT["VECTORS"])
