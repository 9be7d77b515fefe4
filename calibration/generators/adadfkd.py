"""AdaDFKD: a generator that goes from easy to hard (Li et al., Neural Networks 2024).

One step of the generator for ten of the student. Its loss: classes in balance, the teacher sure, student and teacher
apart, BatchNorm statistics matched, and the relationship refinement R2M, whose negatives move from easy to hard ones
while the student learns (`RingWindow`). The student is paced too: `dfq.training.self_paced_objective`.

Deviations: the deviation from the BatchNorm statistics is the relative one (`BatchNormStatistics.loss`); features of
different width are compared through one fixed random projection, where the released code draws a new one at each step;
before there is a student, the generator learns for some steps from the teacher alone, so that ranges can be calibrated.
The published accuracies are maxima of 42 to 50 runs, whose means are 0.6 to 0.8 points lower.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from dfq.calibration.frozen_student import frozen
from dfq.calibration.generators.image_memory import Fifo
from dfq.calibration.generators.unconditional import GeneratorConfig, GeneratorSynthesizer
from dfq.graph.features import FeatureExtractor, Features, features_of
from dfq.system.compute_dtype import fast_autocast
from dfq.teacher import Teacher
from dfq.training.contrastive_loss import directions, info_nce
from dfq.training.losses import class_balance, disagreement, input_prior, one_hot


@dataclass(frozen=True, kw_only=True)
class RingWindow:
    """Which of the negatives count: those of similarity rank [h·N, (h + share)·N), the least similar first.

    h = clip((1 − share)·(done − start)/(end − start), 0, 1 − share): the window rests on the easiest negatives, moves,
    and rests on the hardest.

    Attributes:
        share: of the negatives in the window; published 0.78 to 0.9.
        start, end: fractions of the training between which it moves; published 0 to 0.25, and 0.75 to 0.8.
    """

    share: float = 0.8
    start: float = 0.1
    end: float = 0.8

    def offset(self, done: float) -> float:
        """h at the fraction `done` of the training, in [0, 1 − share]."""
        moved = (done - self.start) / (self.end - self.start)
        return (1 - self.share) * min(max(moved, 0.0), 1.0)

    def pick(self, similarities: Tensor, done: float) -> Tensor:
        """The similarities (B, N) in the window, ascending: (B, about share · N), at least one."""
        count = similarities.shape[1]
        size = max(round(self.share * count), 1)
        first = min(round(self.offset(done) * count), count - size)
        return similarities.sort(1).values[:, first : first + size]


@dataclass(frozen=True, kw_only=True)
class AdaDFKDConfig(GeneratorConfig):
    """Settings of `AdaDFKD`, as published but for the generator's width and warm-up.

    Attributes:
        temperature: of the disagreement, and of the softmax whose classes are balanced.
        balance_weight, relation_weight: of the class balance and of R2M; the other terms have 1.
        window: of the negatives.
        queue: negatives that are kept; published 4096 to 16384.
    """

    latent: int = 512
    betas: tuple[float, float] = (0.9, 0.99)
    temperature: float = 3.0
    balance_weight: float = 20.0
    relation_weight: float = 0.1
    window: RingWindow = RingWindow()
    queue: int = 4096


class AdaDFKD(GeneratorSynthesizer):
    """The generator, and the negatives it is contrasted with.

    Attributes:
        done: fraction of the training that is over; `dfq.training.image_sources.ScheduledImages` sets it.
    """

    def __init__(self, config: AdaDFKDConfig, teacher: Teacher, **common):
        super().__init__(config, teacher, **common)
        self.config, self.done = config, 0.0
        # Not the folded trace: one forward pass gives features and, by the hooks on its layers, BatchNorm statistics.
        self.look = FeatureExtractor(teacher.model)
        self.queue = Fifo(config.queue)

    def learn(self, student: fx.GraphModule | None) -> dict[str, float]:
        """One step of the generator."""
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
        """The terms that need a student; its features are remembered as negatives of later steps."""
        temperature = self.config.temperature
        apart = disagreement(student.logits, teacher.logits, temperature) * temperature**2
        width = teacher.penultimate.shape[1]
        queries, keys = directions(teacher.penultimate, width), directions(student.penultimate.detach(), width)
        relation = self._relation(queries, keys)
        self.queue.push(keys)
        return {"disagreement": apart, "relation": self.config.relation_weight * relation}

    def _relation(self, queries: Tensor, keys: Tensor) -> Tensor:
        """R2M of unit vectors (B, D): the gradient goes through the queries alone."""
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
