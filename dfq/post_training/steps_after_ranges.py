"""What is done to a calibrated student before, or instead of, training it end to end: one class per step."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, fx

from dfq.images.input_spec import is_large
from dfq.post_training.batch_norm_bias_correction import correct_from_moments, layers_without_moments
from dfq.post_training.batch_norm_ranges import calibrate_from_moments
from dfq.post_training.bias_correction import correct_biases
from dfq.post_training.reconstruction import FitSettings, reconstruct
from dfq.post_training.reconstruction.settings import ReconstructionSettings
from dfq.post_training.settings import (
    BiasCorrectionSettings,
    ImageCorrectionSettings,
    MomentCorrectionSettings,
    MomentRangeSettings,
)
from dfq.post_training.squant import round_weights
from dfq.student.convert import activation_quantizers, weight_quantizers
from dfq.student.set_ranges import ends_of, widen
from dfq.system.stage import Stage
from dfq.teacher import Teacher


@dataclass(frozen=True)
class StepContext:
    """What a step works on.

    Attributes:
        student: Calibrated student; it is changed in place.
        teacher: Its teacher.
        images: Synthetic images, normalised, (N, C, H, W).
        stage: Time, report and seed, and where a step may keep its unfinished work, so that a killed run goes on.
        trained_next: Whether training follows and needs a part of the budget.
        ranges: Name of the rule in `dfq.quantizers.range_rules.RANGES` with which the student was calibrated.
        notes: Sentences for the report; steps add to them.
    """

    student: fx.GraphModule
    teacher: Teacher
    images: Tensor
    stage: Stage = field(default_factory=Stage)
    trained_next: bool = True
    ranges: str = "mse"
    notes: list[str] = field(default_factory=list)


PostTraining = Callable[[StepContext], dict]
"""Changes the student; returns what the report should carry, by name."""


@dataclass(frozen=True)
class RangesFromMoments:
    """Takes ranges from BatchNorm's parameters where these describe a tensor; others keep the ranges from images.

    Both are fitted by the rule with which the student was calibrated.

    A wide grid (`MomentRangeSettings.united_from`) spans both ranges: it has steps enough, and clipping what is rare
    costs more than larger steps (decision record 0031).

    Attributes:
        settings: Settings of the ranges.
    """

    settings: MomentRangeSettings = MomentRangeSettings()

    def __call__(self, context: StepContext) -> dict:
        spec, seed = context.teacher.input_spec, context.stage.seed
        wide = [
            quantizer
            for quantizer in activation_quantizers(context.student).values()
            if quantizer.spec.bits >= self.settings.united_from
        ]
        seen = [ends_of(quantizer) for quantizer in wide]
        calibrate_from_moments(
            context.student, spec, ranges=context.ranges, weights=False, seed=seed, settings=self.settings
        )
        for quantizer, ends in zip(wide, seen, strict=True):
            widen(quantizer, ends)
        return {}


@dataclass(frozen=True)
class RoundWeights:
    """Rounds weights by SQuant: roundings are flipped until errors cancel within kernels and channels."""

    def __call__(self, context: StepContext) -> dict:
        round_weights(context.student)
        return {}


@dataclass(frozen=True)
class CorrectFromMoments:
    """Makes each channel's mean output the teacher's on maps drawn from BatchNorm's parameters; needs no images.

    Attributes:
        settings: Settings of the correction.
    """

    settings: MomentCorrectionSettings = MomentCorrectionSettings()

    def __call__(self, context: StepContext) -> dict:
        spec, reference, seed = context.teacher.input_spec, context.teacher.traced, context.stage.seed
        correct_from_moments(context.student, reference, spec, match_spread=False, seed=seed, settings=self.settings)
        return {}


@dataclass(frozen=True)
class CorrectFromImages:
    """Corrects on images the layers whose input no moments describe, as where BatchNorm is folded.

    `CorrectFromMoments` corrects the others. Below 8 bits, the spread is matched along with the mean: on images that
    are not real ones, means alone cost accuracy there (decision record 0032).

    Attributes:
        settings: Settings of the correction.
    """

    settings: ImageCorrectionSettings = ImageCorrectionSettings()

    def __call__(self, context: StepContext) -> dict:
        student, reference, settings = context.student, context.teacher.traced, self.settings
        only = layers_without_moments(student)
        if only:
            quantizers = (*weight_quantizers(student).values(), *activation_quantizers(student).values())
            is_narrow = min(quantizer.spec.bits for quantizer in quantizers) < settings.spread_below
            correct_biases(
                student, reference, context.images, match_spread=is_narrow, only=only, settings=settings.correction
            )
        return {}


@dataclass(frozen=True)
class CorrectBiases:
    """Makes each channel's mean output, and its spread, the teacher's; this is of use on plausible images only.

    The means alone cost accuracy at 4 bits and below (`dfq.post_training.bias_correction`).

    Attributes:
        settings: Settings of the correction.
    """

    settings: BiasCorrectionSettings = BiasCorrectionSettings()

    def __call__(self, context: StepContext) -> dict:
        reference, images = context.teacher.traced, context.images
        correct_biases(context.student, reference, images, match_spread=True, settings=self.settings)
        return {}


@dataclass(frozen=True)
class Reconstruct:
    """Reconstructs the student block by block.

    Attributes:
        settings: How a block is fitted.
        large: How a block is fitted for images of more than 64 pixels a side; None: as for others.
        share: Share of the remaining time budget that this step gets where training follows. Otherwise it gets all.
        whole: How the blocks are cut, judged and stored.
    """

    settings: FitSettings
    large: FitSettings | None = None
    share: float = 1.0
    whole: ReconstructionSettings = ReconstructionSettings()

    def __call__(self, context: StepContext) -> dict:
        settings = self.large if self.large and is_large(context.images.shape) else self.settings
        stage = context.stage.part(self.share if context.trained_next else 1.0)
        fit = settings.on(context.images.device)
        history = reconstruct(context.student, context.teacher, context.images, fit, stage, whole=self.whole)
        context.notes.extend(history.notes)
        return {"reconstruction": history.to_dict()}
