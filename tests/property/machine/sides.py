"""Sides: the archive beside the host, asked the same, and what they must agree on."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine

from archive7 import Archive, Delete
from tests.property.machine.calls import CALLS, Outcome, outcome, unlike
from tests.property.machine.differences import is_meant
from tests.property.machine.host import HostProcess
from tests.property.machine.spots import Known, expand, shorten
from tests.property.machine.vault import Vault
from tests.unit.archives import assert_sound


class Ours:
    """The archive as a side."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.files: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.archive, name)

    @staticmethod
    def hidden_names(inode: int) -> int:
        """Every name counts."""
        return 0

    def keep(self, number: int, file: Any, path: str) -> None:
        """Remember an open file."""
        self.files[number] = file

    def copy(self, source: str, target: str, follow: bool) -> str:
        """As `Archive.copy`."""
        return self.archive.copy(source, target, follow_symlinks=follow)

    def delete(self, path: str, kind: str, how: str) -> None:
        """Remove, rmdir or rmtree."""
        getattr(self.archive, kind)(path, how=Delete[how])

    def deleted(self) -> list[tuple[str, str, int, bool]]:
        """What can be compared of deletions."""
        return [(d.path, d.type, d.size, d.is_restorable) for d in self.archive.deleted()]

    def undelete(self, item: int | str, path: str | None) -> str:
        """Restore by number or path."""
        return self.archive.undelete(self._item(item), path)

    def purge(self, item: int | str | None) -> int:
        """Erase by number or path."""
        return self.archive.purge(None if item is None else self._item(item))

    def _item(self, item: int | str) -> Any:
        return self.archive.deleted()[item] if isinstance(item, int) else item


class Sides(RuleBasedStateMachine):
    """Both sides, their open files and transactions.

    Attributes:
        host: the other side, shared by all runs.
        vault_of: makes the place for an archive.
        steps, runs: how much was tried.
    """

    host: ClassVar[HostProcess]
    vault_of: ClassVar[Callable[[], Vault]]
    steps: ClassVar[int] = 0
    runs: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        self.host.value("reset")
        self.vault = self.vault_of()
        self.ours = Ours(self.vault.create())
        self.transactions: list[Any] = []
        self.is_pending = False  # something was changed and not committed
        self.opened: dict[int, bool] = {}  # open file -> whether a flush would commit
        self.dead: set[int] = set()  # open files that a rollback has closed
        self.last_file = 0
        self._paths: list[str] | None = None

    # --- asking both

    def both(self, name: str, *args: Any) -> Outcome:
        """One call on both sides: the same outcome."""
        type(self).steps += 1
        text = f"{name}({', '.join(_short(arg) for arg in args)})"
        note(text)
        here = outcome(CALLS[name], self.ours, *args)
        there = self.host.call(name, *args)
        if here != there and not is_meant(name, args, here, there):
            told = [shorten(f"{side!r:.9000}")[:2000] for side in (here, there)]
            raise AssertionError(f"{text}:\narchive {told[0]}\nhost    {told[1]}")
        return here

    def change(self, name: str, *args: Any) -> Outcome:
        """One call on both sides that changes names or entries: a commit if it works."""
        here = self.both(name, *args)
        if here[0] == "value":
            self._paths = None
            self.committed()
        return here

    def path(self, spot: Known | str) -> str:
        """The path that was drawn."""
        if isinstance(spot, str):
            return expand(spot)
        if self._paths is None:
            self._paths = self.host.value("paths")
        return spot.text(self._paths)

    # --- commits

    @property
    def depth(self) -> int:
        """Transactions in transactions."""
        return len(self.transactions)

    def committed(self) -> None:
        """Outside of transactions: what was changed until now stays."""
        if self.is_pending and not self.transactions:
            self.host.value("keep_changes")
            self.is_pending = False

    def pending(self) -> None:
        """What comes next belongs to the next commit, whoever makes it."""
        if not self.is_pending and not self.transactions:
            self.host.value("begin")
            self.is_pending = True

    def undo(self, to: int, *, close: bool = False) -> None:
        """The host goes back to an image."""
        gone = self.host.value("undo", to, close)
        self._paths = None
        for number in gone:
            self.opened.pop(number, None)
            self.dead.add(number)

    # --- comparing

    def compare(self) -> None:
        """The same tree and the same deletions."""
        self.both("deleted")
        expected = self.host.value("tree")
        self.compare_with(self.ours, expected)
        if not self.is_pending and not self.transactions:
            with self.vault.read() as reader:
                self.compare_with(Ours(reader), expected)

    @staticmethod
    def compare_with(side: Ours, expected: dict[str, Any]) -> None:
        """The same tree."""
        wrong = unlike(CALLS["tree"](side), expected)
        if wrong:
            lines = [shorten(f"{path}: {value!r:.300}") for path, value in wrong.items()]
            raise AssertionError("\n".join(["trees differ (what, archive, host):", *lines]))

    # --- the end

    def abandon(self) -> None:
        """Close the archive, whatever state it is in."""
        with warnings.catch_warnings(), contextlib.suppress(ValueError, OSError):
            warnings.simplefilter("ignore")
            self.ours.archive.close()
        for file in self.ours.files.values():
            with contextlib.suppress(ValueError, OSError):
                file.close()
        self.ours.files.clear()
        while self.transactions:
            with contextlib.suppress(ValueError):
                self.transactions.pop().__exit__(KeyError, KeyError(), None)

    def teardown(self) -> None:
        """Whatever was done: the trees are equal, every structure is sound, nothing leaks."""
        try:
            if sys.exc_info()[0] is None:
                self.finish()
        finally:
            self.abandon()
            self.vault.close()

    def finish(self) -> None:
        """Look at everything once more, then take everything away."""
        while self.transactions:
            self.transactions.pop().__exit__(None, None, None)
            self.host.value("keep_changes")
        self.ours.commit()
        self.committed()
        self.compare()
        for number in sorted(self.opened):
            self.both("use", number, "close")
        for number in self.dead:
            with contextlib.suppress(ValueError):
                self.ours.files.pop(number).close()
        self.compare()
        assert_sound(self.ours.archive)
        self.vault.check_empties(self.ours.archive, self.remove_all)

    def remove_all(self) -> None:
        """Remove everything."""
        archive = self.ours.archive
        archive.purge()
        for entry in archive.scandir("/"):
            if entry.is_dir(follow_symlinks=False):
                archive.rmtree(entry.path)
            else:
                archive.remove(entry.path)


def _short(value: object) -> str:
    """A value as it stands in a story."""
    if isinstance(value, bytes) and len(value) > 12:
        return f"<{len(value)} bytes>"
    text = shorten(repr(value))
    return text if len(text) < 100 else f"{text[:40]}...<{len(text)}>"


def pattern(size: int, salt: int) -> bytes:
    """Bytes that tell where they come from."""
    return hashlib.shake_128(b"%d" % salt).digest(size)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Files that are still open when an archive is closed are no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
