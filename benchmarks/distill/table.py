"""The table of distillation: one line per method, mean ± standard deviation over the seeds."""

from collections.abc import Sequence
from statistics import mean, pstdev

from rich import box
from rich.table import Table

from benchmarks.common.spread import spread
from benchmarks.distill.arms_table import arms_table

COLUMNS = ("method", "seeds", "accuracy", "/ T", "agreement", "σ late", "below best", "cpu s")


def steadiness(curve: Sequence[tuple[int, float]]) -> dict[str, float]:
    """Measures how steady the accuracy is over a run, in fractions; a student that forgets nothing has 0 and 0.

    `late_deviation` is the standard deviation over the second half of the run, where a student that starts from nothing
    has learned most of what it will. `below_best` is the mean over the whole run of the best accuracy so far minus the
    accuracy.
    """
    late = [accuracy for step, accuracy in curve if step >= curve[-1][0] / 2]
    best, lost = 0.0, []
    for _, accuracy in curve:
        best = max(best, accuracy)
        lost.append(best - accuracy)
    return {"late_deviation": pstdev(late), "below_best": mean(lost)}


def table(profile: str, rows: list[dict]) -> Table:
    """Returns the table of the rows of one profile, in percent.

    Accuracy is that of the student's ONNX file on labelled images, "/ T" its part of the teacher's, and agreement that
    with the teacher on these images. `steadiness` is in points. Processor seconds are those of runs that were not cut
    in pieces. Profiles of arms have a table of their own (`arms_table`).
    """
    if profile.startswith("relations"):
        return arms_table(profile, rows)
    teacher = 100 * rows[0]["accuracy"]["teacher"]
    view = Table(
        title=f"profile {profile}, teacher {teacher:.1f}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for column in COLUMNS:
        view.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["method"], []).append(row)
    for method, group in sorted(groups.items(), key=lambda item: -mean(r["accuracy"]["onnx"] for r in item[1])):
        accuracy = [100 * row["accuracy"]["onnx"] for row in group]
        seconds = [row["cpu_seconds"] for row in group if not row.get("resumed")]
        view.add_row(
            method, str(len(group)), spread(accuracy, 1), f"{100 * mean(accuracy) / teacher:.1f}",
            spread([100 * row["agreement"]["student_teacher"]["labelled"] for row in group], 1),
            spread([100 * row["steadiness"]["late_deviation"] for row in group], 2),
            spread([100 * row["steadiness"]["below_best"] for row in group], 2),
            f"{mean(seconds):.0f}" if seconds else "",
        )  # fmt: skip
    return view
