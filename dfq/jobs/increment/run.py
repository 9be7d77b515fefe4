"""The job of `dfq increment`: it makes a checkpoint of all classes from one of the old classes and new images."""

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor, nn

from dfq.checkpoint import save_checkpoint
from dfq.errors import DfqError
from dfq.images.batch import Batch
from dfq.images.labelled import Labelled, read_labelled
from dfq.images.memory import check_image_memory
from dfq.images.npz import read_arrays
from dfq.jobs.increment.finished import check_out, conditions_of, take_over
from dfq.jobs.increment.grow_head import grow
from dfq.jobs.increment.report import IncrementReport
from dfq.jobs.increment.result import Incremented
from dfq.jobs.increment.settings import IncrementSettings
from dfq.jobs.increment.state import LearningState, images_file
from dfq.jobs.increment.train import learn
from dfq.jobs.keywords import IncrementKeywords
from dfq.results import report
from dfq.results.stored_files import write_json
from dfq.system.atomic_files import remove_leftovers
from dfq.system.budget import Budget
from dfq.system.callbacks import Callback, following
from dfq.system.exchange import of_first
from dfq.system.output_paths import make_folder
from dfq.system.processes import is_first
from dfq.system.progress import Progress, Silent
from dfq.system.reading import check_is_file
from dfq.system.run_lock import writing_file_alone
from dfq.system.stage import Stage
from dfq.system.terminal_progress import chosen_progress
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher, split_options


def increment(  # noqa: PLR0913 (keywords of the public face)
    model: str | Path | Teacher,
    *,
    data: str | Path,
    out: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Unpack[IncrementKeywords],
) -> Incremented:
    """Teaches a checkpoint new classes from images of these alone, as the command `dfq increment` does.

    Args:
        model: A checkpoint, published weights by name, or a `Teacher` whose architecture has a name.
        data: Images of the new classes: a folder with one sub-folder per class, which get the numbers after the old
            classes in sorted order, or an `.npz` file whose 'labels' count the new classes from 0.
        out: The checkpoint to write. A report is written beside it, as `.json`, and the state of a run that is not
            finished, as `.part` and `_images.part`.
        resume: Whether a killed run of the same model, images and settings is continued from its `.part`.
        overwrite: Whether a checkpoint that exists may be replaced.
        progress: Where progress is shown, as `dfq.quantize` takes it.
        callbacks: Who is told of start, losses, notes and end, such as `dfq.TensorBoard("logs/")`
            (`dfq.system.callbacks.Callback`).
        options: The keys of `dfq.teacher.load.LoadOptions` (`arch`, `input_size`, `mean`, `std`, …) and the fields of
            `IncrementSettings`: `strategy`, `images`, `steps`, `budget`, `seed`, …

    Raises:
        DfqError: An argument cannot be used; nothing half-written is left.

    Examples:
        ```python
        grown = dfq.increment("old.pt", data="new_classes.npz", out="grown.pt", images=64, steps=20, flip=False)
        print(grown.report["classes"])
        ```
    """
    loading, chosen = split_options(options, IncrementSettings)
    file, progress = Path(out), chosen_progress(progress)
    check_out(file, resume=resume, overwrite=overwrite)
    teacher = load_teacher(model, **loading)
    if teacher.arch is None:
        raise DfqError("a network without a name", "an architecture that the checkpoint can name", "pass arch=")
    teacher.check_classifier("new classes", "they become further logits", "pass a classifier")
    new_images = read_labelled(data, teacher.input_spec, count_classes(data))
    part = file.with_suffix(".part")
    if resume and of_first(lambda: file.exists() and not part.exists()):
        return take_over(file, teacher, conditions_of(teacher, new_images, chosen), progress)
    of_first(lambda: make_folder(file.parent))
    told = {"arch": teacher.arch, **vars(chosen)}
    with writing_file_alone(file), following(chosen_progress(progress), callbacks, told) as followed:
        scratch = [images_file(part), part]
        if is_first():
            remove_leftovers([*scratch, file.with_suffix(".json")])
            if not resume:
                _remove(scratch)
        result = increment_model(teacher, new_images, chosen, part=part, progress=followed)
        if is_first():
            save_checkpoint(file, result.model, teacher.arch, teacher.input_spec)
            write_json(file.with_suffix(".json"), result.report)
            _remove(scratch)
        followed.report = result.report
    return result


