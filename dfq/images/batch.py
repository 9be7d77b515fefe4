"""`Batch`: what flows from the synthesizers to the objectives."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Synthetic images and the labels that they were made for.

    Attributes:
        images: Images, normalised as the teacher expects, float32 (N, C, H, W).
        labels: Labels, int64 (N,); None where the method draws none.
        step: Step of the training that the batch is for, from 0, for objectives that change during training.
        learning_rate: Learning rate of that step, for objectives that look a step ahead.
    """

    images: Tensor
    labels: Tensor | None = None
    step: int = 0
    learning_rate: float = 1.0

    def __len__(self) -> int:
        return len(self.images)

    def split(self, held_out: int) -> tuple["Batch", "Batch"]:
        """Returns all but the last `held_out` images, and the last `held_out` images."""
        labels = (None, None) if self.labels is None else (self.labels[:-held_out], self.labels[-held_out:])
        return Batch(self.images[:-held_out], labels[0]), Batch(self.images[-held_out:], labels[1])

    def joined(self, other: "Batch") -> "Batch":
        """Returns both batches as one, this one first; it has labels if both have them."""
        both = None if self.labels is None or other.labels is None else torch.cat([self.labels, other.labels])
        return Batch(torch.cat([self.images, other.images]), both)

    def pick_rows(self, rows: slice) -> "Batch":
        """Returns the images of a slice, for the same step."""
        return replace(self, images=self.images[rows], labels=None if self.labels is None else self.labels[rows])

    def pick(self, index: Tensor) -> "Batch":
        """Returns the images at `index`, int64 (M,)."""
        return Batch(self.images[index], None if self.labels is None else self.labels[index])

    def spread(self, count: int) -> Tensor:
        """Returns the index of `count` images (or all, if there are fewer) taken evenly from all labels.

        The index is int64 (min(count, N),), sorted by label, on the CPU.
        """
        order = torch.arange(len(self)) if self.labels is None else torch.argsort(self.labels.cpu(), stable=True)
        return order[torch.linspace(0, len(self) - 1, min(count, len(self))).round().long()]
