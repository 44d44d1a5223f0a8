"""The verbs rekey and shred, receipts on the command line."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

import archive7
from archive7 import KdfCost
from archive7.cli.secret import Secret, find_secret
from tests.unit.command import KEY, Ar7


def test_key_is_changed_and_the_secret_stays(ar7: Ar7) -> None:
    files = ar7.fill()
    with ar7.opened("r+") as archive:
        archive.keys.add(password="office", label="office", kdf=KdfCost(19456, 2, 1))
        archive.keys.add(password="gone", label="gone", kdf=KdfCost(19456, 2, 1))
    kept = ar7.folder / "office.txt"
    kept.write_text("office\n")
    kept.chmod(0o600)
    told = ar7("rekey", "vault.ar7", "--keep-password-file", "office.txt", "--blank").stdout
    assert "kept: raw key, office" in told
    assert "dropped: gone" in told
    assert "has a new key" in told
    document = ar7.json("info", "vault.ar7")
    assert document["epoch"] == 2
    assert document["is_rekeying"] is False
    with ar7.opened() as archive:
        assert archive.read_bytes("/a.txt") == files["/a.txt"]


def test_change_that_was_stopped_goes_on(ar7: Ar7) -> None:
    ar7.fill()
    assert "again" in ar7("rekey", "vault.ar7", "--seconds", "0", code=1).stdout
    assert ar7.json("info", "vault.ar7")["is_rekeying"] is True
    ar7("check", "vault.ar7")
    assert ar7.json("rekey", "vault.ar7")["is_complete"] is True


def test_receipt_is_kept_and_expected(ar7: Ar7) -> None:
    ar7.fill()
    shutil.copy(ar7.vault, ar7.folder / "old.ar7")
    ar7("mkdir", "vault.ar7", "later")
    receipt = ar7("info", "--receipt", "vault.ar7").stdout
    assert ar7.json("info", "--receipt", "vault.ar7")["receipt"] == receipt.strip()
    (ar7.folder / "receipt").write_text(receipt)
    for form in ("receipt", receipt.strip()):
        ar7("ls", "vault.ar7", "--expect", form)
        told = ar7("ls", "old.ar7", "--expect", form, code=1).stderr
        assert "put back" in told
        assert "later" not in told
        ar7("ls", "old.ar7", "--expect", form, "--accept-rollback")
    container = ar7.json("info", "vault.ar7")["container"]
    ar7("ls", "vault.ar7", "--expect", container)
    assert "receipt" in ar7("ls", "vault.ar7", "--expect", "nothing", code=2).stderr


def test_shredded_archive_opens_no_more(ar7: Ar7) -> None:
    ar7.fill()
    ar7.is_damaged = True
    before = ar7.vault.read_bytes()
    assert "as it was" in ar7("shred", "vault.ar7", input="n\n", code=1).stderr
    assert ar7.vault.read_bytes() == before
    ar7("shred", "vault.ar7", "--yes")
    after = ar7.vault.read_bytes()
    assert len(after) == len(before)
    assert not any(after[:65536])
    ar7("ls", "vault.ar7", code=3)
    ar7("shred", "vault.ar7", "--yes", code=3)
    assert "no such file" in ar7("shred", "nowhere.ar7", "--yes", code=3).stderr


def test_archive_in_use_is_not_shredded(ar7: Ar7) -> None:
    ar7.fill()
    with archive7.open(ar7.vault, "r+", key=KEY) as archive:
        ar7("shred", "vault.ar7", "--yes", code=3)
        assert archive.read_bytes("/a.txt")


def test_secret_is_asked_for_once(ar7: Ar7, monkeypatch: pytest.MonkeyPatch) -> None:
    ar7.fill()
    asked = []

    def find(*args: Any, **options: Any) -> Secret:
        asked.append(args)
        return find_secret(*args, **options)

    monkeypatch.setattr("archive7.cli.vault.find_secret", find)
    ar7("rekey", "vault.ar7")
    assert len(asked) == 1
