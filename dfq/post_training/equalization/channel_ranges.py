"""How wide each channel is that the first layer of a pair hands to the second: as images say, or BatchNorm alone."""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import LayerVisitor, matrix_calls
from dfq.post_training.equalization.layer_pairs import Pair
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import QuantSpec

SAMPLES = 2**12  # values of a channel that its range is fitted to
DEVIATIONS = 3.0  # a Gaussian's largest values among a few hundred


def _as_read(output: Tensor, pair: Pair) -> Tensor:
    """Magnitudes of what the second layer of a pair reads, from what the first one computes."""
    return output.clamp(0, pair.ceiling) if pair.rectified else output.abs()


@torch.no_grad()
def fitted_ranges(
    reference: fx.GraphModule,
    specs: Mapping[Pair, QuantSpec],
    images: Tensor,
    *,
    batch_size: int = 32,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Where each channel's own grid of that spec would end so that it loses least.

    The rule is "mse" of `dfq.quantizers.range_rules`.

    Args:
        specs: pairs of `find_pairs` whose first layer is a convolution → the grid of the map between.
        images: normalised, (N, C, H, W).
    """
    pairs = {pair.first: pair for pair in specs}
    samples: dict[str, list[Tensor]] = {name: [] for name in pairs}
    generator = torch.Generator().manual_seed(seed)
    batches = images.split(batch_size)

    def keep(name: str, output: Tensor) -> Tensor:
        if name in pairs:
            channels = _as_read(output, pairs[name]).float().transpose(0, 1).flatten(1)
            index = torch.randint(channels.shape[1], (-(-SAMPLES // len(batches)),), generator=generator)
            samples[name].append(channels[:, index.to(channels.device)])
        return output

    for batch in batches:
        LayerVisitor(reference, keep).run(batch)
    return {pair.first: _end_of_grid(torch.cat(samples[pair.first], 1), spec) for pair, spec in specs.items()}


def _end_of_grid(values: Tensor, spec: QuantSpec) -> Tensor:
    scale, zero_point = RANGES["mse"](values, spec)
    return torch.where(values.amax(1) > 0, scale * (spec.q_max - zero_point), 0.0)


def expected_range(reference: fx.GraphModule, pair: Pair, deviations: float = DEVIATIONS) -> Tensor | None:
    """Mean plus so many standard deviations, (C,), of what the second layer of a pair reads; None without BatchNorm."""
    moments = matrix_calls(reference)[pair.first].meta.get(OUTPUT_MOMENTS)
    if moments is None:
        return None
    mean, deviation = moments
    return ((mean if pair.rectified else mean.abs()) + deviations * deviation).clamp(0, pair.ceiling)
