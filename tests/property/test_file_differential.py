"""VirtualFileObject under the wrappers of io does what builtin open() does on a real file.

The same operations go to both, in all modes, binary and text, through up to two handles at once;
results and exceptions are compared after each, contents whenever no handle is open.  Commits and
reopening of the container come between, which a file must not notice.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from archive7.creation import create_container, open_container
from archive7.device import MemoryDevice
from archive7.streams import DynamicMultiStreamManager, VirtualFileObject
from tests.audit import SECRETS, audit_bytes, read_all
from tests.effort import examples

HANDLES = 2


def pattern(size: int, salt: int) -> bytes:
    return hashlib.shake_128(b"%d" % salt).digest(size)


class Host:
    """Builtin open() on a temporary file."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder) / "file"
        self._path.touch()
        self.block_size = self._path.stat().st_blksize

    def open(self, mode: str, buffering: int, newline: str | None) -> Any:
        if "x" in mode and not self._path.stat().st_size:
            self._path.unlink()  # for a stream, empty is as good as missing
        if "b" in mode:
            return open(self._path, mode, buffering)
        return open(
            self._path, mode, buffering, encoding="utf-8", errors="replace", newline=newline
        )

    def content(self) -> bytes:
        return self._path.read_bytes()


class Virtual:
    """The layers that builtin open() puts over FileIO, over VirtualFileObject."""

    def __init__(self, block_size: int) -> None:
        self._device = MemoryDevice()
        self._block_size = block_size
        self._attach(create_container(self._device, SECRETS, replace=False))
        stream = self.manager.new_stream()
        self._identity = stream.identity
        stream.close()

    def _attach(self, container: Any) -> None:
        manager = DynamicMultiStreamManager.over(container)
        assert isinstance(manager, DynamicMultiStreamManager)
        self.manager = manager

    def open(self, mode: str, buffering: int, newline: str | None) -> Any:
        stream = self.manager.open_stream(self._identity)
        try:
            raw = VirtualFileObject(stream, "file", mode.replace("t", ""))
        except BaseException:
            stream.close()
            raise
        if not buffering:
            return raw
        is_line = buffering == 1
        size = self._block_size if buffering in (1, -1) else buffering
        wrap: Callable[..., Any] = io.BufferedWriter
        if "+" in mode:
            wrap = io.BufferedRandom
        elif "r" in mode:
            wrap = io.BufferedReader
        buffer = wrap(raw, size)
        if "b" in mode:
            return buffer
        return io.TextIOWrapper(buffer, "utf-8", "replace", newline, is_line)

    def content(self) -> bytes:
        stream = self.manager.open_stream(self._identity)
        try:
            return read_all(stream)
        finally:
            stream.close()

    def commit(self, durable: bool) -> None:
        self.manager.commit(durable=durable)

    def reopen(self) -> None:
        self.manager.close()
        audit_bytes(self._device.getvalue())
        self._attach(open_container(self._device, SECRETS, readonly=False))

    def check(self) -> None:
        self.manager.close()
        audit_bytes(self._device.getvalue())


class Pair:
    """One handle on either side."""

    def __init__(self, host: Any, virtual: Any, is_text: bool) -> None:
        self.host, self.virtual = host, virtual
        self.is_text = is_text
        self.cookies = [0]

    def both(self, name: str, *args: Any) -> Any:
        """Call a method on both and compare what comes out."""
        results = []
        for file in (self.host, self.virtual):
            try:
                results.append((getattr(file, name)(*args), None))
            except (OSError, ValueError, TypeError, StopIteration) as error:
                results.append((None, error))
        compare(results, f"{name}{args}")
        return results[0][0]

    def into(self, size: int) -> None:
        """readinto on both, and what is in the buffers."""
        results = []
        for file in (self.host, self.virtual):
            buffer = bytearray(b"." * size)
            try:
                results.append(((file.readinto(buffer), bytes(buffer)), None))
            except (OSError, ValueError, TypeError, AttributeError) as error:
                results.append(((None, bytes(buffer)), error))
        compare(results, f"readinto({size})")


def compare(results: list[tuple[Any, Exception | None]], what: str) -> None:
    (wanted, expected), (got, error) = results
    if expected is None or error is None:
        assert error is expected, f"{what}: host {expected!r}, virtual {error!r}"
    else:
        # ours are subclasses; FileIO.readall alone gives EBADF instead of UnsupportedOperation
        assert isinstance(error, type(expected)), f"{what}: host {expected!r}, virtual {error!r}"
    assert got == wanted, f"{what}: host {wanted!r:.300}, virtual {got!r:.300}"
    assert type(got) is type(wanted), what


