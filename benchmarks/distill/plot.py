"""The picture of accuracy over time: for each method the mean of its seeds, and a band from the worst to the best."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dfq.jobs.compare.plots import COLOURS
from dfq.results.plots import DPI, INK, dress, save

FROM = 40.0  # accuracy in %; below it all methods climb alike


def accuracy_over_time(rows: list[dict], path: Path) -> None:
    """Writes the curves of one profile's rows as one PNG; the legend has the reported accuracy, the best first."""
    figure = Figure(figsize=(8, 4.6), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots()
    methods = list(dict.fromkeys(row["method"] for row in rows))
    curves = {method: _curves(rows, method) for method in methods}
    reported = {m: 100 * np.mean([r["accuracy"]["student"] for r in rows if r["method"] == m]) for m in methods}
    for method in sorted(methods, key=lambda method: -reported[method]):
        steps, seeds = curves[method]
        colour = COLOURS[methods.index(method) % len(COLOURS)]
        axes.plot(steps, seeds.mean(0), color=colour, linewidth=1.5, label=f"{method}  {reported[method]:.1f}")
        axes.fill_between(steps, seeds.min(0), seeds.max(0), color=colour, alpha=0.12, linewidth=0)
    axes.axhline(100 * rows[0]["accuracy"]["teacher"], color=INK, linewidth=1, linestyle="--", label="teacher")
    axes.set_ylim(FROM, 100)
    dress(axes, f"{rows[0]['settings']['images']} images, {steps[-1]:.0f} steps", "step of the student", "accuracy, %")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right")
    save(figure, path)


def _curves(rows: list[dict], method: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns steps, and accuracy in % (seeds, steps), of a method up to the last step that all of its seeds have."""
    of_seeds = [np.array(row["curve"]) for row in rows if row["method"] == method]
    common = min(map(len, of_seeds))
    return of_seeds[0][:common, 0], 100 * np.stack([curve[:common, 1] for curve in of_seeds])
