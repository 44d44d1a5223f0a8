"""Rescued: what a rescue reports."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

_MOST: Final = 1000  # of what the target refused; the rest is not listed


@dataclass(frozen=True)
class Rescued:
    """One file.

    Attributes:
        path: in the archive; below ``lost+found`` where its name is lost.
        status: whole, deleted, unproved, partial or lost.
        size: bytes it should have, as far as that is known.
        missing: bytes that could not be read.
        target: where it was written, below the target.
    """

    path: str
    status: str
    size: int
    missing: int = 0
    target: str = ""


@dataclass
class Rescue:
    """What a rescue found.

    Attributes:
        files: every name of every file.
        directories, links: how many were made; links are symbolic ones.
        notes: what was wrong with the container.
        refused: what the target could not have, such as names or attributes.
        is_complete: False where it was interrupted.
    """

    files: list[Rescued] = field(default_factory=list)
    directories: int = 0
    links: int = 0
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    is_complete: bool = False

    def count(self, status: str) -> int:
        """How many files have a status."""
        return sum(file.status == status for file in self.files)

    @property
    def is_whole(self) -> bool:
        """Whether everything came back, proved."""
        kept = {"whole", "deleted"}
        is_all = not self.notes and not self.refused and self.is_complete
        return is_all and kept >= {file.status for file in self.files}

    def refuse(self, text: str) -> None:
        """Note what the target could not have, unless there are very many."""
        if len(self.refused) < _MOST:
            self.refused.append(text)
        elif len(self.refused) == _MOST:
            self.refused.append("and more of the same")

    def as_json(self) -> str:
        """The report as a document."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
