"""How `ar7` ends when something goes wrong: exit code, one line, the thing and the remedy."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import archive7
from archive7 import errors
from archive7.cli.failure import Refusal, describe
from tests.unit.command import KEY, PACKAGE, Ar7

FULL = Path("/dev/full")

CODES: dict[str, int] = {
    "NotAnArchiveError": 3,
    "VersionError": 3,
    "FormatError": 3,
    "KdfLimitError": 3,
    "WrongKeyError": 3,
    "UnauthenticatedError": 2,
    "SuiteUnavailableError": 3,
    "LockedError": 3,
    "CorruptError": 1,
    "SuperblockCorruptError": 1,
    "BlockCorruptError": 1,
    "RollbackError": 1,
    "ReceiptError": 1,
    "RekeyedError": 1,
    "TreeCorruptError": 1,
    "RecordCorruptError": 1,
    "SnapshotExpiredError": 1,
    "Archive7Error": 1,
    "FullError": 1,
    "SyncFailedError": 1,
    "NotFoundError": 1,
    "UsageError": 2,
    "ClosedError": 2,
    "ReadOnlyError": 2,
    "TransactionError": 2,
    "PathError": 2,
    "ExistsError": 2,
    "IsADirectoryError": 2,
    "NotADirectoryError": 2,
    "NotEmptyError": 2,
    "NotPermittedError": 2,
    "NameTooLongError": 2,
    "LoopError": 2,
}


def make(name: str) -> Exception:
    kind = getattr(errors, name)
    if issubclass(kind, OSError):
        found: Exception = kind(errno.EIO, os.strerror(errno.EIO), "/notes/today.txt")
    else:
        found = kind("what is wrong: the remedy")
    return found


def kinds() -> list[str]:
    return sorted(
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.Archive7Error)
    )


def test_every_exception_has_a_code() -> None:
    assert kinds() == sorted(CODES)


@pytest.mark.parametrize("name", sorted(CODES))
def test_exception_ends_with_its_code_and_one_line(name: str) -> None:
    code, text = describe(make(name))

    assert code == CODES[name]
    assert text
    assert "\n" not in text
    assert "[Errno" not in text
    if issubclass(getattr(errors, name), OSError) and name != "LockedError":
        assert "/notes/today.txt" in text


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileExistsError(17, "Exists", "here"), (2, "here: Exists; --overwrite replaces it")),
        (PermissionError(13, "Permission denied", "here"), (1, "here: Permission denied")),
        (FileNotFoundError(2, "No such file", b"here"), (1, "here: No such file")),
        (OSError("odd"), (1, "odd")),
        (OSError(), (1, "OSError")),
        (Refusal("no", 7), (7, "no")),
    ],
)  # fmt: skip
def test_errors_of_the_system_are_words(error: Exception, expected: tuple[int, str]) -> None:
    assert describe(error) == expected


def test_arguments_of_the_library_become_options() -> None:
    _, text = describe(errors.WrongKeyError("1 would take key=; 2 would take password="))

    assert text == (
        "wrong secret: 1 would take --key-file; 2 would take --password-file or the prompt"
    )


def test_bug_is_named_without_what_it_says() -> None:
    try:
        raise KeyError("a secret")
    except KeyError as error:
        code, text = describe(error)

    assert code == 70
    assert text.startswith("KeyError in test_cli_failure.py:")
    assert "secret" not in text


def test_bug_in_a_verb_makes_no_traceback(ar7: Ar7, monkeypatch: pytest.MonkeyPatch) -> None:
    ar7.fill()

    def listdir(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(archive7.Archive, "scandir", listdir)
    assert "a secret" not in ar7("ls", ar7.vault, code=70).output


# --- through the verbs


def test_missing_archive_names_the_remedy(ar7: Ar7) -> None:
    told = ar7("ls", "nowhere.ar7", code=3).stderr

    assert told == "ar7: nowhere.ar7: no such file; ar7 create nowhere.ar7 makes one\n"


def test_what_is_no_archive_is_left_alone(ar7: Ar7) -> None:
    (ar7.folder / "text").write_text("hello " * 10_000)
    (ar7.folder / "empty").write_bytes(b"")

    for name in ("text", "empty"):
        before = (ar7.folder / name).read_bytes()
        for verb, *args in (("ls",), ("rm", "x"), ("check",)):
            told = ar7(verb, name, *args, code=3).stderr
            assert told.startswith(f"ar7: {name}: not an Archive7 container")
        assert (ar7.folder / name).read_bytes() == before


def test_folder_is_no_archive(ar7: Ar7) -> None:
    assert "directory" in ar7("ls", ar7.folder, code=3).stderr


def test_cut_archive_is_damaged(ar7: Ar7) -> None:
    ar7.fill()
    ar7.is_damaged = True
    os.truncate(ar7.vault, 20_000)

    assert "damaged" in ar7("ls", ar7.vault, code=1).stderr


def test_second_writer_is_told_to_wait(ar7: Ar7) -> None:
    ar7.fill()

    with ar7.opened("r+"):
        result = ar7.process("mkdir", ar7.vault, "x")
        reader = ar7.process("ls", ar7.vault)

    assert result.returncode == 3
    assert result.stderr.decode() == (
        f"ar7: {ar7.vault}: in use: another program is writing to it; wait until it is done\n"
    )
    assert reader.returncode == 0, "a reader is not kept out"


def test_damaged_file_is_named_and_nothing_of_it_comes_out(ar7: Ar7) -> None:
    ar7.fill()
    ar7.is_damaged = True
    with ar7.opened() as archive:
        size = archive.info().size
    data = bytearray(ar7.vault.read_bytes())
    for offset in range(size - 4096 * 24, size, 512):
        data[offset] ^= 1
    ar7.vault.write_bytes(data)

    told = ar7("cat", ar7.vault, "dir/b.bin", code=1)

    assert "damaged" in told.stderr
    assert "ar7 check" in told.stderr


def test_kdf_that_costs_too_much_names_the_option(ar7: Ar7) -> None:
    secret = {"ARCHIVE7_PASSWORD": "p", "ARCHIVE7_KEY_FILE": None}
    archive7.open(ar7.vault, "x", key=KEY, password="p", kdf=archive7.KdfCost(65536, 2, 1)).close()

    told = ar7("ls", ar7.vault, "--max-kdf-memory", 32, code=3, env=secret).stderr

    assert "--max-kdf-memory" in told
    ar7("ls", ar7.vault, "--max-kdf-memory", 64, env=secret)


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("ls",),
        ("ls", "--nonsense", "x"),
        ("cat", "x"),
        ("create", "x", "--suite", "rot13"),
        ("create", "x", "--kdf-memory", "1"),
        ("check", "x", "--level", "deep"),
        ("add", "x"),
        ("mv", "x", "y"),
        ("demo", "--folder", "nowhere"),
    ],
)
def test_wrong_use_is_one_line_that_names_the_help(ar7: Ar7, args: tuple[str, ...]) -> None:
    told = ar7(*args, code=2)

    assert told.stdout == ""
    assert "--help)" in told.stderr


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_stdout_that_is_full_is_no_traceback(ar7: Ar7) -> None:
    ar7.fill()

    with FULL.open("wb") as full:
        for args in (("ls", ar7.vault), ("cat", ar7.vault, "dir/b.bin")):
            done = ar7.start(*args, stdout=full, stderr=subprocess.PIPE)
            told = done.communicate(timeout=60)[1].decode()
            assert done.returncode == 1
            assert told == "ar7: No space left on device\n"


def test_without_click_and_rich_the_command_says_what_to_install(ar7: Ar7) -> None:
    # -S: no site-packages, as after `pip install archive7`
    for blocked in (["click"], ["rich"], ["click", "rich"]):
        code = (
            "import importlib.util, sys\n"
            f"sys.path.insert(0, {str(PACKAGE)!r})\n"
            "find = importlib.util.find_spec\n"
            f"importlib.util.find_spec = lambda name: None if name in {blocked} else find(name)\n"
            "from archive7.cli import main\n"
            "main(['ls'])\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert run.returncode == 2
        assert run.stderr == f"ar7: {' and '.join(blocked)} not found: pip install archive7[cli]\n"
