"""Images as sums of upsampled grids, a parametrization that favours what natural images look like."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from dfq.calibration.inversion.settings import PixelGridSettings
from dfq.images.input_spec import is_large

# The square root of the covariance of colours in photographs: brightness, then two contrasts of colours. The numbers
# are those of Olah et al., Feature Visualization, Distill 2017 (Lucid, Apache-2.0).
COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


class PixelGrids(nn.Module):
    """A batch of images in [0, 1], written as sigmoid(Σ grids upsampled to full size).

    Gradient steps on a coarse grid change large shapes and flat areas; those on the finest grid change single pixels.
    Free pixels that start from white noise would never lose its high frequencies.

    Images of three channels and more than 64 pixels a side are written in `COLOURS`, in which a step changes brightness
    more than colour; smaller images gain little by it (decision record 0006).

    Args:
        count: Number of images.
        size: Number of channels, height and width of an image; the latter two in pixels.
        generator: Generator that draws the start.
        device: Device of the grids.
        settings: Which grids there are, and how they start.
    """

    def __init__(
        self,
        count: int,
        size: tuple[int, int, int],
        generator: torch.Generator,
        device: torch.device,
        *,
        settings: PixelGridSettings = PixelGridSettings(),
    ):
        super().__init__()
        channels, self.height, self.width = size
        grids = []
        for level, shape in enumerate(grid_sizes(self.height, self.width, settings=settings)):
            amplitude = settings.amplitudes[min(level, len(settings.amplitudes) - 1)]
            start = torch.randn(count, channels, *shape, generator=generator) * amplitude
            grids.append(nn.Parameter(start.to(device, memory_format=torch.channels_last)))
        self.grids = nn.ParameterList(grids)
        self.colours: Tensor | None = None
        if channels == len(COLOURS) and is_large(size):
            colours = torch.tensor(COLOURS, device=device)
            self.colours = colours / colours.norm(dim=1).max()  # No channel varies more than the grids.

    def logits(self) -> Tensor:
        """Returns the sum of the grids before the sigmoid, (N, C, H, W)."""
        total = self.grids[0]
        for grid in list(self.grids)[1:]:
            total = total + interpolate(grid, (self.height, self.width), mode="bilinear", align_corners=False)
        if self.colours is None:
            return total
        return conv2d(total, self.colours[:, :, None, None])

    def to_pixels(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits)


def grid_sizes(height: int, width: int, *, settings: PixelGridSettings = PixelGridSettings()) -> list[tuple[int, int]]:
    """Returns height and width of each grid: the full size, then halves as long as no side is too small.

    A side of 32 pixels has grids of 32, 16, 8, 4 and 2.
    """
    sizes = [(height, width)]
    while min(sizes[-1]) >= 2 * settings.min_side:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes
