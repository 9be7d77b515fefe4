"""How a student differs from its teacher on held-out synthetic images, for classifiers.

Agreement on synthetic images says little: the teacher is sure of them, and so is a bad student, the more so on images
of the recipe that it was fitted to. Mixtures of two images lie between classes, where networks differ first. Images
that look like nothing at all (`dfq.images.scrambled`) tell most, because students are fitted to none of their kind.
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
from dfq.teacher.answers import answers, same_answers
from dfq.training.losses import knowledge_distillation


@dataclass(frozen=True)
class Evidence:
    """How a student differs from its teacher on held-out synthetic images.

    Attributes:
        divergence: τ²·KL(teacher ‖ student) on the images, in nats (`DropEstimateSettings.temperature`).
        mixed_agreement: Top-1 agreement on mixtures of the images, in [0, 1].
        mixed_divergence: Divergence on the mixtures, in nats.
        far_agreement: Top-1 agreement on images that are made of the held-out ones and look like nothing, in [0, 1].
        far_share: Share of the teacher's most frequent answer to those images, in (0, 1]; at 1, agreement on them tells
            nothing.
    """

    divergence: float
    mixed_agreement: float
    mixed_divergence: float
    far_agreement: float
    far_share: float = 0.0

    def to_dict(self) -> dict:
        return asdict(self)

    @property
    def measures(self) -> tuple[float, float, float]:
        """Three figures, each of which is smaller for a better student."""
        return self.divergence, self.mixed_divergence, 1 - self.far_agreement

    @property
    def is_finite(self) -> bool:
        return isfinite(self.divergence) and isfinite(self.mixed_divergence)

    def against(self, other: Any, method: str) -> str:
        """Says in words how this student compares with another one, of the same kind of evidence, made by `method`."""
        return (
            f"on held-out synthetic images it differs from the teacher by {self.divergence:.3g} nats, {method}'s by "
            f"{other.divergence:.3g}; on mixtures of them by {self.mixed_divergence:.3g} and "
            f"{other.mixed_divergence:.3g}; on images that look like nothing it agrees with it on "
            f"{self.far_agreement:.1%}, {method}'s on {other.far_agreement:.1%}"
        )


class HeldOutEvidence:
    """Held-out synthetic images, what is made of them, and the teacher's answers: judges any number of students.

    Args:
        held_out: Synthetic images that no student is trained on, (N, C, H, W).
        mixtures: Least number of mixtures, and of far images; None: the number in `settings`.
    """

    @torch.no_grad()
    def __init__(
        self,
        teacher: Teacher,
        held_out: Tensor,
        *,
        mixtures: int | None = None,
        seed: int = 0,
        settings: DropEstimateSettings = DropEstimateSettings(),
    ):
        self.settings, self.boundary = settings, teacher.boundary
        generator = torch.Generator().manual_seed(seed)
        wanted = mixtures or (settings.mixtures_large if is_large(held_out.shape) else settings.mixtures)
        rounds = -(-wanted // len(held_out))
        mix = Mix(blended=settings.blended, patched=settings.patched)
        self.images, self.mixtures = held_out, torch.cat([mix(held_out, generator) for _ in range(rounds)])
        self.far = far_images(held_out, len(self.mixtures), generator)
        self.targets, self.mixed_targets, self.far_targets = (
            self._logits(teacher, images) for images in (self.images, self.mixtures, self.far)
        )

    @torch.no_grad()
    def measure(self, student: nn.Module) -> Evidence:
        """Measures how the student, in evaluation mode, differs from the teacher."""
        temperature = self.settings.temperature
        logits, mixed = self._logits(student, self.images), self._logits(student, self.mixtures)
        return Evidence(
            divergence=float(knowledge_distillation(logits, self.targets, temperature)),
            mixed_agreement=same_answers(mixed, self.mixed_targets, self.boundary),
            mixed_divergence=float(knowledge_distillation(mixed, self.mixed_targets, temperature)),
            far_agreement=same_answers(self._logits(student, self.far), self.far_targets, self.boundary),
            far_share=_largest_share(answers(self.far_targets, self.boundary)),
        )

    def _logits(self, network: nn.Module | Teacher, images: Tensor) -> Tensor:
        """Returns the logits (N, classes) of images (N, C, H, W)."""
        return torch.cat([network(batch) for batch in images.split(self.settings.batch_size)])


def measure_evidence(
    student: nn.Module,
    teacher: Teacher,
    held_out: Tensor,
    *,
    seed: int = 0,
    settings: DropEstimateSettings = DropEstimateSettings(),
) -> Evidence:
    """Measures how one student differs from its teacher on held-out images (N, C, H, W)."""
    return HeldOutEvidence(teacher, held_out, seed=seed, settings=settings).measure(student)


def _largest_share(classes: Tensor) -> float:
    """Returns the share of the most frequent one of classes (N,), in (0, 1]."""
    return float(torch.bincount(classes).max()) / len(classes)
