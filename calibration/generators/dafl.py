"""DAFL: a generator whose images the teacher is sure of (Chen et al., ICCV 2019, arXiv 1904.01186).

L_G = one-hot − 0.1·mean|f_T| + 5·(class balance); generator and student take turns. DAFL is the first method of its
line, and the baseline for the others: nothing asks for BatchNorm statistics, and nothing makes images of one class
differ.

Deviation: before there is a student, the generator learns for some steps alone, so that ranges can be calibrated.
"""

from dataclasses import dataclass

from torch import fx

from dfq.calibration.generators.unconditional import GeneratorConfig, GeneratorSynthesizer
from dfq.graph.features import FeatureExtractor
from dfq.system.compute_dtype import fast_autocast
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.losses import class_balance, one_hot


@dataclass(frozen=True, kw_only=True)
class DAFLConfig(GeneratorConfig):
    """Settings of `DAFL`, as published for CIFAR except for the generator's width and the batch.

    Attributes:
        activation_weight: Weight of the mean absolute penultimate feature, which shall be large.
        balance_weight: Weight of the class balance.
    """

    latent: int = 1000
    learning_rate: float = 0.02
    student_steps: int = 1
    activation_weight: float = 0.1
    balance_weight: float = 5.0


class DAFL(GeneratorSynthesizer):
    """The generator learns at every step of the student, which plays no part in that."""

    def __init__(self, config: DAFLConfig, teacher: Teacher, stage: Stage | None = None, **common):
        super().__init__(config, teacher, stage, **common)
        self.config = config
        self.look = FeatureExtractor(teacher.model)

    def learn(self, student: fx.GraphModule | None) -> dict[str, float]:
        """Takes one step of the generator and returns its losses, by name."""
        images, _ = self.generator.images(self.batch_size)
        with fast_autocast(self.teacher.device):
            seen = self.look(images)
        return self.generator.step(
            {
                "one_hot": one_hot(seen.logits),
                "activation": -self.config.activation_weight * seen.penultimate.float().abs().mean(),
                "balance": self.config.balance_weight * class_balance(seen.logits),
            }
        )
