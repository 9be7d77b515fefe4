"""What a synthesized batch is optimised for: one class per loss term, each with its weight."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dfq.graph.features import Features
from dfq.teacher.answers import answers
from dfq.training.losses import (
    disagreement,
    input_prior,
    label_cross_entropy,
    saturation,
    total_variation,
)
from dfq.training.relational_losses import FOCAL_WEIGHTED, NegativeSampling, draw_triplets, triplet_loss


@dataclass(frozen=True)
class SynthesisStep:
    """One step of synthesis as the terms see it.

    Attributes:
        pixel_logits, pixels: as the parametrization gives them, and in [0, 1], (N, C, H, W).
        images: what the networks see, normalised and augmented, (N, C, H, W).
        labels: drawn, (N,).
        logits: the teacher's, (N, classes).
        student: the student's features; None while there is no student to work against.
        standardized: whether the input normalisation is by moments of the data, as its size suggests.
        generator: for random draws of a term.
    """

    pixel_logits: Tensor
    pixels: Tensor
    images: Tensor
    labels: Tensor
    logits: Tensor
    student: Features | None
    standardized: bool
    generator: torch.Generator


Term = Callable[[SynthesisStep], Tensor | None]
"""Weighted scalar of a step; None where it does not apply. Its class may say `needs_student` and `needs_pairs`."""


@dataclass(frozen=True)
class LabelCrossEntropy:
    """CE of the teacher's logits and the drawn labels."""

    weight: float

    def __call__(self, step: SynthesisStep) -> Tensor:
        return self.weight * label_cross_entropy(step.logits, step.labels)


@dataclass(frozen=True)
class InputPrior:
    """ZeroQ: the images themselves have mean 0 and standard deviation 1.

    Attributes:
        always: also where the normalisation is a mere rescaling (0.5 and 0.5, 0 and 1), for which that is not true.
    """

    weight: float
    always: bool = False

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        if not (self.always or step.standardized):
            return None
        return self.weight * input_prior(step.images)


@dataclass(frozen=True)
class Smoothness:
    """Total variation of the pixels in [0, 1]."""

    weight: float

    def __call__(self, step: SynthesisStep) -> Tensor:
        return self.weight * total_variation(step.pixels)


@dataclass(frozen=True)
class Saturation:
    """Keeps pixels away from pure black and white."""

    weight: float

    def __call__(self, step: SynthesisStep) -> Tensor:
        return self.weight * saturation(step.pixel_logits)


@dataclass(frozen=True)
class Disagreement:
    """−KL(teacher ‖ student) at temperature 1 where both name the same class: images at the edge of an error."""

    weight: float
    temperature: float = 1.0
    masked: bool = True
    needs_student = True

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        if step.student is None:
            return None
        return self.weight * disagreement(step.student.logits, step.logits, self.temperature, masked=self.masked)


@dataclass(frozen=True)
class SynthesisRelations:
    """RGAL's synthesis phase: pushes same labels apart and pulls different labels together in the student's features.

    Labels are what the teacher says now, not what was drawn. Networks of four and more stages use the last two.

    Attributes:
        sampling: how negatives are drawn; focal weighted as published.
        swapped: the paper's direction. False: the released code's, which compacts the classes instead.
    """

    weight: float
    sampling: NegativeSampling = FOCAL_WEIGHTED
    swapped: bool = True
    needs_student = True
    needs_pairs = True

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        if step.student is None:
            return None
        labels = answers(step.logits.detach())
        layers = step.student.pooled_stages() or [step.student.penultimate]
        last = layers[-2:] if len(layers) >= 4 else layers[-1:]
        losses = [
            triplet_loss(f, draw_triplets(f, labels, self.sampling, step.generator), swapped=self.swapped) for f in last
        ]
        return self.weight * torch.stack(losses).mean()
