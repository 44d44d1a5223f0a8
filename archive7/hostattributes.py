"""Host attributes: owners and extended attributes of files of the host.

Owns names for numbers of users and groups and back, and which extended attributes are the user's.
Promises: only the namespace ``user.`` is taken along; what is the system's own (capabilities,
labels, access lists) neither comes in nor goes out.  What the host refuses is told, not raised.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from .extras import Extras
from .layout import MAX_ATTRIBUTES_SIZE, MAX_NAME_SIZE
from .transfer import reason_of

try:
    import grp
    import pwd
except ImportError:  # Windows
    grp = pwd = None  # type: ignore[assignment]

_PREFIX: Final = "user."
_HAS_XATTRS: Final = hasattr(os, "listxattr")  # Linux
_NO_NAME: Final = ""
_UNKNOWN: Final = (KeyError, OverflowError, ValueError, AttributeError)  # the last: Windows
_OWNERS_SIZE: Final = len(Extras("u" * MAX_NAME_SIZE, "g" * MAX_NAME_SIZE).encode())


class Owners:
    """Names of users and groups, each looked up once."""

    def __init__(self) -> None:
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._numbers: dict[tuple[str, str], int | None] = {}

    def names(self, user: int, group: int) -> tuple[str, str]:
        """Names of a user and a group, empty where the host knows none."""
        if user not in self._users:
            self._users[user] = _user_name(user)
        if group not in self._groups:
            self._groups[group] = _group_name(group)
        return self._users[user], self._groups[group]

    def numbers(self, extras: Extras, user: int, group: int) -> tuple[int, int]:
        """Numbers by the names, or `user` and `group` for names that the host does not know."""
        by_name = self._number("user", extras.user), self._number("group", extras.group)
        return (
            user if by_name[0] is None else by_name[0],
            group if by_name[1] is None else by_name[1],
        )

    def _number(self, kind: str, name: str) -> int | None:
        if not name:
            return None
        if (kind, name) not in self._numbers:
            self._numbers[kind, name] = _number_of(kind, name)
        return self._numbers[kind, name]


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except _UNKNOWN:
        return _NO_NAME


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except _UNKNOWN:
        return _NO_NAME


def _number_of(kind: str, name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except _UNKNOWN:
        return None


# --- extended attributes


def is_of_host(name: str) -> bool:
    """Whether an extended attribute is one that files of the host have for their users."""
    return name.startswith(_PREFIX)


def read_attributes(file: int | str) -> tuple[dict[str, bytes], list[str]]:
    """The user's extended attributes of a file or folder, and reasons for what cannot be kept."""
    try:
        names = os.listxattr(file) if _HAS_XATTRS else []
    except OSError:  # the filesystem has none
        names = []
    found: dict[str, bytes] = {}
    lost: list[str] = []
    for name in sorted(names):
        if is_of_host(name):
            try:
                found[name] = _read_attribute(file, name)
            except OSError as error:  # no right to read it, or taken away meanwhile
                lost.append(f"{_without(name)}: {reason_of(error)}")
    return (_fitting(found, lost) if found else found), lost


def _read_attribute(file: int | str, name: str) -> bytes:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise OSError(errno.EILSEQ, "its name is not UTF-8") from None
    if size > MAX_NAME_SIZE:
        raise OSError(errno.ENAMETOOLONG, "its name is too long")
    return os.getxattr(file, name)


def _fitting(attributes: dict[str, bytes], lost: list[str]) -> dict[str, bytes]:
    """Attributes as long as an entry can hold them all, beside the names of its owners."""
    room = MAX_ATTRIBUTES_SIZE - _OWNERS_SIZE
    kept: dict[str, bytes] = {}
    for name, value in attributes.items():
        size = len(Extras(attributes={name: value}).encode())
        if size > room:
            lost.append(f"{_without(name)}: all together have over {MAX_ATTRIBUTES_SIZE} bytes")
        else:
            room -= size
            kept[name] = value
    return kept


def write_attributes(file: int | str, extras: Extras) -> list[str]:
    """Set the user's extended attributes on a file or folder; reasons for what is refused."""
    lost: list[str] = []
    for name, value in extras.attributes.items():
        if not is_of_host(name):
            continue
        try:
            if not _HAS_XATTRS:
                raise OSError(errno.ENOTSUP, "this system has none")
            os.setxattr(file, name, value)
        except ValueError:  # a zero byte, which no name on the host has
            lost.append(f"{_without(name)}: the host cannot have this name")
        except OSError as error:
            lost.append(f"{_without(name)}: {reason_of(error)}")
    return lost


def _without(name: str) -> str:
    """How a reason begins that tells of an attribute alone."""
    shown = name.encode("utf-8", "surrogateescape").decode(errors="backslashreplace")
    return f"without its extended attribute {shown}"
