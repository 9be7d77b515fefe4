"""The change of accuracy that labelled images show, its interval, and how many images would tell it better."""

from collections.abc import Mapping
from math import ceil, sqrt
from typing import NamedTuple

from dfq.results.number_format import signed
from dfq.results.output_rows import image_count
from dfq.results.settings import DecisionSettings

Z = 1.96  # standard deviations on either side of a 95 % interval


class Change(NamedTuple):
    """A loss of accuracy.

    Attributes:
        drop: The loss, as a share of the images.
        half: Half of its 95 % interval, as a share of the images.
        images: Number of labelled images.
    """

    drop: float
    half: float
    images: int


def accuracy_change(report: Mapping) -> Change | None:
    """Returns the loss of accuracy on labelled images; None where it was not measured."""
    accuracy, count = report["accuracy"], image_count(report, "labelled") or 1
    if accuracy["onnx"] is None:
        return None
    half = Z * sqrt(disagreement(report, count) / count)  # of a difference between two networks on the same images
    return Change(accuracy["teacher"] - accuracy["onnx"], half, count)


def said_of(change: Change, other: str) -> str:
    """Returns the change in words, beside that of "the network's" or "the teacher's"."""
    drop, half, count = change
    return (
        f"its accuracy is {signed(-drop)} points beside {other} on {count} labelled images (95 % interval "
        f"{signed(-drop - half)} to {signed(-drop + half)})"
    )


def disagreement(report: Mapping, count: int) -> float:
    """Returns the share of labelled images on which student and teacher differ; at least one image counts."""
    return max(1 - (report["agreement"]["student_teacher"].get("labelled") or 0.0), 1 / count)


def needed_images(apart: float, precision: float, settings: DecisionSettings) -> int:
    """Returns how many images tell a drop to that precision, if the answers of two networks differ on that share."""
    wanted = apart * (Z / precision) ** 2
    return min(max(ceil(wanted / 100) * 100, settings.fewest), settings.most)
