"""Faults: the n-th call of every kind fails, in every public operation, once and for good.

Whatever happens, the operation raises or succeeds whole; what was committed is there; the archive
goes on or can be reopened, and check finds nothing.  With a disc that records, a failed sync also
loses pages, as Linux does.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from archive7 import Archive
from archive7.errors import Archive7Error, RecoveredWarning
from tests.devices import Fault, FaultingDevice, RecordingDevice
from tests.disk import Disk
from tests.unit.archives import Tree, noise, open_archive, tree_of


def _open_file(archive: Archive) -> None:
    with archive.open("/dir/big", "r+b") as file:
        file.seek(5000)
        file.write(noise(9000, 5))
        file.flush()
        file.seek(0)
        file.read(100)
        file.truncate(11_000)


def _transaction(archive: Archive) -> None:
    with archive.transaction():
        archive.write_bytes("/one", noise(6000, 1))
        with archive.transaction():
            archive.rename("/one", "/two")
        archive.remove("/dir/small")


def _undone(archive: Archive) -> None:
    class UndoneError(Exception):
        pass

    try:
        with archive.transaction():
            archive.write_bytes("/one", noise(6000, 1))
            try:
                with archive.transaction():
                    archive.remove("/one")
                    raise UndoneError
            except UndoneError:
                archive.mkdir("/three")
            raise UndoneError
    except UndoneError:
        pass


def _many(archive: Archive) -> None:
    with archive.transaction():
        for number in range(250):
            archive.write_bytes(f"/many{number}", noise(100, number))


def _import(archive: Archive) -> None:
    archive.import_tree(Path(__file__).parent.parent / "typing", "/imported")


OPERATIONS: dict[str, Callable[[Archive], object]] = {
    "write_bytes": lambda a: a.write_bytes("/new", noise(3000)),
    "write_bytes big": lambda a: a.write_bytes("/new", noise(1_200_000)),
    "write_bytes over": lambda a: a.write_bytes("/dir/big", noise(20_000, 9)),
    "write_text": lambda a: a.write_text("/dir/small", "text"),
    "open": _open_file,
    "read_bytes": lambda a: a.read_bytes("/dir/big"),
    "truncate": lambda a: a.truncate("/dir/big", 5),
    "truncate longer": lambda a: a.truncate("/dir/small", 50_000),
    "mkdir": lambda a: a.mkdir("/new"),
    "makedirs": lambda a: a.makedirs("/new/er/est"),
    "remove": lambda a: a.remove("/dir/big"),
    "rmdir": lambda a: a.rmdir("/empty"),
    "rename": lambda a: a.rename("/dir", "/moved"),
    "replace": lambda a: a.replace("/dir/big", "/dir/small"),
    "symlink": lambda a: a.symlink("x", "/new"),
    "chmod": lambda a: a.chmod("/dir/big", 0o600),
    "utime": lambda a: a.utime("/dir/big", ns=(5, 5)),
    "transaction": _transaction,
    "rollback": _undone,
    "many": _many,
    "import_tree": _import,
    "commit": lambda a: a.commit(durable=True),
    "sync": lambda a: a.sync(),
    "check": lambda a: list(a.check()),
    "listdir": lambda a: (a.listdir("/dir"), list(a.walk("/")), a.info(), a.refresh()),
    "close": lambda a: a.close(),
}


def build(device: FaultingDevice) -> Archive:
    """An archive with something in it; some of that not synced."""
    return open_archive(device, "r+" if device.size() else "x")


def fill(archive: Archive) -> None:
    archive.mkdir("/dir")
    archive.write_bytes("/dir/big", noise(40_000, 1))
    archive.write_bytes("/dir/small", b"small")
    archive.mkdir("/empty")
    archive.sync()
    archive.write_bytes("/dir/late", noise(5000, 2))
    archive.remove("/dir/late")
    archive.write_bytes("/late", noise(5000, 3))


def states(name: str) -> tuple[Tree, Tree]:
    """The tree before and after an operation that nothing disturbs."""
    archive = build(FaultingDevice(RecordingDevice(Disk())))
    fill(archive)
    before = tree_of(archive)
    OPERATIONS[name](archive)
    if name == "close":
        return before, before
    after = tree_of(archive)
    archive.close()
    return before, after


def prepared() -> Disk:
    """The disc with the archive of `fill`, as a killed writer leaves it."""
    disk = Disk()
    fill(build(FaultingDevice(RecordingDevice(disk))))
    return disk


def assert_unharmed(archive: Archive, what: str) -> None:
    """Check finds nothing; that a write of a root broke off may be told."""
    for level in ("full", "quick"):
        found = [f for f in archive.check(level) if (f.severity, f.layer) != ("warning", "root")]
        assert not found, f"{what}: {level}: {found}"


def reopened(disk: Disk) -> Tree:
    """What a later process finds, checked; it can write, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecoveredWarning)
        archive = build(FaultingDevice(RecordingDevice(disk.copy())))
    tree = tree_of(archive)
    assert_unharmed(archive, "reopened")
    archive.write_bytes("/written later", b"yes")
    archive.close()
    return tree


