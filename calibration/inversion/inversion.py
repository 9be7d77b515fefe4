"""Inversion: images are optimised, batch by batch, until the teacher (and the student) answer as they should.

ZeroQ, DeepInversion, CMI and RGAL differ in how images are written down (`parametrization`) and in their loss `terms`,
but share one loop. All of them minimise the deviation from the BatchNorm statistics (`Teacher.bn_statistics`); where
there are none, images start from dead leaves (`without_statistics`). Batches of several such kinds may take turns.
"""

import torch
from torch import Tensor, fx

from dfq.calibration.frozen_student import frozen
from dfq.calibration.inversion.batch_in_progress import BatchInProgress
from dfq.calibration.inversion.batch_norm_matching import AccumulatedMoments, swing_convolutions
from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.knowledge import knowledge_of
from dfq.calibration.inversion.plan import Plan
from dfq.calibration.inversion.unfinished_sample import UnfinishedSample
from dfq.calibration.inversion.without_statistics import for_network
from dfq.calibration.inversion_terms import SynthesisStep
from dfq.graph.features import features_of
from dfq.graph.inner_tensors import inner_reader_of
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.system.budget import duration_text
from dfq.system.compute_dtype import fast_autocast
from dfq.system.exchange import gathered, number_of_first
from dfq.system.processes import processes
from dfq.system.progress import Task
from dfq.system.seeds import seed_of_part
from dfq.system.stage import Stage
from dfq.system.state_file import StateFile
from dfq.teacher import Teacher
from dfq.teacher.batch_norm_statistics import BatchNormStatistics
from dfq.training.optimizer_steps import set_learning_rates

LONG_SECONDS = 600.0  # A person is told of images that take longer.


