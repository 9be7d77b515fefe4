"""The first half of a distillation: it makes images and trains the student on them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from dfq.evaluation.diversity import Diversity, measure_diversity
from dfq.images.batch import Batch
from dfq.jobs.context import JobContext
from dfq.jobs.distill.defaults import DISTILL_DEFAULTS
from dfq.jobs.distill.folder import DistillFolder
from dfq.jobs.distill.settings import DistillSettings
from dfq.jobs.distill.student import FloatStudent
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.synthesis import find_images
from dfq.results import plots
from dfq.results.diversity_plot import diversity_plot
from dfq.system.exchange import of_first
from dfq.training.trainer import History, Trainer


@dataclass(frozen=True)
class Trained:
    """What training leaves besides the student.

    Attributes:
        held_out: Images that the student has not seen.
        images: Number of images, the held-out ones included.
        history: The history of training.
        diversity: How varied all images are.
        notes: Notes on the images, for the report.
        knowledge: What the images are made from, in words.
    """

    held_out: Batch
    images: int
    history: History
    diversity: Diversity
    notes: list[str]
    knowledge: str


def train(
    student: FloatStudent,
    context: JobContext[DistillSettings, DistillFolder],
    batch: Batch | None = None,
    accuracy: Callable[[nn.Module], float] | None = None,
) -> Trained:
    """Trains `student` in place as the settings' method says, and stores it, the images and the plots.

    Args:
        student: The network to train.
        context: The job.
        batch: Images that were made before; None: the method makes them.
        accuracy: Measures the student from time to time, as in `dfq.training.trainer.Trainer`.
    """
    teacher, settings, run, clock = context.teacher, context.settings, context.folder, context.clock
    method, spec = settings.chosen_method, teacher.input_spec
    share = context.budget.part(1.0 if settings.bits is None else DISTILL_DEFAULTS.distilling_share)
    making = JobContext(teacher, settings.image_settings(spec), run, share, context.progress, clock)
    with clock.stage("synthesis"):
        images = find_images(making, batch)
    limit = share.part(1.0)
    source = method.source(
        teacher, images.training, images.synthesizer, images.planned - len(images.held_out),
        paired=method.paired, budget=limit,
    )  # fmt: skip
    training = settings.training(spec, inherited=student.inherited)
    stage = context.stage(limit, run.training)
    trainer = Trainer(teacher, student.graph, settings.distillation.objective, training, stage, accuracy=accuracy)
    with clock.stage("training"):
        history = trainer.fit(source, images.held_out)
    clock.move("training", "synthesis", source.seconds)
    student.model.eval()
    seen = source.images_at_the_end().joined(images.held_out)
    diversity = of_first(lambda: _stored(student, making, seen, history, keeps_images=images.made_here))
    return Trained(images.held_out, len(seen), history, diversity, images.notes, images.knowledge)


def _stored(
    student: FloatStudent,
    context: JobContext[Settings, DistillFolder],
    seen: Batch,
    history: History,
    *,
    keeps_images: bool,
) -> Diversity:
    """Writes the student, the images and the plots into the run folder; returns how varied the images are."""
    run, spec = context.folder, context.teacher.input_spec
    run.save(student, spec)
    if keeps_images:  # Images that were handed in are not stored.
        run.save_images(seen, spec)
    diversity = measure_diversity(context.teacher, seen)
    plots.contact_sheet(seen, spec, run.samples)
    diversity_plot(diversity, run.diversity)
    plots.learning_curve(history.records, run.curve, history.chosen_step)
    return diversity
