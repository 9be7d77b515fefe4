"""The generator network of GDFQ and CMI, which turns noise (and a class) into images."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dfq.calibration.settings import GeneratorNetworkSettings


class Generator(nn.Module):
    """A linear layer, then twice: double the resolution, convolve, normalise, leaky ReLU; a last convolution.

    It follows GDFQ (Xu et al., ECCV 2020) and CMI (Fang et al., IJCAI 2021), and serves any size of images: the linear
    layer puts out maps of a quarter of that size, rounded up. Images of more than 64 pixels a side have further
    doublings (`GeneratorNetworkSettings`).

    Args:
        size: Number of channels, height and width of the images; the latter two in pixels.
        latent: Length of the noise vectors.
        width: Number of channels of the coarse half; the fine half has half as many.
        num_classes: Number of classes of the embedding that scales the noise; None: the generator is unconditional.
        settings: How the layers follow from `size`.
    """

    def __init__(
        self,
        size: tuple[int, int, int],
        latent: int,
        width: int,
        num_classes: int | None = None,
        *,
        settings: GeneratorNetworkSettings = GeneratorNetworkSettings(),
    ):
        super().__init__()
        channels, height, width_pixels = size
        self.latent, self.width = latent, width
        self.embedding = nn.Embedding(num_classes, latent) if num_classes else None
        doublings = settings.doublings
        while max(height, width_pixels) >> doublings > settings.start_side:
            doublings += 1
        self.shapes = [(-(-height // 2**k), -(-width_pixels // 2**k)) for k in range(doublings, -1, -1)]
        rows, columns = self.shapes[0]
        self.first = nn.Linear(latent, width * rows * columns)
        self.first_norm = nn.BatchNorm2d(width)
        blocks, inputs = [], width
        for level in range(doublings):
            outputs = width if level == 0 else max(width // 2, settings.min_channels)
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, padding=1),
                    nn.BatchNorm2d(outputs),
                    nn.LeakyReLU(settings.negative_slope),
                )
            )
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Conv2d(inputs, channels, 3, padding=1)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns unbounded images (N, C, H, W) of noise (N, latent) and labels (N,)."""
        if self.embedding is not None:
            assert labels is not None
            noise = noise * self.embedding(labels)
        maps = self.first(noise).view(len(noise), self.width, *self.shapes[0])
        maps = self.first_norm(maps).contiguous(memory_format=torch.channels_last)
        for shape, block in zip(self.shapes[1:], self.blocks, strict=True):
            maps = block(interpolate(maps, shape))
        return self.last(maps)


def seeded_generator(seed: int, *args, **kwargs) -> Generator:
    """Returns a `Generator` whose start depends on `seed` alone; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Generator(*args, **kwargs)
