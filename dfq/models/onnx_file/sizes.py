"""Numbers of a node that may depend on how many images there are: `Sizes`."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sizes:
    """Numbers of a node, each of which is `offset + step · count` for `count` images.

    Attributes:
        offset: The parts that do not depend on the images.
        step: What each image adds; 0 in most places.
    """

    offset: tuple
    step: tuple[int, ...]

    def at(self, count: Any) -> list:
        """Returns the numbers for so many images, which may be a symbol of torch.export."""
        return [offset + step * count if step else offset for offset, step in zip(self.offset, self.step, strict=True)]


def solved(first: np.ndarray, second: np.ndarray, counts: tuple[int, int]) -> Sizes | None:
    """Returns the sizes that were found for two numbers of images, or None where they are no line through both."""
    one, two = first.reshape(-1).tolist(), second.reshape(-1).tolist()
    if one == two:
        return Sizes(tuple(one), (0,) * len(one))
    if len(one) != len(two) or first.dtype.kind not in "iu":
        return None
    apart = counts[0] - counts[1]
    if any((a - b) % apart for a, b in zip(one, two, strict=True)):
        return None
    step = tuple((a - b) // apart for a, b in zip(one, two, strict=True))
    return Sizes(tuple(a - each * counts[0] for a, each in zip(one, step, strict=True)), step)
