"""Calls: what is asked of the archive and of the host, written once for both sides.

A side has the names of `Archive`, and `files`: the open ones by number.  What a call gives can be
pickled and compared: times that were not set on purpose are "now", which names share a file is
told by the first of them.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from typing import Any, Final

RECENT_NS: Final = 1_577_836_800_000_000_000  # 2020: what tests set lies before
Outcome = tuple[Any, ...]
Node = dict[str, Any]
_KINDS: Final = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


def outcome(call: Callable[..., object], *args: object) -> Outcome:
    """What a call gives: a value, or the exception as a caller can tell it."""
    try:
        return ("value", call(*args))
    except io.UnsupportedOperation:
        return ("UnsupportedOperation",)
    except OSError as error:
        kind = next(k for k in type(error).__mro__ if k.__module__ == "builtins")
        return (kind.__name__, error.errno, error.filename, error.filename2)
    except ValueError:
        return ("ValueError",)


def time_of(modified_ns: int) -> int | str:
    """A time that was set, or that it was not."""
    return "now" if modified_ns > RECENT_NS else modified_ns


def look(side: Any, status: os.stat_result) -> Node:
    """What a stat must have in common."""
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    node = {"kind": kind, "mode": stat.S_IMODE(status.st_mode)}
    if kind != "directory":
        node["size"] = status.st_size
        node["names"] = status.st_nlink - side.hidden_names(status.st_ino)
        node["time"] = time_of(status.st_mtime_ns)
    return node


# --- asking


def scandir(side: Any, path: str) -> object:
    """All that the entries of a directory tell."""
    found = []
    for entry in side.scandir(path):
        plain = entry.stat(follow_symlinks=False)
        found.append(
            (
                entry.name, entry.path, entry.is_symlink(),
                outcome(entry.is_dir), outcome(entry.is_file),
                entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False),
                outcome(lambda entry=entry: look(side, entry.stat())),
                look(side, plain), entry.inode() == plain.st_ino,
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: one[0])


def walk(side: Any, path: str, topdown: bool, follow: bool) -> object:
    """A walk, its errors, and where it was pruned."""
    failed: list[Outcome] = []
    found = []

    def note(error: OSError) -> None:
        failed.append(outcome(_raise, error))

    for folder, names, others in side.walk(path, topdown, note, follow):
        if topdown:
            names.sort()
            del names[5:]
        found.append((folder, sorted(names), sorted(others)))
        if len(found) > 60:  # round and round
            break
    return (found if topdown else sorted(found)), failed


def _raise(error: BaseException) -> None:
    raise error


def tree(side: Any) -> dict[str, Node]:
    """All that stands there: path -> all that is known of it."""
    found: dict[str, Node] = {}
    first: dict[int, str] = {}
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        status = side.lstat(path)
        node = found[path] = look(side, status)
        if node["kind"] == "link":
            node["content"] = side.readlink(path)
        elif node["kind"] == "file":
            node["content"] = side.read_bytes(path)
        if node["kind"] == "directory":
            node["time"] = time_of(status.st_mtime_ns)
            names = side.listdir(path)
            waiting += [f"{path.rstrip('/')}/{name}" for name in sorted(names, reverse=True)]
        else:
            node["first"] = first.setdefault(status.st_ino, path)
        node["attributes"] = {
            name: side.getxattr(path, name, follow_symlinks=False)
            for name in side.listxattr(path, follow_symlinks=False)
            if name.startswith("user.")  # the host may have others, as of its security modules
        }
    return found


def unlike(ours: dict[str, Node], theirs: dict[str, Node]) -> dict[str, object]:
    """Where two trees differ: path -> what either side has."""
    wrong: dict[str, object] = {}
    for path in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(path), theirs.get(path)
        if here and there and there["kind"] == "directory" and there["time"] == "now":
            here = here | {"time": "now"}  # a content that changed shows on the host only
        if here != there:
            keys = sorted(set(here or {}) | set(there or {}))
            wrong[path] = [
                (key, (here or {}).get(key), (there or {}).get(key))
                for key in keys
                if (here or {}).get(key) != (there or {}).get(key)
            ]
    return wrong


# --- changing


def setxattr(side: Any, path: str, name: str, value: bytes, flags: int, follow: bool) -> object:
    """Set an extended attribute."""
    return side.setxattr(path, name, value, flags, follow_symlinks=follow)


def utime(side: Any, path: str, modified_ns: int | None, follow: bool) -> object:
    """Set the time of modification; tell it."""
    times = None if modified_ns is None else (modified_ns, modified_ns)
    if times is None:
        side.utime(path, follow_symlinks=follow)
    else:
        side.utime(path, ns=times, follow_symlinks=follow)
    return time_of(side.stat(path, follow_symlinks=follow).st_mtime_ns)


# --- open files


def open_file(side: Any, number: int, path: str, mode: str, buffering: int) -> object:
    """Open a file and keep it."""
    file = side.open(path, mode, buffering)
    side.keep(number, file, path)
    return file.readable(), file.writable(), file.tell(), file.mode


def use(side: Any, number: int, method: str, *args: Any) -> object:
    """Call a method of an open file."""
    file = side.files[number]
    if method == "readinto":
        buffer = bytearray(args[0])
        return file.readinto(buffer), bytes(buffer)
    if method == "close":
        del side.files[number]
    return getattr(file, method)(*args)


def _of_path(name: str) -> Callable[..., object]:
    def call(side: Any, *args: Any) -> object:
        return getattr(side, name)(*args)

    return call


def _unordered(name: str) -> Callable[..., object]:
    def call(side: Any, path: str) -> object:
        return sorted(getattr(side, name)(path))

    return call


_PLAIN: Final = """
    exists isfile isdir islink readlink read_bytes mkdir makedirs rename replace link symlink
    chmod truncate write_bytes copy delete deleted undelete purge
    """.split()
CALLS: Final[dict[str, Callable[..., Any]]] = {name: _of_path(name) for name in _PLAIN} | {
    "stat": lambda side, path: look(side, side.stat(path)),
    "lstat": lambda side, path: look(side, side.lstat(path)),
    "listdir": _unordered("listdir"),
    "scandir": scandir,
    "walk": walk,
    "tree": tree,
    "setxattr": setxattr,
    "getxattr": lambda side, path, name, follow: side.getxattr(path, name, follow_symlinks=follow),
    "removexattr": lambda side, path, name, follow: side.removexattr(
        path, name, follow_symlinks=follow
    ),
    "listxattr": lambda side, path, follow: sorted(
        name for name in side.listxattr(path, follow_symlinks=follow) if name.startswith("user.")
    ),
    "utime": utime,
    "open": open_file,
    "use": use,
}
ASKING: Final = """
    exists isfile isdir islink readlink read_bytes stat lstat listdir scandir
    """.split()