class Inversion:
    """Synthesizer that optimises images directly, batch by batch (`dfq.calibration.Synthesizer`).

    A teacher without BatchNorm has no statistics to match. Then all kinds that would match them are replaced
    (`dfq.calibration.inversion.without_statistics`), and `knowledge` says so.

    Args:
        kinds: Kinds of image that the batches have in turn; where there are several, `sample` shuffles its images.
        teacher: Network that the images are made for.
        stage: Time, report, seed and checkpoint. Where the budget ends first, there are fewer images, and a note.
        batch_size: Number of images that are optimised together, whose joint statistics are matched.
        augment: How images are mirrored and shifted in the loop.

    Attributes:
        shares_work: Each process of a run makes some of the batches, and all of them get all images.
    """

    shares_work = True

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
        self.stage, self.budget, self.file = stage, stage.budget, StateFile(stage.checkpoint)
        self.student: fx.GraphModule | None = None
        self.earlier, self.batches_made = AccumulatedMoments(), 0
        self.knowledge = knowledge_of(self.kinds, teacher)
        self.notes: list[str] = []

    def update(self, student: fx.GraphModule) -> dict[str, float]:
        """Makes the terms that need a student work against this one from now on; returns no losses."""
        self.student = student
        return {}

    def sample(self, count: int) -> Batch:
        """Returns `count` images with labels in equal shares; pixels lie on the 8-bit grid of image files.

        Images for a teacher that is no classifier have no labels.

        Where the time budget ends first, there are fewer images (and a note), because a few finished images serve
        better than many that have hardly left their random start. What a killed run left of the same call is taken
        over. Several processes make as many batches at once, and all of them get all images.
        """
        plan = Plan.of(count, self.kinds, self.batch_size, self.batches_made)
        unfinished = UnfinishedSample(self.file, self.teacher, self.state_dict(), count)
        state = unfinished.resume()
        batches, first, start = unfinished.batches, len(unfinished.batches), self.budget.elapsed()
        with self.stage.task("Synthesizing images", plan.steps(slice(None))) as task:
            task.advance(plan.steps(slice(first)))
            for index in range(first, len(plan.sizes), plan.at_once):
                per_step = (self.budget.elapsed() - start) / max(plan.steps(slice(first, index, plan.at_once)), 1)
                if index == first + plan.at_once:
                    self._tell_duration(count, per_step * plan.steps(slice(index, None, plan.at_once)))
                needed = plan.kinds[index].min_time * per_step * plan.kinds[index].iterations
                if number_of_first(index > first and self.budget.remaining() < needed):
                    self.notes.append(f"the budget allowed {sum(plan.sizes[:index])} of {count} synthetic images")
                    task.advance(plan.steps(slice(index, None)))
                    break
                made = None
                if (own := plan.own(index)) is not None:
                    batch = self._begin(plan, own, state)
                    self._optimize(batch, unfinished, task)
                    made = batch.images(), batch.labels
                state = None
                batches += [each for each in gathered(made, self.teacher.device) if each is not None]
                task.advance(plan.steps(slice(index + 1, index + plan.at_once)))
        return self._joined(batches)

    def _begin(self, plan: Plan, index: int, state: dict | None) -> BatchInProgress:
        """Returns a batch as it starts, or as the first process of a killed run has left it."""
        generator = torch.Generator().manual_seed(seed_of_part(self.stage.seed, self.batches_made + index))
        batch = BatchInProgress(plan.kinds[index], plan.sizes[index], self.teacher, generator)
        if state is not None and processes().is_first:
            batch.load_state_dict(state["batch"])
            self.load_state_dict(state["synthesizer"])
        return batch

    def _joined(self, batches: list[tuple[Tensor, Tensor | None]]) -> Batch:
        """Returns the images and labels of all batches of a call; where there are several kinds, in random order."""
        self.batches_made += len(batches)
        drawn = [labels for _, labels in batches if labels is not None]
        batch = Batch(torch.cat([made for made, _ in batches]), torch.cat(drawn) if drawn else None)
        if len(self.kinds) == 1:
            return batch
        # Any part of the images, such as the held-out one, shall hold all kinds.
        order = torch.randperm(len(batch), generator=self.generator)
        return batch.pick(order.to(batch.images.device))

    def _tell_duration(self, count: int, seconds: float) -> None:
        """Says how long the other batches will take where that is long."""
        left = min(seconds, self.budget.remaining())
        if left >= LONG_SECONDS:
            self.stage.progress.note(f"{count:,} synthetic images will take about {duration_text(left)} more")

    def _optimize(self, batch: BatchInProgress, unfinished: UnfinishedSample, task: Task) -> None:
        """Takes the steps of a batch that are left, until it has settled or the budget ends."""
        config, budget = batch.config, self.budget.part(1.0)
        swing = swing_convolutions(self.teacher.model, batch.generator, on=config.matching.swing)
        task.advance(batch.step)
        with self.teacher.bn_statistics() as statistics, swing, frozen(self.student):
            while batch.step < config.iterations and not config.has_settled(batch.losses):
                if (done := budget.done(batch.step, config.iterations)) == 1:
                    break
                unfinished.save_if_due(lambda: {"synthesizer": self.state_dict(), "batch": batch.state_dict()})
                set_learning_rates(batch.optimizer, [config.learning_rate], done)
                loss = self._loss(batch, statistics)
                if not loss.requires_grad:  # No term applies to this network.
                    break
                batch.take_step(loss)
                task.advance(1, loss=loss.item())
            if config.matching.aggregated:
                self.earlier.add(statistics.moments, batch.size)
        task.advance(config.iterations - batch.step)

    def _loss(self, batch: BatchInProgress, statistics: BatchNormStatistics) -> Tensor:
        config = batch.config
        with fast_autocast(self.teacher.device):
            pixel_logits = batch.parametrization.logits().float()
            pixels = batch.parametrization.to_pixels(pixel_logits)
            varied = self.augment(pixels, batch.generator) if config.augmented else pixels
            images = self.teacher.input_spec.normalize(varied)
            inner = inner_reader_of(self.teacher.model)(images) if config.needs_inner else None
            outputs = self.teacher(images) if inner is None else inner.outputs
            student = features_of(self.student)(images) if config.needs_student and self.student is not None else None
        step = SynthesisStep(
            pixel_logits=pixel_logits,
            pixels=pixels,
            images=images,
            labels=batch.labels,
            logits=outputs,
            student=student,
            standardized=self.teacher.input_spec.is_standardized,
            generator=batch.generator,
            inner=inner,
            seed=batch.seed,
        )
        deviation = self._deviation(config, statistics, images)
        losses = list(batch.terms.losses(deviation, step).values())
        return deviation + torch.stack(losses).sum() if losses else deviation

    def _deviation(self, config: InversionConfig, statistics: BatchNormStatistics, images: Tensor) -> Tensor:
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
