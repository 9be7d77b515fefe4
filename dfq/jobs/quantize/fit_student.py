"""`tune` does what a method does to a student once there are images: ranges, post-training steps, training."""

from dataclasses import dataclass, replace

from torch import fx

from dfq.evaluation.evidence import AnyEvidence
from dfq.jobs.context import JobContext
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.quantize.fallback import FALLBACK, Fallback, FallbackChoice
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.synthesis import RunImages
from dfq.post_training.steps_after_ranges import StepContext
from dfq.post_training.steps_before_ranges import prepare
from dfq.quantizers.scheme import Scheme
from dfq.results.run_folder import RunFolder
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid
from dfq.system.exchange import of_first
from dfq.teacher import Teacher
from dfq.training.image_sources import ImageSource
from dfq.training.trainer import History, Trainer


@dataclass(frozen=True)
class Tuned:
    """The result of tuning.

    Attributes:
        student: The student in evaluation mode. It is the fallback's where that one was better.
        reference: The teacher, rewritten like the student, so that layers of both compute the same tensors.
        source: The source that holds the images that were added while the student learned.
        history: The history of training; None where the method does not train, or its student was not taken.
        sections: Sections for the report, by name.
        notes: Notes for the report.
        method: Name of the method that made the student.
        evidence: The evidence on the student; None where it was not compared with a fallback.
        digest: Digest of the student's tensors, by which all files of the run know it.
    """

    student: fx.GraphModule
    reference: Teacher
    source: ImageSource
    history: History | None
    sections: dict
    notes: list[str]
    method: str
    evidence: AnyEvidence | None = None
    digest: str = ""


def tune(
    student: fx.GraphModule,
    context: JobContext[Settings, RunFolder],
    scheme: Scheme,
    images: RunImages,
    *,
    falls_back: bool = False,
) -> Tuned:
    """Calibrates and tunes `student` in place as the settings' method says, and stores the result.

    Args:
        student: The fake-quantized copy of the teacher, whose ranges are not set yet.
        context: The job.
        scheme: The scheme of the student.
        images: The synthetic images.
        falls_back: Whether the student of `instant` is made first, and taken where it is better in the end
            (`dfq.jobs.quantize.fallback`).
    """
    settings = context.settings
    if not falls_back or settings.chosen_method.name == FALLBACK:
        tuned = _tune(student, context, scheme, images)
    else:
        fallback = Fallback(context.teacher, settings, scheme, images.training.images, images.held_out.images)
        tuned = _tune(student, context, scheme, images)
        tuned = _judged(tuned, fallback.against(tuned.student, tuned.method, context.progress))
    return replace(tuned, digest=of_first(lambda: context.folder.save_student(tuned.student)))


def _judged(tuned: Tuned, verdict: FallbackChoice) -> Tuned:
    if verdict.note is None:
        return replace(tuned, evidence=verdict.evidence, sections={**tuned.sections, "fallback": verdict.section})
    training = tuned.history.to_dict() if tuned.history else None
    section = {**verdict.section, "undone": {**tuned.sections, "training": training}}
    notes = [*tuned.notes, *(tuned.history.notes if tuned.history else []), verdict.note]
    return Tuned(
        verdict.student, verdict.reference, tuned.source, None, {"fallback": section}, notes, FALLBACK, verdict.evidence
    )


def _tune(
    student: fx.GraphModule, context: JobContext[Settings, RunFolder], scheme: Scheme, images: RunImages
) -> Tuned:
    settings, run, progress = context.settings, context.folder, context.progress
    method, first = settings.chosen_method, images.training.images
    teacher, notes = prepare(student, context.teacher, first, method.preparations, progress)
    calibrate(
        student,
        first[: QUANTIZE_DEFAULTS.calibrated],
        ranges=settings.chosen_ranges,
        seed=settings.seed,
        progress=progress,
    )
    limit = context.budget.part(1.0)
    training = settings.training(teacher.input_spec, scheme)
    trains = method.objective is not None and training.steps > 0
    steps = StepContext(
        student.eval(), teacher, first, context.stage(limit, run.reconstruction), trains, settings.chosen_ranges
    )
    sections: dict = {}
    for step in method.post_training:
        sections |= step(steps)
    notes += steps.notes
    source = method.source(
        teacher, images.training, images.synthesizer, images.planned - len(images.held_out),
        paired=method.paired, budget=limit,
    )  # fmt: skip
    history = None
    if method.objective is not None and trains:
        trainer = Trainer(teacher, student, method.objective, training, context.stage(limit, run.training))
        history = trainer.fit(source, images.held_out)
    round_biases_to_kernel_grid(student.eval())
    return Tuned(student, teacher, source, history, sections, notes, method.name)
