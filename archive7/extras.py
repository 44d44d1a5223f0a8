"""Extras: what an entry has besides its fixed fields: extended attributes, names of its owners.

Owns the bytes behind name and link target of an entry.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import TreeCorruptError
from .layout import EXTRA, EXTRA_ATTRIBUTE, EXTRA_GROUP, EXTRA_USER, StructError


@dataclass
class Extras:
    """The decoded extras of one entry.

    Attributes:
        user, group: names of the owners, empty where only numbers are known.
        attributes: extended attributes by name.
    """

    user: str = ""
    group: str = ""
    attributes: dict[str, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The bytes in the entry; nothing where there is nothing to keep."""
        items = [
            (EXTRA_USER, "", self.user.encode()),
            (EXTRA_GROUP, "", self.group.encode()),
        ]
        parts = [_item(*item) for item in items if item[2]]
        parts += [_item(EXTRA_ATTRIBUTE, *item) for item in sorted(self.attributes.items())]
        return b"".join(parts)


def _item(kind: int, name: str, value: bytes) -> bytes:
    encoded = name.encode()
    return EXTRA.pack(kind, len(encoded), len(value)) + encoded + value


def decode_extras(data: bytes) -> Extras:
    """Decode the extras of an entry.  Raises TreeCorruptError.

    Kinds that this version does not know are left out.
    """
    extras, at = Extras(), 0
    try:
        while at < len(data):
            kind, name_size, value_size = EXTRA.unpack_from(data, at)
            begin = at + EXTRA.size + name_size
            at = begin + value_size
            if at > len(data):
                raise TreeCorruptError("the extras of an entry are cut: run check")
            value = data[begin:at]
            if kind == EXTRA_ATTRIBUTE:
                extras.attributes[data[begin - name_size : begin].decode()] = value
            elif kind == EXTRA_USER:
                extras.user = value.decode()
            elif kind == EXTRA_GROUP:
                extras.group = value.decode()
    except StructError:
        raise TreeCorruptError("the extras of an entry are cut: run check") from None
    except UnicodeDecodeError:
        raise TreeCorruptError("a name in the extras is not UTF-8: run check") from None
    return extras
