"""`ar7` as a process: pipes, signals, a terminal, and what is left when it is interrupted."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.unit.command import RUN, Ar7, Terminal

LARGE = 8 << 30  # bytes, sparse: more than any machine adds before the signal comes


def test_module_is_the_command(ar7: Ar7) -> None:
    ar7.fill()

    run = ar7.process("ls", ar7.vault)

    assert (run.returncode, run.stdout, run.stderr) == (0, b"a.txt\ndir/\nlink\n", b"")


def test_binary_data_goes_through_pipes_unchanged(ar7: Ar7) -> None:
    ar7.fill()
    data = bytes(range(256)) * 20_000 + b"\r\n\x1a\x00"

    assert ar7.process("put", ar7.vault, "x", input=data).returncode == 0
    assert ar7.process("cat", ar7.vault, "x").stdout == data


def test_put_takes_a_slow_pipe(ar7: Ar7) -> None:
    ar7.fill()
    process = ar7.start("put", ar7.vault, "x", stdin=subprocess.PIPE)
    assert process.stdin is not None
    for part in (b"one ", b"two ", b"three"):
        process.stdin.write(part)
        process.stdin.flush()
        time.sleep(0.05)
    process.stdin.close()

    assert process.wait(60) == 0
    with ar7.opened() as archive:
        assert archive.read_bytes("/x") == b"one two three"


def test_put_does_not_take_a_pause_for_the_end(ar7: Ar7) -> None:
    ar7.fill()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    process = ar7.start("put", ar7.vault, "x", stdin=reading, stderr=subprocess.PIPE)
    os.close(reading)
    told = process.communicate(timeout=60)[1]
    os.close(writing)

    assert process.returncode == 1
    assert b"pipe it through cat" in told
    with ar7.opened() as archive:
        assert not archive.exists("/x")


def test_reader_that_goes_away_is_no_error(ar7: Ar7) -> None:
    ar7.fill()
    with ar7.opened("r+") as archive, archive.transaction():
        for number in range(5000):
            archive.write_bytes(f"/a name that is not short, number {number}", b"")

    for args in (
        ("ls", ar7.vault),
        ("ls", "--json", ar7.vault),
        ("cat", ar7.vault, *["link"] * 50),
    ):
        process = ar7.start(*args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""
        process.stderr.close()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_bug(ar7: Ar7, closed: str) -> None:
    ar7.fill()

    for verb in ("ls {}", "check {}", "put {} new", "put {} a.txt --from vault.key"):
        command = shlex.join([*RUN, *verb.format(ar7.vault).split()])
        run = subprocess.run(
            ["/bin/sh", "-c", f"exec {command} {closed}"],
            cwd=ar7.folder,
            env=ar7.environment,
            input=b"",
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert run.returncode in (0, 2)
        assert b"bug" not in run.stderr
        assert b"Traceback" not in run.stderr


def test_names_that_the_locale_cannot_show_are_escaped(ar7: Ar7) -> None:
    ar7.fill()
    with ar7.opened("r+") as archive:
        archive.write_bytes("/größe ☃", b"")

    run = ar7.process("ls", ar7.vault, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})

    assert run.returncode == 0
    assert b"gr\\xf6\\xdfe \\u2603\n" in run.stdout


def test_source_whose_name_is_not_utf8_is_left_out_and_named(ar7: Ar7) -> None:
    folder = ar7.folder / "source"
    folder.mkdir()
    (folder / "good").write_bytes(b"x")
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff")).write_bytes(b"x")
    except OSError:
        pytest.skip("the filesystem takes only UTF-8")
    ar7.fill()

    run = ar7.process("add", ar7.vault, "source", "--json")

    assert run.returncode == 1
    told = json.loads(run.stdout)
    assert told["files"] == 1
    assert "UTF-8" in told["skipped"][0]["reason"]


def test_nothing_but_the_report_when_stderr_is_no_terminal(ar7: Ar7) -> None:
    (ar7.folder / "source").mkdir()
    (ar7.folder / "source" / "file").write_bytes(bytes(3_000_000))

    for args in (
        ("create", ar7.vault, "source"),
        ("add", ar7.vault, "source"),
        ("extract", ar7.vault, "out"),
        ("check", ar7.vault),
    ):
        run = ar7.process(*args)
        assert (run.returncode, run.stderr) == (0, b"")
        assert run.stdout.count(b"\n") == 1


# --- at a terminal


def test_bar_is_shown_at_a_terminal_and_taken_away(ar7: Ar7) -> None:
    (ar7.folder / "source").mkdir()
    (ar7.folder / "source" / "file").write_bytes(os.urandom(3_000_000))

    for words, args in {
        "adding source": ("create", ar7.vault, "source"),
        "adding file": ("add", ar7.vault, "source/file"),
        "extracting": ("extract", ar7.vault, "out"),
        "checking": ("check", ar7.vault),
    }.items():
        with Terminal(ar7, *args) as terminal:
            assert terminal.end() == 0
        assert words in terminal.shown
        assert "━" in terminal.shown
        assert "\x1b[2K" in terminal.shown, "the bar is not taken away"


def test_no_bar_when_quiet(ar7: Ar7) -> None:
    (ar7.folder / "file").write_bytes(os.urandom(3_000_000))

    with Terminal(ar7, "create", "-q", ar7.vault, "file") as terminal:
        assert terminal.end() == 0
    assert terminal.shown == ""


def test_report_is_whole_when_only_stderr_is_a_terminal(ar7: Ar7) -> None:
    ar7.fill()

    with (
        (ar7.folder / "report").open("wb") as report,
        Terminal(ar7, "check", ar7.vault, "--json", stdout=report.fileno()) as terminal,
    ):
        assert terminal.end() == 0
    assert json.loads((ar7.folder / "report").read_bytes())["is_sound"] is True
    assert "checking" in terminal.shown
    assert "is_sound" not in terminal.shown


# --- Ctrl-C


def large(ar7: Ar7) -> Path:
    path = ar7.folder / "large"
    with path.open("wb") as file:
        file.truncate(LARGE)
    return path


def wait_until_larger(process: subprocess.Popen[bytes], path: Path, size: int) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < size:
        assert process.poll() is None, "ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.kill
def test_interrupted_add_changes_nothing(ar7: Ar7) -> None:
    files = ar7.fill()
    large(ar7)
    process = ar7.start("add", ar7.vault, "large", stderr=subprocess.PIPE)
    wait_until_larger(process, ar7.vault, 20 << 20)

    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1].decode()

    assert process.returncode == 130
    assert told == f"ar7: interrupted: {ar7.vault} is as it was\n"
    with ar7.opened() as archive:
        assert archive.recovered is None, "it was not closed whole"
        assert archive.listdir("/") == ["a.txt", "dir", "link"]
        assert archive.read_bytes("/dir/b.bin") == files["/dir/b.bin"]


@pytest.mark.kill
def test_interrupted_create_leaves_no_archive(ar7: Ar7) -> None:
    large(ar7)
    process = ar7.start("create", ar7.vault, "large", stderr=subprocess.PIPE)
    wait_until_larger(process, ar7.vault, 20 << 20)

    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1].decode()

    assert (process.returncode, told) == (130, f"ar7: interrupted: {ar7.vault} was not made\n")
    assert sorted(os.listdir(ar7.folder)) == ["large", "vault.key"]


@pytest.mark.kill
def test_put_that_waits_is_interrupted_at_once(ar7: Ar7) -> None:
    ar7.fill()
    process = ar7.start("put", ar7.vault, "a.txt", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    size = ar7.vault.stat().st_size
    process.stdin.write(bytes(8 << 20))
    process.stdin.flush()
    wait_until_larger(process, ar7.vault, size + (4 << 20))

    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    process.stdin.close()
    assert process.stderr is not None
    process.stderr.close()

    with ar7.opened() as archive:
        assert archive.read_bytes("/a.txt") == b"hello\n"


@pytest.mark.kill
def test_ctrl_c_at_a_terminal_takes_the_bar_away(ar7: Ar7) -> None:
    ar7.fill()
    large(ar7)

    with Terminal(ar7, "add", ar7.vault, "large") as terminal:
        terminal.wait_for("adding large")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.shown
    assert "\x1b[?25h" in terminal.shown, "the cursor stays hidden"
    assert "as it was" in terminal.shown


@pytest.mark.kill
def test_killed_add_leaves_what_was_committed(ar7: Ar7) -> None:
    files = ar7.fill()
    large(ar7)
    process = ar7.start("add", ar7.vault, "large")
    wait_until_larger(process, ar7.vault, 20 << 20)

    process.kill()
    process.wait(60)

    assert ar7("cat", ar7.vault, "dir/b.bin").stdout_bytes == files["/dir/b.bin"]
    ar7("mkdir", ar7.vault, "goes on")
