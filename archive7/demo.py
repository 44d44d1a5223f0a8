"""Demonstration: a real folder goes into an encrypted archive and comes back.

Owns what `ar7 demo` and `make demo` run.  Uses the public API alone.  Promises: works in a
temporary folder and leaves nothing behind; tells True only if every byte was right.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import archive7

from . import Archive, UsageError, WrongKeyError

_SKIPPED: Final = {
    ".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".benchmarks", ".hypothesis", ".mypy_cache",
    ".pytest_cache", ".ruff_cache", "__pycache__", "build", "dist", "node_modules",
}  # fmt: skip
_CHUNK_SIZE: Final = 1 << 20  # bytes
_PATCH_SIZE: Final = 1000  # bytes
_MARKS: Final = ("setup.cfg", "pyproject.toml")  # what stands at the top of a project
_NAMES_SHOWN: Final = 12
_LARGE_SIZE: Final = 64_000_000  # bytes; enough that opening and closing a file do not count
_TELLING_SIZE: Final = 8  # bytes; a shorter name may stand in random bytes by chance


@dataclass
class _Demonstration:
    """One run: where things are, what was packed, what went wrong."""

    folder: Path
    vault: Path
    password: str
    digests: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())

    def require(self, is_right: bool, fault: str) -> None:
        """Note what is not as it should be."""
        if not is_right:
            self.faults.append(fault)
            print(f"     WRONG: {fault}")


def find_folder() -> str:
    """The tree of this project: the current folder, the one around the package, or the package."""
    package = Path(__file__).resolve().parent
    for folder in (Path.cwd(), *package.parents):
        is_ours = (folder / package.name / "__init__.py").is_file()
        if is_ours and all((folder / mark).is_file() for mark in _MARKS):
            return str(folder)
    return str(package)


def run(folder: str | os.PathLike[str]) -> bool:
    """Show everything with `folder`; tell whether all was right.

    Raises: UsageError if there is no file in it.
    """
    if not any(source.is_file() and not source.is_symlink() for source, _ in _walk(Path(folder))):
        raise UsageError(f"there is no file to pack in {folder}: choose another folder")
    with tempfile.TemporaryDirectory(prefix="archive7-demo-") as temporary:
        demonstration = _Demonstration(
            Path(folder).resolve(), Path(temporary, "demo.ar7"), secrets.token_urlsafe(12)
        )
        for step in (
            _pack, _list, _read_back, _overwrite, _reopen, _add_large, _check, _try_wrong_password,
        ):  # fmt: skip
            step(demonstration)
    if demonstration.faults:
        print(f"\n{len(demonstration.faults)} things were not right.")
        return False
    print("\nEverything was right.  The temporary folder is removed.")
    return True


# --- the steps


def _pack(demo: _Demonstration) -> None:
    print(f"\nPacking {demo.folder}\n   into {demo.vault}\n")
    begin = time.perf_counter()
    with archive7.open(demo.vault, "x", password=demo.password) as archive:
        opened = time.perf_counter()
        empty = demo.vault.stat().st_size
        with archive.transaction():
            for source, path in _walk(demo.folder):
                _pack_one(demo, archive, source, path)
    packed = time.perf_counter()
    _say(
        "packed", f"{len(demo.digests):,} files, {_size(demo.total)}", packed - opened, demo.total
    )
    print(f"     the password became a key in {opened - begin:.2f} s, slow on purpose")
    print(f"     the container has {_size(demo.vault.stat().st_size)}, {_size(empty)} when empty")
    print("     (what is not packed: .git, .venv, caches, build)")


def _walk(top: Path) -> Iterator[tuple[Path, str]]:
    """Yield what is to be packed with its path in the archive, folders first."""
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        here = Path(folder)
        for name in sorted([*folders, *names]):
            yield here / name, posixpath.join("/", *(here / name).relative_to(top).parts)


def _pack_one(demo: _Demonstration, archive: Archive, source: Path, path: str) -> None:
    status = source.lstat()
    if stat.S_ISLNK(status.st_mode):
        archive.symlink(os.readlink(source), path)
        return
    if stat.S_ISDIR(status.st_mode):
        archive.mkdir(path)
        return
    if not stat.S_ISREG(status.st_mode):
        return
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as origin, archive.open(path, "wb") as file:
        # one byte more than it has: no buffer of a chunk for each small file
        while chunk := origin.read(min(_CHUNK_SIZE, status.st_size + 1)):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    archive.chmod(path, stat.S_IMODE(status.st_mode))
    archive.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    demo.digests[path], demo.sizes[path] = digest.hexdigest(), size


def _list(demo: _Demonstration) -> None:
    with archive7.open(demo.vault, password=demo.password) as archive:
        begin = time.perf_counter()
        found = {
            posixpath.join(folder, name)
            for folder, _, names in archive.walk("/")
            for name in names
            if not archive.islink(posixpath.join(folder, name))
        }
        seconds = time.perf_counter() - begin
        _say("listed", f"{len(found):,} files", seconds)
        demo.require(found == set(demo.digests), "the names are not those that were packed")
        for name in archive.listdir("/")[:_NAMES_SHOWN]:
            status = archive.lstat(f"/{name}")
            size = "" if archive.isdir(f"/{name}") else f"{status.st_size:,}"
            print(f"     {stat.filemode(status.st_mode)} {size:>10}  {name}")
        rest = len(archive.listdir("/")) - _NAMES_SHOWN
        if rest > 0:
            print(f"     and {rest} more")


def _read_back(demo: _Demonstration) -> None:
    with archive7.open(demo.vault, password=demo.password) as archive:
        seconds = _verify(demo, archive)
    _say("read back", "every file, SHA-256 compared", seconds, demo.total)


def _verify(demo: _Demonstration, archive: Archive) -> float:
    """Read every file and compare; return the seconds."""
    begin = time.perf_counter()
    for path, expected in demo.digests.items():
        digest = hashlib.sha256()
        with archive.open(path, "rb") as file:
            while chunk := file.read(min(_CHUNK_SIZE, demo.sizes[path] + 1)):
                digest.update(chunk)
        demo.require(digest.hexdigest() == expected, f"{path} differs from its source")
    return time.perf_counter() - begin


def _overwrite(demo: _Demonstration) -> None:
    path = max(demo.sizes, key=lambda path: demo.sizes[path])
    size = demo.sizes[path]
    patch = secrets.token_bytes(min(_PATCH_SIZE, size))
    offset = (size - len(patch)) // 2
    begin = time.perf_counter()
    with archive7.open(demo.vault, "r+", password=demo.password) as archive:
        opened = time.perf_counter()
        before = bytearray(archive.read_bytes(path))
        with archive.open(path, "r+b") as file:
            file.seek(offset)
            file.write(patch)
        archive.sync()
        done = time.perf_counter()
    before[offset : offset + len(patch)] = patch
    demo.digests[path] = hashlib.sha256(before).hexdigest()
    _say("overwrote", f"{len(patch):,} bytes in the middle of one file", done - opened)
    print(f"     {path}, {_size(size)}")
    print(f"     opening took {opened - begin:.2f} s, nearly all for the password")


def _reopen(demo: _Demonstration) -> None:
    with archive7.open(demo.vault, password=demo.password) as archive:
        seconds = _verify(demo, archive)
    _say("reopened", "every file compared, the new middle too", seconds, demo.total)


def _add_large(demo: _Demonstration) -> None:
    data = secrets.token_bytes(_LARGE_SIZE)
    path = "/large.bin"
    while path in demo.sizes:
        path += "_"
    with archive7.open(demo.vault, "r+", password=demo.password) as archive:
        begin = time.perf_counter()
        archive.write_bytes(path, data)
        archive.sync()
        written = time.perf_counter()
        _say("added", f"{_size(len(data))} of random bytes, synced", written - begin, len(data))
    with archive7.open(demo.vault, password=demo.password) as archive:
        begin = time.perf_counter()
        found = archive.read_bytes(path)
        seconds = time.perf_counter() - begin
    demo.require(found == data, f"{path} differs from what was written")
    demo.digests[path], demo.sizes[path] = hashlib.sha256(data).hexdigest(), len(data)
    _say("read back", "the same, compared", seconds, len(data))


def _check(demo: _Demonstration) -> None:
    with archive7.open(demo.vault, password=demo.password) as archive:
        begin = time.perf_counter()
        findings = list(archive.check())
        seconds = time.perf_counter() - begin
    size = demo.vault.stat().st_size
    _say("checked", f"every block and tree, {_findings(len(findings))}", seconds, size)
    for finding in findings:
        demo.require(finding.severity != "error", f"{finding.layer}: {finding.message}")


def _try_wrong_password(demo: _Demonstration) -> None:
    name = max((posixpath.basename(path) for path in demo.digests), key=len)
    before, is_readable = _scan(demo.vault, name.encode())
    begin = time.perf_counter()
    try:
        archive7.open(demo.vault, "r+", password=f"{demo.password}?").close()
    except WrongKeyError as error:
        _say("refused", "a wrong password", time.perf_counter() - begin)
        print(f"     WrongKeyError: {error}")
    else:
        demo.require(False, "a wrong password opened the archive")
    demo.require(
        _scan(demo.vault, b"")[0] == before, "an attempt with a wrong password changed the file"
    )
    print("     and nothing in the file was changed")
    if len(name) >= _TELLING_SIZE:
        demo.require(not is_readable, f"the name {name} can be read in the container")
        print(f"     the longest name is nowhere in the container:\n     {name}")


def _scan(path: Path, needle: bytes) -> tuple[bytes, bool]:
    """SHA-256 of a file, and whether `needle` stands in it."""
    digest, is_found, rest = hashlib.sha256(), False, b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_SIZE):
            digest.update(chunk)
            is_found = is_found or needle in rest + chunk
            rest = chunk[1 - len(needle) :]
    return digest.digest(), is_found


# --- words


def _say(what: str, text: str, seconds: float, size: int | None = None) -> None:
    speed = "" if size is None else f", {size / 1e6 / max(seconds, 1e-9):,.0f} MB/s"
    print(f"ok   {what:<11}{text}: {seconds:.3f} s{speed}")


def _findings(count: int) -> str:
    return "nothing found" if not count else f"{count} findings"


def _size(size: int) -> str:
    return f"{size / 1e6:,.2f} MB" if size >= 100_000 else f"{size:,} bytes"
