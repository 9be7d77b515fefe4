"""The training of an increment, on new images and on replayed images of old classes."""

from dataclasses import dataclass, field, replace
from math import ceil

import torch
from torch import Tensor

from dfq.calibration.inversion.inversion import Inversion
from dfq.graph.features import features_of
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.jobs.increment.grow_head import Grown
from dfq.jobs.increment.settings import INCREMENT_DEFAULTS, IncrementSettings
from dfq.jobs.increment.state import LearningState
from dfq.jobs.increment.strategies import IncrementStep, total
from dfq.system.processes import processes
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.image_sources import ImageSource
from dfq.training.optimizer_steps import set_learning_rates, step_if_finite


@dataclass(frozen=True)
class Learned:
    """What the report says about learning.

    Attributes:
        steps: Number of training steps that were done.
        images: Number of synthetic images that were made.
        notes: Notes for the report.
    """

    steps: int
    images: int
    notes: list[str]


@dataclass(frozen=True)
class OldImages:
    """Images of the old classes.

    Attributes:
        first: Images that were made before the new classes are learned; None where the strategy has none.
        source: The source that gives each step its batch; None where the strategy has none.
        notes: Notes for the report.
    """

    first: Batch | None = None
    source: ImageSource | None = None
    notes: list[str] = field(default_factory=list)


def learn(
    teacher: Teacher,
    grown: Grown,
    new: Batch,
    settings: IncrementSettings,
    stage: Stage,
    state: LearningState,
) -> Learned:
    """Trains `grown` in place.

    The statistics of its BatchNorm layers stay those of the old classes: new and synthetic images would change them,
    and there are no real images of the old classes to change them back.

    Args:
        teacher: The network that knows the old classes.
        grown: Its copy with a larger head.
        new: Images of the new classes with their labels, which are numbered after the old ones.
        settings: The settings of the job.
        stage: Budget, progress and seed.
        state: The state of a killed run, from which this one goes on, and the place where it keeps its own.
    """
    images, labels = new.images, new.labels
    assert labels is not None
    earlier = state.read(teacher.device)
    if not earlier:
        state.save({})
    old = _old_images(teacher, settings, earlier, replace(stage, checkpoint=state.images))
    limit, generator = stage.part(1.0), torch.Generator().manual_seed(stage.seed)
    augment = _augment(teacher, settings)
    optimizer = _optimizer(grown, settings)
    first_rates = [group["lr"] for group in optimizer.param_groups]
    steps = _take_over(earlier, grown, optimizer, generator, old)

    def parts() -> dict:
        return {
            "steps": steps,
            "first": {} if old.first is None else {"images": old.first.images, "labels": old.first.labels},
            "source": {} if old.source is None else old.source.state_dict(),
            "model": grown.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "generator": generator.get_state(),
            "notes": old.notes,
        }

    state.save(parts())
    with stage.task("Learning new classes", settings.steps) as task, torch.random.fork_rng(devices=[]):
        task.advance(steps)
        while (done := limit.done(steps, settings.steps)) < 1:
            state.save_if_due(parts)
            torch.manual_seed(stage.seed + steps)  # Triplets are drawn from torch's own generator.
            set_learning_rates(optimizer, first_rates, done)
            index = torch.randint(len(images), (settings.batch_size,), generator=generator)
            seen, classes = images[index], labels[index]
            if old.source is not None:
                replayed, _ = old.source.batch(grown.old, settings.batch_size, done, generator)
                seen = torch.cat([seen, replayed.images])
            step = _increment_step(teacher, grown, augment(seen, generator), classes)
            loss = total(settings.chosen_strategy.terms, step)
            each, clip = loss / processes().count, INCREMENT_DEFAULTS.clip_norm  # All processes see the whole batch.
            step_if_finite(optimizer, each, grown.model.parameters(), max_norm=clip, together=True)
            steps += 1
            task.advance(1, loss=loss.item())
        task.advance(settings.steps - steps)
    made = 0 if old.source is None else len(old.source.images_at_the_end())
    return Learned(steps, made, old.notes)


def _optimizer(grown: Grown, settings: IncrementSettings) -> torch.optim.Adam:
    head = {id(parameter) for parameter in grown.head.parameters()}
    features = [parameter for parameter in grown.model.parameters() if id(parameter) not in head]
    rates = settings.learning_rate, settings.learning_rate * settings.chosen_strategy.head_rate
    groups = zip((features, [*grown.head.parameters()]), rates, strict=True)
    return torch.optim.Adam([{"params": parameters, "lr": rate} for parameters, rate in groups])


def _take_over(earlier: dict, grown: Grown, optimizer, generator: torch.Generator, old: OldImages) -> int:
    """Restores the state of a killed run; returns the number of its steps, 0 where there was no such run."""
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


def _old_images(teacher: Teacher, settings: IncrementSettings, earlier: dict, stage: Stage) -> OldImages:
    strategy = settings.chosen_strategy
    if strategy.images is None:
        return OldImages()
    augment = _augment(teacher, settings)
    synthesizer = Inversion(strategy.images, teacher, stage.part(INCREMENT_DEFAULTS.synthesis_share), augment=augment)
    if earlier:
        first = Batch(**earlier["first"])
        synthesizer.notes[:] = earlier["notes"]
    else:
        first = synthesizer.sample(max(ceil(settings.images * strategy.first_share), 2))
    source = strategy.source(teacher, first, synthesizer, settings.images, paired=1.0, budget=stage.budget.part(1.0))
    return OldImages(first, source, synthesizer.notes)


def _augment(teacher: Teacher, settings: IncrementSettings) -> Augment:
    return Augment(flip=settings.flip, shift=max(teacher.input_spec.size[1] // INCREMENT_DEFAULTS.shift, 1))
