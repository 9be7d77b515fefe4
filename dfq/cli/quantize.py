"""`dfq quantize` does the main job."""

from pathlib import Path

import click

from dfq.cli import options, run_summary
from dfq.cli.command import command
from dfq.cli.config_file import config_option
from dfq.cli.option_types import PATH
from dfq.cli.output import Output
from dfq.cli.settings_options import settings_options, take_settings
from dfq.images.pictures import take_pictures
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import MIXED, Settings
from dfq.results.number_format import label
from dfq.system.output_paths import check_folder
from dfq.system.processes import is_first


@command
@click.argument("model", type=PATH)
@settings_options(Settings)
@click.option(
    "--out", type=PATH, metavar="DIR",
    help="Run folder to write.  [default: MODEL's name and the bits, such as ./resnet20-w4a4 or -mixed]",
)  # fmt: skip
@options.resume_options
@options.strict_option
@options.data_option
@options.pictures_option
@options.log_option
@options.devices_option
@config_option
@options.model_options
def quantize(
    output: Output, model: Path, out: Path | None, strict: bool, resume: bool, overwrite: bool, data: Path | None,
    pictures: Path | None, trackers: tuple[str, ...], **values
) -> None:  # fmt: skip
    """Quantize MODEL, a checkpoint or an ONNX file, without data, and prove the result in ONNX Runtime.

    The command makes synthetic images from the network itself, trains a low-bit copy on them, writes the copy as ONNX
    for integer kernels, compares that file with the copy, and writes a report.

    \b
    Examples:
      dfq quantize model.pt                                  8 bits: fast, nearly free
      dfq quantize model.pt --bits 4 --budget 5m --out run/  4 bits in five minutes
      dfq quantize resnet18.pth --arch torchvision/resnet18 --bits 4 --activation-bits 8
      dfq quantize net.safetensors --arch net.py:make_net --input-size 3x64x64 \\
          --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5
      dfq quantize model.pt --bits 4 --layer-bits layer1.0.conv1=8 --data test.npz
      dfq quantize model.pt --bits mixed --target-size 1.2MB   more bits where they count
      dfq quantize model.pt --bits mixed --target-bops 1.2G    also for activations
      dfq quantize segmenter.onnx --pictures photos/         any network of images
      dfq quantize model.pt --bits 4 --out run/ --resume     after it was killed
    """
    options.check_resume(resume, overwrite)
    model_options, settings = options.take_model_options(values), take_settings(Settings, values)
    width = MIXED if settings.is_mixed else label(settings.make_scheme().to_dict())
    folder = out or Path(f"{model.stem}-{width}".lower())
    check_folder(folder, overwrite=overwrite, resume=resume)
    callbacks = options.callbacks_of(trackers, folder / "tensorboard")
    progress = output.progress
    teacher, labelled = model_options.load_for_run(model, data, progress)
    result = quantize_model(
        teacher,
        folder,
        settings,
        RunOptions(
            labelled=labelled,
            pictures=take_pictures(pictures if is_first() else None, teacher.input_spec),
            strict=strict,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            callbacks=callbacks,
        ),
    )
    run_summary.show_run(result.report, folder, name=model.name)
    output.write(run_summary.as_json(result.report, folder))
    if result.report.get("decision", {}).get("is_mismatch"):
        click.get_current_context().exit(run_summary.MISMATCH)
