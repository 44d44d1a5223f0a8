"""Attributes: the methods of an archive that change what is known of a file besides its data.

Owns the public face of attributes: as in `os` and `shutil`.
"""

from __future__ import annotations

import time

from .names import Names
from .paths import PathLike
from .session import change


class Attributes(Names):
    """Attributes of what stands in an archive."""

    @change
    def chmod(self, path: PathLike, mode: int, *, follow_symlinks: bool = True) -> None:
        """Set the permission bits.  They are kept, not enforced."""
        self._filesystem.chmod(path, mode, follow=follow_symlinks)

    @change
    def utime(
        self,
        path: PathLike,
        times: tuple[float, float] | None = None,
        *,
        ns: tuple[int, int] | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        """Set the time of modification as `os.utime` (times of access are not kept)."""
        if times is not None and ns is not None:
            raise ValueError("utime: you may specify either 'times' or 'ns' but not both")
        if ns is not None:
            modified = ns[1]
        else:
            modified = time.time_ns() if times is None else round(times[1] * 1e9)
        self._filesystem.utime(path, modified, follow=follow_symlinks)
