"""Cross-layer equalization: makes the channels of a feature map equally wide, so that one grid suits them all.

relu(x / s) = relu(x) / s for s > 0: between two layers with nothing but such operators, channel c may be divided by
s_c where it is made and multiplied by s_c where it is read (Nagel et al., ICCV 2019, arXiv 1906.04721, section 4.1).

Deviation: the paper balances the weight ranges of both layers, for per-tensor weight grids: s = √(r_rows / r_columns).
Our weights have a grid for each output channel, which follows its row's scale at no cost. What shares a grid is the
feature map between the layers, and the columns within each row of the second. So s_c = √(activation_c / column_c),
where column_c is the root mean square of that column in rows that are scaled to a largest weight of 1. With this
choice the errors of activations and of weights, Σ column² s² · Σ activation² / s², are both smallest. A row of a
depthwise layer reads one channel only: there the column costs nothing either, and s_c = activation_c. Factors have the
geometric mean 1 within a layer and stay within [1/8, 8]. One pass suffices: in these units, no pair changes another's
ranges.
"""

from collections.abc import Mapping
from math import inf

import torch
from torch import Tensor, fx, nn

from dfq.graph.fold_batch_norm import OUTPUT_MOMENTS
from dfq.layer_outputs import matrix_calls
from dfq.layer_pairs import find_pairs

LARGEST_FACTOR = 8.0


@torch.no_grad()
def equalize(student: fx.GraphModule, reference: fx.GraphModule, ranges: Mapping[str, Tensor]) -> int:
    """Rescales both networks with the same factors, in place; returns the number of pairs of layers.

    What either computes stays the same without quantization. To be run before ranges are calibrated.

    Args:
        student: of `dfq.convert.quantize`.
        reference: `dfq.trace.trace` of its teacher.
        ranges: layer name → how wide each channel is that its reader sees, (C,), from `dfq.channel_ranges`. Pairs
            whose first layer is not named are left alone, and those with a ReLU6 between, which has a scale of its own.
    """
    pairs = [pair for pair in find_pairs(reference) if pair.first in ranges and pair.ceiling == inf]
    for pair in pairs:
        width = ranges[pair.first]
        factors = equalizing_factors(width, reference.get_submodule(pair.second))
        for network in (student, reference):
            divide_rows(network, pair.first, factors)
            multiply_columns(network.get_submodule(pair.second), factors)
    return len(pairs)


def equalizing_factors(width: Tensor, second: nn.Module) -> Tensor:
    """s (C,), by which the map of channel widths (C,) is divided in front of layer `second`; 1 for dead channels."""
    column = _column_sizes(second, len(width))
    is_depthwise = isinstance(second, nn.Conv2d) and second.groups == len(width)
    square = width.float().square() if is_depthwise else width.float() / column
    alive = (width > 0) & (column > 0)
    if not alive.any():
        return torch.ones_like(column)
    logarithm = square.log() / 2
    factors = (logarithm - logarithm[alive].mean()).exp().clamp(1 / LARGEST_FACTOR, LARGEST_FACTOR)
    return torch.where(alive, factors, 1.0)


def _by_input_channel(weight: Tensor, layer: nn.Module, channels: int) -> Tensor:
    """(groups, out / groups, channels / groups, the weights between one output and one input channel).

    Of a linear layer behind flattened maps, each channel has as many weights as its map had pixels.
    """
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return weight.reshape(groups, weight.shape[0] // groups, channels // groups, -1)


def _column_sizes(layer: nn.Module, channels: int) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    rows = weight.detach().float().flatten(1)
    relative = rows / rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
    return _by_input_channel(relative, layer, channels).square().mean((1, 3)).sqrt().flatten()


def divide_rows(network: fx.GraphModule, name: str, factors: Tensor) -> None:
    """Divides what layer `name` computes by factors (C,), in place; its remembered moments too."""
    layer, node = network.get_submodule(name), matrix_calls(network)[name]
    for parameter in (layer.weight, layer.bias):
        if isinstance(parameter, Tensor):
            parameter.div_(factors.to(parameter).view(-1, *[1] * (parameter.dim() - 1)))
    if OUTPUT_MOMENTS in node.meta:
        node.meta[OUTPUT_MOMENTS] = tuple(moment / factors.to(moment) for moment in node.meta[OUTPUT_MOMENTS])


def multiply_columns(layer: nn.Module, factors: Tensor) -> None:
    """Multiplies what `layer` makes of each input channel by factors (C,), in place."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    columns = _by_input_channel(weight, layer, len(factors))
    weight.copy_((columns * factors.to(weight).view(columns.shape[0], 1, -1, 1)).view(weight.shape))
