"""Host haven: rescued files in a folder of the host.

Owns the folder and the calls that write to it.  Promises: nothing is written outside of it or
through a link; no bits that give rights away; what the host refuses besides the data is told, not
raised.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

from .entry import Entry
from .errors import Archive7Error, ExistsError
from .extras import decode_extras
from .haven import Haven, Parts, host_text, numbered, safe_name
from .hostattributes import write_attributes

_MODE_MASK: Final = 0o777  # no setuid, setgid, sticky on the host
_ELSEWHERE: Final = "long-names"  # for what the host cannot have where it stood


class FolderHaven(Haven):
    """A folder that is new or empty.

    Args:
        note: told what the host refuses.

    Raises: ExistsError for a folder with something in it; OSError.
    """

    def __init__(self, target: str | os.PathLike[str], note: Callable[[str], object]) -> None:
        self._folder = Path(os.path.abspath(target))
        self._folder.mkdir(parents=True, exist_ok=True)
        if any(self._folder.iterdir()):
            message = "the folder is not empty: rescue writes to a new one"
            raise ExistsError(errno.EEXIST, message, os.fspath(target))
        self._note = note
        self._part = self._folder / f".ar7-{secrets.token_hex(8)}.part"
        self._file: BinaryIO | None = None
        self._directories: list[tuple[Path, Entry]] = []

    def begin(self) -> None:
        self._file = open(self._part, "xb", opener=_private)  # noqa: SIM115 - closed by settle

    def _open_file(self) -> BinaryIO:
        assert self._file is not None  # noqa: S101 - `begin` was called
        return self._file

    def write(self, offset: int, data: memoryview) -> None:
        file = self._open_file()
        if file.tell() != offset:
            file.seek(offset)
        file.write(data)

    def drop(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                file.close()
            self._part.unlink(missing_ok=True)

    def settle(self, parts: Parts, entry: Entry | None, length: int) -> tuple[str, Any]:
        file = self._open_file()
        file.truncate(length)
        file.flush()
        if entry is not None:
            self._dress(file.fileno() if os.name == "posix" else self._part, parts, entry)
        file.close()
        self._file = None
        try:
            target = self._vacant(parts)
            self._part.rename(target)
        except OSError:
            self._part.unlink(missing_ok=True)
            raise
        return self._shown(target), target

    def _dress(self, handle: int | Path, parts: Parts, entry: Entry) -> None:
        """Set attributes, mode and time; note what the host refuses."""
        lost: list[str] = []
        with contextlib.suppress(Archive7Error):
            file = handle if isinstance(handle, int) else os.fspath(handle)
            lost += write_attributes(file, decode_extras(entry.extra))
        try:
            os.chmod(handle, entry.mode & _MODE_MASK)
            os.utime(handle, ns=(entry.modified, entry.modified))
        except (OSError, OverflowError) as error:
            lost.append(f"without its mode and time: {error}")
        for reason in lost:
            self._note(f"/{'/'.join(parts[1:])}: {reason}")

    def link(self, first: Any, parts: Parts) -> str | None:
        target = self._vacant(parts)
        try:
            os.link(first, target, follow_symlinks=False)
        except (OSError, NotImplementedError):
            return None
        return self._shown(target)

    def symlink(self, parts: Parts, entry: Entry) -> None:
        target = self._vacant(parts)
        try:
            os.symlink(host_text(entry.target), target)
        except ValueError as error:  # a zero byte
            raise OSError(errno.EINVAL, str(error)) from None
        if os.utime in os.supports_follow_symlinks:
            with contextlib.suppress(OSError, OverflowError):
                times = (entry.modified, entry.modified)
                os.utime(target, ns=times, follow_symlinks=False)

    def directory(self, parts: Parts, entry: Entry | None) -> None:
        here = self._folder
        for part in parts:
            here = _folder_in(here, part)
        if entry is not None:
            self._directories.append((here, entry))

    def finish(self, report: str) -> None:
        self.drop()
        for path, entry in reversed(self._directories):  # now nothing is written there any more
            with contextlib.suppress(OSError, OverflowError):
                os.chmod(path, entry.mode & _MODE_MASK | 0o700)
                os.utime(path, ns=(entry.modified, entry.modified))
        (self._folder / "report.json").write_text(report, "utf-8", "backslashreplace")

    # --- names

    def _shown(self, target: Path) -> str:
        return target.relative_to(self._folder).as_posix()

    def _vacant(self, parts: Parts) -> Path:
        """A name for something new, with the folders above it, never through a link."""
        try:
            return self._vacant_in(parts)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return self._vacant_in((parts[0], _ELSEWHERE, parts[-1]))

    def _vacant_in(self, parts: Parts) -> Path:
        here = self._folder
        for part in parts[:-1]:
            here = _folder_in(here, part)
        for name in numbered(safe_name(parts[-1])):
            if not _is_taken(here / name):
                return here / name
        raise AssertionError


def _folder_in(here: Path, wanted: str) -> Path:
    """A folder that is no link, made where it is missing."""
    for name in numbered(safe_name(wanted)):
        folder = here / name
        if not _is_taken(folder):
            os.mkdir(folder)
        if folder.is_dir() and not folder.is_symlink():
            return folder
    raise AssertionError


def _is_taken(path: Path) -> bool:
    """Whether anything has this name, be it a link.  Raises OSError where it cannot be a name."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _private(path: str, flags: int) -> int:
    """Open so that only the user can read it until it has its mode."""
    return os.open(path, flags, 0o600)
