"""The content of `compare.json`: a row for each cell, and mean and standard deviation over the seeds."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from dfq.errors import DfqError
from dfq.jobs.compare.equal_work import unequal_time, work_of
from dfq.jobs.compare.plan import Cell, ComparisonPlan
from dfq.results.output_rows import lowest_snr

FORMAT = 2
VARIETY = ("same_class_distance", "entropy", "class_balance")  # Fields of `dfq.evaluation.diversity.Diversity`.
WORK = ("images", "steps", "block_steps")  # what `work_of` counts
MEASURED = (
    *("accuracy", "predicted_drop", "agreement", "common_agreement", "snr_db", "common_snr_db", "seconds"),
    *WORK,
    *VARIETY,
)
COPIED = ("settings", "versions", "hardware", "warnings")


def waiting_row(cell: Cell) -> dict:
    """Returns the row of a cell that has not run."""
    return {
        "method": cell.method,
        "variant": cell.variant,
        "column": cell.column,
        "seed": cell.settings.seed,
        "folder": f"cells/{cell.name}",
        "state": "waiting",
        **dict.fromkeys(MEASURED),
        "uses_budget": False,
        "choice": None,
        "error": None,
    }


def finished_row(cell: Cell, report: dict) -> dict:
    """Returns the row of a finished cell, with the figures of its `report.json`.

    - `accuracy` and `teacher_accuracy` are the top-1 accuracies of the ONNX file and of the teacher on `--data`, in
      [0, 1]; None without `--data`.
    - `predicted_drop` is the share of the teacher's accuracy that is probably lost, estimated from synthetic images
      alone (`dfq.evaluation.drop_estimate`). It is None where the report has none: the images are unlike the training
      data, or the job is a distillation.
    - `choice` says in one line what `auto` chose and why; None for other methods.
    - `agreement` is the top-1 agreement of student and teacher on the cell's own held-out synthetic images, in [0, 1].
    - `common_agreement` is the agreement on images that all cells share; None until all have run.
    - `snr_db` is the signal-to-noise ratio of the student against the teacher on the cell's own held-out synthetic
      images, in dB, of the output that is furthest off, and `common_snr_db` that on images that all cells share. They
      stand in the place of the agreements for a network that is no classifier.
    - `seconds` is the time of the run from its start to its report, those of all its lives where it was killed.
    - `images`, `steps`, `block_steps` and `uses_budget` are those of `dfq.jobs.compare.equal_work.work_of`.
    - `same_class_distance`, `entropy` and `class_balance` say how varied the cell's images are, as in
      `dfq.evaluation.diversity.Diversity`.
    """
    return {
        **waiting_row(cell),
        "state": "finished",
        "accuracy": report["accuracy"]["onnx"],
        "teacher_accuracy": report["accuracy"]["teacher"],
        "predicted_drop": report.get("evidence", {}).get("predicted_drop"),
        "choice": report.get("choice"),
        "agreement": report["agreement"]["student_teacher"]["synthetic"],
        "snr_db": lowest_snr(report.get("outputs", ()), "student_teacher", "synthetic"),
        "seconds": report["seconds"]["total"],
        **work_of(report),
        **{name: report["diversity"][name] for name in VARIETY},
        **{name: report[name] for name in COPIED},
    }


def failed_row(cell: Cell, error: DfqError) -> dict:
    """Returns the row of a cell that ended in an error."""
    return {**waiting_row(cell), "state": "failed", "error": error.to_dict()}


def make_content(
    header: dict, plan: ComparisonPlan, rows: Mapping[str, dict], common_images: int | None = None
) -> dict:
    """Returns everything that the table, the chart and the Markdown file are made from.

    Args:
        header: Facts that are taken over as they are: the architecture and the conditions.
        plan: What is compared.
        rows: The row of each cell, by the name of the cell.
        common_images: Number of images that `common_agreement` was measured on; None: it was not measured.
    """
    cells = [rows[cell.name] for cell in plan.cells]
    teacher = [row["teacher_accuracy"] for row in cells if row["state"] == "finished"]
    return {
        "format": FORMAT,
        **header,
        "methods": list(plan.methods),
        "variants": list(plan.variants),
        "columns": plan.columns(),
        "axis": plan.axis(),
        "seeds": list(range(plan.seeds)),
        "measure": _measure(header["conditions"]["data"] is not None, common_images, cells),
        "common_images": common_images,
        "unequal": unequal_time(cells, [cell.title for cell in plan.cells]),
        "teacher": {"accuracy": teacher[0] if teacher else None},
        "summary": _summary(plan, cells),
        "cells": cells,
    }


def _measure(is_labelled: bool, common_images: int | None, cells: Sequence[dict]) -> str:
    """Returns the name of the figure that table and chart show."""
    if is_labelled:
        return "accuracy"
    of_outputs = any(row["snr_db"] is not None and row["agreement"] is None for row in cells)
    figure = "snr_db" if of_outputs else "agreement"
    return figure if common_images is None else f"common_{figure}"


def _summary(plan: ComparisonPlan, cells: Sequence[dict]) -> list[dict]:
    """Returns a row for each method and column."""
    rows = []
    for method in plan.methods:
        for column in plan.columns():
            group = [row for row in cells if (row["method"], row["column"]) == (method, column)]
            states = {state: sum(row["state"] == state for row in group) for state in ("finished", "failed", "waiting")}
            figures = {name: mean_and_deviation([row[name] for row in group]) for name in MEASURED}
            rows.append({"method": method, "column": column, **states, **figures})
    return rows


def mean_and_deviation(values: Sequence[float | None]) -> dict[str, float | None]:
    """Returns the mean and the standard deviation (with n − 1) of the values that were measured.

    The mean is None where there is no value, and the deviation where there are fewer than two.
    """
    measured = [value for value in values if value is not None]
    return {
        "mean": mean(measured) if measured else None,
        "std": stdev(measured) if len(measured) > 1 else None,
    }
