"""`synthesize` makes the images of a method without any student, as calibration data for any toolkit."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from torch import nn

from dfq.calibration.methods import AUTO
from dfq.calibration.stored_images import NPZ, SAFETENSORS, StoredImages, with_answers, write_images
from dfq.images.batch import Batch
from dfq.images.memory import check_image_memory
from dfq.jobs.keywords import SynthesizeKeywords
from dfq.jobs.quantize.settings import Settings
from dfq.results.plots import contact_sheet
from dfq.results.run_folder import RunFolder
from dfq.system.atomic_files import remove_leftovers
from dfq.system.budget import Budget
from dfq.system.exchange import of_first
from dfq.system.output_paths import check_folder
from dfq.system.progress import Progress
from dfq.system.run_lock import writing_alone
from dfq.system.stage import Stage
from dfq.system.terminal_progress import chosen_progress
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher, split_keywords
from dfq.training.shared_work import sample_together

SYNTHESIZES_BY_DEFAULT = "zeroq-kd"


@dataclass(frozen=True)
class Synthesized:
    """What `synthesize` gives back.

    Attributes:
        images: The images with their labels, as uint8; `.normalized()` gives what the network reads.
        files: The files and folders that were written.
        notes: Notes on what was assumed, and on how the images were made.
    """

    images: StoredImages
    files: list[Path]
    notes: list[str]


def synthesize(
    model: str | Path | nn.Module | Teacher,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
    **options: Unpack[SynthesizeKeywords],
) -> Synthesized:
    """Makes synthetic images from a network and nothing else, as the command `dfq synthesize` does.

    With the method `auto`, which is the default, `zeroq-kd` makes the images: `instant`, which `auto` would take at 8
    bits, needs nothing better than sketches.

    Args:
        model: The network, as `dfq.quantize` takes it.
        out: The folder to write: `images.safetensors` ('images': uint8 N×C×H×W; 'labels': int64 N), `images.npz`,
            `classes/` and `samples.png`; None: nothing is written.
        overwrite: Whether the images that `out` holds may be replaced.
        progress: Where progress is shown, as `dfq.quantize` takes it.
        options: The keys of `dfq.teacher.load.LoadOptions`, and `method`, `images`, `flip`, `budget` and `seed` of
            `dfq.jobs.quantize.settings.Settings`.

    Raises:
        DfqError: An argument cannot be used; nothing half-written is left.

    Examples:
        ```python
        made = dfq.synthesize("model.pt", images=16, out="images/")
        print(made.images.pixels.shape, made.files)
        ```
    """
    loading, chosen = split_keywords(options, SynthesizeKeywords.__annotations__)
    settings = Settings(**chosen)
    if out is not None:
        check_folder(Path(out), overwrite=overwrite)
    teacher = load_teacher(model, **loading)
    stage = Stage(budget=Budget(settings.budget), progress=chosen_progress(progress), seed=settings.seed)
    with nullcontext() if out is None else writing_alone(Path(out)):
        batch, notes = make_images(teacher, settings, stage)
        images = StoredImages.from_batch(with_answers(batch, teacher), teacher.input_spec)
        files = [] if out is None else of_first(lambda: _write(images, batch, Path(out), teacher))
    return Synthesized(images, files, [*(f"assumed {sentence}" for sentence in teacher.assumed), *notes])


def _write(images: StoredImages, batch: Batch, folder: Path, teacher: Teacher) -> list[Path]:
    """Writes the images into the folder; returns the files and folders."""
    sheet = RunFolder(folder).samples
    remove_leftovers([*(folder / name for name in (SAFETENSORS, NPZ)), sheet])
    files = write_images(images, folder, teacher.num_answers)
    contact_sheet(batch, teacher.input_spec, sheet)
    return [*files, sheet]


def make_images(teacher: Teacher, settings: Settings, stage: Stage | None = None) -> tuple[Batch, list[str]]:
    """Makes the images of the settings' method without a student; returns the images and the notes for the report."""
    if settings.method == AUTO:
        settings = replace(settings, method=SYNTHESIZES_BY_DEFAULT)
    check_image_memory(settings.image_count(teacher.input_spec), teacher.input_spec)
    synthesizer = settings.make_synthesizer(teacher, stage)
    batch = sample_together(synthesizer, settings.image_count(teacher.input_spec), teacher.device)
    if settings.chosen_method.first_share < 1:
        synthesizer.notes.append("the images were made without a student, so the method left out what it does with one")
    return batch, synthesizer.notes
