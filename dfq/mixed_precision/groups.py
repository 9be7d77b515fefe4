"""`Group`: layers whose widths are chosen together, what each choice costs, and what it loses."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from dfq.mixed_precision.allocation import Priced, pareto_front
from dfq.mixed_precision.sensitivity import Candidates, Sensitivities
from dfq.mixed_precision.settings import WidthSearchSettings
from dfq.mixed_precision.widths import GroupWidths, Widths

Costs = Mapping[str, Mapping[int, int]]  # layer → bits of its weight → cost


@dataclass(frozen=True)
class Group:
    """Layers that choose together.

    Attributes:
        costs: Cost of every width of each layer's weight, for every width of what the layers read. The key None stands
            for activations that the choice leaves alone.
        tensors: Bits of the tensors whose width is chosen, by their name in the network's graph, for every width of
            what the layers read. It is empty where there is nothing to choose.
    """

    costs: Mapping[int | None, Costs]
    tensors: Mapping[int | None, Mapping[str, int]] = field(default_factory=dict)

    @property
    def layers(self) -> list[str]:
        """Names of the layers, in the order of the network."""
        return list(next(iter(self.costs.values())))

    @property
    def name(self) -> str:
        """Name of the first layer, which no other group has."""
        return self.layers[0]

    @property
    def widths(self) -> set[int]:
        """All widths that something in the group may take."""
        read = {bits for bits in self.costs if bits is not None}
        return read | {bits for costs in self.costs.values() for widths in costs.values() for bits in widths}

    def options(self, sensitivities: Sensitivities, settings: WidthSearchSettings) -> Priced[GroupWidths]:
        """Returns cost and loss of every choice that no other beats in both.

        They are found for each width of the activations on its own, because the layers then no longer depend on each
        other. The result is exact up to `settings.largest_group` choices, beyond which `pareto_front` thins them out.
        """
        settings = replace(settings, largest_front=settings.largest_group)
        found: dict[GroupWidths, tuple[int, float]] = {}
        for bits, costs in self.costs.items():
            front = pareto_front(
                {
                    layer: {width: (cost, sensitivities.of_weight(layer, width)) for width, cost in widths.items()}
                    for layer, widths in costs.items()
                },
                settings,
            )
            loss = self.activation_loss(bits, sensitivities)
            for index, (cost, lost) in enumerate(zip(front.costs, front.losses, strict=True)):
                found[bits, tuple(front.widths(index).values())] = (int(cost), float(lost) + loss)
        best = pareto_front({self.name: found}, settings)
        return {widths: found[widths] for widths in (best.widths(index)[self.name] for index in range(len(best)))}

    def activation_loss(self, bits: int | None, sensitivities: Sensitivities) -> float:
        """Returns the sensitivity of what the layers read, in nats, at one of the widths in `costs`."""
        return sensitivities.of_tensors(self.tensors.get(bits, {}))

    def uniform(self, bits: int) -> GroupWidths:
        """Returns the choice with `bits` for all; what may not have them has the next wider width, or its widest."""
        activations = [width for width in self.costs if width is not None]
        read = _at_least(bits, activations) if activations else None
        return read, tuple(_at_least(bits, widths) for widths in self.costs[read].values())

    def cost(self, chosen: GroupWidths) -> int:
        """Returns the cost of a choice."""
        read, weights = chosen
        return sum(widths[bits] for widths, bits in zip(self.costs[read].values(), weights, strict=True))

    def loss(self, chosen: GroupWidths, sensitivities: Sensitivities) -> float:
        """Returns the sum of the sensitivities of a choice, in nats."""
        read, weights = chosen
        lost = (sensitivities.of_weight(*pair) for pair in zip(self.layers, weights, strict=True))
        return sum(lost) + self.activation_loss(read, sensitivities)


def candidates_of(groups: Iterable[Group], free: Collection[str]) -> Candidates:
    """Returns the widths that sensitivities are needed of: those of the weights of `free` layers, and of tensors."""
    weights: dict[str, list[int]] = {}
    tensors: dict[str, list[int]] = {}
    for group in groups:
        costs = next(iter(group.costs.values()))
        weights |= {layer: list(widths) for layer, widths in costs.items() if layer in free}
        for name in next(iter(group.tensors.values()), {}):
            tensors[name] = sorted({widths[name] for widths in group.tensors.values()})
    return Candidates(weights, tensors)


def weight_groups(costs: Costs) -> list[Group]:
    """Returns a group for each layer, where weights alone are chosen."""
    return [Group({None: {layer: widths}}) for layer, widths in costs.items()]


def widths_of(groups: Iterable[Group], chosen: Mapping[str, GroupWidths]) -> Widths:
    """Returns the widths of all layers, from the choice of each group by its name."""
    weights: dict[str, int] = {}
    activations: dict[str, int] = {}
    for group in groups:
        read, bits = chosen[group.name]
        weights |= dict(zip(group.layers, bits, strict=True))
        if read is not None:
            activations |= dict.fromkeys(group.layers, read)
    return Widths(weights, activations)


def _at_least(bits: int, widths: Collection[int]) -> int:
    return min((width for width in widths if width >= bits), default=max(widths))
