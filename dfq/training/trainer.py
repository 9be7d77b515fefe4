"""`Trainer`: fits a fake-quantized student to its teacher on synthetic images."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from math import cos, isfinite, pi
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.images.mixtures import Mix
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.system.budget import Budget
from dfq.system.compute_dtype import fast_autocast
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher
from dfq.training.image_sources import ImageSource
from dfq.training.losses import knowledge_distillation
from dfq.training.objectives import Objective
from dfq.training.training_state import TrainingState

# Learning rate of Adam by the lowest width in the student: coarse grids need weights that move further.
LEARNING_RATES = {2: 5e-4, 3: 3e-4, 4: 3e-5, 5: 2e-5, 6: 2e-5, 7: 1e-5, 8: 1e-5}
MAX_BAD_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of `Trainer`.

    Attributes:
        steps: optimizer steps; a time budget may end them earlier.
        batch_size: images per step.
        learning_rate: of the optimizer at the start; falls to 0 by a cosine over steps or time, whichever ends first.
        clip_norm: largest norm of the gradient.
        optimizer: "adam", or "sgd" with Nesterov's momentum 0.9 (GDFQ's).
        weight_decay: of the optimizer.
        learn_scales: False: the ranges stay as calibrated.
        augment: mirror and shift in front of both networks; None: the images as they are.
        mix: mixtures of images in front of both networks.
        valid_pixels: images are clipped to what a picture can hold first; generators put out what none can.
        evaluate_every: steps between two looks at the held-out synthetic images.
        selection_temperature: τ of the held-out divergence. At 1, images that the teacher is sure of say nothing.
        seed: of batches and augmentation.
    """

    steps: int = 600
    batch_size: int = 128
    learning_rate: float = 3e-5
    clip_norm: float = 1.0
    optimizer: str = "adam"
    weight_decay: float = 0.0
    learn_scales: bool = True
    augment: Augment | None = Augment(shift=3)
    mix: Mix | None = None
    valid_pixels: bool = False
    evaluate_every: int = 50
    selection_temperature: float = 4.0
    seed: int = 0


@dataclass
class History:
    """What training did: one record per evaluation, and the notes that the report should carry.

    A record holds `step`, `seconds`, `learning_rate`, the mean of each training loss since the last record, and
    `held_out`: τ²·KL(teacher ‖ student) in nats on synthetic images that were not trained on; `accuracy` where the
    trainer was given a way to measure it.
    """

    records: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: int = 0
    chosen_step: int = 0

    def to_dict(self) -> dict:
        return asdict(self)


