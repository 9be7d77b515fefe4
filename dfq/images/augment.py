"""Changes of a batch that keep the labels, for the synthesis loop and for what the student sees."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random mirror, shift and zoom, drawn per image.

    Attributes:
        flip: Whether each image is mirrored left-right with probability one half. This is right for photographs, and
            wrong for digits and letters, whose mirror image is another sign or none.
        shift: Largest shift in pixels in each direction; the border is repeated where an image was shifted away.
        zoom: Smallest part of an image's side that is enlarged to the whole, in (0, 1]; 1: no zoom.
        zoom_chance: Probability that an image is zoomed, in [0, 1].
    """

    flip: bool = True
    shift: int = 2
    zoom: float = 1.0
    zoom_chance: float = 0.5

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Returns changed images of the same shape (N, C, H, W); differentiable."""
        count, _, height, width = images.shape
        device = images.device
        rows = torch.arange(height, device=device).expand(count, height)
        columns = torch.arange(width, device=device).expand(count, width)
        if self.shift:
            padded = pad(images, (self.shift,) * 4, mode="replicate")
            rows = rows + self._draw(2 * self.shift + 1, count, generator).to(device)
            columns = columns + self._draw(2 * self.shift + 1, count, generator).to(device)
            width = padded.shape[3]
        else:
            padded = images
        if self.flip:
            mirrored = self._draw(2, count, generator).to(device).bool()
            columns = torch.where(mirrored, columns.flip(1), columns)
        batch = torch.arange(count, device=device)[:, None, None]
        picked = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
        return self._zoomed(picked.permute(0, 3, 1, 2), generator)

    def _zoomed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if self.zoom >= 1:
            return images
        count = len(images)
        part = self.zoom + (1 - self.zoom) * torch.rand(count, generator=generator)
        centre = (2 * torch.rand(2, count, generator=generator) - 1) * (1 - part)
        zoomed = torch.rand(count, generator=generator) < self.zoom_chance
        maps = torch.zeros(count, 2, 3)
        maps[:, 0, 0] = maps[:, 1, 1] = torch.where(zoomed, part, 1.0)
        maps[:, :, 2] = torch.where(zoomed, centre, 0.0).T
        grid = affine_grid(maps.to(images.device), list(images.shape), align_corners=False)
        seen = grid_sample(images, grid, padding_mode="border", align_corners=False)
        return seen.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def _draw(choices: int, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(choices, (count, 1), generator=generator)
