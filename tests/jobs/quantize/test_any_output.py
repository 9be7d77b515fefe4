"""Networks that are no classifiers, from the network to the report: several outputs, maps, embeddings."""

import json
from importlib.resources import files

import numpy as np
import onnx
import pytest
import torch
from jsonschema import Draft202012Validator
from support.output_nets import SPEC, Body, Detector, Embedding, Segmenter, trained
from torch import nn

import dfq
from dfq.errors import DfqError
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.quantizers.scheme import make_scheme
from dfq.results.output_rows import terminal_rows
from dfq.student.convert import make_student
from dfq.student.coverage import measure_coverage
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher

DESCRIBED = {"input_size": SPEC.size, "mean": SPEC.mean, "std": SPEC.std}


class Length(nn.Module):
    def forward(self, values):
        return nn.functional.normalize(values + 1e-3)


def pictures(count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SPEC.size[1:], 3), np.uint8)


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    return dfq.quantize(
        trained(Detector()), **DESCRIBED, method="instant", images=24, pictures=pictures(),
        out=tmp_path_factory.mktemp("detector"), overwrite=True, progress=False,
    )  # fmt: skip


def test_the_file_gives_the_outputs_of_the_network_in_order(detected):
    outputs = onnx.load(detected.onnx).graph.output
    assert [output.name for output in outputs] == ["features", "heads_0", "heads_2", "answers"]
    for count in (1, 3):
        images = torch.randn(count, *SPEC.size)
        found = Engine(detected.onnx).run(images)
        expected = [each.numpy(force=True) for each in detected.student(images)]
        assert [each.shape for each in found] == [each.shape for each in expected]
        assert all(np.allclose(a, b, atol=0.05) for a, b in zip(found[:3], expected[:3], strict=True))


def test_each_output_is_measured_in_decibels(detected):
    rows = {row["name"]: row for row in detected.report["outputs"]}
    for name in ("features", "heads_0", "heads_2"):
        for kind in ("synthetic", "pictures"):
            assert rows[name]["snr_db"]["onnx_teacher"][kind] > 25
            assert rows[name]["snr_db"]["onnx_student"][kind] > rows[name]["snr_db"]["onnx_teacher"][kind] + 10
        assert rows[name]["snr_db"]["onnx_teacher"]["labelled"] is None
        assert rows[name]["varying_snr_db"]["onnx_teacher"]["synthetic"] > 15
    assert rows["answers"]["snr_db"]["onnx_teacher"]["synthetic"] is None
    assert rows["answers"]["same_choice"]["onnx_teacher"]["pictures"] >= 0.75
    assert set(detected.snr) == set(rows) and detected.snr["features"] == pytest.approx(
        rows["features"]["snr_db"]["onnx_teacher"]["pictures"]
    )
    assert detected.report["agreement"]["student_teacher"] == {"synthetic": None, "labelled": None, "pictures": None}


def test_the_report_is_as_its_schema_says(detected):
    schema = json.loads((files("dfq.results") / "report.schema.json").read_text())
    report = json.loads((detected.folder / "report.json").read_text())
    assert [error.message for error in Draft202012Validator(schema).iter_errors(report)] == []
    assert report["evidence"]["predicted_drop"] is None and report["evidence"]["error"] < 0.03
    assert report["diversity"]["entropy"] is None and report["diversity"]["same_class_distance"] is not None
    page = (detected.folder / "report.html").read_text()
    assert "signal-to-noise ratio of the file to the network" in page
    assert "pictures; the worst of" in page
    assert "heads_0" in page and "same class as the teacher" not in page


def test_what_python_shows(detected):
    assert "or more to the teacher" in repr(detected)
    names = [row[0] for row in terminal_rows(detected.report["outputs"])]
    assert names[:2] == ["features, synthetic", "features, pictures"] and "  same choice" in names
    many = [dict(detected.report["outputs"][0], name=f"o{index}") for index in range(9)]
    assert list(terminal_rows(many))[-1] == ("3 more outputs", "", "higher", "higher")


