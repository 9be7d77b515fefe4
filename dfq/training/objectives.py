"""What the student minimises: an `Objective` maps (student, batch, teacher) to named losses, whose sum is trained."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, fx

from dfq.graph.features import Features, features_of
from dfq.images.batch import Batch
from dfq.teacher import Teacher
from dfq.teacher.answers import answers, two_or_more
from dfq.training.gradient_ratios import gradient_ratio
from dfq.training.losses import knowledge_distillation, label_cross_entropy
from dfq.training.output_losses import output_divergence
from dfq.training.paired_images import paired_rows
from dfq.training.projections import Projections
from dfq.training.relational_losses import DISTANCE_WEIGHTED, NegativeSampling, draw_triplets, triplet_loss
from dfq.training.shared_work import variance_of_batch

Objective = Callable[[fx.GraphModule, Batch, Teacher], dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class KnowledgeDistillation:
    """Plain distillation: τ²·KL of the logits and no cross-entropy (drawn labels only pull the student off; AIT 2022).

    The outputs of networks that are no classifiers are matched by their relative squared error.

    Attributes:
        temperature: Temperature τ. 4 keeps the small logits in play without drowning the large ones.
        adds_up: The losses of a batch are means over its images, so that processes may share a batch.
    """

    temperature: float = 4.0
    adds_up: ClassVar[bool] = True

    def __call__(self, student: fx.GraphModule, batch: Batch, teacher: Teacher) -> dict[str, Tensor]:
        with torch.no_grad():
            target = teacher(batch.images)
        return {"kd": output_divergence(teacher, student(batch.images), target, self.temperature)}


@dataclass(frozen=True, kw_only=True)
class LabelledDistillation:
    """GDFQ's objective: CE(s, y) + τ²·KL of the logits (Xu et al., ECCV 2020).

    Attributes:
        temperature: Temperature τ.
        divide_by_classes: Whether the distillation term is reduced as in the released code: by a mean over samples
            *and* classes, and without τ². It then hardly counts.
        adds_up: The losses of a batch are means over its images, so that processes may share a batch.
    """

    temperature: float = 20.0
    divide_by_classes: bool = False
    adds_up: ClassVar[bool] = True

    def __call__(self, student: fx.GraphModule, batch: Batch, teacher: Teacher) -> dict[str, Tensor]:
        assert batch.labels is not None
        with torch.no_grad():
            target = teacher(batch.images)
        logits = student(batch.images)
        distillation = knowledge_distillation(logits, target, self.temperature)
        if self.divide_by_classes:
            distillation = distillation / (two_or_more(logits).shape[1] * self.temperature**2)
        return {"ce": label_cross_entropy(logits, batch.labels), "kd": distillation}


@dataclass(frozen=True, kw_only=True)
class RelationalDistillation:
    """RGAL's student phase: distillation, feature matching, and triplets that pull same labels together.

    The outputs of networks that are no classifiers are matched by their relative squared error; they have no triplets.

    The loss is τ²·KL of the logits + pooled_weight · Σ_stages MSE of pooled features + map_weight · Σ_stages relative
    MSE of feature maps + triplet_weight · triplets of the penultimate features, whose labels are the teacher's answers
    (Liang & Fu, IJCV 2025). The paper has τ 20, pooled_weight 0.1, triplet_weight 0.1, and no map term. Deviation: the
    map term, MSE divided by the variance of the teacher's map, is ours. Pooled features of different width are
    compared behind a projection that is learned (`bound`).

    Attributes:
        temperature: Temperature τ.
        pooled_weight: Weight of the pooled features.
        map_weight: Weight of the feature maps.
        triplet_weight: Weight of the triplets.
        triplet_ratio: Length of the triplets' gradient, in multiples of that of the distillation, where both reach the
            penultimate features; None: `triplet_weight` says the weight. A fixed weight that counts for a network that
            starts from nothing counts for nothing for a quantized copy. This form is ours.
        relative: Whether the margin is relative to the teacher's own (`triplet_loss`, `reference`).
        paired: Share of the batch, at its end, whose relations count, in (0, 1]: the images that come in pairs, which
            are not mixtures.
        projections: What brings pooled features to the teacher's width (`bound`); None: stages of other widths are left
            out.
        sampling: How negatives are drawn; they are distance weighted as published.
        margin: Distance by which negatives are to be further away than positives.
    """

    temperature: float = 4.0
    pooled_weight: float = 0.0
    map_weight: float = 0.0
    triplet_weight: float = 0.0
    sampling: NegativeSampling = DISTANCE_WEIGHTED
    margin: float = field(default=0.2, repr=False)  # `benchmarks/ablation` knows its finished cells by what is shown
    triplet_ratio: float | None = None
    relative: bool = False
    paired: float = 1.0
    projections: Projections | None = field(default=None, repr=False, compare=False)

    @property
    def adds_up(self) -> bool:
        """Whether the losses of a batch are means over its images; triplets relate its images to each other."""
        return not (self.triplet_weight or self.triplet_ratio)

    def bound(self, teacher: Teacher, student: fx.GraphModule, seed: int) -> "RelationalDistillation":
        """Returns the objective for these networks, with projections where their widths differ."""
        if not self.pooled_weight:
            return self
        projections = Projections(teacher, student, seed)
        return replace(self, projections=projections) if len(projections.maps) else self

    def __call__(self, student: fx.GraphModule, batch: Batch, teacher: Teacher) -> dict[str, Tensor]:
        with torch.no_grad():
            target = teacher.features(batch.images)
        features = features_of(student)(batch.images)
        losses = {"kd": output_divergence(teacher, features.outputs, target.outputs, self.temperature)}
        if self.pooled_weight:
            losses["pooled"] = self.pooled_weight * self._pooled_difference(features, target)
        if self.map_weight:
            losses["maps"] = self.map_weight * _map_difference(features, target)
        if self.triplet_weight or self.triplet_ratio:
            loss = self._triplets(features, target, answers(target.logits, teacher.boundary))
            losses["triplet"] = self._weight(features, losses["kd"], loss) * loss
        return losses

    def _pooled_difference(self, student: Features, teacher: Features) -> Tensor:
        """Returns the mean squared difference of pooled features, summed over the stages of one resolution in both."""
        if self.projections is not None:
            pairs = self.projections.pooled(student, teacher)
        else:
            pairs = [(s.float().mean((2, 3)), t.float().mean((2, 3))) for s, t in student.stages_alike(teacher)]
        return sum(((s - t).square().mean() for s, t in pairs), torch.zeros((), device=student.penultimate.device))

    def _triplets(self, features: Features, target: Features, labels: Tensor) -> Tensor:
        rows = slice(len(labels) - paired_rows(len(labels), self.paired), None)
        own, theirs = features.penultimate[rows], target.penultimate[rows]
        triplets = draw_triplets(own, labels[rows], self.sampling)
        reference = theirs if self.relative else None
        return triplet_loss(own, triplets, margin=self.margin, reference=reference)

    def _weight(self, features: Features, distillation: Tensor, triplets: Tensor) -> float:
        if self.triplet_ratio is None:
            return self.triplet_weight
        return self.triplet_ratio * gradient_ratio(distillation, triplets, features.carrier)


def _map_difference(student: Features, teacher: Features) -> Tensor:
    """Returns the mean squared difference of maps ÷ the teacher's variance, summed over stages of one shape in both."""
    pairs = student.stages_alike(teacher)
    losses = ((s.float() - t.float()).square().mean() / variance_of_batch(t.float()).clamp(min=1e-6) for s, t in pairs)
    return sum(losses, torch.zeros((), device=student.penultimate.device))
