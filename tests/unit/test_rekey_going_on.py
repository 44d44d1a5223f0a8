"""`rekey()` without arguments goes on with a change; it locks nobody out by beginning one."""

from __future__ import annotations

from pathlib import Path

import pytest

import archive7
from archive7 import UsageError, keys
from tests.unit.archives import open_archive


def test_no_arguments_where_nothing_is_under_way(tmp_path: Path) -> None:
    path = tmp_path / "vault.ar7"
    open_archive(path, "x").close()
    theirs = keys.generate_identity("x25519")
    with open_archive(path, "r+") as archive:
        archive.keys.add(recipient=theirs.recipient, label="them")
        with pytest.raises(UsageError, match="which secrets to keep"):
            archive.rekey()
    open_archive(path).close()


def test_who_drops_what_opened_it_means_it(tmp_path: Path) -> None:
    path = tmp_path / "vault.ar7"
    mine, theirs = keys.generate_identity("x25519"), keys.generate_identity("x25519")
    archive7.open(path, "x", identity=mine, recipients=[mine.recipient, theirs.recipient]).close()
    with archive7.open(path, "r+", identity=mine, unauthenticated=True) as archive:
        assert archive.rekey().is_complete
        own = next(info.id for info in archive.keys.list() if info.is_mine)
        assert archive.rekey(drop=[own]).is_complete
    archive7.open(path, identity=theirs).close()
