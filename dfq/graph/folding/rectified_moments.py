"""What a Gaussian was before a ReLU, told from the moments behind it."""

import torch
from torch import Tensor

LARGEST_RATIO = 8.0  # of mean to standard deviation, either way: beyond, a ReLU passes all or next to nothing
HALVINGS = 40


def before_relu(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation), (C,), of the Gaussian z for which ReLU(z) has this mean and variance, (C,).

    With t = E[z] / σ: E[ReLU] = σ (φ(t) + t Φ(t)) and E[ReLU²] = σ² ((1 + t²) Φ(t) + t φ(t)). The ratio
    E[ReLU]² / E[ReLU²] depends on t alone and rises with it. Channels that are always 0 have both moments 0.
    """
    wanted = mean.double().square() / (mean.double().square() + variance.double()).clamp(min=1e-300)
    low = torch.full_like(wanted, -LARGEST_RATIO)
    high = -low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        first, second = _moments(middle)
        rises = first.square() / second.clamp(min=1e-300) < wanted
        low, high = torch.where(rises, middle, low), torch.where(rises, high, middle)
    ratio = (low + high) / 2
    deviation = torch.where(mean > 0, mean.double() / _moments(ratio)[0].clamp(min=1e-30), 0.0)
    return (ratio * deviation).to(mean), deviation.to(mean)


def _moments(t: Tensor) -> tuple[Tensor, Tensor]:
    """First and second moment of ReLU(z) for z of mean t and standard deviation 1."""
    density, below = torch.exp(-t.square() / 2) / (2 * torch.pi) ** 0.5, torch.special.ndtr(t)
    return density + t * below, (1 + t.square()) * below + t * density
