"""The interface of everything that makes images."""

from typing import Protocol

from dfq.batch import Batch


class Synthesizer(Protocol):
    """A source of synthetic images for one teacher.

    Attributes:
        notes: one sentence for each thing that the report should say (a fallback, an early stop).
    """

    notes: list[str]

    def sample(self, count: int) -> Batch:
        """`count` images, on the teacher's device."""
