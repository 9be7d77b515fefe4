"""The main job: `quantize` makes a proved low-bit ONNX file and a report from a teacher."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from torch import nn

from dfq.calibration.method_checks import check_method
from dfq.images.labelled_data import LabelledData
from dfq.images.memory import check_image_memory
from dfq.images.pictures import Pictures, take_pictures
from dfq.jobs.context import JobContext, RunOptions
from dfq.jobs.finishing import seconds_to_finish
from dfq.jobs.kept_clock import clock_of, keeping_clock
from dfq.jobs.keywords import QuantizeKeywords
from dfq.jobs.labels import take_labels
from dfq.jobs.make_ready import make_ready
from dfq.jobs.quantize.auto_method import reconsider, resolve
from dfq.jobs.quantize.config import config_of
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.quantize.finish import MadeStudent, finish
from dfq.jobs.quantize.finished import take_over
from dfq.jobs.quantize.fit_student import Tuned, tune
from dfq.jobs.quantize.result import Result
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.source import keep_source, read_source
from dfq.jobs.quantize.synthesis import find_images
from dfq.jobs.quantize.widths import choose_for_run, find_width_limit
from dfq.results.run_folder import RunFolder
from dfq.results.verdict import check_strict, verdict
from dfq.student.convert import make_student
from dfq.student.coverage import measure_coverage
from dfq.system.budget import Budget
from dfq.system.callbacks import Callback, following
from dfq.system.compute_dtype import exact_float32
from dfq.system.exchange import of_first
from dfq.system.output_paths import check_folder
from dfq.system.progress import Progress
from dfq.system.run_lock import writing_alone
from dfq.system.terminal_progress import chosen_progress
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher, split_options


def quantize(  # noqa: PLR0913 (keywords of the public face)
    model: str | Path | nn.Module | Teacher,
    *,
    out: str | Path,
    data: LabelledData = None,
    pictures: Pictures = None,
    strict: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Unpack[QuantizeKeywords],
) -> Result:
    """Quantizes a network without data, as the command `dfq quantize` does.

    Args:
        model: A checkpoint, published weights by name (`torchvision/resnet18`), a network in memory, or a `Teacher`. A
            network in memory needs `input_size`, `mean` and `std`, unless its class is one of torchvision or timm.
        out: The run folder to write.
        data: Labelled images, which are used for nothing but the report: a folder of classes, an `.npz` file, images
            and labels as a pair of arrays, or a torch `Dataset` (`dfq.images.labelled_data.take_labelled`).
        pictures: Real pictures without labels, which are used for nothing but the report: a folder of image files, or
            an array (`dfq.images.pictures.take_pictures`).
        strict: Whether `DfqError` is raised before any work where less than 90 % of the multiply–accumulates would be
            on integers, or where a layer with weights was not recognised.
        resume: Whether a killed run of the same settings is continued.
        overwrite: Whether the run that `out` holds may be replaced.
        progress: True shows bars, False shows nothing, and None shows bars on a terminal and in a notebook
            (`dfq.system.terminal_progress.chosen_progress`).
        callbacks: Who is told of start, losses, notes and end, such as `dfq.TensorBoard("logs/")`
            (`dfq.system.callbacks.Callback`).
        options: The keys of `dfq.teacher.load.LoadOptions` (`arch`, `input_size`, `mean`, `std`, …) and the fields of
            `dfq.jobs.quantize.settings.Settings`: `bits`, `scheme`, `method`, `steps`, `budget`, `seed`, …

    Raises:
        DfqError: An argument cannot be used; nothing half-written is left.

    Examples:
        ```python
        result = dfq.quantize("model.pt", bits=8, out="run/", data="test.npz")
        print(result.accuracy, result.sizes)
        ```
    """
    loading, chosen = split_options(options, Settings)
    teacher = load_teacher(model, **loading)
    options_of_run = RunOptions(
        labelled=take_labels(data, teacher),
        pictures=take_pictures(pictures, teacher.input_spec),
        strict=strict,
        resume=resume,
        overwrite=overwrite,
        progress=chosen_progress(progress),
        callbacks=callbacks,
    )
    return quantize_model(teacher, out, chosen, options_of_run)


@exact_float32()
def quantize_model(
    teacher: Teacher,
    out: str | Path,
    settings: Settings,
    options: RunOptions | None = None,
) -> Result:
    """Quantizes `teacher` without data and writes the run folder `out`.

    Args:
        teacher: The network to quantize.
        out: The run folder to write.
        settings: What is made, and how.
        options: How the job runs; None: with the defaults of `RunOptions`.

    Raises:
        DfqError: One of the stages cannot do its work.
    """
    options, run = options or RunOptions(), RunFolder(out)
    check_folder(run.path, overwrite=options.overwrite, resume=options.resume)
    told = {"arch": teacher.arch, **settings.to_dict()}
    with writing_alone(run.path), following(options.progress, options.callbacks, told) as followed:
        result = _quantize(teacher, run, settings, replace(options, progress=followed))
        followed.report = result.report
    return result


def _quantize(teacher: Teacher, run: RunFolder, settings: Settings, options: RunOptions) -> Result:
    progress, clock = options.progress, clock_of(run, options)
    whole = Budget(settings.budget, clock.elapsed())
    settings, reason = resolve(settings)
    check_method(settings.chosen_method, teacher)
    check_image_memory(settings.image_count(teacher.input_spec), teacher.input_spec)
    if reason:
        progress.note(reason)
    scheme, limit = settings.make_scheme(), find_width_limit(teacher, settings, progress)
    student = make_student(teacher, scheme)
    coverage = measure_coverage(student).to_dict()
    if options.strict:
        check_strict(coverage)
    for sentence in verdict(coverage):
        progress.note(sentence.text)
    to_finish = _seconds_to_finish(teacher, settings, options)
    if of_first(lambda: _made_ready(teacher, run, settings, options, (whole, to_finish))):
        return take_over(teacher, run, options)
    progress = keeping_clock(progress, run, clock)
    budget = whole.keeping(to_finish)
    context = JobContext(teacher, settings, run, budget, progress, clock)
    with clock.stage("synthesis"):
        images = find_images(context, options.batch)
    settings, said = reconsider(teacher, settings, reason, images.count)
    context = replace(context, settings=settings)
    if said is not None and said != reason:
        progress.note(said)
    choice = None
    if limit is not None:
        with clock.stage("widths"):
            part = replace(context, budget=budget.part(QUANTIZE_DEFAULTS.choosing_share))
            choice = choose_for_run(part, limit, images.training)
            scheme = choice.applied_to(scheme)
            student = make_student(teacher, scheme)
    with clock.stage("training"):
        falls_back = reason is not None  # `auto` chose the method.
        tuned = tune(student, context, scheme, images, falls_back=falls_back)
    clock.move("training", "synthesis", tuned.source.seconds)
    batch = tuned.source.images_at_the_end().joined(images.held_out)
    made = MadeStudent(
        scheme=scheme,
        images=images,
        batch=batch,
        widths=choice,
        tuned=tuned,
        choice=_last_choice(said, settings, tuned),
        coverage=coverage,
        reserved=to_finish,
    )
    content = of_first(lambda: finish(context, made, options))
    return Result(tuned.student, teacher, run.path, content, tuned.history)


def _made_ready(
    teacher: Teacher, run: RunFolder, settings: Settings, options: RunOptions, time: tuple[Budget, float]
) -> bool:
    """Makes the folder ready, with the network's file if it came from one; returns whether the run has finished."""
    source = read_source(teacher.arch, run)
    is_finished = make_ready(run, config_of(teacher, settings), options, *time)
    if not is_finished:
        keep_source(source, run)
    return is_finished


def _seconds_to_finish(teacher: Teacher, settings: Settings, options: RunOptions) -> float:
    """Returns the seconds that are kept for the end of the run; 0 where there is no budget to keep them of."""
    if settings.budget is None:
        return 0.0
    images = len(options.batch) if options.batch else settings.image_count(teacher.input_spec)
    return seconds_to_finish(teacher, QUANTIZE_DEFAULTS.held_out_of(images), options.given)


def _last_choice(said: str | None, settings: Settings, tuned: Tuned) -> str | None:
    """Returns what `auto` chose, and what it took in the end; None where the user chose."""
    return said if tuned.method == settings.chosen_method.name else f"{said}; {tuned.method}'s student ended better"
