"""Cross-layer equalization: a wide channel costs a file nothing, and a network without one is left alone."""

from collections.abc import Callable

import pytest
import torch
from support.instant_nets import Normalized, fitted_to_noise, noise, smooth
from support.small_nets import SPEC, Residual, canonical, small_teacher
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.calibration import METHODS
from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import matrix_calls
from dfq.graph.tensor_samples import TensorSamples
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.equalization.channel_groups import find_channel_groups
from dfq.post_training.equalization.channel_ranges import expected_range
from dfq.post_training.equalization.cross_layer import equalize, equalizing_factors, powers_of_two
from dfq.post_training.equalization.layer_pairs import find_pairs
from dfq.post_training.equalization.rescaling import rescale
from dfq.post_training.equalization.settings import FactorLimits
from dfq.post_training.steps_before_ranges import EqualizeChannels
from dfq.quantizers.scheme import make_scheme
from dfq.results.load_run import load_run
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, quantizers_in_mode
from dfq.teacher import Teacher

WIDE = 128.0  # times as wide as the other channels of its map


class Chain(nn.Module):
    """Three convolutions and two linear layers, something between each two of them."""

    def __init__(self, between: Callable = lambda x: x, activation: Callable = F.relu):
        super().__init__()
        torch.manual_seed(0)
        self.between, self.activation = between, activation
        self.a, self.norm_a = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.b, self.norm_b = nn.Conv2d(16, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16)
        self.c, self.norm_c = nn.Conv2d(16, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16)
        self.hidden, self.head = nn.Linear(16, 32), nn.Linear(32, 5)

    def forward(self, images):
        x = self.between(self.activation(self.norm_a(self.a(images))))
        x = self.between(self.activation(self.norm_b(self.b(x))))
        return self.head(F.relu(self.hidden(self.activation(self.norm_c(self.c(x))).mean((2, 3)))))


