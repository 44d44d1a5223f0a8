"""Faults of the host: in opening and making archives, import, export, rescue and repair.

Each system call that archive7 makes fails, one after the other.  The operation raises, or tells in
its report what is missing; no half file stands under a name, no descriptor and no lock is left,
and the next try succeeds.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import archive7
from archive7.errors import CorruptError, ExistsError, NotAnArchiveError
from tests.devices import Fault
from tests.faults.archivesubject import ArchiveSubject, fill, prepared, state_of
from tests.faults.engine import silent
from tests.faults.hostfaults import WRITES, Host, HostFault, descriptors
from tests.unit.archives import KEY, noise, open_archive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@dataclass(frozen=True)
class Case:
    """One operation on files of the host.

    Attributes:
        run: the operation in a folder; returns what it gives.
        start: which archive stands in the folder before.
        may_tell: what fails may be told in the report instead of being raised.
        retry: how it is done once more.
    """

    name: str
    run: Callable[[Path], Any]
    start: str = "closed"
    may_tell: bool = False
    retry: Callable[[Path], Any] | None = None


def _vault(folder: Path) -> Path:
    return folder / "vault.ar7"


def _opened(mode: str) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        with open_archive(_vault(folder), mode) as archive:
            return state_of(archive)

    return run


def _changed(folder: Path) -> Any:
    with open_archive(_vault(folder), "r+") as archive:
        with archive.transaction():
            archive.write_bytes("/new", noise(50_000))
            if archive.exists("/dir/big"):
                archive.remove("/dir/big")
        archive.sync()


def _import(folder: Path, **options: Any) -> Any:
    with open_archive(_vault(folder), "r+") as archive:
        return archive.import_tree(folder / "source", "/imported", **options)


def _export(folder: Path, **options: Any) -> Any:
    with open_archive(_vault(folder), "r") as archive:
        return archive.export_tree("/", folder / "out", **options)


def _rescue(folder: Path, name: str = "rescued") -> Any:
    return archive7.rescue(_vault(folder), folder / name, key=KEY)


def _repair(folder: Path, *, apply: bool) -> Any:
    return archive7.repair(_vault(folder), key=KEY, apply=apply)


def _restore(folder: Path, *, force: bool = False) -> Any:
    archive7.restore_header(_vault(folder), folder / "source header", key=KEY, force=force)


CASES = [
    Case("open r", _opened("r")),
    Case("open r killed", _opened("r"), start="killed"),
    Case("open r+", _opened("r+")),
    Case("open r+ killed", _opened("r+"), start="killed"),
    Case("open a", _opened("a")),
    Case("open x", _opened("x"), start="none"),
    Case("open a new", _opened("a"), start="none"),
    Case("open w", _opened("w")),
    Case("open w new", _opened("w"), start="none"),
    Case("change", _changed),
    Case("import_tree", _import, may_tell=True),
    Case("import_tree resume", lambda f: _import(f, resume=True, commit_every=5000),
         may_tell=True),
    Case("export_tree", _export, may_tell=True, retry=lambda f: _export(f, overwrite=True)),
    Case("export_tree overwrite", lambda f: _export(f, overwrite=True), may_tell=True),
    Case("export_tree resume", lambda f: _export(f, resume=True), may_tell=True,
         retry=lambda f: _export(f, resume=True, overwrite=True)),
    Case("rescue", _rescue, may_tell=True, retry=lambda f: _rescue(f, "again")),
    Case("rescue killed", _rescue, start="killed", may_tell=True,
         retry=lambda f: _rescue(f, "again")),
    Case("repair told", lambda f: _repair(f, apply=False), start="killed"),
    # half a restoration may be newer than the backup already
    Case("restore_header", _restore, retry=lambda f: _restore(f, force=True)),
    Case("repair", lambda f: _repair(f, apply=True), start="killed"),
]  # fmt: skip
NAMES = [case.name for case in CASES]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory where there is one: a sync of a disc takes long."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="archive7-faults-", dir=memory if os.access(memory, os.W_OK) else None
    ) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Archives as they stand on the host: closed, and as a killed writer leaves one."""
    path = tmp_path_factory.mktemp("image") / "vault.ar7"
    with silent(), open_archive(path, "x") as archive:
        fill(archive)
    killed = prepared()
    return {"closed": path.read_bytes(), "killed": killed.read(killed.size, 0)}


