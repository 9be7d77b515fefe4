"""The job of `dfq increment`: a checkpoint and images of new classes in, a checkpoint of all classes out."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor, nn

from dfq.checkpoint import save_checkpoint
from dfq.errors import DfqError
from dfq.images.labelled import Labelled, read_labelled
from dfq.jobs.increment.grow_head import grow
from dfq.jobs.increment.settings import IncrementSettings
from dfq.jobs.increment.state import LearningState
from dfq.jobs.increment.train import learn
from dfq.jobs.keywords import IncrementKeywords
from dfq.results import report
from dfq.results.stored_files import write_json
from dfq.system.budget import Budget
from dfq.system.content_hash import digest, digest_of
from dfq.system.output_paths import check_file
from dfq.system.progress import Progress, Silent
from dfq.system.terminal_progress import chosen_progress
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher, split_options


@dataclass(frozen=True)
class Incremented:
    """What an increment gives back.

    Attributes:
        model: evaluation mode, logits (N, old + new classes); the old classes keep their numbers.
        report: settings, figures, versions.
    """

    model: nn.Module
    report: dict


def increment(
    model: str | Path | Teacher,
    *,
    data: str | Path,
    out: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
    **options: Unpack[IncrementKeywords],
) -> Incremented:
    """Teaches a checkpoint new classes from images of these alone: what the command `dfq increment` does.

    Args:
        data: images of the new classes: a folder with a sub-folder for each (in sorted order they get the numbers after
            the old classes), or an `.npz` whose 'labels' count the new classes from 0.
        out: the checkpoint to write; a report of the same name is written beside it, as `.json`, and while it runs,
            `.part`.
        resume: go on with a killed run of the same model, images and settings, from its `.part`.
        progress: True shows bars, False silences them, None shows them where somebody sees them: on a terminal or in
            a notebook (`dfq.system.terminal_progress.chosen_progress`).
        options: those of `dfq.teacher.load.LoadOptions` (`arch`, `input_size`, `mean`, `std`, …) and the fields of
            `IncrementSettings`: `strategy`, `images`, `steps`, `budget`, `seed`, …

    Raises:
        DfqError: one error for anything that does not fit; nothing half-written is left.
    """
    loading, chosen = split_options(options, IncrementSettings)
    file = Path(out)
    check_file(file, overwrite=overwrite)
    teacher = load_teacher(model, **loading)
    if teacher.arch is None:
        raise DfqError("a network without a name", "an architecture that the checkpoint can name", "pass arch=")
    new_images = read_labelled(data, teacher.input_spec, count_classes(data))
    part = file.with_suffix(".part")
    if not resume:
        part.unlink(missing_ok=True)
    result = increment_model(teacher, new_images, chosen, part=part, progress=chosen_progress(progress))
    save_checkpoint(file, result.model, teacher.arch, teacher.input_spec)
    part.unlink(missing_ok=True)
    result.report["warnings"] = [*(f"assumed {sentence}" for sentence in teacher.assumed), *result.report["warnings"]]
    write_json(file.with_suffix(".json"), {"arch": teacher.arch, **result.report})
    return result


def increment_model(
    teacher: Teacher,
    new_images: Labelled,
    settings: IncrementSettings,
    *,
    part: Path | None = None,
    progress: Progress | None = None,
) -> Incremented:
    """The teacher's copy that has learned the classes of `new_images`, numbered from 0 there and after its own here.

    Args:
        part: where a run that is killed leaves what it has, and where a killed one's is taken over; None: nowhere.

    Raises:
        DfqError: a head that cannot grow, a network that does not trace, or a part of a run under other conditions.
    """
    start, budget = time.monotonic(), Budget(settings.budget)
    new_classes = int(new_images.labels.max()) + 1
    _check_classes(new_images, new_classes)
    grown = grow(teacher, new_classes, settings.seed)
    images = as_input(teacher, new_images)
    labels = torch.from_numpy(new_images.labels).to(teacher.device) + teacher.num_classes
    state = LearningState(part, _conditions(teacher, new_images, settings))
    learned = learn(teacher, grown, images, labels, settings, budget, progress or Silent(), state)
    model = grown.model.eval().requires_grad_(False)
    content = {
        "classes": {"old": teacher.num_classes, "new": new_classes},
        "images": {"new": len(images), "synthetic": learned.images},
        "accuracy_on_new_training_images": _accuracy(model, images, labels),
        "steps": learned.steps,
        "seconds": time.monotonic() - start,
        "settings": dict(vars(settings)),
        "versions": report.versions(),
        "hardware": report.hardware(teacher.device),
        "warnings": learned.notes,
    }
    return Incremented(model, content)


def _check_classes(new_images: Labelled, count: int) -> None:
    empty = sorted(set(range(count)) - set(new_images.labels.tolist()))
    if empty:
        raise DfqError(
            f"new classes without an image: {', '.join(map(str, empty[:8]))}",
            "labels that count the new classes from 0, each with at least one image",
            "labels - labels.min() if yours begin at the number of old classes",
        )


def _conditions(teacher: Teacher, new_images: Labelled, settings: IncrementSettings) -> dict:
    return {
        "network": digest_of(teacher.model),
        "images": digest({"images": new_images.images, "labels": new_images.labels}),
        "settings": dict(vars(settings)),
    }


def count_classes(path: str | Path) -> int:
    """How many classes labelled images have: sub-folders, or the largest label of an `.npz` plus one.

    What is damaged or missing counts as one class here; `read_labelled` then says what is wrong with it.
    """
    path = Path(path)
    if path.is_dir():
        found = sum(folder.is_dir() and not folder.name.startswith(".") for folder in path.iterdir())
        if not found:
            raise DfqError(f"no sub-folder in '{path}'", "one for each new class", "check the path given to --data")
        return found
    try:
        with np.load(path, allow_pickle=False) as file:
            return int(file["labels"].max()) + 1
    except Exception:
        return 1


def as_input(teacher: Teacher, labelled: Labelled) -> Tensor:
    """Normalised images (N, C, H, W), on the teacher's device."""
    pixels = torch.from_numpy(labelled.images).permute(0, 3, 1, 2).float() / 255
    return teacher.input_spec.normalize(pixels.to(teacher.device))


@torch.no_grad()
def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    answers = torch.cat([model(part).argmax(1) for part in images.split(256)])
    return float((answers == labels).float().mean())
