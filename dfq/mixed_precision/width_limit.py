"""What widths cost and how much they may cost: the interface, and the limit on average bits."""

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Protocol

from dfq.errors import DfqError
from dfq.mixed_precision.layers import Layers, layers_of
from dfq.quantizers.scheme import BITS, Scheme
from dfq.teacher import Teacher

Costs = dict[str, dict[int, int]]  # layer → bits → cost


class WidthLimit(Protocol):
    """A limit on the widths of a network's weights.

    Attributes:
        layers: The layers of the network.
        costs: Cost of every width that is a candidate, for every layer that may choose.
        base: Cost of everything else.
        limit: Largest sum of the base and the chosen costs.
        asked: The limit as the caller gave it, in `unit`.
        unit: "bits" (on average) or "bytes".
    """

    layers: Layers
    costs: Costs
    base: int
    limit: int
    asked: float
    unit: str

    def cost(self, widths: Mapping[str, int]) -> int:
        """Returns the exact cost of a choice."""

    def shown(self, cost: int) -> float:
        """Returns a cost in `unit`."""

    def unreachable(self) -> DfqError:
        """Returns the error that names the smallest and the largest limit that make sense."""


class AverageBits:
    """A limit on the nominal bits per weight, the mean over all weights of matrix layers; fixed layers count.

    Costs are bits. Every width from 2 to 8 is a candidate.

    Args:
        teacher: The network.
        scheme: Its scheme.
        average: Largest average number of bits.

    Raises:
        DfqError: The network cannot reach that average.
    """

    unit = "bits"

    def __init__(self, teacher: Teacher, scheme: Scheme, average: float):
        self.layers, self.asked = layers_of(teacher, scheme), average
        self.total = sum(self.layers.counts.values())
        self.costs: Costs = {layer: {b: b * self.layers.counts[layer] for b in BITS} for layer in self.layers.free}
        self.base = sum(bits * self.layers.counts[layer] for layer, bits in self.layers.fixed.items())
        self.limit = int(Fraction(average) * self.total)
        if self.base + _smallest(self.costs) > self.limit:
            raise self.unreachable()

    def cost(self, widths: Mapping[str, int]) -> int:
        return self.base + sum(self.costs[layer][bits] for layer, bits in widths.items())

    def shown(self, cost: int) -> float:
        return cost / self.total

    def unreachable(self) -> DfqError:
        low = ceil(100 * self.shown(self.base + _smallest(self.costs))) / 100
        high = self.shown(self.base + _largest(self.costs))
        return DfqError(
            f"an average of {self.asked:g} bits, which this network cannot reach",
            f"from {low:g} to {high:g} bits: {len(self.layers.fixed)} of its layers have a fixed width",
            f"--average-bits {low:g} or more, or a --scheme that fixes no layer, such as paper-qat",
        )


def _smallest(costs: Costs) -> int:
    return sum(min(widths.values()) for widths in costs.values())


def _largest(costs: Costs) -> int:
    return sum(max(widths.values()) for widths in costs.values())
