"""Inversion: images are optimised, batch by batch, until the teacher (and the student) answer as they should.

ZeroQ, DeepInversion, CMI and RGAL differ in how images are written down (`parametrization`) and in their loss `terms`,
but share one loop. All of them minimise the deviation from the BatchNorm statistics (`Teacher.bn_statistics`); where
there are none, images start from dead leaves (`without_statistics`). Batches of several such kinds may take turns.
"""

import copy
from math import inf

import torch
from torch import Tensor, fx

from dfq.calibration.frozen_student import frozen
from dfq.calibration.gradient_weights import WeightedTerms
from dfq.calibration.inversion.batch_norm_matching import AccumulatedMoments, swing_convolutions
from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.labels import draw_labels
from dfq.calibration.inversion.low_pass import low_pass
from dfq.calibration.inversion.parametrizations import Parametrization
from dfq.calibration.inversion.without_statistics import for_network, source_of
from dfq.calibration.inversion_terms import SynthesisStep
from dfq.graph.features import features_of
from dfq.graph.inner_tensors import inner_reader_of
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.system.budget import Budget
from dfq.system.compute_dtype import fast_autocast
from dfq.system.progress import Task
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.teacher.batch_norm_statistics import normalization_layers
from dfq.training.optimizer_steps import set_learning_rates, step_if_finite


class Inversion:
    """Synthesizer that optimises images directly, batch by batch (`dfq.calibration.Synthesizer`).

    A teacher without BatchNorm has no statistics to match. Then all kinds that would match them are replaced
    (`dfq.calibration.inversion.without_statistics`), and `knowledge` says so.

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
        kinds = tuple(for_network(config, teacher).for_size(teacher.input_spec.size) for config in kinds)
        self.kinds = kinds[:1] if all(kind == kinds[0] for kind in kinds) else kinds
        self.teacher, self.batch_size = teacher, batch_size
        self.augment = augment or Augment()
        self.generator = torch.Generator().manual_seed(stage.seed)
        self.stage, self.budget = stage, stage.budget
        self.student: fx.GraphModule | None = None
        self.earlier, self.batches_made = AccumulatedMoments(), 0
        self.knowledge = self._knowledge()
        self.notes: list[str] = []

    def _knowledge(self) -> str:
        if not self.kinds[0].statistics:
            return source_of(self.kinds[0], self.teacher)
        statistics = f"the statistics of {len(normalization_layers(self.teacher.model))} BatchNorm layers"
        return f"{statistics} and the teacher's answers" if self.kinds[0].asks_for_classes else statistics

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
        with self.stage.task("Synthesizing images", sum(kind.iterations for kind in kinds)) as task:
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
        labels = self._draw_labels(config, size) if self.teacher.is_classifier else None
        seed = int(torch.randint(2**31, (), generator=self.generator)) if config.needs_inner else 0
        optimizer = torch.optim.Adam(
            parametrization.parameters(), lr=config.learning_rate, betas=config.betas, eps=config.eps
        )
        losses: list[float] = []
        terms, step, best = WeightedTerms(config.terms), 0, None
        swing = swing_convolutions(self.teacher.model, self.generator, on=config.matching.swing)
        with self.teacher.bn_statistics() as statistics, swing, frozen(self.student):
            while step < config.iterations and not config.has_settled(losses):
                if (done := budget.done(step, config.iterations)) == 1:
                    break
                set_learning_rates(optimizer, [config.learning_rate], done)
                loss = self._loss(config, parametrization, labels, statistics, seed, terms)
                if not loss.requires_grad:  # No term applies to this network.
                    break
                if config.keep_best and loss.item() <= min(losses, default=inf):
                    best = copy.deepcopy(parametrization.state_dict())
                if step_if_finite(optimizer, loss, parametrization.parameters()):
                    losses.append(loss.item())
                step += 1
                task.advance(1, loss=loss.item())
            self.earlier.add(statistics.moments, size)
        task.advance(config.iterations - step)
        if best is not None:
            parametrization.load_state_dict(best)
        with torch.no_grad():
            pixels = parametrization.to_pixels(parametrization.logits().float())
            pixels = pixels if config.cutoff is None else low_pass(pixels, config.cutoff)
            pixels = (pixels.clamp(0, 1) * 255).round() / 255
        return spec.normalize(pixels).detach().contiguous(memory_format=torch.channels_last), labels

    def _draw_labels(self, config: InversionConfig, size: int) -> Tensor:
        labels = draw_labels(size, self.teacher.num_answers, self.generator, paired=config.needs_pairs)
        return labels.to(self.teacher.device)

    def _loss(
        self,
        config: InversionConfig,
        parametrization: Parametrization,
        labels: Tensor | None,
        statistics,
        seed: int,
        terms: WeightedTerms,
    ) -> Tensor:
        with fast_autocast(self.teacher.device):
            pixel_logits = parametrization.logits().float()
            pixels = parametrization.to_pixels(pixel_logits)
            varied = self.augment(pixels, self.generator) if config.augmented else pixels
            images = self.teacher.input_spec.normalize(varied)
            inner = inner_reader_of(self.teacher.model)(images) if config.needs_inner else None
            outputs = self.teacher(images) if inner is None else inner.outputs
            student = features_of(self.student)(images) if config.needs_student and self.student is not None else None
        step = SynthesisStep(
            pixel_logits=pixel_logits,
            pixels=pixels,
            images=images,
            labels=labels,
            logits=outputs,
            student=student,
            standardized=self.teacher.input_spec.is_standardized,
            generator=self.generator,
            inner=inner,
            seed=seed,
        )
        deviation = self._deviation(config, statistics, images)
        losses = list(terms.losses(deviation, step).values())
        return deviation + torch.stack(losses).sum() if losses else deviation

    def _deviation(self, config: InversionConfig, statistics, images: Tensor) -> Tensor:
        """Returns how far the batch is from the BatchNorm statistics; 0 where they do not count."""
        if not config.statistics:
            return images.new_zeros(())
        return config.matching.deviation(statistics, self.earlier, len(images))

    def state_dict(self) -> dict:
        moments = self.earlier.moments
        return {
            "generator": self.generator.get_state(),
            "batches_made": self.batches_made,
            "earlier": (moments and list(moments), self.earlier.count),
        }

    def load_state_dict(self, state: dict) -> None:
        self.generator.set_state(state["generator"].cpu())
        self.batches_made = state["batches_made"]
        self.earlier.moments, self.earlier.count = state["earlier"]
