"""The interface of everything that makes images."""

from typing import Any, Protocol, runtime_checkable

from torch import fx

from dfq.images.batch import Batch


class Synthesizer(Protocol):
    """A source of synthetic images for one teacher.

    Attributes:
        notes: One sentence for each thing that the report should say, such as a fallback or an early stop.
        knowledge: What the images are made from, in words, such as "the statistics of 19 BatchNorm layers".
        batch_size: Number of images that are made together.
    """

    notes: list[str]
    knowledge: str
    batch_size: int

    def sample(self, count: int) -> Batch:
        """Returns `count` images on the teacher's device; their pixels lie on the 8-bit grid of image files."""

    def update(self, student: fx.GraphModule) -> dict[str, float]:
        """Takes notice of the student as it is now, and learns one step where the method has something to learn.

        Returns losses for the report, by name; none where nothing was learned.
        """


@runtime_checkable
class Resumable(Protocol):
    """A synthesizer that a killed run can go on with; one that makes all its images before training need not be."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the tensors and numbers from which `load_state_dict` goes on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state, after which the same images are made as without the interruption."""
