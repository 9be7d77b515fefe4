"""How old classes are kept while new ones are learned: a row for each strategy and a class for each loss term."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion_terms import SynthesisRelations
from dfq.calibration.recipes import GENERATED
from dfq.graph.features import Features
from dfq.training.growing_images import GrowingImages
from dfq.training.image_sources import FixedImages, ImageSource
from dfq.training.losses import knowledge_distillation
from dfq.training.relational_losses import DISTANCE_WEIGHTED, draw_triplets, triplet_loss


@dataclass(frozen=True)
class IncrementStep:
    """One training step as the loss terms see it; the new images come first, and the replayed ones follow.

    Attributes:
        student: The student's features of all images, (N, …).
        teacher: The teacher's features of all images, (N, …); its logits are those of the old classes alone.
        labels: The true labels of new images and the teacher's answers for replayed ones, (N,).
        new: Number of new images.
        head: The student's classifier.
    """

    student: Features
    teacher: Features
    labels: Tensor
    new: int
    head: nn.Linear

    @property
    def old_classes(self) -> int:
        return self.teacher.logits.shape[1]


Term = Callable[[IncrementStep], Tensor]


@dataclass(frozen=True)
class AllClasses:
    """Cross-entropy of the new images over all classes, which is plain fine-tuning."""

    def __call__(self, step: IncrementStep) -> Tensor:
        return cross_entropy(step.student.logits[: step.new], step.labels[: step.new])


@dataclass(frozen=True)
class NewAmongThemselves:
    """Cross-entropy of the new images over the new classes alone.

    Over all classes, the features would learn to tell real images, which are new, from synthetic ones, which are old
    (Smith et al., "Always be dreaming", ICCV 2021).
    """

    def __call__(self, step: IncrementStep) -> Tensor:
        logits = step.student.logits[: step.new, step.old_classes :]
        return cross_entropy(logits, step.labels[: step.new] - step.old_classes)


@dataclass(frozen=True)
class HeadOverAll:
    """Cross-entropy over all classes and all images, which trains the head alone: no gradient reaches the features.

    New and replayed images weigh as much as their classes; otherwise, one new class beside nine old ones would have
    half of the loss. A single new class has no other new class to be told from, so in this case a part of the gradient
    does reach the features (decision record 0026).

    Attributes:
        alone: That part, in [0, 1].
    """

    alone: float = 0.5

    def __call__(self, step: IncrementStep) -> Tensor:
        features = step.student.penultimate
        passed = self.alone if step.student.logits.shape[1] - step.old_classes == 1 else 0.0
        logits = step.head(passed * features + (1 - passed) * features.detach())
        new, old = (
            cross_entropy(logits[part], step.labels[part]) for part in (slice(None, step.new), slice(step.new, None))
        )
        share = step.old_classes / logits.shape[1]
        return (1 - share) * new + share * old


@dataclass(frozen=True)
class OldAnswers:
    """τ²·KL of the logits of the old classes, on new images (Li & Hoiem, LwF, ECCV 2016) and on replayed ones.

    Attributes:
        weight: Weight of the term.
        temperature: Temperature τ.
    """

    weight: float = 1.0
    temperature: float = 2.0

    def __call__(self, step: IncrementStep) -> Tensor:
        logits = step.student.logits[:, : step.old_classes]
        return self.weight * knowledge_distillation(logits, step.teacher.logits, self.temperature)


@dataclass(frozen=True)
class Relations:
    """RGAL's student phase: features of equal labels attract and those of different labels repel each other.

    This holds among new images and among replayed ones, not between the two: all new images are real and all replayed
    ones are synthetic. Triplets of both would teach the student to tell real from synthetic images. New classes would
    gain from that, and real images of old classes would be taken for new classes (decision record 0026).

    Attributes:
        weight: Weight of the term.
    """

    weight: float = 10.0

    def __call__(self, step: IncrementStep) -> Tensor:
        features = step.student.penultimate
        losses = [
            triplet_loss(features[part], draw_triplets(features[part], step.labels[part], DISTANCE_WEIGHTED))
            for part in (slice(None, step.new), slice(step.new, None))
        ]
        return self.weight * torch.stack(losses).mean()


@dataclass(frozen=True)
class OldFeatures:
    """Mean squared difference of the penultimate features, relative to their mean square in the teacher.

    Attributes:
        weight: Weight of the term.
    """

    weight: float = 1.0

    def __call__(self, step: IncrementStep) -> Tensor:
        wanted = step.teacher.penultimate
        difference = (step.student.penultimate - wanted).square().mean()
        return self.weight * difference / wanted.square().mean().clamp(min=1e-6)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One row of the table of strategies.

    Attributes:
        name: What `--strategy` takes.
        summary: What the strategy does, in one line.
        terms: Loss terms, whose sum is minimised.
        images: How images of the old classes are made; None: there are none.
        source: How these images reach the student (`dfq.training.image_sources`).
        first_share: Share of these images, in (0, 1], that is made before the new classes are learned.
        head_rate: Learning rate of the classifier, in multiples of that of the features. It may be higher because the
            new rows of the classifier start from random weights.
    """

    name: str
    summary: str
    terms: tuple[Term, ...]
    images: InversionConfig | None = None
    source: Callable[..., ImageSource] = FixedImages
    first_share: float = 1.0
    head_rate: float = 1.0


# At larger weights, images that are pulled between classes cost new classes accuracy, because they carry old labels.
RELATED_IMAGES = replace(GENERATED, terms=(*GENERATED.terms, SynthesisRelations(0.05)))
KEEPING = (NewAmongThemselves(), HeadOverAll(), OldAnswers(), OldFeatures())
STRATEGIES: dict[str, Strategy] = {
    row.name: row
    for row in (
        Strategy(
            name="rgal",
            summary="images of old classes are made while the student learns, with RGAL's relations, and replayed",
            terms=(*KEEPING, Relations()),
            images=RELATED_IMAGES,
            source=GrowingImages,
            first_share=0.5,
            head_rate=3.0,
        ),
        Strategy(
            name="inversion",
            summary="images of old classes are made before the student learns, without relations, and replayed",
            terms=KEEPING,
            images=GENERATED,
            head_rate=3.0,
        ),
        Strategy(
            name="lwf",
            summary="the old answers on new images are kept, as in learning without forgetting (Li & Hoiem, ECCV 2016)",
            terms=(AllClasses(), OldAnswers()),
        ),
        Strategy(name="fine-tuning", summary="nothing is done for the old classes", terms=(AllClasses(),)),
    )
}


def total(terms: tuple[Term, ...], step: IncrementStep) -> Tensor:
    return torch.stack([term(step) for term in terms]).sum()
