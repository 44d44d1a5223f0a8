"""Make the golden containers in tests/conformance/golden, and the manifest of what stands in them.

    python tests/vectors/make_golden.py

Everything random and the clock come from the name of each, so a run changes no file unless the
format or the writer changed.  Until 0.1.0 the format is not frozen: run this after a change.  From
then on the containers of a release stay, and new ones come beside them.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import archive7
from archive7 import Archive, ArchiveHeader, Delete, KdfCost
from archive7.creation import Options, create_container
from archive7.keyslots import Secrets
from archive7.streams import (
    DynamicMultiStreamManager,
    FixedMultiStreamManager,
    SingleStreamManager,
    StreamManager,
)
from tests.vectors.seeded import NOW, noise, seeded

FOLDER = Path(__file__).resolve().parents[1] / "conformance" / "golden"
KEY = bytes(range(32))
PASSWORD = "Pa\u0308sswo\u0308rd"  # decomposed: only NFC makes it what sealed the slot
CHEAP = KdfCost(19456, 2, 1)

Fields = dict[str, Any]
Model = dict[str, bytes]
GOLDEN: dict[str, Callable[[io.BytesIO], Fields]] = {}


def golden(function: Callable[[io.BytesIO], Fields]) -> Callable[[io.BytesIO], Fields]:
    GOLDEN[function.__name__] = function
    return function


class Book:
    """An archive, and what the script meant to write into it."""

    def __init__(self, target: io.BytesIO, **options: Any) -> None:
        secret = {} if "password" in options else {"key": KEY}
        header = ArchiveHeader("g\u00f6ld", UUID(int=7), type=1, role=2, use=-3, created_ns=NOW)
        self.archive = archive7.open(target, "x", header=header, **secret, **options)
        self.files: Model = {}

    def write(self, path: str, data: bytes) -> None:
        self.archive.write_bytes(path, data)
        self.files[path] = data

    def append(self, path: str, data: bytes) -> None:
        with self.archive.open(path, "ab") as file:
            file.write(data)
        self.files[path] = self.files.get(path, b"") + data

    def remove(self, path: str, **how: Any) -> None:
        self.archive.remove(path, **how)
        del self.files[path]

    def close(self) -> Fields:
        """Give free space back and close."""
        self.archive.compact(force=True)
        fields = self.fields()
        self.archive.close()
        return fields

    def fields(self) -> Fields:
        """What must be read from the archive."""
        found = {}
        for top, folders, files in self.archive.walk("/"):
            for name in folders + files:
                path = f"{top.rstrip('/')}/{name}"
                found[path] = _item(self.archive, path, self.files)
        assert {path for path, item in found.items() if item["type"] == "f"} == set(self.files)
        return {"kind": "filesystem", "files": found, "deleted": {}}


def _item(archive: Archive, path: str, files: Model) -> Fields:
    status = archive.lstat(path)
    is_link = archive.islink(path)
    names = archive.listxattr(path, follow_symlinks=False)
    values = {name: archive.getxattr(path, name, follow_symlinks=False) for name in names}
    return {
        "type": "l" if is_link else "d" if archive.isdir(path) else "f",
        "content": told(files.get(path, b"")),
        "mode": status.st_mode & 0o7777,
        "user": status.st_uid,
        "group": status.st_gid,
        "times": [status.st_ctime_ns, status.st_mtime_ns],
        "target": archive.readlink(path) if is_link else "",
        "xattrs": {name: told(value) for name, value in values.items()},
    }


def told(data: bytes) -> str:
    """How the manifest names bytes."""
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


# --- archives


def small(target: io.BytesIO, **options: Any) -> Fields:
    book = Book(target, **options)
    book.archive.makedirs("/d/e")
    for size in (0, 1, 4007, 4008, 4009, 12_024):
        book.write(f"/d/{size}", noise(size, size))
    book.write("/d/e/deep", b"deep")
    book.archive.symlink("e/deep", "/d/link")
    book.archive.chmod("/d/1", 0o640)
    book.archive.utime("/d/1", ns=(1, -5_000_000_001))
    book.archive.chown("/d/1", 1000, 100)
    return book.close()


@golden
def small_xaes(target: io.BytesIO) -> Fields:
    """Suite 1, a raw key, closed."""
    return small(target)


@golden
def small_secretbox(target: io.BytesIO) -> Fields:
    """Suite 2, a raw key, closed."""
    return small(target, suite="secretbox")


@golden
def password_xaes(target: io.BytesIO) -> Fields:
    """A passphrase that NFC changes."""
    return small(target, password=PASSWORD, kdf=CHEAP)


@golden
def password_secretbox(target: io.BytesIO) -> Fields:
    """A passphrase with suite 2."""
    return small(target, password=PASSWORD, kdf=CHEAP, suite="secretbox")


@golden
def empty(target: io.BytesIO) -> Fields:
    """Nothing but the root directory."""
    return Book(target).close()


@golden
def reserve(target: io.BytesIO) -> Fields:
    """With the whole reserve."""
    book = Book(target)
    book.write("/one", b"one")
    return book.close()


def churned(target: io.BytesIO, **options: Any) -> Book:
    """Small commits, none of them folded."""
    book = Book(target, **options)
    for number in range(6):
        book.write(f"/{number % 4}", noise(2000 * number, number))
    book.archive.sync()
    book.write("/last", b"last")
    return book


@golden
def height_0(target: io.BytesIO) -> Fields:
    """Killed behind a commit: changes in the root and no node, the newest root unmarked."""
    return churned(target).fields()


@golden
def height_0_secretbox(target: io.BytesIO) -> Fields:
    """The same in suite 2."""
    return churned(target, suite="secretbox").fields()


@golden
def height_1_changes(target: io.BytesIO) -> Fields:
    """Changes over nodes: closed, opened, changed in two commits, killed."""
    book = churned(target)
    book.archive.close()
    book.archive = archive7.open(target, "r+", key=KEY)
    book.write("/1", b"changed")
    book.archive.sync()
    book.remove("/2")
    book.append("/3", b"more" * 3000)
    return book.fields()


@golden
def height_2(target: io.BytesIO) -> Fields:
    """Blocks behind position 334; those before it are free."""
    book = Book(target)
    book.write("/big", noise(340 * 4008, "big"))
    book.archive.makedirs("/far/away")
    book.write("/far/away/file", noise(50_000, "far"))
    book.remove("/big")
    return book.close()


@golden
def folded_and_killed(target: io.BytesIO) -> Fields:
    """Killed behind a commit that wrote nodes; its root is unmarked."""
    book = Book(target)
    book.write("/base", b"base")
    book.archive.sync()
    with ExitStack() as stack:  # the writer folds where there are more changes than these
        for module in ("blocks", "map"):
            stack.enter_context(mock.patch(f"archive7.{module}.INLINE_MAX", 16))
        stack.enter_context(book.archive.transaction())
        for number in range(3):
            book.write(f"/{number}", noise(7 * 4008, number))
    return book.fields()


@golden
def fragmented(target: io.BytesIO) -> Fields:
    """Two files that grew by turns: extents in the registry."""
    book = Book(target)
    for number in range(6):
        for name in ("/left", "/right"):
            book.append(name, noise(4008 + 17, (name, number)))
    return book.close()


@golden
def far_values(target: io.BytesIO) -> Fields:
    """Extended attributes of 60,000 bytes, so a registry value in a stream of its own."""
    book = Book(target)
    book.write("/file", b"content")
    book.archive.setxattr("/file", "user.large", noise(60_000, "large"))
    book.archive.setxattr("/file", "user.small", b"\0\xff")
    book.archive.mkdir("/d")
    book.archive.setxattr("/d", "user.\u00e4", noise(2000, "d"))
    return book.close()


@golden
def links(target: io.BytesIO) -> Fields:
    """Hard links, one of them deleted for good; symbolic links, one of which leads nowhere."""
    book = Book(target)
    book.archive.mkdir("/d")
    book.write("/one", noise(5000, "one"))
    for name in ("/two", "/d/three", "/d/four"):
        book.archive.link("/one", name)
        book.files[name] = book.files["/one"]
    book.remove("/two")
    book.archive.symlink("one", "/link")
    book.archive.symlink("/nowhere/" + "x" * 200, "/d/lost")
    return book.close()


@golden
def deleted(target: io.BytesIO) -> Fields:
    """A file and a directory deleted softly, a file whose data are gone, one erased."""
    book = Book(target)
    book.archive.mkdir("/d")
    for name in ("/soft", "/hard", "/erased", "/kept", "/d/in"):
        book.write(name, noise(5000, name))
    gone = {
        name: _item(book.archive, name, book.files) for name in ("/soft", "/hard", "/d", "/d/in")
    }
    gone["/hard"]["content"] = told(b"")
    book.remove("/soft", how=Delete.SOFT)
    book.remove("/hard", how=Delete.HARD)
    book.remove("/erased", how=Delete.ERASE)
    del book.files["/d/in"]
    book.archive.rmtree("/d", how=Delete.SOFT)
    return book.close() | {"deleted": gone}


@golden
def names(target: io.BytesIO) -> Fields:
    """Names of 255 bytes, and of every kind of character that a name may have."""
    book = Book(target)
    for name in (
        "x" * 255,
        "\u00e4" * 127,
        "\U0001f4c1",
        "e\u0301",
        "\u00e9",
        " ",
        "a\nb",
        "...",
        "\\",
    ):
        book.write(f"/{name}", name.encode())
    return book.close()


@golden
def many(target: io.BytesIO) -> Fields:
    """Trees of two levels."""
    book = Book(target)
    with book.archive.transaction():
        for number in range(45):
            book.write(f"/{number:03} {'n' * 60}", b"%d" % number)
    return book.close()


@golden
def blanking(target: io.BytesIO) -> Fields:
    """Killed while free slots were overwritten: the flag stands in the root."""
    book = Book(target)
    book.write("/gone", noise(9000, "gone"))
    book.write("/kept", noise(9000, "kept"))
    with mock.patch("archive7.session.blank_free"):
        book.remove("/gone", blank=True)
    return book.fields()


@golden
def trash(target: io.BytesIO) -> Fields:
    """Free positions in the trash stream, and bytes behind the last slot."""
    book = Book(target)
    for number in range(8):
        book.write(f"/{number}", noise(6000, number))
    for number in (1, 3, 5):
        book.remove(f"/{number}")
    fields = book.close()
    target.seek(0, 2)
    target.write(noise(6000, "behind"))
    return fields


@golden
def open_and_removed(target: io.BytesIO) -> Fields:
    """Killed while a file without a name was open."""
    book = Book(target)
    book.write("/kept", b"kept")
    book.write("/open", noise(5000, "open"))
    file = book.archive.open("/open", "rb")
    book.remove("/open")
    book.archive.sync()
    fields = book.fields()
    fields["_keep"] = file
    return fields


# --- streams without a filesystem


class Two(FixedMultiStreamManager):
    """The trash and two streams more."""

    SPECIAL_STREAM_COUNT = 3


def managed(target: io.BytesIO, kind: type[StreamManager]) -> Any:
    header = b"archive7".ljust(344, b"\0")
    options = Options(header=header)
    return kind.over(create_container(target, Secrets(key=KEY), replace=False, options=options))


def filled(stream: Any, data: bytes) -> bytes:
    stream.write(0, memoryview(data))
    stream.close()
    return data


@golden
def single(target: io.BytesIO) -> Fields:
    """One stream, followed by its links."""
    manager = managed(target, SingleStreamManager)
    data = filled(manager.special_stream(0), noise(30_000, "single"))
    manager.close()
    return {"kind": "single", "streams": {"0": told(data)}}


@golden
def fixed(target: io.BytesIO) -> Fields:
    """A fixed set: the trash, a stream, an empty one."""
    manager = managed(target, Two)
    data = filled(manager.special_stream(1), noise(9000, "fixed"))
    manager.close()
    return {"kind": "fixed", "streams": {"1": told(data), "2": told(b"")}}


@golden
def dynamic(target: io.BytesIO) -> Fields:
    """Streams with a registry."""
    manager, found = managed(target, DynamicMultiStreamManager), {}
    for size in (0, 10, 20_000):
        stream = manager.new_stream()
        found[stream.identity.hex] = told(noise(size, size))
        filled(stream, noise(size, size))
    manager.close()
    return {"kind": "dynamic", "streams": found}


def build(name: str) -> tuple[bytes, Fields]:
    """The bytes of one container, and its entry in the manifest."""
    target = io.BytesIO()
    with seeded(name, 64 if name == "reserve" else 1):
        fields = GOLDEN[name](target)
        data = target.getvalue()
        fields.pop("_keep", None)
    is_secretbox = name.endswith("secretbox")
    about = {
        "about": (GOLDEN[name].__doc__ or "").strip(),
        "format": "3.0",
        "suite": "secretbox" if is_secretbox else "xaes256gcm",
        "secret": {"password": PASSWORD} if name.startswith("password") else {"key": KEY.hex()},
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return data, about | fields


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    manifest = {}
    for name in GOLDEN:
        data, manifest[name] = build(name)
        (FOLDER / f"{name}.ar7").write_bytes(data)
        print(f"{name:24} {len(data):9}")
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=True)
    (FOLDER / "manifest.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
