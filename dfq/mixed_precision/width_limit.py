"""What widths cost and how much they may cost: the interface, and the limit on average bits."""

from fractions import Fraction
from math import ceil
from typing import Protocol

from dfq.errors import DfqError
from dfq.mixed_precision.groups import Group, weight_groups
from dfq.mixed_precision.layers import Layers, layers_of
from dfq.mixed_precision.widths import Widths
from dfq.quantizers.scheme import BITS, Scheme
from dfq.teacher import Teacher


class WidthLimit(Protocol):
    """A limit on the widths of a network.

    Attributes:
        layers: The layers of the network.
        groups: What there is to choose, and the cost of every choice.
        base: Cost of everything else.
        limit: Largest sum of the base and the chosen costs.
        asked: The limit as the caller gave it, in `unit`.
        unit: "bits" (per weight, on average), "bytes" or "bops" (bit operations for one image).
    """

    layers: Layers
    groups: list[Group]
    base: int
    limit: int
    asked: float
    unit: str

    def cost(self, widths: Widths) -> int:
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
        self.groups = weight_groups(
            {layer: {bits: bits * self.layers.counts[layer] for bits in BITS} for layer in self.layers.free}
        )
        self.base = sum(bits * self.layers.counts[layer] for layer, bits in self.layers.fixed.items())
        self.limit = int(Fraction(average) * self.total)
        if self._with_one_width(BITS[0]) > self.limit:
            raise self.unreachable()

    def cost(self, widths: Widths) -> int:
        return self.base + sum(bits * self.layers.counts[layer] for layer, bits in widths.weights.items())

    def _with_one_width(self, bits: int) -> int:
        return self.cost(Widths(dict.fromkeys(self.layers.free, bits)))

    def shown(self, cost: int) -> float:
        return cost / self.total

    def unreachable(self) -> DfqError:
        low = ceil(100 * self.shown(self._with_one_width(BITS[0]))) / 100
        high = self.shown(self._with_one_width(BITS[-1]))
        return DfqError(
            f"an average of {self.asked:g} bits, which this network cannot reach",
            f"from {low:g} to {high:g} bits: {len(self.layers.fixed)} of its layers have a fixed width",
            f"--average-bits {low:g} or more, or a --scheme that fixes no layer, such as paper-qat",
        )
