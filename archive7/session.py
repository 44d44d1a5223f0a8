"""Sessions: one open archive, its transactions and its open files.

Owns when things are committed, what an exception throws away, and the file objects that are still
open.  Promises: outside `transaction()` every operation is one commit, inside all of it is one;
an exception in the middle of a change never leaves half of it.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, NoReturn, ParamSpec, Protocol, TypeVar

from .blanking import blank_free
from .errors import ClosedError, TransactionError
from .filesystem import Filesystem
from .paths import FilesystemStreamManager
from .savepoint import Savepoint
from .streams import VirtualFileObject

P = ParamSpec("P")
R = TypeVar("R")


class _Closable(Protocol):
    @property
    def name(self) -> Any: ...

    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...


class Transaction:
    """What `Session.transaction` gives: all or nothing, nested ones are savepoints."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._savepoint: Savepoint | None = None

    def __enter__(self) -> Transaction:
        self._savepoint = self._session.begin_transaction()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.end_transaction(self._savepoint, failed=kind is not None)


class Session:
    """One open archive: transactions, commits, open files.

    All methods may be called from several threads; a transaction keeps the others waiting.
    """

    def __init__(self, manager: FilesystemStreamManager) -> None:
        self._manager = manager
        self._container = manager.container
        self._lock = manager.container.lock
        self._filesystem = Filesystem(manager)
        self._depth = 0
        self._is_doomed = False
        self._is_closing = False
        self._files: dict[int, weakref.ref[_Closable]] = {}
        self._opened = 0

    # --- state

    @property
    def closed(self) -> bool:
        """Whether the archive is closed."""
        return self._container.is_closed

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is under way."""
        return self._depth > 0

    def check_open(self) -> None:
        """Raise ClosedError if the archive is closed."""
        if self._container.is_closed or self._is_closing:
            raise ClosedError("the archive is closed")

    # --- transactions

    def transaction(self) -> Transaction:
        """A context manager: everything in it is one commit, or nothing if it raises.

        A transaction in a transaction is a savepoint.  Files that were opened in a part that is
        rolled back are closed; others go on with what was committed.

        Raises: TransactionError at the end if an operation inside failed half-way and its
        exception was swallowed.
        """
        return Transaction(self)

    def begin_transaction(self) -> Savepoint | None:
        """Begin a transaction or, inside one, a savepoint."""
        self._lock.acquire()
        try:
            self.check_open()
            self._manager.check_writable()
            self._check_doom()
            self._enter()
            savepoint = None
            if self._depth:
                with self._alone():
                    savepoint = self._manager.savepoint()
            else:
                self._commit()
            self._depth += 1
        except BaseException:
            self._lock.release()
            raise
        return savepoint

    def end_transaction(self, savepoint: Savepoint | None, *, failed: bool) -> None:
        """End what `begin_transaction` began: commit, release, or roll back."""
        try:
            self._depth -= 1
            if self.closed:
                if not failed:
                    raise TransactionError("the archive was closed inside: it was rolled back")
                return
            if failed or self._is_doomed:
                was_doomed, self._is_doomed = self._is_doomed and not failed, False
                self._roll_back(savepoint)
                if was_doomed:
                    raise TransactionError(
                        "an operation in the transaction failed half-way: it was rolled back"
                    )
            elif savepoint is not None:
                self._container.release(savepoint)
            else:
                self._commit()
        finally:
            self._lock.release()

    def _enter(self) -> None:
        """At the begin of a call: do what finalizers left, refuse a call inside of another.

        Raises: TransactionError where a signal handler or finalizer calls in.
        """
        if self._container.is_busy:
            raise TransactionError("called by a signal handler or finalizer inside another call")
        if self._container.late:
            self._container.run_late()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """In the middle of something: finalizers of forgotten files have to wait."""
        container = self._container
        was_busy, container.is_busy = container.is_busy, True
        try:
            yield
        finally:
            container.is_busy = was_busy

    def _roll_back(self, savepoint: Savepoint | None = None) -> None:
        with self._alone(), self._container.rolling_back():
            try:
                self._manager.rollback(savepoint)
            finally:
                self._filesystem.attach()

    def _check_doom(self) -> None:
        if self._is_doomed:
            raise TransactionError("the transaction failed half-way: leave it first")

    def _doom(self) -> None:
        """Something failed in the middle of a change: throw the change away."""
        if self._depth:
            self._is_doomed = True
        elif not self.closed:
            self._container.lose_work()
            self._roll_back()

    def _commit(self, *, durable: bool = False) -> int:
        try:
            number = self._manager.commit(durable=durable)
            if self._container.is_blanking:
                number = self._blank()
            return number
        except BaseException:
            if not self.closed:
                self._filesystem.attach()
            raise

    def _blank(self) -> int:
        """Overwrite what was freed, unless readers still need it; return the commit number."""
        container = self._container
        try:
            if not (container.is_readonly or container.is_failed or container.readers_hold()):
                with self._alone():
                    blank_free(container)
        except BaseException:
            if not self._container.is_failed:
                self._manager.rollback()
            raise
        return self._container.root.number

    def _blank_later(self, blank: bool) -> None:
        """Have what the change under way frees overwritten after its commit."""
        self._container.is_blanking |= blank

    def commit(self, *, durable: bool = False) -> int:
        """Commit what files handed over so far; return the commit number.

        Durable: with `durable=True`, when this returns.
        Raises: TransactionError inside a transaction.
        """
        with self._lock:
            self.check_open()
            self._check_outside()
            self._enter()
            return self._commit(durable=durable)

    def rollback(self) -> None:
        """Throw away what files handed over since the last commit.

        Raises: TransactionError inside a transaction: raise an exception there instead.
        """
        with self._lock:
            self._manager.check_writable()
            self._check_outside()
            self._enter()
            self._roll_back()

    def sync(self) -> None:
        """Commit and make everything durable.  Durable: when this returns.  Cost: one sync."""
        self.commit(durable=True)

    def refresh(self) -> bool:
        """Follow the writer: take the newest commit as snapshot; True if it is another one.

        An archive that is open for writing always has the newest: False.
        """
        with self._lock:
            self.check_open()
            self._enter()
            with self._alone():
                try:
                    return self._manager.refresh()
                finally:
                    self._filesystem.attach()

    def _check_outside(self) -> None:
        if self._depth:
            raise TransactionError("inside a transaction: it commits at its end")

    @contextlib.contextmanager
    def _outside_commit(self) -> Iterator[None]:
        """Alone in the archive, with nothing uncommitted; what fails inside is rolled back."""
        with self._lock:
            self._manager.check_writable()
            self._check_outside()
            self._enter()
            self._commit()
            try:
                with self._alone():
                    yield
            except BaseException:
                if not self._container.is_failed:
                    self._roll_back()
                raise

    # --- open files

    def _track(self, file: _Closable) -> None:
        """Remember an open file object, in order of opening."""
        self._opened += 1
        self._files[self._opened] = weakref.ref(file)
        if len(self._files) > 64 and self._opened % 64 == 0:
            self._files = {n: ref for n, ref in self._files.items() if _is_open(ref())}

    def _file_flushed(self) -> None:
        """A file handed its data over: outside a transaction this is a commit."""
        with self._lock:
            if not self._depth and not self.closed:
                self._commit()

    def _file_failed(self) -> None:
        with self._lock:
            self._doom()

    def _file_closed(self, raw: VirtualFileObject) -> None:
        with self._lock:
            if self.closed:
                return
            stream: Any = raw.stream
            try:
                with self._alone():
                    self._filesystem.close_stream(stream)
            except BaseException:
                self._doom()
                raise
            if not self._depth and not self._manager.is_readonly and self._container.is_changed:
                self._commit()

    def close(self) -> None:
        """Close the open files, commit, sync and close the archive; idempotent.

        Inside a transaction that is rolled back.
        A file object that is still open is flushed and closed with a ResourceWarning.  The first
        error is raised after everything was tried and the locks have been given back.
        """
        errors: list[BaseException] = []
        try:
            with self._lock:
                if self.closed:
                    return
                self._enter()
                self._is_closing = not self._depth  # nobody opens another file
                files = self._open_files() if self._is_closing else []
            # Not under our lock: a thread that writes holds its buffer's and waits for ours.
            _close_files(files, errors)
            with self._lock:
                self._finish(errors)
        finally:
            self._is_closing = False
        if errors:
            raise errors[0]

    def _open_files(self) -> list[_Closable]:
        files = [ref() for ref in self._files.values()]
        return [file for file in files if file is not None and not file.closed]

    def _finish(self, errors: list[BaseException]) -> None:
        """Close what is left, whatever fails."""
        if self.closed:
            return
        self._container.run_late()
        if self._depth:
            self._roll_back()
            _close_files(self._open_files(), errors)
            if not self._container.is_failed:
                _try(self._roll_back, errors)
        self._container.is_emergency = True
        with self._alone():
            if self._container.is_blanking and not errors:
                _try(self._blank, errors)
            _try(self._manager.close, errors)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an archive cannot be pickled or copied")


def _is_open(file: _Closable | None) -> bool:
    return file is not None and not file.closed


def _close_files(files: list[_Closable], errors: list[BaseException]) -> None:
    """Close files that somebody forgot to close."""
    for file in files:
        warnings.warn(f"unclosed file {file.name!r}", ResourceWarning, stacklevel=3)
        try:
            file.close()
        except BaseException as error:  # noqa: BLE001 - raised again when all was tried
            # Its own thread closed it meanwhile, or a rollback did, and its data have gone.
            if not (isinstance(error, ClosedError) or (type(error) is ValueError and file.closed)):
                errors.append(error)


def _try(action: Callable[[], object], errors: list[BaseException]) -> None:
    """Call, keep the exception for later."""
    try:
        action()
    except BaseException as error:  # noqa: BLE001 - raised again when all was tried
        errors.append(error)


S = TypeVar("S", bound=Session)


def query(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that reads: one at a time."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            self.check_open()
            container = self._container
            if container.is_busy or container.late:
                self._enter()
            container.is_busy = True
            try:
                return method(self, *args, **kwargs)
            finally:
                container.is_busy = False

    return call


def change(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that changes: one commit outside a transaction, thrown away if it fails."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            self._container.check_writable()
            if self._is_doomed:
                self._check_doom()
            container = self._container
            if container.is_busy or container.late:
                self._enter()
            if not self._depth and container.is_changed:
                self._commit()  # what others handed over is not thrown away if this fails
            before = self._filesystem.changes
            container.is_busy = True
            try:
                result = method(self, *args, **kwargs)
            except BaseException:
                if self._filesystem.changes != before:
                    self._doom()
                raise
            finally:
                container.is_busy = False
            if not self._depth:
                self._commit()
            return result

    return call


def release(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Like `change`, for one that gives space back: it may use the reserve of a full disc."""
    changed = change(method)

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            container = self._container
            container.is_emergency = True
            try:
                return changed(self, *args, **kwargs)
            finally:
                container.is_emergency = False

    return call
