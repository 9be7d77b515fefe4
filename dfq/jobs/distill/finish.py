"""The end of a distillation: both files, what they do in ONNX Runtime, and the report."""

from dataclasses import replace
from pathlib import Path

from dfq.evaluation.held_out_evidence import measure_evidence
from dfq.export import ComparedImages, export_float_onnx, validate
from dfq.images.batch import Batch
from dfq.images.labelled import Labelled
from dfq.jobs.context import JobContext, RunOptions
from dfq.jobs.distill.folder import DistillFolder
from dfq.jobs.distill.report import make_report
from dfq.jobs.distill.report_page import write_distilled_page
from dfq.jobs.distill.settings import DistillSettings
from dfq.jobs.distill.student import FloatStudent
from dfq.jobs.distill.train import Trained
from dfq.results.distilled_decision import decide_distilled
from dfq.results.model_card import write_model_card
from dfq.results.stored_files import write_json


def finish(
    network: FloatStudent,
    context: JobContext[DistillSettings, DistillFolder],
    trained: Trained,
    options: RunOptions,
    to_finish: float,
) -> dict:
    """Writes the files of the run, compares them with the student, and returns the content of the report."""
    run = context.folder
    measured = _measure(network, context, trained.held_out, options.labelled)
    content = make_report(network, context, trained, measured, to_finish).to_dict()
    content = {"decision": decide_distilled(content, Path(run.path.name)).to_dict(), **content}
    write_distilled_page(content, run)
    write_model_card(content, run)
    write_json(run.report, content)  # It says that the run is finished.
    run.remove_scratch()
    return content


def _measure(
    network: FloatStudent,
    context: JobContext[DistillSettings, DistillFolder],
    held_out: Batch,
    labelled: Labelled | None,
) -> dict:
    """Exports the student, and the teacher to compare with; returns what the files do in ONNX Runtime."""
    teacher, run, clock, progress = context.teacher, context.folder, context.clock, context.progress
    spec = teacher.input_spec
    with clock.stage("export"), progress.task("Exporting ONNX", 2) as task:
        export_float_onnx(network.model, run.onnx, spec, interface=teacher.interface)
        task.advance()
        export_float_onnx(teacher.model, run.float_onnx, spec, interface=teacher.interface)
        task.advance()
    with clock.stage("validation"):
        evidence = measure_evidence(network.model, teacher, held_out.images, seed=context.settings.seed)
        compared = ComparedImages(held_out.images, labelled)
        files = replace(run.files, softmax=teacher.interface.softmax)
        agreement = validate(files, network.model, compared, teacher, progress=progress)
    return {**agreement.to_dict(), "evidence": evidence.to_dict()}
