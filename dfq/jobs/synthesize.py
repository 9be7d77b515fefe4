"""What `dfq synthesize` does: the images of a method, without any student."""

from dfq.images.batch import Batch
from dfq.jobs.quantize.auto_method import resolve
from dfq.jobs.quantize.settings import Settings
from dfq.system.budget import Budget
from dfq.system.progress import Progress
from dfq.teacher import Teacher


def synthesize(
    teacher: Teacher, settings: Settings, *, budget: Budget | None = None, progress: Progress | None = None
) -> tuple[Batch, list[str]]:
    """(images of the method, notes for the report); made without a student."""
    settings, _ = resolve(teacher, settings)
    synthesizer = settings.make_synthesizer(teacher, budget, progress)
    batch = synthesizer.sample(settings.image_count(teacher.input_spec))
    if settings.chosen_method.first_share < 1:
        synthesizer.notes.append("made without a student: what the method does against one is left out")
    return batch, synthesizer.notes
