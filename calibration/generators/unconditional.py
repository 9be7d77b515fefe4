"""What AdaDFKD, RDSKD and Retain share: a generator that warms up alone, then gives fresh images at every step."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from dfq.calibration.generators.trained_generator import RunningGenerator, warm_up
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.system.budget import Budget
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher
from dfq.teacher.batch_norm_statistics import BatchNormStatistics

MAX_IMAGES = 128  # per step


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Settings that every such method has.

    Attributes:
        latent, width: of the generator (`dfq.calibration.generator_network.Generator`).
        learning_rate, betas: of its Adam.
        student_steps: steps of the student for each one of the generator.
        warm_up: steps of the generator alone, before there is a student.
        statistics_weight: of the deviation from the teacher's BatchNorm statistics; 0: nothing asks for them.
    """

    latent: int
    width: int = 128
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    student_steps: int = 10
    warm_up: int = 200
    statistics_weight: float = 0.0


class GeneratorSynthesizer(ABC):
    """Synthesizer with one unconditional generator for the whole run (`dfq.calibration.Synthesizer`).

    It warms up when images are first asked for, so that ranges can be calibrated on what it makes.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        teacher: Teacher,
        *,
        batch_size: int = 256,
        augment: Augment | None = None,
        seed: int = 0,
        budget: Budget | None = None,
        progress: Progress | None = None,
    ):
        self.teacher, self.batch_size = teacher, min(batch_size, MAX_IMAGES)
        self.budget, self.progress = budget or Budget(), progress or Silent()
        self.notes: list[str] = []
        self.generator = RunningGenerator(
            teacher, latent=config.latent, width=config.width, learning_rate=config.learning_rate, betas=config.betas,
            seed=seed,
        )  # fmt: skip
        self._schedule, self.steps, self.is_warm = config, 0, False
        self._figures: dict[str, float] = {}

    @abstractmethod
    def learn(self, student: fx.GraphModule | None) -> dict[str, float]:
        """One step of the generator; None: there is no student yet."""

    def deviation(self, statistics: BatchNormStatistics) -> dict[str, Tensor]:
        """The weighted deviation of the images that the teacher has just seen; nothing where it has no weight."""
        weight = self._schedule.statistics_weight
        return {"deviation": weight * statistics.absolute_loss()} if weight and self.teacher.has_batch_norm else {}

    def draw(self) -> Tensor:
        """Normalised images (N, C, H, W) for one step of the student."""
        return self.generator.images(self.batch_size)[0]

    def update(self, student: fx.GraphModule) -> dict[str, float]:
        """Draws new images; the generator learns in one call out of `student_steps`. Returns its newest losses."""
        self._warm_up()
        if self.steps % self._schedule.student_steps == 0:
            self._figures = self.learn(student)
        with torch.no_grad():
            self._latest = Batch(self.draw())
        self.steps += 1
        return self._figures

    def fresh(self) -> Batch:
        """The images of the last `update`."""
        return self._latest

    def sample(self, count: int) -> Batch:
        """`count` images, clipped to valid 8-bit pixels, with the teacher's answers as labels: none are drawn."""
        self._warm_up()
        return self.generator.sample(count, self.batch_size)

    def _warm_up(self) -> None:
        if not self.is_warm:
            self.notes += warm_up(lambda: self.learn(None), self._schedule.warm_up, self.budget, self.progress)
            self.is_warm = True

    def state_dict(self) -> dict:
        return {**self.generator.state_dict(), "steps": self.steps, "is_warm": self.is_warm}

    def load_state_dict(self, state: dict) -> None:
        self.generator.load_state_dict(state)
        self.steps, self.is_warm = state["steps"], state["is_warm"]
