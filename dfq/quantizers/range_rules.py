"""Rules that find the grid which fits values best; `RANGES` lists them.

Each rule takes values, float32 (rows, M), and a spec. It returns scale and zero point, both of shape (rows,). A row is
one output channel of a weight, or one whole tensor. The grid always holds an exact zero.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from dfq.quantizers.fake_quantize import SMALLEST_SCALE, quantize_to_integers
from dfq.quantizers.scheme import QuantSpec
from dfq.quantizers.settings import RangeSettings


def grid(low: Tensor, high: Tensor, spec: QuantSpec) -> tuple[Tensor, Tensor]:
    """Returns scale and zero point, of the shape of `low`, of the grid that spans [low, high], widened to hold zero."""
    low, high = low.clamp(max=0), high.clamp(min=0)
    if spec.symmetric:
        # Where a mirror image is allowed, the longer end gets the extra value.
        zero_point = torch.where((high > -low) & spec.mirrored, -1.0, 0.0)
        ends = spec.q_min - zero_point, spec.q_max - zero_point
        scale = torch.maximum(low / ends[0] if spec.q_min else low * 0, high / ends[1])
        return scale.clamp(min=SMALLEST_SCALE), zero_point
    scale = ((high - low) / (spec.q_max - spec.q_min)).clamp(min=SMALLEST_SCALE)
    zero_point = (spec.q_min - low / scale).round().clamp(spec.q_min, spec.q_max)
    return scale, zero_point


def minmax(values: Tensor, spec: QuantSpec) -> tuple[Tensor, Tensor]:
    """Spans all values."""
    return grid(values.amin(1), values.amax(1), spec)


def percentile(values: Tensor, spec: QuantSpec, *, settings: RangeSettings = RangeSettings()) -> tuple[Tensor, Tensor]:
    """Leaves 0.1 % of the values beyond each end of the grid."""
    return grid(*_percentile_ends(values, settings.outside), spec)


def _percentile_ends(values: Tensor, outside: float) -> tuple[Tensor, Tensor]:
    ordered = values.sort(1).values
    index = round(outside * (values.shape[1] - 1))
    return ordered[:, index].clamp(max=0), ordered[:, -1 - index].clamp(min=0)


def mse(values: Tensor, spec: QuantSpec, *, settings: RangeSettings = RangeSettings()) -> tuple[Tensor, Tensor]:
    """Minimises the mean of |x̂ − x|^2.4 over clipped ranges.

    It clips both ends together (for a mirrored grid also those of the mirror image), then each end alone.
    """
    low, high = values.amin(1).clamp(max=0), values.amax(1).clamp(min=0)
    shrinks = torch.linspace(
        1.0, settings.smallest_shrink, settings.shrinks, dtype=torch.float32, device="cpu"
    ).tolist()
    best = _Best(values, spec, settings.mse_exponent)
    best.search((low * s, high * s) for s in shrinks)
    best.search([_percentile_ends(values, settings.outside)])
    if spec.mirrored:
        best.search((-high * s, -low * s) for s in shrinks)
    if not spec.symmetric:
        for _ in range(settings.end_rounds):
            best.search([(best.low * s, best.high) for s in settings.end_factors])
            best.search([(best.low, best.high * s) for s in settings.end_factors])
    return grid(best.low, best.high, spec)


class _Best:
    """The best range seen so far, row by row."""

    def __init__(self, values: Tensor, spec: QuantSpec, exponent: float):
        self.values, self.spec, self.exponent = values, spec, exponent
        self.low = self.high = torch.zeros(len(values), device=values.device)
        self.error = torch.full((len(values),), float("inf"), device=values.device)

    def search(self, candidates: Iterable[tuple[Tensor, Tensor]]) -> None:
        for low, high in candidates:
            error = self._error(*grid(low, high, self.spec))
            better = error < self.error
            self.error = torch.where(better, error, self.error)
            self.low, self.high = torch.where(better, low, self.low), torch.where(better, high, self.high)

    def _error(self, scale: Tensor, zero_point: Tensor) -> Tensor:
        scale, zero_point = scale[:, None], zero_point[:, None]
        integers = quantize_to_integers(self.values, scale, zero_point, self.spec)
        difference = integers.sub_(zero_point).mul_(scale).sub_(self.values)
        return difference.abs_().pow_(self.exponent).mean(1)


RANGES: dict[str, Callable[[Tensor, QuantSpec], tuple[Tensor, Tensor]]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
}
