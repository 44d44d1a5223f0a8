"""Sessions: rules of open files, of transactions, and of archives that are closed or crash."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from archive7.errors import TransactionError
from tests.property.machine.calls import outcome
from tests.property.machine.rules import SIZES, Spot, salts
from tests.property.machine.sides import Ours, Sides, pattern, quiet
from tests.property.machine.spots import spots
from tests.unit.archives import assert_sound

_MOST_FILES: Final = 5
OPEN_MODES: Final = [k + "b" + p for k in "rwxa" for p in ("", "+")] + ["r+b", "r+b", "r+b"]
_numbers = st.integers(0, _MOST_FILES - 1)


class FileRules(Sides):
    """Files stay open while everything else goes on."""

    def number(self, number: int) -> int:
        """One of the open files."""
        return sorted(self.opened)[number % len(self.opened)]

    @precondition(lambda self: len(self.opened) < _MOST_FILES)
    @rule(
        path=spots, mode=st.sampled_from(OPEN_MODES), buffering=st.sampled_from([0, 0, 512, 4096])
    )
    def open(self, path: Spot, mode: str, buffering: int) -> None:
        text = self.path(path)
        if mode[0] != "r":
            self.pending()
        self.last_file += 1
        here = self.both("open", self.last_file, text, mode, buffering)
        if here[0] == "value":
            self._paths = None
            self.opened[self.last_file] = mode[0] != "r"

    def use(self, number: int, method: str, *args: Any) -> None:
        """One call of one file: what it changes is not committed yet."""
        self.pending()
        self.both("use", number, method, *args)

    def flush(self, number: int) -> None:
        """What was written is committed."""
        self.both("use", number, "flush")
        if self.opened[number]:
            self.committed()
            self.opened[number] = False

    @precondition(lambda self: self.opened)
    @rule(
        number=_numbers,
        call=st.sampled_from(
            [("read",), ("read", 10), ("read", 5000), ("readline",), ("tell",)]
            + [("readinto", size) for size in (0, 7, 4009, 20_000)]
            + [("seek", offset, 0) for offset in (*SIZES, -1)]
            + [("seek", offset, 1) for offset in (-5000, -1, 0, 4008)]
            + [("seek", offset, 2) for offset in (-5000, -1, 0, 4008)]
        ),
    )
    def read_or_seek(self, number: int, call: tuple[Any, ...]) -> None:
        self.use(self.number(number), *call)

    @precondition(lambda self: self.opened)
    @rule(
        number=_numbers,
        size=st.sampled_from(SIZES),
        salt=salts,
        is_flushed=st.sampled_from([True, False, False]),
    )
    def write(self, number: int, size: int, salt: int, is_flushed: bool) -> None:
        number = self.number(number)
        self.use(number, "write", pattern(size, salt))
        self.opened[number] |= bool(size) and self.ours.files[number].writable()
        if is_flushed:
            self.flush(number)

    @precondition(lambda self: self.opened)
    @rule(number=_numbers, length=st.sampled_from([None, -1, *SIZES]), is_flushed=st.booleans())
    def truncate_open(self, number: int, length: int | None, is_flushed: bool) -> None:
        number = self.number(number)
        self.use(number, "truncate", length)
        if length != -1:
            self.opened[number] |= self.ours.files[number].writable()
        if is_flushed:
            self.flush(number)

    @precondition(lambda self: self.opened)
    @rule(number=_numbers)
    def flush_one(self, number: int) -> None:
        self.flush(self.number(number))

    @precondition(lambda self: self.opened)
    @rule(number=_numbers)
    def close_file(self, number: int) -> None:
        number = self.number(number)
        self.pending()
        self.both("use", number, "close")
        self.host.value("drop", number)
        del self.opened[number]
        self.commit_if_outside()

    @precondition(lambda self: self.dead)
    @rule()
    def close_dead(self) -> None:
        """A file that a rollback has closed: it says so, and nobody else suffers."""
        number = min(self.dead)
        self.dead.discard(number)
        file = self.ours.files.pop(number)
        assert outcome(file.close) in (("value", None), ("ValueError",))
        assert outcome(file.tell) == ("ValueError",)
        self.commit_if_outside()

    def commit_if_outside(self) -> None:
        """Whether closing a file committed what others wrote is nobody's business."""
        if not self.transactions:
            self.ours.commit()
            self.committed()


