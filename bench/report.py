"""Print a run: where it ran, one table per workload, what was reached, who was left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from peers.base import Peer
from results import Result, Verdict

CAVEAT = """\
What these figures do not show: everything is read from the page cache (nothing is dropped from
it), with one thread, on random data, and writes end on this machine's disk and its cache. Other
disks, sizes and access patterns give other figures; compare only within one run."""


def show_machine(machine: Mapping[str, Any]) -> str:
    """Return the description of machine, versions and run as lines."""
    width = max(map(len, machine))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in machine.items())


def show_peers(peers: Sequence[Peer], left_out: Mapping[str, str]) -> str:
    """Return the settings of every peer that runs, and the reasons of those that do not."""
    lines = [
        f"{peer.name}: {peer.version()}; {peer.settings}".replace(": ;", ":")
        for peer in peers
        if peer.name not in left_out
    ]
    return "\n".join(lines)


def show_left_out(left_out: Mapping[str, str]) -> str:
    """Return one line for each peer, or workload of a peer, that is missing."""
    return "\n".join(f"left out: {name}: {reason}" for name, reason in left_out.items())


def show_result(result: Result) -> str:
    """Return the table of one workload, with its verdicts."""
    head = f"{result.unit:<20}{'median':>12}{'min':>12}{'max':>12}{'Archive7 / peer':>18}"
    lines = [f"\n{result.title}", head, "-" * len(head)]
    for row in result.rows:
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else "-"
        figures = "".join(f"{_figure(x):>12}" for x in (row.median, row.minimum, row.maximum))
        lines.append(f"{row.peer:<20}{figures}{ratio:>18}")
    lines += [f"  {_show_verdict(verdict)}" for verdict in result.verdicts]
    return "\n".join(lines)


def show_summary(results: Sequence[Result]) -> str:
    """Return how many of the musts and aims were reached, and which were not."""
    judged = [(result, verdict) for result in results for verdict in result.verdicts]
    missed = [
        f"  {result.workload}: {_show_verdict(verdict)}"
        for result, verdict in judged
        if verdict.reached is not True
    ]
    head = f"\nTargets reached: {len(judged) - len(missed)} of {len(judged)}"
    return "\n".join([head, *missed])


def _show_verdict(verdict: Verdict) -> str:
    words = {True: "reached", False: "NOT reached", None: "cannot be told"}
    wanted = f" = {_figure(verdict.wanted)}" if verdict.wanted is not None else ""
    factor = f" ({verdict.factor:.2f} x)" if verdict.factor is not None else ""
    return f"{verdict.text}{wanted}: {words[verdict.reached]}{factor}"


def _figure(value: float) -> str:
    """Format with four digits or more: 1234567 -> 1,234,567 and 12.3 -> 12.3."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
