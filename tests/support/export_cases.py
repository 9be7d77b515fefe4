"""Networks that are hard to export, their students, and what the tests ask of the file."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto
from support.small_nets import SPEC, PreActivation, Residual, plain, small_teacher
from torch import Tensor, nn

from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.validation.second_opinion import error_in_steps
from dfq.models.resnet_cifar import CifarResNet, padded_shortcut
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import activation_quantizers, make_student
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid


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


class Gated(nn.Module):
    """As RegNet: squeeze-and-excitation behind ReLU."""

    def __init__(self):
        super().__init__()
        self.stem, self.project = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 16, 1)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 5)

    def forward(self, images):
        x = torch.relu(self.stem(images))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(self.pool(x)))))
        return self.head(torch.relu(self.project(x * gate)).mean((2, 3)))


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
    "gated": Gated,
    "option_a": lambda: CifarResNet([1, 1], [8, 16], padded_shortcut, 5),
    "reflecting": Reflecting,
}


def images(count: int = 32) -> Tensor:
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(coarse, SPEC.size[1:], mode="bilinear")


def calibrated_student(name: str, bits: int, scheme: str = "deploy"):
    torch.manual_seed(0)
    student = make_student(small_teacher(NETWORKS[name]()), make_scheme(scheme, bits=bits))
    calibrate(student, images(), ranges="minmax")
    round_biases_to_kernel_grid(student)
    return student.eval()


def initializers(path: Path) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}


def nodes_of(path: Path, op: str) -> list[onnx.NodeProto]:
    return [node for node in onnx.load(path).graph.node if node.op_type == op]


@torch.no_grad()
def assert_agree(student: nn.Module, path: Path, steps: float = 1.0) -> None:
    # On the grid of the input: a tie there, rounded the other way, is a whole step behind a grid of few bits.
    x = next(iter(activation_quantizers(student).values()))(images())
    logits = Engine(path).run(x)
    assert error_in_steps(logits, nearest_answers(student, x, logits))["max"] <= steps


@torch.no_grad()
def nearest_answers(student: nn.Module, x: Tensor, logits: np.ndarray) -> np.ndarray:
    """The student's logits in float32 or in float64, whichever are nearer, image by image.

    A tie within the network, too, can become a whole step behind a grid of few bits: on those images the student
    disagrees with itself.
    """
    answers = student(x).numpy(), deepcopy(student).double()(x.double()).numpy()
    errors = [np.abs(logits - answer).max(1, keepdims=True) for answer in answers]
    return np.where(errors[0] <= errors[1], *answers)
