"""Computes the moments of a Gaussian in front of a ReLU from the moments behind it."""

import torch
from torch import Tensor

from dfq.graph.settings import FoldingSettings


def before_relu(
    mean: Tensor, variance: Tensor, *, settings: FoldingSettings = FoldingSettings()
) -> tuple[Tensor, Tensor]:
    """Returns the mean and the standard deviation of the Gaussian z for which ReLU(z) has this mean and variance.

    All of them are (C,). With t = E[z] / σ: E[ReLU] = σ (φ(t) + t Φ(t)) and E[ReLU²] = σ² ((1 + t²) Φ(t) + t φ(t)). The
    ratio E[ReLU]² / E[ReLU²] depends on t alone and rises with it. Both moments of a channel that is always 0 are 0.
    """
    wanted = mean.double().square() / (mean.double().square() + variance.double()).clamp(min=1e-300)
    low = torch.full_like(wanted, -settings.largest_ratio)
    high = -low
    for _ in range(settings.halvings):
        middle = (low + high) / 2
        first, second = _moments(middle)
        rises = first.square() / second.clamp(min=1e-300) < wanted
        low, high = torch.where(rises, middle, low), torch.where(rises, high, middle)
    ratio = (low + high) / 2
    deviation = torch.where(mean > 0, mean.double() / _moments(ratio)[0].clamp(min=1e-30), 0.0)
    return (ratio * deviation).to(mean), deviation.to(mean)


def _moments(t: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the first and the second moment of ReLU(z) for z of mean t and standard deviation 1."""
    density, below = torch.exp(-t.square() / 2) / (2 * torch.pi) ** 0.5, torch.special.ndtr(t)
    return density + t * below, (1 + t.square()) * below + t * density
