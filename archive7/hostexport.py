"""Host export: a tree in an archive becomes a tree of the host.

Owns what of an archive becomes what on the host.  Promises: nothing is written outside the target
or through a link; a file comes to stand under its name only when it is whole, with its mode, time
and attributes; no bits that give rights away; nothing is replaced unless that is wanted; what the
host cannot have is reported; no recursion.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .entry import DIRECTORY, LINK, decode_text
from .errors import ExistsError, NotFoundError, PathError
from .extras import decode_extras
from .filesystem import Filesystem
from .hostattributes import Owners, write_attributes
from .hostfile import CHUNK
from .hostfolder import Descent
from .hostname import name_fault
from .hostpart import CLASH, HostPart, as_name_fault
from .paths import Place
from .transfer import Report, SkipError, Transfer, Turn, Wishes, reason_of
from .treewalk import Node, TreeWalk, Turnstile

_MODE_MASK: Final = 0o777  # no setuid, setgid, sticky on the host
_HAS_HANDLES: Final = {os.chmod, os.utime} <= os.supports_fd
_HAS_LINK_TIMES: Final = os.utime in os.supports_follow_symlinks
_TICK_NS: Final = 100 if os.name == "nt" else 1  # what times of files are counted in


def export_tree(
    filesystem: Filesystem,
    source: str,
    target: str | os.PathLike[str],
    wishes: Wishes,
    overwrite: bool,
    name: str | None,
) -> Transfer:
    """Copy what stands at `source` of an archive into the folder `target` of the host."""
    folder = os.fspath(target)
    turnstile = Turnstile(filesystem)
    with turnstile:
        place = _place(filesystem, source)
        is_folder = place.type == DIRECTORY and name is None
        top = place.identity if is_folder else place.parent
        entry = filesystem.entry(top)
    if name is None:
        name = decode_text(place.name)
    names = None if is_folder else [(name, place.identity)]
    total = 0
    if wishes.progress is not None:
        nodes = TreeWalk(filesystem, turnstile, top, wishes.keep).nodes(names)
        total = sum(node.length for node in nodes if node.turn is Turn.MEET)
    is_new = _make_top(folder, entry.mode if is_folder else 0o777)
    export = Export(
        filesystem, turnstile, top, Descent(folder), wishes, Report(wishes.progress, total),
        source=source if is_folder else posixpath.dirname(source),
        overwrite=overwrite,
        is_new=is_new,
    )  # fmt: skip
    dress = Node(Turn.LEAVE, "", top, entry, 0) if is_new and is_folder else None
    return export.run(names, dress)


def _place(filesystem: Filesystem, source: str) -> Place:
    """What is to be exported: a link as a link, unless it leads to a directory."""
    place = filesystem.find(source, follow=False)
    if place.type == LINK:
        try:
            led = filesystem.locate(source)
        except PathError:  # a circle of links
            return place
        return led if led.type == DIRECTORY else place
    return place


def _make_top(folder: str, mode: int) -> bool:
    """Make the target and the folders above it; False if it is there already."""
    if os.path.isdir(folder):
        return False
    os.makedirs(os.path.dirname(os.path.abspath(folder)), exist_ok=True)
    os.mkdir(folder, mode & _MODE_MASK | stat.S_IRWXU)
    return True


class _Written(NamedTuple):
    """Where a file with several names was written first."""

    folder: list[str]
    name: str
    identity: tuple[int, ...]
    left: int  # names to come


class Export:
    """One export under way.

    Args:
        top: identity of the directory in the archive.
        descent: stands at the target; it is closed at the end.
        source: path of the top, for messages.
        is_new: whether the target was made for this.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        turnstile: Turnstile,
        top: bytes,
        descent: Descent,
        wishes: Wishes,
        report: Report,
        *,
        source: str,
        overwrite: bool,
        is_new: bool,
    ) -> None:
        self._filesystem = filesystem
        self._turnstile = turnstile
        self._walk = TreeWalk(filesystem, turnstile, top, wishes.keep)
        self._descent = descent
        self._source = source.rstrip("/")
        self._wishes = wishes
        self._report = report
        self._part = HostPart(descent, overwrite=overwrite)
        self._is_new = [is_new]  # which folders on the way down were made
        self._owners = Owners()
        self._written: dict[bytes, _Written] = {}

    def run(self, names: list[tuple[str, bytes]] | None, dress: Node | None) -> Transfer:
        """Export all that the walk meets; then set what `dress` has on the target, if given."""
        try:
            for node in self._walk.nodes(names):
                self._step(node)
            if dress is not None:
                self._tell_lost("", self._dress(self._descent.here, dress))
        except BaseException:  # also Ctrl-C
            with contextlib.suppress(OSError):
                self._part.drop()
            raise
        finally:
            self._descent.close()
        return self._report.done

    def _step(self, node: Node) -> None:
        try:
            if node.turn is Turn.ENTER:
                self._enter(node)
            elif node.turn is Turn.LEAVE:
                self._leave(node)
            else:
                self._meet(node)
        except SkipError as reason:
            self._report.skip(self._path(node.name), str(reason))
            if node.turn is Turn.ENTER:
                self._walk.decline()
            else:
                self._part.drop()
        if node.turn is Turn.MEET and self._wishes.progress is not None:
            self._report.passed(self._path(node.name), node.length)

    def _path(self, name: str) -> str:
        """The path in the archive of a name in the directory where the walk stands."""
        return f"{self._source}/{self._walk.relative(name)}"

    def _tell_lost(self, name: str, lost: list[str]) -> None:
        for reason in lost:
            self._report.skip(self._path(name), reason)

    # --- directories

    def _enter(self, node: Node) -> None:
        """Make a folder, or go on in the one that is there."""
        _check_name(node.name)
        descent, is_new = self._descent, True
        try:
            os.mkdir(descent.prefix + node.name, stat.S_IRWXU, **descent.where)
        except FileExistsError:
            if self._is_new[-1]:
                raise SkipError(CLASH) from None
            is_new = False
        except (OSError, ValueError) as error:
            raise as_name_fault(error) from None
        try:
            descent.enter(node.name)
        except NotADirectoryError:
            message = "a file or link stands where a folder goes"
            raise ExistsError(errno.EEXIST, message, descent.path(node.name)) from None
        self._is_new.append(is_new)

    def _leave(self, node: Node) -> None:
        """A folder is complete: now its time stays as it is set."""
        self._is_new.pop()
        with self._descent.leaving() as left:
            lost = self._dress(left, node)
        self._tell_lost(node.name, lost)
        self._report.done.directories += 1

    # --- files and links

    def _meet(self, node: Node) -> None:
        """Copy a file or link."""
        _check_name(node.name)
        has_names = node.entry.links > 1
        if has_names and self._link_again(node):
            return
        if self._is_there(node):
            self._report.done.unchanged += 1
        else:
            self._copy(node)
        if has_names:
            self._remember(node)

    def _is_there(self, node: Node) -> bool:
        """Whether an earlier export left it there, with this size and time."""
        if not self._wishes.resume or self._is_new[-1]:
            return False
        status = self._part.standing(node.name)
        if status is None or not _is_same_time(status, node):
            return False
        if node.entry.type == LINK:
            path, where = self._descent.prefix + node.name, self._descent.where
            return stat.S_ISLNK(status.st_mode) and os.readlink(path, **where) == _target(node)
        return stat.S_ISREG(status.st_mode) and status.st_size == node.length

    def _copy(self, node: Node) -> None:
        done, is_new = self._report.done, self._is_new[-1]
        if not is_new:
            self._part.check_free(node.name)
        size, lost = self._make_link(node) if node.entry.type == LINK else self._make_file(node)
        self._part.settle(node.name, is_new=is_new)
        self._tell_lost(node.name, lost)
        done.bytes += size
        if node.entry.type == LINK:
            done.links += 1
        else:
            done.files += 1

    def _make_link(self, node: Node) -> tuple[int, list[str]]:
        self._part.symlink(_target(node))
        return 0, self._dress(self._part.path, node) if _HAS_LINK_TIMES else []

    def _make_file(self, node: Node) -> tuple[int, list[str]]:
        """Make a file with all that it has: its size, and what the host refused."""
        lost: list[str] = []
        descriptor = self._part.open()
        try:
            size = self._write(descriptor, node)
            if _HAS_HANDLES:
                lost = self._dress(descriptor, node)
        finally:
            os.close(descriptor)
        if not _HAS_HANDLES:
            lost = self._dress(self._part.path, node)
        return size, lost

    def _write(self, descriptor: int, node: Node) -> int:
        """Write the data of a file; return how many bytes."""
        try:
            if node.length > CHUNK:
                return self._write_large(descriptor, node)
            with self._turnstile:
                data = self._filesystem.read(node.identity)
        except NotFoundError:
            raise SkipError("it was removed while the archive was exported") from None
        self._part.write(descriptor, memoryview(data), node.name)
        return len(data)

    def _write_large(self, descriptor: int, node: Node) -> int:
        room, offset = memoryview(bytearray(CHUNK)), 0
        with self._turnstile:
            stream = self._filesystem.open_stream(node.identity)
        try:
            while True:
                with self._turnstile:
                    size = stream.read_into(offset, room)
                if not size:
                    return offset
                self._part.write(descriptor, room[:size], node.name)
                offset += size
                if offset < node.length:
                    self._report.tell(self._path(node.name), offset)
        finally:
            with self._turnstile:
                self._filesystem.close_stream(stream)

    # --- several names

    def _remember(self, node: Node) -> None:
        """Note where a file with several names stands."""
        status = self._part.standing(node.name)
        if status is not None:
            folder, left = self._descent.names, node.entry.links - 1
            self._written[node.identity] = _Written(folder, node.name, _identity(status), left)

    def _link_again(self, node: Node) -> bool:
        """Make a further name of a file; False for its first, or if the host cannot."""
        found = self._written.pop(node.identity, None)
        if found is None:
            return False
        if found.left > 1:
            self._written[node.identity] = found._replace(left=found.left - 1)
        is_new = self._is_new[-1]
        standing = None if is_new else self._part.standing(node.name)
        if standing is not None:
            if _identity(standing) == found.identity:
                self._report.done.unchanged += 1
                return True
            self._part.check_free(node.name)
        if not self._is_linked(found):
            return False
        self._part.settle(node.name, is_new=is_new)
        self._report.done.hard_links += 1
        return True

    def _is_linked(self, found: _Written) -> bool:
        """Make the part a name of what was written; False if it is not there any more."""
        try:
            with self._descent.reached(found.folder) as (prefix, where):
                status = os.stat(prefix + found.name, follow_symlinks=False, **where)
                if _identity(status) != found.identity:
                    return False
                return self._part.link(prefix + found.name, where)
        except (FileNotFoundError, NotADirectoryError):
            return False

    # --- attributes

    def _dress(self, handle: int | str, node: Node) -> list[str]:
        """Set owner, attributes, mode and time, in the order in which none undoes another.

        Returns: reasons for what the host refused.
        """
        entry = node.entry
        options: dict[str, Any] = {}
        if entry.type == LINK:
            options = {"follow_symlinks": False, **self._descent.where}
        extras, lost = decode_extras(entry.extra), []
        if self._wishes.ownership and hasattr(os, "chown"):
            user, group = self._owners.numbers(extras, entry.user, entry.group)
            lost += _refused("owner", os.chown, handle, user, group, **options)
        if entry.type != LINK:
            if self._wishes.xattrs:
                lost += write_attributes(handle, extras)
            lost += _refused("mode", os.chmod, handle, entry.mode & _MODE_MASK)
        times = (entry.modified, entry.modified)
        return lost + _refused("time", os.utime, handle, ns=times, **options)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What tells a file from another one, also from one that got its inode."""
    return status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


def _refused(what: str, call: Callable[..., object], *args: object, **options: Any) -> list[str]:
    """Call; the reason, as a list, if the host refuses."""
    try:
        call(*args, **options)
    except (OSError, OverflowError) as error:
        return [f"without its {what}: {reason_of(error)}"]
    return []


def _check_name(name: str) -> None:
    fault = name_fault(name)
    if fault is not None:
        raise SkipError(fault)


def _target(node: Node) -> str:
    """Target of a symbolic link, as the host writes it."""
    return decode_text(node.entry.target).replace("/", os.sep)


def _is_same_time(status: os.stat_result, node: Node) -> bool:
    """Whether the host has the time of an entry, as well as it can tell it."""
    if node.entry.type == LINK and not _HAS_LINK_TIMES:
        return True
    return status.st_mtime_ns // _TICK_NS == node.entry.modified // _TICK_NS
