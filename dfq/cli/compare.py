"""`dfq compare`: methods side by side on one network."""

from pathlib import Path

import click
from rich.table import Table

from dfq.calibration import METHODS
from dfq.cli import console, options
from dfq.cli.parameters import Listed, Named
from dfq.comparison import ComparisonFolder, Plan, compare_methods
from dfq.comparison.table import (
    MEASURES,
    VARIETY_COLUMNS,
    caveat,
    difference,
    explained,
    failed_cells,
    missing,
    seconds,
    summary_row,
    teacher_value,
    title_of,
    value,
    variety_rows,
    variety_title,
)
from dfq.labelled import read_labelled

MOST_COLUMNS = 3  # widths side by side in 80 characters


@click.command(short_help="Methods side by side: same teacher, scheme, budget.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--methods", type=Listed(Named("method", METHODS, "see `dfq methods`")), required=True,
              metavar="NAME,NAME", help="Methods to compare: see `dfq methods`.")  # fmt: skip
@click.option("--bits", type=Listed(click.INT), default="4", show_default=True, metavar="N,N",
              help="Bits of weights and activations, each 2 to 8.")  # fmt: skip
@click.option("--seeds", type=int, default=3, show_default=True, metavar="N", help="Runs per method and width.")
@options.scheme_options
@options.image_options
@options.training_options
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
              help="Folder to write, or to go on with.  [default: MODEL's name and -compare]")  # fmt: skip
@options.data_option
@options.model_options
@click.pass_context
def compare(
    context: click.Context,
    model: Path,
    methods: tuple[str, ...],
    bits: tuple[int, ...],
    seeds: int,
    out: Path | None,
    data: Path | None,
    **values,
) -> None:
    """Quantize MODEL, a checkpoint, by several methods, with everything else the same, and set the results side by
    side.

    One run per method, width and seed; --budget is the time limit of each. A killed comparison goes on with the same
    command: finished runs are never repeated. Methods, widths and seeds can be added later in the same way. A run that
    fails is reported at the end (exit code 1), and the others go on.

    Without --data, the table shows agreement with the teacher on synthetic images that are the same for all methods;
    that says little about real images.

    \b
    Examples:
      dfq compare model.pt --methods zeroq,zeroq-kd --bits 8,4,3 --data test.npz
      dfq compare model.pt --methods zeroq,zeroq-kd --bits 4 --seeds 5 --budget 5m --out compared/
    """
    model_options, settings = options.take_model_options(values), options.take_settings(values)
    plan = Plan(methods=methods, bits=bits, seeds=seeds, settings=settings)
    folder = ComparisonFolder(out or Path(f"{model.stem}-compare"))
    folder.check()
    progress = console.TerminalProgress()
    teacher, arch, assumed = model_options.load(model)
    labelled = read_labelled(data, teacher.input_spec, teacher.num_classes) if data else None
    for sentence in assumed:
        progress.note(f"assumed {sentence}")
    comparison = compare_methods(
        teacher, folder.path, plan, arch=arch, assumed=assumed, labelled=labelled, progress=progress
    )
    _show(comparison.content, folder, model.name)
    if comparison.failed:
        context.exit(1)


def _show(content: dict, folder: ComparisonFolder, name: str) -> None:
    scheme = content["conditions"]["settings"]["scheme"]
    console.stdout.print()
    console.stdout.print(f"{name}, {scheme}: {MEASURES[content['measure']]}", style="bold", markup=False)
    for start in range(0, len(content["widths"]), MOST_COLUMNS):
        console.stdout.print(_table(content, content["widths"][start : start + MOST_COLUMNS]))
    reading = explained(content)
    text = f"{reading[0].upper()}{reading[1:]} {caveat(content)}".strip()
    console.stdout.print(text, style="dim", markup=False)
    console.stdout.print()
    console.stdout.print(variety_title(content), style="bold", markup=False)
    console.stdout.print(console.table(None, ("method", *VARIETY_COLUMNS.values()), variety_rows(content)))
    console.facts("Failed", [f"{title_of(row)}: {row['error']['found']}" for row in failed_cells(content)])
    files = (
        (folder.content, "every figure, setting and version"),
        (folder.table, "the tables, for a paper"),
        (folder.chart, "by width and by time"),
        (folder.diversity, "how varied each method's images are"),
    )
    console.fact("Files", f"in {folder.path}/")
    console.facts("", [f"{path.name:<15}{what}" for path, what in files if path.exists()])
    console.fact("", f"{'cells/':<15}a run folder for each, as of `dfq quantize`")


def _table(content: dict, widths: list[str]) -> Table:
    rows = []
    if content["measure"] == "accuracy":
        rows.append(("teacher", *(teacher_value(content) for _ in widths)))
    for method in content["methods"]:
        found = [summary_row(content, method, width) for width in widths]
        rows.append((method, *(_cell(row, content) for row in found)))
    return console.table(None, ("method", *widths), rows)


def _cell(row: dict, content: dict) -> str:
    """Two or three lines: the figure; difference and time; what is missing."""
    below = " ".join(part for part in (difference(row, content), seconds(row)) if part)
    return "\n".join(part for part in (value(row, content["measure"]), below, missing(row)) if part)
