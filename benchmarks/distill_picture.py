"""Accuracy over time of `distill.py`: one line per method and seed."""

from pathlib import Path

from matplotlib.figure import Figure

from dfq.comparison.pictures import COLOURS
from dfq.pictures import DPI, INK, dress, save


def accuracy_over_time(rows: list[dict], path: Path) -> None:
    """Writes the curves of one profile's rows as one PNG; the seeds of a method have one colour."""
    figure = Figure(figsize=(8, 4.2), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots()
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for row in rows:
        steps, values = zip(*row["curve"], strict=True)
        colour = COLOURS[methods.index(row["method"]) % len(COLOURS)]
        name = row["method"] if row["seed"] == 0 else None
        axes.plot(steps, [100 * value for value in values], color=colour, linewidth=1.3, label=name)
    axes.axhline(100 * rows[0]["accuracy"]["teacher"], color=INK, linewidth=1, linestyle="--", label="teacher")
    dress(axes, f"{rows[0]['settings']['images']} images, {steps[-1]} steps", "step of the student", "accuracy, %")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    save(figure, path)
