"""`dfq increment`: new classes for a trained network."""

from dataclasses import fields
from pathlib import Path

import click

from dfq.cli import console, options
from dfq.cli.option_types import Named
from dfq.jobs.increment import STRATEGIES, IncrementSettings
from dfq.jobs.increment import increment as learn_classes
from dfq.results.number_format import percent, seconds
from dfq.system.terminal_progress import TerminalProgress

DEFAULTS = IncrementSettings()
ROWS = "; ".join(f"{row.name}: {row.summary}" for row in STRATEGIES.values())


@click.command()
@click.argument("model", metavar="OLD", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="NEW",
    required=True,
    help="Images of the new classes: a folder with one sub-folder per class, or an .npz with 'images' and 'labels', "
    "which count the new classes from 0.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", required=True, help="Checkpoint to write.")
@click.option(
    "--strategy",
    type=Named("strategy", STRATEGIES, "see --help"),
    default=DEFAULTS.strategy,
    show_default=True,
    metavar="NAME",
    help=f"How the old classes are kept: {ROWS}.",
)
@options.flip_option
@click.option(
    "--images", type=int, default=DEFAULTS.images, show_default=True, metavar="N",
    help="Synthetic images of the old classes.",
)  # fmt: skip
@click.option("--steps", type=int, default=DEFAULTS.steps, show_default=True, metavar="N", help="Training steps.")
@options.budget_option
@options.seed_option
@click.option("--resume", is_flag=True, help="Go on with a killed run of the same options.  [default: off]")
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.  [default: off]")
@options.model_options
def increment(model: Path, data: Path, out: Path, resume: bool, overwrite: bool, **values) -> None:
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
    options.set_threads(model_options.threads)
    given = {field.name: values.pop(field.name) for field in fields(IncrementSettings) if field.name in values}
    found = learn_classes(
        model, data=data, out=out, arch=model_options.arch, input_size=model_options.input_size,
        mean=model_options.mean, std=model_options.std, device=options.check_device(model_options.device),
        weights=model_options.weights, allow_pickle=model_options.allow_pickle, resume=resume, overwrite=overwrite,
        progress=TerminalProgress(), **given,
    ).report  # fmt: skip
    console.fact("Classes", f"{found['classes']['old']} old, {found['classes']['new']} new")
    console.fact("Learned from", f"{found['images']['new']} new and {found['images']['synthetic']} synthetic images")
    console.fact("Training images", f"{percent(found['accuracy_on_new_training_images'])} of the new ones are right")
    console.facts("Notes", found["warnings"])
    console.fact("Time", seconds(found["seconds"]))
    console.fact("Files", f"in {out.parent}/")
    kinds = ((out, "the checkpoint"), (out.with_suffix(".json"), "every figure, setting and version"))
    console.facts("", [f"{path.name:<20}  {what}" for path, what in kinds])