def test_the_run_is_loaded_and_validated(detected):
    student = dfq.load(detected.folder, model=trained(Detector()))
    images = torch.randn(2, *SPEC.size)
    assert all(torch.equal(*pair) for pair in zip(student(images), detected.student(images), strict=True))


def test_probabilities_that_are_no_classes_keep_their_softmax(tmp_path):
    network = nn.Sequential(trained(Body()), nn.Flatten(), nn.Linear(512, 5), nn.Softmax(1))
    result = dfq.quantize(network, **DESCRIBED, classifies=False, images=16, out=tmp_path / "run", progress=False)
    student, images = dfq.load(tmp_path / "run", model=network), torch.randn(4, *SPEC.size)
    assert torch.equal(student(images), result.student(images)) and torch.allclose(
        student(images).sum(1), torch.ones(4)
    )


def test_everything_runs_on_integers_and_maps_are_written_on_grids():
    student = make_student(Teacher(trained(Detector()), SPEC), make_scheme(bits=4))
    assert measure_coverage(student).share_of_macs == 1.0
    quantizers = dict(student.get_submodule("activation_quantizers").named_children())
    assert quantizers["boxes"].spec.bits == 8, "a convolution's output of the network keeps 8 bits"


def test_an_output_in_floating_point_is_given_as_it_is():
    class Gated(Body):
        def forward(self, images):
            features = nn.functional.silu(self.first(images))
            return features, self.second(features)

    teacher = Teacher(trained(Gated()), SPEC)
    student = make_student(teacher, make_scheme(bits=8))
    (given, _) = student.graph.output_node().args[0]
    assert "silu" in given.name and "quantizers" not in str(given.target)


@pytest.mark.parametrize("scheme", ["deploy", "paper-ptq", "paper-qat"])
def test_what_is_given_behind_a_move_is_spared_too(scheme):
    """Other readers of the same values see them on a grid of 4 bits, and the network gives them as they are."""

    class Shared(Body):
        def __init__(self):
            super().__init__()
            self.tokens, self.middle, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, images):
            tokens = self.tokens(super().forward(images).flatten(2).transpose(1, 2))
            return tokens.transpose(1, 2), self.last(self.middle(tokens.relu()).relu())

    teacher = Teacher(trained(Shared()), SPEC)
    student = make_student(teacher, make_scheme(scheme, bits=4))
    images = torch.randn(4, *SPEC.size)
    calibrate(student, images)
    assert len(student.eval()(images)[0].unique()) > 64
    assert torch.allclose(teacher.traced(images)[0], teacher(images)[0], atol=1e-4)


@pytest.mark.parametrize("bits", [8, 3])
def test_pixels_of_a_segmentation_network(bits, tmp_path):
    result = dfq.quantize(
        trained(Segmenter()), **DESCRIBED, bits=bits, method="reconstruct", images=16, steps=4, budget=8,
        out=tmp_path / "run", progress=False,
    )  # fmt: skip
    (row,) = result.report["outputs"]
    assert row["name"] == "output" and row["shape"] == [4, 16, 16]
    assert row["same_choice"]["onnx_teacher"]["synthetic"] > (0.95 if bits == 8 else 0.6)
    assert row["snr_db"]["onnx_teacher"]["synthetic"] > (25 if bits == 8 else 8)


