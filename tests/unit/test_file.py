"""VirtualFileObject asks of itself what CPython's test_fileio and test_io ask of FileIO.

Most tests run twice: on `io.FileIO` over a real file, which shows that the test is right, and on
`VirtualFileObject`.  Left out is what needs a descriptor.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import io
import os
import pickle
import sys
import warnings
import weakref
from array import array
from collections import UserList
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from archive7.creation import create_container
from archive7.device import MemoryDevice
from archive7.errors import BlockCorruptError, ClosedError, ReadOnlyError, UsageError
from archive7.layout import DATA_SIZE
from archive7.root import slot_offset
from archive7.streams import DynamicMultiStreamManager, VirtualFileObject
from tests.audit import SECRETS, audit_bytes, read_all


class Place(Protocol):
    """Where one file stands that tests open in any mode."""

    def open(self, mode: str = "r") -> Any:
        """A raw file object."""

    def content(self) -> bytes:
        """What is in the file."""


class HostPlace:
    """A file on the host: FileIO is the model."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "file"
        self.path.touch()
        self._opened: list[io.FileIO] = []

    def open(self, mode: str = "r") -> Any:
        if "x" in mode and not self.path.stat().st_size:
            self.path.unlink()  # an empty stream is as good as none
        self._opened.append(io.FileIO(self.path, mode))
        return self._opened[-1]

    def content(self) -> bytes:
        return self.path.read_bytes()

    def check(self) -> None:
        for file in self._opened:
            file.close()


class VirtualPlace:
    """A stream in a container in memory, audited at the end."""

    def __init__(self) -> None:
        self.device = MemoryDevice()
        container = create_container(self.device, SECRETS, replace=False)
        self.manager = DynamicMultiStreamManager.over(container)
        assert isinstance(self.manager, DynamicMultiStreamManager)
        stream = self.manager.new_stream()
        self.identity = stream.identity
        stream.close()

    def stream(self) -> Any:
        return self.manager.open_stream(self.identity)

    def open(self, mode: str = "r", **hooks: Any) -> Any:
        stream = self.stream()
        try:
            return VirtualFileObject(stream, "file", mode, **hooks)
        except BaseException:
            stream.close()
            raise

    def content(self) -> bytes:
        stream = self.stream()
        try:
            return read_all(stream)
        finally:
            stream.close()

    def check(self) -> None:
        self.manager.close()
        audit_bytes(self.device.getvalue())


