"""BatchNorm behind ReLU: its statistics tell what the layer in front of the ReLU gives."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_nets import SPEC, canonical, lived_in
from torch import nn
from torch.nn import functional as F

from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.folding.rectified_moments import before_relu
from dfq.graph.layer_outputs import matrix_calls
from dfq.post_training.batch_norm_ranges import calibrate_from_moments
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import activation_quantizers, make_student
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher


def rectified(mean: float, deviation: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of ReLU(z) for a Gaussian z, (1,) float64 each, integrated numerically."""
    grid = torch.linspace(-10, 10, 200_001, dtype=torch.float64)
    density = torch.exp(-grid.square() / 2)
    density /= density.sum()
    values = F.relu(mean + deviation * grid)
    first = (values * density).sum()
    return first[None], ((values - first).square() * density).sum()[None]


@settings(max_examples=60, deadline=None)
@given(ratio=st.floats(-3, 6), deviation=st.floats(1e-3, 1e3))
def test_before_relu_is_the_inverse(ratio, deviation):
    mean, found_deviation = before_relu(*rectified(ratio * deviation, deviation))
    assert abs(float(found_deviation) - deviation) <= 2e-2 * deviation
    assert abs(float(mean) - ratio * deviation) <= 2e-2 * deviation * max(abs(ratio), 1)


@settings(max_examples=30, deadline=None)
@given(mean=st.floats(0, 1e4), variance=st.floats(0, 1e8), scale=st.floats(0.01, 100))
def test_moments_scale_with_the_channel_and_are_finite(mean, variance, scale):
    given_moments = torch.tensor([mean, mean * scale]).double(), torch.tensor([variance, variance * scale**2]).double()
    found = torch.stack(before_relu(*given_moments))
    assert found.isfinite().all() and (found[1] >= 0).all()
    torch.testing.assert_close(found[:, 1], found[:, 0] * scale, rtol=1e-3, atol=1e-6)


def test_a_dead_channel_is_nothing():
    mean, deviation = before_relu(torch.zeros(2), torch.tensor([0.0, 1e-12]))
    assert mean.tolist() == deviation.tolist() == [0.0, 0.0]


def rectified_net() -> nn.Module:
    """Convolution, ReLU, BatchNorm, three times."""
    layers: list[nn.Module] = []
    for channels, width, stride in ((3, 16, 1), (16, 16, 2), (16, 24, 1)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(width)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5))


def test_the_convolution_before_the_relu_knows_its_moments():
    torch.manual_seed(0)
    model = lived_in(rectified_net())
    calls = matrix_calls(canonical(model))
    assert [name for name, node in calls.items() if OUTPUT_MOMENTS in node.meta] == ["0", "2", "3", "5", "6", "8"]
    mean, deviation = calls["3"].meta[OUTPUT_MOMENTS]
    expected = before_relu(model[5].running_mean, model[5].running_var)
    torch.testing.assert_close((mean, deviation), expected)


def test_nothing_is_told_where_somebody_else_reads_the_layer_or_the_activation_is_another():
    class Read(nn.Module):
        def __init__(self, activation, twice):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)
            self.activation, self.twice = activation, twice

        def forward(self, images):
            x = self.conv(images)
            y = self.norm(self.activation(x))
            return self.head((y + x if self.twice else y).mean((2, 3)))

    for activation, twice, known in ((F.relu, False, True), (F.relu, True, False), (torch.sigmoid, False, False)):
        conv = matrix_calls(canonical(Read(activation, twice)))["conv"]
        assert (OUTPUT_MOMENTS in conv.meta) is known


def test_ranges_are_about_those_of_real_activations():
    """Steps of all activations from moments, compared with steps from the images of the statistics."""
    torch.manual_seed(0)
    teacher = Teacher(lived_in(rectified_net()), SPEC)
    by_moments, by_images = (make_student(teacher, make_scheme("deploy", bits=8)) for _ in range(2))
    assert calibrate_from_moments(by_moments, SPEC) == []
    coarse = torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.7
    calibrate(by_images, F.interpolate(coarse, SPEC.size[1:], mode="bilinear"))
    for name, quantizer in list(activation_quantizers(by_moments).items())[1:]:  # the first is the images' own
        ratio = quantizer.scale.item() / activation_quantizers(by_images)[name].scale.item()
        assert 0.5 < ratio < 2, name
