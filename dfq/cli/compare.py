"""`dfq compare` sets methods side by side on one network."""

from pathlib import Path

import click
from click.core import ParameterSource
from rich.table import Table

from dfq.calibration import METHODS
from dfq.calibration.methods import AUTO
from dfq.cli import console, options
from dfq.cli.command import command
from dfq.cli.config_file import config_option
from dfq.cli.option_types import PATH, Listed, Named
from dfq.cli.output import Output
from dfq.cli.settings_options import SCHEME_OPTIONS, settings_options, take_settings
from dfq.errors import DfqError
from dfq.jobs.compare import JOBS, ComparisonFolder, ComparisonPlan, compare_methods, texts
from dfq.jobs.context import RunOptions
from dfq.jobs.distill import DistillSettings
from dfq.jobs.quantize.settings import Settings

OF_ONE_RUN = {
    "budget": "Time limit for each run; a plain number counts seconds. Methods that train use it up, unless --steps "
    "ends them. None: no limit.",
    "images": "Number of synthetic images of each run. None: as `dfq quantize`, or `dfq distill`, has it, and the same "
    "for all methods that train.",
    "steps": "Number of training steps of each run. None: as `dfq quantize`, or `dfq distill`, has it; with --budget, "
    "as many as the time allows.",
}
GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)  # The latter is --config.
MAX_COLUMNS = 3  # So many columns fit side by side into 80 characters.
OWN_OPTIONS = {  # Options that the other job does not have.
    "quantize": ("bits", "target", "weight_bits", "activation_bits", "scheme", "layer_bits", "ranges"),
    "distill": ("student",),
}


@command
@click.argument("model", type=PATH)
@click.option("--methods", type=Listed(Named("method", (AUTO, *METHODS), "see `dfq methods`")), required=True,
              metavar="NAME,NAME", help="Methods to compare: see `dfq methods`.")  # fmt: skip
@click.option("--job", type=click.Choice(list(JOBS)), default="quantize", show_default=True,
              help="What the methods do: quantize MODEL to --bits, or distill it into --student.")  # fmt: skip
@click.option("--bits", type=Listed(click.INT), default="4", show_default=True, metavar="N,N",
              help="Bits of weights and activations, each 2 to 8.")  # fmt: skip
@click.option("--student", type=Listed(click.STRING), default=(), metavar="NAME,NAME",
              help="With --job distill: architectures, as for `dfq distill`.  [default: none]")  # fmt: skip
@click.option("--seeds", type=int, default=3, show_default=True, metavar="N",
              help="Runs per method and width (or student).")  # fmt: skip
@settings_options(Settings, *SCHEME_OPTIONS, "ranges", "images", "steps", "flip", "budget", **OF_ONE_RUN)
@click.option("--out", type=PATH, metavar="DIR",
              help="Folder to write, or to go on with.  [default: MODEL's name and -compare]")  # fmt: skip
@click.option("--resume", is_flag=True,
              help="Go on with the runs that were killed, which start afresh otherwise.  [default: off]")  # fmt: skip
@options.data_option
@options.log_option
@config_option
@options.model_options
def compare(
    output: Output,
    model: Path,
    methods: tuple[str, ...],
    job: str,
    seeds: int,
    out: Path | None,
    resume: bool,
    data: Path | None,
    trackers: tuple[str, ...],
    **values,
) -> None:
    """Quantize or distill MODEL, a checkpoint, by several methods, with everything else the same, and set the results
    side by side.

    There is one run for each method, width (or student) and seed; --budget is the time limit of each. A killed
    comparison goes on with the same command: finished runs are never repeated, and a run that was killed starts afresh,
    or goes on where it stopped with --resume. Methods, widths and seeds can be added later in the same way. A run that
    fails is reported at the end (exit code 1), and the others go on.

    Without --budget, all methods that train get the same numbers of images and steps; with it, they get the same time.
    The table says the images, steps and seconds of each.

    Without --data, the table shows the agreement with the teacher on synthetic images that all methods share. It says
    little about real images.

    \b
    Examples:
      dfq compare model.pt --methods zeroq,zeroq-kd --bits 8,4,3 --data test.npz
      dfq compare model.pt --methods zeroq,zeroq-kd --bits 4 --seeds 5 --budget 5m --out compared/
      dfq compare model.pt --methods zeroq,zeroq-kd --bits 4 --seeds 5 --out compared/ --resume
      dfq compare resnet56.pt --job distill --student dfq/resnet20 --methods rgal,gdfq --steps 5000
    """
    model_options = options.take_model_options(values)
    context = click.get_current_context()
    plan = _plan(context, job, methods, seeds, values)
    folder = ComparisonFolder(out or Path(f"{model.stem}-compare"))
    folder.check()
    progress = output.progress
    callbacks = options.callbacks_of(trackers, folder.path / "tensorboard")
    teacher, labelled = model_options.load_for_run(model, data, progress)
    of_all = RunOptions(labelled=labelled, resume=resume, progress=progress, callbacks=callbacks)
    comparison = compare_methods(teacher, folder.path, plan, of_all)
    _show(comparison.content, folder, model.name)
    output.write({"folder": str(folder.path), **comparison.content})
    if comparison.failed:
        context.exit(1)


