"""Host import: a tree of the host becomes a tree in an archive.

Owns what of the host becomes what in the archive, and when it is committed.  Promises: an entry
goes in whole, with its mode, time, owner and attributes, or not at all; what stood there before
stays until then; nothing in the archive is written through a link; no recursion.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from .entry import DIRECTORY, FILE, LINK, NIL, Entry, decode_path, encode_name, encode_text
from .errors import PathError, TransactionError, UsageError
from .extras import Extras, decode_extras
from .filesystem import Filesystem
from .hostattributes import Owners, is_of_host, read_attributes
from .hostfile import CHUNK, HostFile, reading, settled
from .hostfolder import Descent
from .hostwalk import HostWalk, Step
from .paths import Place, failure
from .transfer import Report, SkipError, Transfer, Turn, Wishes, reason_of

_LEAST: Final = 4096  # bytes that anything counts for until the next commit


class Tree(Protocol):
    """What an import needs of an archive besides its filesystem."""

    @property
    def in_transaction(self) -> bool: ...

    def transaction(self) -> AbstractContextManager[object]: ...
    def makedirs(self, path: str, *, exist_ok: bool) -> None: ...


def import_tree(
    archive: Tree,
    filesystem: Filesystem,
    source: str | os.PathLike[str],
    target: str,
    wishes: Wishes,
    commit_every: int | None,
) -> Transfer:
    """Copy a folder or file of the host into the directory `target` of an archive."""
    origin = os.fspath(source)
    if not isinstance(origin, str):
        raise UsageError("the source must be a str path")
    if commit_every is not None:
        if commit_every < 1:
            raise UsageError("commit_every is a number of bytes, at least 1")
        if archive.in_transaction:
            raise TransactionError("inside a transaction: import without commit_every=")
    os.lstat(origin)
    top, names = origin, None
    if not _is_folder(origin):
        top, name = os.path.split(origin)
        names = [name]
    total = _size_of(filesystem, top, names, wishes) if wishes.progress is not None else 0
    report = Report(wishes.progress, total)
    descent = Descent(top, is_held=names is None)
    try:
        importer = Import(filesystem, descent, target, wishes, report)
        importer.run(archive, names, commit_every)
    finally:
        descent.close()
    return report.done


def _is_folder(path: str) -> bool:
    """Whether a path of the host leads to a folder; what cannot be asked is none of both."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _ignore(_path: str, _reason: str) -> None:
    """Is told in the walk that copies."""


def _size_of(filesystem: Filesystem, top: str, names: list[str] | None, wishes: Wishes) -> int:
    """Bytes of all files that an import will meet."""
    descent = Descent(top, is_held=names is None)
    try:
        own = filesystem.manager.container.device.identity
        steps = HostWalk(descent, wishes.keep, own, _ignore).steps(names)
        return sum(step.status.st_size for step in steps if stat.S_ISREG(step.status.st_mode))
    finally:
        descent.close()


