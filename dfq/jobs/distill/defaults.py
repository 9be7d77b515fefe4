"""`DistillDefaults`: the values that `dfq distill` uses where its settings leave something open."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DistillDefaults:
    """How a student of another architecture learns; "large" images have more than 64 pixels a side.

    Attributes:
        images: Number of synthetic images of up to 64 pixels a side.
        images_large: Number of large synthetic images.
        steps: Number of training steps; RGAL publishes 80,000 for a student that starts from random weights.
        batch: Number of images in one training step.
        batch_large: Number of large images in one training step; the learning rate goes down with it.
        learning_rate: First learning rate of SGD, for batches of `batch`, as RGAL, AdaDFKD and Retain publish it; it
            falls to 0 by a cosine.
        inherited_learning_rate: First learning rate of a student that has layers of its teacher (decision record 0025).
        weight_decay: Weight decay of SGD, as the same papers publish it.
        clip_norm: Largest L2 norm of the gradient; it is a safeguard that no paper has.
        shift: Images are shifted by up to height ÷ this, in pixels, while the student learns.
        distilling_share: Share of a budget for the distillation where the student is quantized afterwards, in [0, 1].
        least_seconds: Seconds that the quantization has where the budget is used up, which are enough for ranges and a
            step or two.
        inherited_share: Least share of a student's parameter tensors, in [0, 1], that must have a counterpart in the
            teacher for the student to start from the teacher's layers. Large and small tensors count alike, because one
            layer at random spoils the others.
    """

    images: int = 2048
    images_large: int = 512
    steps: int = 2000
    batch: int = 128
    batch_large: int = 32
    learning_rate: float = 0.1
    inherited_learning_rate: float = 0.02
    weight_decay: float = 1e-4
    clip_norm: float = 5.0
    shift: int = 10
    distilling_share: float = 0.75
    least_seconds: float = 1.0
    inherited_share: float = 0.9


DISTILL_DEFAULTS = DistillDefaults()
