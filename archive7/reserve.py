"""The reserve: slots kept back, so that a full disc still lets space be given back.

Owns which slots these are and that they are really there on the host: they are written when they
are set aside.
"""

from __future__ import annotations

import os

from .device import Device
from .errors import FullError
from .layout import BLOCK_SIZE, RESERVE_COUNT
from .root import slot_offset
from .slots import Extent, SlotTable


class Reserve:
    """The reserve of one container.

    Args:
        extent: first slot and count, as the root names it; count 0 where it is used up.
    """

    def __init__(self, slots: SlotTable, device: Device, extent: Extent) -> None:
        self._slots = slots
        self._device = device
        self.extent = extent

    @property
    def count(self) -> int:
        """How many slots are kept back."""
        return self.extent[1]

    def open(self) -> None:
        """Free the slots that were kept back."""
        self._slots.open_reserve(*self.extent)
        self.extent = (0, 0)

    def restore(self, extent: Extent) -> None:
        """Be `extent` again, as the root names it: a rollback undid `open` or `move`."""
        if extent[1] and extent != self.extent:
            if not self.count:
                self._slots.close_reserve(*extent)
            self.extent = extent

    def keep(self, number: int) -> None:
        """Set slots aside where none are, between transactions; not where only pieces are free.

        Args: number: of the last commit.
        """
        if self.count or self._slots.is_tight or self._slots.is_touched:
            return
        extent = self._take()
        if extent is not None:
            self._slots.commit(number)
            self.extent = extent

    def move(self) -> None:
        """Set slots aside that stand before those of now, if there are; these are released."""
        first, count = self.extent
        if not self._slots.has_run(RESERVE_COUNT, first):
            return
        extent = self._take()
        if extent is not None:
            self._slots.release_all(range(first, first + count))
            self.extent = extent

    def _take(self) -> Extent | None:
        extent = self._slots.take_run(RESERVE_COUNT)
        if extent is None:
            return None
        try:
            self._device.pwrite(os.urandom(extent[1] * BLOCK_SIZE), slot_offset(extent[0]))
        except BaseException as error:
            self._slots.withdraw([extent])
            if isinstance(error, FullError):
                return None
            raise
        return extent
