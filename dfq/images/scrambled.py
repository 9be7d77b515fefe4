"""Images far from any that a network was trained on, made of plausible ones: there networks part early."""

import torch
from torch import Tensor

BLENDED = 4  # images in one
TILES = 4  # along each side


def far_images(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` images (count, C, H, W) made of `images` (N, C, H, W).

    Half of them are means of four images, half are images whose 4×4 tiles have changed places. What is left at the
    right and lower border, where a side is no multiple of 4, stays.
    """
    blended = count // 2
    picks = torch.randint(len(images), (BLENDED, blended), generator=generator).to(images.device)
    blends = torch.stack([images[pick] for pick in picks]).mean(0)
    chosen = torch.randint(len(images), (count - blended,), generator=generator).to(images.device)
    return torch.cat([blends, torch.stack([_rearranged(image, generator) for image in images[chosen]])])


def _rearranged(image: Tensor, generator: torch.Generator) -> Tensor:
    """(C, H, W) with its tiles in other places."""
    height, width = (size // TILES for size in image.shape[1:])
    order = torch.randperm(TILES * TILES, generator=generator).tolist()
    rearranged = image.clone()
    for place, source in enumerate(order):
        rearranged[_tile(place, height, width)] = image[_tile(source, height, width)]
    return rearranged


def _tile(number: int, height: int, width: int) -> tuple[slice, slice, slice]:
    row, column = divmod(number, TILES)
    return (
        slice(None),
        slice(row * height, (row + 1) * height),
        slice(column * width, (column + 1) * width),
    )
