"""Streams checked: every block is there, in order, linked both ways, genuine and its own.

Owns the invariants of chains.  Blocks of a run are read and opened up to 256 at once; only where
something is wrong is each looked at alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from uuid import UUID

from .commit import Container
from .errors import CorruptError
from .finding import Finding, error
from .layout import BLOCK_HEAD, DATA_SIZE, MAX_RUN, NO_POSITION, STREAM, TAIL_BASE
from .streams.chain import tail_next
from .streams.extents import Extents

_REACHED: Final = 2
_ONES: Final = bytes([1]) * MAX_RUN
_TWOS: Final = bytes([_REACHED]) * MAX_RUN


class _Stream:
    """Where a walk along one stream stands."""

    def __init__(self, record: bytes) -> None:
        self.id, self.begin, self.end, self.count, self.length, _ = STREAM.unpack(record)
        self.previous = NO_POSITION  # position of the block before

    def is_right_next(self, found: int, after: int | None) -> bool:
        """Whether a block may have `found` as its next; `after`: what follows, None for the last.

        The last one tells how many of its bytes count.
        """
        if after is not None:
            return found == after
        used = self.length - (self.count - 1) * DATA_SIZE
        return found > TAIL_BASE if used >= DATA_SIZE else found == tail_next(used)

    def wrong(self, layer: str, reason: object, block: int | None = None) -> Finding:
        """A finding about this stream."""
        return error(layer, reason, block=block, stream=str(UUID(bytes=self.id)))


class StreamChecker:
    """Checks the chains of one container.

    Args:
        present: 1 for each position that has a block; becomes 2 where a stream reached it.
        is_full: whether the blocks are opened.
        step: told how many blocks were dealt with.
    """

    def __init__(
        self,
        container: Container,
        present: bytearray,
        is_full: bool,
        step: Callable[[int, str], None],
    ) -> None:
        self._blocks = container.blocks
        self._present = present
        self._is_full = is_full
        self._step = step

    def check_runs(self, record: bytes, extents: Extents) -> Iterator[Finding]:
        """Check a stream whose blocks stand where `extents` says."""
        stream = _Stream(record)
        yield from self._check_length(stream)
        index, runs = 0, list(extents)
        for number, (begin, count) in enumerate(runs):
            following = runs[number + 1][0] if number + 1 < len(runs) else None
            for at in range(0, count, MAX_RUN):
                size = min(MAX_RUN, count - at)
                after = begin + at + size if at + size < count else following
                yield from self._check_run(stream, begin + at, index, size, after)
                index += size
        if stream.count and stream.previous != stream.end:
            yield stream.wrong("stream", "the stream does not end at its end")

    def check_chain(self, record: bytes) -> Iterator[Finding]:
        """Check a stream of which nothing but the chain tells where its blocks stand."""
        stream = _Stream(record)
        yield from self._check_length(stream)
        position = stream.begin
        for index in range(stream.count):
            wrong = self._reach(stream, position, index)
            if wrong is not None:
                yield wrong
                return
            try:
                plain = self._open(position, index, stream.id)
            except CorruptError as reason:
                yield stream.wrong("block", reason, position)
                return
            before, after, *_ = BLOCK_HEAD.unpack_from(plain)
            if before != stream.previous:
                yield stream.wrong("stream", "a link is wrong", position)
            if index == stream.count - 1 and not stream.is_right_next(after, None):
                yield stream.wrong("stream", "the last block tells another length", position)
            stream.previous, position = position, after
        if stream.count and stream.previous != stream.end:
            yield stream.wrong("stream", "the stream does not end at its end")

    def _check_length(self, stream: _Stream) -> Iterator[Finding]:
        count, length = stream.count, stream.length
        if length > count * DATA_SIZE or (count > 1 and length <= (count - 2) * DATA_SIZE):
            yield stream.wrong("stream", f"{count} blocks for {length} bytes")

    def _check_run(
        self, stream: _Stream, position: int, index: int, count: int, after: int | None
    ) -> Iterator[Finding]:
        """Check blocks at consecutive positions; `after` is the position that follows them."""
        present, done = self._present, 0
        is_marked = position > 0 and present[position : position + count] == _ONES[:count]
        if is_marked:
            present[position : position + count] = _TWOS[:count]
            self._step(count, "stream")
            if not self._is_full:
                stream.previous = position + count - 1
                return
            done = self._pass_over(stream, position, index, count, after)
        for i in range(done, count):
            if not is_marked:
                wrong = self._reach(stream, position + i, index + i)
                if wrong is not None:
                    yield wrong
                    stream.previous = position + i
                    continue
            following = after if i == count - 1 else position + i + 1
            yield from self._check_block(stream, position + i, index + i, following)

    def _pass_over(
        self, stream: _Stream, position: int, index: int, count: int, after: int | None
    ) -> int:
        """Open the blocks of a run at once; return how many of them are sound."""
        done, previous = 0, stream.previous
        try:
            for head in self._blocks.verified_heads(position, count):
                before, following, found, identity, _ = head
                wanted = position + done + 1 if done < count - 1 else after
                if (before, found, identity) != (previous, index + done, stream.id):
                    break
                if not stream.is_right_next(following, wanted):
                    break
                previous = position + done
                done += 1
        except CorruptError:  # told by who looks at the block alone
            pass
        stream.previous = previous
        return done

    def _check_block(
        self, stream: _Stream, position: int, index: int, after: int | None
    ) -> Iterator[Finding]:
        """Check one block alone and tell what is wrong with it."""
        before, stream.previous = stream.previous, position
        if not self._is_full:
            return
        try:
            plain = self._open(position, index, stream.id)
        except CorruptError as reason:
            yield stream.wrong("block", reason, position)
            return
        found, following, *_ = BLOCK_HEAD.unpack_from(plain)
        if found != before or not stream.is_right_next(following, after):
            yield stream.wrong("stream", "a link is wrong", position)

    def _reach(self, stream: _Stream, position: int, index: int) -> Finding | None:
        """Note that a stream has a block; what is wrong with that."""
        if not 0 < position < len(self._present) or not self._present[position]:
            return stream.wrong("stream", f"block number {index} is missing", position)
        if self._present[position] == _REACHED:
            message = f"block number {index} belongs to two streams"
            return stream.wrong("stream", message, position)
        self._present[position] = _REACHED
        self._step(1, "stream")
        return None

    def _open(self, position: int, index: int, stream: bytes) -> bytes:
        """Open a block past the cache; its digest and identity are compared."""
        plain = self._blocks.verify(position, self._blocks.map.get(position))
        if plain[8:28] != index.to_bytes(4, "big") + stream:
            raise CorruptError(f"not block number {index} of its stream", block=position)
        return plain
