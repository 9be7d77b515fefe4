"""What all methods with a generator but GDFQ share: it warms up alone, then gives fresh images at every step."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from dfq.calibration.generators.trained_generator import NetworkConfig, RunningGenerator, knowledge_of, warm_up
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.teacher.batch_norm_statistics import BatchNormStatistics


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(NetworkConfig):
    """Settings that all these methods have.

    Attributes:
        student_steps: Number of the student's steps for each step of the generator.
        warm_up: Number of steps that the generator takes alone, before there is a student.
        statistics_weight: Weight of the deviation from the teacher's BatchNorm statistics; 0: nothing asks for them.
    """

    student_steps: int = 10
    warm_up: int = 200
    statistics_weight: float = 0.0


class GeneratorSynthesizer(ABC):
    """Synthesizer with one unconditional generator for the whole run (`dfq.calibration.Synthesizer`).

    It warms up when images are first asked for, so that ranges can be calibrated on what it makes.

    Args:
        config: Settings of the method.
        teacher: Network that the images are made for.
        stage: Time, report and seed; its budget may cut the warm-up short.
        batch_size: Number of images in a step, at most `NetworkConfig.max_batch`.
        augment: Ignored, because every image is new.

    Attributes:
        reads_statistics: Whether the method asks for the BatchNorm statistics whatever their weight.
    """

    reads_statistics = False

    def __init__(
        self,
        config: GeneratorConfig,
        teacher: Teacher,
        stage: Stage | None = None,
        *,
        batch_size: int = 256,
        augment: Augment | None = None,
    ):
        self.teacher, self.batch_size = teacher, min(batch_size, config.max_batch)
        self.stage = stage or Stage()
        self.notes: list[str] = []
        self.knowledge = knowledge_of(teacher, statistics=self.reads_statistics or config.statistics_weight > 0)
        self.generator = RunningGenerator(config, teacher, seed=self.stage.seed)
        self._schedule, self.steps, self.is_warm = config, 0, False
        self._figures: dict[str, float] = {}

    @abstractmethod
    def learn(self, student: fx.GraphModule | None) -> dict[str, float]:
        """Takes one step of the generator and returns its losses, by name; `student` is None before there is one."""

    def deviation(self, statistics: BatchNormStatistics) -> dict[str, Tensor]:
        """Returns the weighted deviation of the images that the teacher has just seen; none where it has no weight."""
        weight = self._schedule.statistics_weight
        return {"deviation": weight * statistics.mean_squared_loss()} if weight and self.teacher.has_batch_norm else {}

    def draw(self) -> Tensor:
        """Returns normalised images (N, C, H, W) for one step of the student."""
        return self.generator.images(self.batch_size)[0]

    def update(self, student: fx.GraphModule) -> dict[str, float]:
        """Draws new images; the generator learns first in one call out of `student_steps`. Returns its last losses."""
        self._warm_up()
        if self.steps % self._schedule.student_steps == 0:
            self._figures = self.learn(student)
        with torch.no_grad():
            self._latest = Batch(self.draw())
        self.steps += 1
        return self._figures

    def fresh(self) -> Batch:
        """Returns the images of the last `update`."""
        return self._latest

    def sample(self, count: int) -> Batch:
        """Returns `count` images, clipped to valid 8-bit pixels; the teacher's answers are their labels."""
        self._warm_up()
        return self.generator.sample(count, self.batch_size)

    def _warm_up(self) -> None:
        if not self.is_warm:
            self.notes += warm_up(self, lambda: self.learn(None), self._schedule.warm_up, self.stage)
            self.is_warm = True

    def state_dict(self) -> dict:
        return {**self.generator.state_dict(), "steps": self.steps, "is_warm": self.is_warm, "figures": self._figures}

    def load_state_dict(self, state: dict) -> None:
        self.generator.load_state_dict(state)
        self.steps, self.is_warm, self._figures = state["steps"], state["is_warm"], state["figures"]
