"""Distillation into another architecture: it learns, leaves a whole run folder, goes on after a kill, is quantized."""

import json
import re
from base64 import b64decode
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from support.command_line import fail, succeed
from support.kills import AlwaysDue
from support.small_nets import SPEC, Residual, lived_in, small_teacher, trainable
from support.synthesis_cases import quick
from torch import nn

import dfq
from dfq.calibration import METHODS
from dfq.errors import DfqError
from dfq.graph.features import features_of
from dfq.jobs.context import JobContext, RunOptions
from dfq.jobs.demo import digits, normalized, save_teacher
from dfq.jobs.distill import DistillFolder, DistillSettings, distill_model
from dfq.jobs.distill.student import build_student
from dfq.jobs.distill.train import train
from dfq.system.progress import Silent
from dfq.training.objectives import KnowledgeDistillation, RelationalDistillation

STUDENT = """
from torch import nn

def make_student(num_classes=10):
    return nn.Sequential(
        nn.Conv2d({channels}, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(24, {classes}))
"""
FEW = {"images": 128, "steps": 150, "flip": False, "method": "zeroq-kd"}


@pytest.fixture(scope="module")
def architectures(tmp_path_factory):
    """Names of a student for digits, one for `small_teacher`, and one that ignores the number of classes."""
    folder = tmp_path_factory.mktemp("code")
    kinds = {"digits": (1, "num_classes"), "small": (3, "num_classes"), "wrong": (1, 7)}
    for name, (channels, classes) in kinds.items():
        (folder / f"{name}.py").write_text(STUDENT.format(channels=channels, classes=classes))
    return {name: f"{folder / name}.py:make_student" for name in kinds}


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    save_teacher(path, 0, Silent())
    return path


