"""`dfq distill` trains a student of another architecture, without data."""

from pathlib import Path

import click

from dfq.cli import options, run_summary
from dfq.cli.command import command
from dfq.cli.config_file import config_option
from dfq.cli.option_types import PATH
from dfq.cli.output import Output
from dfq.cli.settings_options import settings_options, take_settings
from dfq.jobs.context import RunOptions
from dfq.jobs.distill import DistillSettings, distill_model
from dfq.system.output_paths import check_folder


@command
@click.argument("model", metavar="TEACHER", type=PATH)
@click.option(
    "--student",
    required=True,
    metavar="NAME",
    help="Architecture of the student: torchvision/NAME, timm/NAME, dfq/NAME, or path/to/net.py:factory, whose "
    "factory takes num_classes.",
)
@settings_options(DistillSettings)
@click.option(
    "--out",
    type=PATH,
    metavar="DIR",
    help="Run folder to write.  [default: the names of teacher and student]",
)
@options.resume_options
@options.data_option
@options.log_option
@options.devices_option
@config_option
@options.model_options
def distill(
    output: Output,
    model: Path,
    student: str,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    data: Path | None,
    trackers: tuple[str, ...],
    **values,
) -> None:
    """Train a network of another architecture to answer like TEACHER, a checkpoint, without data.

    The student starts from the teacher's layers where these fit, else from random weights, and learns on synthetic
    images. It is written as an ordinary checkpoint, student.pt, which every command takes, and as model.onnx, which is
    compared with it in ONNX Runtime.

    \b
    Examples:
      dfq distill resnet56.pt --student dfq/resnet20 --budget 30m
      dfq distill model.pt --student net.py:make_student --method adadfkd --out run/
      dfq distill model.pt --student dfq/wrn16_1 --bits 8     then quantized: run folder w8a8/
      dfq distill model.pt --student dfq/wrn16_1 --resume     after it was killed
    """
    options.check_resume(resume, overwrite)
    model_options = options.take_model_options(values)
    settings = take_settings(DistillSettings, values)
    folder = out or Path(f"{model.stem}-{Path(student).name.replace('.py:', '-')}")
    check_folder(folder, overwrite=overwrite, resume=resume)
    callbacks = options.callbacks_of(trackers, folder / "tensorboard")
    progress = output.progress
    teacher, labelled = model_options.load_for_run(model, data, progress)
    result = distill_model(
        teacher,
        student,
        folder,
        settings,
        RunOptions(labelled=labelled, resume=resume, overwrite=overwrite, progress=progress, callbacks=callbacks),
    )
    run_summary.show_distilled(result.report, folder, name=model.name)
    content = {**run_summary.as_json(result.report, folder), "quantized": None}
    if (quantized := result.quantized) is not None:
        run_summary.show_run(quantized.report, quantized.folder, name=f"{folder.name}/student.pt")
        content["quantized"] = run_summary.as_json(quantized.report, quantized.folder)
    output.write(content)
    reports = [result.report, *([quantized.report] if quantized else [])]
    if any(report.get("decision", {}).get("is_mismatch") for report in reports):
        click.get_current_context().exit(run_summary.MISMATCH)
