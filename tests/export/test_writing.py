"""The direct way to write a file gives what torch's exporter gives, for each function and layer that has a row."""

import operator
from collections import Counter

import onnx
import pytest
import torch
from support.small_nets import SPEC, Residual, small_teacher
from torch import fx, nn
from torch.nn import functional as F

from dfq.export import export_float_onnx, export_onnx, to_onnx
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.lowering.lower import prepare
from dfq.export.writing.arithmetic import GELU_OPSET
from dfq.export.writing.functions import ATEN, FUNCTIONS
from dfq.export.writing.layers import LAYERS
from dfq.export.writing.write import EXAMPLES, write_directly
from dfq.graph.capture.capture import capture
from dfq.graph.channel_relu6 import ChannelReLU6
from dfq.graph.folding.canonical import folded
from dfq.quantizers.scheme import make_scheme
from dfq.quantizers.targets import find_target
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid

TARGET = find_target("ort-cpu")
IMAGES = torch.randn(3, *SPEC.size, generator=torch.Generator().manual_seed(0))


class Applied(nn.Module):
    """A convolution, a function, and a head; `inner` are modules that the function uses."""

    def __init__(self, function, **inner: nn.Module):
        super().__init__()
        self.function, self.stem = function, nn.Conv2d(3, 8, 3, padding=1)
        for name, module in inner.items():
            self.add_module(name, module)

    def forward(self, images):
        features = self.function(self.stem(images), self)
        return features.flatten(1) * 1.5


def halves(x, _):
    left, right = x.chunk(2, 1)
    return torch.cat([right, left * 2.0], 1)


def reshaped(x, _):
    return x.reshape(x.size(0), 2, 4, -1).transpose(1, 2)


FUNCTION_CASES = {
    operator.add: lambda x, _: x + x.relu() + 1,
    operator.sub: lambda x, _: x - x.relu() - 0.5,
    ATEN.rsub.Scalar: lambda x, _: 2 - x,
    operator.mul: lambda x, _: x * 3 * x,
    operator.truediv: lambda x, _: x / (x.relu() + 2) + x / 3,
    ATEN.reciprocal.default: lambda x, _: 1.0 / (x.relu() + 2),
    F.relu: lambda x, _: F.relu(x),
    F.relu6: lambda x, _: F.relu6(x * 9),
    F.silu: lambda x, _: F.silu(x),
    F.hardswish: lambda x, _: F.hardswish(x * 4),
    F.hardsigmoid: lambda x, _: F.hardsigmoid(x.relu() * 4),
    torch.sigmoid: lambda x, _: torch.sigmoid(x),
    ATEN.tanh.default: lambda x, _: torch.tanh(x),
    ATEN.leaky_relu.default: lambda x, _: F.leaky_relu(x, 0.2),
    ATEN.gelu.default: lambda x, _: F.gelu(x) + F.gelu(x, approximate="tanh"),
    torch.cat: lambda x, _: torch.cat([x, x.relu(), x], 2),
    F.max_pool2d: lambda x, _: F.max_pool2d(F.max_pool2d(x, 3, 2, 1), 3, 2, ceil_mode=True),
    F.avg_pool2d: lambda x, _: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False) + F.avg_pool2d(x, 3, 2, 1),
    F.pad: lambda x, _: F.pad(F.pad(x, (1, 2, 3, 0)), (1, 0), value=0.5),
    torch.reshape: reshaped,
    torch.flatten: lambda x, _: x.flatten(1),
    torch.transpose: lambda x, _: x.transpose(-1, 1),
    torch.permute: lambda x, _: x.permute(0, 2, -1, 1),
    torch.squeeze: lambda x, _: x[:, :1].squeeze(1),
    torch.unsqueeze: lambda x, _: x.unsqueeze(-1),
    torch.chunk: halves,
    torch.split: lambda x, _: torch.cat(list(x.split([1, 3, 4], 1))[::-1], 1),
    operator.getitem: lambda x, _: x[:, 1:-1, ::2, 3:],
    ATEN.mean.dim: lambda x, _: x.mean((1, 3)) + x.mean((1, 3), keepdim=True).flatten(1),
    ATEN.sum.dim_IntList: lambda x, _: x.sum(1),
    ATEN.layer_norm.default: lambda x, net: F.layer_norm(x, (16,), net.norm.weight, net.norm.bias, 1e-3),
    ATEN.upsample_nearest2d.vec: lambda x, _: F.interpolate(x, scale_factor=2, mode="nearest"),
    F.pixel_shuffle: lambda x, _: F.pixel_shuffle(x, 2),
    F.channel_shuffle: lambda x, _: torch.channel_shuffle(x, 4),
    torch.softmax: lambda x, _: x.softmax(1),
}
# `torch.clone` and the softmax of ATen come from steps of the export, which have tests of their own.
OF_EXPORT = {torch.clone, ATEN.softmax.int, torch.softmax}


