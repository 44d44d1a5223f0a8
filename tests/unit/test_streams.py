"""Every name, constant, signature and promise of the seed's `archive7.streams`, on real files.

The checklist is section 7 of archive7_original.md, the defects are section 6 of it: numbers 1 to
14 have a test each that shows that the defect does not exist here.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import pickle
import uuid
from abc import ABC
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from archive7 import streams
from archive7.creation import Options, create_container, open_container
from archive7.crypto import SUITE_SECRETBOX, SUITE_XAES256GCM
from archive7.errors import (
    BlockCorruptError,
    ClosedError,
    LockedError,
    NotFoundError,
    ReadOnlyError,
    UsageError,
    WrongKeyError,
)
from archive7.layout import BLOCK_SIZE, DATA_SIZE, PLAIN_SIZE, RESERVE_COUNT, SLOTS_OFFSET
from archive7.streams import (
    BaseStream,
    BaseStreamManager,
    DataStream,
    DynamicMultiStreamManager,
    FixedMultiStreamManager,
    InternalStream,
    Registry,
    SingleStreamManager,
    StreamBlock,
    StreamManager,
    StreamRegistry,
    VirtualFileObject,
)
from tests.audit import KEY, SECRETS, audit_bytes, read_all


class ThreeStreams(FixedMultiStreamManager):
    """The trash and three streams more."""

    SPECIAL_STREAM_COUNT = 4


class Vault:
    """A container file that is audited when the test is over.

    Attributes:
        loose: positions of blocks that the test made outside any stream.
    """

    def __init__(self, path: Path, kind: type[StreamManager], suite: int) -> None:
        self.path = path
        self.loose: set[int] = set()
        self._kind = kind
        container = create_container(
            path, SECRETS, replace=False, options=Options(suite=suite, header=b"archive7" * 43)
        )
        self.manager: Any = kind.over(container)

    def reopen(self) -> Any:
        """Close and open again, as the seed's callers do."""
        self.manager.close()
        self.manager = self._kind(self.path, KEY)
        return self.manager

    def check(self) -> None:
        self.manager.close()
        audit_bytes(self.path.read_bytes(), self._kind, loose=self.loose)


@pytest.fixture(params=[SUITE_XAES256GCM, SUITE_SECRETBOX], ids=["xaes256gcm", "secretbox"])
def make(
    request: pytest.FixtureRequest, tmp_path: Path, need_secretbox: Callable[[], None]
) -> Iterator[Callable[[type[StreamManager]], Vault]]:
    """Makes audited vaults in one of the suites."""
    if request.param == SUITE_SECRETBOX:
        need_secretbox()
    made: list[Vault] = []

    def vault(kind: type[StreamManager]) -> Vault:
        made.append(Vault(tmp_path / f"vault{len(made)}.ar7", kind, request.param))
        return made[-1]

    yield vault
    for each in made:
        each.check()


@pytest.fixture
def dynamic(make: Callable[[type[StreamManager]], Vault]) -> Vault:
    return make(DynamicMultiStreamManager)


@pytest.fixture
def single(make: Callable[[type[StreamManager]], Vault]) -> Vault:
    return make(SingleStreamManager)


@pytest.fixture
def fixed(make: Callable[[type[StreamManager]], Vault]) -> Vault:
    return make(ThreeStreams)


def content(size: int, salt: int = 0) -> bytes:
    """`size` bytes that are the same for the same salt."""
    return hashlib.shake_128(b"%d" % salt).digest(size)


def put(stream: BaseStream, offset: int, data: bytes) -> None:
    assert stream.write(offset, memoryview(data)) == len(data)


def filled(manager: DynamicMultiStreamManager, size: int, salt: int = 0) -> DataStream:
    stream = manager.new_stream()
    put(stream, 0, content(size, salt))
    return stream


def chain_of(stream: BaseStream) -> list[tuple[int, int, int, int]]:
    """Position, previous, next and index of each block."""
    return [(b.position, b.previous, b.next, b.index) for b in stream]


# --- names, constants and signatures

NAMES = """
BaseStream BaseStreamManager DataStream DynamicMultiStreamManager FixedMultiStreamManager
InternalStream Registry SingleStreamManager StreamBlock StreamManager StreamRegistry
VirtualFileObject
""".split()


def test_package_exports_every_name_of_the_seed_and_no_other() -> None:
    assert sorted(streams.__all__) == NAMES
    assert all(inspect.isclass(getattr(streams, name)) for name in NAMES)


BASES = {
    BaseStream: ABC,
    InternalStream: BaseStream,
    DataStream: BaseStream,
    BaseStreamManager: ABC,
    StreamManager: BaseStreamManager,
    SingleStreamManager: StreamManager,
    FixedMultiStreamManager: StreamManager,
    DynamicMultiStreamManager: FixedMultiStreamManager,
    Registry: ABC,
    StreamRegistry: Registry,
}


@pytest.mark.parametrize(("kind", "base"), BASES.items())
def test_class_has_the_base_of_the_seed(kind: type, base: type) -> None:
    assert issubclass(kind, base)


CONSTANTS = [
    (StreamBlock, {"FORMAT": "!iiI16s20s4008s", "SIZE": 4056}),
    (BaseStream, {"COMP_NONE": 0, "FORMAT": "!16siiIQH", "SIZE": 38}),
    (
        BaseStreamManager,
        {"BLOCK_META": 0, "SPECIAL_BLOCK_COUNT": 0, "SPECIAL_STREAM_COUNT": 0},
    ),
    (StreamManager, {"BLOCK_META": 0, "SPECIAL_BLOCK_COUNT": 0, "SPECIAL_STREAM_COUNT": 0}),
    (
        SingleStreamManager,
        {"SPECIAL_BLOCK_COUNT": 1, "SPECIAL_STREAM_COUNT": 1, "STREAM_DATA": 0},
    ),
    (
        FixedMultiStreamManager,
        {"SPECIAL_BLOCK_COUNT": 1, "SPECIAL_STREAM_COUNT": 1, "STREAM_TRASH": 0},
    ),
    (
        DynamicMultiStreamManager,
        {
            "BLOCK_META": 0,
            "SPECIAL_BLOCK_COUNT": 1,
            "SPECIAL_STREAM_COUNT": 2,
            "STREAM_TRASH": 0,
            "STREAM_INDEX": 1,
        },
    ),
]


@pytest.mark.parametrize(("kind", "constants"), CONSTANTS)
def test_constants_are_those_of_the_seed(kind: type, constants: dict[str, object]) -> None:
    assert {name: getattr(kind, name) for name in constants} == constants


