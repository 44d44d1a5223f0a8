"""Host names: which names of an archive a system can give to a file.

Owns the rules of Windows, where a forbidden name may lead elsewhere instead of failing.  What a
filesystem refuses besides, it says itself.
"""

from __future__ import annotations

import os
import re
from typing import Final

_FORBIDDEN: Final = re.compile(r'[\x00-\x1f<>:"/\\|?*]')
_DEVICES: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])(\..*|\s*)",
    re.IGNORECASE | re.DOTALL,
)


def name_fault(name: str, system: str = os.name) -> str | None:
    """Why a system cannot have a name, or None if it may have it.

    Args: system: as `os.name`.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return "it is no name for a file"
    if system == "nt":
        if _FORBIDDEN.search(name):
            return "Windows cannot have this name: it has a character of a path"
        if name.endswith((" ", ".")):
            return "Windows cannot have this name: it ends with a space or dot"
        if _DEVICES.fullmatch(name):
            return "Windows cannot have this name: it is that of a device"
    elif os.name == system:
        try:
            os.fsencode(name)
        except UnicodeEncodeError:
            return "this system cannot have this name: its names are not UTF-8"
    return None
