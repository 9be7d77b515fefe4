"""Cross-layer equalization: the function stays, channels become alike, coarse grids fit them better."""

from itertools import pairwise

import pytest
import torch
from export_cases import Mobile, Reflecting
from instant_nets import Mixed, Normalized, fitted_to_noise, noise, smooth
from small_nets import SPEC, PreActivation, Residual, canonical, plain, small_teacher
from torch import nn
from torch.nn import functional as F

from dfq.calibrate import calibrate, quantizers_in_mode
from dfq.channel_ranges import expected_ranges, measured_ranges
from dfq.convert import quantize
from dfq.equalize import LARGEST_FACTOR, equalize, equalizing_factors
from dfq.graph.fold_batch_norm import OUTPUT_MOMENTS
from dfq.layer_outputs import matrix_calls
from dfq.layer_pairs import Pair, find_pairs
from dfq.scheme import make_scheme
from dfq.teacher import Teacher


class Forked(nn.Module):
    """The first map is read twice, the second is added to, the third meets ReLU6: nothing can be rescaled."""

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


PAIRS = {
    Residual: 1,
    PreActivation: 2,
    plain: 0,
    Mobile: 0,
    Mixed: 5,
    Normalized: 1,
    Reflecting: 0,
    Forked: 0,
    Tokens: 1,
}


def imbalanced(model):
    """Channels of the first layer of each pair scaled by 0.05 to 20, which the second takes back."""
    with torch.no_grad():
        for pair in find_pairs(canonical(model, SPEC)):
            first, second = model.get_submodule(pair.first), model.get_submodule(pair.second)
            factors = torch.logspace(-1.3, 1.3, first.weight.shape[0])[torch.randperm(first.weight.shape[0])]
            column = factors.repeat_interleave(max(second.weight.shape[1] // len(factors), 1))
            first.weight.mul_(factors.view(-1, *[1] * (first.weight.dim() - 1)))
            if first.bias is not None:
                first.bias.mul_(factors)
            if getattr(second, "groups", 1) == len(factors):
                second.weight.div_(factors.view(-1, 1, 1, 1))
            elif getattr(second, "groups", 1) == 1:
                second.weight.div_(column.view(1, -1, *[1] * (second.weight.dim() - 2)))
    return model


def networks(net, *, bits=4, spread=False):
    torch.manual_seed(0)
    model = net()
    teacher = Teacher(imbalanced(model), SPEC) if spread else small_teacher(model)
    return teacher, quantize(teacher, make_scheme("deploy", bits=bits)), canonical(teacher.model, teacher.input_spec)


@pytest.mark.parametrize(("net", "count"), PAIRS.items())
@torch.no_grad()
def test_both_networks_compute_the_same_as_before(net, count):
    teacher, student, reference = networks(net)
    target = teacher(smooth())
    weights = {name: value.clone() for name, value in reference.state_dict().items()}
    assert equalize(student, reference, measured_ranges(reference, smooth())) == count
    moved = any(not torch.equal(weights[name], value) for name, value in reference.state_dict().items())
    assert moved == (count > 0)
    torch.testing.assert_close(reference(smooth()), target, atol=1e-4, rtol=1e-4)
    with quantizers_in_mode(student, "off"):
        torch.testing.assert_close(student(smooth()), target, atol=1e-4, rtol=1e-4)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(student.state_dict()[name], value)


def test_pairs_by_name():
    _, _, reference = networks(Mixed)
    layers = ["conv", "depthwise", "pointwise", "grouped", "hidden", "head"]
    assert find_pairs(reference) == [Pair(a, b, rectified=True) for a, b in pairwise(layers)]
    _, _, reference = networks(PreActivation)  # "norm" is its BatchNorm, which became a convolution
    assert find_pairs(reference) == [Pair("norm", "last", rectified=True), Pair("last", "head", rectified=False)]


@torch.no_grad()
def test_channels_become_alike_and_four_bits_suffice():
    teacher, student, reference = networks(Mixed, spread=True)
    plain_student = calibrate(quantize(teacher, make_scheme("deploy", bits=4)), smooth())
    before = measured_ranges(reference, smooth())
    equalize(student, reference, before)
    after = measured_ranges(reference, smooth())
    for name in ("conv", "pointwise", "hidden"):
        alive = before[name] > 0
        assert after[name][alive].log().std() < 0.7 * before[name][alive].log().std()
    target = teacher(smooth(seed=5))
    error = (calibrate(student, smooth())(smooth(seed=5)) - target).square().mean()
    assert error < 0.5 * (plain_student(smooth(seed=5)) - target).square().mean()


def test_feature_maps_of_both_networks_still_correspond():
    _, student, reference = networks(Residual)
    equalize(student, reference, measured_ranges(reference, smooth()))
    for name, node in matrix_calls(reference).items():
        twin = matrix_calls(student)[name]
        torch.testing.assert_close(twin.meta.get(OUTPUT_MOMENTS), node.meta.get(OUTPUT_MOMENTS))


def test_moments_follow_the_factors():
    _, student, reference = networks(Residual)
    expected = expected_ranges(reference)
    factors = equalizing_factors(expected["conv1"], reference.get_submodule("conv2"))
    assert equalize(student, reference, expected) == 1
    torch.testing.assert_close(expected_ranges(reference)["conv1"], expected["conv1"] / factors)
    assert factors.max() > 1.1


def test_expected_ranges_are_about_the_measured_ones():
    torch.manual_seed(0)
    reference = canonical(fitted_to_noise(Normalized()), SPEC)
    expected, measured = expected_ranges(reference), measured_ranges(reference, noise())
    assert expected.keys() == measured.keys() == {"last"}
    assert ((expected["last"] / measured["last"]).log().abs() < 0.7).all()


def test_measured_ranges_are_those_of_all_batches():
    _, _, reference = networks(Mixed)
    whole, parts = measured_ranges(reference, smooth(16)), measured_ranges(reference, smooth(16), batch_size=3)
    assert whole.keys() == parts.keys()
    for name, values in whole.items():
        torch.testing.assert_close(parts[name], values)


def test_layers_without_ranges_are_left_alone():
    _, student, reference = networks(Mixed)
    assert expected_ranges(reference) == {}
    assert equalize(student, reference, {}) == 0


def test_factors_are_bounded_balanced_and_one_for_dead_channels():
    layer = nn.Conv2d(4, 6, 3)
    factors = equalizing_factors(torch.tensor([0.0, 1e-6, 1.0, 1e6]), layer)
    assert factors[0] == 1
    assert factors[1] == pytest.approx(1 / LARGEST_FACTOR) and factors[3] == pytest.approx(LARGEST_FACTOR)
    mild = equalizing_factors(torch.tensor([1.0, 2.0, 3.0, 4.0]), layer)
    assert mild.log().mean().item() == pytest.approx(0, abs=1e-6)
    assert torch.equal(equalizing_factors(torch.zeros(4), layer), torch.ones(4))


def test_a_depthwise_reader_evens_the_map_out_completely():
    width = torch.tensor([0.5, 1.0, 2.0, 3.0])
    factors = equalizing_factors(width, nn.Conv2d(4, 8, 3, groups=4))
    torch.testing.assert_close(width / factors, (width / factors).mean().expand(4))