@pytest.fixture(scope="module")
def distilled(teacher_file, architectures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return dfq.distill(teacher_file, student=architectures["digits"], out=out, **FEW)


class TestRun:
    def test_the_student_learns_what_the_teacher_knows(self, distilled):
        records = distilled.report["training"]["records"]
        assert records[-1]["held_out"] < 0.5 * records[0]["held_out"]  # 0.34 on one processor, below 0.3 on others
        held_out = digits("held-out")
        with torch.no_grad():
            answers = distilled.student(normalized(held_out)).argmax(1)
            agreement = (answers == distilled.teacher(normalized(held_out)).argmax(1)).float().mean()
        assert agreement > 0.35  # chance: 0.1; a few seconds on 128 synthetic images
        assert not distilled.student.training and distilled.quantized is None

    def test_the_folder_is_whole(self, distilled):
        names = {path.name for path in distilled.folder.iterdir()}
        assert names == {
            "model.onnx", "float.onnx", "student.pt", "config.json", "report.json", "samples.png",
            "learning_curve.png", "images.safetensors", "diversity.png", "README.md", "report.html",
        }  # fmt: skip
        report = json.loads((distilled.folder / "report.json").read_text())
        assert {"accuracy", "agreement", "size_bytes", "latency_ms", "nodes", "seconds", "settings", "seed", "versions",
                "hardware", "diversity", "evidence", "training", "warnings"} <= report.keys()  # fmt: skip
        assert report["agreement"]["onnx_student"]["synthetic"] == 1.0
        assert report["parameters"]["student"] < report["parameters"]["teacher"]
        assert report["size_bytes"]["onnx"] < report["size_bytes"]["float_onnx"]
        assert report["settings"]["images"] == 128 and report["settings"]["method"] == "zeroq-kd"
        assert report["stages"] == {"student": 2, "comparable": 0}

    def test_the_page_shows_both_networks_and_every_picture(self, distilled):
        page = (distilled.folder / "report.html").read_text()
        pictures = [b64decode(found) for found in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
        assert pictures == [(distilled.folder / name).read_bytes() for name in ("samples.png", "diversity.png")]
        assert "held-out divergence, nats" in page, "few points of training are shown as numbers"
        for name in ("teacher", "student"):
            assert f"{distilled.report['parameters'][name]:,}" in page
        assert "random weights. 0 of its 2 feature maps" in page.replace("&#39;", "'") and "Layers" not in page

    def test_the_file_runs(self, distilled):
        session = onnxruntime.InferenceSession(distilled.folder / "model.onnx", providers=["CPUExecutionProvider"])
        images = torch.randn(3, 1, 8, 8)
        logits = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
        np.testing.assert_allclose(logits, distilled.student(images), atol=1e-4)

    def test_the_student_is_a_checkpoint_like_any_other(self, distilled, architectures, tmp_path):
        arch = architectures["digits"]  # code is never run because a file says so
        result = dfq.quantize(distilled.folder / "student.pt", arch=arch, out=tmp_path / "run", images=8, steps=0)
        images = torch.randn(4, 1, 8, 8)
        torch.testing.assert_close(result.teacher(images), distilled.student(images))
        with pytest.raises(DfqError, match="floating point"):
            dfq.load(distilled.folder)

    def test_a_killed_run_goes_on_to_the_same_student(
        self, distilled, teacher_file, architectures, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("dfq.training.training_state.StateFile", AlwaysDue)
        arguments = {"student": architectures["digits"], "out": tmp_path / "run", **FEW}
        calls, whole = [], KnowledgeDistillation.__call__

        class Killed(Exception):
            pass

        def dies(*inputs):
            calls.append(1)
            if len(calls) > 70:
                raise Killed
            return whole(*inputs)

        with monkeypatch.context() as patch:
            patch.setattr(KnowledgeDistillation, "__call__", dies)
            with pytest.raises(Killed):
                dfq.distill(teacher_file, **arguments)
        assert not (tmp_path / "run" / "report.json").exists()
        with pytest.raises(DfqError, match="not empty"):
            dfq.distill(teacher_file, **arguments)
        with pytest.raises(DfqError, match="other settings"):
            dfq.distill(teacher_file, **arguments | {"steps": 10}, resume=True)
        result = dfq.distill(teacher_file, **arguments, resume=True)
        expected = distilled.student.state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in result.student.state_dict().items())

    def test_a_finished_run_is_only_quantized(self, distilled, teacher_file, architectures, monkeypatch):
        def never(*_, **__):
            raise AssertionError("distilled again")

        monkeypatch.setattr("dfq.jobs.distill.run.train", never)
        before = (distilled.folder / "student.pt").read_bytes()
        again = dfq.distill(
            teacher_file, student=architectures["digits"], out=distilled.folder, **FEW, bits=8, resume=True
        )
        assert again.quantized.folder == distilled.folder / "w8a8"
        assert (distilled.folder / "w8a8" / "model.onnx").exists()
        assert not (distilled.folder / "w8a8" / "images.safetensors").exists(), "the images are those of the run"
        assert again.quantized.report["settings"]["images"] == 128
        assert again.quantized.report["agreement"]["student_teacher"]["synthetic"] > 0.9
        assert (distilled.folder / "student.pt").read_bytes() == before and again.report == distilled.report


def test_the_command_distils_quantizes_and_reports(teacher_file, labelled_file, tmp_path):
    folder = tmp_path / "run"
    text = succeed("distill", teacher_file, "--student", "dfq/digits_cnn", "--method", "zeroq-kd", "--images", 16,
                   "--steps", 3, "--no-flip", "--bits", 8, "--data", labelled_file, "--out", folder)  # fmt: skip
    for part in ("dfq/digits_cnn", "zeroq-kd", "accuracy, labelled", "student.pt", "W8A8", "16 synthetic images"):
        assert part in text
    assert (folder / "w8a8" / "model.onnx").exists() and (folder / "student.pt").exists()
    assert max(map(len, text.splitlines())) <= 80


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--student", "dfq/wrn16_9"], "wrn16_1"),
            (["--student", "dfq/wrn16_1"], "1x8x8"),
            (["--student", "{wrong}"], "7 classes"),
            (["--student", "dfq/digits_cnn", "--method", "zeroq"], "trains nothing"),
            (["--student", "dfq/digits_cnn", "--bits", "1"], "bits"),
            (["--student", "dfq/digits_cnn", "--images", "1"], "at least 2"),
            (["--student", "dfq/digits_cnn", "--method", "zerok"], "zeroq"),
        ],
    )
    def test_one_clear_error_and_nothing_written(self, options, message, model_file, architectures, tmp_path):
        options = [option.format(**architectures) for option in options]
        assert message in fail("distill", model_file, *options, "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()


class TestRows:
    @pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.objective is not None])
    def test_every_row_that_trains_distils(self, name, architectures, tmp_path):
        teacher, row = small_teacher(), replace(METHODS[name], synthesizer=quick(name))
        settings = DistillSettings(method=row, images=32, steps=4)
        student = build_student(architectures["small"], teacher, seed=0)
        run = DistillFolder(tmp_path)
        trained = train(student, JobContext(teacher, settings, run))
        assert trained.images == 32 and trained.history.steps == 4 and not trained.history.notes
        tracked = int(student.model[1].num_batches_tracked)
        if trained.history.chosen_step == 4:  # else the first state was better than the last, and was restored
            assert tracked in (4, 8), "BatchNorm learns from what the student is trained on, and from nothing else"
        else:
            assert trained.history.chosen_step == tracked == 0
        assert all(parameter.requires_grad for parameter in student.model.parameters())

    def test_a_row_s_training_for_a_quantized_copy_does_not_apply(self):
        settings = DistillSettings(method="gdfq-published").training(SPEC)
        assert (settings.optimizer, settings.learning_rate, settings.learn_scales) == ("sgd", 0.1, True)
        assert settings.mix is not None and settings.augment is not None and settings.valid_pixels
        assert DistillSettings(method="rgal-gdfq").training(SPEC).augment is None, "how images are varied does"
        assert DistillSettings(method="retain").training(SPEC).weight_decay == 5e-4
        assert DistillSettings().chosen_method.name == "rgal" and DistillSettings().training(SPEC).steps == 2000


