"""How a batch of images is written down while it is optimised: one class per parametrization."""

from typing import Protocol

import torch
from torch import Tensor, nn

from dfq.calibration.generator_network import seeded_generator
from dfq.calibration.inversion.pixel_grids import PixelGrids

GENERATOR_LATENT, GENERATOR_WIDTH = 256, 64


class Parametrization(Protocol):
    """`count` images of `size` (C, H, W) that start from what `generator` draws."""

    def __init__(self, count: int, size: tuple[int, int, int], generator: torch.Generator, device: torch.device): ...

    def logits(self) -> Tensor:
        """What is optimised, unbounded, (count, C, H, W); differentiable."""

    def to_pixels(self, logits: Tensor) -> Tensor:
        """Pixels in [0, 1] (or clipped to it in the end) of `logits`."""

    def parameters(self): ...


class FreePixels(nn.Module):
    """Each pixel by itself, from N(0, 1) about the middle of its range: ZeroQ's and DeepInversion's."""

    def __init__(self, count: int, size: tuple[int, int, int], generator: torch.Generator, device: torch.device):
        super().__init__()
        start = torch.randn(count, *size, generator=generator)
        self.values = nn.Parameter(start.to(device, memory_format=torch.channels_last))

    def logits(self) -> Tensor:
        return self.values

    def to_pixels(self, logits: Tensor) -> Tensor:
        return 0.5 + 0.25 * logits  # a quarter of the range: the deviation of photographs


class GeneratedImages(nn.Module):
    """A small generator and its noise, both fitted to this batch alone: CMI's and RGAL's.

    A new generator for each batch keeps one batch from looking like the last.
    """

    def __init__(self, count: int, size: tuple[int, int, int], generator: torch.Generator, device: torch.device):
        super().__init__()
        seed = int(torch.randint(2**31, (), generator=generator))
        self.network = seeded_generator(seed, size, GENERATOR_LATENT, GENERATOR_WIDTH).to(device)
        self.noise = nn.Parameter(torch.randn(count, GENERATOR_LATENT, generator=generator).to(device))

    def logits(self) -> Tensor:
        return self.network(self.noise)

    def to_pixels(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits)


__all__ = ["FreePixels", "GeneratedImages", "Parametrization", "PixelGrids"]
