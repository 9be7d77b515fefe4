"""`--devices` on the command line: one run folder, and a run that lost a process goes on with another number."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command_line import succeed

from dfq.results.run_folder import RunFolder

OPTIONS = ("--method", "zeroq-kd", "--images", "300", "--steps", "40", "--no-flip", "--seed", "3")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "dfq", *map(str, arguments)]


def process_of_rank(launcher: int, rank: int) -> int:
    """The process identifier of one of the processes that a launcher has started."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            environment = (status.parent / "environ").read_bytes().split(b"\0")
        except OSError:  # It has ended in the meantime.
            continue
        if parent == launcher and f"RANK={rank}".encode() in environment:
            return int(status.parent.name)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_a_run_of_two_processes_that_lost_one_goes_on_with_one(model_file, tmp_path):
    folder, whole = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "whole")
    quantize = ("quantize", model_file, *OPTIONS, "--threads", "1")
    with subprocess.Popen(
        command(*quantize, "--out", folder.path, "--devices", "2"), stderr=subprocess.PIPE, text=True
    ) as started:
        while not folder.start.exists():
            assert started.poll() is None
            time.sleep(0.02)
        os.kill(process_of_rank(started.pid, 1), signal.SIGKILL)
        _, said = started.communicate(timeout=120)
    assert started.returncode == 1
    assert said.count("found: ") == said.count("way out: ") == 1 and "--resume" in said
    assert "Traceback" not in said and not folder.report.exists()
    succeed(*quantize, "--out", folder.path, "--resume")
    succeed(*quantize, "--out", whole.path)
    assert folder.images.read_bytes() == whole.images.read_bytes()
    found, expected = (json.loads(each.report.read_text()) for each in (folder, whole))
    assert found["training"]["records"][-1]["held_out"] == pytest.approx(
        expected["training"]["records"][-1]["held_out"], abs=1e-4
    )
    assert found["hardware"]["processes"] == 1


@pytest.mark.slow
def test_two_processes_write_one_report_and_say_everything_once(model_file, tmp_path):
    out = tmp_path / "run"
    options = ("--method", "reconstruct", "--images", "40", "--budget", "15", "--no-flip")
    arguments = ("quantize", model_file, "--bits", "4", *options, "--out", out)
    ended = subprocess.run(command(*arguments, "--devices", "2", "--json"), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["folder"] == str(out)
    report = json.loads((out / "report.json").read_text())
    assert report["hardware"]["processes"] == 2 and report["reconstruction"]["blocks"]
    assert ended.stderr.count("Reconstructing blocks: done") == ended.stderr.count("Synthesizing images: done") == 1
    again = subprocess.run(command(*arguments, "--devices", "2"), capture_output=True, text=True)
    assert again.returncode == 2 and again.stderr.count("found: ") == 1 and "exists and is not empty" in again.stderr
    taken = subprocess.run(command(*arguments, "--devices", "2", "--resume"), capture_output=True, text=True)
    assert taken.returncode == 0 and taken.stderr.count("this run had finished") == 1, taken.stderr
