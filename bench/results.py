"""What a run found: medians, ratios and verdicts, and their form in the JSON file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from measure import Rates
from peers.base import Peer
from workloads import ABSOLUTE, BEST, Target, Workload

OURS = "Archive7"


@dataclass(frozen=True)
class Row:
    """One peer's figures in one workload; `ratio` is Archive7's median over this one."""

    peer: str
    median: float
    minimum: float
    maximum: float
    repeats: list[float]
    ratio: float | None


@dataclass(frozen=True)
class Verdict:
    """One target: the figure it asks for in this run and whether Archive7 reached it."""

    text: str
    wanted: float | None
    reached: bool | None
    """None = cannot be told: Archive7 or the reference did not run."""
    factor: float | None = None
    """Archive7's median over the reference's."""


@dataclass(frozen=True)
class Result:
    """All figures of one workload."""

    workload: str
    title: str
    unit: str
    rows: list[Row]
    verdicts: list[Verdict]

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists, for the JSON file."""
        return asdict(self)


def judge(workload: Workload, rates: Rates, peers: Sequence[Peer]) -> Result:
    """Turn the rates of a workload into rows and verdicts."""
    medians = {name: median(values) for name, values in rates.items() if values}
    ours = medians.get(OURS)
    rows = [
        Row(
            name,
            middle,
            min(rates[name]),
            max(rates[name]),
            rates[name],
            ours / middle if ours is not None else None,
        )
        for name, middle in medians.items()
    ]
    verdicts = [_verdict(target, medians, peers) for target in workload.targets]
    return Result(workload.name, workload.title, workload.unit, rows, verdicts)


def _verdict(target: Target, medians: Mapping[str, float], peers: Sequence[Peer]) -> Verdict:
    kind = "aim " if target.is_aim else "must"
    ours = medians.get(OURS)
    if target.reference == ABSOLUTE:
        reached = ours >= target.factor if ours is not None else None
        return Verdict(f"{kind} >= {target.factor:,.0f} in the second", None, reached)
    name = _best(medians, peers) if target.reference == BEST else target.reference
    text = f"{kind} >= {target.factor:g} x {target.reference}"
    if name is None or name not in medians:
        return Verdict(f"{text} (which did not run)", None, None)
    wanted = target.factor * medians[name]
    if target.reference == BEST:
        text += f" ({name})"
    if ours is None:
        return Verdict(text, wanted, None)
    return Verdict(text, wanted, ours >= wanted, ours / medians[name])


def _best(medians: Mapping[str, float], peers: Sequence[Peer]) -> str | None:
    """Return the name of the fastest encrypted peer that counts as a rival."""
    names = [peer.name for peer in peers if peer.is_encrypted and peer.is_rival]
    return max((name for name in names if name in medians), key=medians.__getitem__, default=None)
