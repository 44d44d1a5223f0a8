"""The host as the other side: real directories and files, as a process of its own sees them.

That process has a temporary folder as its root directory (`chroot`), so that absolute paths,
absolute links and ``..`` at the top mean what they mean in an archive.  It is root, or root in a
user namespace; permissions never refuse anything, as in an archive, where they are only kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import pickle
import shutil
import stat
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from tests.property.machine.bin import Bin
from tests.property.machine.calls import CALLS, Outcome, outcome
from tests.property.machine.image import Folder, Image

_CLONE_NEWUSER = 0x10000000


class Host(Bin):
    """The names of `Archive`, on the host."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os.path if name in ("exists", "isfile", "isdir", "islink") else os, name)

    def __init__(self, folder: str) -> None:
        super().__init__(Folder(folder))
        self.images: list[Image] = []
        self.files: dict[int, Any] = {}
        os.umask(0o022)  # what the archive's modes stand for
        os.chroot(os.path.join(folder, "root"))
        os.chdir("/")

    def reset(self) -> None:
        """Begin anew, with an empty root directory."""
        self.close_files()
        self.images.clear()
        self.forget_deletions()
        self.folder.clear()

    def hidden_names(self, inode: int) -> int:
        """How many names of a file the archive would not count."""
        return int(inode in self.folder.attic)

    def paths(self) -> list[str]:
        """Everything from the root directory."""
        return [path[4:] or "/" for path, _ in self.folder.paths() if path.startswith("root")]

    # --- files

    @staticmethod
    def open(path: str, mode: str, buffering: int = -1) -> Any:
        return open(path, mode, buffering)

    @staticmethod
    def read_bytes(path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    @staticmethod
    def write_bytes(path: str, data: bytes) -> int:
        with open(path, "wb") as file:
            return file.write(data)

    @staticmethod
    def link(source: str, target: str) -> None:
        os.link(source, target, follow_symlinks=False)

    def keep(self, number: int, file: Any, path: str) -> None:
        """Remember an open file, and a descriptor that may always read and write it."""
        self.files[number] = file
        self.spares[number] = os.open(path, os.O_RDWR)

    def close_files(self) -> None:
        """Close all that is open, in order of opening."""
        for number in sorted(self.spares):
            self.drop(number)

    def drop(self, number: int) -> None:
        """Close a file."""
        file = self.files.pop(number, None)
        if file is not None:
            file.close()
        os.close(self.spares.pop(number))

    # --- what is bent to the archive's ways (see DIFFERENCES)

    def makedirs(self, path: str, mode: int, exist_ok: bool) -> None:
        """What fails half-way leaves nothing behind."""
        before = set(self.paths())
        try:
            os.makedirs(path, mode, exist_ok)
        except OSError:
            for made in sorted(set(self.paths()) - before, reverse=True):
                os.rmdir(made)
            raise

    def copy(self, source: str, target: str, follow: bool) -> str:
        """`shutil.copy2` or `copytree` with the errors of the calls that they make."""
        status = os.stat(source, follow_symlinks=follow)
        if stat.S_ISDIR(status.st_mode):
            return self._copy_tree(source, target)
        if os.path.isdir(target):
            target = os.path.join(target.rstrip("/") or "/", os.path.basename(source))
        if stat.S_ISLNK(status.st_mode):
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        elif os.path.exists(target) and os.path.samefile(source, target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        try:
            shutil.copyfile(source, target, follow_symlinks=follow)
            shutil.copystat(source, target, follow_symlinks=follow)
        except OSError as error:
            if error.errno is None:
                os.open(target, os.O_WRONLY | os.O_CREAT)  # fails for the right reason
            name = error.filename if error.filename2 is None else error.filename2
            raise OSError(error.errno, error.strerror, name) from None
        if not stat.S_ISLNK(status.st_mode):
            for name in set(os.listxattr(target)) - set(os.listxattr(source)):
                os.removexattr(target, name)
        return target

    @staticmethod
    def _copy_tree(source: str, target: str) -> str:
        os.mkdir(target)  # copytree makes what is missing above it, too
        if os.path.realpath(target).startswith(os.path.realpath(source).rstrip("/") + "/"):
            os.rmdir(target)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), source)
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        return target

    # --- images

    def begin(self) -> int:
        """Take an image; return how many there are."""
        image = self.folder.capture(self.spares)
        image.notes = self.deletions_now()
        self.images.append(image)
        return len(self.images)

    def keep_changes(self) -> int:
        """Forget the last image; return how many there are."""
        self.images.pop()
        self._rest()
        return len(self.images)

    def undo(self, to: int, close: bool) -> list[int]:
        """Go back to image number `to`; return the files that are closed by that.

        Args: close: all of them, after what is in their buffers was written.
        """
        if close:
            self.close_files()
        image = self.images[to]
        del self.images[to:]
        gone = [
            number
            for number, spare in self.spares.items()
            if number not in image.orphans and os.fstat(spare).st_ino not in image.things
        ]
        made = self.folder.restore(image, self.spares)
        for earlier in self.images:
            earlier.moved(made)
            earlier.notes = self.moved_deletions(earlier.notes, made)
        self.take_deletions(self.moved_deletions(image.notes, made))
        for number in gone:
            with contextlib.suppress(OSError):
                self.drop(number)
        self._rest()
        return sorted(gone)

    def _rest(self) -> None:
        if not self.images:
            self.folder.empty_attic()


# --- the process


def serve(folder: str) -> None:
    """Answer calls until the input ends."""
    try:
        if os.geteuid():
            _become_root()
        os.listxattr(folder)
        side = Host(folder)
        own = {name: functools.partial(outcome, getattr(side, name)) for name in _OWN}
        ready: Outcome = ("value", None)
    except OSError as error:
        ready = ("refused", str(error))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    _send(sink, ready)
    while ready[0] == "value":
        try:
            name, args = pickle.load(source)
        except EOFError:
            return
        try:
            answer = own[name](*args) if name in own else outcome(CALLS[name], side, *args)
        except Exception:  # noqa: BLE001 - a mistake of the test, to be told where it runs
            answer = ("broken", traceback.format_exc())
        _send(sink, answer)


_OWN = ("reset", "begin", "keep_changes", "undo", "paths", "close_files", "drop")


def _send(sink: BinaryIO, answer: Outcome) -> None:
    pickle.dump(answer, sink)
    sink.flush()


def _become_root() -> None:
    """Enter a user namespace in which this user is root."""
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


class HostProcess:
    """The process of the other side, as the test sees it.

    Attributes:
        refusal: why it cannot run here, or None.
    """

    def __init__(self, folder: Path) -> None:
        top = Path(__file__).resolve().parents[3]
        code = (
            f"import sys; sys.path.append({str(top)!r}); "
            f"from tests.property.machine.host import serve; serve({str(folder)!r})"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        answer = self._receive()
        self.refusal = None if answer[0] == "value" else answer[1]

    def _receive(self) -> Outcome:
        assert self._process.stdout is not None
        answer: Outcome = pickle.load(self._process.stdout)
        return answer

    def call(self, name: str, *args: object) -> Outcome:
        """What a call gives there."""
        assert self._process.stdin is not None
        pickle.dump((name, args), self._process.stdin)
        self._process.stdin.flush()
        answer = self._receive()
        assert answer[0] != "broken", answer[1]
        return answer

    def value(self, name: str, *args: object) -> Any:
        """What a call gives that must not fail."""
        answer = self.call(name, *args)
        assert answer[0] == "value", (name, answer)
        return answer[1]

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
