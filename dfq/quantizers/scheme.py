"""`QuantSpec` and `Scheme`: number formats, and which tensors get which of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median_low
from types import MappingProxyType

from dfq.errors import DfqError
from dfq.quantizers.targets import DEFAULT_TARGET, TARGETS, Target, find_target

BITS = range(2, 9)  # the widths of all integer grids
KERNEL_BITS = 8  # integer kernels hold tensors in this width
# Files store 3 bits in 4, which hold a symmetric grid and its mirror image alike. If the weights of a ResNet-20 are
# rounded to the better of the two, they lose 14 % less (squared error). There is room at 5 to 7 bits, too, but little
# to gain (decision record 0020).
MIRRORED_BITS = 3
LARGEST_REFINED = 6  # log2 of the largest integer that weights are refined to (see `QuantSpec.refinement`)


@dataclass(frozen=True, kw_only=True)
class QuantSpec:
    """A uniform integer grid: real value = scale · (integer − zero_point).

    Attributes:
        bits: Width of the integers, 2 to 8; the grid has 2^bits values.
        signed: Whether the integers lie in [−2^(bits−1), 2^(bits−1) − 1]; otherwise they lie in [0, 2^bits − 1].
        symmetric: Whether zero_point is fixed at 0. Otherwise it is an integer of the grid, so that zero stays exact.
        axis: The dimension whose entries have a scale each, 0 for the output channels of a weight: a weight (A, B) has
            scales (A,). None: the tensor has one scale.
        mirrored: Whether each row of a symmetric grid may take the mirror image instead, with zero_point −1. Its extra
            value is the positive one: 3 bits then reach from −3 to 4 instead of −4 to 3.
    """

    bits: int
    signed: bool
    symmetric: bool
    axis: int | None = None
    mirrored: bool = False

    def __post_init__(self):
        check_bits(self.bits)

    @property
    def q_min(self) -> int:
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def q_max(self) -> int:
        return self.q_min + 2**self.bits - 1

    @property
    def refinement(self) -> int:
        """Factor of a weight's integers, and divisor of its scale, for integer kernels: a power of two.

        The kernels start from a bias in whole steps of scale_x · scale_w. With few bits these steps are coarse, up to
        several steps of the output's own grid (decision record 0007). If integers of ±8 are multiplied by 8, they are
        the same weights in int8, and the bias is eight times as fine. Up to ±64, two products with uint8 activations
        fit into the int16 of CPUs without VNNI.
        """
        return 2 ** max(LARGEST_REFINED - (self.bits - 1 if self.symmetric else self.bits), 0)


def check_bits(bits: int) -> int:
    """Returns `bits`.

    Raises:
        DfqError: There is no integer grid of that width.
    """
    if not isinstance(bits, int) or bits not in BITS:
        raise DfqError(f"{bits} bits", f"a whole number from {BITS.start} to {BITS.stop - 1}", "for example --bits 4")
    return bits


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Which tensors of a network are quantized, and to how many bits.

    A *matrix layer* is a convolution or a linear layer. The placements are described in `dfq.student.placement`.

    Attributes:
        name: Key of `SCHEMES`.
        placement: "edges" (every tensor that an integer kernel reads or writes), "matrix-inputs" (every tensor
            that a matrix layer reads) or "after-relu" (outputs of ReLU and ReLU6, nothing else).
        weight_bits: Bits of the weights of matrix layers.
        activation_bits: Bits of the tensors that matrix layers read.
        first_last_bits: Bits of the weights and inputs of the first and the last matrix layer, and smallest number of
            bits of what the first one writes; None: the same as for the rest.
        edge_bits: Bits of what other operators read: a residual branch before its addition, and the residual stream,
            too, where placement is "edges" (matrix layers read that on a second, narrower grid). The runtime holds
            these in 8 bits whatever the matrix layers use, so fewer would cost accuracy for nothing.
        wide_streams: Whether, in networks of LayerNorm and its kind, operators in floating point, such as additions of
            a transformer's residual stream, never read the narrow grid of the matrix layers that read the same tensor.
            They read the tensor as it is, or on a grid of `edge_bits` where a convolution must write integers. No
            kernel gets slower by that, and a stream would otherwise be rounded to few bits once for each block. It
            concerns placement "edges" alone.
        integer_attention: Whether the products of attention are on integers where the target has them
            (`Target.min_keys`). It concerns placement "edges" alone.
        weight_symmetric: Whether weights have zero_point 0, which integer kernels need, or −1 in a mirrored grid, whose
            integers are shifted to zero_point 0 in the file.
        overrides: Bits of a layer's weight and of the tensor that it reads, by the name of the layer.
        weight_overrides: Bits of a layer's weight alone, by the name of the layer. They override all else; mixed
            precision sets them.
        activation_overrides: Bits of the tensor that a layer reads alone, by the name of the layer. They override all
            else, but a tensor has the most bits that any of its layers asks for; mixed precision sets them.
        target: The runtime that the grids of activations are for, a row of `dfq.quantizers.targets.TARGETS`.
    """

    name: str
    placement: str
    weight_bits: int
    activation_bits: int
    first_last_bits: int | None = KERNEL_BITS
    edge_bits: int = KERNEL_BITS
    wide_streams: bool = True
    integer_attention: bool = True
    weight_symmetric: bool = True
    overrides: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    weight_overrides: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    activation_overrides: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    target: Target = TARGETS[DEFAULT_TARGET]

    def __post_init__(self):
        if not (self.target.zero_points or self.weight_symmetric):
            raise DfqError(
                f"scheme {self.name} for --target {self.target.name}",
                "weights with zero point 0, which this scheme does not have",
                "take --scheme deploy, or another --target",
            )
        if self.placement not in (known := [row["placement"] for row in SCHEMES.values()]):
            raise DfqError(f"placement {self.placement!r}", f"one of {', '.join(known)}")
        for bits in (self.edge_bits, *self._chosen_bits):
            check_bits(bits)
        if self.first_last_bits is not None:
            check_bits(self.first_last_bits)

    def layer_bits(self, layer: str, *, is_end: bool) -> tuple[int, int]:
        """Returns the bits of a matrix layer's weight, and those of the tensor that it reads.

        `is_end` marks the first and the last layer.
        """
        both = self.overrides.get(layer, self.first_last_bits if is_end else None)
        weight, activation = (self.weight_bits, self.activation_bits) if both is None else (both, both)
        return self.weight_overrides.get(layer, weight), self.activation_overrides.get(layer, activation)

    @property
    def _chosen_bits(self) -> tuple[int, ...]:
        overrides = (self.overrides, self.weight_overrides, self.activation_overrides)
        return self.weight_bits, self.activation_bits, *(bits for chosen in overrides for bits in chosen.values())

    @property
    def lowest_bits(self) -> int:
        """The fewest bits of any matrix layer's weight or input, as far as they are not fixed by the protocol."""
        return min(self._chosen_bits)

    @property
    def training_bits(self) -> int:
        """The width that training is set for: the fewest bits, where mixed widths count as their median.

        One layer of 2 bits among nineteen wider ones must not decide on the training of all: with 3.0 bits on average,
        ResNet-20 ends at 0.32 nats of held-out divergence with the learning rate of 3 bits, and at 0.45 with that of 2.
        """
        weights, activations = self.weight_overrides.values(), self.activation_overrides.values()
        return replace(
            self,
            weight_bits=median_low(weights) if weights else self.weight_bits,
            activation_bits=median_low(activations) if activations else self.activation_bits,
            weight_overrides={},
            activation_overrides={},
        ).lowest_bits

    def weight_spec(self, bits: int) -> QuantSpec:
        mirrored = self.weight_symmetric and bits == MIRRORED_BITS
        return QuantSpec(bits=bits, signed=True, symmetric=self.weight_symmetric, axis=0, mirrored=mirrored)

    def activation_spec(self, bits: int) -> QuantSpec:
        return QuantSpec(bits=bits, signed=self.target.signed, symmetric=not self.target.zero_points)

    def to_dict(self) -> dict:
        return {
            **self.__dict__,
            "overrides": dict(self.overrides),
            "weight_overrides": dict(self.weight_overrides),
            "activation_overrides": dict(self.activation_overrides),
            "target": self.target.name,
        }

    @classmethod
    def from_dict(cls, values: Mapping) -> "Scheme":
        """Returns the scheme that `to_dict` wrote.

        One from before there were targets has the default one. One from before there were wide streams, integer
        attention and chosen widths of activations has none.
        """
        target = find_target(values.get("target", DEFAULT_TARGET))
        return cls(**{"wide_streams": False, "integer_attention": False, **values, "target": target})


