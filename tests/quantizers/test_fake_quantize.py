"""FakeQuantize: exact against torch's own kernels, its properties, its gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfq.quantizers.fake_quantize import FakeQuantize, SharedQuantize
from dfq.quantizers.scheme import QuantSpec, make_scheme


def make(bits=4, *, signed=False, symmetric=False, axis=None, scale=0.1, zero_point=3.0, channels=None):
    quantizer = FakeQuantize(QuantSpec(bits=bits, signed=signed, symmetric=symmetric, axis=axis), channels)
    with torch.no_grad():
        quantizer.scale.fill_(scale) if isinstance(scale, float) else quantizer.scale.copy_(scale)
        quantizer.zero_point.fill_(0.0 if symmetric else zero_point)
    return quantizer


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_equals_torch_per_tensor(bits, signed):
    quantizer = make(bits, signed=signed, zero_point=1.0)
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    spec = quantizer.spec
    expected = torch.fake_quantize_per_tensor_affine(values, 0.1, 1, spec.q_min, spec.q_max)
    torch.testing.assert_close(quantizer(values).detach(), expected, atol=0, rtol=0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_equals_torch_per_channel(bits):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 3, 3, 3, generator=generator)
    scale = torch.rand(5, generator=generator) + 0.05
    quantizer = make(bits, signed=True, symmetric=True, axis=0, scale=scale, channels=5)
    zeros = torch.zeros(5, dtype=torch.int32)
    expected = torch.fake_quantize_per_channel_affine(
        weight, scale, zeros, 0, quantizer.spec.q_min, quantizer.spec.q_max
    )
    torch.testing.assert_close(quantizer(weight).detach(), expected, atol=0, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(2, 8),
    scale=st.floats(1e-3, 10),
    zero_point=st.integers(0, 3),
    values=st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=40),
)
def test_properties(bits, scale, zero_point, values):
    quantizer = make(bits, scale=scale, zero_point=float(zero_point))
    inputs = torch.tensor(sorted(values))
    output = quantizer(inputs).detach()
    assert torch.equal(quantizer(output).detach(), output), "idempotent"
    assert len(output.unique()) <= 2**bits
    assert (output.diff() >= 0).all(), "monotone"
    assert quantizer(torch.zeros(1)).item() == 0, "zero is on the grid"
    assert quantizer.integers(inputs).min() >= 0 and quantizer.integers(inputs).max() < 2**bits


def test_gradient_of_values_is_one_inside_and_zero_outside():
    quantizer = make(2, scale=1.0, zero_point=0.0)
    values = torch.tensor([-1.0, -0.4, 0.6, 2.9, 3.4, 3.6, 9.0], requires_grad=True)
    quantizer(values).sum().backward()
    assert values.grad.tolist() == [0, 1, 1, 1, 1, 0, 0]


def test_gradient_of_values_equals_torch():
    values = torch.randn(500, generator=torch.Generator().manual_seed(1))
    mine, reference = values.clone().requires_grad_(), values.clone().requires_grad_()
    quantizer = make(3, zero_point=4.0)
    quantizer(mine).square().sum().backward()
    torch.fake_quantize_per_tensor_affine(reference, 0.1, 4, 0, 7).square().sum().backward()
    assert torch.equal(mine.grad, reference.grad)


def test_scale_gradient_is_lsq_of_the_straight_through_function():
    """Between two roundings x̂(scale) is linear for fixed integers: clipped values give the exact derivative."""
    values = torch.tensor([[0.31, 0.52, 5.0, -3.0]])
    quantizer = make(3, scale=0.2, zero_point=2.0)
    quantizer(values).sum().backward()
    steps = values / 0.2
    inside = torch.tensor([True, True, False, False])
    ends = torch.tensor([0.0, 0.0, 5.0, -2.0])
    expected = torch.where(inside, steps.round() - steps, ends).sum() * (4 * 7) ** -0.5
    assert quantizer.scale.grad.item() == pytest.approx(expected.item(), rel=1e-5)


def test_scale_gradient_of_clipped_values_equals_finite_differences():
    values, step = torch.full((1, 8), 100.0), 1e-3
    quantizer = make(4, scale=0.5, zero_point=0.0)
    quantizer(values).sum().backward()
    factor = (8 * 15) ** -0.5
    with torch.no_grad():
        upper = make(4, scale=0.5 + step, zero_point=0.0)(values).sum()
        lower = make(4, scale=0.5 - step, zero_point=0.0)(values).sum()
    assert quantizer.scale.grad.item() == pytest.approx(((upper - lower) / (2 * step) * factor).item(), rel=1e-3)


def test_double_backward():
    quantizer = make(4, scale=0.3)
    values = torch.randn(2, 6, generator=torch.Generator().manual_seed(2), requires_grad=True)
    (gradient,) = torch.autograd.grad(quantizer(values).square().sum(), values, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), values)
    assert second.isfinite().all() and second.abs().sum() > 0


def test_scale_limit_bounds_the_grid():
    quantizer = FakeQuantize(QuantSpec(bits=4, signed=False, symmetric=False), scale_limit=6 / 15)
    with torch.no_grad():
        quantizer.scale.fill_(3.0)
    assert quantizer(torch.tensor([100.0])).item() == pytest.approx(6.0)


def test_bfloat16_keeps_type_and_counts_of_levels():
    output = make(4)(torch.randn(4, 100).bfloat16())
    assert output.dtype == torch.bfloat16 and len(output.unique()) <= 16


def test_shared_quantize_adds_nothing_to_the_state():
    shared = SharedQuantize(make())
    values = torch.randn(3)
    assert shared(values) is values
    assert not shared.state_dict() and not list(shared.parameters())


@pytest.mark.parametrize("bits", [0, 1, 9, 33, -4])
def test_impossible_bits(bits):
    from dfq.errors import DfqError

    with pytest.raises(DfqError, match=f"{bits} bits"):
        make_scheme("deploy", bits=bits)
