"""Run workloads on all peers in turn, repeat by repeat, so that noise hits every one of them."""

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter

from inputs import Inputs
from peers.base import Peer, Session
from workloads import BY_NAME, Workload

Rates = dict[str, list[float]]
"""The rate of each repeat, by the peer's name."""


class Bench:
    """Peers opened together over one folder, and the reasons of those that were left out."""

    def __init__(self, inputs: Inputs, repeat_count: int) -> None:
        self._inputs = inputs
        self._repeat_count = repeat_count
        self._sessions: dict[str, Session] = {}
        self._filled: set[tuple[str, str]] = set()
        self.left_out: dict[str, str] = {}

    @contextmanager
    def opened(self, peers: Sequence[Peer], folder: Path) -> Iterator[None]:
        """Open every peer that is available; close, unmount and forget them at the end."""
        with ExitStack() as stack:
            for number, peer in enumerate(peers):
                reason = peer.available()
                if reason is None:
                    home = folder / f"peer-{number}"
                    home.mkdir()
                    try:
                        self._sessions[peer.name] = stack.enter_context(peer.open(home))
                    except Exception as error:  # noqa: BLE001  a peer's failure is named
                        reason = _reason(error)
                if reason is not None:
                    self.left_out[peer.name] = reason
            yield
            self._sessions.clear()

    def run(self, workload: Workload) -> Rates:
        """Warm up, then measure `repeat_count` repeats of each peer, one repeat in turn."""
        rates: Rates = {name: [] for name in self._sessions if self._offers(name, workload)}
        amount = workload.amount(self._inputs)
        for repeat in range(self._repeat_count + 1):
            _progress(f"{workload.name}: repeat {repeat} of {self._repeat_count}")
            for name in list(rates):
                try:
                    seconds = self._run_once(workload, name, repeat)
                except Exception as error:  # noqa: BLE001  the other peers go on
                    del rates[name]
                    self.left_out[f"{name}, {workload.name}"] = _reason(error)
                    continue
                if repeat:  # repeat 0 is the warm-up
                    rates[name].append(amount / seconds)
        _progress("")
        return rates

    def _offers(self, name: str, workload: Workload) -> bool:
        is_meant = workload.only is None or name in workload.only
        return is_meant and self._sessions[name].can(workload.method)

    def _run_once(self, workload: Workload, name: str, repeat: int) -> float:
        """Return the seconds of one repeat, after whatever it needs to have something to do."""
        if workload.needs is not None and (name, workload.needs) not in self._filled:
            self._run_once(BY_NAME[workload.needs], name, repeat)
        if workload.writes:
            os.sync()  # the previous peer's dirty pages are not this one's burden
        gc.collect()
        with workload.make_job(self._sessions[name], self._inputs, repeat) as work:
            begin = perf_counter()
            outcome = work()
            seconds = perf_counter() - begin
        if workload.expected is not None and not workload.expected(self._inputs, repeat, outcome):
            raise RuntimeError("read something else than what was written")
        self._filled.add((name, workload.name))
        return seconds


def _reason(error: Exception) -> str:
    return f"failed: {type(error).__name__}: {error}"


def _progress(text: str) -> None:
    """Show one line that the next one replaces, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)
