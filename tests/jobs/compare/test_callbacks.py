"""`dfq compare` tells callbacks of itself and of each run, and keeps the runs apart."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from support.command_line import run
from support.compare_cases import plan
from support.recorder import Recorder
from support.small_nets import small_teacher

import dfq
from dfq.jobs.compare import compare_methods
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.settings import Settings

NAMES = ["zeroq-kd-w4a4-seed0", "zeroq-kd-w4a4-seed1"]
MADE = plan(methods=("zeroq-kd",), seeds=2, settings=Settings(images=16, steps=2))


def compared(tmp_path, callback) -> dict:
    return compare_methods(small_teacher(), tmp_path, MADE, RunOptions(callbacks=[callback])).content


def test_a_callback_hears_start_and_end_once_and_the_losses_of_each_run(tmp_path):
    recorder = Recorder()
    content = compared(tmp_path, recorder)
    (_, told), *middle, end = recorder.heard
    assert told["methods"] == ["zeroq-kd"] and told["seeds"] == 2 and told["steps"] == 2
    json.dumps(told)
    assert end == ("end", content) and not [each for each in middle if each[0] in ("start", "end")]
    trained = [each[:2] for each in middle if each[0].endswith("Training the student")]
    assert trained == [(f"{name}/Training the student", step) for name in NAMES for step in (1, 2)]
    assert {message.split(":")[0] for kind, message, *_ in middle if kind == "note"} >= set(NAMES)


def test_a_subclass_hears_of_each_run_as_of_a_job(tmp_path):
    class Parts(Recorder):
        def part(self, name):
            parts[name] = Recorder()
            return parts[name]

    parts: dict[str, Recorder] = {}
    content = compared(tmp_path, Parts())
    assert list(parts) == NAMES
    for part, cell in zip(parts.values(), content["cells"], strict=True):
        assert part.heard[0][0] == "start" and part.heard[0][1]["seed"] == cell["seed"]
        assert part.heard[-1][1]["agreement"]["student_teacher"]["synthetic"] == cell["agreement"]


def test_a_run_that_fails_ends_without_a_report(tmp_path, monkeypatch):
    class Parts(Recorder):
        def part(self, name):
            return failing

    def fail(*_):
        raise dfq.DfqError("the end of the test", exit_code=1)

    monkeypatch.setattr("dfq.jobs.quantize.run._quantize", fail)
    failing, whole = Recorder(), Parts()
    content = compared(tmp_path, whole)
    assert [each for each in failing.heard if each[0] == "end"] == [("end", None)] * 2
    assert whole.heard[-1] == ("end", content)


def test_tensorboard_has_a_folder_for_each_run(tmp_path, monkeypatch):
    folders: list[str] = []

    class Writer:
        def __init__(self, folder):
            folders.append(folder)

        def __getattr__(self, name):
            return lambda *arguments: None

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    compared(tmp_path / "out", dfq.TensorBoard(tmp_path / "logs"))
    *of_runs, _ = folders
    assert [folder.removeprefix(f"{tmp_path / 'logs'}/").split("/")[0] for folder in of_runs] == NAMES


def test_mlflow_has_a_child_for_each_run(tmp_path, monkeypatch):
    calls: list[tuple] = []
    module = ModuleType("mlflow")
    for name in ("set_experiment", "start_run", "log_params", "log_metrics", "log_dict", "end_run"):
        setattr(module, name, lambda *arguments, name=name, **options: calls.append((name, arguments, options)))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    compared(tmp_path, dfq.MLflow("an experiment"))
    started = [options for name, _, options in calls if name == "start_run"]
    assert started == [
        {"run_name": None, "nested": False},
        *({"run_name": name, "nested": True} for name in NAMES),
    ]
    assert [name for name, *_ in calls if name in ("start_run", "end_run")] == [
        "start_run", *["start_run", "end_run"] * 2, "end_run",
    ]  # fmt: skip
    assert [name for name, *_ in calls].count("set_experiment") == 1
    trained = [arguments[0] for name, arguments, _ in calls if name == "log_metrics" and "Training" in str(arguments)]
    assert all(metric.startswith("Training the student/") for metrics in trained for metric in metrics)


def test_the_command_has_the_options(model_file, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("dfq.cli.options.MLflow", Recorder)
    monkeypatch.setattr("dfq.cli.compare.compare_methods", lambda *arguments: made.append(arguments[3]) or 1 / 0)
    run("compare", model_file, "--methods", "zeroq", "--log", "mlflow", "--resume", "--out", tmp_path / "out")
    assert [type(each) for each in made[0].callbacks] == [Recorder] and made[0].resume


@pytest.mark.parametrize("resume", [True, False])
def test_the_python_call(tmp_path, monkeypatch, resume):
    made = []
    monkeypatch.setattr("dfq.jobs.compare.run.run_cell", lambda *arguments: made.append(arguments[3]) or 1 / 0)
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        dfq.compare(small_teacher(), methods=["zeroq"], out=tmp_path, callbacks=[recorder], resume=resume)
    assert made[0].resume is resume and recorder.heard[-1] == ("end", None)
