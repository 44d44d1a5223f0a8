"""The data of a run: how much of everything, and seeded payload, names, keys and offsets."""

from dataclasses import asdict, dataclass
from functools import cached_property
from random import Random

from peers.base import File, Item

SEED = 7
MIB = 1 << 20
CHUNK_SIZE = MIB
PAGE_SIZE = 4096
SMALL_SIZE = 2048
KEY_SIZE = 16
VALUE_SIZE = 38
BLOCK_DATA_SIZE = 4008
"""Data bytes of one Archive7 block, for the random read of exactly one block."""


@dataclass(frozen=True)
class Scale:
    """How much of everything one repeat does."""

    stream_size: int = 128 * MIB
    read_count: int = 20_000
    overwrite_count: int = 10_000
    small_count: int = 5_000
    commit_count: int = 2_000
    durable_count: int = 200
    map_count: int = 20_000

    @classmethod
    def quick(cls, stream_size: int) -> "Scale":
        """Return a scale for a first look; the stream keeps its size, for caches matter."""
        return cls(stream_size, 8_000, 4_000, 2_000, 1_000, 50, 5_000)

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name, for the JSON file."""
        return asdict(self)


def random_payload(size: int, seed: int = SEED) -> bytes:
    """Return `size` seeded random bytes, which no peer can compress."""
    random = Random(seed)
    chunks = [random.randbytes(min(MIB, size - begin)) for begin in range(0, size, MIB)]
    return b"".join(chunks)


class Inputs:
    """Everything the workloads of one run read and write; the same for every peer."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale

    @cached_property
    def payload(self) -> bytes:
        """The content of the stream."""
        return random_payload(self.scale.stream_size)

    @cached_property
    def page(self) -> bytes:
        """The page that overwrites are done with; it is not in the payload."""
        return random_payload(PAGE_SIZE, SEED + 1)

    @cached_property
    def _small(self) -> list[File]:
        count = max(self.scale.small_count, self.scale.commit_count, self.scale.durable_count)
        data = random_payload(count * SMALL_SIZE, SEED + 2)
        return [
            (f"file-{number:06}.bin", data[number * SMALL_SIZE : (number + 1) * SMALL_SIZE])
            for number in range(count)
        ]

    def files(self, count: int) -> list[File]:
        """Return the first `count` small files, in name order."""
        return self._small[:count]

    @cached_property
    def names(self) -> list[str]:
        """The names of the created small files, in random order."""
        names = [name for name, _ in self.files(self.scale.small_count)]
        Random(SEED).shuffle(names)
        return names

    @cached_property
    def items(self) -> list[Item]:
        """Random keys, in the order of insertion, with random values."""
        random = Random(SEED + 3)
        return [
            (random.randbytes(KEY_SIZE), random.randbytes(VALUE_SIZE))
            for _ in range(self.scale.map_count)
        ]

    @cached_property
    def keys(self) -> list[bytes]:
        """The keys of the map, in another random order."""
        keys = [key for key, _ in self.items]
        Random(SEED).shuffle(keys)
        return keys

    def offsets(self, unit: int, count: int, repeat: int) -> list[int]:
        """Return distinct random multiples of `unit`, other ones in every repeat."""
        units = self.scale.stream_size // unit
        chosen = Random(SEED + 10 + repeat).sample(range(units), min(count, units))
        return [number * unit for number in chosen]
