"""Cross-layer equalization: rescales channels until one grid suits them all; the network computes the same.

What layers write may be divided by s_c in channel c if all that read it multiply by s_c
(`dfq.post_training.equalization.channel_groups`; Nagel et al., ICCV 2019, arXiv 1906.04721, section 4.1). One channel
that is a hundred times as wide as the others of its map leaves them two of 256 grid points; rescaled, it takes no more
than they do.

Deviations: the paper balances the weight ranges of both layers, for per-tensor weight grids: s = √(r_rows / r_columns).
Our weights have a grid for each output channel, which follows its row's scale at no cost. What shares a grid is the
map between the layers, and the columns within each row of those that read it. So s_c = √(width_c / column_c), where
width_c is the largest value of the channel and column_c the root mean square of that column in rows that are scaled to
a largest weight of 1. With this choice the errors of activations and of weights, Σ column² s² · Σ width² / s², are both
smallest. A row of a depthwise layer reads one channel only: there the column costs nothing, and s_c = width_c. Factors
are powers of two, so that no weight and no result is rounded, and the network is the same bit for bit. They are tried
in full and by half, and only taken where what the readers compute from rounded weights and inputs gets clearly better.
So where all is well, nothing is touched. A ReLU6 stays as it is in the student: a channel in front of it may be widened
until it ends at 6, but not narrowed. The teacher clips where it did before.
"""

import copy

import torch
from torch import Tensor, fx, nn

from dfq.graph.channel_relu6 import RELU6_LIMIT
from dfq.graph.layer_outputs import matrix_calls
from dfq.graph.tensor_samples import TensorSamples
from dfq.post_training.equalization.channel_groups import ChannelGroup, find_channel_groups
from dfq.post_training.equalization.rescaling import by_input_channel, raise_ceiling, rescale
from dfq.post_training.equalization.rounding_loss import rounding_loss
from dfq.post_training.equalization.settings import CrossLayerSettings, FactorLimits
from dfq.quantizers.scheme import QuantSpec
from dfq.student.convert import weight_quantizers
from dfq.student.set_ranges import input_quantizer
from dfq.teacher import Teacher


@torch.no_grad()
def equalize(
    student: fx.GraphModule,
    teacher: Teacher,
    images: Tensor,
    *,
    settings: CrossLayerSettings = CrossLayerSettings(),
) -> Teacher:
    """Rescales the student in place; returns the teacher with the same factors, or as it is where there are none.

    The teacher computes the same as before. This is for a student whose ranges are not calibrated yet.

    Args:
        student: Student of `dfq.student.convert.make_student`.
        teacher: Its teacher.
        images: Normalised images (N, C, H, W). They say how wide channels are and what a factor is worth.
        settings: Settings of the equalization.
    """
    reference = copy.deepcopy(teacher.traced)
    found = [
        (group, _grids(group, student)) for group in find_channel_groups(reference) if not _is_filled(group, student)
    ]
    groups = [(group, grids) for group, grids in found if grids]
    dimensions = {node: group.dimension for group, _ in groups for node in group.readers.values()}
    some = images[: settings.max_images]
    samples = TensorSamples(reference, dimensions, some, settings.rows, batch_size=settings.batch_size)
    changed = False
    # In reverse order, the channels that a reader writes are even by then, so that no single one counts for all.
    for group, grids in reversed(groups):
        factors = _worthwhile(group, grids, student, samples, settings)
        if factors is not None:
            changed = True
            for node in group.ceilings:
                raise_ceiling(reference, node, factors)
            for network in (student, reference):
                rescale(network, group.writers, tuple(group.readers), factors)
    reference.recompile()
    return teacher.rewritten(reference) if changed else teacher


def _is_filled(group: ChannelGroup, student: fx.GraphModule) -> bool:
    """Tells whether a depthwise layer alone reads a group.

    Then `dfq.post_training.equalization.depthwise` does better, at no cost.
    """
    layers = [student.get_submodule(name) for name in group.readers]
    return len(group.writers) == len(layers) == 1 and _reads_one_channel(layers[0], group.channels)


