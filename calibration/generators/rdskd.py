"""RDSKD: robustness and diversity without weights to tune (Han et al., ICASSP 2021, arXiv 2011.03749).

There are two stages: the generator learns alone against the teacher, then it stays as it is and the student learns
from it. L_G = exp(L_oh − L_oh′) + exp(L_ie − L_ie′) + mode seeking asks for one-hot answers, classes in balance, and
images that differ. The references L′ are the losses at the start of each epoch, so that a loss that has risen since
weighs exponentially more.

Deviations: batches have 128 images instead of 512; the deviation from the BatchNorm statistics is added to the
published terms (`statistics_weight`, 0 as published), because small students learn little without it (decision record
0024). In natural units the mode-seeking term is some 60 times smaller than the others. It is kept so; its weight is
there to measure what more of it does (20 times as much: 28 % of digits).
"""

from dataclasses import dataclass

from torch import Tensor, fx

from dfq.calibration.generators.unconditional import GeneratorConfig, GeneratorSynthesizer
from dfq.system.compute_dtype import fast_autocast
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.losses import class_balance, mode_seeking, one_hot


class ExponentialReferences:
    """exp(L − L′) of each loss L; L′ is the loss at the first step of the epoch, and 0 in the first epoch.

    It is computed in float32 whatever the losses are, because in bfloat16 the exponential would have two digits.

    Args:
        epoch: Number of steps of an epoch.
    """

    def __init__(self, epoch: int):
        self.epoch, self.steps = epoch, 0
        self.values: dict[str, float] = {}

    def __call__(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.steps and self.steps % self.epoch == 0:
            self.values = {name: loss.item() for name, loss in losses.items()}
        self.steps += 1
        return {name: (loss.float() - self.values.get(name, 0.0)).exp() for name, loss in losses.items()}

    def state_dict(self) -> dict:
        return {"steps": self.steps, "values": self.values}

    def load_state_dict(self, state: dict) -> None:
        self.steps, self.values = state["steps"], dict(state["values"])


@dataclass(frozen=True, kw_only=True)
class RDSKDConfig(GeneratorConfig):
    """Settings of `RDSKD`, as published except for the generator's width, its latent size and `statistics_weight`.

    Attributes:
        warm_up: Number of all steps that the generator ever takes.
        statistics_weight: Weight of the deviation from the teacher's BatchNorm statistics (published: 0), without which
            small students learn little (decision record 0024).
        epoch: Number of steps between two refreshed references.
        mode_weight: Weight of the mode-seeking term (published: 1).
    """

    latent: int = 100
    warm_up: int = 2400
    statistics_weight: float = 1.0
    epoch: int = 120
    mode_weight: float = 1.0


class RDSKD(GeneratorSynthesizer):
    """The generator learns before the student starts; then it stays as it is."""

    def __init__(self, config: RDSKDConfig, teacher: Teacher, stage: Stage | None = None, **common):
        super().__init__(config, teacher, stage, **common)
        self.config, self.references = config, ExponentialReferences(config.epoch)

    def learn(self, student: fx.GraphModule | None) -> dict[str, float]:
        """Takes one step of the generator while there is no student, and none with one; returns its losses, by name."""
        if student is not None:
            return {}
        images, _ = self.generator.images(self.batch_size)
        with self.teacher.bn_statistics() as statistics:
            with fast_autocast(self.teacher.device):
                logits = self.teacher(images)
            losses = self.references({"one_hot": one_hot(logits), "balance": class_balance(logits)})
            losses["modes"] = self.config.mode_weight * mode_seeking(logits, images)
            return self.generator.step(losses | self.deviation(statistics))

    def state_dict(self) -> dict:
        return {**super().state_dict(), "references": self.references.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.references.load_state_dict(state["references"])
