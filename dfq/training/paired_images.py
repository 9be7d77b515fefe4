"""Draws of images in which every one has others of its class, for losses that compare images of one class."""

import torch
from torch import Tensor


def paired_index(labels: Tensor, size: int, generator: torch.Generator, *, per_class: int = 4) -> Tensor:
    """Returns an index (size,) of images, class by class: classes in random order, then different images of each.

    Classes count the same, however many images they have (P classes × K images). Only images whose class has at least
    two are drawn, and each has a partner in the draw. Where no class has two, any images are drawn.

    Args:
        labels: Class of each image, int64 (N,).
        size: Number of images to draw, at least 2.
        generator: Source of the random numbers.
        per_class: Number of images of a class; classes with fewer give all that they have.
    """
    order = torch.randperm(len(labels), generator=generator)
    groups = [order[labels[order] == label] for label in labels.unique()]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return torch.randint(len(labels), (size,), generator=generator)
    drawn: list[Tensor] = []
    left = size
    while left:
        for place in torch.randperm(len(groups), generator=generator).tolist():
            group = groups[place]
            taken = min(per_class, len(group), left)
            taken += left - taken == 1  # A last image would have no partner.
            mixed = group[torch.randperm(len(group), generator=generator)]
            drawn.append(mixed.repeat(2)[:taken])
            left -= taken
            if not left:
                break
    return torch.cat(drawn)


def paired_rows(size: int, share: float) -> int:
    """Returns how many rows at the end of a batch of `size` are drawn in pairs, where they are to have this share."""
    rows = round(share * size)
    return rows if rows > 1 else 0
