"""Streams of one container against bytearrays.

Writing by offset and by cursor, commits, rollbacks, nested savepoints, deleting, reopening after a
clean close and after a kill, and a reader that sees whole commits.  Whatever is left is audited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archive7.commit import Container
from archive7.creation import Options, create_container, open_container
from archive7.crypto import SUITE_SECRETBOX, SUITE_XAES256GCM
from archive7.device import MemoryDevice
from archive7.errors import ClosedError, NotFoundError
from archive7.layout import DATA_SIZE
from archive7.streams import DataStream, DynamicMultiStreamManager
from tests.audit import SECRETS, audit_bytes, read_all
from tests.effort import examples

STREAMS = 6


class Content(bytearray):
    """What is in a stream, and what its owner keeps beside its record."""

    owner = b""


Contents = dict[UUID, Content]


def pattern(size: int, salt: int) -> bytes:
    return hashlib.shake_128(b"%d" % salt).digest(size)


def copy_of(contents: Contents) -> Contents:
    copies = {identity: Content(data) for identity, data in contents.items()}
    for identity, content in copies.items():
        content.owner = contents[identity].owner
    return copies


@dataclass
class Mark:
    """A savepoint and what was there."""

    savepoint: Any
    contents: Contents


@dataclass
class Game:
    """A container in memory, what its streams should hold, and what the last commit holds."""

    suite: int = SUITE_XAES256GCM
    device: MemoryDevice = field(default_factory=MemoryDevice)
    now: Contents = field(default_factory=dict)
    committed: Contents = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    opened: dict[UUID, DataStream] = field(default_factory=dict)
    reader: Any = None
    seen: Contents = field(default_factory=dict)  # by the reader

    def __post_init__(self) -> None:
        options = Options(suite=self.suite)
        self.attach(create_container(self.device, SECRETS, replace=False, options=options))

    def attach(self, container: Container) -> None:
        manager = DynamicMultiStreamManager.over(container)
        assert isinstance(manager, DynamicMultiStreamManager)
        self.manager = manager
        self.opened, self.marks = {}, []

    def play(self, moves: list[tuple[Any, ...]]) -> None:
        for name, *arguments in moves:
            getattr(self, name)(*arguments)
        self.end()

    def stream(self, number: int) -> DataStream | None:
        """One of the streams there are, opened if it is closed."""
        if not self.now:
            return None
        identity = sorted(self.now)[number % len(self.now)]
        if identity not in self.opened:
            self.opened[identity] = self.manager.open_stream(identity)
        stream = self.opened[identity]
        assert not stream.is_closed
        return stream

    # --- streams

    def new(self, size: int, salt: int) -> None:
        if len(self.now) >= STREAMS:
            return
        stream = self.manager.new_stream()
        self.opened[stream.identity] = stream
        self.now[stream.identity] = Content()
        stream.write(0, memoryview(pattern(size, salt)))
        self.now[stream.identity] += pattern(size, salt)

    def close_stream(self, number: int) -> None:
        stream = self.stream(number)
        if stream is not None:
            assert self.manager.close_stream(self.opened.pop(stream.identity)) is True
            with pytest.raises(ClosedError):
                stream.read_into(0, memoryview(bytearray(1)))

    def set_owner(self, number: int, size: int, salt: int) -> None:
        """Enough of it makes the registry's tree grow and shrink."""
        stream = self.stream(number)
        if stream is not None:
            self.now[stream.identity].owner = pattern(size, salt)
            assert self.manager.registry.update(stream, pattern(size, salt)) is True

    def delete(self, number: int) -> None:
        stream = self.stream(number)
        if stream is None:
            return
        self.close_stream(number)
        assert self.manager.del_stream(stream.identity) is True
        assert self.manager.del_stream(stream.identity) is False
        del self.now[stream.identity]
        with pytest.raises(NotFoundError):
            self.manager.open_stream(stream.identity)

    # --- by offset

    def write(self, number: int, offset: int, size: int, salt: int) -> None:
        stream = self.stream(number)
        if stream is None:
            return
        data = pattern(size, salt)
        assert stream.write(offset, memoryview(data)) == size
        model = self.now[stream.identity]
        model.extend(bytes(max(0, offset - len(model))))
        model[offset : offset + size] = data

    def append(self, number: int, size: int, salt: int) -> None:
        stream = self.stream(number)
        if stream is not None:
            self.write(number, stream.len, size, salt)

    def truncate(self, number: int, length: int) -> None:
        stream = self.stream(number)
        if stream is None:
            return
        assert stream.truncate(length) == length
        model = self.now[stream.identity]
        del model[length:]
        model.extend(bytes(length - len(model)))

    def read(self, number: int, offset: int, size: int) -> None:
        stream = self.stream(number)
        if stream is None:
            return
        model = self.now[stream.identity]
        buffer = bytearray(b"." * size)
        wanted = bytes(model[offset : offset + size])
        assert stream.read_into(offset, memoryview(buffer)) == len(wanted)
        assert buffer == wanted.ljust(size, b".")

    # --- by cursor

    def iterate(self, number: int, is_backward: bool) -> None:
        stream = self.stream(number)
        if stream is None:
            return
        blocks = list(reversed(stream) if is_backward else stream)
        if is_backward:
            blocks.reverse()
        assert [block.index for block in blocks] == list(range(stream.count))
        data = b"".join(bytes(block.data) for block in blocks)
        model = self.now[stream.identity]
        assert data == bytes(model).ljust(len(data), b"\0")

    def write_at_cursor(self, number: int, index: int, at: int, salt: int) -> None:
        stream = self.stream(number)
        if stream is None or not stream.count:
            return
        index = stream.wind(index % stream.count)
        model = self.now[stream.identity]
        start = index * DATA_SIZE + at
        data = pattern(50, salt)[: max(0, len(model) - start)][: DATA_SIZE - at]
        stream.data[at : at + len(data)] = data
        stream.changed()
        model[start : start + len(data)] = data

    def push_block(self, number: int, size: int, salt: int, is_foreign: bool) -> None:
        """Add a block behind a stream that ends with its last block, and say how long it is."""
        stream = self.stream(number)
        if stream is None:
            return
        model = self.now[stream.identity]
        self.truncate(number, -(-len(model) // DATA_SIZE) * DATA_SIZE)
        size = size % DATA_SIZE + 1
        if is_foreign:
            block = self.manager.new_block()
            block.data[:size] = pattern(size, salt)
            stream.push(block)
        else:
            stream.end()
            assert stream.extend() is True
            stream.data[:size] = pattern(size, salt)
            stream.changed()
            stream.save()
        assert stream.length(size) == len(model) + size
        model += pattern(size, salt)

    def pop_block(self, number: int) -> None:
        stream = self.stream(number)
        if stream is None:
            return
        model = self.now[stream.identity]
        block = stream.pop()
        assert (block is None) == (not model)
        if block is not None:
            start = (-(-len(model) // DATA_SIZE) - 1) * DATA_SIZE
            assert block.data == bytes(model[start:]).ljust(DATA_SIZE, b"\0")
            del model[start:]
            assert self.manager.recycle(block) is True

    # --- transactions

    def commit(self, durable: bool) -> None:
        while self.marks:
            self.manager.container.release(self.marks.pop().savepoint)
        self.manager.commit(durable=durable)
        self.committed = copy_of(self.now)

    def rollback(self) -> None:
        self.manager.rollback()
        self.marks.clear()
        self.went_back_to(self.committed)

    def savepoint(self) -> None:
        self.marks.append(Mark(self.manager.savepoint(), copy_of(self.now)))

    def release_savepoint(self) -> None:
        if self.marks:
            self.manager.container.release(self.marks.pop().savepoint)

    def rollback_to_savepoint(self) -> None:
        if self.marks:
            mark = self.marks.pop()
            self.manager.rollback(mark.savepoint)
            self.went_back_to(mark.contents)

    def went_back_to(self, contents: Contents) -> None:
        """Streams that are gone are closed, the others show what was there."""
        self.now = copy_of(contents)
        for identity, stream in list(self.opened.items()):
            assert stream.is_closed is (identity not in self.now)
            if stream.is_closed:
                del self.opened[identity]
        self.compare(self.manager, self.now)

    def compare(self, manager: DynamicMultiStreamManager, contents: Contents) -> None:
        assert list(manager.registry) == sorted(contents)
        for identity, data in contents.items():
            stream = manager.open_stream(identity)
            assert (stream.len, stream.count) == (len(data), -(-len(data) // DATA_SIZE))
            assert read_all(stream) == data
            assert manager.registry.owner(identity) == data.owner
            manager.close_stream(stream)

    def compare_now(self) -> None:
        for identity, data in self.now.items():
            stream = self.manager.open_stream(identity)
            assert read_all(stream) == data
            self.manager.close_stream(stream)

    # --- sessions

    def reopen(self) -> None:
        self.manager.close()
        self.committed = copy_of(self.now)
        audit_bytes(self.device.getvalue())
        self.attach(open_container(self.device, SECRETS, readonly=False))
        self.compare(self.manager, self.now)

    def die(self) -> None:
        """Killed: the file holds the last commit, whatever was written since."""
        self.device = MemoryDevice(self.device.getvalue())
        container = open_container(self.device, SECRETS, readonly=False)
        assert container.recovered is None
        audit_bytes(self.device.getvalue(), is_settled=False)
        self.attach(container)
        self.now = copy_of(self.committed)
        self.compare(self.manager, self.now)
        self.close_reader()

    # --- a reader

    def read_as_reader(self) -> None:
        """Memory has no locks: what a reader's snapshot needs may be overwritten meanwhile."""
        if self.reader is not None:
            self.reader.refresh()
        else:
            container = open_container(self.device, SECRETS, readonly=True)
            self.reader = DynamicMultiStreamManager.over(container)
        self.compare(self.reader, self.committed)

    def close_reader(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    def end(self) -> None:
        self.close_reader()
        self.reopen()
        for number in range(len(self.now)):
            self.delete(number)
        self.reopen()
        self.manager.close()


numbers = st.integers(0, STREAMS - 1)
salts = st.integers(0, 20)
sizes = st.one_of(
    st.integers(0, 100), st.sampled_from([4007, 4008, 4009, 8016, 20_040, 100_000]),
    st.integers(0, 30_000),
)  # fmt: skip
moves = st.one_of(
    st.tuples(st.just("new"), sizes, salts),
    st.tuples(st.just("close_stream"), numbers),
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("set_owner"), numbers, st.sampled_from([0, 30, 1100, 1150]), salts),
    st.tuples(st.just("write"), numbers, sizes, sizes, salts),
    st.tuples(st.just("write"), numbers, sizes, st.integers(0, 100), salts),
    st.tuples(st.just("append"), numbers, sizes, salts),
    st.tuples(st.just("append"), numbers, st.integers(1, 100), salts),
    st.tuples(st.just("truncate"), numbers, sizes),
    st.tuples(st.just("read"), numbers, sizes, sizes),
    st.tuples(st.just("iterate"), numbers, st.booleans()),
    st.tuples(
        st.just("write_at_cursor"), numbers, st.integers(0, 30), st.integers(0, 4007), salts
    ),
    st.tuples(st.just("push_block"), numbers, sizes, salts, st.booleans()),
    st.tuples(st.just("pop_block"), numbers),
    st.tuples(st.just("commit"), st.booleans()),
    st.tuples(
        st.sampled_from(
            ["rollback", "savepoint", "savepoint", "rollback_to_savepoint", "release_savepoint"]
        )
    ),
    st.tuples(st.sampled_from(["reopen", "die", "read_as_reader", "compare_now"])),
)
histories = st.lists(moves, min_size=25, max_size=70)


@examples(250)
@given(histories)
@example(
    # a position taken ahead in one transaction, used in the next one, which is rolled back
    [("new", 1, 0), ("new", 1, 0), ("pop_block", 1), ("write", 0, 2, 8016, 0),
     ("commit", False), ("append", 0, 4007, 0), ("close_stream", 0), ("rollback",)]
)  # fmt: skip
@example(
    # positions that a stream has taken ahead outlive a rollback to a savepoint
    [("new", 50_000, 1), ("append", 0, 5000, 2), ("savepoint",), ("append", 0, 90_000, 3),
     ("rollback_to_savepoint",), ("append", 0, 10, 4), ("commit", False), ("reopen",)]
)  # fmt: skip
def test_streams_are_bytearrays(history: list[tuple[Any, ...]]) -> None:
    Game().play(history)


@examples(40)
@given(histories)
def test_streams_of_the_other_suite_are_bytearrays(
    need_secretbox: Callable[[], None], history: list[tuple[Any, ...]]
) -> None:
    need_secretbox()
    Game(suite=SUITE_SECRETBOX).play(history)
