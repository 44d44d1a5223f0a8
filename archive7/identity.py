"""Identities: 16 bytes that sort by the time they were made (the layout of UUID version 7).

Source: RFC 9562, section 5.7, with the sub-millisecond fraction in the 12 bits behind the version.
"""

from __future__ import annotations

import os
import time
from uuid import UUID


def new_identity_bytes() -> bytes:
    """A new identity: 48 bits of milliseconds, 12 bits of their fraction, 62 random bits."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    head = (milliseconds << 16 | 0x7000 | fraction).to_bytes(8, "big")
    tail = bytearray(os.urandom(8))
    tail[0] = tail[0] & 0x3F | 0x80
    return head + bytes(tail)


def new_identity() -> UUID:
    """Like `new_identity_bytes`, as a UUID."""
    return UUID(bytes=new_identity_bytes())
