"""What was judged, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What was done.

    Attributes:
        workloads: recorded.
        operations: on their disks.
        states: judged, by kind: kill, live (a reader beside the writer), power; "second ..."
            where this happens in the recovery from another one.
        distinct: without those that are equal to another one of the same workload.
        seconds: of CPU.
    """

    workloads: int = 0
    operations: int = 0
    states: Counter[str] = field(default_factory=Counter)
    distinct: int = 0
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        """Count what another campaign did as well."""
        self.workloads += other.workloads
        self.operations += other.operations
        self.states += other.states
        self.distinct += other.distinct
        self.seconds += other.seconds

    @property
    def count(self) -> int:
        """States judged."""
        return sum(self.states.values())

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.states.items()))
        speed = self.count / self.seconds if self.seconds else 0.0
        return (
            f"{self.count} states ({kinds}), {self.distinct} distinct, of {self.workloads} "
            f"workloads, {self.operations} operations, {self.seconds:.1f} s of CPU, "
            f"{speed:.0f} states/s"
        )
