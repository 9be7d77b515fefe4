"""The end of a quantization: both files, their validation, plots and the report."""

from dataclasses import dataclass, replace
from pathlib import Path

from dfq.evaluation.diversity import Diversity, measure_diversity
from dfq.evaluation.evidence import gather_evidence
from dfq.evaluation.layer_errors import layer_errors
from dfq.export import ComparedImages, compare_float_file, export_float_onnx, export_onnx, further_images, validate
from dfq.images.batch import Batch
from dfq.jobs.context import JobContext, RunOptions
from dfq.jobs.quantize.fit_student import Tuned
from dfq.jobs.quantize.report import FinishedRun, make_report
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.synthesis import RunImages
from dfq.mixed_precision.chosen_widths import ChosenWidths
from dfq.quantizers.scheme import Scheme
from dfq.results import plots
from dfq.results.decision import decide
from dfq.results.diversity_plot import diversity_plot
from dfq.results.model_card import write_model_card
from dfq.results.page.quantize_page import write_report_page
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import write_json


@dataclass(frozen=True, kw_only=True)
class MadeStudent:
    """A student that is ready to be written, and what it was made of.

    Attributes:
        scheme: The scheme of the student, with the widths that mixed precision chose.
        images: The synthetic images that the run started with.
        batch: Training and held-out images at the end.
        widths: What mixed precision chose; None without mixed precision.
        tuned: The student, and what was done to it.
        choice: What `auto` chose and why; None where the user chose.
        coverage: What runs on integers (`dfq.student.coverage.Coverage.to_dict`).
        reserved: Seconds of the budget that were kept for the end of the run.
    """

    scheme: Scheme
    images: RunImages
    batch: Batch
    widths: ChosenWidths | None
    tuned: Tuned
    choice: str | None
    coverage: dict
    reserved: float


def finish(context: JobContext[Settings, RunFolder], made: MadeStudent, options: RunOptions) -> dict:
    """Writes the files of a run, compares them with the student, and returns the content of the report.

    Args:
        context: The job.
        made: The student.
        options: How the job runs; the images that the user gave are among them.
    """
    teacher, run = context.teacher, context.folder
    run.decide(student_digest=made.tuned.digest)
    if made.images.made_here:  # Images that were handed in are not stored.
        run.save_images(made.batch, teacher.input_spec)
    diversity = measure_diversity(teacher, made.batch)
    plots.contact_sheet(made.batch, teacher.input_spec, run.samples)
    diversity_plot(diversity, run.diversity)
    _export(context, made)
    content = _validated(context, made, options, diversity)
    content = {"decision": decide(content, Path(run.path.name)).to_dict(), **content}
    if history := made.tuned.history:
        plots.learning_curve(history.records, run.curve, history.chosen_step)
    write_report_page(content, run)
    write_model_card(content, run)
    write_json(run.report, content)  # It says that the run is finished.
    run.remove_scratch()
    return content


def _export(context: JobContext[Settings, RunFolder], made: MadeStudent) -> None:
    teacher, run, spec = context.teacher, context.folder, context.teacher.input_spec
    with context.clock.stage("export"), context.progress.task("Exporting ONNX", 2) as task:
        export_onnx(made.tuned.student, run.onnx, spec, target=made.scheme.target, interface=teacher.interface)
        task.advance()
        export_float_onnx(teacher.model, run.float_onnx, spec, interface=teacher.interface)
        task.advance()


def _validated(
    context: JobContext[Settings, RunFolder], made: MadeStudent, options: RunOptions, diversity: Diversity
) -> dict:
    """Compares both files with the networks, and returns the report."""
    teacher, run, settings, tuned = context.teacher, context.folder, context.settings, made.tuned
    with context.clock.stage("validation"):
        held_out = made.images.held_out.images
        evidence = tuned.evidence or gather_evidence(tuned.student, teacher, held_out, seed=settings.seed)
        errors = layer_errors(tuned.student, tuned.reference.traced, held_out)
        further = further_images(made.images.training.images, held_out)
        compared = ComparedImages(held_out, options.labelled, options.pictures, further)
        files = replace(run.files, softmax=teacher.interface.softmax, is_classifier=teacher.is_classifier)
        agreement = validate(files, tuned.student, compared, teacher, progress=context.progress).to_dict()
        float_file = compare_float_file(run.float_onnx, teacher, held_out)
    return make_report(
        FinishedRun(
            teacher=teacher,
            settings=settings,
            scheme=made.scheme,
            images=made.images,
            image_count=len(made.batch),
            widths=made.widths,
            tuned=tuned,
            choice=made.choice,
            coverage=made.coverage,
            diversity=diversity,
            evidence=evidence,
            layer_errors=errors,
            agreement=agreement,
            float_file=float_file,
            seconds=context.clock.to_dict(),
            reserved=made.reserved,
        )
    ).to_dict()
