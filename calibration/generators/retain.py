"""Retain-while-Acquiring: a memory of earlier images beside a generator that learns (Patel et al., CVPR 2023).

arXiv 2302.14290. The generator takes one step for ten of the student:
L_G = one-hot + 5·Σ p̄ log₁₀ p̄ − 0.1·mean|f_T| + (1 − JS₃(t, s)). Some images are pushed into a bounded memory as they
are made; half of what the student sees comes from there (`dfq.training.retain_objective`).

Deviations: the deviation from the BatchNorm statistics is added (`statistics_weight`, 0 as published), and the
generator learns in smaller steps (published: 0.02), both from decision record 0024; the divergence is averaged over the
batch (the released code also divides by the number of classes); images are pushed into the memory every 25 steps,
because a run here is shorter than 400 epochs (published: every 5 epochs, which fills it once over in a run); before
there is a student, the generator learns for some steps from the teacher alone. The variant that replays from a
variational autoencoder is not implemented.
"""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, fx

from dfq.calibration.frozen_student import frozen
from dfq.calibration.generators.image_memory import Fifo
from dfq.calibration.generators.unconditional import GeneratorConfig, GeneratorSynthesizer
from dfq.graph.features import FeatureExtractor
from dfq.system.compute_dtype import fast_autocast
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.losses import class_balance, jensen_shannon, one_hot


@dataclass(frozen=True, kw_only=True)
class RetainConfig(GeneratorConfig):
    """Settings of `Retain`: `statistics_weight`, `learning_rate`, `push_every`, width and warm-up are not as published.

    Attributes:
        learning_rate: Learning rate of Adam beside `statistics_weight` (published: 0.02, without it; decision record
            0024).
        statistics_weight: Weight of the deviation from the teacher's BatchNorm statistics (published: 0; decision
            record 0024).
        balance_weight: Weight of the class balance, whose logarithm is decimal.
        activation_weight: Weight of the mean absolute penultimate feature, which shall be large.
        temperature: Temperature of the Jensen–Shannon divergence.
        memory_batches: Number of batches that the memory holds.
        push_every: Number of the student's steps between two pushes (published: 5 epochs of a longer run).
        push_share: Number of parts of a batch of which one is pushed: 8 stands for an eighth.
    """

    latent: int = 1000
    learning_rate: float = 5e-3
    statistics_weight: float = 5.0
    balance_weight: float = 5.0
    activation_weight: float = 0.1
    temperature: float = 3.0
    memory_batches: int = 10
    push_every: int = 25
    push_share: int = 8


class Retain(GeneratorSynthesizer):
    """The generator, and a memory of what it made.

    Half of a batch is new and half is remembered, as `dfq.training.retain_objective.RetainingDistillation` expects it.
    """

    def __init__(self, config: RetainConfig, teacher: Teacher, stage: Stage | None = None, **common):
        super().__init__(config, teacher, stage, **common)
        self.config = config
        self.look = FeatureExtractor(teacher.model)
        self.memory = Fifo(config.memory_batches * self.batch_size)

    def draw(self) -> Tensor:
        """Returns as many new images as remembered ones, in this order; remembers some of the new ones from now on."""
        half = self.batch_size // 2
        new, _ = self.generator.images(half)
        if self.steps % self.config.push_every == 0:
            self.memory.push(new[: max(self.batch_size // self.config.push_share, 1)])
        return torch.cat([new, self.memory.draw(half, self.generator.random)])

    def learn(self, student: fx.GraphModule | None) -> dict[str, float]:
        """Takes one step of the generator and returns its losses, by name."""
        config = self.config
        images, _ = self.generator.images(self.batch_size)
        with self.teacher.bn_statistics() as statistics, frozen(student):
            with fast_autocast(self.teacher.device):
                seen = self.look(images)
                answers = None if student is None else student(images)
            deviation = self.deviation(statistics)
        losses = deviation | {
            "one_hot": one_hot(seen.logits),
            "balance": config.balance_weight * class_balance(seen.logits) / log(10),
            "activation": -config.activation_weight * seen.penultimate.float().abs().mean(),
        }
        if answers is not None:
            losses["agreement"] = 1 - jensen_shannon(seen.logits, answers, config.temperature)
        return self.generator.step(losses)

    def state_dict(self) -> dict:
        return {**super().state_dict(), "memory": self.memory.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.memory.load_state_dict(state["memory"])
