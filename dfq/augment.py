"""Label-keeping changes of a batch, in the synthesis loop and in front of the student."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random mirror and shift, drawn per image.

    Attributes:
        flip: mirror left-right with probability one half. Wrong for digits and letters, whose mirror image is another
            sign or none; right for photographs.
        shift: up to that many pixels each way; what comes in repeats the border.
    """

    flip: bool = True
    shift: int = 2

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images (N, C, H, W) → the same shape; differentiable."""
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
        return picked.permute(0, 3, 1, 2)

    @staticmethod
    def _draw(choices: int, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(choices, (count, 1), generator=generator)
