"""SQuant rounding: sums of rounding errors are small, nothing leaves the grid, outputs come closer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.instant_nets import Mixed
from support.small_nets import Residual, small_teacher

from dfq.post_training.squant import cancelling_round, round_weights
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student, weight_quantizers
from dfq.student.set_ranges import calibrate_weights

ROUNDOFF = 1e-3


def student_of(net=Mixed, scheme="deploy", bits=4, ranges="mse"):
    torch.manual_seed(0)
    student = make_student(small_teacher(net()), make_scheme(scheme, bits=bits))
    calibrate_weights(student, ranges)
    return student


def in_steps(layer, weight):
    """(weight / scale, ends of the grid), both counted from the zero point; (out, in, elements)."""
    scale, zero_point = (p.view(-1, 1, 1) for p in layer.weight_quantizer.qparams())
    spec = layer.weight_quantizer.spec
    return weight.reshape(*weight.shape[:2], -1) / scale, spec.q_min - zero_point, spec.q_max - zero_point


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from([(4, 8, 9), (5, 1, 9), (3, 40, 1), (2, 3, 25), (6, 2, 1)]),
    bits=st.integers(2, 8),
    spread=st.floats(0.1, 1.0),
    clips=st.booleans(),
    zero_point=st.integers(-100, 100),
)
def test_sums_of_errors_are_small_and_the_grid_is_kept(seed, shape, bits, spread, clips, zero_point):
    generator = torch.Generator().manual_seed(seed)
    half = 2 ** (bits - 1)
    zero_point = max(min(zero_point, half - 1), -half)
    low = torch.full((shape[0], 1, 1), -half - zero_point)
    high = torch.full((shape[0], 1, 1), half - 1 - zero_point)
    steps = torch.randn(shape, generator=generator) * half * spread - zero_point
    steps = steps if clips else steps.clamp(low, high)
    rounded = cancelling_round(steps, low, high)
    assert torch.equal(rounded, rounded.round())
    assert (rounded >= low).all() and (rounded <= high).all()
    clipped = (steps < low) | (steps > high)
    assert torch.equal(rounded[clipped], steps.clamp(low, high)[clipped])
    errors, nearest = rounded - steps, steps.round().clamp(low, high) - steps
    assert errors.masked_fill(clipped, 0).abs().max() < 1 + ROUNDOFF
    # What clipping leaves over in a kernel is never more than nearest rounding leaves.
    bound = (nearest.sum(-1).abs() * clips).clamp(min=1)
    assert (errors.sum(-1).abs() <= bound + ROUNDOFF).all()
    if not clipped.any():
        assert errors.sum((1, 2)).abs().max() <= 0.5 + ROUNDOFF


def test_a_kernel_that_is_its_channel_stays_within_half_a_step():
    steps = torch.rand(200, 1, 9, generator=torch.Generator().manual_seed(0)) * 6
    nearest = (steps.round() - steps).sum(-1).abs()
    low, high = torch.zeros(200, 1, 1), torch.full((200, 1, 1), 7.0)
    errors = cancelling_round(steps, low, high) - steps
    assert nearest.max() > 1.5  # there is something to repair
    assert errors.sum(-1).abs().max() <= 0.5 + ROUNDOFF


def test_the_least_harmful_elements_are_turned():
    steps = torch.tensor([[[0.45, 0.4, 0.3, 0.1]]])  # all rounded down; the sum of errors is -1.25
    ends = torch.tensor([[[-4.0]]]), torch.tensor([[[3.0]]])
    assert cancelling_round(steps, *ends).tolist() == [[[1, 0, 0, 0]]]
    steps = torch.tensor([[[0.3, 0.1], [0.0, 0.45], [0.1, 0.05]]])  # kernels within ½, the channel's sum is -1
    assert cancelling_round(steps, *ends).tolist() == [[[0, 0], [0, 1], [0, 0]]]


def test_what_the_grid_clips_others_make_up_for():
    steps = torch.tensor([[[4.2, 1.4, 0.4, -0.1]]])
    rounded = cancelling_round(steps, torch.tensor([[[-4.0]]]), torch.tensor([[[3.0]]]))
    assert rounded.tolist() == [[[3, 2, 1, 0]]]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("scheme", ["deploy", "paper-qat"])
@pytest.mark.parametrize("ranges", ["mse", "minmax"])
def test_weights_of_every_layer_are_grid_points_that_nearest_rounding_keeps(scheme, bits, ranges):
    student = student_of(scheme=scheme, bits=bits, ranges=ranges)
    before = {name: student.get_submodule(name).weight.detach().clone() for name in weight_quantizers(student)}
    round_weights(student)
    for name, old in before.items():
        layer = student.get_submodule(name)
        torch.testing.assert_close(layer.weight_quantizer(layer.weight), layer.weight, rtol=1e-6, atol=1e-8)
        rounded, low, high = in_steps(layer, layer.weight.detach())
        steps = in_steps(layer, old)[0]
        torch.testing.assert_close(rounded, rounded.round(), rtol=0, atol=ROUNDOFF)
        assert (rounded >= low - ROUNDOFF).all() and (rounded <= high + ROUNDOFF).all()
        inside = (steps >= low) & (steps <= high)
        assert ((rounded - steps) * inside).abs().max() < 1 + ROUNDOFF
        if ranges == "minmax" and bits > 2:  # the zero point's rounding alone clips there
            assert (rounded - steps).sum((1, 2)).abs().max() <= 0.5 + 5 * ROUNDOFF


@pytest.mark.parametrize("scheme", ["deploy", "paper-qat"])
def test_rounding_twice_changes_nothing_more(scheme):
    student = student_of(Residual, scheme, bits=3)
    round_weights(student)
    once = {name: value.clone() for name, value in student.state_dict().items()}
    round_weights(student)
    for name, value in student.state_dict().items():
        torch.testing.assert_close(value, once[name], rtol=1e-6, atol=1e-8)


def test_only_weights_change_and_they_stay_trainable():
    student = student_of(bits=3)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    round_weights(student)
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{layer}.weight" for layer in weight_quantizers(student)}
    assert all(student.get_submodule(layer).weight.requires_grad for layer in weight_quantizers(student))


@pytest.mark.parametrize("layer_name", ["conv", "depthwise", "pointwise", "grouped", "hidden"])
@torch.no_grad()
def test_outputs_come_closer_for_inputs_with_a_positive_mean(layer_name):
    student = student_of(scheme="paper-qat", bits=3)
    layer = student.get_submodule(layer_name)
    generator = torch.Generator().manual_seed(0)
    width = layer.in_channels if hasattr(layer, "in_channels") else layer.in_features
    shape = (64, width, 5, 5) if layer.weight.dim() == 4 else (64, width)
    inputs = (torch.randn(shape, generator=generator) * 0.15 + 1).relu()
    layer.weight_quantizer.mode = "off"
    target = layer(inputs)
    layer.weight_quantizer.mode = "quantize"
    nearest = (layer(inputs) - target).square().mean()
    round_weights(student)
    assert (layer(inputs) - target).square().mean() < 0.8 * nearest
