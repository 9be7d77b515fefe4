"""What `dfq synthesize` does: the images of a method, without any student."""

from dataclasses import replace

from dfq.calibration.methods import AUTO
from dfq.images.batch import Batch
from dfq.jobs.quantize.settings import Settings
from dfq.system.budget import Budget
from dfq.system.progress import Progress
from dfq.teacher import Teacher

SYNTHESIZES_BY_DEFAULT = "zeroq-kd"


def synthesize(
    teacher: Teacher, settings: Settings, *, budget: Budget | None = None, progress: Progress | None = None
) -> tuple[Batch, list[str]]:
    """(images of the method, notes for the report); made without a student.

    Where `auto` is asked for, `zeroq-kd` makes them: what `auto` takes for a student of 8 bits needs sketches alone.
    """
    if settings.method == AUTO:
        settings = replace(settings, method=SYNTHESIZES_BY_DEFAULT)
    synthesizer = settings.make_synthesizer(teacher, budget, progress)
    batch = synthesizer.sample(settings.image_count(teacher.input_spec))
    if settings.chosen_method.first_share < 1:
        synthesizer.notes.append("made without a student: what the method does against one is left out")
    return batch, synthesizer.notes
