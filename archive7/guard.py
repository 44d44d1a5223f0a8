"""Guard: keeping memory that holds keys out of swap and core dumps, as far as a system lets one.

Owns the calls for that: mlock, and on Linux madvise(MADV_DONTDUMP).  Promises: best effort, no
exception, no change of what the memory holds.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Final

_DONT_DUMP: Final = 16  # MADV_DONTDUMP of Linux


def _libc() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):  # Windows
        return None


def guard(secret: bytearray) -> bool:
    """Keep the pages of `secret` in memory, out of swap, and out of core dumps.

    Whole pages are concerned, also what else they hold, until the process ends.

    Returns: whether they are locked; a system may allow only some of that (RLIMIT_MEMLOCK).
    """
    libc = _libc()
    if libc is None or not secret or not hasattr(libc, "mlock"):
        return False
    size = os.sysconf("SC_PAGE_SIZE")
    address = ctypes.addressof((ctypes.c_char * len(secret)).from_buffer(secret))
    begin = address - address % size
    length = ctypes.c_size_t(-(-(address + len(secret) - begin) // size) * size)
    is_locked: bool = libc.mlock(ctypes.c_void_p(begin), length) == 0
    if sys.platform == "linux":
        libc.madvise(ctypes.c_void_p(begin), length, _DONT_DUMP)
    return is_locked
