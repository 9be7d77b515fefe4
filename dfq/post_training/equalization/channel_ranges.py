"""How wide each channel is that the first layer of a pair hands to the second, by images or by BatchNorm alone."""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import LayerVisitor, matrix_calls
from dfq.post_training.equalization.layer_pairs import Pair
from dfq.post_training.equalization.settings import DepthwiseSettings
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import QuantSpec


def _as_read(output: Tensor, pair: Pair) -> Tensor:
    """Returns the magnitudes of what the second layer of a pair reads, from what the first one computes."""
    return output.clamp(0, pair.ceiling) if pair.rectified else output.abs()


@torch.no_grad()
def fitted_ranges(
    reference: fx.GraphModule,
    specs: Mapping[Pair, QuantSpec],
    images: Tensor,
    *,
    seed: int = 0,
    settings: DepthwiseSettings = DepthwiseSettings(),
) -> dict[str, Tensor]:
    """Returns where a grid for each channel alone would end so that it loses least: (C,) for each first layer, by name.

    The rule is "mse" of `dfq.quantizers.range_rules`.

    Args:
        reference: Traced network.
        specs: The pairs of `find_pairs` whose first layer is a convolution, with the grid of the map between.
        images: Normalised images (N, C, H, W).
        seed: Seed of the draws of values.
        settings: Settings of the ranges; all images are looked at.
    """
    pairs = {pair.first: pair for pair in specs}
    samples: dict[str, list[Tensor]] = {name: [] for name in pairs}
    generator = torch.Generator().manual_seed(seed)
    batches = images.split(settings.batch_size)

    def keep(name: str, output: Tensor) -> Tensor:
        if name in pairs:
            channels = _as_read(output, pairs[name]).float().transpose(0, 1).flatten(1)
            index = torch.randint(channels.shape[1], (-(-settings.samples // len(batches)),), generator=generator)
            samples[name].append(channels[:, index.to(channels.device)])
        return output

    for batch in batches:
        LayerVisitor(reference, keep).run(batch)
    return {pair.first: _end_of_grid(torch.cat(samples[pair.first], 1), spec) for pair, spec in specs.items()}


def _end_of_grid(values: Tensor, spec: QuantSpec) -> Tensor:
    scale, zero_point = RANGES["mse"](values, spec)
    return torch.where(values.amax(1) > 0, scale * (spec.q_max - zero_point), 0.0)


def expected_range(
    reference: fx.GraphModule, pair: Pair, deviations: float = DepthwiseSettings.min_deviations
) -> Tensor | None:
    """Returns where the channels that the second layer of a pair reads end, (C,); None without BatchNorm.

    That is at the mean of the first layer's output plus so many standard deviations, as BatchNorm leaves them.
    """
    moments = matrix_calls(reference)[pair.first].meta.get(OUTPUT_MOMENTS)
    if moments is None:
        return None
    mean, deviation = moments
    return ((mean if pair.rectified else mean.abs()) + deviations * deviation).clamp(0, pair.ceiling)
