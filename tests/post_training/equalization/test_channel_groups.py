"""Tensors whose channels may be rescaled together: all of them are found, and rescaling them changes no answer."""

import pytest
import torch
from support.export_cases import Mobile, Reflecting
from support.instant_nets import Mixed, Normalized, smooth
from support.small_nets import PreActivation, Residual, plain, small_teacher
from torch import nn
from torch.nn import functional as F

from dfq.post_training.equalization.channel_groups import find_channel_groups
from dfq.post_training.equalization.rescaling import raise_ceiling, rescale


class Forked(nn.Module):
    """Maps that are read twice, sums behind a ReLU and behind pooling, and one ReLU6."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.d, self.head = nn.Conv2d(3, 3, 3), nn.Linear(3, 5)

    def forward(self, images):
        x = F.relu(self.a(images))
        x = F.relu(self.b(x)) + x
        return self.head(self.d(F.relu6(self.c(x))).mean((2, 3)) + x.mean((2, 3)))


class Tokens(nn.Module):
    """Linear layers on (N, T, C), and one that reads the last dimension of a convolution's map."""

    def __init__(self):
        super().__init__()
        self.conv, self.wide = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(4, 16)
        self.narrow, self.head = nn.Linear(16, 4), nn.Linear(8, 5)

    def forward(self, images):
        return self.head(self.narrow(F.relu(self.wide(F.relu(self.conv(images))))).mean((2, 3)))


class Twice(nn.Module):
    """One layer is called twice: nothing that it reads or writes may change."""

    def __init__(self):
        super().__init__()
        self.stem, self.again, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 5)

    def forward(self, images):
        return self.head(F.relu(self.again(F.relu(self.again(F.relu(self.stem(images)))))).mean((2, 3)))


FOUND = {
    Residual: [(("stem", "conv2"), ("conv1", "head")), (("conv1",), ("conv2",))],
    PreActivation: [(("norm",), ("last",)), (("last",), ("head",))],
    plain: [(("0",), ("3",)), (("3",), ("7",))],
    Mixed: [
        (("conv",), ("depthwise",)),
        (("depthwise",), ("pointwise",)),
        (("pointwise",), ("grouped",)),
        (("grouped",), ("hidden",)),
        (("hidden",), ("head",)),
    ],
    Forked: [(("a", "b", "d"), ("b", "c", "head")), (("c",), ("d",))],
    Tokens: [(("wide",), ("narrow",))],
    Twice: [],
}


@pytest.mark.parametrize(("net", "expected"), FOUND.items())
def test_finds_all_that_write_and_read(net, expected):
    groups = find_channel_groups(small_teacher(net()).traced)
    assert [(group.writers, tuple(group.readers)) for group in groups] == expected


@pytest.mark.parametrize("net", [*FOUND, Mobile, Normalized, Reflecting])
@torch.no_grad()
def test_rescaling_every_group_changes_no_answer(net):
    teacher = small_teacher(net())
    target, network = teacher(smooth()), teacher.traced
    generator = torch.Generator().manual_seed(0)
    for group in find_channel_groups(network):
        exponents = torch.randint(-4, 1, (group.channels,), generator=generator)
        if not group.ceilings:
            exponents *= torch.randint(0, 2, (group.channels,), generator=generator) * 2 - 1
        factors = exponents.float().exp2()
        for node in group.ceilings:
            raise_ceiling(network, node, factors)
        rescale(network, group.writers, tuple(group.readers), factors)
    network.recompile()
    torch.testing.assert_close(network(smooth()), target, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_two_rewritings_of_one_ceiling_add_up():
    teacher = small_teacher(plain())
    target, network = teacher(5 * smooth()), teacher.traced
    for exponent in (-1.0, -2.0):
        (first, _) = find_channel_groups(network)
        factors = torch.full((6,), exponent).exp2()
        for node in first.ceilings:
            raise_ceiling(network, node, factors)
        rescale(network, first.writers, tuple(first.readers), factors)
        network.recompile()
    torch.testing.assert_close(network(5 * smooth()), target, atol=1e-5, rtol=1e-5)