def increment_model(
    teacher: Teacher,
    new_images: Labelled,
    settings: IncrementSettings,
    *,
    part: Path | None = None,
    progress: Progress | None = None,
) -> Incremented:
    """Returns a copy of the teacher that has learned the classes of `new_images`.

    Args:
        teacher: The network that knows the old classes.
        new_images: Images whose labels count the new classes from 0; in the copy, these classes follow the old ones.
        settings: How the copy learns.
        part: The file in which a run keeps its state, and from which a killed run is continued; None: no state is kept.
        progress: Where progress is reported; None: nowhere.

    Raises:
        DfqError: The head cannot grow, the network cannot be captured, or `part` belongs to a run under other
            conditions.
    """
    start = time.monotonic()
    check_image_memory(settings.images, teacher.input_spec)
    stage = Stage(budget=Budget(settings.budget), progress=progress or Silent(), seed=settings.seed)
    new_classes = int(new_images.labels.max()) + 1
    _check_classes(new_images, new_classes)
    grown = grow(teacher, new_classes, settings.seed)
    images = as_input(teacher, new_images)
    labels = torch.from_numpy(new_images.labels).to(teacher.device) + teacher.num_classes
    conditions = conditions_of(teacher, new_images, settings)
    state = LearningState(part, conditions)
    learned = learn(teacher, grown, Batch(images, labels), settings, stage, state)
    model = grown.model.eval().requires_grad_(False)
    content = IncrementReport(
        arch=teacher.arch,
        classes={"old": teacher.num_classes, "new": new_classes},
        images={"new": len(images), "synthetic": learned.images},
        accuracy_on_new_training_images=_accuracy(model, images, labels),
        steps=learned.steps,
        seconds=time.monotonic() - start,
        conditions={name: conditions[name] for name in ("network", "images")},
        settings=conditions["settings"],
        versions=report.versions(),
        hardware=report.hardware(teacher.device),
        warnings=[*(f"assumed {sentence}" for sentence in teacher.assumed), *learned.notes],
    )
    return Incremented(model, content.to_dict())


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _check_classes(new_images: Labelled, count: int) -> None:
    present = set(new_images.labels.tolist())
    if len(present) < count:  # A file may claim more classes than fit into memory.
        empty = list(islice((label for label in range(count) if label not in present), 8))
        raise DfqError(
            f"new classes without an image: {', '.join(map(str, empty))}",
            "labels that count the new classes from 0, each with at least one image",
            "labels - labels.min() if yours begin at the number of old classes",
        )


def count_classes(path: str | Path) -> int:
    """Returns the number of classes of labelled images: of sub-folders, or the largest label of an `.npz` plus one.

    A damaged or missing file counts as one class here; `read_labelled` then says what is wrong with it.

    Raises:
        DfqError: The folder has no sub-folder.
    """
    path = Path(path)
    if path.is_dir():
        found = sum(folder.is_dir() and not folder.name.startswith(".") for folder in path.iterdir())
        if not found:
            raise DfqError(f"no sub-folder in '{path}'", "one for each new class", "check the path given to --data")
        return found
    try:
        check_is_file(path, "", "")
        arrays, _ = read_arrays(path, ["labels"])
        return int(arrays[0].max()) + 1
    except Exception:
        return 1


def as_input(teacher: Teacher, labelled: Labelled) -> Tensor:
    """Returns the images normalised, (N, C, H, W), on the teacher's device."""
    pixels = torch.from_numpy(labelled.images).permute(0, 3, 1, 2).float() / 255
    return teacher.input_spec.normalize(pixels.to(teacher.device))


@torch.no_grad()
def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    answers = torch.cat([model(part).argmax(1) for part in images.split(256)])
    return float((answers == labels).float().mean())
