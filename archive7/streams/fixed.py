"""FixedMultiStreamManager: a fixed set of streams, and the trash stream.

Owns the trash: free positions, kept from one session to the next.
"""

from __future__ import annotations

from typing import Final

from ..errors import TreeCorruptError
from ..layout import BLOCK_HEAD, FLAG_TRASH, KIND_FIXED, TRASH_EXTENT, TRASH_HEAD
from .block import StreamBlock
from .manager import StreamManager

_MAX_TRASH: Final = 65536  # extents kept in the trash stream


class FixedMultiStreamManager(StreamManager):
    """A fixed set of streams and the trash; a subclass says how many by SPECIAL_STREAM_COUNT.

    Source: seed 001 (angelos.archive7.streams.FixedMultiStreamManager).
    """

    KIND = KIND_FIXED
    SPECIAL_BLOCK_COUNT = 1
    SPECIAL_STREAM_COUNT = 1
    STREAM_TRASH = 0

    def _open_special(self) -> None:
        super()._open_special()
        self._load_trash()

    def recycle(self, chain: StreamBlock) -> bool:
        """Free a chain of blocks that was cut off a stream; False for the root."""
        self.check_writable()
        if chain.position == self.BLOCK_META:
            return False
        blocks = self.container.blocks
        position, index, stream = chain.position, chain.index, chain.stream.bytes
        while True:
            plain = blocks.block(position, index, stream)
            following = BLOCK_HEAD.unpack_from(plain)[1]
            self.free_run(position, 1)
            position, index = following, index + 1
            if position <= 0 or not self._continues(position, index, stream):
                return True

    def _continues(self, position: int, index: int, stream: bytes) -> bool:
        """Whether a chain goes on at `position`: a tail may name a position not used yet."""
        blocks = self.container.blocks
        if position in blocks.dirty or any(blocks.map.get(position)):
            plain = blocks.load(position)
            return bytes(plain[8:28]) == index.to_bytes(4, "big") + stream
        return False

    def reuse(self) -> StreamBlock | None:
        """An empty block at a position that was recycled, or None."""
        self.check_writable()
        position = self.container.positions.take_free()
        if position is None:
            return None
        block = StreamBlock(position)
        self.container.blocks.put(position, bytearray(bytes(block)))
        return block

    # --- the trash stream: free positions, kept from one session to the next

    def _load_trash(self) -> None:
        """Take the free positions from the trash; after a crash find them in the map."""
        if self.is_readonly:
            return
        container = self.container
        if not container.root.flags & FLAG_TRASH:
            container.positions.learn(container.blocks.map.free_positions(container.positions.end))
            return
        trash = self._special[self.STREAM_TRASH]
        if trash.len:
            data = bytearray(trash.len)
            trash.read_into(0, memoryview(data))
            (count,) = TRASH_HEAD.unpack_from(data)
            if count * TRASH_EXTENT.size > len(data) - TRASH_HEAD.size:
                raise TreeCorruptError("the trash stream contradicts itself", block=0)
            body = data[TRASH_HEAD.size : TRASH_HEAD.size + count * TRASH_EXTENT.size]
            extents = list(TRASH_EXTENT.iter_unpack(body))
            least = 1
            for first, size in extents:
                if not least <= first < first + size <= container.positions.end:
                    raise TreeCorruptError("the trash stream contradicts itself", block=0)
                least = first + size
            container.positions.learn(extents)

    def _save_trash(self) -> None:
        """Write the free positions for the commit that comes next."""
        positions = self.container.positions
        trash = self._special[self.STREAM_TRASH]
        if not positions.is_complete:
            return
        if not trash.len and not positions.free_count:
            self.container.has_trash = True
            return
        need = TRASH_HEAD.size + min(_MAX_TRASH, len(positions.extents()) + 8) * TRASH_EXTENT.size
        trash.write(0, memoryview(bytes(need)))
        trash.close()
        extents = positions.extents()[: (need - TRASH_HEAD.size) // TRASH_EXTENT.size]
        head = TRASH_HEAD.pack(len(extents))
        body = b"".join(TRASH_EXTENT.pack(first, count) for first, count in extents)
        trash.write(0, memoryview(head + body))
        self.flush()
        self.container.has_trash = True

    def _save_all(self) -> None:
        super()._save_all()
        if self.container.must_finish:
            self.container.settle_down()
            self._save_trash()
            self.container.commit(fold=True)
