"""Families of networks, with random weights: convert, calibrate, export, and agree in ONNX Runtime."""

import copy
from dataclasses import dataclass

import pytest
import torch
import torchvision
from torch import nn

from dfq.calibrate import calibrate, snap_biases
from dfq.convert import quantize
from dfq.export import export_onnx
from dfq.export.engine import Engine
from dfq.export.islands import count_nodes
from dfq.export.opinions import error_in_steps
from dfq.input_spec import InputSpec
from dfq.scheme import make_scheme
from dfq.targets import DEFAULT_TARGET
from dfq.teacher import Teacher

SPEC = InputSpec(size=(3, 64, 64), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@dataclass(frozen=True)
class Family:
    """What a network's file must contain: `kernels` at least so often, and no `never_float` outside them."""

    kernels: dict[str, int]
    never_float: tuple[str, ...] = ("Conv", "FusedConv", "Gemm", "FusedGemm", "Add", "Concat")
    arguments: dict | None = None


# The number of convolutions and linear layers, per name in torchvision.
FAMILIES = {
    "resnet18": Family({"QLinearConv": 20, "QLinearAdd": 8, "QGemm": 1}),
    "resnet50": Family({"QLinearConv": 53, "QLinearAdd": 16, "QGemm": 1}),
    "mobilenet_v2": Family({"QLinearConv": 52, "QLinearAdd": 10, "QGemm": 1}),
    "mobilenet_v3_small": Family({"QLinearConv": 52, "QLinearAdd": 6, "QGemm": 2}),
    "efficientnet_b0": Family({"QLinearConv": 81, "QLinearAdd": 9, "QGemm": 1}),
    "regnet_y_400mf": Family({"QLinearConv": 85, "QLinearAdd": 16, "QGemm": 1}),
    "shufflenet_v2_x1_0": Family({"QLinearConv": 56, "QLinearConcat": 16, "QGemm": 1}),
    "densenet121": Family({"QLinearConv": 120, "QLinearConcat": 58, "QGemm": 1}),
    "squeezenet1_1": Family({"QLinearConv": 26, "QLinearConcat": 8}),
    "googlenet": Family(
        {"QLinearConv": 57, "QLinearConcat": 9}, arguments={"aux_logits": False, "init_weights": False}
    ),
    "convnext_tiny": Family({"QLinearConv": 22, "MatMulIntegerToFloat": 36, "QGemm": 1}, ("Conv", "Gemm")),
    "vit_b_16": Family({"QLinearConv": 1, "MatMulIntegerToFloat": 16, "QGemm": 1}, ("Conv", "Gemm")),
}
# What differs with the default target: gates on integers, and what gains nothing from integers in float.
ALL_INTEGER = "openvino"
WITH_DEFAULT_TARGET = {
    "mobilenet_v3_small": Family({"QLinearConv": 10, "QLinearAdd": 3, "QGemm": 2}, ("Gemm", "FusedGemm")),
    "efficientnet_b0": Family({"QLinearConv": 11, "QGemm": 1}, ("Gemm", "FusedGemm")),
    "regnet_y_400mf": Family({"QLinearConv": 85, "QLinearAdd": 16, "QLinearMul": 16, "QLinearSigmoid": 16, "QGemm": 1}),
    "convnext_tiny": Family({"QLinearConv": 3, "MatMulIntegerToFloat": 36, "QGemm": 1}, ("Gemm",)),
}
QUICK = ("resnet18", "squeezenet1_1", "vit_b_16")
FOUR_BIT = ("resnet18", "squeezenet1_1")


def build(name: str) -> nn.Module:
    """Random weights; BatchNorm statistics of random images, so that activations keep a sane range."""
    torch.manual_seed(0)
    if name == "vit_b_16":  # four of its blocks, narrow: the same operators
        sizes = {"num_layers": 4, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 128}
        model = torchvision.models.VisionTransformer(image_size=64, patch_size=16, num_classes=10, **sizes)
        nn.init.normal_(model.heads.head.weight, std=0.1)  # torchvision starts it at zero
    else:
        arguments = FAMILIES[name].arguments or {}
        model = torchvision.models.get_model(name, weights=None, num_classes=10, **arguments)
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
    student = quantize(Teacher(build(name), SPEC), make_scheme("deploy", bits=bits, target=target)).eval()
    images = torch.randn(8, *SPEC.size)
    calibrate(student, images, ranges="minmax")
    snap_biases(student)
    path = export_onnx(student, tmp_path / "model.onnx", SPEC)
    logits = student(images).numpy()
    # Rounding ties fall either way, and random deep networks multiply the difference. The student in float64 shows how
    # much of that is in the network itself; an error of the export would be far above.
    ties = error_in_steps(copy.deepcopy(student).double()(images.double()).numpy(), logits)
    assert error_in_steps(Engine(path).run(images), logits)["mean"] <= 2 * ties["mean"] + 0.5
    nodes = count_nodes(path)
    assert all(nodes["integer"].get(op, 0) >= count for op, count in family.kernels.items())
    assert not [node for node in nodes["float"] if node["op"] in family.never_float]
