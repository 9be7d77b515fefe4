"""`Trainer`: fits a fake-quantized student to its teacher on synthetic images."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial

import torch
from torch import Tensor, fx, nn

from dfq.graph.outputs import Outputs, joined
from dfq.images.batch import Batch
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.system.compute_dtype import fast_autocast
from dfq.system.exchange import add_up, copy_from, share_of
from dfq.system.processes import processes
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.image_sources import ImageSource
from dfq.training.objectives import Objective
from dfq.training.optimizer_steps import cosine, set_learning_rates, step_if_finite
from dfq.training.output_losses import output_divergence
from dfq.training.settings import TrainSettings
from dfq.training.shared_work import depends_on_single_images, on_parts
from dfq.training.training_state import TrainingState


@dataclass
class History:
    """What training did: one record per evaluation, and the notes that the report should carry.

    A record holds `step`, `seconds`, `learning_rate`, the mean of each training loss since the last record, and
    `held_out`, which is τ²·KL(teacher ‖ student) in nats on synthetic images that were not trained on, or the relative
    squared error of outputs that are no logits. It also holds `accuracy` where the trainer was given a way to measure
    it.

    Attributes:
        records: The records, in order.
        notes: Sentences for the report.
        steps: Number of steps that were done.
        chosen_step: Step whose state the student has in the end.
        rounds: What was found at each round of a growing pool (`dfq.training.growing_images.GrowingImages.rounds`).
    """

    records: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: int = 0
    chosen_step: int = 0
    rounds: list[dict] = field(default_factory=list)

    def to_dict(self) -> dict:
        return asdict(self)


class Trainer:
    """Trains `student` in place; held-out *synthetic* images decide whether its last state is kept.

    The last state is kept, unless its held-out divergence exceeds the smallest one by more than a quarter, or exceeds
    that before training at all. (The figure is noisy, and weights settle at the end of the cosine schedule.) Otherwise
    the best state is restored. Where a generator learns along, the held-out images are those of its start. A student
    that unlearns them a little for the sake of later ones has not gone wrong, so images of its start and its end
    together must then say the same.

    The processes of a run take each step together. Where the losses of a batch are means over its images (`adds_up` of
    the objective), and the student maps each image for itself, each process works on a part of the batch, and gradients
    are summed. Otherwise, each works on all of it.

    Args:
        teacher: Teacher.
        student: Calibrated student.
        objective: What the student minimises.
        settings: Settings of the training.
        stage: Time, report and checkpoint of the training. Its seed is that of batches and augmentation.
        accuracy: Measures the student at each look at the held-out images, for the record. Nothing is chosen by it.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: fx.GraphModule,
        objective: Objective,
        settings: TrainSettings,
        stage: Stage | None = None,
        *,
        accuracy: Callable[[nn.Module], float] | None = None,
    ):
        self.teacher, self.student, self.settings = teacher, student, settings
        self.stage, self.accuracy = stage or Stage(), accuracy
        bound = getattr(objective, "bound", None)
        self.objective = bound(teacher, student, self.stage.seed) if bound else objective
        self.projections: nn.Module = getattr(self.objective, "projections", None) or nn.Module()
        self.optimizer = _optimizer(student, self.projections, settings)
        self.generator = torch.Generator().manual_seed(self.stage.seed)
        self.history = History()

    def fit(self, source: ImageSource, held_out: Batch) -> History:
        """Runs all steps, or until the budget ends. The student then has the chosen state."""
        path = self.stage.checkpoint
        self.state = TrainingState(path, self.student, self.optimizer, self.generator, self.history, source)
        self.state.projections = self.projections
        source.held_out = held_out
        judged = self._with_targets(held_out)
        self.state.resume()
        self._copy_from_first()
        if not self.history.records:
            self._evaluate(*judged, 0.0)
        state = self.state
        with self.stage.task("Training the student", self.settings.steps) as task:
            task.advance(self.history.steps)
            while (done := self.stage.done(self.history.steps, self.settings.steps)) < 1:
                state.save_if_due()
                set_learning_rates(self.optimizer, [self.settings.learning_rate], done)
                losses = self._step(source, done)
                self.history.steps += 1
                state.bad_steps = 0 if losses else state.bad_steps + 1
                if state.bad_steps > self.settings.max_bad_steps:
                    self.history.notes.append(
                        f"training stopped at step {self.history.steps} because its losses were not finite"
                    )
                    break
                state.since += 1
                for name, value in losses.items():
                    state.sums[name] = state.sums.get(name, 0.0) + value
                if self.history.steps % self.settings.evaluate_every == 0:
                    self._evaluate(*judged, self.settings.learning_rate * cosine(done))
                task.advance(1, **losses, held_out=self.history.records[-1]["held_out"])
            task.advance(self.settings.steps - self.history.steps)
        if state.since:
            self._evaluate(*judged, 0.0)
        last, first = self.history.records[-1]["held_out"], self.history.records[0]["held_out"]
        self.history.rounds = getattr(source, "rounds", [])
        doubts = getattr(self.objective, "doubts", None)
        self.history.notes += doubts(self.history.records) if doubts else []
        later = source.unseen_at_the_end()
        measure = None if later is None else partial(self._divergence, *self._with_targets(held_out.joined(later)))
        self.history.chosen_step = self.state.choose(last, first, measure, settings=self.settings)
        self._copy_from_first()
        return self.history

    def _copy_from_first(self) -> None:
        """Takes over the networks of the first process, from which those of others may differ by rounding."""
        copy_from([*self.student.state_dict().values(), *self.projections.state_dict().values()], source=0)

    def _step(self, source: ImageSource, done: float) -> dict[str, float]:
        """Takes one optimizer step and returns its losses, or skips it and returns none where they are not finite."""
        batch, synthesis = source.batch(self.student, self.settings.batch_size, done, self.generator)
        rate = self.settings.learning_rate * cosine(done)
        batch = Batch(self._varied(batch.images), batch.labels, self.history.steps, rate)
        self.student.train()
        is_split = self._is_split(batch)
        part = batch.pick_rows(share_of(len(batch))) if is_split else batch
        weight = len(part) / len(batch) if is_split else 1 / processes().count
        with fast_autocast(self.teacher.device), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.stage.seed + self.history.steps)  # This is for what an objective draws.
            with on_parts() if is_split else nullcontext():
                losses = self.objective(self.student, part, self.teacher)
        weighted = weight * torch.stack(list(losses.values()))
        parameters = (*self.student.parameters(), *self.projections.parameters())
        clip = self.settings.clip_norm
        if not step_if_finite(self.optimizer, weighted.sum(), parameters, max_norm=clip, together=True):
            return {}
        totals = weighted.detach().float()
        add_up([totals])
        return dict(zip(losses, totals.tolist(), strict=True)) | synthesis

    def _is_split(self, batch: Batch) -> bool:
        """Returns whether each process works on a part of the batch."""
        is_mean = getattr(self.objective, "adds_up", False) and depends_on_single_images(self.student)
        return is_mean and len(batch) >= processes().count

    def _varied(self, images: Tensor) -> Tensor:
        if self.settings.valid_pixels:
            images = self.teacher.input_spec.normalize(self.teacher.input_spec.to_pixels(images))
        augmented = self.settings.augment(images, self.generator) if self.settings.augment else images
        return self.settings.mix(augmented, self.generator) if self.settings.mix else augmented

    @torch.no_grad()
    def _with_targets(self, batch: Batch) -> tuple[Tensor, Outputs]:
        """Returns the images, and the teacher's outputs of them."""
        parts = batch.images.split(self.settings.target_batch_size)
        return batch.images, joined([self.teacher(images) for images in parts])

    @torch.no_grad()
    def _divergence(self, images: Tensor, target: Outputs) -> float:
        self.student.eval()
        outputs = joined([self.student(part) for part in images.split(self.settings.batch_size)])
        return float(output_divergence(self.teacher, outputs, target, self.settings.selection_temperature))

    def _evaluate(self, images: Tensor, target: Outputs, rate: float) -> None:
        """Adds a record, with the mean losses since the last one."""
        state, divergence = self.state, self._divergence(images, target)
        losses = {name: total / state.since for name, total in state.sums.items()}
        state.sums, state.since = {}, 0
        record = {"step": self.history.steps, "seconds": time.monotonic() - state.started, **losses}
        if self.accuracy is not None:
            record["accuracy"] = self.accuracy(self.student)
        self.history.records.append({**record, "learning_rate": rate, "held_out": divergence})
        state.keep_if_best(divergence)


def _optimizer(student: nn.Module, projections: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    scales = {id(module.scale) for module in student.modules() if isinstance(module, FakeQuantize)}
    learned = [p for p in student.parameters() if settings.learn_scales or id(p) not in scales]
    learned += projections.parameters()
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(learned, lr=rate, momentum=settings.momentum, nesterov=True, weight_decay=decay)
    return torch.optim.Adam(learned, lr=rate, weight_decay=decay)
