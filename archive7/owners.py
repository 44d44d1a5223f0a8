"""Owners: numbers of users and groups by their names, as the host knows them."""

from __future__ import annotations

import errno

from .entry import encode_text
from .layout import MAX_NAME_SIZE
from .paths import PathLike, failure

try:
    import grp
    import pwd
except ImportError:  # Windows: names are kept, no numbers are known
    grp = pwd = None  # type: ignore[assignment]

NOBODY = 65534


def owner_of(kind: str, value: int | str, path: PathLike) -> tuple[int, str]:
    """Number and name of a user or group; a name unknown to the host gets nobody's number.

    Raises: PathError (EINVAL) for a number out of range or a name too long.
    """
    if isinstance(value, str):
        if not 0 < len(encode_text(value, path)) <= MAX_NAME_SIZE:
            raise failure(errno.EINVAL, path)
        return _number_of(kind, value), value
    if not 0 <= value < 1 << 32:
        raise failure(errno.EINVAL, path)
    return value, ""


def _number_of(kind: str, name: str) -> int:
    try:
        if kind == "user" and pwd is not None:
            return pwd.getpwnam(name).pw_uid
        if kind == "group" and grp is not None:
            return grp.getgrnam(name).gr_gid
    except KeyError:
        pass
    return NOBODY
