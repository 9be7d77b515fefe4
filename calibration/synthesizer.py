"""The interface of everything that makes images."""

from typing import Protocol

from torch import fx

from dfq.images.batch import Batch


class Synthesizer(Protocol):
    """A source of synthetic images for one teacher.

    Attributes:
        notes: one sentence for each thing that the report should say (a fallback, an early stop).
        batch_size: images that are made together.
    """

    notes: list[str]
    batch_size: int

    def sample(self, count: int) -> Batch:
        """`count` images, on the teacher's device, their pixels on the 8-bit grid of image files."""

    def update(self, student: fx.GraphModule) -> dict[str, float]:
        """Takes notice of the student as it is now, and learns one step where the method has something to learn."""
