"""Depthwise separable blocks are cut alike with and without modules around them."""

from collections.abc import Callable

import pytest
import torch
from support.small_nets import SPEC, lived_in
from torch import Tensor, nn

from dfq.export import export_float_onnx
from dfq.post_training.reconstruction.blocks import cut_into_blocks
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher


def normed(inputs: int, width: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True) -> list:
    layers = [nn.Conv2d(inputs, width, kernel, stride, kernel // 2, groups=groups), nn.BatchNorm2d(width)]
    return [*layers, nn.ReLU6()] if active else layers


class Inverted(nn.Module):
    """Expansion, depthwise convolution, projection; a sum only where nothing changes."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        wide = 2 * inputs
        layers = [*normed(inputs, wide, 1), *normed(wide, wide, 3, stride, wide), *normed(wide, width, 1, active=False)]
        self.layers, self.sums = nn.Sequential(*layers), stride == 1 and inputs == width

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.sums else self.layers(x)


def inverted() -> nn.Module:
    blocks = [Inverted(6, 8, 2), Inverted(8, 8, 1), Inverted(8, 10, 1)]
    return nn.Sequential(*normed(3, 6, 3), *blocks, *normed(10, 12, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(12, 5))  # fmt: skip


def separable() -> nn.Module:
    """Depthwise convolutions and projections of MobileNetV1, flat, in front of a last depthwise convolution."""
    blocks = [*normed(6, 6, 3, 1, 6), *normed(6, 8, 1), *normed(8, 8, 3, 2, 8), *normed(8, 12, 1)]
    return nn.Sequential(*normed(3, 6, 3), *blocks, *normed(12, 12, 3, 1, 12), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(12, 5))  # fmt: skip


def layers_of_blocks(teacher: Teacher) -> list[int]:
    student = make_student(teacher, make_scheme("deploy", bits=4))
    return [len(block.layers) for block in cut_into_blocks(student, teacher.traced)]


@pytest.mark.parametrize(("make", "counts"), [(inverted, [1, 3, 3, 3, 1, 1]), (separable, [1, 2, 2, 1, 1])])
def test_a_file_without_modules_is_cut_as_the_network_is(make: Callable, counts: list[int], tmp_path):
    torch.manual_seed(0)
    whole = Teacher(lived_in(make()), SPEC)
    export_float_onnx(whole.traced, tmp_path / "net.onnx", SPEC)
    file = load_teacher(tmp_path / "net.onnx", input_size=SPEC.size, mean=SPEC.mean, std=SPEC.std)
    assert layers_of_blocks(whole) == layers_of_blocks(file) == counts
