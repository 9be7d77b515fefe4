"""Images far from any that a network was trained on, made of plausible ones: networks differ on them early."""

import torch
from torch import Tensor

from dfq.images.settings import FarImageSettings


def far_images(
    images: Tensor, count: int, generator: torch.Generator, *, settings: FarImageSettings = FarImageSettings()
) -> Tensor:
    """Returns `count` images (count, C, H, W) made of `images` (N, C, H, W).

    Half of them are means of four images, and half are images whose 4×4 tiles have changed places. Where a side is not
    a multiple of 4, the rest at the right and the lower border stays as it is.
    """
    blended = count // 2
    picks = torch.randint(len(images), (settings.blended, blended), generator=generator).to(images.device)
    blends = torch.stack([images[pick] for pick in picks]).mean(0)
    chosen = torch.randint(len(images), (count - blended,), generator=generator).to(images.device)
    return torch.cat([blends, torch.stack([_rearranged(image, settings.tiles, generator) for image in images[chosen]])])


def _rearranged(image: Tensor, tiles: int, generator: torch.Generator) -> Tensor:
    """Returns the image (C, H, W) with its `tiles` × `tiles` tiles in other places."""
    height, width = (size // tiles for size in image.shape[1:])
    places = [
        (slice(None), slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))
        for row in range(tiles)
        for column in range(tiles)
    ]
    order = torch.randperm(len(places), generator=generator).tolist()
    rearranged = image.clone()
    for place, source in zip(places, order, strict=True):
        rearranged[place] = image[places[source]]
    return rearranged
