"""Gives each channel that a depthwise layer reads the whole of the grid that its map shares.

A filter of a depthwise layer reads one channel and has a grid of its own, as has each row of the layer in front. So a
channel may be divided by any factor where it is made and multiplied by it where it is read. No weight is rounded more
coarsely by that, and the map's one grid suits all channels, which amounts to ranges per channel at no cost. This is
cross-layer equalization (Nagel et al., ICCV 2019, arXiv 1906.04721) of the pairs where it costs nothing.

Deviation: the paper replaces ReLU6 by ReLU. Here the student keeps ReLU6, which clips each channel where its grid is to
end: ReLU6(x / s) = ReLU6(x) / s as long as x ≤ 6 s. The teacher, rescaled alike, clips where it did before. Images or
BatchNorm's statistics give that range. Images are better in late blocks, whose channels are zero most of the time and
large at few positions, because two moments do not describe that.
"""

import copy
from math import inf

import torch
from torch import Tensor, fx, nn

from dfq.graph.layer_outputs import matrix_calls
from dfq.graph.operators import is_relu6
from dfq.post_training.equalization.channel_ranges import expected_range, fitted_ranges
from dfq.post_training.equalization.cross_layer import equalizing_factors
from dfq.post_training.equalization.layer_pairs import Pair, find_pairs, path_from
from dfq.post_training.equalization.rescaling import raise_ceiling, rescale
from dfq.post_training.equalization.settings import DepthwiseSettings
from dfq.quantizers.scheme import KERNEL_BITS, QuantSpec
from dfq.student.set_ranges import input_quantizer
from dfq.teacher import Teacher


@torch.no_grad()
def fill_depthwise_inputs(
    student: fx.GraphModule,
    teacher: Teacher,
    images: Tensor | None = None,
    *,
    settings: DepthwiseSettings = DepthwiseSettings(),
) -> Teacher:
    """Rescales the student in place; returns the teacher with the same factors, or as it is where there are none.

    The teacher computes the same as before. This is for a student whose ranges are not calibrated yet.

    Args:
        student: Student of `dfq.student.convert.make_student`.
        teacher: Its teacher.
        images: Normalised images (N, C, H, W). A channel ends where a grid of its own would lose least on them; None:
            it ends where BatchNorm predicts.
        settings: Settings of the equalization.
    """
    reference = copy.deepcopy(teacher.traced)
    pairs = [pair for pair in find_pairs(reference) if _is_depthwise(reference.get_submodule(pair.second))]
    if images is None:
        widths = _expected(student, reference, pairs, settings)
    else:
        widths = _fitted(student, reference, pairs, images[: settings.max_images], settings)
    for pair, width in widths.items():
        factors = _factors(pair, width, reference.get_submodule(pair.second), settings)
        for node in path_from(matrix_calls(reference)[pair.first], reference):
            if is_relu6(node, reference):
                raise_ceiling(reference, node, factors)
        for network in (student, reference):
            rescale(network, (pair.first,), (pair.second,), factors)
    reference.recompile()
    return teacher.rewritten(reference) if widths else teacher


def _expected(
    student: fx.GraphModule, reference: fx.GraphModule, pairs: list[Pair], settings: DepthwiseSettings
) -> dict[Pair, Tensor]:
    """Returns where the channels of each pair end, (C,), by BatchNorm; without BatchNorm, a pair is left out."""
    widths = {}
    for pair in pairs:
        spec = _spec(student, pair)
        bits = KERNEL_BITS if spec is None else spec.bits
        widths[pair] = expected_range(reference, pair, max(bits - 1, settings.min_deviations))
    return {pair: width for pair, width in widths.items() if width is not None}


def _fitted(
    student: fx.GraphModule, reference: fx.GraphModule, pairs: list[Pair], images: Tensor, settings: DepthwiseSettings
) -> dict[Pair, Tensor]:
    """Returns where the channels of each pair end, (C,), by images; a pair in floating point is left out."""
    specs = {pair: spec for pair in pairs if (spec := _spec(student, pair)) is not None}
    ranges = fitted_ranges(reference, specs, images, settings=settings) if specs else {}
    return {pair: ranges[pair.first] for pair in specs}


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


def _spec(student: fx.GraphModule, pair: Pair) -> QuantSpec | None:
    """Returns the grid of the map between two layers; None where the map stays in floating point."""
    quantizer = input_quantizer(matrix_calls(student)[pair.second], dict(student.named_modules()))
    return None if quantizer is None else quantizer.spec


def _factors(pair: Pair, width: Tensor, second: nn.Module, settings: DepthwiseSettings) -> Tensor:
    if pair.ceiling == inf:
        return equalizing_factors(width, [second]).clamp(settings.limits.narrowest, settings.limits.widest)
    return torch.where(width > 0, (width / pair.ceiling).clamp(1 / settings.largest_factor, 1.0), 1.0)
