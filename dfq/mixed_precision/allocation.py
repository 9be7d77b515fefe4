"""Finds a width for each layer, for every limit at once: a multiple-choice knapsack by dynamic programming."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dfq.mixed_precision.settings import WidthSearchSettings

Options = Mapping[str, Mapping[int, tuple[int, float]]]  # layer → bits → (cost, loss)


@dataclass(frozen=True)
class _Step:
    """How the front came about when one more layer was added.

    Attributes:
        parents: Index of the point that each point extends.
        bits: Bits of the added layer at each point.
    """

    parents: np.ndarray
    bits: np.ndarray


@dataclass(frozen=True)
class Front:
    """The Pareto front: every choice that no other beats in both cost and loss, cheapest first.

    Attributes:
        layers: Names of the layers, in the order of the options.
        costs: Cost of each point, int64 (P,), rising.
        losses: Loss of each point, float64 (P,), falling.
    """

    layers: tuple[str, ...]
    costs: np.ndarray
    losses: np.ndarray
    _steps: tuple[_Step, ...]

    def __len__(self) -> int:
        return len(self.costs)

    def within(self, limit: int) -> int | None:
        """Returns the index of the point with the smallest loss whose cost is at most `limit`; None: there is none."""
        index = int(np.searchsorted(self.costs, limit, side="right")) - 1
        return index if index >= 0 else None

    def widths(self, index: int) -> dict[str, int]:
        """Returns the bits of each layer at one point."""
        found = {}
        for layer, step in zip(reversed(self.layers), reversed(self._steps), strict=True):
            found[layer] = int(step.bits[index])
            index = int(step.parents[index])
        return {layer: found[layer] for layer in self.layers}


def pareto_front(options: Options, settings: WidthSearchSettings = WidthSearchSettings()) -> Front:
    """Returns the front of the summed costs and losses, where each layer takes one of its options.

    The front is exact up to `largest_front` points after each layer. If there are more, the costs are divided into as
    many equal intervals, and the point with the smallest loss stays in each: each layer may then cost up to one
    interval more than it had to. Costs themselves are never rounded, so a limit that a point keeps is kept.
    """
    costs, losses = np.zeros(1, np.int64), np.zeros(1)
    steps = []
    for choices in options.values():
        added = np.array([cost for cost, _ in choices.values()], np.int64)
        lost = np.array([loss for _, loss in choices.values()])
        all_costs, all_losses = (costs[:, None] + added).ravel(), (losses[:, None] + lost).ravel()
        kept = _thinned(all_costs, _undominated(all_costs, all_losses), settings.largest_front)
        parents, taken = np.divmod(kept, len(choices))
        steps.append(_Step(parents, np.array(list(choices))[taken]))
        costs, losses = all_costs[kept], all_losses[kept]
    return Front(tuple(options), costs, losses, tuple(steps))


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
