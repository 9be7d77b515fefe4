"""`Widths`: the bits of a network's weights and of what its layers read, as one choice."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from dfq.quantizers.scheme import Scheme

GroupWidths = tuple[int | None, tuple[int, ...]]  # bits of what the layers of a group read, and of each one's weight


@dataclass(frozen=True)
class Widths:
    """One choice of widths.

    Attributes:
        weights: Bits of the weight, by the name of the layer.
        activations: Bits of the tensor that a layer reads, by the name of the layer; without an entry they are those of
            the scheme.
    """

    weights: Mapping[str, int]
    activations: Mapping[str, int] = field(default_factory=dict)

    def applied_to(self, scheme: Scheme) -> Scheme:
        """Returns the scheme with these widths."""
        weights, activations = (MappingProxyType(dict(bits)) for bits in (self.weights, self.activations))
        return replace(scheme, weight_overrides=weights, activation_overrides=activations)
