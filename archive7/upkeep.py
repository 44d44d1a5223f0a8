"""Upkeep: long work on an open archive, in many small steps that may be stopped.

Owns the public face of checking, of compacting and of changing the master key.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

from .attributes import Attributes
from .check import Check, CheckState, check_archive
from .compact import Compaction, Compactor
from .epochs import old_key
from .errors import UsageError
from .keyslots import wipe
from .rekey import Kept, NewKeyslots, Rekeying, RekeyReport
from .rekey import begin as begin_rekey


class Upkeep(Attributes):
    """The methods of an archive that work on all of it."""

    def check(
        self,
        level: str = "full",
        *,
        progress: Callable[[int, int, str], object] | None = None,
        seconds: float | None = None,
        resume: CheckState | None = None,
    ) -> Check:
        """Check every layer; what comes back is an iterator of what is wrong.

        The structures (0.5 % of an archive of large files) are checked at once, under one lock.
        With level full every block of data is then opened while the findings are iterated, 64 MiB
        at a time, and others use the archive in between; what is written behind the point where
        the check stands is for the next one.

        Args:
            level: quick (structures) or full (every block is opened, too).
            progress: called as ``progress(done blocks, all blocks, layer)``, while the archive
                is locked: it must not call it.
            seconds: stop after so long; ``is_complete`` of the result tells whether it did.
            resume: ``state`` of an earlier result, to go on behind what that has opened.

        Raises: TransactionError inside a transaction; UsageError for a state of another archive.
        Cost: each block is opened once.  Memory: about 3 bytes for each block, and what is found.
        """
        return check_archive(
            self._manager, self._filesystem, level,
            turn=self._check_turn, progress=progress, seconds=seconds, resume=resume,
        )  # fmt: skip

    @contextlib.contextmanager
    def _check_turn(self) -> Iterator[None]:
        """Alone in the archive, with nothing uncommitted."""
        with self._lock:
            self.check_open()
            self._check_outside()
            self._enter()
            if not self._manager.is_readonly:
                self._commit()
            with self._alone():
                yield

    def compact(
        self,
        *,
        progress: Callable[[int, int, str], object] | None = None,
        seconds: float | None = None,
        force: bool = False,
    ) -> Compaction:
        """Lay the blocks out in order and give free space back, in many small transactions.

        It may be stopped at any time, by Ctrl-C too, and goes on at the next call; other threads
        go on using the archive meanwhile.  It stops, and says why, where a reader in another
        process holds an older commit.  For a while the file grows by up to 1/64 or 64 MiB.

        Args:
            progress: called as ``progress(done blocks, all blocks, "compact")``.
            seconds: stop after so long.
            force: also where little is free and in disorder.

        Raises: FullError without room for a window; TransactionError inside a transaction.
        Cost: every block out of order is read and written twice.  Durable: when this returns.
        """
        end = None if seconds is None else time.monotonic() + seconds
        with self._outside_commit():
            before, compactor = self._container.device.size(), Compactor(self._container)
            reason = "" if force or compactor.is_needed() else "nothing to do"
        while not (reason or compactor.is_complete):
            with self._outside_commit():
                if compactor.is_blocked():
                    reason = "a reader holds an older commit"
                else:
                    compactor.step()
            if progress is not None:
                progress(compactor.done, compactor.total, "compact")
            if end is not None and time.monotonic() > end and not compactor.is_complete:
                reason = "out of time"
        after, is_complete = self._container.device.size(), reason in ("", "nothing to do")
        return Compaction(before, after, compactor.moved, is_complete, reason)

    def rekey(
        self,
        keep: Iterable[Kept] = (),
        *,
        drop: Iterable[str] = (),
        blank: bool = False,
        progress: Callable[[int, int, str], object] | None = None,
        seconds: float | None = None,
    ) -> RekeyReport:
        """Change the master key and seal every block anew, in many small transactions.

        Changing a password revokes nobody who may have kept the master key; this does, once it
        has ended: until then whoever has the old key can read what is not sealed anew, and can
        forge it.  It may be stopped or crash at any time; opened again, the archive is whole, and
        `rekey()` without arguments goes on.  Readers keep their snapshot, then get RekeyedError.

        Args:
            keep: passwords (str) and raw keys (32 bytes) that go on opening the archive; labels
                and costs stay.  Recipients come along by their public keys.
            drop: ids or labels of recipients that do not come along.
            blank: overwrite free places at the end, where blocks sealed under the old key stand.
            progress: called as ``progress(done blocks, all blocks, "rekey")``.
            seconds: stop after so long.

        Raises: UsageError for a secret that opens nothing here, where none would be left or, with
        nothing in `keep`, what opened the archive would not come along; for
        secrets while a change is under way; FullError; TransactionError inside a transaction.
        Durable: when this returns.  Cost: every block is read and written once.
        """
        end = None if seconds is None else time.monotonic() + seconds
        kept, dropped = self._begin_rekey(tuple(keep), tuple(drop))
        rekeying = Rekeying(self._container)
        while not rekeying.is_complete and (end is None or time.monotonic() < end):
            with self._outside_commit():
                rekeying.step()
            if progress is not None:
                progress(rekeying.done, rekeying.total, "rekey")
        if blank and rekeying.is_complete:
            with self._lock:
                self._blank_later(True)
                self._commit(durable=True)
        return RekeyReport(kept, dropped, rekeying.damaged, rekeying.is_complete)

    def _begin_rekey(
        self, keep: tuple[Kept, ...], drop: tuple[str, ...]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Put a new key in force, unless one is already; names of keyslots kept and dropped."""
        with self._outside_commit():
            container = self._container
            if old_key(container.superblock) is not None:
                if keep or drop:
                    raise UsageError("a change of the key is under way: go on with rekey() first")
                return (), ()
            new = NewKeyslots(container, keep, drop)
            if not keep and container.opened_by not in new.moved.keys() | new.named:
                wipe(new.master)
                raise UsageError(
                    "no change of the key is under way, and what opened this archive would not "
                    "open it any more: say which secrets to keep"
                )
            begin_rekey(container, new)
            return tuple(new.kept), tuple(new.dropped)
