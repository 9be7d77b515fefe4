"""The synthetic images of a run, which the method makes, a killed run has left, or the caller hands in."""

from dataclasses import dataclass
from math import ceil

from dfq.calibration import Synthesizer
from dfq.calibration.synthesizer import Resumable
from dfq.images.batch import Batch
from dfq.jobs.context import Folder, JobContext
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.quantize.settings import Settings
from dfq.results.start_file import Start, load_start, save_start
from dfq.system.reading import reading
from dfq.system.state_file import AFRESH
from dfq.training.shared_work import sample_together


@dataclass(frozen=True)
class RunImages:
    """What a run starts with.

    Attributes:
        training: Images that the student is fitted to.
        held_out: Other images, to which nothing is ever fitted.
        planned: Number of images of both kinds at the end, where the method adds some while it trains.
        synthesizer: What makes the images.
        notes: Notes for the report.
        knowledge: What the images are made from, in words.
        made_here: Whether the run made them, or a killed run that it continues.
    """

    training: Batch
    held_out: Batch
    planned: int
    synthesizer: Synthesizer
    notes: list[str]
    knowledge: str
    made_here: bool

    @property
    def count(self) -> int:
        """Number of images of both kinds, before training adds any."""
        return len(self.training) + len(self.held_out)


def find_images(context: JobContext[Settings, Folder], given: Batch | None) -> RunImages:
    """Returns the given images, those of the run that is resumed, or new ones, which are stored at once.

    Along with the images, the state of the synthesizer is stored, so that a resumed run makes the same further images.
    """
    teacher, settings = context.teacher, context.settings
    part = context.budget.part(settings.synthesis_share(teacher.input_spec))
    synthesizer = settings.make_synthesizer(teacher, context.stage(part, context.folder.synthesis))
    batch, notes = (given, []) if given else _made(context, synthesizer)
    share = settings.chosen_method.first_share
    planned = min(settings.image_count(teacher.input_spec), ceil(len(batch) / share))
    training, held_out = batch.split(QUANTIZE_DEFAULTS.held_out_of(planned))
    knowledge = "images that were handed in" if given else synthesizer.knowledge
    return RunImages(training, held_out, planned, synthesizer, notes, knowledge, made_here=not given)


def _made(context: JobContext[Settings, Folder], synthesizer: Synthesizer) -> tuple[Batch, list[str]]:
    teacher, settings, run = context.teacher, context.settings, context.folder
    if (start := load_start(run.start, teacher.input_spec, teacher.device)) is not None:
        if isinstance(synthesizer, Resumable):
            with reading(run.start, way_out=AFRESH):
                synthesizer.load_state_dict(start.synthesizer)
        note = "the images were taken over from the run that was resumed"
        context.progress.note(note)
        return start.batch, [*start.notes, note]
    share = settings.chosen_method.first_share
    count = max(ceil(settings.image_count(teacher.input_spec) * share), 2)
    batch = sample_together(synthesizer, count, teacher.device)
    state = synthesizer.state_dict() if isinstance(synthesizer, Resumable) else {}
    save_start(run.start, Start(batch, state, synthesizer.notes), teacher.input_spec)
    return batch, synthesizer.notes
