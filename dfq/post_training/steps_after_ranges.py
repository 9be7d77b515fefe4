"""What is done to a calibrated student before, or instead of, training it end to end: one class per step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, fx

from dfq.images.input_spec import is_large
from dfq.post_training.batch_norm_bias_correction import correct_from_moments
from dfq.post_training.batch_norm_ranges import calibrate_from_moments
from dfq.post_training.bias_correction import correct_biases
from dfq.post_training.reconstruction import FitSettings, reconstruct
from dfq.post_training.squant import round_weights
from dfq.system.budget import Budget
from dfq.system.progress import Progress
from dfq.teacher import Teacher


@dataclass(frozen=True)
class StepContext:
    """What a step works on.

    Attributes:
        student: calibrated; changed in place.
        images: synthetic, normalised, (N, C, H, W).
        checkpoint: where a step may keep its unfinished work, so that a killed run goes on.
        trained_next: whether training follows and needs a part of the budget.
        notes: sentences for the report; steps add to them.
    """

    student: fx.GraphModule
    teacher: Teacher
    images: Tensor
    budget: Budget
    progress: Progress
    seed: int
    checkpoint: Path | None
    trained_next: bool = True
    notes: list[str] = field(default_factory=list)


PostTraining = Callable[[StepContext], dict]
"""Changes the student; returns what the report should carry, by name."""


@dataclass(frozen=True)
class RangesFromMoments:
    """Ranges of what BatchNorm's parameters describe come from them; the rest keeps those that images gave."""

    ranges: str = "mse"

    def __call__(self, context: StepContext) -> dict:
        calibrate_from_moments(context.student, context.teacher.input_spec, ranges=self.ranges, seed=context.seed)
        return {}


@dataclass(frozen=True)
class RoundWeights:
    """SQuant: roundings are flipped until errors cancel within kernels and channels."""

    def __call__(self, context: StepContext) -> dict:
        round_weights(context.student)
        return {}


@dataclass(frozen=True)
class CorrectFromMoments:
    """Each channel's mean output becomes the teacher's on maps drawn from BatchNorm's parameters; needs no images."""

    def __call__(self, context: StepContext) -> dict:
        spec, reference = context.teacher.input_spec, context.teacher.traced
        correct_from_moments(context.student, reference, spec, match_spread=False, seed=context.seed)
        return {}


@dataclass(frozen=True)
class CorrectBiases:
    """Each channel's mean output, and its spread, become the teacher's; of use on plausible images only.

    The means alone cost accuracy at 4 bits and below (`dfq.post_training.bias_correction`).
    """

    def __call__(self, context: StepContext) -> dict:
        correct_biases(context.student, context.teacher.traced, context.images, match_spread=True)
        return {}


@dataclass(frozen=True)
class Reconstruct:
    """Block reconstruction.

    Attributes:
        large: the settings for images of more than 64 pixels a side, where they are others.
        share: of a time budget that is left, where training follows; else all of it.
    """

    settings: FitSettings
    large: FitSettings | None = None
    share: float = 1.0

    def __call__(self, context: StepContext) -> dict:
        settings = self.large if self.large and is_large(context.images.shape) else self.settings
        history = reconstruct(
            context.student, context.teacher, context.images, settings.on(context.images.device),
            budget=context.budget.part(self.share if context.trained_next else 1.0), progress=context.progress,
            checkpoint=context.checkpoint, seed=context.seed,
        )  # fmt: skip
        context.notes.extend(history.notes)
        return {"reconstruction": history.to_dict()}