def inject(
    name: str,
    start: Disk,
    kind: str,
    at: int,
    fault: Fault,
    persistent: bool,
    expected: list[Tree],
) -> bool:
    """One run with one fault; False if the operation makes fewer calls than that."""
    disk = start.copy()
    device = FaultingDevice(RecordingDevice(disk), random.Random(at))
    archive = build(device)
    before, after = expected
    device.arm(kind, at, fault, persistent=persistent)
    raised: BaseException | None = None
    try:
        OPERATIONS[name](archive)
    except (OSError, Archive7Error, MemoryError, KeyboardInterrupt) as error:
        raised = error
    is_hit = device.fired > 0
    device.disarm()
    what = f"{name}: {kind} #{at} {fault.name} {'for good' if persistent else 'once'}: {raised!r}"
    # a fault late in an operation may come after its commit: then either is right
    possible = [before, after] if raised or not is_hit else [after]
    if name == "makedirs":  # a directory each
        possible += [{**before, "new": after["new"]}]
    if raised and name in ("open", "import_tree"):
        possible = []  # several commits: each of them is one
    assert raised is None or is_hit, what
    if not archive.closed:
        if not archive._container.is_failed:
            try:
                found = tree_of(archive)
            except BaseException as error:
                raise AssertionError(f"{what}: not usable: {error!r}") from error
            assert not possible or found in possible, what
            assert_unharmed(archive, what)
            archive.write_bytes("/goes on", b"yes")
            archive.remove("/goes on")
        else:
            with pytest.raises(OSError):
                archive.mkdir("/no")
    print(what)
    later = reopened(disk)
    if possible:
        assert later in [*possible, before, after], what
    device.disarm()
    try:
        archive.close()
    except OSError:
        assert archive._container.is_failed or name == "close", what
    final = reopened(disk)
    assert not possible or final in [*possible, before, after], what
    return is_hit


@pytest.fixture(scope="module")
def start() -> Disk:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return prepared()


CALLS = ("pwrite", "pread", "sync", "truncate", "size")


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_failing_call_does_harm(start: Disk, name: str) -> None:
    expected = list(states(name))
    runs = 0
    for kind in CALLS:
        for persistent in (False, True):
            for at in range(1, 60):
                runs += 1
                if not inject(name, start, kind, at, Fault.EIO, persistent, expected):
                    break
    print(f"{name}: {runs} runs")


@pytest.mark.parametrize("fault", [Fault.SHORT, Fault.LATE, Fault.INTERRUPT, Fault.MEMORY])
@pytest.mark.parametrize("name", ["write_bytes over", "open", "replace", "transaction", "close"])
def test_no_other_failure_of_a_write_does_harm(start: Disk, name: str, fault: Fault) -> None:
    expected = list(states(name))
    for at in range(1, 30):
        if not inject(name, start, "pwrite", at, fault, False, expected):
            break


@pytest.mark.parametrize("kind", CALLS)
def test_opening_survives_any_failing_call(start: Disk, kind: str) -> None:
    """It raises the OSError, never takes it for damage, and the next opening is as ever."""
    expected = reopened(start)
    for readonly in (True, False):
        for at in range(1, 80):
            disk = start.copy()
            device = FaultingDevice(RecordingDevice(disk))
            device.arm(kind, at, Fault.EIO)
            try:
                open_archive(device, "r" if readonly else "r+")
            except OSError:
                assert device.fired
            device.disarm()
            assert reopened(disk) == expected, (readonly, at)
            if not device.fired:
                break
