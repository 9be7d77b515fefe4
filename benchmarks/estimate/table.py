"""The table of the errors of the predicted drop."""

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.estimate.fit import predictions

SMALL_DROP = 0.1  # a fraction of all images


def errors(rows: list[dict]) -> Table:
    """Returns the mean absolute error in points of accuracy: of each network, predicted from the others, and of all.

    "Covered" is the share of students whose drop lies in the 90 % interval, which comes from the other networks, too;
    "width" is the mean width of the interval in points, where the predicted drop is small. Networks without BatchNorm
    statistics are predicted from those that have them.
    """
    true = np.array([row["drop"] for row in rows])
    predicted, low, high = predictions(rows).T
    nets = np.array([row["net"] for row in rows])
    view = Table(title="predicted drop, by a fit over the other networks", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("network", "students", "error", "covered", "below 10", "error", "covered", "width"):
        view.add_column(column, justify="left" if column == "network" else "right")
    for net in (*dict.fromkeys(nets), "all"):
        chosen = (nets == net) | (net == "all")
        small = chosen & (predicted < SMALL_DROP)
        error, width = 100 * np.abs(true - predicted), 100 * (high - low)
        inside = (low <= true.clip(0)) & (true <= high)
        view.add_row(
            net, str(chosen.sum()), _mean(error, chosen), _mean(100 * inside, chosen, "{:.0f} %"),
            str(small.sum()), _mean(error, small), _mean(100 * inside, small, "{:.0f} %"), _mean(width, small),
        )  # fmt: skip
    return view


def _mean(values: np.ndarray, chosen: np.ndarray, form: str = "{:.1f}") -> str:
    return form.format(values[chosen].mean()) if chosen.any() else ""
