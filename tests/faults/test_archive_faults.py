"""Faults: the n-th call of every kind fails, in every public operation of an archive.

Whatever happens, the operation raises or succeeds whole; what was committed is there; the archive
goes on or can be reopened, and check finds nothing.  With a disc that records, a failed sync also
loses pages, as Linux does.
"""

from __future__ import annotations

import pytest

from archive7 import Archive, ArchivePath
from tests.disk import Disk
from tests.faults.archiverows import ARCHIVE_ROWS, FILE_ROWS, PATH_ROWS
from tests.faults.archivesubject import ArchiveSubject, prepared
from tests.faults.engine import Plan, inject_all

ROWS = {row.name: row for row in [*ARCHIVE_ROWS, *FILE_ROWS, *PATH_ROWS]}
# what has to do with the text of a path alone
PURE = {
    "as_posix", "is_absolute", "is_relative_to", "joinpath", "match", "name", "parent", "parents",
    "parts", "relative_to", "stem", "suffix", "suffixes", "with_name", "with_stem", "with_suffix",
}  # fmt: skip


@pytest.fixture(scope="module")
def start() -> Disk:
    return prepared()


def _public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_public_operation_has_a_row() -> None:
    rows = [*ARCHIVE_ROWS, *FILE_ROWS]
    missing = _public(Archive) - {name for row in rows for name in row.covers}
    assert not missing
    missing = _public(ArchivePath) - PURE - {name for row in PATH_ROWS for name in row.covers}
    assert not missing
    assert len(ROWS) == len(ARCHIVE_ROWS) + len(FILE_ROWS) + len(PATH_ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_no_failing_call_does_harm(start: Disk, name: str, seed: int) -> None:
    inject_all(ArchiveSubject(), ROWS[name], start, Plan(False, seed))


@pytest.mark.full
@pytest.mark.parametrize("name", ROWS)
def test_no_failing_call_at_all_does_harm(start: Disk, name: str) -> None:
    inject_all(ArchiveSubject(), ROWS[name], start, Plan(True, 0))
