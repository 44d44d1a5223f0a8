"""Mending: the report of a repair, shared by its parts."""

from __future__ import annotations

from dataclasses import dataclass, field

from .finding import Finding

RESCUE = "get what is readable with rescue, or restore it from a copy"


@dataclass(frozen=True)
class Mend:
    """One thing that was wrong.

    Attributes:
        layer: superblock, map, space, stream, tree, registry or path.
        message: what was wrong, and what was done or has to be done.
        stream, path: where, as far as it is known.
    """

    layer: str
    message: str
    stream: str | None = None
    path: str | None = None


@dataclass
class RepairReport:
    """What a repair did, or would do.

    Attributes:
        mended: what was derived anew from the rest, and is right again.
        lost: what nothing that is left can tell; it is as it was.
        remaining: what a full check finds afterwards.
        is_applied: False for a dry run.
    """

    mended: list[Mend] = field(default_factory=list)
    lost: list[Mend] = field(default_factory=list)
    remaining: list[Finding] = field(default_factory=list)
    is_applied: bool = False

    def __post_init__(self) -> None:
        self._known: set[Mend] = set()  # what was noted, so that nothing is told twice

    @property
    def is_sound(self) -> bool:
        """Whether a check finds no damage afterwards."""
        return not any(finding.severity == "error" for finding in self.remaining)

    def mend(self, layer: str, message: str, **where: str | None) -> None:
        """Note what was mended."""
        self._note(self.mended, Mend(layer, message, **where))

    def lose(self, layer: str, message: str, **where: str | None) -> None:
        """Note what cannot be mended."""
        self._note(self.lost, Mend(layer, message, **where))

    def _note(self, notes: list[Mend], mend: Mend) -> None:
        if mend not in self._known:
            self._known.add(mend)
            notes.append(mend)
