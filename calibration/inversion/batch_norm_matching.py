"""How images are brought to have the statistics that the teacher's BatchNorm layers remember."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dfq.teacher.batch_norm_statistics import BatchNormStatistics, Moments, pool_moments

RELATIVE, SQUARED_NORMS, NORMS = "relative", "squared norms", "norms"


@dataclass(frozen=True, kw_only=True)
class Matching:
    """One way of matching.

    Attributes:
        weight: Weight of the deviation from the BatchNorm statistics, beside the other terms.
        distance: How the deviation is measured: `RELATIVE` to each channel's own statistics, in `SQUARED_NORMS` (ZeroQ)
            or in `NORMS` (DeepInversion, CMI and RGAL).
        slack: Deviation, as a share of a channel's standard deviation, up to which nothing is paid, so that images need
            not all be average (Zhang et al., DSG, CVPR 2021, where each layer's band is measured on noise). It works
            with relative matching only.
        aggregated: Whether the statistics of all batches so far are matched together instead of those of each batch
            alone, so that a batch may be one-sided where others make up for it (Jeon et al., Genie, CVPR 2023). It
            works with relative matching only.
        swing: Whether strided convolutions see their input shifted by up to a pixel (Genie's swing convolution).
            Without that, their gradient leaves a chequered pattern.
    """

    weight: float = 1.0
    distance: str = RELATIVE
    slack: float = 0.0
    aggregated: bool = False
    swing: bool = False

    def deviation(self, statistics: BatchNormStatistics, accumulated: "AccumulatedMoments", size: int) -> Tensor:
        """Returns the weighted deviation of a batch of `size` images in the last forward pass, a scalar.

        Args:
            statistics: Statistics of that forward pass.
            accumulated: Moments of the batches that are finished.
            size: Number of images in the batch.
        """
        if self.distance != RELATIVE:
            plain = statistics.norm_loss if self.distance == NORMS else statistics.squared_norm_loss
            return self.weight * plain()
        moments = statistics.moments
        if self.aggregated and accumulated.moments is not None:
            moments = pool_moments([accumulated.moments, moments], [accumulated.count, size])
        return self.weight * statistics.deviations(moments, slack=self.slack).sum()


class AccumulatedMoments:
    """Moments of the batches that are finished.

    Attributes:
        moments: Mean and variance of each channel in each layer, over all images; None before the first batch.
        count: Number of these images.
    """

    def __init__(self) -> None:
        self.moments: Moments | None = None
        self.count = 0

    def add(self, moments: Moments, size: int) -> None:
        """Takes in the moments of a batch of `size` images."""
        moments = [None if m is None else (m[0].detach(), m[1].detach()) for m in moments]
        before = [] if self.moments is None else [(self.moments, self.count)]
        parts, counts = zip(*before, (moments, size), strict=True)
        self.moments, self.count = pool_moments(parts, counts), self.count + size


@contextmanager
def swing_convolutions(model: nn.Module, generator: torch.Generator, *, on: bool = True) -> Iterator[None]:
    """Lets every strided convolution of `model` read its input moved by −1, 0 or 1 pixel in each direction.

    The border is repeated where the input was moved away. Each layer draws once per forward pass, for the whole batch.
    """

    def shifted(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        row, column = torch.randint(3, (2,), generator=generator).tolist()
        height, width = inputs[0].shape[2:]
        return (pad(inputs[0], (1, 1, 1, 1), mode="replicate")[:, :, row : row + height, column : column + width],)

    strided = [m for m in model.modules() if isinstance(m, nn.Conv2d) and max(m.stride) > 1] if on else []
    handles = [layer.register_forward_pre_hook(shifted) for layer in strided]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
