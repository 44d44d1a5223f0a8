"""Epochs: the ciphers of a container, also while its master key is being changed.

Owns which keys open a block.  May assume a genuine superblock.  Promises: roots and map nodes open
under the key of the present epoch only; a block of data also under that of the epoch before, as
long as the superblock's sealed part has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from .crypto import BlockCipher, Buffer, OpenInto, RunBuffer
from .layout import BLOCK_SIZE, INFO_OLD_KEY, OLD_KEY
from .superblock import Superblock, info_bodies

_MOST: Final = 1  # epochs before the present one that blocks may be sealed under


class OldKey(NamedTuple):
    """The master key of the epoch before."""

    epoch: int
    master: bytes


def old_key(superblock: Superblock) -> OldKey | None:
    """The key that blocks may still be sealed under, while a change of keys is under way."""
    for body in info_bodies(superblock.info, INFO_OLD_KEY)[:_MOST]:
        return OldKey(*OLD_KEY.unpack(body))
    return None


class PairedCipher(BlockCipher):
    """Seals under a new key, opens under it and under the one before: while a key is changed.

    Args:
        new, old: of one suite and kind.
    """

    def __init__(self, new: BlockCipher, old: BlockCipher) -> None:
        self._new, self._old = new, old
        self.number, self.tag_offset, self.digest_size = (
            new.number,
            new.tag_offset,
            new.digest_size,
        )

    def forget(self) -> None:
        self._new.forget()
        self._old.forget()

    def openers(self) -> tuple[OpenInto, OpenInto]:
        """What opens blocks under the new key, and under the old one."""
        return self._new.opener(), self._old.opener()

    def seal_run(self, run: RunBuffer, plains: Iterable[Buffer], count: int) -> list[bytes]:
        return self._new.seal_run(run, plains, count)

    def open_run(
        self, run: RunBuffer, sealed: bytes, tags: Sequence[bytes]
    ) -> Iterator[memoryview]:
        done, is_stuck = 0, False
        while done < len(tags) and not is_stuck:
            before = done
            for cipher in (self._new, self._old):
                rest, wanted = sealed[done * BLOCK_SIZE :], tags[done:]
                for plain in cipher.open_run(run, rest, wanted):
                    yield plain
                    done += 1
            is_stuck = done == before

    def opener(self) -> OpenInto:
        first, second = self.openers()

        def open_into(sealed: memoryview, start: int, tag: bytes, plain: memoryview) -> bool:
            return first(sealed, start, tag, plain) or second(sealed, start, tag, plain)

        return open_into

    def open_block(self, sealed: Buffer, tag: bytes | None = None) -> bytes | None:
        plain = self._new.open_block(sealed, tag)
        return self._old.open_block(sealed, tag) if plain is None else plain

    def digester(self, commit: int) -> Callable[[Buffer], bytes]:
        return self._new.digester(commit)
