"""`FakeQuantize` rounds a tensor to an integer grid with a learned step (LSQ) and keeps it in floating point."""

from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from dfq.quantizers.scheme import QuantSpec

SMALLEST_SCALE = 1e-8  # Scales are kept at or above it, so that they stay positive.


def quantize_to_integers(values: Tensor, scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> Tensor:
    """Returns clamp(round(x / scale) + zero_point) in floating point, in the shape of `values`.

    Halves are rounded to even. It multiplies by the reciprocal of the scale, as torch's own fake-quantize kernels do.
    """
    return torch.mul(values, scale.reciprocal()).round_().add_(zero_point).clamp_(spec.q_min, spec.q_max)


class Observer(Protocol):
    """What sees the values of a tensor while ranges are calibrated."""

    def see(self, values: Tensor) -> None: ...


class _RoundToGrid(torch.autograd.Function):
    """Straight-through rounding with LSQ's gradient for the scale (Esser et al., ICLR 2020).

    Forward: x̂ = scale · (q − zero_point). Backward: ∂x̂/∂x is 1 inside the grid and 0 outside, and ∂x̂/∂scale is
    round(x/s) − x/s inside and q_min − zero_point or q_max − zero_point outside. The backward pass consists of
    differentiable operations, so that second derivatives exist.
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
        # As in torch's kernels, a value is outside if it is so after rounding: the last half step still belongs to the
        # grid. `outside` is 1 or 0 as a number, because comparing and multiplying by booleans takes a CPU several times
        # as long.
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
    """Sums over the dimensions that broadcast from `shape` to `values`; the result is always float32."""
    kept = [i for i in range(len(shape)) if shape[i] != 1]
    reduced = [i for i in range(values.dim()) if i not in kept] if kept else list(range(values.dim()))
    return values.sum(reduced, keepdim=bool(kept), dtype=torch.float32).reshape(shape)


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a constant."""

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
        spec: The grid.
        scale: The learned scale, of shape () per tensor or (channels,) per channel; positive.
        zero_point: Float32 buffer of whole numbers in the grid, of the same shape as `scale`; it is not learned.
        scale_limit: Upper bound of the effective scale; None: there is none. After ReLU6 it is 6 / q_max: the grid
            then ends where the activation ends, so that the runtime can absorb the activation into the convolution.
        mode: The mode, see above.
        observer: What sees the values in mode "observe".

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
        """Returns the scale in use: the learned one, kept positive and not above `scale_limit`."""
        return self.scale.clamp(min=SMALLEST_SCALE, max=self.scale_limit)

    def qparams(self) -> tuple[Tensor, Tensor]:
        """Returns scale and zero point, detached, float32, of shape () or (channels,)."""
        return self.effective_scale().detach(), self.zero_point.detach()

    def _shaped(self, parameter: Tensor, values: Tensor) -> Tensor:
        if self.spec.axis is None:
            return parameter
        shape = [1] * values.dim()
        shape[self.spec.axis] = -1
        return parameter.view(shape)

    def integers(self, values: Tensor) -> Tensor:
        """Returns the grid points of `values` as int32, in the same shape."""
        scale, zero_point = (self._shaped(p, values) for p in self.qparams())
        return quantize_to_integers(values.detach().float(), scale, zero_point, self.spec).to(torch.int32)

    def forward(self, values: Tensor) -> Tensor:
        if self.mode == "quantize":
            # LSQ's factor is 1 / sqrt(N · q_max), where N is the number of features of one image, or of weights of one
            # output channel. Both are the product of all dimensions but the first.
            factor = (prod(values.shape[1:]) * max(self.spec.q_max, 1)) ** -0.5
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

    In torch it is the identity, because rounding a grid point again changes nothing. `dfq.export` writes the source's
    QuantizeLinear and DequantizeLinear here again, because integer kernels of such operators need both sides on one
    grid.

    Attributes:
        source: The quantizer whose grid it is.
    """

    def __init__(self, source: FakeQuantize):
        super().__init__()
        self._source = [source]  # In a list it is not registered twice, so that the state dict holds it once.

    @property
    def source(self) -> FakeQuantize:
        return self._source[0]

    def forward(self, values: Tensor) -> Tensor:
        return values
