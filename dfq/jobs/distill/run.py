"""The job of `dfq distill`: teacher in, a student of another architecture and its report out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from torch import nn

from dfq.evaluation.drop_estimate import measure_evidence
from dfq.export import export_float_onnx, validate
from dfq.images.batch import Batch
from dfq.images.labelled import Labelled
from dfq.images.labelled_data import LabelledData, take_labelled
from dfq.jobs.context import JobContext
from dfq.jobs.distill.folder import DistillFolder
from dfq.jobs.distill.report import make_report
from dfq.jobs.distill.report_page import write_distilled_page
from dfq.jobs.distill.settings import DistillSettings
from dfq.jobs.distill.student import FloatStudent, build_student
from dfq.jobs.distill.train import train
from dfq.jobs.keywords import DistillKeywords
from dfq.jobs.quantize.run import Result, quantize_model
from dfq.results.stored_files import read_json, write_json
from dfq.system.budget import Budget
from dfq.system.content_hash import digest_of
from dfq.system.progress import Progress, Silent
from dfq.system.terminal_progress import chosen_progress
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher, split_options

MIN_SECONDS = 1.0  # of a budget that is used up: the quantization still runs, with ranges and a step or two


@dataclass(frozen=True)
class Distilled:
    """What a distillation gives back.

    Attributes:
        student: the distilled network in floating point, evaluation mode.
        folder: the run folder.
        report: the content of its `report.json`.
        quantized: of the quantization that followed; None without `bits`.
    """

    student: nn.Module
    teacher: Teacher
    folder: Path
    report: dict
    quantized: Result | None


def distill(
    model: str | Path | nn.Module | Teacher,
    *,
    student: str,
    out: str | Path,
    data: LabelledData = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
    **options: Unpack[DistillKeywords],
) -> Distilled:
    """Distils a network into one of another architecture without data: what the command `dfq distill` does.

    Args:
        model: the teacher: a checkpoint file, or a network in memory (then `input_size`, `mean`, `std` are needed).
        student: its architecture: `dfq/NAME`, `torchvision/NAME`, `timm/NAME` or `path/to/net.py:factory`.
        out: the run folder to write.
        data: labelled images, used for nothing but the report: a folder of classes, an `.npz`, (images, labels) as
            arrays, or a torch `Dataset` (`dfq.images.labelled_data.take_labelled`).
        progress: True shows bars, False silences them, None shows them where somebody sees them: on a terminal or in
            a notebook (`dfq.system.terminal_progress.chosen_progress`).
        options: those of `dfq.teacher.load.LoadOptions` (`arch`, `input_size`, `mean`, `std`, …) and the fields of
            `DistillSettings`: `method`, `steps`, `images`, `budget`, `seed`, `bits`, …

    Raises:
        DfqError: one error for anything that does not fit; nothing half-written is left.
    """
    loading, chosen = split_options(options, DistillSettings)
    teacher = load_teacher(model, **loading)
    labelled = take_labelled(data, teacher.input_spec, teacher.num_classes)
    return distill_model(
        teacher, student, out, chosen, labelled=labelled,
        resume=resume, overwrite=overwrite, progress=chosen_progress(progress),
    )  # fmt: skip


def distill_model(
    teacher: Teacher,
    student: str,
    out: str | Path,
    settings: DistillSettings,
    *,
    labelled: Labelled | None = None,
    batch: Batch | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    accuracy: Callable[[nn.Module], float] | None = None,
) -> Distilled:
    """Trains a network of the architecture `student`, and writes the run folder `out`.

    Args:
        labelled, batch, overwrite: as in `dfq.jobs.quantize.run.quantize_model`.
        resume: go on with a killed run of the same settings; where only the quantization is missing, or other `bits`
            are asked for, nothing is distilled again.
        accuracy: measures the student from time to time, for `training` in the report; nothing is chosen by it.

    Raises:
        DfqError: see the stages.
    """
    progress, budget, run = progress or Silent(), Budget(settings.budget), DistillFolder(out)
    network = build_student(student, teacher, settings.seed, from_teacher=settings.start == "teacher")
    if network.inherited:
        progress.note("the student starts from layers of the teacher")
    run.prepare(_config(teacher, student, settings), resume=resume, overwrite=overwrite)
    if resume and run.is_finished:
        progress.note("the distillation had finished: taken over as it is")
        run.restore(network)
        content = read_json(run.report)
    else:
        context = JobContext(teacher, settings, run, budget, progress)
        trained = train(network, context, batch, accuracy)
        measured = _measure(network, context, trained.held_out, labelled)
        content = make_report(teacher, network, settings, trained, measured, context.clock)
        write_distilled_page(content, run)
        write_json(run.report, content)  # last: it says that the run is finished
        run.remove_scratch()
    distilled = Teacher(network.model.eval().requires_grad_(False), teacher.input_spec, teacher.device, arch=student)
    quantized = None
    if settings.bits is not None:
        images = batch or run.load_images(teacher.input_spec, teacher.device)
        limit = None if settings.budget is None else max(budget.remaining(), MIN_SECONDS)
        quantized = quantize_model(
            distilled, run.quantized(settings.bits), settings.quantization(len(images), limit),
            labelled=labelled, batch=images, resume=resume, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    return Distilled(network.model, teacher, run.path, content, quantized)


def _config(teacher: Teacher, student: str, settings: DistillSettings) -> dict:
    """What a resumed run must have in common; not the bits, which may be asked for later."""
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


def _measure(
    network: FloatStudent,
    context: JobContext[DistillSettings, DistillFolder],
    held_out: Batch,
    labelled: Labelled | None,
) -> dict:
    """Exports the student, and the teacher to compare with; what the files do in ONNX Runtime."""
    teacher, run, clock, progress = context.teacher, context.folder, context.clock, context.progress
    spec = teacher.input_spec
    with clock.stage("export"), progress.task("Exporting ONNX", 2) as task:
        export_float_onnx(network.model, run.onnx, spec)
        task.advance()
        export_float_onnx(teacher.model, run.float_onnx, spec)
        task.advance()
    with clock.stage("validation"):
        evidence = measure_evidence(network.model, teacher, held_out.images, seed=context.settings.seed)
        agreement = validate(
            run.onnx, network.model, held_out.images, teacher=teacher, float_path=run.float_onnx, labelled=labelled,
            progress=progress,
        )  # fmt: skip
    return {**agreement.to_dict(), "evidence": evidence.to_dict()}
