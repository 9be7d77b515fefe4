"""The estimate of the drop and its interval, fitted to measured students.

For each power, the factor is fitted by least squares of the drops themselves; the power with the least mean absolute
error wins. The interval is conformal: its ends are quantiles of the errors of predictions for networks that the fit has
not seen, in units of `scale`, so that it covers unseen networks as often as it says.
"""

from dataclasses import replace
from math import ceil, inf, log

import numpy as np

from dfq.evaluation.drop_estimate import MIN_DISAGREEMENT, Estimate, scale
from dfq.evaluation.held_out_evidence import Evidence

POWERS = np.linspace(0.5, 4.0, 71)
COVERED = 0.9  # share of students whose drop lies in the interval


def fit(rows: list[dict]) -> Estimate:
    """Returns the estimate for rows, with the interval that predictions of each network by the others ask for."""
    errors = [
        (_share(row) - found.drop(_evidence(row))) / scale(found.drop(_evidence(row)))
        for net in {row["net"] for row in rows}
        for found in [_line([row for row in rows if row["net"] != net] or rows)]
        for row in rows
        if row["net"] == net
    ]
    return replace(_line(rows), above=_quantile(errors), below=_quantile([-error for error in errors]))


def predictions(rows: list[dict]) -> np.ndarray:
    """Predicts each row by a fit over the other networks' rows.

    Returns:
        The drop and the lower and upper end of its interval, as fractions of all images; (N, 3).
    """
    found = np.zeros((len(rows), 3))
    for net in {row["net"] for row in rows}:
        estimate = fit([row for row in described(rows) if row["net"] != net] or rows)
        for index, row in enumerate(rows):
            if row["net"] == net:
                evidence = _evidence(row)
                ends = (estimate.drop(evidence), *estimate.interval(evidence))
                found[index] = np.array(ends) * row["teacher_accuracy"]
    return found


def described(rows: list[dict]) -> list[dict]:
    """Returns the rows of networks that BatchNorm statistics describe; for others, no drop is predicted."""
    return [row for row in rows if row.get("deviation", 0.0) is not None]


def _line(rows: list[dict]) -> Estimate:
    logs = np.log([max(1 - row["evidence"]["far_agreement"], MIN_DISAGREEMENT) for row in rows])
    drops, best = np.array([_share(row) for row in rows]), Estimate(0.0, 1.0, inf)
    for power in POWERS:
        shape = np.exp(power * logs)
        factor = (shape @ drops) / (shape @ shape)
        error = float(np.abs(factor * shape - drops).mean())
        if factor > 0 and error < best.error:
            best = Estimate(log(factor), float(power), error)
    return best


def _quantile(errors: list[float]) -> float:
    """Returns the smallest error that at most (1 − COVERED) / 2 of the errors exceed, counted as for one more."""
    position = ceil((1 + COVERED) / 2 * (len(errors) + 1))
    return max(sorted(errors)[min(position, len(errors)) - 1], 0.0)


def _share(row: dict) -> float:
    return row["drop"] / row["teacher_accuracy"]


def _evidence(row: dict) -> Evidence:
    return Evidence(**row["evidence"])