class SessionRules(FileRules):
    """Transactions, and archives that are closed or crash."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[tuple[Ours, Any]] = []

    # --- transactions

    @precondition(lambda self: self.depth < 3)
    @rule()
    def begin(self) -> None:
        transaction = self.ours.transaction()
        transaction.__enter__()
        self.committed()
        self.transactions.append(transaction)
        self.host.value("begin")

    @precondition(lambda self: self.transactions)
    @rule()
    def keep(self) -> None:
        self.transactions.pop().__exit__(None, None, None)
        self.host.value("keep_changes")

    @precondition(lambda self: self.transactions)
    @rule()
    def take_back(self) -> None:
        self.transactions.pop().__exit__(KeyError, KeyError(), None)
        self.undo(self.depth)
        self.compare()

    @precondition(lambda self: not self.transactions)
    @rule()
    def rollback(self) -> None:
        self.ours.rollback()
        if self.is_pending:
            self.undo(0)
            self.is_pending = False
            self.compare()

    @precondition(lambda self: not self.transactions)
    @rule(is_durable=st.booleans())
    def commit(self, is_durable: bool) -> None:
        self.ours.commit(durable=is_durable)
        self.committed()

    @precondition(lambda self: self.transactions)
    @rule()
    def refuse_inside(self) -> None:
        for call in (self.ours.commit, self.ours.rollback, self.ours.sync, self.ours.check):
            with pytest.raises(TransactionError):
                call()

    # --- sessions

    @rule()
    def reopen(self) -> None:
        """Close, with files open or not, in a transaction or not."""
        if self.transactions:
            self.undo(0, close=True)
        else:
            self.host.value("close_files")
            self.committed()
        with quiet():
            self.ours.archive.close()
        while self.transactions:
            with pytest.raises(TransactionError):
                self.transactions.pop().__exit__(None, None, None)
        self.attach()

    @rule()
    def crash(self) -> None:
        """The process dies: what was committed is there."""
        self.vault.crash()
        if not self.transactions and not self.is_pending:
            self.host.value("begin")
        self.undo(0, close=True)
        self.is_pending = False
        self.close_readers()
        self.abandon()
        self.attach()

    def attach(self) -> None:
        """Open the archive again."""
        self.opened.clear()
        self.dead.clear()
        self.ours = Ours(self.vault.open())
        self.compare()

    # --- looking

    @rule()
    def look(self) -> None:
        self.compare()

    @precondition(lambda self: not self.transactions)
    @rule()
    def check(self) -> None:
        self.committed()
        assert_sound(self.ours.archive)

    @precondition(lambda self: not self.transactions and not self.is_pending)
    @rule()
    def open_reader(self) -> None:
        self.close_readers()
        self.readers.append((Ours(self.vault.read()), self.host.value("tree")))

    @rule(is_refreshed=st.booleans())
    def look_through_reader(self, is_refreshed: bool) -> None:
        """A reader has the commit that it opened, whatever was written since."""
        for reader, expected in self.readers:
            self.compare_with(reader, expected)
            if is_refreshed and not self.transactions and not self.is_pending:
                newer = Ours(self.vault.refresh(reader.archive))
                self.readers = [(newer, self.host.value("tree"))]

    def close_readers(self) -> None:
        for reader, _ in self.readers:
            reader.archive.close()
        self.readers.clear()

    def teardown(self) -> None:
        self.close_readers()
        super().teardown()
