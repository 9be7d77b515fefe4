"""The synthetic images of a run: made by the method, taken over from a killed run, or handed in."""

from dataclasses import dataclass
from math import ceil

from dfq.calibration import Synthesizer
from dfq.images.batch import Batch
from dfq.jobs.context import Folder, JobContext
from dfq.jobs.quantize.settings import Settings


@dataclass(frozen=True)
class RunImages:
    """What a run starts with.

    Attributes:
        training, held_out: disjoint; nothing is ever fitted to the latter.
        planned: how many of both there will be in the end, where the method adds some while it trains.
        synthesizer: makes them.
        notes: for the report.
    """

    training: Batch
    held_out: Batch
    planned: int
    synthesizer: Synthesizer
    notes: list[str]

    @property
    def count(self) -> int:
        """Of both, before training adds any."""
        return len(self.training) + len(self.held_out)


def find_images(context: JobContext[Settings, Folder], given: Batch | None) -> RunImages:
    """`given` images, those of the run that is resumed, or new ones, which are stored at once."""
    teacher, settings = context.teacher, context.settings
    part = context.budget.part(settings.synthesis_share(teacher.input_spec))
    synthesizer = settings.make_synthesizer(teacher, part, context.progress)
    batch, notes = (given, []) if given else _made(context, synthesizer)
    share = settings.chosen_method.first_share
    planned = min(settings.image_count(teacher.input_spec), ceil(len(batch) / share))
    training, held_out = batch.split(held_out_count(planned))
    return RunImages(training, held_out, planned, synthesizer, notes)


def held_out_count(images: int) -> int:
    """How many of the synthetic images are never trained on: one in eight, at least 1 and at most 256."""
    return min(max(images // 8, 1), 256)


def _made(context: JobContext[Settings, Folder], synthesizer: Synthesizer) -> tuple[Batch, list[str]]:
    teacher, settings, run = context.teacher, context.settings, context.folder
    if run.images.exists():
        note = "images: taken over from the run that was resumed"
        context.progress.note(note)
        return run.load_images(teacher.input_spec, teacher.device), [note]
    share = settings.chosen_method.first_share
    batch = synthesizer.sample(max(ceil(settings.image_count(teacher.input_spec) * share), 2))
    run.save_images(batch, teacher.input_spec)
    return batch, synthesizer.notes
