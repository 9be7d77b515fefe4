"""The picture of mixed precision: what was measured above what was predicted, over bits per weight."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.mixed.table import groups_of
from dfq.results.plots import BLUE, DPI, FAINT, INK, dress, save


def picture(rows: list[dict], path: Path) -> None:
    """Draws the disagreement with the teacher on real images, and below it the front that the sensitivities predict."""
    figure = Figure(figsize=(5.6, 6), dpi=DPI, facecolor="white", layout="constrained")
    measured, predicted = figure.subplots(2, 1, sharex=True)
    _draw_measured(measured, rows)
    _draw_predicted(predicted, rows)
    save(figure, path)


def _draw_measured(axes: Axes, rows: list[dict]) -> None:
    for mixed, colour, marker, label in ((True, BLUE, "o-", "mixed"), (False, FAINT, "s", "one width for all")):
        groups = [group for group in groups_of(rows) if group[0]["mixed"] == mixed]
        if not groups:
            continue
        bits = [group[0]["average_bits"] for group in groups]
        lost = [[100 * (1 - row["train_agreement"]) for row in group] for group in groups]
        deviations = [np.std(values, ddof=1) if len(values) > 1 else 0.0 for values in lost]
        axes.errorbar(bits, [np.mean(values) for values in lost], deviations, fmt=marker, color=colour, capsize=3,
                      markersize=5, linewidth=1.2, label=label)  # fmt: skip
    dress(axes, "measured: other answers than the teacher on 10,000 real images, %", "", "%")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)


def _draw_predicted(axes: Axes, rows: list[dict]) -> None:
    chosen = [row for row in rows if row["front"]]
    if chosen:
        low, high = (f(row["average_bits"] for row in rows) for f in (min, max))
        front = [p for p in chosen[0]["front"] if low - 0.2 <= p["cost"] <= high + 0.2]
        axes.step(
            [p["cost"] for p in front], [p["sensitivity"] for p in front], where="post", color=BLUE, linewidth=1.2
        )
        uniform = [p for p in chosen[0]["uniform"].values() if low - 0.2 <= p["cost"] <= high + 0.2]
        axes.plot([p["cost"] for p in uniform], [p["sensitivity"] for p in uniform], "s", color=FAINT, markersize=5)
    dress(axes, "predicted: sum of sensitivities, nats", "bits per weight, average", "nats")
    axes.set_yscale("log")