def operators(path) -> Counter:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def both_ways(write, tmp_path, monkeypatch):
    """Writes a file directly and with torch's exporter; returns the two paths."""
    direct, traced = tmp_path / "direct.onnx", tmp_path / "traced.onnx"
    write(direct)
    with monkeypatch.context() as patched:
        patched.setattr(to_onnx, "write_directly", lambda *args, **keywords: None)
        write(traced)
    return direct, traced


def assert_alike(direct, traced):
    assert operators(direct) == operators(traced)
    assert torch.equal(torch.tensor(Engine(direct).run(IMAGES)), torch.tensor(Engine(traced).run(IMAGES)))


def is_written(network, batch_size=None, opset=TARGET.opset) -> bool:
    lowered, _ = prepare(folded(capture(network, SPEC), SPEC), SPEC, TARGET)
    return write_directly(lowered, SPEC, batch_size=batch_size, opset=opset) is not None


def test_every_function_has_a_case():
    assert set(FUNCTIONS) - OF_EXPORT == set(FUNCTION_CASES) - OF_EXPORT


@pytest.mark.parametrize("function", FUNCTION_CASES, ids=lambda each: getattr(each, "__name__", str(each)))
@torch.no_grad()
def test_functions_compute_what_torch_computes(function, tmp_path):
    network = Applied(FUNCTION_CASES[function], norm=nn.LayerNorm(16)).eval()
    assert is_written(network)
    path = export_float_onnx(network, tmp_path / "model.onnx", SPEC)
    for count in (1, 3):
        expected = network(IMAGES[:count])
        assert torch.allclose(torch.tensor(Engine(path).run(IMAGES[:count])), expected, rtol=1e-4, atol=1e-5)


LAYER_CASES = {
    nn.Conv2d: nn.Conv2d(8, 8, 3, stride=2, dilation=2, groups=4, padding=(1, 2)),
    nn.Linear: nn.Linear(16, 5),
    nn.LayerNorm: nn.LayerNorm(16),
    nn.Flatten: nn.Flatten(),
    nn.Identity: nn.Identity(),
    ChannelReLU6: ChannelReLU6(torch.rand(8) + 0.5),
}


class OfLayers(fx.Tracer):
    """Traces no module's inside."""

    def is_leaf_module(self, m, module_qualified_name):
        return True


def test_every_layer_has_a_case():
    assert set(LAYERS) == set(LAYER_CASES)


@pytest.mark.parametrize("kind", LAYER_CASES, ids=lambda each: each.__name__)
@torch.no_grad()
def test_layers_compute_what_torch_computes(kind, tmp_path):
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), LAYER_CASES[kind]).eval()
    network = fx.GraphModule(layers, OfLayers().trace(layers))
    assert kind in {type(module) for module in network.modules()}
    model = write_directly(network, SPEC, batch_size=None, opset=TARGET.opset)
    assert model is not None
    onnx.save(to_onnx.ir.serde.serialize_model(model), tmp_path / "model.onnx")
    found = torch.tensor(Engine(tmp_path / "model.onnx").run(IMAGES))
    assert torch.allclose(found, network(IMAGES), rtol=1e-4, atol=1e-5)


