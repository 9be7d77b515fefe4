"""Which classes a batch of images is made for."""

import torch
from torch import Tensor


def draw_labels(size: int, classes: int, generator: torch.Generator, *, paired: bool) -> Tensor:
    """Returns shuffled labels (size,): as many of each class as fit, and the rest at random.

    Args:
        size: Number of images.
        classes: Number of classes.
        generator: Source of the random numbers.
        paired: Whether images are compared with others of their class. Where `size` is less than two of each class,
            labels then come in pairs.
    """
    if paired and size < 2 * classes:
        labels = torch.randperm(classes, generator=generator)[: (size + 1) // 2].repeat(2)[:size]
    else:
        whole = torch.arange(classes).repeat(size // classes)
        labels = torch.cat([whole, torch.randperm(classes, generator=generator)[: size - len(whole)]])
    return labels[torch.randperm(size, generator=generator)]
