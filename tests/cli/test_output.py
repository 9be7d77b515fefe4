"""`--json` writes one object, `--quiet` writes nothing, and errors keep to both."""

import json

import pytest
from support.command_line import SMALL, find_command, run, succeed
from support.compare_cases import fabricated

from dfq.cli.main import COMMANDS
from dfq.jobs.compare import Comparison
from dfq.jobs.demo import DemoResult, DemoRow
from dfq.jobs.distill import Distilled
from dfq.jobs.increment import Incremented
from dfq.results.stored_files import read_json

FEW = ("--images", "16", "--steps", "2", "--no-flip")
KEYS = {
    "quantize": ("folder", "decision", "agreement"),
    "distill": ("folder", "student", "quantized"),
    "increment": ("file", "classes"),
    "compare": ("folder", "summary", "cells"),
    "inspect": ("verdict", "layers", "size_bytes"),
    "synthesize": ("folder", "images", "files"),
    "export": ("file", "size_bytes"),
    "validate": ("folder", "file", "engines", "performance"),
    "methods": ("methods",),
    "demo": ("folder", "rows", "images"),
    "env": ("versions", "system", "hardware"),
}


@pytest.fixture
def arguments(model_file, labelled_file, run_folder, old_file, new_file, tmp_path, monkeypatch):
    """What each command is called with; those that would train return a result that nobody computed."""
    rows = [DemoRow("teacher", 0.9, 10, 0.1, None, 1.0), DemoRow("INT8", 0.9, 5, 0.1, 1.0, 1.0)]
    report = read_json(run_folder / "report.json")
    distilled = {**report, "student": "net", "start": "teacher", "parameters": {"teacher": 2, "student": 1}}
    learned = {"classes": {"old": 5, "new": 5}, "images": {"new": 1, "synthetic": 1}, "warnings": [], "seconds": 1.0}
    for place, result in (
        ("demo.run_demo", DemoResult(rows, 2)),
        ("distill.distill_model", Distilled(None, None, tmp_path, distilled, None)),
        ("compare.compare_methods", Comparison(tmp_path, fabricated(data=True))),
        ("increment.learn_classes", Incremented(None, {**learned, "accuracy_on_new_training_images": 0.5})),
    ):
        monkeypatch.setattr(f"dfq.cli.{place}", lambda *_, result=result, **__: result)
    out = ("--out", tmp_path / "out")
    finished = ("--bits", "4", *SMALL, "--out", run_folder, "--data", labelled_file, "--resume")
    return {
        "quantize": (model_file, *finished),
        "distill": (model_file, "--student", "dfq/digits_cnn", *FEW, *out),
        "increment": (old_file, "--data", new_file, *FEW, "--out", tmp_path / "all.pt"),
        "compare": (model_file, "--methods", "instant", "--bits", "8", "--seeds", "1", *FEW, *out),
        "inspect": (model_file,),
        "synthesize": (model_file, *FEW[:2], "--budget", "1s", *out),
        "export": (run_folder, "--out", tmp_path / "new.onnx"),
        "validate": (run_folder, "--engine", "onnxruntime-cpu"),
        "methods": (),
        "demo": out,
        "env": (),
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_one_object_and_nothing_else(command, arguments):
    found = json.loads(succeed(command, *arguments[command], "--json"))
    assert set(KEYS[command]) <= set(found)


@pytest.mark.parametrize("command", ["quantize", "inspect", "demo"])
def test_quiet_writes_nothing_but_errors(command, arguments):
    result = run(command, *arguments[command], "--quiet")
    assert result.exit_code == 0 and result.output == ""
    assert "way out: " in run("inspect", "nope.pt", "--quiet").stderr
    assert succeed("inspect", *arguments["inspect"]) != "", "the next command writes again"


@pytest.mark.parametrize(
    "given, found",
    [(("nope.pt",), "no file 'nope.pt'"), (("--scheme", "deply"), "'deply'"), (("--bit", "4"), "No such option")],
)
def test_errors_are_objects_too(given, found):
    result = run("quantize", *given, "--json")
    error = json.loads(result.stdout)["error"]
    assert result.exit_code == error["exit_code"] == 2 and found in error["found"] and result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_both_options(command):
    assert {"json", "quiet"} <= {parameter.name for parameter in find_command(command).params}
