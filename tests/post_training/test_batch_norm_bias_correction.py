"""Bias correction on maps drawn from BatchNorm's parameters: exact on the draws, and what the paper derives."""

from math import pi

import pytest
import torch
from support.export_cases import Mobile
from support.instant_nets import Mixed, Normalized, fitted_to_noise, smooth
from support.small_nets import SPEC, Residual, canonical, small_teacher
from torch import nn

from dfq.calibration import METHODS
from dfq.post_training.batch_norm_bias_correction import correct_from_moments, moments_on_draws
from dfq.post_training.batch_norm_ranges import calibrate_from_moments
from dfq.post_training.steps_after_ranges import StepContext
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student, weight_quantizers
from dfq.student.set_ranges import calibrate
from dfq.system.stage import Stage
from dfq.teacher import Teacher


def seeded(net) -> nn.Module:
    torch.manual_seed(0)
    return net()


def student_and_reference(net, bits=3):
    teacher = Teacher(fitted_to_noise(seeded(net)), SPEC)
    student = calibrate(make_student(teacher, make_scheme("deploy", bits=bits)), smooth())
    calibrate_from_moments(student, SPEC)
    return student.eval(), canonical(teacher.model, SPEC).requires_grad_(False)


def largest_difference(student, reference, moment: int) -> float:
    ours, theirs = (moments_on_draws(network, SPEC, seed=3) for network in (student, reference))
    assert ours.keys() == theirs.keys() and len(ours) > 1
    return max((ours[name][moment] - theirs[name][moment]).abs().max().item() for name in theirs)


@pytest.mark.parametrize("net", [Residual, Normalized, Mobile])
def test_means_match_on_the_draws_and_integers_stay(net):
    student, reference = student_and_reference(net)
    integers = {n: q.integers(student.get_submodule(n).weight) for n, q in weight_quantizers(student).items()}
    before = largest_difference(student, reference, moment=0)
    correct_from_moments(student, reference, SPEC, match_spread=True, seed=3)
    assert largest_difference(student, reference, moment=0) < 1e-4 < before
    for name, quantizer in weight_quantizers(student).items():
        assert torch.equal(quantizer.integers(student.get_submodule(name).weight), integers[name])


def test_the_instant_row_ends_with_it():
    student, reference = student_and_reference(Residual)
    teacher = Teacher(fitted_to_noise(seeded(Residual)), SPEC)
    context = StepContext(student, teacher, smooth(), Stage(seed=3))
    *_, correction, on_images = METHODS["instant"].post_training
    correction(context)
    on_images(context)
    assert largest_difference(student, reference, moment=0) < 1e-4


def test_spreads_match_only_where_asked_for():
    for match_spread in (False, True):
        student, reference = student_and_reference(Residual)
        before = largest_difference(student, reference, moment=1)
        correct_from_moments(student, reference, SPEC, match_spread=match_spread, seed=3)
        after = largest_difference(student, reference, moment=1)
        assert after < 0.05 * before if match_spread else after == pytest.approx(before, rel=1e-3)


class TwoLayers(nn.Module):
    """1×1 convolutions, a ReLU between them."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 1)

    def forward(self, images):
        return self.second(torch.relu(self.norm(self.first(images)))).mean((2, 3))


@torch.no_grad()
def test_the_shift_is_the_papers_closed_form():
    """E[x] behind the ReLU of N(β, γ²) is γ·φ(β/γ) + β·Φ(β/γ); the bias takes the weights' errors times that back."""
    student, reference = student_and_reference(TwoLayers, bits=8)
    layer, exact = student.get_submodule("second"), reference.get_submodule("second").weight
    generator = torch.Generator().manual_seed(0)
    layer.weight.add_(0.2 * torch.rand(layer.weight.shape, generator=generator))  # an error much above the grid's
    norm = fitted_to_noise(seeded(TwoLayers)).norm
    deviation, ratio = norm.weight.abs(), norm.bias / norm.weight.abs()
    density = (-ratio.square() / 2).exp() / (2 * pi) ** 0.5
    mean = deviation * density + norm.bias * torch.special.ndtr(ratio)
    error = layer.weight_quantizer(layer.weight) - exact
    before = layer.bias.clone()
    correct_from_moments(student, reference, SPEC, match_spread=False)
    torch.testing.assert_close(before - layer.bias, error[:, :, 0, 0] @ mean, atol=0.06, rtol=0.05)


def test_a_network_without_batch_norm_stays_as_it_is():
    torch.manual_seed(0)
    teacher = small_teacher(Mixed())
    student = calibrate(make_student(teacher, make_scheme("deploy", bits=3)), smooth())
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    correct_from_moments(student, canonical(teacher.model, SPEC), SPEC)
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())
