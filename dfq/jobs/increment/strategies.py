"""How the old classes are kept while new ones are learned: one row per strategy, one class per loss term."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dfq.calibration.inversion.inversion import InversionConfig
from dfq.calibration.inversion_terms import SynthesisRelations
from dfq.calibration.recipes import GENERATED
from dfq.graph.features import Features
from dfq.training.image_sources import FixedImages, GrowingImages, ImageSource
from dfq.training.losses import knowledge_distillation
from dfq.training.relational_losses import DISTANCE_WEIGHTED, draw_triplets, triplet_loss


@dataclass(frozen=True)
class IncrementStep:
    """One step as the terms see it: new images in front, replayed ones behind them.

    Attributes:
        student, teacher: features of all images (N, …); the teacher's logits are of the old classes alone.
        labels: true ones of new images, the teacher's answers for replayed ones, (N,).
        new: how many images are new.
        head: the student's classifier.
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
    """CE over all classes, on the new images: plain fine-tuning."""

    def __call__(self, step: IncrementStep) -> Tensor:
        return cross_entropy(step.student.logits[: step.new], step.labels[: step.new])


@dataclass(frozen=True)
class NewAmongThemselves:
    """CE of the new images over the new classes alone.

    Over all classes, features would learn to tell real images (which are new) from synthetic ones (which are old);
    Smith et al., "Always be dreaming", ICCV 2021.
    """

    def __call__(self, step: IncrementStep) -> Tensor:
        logits = step.student.logits[: step.new, step.old_classes :]
        return cross_entropy(logits, step.labels[: step.new] - step.old_classes)


@dataclass(frozen=True)
class HeadOverAll:
    """CE over all classes and all images that moves the head alone: the features are cut off from its gradient.

    New and replayed images weigh as much as the classes that they are of: one new class beside nine old ones would
    otherwise have half of the loss. A class that is new all alone has nothing among itself to learn from: then part of
    the gradient reaches the features after all (decision record 0026).

    Attributes:
        alone: that part.
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
    """τ²·KL of the logits of the old classes, on new images (Li & Hoiem, LwF, ECCV 2016) and replayed ones."""

    weight: float = 1.0
    temperature: float = 2.0

    def __call__(self, step: IncrementStep) -> Tensor:
        logits = step.student.logits[:, : step.old_classes]
        return self.weight * knowledge_distillation(logits, step.teacher.logits, self.temperature)


@dataclass(frozen=True)
class Relations:
    """RGAL's student phase: same labels together, different ones apart, among new images and among replayed ones.

    Not between the two: all new images are real and all replayed ones synthetic, and triplets across that border teach
    the border itself: new classes profit, and real images of old classes are taken for new ones
    (decision record 0026).
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
    """Mean squared difference of the penultimate features, relative to their mean square in the teacher."""

    weight: float = 1.0

    def __call__(self, step: IncrementStep) -> Tensor:
        wanted = step.teacher.penultimate
        difference = (step.student.penultimate - wanted).square().mean()
        return self.weight * difference / wanted.square().mean().clamp(min=1e-6)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One row.

    Attributes:
        name: what `--strategy` takes.
        summary: one line.
        terms: their sum is minimised.
        images: how images of the old classes are made; None: there are none.
        source: how they reach the student (`dfq.training.image_sources`).
        first_share: of these images, made before the new classes are learned.
        head_rate: learning rate of the classifier, in multiples of that of the features: it starts from nothing.
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
            summary="old classes are synthesized against the student as it learns, with RGAL's relations; replayed",
            terms=(*KEEPING, Relations()),
            images=RELATED_IMAGES,
            source=GrowingImages,
            first_share=0.5,
            head_rate=3.0,
        ),
        Strategy(
            name="inversion",
            summary="old classes are synthesized before, without relations; replayed",
            terms=KEEPING,
            images=GENERATED,
            head_rate=3.0,
        ),
        Strategy(
            name="lwf",
            summary="learning without forgetting: old answers are kept on the new images (Li & Hoiem, ECCV 2016)",
            terms=(AllClasses(), OldAnswers()),
        ),
        Strategy(name="fine-tuning", summary="nothing is done for the old classes", terms=(AllClasses(),)),
    )
}


def total(terms: tuple[Term, ...], step: IncrementStep) -> Tensor:
    return torch.stack([term(step) for term in terms]).sum()
