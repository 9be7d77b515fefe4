"""Changed copies of the images that blocks are fitted to: a forward pass each, where an image costs a synthesis."""

from dataclasses import replace

import torch
from torch import Tensor

from dfq.augment import Augment
from dfq.reconstruction.store import BATCH_SIZE, DTYPE, empty_store

MOST_IMAGES = 2048  # with copies: a block's inputs and outputs are kept for all of them


@torch.no_grad()
def with_copies(images: Tensor, fitted: int, copies: int, augment: Augment, *, seed: int = 0) -> tuple[Tensor, int]:
    """(the first `fitted` images, up to `copies` changed ones of each, the other images; how many come before those).

    Every copy is zoomed into, where `augment` zooms at all. There are fewer where all would be more than `MOST_IMAGES`.

    Args:
        images: (N, C, H, W).

    Returns:
        float16, on the device of `images`.
    """
    copies = min(copies, max(MOST_IMAGES // len(images) - 1, 0))
    changed, generator = replace(augment, zoom_chance=1.0), torch.Generator().manual_seed(seed)
    stored = empty_store((len(images) + copies * fitted, *images.shape[1:]), device=images.device)
    end = (1 + copies) * fitted
    stored[:fitted], stored[end:] = images[:fitted].to(DTYPE), images[fitted:].to(DTYPE)
    for start in range(fitted, end, BATCH_SIZE):
        index = torch.arange(start, min(start + BATCH_SIZE, end), device=images.device) % fitted
        stored[start : start + len(index)] = changed(images[index], generator).to(DTYPE)
    return stored, end