# class, method, parameters as the seed's page has them; "->" what it returns, where it says so
STREAM_INIT = "manager, block, identity, begin=-1, end=-1, count=0, length=0, compression=0"
SIGNATURES = [
    (
        StreamBlock,
        "__init__",
        "position, previous=-1, next=-1, index=0, stream=NIL, block=None",
    ),
    (StreamBlock, "load_meta", "block -> bool"),
    (BaseStream, "__init__", STREAM_INIT),
    (InternalStream, "__init__", STREAM_INIT),
    (DataStream, "__init__", STREAM_INIT),
    (BaseStream, "changed", ""),
    (BaseStream, "close", ""),
    (BaseStream, "end", ""),
    (BaseStream, "extend", "-> bool"),
    (BaseStream, "length", "change=0 -> int"),
    (BaseStream, "load_meta", "stream -> bool"),
    (BaseStream, "next", "-> bool"),
    (BaseStream, "previous", "-> bool"),
    (BaseStream, "push", "block"),
    (BaseStream, "save", "enforce=False"),
    (BaseStream, "truncate", "length -> int"),
    (BaseStream, "wind", "index -> int"),
    (DataStream, "close", ""),
    (InternalStream, "close", ""),
    (BaseStreamManager, "close", ""),
    (BaseStreamManager, "load_block", "index -> StreamBlock"),
    (BaseStreamManager, "new_block", "-> StreamBlock"),
    (BaseStreamManager, "recycle", "chain -> bool"),
    (BaseStreamManager, "reuse", ""),
    (BaseStreamManager, "save_block", "index, block"),
    (BaseStreamManager, "save_meta", ""),
    (BaseStreamManager, "special_block", "position"),
    (BaseStreamManager, "special_stream", "position"),
    (StreamManager, "__init__", "filename, secret"),
    (StreamManager, "close", ""),
    (StreamManager, "load_block", "index -> StreamBlock"),
    (StreamManager, "new_block", "-> StreamBlock"),
    (StreamManager, "recycle", "chain -> bool"),
    (StreamManager, "reuse", ""),
    (StreamManager, "save_block", "index, block"),
    (StreamManager, "save_meta", ""),
    (StreamManager, "special_block", "position"),
    (StreamManager, "special_stream", "position"),
    (SingleStreamManager, "__init__", "filename, secret"),
    (SingleStreamManager, "recycle", "chain -> bool"),
    (SingleStreamManager, "reuse", ""),
    (FixedMultiStreamManager, "__init__", "filename, secret"),
    (FixedMultiStreamManager, "recycle", "chain -> bool"),
    (FixedMultiStreamManager, "reuse", ""),
    (DynamicMultiStreamManager, "__init__", "filename, secret"),
    (DynamicMultiStreamManager, "new_stream", "-> DataStream"),
    (DynamicMultiStreamManager, "open_stream", "identity -> DataStream"),
    (DynamicMultiStreamManager, "close_stream", "stream -> bool"),
    (DynamicMultiStreamManager, "del_stream", "identity -> bool"),
    (Registry, "__init__", "manager"),
    (Registry, "close", ""),
    (StreamRegistry, "__init__", "manager"),
    (StreamRegistry, "register", "stream"),
    (StreamRegistry, "unregister", "identity"),
    (StreamRegistry, "update", "stream -> bool"),
    (StreamRegistry, "search", "identity"),
    (VirtualFileObject, "__init__", "stream, filename, mode='r'"),
]


@pytest.mark.parametrize(
    ("kind", "name", "wanted"),
    [pytest.param(*case, id=f"{case[0].__name__}.{case[1]}") for case in SIGNATURES],
)
def test_signature_is_that_of_the_seed(kind: type, name: str, wanted: str) -> None:
    """What is more than the seed's comes behind its parameters and may be left out."""
    parameters, _, returned = (part.strip() for part in wanted.partition("->"))
    signature = inspect.signature(getattr(kind, name))
    mine = [p for p in signature.parameters.values() if p.name != "self"]
    asked = [part.strip() for part in parameters.split(",") if part.strip()]
    shown = [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in mine[: len(asked)]
    ]
    assert [text.replace(repr(UUID(int=0)), "NIL") for text in shown] == asked
    assert all(p.default is not p.empty for p in mine[len(asked) :])
    if returned:
        assert signature.return_annotation == returned


PROPERTIES = {
    StreamBlock: "position",
    BaseStream: "block count data identity len manager",
    BaseStreamManager: "closed created meta",
    StreamManager: "closed created meta",
    Registry: "tree",
    VirtualFileObject: "stream",
}


@pytest.mark.parametrize(("kind", "names"), PROPERTIES.items())
def test_properties_are_those_of_the_seed(kind: type, names: str) -> None:
    for name in names.split():
        assert isinstance(inspect.getattr_static(kind, name), property), name


def test_position_of_a_block_and_identity_of_a_stream_cannot_be_set(dynamic: Vault) -> None:
    with pytest.raises(AttributeError):
        StreamBlock(1).position = 2  # type: ignore[misc]
    stream = dynamic.manager.new_stream()
    for name in ("identity", "count", "len", "manager"):
        with pytest.raises(AttributeError):
            setattr(stream, name, 1)


ABSTRACT = [
    (BaseStream, {"close"}),
    (
        BaseStreamManager,
        set(
            "close closed created load_block meta new_block recycle reuse save_block save_meta "
            "special_block special_stream".split()
        ),
    ),
    (StreamManager, {"recycle", "reuse"}),
    (DataStream, set()),
    (InternalStream, set()),
    (SingleStreamManager, set()),
    (FixedMultiStreamManager, set()),
    (DynamicMultiStreamManager, set()),
    (StreamRegistry, set()),
]


@pytest.mark.parametrize(("kind", "names"), ABSTRACT)
def test_abstract_is_what_the_seed_has_abstract(kind: Any, names: set[str]) -> None:
    assert kind.__abstractmethods__ == names


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_a_docstring(name: str) -> None:
    kind = getattr(streams, name)
    assert kind.__doc__
    for attribute, member in vars(kind).items():
        if not attribute.startswith("_") and callable(getattr(member, "__func__", member)):
            assert inspect.getdoc(getattr(kind, attribute)), f"{name}.{attribute}"


# --- StreamBlock


def plain_block(index: int = 3, salt: int = 1) -> bytes:
    block = StreamBlock(9, previous=1, next=2, index=index, stream=UUID(int=77))
    block.data[:] = content(DATA_SIZE, salt)
    return bytes(block)


def test_new_block_is_empty_and_alone() -> None:
    block = StreamBlock(5)
    fields = (block.position, block.previous, block.next, block.index, block.stream)
    assert fields == (5, -1, -1, 0, UUID(int=0))
    assert block.data == bytes(4008)
    assert len(block.digest) == 20


def test_block_has_4056_bytes_on_4096() -> None:
    assert len(bytes(StreamBlock(1))) == StreamBlock.SIZE == 4056
    assert StreamBlock.SIZE + 40 == BLOCK_SIZE


def test_block_comes_back_from_its_bytes() -> None:
    block = StreamBlock(4, block=plain_block())
    assert (block.position, block.previous, block.next, block.index) == (4, 1, 2, 3)
    assert block.stream == UUID(int=77)
    assert block.data == content(DATA_SIZE, 1)
    assert bytes(block) == plain_block()


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_load_meta_fills_the_fields_from_any_buffer(wrap: Callable[[bytes], Any]) -> None:
    block = StreamBlock(4)
    assert block.load_meta(wrap(plain_block())) is True
    assert (block.position, block.previous, block.next, block.index) == (4, 1, 2, 3)
    assert block.data == content(DATA_SIZE, 1)


@pytest.mark.parametrize("size", [0, 1, 38, PLAIN_SIZE - 1, PLAIN_SIZE + 1, BLOCK_SIZE])
def test_load_meta_of_a_block_refuses_other_sizes(size: int) -> None:
    block = StreamBlock(4, block=plain_block())
    assert block.load_meta(bytes(size)) is False
    assert bytes(block) == plain_block()
    with pytest.raises(ValueError, match="4056"):
        StreamBlock(4, block=bytes(size))


