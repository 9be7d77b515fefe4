"""Finds the best widths, for every limit at once: a multiple-choice knapsack by dynamic programming."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from dfq.mixed_precision.settings import WidthSearchSettings

Width = TypeVar("Width", bound=Hashable)  # bits, or the bits of several tensors that are chosen together
Priced = Mapping[Width, tuple[int, float]]  # width → (cost, loss)


@dataclass(frozen=True)
class _Step:
    """How the front came about when one more choice was added.

    Attributes:
        parents: Index of the point that each point extends.
        taken: Index of the option that each point takes.
    """

    parents: np.ndarray
    taken: np.ndarray


@dataclass(frozen=True)
class Front(Generic[Width]):
    """The Pareto front: all widths together that no others beat in both cost and loss, cheapest first.

    Attributes:
        options: The widths that there are to choose from, by the name of the choice.
        costs: Cost of each point, int64 (P,), rising.
        losses: Loss of each point, float64 (P,), falling.
    """

    options: Mapping[str, tuple[Width, ...]]
    costs: np.ndarray
    losses: np.ndarray
    _steps: tuple[_Step, ...]

    def __len__(self) -> int:
        return len(self.costs)

    def within(self, limit: int) -> int | None:
        """Returns the index of the point with the smallest loss whose cost is at most `limit`; None: there is none."""
        index = int(np.searchsorted(self.costs, limit, side="right")) - 1
        return index if index >= 0 else None

    def widths(self, index: int) -> dict[str, Width]:
        """Returns the widths at one point, by the name of the choice."""
        found = {}
        for name, step in zip(reversed(list(self.options)), reversed(self._steps), strict=True):
            found[name] = self.options[name][step.taken[index]]
            index = int(step.parents[index])
        return {name: found[name] for name in self.options}


def pareto_front(
    options: Mapping[str, Priced[Width]], settings: WidthSearchSettings = WidthSearchSettings()
) -> Front[Width]:
    """Returns the front of the summed costs and losses, where each choice takes one of its options.

    The front is exact up to `largest_front` points after each choice. If there are more, the costs are divided into as
    many equal intervals, and the point with the smallest loss stays in each: each choice may then cost up to one
    interval more than it had to. Costs themselves are never rounded, so a limit that a point keeps is kept.

    Args:
        options: Cost and loss of every width that may be taken, by the name of the choice.
        settings: How many points there may be.
    """
    costs, losses = np.zeros(1, np.int64), np.zeros(1)
    steps = []
    for choices in options.values():
        added = np.array([cost for cost, _ in choices.values()], np.int64)
        lost = np.array([loss for _, loss in choices.values()])
        all_costs, all_losses = (costs[:, None] + added).ravel(), (losses[:, None] + lost).ravel()
        kept = _thinned(all_costs, _undominated(all_costs, all_losses), settings.largest_front)
        parents, taken = np.divmod(kept, len(choices))
        steps.append(_Step(parents, taken))
        costs, losses = all_costs[kept], all_losses[kept]
    return Front({name: tuple(choices) for name, choices in options.items()}, costs, losses, tuple(steps))


def _undominated(costs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Returns the indices of the points that no other beats, by rising cost."""
    order = np.lexsort((losses, costs))
    ordered = losses[order]
    cheaper_best = np.minimum.accumulate(ordered)[:-1]
    return order[np.append(True, ordered[1:] < cheaper_best)]


def _thinned(costs: np.ndarray, kept: np.ndarray, largest_front: int) -> np.ndarray:
    """Returns at most about `largest_front` of the points `kept`, with the cheapest and the best among them."""
    if len(kept) <= largest_front:
        return kept
    above = costs[kept] - costs[kept[0]]
    interval = above * largest_front // (above[-1] + 1)
    last = np.append(interval[1:] != interval[:-1], True)
    last[0] = True
    return kept[last]
