"""Private and public keys, their files, and the keyslots that are sealed for them."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from archive7 import hpke, keys
from archive7.errors import SuiteUnavailableError, SuperblockCorruptError, UsageError
from archive7.keys import Identity, Recipient, generate_identity, load_identity, load_recipient
from archive7.keyslots import Keyslot, Secrets, seal_for
from archive7.layout import SLOT_HYBRID, SLOT_X25519

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "crypto"
MASTER = bytearray(b"m" * 32)
CONTAINER = bytes(range(16))
each_kind = pytest.mark.parametrize("kind", ["x25519", "hybrid"])


# --- keys


@each_kind
def test_identity_opens_what_was_sealed_for_its_recipient(kind: str) -> None:
    one, other = generate_identity(kind), generate_identity(kind)
    sealed = one.recipient.seal(b"plain", b"info")
    assert one.open(sealed, b"info") == b"plain"
    assert one.open(sealed, b"other") is None
    assert other.open(sealed, b"info") is None
    assert one.open(sealed[:-1], b"info") is None
    assert one.open(b"", b"info") is None


def test_default_kind_is_hybrid() -> None:
    assert generate_identity().kind == "hybrid"


@each_kind
def test_sealing_twice_gives_nothing_in_common(kind: str) -> None:
    recipient = generate_identity(kind).recipient
    one, other = (recipient.seal(b"plain", b"") for _ in range(2))
    assert one != other
    assert one[:32] != other[:32]


@pytest.mark.parametrize("kind", ["raw", "", "rsa", "X25519"])
def test_unknown_kind_is_refused(kind: str) -> None:
    for make in (
        lambda: generate_identity(kind),
        lambda: Identity(kind, bytes(32)),
        lambda: Recipient(kind, bytes(32)),
    ):
        with pytest.raises(UsageError, match="hybrid, x25519"):
            make()


@pytest.mark.parametrize("size", [0, 31, 33, 96])
def test_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        Identity("x25519", bytes(size))
    with pytest.raises(UsageError, match="32 bytes"):
        Recipient("x25519", bytes(size))


def test_public_key_of_low_order_is_refused() -> None:
    with pytest.raises(UsageError, match="not a usable public key"):
        Recipient("x25519", bytes(32)).seal(b"plain", b"")


def test_public_key_that_is_no_lattice_point_is_refused() -> None:
    with pytest.raises(UsageError, match="not a usable public key"):
        Recipient("hybrid", b"\xff" * 1216).seal(b"plain", b"")


def test_recipients_compare_by_value() -> None:
    identity = generate_identity("x25519")
    assert identity.recipient == Recipient("x25519", identity.recipient.public)
    assert len({identity.recipient, Recipient("x25519", identity.recipient.public)}) == 1
    assert identity.recipient.fingerprint in repr(identity.recipient)


@each_kind
def test_private_key_shows_nowhere(kind: str) -> None:
    identity = generate_identity(kind)
    texts = [repr(identity), str(identity), repr(Secrets(identity=identity))]
    for text in texts:
        assert identity.private.hex() not in text
        assert repr(identity.private)[2:-1] not in text
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            take(identity)


class _NoLattice:
    """A crypto library without ML-KEM."""

    @staticmethod
    def from_seed_bytes(_data: bytes) -> object:
        raise hpke.UnsupportedAlgorithm("ML-KEM-768 is not supported")

    from_public_bytes = from_seed_bytes


def test_library_without_ml_kem_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    recipient, private = generate_identity().recipient, generate_identity().private
    monkeypatch.setattr(hpke, "MLKEM768PrivateKey", _NoLattice)
    monkeypatch.setattr(hpke, "MLKEM768PublicKey", _NoLattice)
    with pytest.raises(SuiteUnavailableError, match="x25519"):
        generate_identity()
    with pytest.raises(SuiteUnavailableError, match="ML-KEM"):
        recipient.seal(b"plain", b"")
    with pytest.raises(SuiteUnavailableError, match="ML-KEM"):
        hpke.hpke_open(private, bytes(1168), b"")
    generate_identity("x25519")


# --- files


@each_kind
def test_files_come_back(kind: str, tmp_path: Path) -> None:
    identity = generate_identity(kind)
    identity.save(tmp_path / "me")
    identity.recipient.save(tmp_path / "me.pub")
    again = load_identity(tmp_path / "me")
    assert (again.kind, again.private) == (kind, identity.private)
    assert load_recipient(tmp_path / "me.pub") == identity.recipient == again.recipient
    assert Recipient.from_text(identity.recipient.text) == identity.recipient
    assert stat.S_IMODE((tmp_path / "me").stat().st_mode) == 0o600
    assert (tmp_path / "me").read_text().startswith(f"archive7-identity-1 {kind}\n")


def test_key_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"precious")
    for save in (
        generate_identity("x25519").save,
        generate_identity("x25519").recipient.save,
        keys.generate_key_file,
    ):
        with pytest.raises(FileExistsError):
            save(path)
    assert path.read_bytes() == b"precious"


def test_key_file_that_fails_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        keys.generate_key_file(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_line_ends_and_blanks_do_not_matter() -> None:
    identity = generate_identity("x25519")
    text = identity.recipient.text
    for changed in (text.replace("\n", "\r\n"), text + "\n\n", text.replace("\n", " \n")):
        assert Recipient.from_text(changed) == identity.recipient


def _texts() -> list[tuple[str, Callable[[str], str]]]:
    return [
        ("empty", lambda _: ""),
        ("cut", lambda text: text[:-8]),
        ("one letter", lambda text: text[:60] + ("A" if text[60] != "A" else "B") + text[61:]),
        ("longer", lambda text: text.rstrip("\n") + "AAAA"),
        ("not base64", lambda text: text[:60] + "!" + text[61:]),
        ("other kind", lambda text: text.replace("hybrid", "x25519")),
        ("unknown kind", lambda text: text.replace("hybrid", "quantum")),
        ("no kind", lambda text: text.replace(" hybrid", "")),
        ("later version", lambda text: text.replace("-1 ", "-2 ")),
        ("binary", lambda _: "\x89AR7\r\n\x1a\n" * 20),
    ]


@pytest.mark.parametrize("what", _texts(), ids=lambda what: what[0])
def test_text_that_was_changed_is_refused(what: tuple[str, Callable[[str], str]]) -> None:
    identity = generate_identity()
    for text, take in (
        (identity.recipient.text, Recipient.from_text),
        (keys._text(keys._IDENTITY_HEAD, "hybrid", identity.private), Identity.from_text),
    ):
        with pytest.raises(UsageError) as caught:
            take(what[1](text))
        message = str(caught.value)
        assert all(line not in message for line in text.split("\n")[1:] if line)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_kinds_of_files_are_told_apart(tmp_path: Path) -> None:
    identity = generate_identity("x25519")
    identity.save(tmp_path / "private")
    identity.recipient.save(tmp_path / "public")
    keys.generate_key_file(tmp_path / "raw")
    with pytest.raises(UsageError, match="an identity"):
        load_recipient(tmp_path / "private")
    with pytest.raises(UsageError, match="a recipient"):
        load_identity(tmp_path / "public")
    with pytest.raises(UsageError, match="an identity"):
        keys.read_key_file(tmp_path / "private")
    with pytest.raises(UsageError, match="a key"):
        load_identity(tmp_path / "raw")


def test_raw_key_file(tmp_path: Path) -> None:
    key = keys.generate_key_file(tmp_path / "one")
    assert keys.read_key_file(tmp_path / "one") == key
    for content in (key, key.hex().encode(), key.hex().upper().encode() + b"\r\n"):
        (tmp_path / "other").write_bytes(content)
        assert keys.read_key_file(tmp_path / "other") == key


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33, b"g" * 64, b"x" * 70_000])
def test_raw_key_file_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        keys.read_key_file(tmp_path / "key")
    assert "xxxx" not in str(caught.value)
    assert "gggg" not in str(caught.value)


# --- keyslots


@each_kind
def test_slot_for_a_recipient(kind: str) -> None:
    identity = generate_identity(kind)
    slot = seal_for(identity.recipient, MASTER, CONTAINER, 3)
    secrets = Secrets(identity=identity)
    assert slot.kind == {"x25519": SLOT_X25519, "hybrid": SLOT_HYBRID}[kind]
    assert len(slot.body) == {"x25519": 88, "hybrid": 1176}[kind]
    assert slot.is_recipient
    assert slot.cost is None
    assert slot.kind_name == f"{kind} recipient"
    assert slot.fits(secrets)
    assert slot.receive(secrets, CONTAINER, 3) == MASTER
    assert slot.receive(secrets, CONTAINER, 4) is None
    assert slot.receive(secrets, bytes(16), 3) is None
    assert slot.derive(secrets) is None
    moved = Keyslot(slot.kind, os.urandom(8) + slot.body[8:])
    assert moved.receive(secrets, CONTAINER, 3) is None, "the slot id is bound"


def test_slot_of_another_kind_or_secret_does_not_fit() -> None:
    one, other = generate_identity("x25519"), generate_identity("hybrid")
    slot = seal_for(one.recipient, MASTER, CONTAINER, 1)
    for secrets in (Secrets(identity=other), Secrets(key=bytes(32)), Secrets(password="x")):
        assert not slot.fits(secrets)
        assert slot.receive(secrets, CONTAINER, 1) is None


@pytest.mark.parametrize(("kind", "size"), [(SLOT_X25519, 88), (SLOT_HYBRID, 1176)])
def test_slot_of_another_size_is_damage(kind: int, size: int) -> None:
    for wrong in (0, size - 1, size + 1):
        with pytest.raises(SuperblockCorruptError, match=str(size)):
            Keyslot(kind, bytes(wrong))


def test_nothing_in_a_slot_tells_whose_it_is() -> None:
    identity = generate_identity()
    slot = seal_for(identity.recipient, MASTER, CONTAINER, 1)
    public = identity.recipient.public
    assert all(public[at : at + 8] not in slot.body for at in range(0, len(public), 8))


# --- frozen, and opened by a few lines that are not the library's


def vector(kind: str) -> dict[str, Any]:
    found = json.loads((VECTORS / f"keyslot_{kind}.json").read_text())
    assert isinstance(found, dict)
    return found


@each_kind
def test_vector_opens(kind: str) -> None:
    frozen = vector(kind)
    identity = Identity(kind, bytes.fromhex(frozen["identity"]["private"]))
    assert identity.recipient.public.hex() == frozen["public"]
    slot = Keyslot(frozen["kind"], bytes.fromhex(frozen["body"]))
    container = bytes.fromhex(frozen["container"])
    master = slot.receive(Secrets(identity=identity), container, frozen["epoch"])
    assert master is not None
    assert master.hex() == frozen["master"]


@each_kind
def test_vector_agrees_with_the_standards(kind: str) -> None:
    """RFC 9180 over the KEM of RFC 9180, or of X-Wing (draft-connolly-cfrg-xwing-kem)."""
    frozen = vector(kind)
    private, public = bytes.fromhex(frozen["identity"]["private"]), bytes.fromhex(frozen["public"])
    sealed, info = bytes.fromhex(frozen["body"])[8:], bytes.fromhex(frozen["info"])
    if kind == "x25519":
        shared, number, sent = dhkem(private, public, sealed[:32]), 0x0020, 32
    else:
        shared, number, sent = xwing(private, public, sealed[:1120]), 0x647A, 1120
    assert hpke_open(number, shared, info, sealed[sent:]).hex() == frozen["master"]


def exchanged(private: bytes, public: bytes) -> bytes:
    key = X25519PrivateKey.from_private_bytes(private)
    return key.exchange(X25519PublicKey.from_public_bytes(public))


def dhkem(private: bytes, public: bytes, sent: bytes) -> bytes:
    suite = b"KEM" + (0x0020).to_bytes(2, "big")
    secret = extract(suite, b"", b"eae_prk", exchanged(private, sent))
    return expand(suite, secret, b"shared_secret", sent + public, 32)


def xwing(private: bytes, public: bytes, sent: bytes) -> bytes:
    """Our keys have X25519's part first; what is sent has ML-KEM's first."""
    lattice = MLKEM768PrivateKey.from_seed_bytes(private[32:]).decapsulate(sent[:1088])
    curve = exchanged(private[:32], sent[1088:])
    return hashlib.sha3_256(lattice + curve + sent[1088:] + public[:32] + b"\\.//^\\").digest()


def hpke_open(kem: int, shared: bytes, info: bytes, sealed: bytes) -> bytes:
    suite = b"HPKE" + kem.to_bytes(2, "big") + b"\0\1\0\2"  # HKDF-SHA256, AES-256-GCM
    context = b"\0" + extract(suite, b"", b"psk_id_hash", b"")
    context += extract(suite, b"", b"info_hash", info)
    secret = extract(suite, shared, b"secret", b"")
    key = expand(suite, secret, b"key", context, 32)
    return AESGCM(key).decrypt(expand(suite, secret, b"base_nonce", context, 12), sealed, b"")


def extract(suite: bytes, salt: bytes, label: bytes, data: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + data, "sha256")


def expand(suite: bytes, secret: bytes, label: bytes, info: bytes, size: int) -> bytes:
    labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(secret, labelled + b"\1", "sha256")[:size]
