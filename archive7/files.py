"""Files: the methods of an archive that open, read and write them.

Owns the public face of files: modes, file objects and exceptions as of builtin `open`, `pathlib`
and `shutil`.
"""

from __future__ import annotations

import errno
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TextIO, overload

from .entry import DIRECTORY, FILE
from .fileopen import Mode, buffered, parse_mode
from .paths import PathLike, failure, text_of
from .session import Session, change, query, release
from .streams import VirtualFileObject

if TYPE_CHECKING:
    from _typeshed import OpenBinaryMode, OpenTextMode
    from typing_extensions import Buffer


class Files(Session):
    """Files of an archive."""

    @overload
    def open(
        self, path: PathLike, mode: OpenTextMode = "r", buffering: int = -1,
        encoding: str | None = None, errors: str | None = None, newline: str | None = None,
    ) -> TextIO: ...  # fmt: skip

    @overload
    def open(
        self, path: PathLike, mode: OpenBinaryMode, buffering: int = -1,
        encoding: None = None, errors: None = None, newline: None = None,
    ) -> BinaryIO: ...  # fmt: skip

    @overload
    def open(
        self, path: PathLike, mode: str, buffering: int = -1,
        encoding: str | None = None, errors: str | None = None, newline: str | None = None,
    ) -> IO[Any]: ...  # fmt: skip

    def open(
        self,
        path: PathLike,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        r"""Open a file as builtin `open` does; text is UTF-8 with newline ``\n`` unless given.

        What is written belongs to the commit that `flush` or `close` makes.
        Raises: FileNotFoundError, FileExistsError, IsADirectoryError, ValueError as `open`.
        """
        found = parse_mode(mode, buffering, encoding, errors, newline)
        with self._lock:
            self.check_open()
            self._enter()
            with self._alone():
                raw = self._open_raw(path, found)
            file = buffered(raw, found, buffering, encoding, errors, newline)
            self._track(file)
            return file

    def _open_raw(self, path: PathLike, mode: Mode) -> VirtualFileObject:
        filesystem = self._filesystem
        if mode.is_writing:
            self._manager.check_writable()
            self._check_doom()
        place = filesystem.locate(path, follow=not mode.is_exclusive, creates=mode.creates)
        if place.type == DIRECTORY and not mode.is_exclusive:
            raise failure(errno.EISDIR, path)
        if place.type is None:
            if not mode.creates:
                raise failure(errno.ENOENT, path)
        elif mode.is_exclusive:
            raise failure(errno.EEXIST, path)
        identity = place.identity
        try:
            if place.type is None:
                identity = filesystem.create_file(place, memoryview(b""), 0o644)
            stream = filesystem.open_stream(identity)
            return VirtualFileObject(
                stream, str(path), mode.raw, on_flush=self._file_flushed,
                on_close=self._file_closed, on_error=self._file_failed,
            )  # fmt: skip
        except BaseException:
            if place.type is None:
                self._doom()
            raise

    @query
    def read_bytes(self, path: PathLike) -> bytes:
        """All bytes of a file.  Cost: two look-ups and its blocks."""
        place = self._filesystem.find(path)
        if place.type == DIRECTORY:
            raise failure(errno.EISDIR, path)
        return self._filesystem.read(place.identity)

    @change
    def write_bytes(self, path: PathLike, data: Buffer) -> int:
        """Make or replace a file; return the number of bytes."""
        view = memoryview(data)
        if view.format != "B" or view.ndim != 1 or not view.contiguous:
            view = memoryview(view.tobytes())
        filesystem = self._filesystem
        place = filesystem.locate(path, creates=True)
        if place.type is None:
            filesystem.create_file(place, view, 0o644)
        elif place.type == FILE:
            filesystem.rewrite(place.identity, view)
        else:
            raise failure(errno.EISDIR, path)
        return len(view)

    def read_text(self, path: PathLike, encoding: str = "utf-8", errors: str = "strict") -> str:
        """All text of a file."""
        return self.read_bytes(path).decode(encoding, errors)

    def write_text(
        self, path: PathLike, text: str, encoding: str = "utf-8", errors: str = "strict"
    ) -> int:
        """Make or replace a file with text; return the number of characters."""
        if not isinstance(text, str):
            raise TypeError(f"data must be str, not {type(text).__name__}")
        self.write_bytes(path, text.encode(encoding, errors))
        return len(text)

    @release
    def truncate(self, path: PathLike, length: int) -> None:
        """Cut or lengthen a file.  Raises: PathError (EINVAL) for a negative length."""
        if length < 0:
            if "\0" in text_of(path):
                raise ValueError("embedded null byte")
            raise failure(errno.EINVAL, path)
        place = self._filesystem.find(path)
        if place.type == DIRECTORY:
            raise failure(errno.EISDIR, path)
        self._filesystem.truncate(place.identity, length)
