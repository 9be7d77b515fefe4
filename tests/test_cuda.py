"""Every job on a GPU: it runs there, and what it gives does not depend on where it ran. Skipped where there is none."""

import json

import numpy as np
import pytest
import torch
from support.command_line import SMALL, succeed
from support.export_cases import NETWORKS, images
from support.small_nets import SPEC, lived_in

import dfq
from dfq.calibration import METHODS
from dfq.export import ComparedImages, ExportedFiles, export_onnx, validate
from dfq.jobs.increment.strategies import STRATEGIES
from dfq.post_training.reconstruction import FitSettings, reconstruct
from dfq.post_training.rotation.rotate import rotate_linear_streams
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import activation_quantizers, make_student
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid
from dfq.teacher import Teacher
from dfq.teacher.batch_norm_statistics import channel_moments

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def teacher_of(name: str, device: str) -> Teacher:
    torch.manual_seed(0)
    return Teacher(lived_in(NETWORKS[name]()), SPEC, device)


@pytest.mark.parametrize("method", ["auto", *(name for name, row in METHODS.items() if not row.needs_attention)])
def test_quantize(model_file, tmp_path, method):
    small = [word for word in SMALL if word not in ("--method", "zeroq-kd")]
    out = tmp_path / "run"
    succeed("quantize", model_file, "--bits", "4", *small, "--method", method, "--device", DEVICE, "--out", out)
    report = json.loads((out / "report.json").read_text())
    assert report["hardware"]["accelerator"] == torch.cuda.get_device_name()
    assert report["error_steps"]["mean"] < 1


def test_mixed_bits(model_file, tmp_path):
    succeed(
        "quantize", model_file, "--bits", "mixed", "--average-bits", "4.5", *SMALL, "--device", DEVICE,
        "--out", tmp_path / "run",
    )  # fmt: skip


def test_a_run_of_the_gpu_is_read_without_one(model_file, labelled_file, tmp_path):
    out = tmp_path / "run"
    succeed("quantize", model_file, "--bits", "4", *SMALL, "--device", DEVICE, "--out", out)
    succeed("validate", out, "--data", labelled_file)
    succeed("export", out, "--out", tmp_path / "again.onnx")


@pytest.mark.parametrize("method", [row.name for row in METHODS.values() if row.objective is not None])
def test_distill(model_file, tmp_path, method):
    dfq.distill(
        model_file, student="dfq/digits_cnn", out=tmp_path / "run", method=method, images=16, steps=3, flip=False,
        device=DEVICE,
    )  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_increment(model_file, labelled_file, tmp_path, strategy):
    with np.load(labelled_file) as found:
        np.savez(tmp_path / "new.npz", images=found["images"], labels=found["labels"] % 2)
    dfq.increment(
        model_file, data=tmp_path / "new.npz", out=tmp_path / "all.pt", strategy=strategy, images=16, steps=3,
        batch_size=8, flip=False, device=DEVICE,
    )  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_ranges_are_those_of_the_processor(name):
    found = {}
    for device in ("cpu", DEVICE):
        student = make_student(teacher_of(name, device), make_scheme("deploy", bits=4))
        calibrate(student, images().to(device), ranges="minmax")
        found[device] = [q.scale.item() for q in activation_quantizers(student).values()]
    assert found[DEVICE] == pytest.approx(found["cpu"], rel=1e-3)


@pytest.mark.parametrize("name", ["mobile", "residual", "relu6"])
def test_reconstruction_helps_and_the_file_does_what_the_student_does(name, tmp_path):
    teacher, seen = teacher_of(name, DEVICE), images(64).to(DEVICE)
    student = make_student(teacher, make_scheme("deploy", bits=4))
    teacher = rotate_linear_streams(student, teacher, seen)
    calibrate(student, seen)
    history = reconstruct(student, teacher, seen, FitSettings(iterations=50))
    assert any(block.kept for block in history.blocks)
    assert all(block.after <= block.before or not block.kept for block in history.blocks)
    round_biases_to_kernel_grid(student)
    path = export_onnx(student, tmp_path / "student.onnx", SPEC)
    assert validate(ExportedFiles(path), student, ComparedImages(seen), teacher).error_steps["mean"] < 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_of_channels(dtype):
    features = (torch.randn(8, 5, 6, 7) * 3 + 10).to(DEVICE, dtype)
    mean, variance = channel_moments(features)
    exact = features.double().transpose(0, 1).flatten(1)
    assert mean.dtype == variance.dtype == torch.float32
    torch.testing.assert_close(mean.double(), exact.mean(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(variance.double(), exact.var(1, correction=0), rtol=1e-4, atol=1e-4)
