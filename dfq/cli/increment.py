"""`dfq increment` teaches a trained network new classes."""

from pathlib import Path

import click

from dfq.cli import console, options
from dfq.cli.command import command
from dfq.cli.config_file import config_option
from dfq.cli.option_types import PATH
from dfq.cli.output import Output
from dfq.cli.settings_options import settings_options, take_settings
from dfq.jobs.increment import IncrementSettings
from dfq.jobs.increment import increment as learn_classes
from dfq.jobs.increment.finished import check_out
from dfq.results.number_format import percent, seconds


@command
@click.argument("model", metavar="OLD", type=PATH)
@click.option(
    "--data",
    type=PATH,
    metavar="NEW",
    required=True,
    help="Images of the new classes: a folder with one sub-folder per class, or an .npz with 'images' and 'labels', "
    "which count the new classes from 0.",
)
@click.option("--out", type=PATH, metavar="FILE", required=True, help="Checkpoint to write.")
@settings_options(IncrementSettings)
@click.option("--resume", is_flag=True, help="Go on with a killed run of the same options.  [default: off]")
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.  [default: off]")
@options.log_option
@options.devices_option
@config_option
@options.model_options
def increment(
    output: Output, model: Path, data: Path, out: Path, resume: bool, overwrite: bool, trackers: tuple[str, ...],
    **values
) -> None:  # fmt: skip
    """Teach OLD, a checkpoint, new classes from images of these alone, and keep the old classes.

    Images of the old classes are synthesized from the network itself and replayed. The new checkpoint has the old
    classes first, then the new ones.

    \b
    Examples:
      dfq increment old.pt --data new_classes/ --out new.pt
      dfq increment digits.pt --data five_to_nine.npz --no-flip --out all.pt
      dfq increment digits.pt --data five_to_nine.npz --no-flip --out all.pt --resume     after it was killed
    """
    model_options = options.take_model_options(values)
    check_out(out, resume=resume, overwrite=overwrite)
    take_settings(IncrementSettings, dict(values))  # Wrong options are told before anything is loaded.
    callbacks = options.callbacks_of(trackers, out.with_name(f"{out.stem}-tensorboard"))
    teacher = model_options.load(model)
    found = learn_classes(
        teacher, data=data, out=out, resume=resume, overwrite=overwrite, progress=output.progress, callbacks=callbacks,
        **values,
    ).report  # fmt: skip
    output.write({"file": str(out), **found})
    console.fact("Classes", f"{found['classes']['old']} old, {found['classes']['new']} new")
    console.fact("Learned from", f"{found['images']['new']} new and {found['images']['synthetic']} synthetic images")
    console.fact("Training images", f"{percent(found['accuracy_on_new_training_images'])} of the new ones are right")
    console.facts("Notes", found["warnings"])
    console.fact("Time", seconds(found["seconds"]))
    console.fact("Files", f"in {out.parent}/")
    kinds = ((out, "the checkpoint"), (out.with_suffix(".json"), "every figure, setting and version"))
    console.facts("", [f"{path.name:<20}  {what}" for path, what in kinds])
