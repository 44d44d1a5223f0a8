"""Overlay: a device over another one that keeps what is written to itself.

Owns the changed pages, in a temporary file of the host (what is written is sealed already).
Promises: the device below is only read.
"""

from __future__ import annotations

import tempfile
from typing import Final

from .device import Buffer, Device
from .locks import NoLocks

_PAGE: Final = 4096


class OverlayDevice(Device):
    """A writable view of a device that is not to be changed.

    Args:
        below: what is read where nothing was written.
    """

    def __init__(self, below: Device) -> None:
        self.name = below.name
        self.is_readonly = False
        self.locks = NoLocks()
        self._below = below
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the device
        self._places: dict[int, int] = {}  # page -> place in the file
        self._size = self._kept = below.size()  # of what is below, so much still counts

    def _page(self, number: int) -> bytes:
        place = self._places.get(number)
        if place is not None:
            self._file.seek(place * _PAGE)
            return self._file.read(_PAGE)
        size = max(0, min(_PAGE, self._kept - number * _PAGE))
        return self._below.pread(size, number * _PAGE).ljust(_PAGE, b"\0")

    def pread(self, size: int, offset: int) -> bytes:
        size = min(size, self._size - offset)
        if size <= 0:
            return b""
        first, last = offset // _PAGE, (offset + size - 1) // _PAGE
        if self._places.keys().isdisjoint(range(first, last + 1)) and offset + size <= self._kept:
            return self._below.pread(size, offset)
        data = b"".join(map(self._page, range(first, last + 1)))
        return data[offset - first * _PAGE :][:size]

    def pwrite(self, data: Buffer, offset: int) -> None:
        view = memoryview(data)
        done = 0
        while done < len(view):
            number, at = divmod(offset + done, _PAGE)
            part = view[done : done + _PAGE - at]
            self._put(number, at, part)
            done += len(part)
        self._size = max(self._size, offset + len(view))

    def _put(self, number: int, at: int, part: memoryview) -> None:
        page = bytes(part)
        if len(page) < _PAGE:
            old = self._page(number)
            page = old[:at] + page + old[at + len(page) :]
        place = self._places.setdefault(number, len(self._places))
        self._file.seek(place * _PAGE)
        self._file.write(page)

    def sync(self) -> None:
        return None

    def truncate(self, size: int) -> None:
        if size < self._size:
            self._kept = min(self._kept, size)
            if size % _PAGE and size < self._size:
                self._put(
                    size // _PAGE,
                    0,
                    memoryview(self._page(size // _PAGE)[: size % _PAGE].ljust(_PAGE, b"\0")),
                )
            for number in [n for n in self._places if n * _PAGE >= size]:
                place = self._places[number]
                self._file.seek(place * _PAGE)
                self._file.write(bytes(_PAGE))
        self._size = size

    def size(self) -> int:
        return self._size

    def close(self) -> None:
        self._file.close()
        self._below.close()
