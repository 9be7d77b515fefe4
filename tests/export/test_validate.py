"""The proof: figures that are right, a list of what stayed in floating point, and errors for bad files."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.small_nets import SPEC, Residual, small_teacher
from torch import Tensor, nn

from dfq.errors import DfqError
from dfq.export import ComparedImages, ExportedFiles, export_float_onnx, export_onnx, further_images, validate
from dfq.export.engines.kernel_report import NO_KERNEL, NOT_QUANTIZED_INPUT, NOT_QUANTIZED_OUTPUT, count_nodes
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.validation.latency import median_latencies
from dfq.export.validation.rounding_ties import agreement_with_itself
from dfq.export.validation.second_opinion import error_in_steps
from dfq.export.validation.settings import FurtherImageSettings, LatencySettings
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid
from dfq.system.progress import Silent


def images(count: int = 16) -> Tensor:
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(2))


def convert(network: type[nn.Module], scheme: str = "deploy"):
    torch.manual_seed(0)
    teacher = small_teacher(network())
    student = make_student(teacher, make_scheme(scheme))
    calibrate(student, images(), ranges="minmax")
    round_biases_to_kernel_grid(student)
    return teacher, student.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    teacher, student = convert(Residual)
    return SimpleNamespace(
        teacher=teacher,
        student=student,
        onnx=export_onnx(student, folder / "model.onnx", SPEC),
        float_onnx=export_float_onnx(teacher.model, folder / "float.onnx", SPEC),
    )


def labelled(count: int = 10) -> SimpleNamespace:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, *SPEC.size[1:], 3), dtype=np.uint8)
    return SimpleNamespace(images=pixels, labels=generator.integers(0, 5, count))


def test_all_figures(files):
    both = ExportedFiles(files.onnx, files.float_onnx)
    found = validate(both, files.student, ComparedImages(images(), labelled()), files.teacher)
    assert found.images == 16
    assert found.agreement["onnx_student"] == {"synthetic": 1.0, "labelled": 1.0, "pictures": None}
    assert 0 <= found.agreement["student_teacher"]["synthetic"] <= 1
    assert found.error_steps["mean"] <= found.error_steps["max"] <= 1.0
    assert found.size_bytes == {"onnx": files.onnx.stat().st_size, "float_onnx": files.float_onnx.stat().st_size}
    assert min(found.latency_ms.values()) > 0
    assert found.nodes["integer"]["QLinearConv"] == 3 and found.nodes["float"] == []
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_further_images_are_for_file_and_student_alone(files):
    """What training saw tells nothing on the teacher, and as much as any image on the file."""
    both = ExportedFiles(files.onnx, files.float_onnx)
    alone, more = (
        validate(both, files.student, ComparedImages(images(), further=further), files.teacher)
        for further in (None, images(40)[16:])
    )
    assert more.images == 16 and more.engines[0].images == {"synthetic": 40}
    assert more.agreement["student_teacher"] == alone.agreement["student_teacher"]
    (row,), (row_alone,) = more.outputs, alone.outputs
    for pair in ("student_teacher", "onnx_teacher"):
        assert row.snr_db[pair]["synthetic"] == pytest.approx(row_alone.snr_db[pair]["synthetic"])


@pytest.mark.parametrize(("training", "wanted", "count"), [(20, 16, None), (20, 20, 4), (20, 36, 20), (20, 50, 34)])
def test_there_are_as_many_further_images_as_are_missing(training, wanted, count):
    settings = FurtherImageSettings(images=wanted)
    found = further_images(images(training), images(16), settings=settings)
    if count is None:
        assert found is None
        return
    assert len(found) == count and torch.equal(found[:20], images(training)[:count])
    assert len(found.flatten(1).unique(dim=0)) == count, "mixtures are new images"
    assert torch.equal(found, further_images(images(training), images(16), settings=settings))


@torch.no_grad()
def test_accuracy_of_labelled_images(files):
    data = labelled(100)
    normalised = SPEC.normalize(torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 255)
    data.labels = files.teacher(normalised).argmax(1).numpy()
    found = validate(ExportedFiles(files.onnx), files.student, ComparedImages(images(), data), files.teacher)
    assert found.accuracy["teacher"] == 1.0
    assert found.accuracy["student"] == found.agreement["student_teacher"]["labelled"]


def test_what_is_not_given_is_none(files):
    found = validate(ExportedFiles(files.onnx), files.student, ComparedImages(images()))
    assert set(found.agreement["student_teacher"].values()) == {None}
    assert found.agreement["onnx_student"]["labelled"] is None and set(found.accuracy.values()) == {None}
    assert found.size_bytes["float_onnx"] is None and found.latency_ms["float_onnx"] is None


def test_labelled_images_need_a_teacher(files):
    with pytest.raises(DfqError, match="teacher"):
        validate(ExportedFiles(files.onnx), files.student, ComparedImages(images(), labelled()))


def test_disagreement_shows(files):
    other = copy.deepcopy(files.student)
    with torch.no_grad():
        other.head.weight.neg_()
        other.head.bias.neg_()
    found = validate(ExportedFiles(files.onnx), other, ComparedImages(images()))
    assert found.agreement["onnx_student"]["synthetic"] < 0.9 and found.error_steps["max"] > 10
    assert found.agreement["student_float64"]["synthetic"] == 1.0, "rounding ties are not the cause"


def test_rounding_ties_are_looked_for_where_file_and_student_differ_only(files):
    assert (
        validate(ExportedFiles(files.onnx), files.student, ComparedImages(images())).agreement["student_float64"][
            "synthetic"
        ]
        is None
    )


@torch.no_grad()
def test_a_student_that_rounds_differently_in_float64():
    class Tie(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x, torch.full_like(x, 0.5)], 1) + (1e-12 if x.dtype == torch.float64 else 0)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.tie = nn.Parameter(torch.ones(1)), Tie()

        def forward(self, x: Tensor) -> Tensor:
            return self.tie(x * self.scale).round()

    batches = [torch.tensor([0.5, 0.0]), torch.tensor([2.0, 0.5])]
    network = Network()
    in_float32 = torch.cat([network(batch) for batch in batches]).numpy()
    assert agreement_with_itself(network, batches, in_float32, Silent()) == pytest.approx(3 / 4)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.parametrize("damage", ["absent", "empty", "truncated", "text"])
def test_damaged_files(files, tmp_path, damage):
    path, whole = tmp_path / "model.onnx", files.onnx.read_bytes()
    contents = {"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"not a model"}
    if damage in contents:
        path.write_bytes(contents[damage])
    with pytest.raises(DfqError, match=r"model\.onnx") as caught:
        validate(ExportedFiles(path), files.student, ComparedImages(images()))
    assert caught.value.needed


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 1, 16, 16), (3, 16, 16), (0, 3, 16, 16)])
def test_wrong_images(files, shape):
    with pytest.raises(DfqError, match="images of shape"):
        Engine(files.onnx).run(torch.zeros(shape))


def test_float_nodes_say_why(tmp_path):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 10), nn.Conv2d(8, 4, 6)
            self.head = nn.Linear(4, 5)

        def forward(self, images):
            x = self.second(nn.functional.hardswish(self.first(images)))
            return self.head((x + 2.0 * x).mean((2, 3)))

    path = export_onnx(convert(Mixed)[1], tmp_path / "mixed.onnx", SPEC)
    reasons = {node["op"]: node["reason"] for node in count_nodes(path)["float"]}
    assert NO_KERNEL in reasons.values() and reasons["Mul"] == NOT_QUANTIZED_INPUT
    assert all(set(node) == {"name", "op", "reason"} for node in count_nodes(path)["float"])


def test_scheme_that_leaves_outputs_in_float(tmp_path):
    path = export_onnx(convert(Residual, "paper-ptq")[1], tmp_path / "ptq.onnx", SPEC)
    reasons = [node["reason"] for node in count_nodes(path)["float"] if "Conv" in node["op"]]
    assert reasons and set(reasons) == {NOT_QUANTIZED_OUTPUT}


def test_error_in_steps():
    student = np.array([[0.0, 2.55], [1.0, 1.0]], np.float32)  # one step is 0.01
    runtime = student + np.array([[0.02, 0.0], [0.0, -0.01]], np.float32)
    found = error_in_steps(runtime, student)
    assert found["max"] == pytest.approx(2.0, abs=1e-3) and found["mean"] == pytest.approx(0.75, abs=1e-3)


def test_latencies_of_several_engines(files):
    engines = {"a": Engine(files.onnx, threads=1), "b": Engine(files.float_onnx, threads=1)}
    medians = median_latencies(engines, images(1), LatencySettings(rounds=3))
    assert set(medians) == {"a", "b"} and min(medians.values()) > 0
