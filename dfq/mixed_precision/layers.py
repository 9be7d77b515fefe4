"""`Layers`: which layers of a network may choose the width of their weight."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dfq.errors import DfqError
from dfq.quantizers.scheme import BITS, Scheme
from dfq.student.placement import plan_quantizers
from dfq.teacher import Teacher


@dataclass(frozen=True)
class Layers:
    """The matrix layers of a network under a scheme.

    Attributes:
        counts: Number of weights of each layer.
        fixed: Bits of the layers that have nothing to choose: the scheme's first and last layers, and overrides.
    """

    counts: dict[str, int]
    fixed: dict[str, int]

    @property
    def free(self) -> list[str]:
        return [layer for layer in self.counts if layer not in self.fixed]

    def candidates(self, layer: str) -> Sequence[int]:
        """Returns the widths that the weight of a layer may have."""
        return (self.fixed[layer],) if layer in self.fixed else BITS


def layers_of(teacher: Teacher, scheme: Scheme) -> Layers:
    """Returns the matrix layers of a network under a scheme.

    Raises:
        DfqError: The width of every layer is fixed.
    """
    network = teacher.traced
    low, high = (plan_quantizers(network, replace(scheme, weight_bits=bits)).weights for bits in (BITS[0], BITS[-1]))
    counts = {layer: network.get_submodule(layer).weight.numel() for layer in low}  # type: ignore[operator, union-attr]
    layers = Layers(counts, {layer: spec.bits for layer, spec in low.items() if spec.bits == high[layer].bits})
    if not layers.free:
        raise DfqError(
            f"{len(counts)} layers of fixed width: scheme {scheme.name!r} and --layer-bits leave nothing to choose",
            "at least one layer whose width is free",
            "--bits 8, another --scheme, or fewer --layer-bits",
        )
    return layers