def _reads_one_channel(layer: nn.Module, channels: int) -> bool:
    """Tells whether each row of a layer reads one channel."""
    return isinstance(layer, nn.Conv2d) and layer.groups == channels > 1


def _grids(group: ChannelGroup, student: fx.GraphModule) -> dict[str, QuantSpec]:
    """Returns the grid of what each reader reads, by name; those that read floating point are left out."""
    calls, modules = matrix_calls(student), dict(student.named_modules())
    found = {name: input_quantizer(calls[name], modules) for name in group.readers}
    return {name: quantizer.spec for name, quantizer in found.items() if quantizer is not None}


def _worthwhile(
    group: ChannelGroup,
    grids: dict[str, QuantSpec],
    student: fx.GraphModule,
    samples: TensorSamples,
    settings: CrossLayerSettings,
) -> Tensor | None:
    """Returns the factors (C,) with which the readers lose least; None where little is gained by any."""
    layers = {name: student.get_submodule(name) for name in group.readers}
    weights = weight_quantizers(student)
    width = _width(group, samples)
    wanted = equalizing_factors(width, list(layers.values()))
    ceiling = RELU6_LIMIT if group.ceilings else None
    tried = [powers_of_two(wanted.pow(power), width, ceiling, limits=settings.limits) for power in settings.strengths]
    tried = [factors for factors in tried if bool((factors != factors[0]).any())]

    def loss(factors: Tensor) -> float:
        total = 0.0
        for name, spec in grids.items():
            rows, layer = samples.rows(group.readers[name]), layers[name]
            # A flattened map has several features of each channel.
            along = factors.repeat_interleave(rows.shape[1] // group.channels)
            total += rounding_loss(layer, rows, along, weights[name].spec, spec, settings=settings.rounding_loss)
        return total

    losses = [loss(factors) for factors in tried]
    if not tried or min(losses) >= settings.worth * loss(torch.ones_like(width)):
        return None
    return tried[losses.index(min(losses))]


def _width(group: ChannelGroup, samples: TensorSamples) -> Tensor:
    """Returns the largest value of each channel in all tensors that are read, (C,)."""
    largest = [samples.largest(node) for node in dict.fromkeys(group.readers.values())]
    return torch.stack([values.view(group.channels, -1).amax(1) for values in largest]).amax(0)


def equalizing_factors(width: Tensor, readers: list[nn.Module]) -> Tensor:
    """Returns the factors s (C,) by which tensors of channel widths (C,) are divided in front of `readers`.

    Their geometric mean is 1. The factor of a dead channel is 1.
    """
    mixing = [layer for layer in readers if not _reads_one_channel(layer, len(width))]
    square = width.float().square()
    if mixing:
        column = torch.stack([_column_sizes(layer, len(width)).square() for layer in mixing]).mean(0).sqrt()
        square = width.float() / column
    alive = (width > 0) & square.isfinite() & (square > 0)
    if not alive.any():
        return torch.ones_like(square)
    logarithm = square.log() / 2
    return torch.where(alive, (logarithm - logarithm[alive].mean()).exp(), 1.0)


def _column_sizes(layer: nn.Module, channels: int) -> Tensor:
    """Returns the root mean square of each column, (C,), in rows that are scaled to a largest weight of 1."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    rows = weight.detach().float().flatten(1)
    relative = rows / rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
    return by_input_channel(relative, layer, channels).square().mean((1, 3)).sqrt().flatten()


def powers_of_two(
    factors: Tensor, width: Tensor, ceiling: float | None, *, limits: FactorLimits = FactorLimits()
) -> Tensor:
    """Returns factors (C,) as powers of two, within limits.

    Where there is a ceiling, no channel of that width (C,) is divided by so little that it passes the ceiling.
    """
    exponent = factors.log2().round()
    if ceiling is not None:
        exponent = torch.maximum(exponent - exponent.amax(), (width / ceiling).log2().ceil().clamp(max=0))
    return exponent.exp2().clamp(limits.narrowest, limits.widest)