class SharedMatrix(nn.Module):
    """One matrix that is read as it is and, on tensors of rank 3, twice transposed."""

    def __init__(self):
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(16, 16)

    def forward(self, images):
        features = self.mix(self.mix(self.stem(images)))
        return self.mix(features.mean((1, 2)))


@torch.no_grad()
def test_a_matrix_that_is_read_in_two_ways(tmp_path):
    network = SharedMatrix().eval()
    traced = fx.GraphModule(network, OfLayers().trace(network))
    for node in traced.graph.nodes:
        if node.op == "call_method":  # as a captured network has it
            node.op, node.target = "call_function", ATEN.mean.dim
    traced.recompile()
    model = write_directly(traced, SPEC, batch_size=None, opset=TARGET.opset)
    assert model is not None
    onnx.save(to_onnx.ir.serde.serialize_model(model), tmp_path / "model.onnx")
    found = torch.tensor(Engine(tmp_path / "model.onnx").run(IMAGES))
    assert torch.allclose(found, network(IMAGES), rtol=1e-4, atol=1e-5)


def test_students_are_written_as_by_torch(tmp_path, monkeypatch):
    for bits in (8, 4):
        student = calibrate(make_student(small_teacher(), make_scheme("deploy", bits=bits)), IMAGES).eval()
        round_biases_to_kernel_grid(student)
        assert_alike(*both_ways(lambda path, it=student: export_onnx(it, path, SPEC), tmp_path, monkeypatch))


def test_float_twins_are_written_as_by_torch(tmp_path, monkeypatch):
    network = Residual().eval()
    assert_alike(*both_ways(lambda path: export_float_onnx(network, path, SPEC), tmp_path, monkeypatch))


def test_a_fixed_number_of_images(tmp_path):
    network = Applied(reshaped).eval()
    assert is_written(network, batch_size=3)
    path = export_float_onnx(network, tmp_path / "model.onnx", SPEC, batch_size=3)
    shapes = [
        value.type.tensor_type.shape.dim for value in (*onnx.load(path).graph.input, *onnx.load(path).graph.output)
    ]
    assert [shape[0].dim_value for shape in shapes] == [3, 3]
    assert torch.allclose(torch.tensor(Engine(path).run(IMAGES)), network(IMAGES), atol=1e-5)


REFUSED = {
    "mirrored padding": lambda x, _: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "average windows beyond the edge": lambda x, _: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "whole numbers": lambda x, _: x + x.argmax(1, keepdim=True),
    "no row": lambda x, _: torch.cumsum(x, 1),
}


@pytest.mark.parametrize("case", REFUSED)
@torch.no_grad()
def test_what_has_no_row_is_left_to_torch(case, tmp_path):
    network = Applied(REFUSED[case]).eval()
    assert not is_written(network)
    path = export_float_onnx(network, tmp_path / "model.onnx", SPEC)
    assert torch.allclose(torch.tensor(Engine(path).run(IMAGES)), network(IMAGES), rtol=1e-4, atol=1e-5)


def test_operators_that_the_opset_lacks_are_left_to_torch():
    network = Applied(FUNCTION_CASES[ATEN.gelu.default]).eval()
    assert is_written(network, opset=GELU_OPSET)
    assert not is_written(network, opset=GELU_OPSET - 1)


@pytest.mark.parametrize(("channels", "is_direct"), [(EXAMPLES[0], False), (EXAMPLES[1], False), (6, True)])
def test_a_dimension_is_not_taken_for_the_number_of_images(channels, is_direct):
    graph = fx.Graph()
    features = graph.call_module("stem", (graph.placeholder("images"),))
    count = graph.call_function(torch.Tensor.size, (features, 0))
    channels_first = graph.call_function(torch.permute, (features, [1, 0, 2, 3]))
    graph.output(graph.call_function(torch.reshape, (channels_first, [count, channels, 256])))
    network = fx.GraphModule(nn.ModuleDict({"stem": nn.Conv2d(3, channels, 3, padding=1)}), graph)
    model = write_directly(network, SPEC, batch_size=None, opset=TARGET.opset)
    assert (model is not None) == is_direct
