"""Convolutions of one tensor that are added up are one convolution, where that is exact; everywhere else they stay."""

import pytest
import torch
from support.capture_cases import SPEC, images, lively
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.graph.capture.capture import capture
from dfq.graph.folding.canonical import folded
from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import matrix_calls

WIDTH = 8


class Branches(nn.Module):
    """A stem, the sum of all branches on its output, a linear layer."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.stem, self.branches, self.head = nn.Conv2d(3, WIDTH, 1), nn.ModuleList(branches), nn.Linear(WIDTH, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.stem(images))
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        return self.head(F.relu(total).mean((2, 3)))


def conv(kernel, stride=1, groups=1, dilation=1, padding=None, norm=True, bias=False) -> nn.Sequential:
    padding = dilation * (kernel // 2) if padding is None else padding
    layer = nn.Conv2d(WIDTH, WIDTH, kernel, stride, padding, dilation, groups, bias=bias)
    return nn.Sequential(layer, nn.BatchNorm2d(WIDTH) if norm else nn.Identity())


def identity() -> nn.Module:
    return nn.BatchNorm2d(WIDTH)


def merged(model: nn.Module) -> nn.Module:
    """The simplified network, which computes the same; weights and statistics are random."""
    torch.manual_seed(0)
    model = lively(model).eval()
    network = folded(capture(model, SPEC), SPEC)
    with torch.no_grad():
        expected = model(images(3))
        torch.testing.assert_close(network(images(3)), expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)
    return network


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][1:]


ONE: dict[str, tuple] = {
    "RepVGG": (conv(3), conv(1), identity()),
    "the small kernel first": (identity(), conv(1), conv(3)),
    "strided": (conv(3, stride=2), conv(1, stride=2)),
    "grouped": (conv(3, groups=2), conv(1, groups=2), identity()),
    "depthwise": (conv(5, groups=WIDTH), conv(3, groups=WIDTH), conv(1, groups=WIDTH), identity()),
    "depthwise beside full": (conv(3), conv(3, groups=WIDTH)),
    "dilated": (conv(3, dilation=2), conv(1), identity()),
    "both dilated": (conv(5, dilation=2), conv(3, dilation=2)),
    "without BatchNorm, with bias": (conv(3, norm=False, bias=True), conv(3, norm=False), conv(1, norm=False)),
}
SEVERAL: dict[str, tuple] = {
    "other groups": (conv(3, groups=4), conv(1, groups=2)),
    "other dilation": (conv(3, dilation=2), conv(3, dilation=1)),
    "other padding mode": (conv(3), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, padding_mode="circular")),
    "between the pixels of a dilated kernel": (conv(3, stride=10, dilation=2, padding=1), conv(1, stride=10)),
    "beyond the larger kernel": (conv(3, stride=10, padding=0), conv(1, stride=10, padding=1)),
}


@pytest.mark.parametrize("name", ONE)
def test_one_convolution_is_left(name):
    (layer,) = convolutions(merged(Branches(*ONE[name])))
    first = next(m for m in Branches(*ONE[name]).branches.modules() if isinstance(m, nn.Conv2d))
    assert layer.stride == first.stride and layer.bias is not None
    if name in ("grouped", "depthwise"):
        assert layer.groups == first.groups


@pytest.mark.parametrize("name", SEVERAL)
def test_what_would_not_be_exact_stays(name):
    assert len(convolutions(merged(Branches(*SEVERAL[name])))) == 2


class OtherStride(Branches):
    """Both give maps of one size, from different pixels."""

    def __init__(self):
        super().__init__(nn.Conv2d(WIDTH, WIDTH, 7, 1, 1), nn.Conv2d(WIDTH, WIDTH, 1, 2))


class ReadTwice(Branches):
    """One branch has another reader."""

    def forward(self, images):
        x = F.relu(self.stem(images))
        first, second = (branch(x) for branch in self.branches)
        return self.head((F.relu(first + second) + torch.sigmoid(first)).mean((2, 3)))


class OtherInput(Branches):
    """The branches read different tensors."""

    def forward(self, images):
        x = self.stem(images)
        return self.head((self.branches[0](x) + self.branches[1](F.relu(x))).mean((2, 3)))


class CalledTwice(Branches):
    """One convolution is a branch of two sums."""

    def forward(self, images):
        x = F.relu(self.stem(images))
        x = F.relu(self.branches[0](x) + self.branches[1](x))
        return self.head((self.branches[0](x) + x).mean((2, 3)))


@pytest.mark.parametrize("make", [ReadTwice, OtherInput, CalledTwice])
def test_branches_that_are_used_otherwise_stay(make):
    assert len(convolutions(merged(make(conv(3, norm=False), conv(1, norm=False))))) >= 2


def test_another_stride_stays():
    assert len(convolutions(merged(OtherStride()))) == 2


def test_one_convolution_added_to_itself():
    class Doubled(Branches):
        def forward(self, images):
            x = self.branches[0](F.relu(self.stem(images)))
            return self.head((x + x).mean((2, 3)))

    assert len(convolutions(merged(Doubled(conv(3))))) == 1


def test_means_and_variances_add_up():
    model = Branches(conv(3), conv(1))
    network = merged(model)
    (name,) = [name for name in matrix_calls(network) if name.startswith("branches")]
    mean, deviation = matrix_calls(network)[name].meta[OUTPUT_MOMENTS]
    norms = [branch[1] for branch in model.branches]
    torch.testing.assert_close(mean, sum(norm.bias.detach() for norm in norms))
    variance = sum(norm.weight.detach().square() for norm in norms)
    torch.testing.assert_close(deviation, variance.sqrt(), rtol=1e-4, atol=1e-5)


def test_moments_of_a_sum_are_unknown_where_one_of_a_summand_is():
    network = merged(Branches(conv(3), conv(1, norm=False)))
    (name,) = [name for name in matrix_calls(network) if name.startswith("branches")]
    assert OUTPUT_MOMENTS not in matrix_calls(network)[name].meta
