"""Vaults: where the archive of one run stands: a file, or memory with caches that hold nothing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from archive7 import Archive
from archive7.creation import Options, create_container, open_container
from archive7.device import MemoryDevice
from archive7.entry import ROOT_ID
from archive7.filesystem import Filesystem
from archive7.keyslots import Secrets
from archive7.paths import FilesystemStreamManager
from tests.unit.archives import KEY, assert_sound, open_archive


class Vault:
    """Where one archive stands."""

    def create(self) -> Archive:
        """Make the archive."""
        raise NotImplementedError

    def open(self) -> Archive:
        """Open it for writing."""
        raise NotImplementedError

    def read(self) -> Archive:
        """Open it for reading; it may be open for writing."""
        raise NotImplementedError

    def refresh(self, reader: Archive) -> Archive:
        """A reader of the last commit, in the place of an older one."""
        raise NotImplementedError

    def crash(self) -> None:
        """From now on `open` opens what the disk has now, whatever is written later."""
        raise NotImplementedError

    def close(self) -> None:
        """Remove it."""

    def check_empties(self, archive: Archive, remove_all: Callable[[], None]) -> None:
        """When everything was removed, nothing is left; not even after opening."""
        for left in (archive, None):
            with contextlib.ExitStack() as stack:
                vault = left or stack.enter_context(self.open())
                assert_sound(vault)
                if left:
                    remove_all()
                assert [key for key, _ in vault._manager.registry.tree.items()] == [ROOT_ID]
                assert list(vault._manager.paths.items()) == []
                assert_sound(vault)
            archive.close()


class FileVault(Vault):
    """An archive in a file."""

    def __init__(self, folder: Path, runs: Iterator[int]) -> None:
        self._runs = runs
        self._folder = folder
        self._path = folder / f"{next(runs)}.ar7"

    def create(self) -> Archive:
        return open_archive(self._path, "x")

    def open(self) -> Archive:
        return open_archive(self._path, "r+")

    def read(self) -> Archive:
        return open_archive(self._path, "r")

    def refresh(self, reader: Archive) -> Archive:
        reader.refresh()
        return reader

    def crash(self) -> None:
        other = self._folder / f"{next(self._runs)}.ar7"
        shutil.copyfile(self._path, other)
        self._path.unlink()
        self._path = other

    def close(self) -> None:
        self._path.unlink(missing_ok=True)


class MemoryVault(Vault):
    """An archive in memory."""

    def __init__(self) -> None:
        self._device = MemoryDevice()

    def create(self) -> Archive:
        options = Options(prepare=_format)
        secrets = Secrets(key=KEY)
        container = create_container(self._device, secrets, replace=False, options=options)
        return Archive(FilesystemStreamManager("", b"", container=container), "x")

    def open(self) -> Archive:
        return self._over(self._device, "r+")

    def read(self) -> Archive:
        return self._over(MemoryDevice(self._device.getvalue(), readonly=True), "r")

    def refresh(self, reader: Archive) -> Archive:
        reader.close()
        return self.read()

    def crash(self) -> None:
        self._device = MemoryDevice(self._device.getvalue())

    @staticmethod
    def _over(device: MemoryDevice, mode: str) -> Archive:
        container = open_container(device, Secrets(key=KEY), readonly=mode == "r")
        return Archive(FilesystemStreamManager("", b"", container=container), mode)


def _format(container: object) -> None:
    manager = FilesystemStreamManager("", b"", container=container)  # type: ignore[arg-type]
    Filesystem(manager).format()
    manager.commit(durable=True)
