"""The generator network of GDFQ and CMI: noise (and a class) in, images out."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class Generator(nn.Module):
    """A linear layer, then twice: double the resolution, convolve, normalise, leaky ReLU; a last convolution.

    As in GDFQ (Xu et al., ECCV 2020) and CMI (Fang et al., IJCAI 2021), for any image size: a quarter of it, rounded
    up, is where the linear layer ends. Above 64 pixels there is one more doubling for each power of two.

    Args:
        size: (channels, height, width) of the images.
        latent: length of the noise vectors.
        width: channels of the coarse half; the fine half has half as many.
        num_classes: of the label embedding that scales the noise; None: unconditional.
    """

    def __init__(self, size: tuple[int, int, int], latent: int, width: int, num_classes: int | None = None):
        super().__init__()
        channels, height, width_pixels = size
        self.latent, self.width = latent, width
        self.embedding = nn.Embedding(num_classes, latent) if num_classes else None
        doublings = 2
        while max(height, width_pixels) >> doublings > 16:
            doublings += 1
        self.shapes = [(-(-height // 2**k), -(-width_pixels // 2**k)) for k in range(doublings, -1, -1)]
        rows, columns = self.shapes[0]
        self.first = nn.Linear(latent, width * rows * columns)
        self.first_norm = nn.BatchNorm2d(width)
        blocks, inputs = [], width
        for level in range(doublings):
            outputs = width if level == 0 else max(width // 2, 16)
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, padding=1),
                    nn.BatchNorm2d(outputs),
                    nn.LeakyReLU(0.2),
                )
            )
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Conv2d(inputs, channels, 3, padding=1)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Noise (N, latent) and labels (N,) → (N, C, H, W), unbounded."""
        if self.embedding is not None:
            assert labels is not None
            noise = noise * self.embedding(labels)
        maps = self.first(noise).view(len(noise), self.width, *self.shapes[0])
        maps = self.first_norm(maps).contiguous(memory_format=torch.channels_last)
        for shape, block in zip(self.shapes[1:], self.blocks, strict=True):
            maps = block(interpolate(maps, shape))
        return self.last(maps)


def seeded_generator(seed: int, *args, **kwargs) -> Generator:
    """A `Generator` whose start depends on `seed` alone; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Generator(*args, **kwargs)
