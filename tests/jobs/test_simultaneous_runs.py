"""Two commands at once on one folder never mix: the second one is refused, and changes nothing."""

import subprocess
import sys
import time
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace

import pytest
import torch
from support.command_line import fail, run, succeed

from dfq.checkpoint import load_checkpoint
from dfq.errors import DfqError
from dfq.models.registry import DIGITS_INPUT
from dfq.results.stored_files import read_json
from dfq.system.run_lock import writing_file_alone
from dfq.teacher import Teacher

# command → (what it does while it holds the lock, its options; FOLDER is the folder that both want)
WORK = {
    "quantize": ("dfq.jobs.quantize.run._quantize", "MODEL --out FOLDER --overwrite"),
    "distill": ("dfq.jobs.distill.run._distill", "MODEL --student dfq/digits_cnn --out FOLDER --overwrite"),
    "compare": ("dfq.jobs.compare.run._compare", "MODEL --methods zeroq --out FOLDER"),
    "synthesize": ("dfq.jobs.synthesize.make_images", "MODEL --out FOLDER --overwrite"),
    "demo": ("dfq.jobs.demo._run", "--out FOLDER --overwrite"),
    "increment": ("dfq.jobs.increment.run.increment_model", "OLD --data NEW --out FOLDER/new.pt"),
    "export": ("dfq.jobs.export.export_onnx", "FOLDER --out FOLDER/new.pt"),
    "validate": ("dfq.cli.validate.measure_performance", "FOLDER --performance --engine onnxruntime-cpu"),
}


@pytest.fixture
def folder(request, run_folder, tmp_path) -> Path:
    """A run folder, in which every command but `compare` works."""
    found = tmp_path / "run"
    if request.getfixturevalue("first") == "compare":
        found.mkdir()
        return found
    return copytree(run_folder, found)


@pytest.fixture(scope="module")
def teachers(model_file, old_file):
    return {path: Teacher(load_checkpoint(path).model, DIGITS_INPUT, arch="dfq/digits_cnn")
            for path in (model_file, old_file)}  # fmt: skip


def state(folder: Path) -> dict:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("second", WORK)
@pytest.mark.parametrize("first", WORK)
def test_a_pair_of_commands(first, second, folder, run_folder, teachers, model_file, old_file, new_file, monkeypatch):
    """The first command is stopped in its work, there the second one runs, and then the first one goes on to fail."""
    monkeypatch.setattr("dfq.cli.options.load_teacher", lambda path, **_: teachers[path])
    report = read_json(run_folder / "report.json")
    monkeypatch.setattr("dfq.jobs.validate.validate", lambda *_: SimpleNamespace(to_dict=lambda: report))
    whole = {"MODEL": model_file, "OLD": old_file, "NEW": new_file}

    def typed(command: str) -> list:
        parts = WORK[command][1].replace("FOLDER", str(folder)).split()
        return [command, *(whole.get(part, part) for part in parts)]

    results = []

    def work(*_, **__):
        assert not results, "the second command came as far as its work"
        before = state(folder)
        results.append(None)
        results[0] = run(*typed(second), "--quiet")
        assert state(folder) == before
        raise DfqError("the end of the test", exit_code=1)

    for place, _ in WORK.values():
        monkeypatch.setattr(place, work)
    assert "the end of the test" in run(*typed(first), "--quiet").stderr
    (result,) = results
    is_refused = ("is in use by process", "is being written by another process")
    if second == "compare" and first != "compare":
        is_refused = (*is_refused, "holds no comparison")
    assert result.exit_code in (1, 2) and any(text in result.stderr for text in is_refused), result.output


def test_two_processes(model_file, tmp_path):
    folder = tmp_path / "run"
    command = ["quantize", str(model_file), "--out", str(folder), "--images", "16", "--overwrite"]
    first = subprocess.Popen([sys.executable, "-m", "dfq", *command, "--steps", "1000000"], stderr=subprocess.DEVNULL)
    try:
        while not (folder / "config.json").exists():
            assert first.poll() is None
            time.sleep(0.1)
        message = fail(*command, "--bits", "8", exit_code=1)  # this process is the second one
        assert f"in use by process {first.pid}" in message
        assert "in use by process" in fail("validate", folder, exit_code=1)
    finally:
        first.kill()
        first.wait()


def test_reading_waits_for_nobody(run_folder, tmp_path):
    """A file that is written in a folder, and a lock that a killed run left, keep no reader out."""
    folder = copytree(run_folder, tmp_path / "run")
    (folder / ".lock").touch()
    with writing_file_alone(folder / "new.pt"):
        succeed("validate", folder, "--engine", "onnxruntime-cpu", "--threads", torch.get_num_threads())