@pytest.fixture(params=["FileIO", "VirtualFileObject"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = HostPlace(tmp_path) if request.param == "FileIO" else VirtualPlace()
    yield made
    made.check()


@pytest.fixture
def virtual() -> Iterator[VirtualPlace]:
    made = VirtualPlace()
    yield made
    made.check()


def write(place: Place, data: bytes) -> None:
    with place.open("w") as file:
        assert file.write(data) == len(data)


# --- modes

MODES = [
    ("r", "rb", True, False),
    ("rb", "rb", True, False),
    ("r+", "rb+", True, True),
    ("rb+", "rb+", True, True),
    ("r+b", "rb+", True, True),
    ("+r", "rb+", True, True),
    ("br", "rb", True, False),
    ("w", "wb", False, True),
    ("wb", "wb", False, True),
    ("w+", "rb+", True, True),
    ("wb+", "rb+", True, True),
    ("w+b", "rb+", True, True),
    ("a", "ab", False, True),
    ("ab", "ab", False, True),
    ("a+", "ab+", True, True),
    ("ab+", "ab+", True, True),
    ("a+b", "ab+", True, True),
    ("x", "xb", False, True),
    ("xb", "xb", False, True),
    ("x+", "xb+", True, True),
    ("xb+", "xb+", True, True),
]


@pytest.mark.parametrize(("mode", "told", "can_read", "can_write"), MODES)
def test_mode_says_what_can_be_done(
    place: Place, mode: str, told: str, can_read: bool, can_write: bool
) -> None:
    with place.open(mode) as file:
        assert file.mode == told
        assert (file.readable(), file.writable(), file.seekable()) == (can_read, can_write, True)
        assert file.isatty() is False
        if not can_read:
            for call in (file.read, lambda: file.readinto(bytearray(3))):
                with pytest.raises(io.UnsupportedOperation, match="not open for reading"):
                    call()
            with pytest.raises(OSError, match=r"not open for reading|\[Errno 9\]"):
                file.readall()  # FileIO asks the system
        if not can_write:
            for call in (lambda: file.write(b"x"), lambda: file.truncate(3), file.truncate):
                with pytest.raises(io.UnsupportedOperation, match="not open for writing"):
                    call()


@pytest.mark.parametrize(
    "mode",
    ["", "b", "+", "aU", "wU+", "rw", "rt", "t", "rwa", "ra", "xw", "rr", "r++", "q", "R", "r ",
     "qwerty", "b+"],
)  # fmt: skip
def test_invalid_mode_is_refused_and_named(place: Place, mode: str) -> None:
    with pytest.raises(ValueError, match="mode") as caught:
        place.open(mode)
    assert "file" not in str(caught.value).replace("file mode", "")


@pytest.mark.parametrize("mode", [None, 5, b"r", ["r"]])
def test_mode_must_be_text(place: Place, mode: Any) -> None:
    with pytest.raises(TypeError):
        place.open(mode)


def test_w_truncates(place: Place) -> None:
    write(place, b"old content")
    for mode in ("w", "w+"):
        with place.open("r+") as file:
            file.write(b"old content")
        with place.open(mode) as file:
            assert file.tell() == 0
            assert file.seek(0, 2) == 0
        assert place.content() == b""


def test_x_refuses_a_file_that_is_there(place: Place) -> None:
    write(place, b"old content")
    for mode in ("x", "x+"):
        with pytest.raises(FileExistsError) as caught:
            place.open(mode)
        assert caught.value.errno == 17
        assert str(caught.value.filename).endswith("file")
    assert place.content() == b"old content"


def test_a_appends_after_any_seek(place: Place) -> None:
    write(place, b"spam")
    with place.open("a") as file:
        assert file.tell() == 4
        assert file.write(b"eggs") == 4
        file.seek(0)
        assert file.write(b"ham") == 3
        assert file.tell() == 11
    assert place.content() == b"spameggsham"


def test_a_plus_reads_where_it_stands_and_appends(place: Place) -> None:
    write(place, b"spam")
    with place.open("a+") as file:
        file.seek(1)
        assert file.read(2) == b"pa"
        assert file.write(b"eggs") == 4
        assert file.tell() == 8
        assert file.read() == b""
        file.seek(2)
        assert file.write(b"") == 0
        assert file.tell() == 2
        assert file.read() == b"ameggs"


def test_a_truncates_where_it_is_told(place: Place) -> None:
    write(place, b"spam and eggs")
    with place.open("a+") as file:
        assert file.truncate(4) == 4
        assert file.tell() == 13
        file.write(b"!")
    assert place.content() == b"spam!"


def test_two_writers_that_append_never_overwrite_each_other(place: Place) -> None:
    with place.open("a") as one, place.open("a") as other:
        for file in (one, other, one, other):
            file.write(b"abc")
    assert place.content() == b"abc" * 4


# --- position


def test_seek_and_tell(place: Place) -> None:
    with place.open("w") as file:
        file.write(bytes(range(20)))
        assert file.tell() == 20
        for offset, whence, position in (
            (0, 0, 0), (10, 0, 10), (5, 1, 15), (-5, 1, 10), (-5, 2, 15), (0, 2, 20),
            (7, 2, 27), (100, 0, 100), (-99, 1, 1),
        ):  # fmt: skip
            assert file.seek(offset, whence) == position
            assert file.tell() == position
    assert place.content() == bytes(range(20))


@pytest.mark.parametrize("whence", [os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
def test_seek_before_the_start_is_refused_and_does_not_move(place: Place, whence: int) -> None:
    write(place, b"0123456789")
    with place.open("r") as file:
        file.seek(3)
        with pytest.raises(OSError) as caught:
            file.seek({0: -1, 1: -4, 2: -11}[whence], whence)
        assert caught.value.errno == 22
        assert file.tell() == 3


@pytest.mark.parametrize("whence", [-1, 5, 99])
def test_unknown_whence_is_refused(place: Place, whence: int) -> None:
    with place.open("r") as file:
        with pytest.raises(OSError) as caught:
            file.seek(0, whence)
        assert caught.value.errno == 22


@pytest.mark.parametrize("offset", [0.0, "0", None, b"0", 1 + 0j])
def test_offset_must_be_an_integer(place: Place, offset: Any) -> None:
    with place.open("r+") as file:
        with pytest.raises(TypeError):
            file.seek(offset)
        if offset is not None:
            with pytest.raises(TypeError):
                file.truncate(offset)
        with pytest.raises(TypeError):
            file.seek(0, "0")


class Index:
    """An integer that is none."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


def test_offset_may_be_anything_with_an_index(place: Place) -> None:
    with place.open("w+") as file:
        file.write(b"0123456789")
        assert file.seek(Index(3)) == 3
        file.truncate(Index(5))  # FileIO gives back the very object
        assert file.read() == b"34"
        assert type(file.tell()) is int


@pytest.mark.parametrize("offset", [2**63, -(2**63) - 1, 2**70])
def test_offset_beyond_64_bits_is_refused(place: Place, offset: int) -> None:
    with place.open("r+") as file:
        with pytest.raises((OverflowError, OSError)):
            file.seek(offset)
        assert file.tell() == 0


def test_write_beyond_the_largest_file_fails_at_once(virtual: VirtualPlace) -> None:
    """Not after filling 8 TiB with zeros."""
    with virtual.open("w+") as file:
        file.write(b"start")
        for position in (2**31 * DATA_SIZE, 2**62):
            file.seek(position)
            with pytest.raises(OSError, match="large") as caught:
                file.write(b"x")
            assert caught.value.errno == 27
            with pytest.raises(OSError, match="large"):
                file.truncate(position)
        file.seek(0)
        assert file.read() == b"start"


# --- beyond the end


@pytest.mark.parametrize("gap", [0, 1, 4008, 4096, 100_000])
def test_seek_beyond_the_end_then_write_leaves_zeros(place: Place, gap: int) -> None:
    write(place, b"head")
    with place.open("r+") as file:
        assert file.seek(4 + gap) == 4 + gap
        assert file.read() == b""
        assert file.write(b"tail") == 4
    assert place.content() == b"head" + bytes(gap) + b"tail"


def test_seek_beyond_the_end_alone_changes_nothing(place: Place) -> None:
    write(place, b"head")
    with place.open("r+") as file:
        file.seek(1000)
        assert file.write(b"") == 0
        assert file.read(10) == b""
        assert file.readall() == b""
        assert file.readinto(bytearray(5)) == 0
        assert file.tell() == 1000
    assert place.content() == b"head"


# --- truncate


def test_truncate_keeps_the_position_and_gives_the_size(place: Place) -> None:
    with place.open("w+") as file:
        file.write(bytes(range(10)))
        assert file.truncate(5) == 5
        assert file.tell() == 10
        assert file.seek(0, io.SEEK_END) == 5
        assert file.truncate(15) == 15
        assert file.tell() == 5
        assert file.seek(0, io.SEEK_END) == 15
        file.seek(0)
        assert file.read() == bytes(range(5)) + bytes(10)
        assert file.truncate(0) == 0
        assert file.tell() == 15
    assert place.content() == b""


def test_truncate_without_a_size_cuts_at_the_position(place: Place) -> None:
    write(place, bytes(range(11)))
    with place.open("r+") as file:
        assert file.read(5) == bytes(range(5))
        assert file.truncate() == 5
        assert file.tell() == 5
        assert file.truncate(None) == 5
        file.seek(8)
        assert file.truncate() == 8
    assert place.content() == bytes(range(5)) + bytes(3)


def test_truncate_to_less_than_nothing_is_refused(place: Place) -> None:
    write(place, b"0123456789")
    with place.open("r+") as file, pytest.raises(OSError) as caught:
        file.truncate(-1)
    assert caught.value.errno == 22
    assert place.content() == b"0123456789"


def test_truncated_bytes_do_not_come_back(place: Place) -> None:
    write(place, b"x" * 10_000)
    with place.open("r+") as file:
        file.truncate(5000)
        file.truncate(9000)
        file.seek(0)
        assert file.read() == b"x" * 5000 + bytes(4000)
        file.truncate(100)
        file.seek(200)
        file.write(b"end")
    assert place.content() == b"x" * 100 + bytes(100) + b"end"


# --- reading into buffers

FOUR = bytes([1, 2, 0, 255])


def ctypes_buffer(data: bytes) -> Any:
    return (ctypes.c_uint16 * (len(data) // 2)).from_buffer_copy(data)


BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "bytearray": bytearray,
    "memoryview": lambda data: memoryview(bytearray(data)),
    "memoryview of signed": lambda data: memoryview(bytearray(data)).cast("b"),
    "memoryview of chars": lambda data: memoryview(bytearray(data)).cast("c"),
    "memoryview of two dimensions": lambda data: memoryview(bytearray(data)).cast("H", (2, 2)),
    "array of B": lambda data: array("B", data),
    "array of b": lambda data: array("b", data),
    "array of I": lambda data: array("I", data),
    "array of d": lambda data: array("d", data),
    "ctypes": ctypes_buffer,
    "ctypes structure": lambda data: type(
        "Pair", (ctypes.Structure,), {"_fields_": [("a", ctypes.c_int), ("b", ctypes.c_int)]}
    ).from_buffer_copy(data),
}


@pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS)
def test_readinto_any_writable_buffer(place: Place, make: Callable[[bytes], Any]) -> None:
    write(place, FOUR)
    buffer = make(b"abcdefgh")
    with place.open("r") as file:
        assert file.readinto(buffer) == 4
        assert bytes(memoryview(buffer)) == FOUR + b"efgh"
        assert file.tell() == 4
        assert file.readinto(buffer) == 0
        file.seek(1)
        assert file.readinto(buffer) == 3
        assert bytes(memoryview(buffer)) == FOUR[1:] + b"\xffefgh"


@pytest.mark.parametrize(
    "buffer", [bytearray(), array("I"), array("d"), memoryview(bytearray(8)).cast("I")[:0]]
)
def test_readinto_an_empty_buffer_reads_nothing(place: Place, buffer: Any) -> None:
    write(place, FOUR)
    with place.open("r") as file:
        assert file.readinto(buffer) == 0
        assert file.tell() == 0


@pytest.mark.parametrize("at", [0, 4], ids=["data", "end"])
@pytest.mark.parametrize(
    "buffer",
    [bytes(8), "text", "", 8, None, [1], memoryview(bytes(8)), memoryview(bytearray(8))[::2]],
    ids=repr,
)
def test_readinto_refuses_what_cannot_be_written(place: Place, buffer: Any, at: int) -> None:
    write(place, FOUR)
    with place.open("r") as file:
        file.seek(at)
        with pytest.raises((TypeError, BufferError)):
            file.readinto(buffer)
        assert file.tell() == at


def test_readinto_of_more_than_a_run_fills_all(place: Place) -> None:
    data = os.urandom(700 * DATA_SIZE + 17)
    write(place, data)
    buffer = bytearray(len(data) + 5)
    with place.open("r") as file:
        file.seek(3)
        assert file.readinto(buffer) == len(data) - 3
    assert buffer == data[3:] + bytes(8)


def test_position_moves_only_after_success(virtual: VirtualPlace) -> None:
    """A retry after an error raises again, instead of giving what lies behind it."""
    write(virtual, bytes(range(256)) * 200)
    virtual.manager.close()
    stream = reopened(virtual).open_stream(virtual.identity)
    slot = int.from_bytes(stream.manager.container.blocks.map.get(stream.extents.position(7))[:4])
    offset = slot_offset(slot) + 100
    damaged = virtual.device.pread(1, offset)[0] ^ 1
    virtual.device.pwrite(bytes([damaged]), offset)
    file = VirtualFileObject(stream, "file", "r+")
    for _ in range(3):
        file.seek(5)
        with pytest.raises(BlockCorruptError):
            file.readall()
        assert file.tell() == 5
        with pytest.raises(BlockCorruptError):
            file.readinto(bytearray(40_000))
        assert file.tell() == 5
    file.seek(7 * DATA_SIZE)
    with pytest.raises(BlockCorruptError):
        file.write(b"half a block needs the other half")
    assert file.tell() == 7 * DATA_SIZE
    assert file.write(bytes(5 * DATA_SIZE)) == 5 * DATA_SIZE  # whole blocks do not
    file.seek(0)
    assert len(file.readall()) == 51_200


def reopened(place: VirtualPlace) -> DynamicMultiStreamManager:
    from archive7.creation import open_container

    container = open_container(place.device, SECRETS, readonly=False)
    manager = DynamicMultiStreamManager.over(container)
    assert isinstance(manager, DynamicMultiStreamManager)
    place.manager = manager
    return manager


# --- reading


def test_read_gives_what_there_is(place: Place) -> None:
    write(place, b"hi\nbye\nabc")
    with place.open("r") as file:
        assert file.read(3) == b"hi\n"
        assert file.read(0) == b""
        assert file.read(-1) == b"bye\nabc"
        assert file.read(5) == b""
        file.seek(0)
        assert file.read(None) == b"hi\nbye\nabc"
        file.seek(0)
        assert file.readline(None) == b"hi\n"
        assert file.readlines(None) == [b"bye\n", b"abc"]
        file.seek(3)
        assert file.readall() == b"bye\nabc"
        assert file.readall() == b""


def test_iteration_gives_lines(place: Place) -> None:
    write(place, b"one\ntwo\n\nthree")
    with place.open("r") as file:
        assert list(file) == [b"one\n", b"two\n", b"\n", b"three"]
        with pytest.raises(StopIteration):
            next(file)
        file.seek(4)
        assert next(file) == b"two\n"
        assert file.readlines() == [b"\n", b"three"]


# --- writing


@pytest.mark.parametrize("make", [bytes, *BUFFERS.values()], ids=["bytes", *BUFFERS])
def test_write_any_buffer_counts_bytes(place: Place, make: Callable[[bytes], Any]) -> None:
    with place.open("w") as file:
        assert file.write(make(b"abcdefgh")) == 8
        assert file.tell() == 8
    assert place.content() == b"abcdefgh"


@pytest.mark.parametrize(
    "buffer", [b"", bytearray(), array("I"), memoryview(bytearray(8)).cast("I")[:0]]
)
def test_write_an_empty_buffer_writes_nothing(place: Place, buffer: Any) -> None:
    with place.open("w") as file:
        assert file.write(buffer) == 0
        assert file.tell() == 0


@pytest.mark.parametrize(
    "buffer",
    [memoryview(b"abcdefgh")[::2], memoryview(b"abcdefgh")[::-1],
     memoryview(array("I", [1, 2, 3, 4]))[::2]],
)  # fmt: skip
def test_write_of_a_non_contiguous_buffer_is_refused(place: Place, buffer: Any) -> None:
    with place.open("w") as file, pytest.raises(BufferError):
        file.write(buffer)
    assert place.content() == b""


@pytest.mark.parametrize("data", ["Hello!", None, 5, [b"a"], object()])
def test_write_refuses_what_is_no_buffer(place: Place, data: Any) -> None:
    with place.open("w") as file, pytest.raises(TypeError):
        file.write(data)
    assert place.content() == b""


@pytest.mark.parametrize("lines", [[b"123", b"456"], UserList([b"123", b"456"])])
def test_writelines(place: Place, lines: Any) -> None:
    with place.open("w") as file:
        file.writelines(lines)
    assert place.content() == b"123456"


@pytest.mark.parametrize("lines", [[1, 2, 3], None, "abc"])
def test_writelines_refuses_what_is_no_buffer(place: Place, lines: Any) -> None:
    with place.open("w") as file, pytest.raises(TypeError):
        file.writelines(lines)


def test_caller_may_change_the_buffer_afterwards(place: Place) -> None:
    buffer = bytearray(b"x" * 50_000)
    with place.open("w") as file:
        file.write(buffer)
        buffer[:] = bytes(50_000)
        buffer.append(0)  # no view of it is held
    assert place.content() == b"x" * 50_000


@pytest.mark.parametrize("size", [1, 4007, 4008, 4009, 3 * 4008, 5 * 4008 + 1, 300 * 4008])
@pytest.mark.parametrize("offset", [0, 1, 4000, 4008, 9000])
def test_overwriting_changes_those_bytes_only(place: Place, offset: int, size: int) -> None:
    old = os.urandom(20_000)
    new = os.urandom(size)
    write(place, old)
    with place.open("r+") as file:
        file.seek(offset)
        assert file.write(new) == size
        assert file.tell() == offset + size
    assert place.content() == old[:offset] + new + old[offset + size :]


# --- closing

METHODS = (
    "fileno isatty seekable readable writable read readall readline readlines tell truncate flush "
    "__enter__ __iter__ __next__"
).split()


@pytest.mark.parametrize("mode", ["w", "r", "a+"])
def test_closed_file_refuses_everything(place: Place, mode: str) -> None:
    file = place.open(mode)
    assert file.closed is False
    file.close()
    file.close()
    assert file.closed is True
    for name in METHODS:
        with pytest.raises(ValueError, match="closed"):
            getattr(file, name)()
    calls: list[Callable[[], object]] = [
        lambda: file.readinto(bytearray(1)),
        lambda: file.seek(0),
        lambda: file.write(b""),
        lambda: file.writelines([b""]),
        lambda: file.truncate(0),
        lambda: file.read(0),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()


def test_closed_error_is_of_this_package(virtual: VirtualPlace) -> None:
    file = virtual.open("r")
    file.close()
    with pytest.raises(ClosedError):
        file.read()
    with pytest.raises(UsageError, match="invalid mode 'q'"):
        virtual.open("q")


def test_context_manager_closes(place: Place) -> None:
    with place.open("w") as file:
        assert file.__enter__() is file
        file.write(b"x")
    assert file.closed
    with pytest.raises(ZeroDivisionError), place.open("w") as file:
        raise ZeroDivisionError
    assert file.closed


def test_attributes_cannot_be_set(place: Place) -> None:
    with place.open("r") as file:
        for name in ("mode", "closed", "closefd"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(file, name, "oops")
        assert file.closefd is True
        assert str(file.name).endswith("file")


def test_repr_tells_name_and_mode(place: Place) -> None:
    with place.open("w") as file:
        assert repr(file.name) in repr(file)
        assert "'wb'" in repr(file)
        assert type(file).__qualname__ in repr(file)
    assert "[closed]" in repr(file)


def test_file_can_be_referred_to_weakly(place: Place) -> None:
    file = place.open("w")
    proxy = weakref.proxy(file)
    proxy.write(bytes(10))
    assert proxy.tell() == file.tell() == 10


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_is_refused(place: Place, protocol: int) -> None:
    with place.open("r") as file, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(file, protocol)


def test_copying_is_refused(place: Place) -> None:
    with place.open("r") as file:
        for call in (copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                call(file)


def test_there_is_no_descriptor(virtual: VirtualPlace) -> None:
    with virtual.open("r") as file, pytest.raises(io.UnsupportedOperation, match="descriptor"):
        file.fileno()
    assert issubclass(io.UnsupportedOperation, OSError)


def test_unclosed_file_warns_and_closes(place: Place) -> None:
    file = place.open("w")
    file.write(b"kept")
    if isinstance(place, HostPlace):
        place._opened.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del file
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert str(caught[0].message).startswith("unclosed file <")
    assert place.content() == b"kept"


@pytest.mark.parametrize("wrapper", [io.BufferedWriter, io.BufferedRandom])
def test_unclosed_buffer_warns_once_and_flushes(place: Place, wrapper: Any) -> None:
    file = wrapper(place.open("w+"))
    file.write(b"kept")
    if isinstance(place, HostPlace):
        place._opened.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del file
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert "unclosed file" in str(caught[0].message)
    assert place.content() == b"kept"


def test_dealloc_warn_names_its_source(place: Place) -> None:
    with place.open("r") as file, pytest.warns(ResourceWarning, match="unclosed file 'it'"):
        file._dealloc_warn("it")


# --- a constructor that raises


def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    return seen


@pytest.mark.parametrize("mode", ["q", "x", "w"])
def test_file_that_never_came_to_be_leaves_the_stream_alone(
    virtual: VirtualPlace, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = unraisable(monkeypatch)
    closed: list[object] = []
    stream = virtual.stream()
    stream.write(0, memoryview(b"content"))
    if mode == "w":
        monkeypatch.setattr(stream, "truncate", fail)
    with pytest.raises((ValueError, FileExistsError, ZeroDivisionError)):
        VirtualFileObject(stream, "file", mode, on_close=closed.append, on_flush=fail)
    gc.collect()
    assert not stream.is_closed
    assert read_all(stream) == b"content"
    assert (seen, closed) == ([], [])
    monkeypatch.undo()
    stream.close()


def fail(*_: object) -> Any:
    raise ZeroDivisionError


def test_object_without_init_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = unraisable(monkeypatch)
    file = VirtualFileObject.__new__(VirtualFileObject)
    assert "VirtualFileObject" in repr(file)
    file.close()
    del file
    VirtualFileObject.__new__(VirtualFileObject)
    gc.collect()
    assert seen == []


def test_writing_is_refused_over_a_read_only_container(virtual: VirtualPlace) -> None:
    from archive7.creation import open_container

    write(virtual, b"content")
    virtual.manager.save_meta()
    container = open_container(virtual.device, SECRETS, readonly=True)
    with DynamicMultiStreamManager.over(container) as manager:
        assert isinstance(manager, DynamicMultiStreamManager)
        stream = manager.open_stream(virtual.identity)
        for mode in ("r+", "w", "w+", "a", "a+", "x", "x+"):
            with pytest.raises(ReadOnlyError):
                VirtualFileObject(stream, "file", mode)
        with VirtualFileObject(stream, "file", "r") as file:
            assert file.read() == b"content"


# --- hooks, and streams that go away


def test_flush_tells_once_that_there_is_something_new(virtual: VirtualPlace) -> None:
    told: list[str] = []
    file = virtual.open("w", on_flush=lambda: told.append("flush"))
    file.flush()
    assert told == ["flush"]  # the file was made or cut
    file.flush()
    assert told == ["flush"]
    for change in (lambda: file.write(b"x"), lambda: file.truncate(5)):
        told.clear()
        change()
        assert told == []
        file.flush()
        file.flush()
        assert told == ["flush"]
    told.clear()
    file.write(b"x")
    file.close()
    assert told == ["flush"]


def test_reading_never_flushes(virtual: VirtualPlace) -> None:
    write(virtual, b"content")
    with virtual.open("r", on_flush=fail) as file:
        assert file.read() == b"content"
        file.flush()


def test_close_hook_runs_once_also_where_flushing_fails(virtual: VirtualPlace) -> None:
    closed: list[object] = []
    file = virtual.open("w", on_flush=fail, on_close=closed.append)
    with pytest.raises(ZeroDivisionError):
        file.close()
    assert file.closed
    assert closed == [file]
    file.close()
    assert closed == [file]
    file.stream.close()


def test_stream_is_closed_with_the_file(virtual: VirtualPlace) -> None:
    file = virtual.open("w")
    stream = file.stream
    assert stream is virtual.manager._open[virtual.identity]
    file.close()
    assert stream.is_closed


def test_error_half_way_is_reported(virtual: VirtualPlace) -> None:
    told: list[str] = []
    file = virtual.open("w", on_error=lambda: told.append("error"))
    file.stream.write = fail
    with pytest.raises(ZeroDivisionError):
        file.write(b"x")
    assert told == ["error"]
    assert file.tell() == 0
    del file.stream.write
    file.close()


def test_file_whose_stream_was_rolled_back_refuses_everything(virtual: VirtualPlace) -> None:
    virtual.manager.save_meta()
    stream = virtual.manager.new_stream()
    file = VirtualFileObject(stream, "lost", "w+")
    file.write(b"lost")
    virtual.manager.rollback()
    calls: list[Callable[[], object]] = [
        file.read,
        file.readall,
        lambda: file.readinto(bytearray(4)),
        lambda: file.readinto(bytearray()),
        lambda: file.write(b"x"),
        lambda: file.write(b""),
        lambda: file.truncate(0),
        lambda: file.seek(0),
        file.tell,
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    assert not file.closed
    file.close()


def test_rollback_shows_in_open_files(virtual: VirtualPlace) -> None:
    write(virtual, b"committed")
    virtual.manager.save_meta()
    with virtual.open("r+") as file:
        file.write(b"changed and longer than before")
        virtual.manager.rollback()
        file.seek(0)
        assert file.read() == b"committed"


def test_what_one_handle_writes_every_other_reads(place: Place) -> None:
    with place.open("r+") as one, place.open("r") as other:
        one.write(b"abc")
        assert other.read() == b"abc"
        one.truncate(1)
        other.seek(0)
        assert other.read() == b"a"
        one.seek(10_000)
        one.write(b"end")
        assert other.readall() == bytes(9999) + b"end"


# --- under the wrappers of io


def test_buffered_reader(place: Place) -> None:
    data = os.urandom(50_000)
    write(place, data)
    with io.BufferedReader(place.open("r"), 1000) as file:
        assert file.peek(1)[:1] == data[:1]
        assert file.read(10) == data[:10]
        assert file.read1(20) == data[10:30]
        file.seek(-10, 1)
        assert file.tell() == 20
        assert file.read(40_000) == data[20:40_020]
        assert file.read() == data[40_020:]
        assert file.mode == "rb"


def test_buffered_reader_refuses_what_cannot_be_read(place: Place) -> None:
    with place.open("w") as file, pytest.raises(io.UnsupportedOperation):
        io.BufferedReader(file)


def test_buffered_writer_hands_over_what_was_flushed(place: Place) -> None:
    with io.BufferedWriter(place.open("w"), 100) as file:
        file.write(b"x" * 30)
        assert place.content() == b""
        file.flush()
        assert place.content() == b"x" * 30
        file.write(b"y" * 500)
        assert file.truncate(200) == 200
    assert place.content() == b"x" * 30 + b"y" * 170


def test_buffered_random(place: Place) -> None:
    data = bytes(range(256)) * 40
    write(place, data)
    with io.BufferedRandom(place.open("r+"), 64) as file:
        assert file.read(100) == data[:100]
        assert file.write(b"here") == 4
        assert file.read(10) == data[104:114]
        file.seek(50)
        assert file.write(b"there") == 5
        assert file.tell() == 55
        assert file.truncate(2000) == 2000
        file.seek(0)
        wanted = data[:50] + b"there" + data[55:100] + b"here" + data[104:2000]
        assert file.read() == wanted


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
def test_text(place: Place, newline: str | None) -> None:
    text = "zeile\nüber\r\nund\rende €" * 500
    with io.TextIOWrapper(
        io.BufferedWriter(place.open("w")), encoding="utf-8", newline=newline
    ) as file:
        assert file.write(text) == len(text)
    mine = place.content()
    assert mine == text.encode() if newline in ("", "\n") else len(mine) > 0
    with io.TextIOWrapper(
        io.BufferedReader(place.open("r")), encoding="utf-8", newline=newline
    ) as file:
        read = file.read()
        assert read == io.TextIOWrapper(io.BytesIO(mine), "utf-8", newline=newline).read()
        file.seek(0)
        assert file.readline()
        cookie = file.tell()
        rest = file.read()
        file.seek(cookie)
        assert file.read() == rest
        assert file.name.endswith("file") if isinstance(file.name, str) else file.name


def test_detach_gives_the_raw_object_back(place: Place) -> None:
    raw = place.open("w")
    file = io.BufferedWriter(raw)
    file.write(b"x")
    assert file.detach() is raw
    assert not raw.closed
    raw.close()
    assert place.content() == b"x"
