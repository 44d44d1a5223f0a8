"""Path objects: `archive / "notes" / "today.txt"`, with the methods of `pathlib.Path`.

Owns the pair of an archive and a path.  Everything that looks or changes is left to the archive,
everything lexical to `PurePosixPath`.  Promises: names, results and exceptions of `pathlib`; one
commit for each change; no `__fspath__`, so that nothing takes it for a path of the host.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, Protocol, TextIO, overload

from .errors import PathError, UsageError
from .paths import PathLike, path_text

try:
    import grp
    import pwd
except ImportError:  # Windows: numbers have no names
    grp = pwd = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from typing import TypeVar

    from _typeshed import OpenBinaryMode, OpenTextMode, StrPath
    from typing_extensions import Buffer

    T = TypeVar("T")

_MAX_LINKS: Final = 40  # as Linux
_FILE_MODE: Final = 0o644
_DIRECTORY_MODE: Final = 0o755


class Addressed(Protocol):
    """What a path object needs of the archive that it points into."""

    def open(
        self, path: PathLike, mode: str, buffering: int = ..., encoding: str | None = ...,
        errors: str | None = ..., newline: str | None = ..., /,
    ) -> IO[Any]: ...  # fmt: skip
    def read_bytes(self, path: PathLike, /) -> bytes: ...
    def write_bytes(self, path: PathLike, data: Buffer, /) -> int: ...
    def listdir(self, path: PathLike, /) -> list[str]: ...
    def glob(self, pattern: PathLike, root: PathLike, /) -> Iterator[str]: ...
    def walk(
        self, top: PathLike, topdown: bool, onerror: Callable[[OSError], object] | None,
        followlinks: bool, /,
    ) -> Iterator[tuple[str, list[str], list[str]]]: ...  # fmt: skip
    def exists(self, path: PathLike, /) -> bool: ...
    def isfile(self, path: PathLike, /) -> bool: ...
    def isdir(self, path: PathLike, /) -> bool: ...
    def islink(self, path: PathLike, /) -> bool: ...
    def stat(self, path: PathLike, /, *, follow_symlinks: bool = ...) -> os.stat_result: ...
    def owners(self, path: PathLike, /) -> tuple[str, str]: ...
    def readlink(self, path: PathLike, /) -> str: ...
    def transaction(self) -> AbstractContextManager[object]: ...
    def mkdir(self, path: PathLike, mode: int, /) -> None: ...
    def remove(self, path: PathLike, /) -> None: ...
    def rmdir(self, path: PathLike, /) -> None: ...
    def rename(self, source: PathLike, target: PathLike, /) -> None: ...
    def symlink(self, target: PathLike, path: PathLike, /) -> None: ...
    def link(self, source: PathLike, target: PathLike, /) -> None: ...
    def chmod(self, path: PathLike, mode: int, /, *, follow_symlinks: bool = ...) -> None: ...
    def utime(self, path: PathLike, /) -> None: ...


@functools.total_ordering
class ArchivePath:
    """A path in an archive, as `pathlib.Path` is one on the host.  Made by ``archive / "name"``.

    Immutable.  A relative one comes from `relative_to` and `readlink` alone; where it is looked
    up, it is relative to ``/``.  Other paths are `str`, `PurePosixPath` or one of the same
    archive: one of another archive is a UsageError.  It is an `importlib.resources` Traversable.
    """

    __slots__ = ("_archive", "_path")

    def __init__(self, archive: Addressed, path: PathLike = "/") -> None:
        self._archive = archive
        text = str(path)
        if text.startswith("//"):  # its own root in POSIX, here the same one
            path = "/" + text.lstrip("/")
        self._path = PurePosixPath(path)

    def _at(self, path: StrPath) -> ArchivePath:
        """Another path in the same archive."""
        return ArchivePath(self._archive, PurePosixPath(path))

    def _plain(self, other: T | ArchivePath) -> T | PurePosixPath:
        """What the archive and `PurePosixPath` take.  Raises: UsageError."""
        if not isinstance(other, ArchivePath):
            return other
        if other._archive is not self._archive:
            raise UsageError(f"{other} stands in another archive: copy what it leads to")
        return other._path

    # --- text and comparison

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ArchivePath):
            return NotImplemented
        return self._archive is other._archive and self._path == other._path

    def __hash__(self) -> int:
        return hash((id(self._archive), self._path))

    def __lt__(self, other: ArchivePath) -> bool:
        if not isinstance(other, ArchivePath):
            return NotImplemented
        return self._path < other._path if self._archive is other._archive else NotImplemented

    def __reduce__(self) -> NoReturn:
        raise TypeError("a path in an archive cannot be pickled or copied: keep its str()")

    def as_posix(self) -> str:
        """The path as text."""
        return str(self._path)

    # --- parts

    @property
    def parts(self) -> tuple[str, ...]:
        """The names, ``/`` first where the path is absolute."""
        return self._path.parts

    @property
    def parent(self) -> ArchivePath:
        """The path without its last name."""
        return self._at(self._path.parent)

    @property
    def parents(self) -> tuple[ArchivePath, ...]:
        """The paths above, nearest first."""
        return tuple(self._at(path) for path in self._path.parents)

    @property
    def name(self) -> str:
        """The last name; empty for ``/``."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The last name without its suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """The last suffix of the last name with its dot, or an empty string."""
        return self._path.suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of the last name."""
        return self._path.suffixes

    # --- other paths

    def __truediv__(self, other: StrPath | ArchivePath) -> ArchivePath:
        try:
            return self.joinpath(other)
        except TypeError:
            return NotImplemented

    def __rtruediv__(self, other: PathLike) -> ArchivePath:
        # A path of the host on the left means a file of the host: `host / str(path)`.
        if isinstance(other, Path):
            return NotImplemented
        return self._at(other / self._path)

    def joinpath(self, *others: StrPath | ArchivePath) -> ArchivePath:
        """Go on from here; an absolute path goes on from ``/``."""
        plain: list[StrPath] = [self._plain(other) for other in others]
        return self._at(self._path.joinpath(*plain))

    def with_name(self, name: str) -> ArchivePath:
        """The path with another last name.  Raises: ValueError."""
        return self._at(self._path.with_name(name))

    def with_stem(self, stem: str) -> ArchivePath:
        """The path with another last name, same suffix.  Raises: ValueError."""
        return self._at(self._path.with_stem(stem))

    def with_suffix(self, suffix: str) -> ArchivePath:
        """The path with another suffix, or none for an empty string.  Raises: ValueError."""
        return self._at(self._path.with_suffix(suffix))

    def relative_to(self, other: StrPath | ArchivePath) -> ArchivePath:
        """The way from `other` to here.  Raises: ValueError if this is not below it."""
        return self._at(self._path.relative_to(self._plain(other)))

    def is_relative_to(self, other: StrPath | ArchivePath) -> bool:
        """Whether this is `other` or below it; nothing is below a path of another archive."""
        if isinstance(other, ArchivePath) and other._archive is not self._archive:
            return False
        return self._path.is_relative_to(self._plain(other))

    def is_absolute(self) -> bool:
        """Whether the path begins with ``/``."""
        return self._path.is_absolute()

    def match(self, pattern: str) -> bool:
        """Whether a pattern matches, from the right if it is relative."""
        return self._path.match(pattern)

    def resolve(self, strict: bool = False) -> ArchivePath:
        """The absolute path without links, ``.`` and ``..``.

        What is missing, and what goes round in circles, is taken as it stands unless `strict`.
        Raises: if `strict`, what `stat` raises.
        """
        if strict:
            self.stat()
        here, rest, links = PurePosixPath("/"), list(reversed(self._path.parts)), 0
        while rest:
            part = rest.pop()
            target = self._target(here / part) if links < _MAX_LINKS else None
            if part == "..":
                here = here.parent
            elif target is None:
                here /= part
            else:
                links += 1
                rest += reversed(target.parts)
        return self._at(here)

    def _target(self, path: PurePosixPath) -> PurePosixPath | None:
        """Where a link leads; None for anything else, or nothing."""
        try:
            return PurePosixPath(self._archive.readlink(path))
        except PathError:
            return None

    # --- files

    @overload
    def open(
        self, mode: OpenTextMode = "r", buffering: int = -1,
        encoding: str | None = None, errors: str | None = None, newline: str | None = None,
    ) -> TextIO: ...  # fmt: skip

    @overload
    def open(
        self, mode: OpenBinaryMode, buffering: int = -1,
        encoding: None = None, errors: None = None, newline: None = None,
    ) -> BinaryIO: ...  # fmt: skip

    @overload
    def open(
        self, mode: str, buffering: int = -1,
        encoding: str | None = None, errors: str | None = None, newline: str | None = None,
    ) -> IO[Any]: ...  # fmt: skip

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        r"""Open the file as `Archive.open`; text is UTF-8 with newline ``\n`` unless given.

        Raises: FileNotFoundError, FileExistsError, IsADirectoryError, ValueError as `open`.
        """
        return self._archive.open(self._path, mode, buffering, encoding, errors, newline)

    def read_bytes(self) -> bytes:
        """All bytes of the file."""
        return self._archive.read_bytes(self._path)

    def write_bytes(self, data: Buffer) -> int:
        """Make or replace the file; return the number of bytes."""
        return self._archive.write_bytes(self._path, data)

    def read_text(
        self, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        r"""All text of the file; UTF-8 with newline ``\n`` unless given."""
        data = io.BytesIO(self._archive.read_bytes(self._path))
        return _text(data, encoding, errors, newline).read()

    def write_text(
        self,
        data: str,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> int:
        r"""Make or replace the file with text; return the number of characters.

        UTF-8 with newline ``\n`` unless given.  Text that cannot be encoded changes nothing.
        """
        encoded = io.BytesIO()
        text = _text(encoded, encoding, errors, newline)
        text.write(data)
        text.detach()
        self._archive.write_bytes(self._path, encoded.getvalue())
        return len(data)

    def touch(self, mode: int = _FILE_MODE, exist_ok: bool = True) -> None:
        """Make an empty file, or set the time of modification of what is there.

        Args: mode: permission bits of a new file, as they are: there is no umask.
        Raises: FileExistsError unless `exist_ok`.
        """
        archive = self._archive
        with archive.transaction():
            if exist_ok and archive.exists(self._path):
                archive.utime(self._path)
                return
            archive.open(self._path, "ab" if exist_ok else "xb").close()
            if mode != _FILE_MODE:
                archive.chmod(self._path, mode)

    # --- directories

    def iterdir(self) -> Iterator[ArchivePath]:
        """The paths in the directory as it is now, in order of their names."""
        return (self._at(self._path / name) for name in self._archive.listdir(self._path))

    def glob(self, pattern: PathLike) -> Iterator[ArchivePath]:
        """The paths below that match a relative pattern, as `Archive.glob`.

        Raises: ValueError for an empty pattern, NotImplementedError for an absolute one.
        """
        if str(pattern).startswith("/"):
            raise NotImplementedError("Non-relative patterns are unsupported")
        return map(self._at, self._archive.glob(pattern, self._path))

    def rglob(self, pattern: PathLike) -> Iterator[ArchivePath]:
        """The paths at any depth below that match a relative pattern."""
        if str(pattern).startswith("/"):
            raise NotImplementedError("Non-relative patterns are unsupported")
        return self.glob(f"**/{pattern}")

    def walk(
        self,
        top_down: bool = True,
        on_error: Callable[[OSError], object] | None = None,
        follow_symlinks: bool = False,
    ) -> Iterator[tuple[ArchivePath, list[str], list[str]]]:
        """Walk the tree: (path, names of directories, names of the others).

        A link to a directory is one of the others unless `follow_symlinks`.  Names taken out of
        the list of directories are left out if `top_down`.
        """
        found = self._archive.walk(self._path, top_down, on_error, follow_symlinks)
        for top, folders, others in found:
            here = self._at(top)
            links = {n for n in folders if self._archive.islink(here._path / n)}
            if links and not follow_symlinks:
                folders[:] = [name for name in folders if name not in links]
                others[:] = sorted([*others, *links])
            yield here, folders, others

    def mkdir(
        self, mode: int = _DIRECTORY_MODE, parents: bool = False, exist_ok: bool = False
    ) -> None:
        """Make a directory, in one commit with the missing ones above if `parents`.

        Args: mode: permission bits of the last one, as they are: there is no umask.
        Raises: FileNotFoundError unless `parents`, FileExistsError unless `exist_ok`.
        """
        try:
            self._archive.mkdir(self._path, mode)
        except FileNotFoundError:
            if not parents:
                raise
            missing = list(takewhile(lambda path: not path.exists(), self.parents))
            with self._archive.transaction():
                for path in reversed(missing):
                    path.mkdir(exist_ok=True)
                self.mkdir(mode, exist_ok=exist_ok)
        except OSError:
            if not (exist_ok and self.is_dir()):
                raise

    def rmdir(self) -> None:
        """Remove an empty directory."""
        self._archive.rmdir(self._path)

    # --- what is there

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether the path leads to something; False for a dangling link that is followed."""
        return self._archive.exists(self._path) or (not follow_symlinks and self.is_symlink())

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether the path leads to a file."""
        return self._archive.isfile(self._path) and (follow_symlinks or not self.is_symlink())

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether the path leads to a directory."""
        return self._archive.isdir(self._path) and (follow_symlinks or not self.is_symlink())

    def is_symlink(self) -> bool:
        """Whether the path is a symbolic link."""
        return self._archive.islink(self._path)

    def samefile(self, other: PathLike | ArchivePath) -> bool:
        """Whether both paths lead to the same entry.  Raises: FileNotFoundError."""
        return os.path.samestat(self.stat(), self._archive.stat(self._plain(other)))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """As `Archive.stat`."""
        return self._archive.stat(self._path, follow_symlinks=follow_symlinks)

    def lstat(self) -> os.stat_result:
        """As `Archive.lstat`."""
        return self.stat(follow_symlinks=False)

    def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Set the permission bits.  They are kept, not enforced."""
        self._archive.chmod(self._path, mode, follow_symlinks=follow_symlinks)

    def owner(self) -> str:
        """Name of the user: the one that was kept, else the host's name for the number.

        Raises: KeyError where the host knows none, NotImplementedError where it has none.
        """
        kept = self._archive.owners(self._path)[0]
        if not kept and pwd is None:
            raise NotImplementedError("the archive keeps a number; this system has no names")
        return kept or pwd.getpwuid(self.stat().st_uid).pw_name

    def group(self) -> str:
        """Name of the group, as `owner`."""
        kept = self._archive.owners(self._path)[1]
        if not kept and grp is None:
            raise NotImplementedError("the archive keeps a number; this system has no names")
        return kept or grp.getgrgid(self.stat().st_gid).gr_name

    # --- names

    def rename(self, target: PathLike | ArchivePath) -> ArchivePath:
        """Rename or move, replacing the target as POSIX does; return the new path.

        A relative target is relative to ``/``.
        """
        plain: PathLike = self._plain(target)
        self._archive.rename(self._path, plain)
        return self._at(PurePosixPath("/", plain))

    replace = rename

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove a file or symbolic link.  An open file goes on until it is closed."""
        try:
            self._archive.remove(self._path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def symlink_to(
        self, target: PathLike | ArchivePath, target_is_directory: bool = False
    ) -> None:
        """Make this a symbolic link; the last argument is for compatibility only.

        The target is kept as given: a relative one leads on from the directory of the link.
        """
        self._archive.symlink(path_text(self._plain(target)), self._path)

    def hardlink_to(self, target: PathLike | ArchivePath) -> None:
        """Make this another name of an existing file."""
        self._archive.link(self._plain(target), self._path)

    def readlink(self) -> ArchivePath:
        """Where a symbolic link leads, as it was given: ``path.parent / path.readlink()``.

        Raises: PathError (EINVAL) for anything else.
        """
        return self._at(self._archive.readlink(self._path))


def _text(
    buffer: io.BytesIO, encoding: str | None, errors: str | None, newline: str | None
) -> io.TextIOWrapper:
    """Bytes as text, with the defaults of `Archive.open`."""
    return io.TextIOWrapper(
        buffer, encoding or "utf-8", errors, "\n" if newline is None else newline
    )
