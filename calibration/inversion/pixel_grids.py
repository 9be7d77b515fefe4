"""Images as sums of upsampled grids: a parametrization with the prior that natural images have."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from dfq.images.input_spec import is_large

# Square root of the covariance of colours in photographs: brightness, then two contrasts of colours (the numbers are
# those of Olah et al., Feature Visualization, Distill 2017, in Lucid, Apache-2.0).
COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
FIRST_AMPLITUDES = (0.1, 0.25, 0.4, 0.5)  # finest grid first; coarser ones start at the last value


class PixelGrids(nn.Module):
    """A batch of images in [0, 1], written as sigmoid(Σ grids upsampled to full size).

    Gradient steps on a coarse grid move large shapes and flat areas, on the finest one single pixels. Free pixels that
    start from white noise keep its high frequencies for good.

    Images of three channels and more than 64 pixels are written in `COLOURS`, in which a step changes brightness more
    than colour; smaller ones gain little by it (decision record 0006).

    Args:
        count: number of images.
        size: (channels, height, width).
        generator: seeds the start.
    """

    def __init__(self, count: int, size: tuple[int, int, int], generator: torch.Generator, device: torch.device):
        super().__init__()
        channels, self.height, self.width = size
        grids = []
        for level, shape in enumerate(grid_sizes(self.height, self.width)):
            amplitude = FIRST_AMPLITUDES[min(level, len(FIRST_AMPLITUDES) - 1)]
            start = torch.randn(count, channels, *shape, generator=generator) * amplitude
            grids.append(nn.Parameter(start.to(device, memory_format=torch.channels_last)))
        self.grids = nn.ParameterList(grids)
        self.colours: Tensor | None = None
        if channels == len(COLOURS) and is_large(size):
            colours = torch.tensor(COLOURS, device=device)
            self.colours = colours / colours.norm(dim=1).max()  # no channel varies more than the grids

    def logits(self) -> Tensor:
        """The sum of the grids before the sigmoid, (N, C, H, W)."""
        total = self.grids[0]
        for grid in list(self.grids)[1:]:
            total = total + interpolate(grid, (self.height, self.width), mode="bilinear", align_corners=False)
        if self.colours is None:
            return total
        return conv2d(total, self.colours[:, :, None, None])

    def to_pixels(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits)


def grid_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Full size first, then halves down to at least 2 pixels: 32 → 32, 16, 8, 4, 2."""
    sizes = [(height, width)]
    while min(sizes[-1]) >= 4:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes
