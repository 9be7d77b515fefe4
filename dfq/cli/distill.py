"""`dfq distill`: a student of another architecture, without data."""

from dataclasses import fields
from pathlib import Path

import click

from dfq.calibration import METHODS
from dfq.cli import options, run_summary
from dfq.cli.option_types import Named
from dfq.images.labelled import read_labelled
from dfq.jobs.distill import DistillSettings, distill_model
from dfq.jobs.distill.settings import STARTS
from dfq.system.output_paths import check_folder
from dfq.system.terminal_progress import TerminalProgress


@click.command()
@click.argument("model", metavar="TEACHER", type=click.Path(path_type=Path))
@click.option(
    "--student",
    required=True,
    metavar="NAME",
    help="Architecture of the student: torchvision/NAME, timm/NAME, dfq/NAME or path/to/net.py:factory.",
)
@click.option(
    "--method",
    type=Named("method", METHODS, "see `dfq methods`"),
    default=DistillSettings.method,
    show_default=True,
    metavar="NAME",
    help="How images are made and the student is trained: see `dfq methods`.",
)
@options.flip_option
@click.option("--images", type=int, metavar="N", help="Synthetic images.  [default: 2048; 512 above 64 pixels]")
@options.budget_option
@options.seed_option
@click.option("--steps", type=int, metavar="N", help="Training steps.  [default: 2000]")
@click.option(
    "--start",
    type=click.Choice(STARTS),
    default=STARTS[0],
    show_default=True,
    help="Where the student starts: from the teacher's layers, if it is a shallower network of the same family (else "
    "from random weights), or from random weights in any case.",
)
@click.option(
    "--bits",
    type=int,
    metavar="N",
    help="Quantize the distilled student to N bits, 2 to 8, on the same images.  [default: it stays in floating point]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Run folder to write.  [default: the names of teacher and student]",
)
@click.option("--resume", is_flag=True, help="Go on with a killed run of the same options.  [default: off]")
@click.option("--overwrite", is_flag=True, help="Replace the run that --out holds.  [default: off]")
@options.data_option
@options.model_options
def distill(
    model: Path, student: str, out: Path | None, resume: bool, overwrite: bool, data: Path | None, **values
) -> None:
    """Train a network of another architecture to answer like TEACHER, a checkpoint, without data.

    The student starts from the teacher's layers where these fit, else from random weights, and learns on synthetic
    images. What it becomes is an ordinary checkpoint, student.pt, which every command takes, and model.onnx, compared
    in ONNX Runtime.

    \b
    Examples:
      dfq distill resnet56.pt --student dfq/resnet20 --budget 30m
      dfq distill model.pt --student net.py:make_student --method adadfkd --out run/
      dfq distill model.pt --student dfq/wrn16_1 --bits 8     then quantized: run folder w8a8/
      dfq distill model.pt --student dfq/wrn16_1 --resume     after it was killed
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other.")
    model_options = options.take_model_options(values)
    settings = DistillSettings(**{field.name: values.pop(field.name) for field in fields(DistillSettings)})
    folder = out or Path(f"{model.stem}-{Path(student).name.replace('.py:', '-')}")
    check_folder(folder, overwrite=overwrite, resume=resume)
    progress = TerminalProgress()
    teacher = model_options.load(model)
    labelled = read_labelled(data, teacher.input_spec, teacher.num_classes) if data else None
    for sentence in teacher.assumed:
        progress.note(f"assumed {sentence}")
    result = distill_model(
        teacher, student, folder, settings, labelled=labelled,
        resume=resume, overwrite=overwrite, progress=progress,
    )  # fmt: skip
    run_summary.show_distilled(result.report, folder, name=model.name)
    if result.quantized is not None:
        run_summary.show_run(result.quantized.report, result.quantized.folder, name=f"{folder.name}/student.pt")
