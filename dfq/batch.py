"""`Batch`: what flows from the synthesizers to the objectives."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Synthetic images and the labels they were made for.

    Attributes:
        images: normalised as the teacher expects, float32 (N, C, H, W).
        labels: int64 (N,), or None where the method draws none.
    """

    images: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def split(self, held_out: int) -> tuple["Batch", "Batch"]:
        """(all but the last `held_out` images, the last `held_out` images)."""
        labels = (None, None) if self.labels is None else (self.labels[:-held_out], self.labels[-held_out:])
        return Batch(self.images[:-held_out], labels[0]), Batch(self.images[-held_out:], labels[1])

    def pick(self, index: Tensor) -> "Batch":
        """The images at `index` (M,), int64."""
        return Batch(self.images[index], None if self.labels is None else self.labels[index])
