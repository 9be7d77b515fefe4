"""The training of an increment: new images, replayed images of old classes, and what a strategy makes of them."""

from dataclasses import dataclass, field
from math import ceil, cos, isfinite, pi

import torch
from torch import Tensor

from dfq.calibration.inversion.inversion import Inversion
from dfq.graph.features import features_of
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.jobs.increment.grow_head import Grown
from dfq.jobs.increment.settings import IncrementSettings
from dfq.jobs.increment.state import LearningState
from dfq.jobs.increment.strategies import IncrementStep, total
from dfq.system.budget import Budget
from dfq.system.progress import Progress
from dfq.teacher import Teacher
from dfq.training.image_sources import ImageSource

SYNTHESIS_SHARE = 0.4  # of the budget, before the new classes are learned
CLIP_NORM = 1.0


@dataclass(frozen=True)
class Learned:
    """What learning tells for the report: steps taken, synthetic images made, notes."""

    steps: int
    images: int
    notes: list[str]


@dataclass(frozen=True)
class OldImages:
    """Images of the old classes.

    Attributes:
        first: those that were made before the new classes are learned; None where the strategy has none.
        source: gives each step its batch.
        notes: for the report.
    """

    first: Batch | None = None
    source: ImageSource | None = None
    notes: list[str] = field(default_factory=list)


def learn(
    teacher: Teacher,
    grown: Grown,
    images: Tensor,
    labels: Tensor,
    settings: IncrementSettings,
    budget: Budget,
    progress: Progress,
    state: LearningState,
) -> Learned:
    """Moves `grown` in place. The statistics of its BatchNorm layers stay those of the old classes: new and synthetic
    images would move them, and the old classes have no images to move them back.

    Args:
        images: of the new classes, normalised, (N, C, H, W).
        labels: their classes, numbered after the old ones, int64 (N,).
        state: where a killed run left off, and where this one leaves its own.
    """
    earlier = state.read(teacher.device)
    old = _old_images(teacher, settings, earlier, budget, progress)
    limit, generator = budget.part(1.0), torch.Generator().manual_seed(settings.seed)
    augment = _augment(teacher, settings)
    optimizer = _optimizer(grown, settings)
    steps = _take_over(earlier, grown, optimizer, generator, old)

    def save() -> None:
        first = {} if old.first is None else {"images": old.first.images, "labels": old.first.labels}
        source = {} if old.source is None else old.source.state_dict()
        state.save(
            steps=steps, first=first, source=source, model=grown.model.state_dict(), optimizer=optimizer.state_dict(),
            generator=generator.get_state(), notes=old.notes,
        )  # fmt: skip

    save()
    with progress.task("Learning new classes", settings.steps) as task, torch.random.fork_rng(devices=[]):
        task.advance(steps)
        while (done := limit.done(steps, settings.steps)) < 1:
            torch.manual_seed(settings.seed + steps)  # for the draws of triplets
            for group in optimizer.param_groups:
                group["lr"] = group["start"] * 0.5 * (1 + cos(pi * done))
            index = torch.randint(len(images), (settings.batch_size,), generator=generator)
            seen, classes = images[index], labels[index]
            if old.source is not None:
                replayed, _ = old.source.batch(grown.old, settings.batch_size, done, generator)
                seen = torch.cat([seen, replayed.images])
            step = _increment_step(teacher, grown, augment(seen, generator), classes)
            loss = total(settings.chosen_strategy.terms, step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if isfinite(torch.nn.utils.clip_grad_norm_(grown.model.parameters(), CLIP_NORM)):
                optimizer.step()
            steps += 1
            task.advance(1, loss=loss.item())
            if state.is_due():
                save()
        task.advance(settings.steps - steps)
    made = 0 if old.source is None else len(old.source.images_at_the_end())
    return Learned(steps, made, old.notes)


def _optimizer(grown: Grown, settings: IncrementSettings) -> torch.optim.Adam:
    head = {id(parameter) for parameter in grown.head.parameters()}
    features = [parameter for parameter in grown.model.parameters() if id(parameter) not in head]
    rates = settings.learning_rate, settings.learning_rate * settings.chosen_strategy.head_rate
    groups = zip((features, [*grown.head.parameters()]), rates, strict=True)
    return torch.optim.Adam([{"params": parameters, "lr": rate, "start": rate} for parameters, rate in groups])


def _take_over(earlier: dict, grown: Grown, optimizer, generator: torch.Generator, old: OldImages) -> int:
    """Puts everything where a killed run left it; returns its steps, 0 where there was none."""
    if not earlier:
        return 0
    grown.model.load_state_dict(earlier["model"])
    optimizer.load_state_dict(earlier["optimizer"])
    generator.set_state(earlier["generator"].cpu())
    if old.source is not None:
        old.source.load_state_dict(earlier["source"])
    return earlier["steps"]


def _increment_step(teacher: Teacher, grown: Grown, images: Tensor, classes: Tensor) -> IncrementStep:
    grown.graph.eval()
    with torch.no_grad():
        target = teacher.features(images)
    labels = torch.cat([classes, target.logits[len(classes) :].argmax(1)])
    return IncrementStep(features_of(grown.graph)(images), target, labels, len(classes), grown.head)


def _old_images(
    teacher: Teacher, settings: IncrementSettings, earlier: dict, budget: Budget, progress: Progress
) -> OldImages:
    strategy = settings.chosen_strategy
    if strategy.images is None:
        return OldImages()
    synthesizer = Inversion(
        strategy.images, teacher, augment=_augment(teacher, settings), seed=settings.seed,
        budget=budget.part(SYNTHESIS_SHARE), progress=progress,
    )  # fmt: skip
    if earlier:
        first = Batch(**earlier["first"])
        synthesizer.notes[:] = earlier["notes"]
    else:
        first = synthesizer.sample(max(ceil(settings.images * strategy.first_share), 2))
    source = strategy.source(teacher, first, synthesizer, settings.images, paired=True, budget=budget.part(1.0))
    return OldImages(first, source, synthesizer.notes)


def _augment(teacher: Teacher, settings: IncrementSettings) -> Augment:
    return Augment(flip=settings.flip, shift=max(teacher.input_spec.size[1] // 10, 1))
