"""Paths: from text to the place it leads to.

Owns the resolution of paths over the paths tree (parent id + name -> type, id): `.` and `..`,
symbolic links, trailing slashes, as POSIX has them.  Promises: the exceptions of `os` with errno
and filename set; no link leads out of the archive.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final, NamedTuple
from uuid import UUID

from . import errors
from .btree import BTree
from .entry import (
    DIRECTORY,
    LINK,
    NIL,
    ROOT_ID,
    Entry,
    decode_entry,
    decode_name,
    decode_path,
    decode_text,
    encode_name,
)
from .layout import ID_SIZE, KIND_FILESYSTEM, LINEAGE
from .streams import DynamicMultiStreamManager
from .streams.registry import split, tree_in

PathLike = str | PurePosixPath

_MAX_LINKS: Final = 40  # as Linux
_MAX_PATH: Final = 4096
_KINDS: Final[dict[int, type[errors.PathError]]] = {
    errno.ENOENT: errors.NotFoundError,
    errno.EEXIST: errors.ExistsError,
    errno.EISDIR: errors.IsADirectoryError,
    errno.ENOTDIR: errors.NotADirectoryError,
    errno.ENOTEMPTY: errors.NotEmptyError,
    errno.EPERM: errors.NotPermittedError,
    errno.ELOOP: errors.LoopError,
    errno.ENAMETOOLONG: errors.NameTooLongError,
}


class FilesystemStreamManager(DynamicMultiStreamManager):
    """Streams of a filesystem: trash, registry, paths, lineage."""

    KIND = KIND_FILESYSTEM
    SPECIAL_STREAM_COUNT = 4
    STREAM_PATHS = 2
    STREAM_LINEAGE = 3

    paths: BTree

    def _open_special(self) -> None:
        super()._open_special()
        self.paths = tree_in(self._special[self.STREAM_PATHS])
        self.container.on_session = self._note_session

    def _note_session(self) -> None:
        """Note which session, and which commit of it, this session continues.

        Called before the first commit of a session.  Cost: one block, 24 bytes of it for good.
        Where the last block is damaged nothing is noted: receipts from before are refused then.
        """
        container, number = self.container, self.STREAM_LINEAGE
        if len(container.streams) <= number:
            return  # a new archive: nothing is continued
        stream = self._special[number]
        stream.reload(container.streams[number], None)
        record = LINEAGE.pack(container.root.session, container.root.number)
        end = stream.len - stream.len % LINEAGE.size
        try:
            stream.read_into(max(0, end - 1), memoryview(bytearray(1)))
        except errors.CorruptError:
            return  # damage here keeps nobody from writing; repair empties the lineage
        stream.write(end, memoryview(record))
        stream.finish()
        container.streams[number] = bytes(stream)

    def flush(self) -> None:
        """Bring the state of all open streams and trees into the working state."""
        self.paths.flush()
        super().flush()

    def reload(self) -> None:
        """Take everything anew from the working state."""
        try:
            super().reload()
        finally:
            self.paths = tree_in(self._special[self.STREAM_PATHS])


class Place(NamedTuple):
    """Where a path leads: the directory, the name in it, and what stands there, if anything."""

    parent: bytes
    name: bytes
    type: bytes | None
    identity: bytes

    @property
    def key(self) -> bytes:
        """The key in the paths tree."""
        return self.parent + self.name


def failure(code: int, path: object, other: object = None) -> errors.PathError:
    """The exception that `os` raises for this errno."""
    kind = _KINDS.get(code, errors.PathError)
    if other is not None:
        return kind(code, os.strerror(code), str(path), None, str(other))
    return kind(code, os.strerror(code), str(path))


def text_of(path: PathLike) -> str:
    """A path as text, whatever it says.  Raises TypeError."""
    text: object = str(path) if isinstance(path, PurePosixPath) else path
    if not isinstance(text, str):
        raise TypeError(f"a path is str or PurePosixPath, not {type(path).__name__}")
    return text


def path_text(path: PathLike) -> str:
    """A path as text.  Raises TypeError, ValueError (NUL) and NotFoundError (empty) as `os`."""
    text = text_of(path)
    if "\0" in text:
        raise ValueError("embedded null byte")
    if not text:
        raise failure(errno.ENOENT, text)
    if len(text) * 4 >= _MAX_PATH and len(text.encode(errors="replace")) >= _MAX_PATH:
        raise failure(errno.ENAMETOOLONG, text)
    return text


_ROOT: Final = Place(ROOT_ID, b"", DIRECTORY, ROOT_ID)


def _parts(text: str) -> list[str]:
    """The parts of a path, last first; a ``/`` or ``.`` at its end counts, it wants a folder."""
    parts = [part for part in reversed(text.split("/")) if part not in ("", ".")]
    if parts and text.endswith(("/", "/.")):
        parts.insert(0, "." if text.rstrip("/").endswith("/.") else "/")
    return parts


class Paths:
    """Names: what stands where."""

    def __init__(self, manager: FilesystemStreamManager) -> None:
        self._manager = manager
        self._registry = manager.registry
        self._paths = manager.paths
        self._directories: dict[str, bytes] = {"": ROOT_ID}

    @property
    def manager(self) -> FilesystemStreamManager:
        """The stream manager."""
        return self._manager

    def attach(self) -> None:
        """Take the trees anew: the working state was replaced.

        Raises: FormatError where the container holds no filesystem.
        """
        self._registry, self._paths = self._manager.registry, self._manager.paths
        self.forget()
        if ROOT_ID not in self._registry.tree:
            raise errors.FormatError("the container holds streams, but no filesystem")

    def forget(self) -> None:
        """Forget resolved directories: names were changed or taken away."""
        self._directories = {"": ROOT_ID}

    def locate(self, path: PathLike, *, follow: bool = True, creates: bool = False) -> Place:
        """Resolve a path; the last part may be missing (type None).

        With `creates` the place is for a new file, and a slash at the end is IsADirectoryError.
        Raises: NotFoundError for a missing parent, errors.NotADirectoryError, LoopError.
        """
        text = path_text(path)
        head, _, tail = text.rpartition("/")
        parent = self._directories.get(head)
        if parent is None or tail in ("", ".", ".."):
            return self._walk(text, text, follow, creates)
        name = encode_name(tail, text)
        value = self._paths.get(parent + name)
        if value is None:
            return Place(parent, name, None, NIL)
        kind, identity = decode_path(value)
        if kind == LINK and follow:
            return self._walk(text, text, follow, creates)
        return Place(parent, name, kind, identity)

    def name(self, path: PathLike) -> Place:
        """Resolve all but the last part, which is taken as it stands, be it a link.

        This is how names are made, moved and removed.  ``/``, ``.`` and ``..`` have no name: a
        place with name b"", which exists.
        """
        text = path_text(path)
        head, _, tail = text.rstrip("/").rpartition("/")
        if tail in ("", ".", ".."):
            here = self._walk(text, text).identity
            return Place(here, b"", DIRECTORY, here)
        parent = self._directories.get(head)
        if parent is None:
            parent = self._walk(head + "/", text).identity
        return self._step(parent, encode_name(tail, text))

    def _walk(self, text: str, path: str, follow: bool = True, creates: bool = False) -> Place:
        """Resolve `text`, a part of `path`, part by part as POSIX does."""
        parts = _parts(text)
        here, links, is_plain = _ROOT, 0, True
        while parts:
            part = parts.pop()
            if here.type != DIRECTORY:
                raise failure(errno.ENOENT if here.type is None else errno.ENOTDIR, path)
            if part in ("/", "."):
                continue
            if part == "..":
                parent = self.entry(here.identity).parent
                here = Place(parent, b"", DIRECTORY, parent)
                continue
            if creates and parts == ["/"]:
                raise failure(errno.EISDIR, path)
            here = self._step(here.identity, encode_name(part, path))
            if here.type == LINK and (parts or follow):
                links += 1
                if links > _MAX_LINKS:
                    raise failure(errno.ELOOP, path)
                is_plain = is_plain and bool(parts)
                target = decode_text(self.entry(here.identity).target)
                above = ROOT_ID if target.startswith("/") else here.parent
                here = Place(above, b"", DIRECTORY, above)
                parts += _parts(target)
        if is_plain:
            self._remember(text, here)
        return here

    def _step(self, parent: bytes, name: bytes) -> Place:
        value = self._paths.get(parent + name)
        if value is None:
            return Place(parent, name, None, NIL)
        kind, identity = decode_path(value)
        return Place(parent, name, kind, identity)

    def _remember(self, text: str, here: Place) -> None:
        """Keep the directory of a resolved path; any rename or removal clears the list."""
        if here.type == DIRECTORY:
            self._directories[text.rstrip("/")] = here.identity
        head, _, tail = text.rpartition("/")
        if here.name and tail.encode() == here.name:
            self._directories[head] = here.parent
        if len(self._directories) > 4096:
            self.forget()

    def find(self, path: PathLike, *, follow: bool = True) -> Place:
        """Like `locate`, for what must exist.  Raises NotFoundError."""
        place = self.locate(path, follow=follow)
        if place.type is None:
            raise failure(errno.ENOENT, path)
        return place

    def is_directory(self, path: PathLike) -> bool:
        """Whether a path leads to a directory."""
        try:
            return self.locate(path).type == DIRECTORY
        except (errors.PathError, ValueError):
            return False

    def directory(self, path: PathLike) -> bytes:
        """Identity of a directory.  Raises errors.NotFoundError, NotADirectoryError."""
        place = self.find(path)
        if place.type != DIRECTORY:
            raise failure(errno.ENOTDIR, path)
        return place.identity

    # --- entries

    def entry(self, identity: bytes) -> Entry:
        """The entry of an identity.  Raises TreeCorruptError where a name leads nowhere."""
        value = self._registry.tree.get(identity)
        if value is None:
            raise errors.TreeCorruptError(
                "a name leads to no entry: run check", stream=UUID(bytes=identity)
            )
        return decode_entry(split(value)[2])

    def children(self, identity: bytes) -> Iterator[tuple[str, bytes, bytes]]:
        """Names in a directory in order: (name, type, identity)."""
        for key, value in self._paths.items(identity, after(identity)):
            kind, child = decode_path(value)
            yield decode_name(key[ID_SIZE:]), kind, child

    def batch(self, identity: bytes, behind: str, count: int) -> list[tuple[str, bytes, bytes]]:
        """About `count` names in a directory, in order, behind the name `behind` ("": the first).

        Nothing where there are no more.  Cost: one look-up and the leaves.
        """
        low, high = identity + (behind.encode() + b"\0" if behind else b""), after(identity)
        found: list[tuple[str, bytes, bytes]] = []
        while len(found) < count:
            leaf, upper = self._paths.leaf(low)
            keys = leaf.keys
            begin, end = bisect_left(keys, low), bisect_left(keys, high)
            for key, value in zip(keys[begin:end], leaf.values[begin:end], strict=True):
                kind, child = decode_path(value)
                found.append((decode_name(key[ID_SIZE:]), kind, child))
            if upper is None or upper >= high or end < len(keys):
                break
            low = upper
        return found

    def names(self, identity: bytes) -> list[str]:
        """Names in a directory in order."""
        items = self._paths.items(identity, after(identity))
        return [decode_name(key[ID_SIZE:]) for key, _ in items]


def after(identity: bytes) -> bytes:
    """The first key behind all names of a directory."""
    return identity + b"\xff"
