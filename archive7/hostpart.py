"""Host parts: something new on the host gets its name only when it is whole.

Owns the name it has until then, and how the host is asked not to replace anything.  Promises:
whenever the program ends, nothing half made stands under a name of the archive; a name that is
taken is never taken away unless that is wanted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import Any, Final

from .errors import ExistsError
from .hostfolder import NO_FOLLOW, Descent
from .transfer import SkipError, reason_of

_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW | getattr(os, "O_BINARY", 0)
_LINKS_AT: Final = os.link in os.supports_dir_fd and os.link in os.supports_follow_symlinks
# How filesystems say that they cannot have a name; and that they have no links.
_NO_NAME: Final = {errno.EILSEQ, errno.EINVAL, errno.ENAMETOOLONG}
_NO_LINKS: Final = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
CLASH: Final = "the host cannot tell its name from that of another one in this directory"


class HostPart:
    """The one thing that is being made in the folder where a walk stands.

    Args:
        descent: stands in the folder.
        overwrite: whether what has the name already is replaced.
    """

    def __init__(self, descent: Descent, *, overwrite: bool) -> None:
        self._descent = descent
        self._overwrite = overwrite
        self._name = f".ar7-{secrets.token_hex(8)}.part"

    @property
    def path(self) -> str:
        """Its path now, for calls of `os` with the keywords `descent.where`."""
        return self._descent.prefix + self._name

    def open(self) -> int:
        """Make a file that only its owner can read; return its descriptor, for writing."""
        return os.open(self.path, _WRITE, 0o600, **self._descent.where)

    def write(self, descriptor: int, data: memoryview, name: str) -> None:
        """Write all of `data`.  Raises: OSError, which names the file that is to be `name`."""
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._descent.path(name)) from None

    def symlink(self, target: str) -> None:
        """Make a symbolic link.  Raises: SkipError where the host has none."""
        try:
            os.symlink(target, self.path, **self._descent.where)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LINKS | _NO_NAME:
                raise
            raise SkipError(f"the host cannot have this link: {reason_of(error)}") from None

    def link(self, source: str, where: dict[str, Any]) -> bool:
        """Make another name of `source`; False where the host cannot."""
        if bool(where) != bool(self._descent.where) or (where and not _LINKS_AT):
            return False
        try:
            if where:
                places = _places(where, self._descent.where)
                os.link(source, self.path, **places, follow_symlinks=False)
            else:
                os.link(source, self.path)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        return True

    # --- the name

    def settle(self, name: str, *, is_new: bool) -> None:
        """Give it its name.

        Args: is_new: whether the folder was made for this: then nothing in it is replaced.
        Raises: ExistsError; SkipError where the host cannot have the name.
        """
        final = self._descent.prefix + name
        try:
            if is_new:
                self._move(final, name, is_new=True)
            elif self._overwrite:
                os.replace(self.path, final, **_places(self._descent.where, self._descent.where))
            elif self._descent.where and self.link_to(final):
                self.drop()
            else:
                self._move(final, name, is_new=False)
        except FileExistsError:
            raise self._exists(name) from None
        except IsADirectoryError:
            message = "a folder stands where a file goes"
            raise ExistsError(errno.EEXIST, message, self._descent.path(name)) from None
        except (OSError, ValueError) as error:
            raise as_name_fault(error) from None

    def _move(self, final: str, name: str, *, is_new: bool) -> None:
        """Give it a name that is free, as far as can be seen."""
        if self.standing(name) is not None:
            if is_new:
                raise SkipError(CLASH)
            raise self._exists(name)
        os.rename(self.path, final, **_places(self._descent.where, self._descent.where))

    def link_to(self, final: str) -> bool:
        """Give it one more name, if that is free; False where the host cannot."""
        where = self._descent.where
        if not _LINKS_AT:
            return False
        try:
            os.link(self.path, final, **_places(where, where), follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        return True

    def standing(self, name: str) -> os.stat_result | None:
        """What has a name already, be it a link."""
        try:
            path = self._descent.prefix + name
            return os.stat(path, follow_symlinks=False, **self._descent.where)
        except (FileNotFoundError, ValueError):
            return None
        except OSError as error:
            if error.errno in _NO_NAME:
                return None
            raise

    def check_free(self, name: str) -> None:
        """Raise ExistsError if a name is taken and not to be replaced."""
        if not self._overwrite and self.standing(name) is not None:
            raise self._exists(name)

    def _exists(self, name: str) -> ExistsError:
        message = "the file exists on the host: give overwrite=True to replace it"
        return ExistsError(errno.EEXIST, message, self._descent.path(name))

    def drop(self) -> None:
        """Take away the name it had until now, if it is still there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path, **self._descent.where)


def _places(source: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    """Keywords for calls with two paths."""
    if not source or not target:
        return {}
    return {"src_dir_fd": source["dir_fd"], "dst_dir_fd": target["dir_fd"]}


def as_name_fault(error: OSError | ValueError) -> Exception:
    """The error itself, or a SkipError where it says that the host cannot have a name."""
    if isinstance(error, OSError) and error.errno not in _NO_NAME:
        return error
    return SkipError(f"the host cannot have this name: {reason_of(error)}")
