"""What the rounding of a layer's weight and inputs does to its outputs, measured on samples of what it reads."""

import torch
from torch import Tensor, nn

from dfq.post_training.equalization.settings import RoundingLossSettings
from dfq.quantizers.fake_quantize import quantize_to_integers
from dfq.quantizers.range_rules import grid
from dfq.quantizers.scheme import QuantSpec


def rounding_loss(
    layer: nn.Module,
    rows: Tensor,
    factors: Tensor,
    weight_spec: QuantSpec,
    spec: QuantSpec,
    *,
    settings: RoundingLossSettings = RoundingLossSettings(),
) -> float:
    """Returns the squared error ÷ variance of what a layer computes once its weight and its inputs are on grids.

    Each position of a map counts on its own, and each place of a convolution's kernel is an output. Grids end where
    they lose least among a few factors. That is a coarse `dfq.quantizers.range_rules.mse`, because this function is
    called hundreds of times.

    Args:
        layer: Convolution or linear layer.
        rows: What it reads, (M, features).
        factors: Factors (features,) by which features are divided before they are rounded; the weight makes up for
            them.
        weight_spec: Grid of the weight.
        spec: Grid of what is read.
        settings: Settings of the measurement.
    """
    weight = layer.get_parameter("weight").detach().float()
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    weight = weight.reshape(groups, len(weight) // groups, rows.shape[1] // groups, -1)  # (groups, out, in, kernel)
    weight = weight[:, :: max(weight.shape[1] // settings.outputs, 1)] * factors.view(groups, 1, -1, 1)
    most = settings.products // (weight.shape[0] * weight.shape[1] * weight.shape[3])
    inputs = (rows[:: -(-len(rows) // max(most, 2))] / factors).float()
    exact = _outputs(weight, inputs)
    error = _outputs(_rounded_weight(weight, weight_spec, settings), _rounded(inputs, spec, settings)) - exact
    return float(error.square().mean() / (exact - exact.mean(0)).square().mean().clamp(min=1e-30))


def _outputs(weight: Tensor, inputs: Tensor) -> Tensor:
    """Returns what a layer computes, (M, groups, out, kernel)."""
    return torch.einsum("mgi, goik -> mgok", inputs.unflatten(1, (len(weight), -1)), weight)


def _rounded_weight(weight: Tensor, spec: QuantSpec, settings: RoundingLossSettings) -> Tensor:
    rows = weight.flatten(0, 1).flatten(1)
    return _quantized(rows, *_grid_of_least_error(rows, spec, settings.shrinks), spec).view_as(weight)


def _rounded(inputs: Tensor, spec: QuantSpec, settings: RoundingLossSettings) -> Tensor:
    flat = inputs.flatten()
    some = torch.cat([flat[:: max(len(flat) // settings.values, 1)], torch.stack(flat.aminmax())])
    return _quantized(inputs, *_grid_of_least_error(some[None], spec, settings.shrinks), spec)


def _grid_of_least_error(rows: Tensor, spec: QuantSpec, shrinks: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Returns scales and zero points, (rows, 1) each, for values (rows, M)."""
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    grids = [grid(low * shrink, high * shrink, spec) for shrink in shrinks]
    errors = torch.stack([(_quantized(rows, *ends, spec) - rows).square().sum(1, keepdim=True) for ends in grids])
    best = errors.argmin(0, keepdim=True)
    scales, zero_points = (torch.stack(parts) for parts in zip(*grids, strict=True))
    return scales.gather(0, best)[0], zero_points.gather(0, best)[0]


def _quantized(values: Tensor, scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> Tensor:
    return (quantize_to_integers(values, scale, zero_point, spec) - zero_point) * scale
