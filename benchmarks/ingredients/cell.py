"""What a cell of the benchmark is, and how much work it gets."""

import re
from dataclasses import dataclass

from benchmarks.ingredients.arms import ARMS, Arm


@dataclass(frozen=True)
class Work:
    """How much each cell does: half of what `reconstruct` does by default.

    Attributes:
        images: The number of images to learn from, held-out ones included.
        iterations: The number of iterations for each block.
        steps: The number of steps of the polish.
        jury: The number of the jury's images of each parametrization.
    """

    images: int = 512
    iterations: int = 1600
    steps: int = 300
    jury: int = 128


def key_of(net: str, arm: str, form: str, seed: int, work: Work) -> dict:
    """Returns what a cell is.

    A cell that ran with another recipe of that name, or with other work, does not count as finished.
    """
    return {"net": net, "arm": arm, "format": form, "seed": seed, "work": work.__dict__, "recipe": recipe_of(ARMS[arm])}


def recipe_of(arm: Arm) -> str:
    """Returns what an arm is, in words that do not depend on where its classes lie."""
    return re.sub(r"<(?:class|function) '?[\w.]*?(\w+)'?(?: at 0x\w+)?>", r"\1", repr(arm))


def is_of(row: dict, key: dict) -> bool:
    """Tells whether a row is that of the cell."""
    return all(row.get(name) == value for name, value in key.items())