class Flat(Chain):
    """The last map is flattened as it is."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16 * 9, 32)

    def forward(self, images):
        x = F.relu(self.norm_b(self.b(F.relu(self.norm_a(self.a(images))))))
        return self.head(F.relu(self.hidden(torch.flatten(F.relu(self.norm_c(self.c(x))), 1))))


def pooled() -> nn.Module:
    return Chain(lambda x: F.max_pool2d(x, 3, stride=1, padding=1))


def padded() -> nn.Module:
    return Chain(lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 2, stride=1))


def residual() -> nn.Module:
    torch.manual_seed(0)
    return Residual()


WHERE = {
    "in front of a convolution": (Chain, "a"),
    "behind maximum pooling": (pooled, "b"),
    "behind padding and average pooling": (padded, "b"),
    "in front of a linear layer, behind global pooling": (Chain, "c"),
    "in front of a linear layer, behind flattening": (Flat, "c"),
    "between linear layers": (Chain, "hidden"),
    "on a residual stream": (residual, "stem"),
}


@torch.no_grad()
def widened(teacher: Teacher, layer: str, channel: int = 1) -> Teacher:
    """The same function with one channel wider; its readers make up for that."""
    network = canonical(teacher.model, SPEC)
    (group,) = (group for group in find_channel_groups(network) if layer in group.writers)
    factors = torch.ones(group.channels)
    factors[channel] = 1 / WIDE
    rescale(network, group.writers, tuple(group.readers), factors)
    return Teacher(network, SPEC)


@torch.no_grad()
def error(teacher: Teacher, *, bits: int = 8, equalized: bool = False) -> float:
    student = make_student(teacher, make_scheme("deploy", bits=bits))
    if equalized:
        equalize(student, teacher, smooth())
    target = teacher(smooth(seed=5))
    found = calibrate(student, smooth())(smooth(seed=5))
    return float((found - target).square().mean() / target.var(0).mean())


@pytest.mark.parametrize(("make", "layer"), WHERE.values(), ids=WHERE.keys())
@torch.no_grad()
def test_a_wide_channel_costs_nothing(make, layer):
    teacher = small_teacher(make())
    wide = widened(teacher, layer)
    torch.testing.assert_close(wide(smooth()), teacher(smooth()), atol=1e-4, rtol=1e-4)
    right, wrong = error(teacher), error(wide)
    assert wrong > 10 * right, "otherwise the case says nothing"
    assert error(wide, equalized=True) < 3 * right


@pytest.mark.parametrize("make", [Chain, residual, lambda: Chain(activation=F.relu6)])
def test_a_network_without_one_is_left_alone(make):
    teacher = small_teacher(make())
    student = make_student(teacher, make_scheme("deploy", bits=8))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert equalize(student, teacher, smooth()) is teacher
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


@pytest.mark.parametrize("bits", [4, 8])
@torch.no_grad()
def test_both_networks_compute_the_same_as_before(bits):
    teacher = widened(widened(small_teacher(Chain()), "a"), "c", channel=5)
    student = make_student(teacher, make_scheme("deploy", bits=bits))
    other = equalize(student, teacher, smooth())
    assert other is not teacher and not torch.equal(other.traced.a.weight, teacher.traced.a.weight)
    images = 5 * smooth(seed=7)
    torch.testing.assert_close(other(images), teacher(images), atol=1e-5, rtol=1e-5)
    with quantizers_in_mode(student, "off"):
        torch.testing.assert_close(student(images), teacher(images), atol=1e-5, rtol=1e-5)
    for name, value in other.traced.state_dict().items():
        torch.testing.assert_close(student.state_dict()[name], value)


@torch.no_grad()
def test_behind_relu6_narrow_channels_are_widened_and_the_teacher_clips_where_it_did():
    model = small_teacher(Chain(activation=F.relu6)).model
    narrow = torch.ones(16)
    narrow[:8] = 1 / 16
    for parameter in (model.norm_a.weight, model.norm_a.bias):
        parameter.mul_(narrow * 2)
    model.b.weight.div_((narrow * 2).view(1, -1, 1, 1))
    teacher = Teacher(model, SPEC)
    student = make_student(teacher, make_scheme("deploy", bits=4))
    other = equalize(student, teacher, smooth())
    images = 5 * smooth(seed=7)  # beyond 6
    torch.testing.assert_close(other(images), teacher(images), atol=1e-4, rtol=1e-4)
    factors = other.traced.a.weight.flatten(1).norm(dim=1) / teacher.traced.a.weight.flatten(1).norm(dim=1)
    assert (factors >= 0.99).all() and factors[:8].max() > 1.9, "never narrowed"
    assert error(teacher, bits=4, equalized=True) < 0.8 * error(teacher, bits=4)


def test_a_network_whose_maps_stay_in_floating_point_is_left_alone():
    teacher = widened(small_teacher(Chain()), "a")
    student = make_student(teacher, make_scheme("deploy", bits=8))
    for node in matrix_calls(student).values():  # as if nothing were rounded
        node.args = (node.args[0].args[0], *node.args[1:])
    assert equalize(student, teacher, smooth()) is teacher


def test_moments_follow_the_factors():
    teacher = small_teacher(Chain())
    student = make_student(teacher, make_scheme("deploy", bits=8))
    before = matrix_calls(teacher.traced)["a"].meta[OUTPUT_MOMENTS]
    factors = torch.logspace(-2, 2, 16)
    rescale(student, ("a",), ("b",), factors)
    for old, new in zip(before, matrix_calls(student)["a"].meta[OUTPUT_MOMENTS], strict=True):
        torch.testing.assert_close(new, old / factors)


def test_expected_ranges_are_about_the_measured_ones():
    torch.manual_seed(0)
    reference = canonical(fitted_to_noise(Normalized()), SPEC)
    (pair,) = find_pairs(reference)
    seen = matrix_calls(reference)["head"].args[0].args[0]  # the map in front of global pooling
    measured = TensorSamples(reference, {seen: 1}, noise(), 64).largest(seen)
    assert ((expected_range(reference, pair) / measured).log().abs() < 0.7).all()


def test_factors_are_balanced_and_one_for_dead_channels():
    layer = nn.Conv2d(4, 6, 3)
    mild = equalizing_factors(torch.tensor([1.0, 2.0, 3.0, 4.0]), [layer])
    assert mild.log().mean().item() == pytest.approx(0, abs=1e-6)
    assert equalizing_factors(torch.tensor([0.0, 1.0, 1.0, 1.0]), [layer])[0] == 1
    assert torch.equal(equalizing_factors(torch.zeros(4), [layer]), torch.ones(4))


def test_a_depthwise_reader_evens_the_map_out_completely():
    width = torch.tensor([0.5, 1.0, 2.0, 3.0])
    factors = equalizing_factors(width, [nn.Conv2d(4, 8, 3, groups=4)])
    torch.testing.assert_close(width / factors, (width / factors).mean().expand(4))


def test_powers_are_whole_and_bounded_and_pass_no_ceiling():
    width: Tensor = torch.tensor([1e-6, 0.3, 1.0, 1e6])
    free = powers_of_two(width, width, None)
    assert torch.equal(free.log2(), free.log2().round())
    limits = FactorLimits()
    assert free[0] == limits.narrowest and free[-1] == limits.widest and free[1] == 0.25
    width = torch.tensor([0.0, 0.3, 2.0, 6.0])
    under = powers_of_two(torch.tensor([1.0, 0.5, 0.1, 4.0]), width, 6.0)
    assert (under <= 1).all() and (width / under <= 6).all()


def test_run_writes_a_file_of_the_rescaled_student(tmp_path):
    assert all(EqualizeChannels() in METHODS[name].preparations for name in ("instant", "reconstruct"))
    wide = widened(small_teacher(Chain()), "a")
    settings = Settings(bits=8, method="instant", images=16)
    result = quantize_model(wide, tmp_path / "run", settings)
    assert not torch.equal(result.student.b.weight, make_student(wide, make_scheme()).b.weight)
    assert result.report["agreement"]["onnx_student"]["synthetic"] == 1.0
    assert not any("undone" in warning for warning in result.report["warnings"])
    again = load_run(tmp_path / "run", model=wide.model)
    assert torch.equal(again(smooth()), result.student(smooth()))