def test_an_embedding_is_recognised_by_its_length_or_named(tmp_path):
    teacher = Teacher(trained(Embedding()), SPEC)
    assert not teacher.is_classifier and teacher.num_classes == 0 and "length is 1" in teacher.assumed[-1]
    assert Teacher(trained(Embedding()), SPEC, classifies=True).is_classifier
    with pytest.raises(DfqError, match="classifies=True for output"):
        Teacher(trained(Segmenter()), SPEC, classifies=True)
    positive = nn.Sequential(trained(Embedding()), nn.ReLU(), Length())
    assert (
        not Teacher(positive, SPEC).is_classifier
        and Teacher(nn.Sequential(positive, nn.Softmax(1)), SPEC).is_classifier
    )
    plain = nn.Sequential(trained(Body()), nn.Flatten(), nn.Linear(512, 5))
    assert Teacher(plain, SPEC).is_classifier and not Teacher(plain, SPEC, classifies=False).is_classifier
    result = dfq.quantize(plain, **DESCRIBED, classifies=False, images=16, out=tmp_path / "run", progress=False)
    assert result.report["agreement"]["onnx_student"]["synthetic"] is None
    assert result.report["outputs"][0]["snr_db"]["onnx_teacher"]["synthetic"] > 20


@pytest.mark.parametrize(
    ("method", "reason"),
    [("rgal", "equal and of different labels"), ("gdfq", "images for labels"), ("adadfkd", "confidence in a class")],
)
def test_methods_that_need_classes_say_why_and_write_nothing(method, reason, tmp_path):
    with pytest.raises(DfqError) as raised:
        dfq.quantize(trained(Segmenter()), **DESCRIBED, method=method, out=tmp_path / "run", progress=False)
    assert reason in raised.value.needed and "one of zeroq, zeroq-kd, instant, reconstruct" in raised.value.way_out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda model, out: dfq.quantize(model, **DESCRIBED, data=(pictures(), np.zeros(8, int)), out=out),
        lambda model, out: dfq.distill(model, **DESCRIBED, student="dfq/resnet20", out=out),
    ],
    ids=["labels", "distill"],
)
def test_what_needs_classes_is_refused(call, tmp_path):
    with pytest.raises(DfqError, match="no classifier: it gives output"):
        call(trained(Segmenter()), tmp_path / "run")


def test_synthesis_without_labels(tmp_path):
    made = dfq.synthesize(trained(Segmenter()), **DESCRIBED, images=8, out=tmp_path / "images", progress=False)
    assert made.images.labels is None and len(made.images) == 8
    assert {path.name for path in made.files} == {"images.safetensors", "samples.png"}


def test_widths_are_chosen_by_the_outputs(tmp_path):
    teacher = Teacher(trained(Segmenter()), SPEC)
    settings = Settings(bits="mixed", average_bits=5.0, method="instant", images=16)
    result = quantize_model(teacher, tmp_path / "run", settings)
    assert set(result.report["mixed_precision"]["widths"]) and result.report["mixed_precision"]["average_bits"] <= 5.0


def test_methods_are_compared_in_decibels(tmp_path):
    both = dfq.compare(
        trained(Segmenter()), **DESCRIBED, methods=("instant", "zeroq"), bits=(8,), seeds=1, images=16,
        out=tmp_path / "compared", progress=False,
    )  # fmt: skip
    content = json.loads((both.folder / "compare.json").read_text())
    assert content["measure"] == "common_snr_db" and not both.failed
    assert all(row["common_snr_db"]["mean"] > 15 for row in content["summary"])
    assert "in dB" in (both.folder / "compare.md").read_text()


def test_an_error_of_the_export_shows(detected):
    """The proof fails where the file is another one."""
    from dfq.export import ComparedImages, ExportedFiles, validate

    wrong = make_student(detected.teacher, make_scheme(bits=8))
    wrong.load_state_dict(detected.student.state_dict())
    with torch.no_grad():
        wrong.classes.bias += 1
    images = torch.randn(8, *SPEC.size)
    found = validate(
        ExportedFiles(detected.onnx, is_classifier=False), wrong.eval(), ComparedImages(images), detected.teacher
    )
    rows = {row.name: row for row in found.outputs}
    assert (
        rows["heads_2"].snr_db["onnx_student"]["synthetic"] < 20 < rows["features"].snr_db["onnx_student"]["synthetic"]
    )
    assert rows["heads_2"].snr_db["student_float64"]["synthetic"] > 40, "rounding does not explain it"
    assert found.error_steps["max"] > 20
