"""Measure Archive7 beside its peers, all in one run: `python bench/run.py --help`."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import report
from inputs import MIB, Inputs, Scale
from machine import describe
from measure import Bench
from peers import all_peers
from peers.base import Peer
from results import OURS, Result, judge
from workloads import BY_NAME, WORKLOADS, Workload


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return 1 if Archive7 itself failed somewhere."""
    options = _parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        with TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
            return _run(options, Path(folder))
    except KeyboardInterrupt:
        print("\nstopped; everything is unmounted and removed", file=sys.stderr)
        return 130


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 repeats and fewer operations")
    parser.add_argument("--size", type=int, default=128, metavar="MIB", help="size of the stream")
    parser.add_argument("--repeat", type=int, help="repeats of each workload (5, quick: 3)")
    parser.add_argument("--only", type=_names, help=f"workloads, of: {', '.join(BY_NAME)}")
    parser.add_argument("--peers", type=_names, help="peers by name, comma between; case ignored")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the files are kept")
    options = parser.parse_args(arguments)
    if options.size < 1 or (options.repeat is not None and options.repeat < 1):
        parser.error("--size and --repeat must be at least 1")
    unknown = set(options.only or ()) - set(BY_NAME)
    if unknown:
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    options.chosen = [w for w in WORKLOADS if options.only is None or w.name in options.only]
    options.rivals = _chosen_peers(options.peers, parser)
    return options


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _chosen_peers(names: Sequence[str] | None, parser: argparse.ArgumentParser) -> list[Peer]:
    peers = {peer.name.lower(): peer for peer in all_peers()}
    if names is None:
        return list(peers.values())
    unknown = {name.lower() for name in names} - set(peers)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(peers)}")
    wanted = {name.lower() for name in names}
    return [peer for name, peer in peers.items() if name in wanted]


def _run(options: argparse.Namespace, folder: Path) -> int:
    stream_size = options.size * MIB
    scale = Scale.quick(stream_size) if options.quick else Scale(stream_size)
    repeat_count = options.repeat or (3 if options.quick else 5)
    machine = describe(folder)
    counts = ", ".join(f"{name} {value:,}" for name, value in scale.as_dict().items())
    machine["run"] = f"{repeat_count} repeats after one warm-up, peers in turn; {counts}"
    print(f"{report.CAVEAT}\n\n{report.show_machine(machine)}\n", flush=True)
    bench = Bench(Inputs(scale), repeat_count)
    results = _measure(bench, options.rivals, options.chosen, folder)
    print(f"{report.show_summary(results)}\n{report.show_left_out(bench.left_out)}")
    if options.json:
        _write_json(options.json, machine, scale, options.rivals, results, bench.left_out)
    return int(any(key == OURS or key.startswith(f"{OURS},") for key in bench.left_out))


def _measure(
    bench: Bench, peers: Sequence[Peer], workloads: Sequence[Workload], folder: Path
) -> list[Result]:
    results = []
    with bench.opened(peers, folder):
        print(report.show_peers(peers, bench.left_out), flush=True)
        for workload in workloads:
            result = judge(workload, bench.run(workload), peers)
            print(report.show_result(result), flush=True)
            results.append(result)
    return results


def _write_json(
    path: Path,
    machine: dict[str, str],
    scale: Scale,
    peers: Sequence[Peer],
    results: Sequence[Result],
    left_out: dict[str, str],
) -> None:
    document = {
        "machine": machine,
        "scale": scale.as_dict(),
        "peers": {
            peer.name: {
                "version": peer.version() if peer.available() is None else "",
                "settings": peer.settings,
                "is_encrypted": peer.is_encrypted,
                "is_rival": peer.is_rival,
            }
            for peer in peers
        },
        "left_out": left_out,
        "results": [result.as_dict() for result in results],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def _stop(_number: int, _frame: FrameType | None) -> None:
    """Unwind once, so that every mount is taken down; a second signal must not cut that short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
