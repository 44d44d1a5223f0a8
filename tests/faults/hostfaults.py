"""System calls of the host that fail when archive7 makes them: below the device, and beside it."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, NoReturn
from unittest import mock

import archive7.device
from tests.devices import Fault

CALLS = (
    "open", "close", "read", "write", "pread", "preadv", "pwrite", "fstat", "stat", "lstat",
    "fsync", "fdatasync", "ftruncate", "mkdir", "link", "rename", "replace", "unlink", "symlink",
    "readlink", "listdir", "scandir", "chmod", "utime", "listxattr", "getxattr", "setxattr",
    "truncate",
)  # fmt: skip
WRITES = {"open", "write", "pwrite", "mkdir", "link", "symlink", "ftruncate", "fdatasync", "fsync"}


class HostFault(NamedTuple):
    """Which call fails, and how."""

    call: str
    at: int
    fault: Fault
    is_persistent: bool = False


class Host:
    """Counts the calls that archive7 makes, and lets one fail.

    Attributes:
        calls: so far, by name.
        fired: how many have failed.
    """

    def __init__(self, plan: HostFault | None = None) -> None:
        self._plan = plan
        self.calls: Counter[str] = Counter()
        self.fired = 0

    def meet(self, call: str) -> Fault | None:
        """Note a call; the fault that it has to have, if any."""
        self.calls[call] += 1
        assert self.calls.total() < 100_000, "tried over and over"
        plan = self._plan
        if plan is None or plan.call != call or self.calls[call] < plan.at:
            return None
        if self.calls[call] > plan.at and not plan.is_persistent:
            return None
        self.fired += 1
        return plan.fault

    @contextmanager
    def watched(self) -> Iterator[Host]:
        """While the block runs, calls are counted and may fail."""
        with ExitStack() as stack:
            for name in CALLS:
                if hasattr(os, name) and name != "preadv":
                    wrapped = self._wrapped(name, getattr(os, name))
                    stack.enter_context(mock.patch.object(os, name, wrapped))
            device = archive7.device
            wrapped = self._wrapped("preadv", os.preadv)
            stack.enter_context(mock.patch.object(os, "preadv", wrapped))
            for name in ("_pread", "_pwrite"):
                wrapped = self._wrapped(name[1:], getattr(device, name))
                stack.enter_context(mock.patch.object(device, name, wrapped))
            stack.enter_context(mock.patch.object(io, "open", self._opener(io.open)))
            stack.enter_context(mock.patch("builtins.open", self._opener(open)))
            yield self

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not _is_ours():
                return real(*args, **kwargs)
            fault = self.meet(name)
            if fault is None:
                return real(*args, **kwargs)
            if name == "close" or fault is Fault.LATE:
                real(*args, **kwargs)
            if fault is Fault.SHORT:  # less than was asked for, which is no error
                return _short(name, real, args, kwargs)
            raise_fault(fault)

        return call

    def _opener(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """`open` gives a file whose reading and writing are counted as `read` and `write`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            file = real(*args, **kwargs)
            return _File(self, file) if _is_ours() else file

        return call


class _File:
    """A file of the host, as builtin `open` gives it."""

    def __init__(self, host: Host, file: Any) -> None:
        self._host, self._file = host, file

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._file, name)
        call = {"readinto": "read", "read": "read", "write": "write", "truncate": "truncate"}
        return self._host._wrapped(call[name], real) if name in call else real

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _is_ours() -> bool:
    """Whether archive7 makes the call, itself or through a few frames of the library."""
    frame, steps = sys._getframe(2), 0
    while frame is not None and steps < 6:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("archive7."):
            return True
        if name.startswith("tests."):
            return False
        frame, steps = frame.f_back, steps + 1  # type: ignore[assignment]
    return False


def raise_fault(fault: Fault) -> NoReturn:
    """Raise what a call of the host raises."""
    if fault is Fault.INTERRUPT:
        raise KeyboardInterrupt
    if fault is Fault.MEMORY:
        raise MemoryError
    code = {Fault.FULL: errno.ENOSPC, Fault.EINTR: errno.EINTR}.get(fault, errno.EIO)
    raise OSError(code, os.strerror(code))


def _short(name: str, real: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Do a part of what was asked for: at least one byte."""
    if name == "pwrite" or (name == "write" and len(args) == 2):
        data = memoryview(args[1])
        return real(args[0], data[: max(1, len(data) // 2)], *args[2:])
    if name == "pread" or (name == "read" and len(args) == 2):
        return real(args[0], max(1, args[1] // 2), *args[2:])
    if name == "read" and isinstance(args[0], memoryview):  # readinto
        return real(args[0][: max(1, len(args[0]) // 2)])
    if name == "preadv":
        room = args[1][0]
        return real(args[0], [room[: max(1, len(room) // 2)]], *args[2:])
    return real(*args, **kwargs)


def descriptors() -> set[int]:
    """The descriptors that the process has open."""
    return {int(name) for name in os.listdir("/proc/self/fd")} - {_own()}


def _own() -> int:
    """The descriptor that looking takes, which is closed again."""
    descriptor = os.open("/", os.O_RDONLY)
    os.close(descriptor)
    return descriptor
