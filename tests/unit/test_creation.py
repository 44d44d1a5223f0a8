"""Making and opening container files: names, replacing, failures, objects as targets."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archive7 import creation
from archive7.commit import Container
from archive7.creation import (
    Options,
    create_container,
    memory_container,
    open_container,
    publish,
)
from archive7.crypto import SUITE_SECRETBOX, SUITE_XAES256GCM
from archive7.device import MemoryDevice
from archive7.errors import (
    CorruptError,
    ExistsError,
    FormatError,
    KdfLimitError,
    LockedError,
    NotAnArchiveError,
    ReadOnlyError,
    UsageError,
    VersionError,
    WrongKeyError,
)
from archive7.keyslots import KdfCost, Secrets
from archive7.layout import MAGIC, RESERVE_COUNT, SLOTS_OFFSET
from archive7.root import slot_offset
from archive7.streams import SingleStreamManager
from tests.audit import KEY, SECRETS, audit_bytes, read_all

EMPTY_SIZE = slot_offset(RESERVE_COUNT + 1)
FLOOR = Options(kdf=KdfCost(19456, 2, 1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.ar7"


def make(path: Path, text: bytes = b"", **options: Any) -> None:
    """A closed container whose stream says `text`."""
    container = create_container(path, SECRETS, replace=True, options=Options(**options))
    with SingleStreamManager.over(container) as manager:
        manager.special_stream(0).write(0, memoryview(text))


def text_of(target: Any) -> bytes:
    container = open_container(target, SECRETS, readonly=True)
    with SingleStreamManager.over(container) as manager:
        return read_all(manager.special_stream(0))


# --- a new file


def test_new_container_is_whole_and_empty(path: Path) -> None:
    container = create_container(path, SECRETS, replace=False)
    assert path.stat().st_size == EMPTY_SIZE
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert (container.root.number, container.root.used) == (0, 0)
    assert container.device.name == str(path)
    container.close()
    audit_bytes(path.read_bytes(), SingleStreamManager)


@pytest.mark.parametrize("suite", [SUITE_XAES256GCM, SUITE_SECRETBOX])
def test_container_has_the_suite_and_the_header_that_were_asked_for(
    path: Path, suite: int, need_secretbox: Callable[[], None]
) -> None:
    if suite == SUITE_SECRETBOX:
        need_secretbox()
    header = bytes(range(172)) * 2
    options = Options(suite=suite, header=header)
    create_container(path, SECRETS, replace=False, options=options).close()
    with SingleStreamManager(path, KEY) as manager:
        assert manager.container.superblock.suite == suite
        assert manager.meta == header


def test_two_containers_share_no_id_and_no_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        make(path, b"same text")
    a, b = one.read_bytes(), other.read_bytes()
    ids = set()
    for path in (one, other):
        reader = open_container(path, SECRETS, readonly=True)
        ids.add(reader.superblock.container)
        reader.close()
    assert len(ids) == 2
    assert not {a[at : at + 16] for at in range(SLOTS_OFFSET, len(a), 16)} & {
        b[at : at + 16] for at in range(SLOTS_OFFSET, len(b), 16)
    }


def test_nothing_of_the_content_can_be_read_without_the_key(path: Path) -> None:
    make(path, b"a very secret sentence " * 500)
    data = path.read_bytes()
    assert b"secret" not in data
    # a superblock copy begins with its magic and ends with what nobody can tell from noise
    assert data.count(MAGIC) == 2


def test_name_appears_only_when_the_container_is_complete(path: Path) -> None:
    seen: list[list[str]] = []

    def look(container: Container) -> None:
        assert container.root.number == 0
        seen.append(sorted(entry.name for entry in path.parent.iterdir()))

    create_container(path, SECRETS, replace=False, options=Options(prepare=look)).close()
    [[name]] = seen
    assert name.startswith(".vault.ar7.")
    assert name.endswith(".tmp")
    assert list(path.parent.iterdir()) == [path]


def test_file_and_folder_are_synced_before_it_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def note(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any, **kwargs: Any) -> Any:
            events.append(name)
            return call(*args, **kwargs)

        return noting

    for name in ("fdatasync", "fsync", "link", "unlink"):
        monkeypatch.setattr(os, name, note(name, getattr(os, name)))
    create_container(path, SECRETS, replace=False).close()
    published = events.index("link")
    assert "fdatasync" in events[:published]
    assert "fsync" in events[published:]
    assert all(name != "fdatasync" for name in events[published:])


def test_container_in_memory() -> None:
    container = memory_container(SECRETS)
    assert isinstance(container.device, MemoryDevice)
    container.close()
    audit_bytes(container.device.getvalue(), SingleStreamManager)


def test_missing_folder_is_file_not_found(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        create_container(path / "below", SECRETS, replace=False)
    assert list(path.parent.iterdir()) == []


# --- failures leave nothing behind


def boom(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


FAILURES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "superblock": lambda patch: patch.setattr(creation, "create", boom),
    "copies": lambda patch: patch.setattr(creation, "write_copies", boom),
    "first root": lambda patch: patch.setattr(creation, "Container", boom),
    "link": lambda patch: patch.setattr(os, "link", boom),
    "rename": lambda patch: patch.setattr(os, "replace", boom),
}


@pytest.mark.parametrize(
    ("name", "replace"),
    [
        (name, replace)
        for name in FAILURES
        for replace in (False, True)
        if (name, replace) not in (("link", True), ("rename", False))  # not called then
    ],
)
def test_temporary_name_is_gone_after_a_failure(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, replace: bool
) -> None:
    if replace:
        make(path, b"old")
    before = {entry: entry.read_bytes() for entry in path.parent.iterdir()}
    FAILURES[name](monkeypatch)
    with pytest.raises(ZeroDivisionError):
        create_container(path, SECRETS, replace=replace)
    monkeypatch.undo()
    assert {entry: entry.read_bytes() for entry in path.parent.iterdir()} == before
    create_container(path, SECRETS, replace=replace).close()  # and no lock is left


def test_failing_preparation_leaves_nothing(path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        create_container(path, SECRETS, replace=False, options=Options(prepare=boom))
    assert list(path.parent.iterdir()) == []


def test_bad_options_leave_nothing(path: Path) -> None:
    password = Secrets(password="password")
    with pytest.raises(VersionError):
        create_container(path, SECRETS, replace=False, options=Options(suite=9))
    with pytest.raises(KdfLimitError):
        costs = Options(kdf=KdfCost(100, 1, 1))
        create_container(path, password, replace=False, options=costs)
    assert list(path.parent.iterdir()) == []


def test_descriptors_are_closed_after_a_failure(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc here")
    make(path, b"old")
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(creation, "write_copies", boom)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            create_container(path, SECRETS, replace=True)
        with pytest.raises(WrongKeyError):
            open_container(path, Secrets(key=bytes(32)), readonly=False)
    assert len(os.listdir("/proc/self/fd")) == before


# --- a file that is there


def test_existing_file_is_not_replaced_unasked(path: Path) -> None:
    for content in (b"", b"some other file", MAGIC):
        path.write_bytes(content)
        with pytest.raises(ExistsError) as caught:
            create_container(path, SECRETS, replace=False)
        assert caught.value.errno == errno.EEXIST
        assert caught.value.filename == str(path)
        assert path.read_bytes() == content


def test_dangling_link_is_followed(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))
    container = create_container(path, SECRETS, replace=False)
    container.close()
    assert path.is_symlink()  # the name that it points to was free, and is made
    assert path.with_name("nowhere").stat().st_size == EMPTY_SIZE


def test_file_that_appears_meanwhile_is_not_replaced(path: Path) -> None:
    def appear(_: Container) -> None:
        path.write_bytes(b"faster")

    with pytest.raises(ExistsError):
        create_container(path, SECRETS, replace=False, options=Options(prepare=appear))
    assert path.read_bytes() == b"faster"
    assert list(path.parent.iterdir()) == [path]


def test_replacing_gives_a_new_container(path: Path) -> None:
    make(path, b"old")
    old = open_container(path, SECRETS, readonly=True)
    reader = SingleStreamManager.over(old)
    inode = path.stat().st_ino
    make(path, b"new")
    assert text_of(path) == b"new"
    assert path.stat().st_ino != inode
    assert read_all(reader.special_stream(0)) == b"old"  # whoever has it open keeps it
    reader.close()
    assert list(path.parent.iterdir()) == [path]


def test_replacing_needs_no_secret_of_the_old_one(path: Path) -> None:
    make(path, b"old")
    create_container(path, Secrets(key=bytes(32)), replace=True).close()
    open_container(path, Secrets(key=bytes(32)), readonly=True).close()


@pytest.mark.parametrize("content", [b"x", b"some other file" * 9999, bytes(EMPTY_SIZE)])
def test_file_that_is_not_ours_is_never_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(NotAnArchiveError, match="not replaced"):
        create_container(path, SECRETS, replace=True)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_empty_file_is_replaced(path: Path) -> None:
    path.touch()
    create_container(path, SECRETS, replace=True).close()
    assert path.stat().st_size == EMPTY_SIZE


def test_missing_file_is_made_by_replacing(path: Path) -> None:
    create_container(path, SECRETS, replace=True).close()
    assert path.stat().st_size == EMPTY_SIZE


def test_container_that_somebody_writes_is_not_replaced(path: Path) -> None:
    make(path, b"old")
    writer = open_container(path, SECRETS, readonly=False)
    with pytest.raises(LockedError):
        create_container(path, SECRETS, replace=True)
    assert list(path.parent.iterdir()) == [path]
    writer.close()
    assert text_of(path) == b"old"


def test_link_is_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "real.ar7"
    make(target, b"old")
    path.symlink_to(target)
    make(path, b"new")
    assert path.is_symlink()
    assert text_of(target) == b"new"
    assert list(target.parent.iterdir()) == [target]


# --- giving the name


def test_filesystem_without_hard_links_is_renamed_into_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    create_container(path, SECRETS, replace=False).close()
    assert list(path.parent.iterdir()) == [path]
    temporary = path.with_name("temporary")
    temporary.write_bytes(b"newer")
    with pytest.raises(ExistsError):
        publish(temporary, path, replace=False)
    assert path.stat().st_size == EMPTY_SIZE


def test_published_file_takes_its_lock_along(path: Path) -> None:
    container = create_container(path, SECRETS, replace=False)
    with pytest.raises(LockedError):
        open_container(path, SECRETS, readonly=False)
    container.close()
    open_container(path, SECRETS, readonly=False).close()


# --- opening


def test_error_of_opening_names_the_file_and_leaves_it_alone(path: Path) -> None:
    make(path, b"text")
    whole = path.read_bytes()
    cases: list[tuple[bytes, Secrets, type[Exception]]] = [
        (whole, Secrets(key=bytes(32)), WrongKeyError),
        (b"other" * 20_000, SECRETS, NotAnArchiveError),
        (b"", SECRETS, FormatError),
        (whole[:10_000], SECRETS, CorruptError),
        (whole[:40_000], SECRETS, CorruptError),
        (whole[:-5000], SECRETS, CorruptError),
    ]
    for content, secrets, error in cases:
        path.write_bytes(content)
        for readonly in (False, True):
            with pytest.raises(error, match=r"vault\.ar7"):
                open_container(path, secrets, readonly=readonly)
        assert path.read_bytes() == content
    path.write_bytes(whole)
    assert text_of(path) == b"text"


def test_missing_file_is_not_made_by_opening(path: Path) -> None:
    for readonly in (False, True):
        with pytest.raises(FileNotFoundError):
            open_container(path, SECRETS, readonly=readonly)
    assert list(path.parent.iterdir()) == []


def test_passphrase_that_asks_for_much_memory_needs_leave(path: Path) -> None:
    password = Secrets(password="password")
    create_container(path, password, replace=False, options=FLOOR).close()
    with pytest.raises(KdfLimitError):
        open_container(path, password, readonly=True, options=Options(max_kdf_memory_kib=19_455))
    open_container(path, password, readonly=True).close()


def test_who_knows_to_be_alone_does_without_locks(path: Path) -> None:
    make(path, b"text")
    locked = open_container(path, SECRETS, readonly=False)
    alone = open_container(path, SECRETS, readonly=False, options=Options(lock=False))
    assert alone.device.locks.can_query is False
    locked.close()
    with pytest.raises(LockedError):  # who locks is still kept apart from who locks
        first = open_container(path, SECRETS, readonly=False)
        try:
            open_container(path, SECRETS, readonly=False)
        finally:
            first.close()
    alone.close()
    assert text_of(path) == b"text"


def test_damaged_superblock_copy_is_repaired_by_a_writer_alone(path: Path) -> None:
    make(path, b"text")
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(100) + whole[200:])
    open_container(path, SECRETS, readonly=True).close()
    assert path.read_bytes() != whole
    open_container(path, SECRETS, readonly=False).close()
    assert path.read_bytes() == whole


# --- objects as targets


def test_object_is_written_flushed_and_left_open() -> None:
    target = io.BytesIO()
    container = create_container(target, SECRETS, replace=False)
    with SingleStreamManager.over(container) as manager:
        manager.special_stream(0).write(0, memoryview(b"text"))
    assert not target.closed
    assert text_of(target) == b"text"
    audit_bytes(target.getvalue(), SingleStreamManager)


@pytest.mark.parametrize("buffering", [0, -1])
def test_open_file_as_target(path: Path, buffering: int) -> None:
    with open(path, "w+b", buffering) as target:
        container = create_container(target, SECRETS, replace=False)  # type: ignore[arg-type]
        with SingleStreamManager.over(container) as manager:
            manager.special_stream(0).write(0, memoryview(b"text" * 5000))
        assert text_of(target) == b"text" * 5000
    assert text_of(path) == b"text" * 5000
    with open(path, "rb") as target:
        assert text_of(target) == b"text" * 5000


def test_object_that_is_not_empty_is_replaced_only_when_it_is_ours() -> None:
    target = io.BytesIO(b"some other bytes")
    for replace, error in ((False, ExistsError), (True, NotAnArchiveError)):
        with pytest.raises(error):
            create_container(target, SECRETS, replace=replace)
    assert target.getvalue() == b"some other bytes"
    ours = io.BytesIO()
    create_container(ours, SECRETS, replace=False).close()
    with pytest.raises(ExistsError):
        create_container(ours, SECRETS, replace=False)
    create_container(ours, Secrets(key=bytes(32)), replace=True).close()
    with pytest.raises(WrongKeyError):
        open_container(ours, SECRETS, readonly=True)
    assert len(ours.getvalue()) == EMPTY_SIZE


def test_object_that_cannot_serve_is_refused(path: Path) -> None:
    make(path, b"text")
    with open(path, "rb") as reading, open(path, encoding="latin-1") as text:
        for target in (text, io.StringIO(), 5, None, b"bytes", object()):
            with pytest.raises((UsageError, TypeError)):
                create_container(target, SECRETS, replace=True)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="read-only"):
            open_container(reading, SECRETS, readonly=False)
        with pytest.raises((UsageError, ReadOnlyError)):
            create_container(reading, SECRETS, replace=True)
        assert text_of(reading) == b"text"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
def test_object_that_cannot_seek_is_refused() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb") as sink:
        for target in (source, sink):
            with pytest.raises((UsageError, OSError)):
                open_container(target, SECRETS, readonly=True)


def test_device_as_target() -> None:
    device = MemoryDevice()
    create_container(device, SECRETS, replace=False).close()
    with pytest.raises(ExistsError):
        create_container(device, SECRETS, replace=False)
    assert open_container(device, SECRETS, readonly=True).device is device


def test_readonly_device_opens_for_reading_only() -> None:
    device = MemoryDevice()
    create_container(device, SECRETS, replace=False).close()
    frozen = MemoryDevice(device.getvalue(), readonly=True)
    container = open_container(frozen, SECRETS, readonly=False)
    assert container.is_readonly
    with pytest.raises(ReadOnlyError):
        container.commit()
    container.close()
