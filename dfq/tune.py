"""`tune`: what a method does to a student once there are images: ranges, post-training steps, training."""

from dataclasses import dataclass

from torch import fx

from dfq.budget import Budget
from dfq.calibrate import calibrate, snap_biases
from dfq.image_source import ImageSource
from dfq.post_training import Bench
from dfq.preparation import prepare
from dfq.progress import Progress
from dfq.run_folder import RunFolder
from dfq.run_images import RunImages
from dfq.scheme import Scheme
from dfq.settings import Settings
from dfq.teacher import Teacher
from dfq.train import History, Trainer

RESERVE_SECONDS, LEAST_SHARE = 15.0, 0.3  # kept for export and validation; of what synthesis left


@dataclass(frozen=True)
class Tuned:
    """What tuning leaves beside the student.

    Attributes:
        source: holds the images that were added while the student learned.
        history: of training; None where the method does not train.
        sections: of the report, by name.
        notes: for the report.
    """

    source: ImageSource
    history: History | None
    sections: dict
    notes: list[str]


def tune(
    student: fx.GraphModule,
    teacher: Teacher,
    settings: Settings,
    scheme: Scheme,
    images: RunImages,
    run: RunFolder,
    budget: Budget,
    progress: Progress,
) -> Tuned:
    """Calibrates and tunes `student` in place as the settings' method says, and stores it."""
    method = settings.chosen_method
    first = images.training.images
    teacher, notes = prepare(student, teacher, first, method.preparations, progress)
    calibrate(student, first[:256], ranges=settings.chosen_ranges, seed=settings.seed, progress=progress)
    limit = budget.keeping(RESERVE_SECONDS, LEAST_SHARE)
    training = settings.training(teacher.input_spec, scheme)
    trains = method.objective is not None and training.steps > 0
    bench = Bench(student.eval(), teacher, first, limit, progress, settings.seed, run.reconstruction, trains)
    sections: dict = {}
    for step in method.post_training:
        sections |= step(bench)
    source = method.source(
        teacher, images.training, images.synthesizer, images.planned - len(images.held_out),
        paired=method.paired, budget=limit,
    )  # fmt: skip
    history = None
    if method.objective is not None and trains:
        trainer = Trainer(
            teacher, student, method.objective, training, budget=limit, progress=progress, checkpoint=run.training
        )
        history = trainer.fit(source, images.held_out)
    snap_biases(student.eval())
    run.save_student(student)
    return Tuned(source, history, sections, notes)
