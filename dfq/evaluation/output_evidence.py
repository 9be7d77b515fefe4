"""Evidence on a student whose outputs are no logits: how far they are off on synthetic images and what is made of them.

As for classifiers (`dfq.evaluation.drop_estimate`), mixtures and images that look like nothing say more than the
images of the kind that students are fitted to.
"""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from dfq.evaluation.settings import DropEstimateSettings
from dfq.images.input_spec import is_large
from dfq.images.mixtures import Mix
from dfq.images.scrambled import far_images
from dfq.teacher import Teacher
from dfq.training.output_losses import relative_squared_error


@dataclass(frozen=True)
class OutputEvidence:
    """Relative squared errors of a student's outputs (`dfq.training.output_losses.relative_squared_error`), from 0 up.

    Attributes:
        error: Error on held-out synthetic images.
        mixed_error: Error on mixtures of them.
        far_error: Error on images that are made of them and look like nothing.
    """

    error: float
    mixed_error: float
    far_error: float

    def to_dict(self) -> dict:
        return asdict(self)

    @property
    def measures(self) -> tuple[float, float, float]:
        """Three figures, each of which is smaller for a better student."""
        return self.error, self.mixed_error, self.far_error

    @property
    def is_finite(self) -> bool:
        return all(map(isfinite, self.measures))

    def against(self, other: Any, method: str) -> str:
        """Says in words how this student compares with another one, of the same kind of evidence, made by `method`."""
        return (
            f"relative squared errors of its outputs are {self.error:.3g} on held-out synthetic images, "
            f"{self.mixed_error:.3g} on mixtures of them and {self.far_error:.3g} on images that look like nothing; "
            f"{method}'s are {other.error:.3g}, {other.mixed_error:.3g} and {other.far_error:.3g}"
        )


class HeldOutOutputs:
    """Held-out synthetic images, and what is made of them: judges any number of students.

    What the teacher gives is computed anew each time, because maps of many images do not fit into memory.

    Args:
        teacher: The teacher.
        held_out: Synthetic images that no student is trained on, (N, C, H, W).
        seed: Seed of the mixtures.
        settings: How many mixtures are made.
    """

    @torch.no_grad()
    def __init__(
        self,
        teacher: Teacher,
        held_out: Tensor,
        *,
        seed: int = 0,
        settings: DropEstimateSettings = DropEstimateSettings(),
    ):
        self.teacher, self.settings = teacher, settings
        generator = torch.Generator().manual_seed(seed)
        mix = Mix(blended=settings.blended, patched=settings.patched)
        wanted = settings.mixtures_large if is_large(held_out.shape) else settings.mixtures_of_maps
        rounds = -(-wanted // len(held_out))
        mixtures = torch.cat([mix(held_out, generator) for _ in range(rounds)])
        self.kinds = (held_out, mixtures, far_images(held_out, len(mixtures), generator))

    @torch.no_grad()
    def measure(self, student: nn.Module) -> OutputEvidence:
        """Measures how far the outputs of the student, in evaluation mode, are off."""
        return OutputEvidence(*(self._error(student, images) for images in self.kinds))

    def _error(self, student: nn.Module, images: Tensor) -> float:
        parts = images.split(self.settings.batch_size)
        errors = [float(relative_squared_error(student(part), self.teacher(part))) for part in parts]
        return sum(error * len(part) for error, part in zip(errors, parts, strict=True)) / len(images)
