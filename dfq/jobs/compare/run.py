"""The job of `dfq compare`: it runs every method, variant and seed with the same teacher, settings and budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from dfq.images.labelled_data import LabelledData
from dfq.jobs.compare import texts
from dfq.jobs.compare.cell_run import row_so_far, run_cell
from dfq.jobs.compare.common_images import common_figures, common_held_out
from dfq.jobs.compare.compared_jobs import find_job
from dfq.jobs.compare.folder import ComparisonFolder, make_conditions
from dfq.jobs.compare.plan import ComparisonPlan
from dfq.jobs.compare.summary import make_content
from dfq.jobs.context import RunOptions
from dfq.jobs.keywords import COMPARED, CompareKeywords
from dfq.jobs.labels import take_labels
from dfq.system.atomic_files import remove_leftovers
from dfq.system.callbacks import Callback, following
from dfq.system.progress import Progress
from dfq.system.run_lock import writing_alone
from dfq.system.terminal_progress import chosen_progress
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher, split_options


@dataclass(frozen=True)
class Comparison:
    """What `dfq.compare` returns.

    Attributes:
        folder: The folder of the comparison.
        content: The content of its `compare.json`.
    """

    folder: Path
    content: dict

    @property
    def failed(self) -> list[dict]:
        """The rows of the cells that ended in an error."""
        return texts.failed_cells(self.content)


def compare(
    model: str | Path | nn.Module | Teacher,
    *,
    out: str | Path,
    data: LabelledData = None,
    resume: bool = False,
    progress: Progress | bool | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Unpack[CompareKeywords],
) -> Comparison:
    """Compares methods on one network, as the command `dfq compare` does.

    Args:
        model: The network, as `dfq.quantize` takes it.
        out: The folder to write, or to go on with.
        data: Labelled images, which are used for nothing but the report, as `dfq.quantize` takes them.
        resume: Whether a killed run goes on from what its folder holds, instead of starting afresh.
        progress: Where progress is shown, as `dfq.quantize` takes it.
        callbacks: Who is told of start, losses, notes and end of the comparison, such as `dfq.TensorBoard("logs/")`;
            each of its runs is a part of it (`dfq.system.callbacks.Callback.part`).
        options: The keys of `CompareKeywords`: `methods` and the others that say what is compared, those of
            `dfq.teacher.load.LoadOptions` (`arch`, `input_size`, `mean`, `std`, …), and for all cells the fields of
            `dfq.jobs.quantize.settings.Settings` or `DistillSettings`: `steps`, `images`, `budget`, …

    Raises:
        DfqError: An argument cannot be used; this is raised before the first cell runs. A cell that fails later is in
            `Comparison.failed`.

    Examples:
        ```python
        both = dfq.compare("model.pt", methods=("zeroq", "instant"), bits=(8,), seeds=1, images=16, out="compared/")
        print(both.folder, both.failed)
        ```
    """
    common = {name: value for name, value in options.items() if name not in COMPARED}
    job = find_job(options.get("job", "quantize"))
    variants: tuple = {
        "quantize": tuple(options.get("bits", (4,))),
        "distill": tuple(options.get("students", ())),
    }[job.name]
    settings_class: type[Any] = job.settings_class
    loading, settings = split_options(common, settings_class)
    methods, seeds = tuple(options.get("methods", ())), options.get("seeds", ComparisonPlan.seeds)
    plan = ComparisonPlan(methods=methods, variants=variants, seeds=seeds, job=job, settings=settings)
    ComparisonFolder(out).check()
    teacher = load_teacher(model, **loading)
    options_of_all = RunOptions(
        labelled=take_labels(data, teacher), resume=resume, progress=chosen_progress(progress), callbacks=callbacks
    )
    return compare_methods(teacher, out, plan, options_of_all)


def compare_methods(
    teacher: Teacher, out: str | Path, plan: ComparisonPlan, options: RunOptions | None = None
) -> Comparison:
    """Runs every cell of `plan` that the folder `out` does not hold yet, and writes the folder's files.

    A finished cell is never run again. A killed or failed cell starts afresh, or goes on with `resume`. Methods,
    variants and seeds may be added to a folder later. Any other change needs another folder.

    Args:
        teacher: The network that all cells share.
        out: The folder to write, or to go on with.
        plan: What is compared.
        options: How the comparison runs: its `labelled`, `resume`, `progress` and `callbacks`; None: with the defaults
            of `RunOptions`.

    Raises:
        DfqError: The folder holds something else, or the job cannot work with the network.
    """
    folder, options = ComparisonFolder(out), options or RunOptions()
    folder.check()
    told = {"arch": teacher.arch, **plan.to_dict()}
    with writing_alone(folder.path), following(options.progress, options.callbacks, told) as followed:
        remove_leftovers(folder.files)
        comparison = _compare(teacher, folder, plan, options, followed)
        followed.report = comparison.content
    return comparison


def _compare(
    teacher: Teacher, folder: ComparisonFolder, plan: ComparisonPlan, options: RunOptions, progress: Progress
) -> Comparison:
    conditions = make_conditions(teacher, plan, options.labelled)
    header = {"arch": teacher.arch, "conditions": conditions}
    folder.check_same(conditions)
    for cell in plan.cells[:: len(plan.methods)][: len(plan.variants)]:  # One cell of each variant.
        plan.job.check(teacher, cell.settings, cell.variant)
    rows = {cell.name: row_so_far(folder, cell) for cell in plan.cells}
    folder.write(make_content(header, plan, rows), running="the first one")

    progress.note(f"{folder.page} shows this comparison in a browser, while it runs")
    with progress.task("Comparing", len(plan.cells)) as task:
        for cell in plan.cells:
            if rows[cell.name]["state"] != "finished":
                task.name(cell.title)
                folder.show(make_content(header, plan, rows), running=cell.title)
                rows[cell.name] = run_cell(teacher, folder, cell, options, progress)
                folder.write(make_content(header, plan, rows), running=cell.title)
            task.advance()

    folder.show(make_content(header, plan, rows), running="the measurement on common images")
    common_images = _measure_common(teacher, folder, plan, rows, progress)
    content = make_content(header, plan, rows, common_images)
    if content["unequal"] is not None:
        progress.note(content["unequal"])
    folder.write(content)
    return Comparison(folder.path, content)


def _measure_common(
    teacher: Teacher, folder: ComparisonFolder, plan: ComparisonPlan, rows: dict[str, dict], progress: Progress
) -> int | None:
    """Fills in what all finished rows are compared by; returns the number of images, or None where there are none."""
    finished = [cell for cell in plan.cells if rows[cell.name]["state"] == "finished"]
    runs: dict[str, list] = {}
    for cell in finished:
        runs.setdefault(cell.method, []).append(folder.run(cell))
    pixels = common_held_out(runs)
    if pixels is None:
        return None
    with progress.task("Common images", len(finished)) as task:
        students = (cell.job.student(teacher, folder.run(cell), cell.variant) for cell in finished)
        figures = common_figures(teacher, students, pixels, task)
    name = "common_agreement" if teacher.is_classifier else "common_snr_db"
    for cell, figure in zip(finished, figures, strict=True):
        rows[cell.name][name] = figure
    return len(pixels)