class Trial:
    """One run of a case in a folder of its own."""

    def __init__(self, case: Case, images: dict[str, bytes], folder: Path) -> None:
        self.case, self.folder = case, folder
        folder.mkdir()
        if case.start != "none":
            _vault(folder).write_bytes(images[case.start])
        if case.name == "restore_header":
            with silent(), open_archive(_vault(folder), "r+") as archive:
                archive.keys.export_header(folder / "source header")
        source = folder / "source"
        (source / "below").mkdir(parents=True)
        (source / "small").write_bytes(b"small")
        (source / "below" / "large").write_bytes(_LARGE)
        (source / "link").symlink_to("small")
        os.link(source / "small", source / "below" / "again")
        os.utime(source / "small", ns=(5, 5))
        os.utime(source / "below" / "large", ns=(5, 5))

    def run(self, host: Host, run: Callable[[Path], Any]) -> tuple[Any, BaseException | None]:
        with silent(), host.watched():
            try:
                return run(self.folder), None
            except AssertionError:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever comes is judged
                error.__traceback__ = None
                return None, error

    def state(self) -> Any:
        """What stands in the archive, if there is one."""
        if not _vault(self.folder).exists():
            return None
        with silent(), open_archive(_vault(self.folder), "r") as archive:
            ArchiveSubject().check(archive)
            return state_of(archive)

    def files(self) -> dict[str, Any]:
        """What stands beside the archive."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            if (
                name.startswith("source")
                or name.endswith("report.json")
                or (path.is_dir() and not path.is_symlink())
            ):
                continue
            if name != "vault.ar7":
                found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes()
        return found


@dataclass
class Known:
    """What an undisturbed run told."""

    states: list[Any]
    files: dict[str, Any]
    result: Any
    calls: dict[str, int]


_known: dict[str, Known] = {}
_LARGE = noise(1_100_000, 3)  # bytes: more than an import reads at once
_SAMPLE = 9  # faults of each case in a default run


def learn(case: Case, images: dict[str, bytes], folder: Path) -> Known:
    """Run a case without a fault, once for all tests."""
    if case.name in _known:
        return _known[case.name]
    trial = Trial(case, images, folder)
    states, host = [trial.state()], Host()
    result, raised = trial.run(host, case.run)
    assert raised is None, raised
    states.append(trial.state())
    known = Known(states, trial.files(), result, dict(host.calls))
    return _known.setdefault(case.name, known)


def inject(
    case: Case, images: dict[str, bytes], known: Known, folder: Path, fault: HostFault
) -> bool:
    """One run with one fault; False if it was not met."""
    trial, host = Trial(case, images, folder), Host(fault)
    before = descriptors()
    result, raised = trial.run(host, case.run)
    what = f"{case.name}: {fault.call} #{fault.at} {fault.fault.name}: {raised!r}"
    if not descriptors() <= before:
        gc.collect()  # what the exception holds
        assert descriptors() <= before, f"{what}: descriptors are left"
    assert raised is None or host.fired, what
    _judge_report(case, known, result, raised, what)
    _judge_files(trial, known, result, raised, fault, what)
    state = trial.state()  # no lock is left: it can be opened
    is_partial = "commit_every" in what or (case.may_tell and "import" in case.name)
    assert state in known.states or is_partial or _is_new(case, state), f"{what}: between"
    _retry(trial, known, what)
    shutil.rmtree(folder)
    return host.fired > 0


def _is_new(case: Case, state: Any) -> bool:
    """An archive that was made and could not be used any more is there, and empty."""
    return case.name in ("open x", "open a new", "open w", "open w new") and len(state) == 2


def _judge_report(case: Case, known: Known, result: Any, raised: Any, what: str) -> None:
    """What was not done was raised, or is in the report."""
    if raised is not None:
        allowed = isinstance(raised, (OSError, KeyboardInterrupt, MemoryError))
        assert allowed, f"{what}: another exception"
        return
    skipped = getattr(result, "skipped", None) or getattr(result, "notes", None)
    if case.may_tell and skipped:
        return
    if not case.name.startswith("re"):
        assert result == known.result, f"{what}: another result {result!r}"


def _told(report: Any) -> Any:
    """What a rescue says of each file, and beside."""
    return [(file.path, file.status) for file in report.files], report.notes, report.refused


def _judge_files(
    trial: Trial, known: Known, result: Any, raised: Any, fault: HostFault, what: str
) -> None:
    """What has its name is whole; nothing half made is left."""
    is_rescue, files = trial.case.name.startswith("rescue"), trial.files()
    if is_rescue and raised is None and _told(result) == _told(known.result):
        assert files == known.files, f"{what}: not told"
    for name, data in files.items():
        if is_rescue and fault.fault is Fault.INTERRUPT and name.endswith(".part"):
            continue  # a rescue that is broken off leaves the part of one file
        if fault.call == "unlink" and name.endswith((".part", ".tmp")):
            continue  # it could not be taken away
        assert name in known.files, f"{what}: {name} is left"
        is_told = is_rescue  # rescue writes to a new folder, and a file it cannot write is told
        assert data == known.files[name] or is_told, f"{what}: {name} is not whole"


def _retry(trial: Trial, known: Known, what: str) -> None:
    case = trial.case
    _, raised = trial.run(Host(), case.retry or case.run)
    if isinstance(raised, ExistsError) and case.name == "open x":
        raised = None  # it was made; what failed came after
    assert raised is None, f"{what}: once more: {raised!r}"
    assert trial.state() == known.states[-1] or case.name == "open a new", f"{what}: once more"
    with silent(), open_archive(_vault(trial.folder), "r+") as archive:
        archive.write_bytes("/goes on", b"yes")
    if not case.name.startswith("rescue"):
        parts = {name: data for name, data in trial.files().items() if name in known.files}
        assert parts == known.files, f"{what}: once more, files"


def _plan(known: Known, seed: int | None, case: Case) -> Iterator[HostFault]:
    """All faults; with a seed a sample."""
    rng = random.Random(f"{seed} {case.name}")
    calls = sorted(known.calls.items())
    for call, count in calls if seed is None else rng.choices(calls, k=_SAMPLE):
        faults = [Fault.EIO, Fault.EINTR] + [Fault.INTERRUPT] * (call != "close")
        faults += [Fault.FULL] * (call in WRITES)
        if seed is None:
            for at in range(1, count + 1):
                yield from (HostFault(call, at, fault) for fault in faults)
            yield from (HostFault(call, at, Fault.EIO, True) for at in range(1, count + 1))
        else:
            yield HostFault(call, rng.randint(1, count), rng.choice(faults), rng.random() < 0.3)


def inject_all(case: Case, images: dict[str, bytes], folder: Path, seed: int | None) -> None:
    known = learn(case, images, folder / "known")
    hits, failed = 0, []
    for number, fault in enumerate(_plan(known, seed, case)):
        try:
            hits += inject(case, images, known, folder / str(number), fault)
        except AssertionError as error:
            failed.append(str(error).split("\n")[0])
    print(f"{case.name}: {known.calls}, {hits} faults")
    assert not failed, f"{len(failed)} of {hits}:\n" + "\n".join(failed[:30])


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_no_failing_call_of_the_host_does_harm(
    case: Case, images: dict[str, bytes], place: Path, seed: int
) -> None:
    inject_all(case, images, place, seed)


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_no_failing_call_of_the_host_at_all_does_harm(
    case: Case, images: dict[str, bytes], place: Path
) -> None:
    inject_all(case, images, place, None)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_calls_that_do_only_a_part_are_gone_on_with(
    case: Case, images: dict[str, bytes], place: Path
) -> None:
    """Every call that reads or writes does half of what is asked for."""
    known = learn(case, images, place / "known")
    calls = {"read", "write", "pread", "preadv", "pwrite"} & known.calls.keys()
    assert calls
    for call in sorted(calls):
        trial = Trial(case, images, place / call)
        host = Host(HostFault(call, 1, Fault.SHORT, is_persistent=True))
        result, raised = trial.run(host, case.run)
        assert host.fired, call
        assert raised is None, call
        assert trial.state() == known.states[-1], call
        assert trial.files() == known.files, call
        assert case.name.startswith("re") or result == known.result, call


def test_every_function_has_a_case() -> None:
    functions = {name for name in archive7.__all__ if name.islower()}
    apart = {"keys"}  # a module: passwords and files of keys, without an archive
    assert functions - apart == {"open", "repair", "rescue", "restore_header", "shred"}


_GONE = CorruptError, NotAnArchiveError


def test_shredding_is_raised_or_done(images: dict[str, bytes], place: Path) -> None:
    """Where it raises, what is left of the secrets opens the archive whole, or nothing does."""
    host = Host()
    _vault(place).write_bytes(images["closed"])
    with host.watched():
        archive7.shred(_vault(place))
    plans = [(call, at) for call, count in host.calls.items() for at in range(1, count + 1)]
    assert {"pwrite", "fdatasync"} <= host.calls.keys()
    for call, at in plans:
        for fault in (Fault.EIO, Fault.EINTR, Fault.FULL):
            _vault(place).write_bytes(images["closed"])
            before, failing = descriptors(), Host(HostFault(call, at, fault))
            raised = None
            try:
                with failing.watched():
                    archive7.shred(_vault(place))
            except OSError as error:
                raised = error
                error.__traceback__ = None
            assert descriptors() <= before, (call, at)
            if raised is None:
                with pytest.raises(_GONE):
                    open_archive(_vault(place), "r")
                continue
            with contextlib.suppress(*_GONE), open_archive(_vault(place), "r") as archive:
                state_of(archive)
            with contextlib.suppress(NotAnArchiveError):  # its magic has gone already
                archive7.shred(_vault(place))
            with pytest.raises(_GONE):
                open_archive(_vault(place), "r")
