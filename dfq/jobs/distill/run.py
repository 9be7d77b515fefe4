"""The job of `dfq distill`: it makes a student of another architecture and a report from a teacher."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from torch import nn

from dfq.images.labelled_data import LabelledData
from dfq.images.memory import check_image_memory
from dfq.jobs.context import JobContext, RunOptions
from dfq.jobs.distill.defaults import DISTILL_DEFAULTS
from dfq.jobs.distill.finish import finish
from dfq.jobs.distill.folder import DistillFolder
from dfq.jobs.distill.settings import DistillSettings
from dfq.jobs.distill.student import FloatStudent, build_student
from dfq.jobs.distill.train import train
from dfq.jobs.finishing import seconds_to_finish
from dfq.jobs.kept_clock import clock_of, keeping_clock
from dfq.jobs.keywords import DistillKeywords
from dfq.jobs.labels import take_labels
from dfq.jobs.make_ready import make_ready
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.quantize.run import Result, quantize_model
from dfq.jobs.quantize.source import read_source
from dfq.results.stored_files import read_json
from dfq.system.budget import Budget
from dfq.system.callbacks import Callback, following
from dfq.system.content_hash import digest_of
from dfq.system.exchange import copy_from, of_first
from dfq.system.output_paths import check_folder
from dfq.system.progress import Progress
from dfq.system.run_lock import writing_alone
from dfq.system.terminal_progress import chosen_progress
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher, split_options


@dataclass(frozen=True)
class Distilled:
    """What `dfq.distill` returns.

    Attributes:
        student: The distilled network in floating point, in evaluation mode.
        teacher: The network that it learned from.
        folder: The run folder.
        report: The content of its `report.json`.
        quantized: The result of the quantization that followed; None without `bits`.
    """

    student: nn.Module
    teacher: Teacher
    folder: Path
    report: dict
    quantized: Result | None


def distill(  # noqa: PLR0913 (keywords of the public face)
    model: str | Path | nn.Module | Teacher,
    *,
    student: str,
    out: str | Path,
    data: LabelledData = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Unpack[DistillKeywords],
) -> Distilled:
    """Distils a network into one of another architecture without data, as the command `dfq distill` does.

    Args:
        model: The teacher, as `dfq.quantize` takes it.
        student: Architecture of the student: `dfq/NAME`, `torchvision/NAME`, `timm/NAME` or `path/to/net.py:factory`.
        out: The run folder to write.
        data: Labelled images, which are used for nothing but the report, as `dfq.quantize` takes them.
        resume: Whether a killed run of the same settings is continued.
        overwrite: Whether the run that `out` holds may be replaced.
        progress: Where progress is shown, as `dfq.quantize` takes it.
        callbacks: Who is told of start, losses, notes and end, such as `dfq.TensorBoard("logs/")`
            (`dfq.system.callbacks.Callback`).
        options: The keys of `dfq.teacher.load.LoadOptions` (`arch`, `input_size`, `mean`, `std`, …) and the fields of
            `DistillSettings`: `method`, `steps`, `images`, `budget`, `seed`, `bits`, …

    Raises:
        DfqError: An argument cannot be used; nothing half-written is left.

    Examples:
        ```python
        found = dfq.distill("model.pt", student="dfq/digits_cnn", out="student/", images=32, steps=20)
        print(found.report["agreement"]["student_teacher"])
        ```
    """
    loading, chosen = split_options(options, DistillSettings)
    teacher = load_teacher(model, **loading)
    labelled = take_labels(data, teacher)
    options_of_run = RunOptions(
        labelled=labelled, resume=resume, overwrite=overwrite, progress=chosen_progress(progress), callbacks=callbacks
    )
    return distill_model(teacher, student, out, chosen, options_of_run)


def distill_model(
    teacher: Teacher,
    student: str,
    out: str | Path,
    settings: DistillSettings,
    options: RunOptions | None = None,
    *,
    accuracy: Callable[[nn.Module], float] | None = None,
) -> Distilled:
    """Trains a network of the architecture `student`, and writes the run folder `out`.

    Args:
        teacher: The network that the student learns from.
        student: Architecture of the student.
        out: The run folder to write.
        settings: What is made, and how.
        options: How the job runs; None: with the defaults of `RunOptions`. With `resume`, a finished distillation is
            not repeated, also where it is to be quantized to other `bits`.
        accuracy: Measures the student from time to time, for `training` in the report; nothing is chosen by it.

    Raises:
        DfqError: One of the stages cannot do its work.
    """
    options = options or RunOptions()
    teacher.check_classifier(
        "distillation", "a student of another architecture learns their classes", "quantize the network itself"
    )
    run = DistillFolder(out)
    check_folder(run.path, overwrite=options.overwrite, resume=options.resume)
    told = {"arch": teacher.arch, "student": student, **settings.to_dict()}
    with writing_alone(run.path), following(options.progress, options.callbacks, told) as followed:
        quiet = replace(options, progress=followed, callbacks=())  # The quantization that follows is no job of its own.
        result = _distill(teacher, student, run, settings, quiet, accuracy)
        followed.report = result.report
    return result


def _distill(
    teacher: Teacher,
    student: str,
    run: DistillFolder,
    settings: DistillSettings,
    options: RunOptions,
    accuracy: Callable[[nn.Module], float] | None,
) -> Distilled:
    progress, clock, spec = options.progress, clock_of(run, options), teacher.input_spec
    whole = Budget(settings.budget, clock.elapsed())
    check_image_memory(settings.image_settings(spec).image_count(spec), spec)
    network = build_student(student, teacher, settings.seed, from_teacher=settings.start == "teacher")
    if network.inherited:
        progress.note("the student starts from layers of the teacher")
    to_finish = _seconds_to_finish(teacher, settings, options)
    config = _config(teacher, student, settings)
    if of_first(lambda: _made_ready(teacher.arch, run, config, options, (whole, to_finish))):
        progress.note("the distillation had finished, so it is taken over as it is")
        content = of_first(lambda: _restored(network, run))
        copy_from([*network.model.state_dict().values()], source=0)
    else:
        told = keeping_clock(progress, run, clock)
        context = JobContext(teacher, settings, run, whole.keeping(to_finish), told, clock)
        trained = train(network, context, options.batch, accuracy)
        content = of_first(lambda: finish(network, context, trained, options, to_finish))
    distilled = Teacher(network.model.eval().requires_grad_(False), teacher.input_spec, teacher.device, arch=student)
    distilled.interface = teacher.interface
    quantized = None
    if settings.bits is not None:
        images = options.batch or of_first(lambda: run.load_images(teacher.input_spec, teacher.device), teacher.device)
        limit = None if settings.budget is None else max(whole.remaining(), DISTILL_DEFAULTS.least_seconds)
        quantization = settings.quantization(len(images), limit)
        last = replace(options, batch=images, strict=False, is_late=True)
        quantized = quantize_model(distilled, run.quantized(settings.bits), quantization, last)
    return Distilled(network.model, teacher, run.path, content, quantized)


def _made_ready(
    arch: str | None, run: DistillFolder, config: dict, options: RunOptions, time: tuple[Budget, float]
) -> bool:
    """Makes the folder ready, unless the teacher lies in it; returns whether the run has finished there."""
    read_source(arch, run)
    return make_ready(run, config, options, *time)


def _restored(network: FloatStudent, run: DistillFolder) -> dict:
    """Loads the weights of a finished run into the network, and returns its report."""
    run.restore(network)
    content = read_json(run.report)
    run.remove_scratch()
    return content


def _seconds_to_finish(teacher: Teacher, settings: DistillSettings, options: RunOptions) -> float:
    """Returns the seconds that are kept for the end, twice where the student is quantized; 0 without a budget."""
    if settings.budget is None:
        return 0.0
    spec = teacher.input_spec
    images = len(options.batch) if options.batch else settings.image_settings(spec).image_count(spec)
    held_out = QUANTIZE_DEFAULTS.held_out_of(images)
    return seconds_to_finish(teacher, held_out, options.given) * (1 if settings.bits is None else 2)


def _config(teacher: Teacher, student: str, settings: DistillSettings) -> dict:
    """Returns what a resumed run must have in common; the bits are left out, because they may be asked for later."""
    return {
        "format": 1,
        "kind": "distilled",
        "arch": teacher.arch,
        "student": student,
        "num_classes": teacher.num_classes,
        "network": digest_of(teacher.model),
        "input_spec": teacher.input_spec.to_dict(),
        "settings": {name: value for name, value in settings.to_dict().items() if name != "bits"},
    }
