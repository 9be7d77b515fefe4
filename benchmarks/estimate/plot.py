"""The picture of the predicted against the true drop."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from benchmarks.estimate.fit import predictions
from dfq.results.plots import FAINT, dress, save


def picture(rows: list[dict], path: Path) -> None:
    """Draws a point for each student, in the colour of its network."""
    figure = Figure(figsize=(5.2, 4.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    true, predicted = 100 * np.array([row["drop"] for row in rows]), 100 * predictions(rows)[:, 0]
    nets = list(dict.fromkeys(row["net"] for row in rows))
    for net, colour in zip(nets, colormaps["tab10"].colors, strict=False):
        chosen = [row["net"] == net for row in rows]
        axes.plot(predicted[chosen], true[chosen], "o", markersize=5, color=colour, alpha=0.8, label=net)
    axes.axline((0, 0), slope=1, color=FAINT, linewidth=1, linestyle=":")
    axes.legend(frameon=False)
    dress(axes, "drop of accuracy, points", "predicted without any real image", "true")
    save(figure, path)