class Trainer:
    """Trains `student` in place; held-out *synthetic* images decide whether its last state is kept.

    The last one is kept, unless its held-out divergence exceeds the smallest seen by more than a quarter (the figure is
    noisy, and the end of the cosine schedule is where weights settle) or that before training at all: then the best one
    is restored. Where a generator moves along, the held-out images are those of its start, and a student that unlearns
    them a little for the sake of later ones has not gone wrong: there, images of its start and its end together must
    say the same.

    Args:
        checkpoint: a file that is rewritten while training and read at the start where it exists: a killed run that
            is started again with the same arguments goes on from there.
        accuracy: measures the student at each look at the held-out images, for the record; nothing is chosen by it.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: fx.GraphModule,
        objective: Objective,
        settings: TrainSettings,
        *,
        budget: Budget | None = None,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
        accuracy: Callable[[nn.Module], float] | None = None,
    ):
        self.teacher, self.student, self.objective, self.settings = teacher, student, objective, settings
        self.budget, self.progress = budget or Budget(), progress or Silent()
        self.optimizer = _optimizer(student, settings)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.history = History()
        self.checkpoint, self.accuracy = checkpoint, accuracy

    def fit(self, source: ImageSource, held_out: Batch) -> History:
        """Runs all steps, or until the budget ends; the student then holds the chosen state."""
        self.state = TrainingState(self.checkpoint, self.student, self.optimizer, self.generator, self.history, source)
        judged = self._with_targets(held_out)
        self.state.resume()
        if not self.history.records:
            self._evaluate(*judged, {}, 0.0)
        sums: dict[str, float] = {}
        bad_steps, since = 0, 0
        with self.progress.task("Training the student", self.settings.steps) as task:
            task.advance(self.history.steps)
            while (done := self.budget.done(self.history.steps, self.settings.steps)) < 1:
                rate = self._set_learning_rate(done)
                losses = self._step(source, done)
                self.history.steps += 1
                bad_steps = 0 if losses else bad_steps + 1
                if bad_steps > MAX_BAD_STEPS:
                    self.history.notes.append(f"training stopped at step {self.history.steps}: losses not finite")
                    break
                since += 1
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value
                if self.history.steps % self.settings.evaluate_every == 0:
                    self._evaluate(*judged, {n: s / since for n, s in sums.items()}, rate)
                    sums, since = {}, 0
                    self.state.save_if_due()
                task.advance(1, **losses, held_out=self.history.records[-1]["held_out"])
            task.advance(self.settings.steps - self.history.steps)
        if since:
            self._evaluate(*judged, {n: s / since for n, s in sums.items()}, 0.0)
        last, first = self.history.records[-1]["held_out"], self.history.records[0]["held_out"]
        later = source.unseen_at_the_end()
        measure = None if later is None else partial(self._divergence, *self._with_targets(held_out.joined(later)))
        self.history.chosen_step = self.state.choose(last, first, measure)
        return self.history

    def _set_learning_rate(self, done: float) -> float:
        rate = self.settings.learning_rate * 0.5 * (1 + cos(pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _step(self, source: ImageSource, done: float) -> dict[str, float]:
        """One optimizer step; returns its losses, or nothing where they were not finite and the step was skipped."""
        batch, synthesis = source.batch(self.student, self.settings.batch_size, done, self.generator)
        batch = Batch(self._varied(batch.images), batch.labels, self.history.steps)
        self.student.train()
        with fast_autocast(self.teacher.device), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed + self.history.steps)  # for what an objective draws
            losses = self.objective(self.student, batch, self.teacher)
        self.student.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        norm = nn.utils.clip_grad_norm_(self.student.parameters(), self.settings.clip_norm)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if not isfinite(float(norm)) or not all(map(isfinite, values.values())):
            return {}
        self.optimizer.step()
        return values | synthesis

    def _varied(self, images: Tensor) -> Tensor:
        if self.settings.valid_pixels:
            images = self.teacher.input_spec.normalize(self.teacher.input_spec.to_pixels(images))
        augmented = self.settings.augment(images, self.generator) if self.settings.augment else images
        return self.settings.mix(augmented, self.generator) if self.settings.mix else augmented

    @torch.no_grad()
    def _with_targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(images, the teacher's logits of them)."""
        return batch.images, torch.cat([self.teacher(images) for images in batch.images.split(256)])

    @torch.no_grad()
    def _divergence(self, images: Tensor, target: Tensor) -> float:
        self.student.eval()
        logits = torch.cat([self.student(part) for part in images.split(self.settings.batch_size)])
        return float(knowledge_distillation(logits, target, self.settings.selection_temperature))

    def _evaluate(self, images: Tensor, target: Tensor, losses: dict[str, float], rate: float) -> None:
        divergence = self._divergence(images, target)
        record = {"step": self.history.steps, "seconds": time.monotonic() - self.state.started, **losses}
        if self.accuracy is not None:
            record["accuracy"] = self.accuracy(self.student)
        self.history.records.append({**record, "learning_rate": rate, "held_out": divergence})
        self.state.keep_if_best(divergence)


def _optimizer(student: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    scales = {id(module.scale) for module in student.modules() if isinstance(module, FakeQuantize)}
    learned = [p for p in student.parameters() if settings.learn_scales or id(p) not in scales]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            learned, lr=settings.learning_rate, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay
        )
    return torch.optim.Adam(learned, lr=settings.learning_rate, weight_decay=settings.weight_decay)
