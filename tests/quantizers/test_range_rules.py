"""Range rules: what each promises, and that the searched one is never worse."""

from dataclasses import replace

import pytest
import torch

from dfq.quantizers.fake_quantize import quantize_to_integers
from dfq.quantizers.range_rules import RANGES, grid
from dfq.quantizers.scheme import QuantSpec
from dfq.quantizers.settings import RangeSettings

WEIGHT = QuantSpec(bits=4, signed=True, symmetric=True, axis=0)
SKEWED = QuantSpec(bits=4, signed=True, symmetric=False, axis=0)
ACTIVATION = QuantSpec(bits=4, signed=False, symmetric=False)
MIRRORED = QuantSpec(bits=3, signed=True, symmetric=True, axis=0, mirrored=True)
SPECS = [WEIGHT, SKEWED, ACTIVATION, MIRRORED]


def error(values, spec, rule):
    scale, zero_point = (p[:, None] for p in RANGES[rule](values, spec))
    rounded = (quantize_to_integers(values, scale, zero_point, spec) - zero_point) * scale
    return (rounded - values).abs().pow(RangeSettings().mse_exponent).mean(1)


@pytest.mark.parametrize("spec", SPECS)
def test_mse_is_never_worse_than_the_others(spec):
    values = torch.randn(6, 4000, generator=torch.Generator().manual_seed(0)) * torch.rand(6, 1) + 0.2
    for rule in ("minmax", "percentile"):
        assert (error(values, spec, "mse") <= error(values, spec, rule) * 1.0001).all()


def test_mse_clips_an_outlier_at_low_bits():
    values = torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0))
    values[0, 0] = 30.0
    assert RANGES["mse"](values, WEIGHT)[0] < RANGES["minmax"](values, WEIGHT)[0] / 3


def test_percentile_ignores_the_tail():
    values = torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0))
    values[0, :10] = 1e6
    scale, _ = RANGES["percentile"](values, ACTIVATION)
    assert scale.item() * 15 < 10


@pytest.mark.parametrize("rule", RANGES)
@pytest.mark.parametrize("spec", SPECS)
def test_zero_points_are_grid_points_and_scales_positive(rule, spec):
    values = torch.randn(4, 500, generator=torch.Generator().manual_seed(3)) - 0.5
    scale, zero_point = RANGES[rule](values, spec)
    assert (scale > 0).all() and torch.equal(zero_point, zero_point.round())
    assert (zero_point >= spec.q_min).all() and (zero_point <= spec.q_max).all()


@pytest.mark.parametrize("rule", RANGES)
def test_all_zero_channel_stays_zero(rule):
    scale, zero_point = RANGES[rule](torch.zeros(2, 100), WEIGHT)
    assert scale.isfinite().all() and (scale > 0).all() and not zero_point.any()


def test_minmax_spans_both_ends():
    values = torch.tensor([[-1.0, 0.5, 2.0]])
    scale, zero_point = grid(values.amin(1), values.amax(1), ACTIVATION)
    assert scale.item() == pytest.approx(3 / 15) and zero_point.item() == 5


@pytest.mark.parametrize("rule", RANGES)
def test_a_mirrored_grid_is_the_same_for_a_channel_and_its_negative(rule):
    values = torch.rand(5, 300, generator=torch.Generator().manual_seed(4)) - torch.linspace(0.1, 0.9, 5)[:, None]
    (scale, zero_point), (opposite, other) = RANGES[rule](values, MIRRORED), RANGES[rule](-values, MIRRORED)
    assert torch.allclose(scale, opposite)
    assert torch.equal(zero_point + other, torch.full_like(other, -1.0))  # one of each kind
    assert zero_point[0] == -1 and zero_point[-1] == 0  # longest above zero, longest below


def test_a_mirrored_grid_fits_better_than_a_fixed_one():
    values = torch.randn(50, 200, generator=torch.Generator().manual_seed(5))
    mirrored, fixed = error(values, MIRRORED, "mse"), error(values, replace(MIRRORED, mirrored=False), "mse")
    assert (mirrored <= fixed * 1.03).all()  # the search has steps
    assert mirrored.mean() < 0.95 * fixed.mean()