@pytest.mark.parametrize("at", [28, 47, 48, 2000, PLAIN_SIZE - 1])
def test_load_meta_of_a_block_tells_corruption_by_the_digest(at: int) -> None:
    damaged = bytearray(plain_block(salt=2))
    damaged[at] ^= 1
    block = StreamBlock(4, block=plain_block())
    assert block.load_meta(damaged) is False
    assert bytes(block) == plain_block()
    with pytest.raises(ValueError, match="digest"):
        StreamBlock(4, block=bytes(damaged))


def test_block_that_was_sealed_loads_from_its_bytes(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 3 * DATA_SIZE)
    dynamic.manager.save_meta()
    block = dynamic.manager.load_block(stream.extents.position(1))
    again = StreamBlock(block.position)
    assert again.load_meta(dynamic.manager.container.blocks.load(block.position)) is True
    assert again.data == content(3 * DATA_SIZE)[DATA_SIZE : 2 * DATA_SIZE]
    assert again.digest == block.digest != bytes(20)


def test_repr_of_a_block_tells_position_and_stream_and_no_data() -> None:
    block = StreamBlock(4, block=plain_block())
    block.data[:6] = b"secret"
    assert "4" in repr(block)
    assert str(UUID(int=77)) in repr(block)
    assert "secret" not in repr(block)


# --- the record of a stream


def test_new_stream_is_empty(dynamic: Vault) -> None:
    stream = dynamic.manager.new_stream()
    assert isinstance(stream, DataStream)
    assert (stream.count, stream.len, stream.length()) == (0, 0, 0)
    assert stream.compression == BaseStream.COMP_NONE
    assert stream.manager is dynamic.manager
    assert BaseStream.meta_unpack(bytes(stream)) == (stream.identity.bytes, -1, -1, 0, 0, 0)
    with pytest.raises(UsageError, match="extend"):
        stream.block


def test_record_tells_all_fields(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 10_000)
    positions = [block.position for block in stream]
    unpacked = BaseStream.meta_unpack(bytes(stream))
    assert unpacked == (stream.identity.bytes, positions[0], positions[-1], 3, 10_000, 0)
    assert len(bytes(stream)) == BaseStream.SIZE == 38


def test_stream_loads_its_record(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 10_000)
    other = InternalStream(dynamic.manager, None, uuid.uuid4())
    assert other.load_meta(bytes(stream)) is True
    assert bytes(other) == bytes(stream)
    assert other.identity == stream.identity
    assert read_all(other) == content(10_000)
    assert other.load_meta(bytearray(bytes(stream))) is True


def record(**changes: int | bytes) -> bytes:
    fields: dict[str, Any] = {
        "identity": bytes(16), "begin": 5, "end": 9, "count": 5, "length": 20_000,
        "compression": 0,
    }  # fmt: skip
    return streams.BaseStream.meta_unpack.__globals__["STREAM"].pack(
        *{**fields, **changes}.values()
    )


CORRUPT_RECORDS = {
    "empty": b"",
    "cut": record()[:-1],
    "longer": record() + b"\0",
    "begins at the root": record(begin=0),
    "ends at the root": record(end=0),
    "begins nowhere": record(begin=-1),
    "ends nowhere": record(end=-1),
    "begins below nowhere": record(begin=-2),
    "no block with an end": record(count=0, length=0),
    "no block with a length": record(count=0, begin=-1, end=-1),
    "longer than its blocks": record(length=5 * 4008 + 1),
    "one block with two ends": record(count=1, length=1),
    "unknown compression": record(compression=1),
}


@pytest.mark.parametrize("damaged", CORRUPT_RECORDS.values(), ids=CORRUPT_RECORDS)
def test_load_meta_of_a_corrupt_record_is_false_and_changes_nothing(
    dynamic: Vault, damaged: bytes
) -> None:
    stream = filled(dynamic.manager, 10_000)
    before = bytes(stream)
    assert stream.load_meta(damaged) is False
    assert bytes(stream) == before
    assert read_all(stream) == content(10_000)


@pytest.mark.parametrize(
    "whole",
    [
        record(),
        record(length=5 * 4008),
        record(count=1, end=5, length=7),
        record(begin=-1, end=-1, count=0, length=0),
    ],
)
def test_load_meta_of_a_whole_record_is_true(dynamic: Vault, whole: bytes) -> None:
    stream = InternalStream(dynamic.manager, None, uuid.uuid4())
    assert stream.load_meta(whole) is True
    assert bytes(stream) == whole


def test_length_tells_and_changes_by_a_relative_number(dynamic: Vault) -> None:
    stream = dynamic.manager.new_stream()
    stream.extend()
    assert stream.length() == 0
    assert stream.length(100) == 100
    assert stream.length(-40) == 60
    assert stream.length() == stream.len == 60
    for change in (-61, 4008 - 59, -(2**70), 2**70):
        with pytest.raises(UsageError):
            stream.length(change)
    assert stream.len == 60
    assert stream.length(4008 - 60) == 4008
    dynamic.reopen()
    assert dynamic.manager.open_stream(stream.identity).len == 4008


