"""The ONNX file: what is stored, what ONNX Runtime makes of it, and that it computes what the student computes."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from small_nets import SPEC, PreActivation, Residual, plain, small_teacher
from torch import Tensor, nn

from dfq.calibrate import calibrate, snap_biases
from dfq.convert import activation_quantizers, quantize
from dfq.errors import DfqError
from dfq.export import export_float_onnx, export_onnx
from dfq.export.engine import Engine
from dfq.export.islands import count_nodes
from dfq.export.validate import error_in_steps
from dfq.models.resnet_cifar import CifarResNet, padded_shortcut
from dfq.scheme import make_scheme


class Mobile(nn.Module):
    """Padding at the right and the bottom only, depthwise convolution, ReLU6, a residual without activation."""

    def __init__(self):
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.stem.padding = (0, 0)  # changed afterwards, as ports from other frameworks do
        self.depthwise, self.pointwise = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
        self.relu, self.head = nn.ReLU6(), nn.Linear(8, 5)

    def forward(self, images):
        x = self.relu(self.stem_norm(self.stem(self.pad(images))))
        x = x + self.pointwise(self.relu(self.depthwise(x)))
        return self.head(x.mean((2, 3)))


class Reflecting(nn.Module):
    """Padding that is not zero, "same" padding, dilation, and one layer called twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect")
        self.twice = nn.Conv2d(6, 6, 3, padding="same", dilation=2)
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        x = torch.relu(self.twice(torch.relu(self.twice(torch.relu(self.first(images))))))
        return self.head(x.mean((2, 3)))


NETWORKS = {
    "residual": Residual,
    "concat": PreActivation,
    "relu6": plain,
    "mobile": Mobile,
    "option_a": lambda: CifarResNet([1, 1], [8, 16], padded_shortcut, 5),
    "reflecting": Reflecting,
}


def images(count: int = 32) -> Tensor:
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(coarse, SPEC.size[1:], mode="bilinear")


