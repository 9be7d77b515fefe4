"""`dfq synthesize`: only the images."""

from pathlib import Path

import click

from dfq.calibration.stored_images import CLASSES, NPZ, SAFETENSORS, StoredImages, with_answers, write_images
from dfq.cli import console, options
from dfq.jobs.synthesize import synthesize as make_images
from dfq.results.plots import contact_sheet
from dfq.results.run_folder import RunFolder
from dfq.system.budget import Budget
from dfq.system.output_paths import check_folder
from dfq.system.terminal_progress import TerminalProgress

WHAT = {
    SAFETENSORS: "pixels, labels, normalisation: for dfq's adapters",
    NPZ: "pixels and labels as NumPy arrays",
    CLASSES: "a folder of PNG files per class",
}


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@options.synthesis_options
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="Folder to write.  [default: MODEL's name and -images]",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the images that --out holds.  [default: off]")
@options.model_options
def synthesize(model: Path, out: Path | None, overwrite: bool, **values) -> None:
    """Make synthetic images from MODEL, a checkpoint, and nothing else: calibration data for any toolkit.

    Writes images.safetensors ('images': uint8 N×C×H×W; 'labels': int64 N), images.npz (uint8 N×H×W×C), classes/ (a
    sub-folder of PNG files per class) and samples.png, a contact sheet. Labels are the classes that the images were
    made for, else MODEL's answers. Adapters for ONNX Runtime, torch, NNCF and OpenVINO read the folder.
    There is no student here: methods that work against one (rgal) make their base images.

    \b
    Examples:
      dfq synthesize model.pt --images 256 --out calib/
      dfq synthesize digits.pt --no-flip --images 1000 --budget 2m
    """
    model_options, settings = options.take_model_options(values), options.take_settings(values)
    folder = out or Path(f"{model.stem}-images")
    check_folder(folder, overwrite=overwrite)
    teacher = model_options.load(model)
    progress, run = TerminalProgress(), RunFolder(folder)
    batch, notes = make_images(teacher, settings, budget=Budget(settings.budget), progress=progress)
    stored = StoredImages.from_batch(with_answers(batch, teacher), teacher.input_spec)
    written = write_images(stored, folder, teacher.num_answers)
    contact_sheet(batch, teacher.input_spec, run.samples)
    console.facts("Notes", [*teacher.assumed, *notes])
    console.fact("Images", f"{len(batch)} of {'x'.join(map(str, teacher.input_spec.size))}")
    console.facts("Files", [f"{path}  {WHAT[path.name]}" for path in written] + [f"{run.samples}  a contact sheet"])
