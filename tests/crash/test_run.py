"""The command behind `make crash`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.run import main
from tests.unit.command import default_interrupt


def test_a_sequence_and_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sequence", "35"]) == 0
    told = capsys.readouterr().out
    assert "systematic: " in told
    assert "0 violations" in told
    few = ["--workloads", "1", "--per-workload", "5", "--seed", "4"]
    assert main(["--sequences", "none", *few]) == 0
    told = capsys.readouterr().out
    assert "random: " in told
    assert "seed 4" in told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no signals for one process")
def test_interrupted_run_tells_its_totals() -> None:
    command = [sys.executable, str(Path(__file__).with_name("run.py"))]
    process = subprocess.Popen(
        [*command, "--jobs", "2", "--seed", "1", "--sequences", "none", "--per-workload", "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_interrupt,  # CI may run with SIGINT ignored
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "seed 1\n"
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in out
    assert out.rstrip().endswith("0 violations, seed 1")