class Game:
    """The state of one run."""

    def __init__(self, folder: str) -> None:
        self.host = Host(folder)
        self.virtual = Virtual(self.host.block_size)
        self.pairs: list[Pair | None] = [None] * HANDLES

    def play(self, move: tuple[Any, ...]) -> None:
        name, *args = move
        getattr(self, name)(*args)

    # --- moves without a handle

    def commit(self, durable: bool) -> None:
        self.virtual.commit(durable)

    def reopen(self) -> None:
        for handle in range(HANDLES):
            self.close(handle)
        self.virtual.reopen()
        self.compare_contents()

    def open(self, handle: int, mode: str, buffering: int, newline: str | None) -> None:
        self.close(handle)
        if "x" in mode:  # the host makes another file then, which others do not share
            for other in range(HANDLES):
                self.close(other)
        if buffering == 1 and "b" in mode:
            buffering = 2  # line buffering is for text
        if buffering == 0 and "b" not in mode:
            buffering = 64
        opened: list[Any] = []
        for side in (self.host, self.virtual):
            try:
                opened.append((side.open(mode, buffering, newline), None))
            except (OSError, ValueError) as error:
                opened.append((None, error))
        (host, expected), (virtual, error) = opened
        assert (expected is None) == (error is None), f"open: host {expected!r}, {error!r}"
        if expected is None:
            self.pairs[handle] = Pair(host, virtual, "b" not in mode)
        else:
            assert isinstance(error, type(expected))

    # --- moves on a handle

    def close(self, handle: int) -> None:
        pair = self.pairs[handle]
        if pair is None:
            return
        pair.both("close")
        pair.both("close")
        pair.both("read", 1)
        self.pairs[handle] = None
        if not any(self.pairs):
            self.compare_contents()

    def call(self, handle: int, name: str, *args: Any) -> None:
        pair = self.pairs[handle]
        if pair is not None:
            pair.both(name, *args)

    def write(self, handle: int, size: int, salt: int) -> None:
        pair = self.pairs[handle]
        if pair is not None:
            data: Any = pattern(size, salt)
            if pair.is_text:
                data = data.decode("latin-1").replace("\x85", "\r\n").replace("\x90", "\n")
            pair.both("write", data)

    def readinto(self, handle: int, size: int) -> None:
        pair = self.pairs[handle]
        if pair is not None:
            pair.into(size)

    def seek(self, handle: int, offset: int, whence: int) -> None:
        pair = self.pairs[handle]
        if pair is None:
            return
        if pair.is_text and whence != 1:  # a text file knows its own cookies, 0 and the end
            offset = pair.cookies[offset % len(pair.cookies)] if whence == 0 else 0
        pair.both("seek", offset, whence)

    def tell(self, handle: int) -> None:
        pair = self.pairs[handle]
        if pair is not None:
            cookie = pair.both("tell")
            if cookie is not None:
                pair.cookies.append(cookie)

    def lines(self, handle: int, count: int) -> None:
        """Iterate, as `for line in file` does."""
        pair = self.pairs[handle]
        if pair is not None:
            for _ in range(count):
                pair.both("__next__")

    def compare_contents(self) -> None:
        assert self.virtual.content() == self.host.content()

    def end(self) -> None:
        self.reopen()
        self.virtual.check()

    def abandon(self) -> None:
        """After a failure: nothing may be left for the garbage collector to warn of."""
        for pair in self.pairs:
            for file in (pair.host, pair.virtual) if pair else ():
                try:
                    file.close()
                except (OSError, ValueError):
                    pass


KINDS = ["r", "r+", "w", "w+", "x", "x+", "a", "a+"]
modes = st.sampled_from([kind + end for kind in KINDS for end in ("b", "")])
handles = st.integers(0, HANDLES - 1)
buffers = st.sampled_from([0, 1, 7, 64, 1000, 4096, 65536])
newlines = st.sampled_from([None, "", "\n", "\r\n"])
sizes = st.one_of(
    st.integers(0, 60),
    st.sampled_from([500, 4007, 4008, 4009, 4096, 8016, 12_000, 20_041, 70_000]),
)
offsets = st.one_of(
    st.integers(-10, 60), st.sampled_from([4007, 4008, 4009, -4008, 8016, 20_000, 100_000])
)
small = st.integers(-1, 5000)

moves = st.one_of(
    st.tuples(st.just("open"), handles, modes, buffers, newlines),
    st.tuples(st.just("write"), handles, sizes, st.integers(0, 9)),
    st.tuples(st.just("write"), handles, sizes, st.integers(0, 9)),
    st.tuples(st.just("seek"), handles, offsets, st.sampled_from([0, 0, 0, 1, 2, 2])),
    st.tuples(st.just("call"), handles, st.sampled_from(["read", "readline"]), small),
    st.tuples(st.just("call"), handles, st.sampled_from(["read", "readlines"])),
    st.tuples(st.just("call"), handles, st.just("truncate"), offsets),
    st.tuples(st.just("call"), handles, st.sampled_from(["truncate", "flush"])),
    st.tuples(
        st.just("call"), handles, st.sampled_from(["readable", "writable", "seekable", "isatty"])
    ),
    st.tuples(st.just("readinto"), handles, sizes),
    st.tuples(st.just("tell"), handles),
    st.tuples(st.just("lines"), handles, st.integers(1, 3)),
    st.tuples(st.just("close"), handles),
    st.tuples(st.just("commit"), st.booleans()),
    st.tuples(st.just("reopen")),
)
opening = st.tuples(st.just("open"), st.just(0), modes, buffers, newlines)


@examples(150)
@given(opening, st.lists(moves, min_size=30, max_size=70))
def test_files_behave_as_those_of_open(
    first: tuple[Any, ...], rest: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        game = Game(folder)
        try:
            for move in [first, *rest]:
                game.play(move)
            game.end()
        finally:
            game.abandon()


def fast_folder() -> str | None:
    """A folder in memory, where the system has one."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None
