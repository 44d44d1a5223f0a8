"""A manager of streams as the subject of fault injection, and its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archive7.commit import Container
from archive7.creation import create_container, open_container
from archive7.streams import (
    BaseStream,
    DynamicMultiStreamManager,
    FixedMultiStreamManager,
    SingleStreamManager,
    StreamManager,
    VirtualFileObject,
)
from tests.audit import SECRETS, audit, read_all
from tests.devices import RecordingDevice
from tests.disk import Disk
from tests.faults.archivesubject import cool_container
from tests.faults.engine import Row, State, Subject, silent
from tests.unit.archives import noise


class ThreeStreams(FixedMultiStreamManager):
    """The trash and two streams."""

    SPECIAL_STREAM_COUNT = 3


class ManagerSubject(Subject):
    """A container of one kind of manager."""

    def __init__(self, kind: type[StreamManager]) -> None:
        self.kind = kind

    def open(self, device: Any, mode: str) -> StreamManager:
        if mode == "x":
            return self.kind.over(create_container(device, SECRETS, replace=False))
        return self.kind.over(open_container(device, SECRETS, readonly=mode == "r"))

    def container(self, opened: StreamManager) -> Container:
        return opened.container

    def state(self, opened: StreamManager) -> State:
        found: dict[str, object] = {"meta": opened.meta}
        first = 0 if self.kind is SingleStreamManager else 1  # without the trash
        if isinstance(opened, DynamicMultiStreamManager):
            for number, identity in enumerate(opened.registry):
                stream = opened.open_stream(identity)
                found[f"stream {number}"] = read_all(stream)
                opened.close_stream(stream)
        else:
            for number in range(first, opened.SPECIAL_STREAM_COUNT):
                found[f"stream {number}"] = read_all(opened.special_stream(number))
        return found

    def check(self, opened: StreamManager) -> None:
        if opened.is_readonly or not opened.container.is_changed:
            audit(opened)

    def use(self, opened: StreamManager) -> None:
        if isinstance(opened, DynamicMultiStreamManager):
            stream = opened.new_stream()
            stream.write(0, memoryview(noise(9000)))
            opened.commit()
            opened.close_stream(stream)
            assert opened.del_stream(stream.identity)
        else:
            before = opened.meta
            opened.meta = b"goes on"
            opened.commit()
            opened.meta = before
        opened.sync()

    def undo(self, opened: StreamManager) -> None:
        opened.rollback()

    def cool(self, opened: StreamManager) -> None:
        opened.reload()
        cool_container(opened.container)

    def prepared(self) -> Disk:
        """What a killed writer leaves: something in it, some of it not synced."""
        disk = Disk()
        with silent():
            manager = self.open(RecordingDevice(disk), "x")
            for number in (1, 2):
                if isinstance(manager, DynamicMultiStreamManager):
                    stream: BaseStream = manager.new_stream()
                else:
                    stream = manager.special_stream(
                        0 if self.kind is SingleStreamManager else number
                    )
                stream.write(0, memoryview(noise(60_000, number)))
                manager.sync()
                stream.truncate(40_000 + number)
                manager.commit()
        return disk.copy()


# --- rows

_Run = Callable[[Any, Any], object]


def _open(manager: Any) -> Any:
    """The first data stream."""
    if isinstance(manager, DynamicMultiStreamManager):
        return manager.open_stream(next(iter(manager.registry)))
    return manager.special_stream(0 if isinstance(manager, SingleStreamManager) else 1)


def _row(name: str, run: _Run, *covers: str, **options: Any) -> Row:
    """An operation on the manager and its first data stream, and a commit."""

    def run_and_commit(manager: Any, stream: Any) -> object:
        run(manager, stream)
        return manager.commit()

    return Row(name, covers or (name.split()[0],), run_and_commit,
               options.pop("setup", _open), is_loose=True, **options)  # fmt: skip


def _look(name: str, run: _Run, *covers: str, **options: Any) -> Row:
    return Row(name, covers or (name.split()[0],), run, options.pop("setup", _open),
               states=1, is_loose=True, **options)  # fmt: skip


def _push(manager: Any, stream: Any) -> None:
    block = manager.new_block()
    block.data[:] = noise(4008, 3)
    stream.push(block)
    stream.length(stream.count * 4008 - stream.len)


def _pop(manager: Any, stream: Any) -> None:
    assert manager.recycle(stream.pop())


def _pop_push(_: Any, stream: Any) -> None:
    block = stream.pop()
    block.data[:] = noise(4008, 6)
    stream.push(block)
    stream.length(stream.count * 4008 - stream.len)


def _recycle_cut(manager: Any, stream: Any) -> None:
    stream.wind(4)
    assert manager.recycle(stream.block)


def _extend(_: Any, stream: Any) -> None:
    stream.end()
    stream.length(-stream.len % 4008)
    assert stream.extend()
    stream.data[:5] = b"fresh"
    stream.changed()
    stream.save()
    stream.length(5)


def _cursor(manager: Any, stream: Any) -> None:
    stream.wind(3)
    stream.data[7:11] = b"here"
    stream.changed()
    assert stream.next()
    assert stream.previous()
    manager.save_block(stream.block.position, stream.block)


def _blocks(_: Any, stream: Any) -> list[bytes]:
    return [bytes(b.data) for b in stream] + [bytes(b.data) for b in reversed(stream)]


def _savepoint(manager: Any, stream: Any) -> None:
    stream.write(0, memoryview(b"kept"))
    point = manager.savepoint()
    stream.write(5000, memoryview(noise(30_000, 5)))
    manager.rollback(point)


def _released(manager: Any, stream: Any) -> None:
    stream.write(0, memoryview(b"kept"))
    point = manager.savepoint()
    stream.write(5000, memoryview(noise(30_000, 5)))
    manager.container.release(point)


def _rollback(manager: Any, stream: Any) -> None:
    stream.write(5000, memoryview(noise(30_000, 5)))
    manager.rollback()


def _meta(manager: Any, _: Any) -> None:
    manager.meta = b"another"
    manager.save_meta()


def _file(_: Any, stream: Any) -> None:
    with VirtualFileObject(stream, "file", "r+") as file:
        file.seek(4000)
        file.write(noise(5000, 6))


def _write(offset: int, size: int) -> _Run:
    return lambda manager, stream: stream.write(offset, memoryview(noise(size, 4)))


def _newer(manager: Any) -> Any:
    """Let a writer commit behind the back of a reader."""
    disk = manager.container.device.inner.disk
    with type(manager).over(
        open_container(RecordingDevice(disk), SECRETS, readonly=False)
    ) as writer:
        writer.meta = b"newer"


def _torn(manager: Any, stream: Any) -> Any:
    stream.write(3, memoryview(b"not committed"))
    return stream


COMMON_ROWS = [
    _row("write inside", _write(3990, 5000)),
    _row("write bulk", _write(4008, 30_000)),
    _row("write append", _write(40_001, 9000)),
    _row("write gap", _write(70_000, 100)),
    _row("write much", _write(0, 1_200_000)),
    _row("truncate", lambda m, s: s.truncate(5000)),
    _row("truncate longer", lambda m, s: s.truncate(50_000)),
    _row("truncate empty", lambda m, s: s.truncate(0)),
    _row("push", _push, "push", "new_block", "length"),
    _row("pop push", _pop_push, "pop"),
    _row("extend", _extend, "extend", "end", "save", "changed", "data"),
    _row("cursor", _cursor, "wind", "next", "previous", "block", "save_block"),
    _row("savepoint", _savepoint, "savepoint", "rollback", rolls_back=True),
    _row("savepoint released", _released, "savepoint"),
    _row("rollback", _rollback, states=1, rolls_back=True),
    _row("meta", _meta, "meta", "save_meta"),
    _row("file", _file, "VirtualFileObject"),
    _row("flush", lambda m, s: m.flush(), setup=lambda m: _torn(m, _open(m))),
    _look("read_into", lambda m, s: read_all(s)),
    _look("blocks", _blocks, "__iter__", "__reversed__"),
    _look("load_block", lambda m, s: bytes(m.load_block(s.extents.position(5)))),
    _look("special", lambda m, s: (m.special_stream(0).len, m.special_block(0).position),
          "special_stream", "special_block"),
    _look("commit nothing", lambda m, s: m.commit(), "commit"),
    _look("sync nothing", lambda m, s: m.sync(), "sync"),
    Row("commit", ("commit",), lambda m, _: m.commit(),
        lambda m: _torn(m, _open(m)), is_loose=True),
    Row("sync", ("sync",), lambda m, _: m.sync(), lambda m: _torn(m, _open(m)), is_loose=True),
    Row("close", ("close",), lambda m, _: m.close(), lambda m: _torn(m, _open(m))),
    _look("close unchanged", lambda m, s: m.close(), "close", setup=lambda m: None),
    Row("refresh", ("refresh",), lambda m, _: m.refresh(), _newer, mode="r"),
    _look("reader read_into", lambda m, s: read_all(s), "read_into", mode="r"),
]  # fmt: skip


def _reuse(manager: Any, stream: Any) -> None:
    block = manager.reuse()
    assert block is not None
    block.data[:] = noise(4008, 3)
    stream.push(block)
    stream.length(stream.count * 4008 - stream.len)


SINGLE_ROWS = [
    _row("recycle", _recycle_cut),
    _look("reuse", lambda m, s: m.reuse()),
]

FIXED_ROWS = [
    _row("pop", _pop, "pop", "recycle"),
    _row("reuse", _reuse),
]


def _new(manager: Any, _: Any) -> None:
    stream = manager.new_stream()
    stream.write(0, memoryview(noise(9000, 8)))


def _delete(manager: Any, _: Any) -> None:
    assert manager.del_stream(next(iter(manager.registry)))


def _write_two(manager: Any, _: Any) -> None:
    for number, identity in enumerate(list(manager.registry)):
        manager.open_stream(identity).write(100, memoryview(noise(5000, number)))


def _closed(manager: Any, stream: Any) -> None:
    stream.write(0, memoryview(b"changed"))
    assert manager.close_stream(stream)


DYNAMIC_ROWS = [
    _row("new_stream", _new),
    _row("del_stream", _delete, setup=lambda m: None),
    _row("close_stream", _closed),
    _row("two streams", _write_two, "open_stream"),
    _look("open_stream", lambda m, _: read_all(_open(m)), setup=lambda m: None),
    _look("registry", lambda m, _: [m.registry.read(i)[0] for i in m.registry], "registry",
          setup=lambda m: None),
]  # fmt: skip
