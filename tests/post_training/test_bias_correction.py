"""Bias correction: every layer's mean (and spread) becomes the full-precision network's."""

import pytest
import torch
from support.export_cases import Mobile, Reflecting, assert_agree
from support.instant_nets import Mixed, Normalized, smooth
from support.small_nets import SPEC, PreActivation, Residual, canonical, plain, small_teacher

from dfq.export import export_onnx
from dfq.post_training.bias_correction import correct_biases, output_moments
from dfq.post_training.settings import BiasCorrectionSettings
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student, weight_quantizers
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid

NETWORKS = [Residual, PreActivation, plain, Mobile, Mixed, Normalized]


def student_and_reference(net, bits=3, scheme="deploy"):
    torch.manual_seed(0)
    teacher = small_teacher(net())
    student = make_student(teacher, make_scheme(scheme, bits=bits))
    return calibrate(student, smooth()), canonical(teacher.model, teacher.input_spec)


def deviations(student, reference, images, moment):
    ours, theirs = output_moments(student, images), output_moments(reference, images)
    return {name: (ours[name][moment] - theirs[name][moment]).abs().max().item() for name in theirs}


@pytest.mark.parametrize("match_spread", [False, True])
@pytest.mark.parametrize("net", NETWORKS)
def test_means_of_all_layers_match_afterwards(net, match_spread):
    student, reference = student_and_reference(net)
    before = deviations(student, reference, smooth(), moment=0)
    correct_biases(student, reference, smooth(), match_spread=match_spread)
    after = deviations(student, reference, smooth(), moment=0)
    assert max(before.values()) > 1e-2
    assert max(after.values()) < 1e-4


@pytest.mark.parametrize("net", [Residual, Normalized])
def test_spreads_match_where_asked_for_and_integers_stay(net):
    student, reference = student_and_reference(net)
    integers = {n: q.integers(student.get_submodule(n).weight) for n, q in weight_quantizers(student).items()}
    before = deviations(student, reference, smooth(), moment=1)
    correct_biases(student, reference, smooth(), match_spread=True)
    assert max(deviations(student, reference, smooth(), moment=1).values()) < 0.02 * max(before.values())
    for name, quantizer in weight_quantizers(student).items():
        assert torch.equal(quantizer.integers(student.get_submodule(name).weight), integers[name])


@torch.no_grad()
def test_new_images_come_closer_to_the_teacher():
    """Weights that are all a little too large are an error that biases can take back."""
    student, reference = student_and_reference(Residual, bits=4)
    for layer, quantizer in weight_quantizers(student).items():
        weight = student.get_submodule(layer).weight
        weight.add_(0.5 * quantizer.scale.view(-1, *[1] * (weight.dim() - 1)))
    images = smooth(seed=5)
    target = reference(images)
    before = (student(images) - target).square().mean()
    correct_biases(student, reference, smooth())
    assert (student(images) - target).square().mean() < 0.5 * before


def test_a_layer_without_bias_gets_one_that_the_exported_file_adds(tmp_path):
    student, reference = student_and_reference(Mixed, bits=4)
    student.get_submodule("head").requires_grad_(False)
    assert student.get_submodule("conv").bias is None
    correct_biases(student, reference, smooth())
    for name, trainable in (("conv", True), ("grouped", True), ("head", False)):
        layer = student.get_submodule(name)
        assert layer.bias.shape == layer.weight.shape[:1] and layer.bias.abs().max() > 0
        assert layer.bias.requires_grad is trainable and layer.bias.dtype is layer.weight.dtype
        assert f"{name}.bias" in dict(student.named_parameters())
    round_biases_to_kernel_grid(student.eval())
    assert_agree(student, export_onnx(student, tmp_path / "net.onnx", SPEC))


def test_a_layer_that_is_called_twice_stays_as_it_is():
    student, reference = student_and_reference(Reflecting)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    correct_biases(student, reference, smooth(), match_spread=True)
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert {"first.bias", "head.bias"} <= changed
    assert not [name for name in changed if name.startswith("twice")]


def test_without_quantization_there_is_nothing_to_correct():
    student, reference = student_and_reference(Residual, bits=8)
    biases = {name: value.clone() for name, value in student.state_dict().items() if name.endswith(".bias")}
    for module in student.modules():
        if hasattr(module, "scale_limit"):
            module.mode = "off"
    correct_biases(student, reference, smooth(), match_spread=True)
    for name, value in biases.items():
        torch.testing.assert_close(student.state_dict()[name], value, atol=1e-5, rtol=1e-5)


def test_no_more_images_than_stated_are_held():
    student, reference = student_and_reference(Residual)
    images = smooth(8)
    images[4:] = torch.nan
    correct_biases(student, reference, images, settings=BiasCorrectionSettings(max_images=4))
    assert all(value.isfinite().all() for value in student.state_dict().values())


def test_moments_do_not_depend_on_the_batches():
    _, reference = student_and_reference(Residual)
    whole, parts = output_moments(reference, smooth(16), 16), output_moments(reference, smooth(16), 5)
    for name, moments in whole.items():
        torch.testing.assert_close(parts[name], moments, atol=1e-5, rtol=1e-4)
