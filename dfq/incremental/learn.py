"""The training of an increment: new images, replayed images of old classes, and what a strategy makes of them."""

from dataclasses import dataclass
from math import ceil, cos, isfinite, pi

import torch
from torch import Tensor

from dfq.augment import Augment
from dfq.budget import Budget
from dfq.calibration.inversion import Inversion
from dfq.features import features_of
from dfq.image_source import ImageSource
from dfq.incremental.grown import Grown
from dfq.incremental.settings import IncrementSettings
from dfq.incremental.strategies import Lesson, total
from dfq.progress import Progress
from dfq.teacher import Teacher

SYNTHESIS_SHARE = 0.4  # of the budget, before the new classes are learned
CLIP_NORM = 1.0


@dataclass(frozen=True)
class Learned:
    """What learning tells for the report: steps taken, synthetic images made, notes."""

    steps: int
    images: int
    notes: list[str]


def learn(
    teacher: Teacher,
    grown: Grown,
    images: Tensor,
    labels: Tensor,
    settings: IncrementSettings,
    budget: Budget,
    progress: Progress,
) -> Learned:
    """Moves `grown` in place. The statistics of its BatchNorm layers stay those of the old classes: new and synthetic
    images would move them, and the old classes have no images to move them back.

    Args:
        images: of the new classes, normalised, (N, C, H, W).
        labels: their classes, numbered after the old ones, int64 (N,).
    """
    source, notes = _old_images(teacher, settings, budget, progress)
    limit, generator = budget.part(1.0), torch.Generator().manual_seed(settings.seed)
    augment = _augment(teacher, settings)
    optimizer = torch.optim.Adam(grown.model.parameters(), lr=settings.learning_rate)
    steps = 0
    with progress.task("Learning new classes", settings.steps) as task, torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # for the draws of triplets
        while (done := limit.done(steps, settings.steps)) < 1:
            optimizer.param_groups[0]["lr"] = settings.learning_rate * 0.5 * (1 + cos(pi * done))
            index = torch.randint(len(images), (settings.batch_size,), generator=generator)
            seen, classes = images[index], labels[index]
            if source is not None:
                replayed, _ = source.batch(grown.old, settings.batch_size, done, generator)
                seen = torch.cat([seen, replayed.images])
            lesson = _lesson(teacher, grown, augment(seen, generator), classes)
            loss = total(settings.chosen_strategy.terms, lesson)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if isfinite(torch.nn.utils.clip_grad_norm_(grown.model.parameters(), CLIP_NORM)):
                optimizer.step()
            steps += 1
            task.advance(1, loss=loss.item())
        task.advance(settings.steps - steps)
    made = 0 if source is None else len(source.images_at_the_end())
    return Learned(steps, made, notes)


def _lesson(teacher: Teacher, grown: Grown, images: Tensor, classes: Tensor) -> Lesson:
    grown.graph.eval()
    with torch.no_grad():
        target = teacher.features(images)
    labels = torch.cat([classes, target.logits[len(classes) :].argmax(1)])
    return Lesson(features_of(grown.graph)(images), target, labels, len(classes), grown.head)


def _old_images(
    teacher: Teacher, settings: IncrementSettings, budget: Budget, progress: Progress
) -> tuple[ImageSource | None, list[str]]:
    """(where images of the old classes come from, its notes for the report); None where the strategy has none."""
    strategy = settings.chosen_strategy
    if strategy.images is None:
        return None, []
    synthesizer = Inversion(
        strategy.images, teacher, augment=_augment(teacher, settings), seed=settings.seed,
        budget=budget.part(SYNTHESIS_SHARE), progress=progress,
    )  # fmt: skip
    first = synthesizer.sample(max(ceil(settings.images * strategy.first_share), 2))
    source = strategy.source(teacher, first, synthesizer, settings.images, paired=True, budget=budget.part(1.0))
    return source, synthesizer.notes


def _augment(teacher: Teacher, settings: IncrementSettings) -> Augment:
    return Augment(flip=settings.flip, shift=max(teacher.input_spec.size[1] // 10, 1))
