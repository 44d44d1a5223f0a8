"""Peers that are mounted: start the daemon, wait for the mount, unmount whatever happens."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MOUNT_SECONDS = 10.0
"""How long a daemon may take to mount, and to end after the unmount."""


def unmounter() -> str | None:
    """Return the program that unmounts a FUSE filesystem, or None."""
    return shutil.which("fusermount3") or shutil.which("fusermount")


def why_not_mountable(program: str) -> str | None:
    """Return None if `program` can be mounted here, else the reason why not."""
    if shutil.which(program) is None:
        return f"{program} is not installed"
    if unmounter() is None:
        return "fusermount3 is not installed"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    return None


def run(command: Sequence[str | Path]) -> str:
    """Run a short command and return its output; raise with that output if it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout.strip()} {done.stderr.strip()}")
    return done.stdout


@contextmanager
def mounted(command: Sequence[str], point: Path) -> Iterator[Path]:
    """Mount with the command, whose last argument `point` becomes, and unmount at the end.

    The daemon runs in the foreground of a session of its own, so that Ctrl-C does not reach it.
    """
    point.mkdir()
    log = point.parent / "daemon.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [*command, point],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for_mount(daemon, point, log)
        yield point
    finally:
        _unmount(daemon, point)


def _wait_for_mount(daemon: "subprocess.Popen[bytes]", point: Path, log: Path) -> None:
    deadline = time.monotonic() + MOUNT_SECONDS
    while not point.is_mount():
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"not mounted: {log.read_text(errors='replace').strip()[-300:]}")
        time.sleep(0.02)


def _unmount(daemon: "subprocess.Popen[bytes]", point: Path) -> None:
    program = unmounter()
    if program is not None and point.is_mount():
        done = subprocess.run([program, "-u", point], capture_output=True, check=False)
        if done.returncode:  # busy: detach it now, the kernel ends it with the last user
            subprocess.run([program, "-u", "-z", point], capture_output=True, check=False)
    try:
        daemon.wait(MOUNT_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.terminate()
        daemon.wait(MOUNT_SECONDS)
