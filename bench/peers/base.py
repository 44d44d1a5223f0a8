"""What a peer is: a name, a reason why it cannot run, and sessions that do workloads.

A workload is a method of a session and a context manager. What stands before its ``yield``
prepares, the callable it yields is the work that is timed, what follows clears up. Work that
reads returns the last piece read, which the caller compares with what was written.
A session offers the workloads that it overrides; writing methods start from an empty container.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib import import_module, metadata
from pathlib import Path
from typing import ClassVar

Work = Callable[[], object]
Job = AbstractContextManager[Work]
File = tuple[str, bytes]
Item = tuple[bytes, bytes]


class Session:
    """One peer, opened over a folder of its own."""

    reads_any_offset: ClassVar[bool] = True
    """False if random reads must be whole pages of 4096 bytes."""

    @classmethod
    def can(cls, method: str) -> bool:
        """Tell whether this kind of session offers the workload of that name."""
        return getattr(cls, method) is not getattr(Session, method)

    def write_sequential(self, payload: memoryview, chunk: int) -> Job:
        """Write one new stream, `chunk` bytes at a time, and sync it."""
        raise NotImplementedError

    def read_sequential(self, chunk: int) -> Job:
        """Read the stream from its begin to its end; return the last chunk."""
        raise NotImplementedError

    def random_read(self, offsets: Sequence[int], size: int) -> Job:
        """Read `size` bytes at each offset of the stream; return the last piece."""
        raise NotImplementedError

    def random_overwrite(self, offsets: Sequence[int], page: bytes) -> Job:
        """Write `page` at each offset of the stream, then sync once."""
        raise NotImplementedError

    def create_small(self, files: Sequence[File]) -> Job:
        """Create the files, in one transaction where the peer has transactions."""
        raise NotImplementedError

    def read_small(self, names: Sequence[str]) -> Job:
        """Read the files last created, by name; return the content of the last one."""
        raise NotImplementedError

    def small_commit(self, files: Sequence[File], durable: bool) -> Job:
        """Create the files, each in a commit of its own, synced if `durable`."""
        raise NotImplementedError

    def map_insert(self, items: Sequence[Item]) -> Job:
        """Insert the items one by one into a new ordered map."""
        raise NotImplementedError

    def map_get(self, keys: Sequence[bytes]) -> Job:
        """Get the keys one by one from the map last filled; return the last value."""
        raise NotImplementedError


class Peer:
    """A product that Archive7 is measured against."""

    name: ClassVar[str]
    settings: ClassVar[str]
    """One line: sync mode, layout and whatever else decides the speed."""
    is_encrypted: ClassVar[bool] = False
    is_rival: ClassVar[bool] = True
    """False for a row that informs but that no target is taken from as the best peer."""

    def available(self) -> str | None:
        """Return None if the peer can run here, else the reason why not."""
        return None

    def version(self) -> str:
        """Return the version as the peer gives it."""
        return ""

    def open(self, folder: Path) -> AbstractContextManager[Session]:
        """Open a session that keeps all its files below `folder`, which is empty."""
        raise NotImplementedError


def missing(module: str) -> str | None:
    """Return None if the module can be imported, else the reason why not."""
    try:
        import_module(module)
    except (ImportError, OSError) as error:
        return f"{module} cannot be imported ({error})"
    return None


def installed(distribution: str) -> str:
    """Return name and version of an installed distribution, or say that it is not there."""
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return f"{distribution} not installed"
