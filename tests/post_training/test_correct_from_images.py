"""Correction on images concerns the layers of which BatchNorm says nothing, and those alone."""

import pytest
import torch
from support.instant_nets import Mixed, Normalized, fitted_to_noise, smooth
from support.norm_nets import Tokens, norm_teacher, spread_images
from support.small_nets import SPEC, Residual, small_teacher
from torch import nn
from torch.nn import functional as F

from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.post_training.batch_norm_bias_correction import layers_without_moments
from dfq.post_training.bias_correction import output_moments
from dfq.post_training.steps_after_ranges import CorrectFromImages, CorrectFromMoments, StepContext
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher


class HalfNormalized(nn.Module):
    """BatchNorm behind the first convolution alone."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)
        self.c, self.head = nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, images):
        x = F.relu(self.c(F.relu(self.b(F.relu(self.norm(self.a(images)))))))
        return self.head(x.mean((2, 3)))


def context_of(teacher, images, bits=3):
    student = make_student(teacher, make_scheme(bits=bits))
    return StepContext(calibrate(student, images).eval(), teacher, images)


def teacher_of(model):
    torch.manual_seed(0)
    return Teacher(fitted_to_noise(model()), SPEC)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Mixed, ["conv", "depthwise", "pointwise", "grouped", "hidden", "head"]),
        (Normalized, []),
        (Residual, []),
        (HalfNormalized, ["c", "head"]),
    ],
)
def test_layers_whose_input_nothing_describes(model, names):
    assert layers_without_moments(teacher_of(model).traced) == names


@pytest.mark.parametrize("model", [Normalized, Residual])
def test_a_network_with_statistics_stays_bit_for_bit(model):
    context = context_of(teacher_of(model), smooth())
    before = {name: tensor.clone() for name, tensor in context.student.state_dict().items()}
    CorrectFromImages()(context)
    assert all(tensor.equal(before[name]) for name, tensor in context.student.state_dict().items())


def test_a_network_without_statistics_gets_the_means_of_its_teacher():
    teacher, images = norm_teacher(Tokens), spread_images()
    context = context_of(teacher, images)
    context.student.requires_grad_(False)
    wanted, before = output_moments(teacher.traced, images), output_moments(context.student, images)
    CorrectFromImages()(context)
    after = output_moments(context.student, images)
    for moment, part in ((0, 0.05), (1, 0.5)):
        errors = [sum(float((of[n][moment] - wanted[n][moment]).norm()) for n in wanted) for of in (before, after)]
        assert errors[1] < part * errors[0]


def test_each_layer_is_corrected_once():
    context = context_of(teacher_of(HalfNormalized), smooth())
    before = {name: tensor.clone() for name, tensor in context.student.state_dict().items()}
    CorrectFromMoments()(context)
    between = {name: tensor.clone() for name, tensor in context.student.state_dict().items()}
    CorrectFromImages()(context)
    after = context.student.state_dict()
    by_moments = {name.partition(".")[0] for name in before if not before[name].equal(between[name])}
    by_images = {name.partition(".")[0] for name in before if not between[name].equal(after[name])}
    assert by_moments == {"a", "b"} and by_images == {"c", "head"}


def test_new_images_come_closer_to_the_teacher():
    teacher = norm_teacher(Tokens)
    context, images = context_of(teacher, spread_images(), bits=4), spread_images(seed=9)
    with torch.no_grad():
        before = (context.student(images) - teacher(images)).norm()
        CorrectFromImages()(context)
        assert (context.student(images) - teacher(images)).norm() < before


def test_moments_that_are_dropped_make_a_folded_network():
    teacher = small_teacher()
    for node in teacher.traced.graph.nodes:
        node.meta.pop(OUTPUT_MOMENTS, None)
    assert layers_without_moments(teacher.traced) == ["stem", "conv1", "conv2", "head"]
