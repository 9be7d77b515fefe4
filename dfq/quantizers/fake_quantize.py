"""`FakeQuantize`: rounds a tensor to an integer grid and keeps it in floating point, with a learned step (LSQ)."""

from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from dfq.quantizers.scheme import QuantSpec

SMALLEST_SCALE = 1e-8


def quantize_to_integers(values: Tensor, scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> Tensor:
    """clamp(round(x / scale) + zero_point), half to even, in floating point; same shape as `values`.

    Multiplies by the reciprocal of the scale, as torch's own fake-quantize kernels do.
    """
    return torch.mul(values, scale.reciprocal()).round_().add_(zero_point).clamp_(spec.q_min, spec.q_max)


class Observer(Protocol):
    """Is shown a tensor's values while ranges are calibrated."""

    def see(self, values: Tensor) -> None: ...


class _RoundToGrid(torch.autograd.Function):
    """Straight-through rounding with LSQ's gradient for the scale (Esser et al., ICLR 2020).

    Forward: x̂ = scale · (q − zero_point). Backward: ∂x̂/∂x is 1 inside the grid and 0 outside; ∂x̂/∂scale is
    round(x/s) − x/s inside and q_min − zero_point or q_max − zero_point outside. The backward pass consists of
    differentiable operations, so second derivatives exist.
    """

    @staticmethod
    def forward(ctx, values: Tensor, scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> Tensor:
        ctx.save_for_backward(values, scale, zero_point)
        ctx.spec = spec
        integers = quantize_to_integers(values, scale, zero_point, spec)
        return integers.sub_(zero_point).mul_(scale)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        (gradient,) = gradients
        values, scale, zero_point = ctx.saved_tensors
        steps = values * scale.reciprocal()
        # Outside is judged after rounding, like torch's kernels do: the last half step still belongs to the grid. It is
        # 1 or 0 as a number, because on a CPU, comparing and multiplying by booleans takes several times as long.
        rounded = steps.round() + zero_point
        clamped = rounded.clamp(ctx.spec.q_min, ctx.spec.q_max)
        outside = (rounded - clamped).abs().clamp(max=1)
        gradient_values = torch.addcmul(gradient, gradient, outside, value=-1) if ctx.needs_input_grad[0] else None
        gradient_scale = None
        if ctx.needs_input_grad[1]:
            error = clamped - zero_point - torch.addcmul(steps, steps, outside, value=-1)
            gradient_scale = _sum_to(gradient * error, scale.shape)
        return gradient_values, gradient_scale, None, None


def _sum_to(values: Tensor, shape: torch.Size) -> Tensor:
    """Sums over the dimensions that broadcast from `shape` to `values`; float32 whatever the input."""
    kept = [i for i in range(len(shape)) if shape[i] != 1]
    reduced = [i for i in range(values.dim()) if i not in kept] if kept else list(range(values.dim()))
    return values.sum(reduced, keepdim=bool(kept), dtype=torch.float32).reshape(shape)


class _ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a constant."""

    @staticmethod
    def forward(ctx, scale: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return scale.view_as(scale)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        return gradients[0] * ctx.factor, None


class FakeQuantize(nn.Module):
    """Rounds one tensor to the grid of `spec`, with a learned scale.

    Modes (attribute `mode`; switch them with the context managers of `dfq.student.set_ranges`):
        "quantize": x → scale · (clamp(round(x / scale) + zero_point) − zero_point).
        "observe": the tensor passes unchanged and is shown to `observer`.
        "off": the tensor passes unchanged.

    Attributes:
        spec: the grid.
        scale: learned; shape () per tensor or (channels,) per channel; positive.
        zero_point: float32 buffer of whole numbers in the grid, the same shape; not learned.
        scale_limit: upper bound of the effective scale. Behind ReLU6 it is 6 / q_max: the grid then ends where the
            activation ends, so that the runtime can absorb the activation into the convolution.

    Deviation from LSQ: the zero point of asymmetric activations is set by calibration and stays fixed.
    """

    def __init__(self, spec: QuantSpec, channels: int | None = None, scale_limit: float | None = None):
        super().__init__()
        shape = () if spec.axis is None else (channels or 1,)
        self.spec, self.scale_limit, self.mode = spec, scale_limit, "quantize"
        self.scale = nn.Parameter(torch.ones(shape))
        self.register_buffer("zero_point", torch.zeros(shape))
        self.zero_point: Tensor
        self.observer: Observer | None = None

    def effective_scale(self) -> Tensor:
        """The scale in use: the learned one, kept positive and below `scale_limit`."""
        return self.scale.clamp(min=SMALLEST_SCALE, max=self.scale_limit)

    def qparams(self) -> tuple[Tensor, Tensor]:
        """(scale, zero_point), detached, float32, shape () or (channels,)."""
        return self.effective_scale().detach(), self.zero_point.detach()

    def _shaped(self, parameter: Tensor, values: Tensor) -> Tensor:
        if self.spec.axis is None:
            return parameter
        shape = [1] * values.dim()
        shape[self.spec.axis] = -1
        return parameter.view(shape)

    def integers(self, values: Tensor) -> Tensor:
        """The int32 grid points of `values`, same shape."""
        scale, zero_point = (self._shaped(p, values) for p in self.qparams())
        return quantize_to_integers(values.detach().float(), scale, zero_point, self.spec).to(torch.int32)

    def forward(self, values: Tensor) -> Tensor:
        if self.mode == "quantize":
            # N: features of one image, or weights of one output channel; both are what lies behind dimension 0.
            factor = (prod(values.shape[1:]) * max(self.spec.q_max, 1)) ** -0.5  # LSQ: 1 / sqrt(N · q_max)
            scale = _ScaleGradient.apply(self.effective_scale(), factor)
            return _RoundToGrid.apply(
                values, self._shaped(scale, values), self._shaped(self.zero_point, values), self.spec
            )
        if self.mode == "observe" and self.observer is not None:
            self.observer.see(values)
        return values

    def extra_repr(self) -> str:
        kind = "signed" if self.spec.signed else "unsigned"
        return f"{self.spec.bits} bits, {kind}, axis={self.spec.axis}, mode={self.mode}"


class SharedQuantize(nn.Module):
    """Marks a tensor that already lies on a quantizer's grid: max-pooled, reshaped or sliced values of it.

    Identity in torch, because rounding a grid point again changes nothing. `dfq.export` writes the source's
    QuantizeLinear and DequantizeLinear here again: integer kernels of such operators need both sides on one grid.
    """

    def __init__(self, source: FakeQuantize):
        super().__init__()
        self._source = [source]  # in a list: not registered twice, so the state dict holds each quantizer once

    @property
    def source(self) -> FakeQuantize:
        return self._source[0]

    def forward(self, values: Tensor) -> Tensor:
        return values
