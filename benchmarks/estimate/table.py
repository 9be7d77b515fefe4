"""The table of the errors of the predicted drop."""

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.estimate.fit import predictions

SMALL_DROP = 0.1  # a fraction of all images


def errors(rows: list[dict]) -> Table:
    """Returns the mean absolute error in points of accuracy: of each network, predicted from the others, and of all."""
    true, predicted = np.array([row["drop"] for row in rows]), predictions(rows)
    nets = np.array([row["net"] for row in rows])
    view = Table(title="predicted drop, by a fit over the other networks", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("network", "students", "error", "predicted below 10 points", "error"):
        view.add_column(column, justify="left" if column == "network" else "right")
    for net in (*dict.fromkeys(nets), "all"):
        chosen = (nets == net) | (net == "all")
        small = chosen & (predicted < SMALL_DROP)
        figures = [
            f"{100 * np.abs(true - predicted)[which].mean():.2f}" if which.any() else "" for which in (chosen, small)
        ]
        view.add_row(net, str(chosen.sum()), figures[0], str(small.sum()), figures[1])
    return view
