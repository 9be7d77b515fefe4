"""AdaDFKD: a generator that goes from easy to hard (Li et al., Neural Networks 2024).

The generator takes one step for ten of the student. Its loss asks for classes in balance, a sure teacher, a student
that disagrees with the teacher, and matched BatchNorm statistics; the relationship refinement R2M is added, whose
negatives go from easy to hard while the student learns (`RingWindow`). The student is paced, too
(`dfq.training.self_paced_objective`).

Deviations: the deviation from the BatchNorm statistics is the relative one (`BatchNormStatistics.loss`); features of
different width are compared through one fixed random projection, where the released code draws a new one at each step;
before there is a student, the generator learns for some steps from the teacher alone, so that ranges can be calibrated.
The published accuracies are the maxima of 42 to 50 runs, whose means are 0.6 to 0.8 points lower.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from dfq.calibration.frozen_student import frozen
from dfq.calibration.generators.image_memory import Fifo
from dfq.calibration.generators.unconditional import GeneratorConfig, GeneratorSynthesizer
from dfq.graph.features import FeatureExtractor, Features, features_of
from dfq.system.compute_dtype import fast_autocast
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.contrastive_loss import directions, info_nce
from dfq.training.losses import class_balance, disagreement, input_prior, one_hot


@dataclass(frozen=True, kw_only=True)
class RingWindow:
    """The negatives that count: those of similarity rank [h·N, (h + share)·N), the least similar first.

    h = clip((1 − share)·(done − start)/(end − start), 0, 1 − share): the window rests on the easiest negatives, then it
    moves, and at last it rests on the hardest ones.

    Attributes:
        share: Share of the negatives that are in the window, in (0, 1] (published: 0.78 to 0.9).
        start: Fraction of the training, in [0, 1], at which the window begins to move (published: 0 to 0.25).
        end: Fraction of the training, in [0, 1], at which the window has arrived (published: 0.75 to 0.8).
    """

    share: float = 0.8
    start: float = 0.1
    end: float = 0.8

    def offset(self, done: float) -> float:
        """Returns h, in [0, 1 − share], at the fraction `done` of the training."""
        moved = (done - self.start) / (self.end - self.start)
        return (1 - self.share) * min(max(moved, 0.0), 1.0)

    def pick(self, similarities: Tensor, done: float) -> Tensor:
        """Returns the part of similarities (B, N) in the window, ascending: (B, about share · N), at least one each."""
        count = similarities.shape[1]
        size = max(round(self.share * count), 1)
        first = min(round(self.offset(done) * count), count - size)
        return similarities.sort(1).values[:, first : first + size]


@dataclass(frozen=True, kw_only=True)
class AdaDFKDConfig(GeneratorConfig):
    """Settings of `AdaDFKD`, as published except for the generator's width and warm-up.

    Attributes:
        temperature: Temperature of the disagreement, and of the softmax whose classes are balanced.
        balance_weight: Weight of the class balance; terms without a weight of their own have 1.
        relation_weight: Weight of R2M.
        window: Window over the negatives.
        queue: Number of negatives that are kept (published: 4096 to 16384).
    """

    latent: int = 512
    betas: tuple[float, float] = (0.9, 0.99)
    temperature: float = 3.0
    balance_weight: float = 20.0
    relation_weight: float = 0.1
    window: RingWindow = RingWindow()
    queue: int = 4096


class AdaDFKD(GeneratorSynthesizer):
    """The generator, and the negatives that its images are contrasted with.

    Attributes:
        done: Fraction of the training that is over, in [0, 1]; `dfq.training.image_sources.ScheduledImages` sets it.
    """

    reads_statistics = True

    def __init__(self, config: AdaDFKDConfig, teacher: Teacher, stage: Stage | None = None, **common):
        super().__init__(config, teacher, stage, **common)
        self.config, self.done = config, 0.0
        # This graph is not folded: one forward pass gives features and, by the hooks on its layers, the statistics.
        self.look = FeatureExtractor(teacher.model)
        self.queue = Fifo(config.queue)

    def learn(self, student: fx.GraphModule | None) -> dict[str, float]:
        """Takes one step of the generator and returns its losses, by name."""
        images, _ = self.generator.images(self.batch_size)
        with self.teacher.bn_statistics() as statistics, frozen(student):
            with fast_autocast(self.teacher.device):
                seen = self.look(images)
                answers = None if student is None else features_of(student)(images)
            deviation = statistics.loss() if self.teacher.has_batch_norm else input_prior(images)
        losses = {
            "balance": self.config.balance_weight * class_balance(seen.logits, self.config.temperature),
            "one_hot": one_hot(seen.logits),
            "deviation": deviation,
        }
        return self.generator.step(losses | ({} if answers is None else self._against(answers, seen)))

    def _against(self, student: Features, teacher: Features) -> dict[str, Tensor]:
        """Returns the terms that need a student; remembers its features as negatives for later steps."""
        temperature = self.config.temperature
        apart = disagreement(student.logits, teacher.logits, temperature) * temperature**2
        width = teacher.penultimate.shape[1]
        queries, keys = directions(teacher.penultimate, width), directions(student.penultimate.detach(), width)
        relation = self._relation(queries, keys)
        self.queue.push(keys)
        return {"disagreement": apart, "relation": self.config.relation_weight * relation}

    def _relation(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Returns R2M of unit vectors (B, D); the gradient goes through the queries alone."""
        if self.queue.rows is None:
            return queries.sum() * 0.0
        negatives = self.config.window.pick(queries @ self.queue.rows.T, self.done)
        similarities = torch.cat([(queries * keys).sum(1, keepdim=True), negatives], dim=1)
        return info_nce(similarities, torch.zeros(len(queries), dtype=torch.int64, device=queries.device)).mean()

    def state_dict(self) -> dict:
        return {**super().state_dict(), "queue": self.queue.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.queue.load_state_dict(state["queue"])
