"""`dfq quantize`: the main job."""

from pathlib import Path

import click

from dfq.cli import options, run_summary
from dfq.images.labelled import read_labelled
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import MIXED
from dfq.results.number_format import label
from dfq.system.output_paths import check_folder
from dfq.system.terminal_progress import TerminalProgress


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@options.mixed_bits_options
@options.synthesis_options
@options.training_options
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="Run folder to write.  [default: MODEL's name and the bits, such as ./resnet20-w4a4 or -mixed]",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with a killed run of the same options.  [default: off]")
@click.option("--overwrite", is_flag=True, help="Replace the run that --out holds.  [default: off]")
@options.strict_option
@options.data_option
@options.model_options
def quantize(
    model: Path, out: Path | None, strict: bool, resume: bool, overwrite: bool, data: Path | None, **values
) -> None:
    """Quantize MODEL, a checkpoint, without data, and prove the result in ONNX Runtime.

    Makes synthetic images from the network itself, trains a low-bit copy on them, writes it as ONNX for integer
    kernels, compares that file with the copy, and reports.

    \b
    Examples:
      dfq quantize model.pt                                  8 bits: fast, nearly free
      dfq quantize model.pt --bits 4 --budget 5m --out run/  4 bits in five minutes
      dfq quantize resnet18.pth --arch torchvision/resnet18 --bits 4 --activation-bits 8
      dfq quantize net.safetensors --arch net.py:make_net --input-size 3x64x64 \\
          --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5
      dfq quantize model.pt --bits 4 --layer-bits layer1.0.conv1=8 --data test.npz
      dfq quantize model.pt --bits mixed --target-size 1.2MB   more bits where they count
      dfq quantize model.pt --bits 4 --out run/ --resume     after it was killed
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other.")
    model_options, settings = options.take_model_options(values), options.take_settings(values)
    width = MIXED if settings.is_mixed else label(settings.make_scheme().to_dict())
    folder = out or Path(f"{model.stem}-{width}".lower())
    check_folder(folder, overwrite=overwrite, resume=resume)
    progress = TerminalProgress()
    teacher = model_options.load(model)
    labelled = read_labelled(data, teacher.input_spec, teacher.num_classes) if data else None
    for sentence in teacher.assumed:
        progress.note(f"assumed {sentence}")
    result = quantize_model(
        teacher, folder, settings, labelled=labelled,
        strict=strict, resume=resume, overwrite=overwrite, progress=progress,
    )  # fmt: skip
    run_summary.show_run(result.report, folder, name=model.name)
