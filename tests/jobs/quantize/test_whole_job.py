"""The whole default job on ten networks of ten kinds, with random weights, at 8 and at 4 bits, in little time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from support.small_nets import lived_in, smooth_images
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

import dfq
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.validation.second_opinion import GRID
from dfq.jobs.quantize.defaults import QuantizeDefaults
from dfq.quantizers.range_rules import RANGES, mse
from dfq.quantizers.settings import RangeSettings

SIZE = (3, 64, 64)
FEW = {"images": 16, "budget": 5.0}
# A file from its network: root mean square ÷ that of the logits. At 4 bits, five seconds promise nothing but a number.
FARTHEST = {8: 0.3, 4: inf}
CLOSEST = 0.1  # the same of a file from its student
SWIN = {"depths": (1, 2), "num_heads": (2, 4), "embed_dim": 32}
VIT = {"img_size": 64, "depth": 2, "num_classes": 10}


@dataclass(frozen=True)
class Kind:
    """How a network is made, and the least share of its multiply–accumulates on integers."""

    make: Callable[[], nn.Module]
    share: float


def _timm(name: str, **arguments) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, **{"num_classes": 10} | arguments)


def _densenet() -> nn.Module:
    return DenseNet(growth_rate=8, block_config=(2, 2), num_init_features=16, num_classes=10)


def _mobilenet_v3() -> nn.Module:
    rows = (16, 3, 16, 16, True, "RE", 2), (16, 3, 48, 24, False, "HS", 2), (24, 5, 96, 24, True, "HS", 1)
    return MobileNetV3([InvertedResidualConfig(*row, dilation=1, width_mult=1.0) for row in rows], 64, num_classes=10)


KINDS = {
    "residual": Kind(_timm("test_resnet"), 0.95),
    "concatenated branches": Kind(_densenet, 0.95),
    "SAME padding, ReLU6": Kind(_timm("test_efficientnet", pad_type="same", act_layer=nn.ReLU6), 0.95),
    "hard swish, squeeze and excite": Kind(_mobilenet_v3, 0.0),
    "branches that merge": Kind(_timm("test_byobnet"), 0.8),
    "standardised weights": Kind(_timm("test_nfnet"), 0.5),
    "attention with a mask that is None": Kind(_timm("vit_tiny_patch16_224", **VIT), 0.8),
    "windows and shifted masks": Kind(
        _timm(
            "swin_tiny_patch4_window7_224", img_size=64, window_size=4, depths=(1, 2), num_heads=(2, 4), embed_dim=32
        ),
        0.8,
    ),
    "layer norm on maps": Kind(_timm("test_convnext"), 0.7),
    "convolutions and attention": Kind(_timm("test_coatnet", img_size=64), 0.5),
}


# 8 bits for all, and 4 bits where blocks are learned: one network of convolutions, and one of attention.
LEARNED = ("residual", "windows and shifted masks")
RUNS = [(kind, bits) for kind in KINDS for bits in ((8, 4) if kind in LEARNED else (8,))]


@pytest.fixture(scope="module")
def case(request) -> tuple[nn.Module, float]:
    torch.manual_seed(0)
    kind = KINDS[request.param]
    return lived_in(kind.make(), size=SIZE), kind.share


@pytest.mark.slow
@pytest.mark.parametrize(("case", "bits"), RUNS, indirect=["case"])
def test_the_default_job(case, bits, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "dfq.jobs.quantize.auto_method.QUANTIZE_DEFAULTS", QuantizeDefaults(too_short=0.0)
    )  # 4 bits are reconstructed in the little time that there is
    monkeypatch.setitem(RANGES, "mse", partial(mse, settings=RangeSettings(shrinks=10)))
    network, share = case
    run = tmp_path / "run"
    result = dfq.quantize(network, out=run, bits=bits, input_size=SIZE, mean=0.5, std=0.25, **FEW)
    report, images = result.report, smooth_images(32, SIZE, torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, of_student = network(images).numpy(), result.student(images).numpy()
    assert _distance(run / "float.onnx", images, expected) < 1e-4
    assert _distance(run / "model.onnx", images, expected) < FARTHEST[bits]
    # Fused kernels round averages that lie between two steps otherwise, and later layers follow them. The operators as
    # the file spells them out do what the student does, but for few images.
    assert _distance(run / "model.onnx", images, of_student) < CLOSEST
    apart = np.abs(_spelled_out(run / "model.onnx", images) - of_student).max(axis=1)
    assert (apart < 0.5 * np.ptp(of_student) / GRID).mean() > 0.5
    assert report["coverage"]["share_of_macs"] >= share and report["coverage"]["not_recognised"] == []
    assert "reconstruct" in (report["settings"]["method"], *report.get("fallback", ())) or bits == 8


def _spelled_out(path: Path, images: Tensor) -> np.ndarray:
    """Logits of the file without fused kernels."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy()})[0]


def _distance(path: Path, images: Tensor, expected: np.ndarray) -> float:
    found = Engine(path, threads=1).run(images)
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))
