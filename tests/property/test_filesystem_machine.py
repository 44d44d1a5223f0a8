"""The filesystem as a state machine beside a real folder: every operation, in any order.

Each step is made on an archive and on the host, which plays the same root directory (chroot); they
must give the same, or the same exception with the same errno and names.  At the end the trees are
equal, which names share a file is equal, `check` is clean on both levels, and nothing is left when
everything was removed.  What differs on purpose stands in machine/differences.py.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from archive7 import btree, cache, copying
from archive7 import map as chart
from tests.effort import examples
from tests.property.machine.host import HostProcess
from tests.property.machine.rules import AttributeRules, DeletionRules, NameRules
from tests.property.machine.sessions import SessionRules
from tests.property.machine.vault import FileVault, MemoryVault

pytestmark = pytest.mark.skipif(not hasattr(os, "chroot"), reason="compares with Linux")


class FilesystemMachine(NameRules, DeletionRules, AttributeRules, SessionRules):
    """Everything."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one."""
    fast = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=fast if fast.is_dir() else tmp_path) as found:
        yield Path(found)


@pytest.fixture
def host(folder: Path) -> Iterator[HostProcess]:
    """The other side."""
    (folder / "host").mkdir()
    process = HostProcess(folder / "host")
    try:
        if process.refusal:
            pytest.skip(f"no process with a root directory of its own: {process.refusal}")
        yield process
    finally:
        process.close()


def drive(machine: type[FilesystemMachine], host: HostProcess, count: int, steps: int) -> None:
    """Run a machine; tell how much was tried."""
    machine.host = host
    phases = [phase for phase in settings.default.phases if phase != Phase.explain]  # slow
    chosen = examples(count, stateful_step_count=steps, phases=phases, report_multiple_bugs=False)
    try:
        run_state_machine_as_test(machine, settings=chosen)
    finally:
        print(f"{machine.__name__}: {machine.runs} examples, {machine.steps} calls compared")


def test_archive_does_what_the_host_does(folder: Path, host: HostProcess) -> None:
    runs = itertools.count()

    class OnFile(FilesystemMachine):
        @staticmethod
        def vault_of() -> FileVault:
            return FileVault(folder, runs)

    drive(OnFile, host, count=120, steps=50)


def test_archive_in_memory_without_caches_does_what_the_host_does(
    host: HostProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "CACHE_BLOCKS", 2)
    monkeypatch.setattr(chart, "NODE_CACHE", 2)
    monkeypatch.setattr(btree, "_CACHE", 2)
    monkeypatch.setattr(copying, "_CHUNK", 5000)

    class InMemory(FilesystemMachine):
        vault_of = MemoryVault

    drive(InMemory, host, count=120, steps=50)
