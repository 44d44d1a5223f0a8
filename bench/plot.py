"""Draw the figures of `run.py --json FILE`: one PNG per workload, for docs/benchmarks.rst."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import OURS

LOG_SPAN = 12.0
"""From this ratio between longest and shortest bar on, the axis is logarithmic."""

COLOURS = {"ours": "#c1432e", "encrypted": "#3f6f9f", "plain": "#9aa5ad", "bound": "#d9c27a"}
LEGEND = {
    "ours": "Archive7",
    "encrypted": "encrypted peer",
    "plain": "not encrypted",
    "bound": "informs only",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the plots and print their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", type=Path, help="the file that run.py wrote")
    parser.add_argument("--out", type=Path, default=Path("docs/plots"), help="folder of the plots")
    options = parser.parse_args(arguments)
    document = json.loads(options.json.read_text())
    options.out.mkdir(parents=True, exist_ok=True)
    for result in document["results"]:
        if result["rows"]:
            path = options.out / f"{result['workload']}.png"
            draw(result, document, path)
            print(path)
    return 0


def draw(result: dict[str, Any], document: dict[str, Any], path: Path) -> None:
    """Draw the medians of one workload as bars, with whiskers from minimum to maximum."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = sorted(result["rows"], key=lambda row: float(row["median"]))
    kinds = [_kind(row["peer"], document["peers"]) for row in rows]
    medians = [row["median"] for row in rows]
    below = [row["median"] - row["minimum"] for row in rows]
    above = [row["maximum"] - row["median"] for row in rows]
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes.barh(
        [row["peer"] for row in rows],
        medians,
        xerr=[below, above],
        color=[COLOURS[kind] for kind in kinds],
        error_kw={"ecolor": "#333333", "capsize": 3, "linewidth": 1},
    )
    is_log = max(medians) / min(medians) >= LOG_SPAN
    if is_log:
        axes.set_xscale("log")
        axes.set_xlim(min(medians) / 2, max(medians) * 4)
    else:
        axes.set_xlim(0, max(row["maximum"] for row in rows) * 1.12)
    _label(axes, rows, is_log)
    axes.set_title(result["title"], fontsize=11, loc="left")
    axes.set_xlabel(f"{result['unit']}{', logarithmic' if is_log else ''}; {_origin(document)}")
    axes.xaxis.label.set_fontsize(8)
    axes.legend(handles=_handles(kinds), fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _kind(peer: str, peers: dict[str, Any]) -> str:
    if peer == OURS:
        return "ours"
    if not peers[peer]["is_rival"]:
        return "bound"
    return "encrypted" if peers[peer]["is_encrypted"] else "plain"


def _label(axes: Any, rows: Sequence[dict[str, Any]], is_log: bool) -> None:
    """Write each median right of its bar, beyond the whisker."""
    longest = max(row["maximum"] for row in rows)
    for height, row in enumerate(rows):
        right = row["maximum"] * 1.06 if is_log else row["maximum"] + longest * 0.01
        axes.text(right, height, f"{row['median']:,.0f}", va="center", fontsize=8)


def _handles(kinds: Sequence[str]) -> list[Any]:
    from matplotlib.patches import Patch

    return [
        Patch(color=COLOURS[kind], label=LEGEND[kind]) for kind in COLOURS if kind in set(kinds)
    ]


def _origin(document: dict[str, Any]) -> str:
    """Return where and when, short enough for the axis."""
    machine = document["machine"]
    return f"{machine['machine']}, {machine['Python']}, {machine['date'][:10]}"


if __name__ == "__main__":
    sys.exit(main())
