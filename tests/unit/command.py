"""The command `ar7` for tests: in this process, in one of its own, and at a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click.testing

import archive7
from archive7.cli.program import program

KEY = bytes(range(32))
PASSWORD = "correct horse"
PACKAGE = Path(archive7.__file__).resolve().parent.parent
RUN = [sys.executable, "-m", "archive7"]
_SECRETS = (
    "ARCHIVE7_PASSWORD",
    "ARCHIVE7_KEY_FILE",
    "ARCHIVE7_IDENTITY_FILE",
    "ARCHIVE7_NEW_PASSWORD",
)


def default_interrupt() -> None:
    """In a child: Ctrl-C ends it, also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Ar7:
    """Runs `ar7` in a folder with a key file from the environment.

    Attributes:
        folder: current folder of all runs.
        vault: an archive that holds what `fill` puts in it; it is checked when the test is over.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vault = folder / "vault.ar7"
        self.key_file = folder / "vault.key"
        self.key_file.write_bytes(KEY)
        self.key_file.chmod(0o600)
        self.environment = {
            key: value for key, value in os.environ.items() if key not in _SECRETS
        } | {
            "ARCHIVE7_KEY_FILE": str(self.key_file),
            "PYTHONPATH": str(PACKAGE),
            "LANG": "C.UTF-8",
        }
        self.is_damaged = False

    def __call__(self, *args: object, code: int = 0, **options: Any) -> click.testing.Result:
        """Run in this process; the exit code must be `code`."""
        runner = click.testing.CliRunner()
        environment: dict[str, str | None] = dict.fromkeys(_SECRETS)
        environment |= self.environment | options.pop("env", {})
        with contextlib.chdir(self.folder):
            result = runner.invoke(program, [str(arg) for arg in args], env=environment, **options)
        said = f"{args}: {result.exit_code}\n{result.stdout}\n{result.stderr}"
        assert result.exit_code == code, said
        assert "Traceback" not in result.output
        if code not in (0, 1):
            assert result.stderr.startswith("ar7: "), said
            assert result.stderr.count("\n") == 1, said
        return result

    def json(self, *args: object, code: int = 0) -> dict[str, Any]:
        """Run with --json; return the document, which must be all of stdout."""
        found = json.loads(self(*args, "--json", code=code).stdout)
        assert isinstance(found, dict)
        return found

    def process(self, *args: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run in a process of its own."""
        return subprocess.run(
            [*RUN, *map(str, args)],
            cwd=self.folder,
            env=self.environment | options.pop("env", {}),
            capture_output=True,
            timeout=120,
            check=False,
            **options,
        )

    def start(self, *args: object, **options: Any) -> subprocess.Popen[bytes]:
        """Start a process of its own."""
        return subprocess.Popen(
            [*RUN, *map(str, args)],
            cwd=self.folder,
            env=self.environment,
            preexec_fn=default_interrupt,
            **options,
        )

    def fill(self) -> dict[str, bytes]:
        """Make the archive with a few files; return them."""
        files = {"/a.txt": b"hello\n", "/dir/b.bin": bytes(range(256)) * 100, "/dir/empty": b""}
        with archive7.open(self.vault, "x", key=KEY) as archive:
            archive.mkdir("/dir")
            for path, data in files.items():
                archive.write_bytes(path, data)
            archive.symlink("dir/b.bin", "/link")
        return files

    @contextlib.contextmanager
    def opened(self, mode: str = "r") -> Iterator[archive7.Archive]:
        """The archive, through the library."""
        with archive7.open(self.vault, mode, key=KEY) as archive:
            yield archive

    def finish(self) -> None:
        """Check what the test left behind."""
        if self.vault.exists() and not self.is_damaged:
            with self.opened() as archive:
                for level in ("quick", "full"):
                    found = [f for f in archive.check(level) if f.severity != "note"]
                    assert found == [], level
        assert [name for name in os.listdir(self.folder) if name.endswith((".part", ".tmp"))] == []


class Terminal:
    """A process at a terminal of its own: what it shows, and keys for it."""

    _START = (
        "import fcntl, sys, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from archive7.cli import main\n"
        "main()\n"
    )

    def __init__(self, ar7: Ar7, *args: object, stdout: int | None = None, **env: str) -> None:
        import termios

        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 120))
        environment = ar7.environment | {"TERM": "xterm-256color"} | env
        environment = {key: value for key, value in environment.items() if value}
        self.process = subprocess.Popen(
            [sys.executable, "-c", self._START, *map(str, args)],
            cwd=ar7.folder,
            env=environment,
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            start_new_session=True,
            preexec_fn=default_interrupt,  # CI may run with SIGINT ignored
        )
        os.close(slave)
        self.shown = ""

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Read until `text` is shown."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown!r}"
            assert self._read(), f"ended without {text!r}: {self.shown!r}"

    def type(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def end(self, seconds: float = 60) -> int:
        """Read to the end; return the exit code."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, f"does not end: {self.shown!r}"
        return self.process.wait(timeout=seconds)

    def _read(self) -> bool:
        """Read what comes within a second; False at the end."""
        if not select.select([self._master], [], [], 1)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says EIO when nobody holds the other side
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._master)
