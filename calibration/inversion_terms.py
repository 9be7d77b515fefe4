"""What a synthesized batch is optimised for: one class for each loss term, with its weight."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dfq.graph.features import Features
from dfq.graph.inner_tensors import InnerTensors
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
        pixel_logits: Values (N, C, H, W) of the parametrization, which are unbounded.
        pixels: Pixels (N, C, H, W) in [0, 1] that these values stand for.
        images: Normalised and augmented images (N, C, H, W), as the networks see them.
        labels: Labels (N,) that were drawn for the images; None where the teacher is no classifier.
        logits: Logits (N, classes) of the teacher, or whatever outputs it has.
        student: Features of the student; None while there is no student to work against.
        standardized: Whether the input seems to be normalised by moments of the data
            (`InputSpec.is_standardized`).
        generator: Generator for the random draws of a term.
        inner: What the teacher computed inside; None where no term needs it.
        seed: A number that stays the same while a batch is optimised.
    """

    pixel_logits: Tensor
    pixels: Tensor
    images: Tensor
    labels: Tensor | None
    logits: Any
    student: Features | None
    standardized: bool
    generator: torch.Generator
    inner: InnerTensors | None = None
    seed: int = 0


Term = Callable[[SynthesisStep], Tensor | None]
"""Returns the weighted loss of a step, a scalar; None where it does not apply.

A term's class may set `needs_student` (it works against the student), `needs_pairs` (it compares images of a class) and
`needs_inner` (it reads what the teacher computes inside).
"""


@dataclass(frozen=True)
class LabelCrossEntropy:
    """Cross-entropy of the teacher's logits with the drawn labels; it does not apply where there are no classes.

    Attributes:
        weight: Weight of the term.
    """

    weight: float

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        return None if step.labels is None else self.weight * label_cross_entropy(step.logits, step.labels)


@dataclass(frozen=True)
class InputPrior:
    """ZeroQ's prior: the images themselves have mean 0 and standard deviation 1.

    Attributes:
        weight: Weight of the term.
        always: Whether the term also applies where the normalisation is a mere rescaling (mean and standard deviation
            0.5 and 0.5, or 0 and 1), for which the prior does not hold.
        summed: Whether the squared distances of the channels are added up, as published; False: they are averaged.
    """

    weight: float
    always: bool = False
    # It is not in the representation, by which `benchmarks/ablation/` recognises the cells that it has finished.
    summed: bool = field(default=False, repr=False)

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        if not (self.always or step.standardized):
            return None
        channels = step.images.shape[1] if self.summed else 1
        return self.weight * channels * input_prior(step.images)


@dataclass(frozen=True)
class Smoothness:
    """Total variation of the pixels in [0, 1].

    Attributes:
        weight: Weight of the term.
    """

    weight: float

    def __call__(self, step: SynthesisStep) -> Tensor:
        return self.weight * total_variation(step.pixels)


@dataclass(frozen=True)
class Saturation:
    """Mean square of the pixels before the sigmoid, which keeps them away from pure black and white.

    Attributes:
        weight: Weight of the term.
    """

    weight: float

    def __call__(self, step: SynthesisStep) -> Tensor:
        return self.weight * saturation(step.pixel_logits)


@dataclass(frozen=True)
class Disagreement:
    """−KL(teacher ‖ student) of images that both put into the same class: it leads to the edge of an error.

    Attributes:
        weight: Weight of the term.
        temperature: Temperature of both softmaxes.
        masked: Whether other images are left out; False: all images count.
    """

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
    """RGAL's synthesis phase: it pushes same labels apart and pulls different ones together in the student's features.

    Labels are the teacher's present answers, not what was drawn. The losses of the compared layers are added up, as
    published.

    Attributes:
        weight: Weight of the term.
        sampling: How negatives are drawn; they are focal weighted as published.
        swapped: Whether the term has the paper's direction; False: that of the released code, which compacts the
            classes instead.
        last_stages: Number of the last stages that are compared in networks of many stages; in other networks it is
            the last stage alone.
        many_stages: Number of stages from which on a network has many.
    """

    weight: float
    sampling: NegativeSampling = FOCAL_WEIGHTED
    swapped: bool = True
    # Neither is in the representation, by which `benchmarks/ablation/` recognises the cells that it has finished.
    last_stages: int = field(default=2, repr=False)
    many_stages: int = field(default=4, repr=False)
    needs_student = True
    needs_pairs = True

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        if step.student is None:
            return None
        labels = answers(step.logits.detach())
        losses = [
            triplet_loss(f, draw_triplets(f, labels, self.sampling, step.generator), swapped=self.swapped)
            for f in self._layers_of(step.student)
        ]
        return self.weight * torch.stack(losses).sum()

    def _layers_of(self, features: Features) -> list[Tensor]:
        layers = features.pooled_stages() or [features.penultimate]
        return layers[-self.last_stages :] if len(layers) >= self.many_stages else layers[-1:]
