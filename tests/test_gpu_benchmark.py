"""The benchmark of a GPU runs from end to end, so that time on one is not spent on its mistakes."""

import os
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
    wide = {**os.environ, "COLUMNS": "160"}  # so that no cell of the table is wrapped
    ended = subprocess.run(command, cwd=ROOT, env=wide, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    for figure in (
        "image steps per second",
        "iterations of a block per second",
        "tests collected",
        "instant, no labelled",
    ):
        assert figure in " ".join(ended.stdout.split()), ended.stdout