class TestStudent:
    def test_the_trace_moves_the_network_itself(self, architectures):
        teacher = small_teacher()
        state = torch.get_rng_state()
        student, again = (build_student(architectures["small"], teacher, seed=3) for _ in range(2))
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(a, b) for a, b in zip(student.model.parameters(), again.model.parameters(), strict=True))
        assert {id(p) for p in student.graph.parameters()} == {id(p) for p in student.model.parameters()}
        student.graph.train()
        norm, original = student.graph.get_submodule("1"), student.model[1]
        assert norm.training, "training mode reaches the layers"
        assert norm.running_mean is original.running_mean
        assert norm.num_batches_tracked is original.num_batches_tracked

    def test_batch_norm_averages_as_the_network_s_own(self):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=None), nn.Flatten(), nn.LazyLinear(5))
        model(torch.zeros(1, *SPEC.size))
        graph = trainable(model, SPEC)
        graph.train()(torch.ones(2, *SPEC.size))
        assert graph.get_submodule("1").momentum is None, "a program of the network in evaluation mode says 0"
        assert model[1].num_batches_tracked == 2

    def test_features_are_matched_where_shapes_are_alike(self, architectures):
        teacher, images = small_teacher(), torch.randn(6, *SPEC.size)
        other = features_of(build_student(architectures["small"], teacher, 0).graph)(images)
        same = features_of(trainable(lived_in(Residual(), seed=4), SPEC))(images)
        assert other.stages_alike(teacher.features(images)) == []
        assert len(same.stages_alike(teacher.features(images))) == 2
        objective = RelationalDistillation(pooled_weight=1.0, map_weight=1.0, triplet_weight=0.1)
        student = build_student(architectures["small"], teacher, 0).graph
        losses = objective(student, dfq.calibration.Batch(images), teacher)
        assert losses["pooled"] == losses["maps"] == 0 and losses["kd"] > 0

    def test_images_that_were_made_before_are_used(self, architectures, tmp_path):
        teacher = small_teacher()
        batch = dfq.calibration.Batch(torch.zeros(16, *SPEC.size))
        result = distill_model(
            teacher,
            architectures["small"],
            tmp_path / "run",
            DistillSettings(method="zeroq-kd", steps=2),
            RunOptions(batch=batch),
        )
        assert result.report["settings"]["images"] == 16 and not (tmp_path / "run" / "images.safetensors").exists()
