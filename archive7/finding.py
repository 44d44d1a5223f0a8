"""Findings: what a check tells."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import CorruptError


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        severity: note (harmless), warning (safe so far) or error (damage).
        layer: superblock, root, map, block, stream, tree, registry, path or space.
        message: what is wrong.
        block, stream, path: where, as far as it is known.
    """

    severity: str
    layer: str
    message: str
    block: int | None = None
    stream: str | None = None
    path: str | None = None


def error(layer: str, reason: object, **where: object) -> Finding:
    """A finding of damage; an exception tells its own place."""
    if isinstance(reason, CorruptError):
        if reason.block is not None:
            where.setdefault("block", reason.block)
        if reason.path is not None:
            where.setdefault("path", reason.path)
        reason = reason.reason
    return Finding("error", layer, str(reason), **where)  # type: ignore[arg-type]
