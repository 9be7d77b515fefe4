"""Ranges from BatchNorm's parameters: what is drawn, what is known, and how near it is to real statistics."""

import pytest
import torch
from support.export_cases import Mobile
from support.instant_nets import Mixed, Normalized, fitted_to_noise, noise
from support.small_nets import SPEC, PreActivation, Residual, canonical, plain, small_teacher
from torch import nn

from dfq.errors import DfqError
from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import channel_moments, matrix_calls
from dfq.post_training.batch_norm_ranges import MomentInterpreter, calibrate_from_moments
from dfq.post_training.bias_correction import output_moments
from dfq.post_training.steps_after_ranges import RangesFromMoments, StepContext
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import activation_quantizers, make_student, weight_quantizers
from dfq.student.set_ranges import calibrate, calibrate_weights, ends_of
from dfq.teacher import Teacher


def noise_teacher(net=Normalized):
    torch.manual_seed(0)
    return Teacher(fitted_to_noise(net()), SPEC)


def student_of(teacher, bits=8, scheme="deploy"):
    return make_student(teacher, make_scheme(scheme, bits=bits))


def known_layers(student):
    return {name for name, node in matrix_calls(student).items() if OUTPUT_MOMENTS in node.meta}


@pytest.mark.parametrize(
    ("net", "layers"),
    [
        (Residual, {"stem", "conv1", "conv2"}),
        (Normalized, {"stem", "depthwise", "branch", "last"}),
        (PreActivation, {"norm"}),
        (Mobile, {"stem"}),
        (lambda: plain(True), {"0"}),
        (Mixed, set()),
    ],
)
def test_the_student_knows_the_moments_of_layers_with_batch_norm(net, layers):
    assert known_layers(student_of(small_teacher(net()))) == layers


def test_moments_are_the_statistics_of_the_folded_layers():
    teacher = noise_teacher()
    reference = canonical(teacher.model, SPEC)
    measured = output_moments(reference, noise(256))
    for name in known_layers(reference):
        moments = matrix_calls(reference)[name].meta[OUTPUT_MOMENTS]
        torch.testing.assert_close(moments, measured[name], atol=0.02, rtol=0.02)
    mean, deviation = matrix_calls(reference)["stem"].meta[OUTPUT_MOMENTS]
    torch.testing.assert_close(mean, teacher.model.norm1.bias)
    torch.testing.assert_close(deviation, teacher.model.norm1.weight.abs(), rtol=1e-3, atol=1e-4)


def test_a_dead_channel_has_no_spread_and_batch_norm_may_lack_parameters():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Linear(392, 5)).eval()
    model[1].running_var.copy_(torch.tensor([0.0, 4.0]))
    mean, deviation = matrix_calls(canonical(model, SPEC))["0"].meta[OUTPUT_MOMENTS]
    torch.testing.assert_close(mean, torch.zeros(2))
    torch.testing.assert_close(deviation, torch.tensor([0.0, 1.0]))


@torch.no_grad()
def test_drawn_maps_have_the_moments():
    student = student_of(noise_teacher())
    runner = MomentInterpreter(student, torch.Generator().manual_seed(0))
    drawn = []
    nodes = matrix_calls(student)
    for _ in range(20):
        drawn.append(runner._gaussian(nodes["last"]))
    mean, deviation = channel_moments(torch.cat(drawn), student.get_submodule("last"))
    torch.testing.assert_close(mean, nodes["last"].meta[OUTPUT_MOMENTS][0], atol=0.2, rtol=0)
    torch.testing.assert_close(deviation, nodes["last"].meta[OUTPUT_MOMENTS][1], atol=0.02, rtol=0.1)


@pytest.mark.parametrize("ranges", ["mse", "percentile", "minmax"])
def test_ranges_are_about_those_of_real_activations(ranges):
    """Behind ReLU, ReLU6, an addition and a concatenation; global pooling averages noise away, which maps do not."""
    teacher = noise_teacher()
    ours, theirs = student_of(teacher, 4), student_of(teacher, 4)
    assert calibrate_from_moments(ours, SPEC, ranges=ranges) == []
    calibrate(theirs, noise(256), ranges=ranges)
    expected = activation_quantizers(theirs)
    for name, quantizer in list(activation_quantizers(ours).items())[1:-1]:
        ratio = (quantizer.effective_scale() / expected[name].effective_scale()).item()
        tolerance = 1.25 if quantizer.spec.bits == 4 and ranges != "minmax" else 1.8  # wide grids follow the tails
        assert 1 / tolerance < ratio < tolerance, name


