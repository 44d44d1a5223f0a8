"""`ar7 keys`, and private keys as secrets of every verb."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import archive7
from archive7 import KdfCost, keys
from archive7.layout import SUPERBLOCK_SIZE
from tests.unit.command import KEY, Ar7, Terminal

CHEAP = KdfCost(19456, 2, 1)
FAST = ("--seconds", "0.01")


@pytest.fixture
def filled(ar7: Ar7) -> Ar7:
    """An archive with files in it, that a key opens."""
    ar7.fill()
    return ar7


def private(ar7: Ar7, name: str = "me", kind: str = "x25519") -> tuple[Path, Path]:
    """The files of a new private key and its public part."""
    path = ar7.folder / name
    ar7("keys", "generate", path, "--kind", kind)
    return path, path.with_name(f"{name}.pub")


# --- generate


@pytest.mark.parametrize("kind", ["hybrid", "x25519"])
def test_generate_makes_two_files(ar7: Ar7, kind: str) -> None:
    told = ar7.json("keys", "generate", "me", "--kind", kind)
    identity = keys.load_identity(ar7.folder / "me")
    assert told == {
        "file": "me",
        "kind": kind,
        "public": "me.pub",
        "fingerprint": identity.recipient.fingerprint,
    }
    assert keys.load_recipient(ar7.folder / "me.pub") == identity.recipient
    assert stat.S_IMODE((ar7.folder / "me").stat().st_mode) == 0o600


def test_generate_is_hybrid_by_default_and_shows_no_secret(ar7: Ar7) -> None:
    result = ar7("keys", "generate", "me")
    assert "hybrid" in result.stdout
    for line in (ar7.folder / "me").read_text().split("\n")[1:]:
        assert not line or line not in result.output


def test_generate_of_a_raw_key(ar7: Ar7) -> None:
    ar7("keys", "generate", "raw", "--kind", "raw")
    assert not (ar7.folder / "raw.pub").exists()
    ar7("create", ar7.vault, "--key-file", "raw")
    ar7("ls", ar7.vault, "--key-file", "raw")
    ar7.is_damaged = True  # another key than that of the check at the end


@pytest.mark.parametrize("there", ["me", "me.pub"])
def test_generate_replaces_nothing(ar7: Ar7, there: str) -> None:
    (ar7.folder / there).write_text("precious")
    assert there in ar7("keys", "generate", "me", code=2).stderr
    assert (ar7.folder / there).read_text() == "precious"
    assert len([name for name in os.listdir(ar7.folder) if name.startswith("me")]) == 1


# --- list, add, remove, change


def test_list_shows_what_opens(filled: Ar7) -> None:
    filled(
        "keys", "add", filled.vault, "--label", "spare", *FAST, env={"ARCHIVE7_NEW_PASSWORD": "x"}
    )
    lines = filled("keys", "list", filled.vault).stdout.splitlines()
    assert lines[0].startswith("* ")
    assert "raw key" in lines[0]
    assert "passphrase" in lines[1]
    assert "spare (" in lines[1]
    found = filled.json("keys", "list", filled.vault)["keys"]
    assert [entry["is_mine"] for entry in found] == [True, False]
    assert found[1]["label"] == "spare"
    assert found[1]["memory_kib"] >= 19456
    assert found[0]["created"]


def test_add_from_every_source(filled: Ar7) -> None:
    (filled.folder / "word").write_text("from a file\n")
    (filled.folder / "key2").write_bytes(bytes(32))
    me, public = private(filled)
    vault = filled.vault
    for mode in ("word", "key2", "me"):
        (filled.folder / mode).chmod(0o600)
    filled("keys", "add", vault, "--new-password-file", "word", *FAST)
    filled("keys", "add", vault, "--new-key-file", "key2", "--label", "k")
    filled("keys", "add", vault, "--recipient", public, "--label", "r")
    filled("keys", "add", vault, *FAST, env={"ARCHIVE7_NEW_PASSWORD": "from the environment"})
    for secret in (
        ("--password-file", "word"),
        ("--key-file", "key2"),
        ("--identity", me),
    ):
        filled("cat", vault, "/a.txt", *secret)
    filled("cat", vault, "/a.txt", env={"ARCHIVE7_PASSWORD": "from the environment"})


def test_new_secret_is_asked_for_twice(filled: Ar7) -> None:
    with Terminal(filled, "keys", "add", filled.vault, *FAST) as terminal:
        terminal.wait_for("New password")
        terminal.type("a b\n")
        terminal.wait_for("The same again")
        terminal.type("a b\n")
        assert terminal.end() == 0
    filled("ls", filled.vault, env={"ARCHIVE7_PASSWORD": "a b"})


def test_ctrl_c_at_the_prompt_changes_nothing(filled: Ar7) -> None:
    with Terminal(filled, "keys", "add", filled.vault, *FAST) as terminal:
        terminal.wait_for("New password")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.shown
    assert len(filled.json("keys", "list", filled.vault)["keys"]) == 1


def test_no_new_secret_and_no_terminal(filled: Ar7) -> None:
    told = filled("keys", "add", filled.vault, code=2).stderr
    assert "ARCHIVE7_NEW_PASSWORD" in told
    assert "--new-key-file" in told


@pytest.mark.parametrize(
    "options",
    [
        ("--new-key-file", "vault.key", "--recipient", "me.pub"),
        ("--new-key-file", "vault.key", "--new-password-file", "vault.key"),
        ("--recipient", "vault.key"),
        ("--recipient", "nothing"),
        ("--new-key-file", "nothing"),
        ("--recipient", "me"),
    ],
)
def test_senseless_new_secret(filled: Ar7, options: tuple[str, ...]) -> None:
    private(filled)
    filled("keys", "add", filled.vault, *options, code=2)
    assert len(filled.json("keys", "list", filled.vault)["keys"]) == 1


def test_remove_by_label_and_id(filled: Ar7) -> None:
    for name in ("one", "two"):
        env = {"ARCHIVE7_NEW_PASSWORD": name}
        filled("keys", "add", filled.vault, "--label", name, *FAST, env=env)
    filled("keys", "remove", filled.vault, "one")
    found = filled.json("keys", "list", filled.vault)["keys"]
    filled("keys", "remove", filled.vault, found[1]["id"])
    assert len(filled.json("keys", "list", filled.vault)["keys"]) == 1
    for name in ("one", "two"):
        filled(
            "ls", filled.vault, code=3, env={"ARCHIVE7_PASSWORD": name, "ARCHIVE7_KEY_FILE": None}
        )


def test_remove_of_what_is_not_there_and_of_the_last(filled: Ar7) -> None:
    assert "nobody" in filled("keys", "remove", filled.vault, "nobody", code=2).stderr
    [last] = filled.json("keys", "list", filled.vault)["keys"]
    assert "last one" in filled("keys", "remove", filled.vault, last["id"], code=2).stderr
    result = filled("keys", "remove", filled.vault, last["id"], "--force")
    assert "does not open" in result.stderr
    filled("ls", filled.vault, code=3)
    filled.is_damaged = True


def test_remove_of_mine_is_warned_of(filled: Ar7) -> None:
    [mine] = filled.json("keys", "list", filled.vault)["keys"]
    filled("keys", "add", filled.vault, *FAST, env={"ARCHIVE7_NEW_PASSWORD": "x"})
    assert "does not open" in filled("keys", "remove", filled.vault, mine["id"]).stderr
    filled("ls", filled.vault, code=3)
    filled("ls", filled.vault, env={"ARCHIVE7_PASSWORD": "x", "ARCHIVE7_KEY_FILE": None})
    filled.is_damaged = True


def test_change_of_the_password_that_was_given(ar7: Ar7) -> None:
    archive7.open(ar7.vault, "x", key=KEY, password="old", kdf=CHEAP).close()
    old, new = ({"ARCHIVE7_PASSWORD": word, "ARCHIVE7_KEY_FILE": None} for word in ("old", "new"))
    told = ar7("keys", "change", ar7.vault, *FAST, env=old | {"ARCHIVE7_NEW_PASSWORD": "new"})
    assert "changed to passphrase" in told.stdout
    ar7("ls", ar7.vault, env=old, code=3)
    ar7("ls", ar7.vault, env=new)
    ar7("ls", ar7.vault)
    found = ar7.json("keys", "list", ar7.vault)["keys"]
    other = next(entry for entry in found if entry["kind"] == "passphrase")
    ar7("keys", "change", ar7.vault, other["id"], "--label", "l", "--new-key-file", "vault.key")
    ar7("ls", ar7.vault, env=new, code=3)


# --- backup and restore


def test_backup_and_restore(filled: Ar7) -> None:
    filled("keys", "backup", filled.vault, "header")
    assert (filled.folder / "header").stat().st_size == SUPERBLOCK_SIZE
    told = filled("keys", "backup", filled.vault, "header", code=2).stderr
    assert told == "ar7: header exists already: choose another name\n"
    with open(filled.vault, "r+b") as file:
        file.write(bytes(2 * SUPERBLOCK_SIZE))
    filled("ls", filled.vault, code=3)
    assert "restored" in filled("keys", "restore", filled.vault, "header").stdout
    filled("cat", filled.vault, "/a.txt")


def test_restore_of_an_older_header_wants_force(filled: Ar7) -> None:
    filled("keys", "backup", filled.vault, "header")
    filled("keys", "add", filled.vault, *FAST, env={"ARCHIVE7_NEW_PASSWORD": "x"})
    told = filled("keys", "restore", filled.vault, "header", code=2).stderr
    assert "older than what the archive knows" in told
    filled("keys", "restore", filled.vault, "header", "--force")
    assert len(filled.json("keys", "list", filled.vault)["keys"]) == 1


# --- private keys with every verb


def test_archive_for_recipients_alone(ar7: Ar7) -> None:
    """Who makes it needs no secret, and cannot open it again."""
    del ar7.environment["ARCHIVE7_KEY_FILE"]
    (anna, anna_public), (bob, bob_public) = private(ar7, "anna", "hybrid"), private(ar7, "bob")
    (ar7.folder / "letter").write_text("dear both")
    ar7("create", ar7.vault, "letter", "--recipient", anna_public, "--recipient", bob_public)
    for identity in (anna, bob):
        assert ar7("cat", ar7.vault, "letter", "--identity", identity).stdout == "dear both"
        ar7("cat", ar7.vault, "letter", env={"ARCHIVE7_IDENTITY_FILE": str(identity)})
        assert ar7.json("info", ar7.vault, "--identity", identity)["is_authenticated"] is False
    told = ar7("info", ar7.vault, "--identity", bob).stdout
    assert "anybody may have made it" in told
    assert "2 (hybrid recipient, x25519 recipient)" in told
    ar7.is_damaged = True  # no key for the check at the end


def test_private_key_alone_does_not_write(ar7: Ar7) -> None:
    identity, public = private(ar7)
    ar7("create", ar7.vault, "--recipient", public)
    ar7("mkdir", ar7.vault, "/x")
    told = ar7("mkdir", ar7.vault, "/y", "--identity", identity, code=2).stderr
    assert "--unauthenticated" in told
    ar7("mkdir", ar7.vault, "/y", "--identity", identity, "--unauthenticated")
    assert ar7("ls", ar7.vault).stdout == "x/\ny/\n"
    assert "authenticated yes" in " ".join(ar7("info", ar7.vault).stdout.split())


def test_wrong_identity_says_so(filled: Ar7) -> None:
    identity, _ = private(filled)
    told = filled("ls", filled.vault, "--identity", identity, code=3).stderr
    assert "no keyslot opens with the given identity" in told
    assert "--key-file" in told


@pytest.mark.parametrize("content", [b"", b"\0" * 32, b"archive7-identity-1 x25519\nAAAA\n"])
def test_identity_file_that_is_none(filled: Ar7, content: bytes) -> None:
    path = filled.folder / "wrong"
    path.write_bytes(content)
    path.chmod(0o600)
    assert "wrong" in filled("ls", filled.vault, "--identity", path, code=2).stderr
    filled("ls", filled.vault, "--identity", filled.folder / "nothing", code=2)
    filled("ls", filled.vault, "--identity", filled.key_file, code=2)


def test_identity_that_everybody_can_read_is_warned_of(ar7: Ar7) -> None:
    identity, public = private(ar7)
    ar7("create", ar7.vault, "--recipient", public)
    identity.chmod(0o644)
    assert "chmod 600" in ar7("ls", ar7.vault, "--identity", identity).stderr
    assert "chmod" not in ar7("ls", ar7.vault, "--identity", identity, "-q").stderr
