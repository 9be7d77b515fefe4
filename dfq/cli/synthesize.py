"""`dfq synthesize` makes the images alone."""

from pathlib import Path

import click

from dfq.calibration.stored_images import CLASSES, NPZ, SAFETENSORS
from dfq.cli import console, options
from dfq.cli.command import command
from dfq.cli.config_file import config_option
from dfq.cli.option_types import PATH
from dfq.cli.output import Output
from dfq.cli.settings_options import settings_options, take_settings
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.synthesize import synthesize as make_images
from dfq.system.output_paths import check_folder

WHAT = {
    SAFETENSORS: "pixels, labels if there are any, and normalisation, for dfq's adapters",
    NPZ: "pixels and labels as NumPy arrays",
    CLASSES: "a folder of PNG files for each class",
    "samples.png": "a contact sheet",
}


@command
@click.argument("model", type=PATH)
@settings_options(
    Settings, "method", "images", "flip", "budget", "seed",
    method="Method that makes the images: a row of `dfq methods`. With auto, it is zeroq-kd.",
)  # fmt: skip
@click.option(
    "--out", type=PATH, metavar="DIR",
    help="Folder to write.  [default: MODEL's name and -images]",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the images that --out holds.  [default: off]")
@options.devices_option
@config_option
@options.model_options
def synthesize(output: Output, model: Path, out: Path | None, overwrite: bool, **values) -> None:
    """Make synthetic images from MODEL, a checkpoint, and nothing else: calibration data for any toolkit.

    The command writes images.safetensors ('images': uint8 N×C×H×W; 'labels': int64 N), images.npz (uint8 N×H×W×C),
    classes/ (a sub-folder of PNG files for each class) and samples.png, a contact sheet. Labels are the classes that
    the images were made for, else MODEL's answers. Adapters for ONNX Runtime, torch, NNCF and OpenVINO read the folder.
    There is no student: a method whose images react to one, such as rgal, makes the images that need none.

    \b
    Examples:
      dfq synthesize model.pt --images 256 --out calib/
      dfq synthesize digits.pt --no-flip --images 1000 --budget 2m
    """
    model_options = options.take_model_options(values)
    folder = out or Path(f"{model.stem}-images")
    check_folder(folder, overwrite=overwrite)
    take_settings(Settings, dict(values))  # Wrong options are told before anything is loaded.
    teacher = model_options.load(model)
    made = make_images(teacher, out=folder, overwrite=overwrite, progress=output.progress, **values)
    output.write(
        {
            "folder": str(folder),
            "images": len(made.images),
            "size": list(teacher.input_spec.size),
            "files": [str(path) for path in made.files],
            "notes": made.notes,
        }
    )
    console.facts("Notes", made.notes)
    console.fact("Images", f"{len(made.images)} of {'x'.join(map(str, teacher.input_spec.size))}")
    console.facts("Files", [f"{path}  {WHAT[path.name]}" for path in made.files])