class Import:
    """One import under way.

    Args:
        descent: stands at the top folder of the host.
        target: path of the directory in the archive.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        descent: Descent,
        target: str,
        wishes: Wishes,
        report: Report,
    ) -> None:
        self._filesystem = filesystem
        self._descent = descent
        self._target = target
        self._wishes = wishes
        self._report = report
        own = filesystem.manager.container.device.identity
        self._walk = HostWalk(descent, wishes.keep, own, report.skip)
        self._owners = Owners()
        self._directories: list[tuple[bytes, bool]] = []  # identity, whether it is new
        self._changes = 0  # of the filesystem, as far as they are ours
        self._linked: dict[tuple[int, ...], tuple[bytes, int]] = {}  # identity, names to come

    def run(self, archive: Tree, names: list[str] | None, commit_every: int | None) -> None:
        """Import everything; nobody else changes the archive between two commits."""
        with self._filesystem.manager.container.lock:
            steps = self._steps(names)
            is_done = False
            while not is_done:
                with archive.transaction():
                    if not self._directories:
                        self._begin(archive, is_folder=names is None)
                    is_done = _take_batch(steps, commit_every)
                    if is_done:
                        self._report.tell("")

    def _begin(self, archive: Tree, *, is_folder: bool) -> None:
        """Make the target, which gets the attributes of the top folder."""
        archive.makedirs(self._target, exist_ok=True)
        identity = self._filesystem.directory(self._target)
        if is_folder:
            status = os.stat(self._descent.here)
            entry = self._filesystem.entry(identity)
            attributes = self._attributes("", self._descent.here)
            self._refresh(identity, entry, self._traits(status, entry, attributes))
        self._directories.append((identity, False))
        self._changes = self._filesystem.changes

    def _steps(self, names: list[str] | None) -> Iterator[int]:
        """Import one thing after the other; yields how many bytes each had."""
        for step in self._walk.steps(names):
            self._check_directories()
            try:
                if step.turn is Turn.LEAVE:
                    self._directories.pop()
                elif step.turn is Turn.ENTER:
                    self._enter(step)
                else:
                    self._meet(step)
            except SkipError as reason:
                self._skip(step, str(reason))
            self._changes = self._filesystem.changes
            if step.turn is Turn.MEET and self._wishes.progress is not None:
                is_file = stat.S_ISREG(step.status.st_mode)
                self._report.passed(self._path(step), step.status.st_size if is_file else 0)
            yield step.status.st_size

    def _check_directories(self) -> None:
        """See that the caller's functions, which may change the archive, left the way here."""
        if self._filesystem.changes == self._changes:
            return
        for identity, _ in self._directories:
            if identity not in self._filesystem.manager.registry.tree:
                raise failure(errno.ENOENT, self._target)
        self._directories = [(identity, False) for identity, _ in self._directories]

    def _skip(self, step: Step, reason: str) -> None:
        """Report what is not taken, and do not go into it."""
        name = step.name
        if step.turn is Turn.ENTER:
            self._walk.decline()
            name = ""
        self._report.skip(self._descent.path(name), reason)

    def _path(self, step: Step) -> str:
        """Where a file comes to stand in the archive."""
        return f"{self._target.rstrip('/')}/{self._walk.relative(step.name)}"

    def _place(self, name: str) -> Place:
        """What stands under a name in the directory of the archive."""
        directory, is_new = self._directories[-1]
        try:
            encoded = encode_name(name, name)
        except PathError as error:
            raise SkipError(reason_of(error)) from None
        value = None if is_new else self._filesystem.manager.paths.get(directory + encoded)
        if value is None:
            return Place(directory, encoded, None, NIL)
        return Place(directory, encoded, *decode_path(value))

    def _free_place(self, name: str) -> Place:
        """What stands under a name, where something that is no directory may stand."""
        place = self._place(name)
        if place.type == DIRECTORY:
            raise SkipError("a directory stands there in the archive")
        return place

    def _vacated(self, place: Place) -> Place:
        """Take away the file or link at a place."""
        if place.type is not None:
            self._filesystem.changes += 1
            self._filesystem.unlink(place)
        return place

    # --- directories

    def _enter(self, step: Step) -> None:
        """Make a directory, or go on in the one that is there."""
        place = self._place(step.name)
        if place.type == FILE:
            raise SkipError("a file stands there in the archive")
        old = self._filesystem.entry(place.identity) if place.type == DIRECTORY else None
        traits = self._traits(step.status, old, self._attributes("", self._descent.here))
        if old is not None:
            identity = place.identity
            self._refresh(identity, old, traits)
        else:
            entry = self._entry(DIRECTORY, place, traits, None)
            identity = self._filesystem.make(self._vacated(place), entry)
        self._directories.append((identity, old is None))
        self._report.done.directories += 1

    # --- files and links

    def _meet(self, step: Step) -> None:
        """Take something that is no directory."""
        status = step.status
        is_link = stat.S_ISLNK(status.st_mode)
        if not is_link and not stat.S_ISREG(status.st_mode):
            raise SkipError("neither file, directory nor symbolic link")
        place = self._free_place(step.name)
        if status.st_nlink > 1 and self._link_again(place, status):
            return
        kind, take = (LINK, self._take_link) if is_link else (FILE, self._take_file)
        old = self._filesystem.entry(place.identity) if place.type == kind else None
        identity = take(step, place, old)
        if status.st_nlink > 1:
            self._linked[_file_of(status)] = identity, status.st_nlink - 1

    def _link_again(self, place: Place, status: os.stat_result) -> bool:
        """Make a further name of what was taken already; False for its first name."""
        found = self._linked.pop(_file_of(status), None)
        if found is None:
            return False
        identity, left = found
        if identity not in self._filesystem.manager.registry.tree:
            return False  # the caller's function has removed it
        if left > 1:
            self._linked[_file_of(status)] = identity, left - 1
        if place.identity == identity:
            self._report.done.unchanged += 1
        else:
            self._filesystem.add_name(identity, self._vacated(place), self._target)
            self._report.done.hard_links += 1
        return True

    def _is_there(self, old: Entry, step: Step) -> bool:
        """Whether what stands in the archive has the time of what was met, and may be left."""
        return self._wishes.resume and old.modified == step.status.st_mtime_ns

    def _take_link(self, step: Step, place: Place, old: Entry | None) -> bytes:
        with reading():
            target = os.readlink(self._descent.prefix + step.name, **self._descent.where)
        try:
            encoded = encode_text(target.replace(os.sep, "/"), step.name)
        except PathError as error:
            raise SkipError(f"its target: {reason_of(error)}") from None
        traits = self._traits(step.status, old, None)
        if old is not None and old.target == encoded and self._is_there(old, step):
            self._refresh(place.identity, old, traits)
            self._report.done.unchanged += 1
            return place.identity
        entry = self._entry(LINK, place, traits, old).changed(target=encoded)
        identity = self._filesystem.make(self._vacated(place), entry)
        self._report.done.links += 1
        return identity

    def _take_file(self, step: Step, place: Place, old: Entry | None) -> bytes:
        if old is not None and self._is_there(old, step):
            if self._filesystem.length(place.identity) == step.status.st_size:
                return self._leave_file(step, place, old)
        step = step._replace(status=settled(self._descent, step.name, step.status))
        with HostFile(self._descent, step.name, step.status) as file:
            if step.status.st_size <= CHUNK:
                data = memoryview(file.read())
                entry = self._whole(file, step, place, old)
                identity = self._filesystem.create_file(self._vacated(place), data, 0, entry=entry)
            else:
                identity = self._take_large(file, step, place, old)
        self._report.done.files += 1
        self._report.done.bytes += step.status.st_size
        return identity

    def _take_large(self, file: HostFile, step: Step, place: Place, old: Entry | None) -> bytes:
        """Write a large file piece by piece; no name leads to it before it is whole."""
        stream, offset = self._filesystem.new_stream(), 0
        try:
            for piece in file.pieces():
                stream.write(offset, piece)
                offset += len(piece)
                if offset < step.status.st_size:
                    self._report.tell(self._path(step), offset)
            entry = self._whole(file, step, place, old)
            self._check_directories()
            place = self._free_place(step.name)
            return self._filesystem.adopt(self._vacated(place), stream, entry)
        except SkipError:
            stream.truncate(0)  # its blocks are free again
            raise
        finally:
            stream.abandon()

    def _whole(self, file: HostFile, step: Step, place: Place, old: Entry | None) -> bytes:
        """The encoded entry of a file that was read, if it stood still meanwhile."""
        attributes = self._attributes(step.name, file.descriptor)
        file.check()
        return self._entry(FILE, place, self._traits(step.status, old, attributes), old).encode()

    def _leave_file(self, step: Step, place: Place, old: Entry) -> bytes:
        """The file is there already: bring its attributes up to date."""
        attributes = None
        if self._wishes.xattrs:
            with HostFile(self._descent, step.name, step.status) as file:
                attributes = self._attributes(step.name, file.descriptor)
        self._refresh(place.identity, old, self._traits(step.status, old, attributes))
        self._report.done.unchanged += 1
        return place.identity

    # --- entries

    def _attributes(self, name: str, file: int | str) -> dict[str, bytes] | None:
        """The extended attributes of an open file or folder; None if they are not wanted."""
        if not self._wishes.xattrs:
            return None
        attributes, lost = read_attributes(file)
        for reason in lost:
            self._report.skip(self._descent.path(name), reason)
        return attributes

    def _traits(
        self, status: os.stat_result, old: Entry | None, attributes: dict[str, bytes] | None
    ) -> dict[str, Any]:
        """The fields of an entry that come from the host; what is not wanted stays as it was."""
        user = group = 0
        extra = b""
        if old is not None or attributes or self._wishes.ownership:
            extras = Extras() if old is None else decode_extras(old.extra)
            if self._wishes.ownership:
                user, group = status.st_uid, status.st_gid
                extras.user, extras.group = self._owners.names(user, group)
            elif old is not None:
                user, group = old.user, old.group
            if attributes is not None:
                kept = {k: v for k, v in extras.attributes.items() if not is_of_host(k)}
                extras.attributes = kept | attributes
            extra = extras.encode()
        return {
            "modified": status.st_mtime_ns,
            "mode": stat.S_IMODE(status.st_mode),
            "user": user,
            "group": group,
            "extra": extra,
        }

    def _entry(
        self, kind: bytes, place: Place, traits: dict[str, Any], old: Entry | None
    ) -> Entry:
        """The entry of something new, or of what takes the place of `old`."""
        created, owner = (time.time_ns(), NIL) if old is None else (old.created, old.owner)
        return Entry(kind, place.parent, place.name, created, owner=owner, **traits)

    def _refresh(self, identity: bytes, old: Entry, traits: dict[str, Any]) -> None:
        """Change what differs in the entry of something that stays."""
        changed = {name: value for name, value in traits.items() if getattr(old, name) != value}
        if changed:
            self._filesystem.update(identity, **changed)


def _file_of(status: os.stat_result) -> tuple[int, ...]:
    """What all names of a file share, and no other file does that got its inode later."""
    moments = status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, *moments


def _take_batch(steps: Iterator[int], commit_every: int | None) -> bool:
    """Import until it is time for a commit; True if all is done."""
    taken = 0
    for size in steps:
        taken += max(size, _LEAST)
        if commit_every is not None and taken >= commit_every:
            return False
    return True