# Each row is a protocol of the field and says what a published number of that line quantizes.
SCHEMES: dict[str, dict] = {
    # This is our default. It quantizes what an integer runtime needs.
    "deploy": {"placement": "edges"},
    # GDFQ … SynQ quantize activations after ReLU only, and all weights on asymmetric grids, in the first and the last
    # layer with the same bits as in the rest.
    "paper-qat": {"placement": "after-relu", "first_last_bits": None, "weight_symmetric": False},
    # BRECQ … Genie quantize what convolutions and linear layers read, with 8 bits in the first and the last layer.
    "paper-ptq": {"placement": "matrix-inputs"},
}


def make_scheme(
    name: str = "deploy",
    *,
    bits: int = 8,
    weight_bits: int | None = None,
    activation_bits: int | None = None,
    overrides: Mapping[str, int] | None = None,
    target: str | Target = DEFAULT_TARGET,
) -> Scheme:
    """Returns the `Scheme` of that name.

    Args:
        name: Key of `SCHEMES`.
        bits: Bits of weights and activations, 2 to 8.
        weight_bits: Bits of weights; None: `bits`.
        activation_bits: Bits of activations; None: `bits`.
        overrides: Bits of a layer's weight and of the tensor that it reads, by the name of the layer.
        target: The runtime, or its key in `dfq.quantizers.targets.TARGETS`.

    Raises:
        DfqError: The name or the target is unknown, they do not fit each other, or bits are not in 2 to 8.
    """
    if name not in SCHEMES:
        raise DfqError(f"scheme {name!r}", f"one of {', '.join(SCHEMES)}", "see `dfq quantize --help`")
    settings = dict(SCHEMES[name])
    if name == "paper-qat":  # every tensor that this protocol touches has the same width
        settings["edge_bits"] = check_bits(activation_bits or bits)
    return Scheme(
        name=name,
        weight_bits=weight_bits if weight_bits is not None else bits,
        activation_bits=activation_bits if activation_bits is not None else bits,
        overrides=MappingProxyType(dict(overrides or {})),
        target=find_target(target),
        **settings,
    )
