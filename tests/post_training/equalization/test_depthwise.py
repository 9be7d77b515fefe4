"""Channels in front of depthwise layers: the teacher computes the same, and few bits lose less."""

from dataclasses import replace

import pytest
import torch
from support.instant_nets import smooth
from support.small_nets import SPEC, Residual, small_teacher
from torch import nn
from torch.nn import functional as F

from dfq.calibration import METHODS
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.equalization.channel_ranges import expected_range, fitted_ranges
from dfq.post_training.equalization.depthwise import fill_depthwise_inputs
from dfq.post_training.equalization.layer_pairs import Pair, find_pairs
from dfq.post_training.equalization.settings import DepthwiseSettings
from dfq.post_training.reconstruction import FitSettings, reconstruct
from dfq.post_training.steps_after_ranges import Reconstruct
from dfq.post_training.steps_before_ranges import FillAsSeen
from dfq.quantizers.scheme import make_scheme
from dfq.results.load_run import load_run
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, quantizers_in_mode
from dfq.teacher import Teacher

RELU6_MODULE = nn.ReLU6()  # one module, called at two places


class Separable(nn.Module):
    """Two convolutions, a depthwise and a pointwise one, with an activation behind each; their outputs are small."""

    def __init__(self, activation=RELU6_MODULE):
        super().__init__()
        self.activation = activation
        self.stem = nn.Conv2d(3, 12, 1)
        self.wide, self.wide_norm = nn.Conv2d(12, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.depthwise, self.norm = nn.Conv2d(16, 16, 3, groups=16, bias=False), nn.BatchNorm2d(16)
        self.pointwise, self.head = nn.Conv2d(16, 8, 1), nn.Linear(8, 5)

    def forward(self, images):
        x = self.activation(self.stem(images))
        x = self.activation(self.wide_norm(self.wide(x)))
        x = self.activation(self.norm(self.depthwise(x)))
        return self.head(self.activation(self.pointwise(x)).mean((2, 3)))


def unequal(activation=RELU6_MODULE) -> Teacher:
    """Its second layer's channels differ in width by a factor of up to 25; the widest exceed 6 now and then."""
    torch.manual_seed(0)
    model = small_teacher(Separable(activation)).model
    with torch.no_grad():
        factors = torch.logspace(-1, 0.4, 16)
        for parameter in (model.wide_norm.weight, model.wide_norm.bias):
            parameter.mul_(factors)
        model.depthwise.weight.div_(factors.view(-1, 1, 1, 1))
    return Teacher(model, SPEC)


def in_front(network) -> Pair:
    return next(pair for pair in find_pairs(network) if pair.second == "depthwise")


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("activation", [RELU6_MODULE, F.relu6, F.relu])
@torch.no_grad()
def test_teacher_computes_the_same(activation, seen):
    teacher = unequal(activation)
    student = make_student(teacher, make_scheme("deploy", bits=4))
    other = fill_depthwise_inputs(student, teacher, smooth(seed=3) if seen else None)
    images = 5 * smooth()  # far beyond what is expected, and beyond 6
    torch.testing.assert_close(other(images), teacher(images), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other.features(images).logits, teacher(images), atol=1e-4, rtol=1e-4)
    assert not torch.equal(other.traced.wide.weight, teacher.traced.wide.weight)
    torch.testing.assert_close(other.traced.wide.weight, student.wide.weight)
    torch.testing.assert_close(other.traced.depthwise.weight, student.depthwise.weight)
    assert torch.equal(teacher.traced.pointwise.weight, student.pointwise.weight), "only depthwise layers' inputs"


@torch.no_grad()
def test_channels_are_widened_to_the_ceiling_and_never_narrowed():
    teacher = unequal()
    student = make_student(teacher, make_scheme("deploy", bits=4))
    before = expected_range(teacher.traced, in_front(teacher.traced))
    other = fill_depthwise_inputs(student, teacher)
    after = expected_range(other.traced, in_front(other.traced))
    assert (after >= before * 0.999).all() and after.max() <= 6
    largest_factor = DepthwiseSettings().largest_factor
    reachable = before > 6 / largest_factor
    torch.testing.assert_close(after[reachable], torch.full_like(after[reachable], 6.0))
    torch.testing.assert_close(after[~reachable], before[~reachable] * largest_factor)
    assert reachable.any() and not reachable.all()


@torch.no_grad()
def test_student_loses_nothing_without_quantization_and_less_with_it():
    teacher = unequal()
    plain, filled = (make_student(teacher, make_scheme("deploy", bits=4)) for _ in range(2))
    fill_depthwise_inputs(filled, teacher)
    target = teacher(smooth(seed=5))
    with quantizers_in_mode(filled, "off"):  # each channel is clipped where it is expected to end
        clipped = (filled(smooth(seed=5)) - target).square().mean()
    assert clipped < 0.02 * target.var()
    errors = [(calibrate(s, smooth())(smooth(seed=5)) - target).square().mean() for s in (plain, filled)]
    assert errors[1] < 0.5 * errors[0]


@torch.no_grad()
def test_images_say_where_a_channel_ends_that_two_moments_do_not():
    """Channels that are silent mostly and loud now and then, as in late blocks."""
    model = unequal().model
    model.wide_norm.bias.sub_(2.5 * model.wide_norm.weight)  # what passes the activation is rare
    reference = Teacher(model, SPEC).traced
    pair = in_front(reference)
    spec = make_scheme("deploy", bits=4).activation_spec(4)
    fitted = fitted_ranges(reference, {pair: spec}, smooth(seed=3))["wide"]
    images = smooth(seed=5)
    values = F.relu6(reference.wide(F.relu6(reference.stem(images)))).transpose(0, 1).flatten(1)

    def error(end):
        step = (end / spec.q_max).clamp(min=1e-8)[:, None]
        return ((values / step).round().clamp(0, spec.q_max) * step - values).square().sum(1)

    loud = values.amax(1) > 0.1
    assert loud.sum() > 8
    better, expected = error(fitted)[loud], error(expected_range(reference, pair))[loud]
    assert better.sum() < 0.8 * expected.sum()


def test_network_without_depthwise_layers_stays_as_it_is():
    teacher = small_teacher(Residual())
    student = make_student(teacher, make_scheme("deploy", bits=4))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert fill_depthwise_inputs(student, teacher) is teacher
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


def test_blocks_of_both_networks_still_correspond():
    teacher = unequal()
    student = make_student(teacher, make_scheme("deploy", bits=4))
    other = fill_depthwise_inputs(student, teacher)
    calibrate(student, smooth())
    history = reconstruct(student, other, smooth(), FitSettings(iterations=60, batch_size=16))
    assert all(block.after <= block.before for block in history.blocks if block.kept)
    assert history.blocks[-1].after < 0.2


def test_run_writes_a_file_of_the_rescaled_student(tmp_path):
    assert FillAsSeen() in METHODS["reconstruct"].preparations
    quick = replace(METHODS["reconstruct"], post_training=(Reconstruct(FitSettings(iterations=20)),))
    settings = Settings(bits=4, method=quick, images=32, steps=2)
    result = quantize_model(teacher := unequal(), tmp_path / "run", settings)
    assert not torch.equal(result.student.wide.weight, make_student(teacher, make_scheme()).wide.weight)
    assert result.report["agreement"]["onnx_student"]["synthetic"] == 1.0
    again = load_run(tmp_path / "run", model=teacher.model)
    assert torch.equal(again(smooth()), result.student(smooth()))
