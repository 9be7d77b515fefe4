"""What a student may have lost, told without any real image: how it differs from its teacher on held-out images.

Agreement on synthetic images says little: the teacher is sure of them, and so is a bad student, the more so on images
of the recipe that it was fitted to. Mixtures of two lie between classes, where networks part first. Images that look
like nothing at all (`dfq.images.scrambled`) tell most: students are fitted to none of their kind.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import exp, inf, log

import torch
from torch import Tensor, nn

from dfq.images.input_spec import is_large
from dfq.images.mixtures import Mix
from dfq.images.scrambled import far_images
from dfq.teacher import Teacher
from dfq.teacher.answers import answers, same_answers
from dfq.training.losses import knowledge_distillation

MIXTURES = Mix(blended=0.5, patched=0.5)
ENOUGH, ENOUGH_LARGE = 1024, 128  # mixtures
TEMPERATURE = 4.0
MIN_DISAGREEMENT = 1e-3  # disagreement that still has a logarithm


@dataclass(frozen=True)
class Evidence:
    """How a student differs from its teacher on held-out synthetic images.

    Attributes:
        divergence: τ²·KL(teacher ‖ student) at τ = 4 on the images, in nats.
        mixed_agreement: top-1 agreement on mixtures of them, in [0, 1].
        mixed_divergence: the divergence on the mixtures.
        far_agreement: top-1 agreement on images made of them that look like nothing, in [0, 1].
        far_share: of the teacher's most frequent answer to those, in (0, 1]; at 1, agreement on them tells nothing.
    """

    divergence: float
    mixed_agreement: float
    mixed_divergence: float
    far_agreement: float
    far_share: float = 0.0

    def to_dict(self) -> dict:
        return asdict(self)


class HeldOutEvidence:
    """Held-out synthetic images and what is made of them, with the teacher's answers: judges any number of students.

    Args:
        held_out: synthetic images that no student is trained on, (N, C, H, W).
        mixtures: how many, at least, and as many far images; None: 1024, of images beyond 64×64 pixels 128.
    """

    @torch.no_grad()
    def __init__(self, teacher: Teacher, held_out: Tensor, *, mixtures: int | None = None, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        wanted = mixtures or (ENOUGH_LARGE if is_large(held_out.shape) else ENOUGH)
        rounds = -(-wanted // len(held_out))
        self.boundary = teacher.boundary
        self.images, self.mixtures = held_out, torch.cat([MIXTURES(held_out, generator) for _ in range(rounds)])
        self.far = far_images(held_out, len(self.mixtures), generator)
        self.targets, self.mixed_targets, self.far_targets = (
            _logits(teacher, images) for images in (self.images, self.mixtures, self.far)
        )

    @torch.no_grad()
    def measure(self, student: nn.Module) -> Evidence:
        """How the student, in evaluation mode, differs from the teacher."""
        logits, mixed = _logits(student, self.images), _logits(student, self.mixtures)
        return Evidence(
            divergence=float(knowledge_distillation(logits, self.targets, TEMPERATURE)),
            mixed_agreement=same_answers(mixed, self.mixed_targets, self.boundary),
            mixed_divergence=float(knowledge_distillation(mixed, self.mixed_targets, TEMPERATURE)),
            far_agreement=same_answers(_logits(student, self.far), self.far_targets, self.boundary),
            far_share=_largest_share(answers(self.far_targets, self.boundary)),
        )


def measure_evidence(student: nn.Module, teacher: Teacher, held_out: Tensor, *, seed: int = 0) -> Evidence:
    """How one student differs from its teacher on these held-out images (N, C, H, W)."""
    return HeldOutEvidence(teacher, held_out, seed=seed).measure(student)


def _logits(network: nn.Module | Teacher, images: Tensor) -> Tensor:
    """Logits (N, classes)."""
    return torch.cat([network(batch) for batch in images.split(64)])


def _largest_share(classes: Tensor) -> float:
    """Of the most frequent of classes (N,)."""
    return float(torch.bincount(classes).max()) / len(classes)


@dataclass(frozen=True)
class Estimate:
    """Predicts a drop of accuracy from evidence: drop = exp(offset) · (1 − far agreement)^power, at most 1.

    A drop is the share of the teacher's accuracy that is lost, so that networks of different accuracy can be compared:
    0.02 of a teacher with 80 % are 1.6 percentage points.

    Attributes:
        error: mean absolute error over the students that it was fitted to.
    """

    offset: float
    power: float
    error: float

    def drop(self, evidence: Evidence) -> float:
        return min(exp(self.offset + self.power * log(max(1 - evidence.far_agreement, MIN_DISAGREEMENT))), 1.0)


# Of 64 students of three networks, 8 to 2 bits: `benchmarks/estimate.py`, which also says how far off it is.
FITTED = Estimate(offset=0.003, power=3.30, error=0.036)


# Mean deviation from the BatchNorm statistics beyond which images tell nothing (sketches, noise).
LIKE_TRAINING_DATA = 0.1
MAX_ALIKE = 0.99  # of the teacher's answers to far images, beyond which agreement is no merit


def predicted_drop(evidence: Evidence, batch_norm_deviation: Sequence[float] | None) -> float | None:
    """The share of the teacher's accuracy that is likely lost; None where the evidence tells nothing.

    That is where images are too unlike the training data, or where both networks have one answer, the same one, to all
    far images.

    Args:
        batch_norm_deviation: of the images, each layer's (`dfq.evaluation.diversity.Diversity`); None without
            BatchNorm.
    """
    if not batch_norm_deviation or sum(batch_norm_deviation) / len(batch_norm_deviation) > LIKE_TRAINING_DATA:
        return None
    if min(evidence.far_share, evidence.far_agreement) > MAX_ALIKE:
        return None
    return FITTED.drop(evidence)


def fit_estimate(students: Sequence[tuple[Evidence, float]]) -> Estimate:
    """The estimate that fits (evidence, true drop) of many students best.

    Least squares of the drops themselves for each power, and the power of the least mean absolute error.
    """
    known = [(log(max(1 - evidence.far_agreement, MIN_DISAGREEMENT)), drop) for evidence, drop in students]
    logs, drops = torch.tensor(known, dtype=torch.float64).T
    best = Estimate(0.0, 1.0, inf)
    for power in torch.linspace(0.5, 4.0, 71).tolist():
        shape = (power * logs).exp()
        factor = float((shape * drops).sum() / shape.square().sum())
        error = float((factor * shape - drops).abs().mean())
        if factor > 0 and error < best.error:
            best = Estimate(log(factor), power, error)
    return best
