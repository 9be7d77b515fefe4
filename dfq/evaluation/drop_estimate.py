"""Estimates, without any real image, how much accuracy a student has lost, from how it differs from its teacher.

Agreement on synthetic images says little: the teacher is sure of them, and so is a bad student, the more so on images
of the recipe that it was fitted to. Mixtures of two images lie between classes, where networks differ first. Images
that look like nothing at all (`dfq.images.scrambled`) tell most, because students are fitted to none of their kind.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import exp, inf, isfinite, log
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

MIN_DISAGREEMENT = 1e-3  # The logarithm of a smaller disagreement is that of this one.


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


@dataclass(frozen=True)
class Estimate:
    """Predicts a drop of accuracy from evidence: drop = exp(offset) · (1 − far agreement)^power, at most 1.

    A drop is the share of the teacher's accuracy that is lost, so that networks of different accuracy can be compared:
    0.02 of a teacher with 80 % is a drop of 1.6 percentage points.

    Attributes:
        offset: Logarithm of the drop of a student that never agrees with its teacher on far images.
        power: Exponent of the disagreement on far images.
        error: Mean absolute error of the drop over the students that the estimate was fitted to.
    """

    offset: float
    power: float
    error: float

    def drop(self, evidence: Evidence) -> float:
        return min(exp(self.offset + self.power * log(max(1 - evidence.far_agreement, MIN_DISAGREEMENT))), 1.0)


# Fitted to 64 students of three networks, from 8 to 2 bits (`benchmarks/estimate/`, which also measures its error).
FITTED = Estimate(offset=0.003, power=3.30, error=0.036)


def predicted_drop(
    evidence: Evidence,
    batch_norm_deviation: Sequence[float] | None,
    *,
    settings: DropEstimateSettings = DropEstimateSettings(),
) -> float | None:
    """Returns the share of the teacher's accuracy that is likely lost; None where it is withheld (`why_withheld`).

    Args:
        batch_norm_deviation: Deviation of the images at each BatchNorm layer
            (`dfq.evaluation.diversity.Diversity.batch_norm_deviation`); None without BatchNorm.
    """
    withheld = why_withheld(evidence, batch_norm_deviation, settings=settings)
    return None if withheld else FITTED.drop(evidence)


def drop_interval(drop: float, *, settings: DropEstimateSettings = DropEstimateSettings()) -> tuple[float, float]:
    """Returns the ends of the interval around a predicted drop, in [0, 1].

    It is an empirical one: 63 of the 64 students that the estimate was fitted to lie within it, each network predicted
    by a fit over the others. It says nothing on networks of other kinds.
    """
    factor, margin = settings.interval_factor, settings.interval_margin
    return max(drop / factor - margin, 0.0), min(drop * factor + margin, 1.0)


def why_withheld(
    evidence: Evidence,
    batch_norm_deviation: Sequence[float] | None,
    *,
    settings: DropEstimateSettings = DropEstimateSettings(),
) -> str | None:
    """Returns in words why no drop is predicted; None where one is.

    The evidence tells nothing where nobody knows how far the images are from the training data, where they are known
    to be far, or where both networks give one and the same answer to nearly all far images.
    """
    if not batch_norm_deviation:
        return "without BatchNorm statistics, nothing tells how close the synthetic images are to the training data"
    deviation = sum(batch_norm_deviation) / len(batch_norm_deviation)
    if deviation > settings.max_deviation:
        return (
            f"the synthetic images are too far from the BatchNorm statistics (mean deviation {deviation:.2g}, at most "
            f"{settings.max_deviation:g})"
        )
    if min(evidence.far_share, evidence.far_agreement) > settings.max_alike:
        return "the network gives one and the same answer to nearly all images that look like nothing"
    return None


def fit_estimate(
    students: Sequence[tuple[Evidence, float]], *, settings: DropEstimateSettings = DropEstimateSettings()
) -> Estimate:
    """Returns the estimate that best fits the evidence and the true drops of many students.

    For each power, the factor is fitted by least squares of the drops themselves. The power with the least mean
    absolute error wins.
    """
    known = [(log(max(1 - evidence.far_agreement, MIN_DISAGREEMENT)), drop) for evidence, drop in students]
    logs, drops = torch.tensor(known, dtype=torch.float64).T
    best = Estimate(0.0, 1.0, inf)
    for power in torch.linspace(settings.smallest_power, settings.largest_power, settings.power_count).tolist():
        shape = (power * logs).exp()
        factor = float((shape * drops).sum() / shape.square().sum())
        error = float((factor * shape - drops).abs().mean())
        if factor > 0 and error < best.error:
            best = Estimate(log(factor), power, error)
    return best
