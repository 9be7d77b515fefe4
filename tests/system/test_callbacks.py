"""Callbacks hear of start, losses, notes and end; adapters pass that on to trackers."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from support.command_line import SMALL, fail, run
from support.recorder import Recorder

import dfq
from dfq.system.callbacks import following, results_of
from dfq.system.progress import Silent

REPORT = {
    "accuracy": {"onnx": 0.5, "teacher": None},
    "seconds": {"total": 3},
    "warnings": ["few images"],
    "arch": "net",
}
RESULTS = {"accuracy/onnx": 0.5, "seconds/total": 3.0}


def work(callbacks, *, fails: bool = False) -> None:
    with following(Silent(), callbacks, {"bits": 4}) as followed:
        with followed.task("Training", 4) as task:
            task.advance()
            task.advance(2, loss=0.5)
            task.name("a part")
        followed.note("assumed RGB")
        if fails:
            raise ValueError
        followed.report = REPORT


def test_a_callback_hears_everything_in_order():
    recorder = Recorder()
    work([recorder, dfq.Callback()])
    figures = ("Training", 3, {"loss": 0.5})
    assert recorder.heard == [("start", {"bits": 4}), figures, ("note", "assumed RGB"), ("end", REPORT)]
    assert results_of(REPORT) == RESULTS


def test_a_job_that_fails_ends_without_a_report():
    recorder = Recorder()
    with pytest.raises(ValueError):
        work([recorder], fails=True)
    assert recorder.heard[-1] == ("end", None)


def test_jobs_tell_their_callbacks(model_file, tmp_path):
    recorder = Recorder()
    few = {"images": 16, "steps": 3, "flip": False}
    result = dfq.quantize(
        model_file, out=tmp_path / "run", bits=8, method="zeroq-kd", callbacks=[recorder], progress=False, **few
    )
    (_, settings), *middle, end = recorder.heard
    assert settings["arch"] == "dfq/digits_cnn" and settings["images"] == 16 and end == ("end", result.report)
    assert [step for stage, step, *_ in middle if stage == "Training the student"][-1] == 3


def test_tensorboard(monkeypatch, tmp_path):
    calls = []

    class Writer:
        def __init__(self, folder):
            calls.append(("folder", folder))

        def __getattr__(self, name):
            return lambda *arguments: calls.append((name, *arguments))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    tracker = dfq.TensorBoard(tmp_path / "logs")
    work([tracker])
    assert calls[0][1].startswith(str(tmp_path / "logs")) and calls[-1] == ("close",)
    assert ("add_scalar", "Training/loss", 0.5, 3) in calls and ("add_scalar", "results/accuracy/onnx", 0.5, 0) in calls
    assert any(call[:2] == ("add_text", "settings") and '"bits": 4' in call[2] for call in calls)


@pytest.mark.parametrize("fails", [False, True])
def test_mlflow(monkeypatch, fails):
    calls = []
    module = ModuleType("mlflow")
    for name in ("set_experiment", "start_run", "log_params", "log_metrics", "log_dict", "end_run"):
        setattr(module, name, lambda *arguments, name=name, **options: calls.append((name, *arguments, options)))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    try:
        work([dfq.MLflow("dfq (4 bits)")], fails=fails)
    except ValueError:
        assert fails
    first = ["set_experiment", "start_run", "log_params", "log_metrics"]
    assert [call[0] for call in calls] == [*first, *([] if fails else ["log_metrics", "log_dict"]), "end_run"]
    assert calls[3] == ("log_metrics", {"Training/loss": 0.5}, {"step": 3})
    assert calls[-1][1] == ("FAILED" if fails else "FINISHED") and (
        fails or calls[4][1]["results/accuracy/onnx"] == 0.5
    )


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_a_missing_package_is_told_before_any_work(package, monkeypatch, model_file, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    message = fail("quantize", model_file, "--log", package, "--out", tmp_path / "run", exit_code=1)
    assert f"dfq-toolkit[{package}]" in message and not (tmp_path / "run").exists()


def test_the_command_line_passes_callbacks_on(monkeypatch, model_file, tmp_path):
    made = []
    monkeypatch.setattr("dfq.cli.options.MLflow", Recorder)
    monkeypatch.setattr("dfq.cli.quantize.quantize_model", lambda *arguments: made.append(arguments[3]) or 1 / 0)
    run("quantize", model_file, *SMALL, "--log", "mlflow", "--out", tmp_path / "run")
    assert [type(each) for each in made[0].callbacks] == [Recorder]
