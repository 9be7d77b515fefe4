"""Mixtures of images: since a teacher answers for every mixture, few images become many."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Blends a share of a batch (mixup, Zhang et al. 2018) and patches another one together (CutMix, Yun et al. 2019).

    It is for objectives without labels only, because a mixture has no label.

    Attributes:
        blended, patched: Share of the batch in [0, 1]; the rest stays as it is.
        parts: Number of consecutive parts of the batch that are each mixed within themselves, for objectives that treat
            the parts differently.
    """

    blended: float = 0.0
    patched: float = 0.0
    parts: int = 1

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Returns mixed images of the same shape (N, C, H, W). Partners come from the whole part."""
        return torch.cat([self._mixed(part, generator) for part in images.chunk(self.parts)])

    def _mixed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count = len(images)
        to_blend, to_patch = int(self.blended * count), int(self.patched * count)
        mixed = images.clone()
        partners = images[torch.randperm(count, generator=generator).to(images.device)]
        blend, patch = slice(0, to_blend), slice(to_blend, to_blend + to_patch)
        if to_blend:
            share = torch.rand(to_blend, 1, 1, 1, generator=generator).to(images.device)
            mixed[blend] = share * images[blend] + (1 - share) * partners[blend]
        if to_patch:
            inside = _boxes(to_patch, images.shape[2], images.shape[3], generator).to(images.device)
            mixed[patch] = torch.where(inside[:, None], partners[patch], images[patch])
        return mixed


def _boxes(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Returns one random box for each image, bool (count, height, width).

    The area of a box is uniform, apart from what the border cuts off.
    """
    side = torch.rand(count, 1, 1, generator=generator).sqrt()
    row = torch.rand(count, 1, 1, generator=generator) * height
    column = torch.rand(count, 1, 1, generator=generator) * width
    rows = (torch.arange(height).view(1, -1, 1) - row).abs() < side * height / 2
    columns = (torch.arange(width).view(1, 1, -1) - column).abs() < side * width / 2
    return rows & columns
