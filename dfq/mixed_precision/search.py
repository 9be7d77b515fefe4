"""`choose_widths` chooses the widths of a network from their sensitivities and costs."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from dfq.mixed_precision.allocation import Front, pareto_front
from dfq.mixed_precision.chosen_widths import ActivationWidth, ChosenWidths, Point
from dfq.mixed_precision.groups import Group, candidates_of, widths_of
from dfq.mixed_precision.sensitivity import Sensitivities, width_sensitivity
from dfq.mixed_precision.settings import WidthSearchSettings
from dfq.mixed_precision.width_limit import WidthLimit
from dfq.mixed_precision.widths import GroupWidths
from dfq.quantizers.scheme import Scheme
from dfq.system.stage import Stage
from dfq.teacher import Teacher


def choose_widths(
    teacher: Teacher,
    scheme: Scheme,
    limit: WidthLimit,
    images: Tensor,
    settings: WidthSearchSettings = WidthSearchSettings(),
    stage: Stage | None = None,
) -> ChosenWidths:
    """Chooses the widths with the smallest sum of sensitivities that keep the limit; ZeroQ assumes that they add up.

    Args:
        teacher: The network.
        scheme: Its scheme; it says which layers have a fixed width.
        limit: What widths cost, and how much they may cost.
        images: Normalised, (N, C, H, W), in any order; as many of them are used as the settings say.
        settings: How sensitivities are measured, and how many points of the front are kept.
        stage: Its budget may end the measurement of sensitivities early; its checkpoint keeps what was measured.

    Raises:
        DfqError: No choice keeps the limit.
    """
    most = settings.sensitivity.images_of(teacher.input_spec)
    spread = np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int)
    candidates = candidates_of(limit.groups, limit.layers.free)
    chosen_images = images[spread.tolist()]
    sensitivities = width_sensitivity(teacher, scheme, candidates, chosen_images, settings.sensitivity, stage)
    front = pareto_front({group.name: group.options(sensitivities, settings) for group in limit.groups}, settings)
    index, cost = _best(front, limit)
    chosen = front.widths(index)
    widths = {**widths_of(limit.groups, chosen).weights, **limit.layers.fixed}
    return ChosenWidths(
        unit=limit.unit,
        target=limit.asked,
        chosen=Point(limit.shown(cost), float(front.losses[index])),
        widths={layer: widths[layer] for layer in limit.layers.counts},
        activations=_activations(limit.groups, chosen, sensitivities),
        weights=limit.layers.counts,
        fixed=list(limit.layers.fixed),
        sensitivities=sensitivities.weights,
        images=sensitivities.images,
        front=_recorded(front, limit, index, settings.recorded_points),
        uniform=_uniform(sensitivities, limit),
    )


def _best(front: Front[GroupWidths], limit: WidthLimit) -> tuple[int, int]:
    """Returns the index and the exact cost of the best point that keeps the limit.

    Where costs are predicted and the best point exceeds the limit, a cheaper point is looked for.
    """
    highest = limit.limit
    while (index := front.within(highest - limit.base)) is not None:
        cost = limit.cost(widths_of(limit.groups, front.widths(index)))
        if cost <= limit.limit:
            return index, cost
        highest -= cost - limit.limit
    raise limit.unreachable()


def _recorded(front: Front[GroupWidths], limit: WidthLimit, chosen: int, count: int) -> list[Point]:
    """Returns about `count` points at even intervals of cost; the ends and the chosen one are among them."""
    places = np.linspace(front.costs[0], front.costs[-1], count)
    index = np.unique(np.append(np.searchsorted(front.costs, places), chosen))
    return [Point(limit.shown(int(front.costs[i]) + limit.base), float(front.losses[i])) for i in index]


def _uniform(sensitivities: Sensitivities, limit: WidthLimit) -> dict[int, Point]:
    """Returns, for every width that something may take, the point at which everything has it.

    What may not take a width has its next wider one.
    """
    found = {}
    for bits in sorted({bits for group in limit.groups for bits in group.widths}):
        chosen = [(group, group.uniform(bits)) for group in limit.groups]
        cost = limit.base + sum(group.cost(widths) for group, widths in chosen)
        found[bits] = Point(limit.shown(cost), sum(group.loss(widths, sensitivities) for group, widths in chosen))
    return found


def _activations(
    groups: Sequence[Group], chosen: Mapping[str, GroupWidths], sensitivities: Sensitivities
) -> list[ActivationWidth]:
    found = []
    for group in groups:
        bits, _ = chosen[group.name]
        if bits is not None:
            lost = {width: group.activation_loss(width, sensitivities) for width in group.tensors}
            found.append(ActivationWidth(group.layers, bits, lost))  # type: ignore[arg-type]
    return found
