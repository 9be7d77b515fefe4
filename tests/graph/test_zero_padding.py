"""Padding between layers, by zeros or by reflection, hides neither a pair of layers nor a linear stream."""

import pytest
import torch
from support.instant_nets import smooth
from support.small_nets import small_teacher
from torch import nn
from torch.nn import functional as F

from dfq.post_training.equalization.depthwise import fill_depthwise_inputs
from dfq.post_training.equalization.layer_pairs import Pair, find_pairs
from dfq.post_training.rotation.linear_streams import find_linear_streams
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student

HARMLESS = {
    "module": nn.ZeroPad2d((0, 1, 0, 1)),
    "function": lambda x: F.pad(x, (0, 1, 0, 1)),
    "list": lambda x: F.pad(x, [1, 1, 1, 1]),
    "keywords": lambda x: F.pad(input=x, pad=(0, 1, 0, 1), mode="constant", value=0),
    "none": lambda x: F.pad(x, (0, 1, 0, 1), "constant", None),
    "one side": lambda x: F.pad(x, (0, 1)),
    "cropped": lambda x: F.pad(x, (0, -1, -1, 0)),
    "reflected": lambda x: F.pad(x, (0, 1, 0, 1), mode="reflect"),
}
HARMFUL = {
    "ones": lambda x: F.pad(x, (0, 1, 0, 1), value=1.0),
    "of three dimensions": lambda x: F.pad(x, (0, 1, 0, 1, 0, 0)),
}


class Padded(nn.Module):
    """Two layers with a ReLU6 and padding between, the second depthwise; then a stream that is read behind padding."""

    def __init__(self, pad):
        super().__init__()
        self.pad = pad
        self.wide, self.norm = nn.Conv2d(3, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.depthwise, self.narrow = nn.Conv2d(12, 12, 3, stride=2, groups=12), nn.Conv2d(12, 6, 1)
        self.back, self.last = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 8, 3, stride=2)
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        x = self.narrow(F.relu6(self.depthwise(self.pad(F.relu6(self.norm(self.wide(images)))))))
        x = x + self.back(x)
        return self.head(F.relu(self.last(self.pad(x))).mean((2, 3)))


def is_pair(teacher) -> bool:
    return Pair("wide", "depthwise", rectified=True, ceiling=6.0) in find_pairs(teacher.traced)


@pytest.mark.parametrize("pad", HARMLESS.values(), ids=HARMLESS.keys())
@torch.no_grad()
def test_zeros_around_maps_are_walked_through(pad):
    teacher = small_teacher(Padded(pad))
    assert is_pair(teacher)
    (stream,) = find_linear_streams(teacher.traced)
    assert stream.writers == ("narrow", "back") and set(stream.readers) == {"back", "last"}
    student = make_student(teacher, make_scheme("deploy", bits=4))
    other = fill_depthwise_inputs(student, teacher)
    torch.testing.assert_close(other(smooth()), teacher(smooth()), atol=1e-4, rtol=1e-4)
    assert not torch.equal(other.traced.wide.weight, teacher.traced.wide.weight)


@pytest.mark.parametrize("pad", HARMFUL.values(), ids=HARMFUL.keys())
def test_other_values_are_not(pad):
    teacher = small_teacher(Padded(pad))
    assert not is_pair(teacher) and find_linear_streams(teacher.traced) == []
