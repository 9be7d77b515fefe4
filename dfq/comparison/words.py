"""What the tables and pictures of a comparison call things: one row per job."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Words:
    """Of one job.

    Attributes:
        column, axis: what stands over the columns of a table, and below the horizontal axis.
        command: whose run folders the cells are.
        conditions: of the settings that all cells share.
    """

    column: str
    axis: str
    command: str
    conditions: Callable[[dict], str]


def _distillation(shared: dict) -> str:
    return "steps and images of each method's default" if shared["steps"] is None else f"{shared['steps']} steps"


WORDS = {
    "quantize": Words(
        column="width",
        axis="bits of weights and activations",
        command="dfq quantize",
        conditions=lambda shared: f"scheme {shared['scheme']}",
    ),
    "distill": Words(
        column="student",
        axis="architecture of the student",
        command="dfq distill",
        conditions=_distillation,
    ),
}
