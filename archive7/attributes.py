"""Attributes: the methods of an archive that change what is known of a file besides its data.

Owns the public face of attributes: as in `os` and `shutil`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import UUID

from .names import Names
from .paths import PathLike
from .session import change, query

if TYPE_CHECKING:
    from typing_extensions import Buffer


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
        given = times or ns or (0, 0)
        if len(given) != 2:
            raise TypeError("utime: 'times' and 'ns' must be a tuple of two numbers")
        if ns is not None:
            modified = ns[1]
        else:
            modified = time.time_ns() if times is None else round(times[1] * 1e9)
        self._filesystem.utime(path, modified, follow=follow_symlinks)

    @change
    def chown(
        self,
        path: PathLike,
        user: int | str | None = -1,
        group: int | str | None = -1,
        *,
        follow_symlinks: bool = True,
    ) -> None:
        """Set user and group by number (-1 or None: leave it) or name, as `shutil.chown`.

        A name is kept; its number is the host's, or 65534 where the host does not know it.
        They are kept, not enforced.
        """
        self._filesystem.chown(path, user, group, follow=follow_symlinks)

    @change
    def set_owner(self, path: PathLike, owner: UUID, *, follow_symlinks: bool = True) -> None:
        """Set the owner: an identity of the application's, not of the host's."""
        self._filesystem.set_owner(path, owner, follow=follow_symlinks)

    @query
    def owners(self, path: PathLike, *, follow_symlinks: bool = True) -> tuple[str, str]:
        """Names of user and group, empty where only numbers are known."""
        extras = self._filesystem.extras(path, follow=follow_symlinks)
        return extras.user, extras.group

    # --- extended attributes

    @query
    def getxattr(self, path: PathLike, attribute: str, *, follow_symlinks: bool = True) -> bytes:
        """An extended attribute, as `os.getxattr`.  Raises: PathError (ENODATA)."""
        return self._filesystem.attribute(path, attribute, follow=follow_symlinks)

    @query
    def listxattr(self, path: PathLike = "/", *, follow_symlinks: bool = True) -> list[str]:
        """The names of the extended attributes, in order."""
        return sorted(self._filesystem.extras(path, follow=follow_symlinks).attributes)

    @change
    def setxattr(
        self,
        path: PathLike,
        attribute: str,
        value: Buffer,
        flags: int = 0,
        *,
        follow_symlinks: bool = True,
    ) -> None:
        """Set an extended attribute, as `os.setxattr`; all of an entry up to 64 KiB.

        Args: flags: `os.XATTR_CREATE` (1) or `os.XATTR_REPLACE` (2).
        Raises: PathError: EEXIST or ENODATA by the flags, ENOSPC where all are too large.
        """
        data = bytes(value)
        self._filesystem.set_attribute(path, attribute, data, flags, follow=follow_symlinks)

    @change
    def removexattr(self, path: PathLike, attribute: str, *, follow_symlinks: bool = True) -> None:
        """Remove an extended attribute, as `os.removexattr`.  Raises: PathError (ENODATA)."""
        self._filesystem.remove_attribute(path, attribute, follow=follow_symlinks)
