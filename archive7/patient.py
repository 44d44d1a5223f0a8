"""Patient device: reads what can be read of a file on a failing disc.

Owns what counts as a bad spot.  Promises: a spot that cannot be read reads as zeros, and is
counted; nothing is written.
"""

from __future__ import annotations

import errno
from typing import Final

from .device import Buffer, Device
from .layout import BLOCK_SIZE

_BAD_SPOT: Final = {
    errno.EIO,
    *(getattr(errno, name, errno.EIO) for name in ("EUCLEAN", "ENODATA", "EREMOTEIO", "EBADMSG")),
}


class PatientDevice(Device):
    """Another device, read-only.

    Attributes:
        unreadable: reads of a single block that failed.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self.name, self.locks, self.is_readonly = device.name, device.locks, True
        self.identity = device.identity
        self.unreadable = 0

    def pread(self, size: int, offset: int) -> bytes:
        """Read; bad spots as zeros.  Raises OSError for what is no bad spot."""
        try:
            return self._device.pread(size, offset)
        except OSError as error:
            if error.errno not in _BAD_SPOT:
                raise
        if size > BLOCK_SIZE:
            starts = range(offset, offset + size, BLOCK_SIZE)
            return b"".join(
                self.pread(min(BLOCK_SIZE, offset + size - start), start) for start in starts
            )
        self.unreadable += 1
        return bytes(max(0, min(size, self.size() - offset)))

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Refuse."""
        self._refuse_readonly()

    def sync(self) -> None:
        """Do nothing."""

    def truncate(self, size: int) -> None:
        """Refuse."""
        self._refuse_readonly()

    def size(self) -> int:
        """Size in bytes."""
        return self._device.size()

    def close(self) -> None:
        """Close the device."""
        self._device.close()
