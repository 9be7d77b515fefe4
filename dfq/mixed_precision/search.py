"""`choose_widths`: from sensitivities and costs to the widths of a network."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from dfq.mixed_precision.allocation import Front, pareto_front
from dfq.mixed_precision.chosen_widths import ChosenWidths, Point
from dfq.mixed_precision.sensitivity import images_to_probe, weight_sensitivity
from dfq.mixed_precision.width_limit import WidthLimit
from dfq.quantizers.scheme import Scheme
from dfq.system.budget import Budget
from dfq.system.progress import Progress
from dfq.teacher import Teacher

RECORDED_POINTS = 200  # of the front: enough to draw it


def choose_widths(
    teacher: Teacher,
    scheme: Scheme,
    target: WidthLimit,
    images: Tensor,
    *,
    ranges: str = "mse",
    budget: Budget | None = None,
    progress: Progress | None = None,
) -> ChosenWidths:
    """The widths with the smallest sum of sensitivities that keep the target, by ZeroQ's assumption that they add up.

    Args:
        images: normalised, (N, C, H, W), in any order; up to 128 of them are used, 32 above 64×64 pixels.
        ranges, budget: see `weight_sensitivity`.

    Raises:
        DfqError: no choice keeps the target.
    """
    most, batch_size = images_to_probe(teacher.input_spec.size)
    spread = np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int)
    candidates = {layer: list(costs) for layer, costs in target.costs.items()}
    sensitivities, seen = weight_sensitivity(
        teacher, scheme, candidates, images[spread.tolist()],
        ranges=ranges, batch_size=batch_size, budget=budget, progress=progress,
    )  # fmt: skip
    front = pareto_front(
        {layer: {b: (c, sensitivities[layer][b]) for b, c in costs.items()} for layer, costs in target.costs.items()}
    )
    index, cost = _best(front, target)
    widths = {**front.widths(index), **target.layers.fixed}
    return ChosenWidths(
        unit=target.unit,
        target=target.asked,
        chosen=Point(target.shown(cost), float(front.losses[index])),
        widths={layer: widths[layer] for layer in target.layers.counts},
        weights=target.layers.counts,
        fixed=list(target.layers.fixed),
        sensitivities=sensitivities,
        images=seen,
        front=_recorded(front, target, index),
        uniform=_uniform(sensitivities, target),
    )


def _best(front: Front, target: WidthLimit) -> tuple[int, int]:
    """(index, exact cost) of the best point that keeps the target; where costs are predicted, the limit closes in."""
    limit = target.limit
    while (index := front.within(limit - target.base)) is not None:
        cost = target.cost(front.widths(index))
        if cost <= target.limit:
            return index, cost
        limit -= cost - target.limit
    raise target.unreachable()


def _recorded(front: Front, target: WidthLimit, chosen: int) -> list[Point]:
    """Points at even intervals of cost, the ends and the chosen one among them."""
    places = np.linspace(front.costs[0], front.costs[-1], RECORDED_POINTS)
    index = np.unique(np.append(np.searchsorted(front.costs, places), chosen))
    return [Point(target.shown(int(front.costs[i]) + target.base), float(front.losses[i])) for i in index]


def _uniform(sensitivities: Mapping[str, Mapping[int, float]], target: WidthLimit) -> dict[int, Point]:
    """Every width that some layer may take, for all of them; where one may not, its next wider one."""
    found = {}
    for bits in sorted({bits for costs in target.costs.values() for bits in costs}):
        widths = {layer: min(b for b in costs if b >= bits) for layer, costs in target.costs.items()}
        cost = target.base + sum(target.costs[layer][b] for layer, b in widths.items())
        found[bits] = Point(target.shown(cost), sum(sensitivities[layer][b] for layer, b in widths.items()))
    return found
