"""Findings: what a check tells, and what to do about each.

Owns the kinds of findings by their codes (docs/cli.rst has the same table, compared by a test) and
the report that collects them.  Promises: what is wrong in the same way with neighbouring blocks of
one stream is one finding, so that a report is as long as the damage has pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from uuid import UUID

from .errors import CorruptError, RollbackError

_REPAIR: Final = "run ar7 repair"
_RESTORE: Final = "restore the file from a copy; without one, run ar7 rescue"
_RESCUE: Final = "run ar7 rescue, and restore what is missing from a copy"
_WRITE: Final = "open the archive for writing once, which mends it"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        severity: note (harmless), warning (safe so far) or error (damage).
        layer: superblock, root, map, block, stream, tree, registry, path or space.
        message: what is wrong.
        block, stream, path: where, as far as it is known.
        code: the kind of finding, for programs: a name that stays.
        slot: the place in the file, where it is known and tells something.
        count: so many blocks, from `block` on.
        remedy: what to do next.
    """

    severity: str
    layer: str
    message: str
    block: int | None = None
    stream: str | None = None
    path: str | None = None
    code: str = ""
    slot: int | None = None
    count: int = 1
    remedy: str = ""

    def continues(self, other: Finding) -> bool:
        """Whether this tells of the blocks behind those of `other` what that tells of them."""
        return (
            self.block is not None
            and other.block is not None
            and self.block == other.block + other.count
            and (self.code, self.stream, self.message, self.path)
            == (other.code, other.stream, other.message, other.path)
        )


class Kind(NamedTuple):
    """What all findings of one code share."""

    severity: str
    layer: str
    remedy: str


KINDS: Final[dict[str, Kind]] = {
    "superblock-damaged": Kind("error", "superblock", _WRITE),
    "superblock-older": Kind("warning", "superblock", _WRITE),
    "superblock-forged": Kind("error", "superblock", "restore the file from a copy"),
    "commit-skipped": Kind("warning", "root", "look whether what was written last is there"),
    "ring-incomplete": Kind("warning", "root", _WRITE),
    "root-damaged": Kind("error", "root", _REPAIR),
    "file-longer": Kind("note", "root", "nothing: the next writer cuts it"),
    "file-shorter": Kind("error", "root", _RESTORE),
    "reserve-wrong": Kind("error", "map", _REPAIR),
    "node-damaged": Kind("error", "map", _RESCUE),
    "slot-beyond": Kind("error", "map", _REPAIR),
    "slot-shared": Kind("error", "map", _RESCUE),
    "position-beyond": Kind("error", "map", _REPAIR),
    "used-wrong": Kind("error", "map", _REPAIR),
    "block-damaged": Kind("error", "block", _RESTORE),
    "block-older": Kind("error", "block", "restore the whole file from a copy"),
    "block-foreign": Kind("error", "block", _RESTORE),
    "block-missing": Kind("error", "stream", _RESTORE),
    "block-shared": Kind("error", "stream", _REPAIR),
    "record-wrong": Kind("error", "stream", _REPAIR),
    "link-wrong": Kind("error", "stream", _REPAIR),
    "tail-wrong": Kind("error", "stream", _REPAIR),
    "tree-damaged": Kind("error", "tree", _REPAIR),
    "tree-unreached": Kind("error", "tree", _REPAIR),
    "entry-damaged": Kind("error", "registry", _REPAIR),
    "entry-nameless": Kind("error", "registry", _REPAIR),
    "entry-links": Kind("error", "registry", _REPAIR),
    "entry-deleted": Kind("error", "registry", _REPAIR),
    "entry-homeless": Kind("error", "registry", _REPAIR),
    "name-damaged": Kind("error", "path", _REPAIR),
    "name-dead": Kind("error", "path", _REPAIR),
    "name-wrong": Kind("error", "path", _REPAIR),
    "name-unlisted": Kind("error", "path", _REPAIR),
    "name-stale": Kind("error", "path", _REPAIR),
    "name-circle": Kind("error", "path", _REPAIR),
    "block-lost": Kind("error", "space", _REPAIR),
    "position-used": Kind("error", "space", _REPAIR),
    "trash-wrong": Kind("error", "space", _REPAIR),
    "trash-incomplete": Kind("warning", "space", _REPAIR),
    "opening-failed": Kind("error", "opening", _RESCUE),
}


def finding(code: str, message: str, **where: object) -> Finding:
    """A finding of the kind `code`."""
    kind = KINDS[code]
    where.setdefault("remedy", kind.remedy)
    return Finding(kind.severity, kind.layer, message, code=code, **where)  # type: ignore[arg-type]


class Report:
    """Collects findings; neighbours become one.

    Attributes:
        path_of: finds the path of a stream for findings about it; asked once for each.
        stream: identity of the stream that findings are about, where they do not tell.
        told: how often something was told; errors: how many findings are errors.
    """

    def __init__(self, path_of: Callable[[bytes], str | None]) -> None:
        self._path_of = path_of
        self._found: list[Finding] = []
        self._last: Finding | None = None
        self._asked: tuple[bytes, str | None] = b"", None
        self.stream: bytes | None = None
        self.told = self.errors = 0

    def tell(
        self,
        code: str,
        message: str,
        *,
        layer: str = "",
        block: int | None = None,
        slot: int | None = None,
        count: int = 1,
        path: str | None = None,
    ) -> None:
        """Add a finding; `layer` in the place of what its kind has."""
        stream = None if self.stream is None else str(UUID(bytes=self.stream))
        told = finding(
            code, message,
            block=block, slot=slot, count=count, stream=stream, path=path or self._path(),
        )  # fmt: skip
        if layer:
            told = replace(told, layer=layer)
        self.told += 1
        last = self._last
        if last is not None and told.continues(last):
            self._last = replace(last, count=last.count + told.count)
            return
        self.errors += told.severity == "error"
        if last is not None:
            self._found.append(last)
        self._last = told

    def damage(
        self, code: str, damage: CorruptError, *, layer: str = "", block: int | None = None
    ) -> None:
        """Add a finding of what was raised; it tells its own place."""
        if code == "block-damaged" and isinstance(damage, RollbackError):
            code = "block-older"
        message = damage.reason.removesuffix(": run check")
        self.tell(code, message, layer=layer, block=damage.block if block is None else block)

    def _path(self) -> str | None:
        stream = self.stream
        if stream is not None and self._asked[0] != stream:
            self._asked = stream, self._path_of(stream)
        return self._asked[1]

    def take(self) -> list[Finding]:
        """All findings so far, which are forgotten here."""
        found = self._found
        if self._last is not None:
            found.append(self._last)
        self._found, self._last = [], None
        return found
