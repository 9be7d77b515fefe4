"""How wide each channel is that a layer hands to the next: measured on images, or expected from BatchNorm alone.

Both give layer name → largest magnitude (C,) behind the layer's ReLU, for the first layers of `find_pairs`: what
`dfq.equalize.equalize` takes.
"""

import torch
from torch import Tensor, fx

from dfq.fold import OUTPUT_MOMENTS
from dfq.layer_outputs import LayerVisitor, largest_values, matrix_calls
from dfq.layer_pairs import Pair, find_pairs

DEVIATIONS = 3.0  # a Gaussian's largest values among a few hundred


@torch.no_grad()
def measured_ranges(reference: fx.GraphModule, images: Tensor, *, batch_size: int = 64) -> dict[str, Tensor]:
    """On normalised images (N, C, H, W)."""
    pairs = {pair.first: pair for pair in find_pairs(reference)}
    ranges: dict[str, Tensor] = {}

    def widen(name: str, output: Tensor) -> Tensor:
        if name in pairs:
            seen = output.clamp(0, pairs[name].ceiling) if pairs[name].rectified else output.abs()
            largest = largest_values(seen, reference.get_submodule(name))
            ranges[name] = torch.maximum(ranges.get(name, largest), largest)
        return output

    for batch in images.split(batch_size):
        LayerVisitor(reference, widen).run(batch)
    return ranges


def expected_ranges(reference: fx.GraphModule) -> dict[str, Tensor]:
    """From the moments that BatchNorm gives each channel; layers without BatchNorm are left out."""
    ranges = {pair.first: expected_range(reference, pair) for pair in find_pairs(reference)}
    return {name: width for name, width in ranges.items() if width is not None}


def expected_range(reference: fx.GraphModule, pair: Pair, deviations: float = DEVIATIONS) -> Tensor | None:
    """Mean plus so many standard deviations, (C,), of what the second layer of a pair reads; None without BatchNorm."""
    moments = matrix_calls(reference)[pair.first].meta.get(OUTPUT_MOMENTS)
    if moments is None:
        return None
    mean, deviation = moments
    return ((mean if pair.rectified else mean.abs()) + deviations * deviation).clamp(0, pair.ceiling)
