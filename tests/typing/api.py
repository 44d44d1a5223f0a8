"""A user's program.  Nobody runs it; mypy --strict must accept it as it stands."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, TextIO, assert_type
from uuid import UUID

import archive7
from archive7 import (
    Archive,
    ArchivePath,
    Condition,
    Found,
    Identity,
    KdfCost,
    KeyInfo,
    Keyring,
    Q,
    Recipient,
    errors,
    keys,
    streams,
)


def open_in_every_way(path: Path, target: BinaryIO) -> None:
    with archive7.open("vault.ar7", "x", password="correct horse") as vault:
        assert_type(vault, Archive)
    archive7.open(path).close()
    archive7.open(os.fspath(path), "r+", key=bytes(32)).close()
    archive7.open(target, "w", key=bytes(32)).close()
    archive7.open(path, mode="a", password="correct horse").close()


def open_with_keys(path: Path, folder: Path) -> list[str]:
    me: Identity = keys.generate_identity("hybrid")
    me.save(folder / "me")
    me.recipient.save(os.fspath(folder / "me.pub"))
    anna: Recipient = keys.load_recipient(folder / "anna.pub")
    key: bytes = keys.generate_key_file(folder / "key")
    cost = KdfCost.calibrate(0.2, max_memory=64 << 20)
    with archive7.open(path, "x", key_file=folder / "key", recipients=[anna]) as vault:
        keyring = vault.keys
        assert_type(keyring, Keyring)
        added: KeyInfo = keyring.add(password="second", kdf=cost, label="laptop")
        keyring.add(recipient=me.recipient, label="me")
        keyring.change("laptop", key=key)
        keyring.remove(added.id, force=True)
        keyring.export_header(folder / "header")
        is_mine: bool = keyring.list()[0].is_mine
        assert is_mine
    archive7.restore_header(path, folder / "header", key_file=folder / "key", force=True)
    loaded = keys.load_identity(folder / "me")
    with archive7.open(path, "r+", identity=loaded, unauthenticated=True) as vault:
        proved: bool = vault.info().is_authenticated
        assert not proved
        texts = [info.recipient.text for info in vault.keys.list() if info.recipient]
        return [Recipient.from_text(text).fingerprint for text in texts]


def read_and_write_files(vault: Archive) -> str:
    with vault.open("/notes/today.txt", "w") as text:
        text.write("hello")
    with vault.open("/notes/today.txt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            print(line.rstrip())
    with vault.open(PurePosixPath("/notes/pic.png"), "r+b") as binary:
        binary.seek(-4, os.SEEK_END)
        binary.write(b"tail")
        binary.truncate()
    vault.write_bytes("/notes/copy.png", vault.read_bytes("/notes/pic.png"))
    vault.write_text("/notes/copy.txt", vault.read_text("/notes/today.txt"))
    vault.truncate("/notes/copy.txt", 2)
    return vault.read_text(PurePosixPath("/notes/today.txt"))


def hand_files_on(vault: Archive) -> None:
    """What open() returns goes wherever Python wants a file object."""

    def count_text(file: TextIO) -> int:
        return len(file.read())

    def count_bytes(file: BinaryIO) -> int:
        return len(file.read())

    with vault.open("/a.txt") as text:
        count_text(text)
    with vault.open("/a.bin", "rb") as binary:
        count_bytes(binary)


def look_around(vault: Archive) -> int:
    names: list[str] = vault.listdir("/")
    size = 0
    for folder, folders, files in vault.walk("/"):
        assert_type(folder, str)
        names += folders
        size += sum(vault.stat(f"{folder}/{name}").st_size for name in files)
    for entry in vault.scandir("/"):
        if entry.is_dir() or entry.is_symlink():
            names.append(entry.name)
    status: os.stat_result = vault.lstat("/notes")
    is_there: bool = vault.exists("/notes") and vault.isdir("/notes")
    is_other: bool = vault.isfile("/notes") or vault.islink("/notes")
    return size + status.st_mode + is_there + is_other


def find_entries(vault: Archive, since: datetime) -> dict[UUID, str]:
    large: Condition = (Q.size > 1_000_000) & ~Q.name.like("*.zip") | Q.mode.has(0o4000)
    recent = Q.modified.between(since, datetime.now(UTC)) & (Q.created >= 0)
    mine = Q.user.one_of("ann", 1000) | (Q.group == "staff") | (Q.owner != UUID(int=0))
    found: dict[UUID, str] = {}
    for entry in vault.find(large, recent, mine, Q.type == "file", under="/logs"):
        assert_type(entry, Found)
        found[entry.id] = f"{entry.path} {entry.size} {entry.modified_ns}"
    deleted = [entry.deleted_ns for entry in vault.find(Q.deleted, Q.path.matches(r"/logs/\d+"))]
    paths: list[str] = [*vault.glob("**/*.log"), *vault.glob(PurePosixPath("*/"), "/logs")]
    return found if deleted or paths else {}


def change_the_tree(vault: Archive) -> None:
    vault.mkdir("/a")
    vault.makedirs("/a/b/c", exist_ok=True)
    vault.rename("/a/b", "/a/d")
    vault.replace("/a/d", "/a/b")
    vault.symlink("b/c", "/a/link")
    target: str = vault.readlink("/a/link")
    vault.chmod(f"/a/{target}", 0o700)
    vault.utime("/a", ns=(1, 2))
    vault.remove("/a/link")
    vault.rmdir("/a/b/c")
    vault.import_tree(Path("photos"), "/photos")
    vault.export_tree("/photos", Path("copy"))


def go_by_path_objects(vault: Archive, mode: str) -> list[str]:
    notes = vault / "notes"
    assert_type(notes, ArchivePath)
    today: ArchivePath = notes / PurePosixPath("2024") / "today.txt"
    assert_type("notes" / today.relative_to(notes), ArchivePath)
    today.parent.mkdir(0o700, parents=True, exist_ok=True)
    with today.open("w", encoding="utf-8", newline="\n") as text:
        assert_type(text, TextIO)
    with today.with_suffix(".png").open("rb") as binary:
        assert_type(binary, BinaryIO)
    with today.open(mode) as either:
        assert_type(either, IO[Any])
    size: int = today.write_text("hello", "utf-8") + today.with_name("pic").write_bytes(b"data")
    link = notes / f"{today.stem}{size}"
    link.symlink_to(today.relative_to(notes))
    link.parent.joinpath(link.readlink(), "..", vault / "other").touch(0o600, exist_ok=True)
    assert_type(today.rename("/notes/yesterday.txt"), ArchivePath)
    assert_type(today.stat(follow_symlinks=False), os.stat_result)
    for path, folders, files in vault.__truediv__("/").walk(on_error=print):
        assert_type(path, ArchivePath)
        folders += files
    found: Iterator[ArchivePath] = notes.rglob("*.txt")
    return [path.read_text() for path in sorted(found) if path.is_file() and path < today]


def hand_a_path_object_on(vault: Archive) -> bytes:
    """It goes where a resource of a package goes."""

    def read(resource: Traversable) -> bytes:
        return resource.joinpath("data.bin").read_bytes()

    return read(vault / "package")


def commit_and_look_again(vault: Archive) -> None:
    with vault.transaction():
        vault.write_text("/one", "1")
        with vault.transaction():
            vault.write_text("/two", "2")
    vault.commit()
    vault.commit(durable=True)
    vault.rollback()
    vault.sync()
    vault.refresh()
    for finding in vault.check():
        print(finding)
    print(vault.info(), vault.mode, vault.name)
    is_closed: bool = vault.closed
    print(is_closed)


def tell_errors_apart(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except archive7.WrongKeyError:
        return "wrong key"
    except archive7.CorruptError as error:
        where: int | None = error.block
        return f"{error.reason} {where} {error.path}"
    except archive7.FormatError:
        return "not ours"
    except errors.LockedError as error:
        return f"{error.errno} {error.filename}"
    except FileNotFoundError as error:
        return str(error.filename)
    except io.UnsupportedOperation:
        return "read-only"
    return ""


class TwoStreams(streams.FixedMultiStreamManager):
    """A container of a fixed set of streams."""

    SPECIAL_STREAM_COUNT = 2
    STREAM_LOG = 1


def use_streams(path: Path) -> bytes:
    manager = streams.DynamicMultiStreamManager(path, bytes(32))
    stream = manager.new_stream()
    assert_type(stream, streams.DataStream)
    identity: UUID = stream.identity
    with streams.VirtualFileObject(stream, "name", "w") as file:
        raw: io.RawIOBase = file
        raw.write(b"data")
    is_closed: bool = manager.close_stream(stream)
    is_deleted: bool = manager.del_stream(identity)
    block: streams.StreamBlock = manager.load_block(manager.BLOCK_META)
    manager.close()
    return bytes(block.data) if is_closed and is_deleted else b""
