"""Where `ar7` takes a secret from, in which order, and that none ever comes out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import archive7
from archive7 import KdfCost
from tests.unit.command import KEY, PASSWORD, Ar7, Terminal

CHEAP = "--kdf-memory 19 --kdf-passes 2 --kdf-lanes 1".split()
NO_SECRET = {"ARCHIVE7_KEY_FILE": ""}


def make(ar7: Ar7, password: str = PASSWORD) -> None:
    """An archive that the password opens, cheaply."""
    archive7.open(ar7.vault, "x", key=KEY, password=password, kdf=KdfCost(19456, 2, 1)).close()


def secret_file(ar7: Ar7, content: bytes, mode: int = 0o600) -> Path:
    path = ar7.folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture
def bare(ar7: Ar7) -> Ar7:
    """`ar7` without a secret in the environment."""
    del ar7.environment["ARCHIVE7_KEY_FILE"]
    return ar7


# --- files


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_password_file_is_one_line(bare: Ar7, end: bytes) -> None:
    make(bare)

    bare("ls", bare.vault, "--password-file", secret_file(bare, PASSWORD.encode() + end))


@pytest.mark.parametrize("content", [b"", b"\n", b"\nx", b"one\ntwo\n", b"x" * 70_000])
def test_password_file_that_is_none_is_refused(bare: Ar7, content: bytes) -> None:
    make(bare)
    path = secret_file(bare, content)

    assert str(path) in bare("ls", bare.vault, "--password-file", path, code=2).stderr


def test_password_keeps_its_blanks(bare: Ar7) -> None:
    make(bare, " spaces \t")

    bare("ls", bare.vault, "--password-file", secret_file(bare, b" spaces \t\n"))


def test_password_file_means_the_same_as_the_prompt(bare: Ar7) -> None:
    make(bare, "pa\u0308ssword")  # NFC and NFD are one password

    bare("ls", bare.vault, "--password-file", secret_file(bare, "p\u00e4ssword".encode()))


def test_password_may_be_bytes_that_are_not_utf8(bare: Ar7) -> None:
    path = secret_file(bare, b"\xff\xfe\n")

    bare("create", bare.vault, *CHEAP, "--password-file", path)
    bare("ls", bare.vault, "--password-file", path)
    archive7.open(bare.vault, password=b"\xff\xfe").close()
    bare.is_damaged = True  # it has no key slot for the check at the end


@pytest.mark.parametrize(
    "content",
    [KEY, KEY.hex().encode(), KEY.hex().upper().encode() + b"\n", b" " + KEY.hex().encode()],
)
def test_key_file_is_raw_or_hexadecimal(bare: Ar7, content: bytes) -> None:
    make(bare)

    bare("ls", bare.vault, "--key-file", secret_file(bare, content))


@pytest.mark.parametrize(
    "content", [b"", KEY[1:], KEY + b"\n", b"g" * 64, KEY.hex().encode() + b"0"]
)
def test_key_file_that_is_none_is_refused_without_showing_it(bare: Ar7, content: bytes) -> None:
    make(bare)
    path = secret_file(bare, content)

    told = bare("ls", bare.vault, "--key-file", path, code=2)

    assert "32 bytes" in told.stderr
    assert not content or content.decode("latin-1") not in told.output


def test_missing_secret_file_is_wrong_use(bare: Ar7) -> None:
    make(bare)

    for option in ("--password-file", "--key-file"):
        assert "nowhere" in bare("ls", bare.vault, option, "nowhere", code=2).stderr


def test_secret_file_that_all_can_read_is_warned_of(bare: Ar7) -> None:
    make(bare)
    path = secret_file(bare, KEY, 0o644)

    told = bare("ls", bare.vault, "--key-file", path)

    assert told.stderr == (
        f"ar7: warning: everyone on this machine can read the key file {path}: chmod 600 {path}\n"
    )
    assert bare("ls", "-q", bare.vault, "--key-file", path).stderr == ""


# --- the environment, and which comes first


def test_environment_opens(bare: Ar7) -> None:
    make(bare)

    bare("ls", bare.vault, env={"ARCHIVE7_PASSWORD": PASSWORD})
    bare("ls", bare.vault, env={"ARCHIVE7_KEY_FILE": str(bare.key_file)})


def test_empty_environment_is_wrong_use(bare: Ar7) -> None:
    make(bare)

    assert "empty" in bare("ls", bare.vault, env={"ARCHIVE7_PASSWORD": ""}, code=2).stderr
    assert "empty" in bare("ls", bare.vault, env={"ARCHIVE7_KEY_FILE": ""}, code=2).stderr


def test_option_comes_before_the_environment(bare: Ar7) -> None:
    make(bare)
    right = {"ARCHIVE7_KEY_FILE": str(bare.key_file)}
    path = secret_file(bare, b"wrong")

    bare("ls", bare.vault, "--password-file", path, env=right, code=3)
    bare("ls", bare.vault, "--key-file", bare.key_file, env={"ARCHIVE7_PASSWORD": "wrong"})


def test_either_of_two_secrets_opens(bare: Ar7) -> None:
    make(bare)
    path = secret_file(bare, b"wrong")

    bare("ls", bare.vault, "--password-file", path, "--key-file", bare.key_file)


def test_create_makes_a_keyslot_for_each_secret(bare: Ar7) -> None:
    path = secret_file(bare, PASSWORD.encode())

    bare("create", bare.vault, *CHEAP, "--password-file", path, "--key-file", bare.key_file)

    archive7.open(bare.vault, password=PASSWORD).close()
    archive7.open(bare.vault, key=KEY).close()


def test_without_a_terminal_the_other_ways_are_named(bare: Ar7) -> None:
    make(bare)

    for args in (("ls", bare.vault), ("create", bare.folder / "new.ar7")):
        told = bare(*args, code=2).stderr
        assert [
            name
            for name in ("--password-file", "--key-file", "ARCHIVE7_PASSWORD")
            if name not in told
        ] == []


# --- none comes out


def test_no_secret_is_ever_shown(bare: Ar7) -> None:
    make(bare)
    odd = "s3cr3t-" * 3
    path = secret_file(bare, odd.encode())
    (bare.folder / "keys").write_bytes(b"k3y-" * 8)
    (bare.folder / "keys").chmod(0o600)
    said = [
        bare("ls", bare.vault, "--password-file", path, code=3),
        bare("ls", bare.vault, "--key-file", "keys", code=3),
        bare("check", bare.vault, "--json", code=3, env={"ARCHIVE7_PASSWORD": odd}),
        bare("create", bare.folder / "no" / "where", "--password-file", path, code=3),
        bare("ls", bare.vault, "--password", odd, code=2),
        bare("ls", bare.vault, f"--password={odd}", code=2),
    ]

    assert [result.output for result in said if "s3cr3t" in result.output] == []
    assert [result.output for result in said if "k3y-k3y" in result.output] == []


def test_wrong_secrets_leave_the_archive_as_it_is(bare: Ar7) -> None:
    make(bare)
    before = bare.vault.read_bytes()

    for verb, *args in (("ls",), ("rm", "x"), ("put", "x"), ("check",), ("info",)):
        told = bare(verb, bare.vault, *args, code=3, env={"ARCHIVE7_PASSWORD": "wrong"}, input=b"")
        assert "wrong secret" in told.stderr
        assert str(bare.vault) in told.stderr

    assert bare.vault.read_bytes() == before


# --- the prompt


def test_prompt_asks_once_and_does_not_echo(bare: Ar7) -> None:
    make(bare)

    with Terminal(bare, "ls", bare.vault) as terminal:
        terminal.wait_for(f"Password for {bare.vault}: ")
        terminal.type(f"{PASSWORD}\n")
        assert terminal.end() == 0
    assert PASSWORD not in terminal.shown


def test_prompt_asks_twice_for_a_new_password_until_both_are_the_same(bare: Ar7) -> None:
    with Terminal(bare, "create", bare.vault, *CHEAP) as terminal:
        for asked, answer in (
            ("New password", ""),
            ("An empty password is none.\r\nNew password", "one"),
            ("The same again", "other"),
            ("They differ.\r\nNew password", PASSWORD),
            ("The same again", PASSWORD),
        ):
            terminal.wait_for(asked)
            terminal.shown = ""
            terminal.type(f"{answer}\n")
        assert terminal.end() == 0
    archive7.open(bare.vault, password=PASSWORD).close()
    bare.is_damaged = True  # it has no key slot for the check at the end


def test_prompt_gives_up_in_the_end(bare: Ar7) -> None:
    with Terminal(bare, "create", bare.vault) as terminal:
        for _ in range(3):
            terminal.wait_for("New password")
            terminal.shown = ""
            terminal.type("\n")
        assert terminal.end() == 2
    assert not bare.vault.exists()


@pytest.mark.parametrize(("keys", "code"), [("\x03", 130), ("\x04", 2)])
def test_prompt_can_be_left(bare: Ar7, keys: str, code: int) -> None:
    make(bare)

    with Terminal(bare, "ls", bare.vault) as terminal:
        terminal.wait_for("Password for ")
        terminal.type(keys)
        assert terminal.end() == code
    assert "Traceback" not in terminal.shown
    assert "\nar7: " in terminal.shown


def test_wrong_password_at_the_prompt(bare: Ar7) -> None:
    make(bare)

    with Terminal(bare, "ls", bare.vault) as terminal:
        terminal.wait_for("Password for ")
        terminal.type("wr0ng-0ne\n")
        assert terminal.end() == 3
    assert "wrong secret" in terminal.shown
    assert "wr0ng" not in terminal.shown


def test_no_password_is_asked_for_what_is_not_there(bare: Ar7) -> None:
    with Terminal(bare, "ls", "nowhere.ar7") as terminal:
        assert terminal.end() == 3
    assert "ar7 create nowhere.ar7" in terminal.shown


def test_password_is_not_in_the_arguments_of_the_process(bare: Ar7) -> None:
    make(bare)
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("no /proc here")

    with Terminal(bare, "put", bare.vault, "x", ARCHIVE7_PASSWORD=PASSWORD) as terminal:
        while not (command := Path(f"/proc/{terminal.process.pid}/cmdline").read_bytes()):
            assert terminal.process.poll() is None
        terminal.type("\x04")
        terminal.end()
    assert PASSWORD.encode() not in command
    assert os.fsencode(bare.vault) in command
