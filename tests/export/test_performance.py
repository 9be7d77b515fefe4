"""Speed and memory of a file and its float twin: what is measured, where it is written, what fails clearly."""

import json

import pytest
from support.command_line import SMALL, succeed
from support.export_cases import calibrated_student
from support.small_nets import SPEC

from dfq.errors import DfqError
from dfq.export import export_onnx
from dfq.export.validation.performance import measure_performance
from dfq.export.validation.settings import PerformanceSettings


def test_every_batch_and_thread_is_measured(exported):
    path = exported("residual", 8)[1]
    settings = PerformanceSettings(batches=(1, 4), threads=(1, 2), seconds=0.01)
    found = measure_performance({"onnx": path}, settings)["onnx"]
    assert [(run["batch"], run["threads"]) for run in found["runs"]] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    for run in found["runs"]:
        assert run["images_per_second"] == pytest.approx(1000 * run["batch"] / run["latency_ms"])
    assert set(found["peak_memory_bytes"]) == {"1", "4"} and min(found["peak_memory_bytes"].values()) > 0
    times = list(found["operators_ms"].values())
    assert "QLinearConv" in found["operators_ms"] and times == sorted(times, reverse=True)


def test_a_file_of_fixed_batch_is_measured_at_that(tmp_path):
    path = export_onnx(calibrated_student("residual", 8), tmp_path / "model.onnx", SPEC, batch_size=3)
    runs = measure_performance({"onnx": path}, PerformanceSettings(threads=(1,), seconds=0.01))["onnx"]["runs"]
    assert [run["batch"] for run in runs] == [3]


def test_a_damaged_file_is_one_clear_error(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(DfqError, match="cannot be read"):
        measure_performance({"onnx": tmp_path / "model.onnx"})


@pytest.mark.slow
def test_command_writes_the_file_and_the_page(model_file, tmp_path):
    run = tmp_path / "run"
    succeed("quantize", model_file, *SMALL, "--method", "zeroq", "--out", run)
    assert "Where the time goes" not in (run / "report.html").read_text()
    assert "Where the time goes" in succeed("validate", run, "--performance", "--engine", "onnxruntime-cpu")
    assert set(json.loads((run / "performance.json").read_text())) == {"float_onnx", "onnx"}
    page = (run / "report.html").read_text()
    assert "Speed and memory" in page and "peak memory, batch 32" in page