def _plan(context: click.Context, job: str, methods: tuple[str, ...], seeds: int, values: dict) -> ComparisonPlan:
    """Returns the plan; raises `DfqError` for options of the other job, and for what a plan refuses."""
    others = [name for other, names in OWN_OPTIONS.items() if other != job for name in names]
    given = [n for n in others if context.get_parameter_source(n) in GIVEN]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise DfqError(
            f"{option} with --job {job}", "options of that job", f"leave out {option}, or choose another --job"
        )
    variants = {"quantize": values.pop("bits"), "distill": values.pop("student")}[job]
    settings: Settings | DistillSettings = take_settings(JOBS[job].settings_class, values)
    return ComparisonPlan(methods=methods, variants=variants, seeds=seeds, job=JOBS[job], settings=settings)


def _show(content: dict, folder: ComparisonFolder, name: str) -> None:
    words = texts.labels_of(content)
    conditions = words.conditions(content["conditions"]["settings"])
    console.stdout.print()
    if content["unequal"] is not None:
        console.headline(content["unequal"], "bold red")
    console.stdout.print(f"{name}, {conditions}: {texts.MEASURES[content['measure']]}", style="bold", markup=False)
    for start in range(0, len(content["columns"]), MAX_COLUMNS):
        console.stdout.print(_table(content, content["columns"][start : start + MAX_COLUMNS]))
    reading = texts.explained(content)
    text = " ".join(part for part in (texts.capitalized(reading), texts.caveat(content), texts.hint(content)) if part)
    console.stdout.print(text, style="dim", markup=False)
    console.stdout.print()
    console.stdout.print(texts.work_title(content), style="bold", markup=False)
    head, *rows = texts.work_table(content)
    console.stdout.print(console.table(None, head, rows, left=2))
    console.stdout.print(texts.variety_title(content), style="bold", markup=False)
    console.stdout.print(console.table(None, ("method", *texts.VARIETY_COLUMNS.values()), texts.variety_rows(content)))
    console.facts("Chosen", texts.choices(content))
    console.facts("Failed", [f"{texts.title_of(row)}: {row['error']['found']}" for row in texts.failed_cells(content)])
    files = (
        (folder.content, "every figure, setting and version"),
        (folder.page, "to look at in a browser, also while it runs"),
        (folder.table, "the tables"),
        (folder.latex, "the tables, for a paper"),
        (folder.csv, "a line for each run"),
        (folder.chart, f"by {words.column} and by time"),
        (folder.svg, "the same, for a page"),
        (folder.pdf, "the same, for a paper"),
        (folder.diversity, "how varied each method's images are"),
    )
    console.fact("Files", f"in {folder.path}/")
    console.facts("", [f"{path.name:<15}{what}" for path, what in files if path.exists()])
    console.fact("", f"{'cells/':<15}a run folder for each, as of `{words.command}`")


def _table(content: dict, columns: list[str]) -> Table:
    rows = []
    if content["measure"] == "accuracy":
        rows.append(("teacher", *(texts.teacher_value(content) for _ in columns)))
    for method in content["methods"]:
        found = [texts.summary_row(content, method, column) for column in columns]
        rows.append((method, *(_cell(row, content) for row in found)))
    return console.table(None, ("method", *columns), rows)


def _cell(row: dict, content: dict) -> str:
    """Returns up to four lines: the figure, its difference and time, the predicted difference, and what is missing."""
    below = " ".join(part for part in (texts.difference(row, content), texts.seconds(row)) if part)
    lines = (texts.value(row, content["measure"]), below, texts.prediction(row, content), texts.missing(row))
    return "\n".join(line for line in lines if line)
