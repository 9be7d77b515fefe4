"""RDSKD: robustness and diversity without weights to tune (Han et al., ICASSP 2021, arXiv 2011.03749).

Two stages: the generator learns alone against the teacher, then it stands still and the student learns from it.
L_G = exp(L_oh − L_oh′) + exp(L_ie − L_ie′) + mode seeking: one-hot answers, classes in balance, images that differ.
The references L′ are those at the start of each epoch, so that a loss that has risen since weighs exponentially more.

Deviations: batches of 128 instead of 512; the deviation from the BatchNorm statistics beside the published terms
(`statistics_weight`, 0 as published), without which small students learn little (decision record 0024). In natural
units the mode-seeking term is some 60 times smaller than the others; it is kept so, with a weight to measure what more
of it does (20 times: 28 % of digits).
"""

from dataclasses import dataclass

from torch import Tensor, fx

from dfq.calibration.generators.unconditional import GeneratorConfig, GeneratorSynthesizer
from dfq.system.compute_dtype import fast_autocast
from dfq.teacher import Teacher
from dfq.training.losses import class_balance, mode_seeking, one_hot


class ExponentialReferences:
    """exp(L − L′) of each loss; L′ is the loss at the first step of the epoch, 0 in the first epoch.

    In float32 whatever the losses are: in bfloat16 the exponential would have two digits.

    Args:
        epoch: steps.
    """

    def __init__(self, epoch: int):
        self.epoch, self.steps = epoch, 0
        self.values: dict[str, float] = {}

    def __call__(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.steps and self.steps % self.epoch == 0:
            self.values = {name: loss.item() for name, loss in losses.items()}
        self.steps += 1
        return {name: (loss.float() - self.values.get(name, 0.0)).exp() for name, loss in losses.items()}


@dataclass(frozen=True, kw_only=True)
class RDSKDConfig(GeneratorConfig):
    """Settings of `RDSKD`, as published but for the generator's width and latent size.

    Attributes:
        warm_up: all steps that the generator ever takes.
        epoch: steps between two refreshed references.
        mode_weight: of the mode-seeking term; published 1.
    """

    latent: int = 100
    warm_up: int = 2400
    statistics_weight: float = 1.0
    epoch: int = 120
    mode_weight: float = 1.0


class RDSKD(GeneratorSynthesizer):
    """A generator that has learned before the student starts; then it stands still."""

    def __init__(self, config: RDSKDConfig, teacher: Teacher, **common):
        super().__init__(config, teacher, **common)
        self.config, self.references = config, ExponentialReferences(config.epoch)

    def learn(self, student: fx.GraphModule | None) -> dict[str, float]:
        """One step of the generator while there is no student, and none with one."""
        if student is not None:
            return {}
        images, _ = self.generator.images(self.batch_size)
        with self.teacher.bn_statistics() as statistics:
            with fast_autocast(self.teacher.device):
                logits = self.teacher(images)
            losses = self.references({"one_hot": one_hot(logits), "balance": class_balance(logits)})
            losses["modes"] = self.config.mode_weight * mode_seeking(logits, images)
            return self.generator.step(losses | self.deviation(statistics))
