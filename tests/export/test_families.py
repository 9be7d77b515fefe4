"""Families of networks, with random weights: convert, calibrate, export, and agree in ONNX Runtime.

Where torch's exporter would take half a minute, fewer blocks are built: the same operators in the same places.
"""

import copy
from dataclasses import dataclass

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.densenet import DenseNet
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.shufflenetv2 import ShuffleNetV2

from dfq.export import export_onnx
from dfq.export.engines.kernel_report import count_nodes
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.validation.second_opinion import error_in_steps
from dfq.images.input_spec import InputSpec
from dfq.quantizers.scheme import make_scheme
from dfq.quantizers.targets import DEFAULT_TARGET
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid
from dfq.teacher import Teacher

SPEC = InputSpec(size=(3, 64, 64), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@dataclass(frozen=True)
class Family:
    """What a network's file must contain: `kernels` at least so often, and no `never_float` outside them."""

    kernels: dict[str, int]
    never_float: tuple[str, ...] = ("Conv", "FusedConv", "Gemm", "FusedGemm", "Add", "Concat")


def _convnext() -> nn.Module:
    widths = (96, 192, 384, 768, None)
    return ConvNeXt(
        [CNBlockConfig(*widths[stage : stage + 2], depth) for stage, depth in enumerate((1, 1, 2, 1))], num_classes=10
    )


def _vit() -> nn.Module:
    sizes = {"num_layers": 4, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 128}
    model = torchvision.models.VisionTransformer(image_size=64, patch_size=16, num_classes=10, **sizes)
    nn.init.normal_(model.heads.head.weight, std=0.1)  # torchvision starts it at zero
    return model


def _regnet_y() -> nn.Module:
    blocks = BlockParams.from_init_params(depth=5, w_0=48, w_a=60.0, w_m=2.09, group_width=8, se_ratio=0.25)
    return RegNet(blocks, num_classes=10)


BUILT_HERE = {
    "convnext": _convnext,
    "densenet": lambda: DenseNet(block_config=(2, 2, 2, 2), num_classes=10),
    "regnet_y": _regnet_y,
    "shufflenet_v2": lambda: ShuffleNetV2([2, 2, 2], [24, 116, 232, 464, 1024], num_classes=10),
    "vit": _vit,
}
ARGUMENTS = {"googlenet": {"aux_logits": False, "init_weights": False}}  # the other names are torchvision's

# The number of convolutions and linear layers.
FAMILIES = {
    "resnet18": Family({"QLinearConv": 20, "QLinearAdd": 8, "QGemm": 1}),
    "resnet50": Family({"QLinearConv": 53, "QLinearAdd": 16, "QGemm": 1}),
    "mobilenet_v2": Family({"QLinearConv": 52, "QLinearAdd": 10, "QGemm": 1}),
    "mobilenet_v3_small": Family({"QLinearConv": 52, "QLinearAdd": 6, "QGemm": 2}),
    "efficientnet_b0": Family({"QLinearConv": 81, "QLinearAdd": 9, "QGemm": 1}),
    "regnet_y": Family({"QLinearConv": 29, "QLinearAdd": 5, "QGemm": 1}),
    "shufflenet_v2": Family({"QLinearConv": 26, "QLinearConcat": 6, "QGemm": 1}),
    "densenet": Family({"QLinearConv": 20, "QLinearConcat": 8, "QGemm": 1}),
    "squeezenet1_1": Family({"QLinearConv": 26, "QLinearConcat": 8}),
    "googlenet": Family({"QLinearConv": 57, "QLinearConcat": 9}),
    "convnext": Family({"QLinearConv": 9, "MatMulIntegerToFloat": 10, "QGemm": 1}, ("Conv", "Gemm")),
    "vit": Family({"QLinearConv": 1, "MatMulIntegerToFloat": 12, "QGemm": 5}, ("Conv", "Gemm")),
}
# What differs with the default target: gates on integers, and what gains nothing from integers in float.
ALL_INTEGER = "openvino"
WITH_DEFAULT_TARGET = {
    "mobilenet_v3_small": Family({"QLinearConv": 10, "QLinearAdd": 3, "QGemm": 2}, ("Gemm", "FusedGemm")),
    "efficientnet_b0": Family({"QLinearConv": 11, "QGemm": 1}, ("Gemm", "FusedGemm")),
    "regnet_y": Family({"QLinearConv": 29, "QLinearAdd": 5, "QLinearMul": 5, "QLinearSigmoid": 5, "QGemm": 1}),
    "convnext": Family({"QLinearConv": 3, "MatMulIntegerToFloat": 10, "QGemm": 1}, ("Gemm",)),
}
QUICK = ("resnet18", "squeezenet1_1", "vit")
FOUR_BIT = ("resnet18", "squeezenet1_1")


def build(name: str) -> nn.Module:
    """Random weights; BatchNorm statistics of random images, so that activations keep a sane range."""
    torch.manual_seed(0)
    if name in BUILT_HERE:
        model = BUILT_HERE[name]()
    else:
        model = torchvision.models.get_model(name, weights=None, num_classes=10, **ARGUMENTS.get(name, {}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(8, *SPEC.size))
    return model.eval()


def cases() -> list:
    rows = [(name, 8, DEFAULT_TARGET) for name in FAMILIES] + [(name, 4, DEFAULT_TARGET) for name in FOUR_BIT]
    rows += [(name, 8, ALL_INTEGER) for name in WITH_DEFAULT_TARGET]
    return [
        pytest.param(name, bits, target, id=f"{name}-{bits}-{target}", marks=() if name in QUICK else pytest.mark.slow)
        for name, bits, target in rows
    ]


@pytest.mark.parametrize(("name", "bits", "target"), cases())
@torch.no_grad()
def test_family(name: str, bits: int, target: str, tmp_path):
    family = (WITH_DEFAULT_TARGET if target == DEFAULT_TARGET else FAMILIES).get(name, FAMILIES[name])
    student = make_student(Teacher(build(name), SPEC), make_scheme("deploy", bits=bits, target=target)).eval()
    images = torch.randn(8, *SPEC.size)
    calibrate(student, images, ranges="minmax")
    round_biases_to_kernel_grid(student)
    path = export_onnx(student, tmp_path / "model.onnx", SPEC)
    logits = student(images).numpy()
    # Rounding ties fall either way, and random deep networks multiply the difference. The student in float64 shows how
    # much of that is in the network itself; an error of the export would be far above.
    ties = error_in_steps(copy.deepcopy(student).double()(images.double()).numpy(), logits)
    assert error_in_steps(Engine(path).run(images), logits)["mean"] <= 2 * ties["mean"] + 0.5
    nodes = count_nodes(path)
    assert all(nodes["integer"].get(op, 0) >= count for op, count in family.kernels.items())
    assert not [node for node in nodes["float"] if node["op"] in family.never_float]
