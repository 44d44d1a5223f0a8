"""Archives for tests: whatever is opened here is checked when the test is over."""

from __future__ import annotations

import hashlib
import io
import random
import stat
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import archive7
from archive7 import Archive, Finding
from archive7.errors import RecoveredWarning

KEY = bytes(range(32))


def open_archive(path: Any, mode: str = "r", **options: Any) -> Archive:
    """`archive7.open` with the test key, unless another secret is given."""
    if not {"key", "password"} & options.keys():
        options["key"] = KEY
    return archive7.open(path, mode, **options)


def digest(path: Path) -> str:
    """SHA-256 of a file of the host."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def errors_of(archive: Archive, level: str = "full") -> list[Finding]:
    """What `check` finds beyond notes."""
    return [finding for finding in archive.check(level) if finding.severity != "note"]


def assert_sound(archive: Archive) -> None:
    """Check finds nothing, on either level."""
    for level in ("full", "quick"):
        found = errors_of(archive, level)
        assert not found, f"{level}: {found}"


Tree = dict[str, tuple[str, object, int]]


def tree_of(archive: Archive, top: str = "/") -> Tree:
    """All that stands in an archive: path -> (kind, content, permission bits)."""
    found: Tree = {}
    for entry in archive.scandir(top):
        status = entry.stat(follow_symlinks=False)
        mode = stat.S_IMODE(status.st_mode)
        name = entry.path.lstrip("/")
        if entry.is_symlink():
            found[name] = ("link", archive.readlink(entry.path), mode)
        elif entry.is_dir():
            found[name] = ("directory", None, mode)
            found |= tree_of(archive, entry.path)
        else:
            data = archive.read_bytes(entry.path)
            assert status.st_size == len(data), entry.path
            found[name] = ("file", data, mode)
    return found


class Vaults:
    """Opens archives in one folder; closes and checks every one of them at the end.

    Attributes:
        damaged: paths whose archive the test has damaged on purpose: not checked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: set[Path] = set()
        self._secrets: dict[Path, dict[str, Any]] = {}
        self._open: list[Archive] = []

    def path(self, name: str = "vault.ar7") -> Path:
        """Where an archive stands."""
        return self.folder / name

    def open(self, mode: str = "a", name: str = "vault.ar7", **options: Any) -> Archive:
        """Open or make an archive."""
        archive = open_archive(self.path(name), mode, **options)
        kept = {k: v for k, v in options.items() if k in ("key", "password")}
        self._secrets[self.path(name)] = kept
        self._open.append(archive)
        return archive

    def memory(self, **options: Any) -> Archive:
        """A new archive in memory."""
        archive = open_archive(io.BytesIO(), "x", **options)
        self._open.append(archive)
        return archive

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for archive in self._open:
            if not archive.closed and kind is None and Path(archive.name) not in self.damaged:
                if not archive.in_transaction:
                    assert_sound(archive)
            archive.close()
        if kind is not None:
            return
        for path, secret in self._secrets.items():
            if path.exists() and path not in self.damaged:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RecoveredWarning)
                    with open_archive(path, "r", **secret) as archive:
                        assert_sound(archive)


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that no two places share."""
    return random.Random(seed).randbytes(size)