@pytest.mark.parametrize("scheme", ["deploy", "paper-qat", "paper-ptq"])
@pytest.mark.parametrize("net", [Residual, Normalized])
@torch.no_grad()
def test_eight_bits_are_near_the_teacher(net, scheme):
    teacher = noise_teacher(net)
    student = student_of(teacher, 8, scheme)
    assert calibrate_from_moments(student, SPEC) == []
    target = teacher(noise())
    assert (student(noise()) - target).norm() < 0.05 * target.norm()


def test_the_input_range_is_that_of_all_pixels():
    student = student_of(noise_teacher())
    calibrate_from_moments(student, SPEC)
    image = next(iter(activation_quantizers(student).values()))
    low, high = -image.zero_point * image.scale, (255 - image.zero_point) * image.scale
    assert low.item() == pytest.approx(-2, abs=0.02) and high.item() == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize("net", [Mixed, plain])
def test_without_batch_norm_only_weights_are_set(net):
    student, expected = student_of(small_teacher(net())), student_of(small_teacher(net()))
    expected.load_state_dict(student.state_dict())
    before = {n: q.scale.clone() for n, q in activation_quantizers(student).items()}
    assert calibrate_from_moments(student, SPEC) == list(before)
    assert all(torch.equal(q.scale, before[n]) for n, q in activation_quantizers(student).items())
    calibrate_weights(expected)
    for name, quantizer in weight_quantizers(student).items():
        assert torch.equal(quantizer.scale, weight_quantizers(expected)[name].scale)
        assert not torch.equal(quantizer.scale, torch.ones_like(quantizer.scale))


def test_nothing_is_known_behind_a_layer_without_batch_norm():
    student = student_of(small_teacher(plain(True)))
    names = list(activation_quantizers(student))
    left = calibrate_from_moments(student, SPEC)
    assert left == names[2:]  # known: image, first layer; not: second layer, pooled
    assert all(activation_quantizers(student)[name].scale == 1 for name in left)
    student = student_of(small_teacher(PreActivation()))
    left = calibrate_from_moments(student, SPEC)
    names = list(activation_quantizers(student))
    assert "norm" not in left and 0 < len(left) < len(names) and names[0] not in left


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    teacher = noise_teacher()
    state = torch.get_rng_state()
    scales = []
    for seed in (0, 0, 1):
        student = student_of(teacher, 4)
        calibrate_from_moments(student, SPEC, seed=seed)
        scales.append([q.scale.item() for q in activation_quantizers(student).values()])
    assert scales[0] == scales[1] != scales[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_modes_are_restored_and_unknown_rules_refused():
    student = student_of(noise_teacher())
    calibrate_from_moments(student, SPEC)
    assert {(q.mode, q.observer) for q in activation_quantizers(student).values()} == {("quantize", None)}
    with pytest.raises(DfqError, match="one of minmax"):
        calibrate_from_moments(student, SPEC, ranges="magic")


@pytest.mark.parametrize(("bits", "is_united"), [(8, True), (4, False)])
def test_a_wide_grid_also_spans_what_images_show(bits, is_united):
    teacher = small_teacher()
    student = make_student(teacher, make_scheme(bits=bits, overrides={"conv1": bits, "conv2": bits}))
    calibrate(student, 20 * torch.randn(8, *SPEC.size), ranges="minmax")
    narrow = {name: q for name, q in activation_quantizers(student).items() if q.spec.bits == bits and name != "images"}
    before = {name: ends_of(quantizer)[1] for name, quantizer in narrow.items()}
    RangesFromMoments()(StepContext(student.eval(), teacher, torch.randn(8, *SPEC.size)))
    kept = [bool(ends_of(quantizer)[1] >= 0.99 * before[name]) for name, quantizer in narrow.items()]
    assert all(kept) if is_united else not any(kept)


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "mse"])
def test_the_rule_that_the_user_chose_is_kept(ranges):
    teacher, images = small_teacher(), torch.randn(8, *SPEC.size)
    student, expected = (calibrate(make_student(teacher, make_scheme(bits=4)), images, ranges=ranges) for _ in range(2))
    RangesFromMoments()(StepContext(student.eval(), teacher, images, ranges=ranges))
    calibrate_from_moments(expected, SPEC, ranges=ranges)
    for quantizers in (weight_quantizers, activation_quantizers):
        for name, quantizer in quantizers(expected).items():
            if quantizer.spec.bits == 4:  # A wide grid also spans what images show.
                assert all(map(torch.equal, quantizer.qparams(), quantizers(student)[name].qparams())), name
