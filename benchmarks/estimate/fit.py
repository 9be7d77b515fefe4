"""The estimate of the drop, fitted to measured students."""

import numpy as np

from dfq.evaluation.drop_estimate import Estimate, Evidence, fit_estimate


def predictions(rows: list[dict]) -> np.ndarray:
    """Predicts each row's drop, as a fraction of all images, by a fit over the other networks' rows; (N,)."""
    found = np.zeros(len(rows))
    for net in {row["net"] for row in rows}:
        others = [row for row in rows if row["net"] != net] or rows
        estimate = fit(others)
        for index, row in enumerate(rows):
            if row["net"] == net:
                found[index] = estimate.drop(Evidence(**row["evidence"])) * row["teacher_accuracy"]
    return found


def fit(rows: list[dict]) -> Estimate:
    """Fits the estimate to rows."""
    return fit_estimate([(Evidence(**row["evidence"]), row["drop"] / row["teacher_accuracy"]) for row in rows])
