"""Second opinions: each engine that is here agrees with the student; each that is not says why."""

import json

import numpy as np
import onnx
import pytest
import torch
from support.command_line import fail, succeed
from support.export_cases import NETWORKS, images, nearest_answers
from support.small_nets import SPEC

from dfq.errors import DfqError
from dfq.export import (
    ENGINES,
    ComparedImages,
    ExportedFiles,
    ValidationSettings,
    export_onnx,
    processor_warnings,
    validate,
)
from dfq.export.engines import onnxruntime_engine as engine
from dfq.export.engines.reference_engine import ReferenceEngine, too_large
from dfq.export.engines.table import MAIN, open_engines
from dfq.export.validation.second_opinion import error_in_steps, measure_engine_agreement


def open_one(name: str, path):
    """The file in an engine; skips, with the engine's own reason, where it is absent."""
    opened = open_engines(path, [name], images(1), threads=1)
    if name in opened.skipped:
        pytest.skip(f"{name}: {opened.skipped[name]}")
    return opened.runners[name]


@torch.no_grad()
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("engine", ENGINES)
def test_engine_computes_what_the_student_computes(exported, engine, bits):
    student, path = exported("residual", bits)
    logits = open_one(engine, path).run(images())
    expected = student(images()).numpy()
    assert (logits.argmax(1) == expected.argmax(1)).mean() >= 0.95
    assert error_in_steps(logits, expected)["max"] <= 4.0  # one step of an activation, seen through the last layers


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_reference_evaluator_differs_by_rounding_ties_only(exported, name):
    student, path = exported(name, 4)
    logits = ReferenceEngine(path).run(images(8))
    assert error_in_steps(logits, nearest_answers(student, images(8), logits))["max"] <= 0.1


def test_openvino_tells_its_float_layers(exported, tmp_path):
    runner = open_one("openvino", exported("residual", 8)[1])
    assert runner.float_nodes() == []
    student, _ = exported("residual", 8, "paper-ptq")
    in_float = open_one("openvino", export_onnx(student, tmp_path / "ptq.onnx", SPEC)).float_nodes()
    assert in_float and {"name", "op", "reason"} == set(in_float[0])


def test_openvino_says_how_to_give_it_two_bit_weights(exported, tmp_path):
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install openvino")
    student, path = exported("residual", 2)
    assert "--target openvino" in open_engines(path, ["openvino"], images(1), threads=1).skipped["openvino"]
    other = export_onnx(student, tmp_path / "other.onnx", SPEC, target="openvino")
    assert open_one("openvino", other).run(images()).shape == (32, 5)


@pytest.mark.parametrize("engine", ["openvino", "onnx-reference"])
def test_fixed_batch(exported, tmp_path, engine):
    path = export_onnx(exported("residual", 8)[0], tmp_path / "fixed.onnx", SPEC, batch_size=4)
    runner = open_one(engine, path)
    assert runner.batch_size == 4 and runner.run(images(6)).shape == (6, 5)


def test_absent_engines_say_why(exported, monkeypatch):
    monkeypatch.setattr("dfq.export.engines.table.find_spec", lambda name: None)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    opened = open_engines(exported("residual", 8)[1], list(ENGINES), images(1), threads=1)
    assert set(opened.skipped) == {"onnxruntime-cuda", "tensorrt", "openvino"} and MAIN in opened.runners
    assert all("pip install" in reason for reason in opened.skipped.values())


def test_provider_that_does_not_start_is_skipped(exported, monkeypatch):
    """As where onnxruntime-gpu finds no device: the runtime would go on, on the CPU."""
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    if not torch.cuda.is_available():
        opened = open_engines(exported("residual", 8)[1], ["onnxruntime-cuda"], images(1), threads=1)
        assert "onnxruntime-cuda" in opened.skipped


def test_engine_that_fails_at_work_is_skipped(exported, monkeypatch):
    def broken(self, batch):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(ReferenceEngine, "compute", broken)
    opened = open_engines(exported("residual", 8)[1], ["onnx-reference"], images(1), threads=1)
    assert "no such kernel" in opened.skipped["onnx-reference"]


def test_unknown_engine(exported):
    with pytest.raises(DfqError, match="tflite"):
        open_engines(exported("residual", 8)[1], ["tflite"], images(1), threads=1)


def test_reference_evaluator_declines_large_networks(tmp_path, exported):
    model = onnx.load(exported("residual", 8)[1])
    assert too_large(exported("residual", 8)[1]) is None
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(2_100_000, np.int8), "much"))
    onnx.save(model, tmp_path / "large.onnx")
    assert "2.1 million weights" in too_large(tmp_path / "large.onnx")


def test_validate_has_a_row_per_engine(exported):
    student, path = exported("residual", 8)
    found = validate(
        ExportedFiles(path),
        student,
        ComparedImages(images()),
        settings=ValidationSettings(engines=tuple(ENGINES), threads=1),
    ).to_dict()
    assert json.loads(json.dumps(found)) == found
    rows = {row["engine"]: row for row in found["engines"]}
    assert list(rows) == list(ENGINES)
    assert rows[MAIN]["agreement"]["synthetic"] == found["agreement"]["onnx_student"]["synthetic"]
    assert rows[MAIN]["latency_ms"] == found["latency_ms"]["onnx"] and rows[MAIN]["float_nodes"] == []
    for row in rows.values():
        assert (row["skipped"] is None) == (row["agreement"] is not None)
    assert rows["onnx-reference"]["latency_ms"] is None


def test_slow_engines_see_the_first_images_only():
    logits = {"synthetic": {"slow": np.eye(2), "student": np.eye(4, 2)}, "labelled": {}}
    found = measure_engine_agreement("slow", logits, None, None, None)
    assert found.images == {"synthetic": 2} and found.agreement["synthetic"] == 1.0


def test_command(run_folder, labelled_file):
    rows = json.loads(succeed("validate", run_folder, "--data", labelled_file, "--threads", "1", "--json"))["engines"]
    assert [row["engine"] for row in rows] == list(ENGINES)
    assert all(row["accuracy"] is not None and row["images"]["labelled"] for row in rows if row["skipped"] is None)
    assert "did you mean openvino" in fail("validate", run_folder, "--engine", "openvin")


@pytest.mark.parametrize(("flags", "expected"), [("sse avx2 fma", 1), ("avx2 avx512_vnni", 0), ("asimd", 0), (None, 0)])
def test_processor_whose_sums_overflow_is_named(tmp_path, monkeypatch, flags, expected):
    path = tmp_path / "cpuinfo"
    if flags is not None:
        path.write_text(f"flags : {flags}\n")
    monkeypatch.setattr(engine, "CPU_FLAGS", path)
    found = processor_warnings()
    assert len(found) == expected and all("session.x64quantprecision" in doubt for doubt in found)


@torch.no_grad()
def test_exact_sums_are_tried_and_given_up_where_the_runtime_fails(exported, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text("flags : avx2\n")
    monkeypatch.setattr(engine, "CPU_FLAGS", path)
    student, file = exported("residual", 8)
    expected = student(images()).numpy()
    for entry in (engine.EXACT_SUMS, ("", "an entry that fails")):
        monkeypatch.setattr(engine, "EXACT_SUMS", entry)
        logits = engine.Engine(file).run(images())
        assert (logits.argmax(1) == expected.argmax(1)).mean() >= 0.95
        assert error_in_steps(logits, expected)["max"] <= 4.0
