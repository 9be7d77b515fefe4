"""Settings of training: the learning rates, the trainer, and the sources of its images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dfq.images.augment import Augment
from dfq.images.mixtures import Mix


@dataclass(frozen=True, kw_only=True)
class LearningRateSettings:
    """Settings of the first learning rate of a quantized student.

    Attributes:
        by_bits: Learning rate of Adam at the start, by the width that training is set for (`Scheme.training_bits`).
            Coarse grids need weights that move further.
    """

    by_bits: Mapping[int, float] = field(
        default_factory=lambda: MappingProxyType({2: 5e-4, 3: 3e-4, 4: 3e-5, 5: 2e-5, 6: 2e-5, 7: 1e-5, 8: 1e-5})
    )


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of `Trainer`.

    Attributes:
        steps: Number of optimizer steps; a time budget may end them earlier.
        batch_size: Number of images per step.
        learning_rate: Learning rate of the optimizer at the start. It falls to 0 by a cosine over steps or time,
            whichever ends first.
        clip_norm: Largest L2 norm of the gradient.
        optimizer: Optimizer: "adam", or "sgd" with Nesterov's momentum, which GDFQ uses.
        momentum: Nesterov's momentum of "sgd".
        weight_decay: Weight decay of the optimizer.
        learn_scales: Whether the scales of the grids are learned. If not, the ranges stay as calibrated.
        augment: How images are mirrored and shifted in front of both networks; None: they stay as they are.
        mix: How images are mixed in front of both networks; None: they are not mixed.
        valid_pixels: Whether images are first clipped to what a picture can hold. Generators put out what none can.
        evaluate_every: Number of steps between two looks at the held-out synthetic images.
        selection_temperature: Temperature τ of the held-out divergence. At 1, images that the teacher is sure of say
            nothing.
        target_batch_size: Number of held-out images in one pass through the teacher.
        tolerated: Largest held-out divergence of the last state, as a multiple of the best one, at which the last state
            is kept. The figure is noisy, and weights settle at the end of the cosine schedule.
        max_bad_steps: Largest number of steps in a row whose losses are not finite; one more ends the training.
    """

    steps: int = 600
    batch_size: int = 128
    learning_rate: float = 3e-5
    clip_norm: float = 1.0
    optimizer: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    learn_scales: bool = True
    augment: Augment | None = Augment(shift=3)
    mix: Mix | None = None
    valid_pixels: bool = False
    evaluate_every: int = 50
    selection_temperature: float = 4.0
    target_batch_size: int = 256
    tolerated: float = 1.25
    max_bad_steps: int = 10


@dataclass(frozen=True, kw_only=True)
class ImageSourceSettings:
    """Settings of the sources of the trainer's images.

    Attributes:
        rounds: Number of rounds in which a growing pool gets its images.
        earliest: Fraction of the training before which no round is made, in [0, 1).
        latest: Fraction of the training at which the first round is made, even if the student agrees with the teacher
            less than asked for.
        agreement: Share of held-out images that the student must put into the teacher's class before the first round.
        look_every: Fraction of the training between two such comparisons.
        watched: Largest number of images that are compared.
        grow_until: Fraction of the training at which a growing pool has its final size, in (`latest`, 1]. Later images
            would hardly be seen, at a learning rate that has nearly vanished.
        growth_share: Share of the time budget that synthesis gets while a pool grows, in (0, 1].
        label_batch_size: Number of images in one pass through the teacher, where it predicts their classes.
    """

    rounds: int = 6
    earliest: float = 0.1
    latest: float = 0.3
    agreement: float = 0.6
    look_every: float = 0.02
    watched: int = 256
    grow_until: float = 0.7
    growth_share: float = 0.4
    label_batch_size: int = 256
