"""The verbs rm --how, deleted, undelete and cp."""

from __future__ import annotations

from tests.unit.command import Ar7


def test_soft_removal_is_listed_and_undone(ar7: Ar7) -> None:
    files = ar7.fill()
    ar7("rm", "-r", "--how", "soft", "vault.ar7", "dir")
    told = ar7.json("deleted", "vault.ar7")["deleted"]
    assert [(item["path"], item["type"], item["is_restorable"]) for item in told] == [
        ("/dir", "directory", True)
    ]
    assert "/dir" in ar7("deleted", "vault.ar7").stdout
    assert ar7("undelete", "vault.ar7", "dir", "--to", "/back").stdout == "/back\n"
    with ar7.opened() as archive:
        assert archive.read_bytes("/back/b.bin") == files["/dir/b.bin"]


def test_hard_removal_keeps_the_record_only(ar7: Ar7) -> None:
    ar7.fill()
    ar7("rm", "--how", "hard", "vault.ar7", "a.txt")
    assert "gone" in ar7("deleted", "vault.ar7").stdout
    assert "with its data" in ar7("undelete", "vault.ar7", "a.txt", code=2).stderr


def test_blanked_removal_leaves_nothing_of_the_file(ar7: Ar7) -> None:
    ar7.fill()
    before = ar7.vault.read_bytes()
    ar7("rm", "-r", "--blank", "vault.ar7", "dir")
    after = ar7.vault.read_bytes()
    kept = {after[at : at + 4096] for at in range(98304, len(after), 4096)}
    blocks = {before[at : at + 4096] for at in range(98304, len(before), 4096)}
    assert len(blocks & kept) < 64 + 6, "the reserve, a.txt, the link and little else"


def test_what_was_not_deleted_cannot_be_restored(ar7: Ar7) -> None:
    ar7.fill()
    assert "No such file" in ar7("undelete", "vault.ar7", "a.txt", code=1).stderr


def test_files_and_trees_are_copied(ar7: Ar7) -> None:
    files = ar7.fill()
    ar7("cp", "vault.ar7", "a.txt", "b.txt")
    ar7("cp", "-r", "vault.ar7", "link", "a.txt", "dir")
    ar7("cp", "-r", "vault.ar7", "dir", "copy", code=0)
    with ar7.opened() as archive:
        assert archive.read_bytes("/b.txt") == files["/a.txt"]
        assert archive.read_bytes("/copy/b.bin") == files["/dir/b.bin"]
        assert archive.islink("/copy/link")


def test_directory_is_not_copied_without_r(ar7: Ar7) -> None:
    ar7.fill()
    assert "cp -r" in ar7("cp", "vault.ar7", "dir", "copy", code=2).stderr
    assert "mkdir" in ar7("cp", "vault.ar7", "a.txt", "link", "nowhere", code=2).stderr
