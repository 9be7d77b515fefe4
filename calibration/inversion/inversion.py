"""Inversion: images are optimised, batch by batch, until the teacher (and the student) answer as they should.

ZeroQ, DeepInversion, CMI and RGAL differ in how images are written down (`parametrization`) and in their loss `terms`,
but share one loop. All of them minimise the deviation from the BatchNorm statistics (`Teacher.bn_statistics`). Batches
of several such kinds may take turns.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from dfq.calibration.frozen_student import frozen
from dfq.calibration.inversion.batch_norm_matching import RELATIVE, AccumulatedMoments, Matching, swing_convolutions
from dfq.calibration.inversion.low_pass import low_pass
from dfq.calibration.inversion.parametrizations import Parametrization
from dfq.calibration.inversion_terms import SynthesisStep, Term
from dfq.graph.features import features_of
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.images.input_spec import is_large
from dfq.system.budget import Budget
from dfq.system.compute_dtype import fast_autocast
from dfq.system.progress import Task
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.losses import input_prior
from dfq.training.optimizer_steps import set_learning_rates, step_if_finite


@dataclass(frozen=True, kw_only=True)
class InversionConfig:
    """What makes one kind of image.

    Attributes:
        parametrization: How a batch of images is written down: a class with the protocol `Parametrization`.
        terms: Loss terms beside the deviation from the BatchNorm statistics.
        iterations: Number of gradient steps for each batch.
        iterations_large: Number of gradient steps for images of more than 64 pixels a side; None: `iterations`.
        learning_rate: First learning rate of Adam, which falls to 0 by a cosine.
        learning_rate_large: First learning rate for images of more than 64 pixels a side; None: `learning_rate`.
        betas: Decay rates of Adam's two moments.
        augmented: Whether images are mirrored and shifted in the loop.
        matching: How the BatchNorm statistics are matched.
        cutoff: Cutoff of the low-pass filter that finished images pass (`low_pass`), in units of the finest frequency;
            None: there is no filter.
        patience: Number of the last iterations whose best loss is compared with the best one before. A batch has at
            least twice as many before it may end early.
        min_gain: Smallest improvement between the two, as a share of the loss, with which a batch goes on.
        min_time: Smallest share of a batch's expected time that must be left in the budget for it to be started. The
            first batch is always started.
    """

    parametrization: Callable[..., Parametrization]
    terms: tuple[Term, ...]
    iterations: int = 200
    iterations_large: int | None = None
    learning_rate: float = 0.1
    learning_rate_large: float | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    augmented: bool = True
    matching: Matching = RELATIVE
    cutoff: float | None = None
    patience: int = 60
    min_gain: float = 0.01
    min_time: float = 0.6

    def for_size(self, size: tuple[int, int, int]) -> "InversionConfig":
        """Returns the same kind with the `iterations` and the `learning_rate` for images of that size (C, H, W)."""
        iterations, rate = self.iterations, self.learning_rate
        if is_large(size):
            iterations, rate = self.iterations_large or iterations, self.learning_rate_large or rate
        return replace(self, iterations=iterations, learning_rate=rate, iterations_large=None, learning_rate_large=None)


class Inversion:
    """Synthesizer that optimises images directly, batch by batch (`dfq.calibration.Synthesizer`).

    A teacher without BatchNorm has no statistics to match. Then the input prior takes their place, and `notes` say so.

    Args:
        kinds: Kinds of image that the batches have in turn; where there are several, `sample` shuffles its images.
        teacher: Network that the images are made for.
        stage: Time, report and seed. Where the budget ends first, there are fewer images, and a note.
        batch_size: Number of images that are optimised together, whose joint statistics are matched.
        augment: How images are mirrored and shifted in the loop.
    """

    def __init__(
        self,
        kinds: InversionConfig | tuple[InversionConfig, ...],
        teacher: Teacher,
        stage: Stage | None = None,
        *,
        batch_size: int = 256,
        augment: Augment | None = None,
    ):
        stage = stage or Stage()
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        kinds = tuple(config.for_size(teacher.input_spec.size) for config in kinds)
        self.kinds = kinds[:1] if all(kind == kinds[0] for kind in kinds) else kinds
        self.teacher, self.batch_size = teacher, batch_size
        self.augment = augment or Augment()
        self.generator = torch.Generator().manual_seed(stage.seed)
        self.budget, self.progress = stage.budget, stage.progress
        self.student: fx.GraphModule | None = None
        self.earlier, self.batches_made = AccumulatedMoments(), 0
        self.notes: list[str] = []
        if not teacher.has_batch_norm:
            source = "the input prior and label cross-entropy" if teacher.is_classifier else "the input prior"
            self.notes.append(
                f"the teacher has no BatchNorm statistics: images come from {source} alone, which describes the "
                "training data far less; expect a larger drop"
            )

    def update(self, student: fx.GraphModule) -> dict[str, float]:
        """Makes the terms that need a student work against this one from now on; returns no losses."""
        self.student = student
        return {}

    def sample(self, count: int) -> Batch:
        """Returns `count` images with labels in equal shares; pixels lie on the 8-bit grid of image files.

        Images for a teacher that is no classifier have no labels.

        Where the time budget ends first, there are fewer images (and a note), because a few finished images serve
        better than many that have hardly left their random start.
        """
        sizes = [min(self.batch_size, count - i) for i in range(0, count, self.batch_size)]
        kinds = [self.kinds[(self.batches_made + i) % len(self.kinds)] for i in range(len(sizes))]
        batches: list[tuple[Tensor, Tensor | None]] = []
        start = self.budget.elapsed()
        with self.progress.task("Synthesizing images", sum(kind.iterations for kind in kinds)) as task:
            for index, (size, kind) in enumerate(zip(sizes, kinds, strict=True)):
                per_step = (self.budget.elapsed() - start) / max(sum(made.iterations for made in kinds[:index]), 1)
                if index and self.budget.remaining() < kind.min_time * per_step * kind.iterations:
                    self.notes.append(f"the budget allowed {sum(sizes[:index])} of {count} synthetic images")
                    task.advance(sum(kind.iterations for kind in kinds[index:]))
                    break
                batches.append(self._batch(kind, size, self.budget.part(1.0), task))
        self.batches_made += len(batches)
        images = torch.cat([made for made, _ in batches])
        drawn = [labels for _, labels in batches if labels is not None]
        labels = torch.cat(drawn) if drawn else None
        if len(self.kinds) > 1:  # Any part of the images, such as the held-out one, shall hold all kinds.
            order = torch.randperm(len(images), generator=self.generator).to(images.device)
            return Batch(images, labels).pick(order)
        return Batch(images, labels)

    def _batch(self, config: InversionConfig, size: int, budget: Budget, task: Task) -> tuple[Tensor, Tensor | None]:
        spec, device = self.teacher.input_spec, self.teacher.device
        parametrization = config.parametrization(size, spec.size, self.generator, device)
        labels = self._draw_labels(config, size).to(device) if self.teacher.is_classifier else None
        optimizer = torch.optim.Adam(parametrization.parameters(), lr=config.learning_rate, betas=config.betas)
        losses: list[float] = []
        step = 0
        swing = swing_convolutions(self.teacher.model, self.generator, on=config.matching.swing)
        with self.teacher.bn_statistics() as statistics, swing, frozen(self.student):
            while (done := budget.done(step, config.iterations)) < 1 and not _has_settled(losses, config):
                set_learning_rates(optimizer, [config.learning_rate], done)
                loss = self._loss(config, parametrization, labels, statistics)
                if step_if_finite(optimizer, loss, parametrization.parameters()):
                    losses.append(loss.item())
                step += 1
                task.advance(1, loss=loss.item())
            self.earlier.add(statistics.moments, size)
        task.advance(config.iterations - step)
        with torch.no_grad():
            pixels = parametrization.to_pixels(parametrization.logits().float())
            pixels = pixels if config.cutoff is None else low_pass(pixels, config.cutoff)
            pixels = (pixels.clamp(0, 1) * 255).round() / 255
        return spec.normalize(pixels).detach().contiguous(memory_format=torch.channels_last), labels

    def _loss(
        self, config: InversionConfig, parametrization: Parametrization, labels: Tensor | None, statistics
    ) -> Tensor:
        with fast_autocast(self.teacher.device):
            pixel_logits = parametrization.logits().float()
            pixels = parametrization.to_pixels(pixel_logits)
            varied = self.augment(pixels, self.generator) if config.augmented else pixels
            images = self.teacher.input_spec.normalize(varied)
            logits = self.teacher(images)
            student = self._student_features(config, images)
        standardized = self.teacher.input_spec.is_standardized
        step = SynthesisStep(pixel_logits, pixels, images, labels, logits, student, standardized, self.generator)
        deviation = input_prior(images)
        if self.teacher.has_batch_norm:
            deviation = config.matching.deviation(statistics, self.earlier, len(images))
        terms = [loss for term in config.terms if (loss := term(step)) is not None]
        return deviation + torch.stack([t.float() for t in terms]).sum()

    def _student_features(self, config: InversionConfig, images: Tensor):
        needed = any(getattr(term, "needs_student", False) for term in config.terms)
        return features_of(self.student)(images) if needed and self.student is not None else None

    def _draw_labels(self, config: InversionConfig, size: int) -> Tensor:
        """Returns shuffled labels (size,): as many of each class as fit, and the rest at random.

        Where a term needs pairs and `size` is less than two of each class, labels come in pairs instead.
        """
        classes = self.teacher.num_answers
        paired = any(getattr(term, "needs_pairs", False) for term in config.terms)
        if paired and size < 2 * classes:
            labels = torch.randperm(classes, generator=self.generator)[: (size + 1) // 2].repeat(2)[:size]
        else:
            whole = torch.arange(classes).repeat(size // classes)
            labels = torch.cat([whole, torch.randperm(classes, generator=self.generator)[: size - len(whole)]])
        return labels[torch.randperm(size, generator=self.generator)]


def _has_settled(losses: list[float], config: InversionConfig) -> bool:
    if len(losses) <= 2 * config.patience:
        return False
    before, now = min(losses[: -config.patience]), min(losses[-config.patience :])
    return now > before * (1 - config.min_gain)
