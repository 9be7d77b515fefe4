"""What `dfq.quantize` gives back can be read at a glance."""

import pytest
from matplotlib.figure import Figure
from support.command_line import SMALL

import dfq
from dfq.system.progress import Silent
from dfq.system.terminal_progress import TerminalProgress, chosen_progress

QUICK = {"images": 16, "steps": 3, "flip": False, "method": "zeroq-kd", "bits": 4}
assert set(SMALL) >= {"--images", "--steps"}


@pytest.fixture(scope="module")
def result(model_file, labelled_file, tmp_path_factory):
    return dfq.quantize(model_file, out=tmp_path_factory.mktemp("run") / "run", data=labelled_file, **QUICK)


def test_figures_are_those_of_the_report(result):
    assert result.onnx.exists() and result.onnx.name == "model.onnx"
    assert result.accuracy == result.report["accuracy"] and set(result.sizes) == set(result.latency)
    assert result.agreement["onnx_student"]["labelled"] is not None
    assert result.expected_drop == result.report["evidence"]["predicted_drop"]


def test_it_shows_itself_on_one_screen(result):
    text = repr(result)
    assert "W4A4" in text and "on integers" in text and "accuracy" in text and str(result.folder) in text
    assert len(text.splitlines()) < 12
    assert result._repr_html_().count("<tr>") == len(text.splitlines())


def test_it_plots(result):
    assert isinstance(result.plot(), Figure)


def test_without_labelled_images_the_accuracy_is_none(model_file, tmp_path):
    result = dfq.quantize(model_file, out=tmp_path / "run", **QUICK | {"steps": 0, "method": "instant"})
    assert result.accuracy is None and "accuracy" not in repr(result).replace("teacher's accuracy", "")
    assert result.history is None and isinstance(result.plot(), Figure)


def test_progress_is_shown_where_somebody_sees_it(monkeypatch):
    assert isinstance(chosen_progress(None), Silent) and isinstance(chosen_progress(False), Silent)
    assert isinstance(chosen_progress(True), TerminalProgress)
    own = Silent()
    assert chosen_progress(own) is own
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(chosen_progress(None), TerminalProgress)
