"""Looking at all of an archive: what can be read, and what is refused with which exception."""

from __future__ import annotations

from typing import Any

from archive7 import Archive
from archive7.errors import CorruptError, TreeCorruptError
from tests.vectors.make_golden import told

Found = dict[str, Any]
Refused = dict[str, str]


def look(archive: Archive, most: int = 1 << 30) -> tuple[Found, Refused]:
    """Every path that can be read, as the manifest tells it; every path that is refused.

    Args: most: stop after so many paths.
    """
    found: Found = {}
    refused: Refused = {}
    todo: list[tuple[str, tuple[int, ...]]] = [("/", ())]
    while todo and len(found) < most:
        path, above = todo.pop()
        try:
            item = read_item(archive, path)
            if item["type"] == "d":
                number = archive.lstat(path).st_ino
                if number in above:
                    raise TreeCorruptError("a directory in itself")
                names = archive.listdir(path)
                todo += [(f"{path.rstrip('/')}/{name}", (*above, number)) for name in names]
            if path != "/":
                found[path] = item
        except CorruptError as error:
            refused[path] = type(error).__name__
    return found, refused


def read_item(archive: Archive, path: str) -> dict[str, Any]:
    """What stands under a path, content included."""
    status = archive.lstat(path)
    kind = "l" if archive.islink(path) else "d" if archive.isdir(path) else "f"
    names = archive.listxattr(path, follow_symlinks=False)
    values = {name: archive.getxattr(path, name, follow_symlinks=False) for name in names}
    return {
        "type": kind,
        "content": told(archive.read_bytes(path) if kind == "f" else b""),
        "mode": status.st_mode & 0o7777,
        "user": status.st_uid,
        "group": status.st_gid,
        "times": [status.st_ctime_ns, status.st_mtime_ns],
        "target": archive.readlink(path) if kind == "l" else "",
        "xattrs": {name: told(value) for name, value in values.items()},
    }