@pytest.mark.parametrize("size", [0, 1, 4007, 4008, 4009, 12_024, 100_000])
def test_len_is_the_byte_length(dynamic: Vault, size: int) -> None:
    stream = filled(dynamic.manager, size)
    assert (stream.len, stream.count) == (size, -(-size // 4008))
    stream.close()
    again = dynamic.reopen().open_stream(stream.identity)
    assert (again.len, again.count) == (size, -(-size // 4008))
    assert read_all(again) == content(size)


# --- the cursor


def test_extend_adds_an_empty_block_at_the_end_only(dynamic: Vault) -> None:
    stream = dynamic.manager.new_stream()
    for index in range(4):
        assert stream.extend() is True
        assert stream.block.index == index
        assert stream.count == index + 1
        assert stream.data == bytes(4008)
    assert stream.wind(2) == 2
    assert stream.extend() is False
    assert stream.count == 4
    stream.end()
    assert stream.extend() is True
    stream.truncate(0)


def test_changed_block_is_saved_when_the_cursor_moves_on(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 3 * 4008)
    stream.wind(1)
    stream.data[:5] = b"hello"
    stream.changed()
    assert stream.next() is True
    assert stream.previous() is True
    assert stream.data[:5] == b"hello"
    wanted = bytearray(content(3 * 4008))
    wanted[4008:4013] = b"hello"
    stream.close()
    assert read_all(dynamic.reopen().open_stream(stream.identity)) == wanted


@pytest.mark.parametrize("leave", ["save", "close", "wind", "end", "truncate", "commit"])
def test_changed_block_is_saved_by(dynamic: Vault, leave: str) -> None:
    stream = filled(dynamic.manager, 3 * 4008)
    stream.data[:5] = b"hello"
    stream.changed()
    arguments = {"wind": (2,), "truncate": (2 * 4008,)}.get(leave, ())
    if leave == "commit":
        dynamic.manager.save_meta()
    else:
        getattr(stream, leave)(*arguments)
    manager = dynamic.reopen()
    assert read_all(manager.open_stream(stream.identity))[:10] == b"hello" + content(10)[5:]


def test_block_that_was_not_said_to_be_changed_is_not_saved(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 2 * 4008)
    dynamic.manager.save_meta()
    stream.data[:5] = b"hello"
    stream.save()
    assert not dynamic.manager.container.is_changed
    assert stream.next() is True
    assert stream.previous() is True
    assert stream.data == content(2 * 4008)[:4008]


def test_save_enforced_writes_the_block_anyway(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 2 * 4008)
    dynamic.manager.save_meta()
    counts = dynamic.manager.container.blocks.counts
    stream.data[:5] = b"hello"
    stream.save(enforce=True)
    before = counts.sealed
    dynamic.manager.save_meta()
    assert counts.sealed == before + 1
    assert read_all(stream)[:5] == b"hello"


def test_next_and_previous_stop_at_the_edges(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 3 * 4008)
    assert stream.block.index == 0
    assert [stream.next(), stream.next(), stream.next(), stream.next()] == [
        True,
        True,
        False,
        False,
    ]
    assert stream.block.index == 2
    assert [stream.previous(), stream.previous(), stream.previous()] == [True, True, False]
    assert stream.block.index == 0
    empty = dynamic.manager.new_stream()
    assert empty.next() is False
    assert empty.previous() is False


def test_wind_and_end_move_to_a_block_of_the_stream(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 5 * 4008)
    for asked, got in ((3, 3), (1, 1), (1, 1), (-4, 0), (99, 4), (0, 0)):
        assert stream.wind(asked) == got
        assert stream.block.index == got
        assert stream.data == content(5 * 4008)[got * 4008 : (got + 1) * 4008]
    stream.end()
    assert stream.block.index == 4
    assert dynamic.manager.new_stream().wind(3) == 0


def test_links_are_right_at_every_commit(dynamic: Vault) -> None:
    manager = dynamic.manager
    stream = filled(manager, 2 * 4008)
    other = filled(manager, 10)  # so that the first stream gets a second run
    for size in (3, 9, 40, 41):
        put(stream, stream.len, bytes(size * 4008 - stream.len))
        put(other, other.len, bytes(5000))
        manager.save_meta()
        chain = chain_of(stream)
        assert [index for *_, index in chain] == list(range(size))
        assert chain[0][1] == -1
        for (at, _, following, _), (position, previous, _, _) in pairwise(chain):
            assert (following, previous) == (position, at)
    assert len(stream.extents) > 1, "the case of several runs was not met"


@pytest.mark.parametrize("start", [0, 1, 2])
def test_iteration_gives_each_block_once_wherever_the_cursor_stands(
    dynamic: Vault, start: int
) -> None:
    stream = filled(dynamic.manager, 2 * 4008 + 10)
    stream.wind(start)
    assert [block.index for block in stream] == [0, 1, 2]
    stream.wind(start)
    assert [block.index for block in reversed(stream)] == [2, 1, 0]
    datas = [bytes(block.data) for block in stream]
    assert b"".join(datas)[: stream.len] == content(2 * 4008 + 10)
    assert [bytes(block.data) for block in reversed(stream)] == datas[::-1]


def test_iteration_of_an_empty_stream_gives_nothing(dynamic: Vault) -> None:
    stream = dynamic.manager.new_stream()
    assert list(stream) == []
    assert list(reversed(stream)) == []


def test_blocks_can_be_changed_while_they_are_iterated(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 3 * 4008)
    for block in stream:
        block.data[0] = block.index
        stream.changed()
    stream.close()
    again = dynamic.reopen().open_stream(stream.identity)
    assert [block.data[0] for block in again] == [0, 1, 2]


def test_push_appends_a_block_and_pop_takes_the_last_off(dynamic: Vault) -> None:
    manager = dynamic.manager
    stream = filled(manager, 2 * 4008)
    for number in (2, 3):
        block = manager.new_block()
        block.data[:] = content(4008, number)
        stream.push(block)
        assert stream.count == number + 1
        assert stream.block is block
        assert (block.index, block.stream) == (number, stream.identity)
    stream.length(2 * 4008)
    manager.save_meta()
    assert [bytes(b.data) for b in stream][2:] == [content(4008, 2), content(4008, 3)]
    last = stream.pop()
    assert last is not None
    assert last.data == content(4008, 3)
    assert (last.previous, last.next, stream.count, stream.len) == (-1, -1, 3, 3 * 4008)
    assert manager.recycle(last) is True
    assert [index for *_, index in chain_of(stream)] == [0, 1, 2]
    stream.close()
    again = dynamic.reopen().open_stream(stream.identity)
    assert read_all(again) == content(2 * 4008) + content(4008, 2)


def test_pop_empties_a_stream_and_then_gives_none(dynamic: Vault) -> None:
    manager = dynamic.manager
    stream = filled(manager, 2 * 4008 + 5)
    popped = []
    while (block := stream.pop()) is not None:
        popped.append(block.index)
        assert manager.recycle(block) is True
    assert popped == [2, 1, 0]
    assert (stream.count, stream.len) == (0, 0)
    assert stream.pop() is None
    put(stream, 0, b"again")
    assert read_all(stream) == b"again"


def test_block_popped_from_one_stream_can_be_pushed_to_another(dynamic: Vault) -> None:
    one, other = filled(dynamic.manager, 3 * 4008, 1), filled(dynamic.manager, 4008, 2)
    block = one.pop()
    assert block is not None
    other.push(block)
    other.length(4008)
    assert read_all(other) == content(4008, 2) + content(3 * 4008, 1)[2 * 4008 :]
    assert read_all(one) == content(3 * 4008, 1)[: 2 * 4008]


# --- truncate


@pytest.mark.parametrize(
    "length", [0, 1, 4007, 4008, 4009, 8016, 12_023, 12_024, 12_025, 16_000, 50_000]
)
def test_truncate_gives_the_new_length_and_cuts_or_fills_with_zeros(
    dynamic: Vault, length: int
) -> None:
    stream = filled(dynamic.manager, 12_024)
    assert stream.truncate(length) == length
    wanted = content(12_024)[:length].ljust(length, b"\0")
    assert (stream.len, stream.count) == (length, -(-length // 4008))
    assert read_all(stream) == wanted
    stream.close()
    assert read_all(dynamic.reopen().open_stream(stream.identity)) == wanted


def test_truncate_refuses_a_negative_length(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 100)
    with pytest.raises(UsageError):
        stream.truncate(-1)
    assert read_all(stream) == content(100)


def test_truncate_recycles_the_blocks(dynamic: Vault) -> None:
    manager = dynamic.manager
    stream = filled(manager, 20 * 4008)
    gone = {block.position for block in stream if block.index >= 5}
    stream.truncate(5 * 4008)
    manager.save_meta()
    assert gone <= {
        position
        for first, count in manager.container.positions.extents()
        for position in range(first, first + count)
    }
    for position in gone:
        with pytest.raises(BlockCorruptError):
            manager.load_block(position)


def test_truncate_leaves_the_cursor_in_the_stream(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 5 * 4008)
    stream.end()
    stream.truncate(2 * 4008)
    assert stream.block.index == 1
    assert stream.block.next == -1
    stream.truncate(0)
    with pytest.raises(UsageError):
        stream.block


# --- closing a stream


def test_closed_stream_refuses_everything(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 5000)
    stream.close()
    stream.close()
    assert stream.is_closed
    calls: list[Callable[[], object]] = [
        lambda: stream.read_into(0, memoryview(bytearray(4))),
        lambda: stream.write(0, memoryview(b"x")),
        lambda: stream.truncate(0),
        lambda: stream.extend(),
        lambda: stream.push(StreamBlock(1)),
        lambda: stream.pop(),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    assert read_all(dynamic.manager.open_stream(stream.identity)) == content(5000)


def test_internal_stream_saves_its_block_at_close(fixed: Vault) -> None:
    stream = fixed.manager.special_stream(1)
    assert isinstance(stream, InternalStream)
    put(stream, 0, content(5000))
    stream.data[:5] = b"hello"
    stream.changed()
    stream.close()
    again = fixed.reopen().special_stream(1)
    assert read_all(again) == b"hello" + content(5000)[5:]


@pytest.mark.parametrize("call", [pickle.dumps, copy.copy, copy.deepcopy])
def test_streams_and_managers_refuse_pickling_and_copying(
    dynamic: Vault, call: Callable[[object], object]
) -> None:
    stream = dynamic.manager.new_stream()
    for thing in (stream, dynamic.manager, VirtualFileObject(stream, "name", "r")):
        with pytest.raises(TypeError, match=type(thing).__name__):
            call(thing)


# --- managers

KINDS = [SingleStreamManager, ThreeStreams, DynamicMultiStreamManager]


@pytest.mark.parametrize("kind", KINDS)
def test_manager_makes_the_file_and_opens_it_again(
    tmp_path: Path, kind: type[StreamManager]
) -> None:
    path = tmp_path / "vault.ar7"
    manager = kind(path, KEY)
    assert manager.created is True
    assert manager.closed is False
    assert path.exists()
    manager.close()
    manager.close()
    assert manager.closed is True
    with kind(str(path), KEY) as again:
        assert again.created is False
    assert again.closed is True
    audit_bytes(path.read_bytes(), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_secret_is_refused_and_leaves_the_file_alone(
    make: Callable[[type[StreamManager]], Vault], kind: type[StreamManager]
) -> None:
    vault = make(kind)
    vault.manager.close()
    before = vault.path.read_bytes()
    with pytest.raises(WrongKeyError):
        kind(vault.path, bytes(32))
    for secret in (b"", KEY[:31], KEY + b"x", "x" * 32, None):
        with pytest.raises(UsageError):
            kind(vault.path, secret)  # type: ignore[arg-type]
    assert vault.path.read_bytes() == before
    assert list(vault.path.parent.iterdir()) == [vault.path]
    vault.reopen()


def test_missing_secret_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        DynamicMultiStreamManager(tmp_path / "vault.ar7", b"short")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_second_open_is_refused_at_once(
    make: Callable[[type[StreamManager]], Vault], kind: type[StreamManager]
) -> None:
    vault = make(kind)
    with pytest.raises(LockedError):
        kind(vault.path, KEY)
    vault.manager.close()
    kind(vault.path, KEY).close()


@pytest.mark.parametrize("kind", KINDS)
def test_special_blocks_and_streams_have_bounds(
    make: Callable[[type[StreamManager]], Vault], kind: type[StreamManager]
) -> None:
    manager = make(kind).manager
    assert [manager.special_block(i).position for i in range(kind.SPECIAL_BLOCK_COUNT)] == [0]
    for outside in (-1, kind.SPECIAL_BLOCK_COUNT, 8):
        with pytest.raises(UsageError, match="special block"):
            manager.special_block(outside)
    for number in range(kind.SPECIAL_STREAM_COUNT):
        assert isinstance(manager.special_stream(number), InternalStream)
    assert len({manager.special_stream(i).identity for i in range(kind.SPECIAL_STREAM_COUNT)}) == (
        kind.SPECIAL_STREAM_COUNT
    )
    for outside in (-1, kind.SPECIAL_STREAM_COUNT, 8):
        with pytest.raises(UsageError, match="special stream"):
            manager.special_stream(outside)


def test_block_0_is_the_root_and_begins_with_the_archive_header(dynamic: Vault) -> None:
    manager = dynamic.manager
    put(manager.new_stream(), 0, content(9000))
    manager.save_meta()
    block = manager.load_block(BaseStreamManager.BLOCK_META)
    assert block.position == 0
    assert block.data == manager.container.root.encode()
    assert block.data[:344] == manager.meta == b"archive7" * 43


def test_block_0_takes_the_archive_header_into_the_next_commit(dynamic: Vault) -> None:
    block = dynamic.manager.load_block(0)
    block.data[:] = b"h" * DATA_SIZE  # what lies behind the header is not taken
    dynamic.manager.save_block(0, block)
    dynamic.manager.save_meta()
    assert dynamic.manager.load_block(0).data[:345] == b"h" * 344 + b"\0"
    assert dynamic.reopen().meta == b"h" * 344


def test_meta_is_kept(dynamic: Vault) -> None:
    dynamic.manager.meta = b"mine"
    assert dynamic.manager.meta == b"mine".ljust(344, b"\0")
    with pytest.raises(UsageError, match="344"):
        dynamic.manager.meta = bytes(345)
    assert dynamic.reopen().meta == b"mine".ljust(344, b"\0")


def test_save_meta_commits_what_was_written(dynamic: Vault) -> None:
    """What the file holds now is what is there after a kill."""
    stream = filled(dynamic.manager, 9000)
    number = dynamic.manager.container.root.number
    dynamic.manager.save_meta()
    assert dynamic.manager.container.root.number > number
    audit_bytes(dynamic.path.read_bytes(), is_settled=False)
    survivor = dynamic.path.with_name("survivor.ar7")
    survivor.write_bytes(dynamic.path.read_bytes())
    with DynamicMultiStreamManager(survivor, KEY) as manager:
        assert read_all(manager.open_stream(stream.identity)) == content(9000)


def test_new_block_is_written_empty(dynamic: Vault) -> None:
    block = dynamic.manager.new_block()
    dynamic.loose.add(block.position)
    loaded = dynamic.manager.load_block(block.position)
    assert bytes(loaded.data) == bytes(4008)
    assert (loaded.position, loaded.previous, loaded.next) == (block.position, -1, -1)
    assert dynamic.reopen().load_block(block.position).data == bytes(4008)


def test_saved_block_is_loaded_again(dynamic: Vault) -> None:
    block = dynamic.manager.new_block()
    dynamic.loose.add(block.position)
    block.data[:] = content(4008)
    block.index, block.stream = 7, UUID(int=9)
    dynamic.manager.save_block(block.position, block)
    block.data[:] = bytes(4008)  # the manager has its own copy
    for again in (lambda: dynamic.manager, dynamic.reopen):
        loaded = again().load_block(block.position)
        assert loaded.data == content(4008)
        assert (loaded.index, loaded.stream) == (7, UUID(int=9))


def test_block_cannot_be_saved_at_another_position(dynamic: Vault) -> None:
    one, other = dynamic.manager.new_block(), dynamic.manager.new_block()
    dynamic.loose |= {one.position, other.position}
    for index in (other.position, one.position + 100, 0, -1):
        with pytest.raises(UsageError, match="position"):
            dynamic.manager.save_block(index, one)


@pytest.mark.parametrize("index", [-1, 10_000, 2**31, 2**63])
def test_position_never_given_out_cannot_be_loaded_or_saved(dynamic: Vault, index: int) -> None:
    with pytest.raises(UsageError, match="position"):
        dynamic.manager.load_block(index)
    with pytest.raises(UsageError, match="position"):
        dynamic.manager.save_block(index, StreamBlock(index))


def test_free_position_cannot_be_loaded_or_saved(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 5 * 4008)
    stream.wind(3)
    block = stream.block
    stream.truncate(0)
    with pytest.raises(BlockCorruptError):
        dynamic.manager.load_block(block.position)
    with pytest.raises(UsageError, match="position"):
        dynamic.manager.save_block(block.position, block)


def test_closed_manager_refuses_everything(dynamic: Vault) -> None:
    manager: DynamicMultiStreamManager = dynamic.manager
    stream = filled(manager, 10)
    manager.close()
    calls: list[Callable[[], object]] = [
        lambda: manager.load_block(0),
        lambda: manager.special_block(0),
        lambda: manager.save_block(1, StreamBlock(1)),
        manager.new_block,
        manager.save_meta,
        manager.new_stream,
        manager.reuse,
        lambda: manager.recycle(StreamBlock(1)),
        lambda: manager.open_stream(stream.identity),
        lambda: manager.del_stream(stream.identity),
        lambda: setattr(manager, "meta", b""),
        lambda: read_all(stream),
        lambda: put(stream, 0, b"x"),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()


def test_reader_refuses_every_change(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 10_000)
    dynamic.manager.save_meta()
    reader = open_container(dynamic.path, SECRETS, readonly=True)
    with DynamicMultiStreamManager.over(reader) as manager:
        assert isinstance(manager, DynamicMultiStreamManager)
        mine = manager.open_stream(stream.identity)
        assert read_all(mine) == content(10_000)
        block = manager.load_block(stream.extents.position(0))
        calls: list[Callable[[], object]] = [
            lambda: manager.save_block(block.position, block),
            manager.new_block,
            manager.save_meta,
            manager.new_stream,
            manager.reuse,
            lambda: manager.recycle(block),
            lambda: manager.del_stream(stream.identity),
            lambda: setattr(manager, "meta", b""),
            lambda: put(mine, 0, b"x"),
            lambda: mine.truncate(0),
            mine.extend,
            mine.pop,
            lambda: (mine.block, mine.save(enforce=True)),
        ]
        for call in calls:
            with pytest.raises(ReadOnlyError):
                call()
        assert read_all(mine) == content(10_000)


# --- SingleStreamManager


def test_single_stream_keeps_its_data(single: Vault) -> None:
    stream = single.manager.special_stream(SingleStreamManager.STREAM_DATA)
    put(stream, 0, content(100_000))
    stream.close()
    assert read_all(single.reopen().special_stream(0)) == content(100_000)


def test_recycle_cuts_the_single_stream_and_shortens_the_file(single: Vault) -> None:
    stream = single.manager.special_stream(0)
    put(stream, 0, content(1000 * 4008))
    single.manager.close()
    full = single.path.stat().st_size
    manager = single.reopen()
    stream = manager.special_stream(0)
    stream.wind(400)
    assert manager.recycle(stream.block) is True
    assert (stream.count, stream.len) == (400, 400 * 4008)
    manager.close()
    assert full - single.path.stat().st_size >= 590 * BLOCK_SIZE
    assert single.path.stat().st_size >= SLOTS_OFFSET + 400 * BLOCK_SIZE
    assert read_all(single.reopen().special_stream(0)) == content(400 * 4008)


def test_recycle_of_the_first_block_leaves_no_data_block(single: Vault) -> None:
    put(single.manager.special_stream(0), 0, content(200 * 4008))
    manager = single.reopen()
    assert manager.recycle(manager.special_stream(0).block) is True
    manager.close()
    # the reserve, and the map's two nodes (old and new) at the most
    assert single.path.stat().st_size <= SLOTS_OFFSET + (RESERVE_COUNT + 2) * BLOCK_SIZE
    assert single.reopen().special_stream(0).len == 0


def test_recycle_refuses_what_is_no_block_of_the_single_stream(single: Vault) -> None:
    manager = single.manager
    stream = manager.special_stream(0)
    put(stream, 0, content(5 * 4008))
    stream.wind(2)
    block = stream.block
    elsewhere = StreamBlock(block.position + 1, index=2, stream=stream.identity)
    behind = StreamBlock(block.position, index=5, stream=stream.identity)
    foreign = StreamBlock(block.position, index=2, stream=uuid.uuid4())
    for wrong in (elsewhere, behind, foreign, StreamBlock(0)):
        assert manager.recycle(wrong) is False
    assert read_all(stream) == content(5 * 4008)


def test_single_stream_needs_no_reuse(single: Vault) -> None:
    stream = single.manager.special_stream(0)
    put(stream, 0, content(5 * 4008))
    stream.truncate(0)
    assert single.manager.reuse() is None


def test_single_and_fixed_managers_have_no_data_streams(
    make: Callable[[type[StreamManager]], Vault],
) -> None:
    for kind in (SingleStreamManager, ThreeStreams):
        manager = make(kind).manager
        with pytest.raises(UsageError):
            manager.close_stream(manager.special_stream(0))
        assert not hasattr(manager, "new_stream")


# --- FixedMultiStreamManager


def test_fixed_streams_keep_their_own_data(fixed: Vault) -> None:
    for turn in range(5):
        for number in (1, 2, 3):
            stream = fixed.manager.special_stream(number)
            put(stream, stream.len, content(3000 * number, 10 * number + turn))
    manager = fixed.reopen()
    for number in (1, 2, 3):
        wanted = b"".join(content(3000 * number, 10 * number + turn) for turn in range(5))
        assert read_all(manager.special_stream(number)) == wanted
    identities = {manager.special_stream(number).identity for number in range(4)}
    assert len(identities) == 4


def test_more_fixed_streams_than_the_file_has_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "vault.ar7"
    with FixedMultiStreamManager(path, KEY) as manager:
        manager.commit()
    with ThreeStreams(path, KEY) as wider:
        put(wider.special_stream(3), 0, b"new")
    with ThreeStreams(path, KEY) as wider:
        assert [wider.special_stream(i).len for i in range(4)][1:] == [0, 0, 3]


def test_recycled_chain_is_reused(fixed: Vault) -> None:
    stream = fixed.manager.special_stream(2)
    put(stream, 0, content(6 * 4008))
    positions = [block.position for block in stream]
    fixed.manager.save_meta()
    chain = []
    while (block := stream.pop()) is not None:
        chain.append(block)
    for block in chain:
        assert fixed.manager.recycle(block) is True
    reused = set()
    for _ in positions:
        block = fixed.manager.reuse()
        assert block is not None
        assert bytes(block.data) == bytes(4008)
        assert bytes(fixed.manager.load_block(block.position).data) == bytes(4008)
        reused.add(block.position)
    assert reused >= set(positions)
    fixed.loose |= reused


def test_recycle_frees_the_whole_chain_behind_a_block(fixed: Vault) -> None:
    manager = fixed.manager
    chain = [manager.new_block() for _ in range(4)]
    for index, block in enumerate(chain):
        block.index, block.stream = index, UUID(int=99)
        block.previous = chain[index - 1].position if index else -1
        block.next = chain[index + 1].position if index < 3 else -1
        manager.save_block(block.position, block)
    manager.save_meta()
    assert manager.recycle(chain[1]) is True
    fixed.loose.add(chain[0].position)
    assert manager.load_block(chain[0].position).stream == UUID(int=99)
    for block in chain[1:]:
        with pytest.raises(BlockCorruptError):
            manager.load_block(block.position)


def test_recycle_never_frees_the_root(fixed: Vault) -> None:
    assert fixed.manager.recycle(fixed.manager.load_block(0)) is False
    assert fixed.manager.load_block(0).position == 0


def test_recycle_of_a_block_that_is_not_there_raises(fixed: Vault) -> None:
    stream = fixed.manager.special_stream(1)
    put(stream, 0, content(3 * 4008))
    stream.wind(1)
    fake = StreamBlock(stream.block.position, index=2, stream=stream.identity)
    with pytest.raises(BlockCorruptError):
        fixed.manager.recycle(fake)
    assert read_all(stream) == content(3 * 4008)


def test_nothing_to_reuse_gives_none(fixed: Vault) -> None:
    assert fixed.manager.reuse() is None


def test_trash_is_used_after_a_reopen(fixed: Vault) -> None:
    put(fixed.manager.special_stream(1), 0, content(300 * 4008))
    manager = fixed.reopen()
    manager.special_stream(1).truncate(0)
    manager = fixed.reopen()
    end = manager.container.positions.end
    assert manager.container.positions.free_count >= 290
    put(manager.special_stream(2), 0, content(290 * 4008))
    assert manager.container.positions.end == end
    assert manager.special_stream(FixedMultiStreamManager.STREAM_TRASH).len > 0
    block = fixed.reopen().reuse()
    assert block is not None
    assert block.position < end
    fixed.loose.add(block.position)


def test_trash_that_belongs_to_another_commit_is_not_believed(fixed: Vault) -> None:
    """Killed after a commit that used positions which the trash lists: nothing is given twice."""
    put(fixed.manager.special_stream(1), 0, content(300 * 4008))
    fixed.reopen().special_stream(1).truncate(0)
    manager = fixed.reopen()
    put(manager.special_stream(2), 0, content(100 * 4008))
    manager.save_meta()
    survivor = fixed.path.with_name("survivor.ar7")
    survivor.write_bytes(fixed.path.read_bytes())
    with ThreeStreams(survivor, KEY) as again:
        put(again.special_stream(3), 0, content(250 * 4008, 3))
        assert read_all(again.special_stream(2)) == content(100 * 4008)
        assert read_all(again.special_stream(3)) == content(250 * 4008, 3)
    audit_bytes(survivor.read_bytes(), ThreeStreams)


# --- DynamicMultiStreamManager


def test_streams_come_and_go(dynamic: Vault) -> None:
    manager = dynamic.manager
    identities = [filled(manager, 3000 * i, i).identity for i in range(20)]
    assert len(set(identities)) == 20
    assert set(manager.registry) == set(identities)
    for identity in identities:
        assert manager.close_stream(manager._open[identity]) is True
    for identity in identities[::2]:
        assert manager.del_stream(identity) is True
    manager = dynamic.reopen()
    assert set(manager.registry) == set(identities[1::2])
    for i, identity in enumerate(identities):
        if i % 2:
            assert read_all(manager.open_stream(identity)) == content(3000 * i, i)
        else:
            with pytest.raises(NotFoundError, match=str(identity)):
                manager.open_stream(identity)


def test_open_stream_is_one_object_that_needs_as_many_closes(dynamic: Vault) -> None:
    manager = dynamic.manager
    stream = filled(manager, 100)
    assert manager.open_stream(stream.identity) is stream
    assert manager.close_stream(stream) is True
    assert not stream.is_closed
    assert manager.close_stream(stream) is True
    assert stream.is_closed
    assert manager.close_stream(stream) is False
    assert manager.open_stream(stream.identity) is not stream


def test_close_stream_refuses_what_is_not_open_here(
    make: Callable[[type[StreamManager]], Vault],
) -> None:
    one, other = make(DynamicMultiStreamManager).manager, make(DynamicMultiStreamManager).manager
    stream = filled(one, 100)
    assert other.close_stream(stream) is False
    assert not stream.is_closed
    assert other.close_stream(other.special_stream(1)) is False


def test_del_stream_tells_whether_there_was_one(dynamic: Vault) -> None:
    manager = dynamic.manager
    stream = filled(manager, 50_000)
    with pytest.raises(UsageError, match="open"):
        manager.del_stream(stream.identity)
    assert read_all(stream) == content(50_000)
    stream.close()
    assert manager.del_stream(stream.identity) is True
    assert manager.del_stream(stream.identity) is False
    assert manager.del_stream(uuid.uuid4()) is False


def test_registry_keeps_records(dynamic: Vault) -> None:
    registry = dynamic.manager.registry
    assert isinstance(registry, StreamRegistry)
    stream = DataStream(dynamic.manager, None, uuid.uuid4())
    assert registry.search(stream.identity) is None
    assert registry.update(stream) is False
    assert registry.unregister(stream.identity) is None
    assert registry.register(stream) == stream.identity
    with pytest.raises(UsageError, match="registered"):
        registry.register(stream)
    assert registry.search(stream.identity) == bytes(stream)
    put(stream, 0, content(9000))
    stream.finish()
    assert registry.search(stream.identity) != bytes(stream)
    assert registry.update(stream) is True
    assert registry.search(stream.identity) == bytes(stream)
    stream.truncate(0)
    registry.update(stream)
    assert registry.unregister(stream.identity) == bytes(stream)
    assert registry.search(stream.identity) is None
    assert registry.unregister(stream.identity) is None


def test_registry_is_a_tree_that_close_writes(dynamic: Vault) -> None:
    manager = dynamic.manager
    identities = [manager.new_stream().identity for _ in range(200)]
    assert manager.registry.tree.is_changed
    manager.registry.close()
    assert not manager.registry.tree.is_changed
    assert [UUID(bytes=key) for key, _ in manager.registry.tree.items()] == sorted(
        identities, key=lambda identity: identity.bytes
    )


def test_identities_sort_by_the_time_they_were_made(dynamic: Vault) -> None:
    made = [dynamic.manager.new_stream().identity.bytes for _ in range(300)]
    stamps = [identity[:8] for identity in made]
    assert stamps == sorted(stamps)
    assert len(set(made)) == 300


# --- the defects of the original, by their numbers


def test_defect_01_len_is_bytes_not_blocks(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 10_000)
    assert (stream.len, stream.count) == (10_000, 3)


def test_defect_02_iteration_gives_abc_and_cba(dynamic: Vault) -> None:
    stream = dynamic.manager.new_stream()
    for letter in b"ABC":
        stream.extend()
        stream.data[0] = letter
        stream.changed()
    assert bytes(block.data[0] for block in stream) == b"ABC"
    assert bytes(block.data[0] for block in reversed(stream)) == b"CBA"
    stream.wind(1)
    assert bytes(block.data[0] for block in stream) == b"ABC"
    stream.length(3 * 4008)


def test_defect_03_single_stream_is_truncated_across_a_block(single: Vault) -> None:
    stream = single.manager.special_stream(0)
    put(stream, 0, content(10_000))
    assert VirtualFileObject(stream, "name", "r+").truncate(4000) == 4000
    assert read_all(stream) == content(10_000)[:4000]


def test_defect_04_truncate_to_zero_and_beyond_the_end(dynamic: Vault) -> None:
    file = VirtualFileObject(filled(dynamic.manager, 10_000), "name", "r+")
    file.seek(5000)
    assert file.truncate(0) == 0
    assert file.seek(0, 2) == 0
    assert file.truncate(50_000) == 50_000
    file.seek(49_990)
    assert file.read() == bytes(10)
    file.seek(0)
    assert file.readall() == bytes(50_000)


def test_defect_05_shrinking_leaves_no_old_bytes(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 4000)
    file = VirtualFileObject(stream, "name", "r+")
    file.seek(3000)
    file.truncate(1000)
    assert file.tell() == 3000
    assert stream.data[1000:] == bytes(3008)
    file.truncate(4000)
    assert file.read() == bytes(1000)
    file.seek(0)
    assert file.read() == content(4000)[:1000] + bytes(3000)


def test_defect_06_seek_goes_behind_the_end_and_never_below_zero(dynamic: Vault) -> None:
    file = VirtualFileObject(filled(dynamic.manager, 100), "name", "r+")
    assert file.seek(20_000) == 20_000
    assert file.write(b"tail") == 4
    file.seek(0)
    assert file.read() == content(100) + bytes(19_900) + b"tail"
    for offset, whence in ((-1, 0), (-1, 3), (-20_005, 2)):
        with pytest.raises(OSError, match="Invalid argument"):
            file.seek(offset, whence)
    assert file.tell() == 20_004


def test_defect_07_modes_mean_what_they_say(dynamic: Vault) -> None:
    manager = dynamic.manager
    stream = filled(manager, 100)
    identity = stream.identity
    with pytest.raises(FileExistsError):
        VirtualFileObject(stream, "name", "x")
    file = VirtualFileObject(stream, "name", "a+")
    file.seek(0)
    file.write(b"end")
    assert read_all(stream) == content(100) + b"end"
    for mode in ("", "rwa", "rw", "q"):
        with pytest.raises(ValueError, match="mode"):
            VirtualFileObject(stream, "name", mode)
    cut = VirtualFileObject(stream, "name", "w")
    assert stream.len == 0
    cut.close()
    for closed in (file, cut):
        closed.close()
        with pytest.raises(ValueError, match="closed"):
            closed.tell()
    again = VirtualFileObject(manager.open_stream(identity), "name", "r")
    with pytest.raises(OSError, match="not open for writing"):
        again.write(b"x")


def test_defect_07_write_counts_bytes(dynamic: Vault) -> None:
    from array import array

    file = VirtualFileObject(dynamic.manager.new_stream(), "name", "w")
    assert file.write(array("I", [1, 2, 3])) == 12
    assert file.stream.len == 12


def test_defect_08_flushed_data_survive_with_their_length(dynamic: Vault) -> None:
    stream = dynamic.manager.new_stream()
    file = VirtualFileObject(stream, "name", "w", on_flush=dynamic.manager.save_meta)
    file.write(content(100_000))
    file.flush()
    survivor = dynamic.path.with_name("survivor.ar7")
    survivor.write_bytes(dynamic.path.read_bytes())
    with DynamicMultiStreamManager(survivor, KEY) as manager:
        assert read_all(manager.open_stream(stream.identity)) == content(100_000)


def test_defect_09_close_saves_open_streams(dynamic: Vault) -> None:
    stream = filled(dynamic.manager, 9000)
    assert not stream.is_closed
    assert read_all(dynamic.reopen().open_stream(stream.identity)) == content(9000)
    assert stream.is_closed


def test_defect_10_meta_unpack_gives_every_field() -> None:
    unpacked = StreamBlock.meta_unpack(plain_block())
    assert len(unpacked) == 6
    assert unpacked[:4] == (1, 2, 3, UUID(int=77).bytes)
    assert unpacked[5] == content(DATA_SIZE, 1)


def test_defect_11_one_process_cannot_open_it_twice(dynamic: Vault) -> None:
    with pytest.raises(LockedError):
        DynamicMultiStreamManager(dynamic.path, KEY)
    put(dynamic.manager.new_stream(), 0, b"goes on")
    dynamic.manager.save_meta()


def test_defect_12_return_values_are_there(dynamic: Vault) -> None:
    manager = dynamic.manager
    stream = filled(manager, 9000)
    unknown = DataStream(manager, None, uuid.uuid4())
    assert manager.registry.update(unknown) is False
    assert manager.registry.update(stream) is True
    assert manager.close_stream(stream) is True
    last = manager.registry.search(stream.identity)
    assert manager.registry.unregister(stream.identity) == last
    assert manager.registry.unregister(stream.identity) is None
    block = manager.load_block(BaseStream.meta_unpack(last)[1])
    assert manager.recycle(block) is True


def test_defect_13_trash_is_found_after_open_and_pushed_to_at_once(dynamic: Vault) -> None:
    """Case E: remove five, write two over what they freed, be killed, go on removing."""
    identities = []
    for i in range(8):
        stream = filled(dynamic.manager, 30_000, i)
        identities.append(stream.identity)
        stream.close()
    manager = dynamic.reopen()
    for identity in identities[:5]:
        manager.del_stream(identity)
    kept = [filled(manager, 25_000, 100 + i).identity for i in range(2)]
    manager.save_meta()
    survivor = dynamic.path.with_name("survivor.ar7")
    survivor.write_bytes(dynamic.path.read_bytes())
    with DynamicMultiStreamManager(survivor, KEY) as again:
        assert again.del_stream(identities[5]) is True
        for i, identity in enumerate(kept):
            assert read_all(again.open_stream(identity)) == content(25_000, 100 + i)
    audit_bytes(survivor.read_bytes())
    manager = dynamic.reopen()
    assert manager.container.positions.free_count > 0
    reused = manager.reuse()
    assert reused is not None
    dynamic.loose.add(reused.position)


def test_defect_14_seek_walks_nothing_and_blocks_cost_no_sync(dynamic: Vault) -> None:
    manager = dynamic.manager
    stream = filled(manager, 1000 * 4008)
    stream.close()
    manager = dynamic.reopen()
    stream = manager.open_stream(stream.identity)
    file = VirtualFileObject(stream, "name", "r+")
    counts = manager.container.blocks.counts
    file.seek(987 * 4008)
    before, syncs = counts.opened, counts.syncs
    assert file.read(4008) == content(1000 * 4008)[987 * 4008 : 988 * 4008]
    assert counts.opened - before == 1
    file.seek(0)
    file.write(b"the first commit of a session syncs once")
    manager.save_meta()
    assert counts.syncs == syncs + 1
    file.seek(0)
    file.write(content(300 * 4008, 1))
    manager.save_meta()
    assert counts.syncs == syncs + 1
