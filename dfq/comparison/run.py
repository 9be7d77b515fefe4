"""`dfq compare`: the same teacher, scheme and budget for every method, width and seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dfq.api import load_teacher
from dfq.comparison.common_images import common_agreements, common_held_out
from dfq.comparison.folder import ComparisonFolder, make_conditions
from dfq.comparison.plan import Cell, Plan
from dfq.comparison.summary import failed_row, finished_row, make_content, waiting_row
from dfq.comparison.table import failed_cells
from dfq.convert import quantize
from dfq.errors import DfqError
from dfq.labelled import Labelled, read_labelled
from dfq.pipeline import quantize_model
from dfq.progress import Progress, Silent
from dfq.settings import Settings
from dfq.teacher import Teacher


@dataclass(frozen=True)
class Comparison:
    """What a comparison gives back: its folder, and the content of `compare.json`."""

    folder: Path
    content: dict

    @property
    def failed(self) -> list[dict]:
        """The rows of the cells that ended in an error."""
        return failed_cells(self.content)


def compare(
    model: str | Path | nn.Module,
    *,
    out: str | Path,
    methods: Sequence[str],
    bits: Sequence[int] = (4,),
    seeds: int = 3,
    arch: str | None = None,
    input_size: Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str = "cpu",
    allow_pickle: bool = False,
    data: str | Path | None = None,
    progress: Progress | None = None,
    **settings,
) -> Comparison:
    """Compares methods on one network: what the command `dfq compare` does.

    Args:
        model: a checkpoint file, or a network in memory (then `input_size`, `mean`, `std` are needed).
        out: the folder to write, or to go on with.
        methods, bits, seeds: as in `Plan`.
        data: labelled images (folder of classes or `.npz`), used for nothing but the report.
        settings: fields of `dfq.settings.Settings` for all cells: `scheme`, `steps`, `images`, `budget`, …

    Raises:
        DfqError: anything that does not fit, before the first cell runs. A cell that fails later is in `.failed`.
    """
    plan = Plan(methods=tuple(methods), bits=tuple(bits), seeds=seeds, settings=Settings(**settings))
    ComparisonFolder(out).check()
    teacher, name, assumed = load_teacher(
        model, arch=arch, input_size=input_size, mean=mean, std=std, device=device, allow_pickle=allow_pickle
    )
    labelled = read_labelled(data, teacher.input_spec, teacher.num_classes) if data is not None else None
    return compare_methods(teacher, out, plan, arch=name, assumed=assumed, labelled=labelled, progress=progress)


def compare_methods(
    teacher: Teacher,
    out: str | Path,
    plan: Plan,
    *,
    arch: str | None = None,
    assumed: tuple[str, ...] = (),
    labelled: Labelled | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Runs every cell of `plan` that the folder `out` does not hold yet, and writes the folder's files.

    A finished cell is never run again. One that was killed starts afresh, so that its seconds and its budget are those
    of a whole run. One that failed is tried again. Methods, widths and seeds may be added to a folder later; whatever
    else changes needs another folder.

    Args:
        arch, assumed, labelled: as in `dfq.pipeline.quantize_model`.

    Raises:
        DfqError: the folder holds something else, or a network that the scheme does not fit.
    """
    progress, folder = progress or Silent(), ComparisonFolder(out)
    conditions = make_conditions(teacher, plan, labelled)
    header = {"arch": arch, "conditions": conditions}
    folder.check()
    folder.check_same(conditions)
    quantize(teacher, plan.cells[0].settings.make_scheme())  # raises what would fail every cell
    rows = {cell.name: _row_so_far(folder, cell) for cell in plan.cells}
    folder.write(make_content(header, plan, rows))

    with progress.task("Comparing", len(plan.cells)) as task:
        for cell in plan.cells:
            if rows[cell.name]["state"] != "finished":
                task.name(cell.title)
                rows[cell.name] = _run(teacher, folder, cell, arch, assumed, labelled, progress)
                folder.write(make_content(header, plan, rows))
            task.advance()

    common_images = _measure_common(teacher, folder, plan, rows, progress)
    content = make_content(header, plan, rows, common_images)
    folder.write(content)
    return Comparison(folder.path, content)


def _row_so_far(folder: ComparisonFolder, cell: Cell) -> dict:
    report = folder.report(cell)
    return waiting_row(cell) if report is None else finished_row(cell, report)


def _run(
    teacher: Teacher,
    folder: ComparisonFolder,
    cell: Cell,
    arch: str | None,
    assumed: tuple[str, ...],
    labelled: Labelled | None,
    progress: Progress,
) -> dict:
    """The row of a cell that was run just now."""
    try:
        result = quantize_model(
            teacher, folder.run(cell).path, cell.settings, arch=arch, assumed=assumed, labelled=labelled,
            overwrite=True, progress=progress,
        )  # fmt: skip
    except DfqError as error:
        progress.note(f"{cell.title} failed: {error.found}")
        return failed_row(cell, error)
    return finished_row(cell, result.report)


def _measure_common(
    teacher: Teacher, folder: ComparisonFolder, plan: Plan, rows: dict[str, dict], progress: Progress
) -> int | None:
    """Fills in `common_agreement` of the finished rows; returns the number of images, None where there are none."""
    finished = [cell for cell in plan.cells if rows[cell.name]["state"] == "finished"]
    runs: dict[str, list] = {}
    for cell in finished:
        runs.setdefault(cell.settings.chosen_method.name, []).append(folder.run(cell))
    pixels = common_held_out(runs)
    if pixels is None:
        return None
    with progress.task("Common images", len(finished)) as task:
        agreements = common_agreements(teacher, [folder.run(cell) for cell in finished], pixels, task)
    for cell, agreement in zip(finished, agreements, strict=True):
        rows[cell.name]["common_agreement"] = agreement
    return len(pixels)
