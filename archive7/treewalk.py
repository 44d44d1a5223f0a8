"""Tree walk: everything below a directory of an archive, one thing after the other.

Owns the order (depth first, names in order, a directory before what is in it) and the caller's
filter.  May assume a filesystem that others change meanwhile.  Promises: no recursion, a bounded
part of a directory in memory, a circle of directories is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Final, NamedTuple
from uuid import UUID

from .entry import DIRECTORY, FILE, Entry, decode_entry, decode_path, decode_text
from .errors import ClosedError, TreeCorruptError
from .filesystem import Filesystem
from .layout import ID_SIZE, STREAM
from .paths import after
from .streams.registry import split
from .transfer import Filter, Turn

_AT_ONCE: Final = 1000  # names taken from a directory under one lock


class Turnstile:
    """Lets one caller after the other to the filesystem of an open archive."""

    def __init__(self, filesystem: Filesystem) -> None:
        self._container = filesystem.manager.container

    def __enter__(self) -> None:
        self._container.lock.acquire()
        if self._container.is_closed:
            self._container.lock.release()
            raise ClosedError("the archive was closed")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._container.lock.release()


class Node(NamedTuple):
    """One step of a walk: into or out of a directory, or what stands under a name."""

    turn: Turn
    name: str
    identity: bytes
    entry: Entry
    length: int


class TreeWalk:
    """Everything below a directory of an archive.

    Args:
        turnstile: taken for each look at the filesystem.
        top: identity of the directory.
        keep: the caller's filter, asked with the path below the top.
    """

    def __init__(
        self, filesystem: Filesystem, turnstile: Turnstile, top: bytes, keep: Filter | None
    ) -> None:
        self._filesystem = filesystem
        self._turnstile = turnstile
        self._top = top
        self._keep = keep
        self._entered: list[Node] = []
        self._above: str | None = ""  # the path below the top; None if it must be made anew
        self._is_declined = False

    def relative(self, name: str) -> str:
        """The path below the top of a name in the directory where the walk stands."""
        if self._above is None:
            self._above = "".join(f"{node.name}/" for node in self._entered)
        return self._above + name

    def decline(self) -> None:
        """Do not go into the directory of the last step; it gets no step out of it."""
        self._is_declined = True

    def nodes(self, names: list[tuple[str, bytes]] | None = None) -> Iterator[Node]:
        """Walk over all that stands in the top directory, or over some names in it."""
        waiting = [self._listed(self._top) if names is None else iter(names)]
        circle = {self._top} if names is None else set()
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
                if self._entered:
                    left = self._entered.pop()
                    self._above = None
                    circle.discard(left.identity)
                    yield left._replace(turn=Turn.LEAVE)
                continue
            node = self.look(*found)
            if node is None or not self._is_wanted(node):
                continue
            self._is_declined = False
            yield node
            if node.turn is Turn.ENTER and not self._is_declined:
                if node.identity in circle:
                    raise TreeCorruptError("directories stand in a circle: run check")
                circle.add(node.identity)
                waiting.append(self._listed(node.identity))
                self._entered.append(node)
                self._above = None

    def _is_wanted(self, node: Node) -> bool:
        if self._keep is None:
            return True
        status = node.entry.stat(node.identity, node.length)
        return self._keep(self.relative(node.name), status)

    def look(self, name: str, identity: bytes) -> Node | None:
        """What a name leads to; None if it was removed meanwhile."""
        manager = self._filesystem.manager
        with self._turnstile:
            value = manager.registry.tree.get(identity)
            if value is None:
                return None
            record, _, owner = split(value)
            entry = decode_entry(owner)
            length = 0
            if entry.type == FILE:
                stream = manager.opened(UUID(bytes=identity))
                length = STREAM.unpack(record)[4] if stream is None else stream.len
        turn = Turn.ENTER if entry.type == DIRECTORY else Turn.MEET
        return Node(turn, name, identity, entry, length)

    def _listed(self, directory: bytes) -> Iterator[tuple[str, bytes]]:
        """Names in a directory, and what they lead to."""
        start, end = directory, after(directory)
        while True:
            with self._turnstile:
                items = self._filesystem.manager.paths.items(start, end)
                found = list(islice(items, _AT_ONCE))
            for key, value in found:
                yield decode_text(key[ID_SIZE:]), decode_path(value)[1]
            if len(found) < _AT_ONCE:
                return
            start = found[-1][0] + b"\0"
