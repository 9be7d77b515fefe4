"""How a batch of images is written down while it is optimised: one class for each parametrization."""

from typing import Protocol

import torch
from torch import Tensor, nn

from dfq.calibration.dead_leaves import dead_leaves
from dfq.calibration.generator_network import seeded_generator
from dfq.calibration.inversion.pixel_grids import PixelGrids
from dfq.calibration.inversion.settings import FreePixelSettings, GeneratedImageSettings


class Parametrization(Protocol):
    """A batch of `count` images of `size` (C, H, W), which start from what `generator` draws."""

    def __init__(self, count: int, size: tuple[int, int, int], generator: torch.Generator, device: torch.device): ...

    def logits(self) -> Tensor:
        """Returns what is optimised: unbounded values (count, C, H, W), differentiable."""

    def to_pixels(self, logits: Tensor) -> Tensor:
        """Returns the pixels that `logits` stand for; those outside of [0, 1] are clipped in the end."""

    def parameters(self):
        """Returns the parameters that Adam changes."""

    def state_dict(self) -> dict:
        """Returns the tensors from which `load_state_dict` makes the same images again."""

    def load_state_dict(self, state_dict: dict): ...


class FreePixels(nn.Module):
    """Each pixel is free, and starts from N(0, 1) about the middle of its range, as in ZeroQ and DeepInversion."""

    def __init__(
        self,
        count: int,
        size: tuple[int, int, int],
        generator: torch.Generator,
        device: torch.device,
        *,
        settings: FreePixelSettings = FreePixelSettings(),
    ):
        super().__init__()
        self.spread = settings.spread
        start = torch.randn(count, *size, generator=generator)
        self.values = nn.Parameter(start.to(device, memory_format=torch.channels_last))

    def logits(self) -> Tensor:
        return self.values

    def to_pixels(self, logits: Tensor) -> Tensor:
        return 0.5 + self.spread * logits


class LeafPixels(nn.Module):
    """Each pixel is free, and starts from dead leaves (`dfq.calibration.dead_leaves`).

    Pixels outside of [0, 1] are seen as clipped, but the gradient reaches them as if they were not, so that they can
    come back.
    """

    def __init__(self, count: int, size: tuple[int, int, int], generator: torch.Generator, device: torch.device):
        super().__init__()
        start = dead_leaves(count, size, generator)
        self.values = nn.Parameter(start.to(device, memory_format=torch.channels_last))

    def logits(self) -> Tensor:
        return self.values

    def to_pixels(self, logits: Tensor) -> Tensor:
        return logits + (logits.clamp(0, 1) - logits).detach()


class GeneratedImages(nn.Module):
    """A small generator and its noise are fitted to each batch alone, as in CMI and RGAL.

    A new generator for each batch keeps one batch from looking like the last.
    """

    def __init__(
        self,
        count: int,
        size: tuple[int, int, int],
        generator: torch.Generator,
        device: torch.device,
        *,
        settings: GeneratedImageSettings = GeneratedImageSettings(),
    ):
        super().__init__()
        seed = int(torch.randint(2**31, (), generator=generator))
        self.network = seeded_generator(seed, size, settings.latent, settings.width).to(device)
        self.noise = nn.Parameter(torch.randn(count, settings.latent, generator=generator).to(device))

    def logits(self) -> Tensor:
        return self.network(self.noise)

    def to_pixels(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits)


__all__ = ["FreePixels", "GeneratedImages", "LeafPixels", "Parametrization", "PixelGrids"]
