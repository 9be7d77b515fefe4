"""What stays in floating point because it is faster there: in the student, in the file, and nowhere else."""

import onnx
import pytest
import torch
from support.export_cases import assert_agree, images, nodes_of
from support.small_nets import SPEC, small_teacher
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.export import export_onnx
from dfq.export.engines.kernel_report import count_nodes
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import activation_quantizers, make_student, weight_quantizers
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid


class Mobile(nn.Module):
    """As EfficientNet: SiLU, depthwise convolution, squeeze-and-excitation, a residual."""

    def __init__(self):
        super().__init__()
        self.stem, self.expand = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 48, 5, padding=2)
        self.depthwise, self.project = nn.Conv2d(48, 48, 3, padding=1, groups=48), nn.Conv2d(48, 16, 1)
        self.squeeze, self.excite = nn.Conv2d(48, 8, 1), nn.Conv2d(8, 48, 1)
        self.head, self.act = nn.Linear(16, 5), nn.SiLU()

    def forward(self, images: Tensor) -> Tensor:
        x = self.act(self.stem(images))
        y = self.act(self.depthwise(F.silu(self.expand(x))))
        gate = self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True))))
        x = self.project(y * torch.sigmoid(gate))
        return self.head(x.mean((2, 3)))


class Normalized(nn.Module):
    """As a ResNet of group normalization: few products in front of what has no integer kernel, twice the same layer."""

    def __init__(self, activation: nn.Module):
        super().__init__()
        self.stem, self.twice, self.norm = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 1), nn.GroupNorm(4, 16)
        self.head, self.act = nn.Linear(16, 5), activation

    def forward(self, images: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(images)))
        x = self.act(self.norm(self.twice(self.act(self.norm(self.twice(x))))))
        return self.head(x.mean((2, 3)))


class Mixer(nn.Module):
    """As a transformer: a residual stream between normalizations."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 16, 10, 6), nn.LayerNorm(16)
        self.wide, self.narrow, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = self.norm(x + self.narrow(F.gelu(self.wide(self.norm(x)))))
        return self.head(x[:, 0])


def make(network: nn.Module, bits: int = 8, **options):
    torch.manual_seed(0)
    student = make_student(small_teacher(network), make_scheme("deploy", bits=bits, **options))
    calibrate(student, images(), ranges="minmax")
    round_biases_to_kernel_grid(student)
    return student.eval()


def in_float(student: nn.Module) -> set[str]:
    return {name for name in weight_quantizers(student) if student.get_submodule(name).float_reason}


def test_convolutions_that_gain_nothing_stay_in_float_but_for_their_weights():
    student = make(Mobile())
    assert in_float(student) == {"stem", "depthwise", "squeeze", "excite"}
    assert set(weight_quantizers(student)) > in_float(student)
    # The output of `expand`, which is a convolution on integers, and what `expand`, `project` and `head` read.
    assert len(activation_quantizers(student)) == 5


@pytest.mark.parametrize("target, kernels", [("ort-cpu", 1), ("openvino", None)])
def test_squeeze_and_excitation_of_integers_runs_on_integers(tmp_path, target, kernels):
    network = Mobile()
    network.act = nn.ReLU()  # so that the depthwise convolution, whose output is pooled, ...
    student = make(network, overrides={"depthwise": 8}, target=target)  # ... runs on integers
    assert in_float(student) == set()
    path = export_onnx(student, tmp_path / "model.onnx", SPEC, target=target)
    assert_agree(student, path)
    integer = count_nodes(path)["integer"]
    assert integer.get("QLinearSigmoid") == integer.get("QLinearMul") == kernels


def test_products_and_sigmoids_of_floats_stay_in_float(tmp_path):
    integer = count_nodes(export_onnx(make(Mobile()), tmp_path / "model.onnx", SPEC))["integer"]
    assert not {"QLinearSigmoid", "QLinearMul"} & integer.keys()


def test_a_layer_with_bits_of_its_own_runs_on_integers():
    assert "stem" not in in_float(make(Mobile(), overrides={"stem": 8}))


def test_a_target_without_that_rule_has_no_such_layer():
    assert not in_float(make(Mobile(), target="openvino"))


@pytest.mark.parametrize("activation, expected", [(nn.ReLU(), set()), (nn.GELU(), {"stem", "twice"})])
def test_few_products_are_a_reason_beside_gated_activations_alone(activation, expected):
    assert in_float(make(Normalized(activation))) == expected


def test_layers_in_float_may_have_equal_weights(tmp_path):
    """As layers whose last BatchNorm began at zero: torch's exporter stores one tensor for both of them."""
    first, second = nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 1)
    second.load_state_dict(first.state_dict())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5))
    network = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.SiLU(), first, nn.SiLU(), second, nn.SiLU(), *head)
    student = make(network, 4)
    path = export_onnx(student, tmp_path / "model.onnx", SPEC)
    assert_agree(student, path)
    assert {"2", "4"} <= in_float(student)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("target", ["ort-cpu", "onnx-generic"])
def test_file_computes_what_the_student_computes(tmp_path, bits, target):
    student = make(Mobile(), bits)
    assert_agree(student, export_onnx(student, tmp_path / "model.onnx", SPEC, target=target))


def test_weights_of_float_layers_are_stored_as_integers_and_folded_on_loading(tmp_path):
    path = export_onnx(make(Mobile(), 4), tmp_path / "model.onnx", SPEC)
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert kinds["depthwise.weight.integers.int4"] == onnx.TensorProto.INT4
    convolutions = {node.name for node in nodes_of(path, "Conv")}
    nodes = count_nodes(path)
    assert nodes["integer"]["QLinearConv"] == 2 and len(convolutions) == 6
    assert not {"Cast", "Mul"} & {node["op"] for node in nodes["float"] if "weight" in node["name"]}
    assert len(nodes_of(path, "QuickGelu")) == 3 and not nodes_of(tmp_path / "model.onnx", "HardSigmoid")


def test_residual_stream_between_normalizations_stays_in_float(tmp_path):
    student = make(Mixer())
    # What the three linear layers and the convolution read, and what the convolution writes.
    assert len(activation_quantizers(student)) == 5
    path = export_onnx(student, tmp_path / "model.onnx", SPEC)
    assert_agree(student, path)
    kernels = count_nodes(path)["integer"]
    assert "QLinearAdd" not in kernels
    assert (kernels["QLinearConv"], kernels["MatMulIntegerToFloat"], kernels["QGemm"]) == (1, 2, 1)
