"""The benchmark of a GPU runs from end to end, so that time on one is not spent on its mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

import dfq

ROOT = Path(dfq.__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "benchmarks" / "gpu.py").exists(), reason="the benchmarks are not installed")
def test_every_kind_of_piece_runs_on_the_cpu():
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    for figure in (
        "image steps per second",
        "iterations of a block per second",
        "tests collected",
        "instant, no labelled",
    ):
        assert figure in " ".join(ended.stdout.split()), ended.stdout