def make_student(name: str, bits: int, scheme: str = "deploy"):
    torch.manual_seed(0)
    student = quantize(small_teacher(NETWORKS[name]()), make_scheme(scheme, bits=bits))
    calibrate(student, images(), ranges="minmax")
    snap_biases(student)
    return student.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(network, bits, scheme) → (student, path), exported once."""

    @cache
    def export(name: str, bits: int, scheme: str = "deploy"):
        student = make_student(name, bits, scheme)
        return student, export_onnx(student, tmp_path_factory.mktemp("onnx") / f"{name}.onnx", SPEC)

    return export


def initializers(path: Path) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}


def nodes_of(path: Path, op: str) -> list[onnx.NodeProto]:
    return [node for node in onnx.load(path).graph.node if node.op_type == op]


@torch.no_grad()
def assert_agree(student: nn.Module, path: Path, steps: float = 1.0) -> None:
    x = images()
    assert error_in_steps(Engine(path).run(x), student(x).numpy())["max"] <= steps


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_file_computes_what_the_student_computes(exported, name, bits):
    assert_agree(*exported(name, bits))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "reflecting"])
def test_nothing_computes_in_floating_point(exported, name, bits):
    assert count_nodes(exported(name, bits)[1])["float"] == []


def test_integer_kernels_of_a_residual_net(exported):
    integer = count_nodes(exported("residual", 8)[1])["integer"]
    expected = {"QLinearConv": 3, "QLinearAdd": 1, "NhwcMaxPool": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1}
    assert {op: integer.get(op) for op in expected} == expected


def test_file_is_checked_and_plain(exported):
    model = onnx.load(exported("residual", 8)[1])
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (10, [("", 21)])
    assert [i.name for i in model.graph.input] == ["images"] and [o.name for o in model.graph.output] == ["logits"]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert "conv1/Conv" in [node.name for node in model.graph.node]


def test_int8_weights_int32_biases(exported):
    student, path = exported("residual", 8)
    stored = initializers(path)
    weight = stored["conv1.weight.integers"]
    assert weight.data_type == TensorProto.INT8
    expected = student.conv1.weight_quantizer.integers(student.conv1.weight)
    assert np.array_equal(numpy_helper.to_array(weight), expected.numpy())
    assert stored["conv1.bias.integers"].data_type == TensorProto.INT32
    node = next(n for n in nodes_of(path, "DequantizeLinear") if n.input[0] == weight.name)
    assert [a.i for a in node.attribute if a.name == "axis"] == [0] and len(node.input) == 3


def test_four_bit_weights_are_packed(exported):
    student, path = exported("residual", 4)
    weight = initializers(path)["conv1.weight.integers.int4"]
    assert weight.data_type == TensorProto.INT4
    assert len(weight.raw_data) == student.conv1.weight.numel() // 2 and not weight.int32_data
    expected = student.conv1.weight_quantizer.integers(student.conv1.weight)
    assert np.array_equal(numpy_helper.to_array(weight).astype(int), expected.numpy())


@pytest.mark.parametrize("name", ["residual", "mobile"])
def test_packed_file_equals_its_unpacked_twin(exported, tmp_path, name):
    path = exported(name, 4)[1]
    model = onnx.load(path)
    casts = {node.input[0]: node for node in model.graph.node if node.op_type == "Cast"}
    assert casts
    for tensor in [t for t in model.graph.initializer if t.name in casts]:
        integers = numpy_helper.to_array(tensor).astype(np.int8)
        model.graph.initializer.append(numpy_helper.from_array(integers, casts[tensor.name].output[0]))
        model.graph.initializer.remove(tensor)
        model.graph.node.remove(casts[tensor.name])
    onnx.save(model, tmp_path / "twin.onnx")
    assert np.array_equal(Engine(path).run(images()), Engine(tmp_path / "twin.onnx").run(images()))


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_activations_stay_on_their_narrow_grid(exported, bits):
    model = onnx.load(exported("residual", bits)[1])
    clipped = [node.output[0] for node in model.graph.node if node.op_type == "Clip"]
    assert clipped
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in clipped)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for integers in session.run(clipped, {"images": 10 * images().numpy()}):
        assert integers.dtype == np.uint8 and integers.max() <= 2**bits - 1


def test_batch_is_open_by_default(exported):
    engine = Engine(exported("residual", 8)[1])
    assert engine.batch_size is None
    together = engine.run(images(7))
    assert np.array_equal(together, np.concatenate([engine.run(image[None]) for image in images(7)]))


def test_batch_can_be_fixed(exported, tmp_path):
    student, path = exported("residual", 8)
    fixed = Engine(export_onnx(student, tmp_path / "fixed.onnx", SPEC, batch_size=4))
    assert fixed.batch_size == 4
    assert np.array_equal(fixed.run(images(6)), Engine(path).run(images(6)))


@pytest.mark.parametrize("scheme", ["paper-qat", "paper-ptq"])
@pytest.mark.parametrize("bits", [8, 4])
def test_schemes_of_papers(exported, scheme, bits):
    student, path = exported("residual", bits, scheme)
    assert_agree(student, path)


def test_asymmetric_four_bit_weights_reach_the_kernels_as_symmetric(exported):
    student, path = exported("residual", 4, "paper-qat")
    quantizer = student.conv1.weight_quantizer
    assert quantizer.zero_point.any()
    stored = initializers(path)
    packed = numpy_helper.to_array(stored["conv1.weight.integers.int4"]).astype(int)
    assert np.array_equal(packed, quantizer.integers(student.conv1.weight).numpy())
    cast = {node.output[0] for node in nodes_of(path, "Cast")}
    weights = [node for node in nodes_of(path, "DequantizeLinear") if node.input[0] in cast]
    assert len(weights) == 4 and not any(numpy_helper.to_array(stored[node.input[2]]).any() for node in weights)


def test_paddings_join_their_convolution(exported):
    path = exported("mobile", 8)[1]
    assert not nodes_of(path, "Pad")
    stem = next(node for node in nodes_of(path, "Conv") if node.name.startswith("stem"))
    assert next(list(a.ints) for a in stem.attribute if a.name == "pads") == [0, 0, 1, 1]


def test_option_a_shortcut_moves_integers(exported):
    path = exported("option_a", 8)[1]
    assert nodes_of(path, "Pad") and count_nodes(path)["integer"]["Pad"] == len(nodes_of(path, "Pad"))


@pytest.mark.parametrize("name", ["residual", "relu6"])
def test_activations_are_absorbed(exported, name):
    path = exported(name, 8)[1]
    assert not nodes_of(path, "Relu") and not nodes_of(path, "Clip")


def test_activation_stays_where_the_grid_does_not_clip(tmp_path):
    student = make_student("residual", 8)
    quantizer = next(q for name, q in activation_quantizers(student).items() if "relu" in name)
    quantizer.zero_point.fill_(20)
    path = export_onnx(student, tmp_path / "model.onnx", SPEC)
    assert len(nodes_of(path, "Relu")) == 1
    assert_agree(student, path)


@torch.no_grad()
def test_bias_of_a_dead_channel_fits_int32(tmp_path):
    student = make_student("residual", 8)
    student.conv1.weight[0] = 1e-9
    student.conv1.weight_quantizer.scale[0] = 1e-9
    student.conv1.bias[0] = 3.0
    path = export_onnx(student, tmp_path / "model.onnx", SPEC)
    assert 2**29 < numpy_helper.to_array(initializers(path)["conv1.bias.integers"])[0] <= 2**30
    assert_agree(student, path, steps=2.0)


def test_student_does_not_change():
    student = make_student("residual", 4)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    code = student.code
    from dfq.export.prepare import prepare

    prepare(student, SPEC)
    assert student.code == code
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


@torch.no_grad()
def test_float_twin(tmp_path):
    teacher = small_teacher()
    path = export_float_onnx(teacher.model, tmp_path / "float.onnx", SPEC)
    np.testing.assert_allclose(Engine(path).run(images()), teacher(images()).numpy(), atol=1e-5)
    assert not nodes_of(path, "BatchNormalization") and not nodes_of(path, "ReduceMean")


class Unsupported(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, images):
        return self.head(torch.special.i0e(self.conv(images)).mean((2, 3)))


def test_unsupported_operator_is_named_and_leaves_no_file(tmp_path, capfd):
    student = quantize(small_teacher(Unsupported()), make_scheme("deploy"))
    calibrate(student, images(), ranges="minmax")
    with pytest.raises(DfqError, match="i0e") as caught:
        export_onnx(student, tmp_path / "model.onnx", SPEC)
    assert caught.value.exit_code == 1 and caught.value.needed and caught.value.way_out
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_nothing(exported, tmp_path, monkeypatch):
    student = exported("residual", 8)[0]
    (tmp_path / "model.onnx").write_bytes(b"the file of the last run")

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DfqError, match="No space left"):
        export_onnx(student, tmp_path / "model.onnx", SPEC)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"the file of the last run"


def test_export_is_silent(tmp_path, capfd):
    export_onnx(make_student("relu6", 8), tmp_path / "model.onnx", SPEC)
    assert capfd.readouterr() == ("", "")


def test_folder_refuses_its_generic_name():
    path = Path(__file__).resolve().parents[1] / "export" / "__init__.py"
    spec = importlib.util.spec_from_file_location("export", path)
    with pytest.raises(ImportError, match=r"dfq\.export"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
