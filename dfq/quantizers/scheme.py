"""Number formats, and which tensors get which: `QuantSpec` and `Scheme`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median_low
from types import MappingProxyType

from dfq.errors import DfqError
from dfq.quantizers.targets import DEFAULT_TARGET, find_target

BITS = range(2, 9)
KERNEL_BITS = 8
# Files store 3 bits in 4, which hold a symmetric grid and its mirror image alike: rounding the weights of a ResNet-20
# to the better of both loses 14 % less (squared error). There is room at 5 to 7 bits, too, but little to gain.
MIRRORED_BITS = 3
LARGEST_REFINED = 6  # log2 of the largest integer that a weight is refined to


@dataclass(frozen=True, kw_only=True)
class QuantSpec:
    """A uniform integer grid: real value = scale · (integer − zero_point).

    Attributes:
        bits: 2 to 8; the grid has 2^bits values.
        signed: integers in [−2^(bits−1), 2^(bits−1) − 1] if True, else in [0, 2^bits − 1].
        symmetric: zero_point is fixed at 0. Otherwise it is an integer of the grid, so that zero stays exact.
        mirrored: of a symmetric grid: each row may take its mirror image instead, zero_point −1, whose extra value is
            the positive one: −3 to 4 instead of −4 to 3.
        axis: the dimension that has a scale each (0 for the output channels of a weight: a weight (A, B) has
            scales (A,)); None for one scale per tensor.
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
        """By what a weight's integers are multiplied, and its scale divided, for integer kernels: a power of two.

        The kernels start from a bias in whole steps of scale_x · scale_w. With few bits these are coarse, up to several
        steps of the output's own grid (decision record 0007). Integers of ±8 times 8 are the same
        weights, in int8, with a bias eight times as fine. Up to ±64, two products with uint8 activations fit the int16
        of CPUs without VNNI.
        """
        return 2 ** max(LARGEST_REFINED - (self.bits - 1 if self.symmetric else self.bits), 0)


def check_bits(bits: int) -> int:
    """Returns `bits`, or raises `DfqError` where no integer grid of that width is offered."""
    if not isinstance(bits, int) or bits not in BITS:
        raise DfqError(f"{bits} bits", f"a whole number from {BITS.start} to {BITS.stop - 1}", "for example --bits 4")
    return bits


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Which tensors of a network are quantized, and to how many bits.

    A *matrix layer* is a convolution or a linear layer. The placements are described in `dfq.student.placement`.

    Attributes:
        name: key of `SCHEMES`.
        placement: "edges" (every tensor that an integer kernel reads or writes), "matrix-inputs" (every tensor
            that a matrix layer reads) or "after-relu" (outputs of ReLU and ReLU6, nothing else).
        weight_bits, activation_bits: of matrix layers and of the tensors that they read.
        first_last_bits: of the first and the last matrix layer's weights and inputs, and at least of what the first
            one puts out; None: as the rest.
        edge_bits: of what other operators read: a residual branch before its addition, and the residual stream, too,
            where placement is "edges" (matrix layers read that on a second, narrower grid). The runtime holds these
            in 8 bits whatever the matrix layers use, so fewer would cost accuracy for nothing.
        weight_symmetric: zero_point 0 for weights, which integer kernels need; or −1 in a mirrored grid, whose integers
            are shifted to zero_point 0 in the file.
        overrides: layer name → bits of this layer's weight and of the tensor that it reads.
        weight_overrides: layer name → bits of its weight alone, before all else: mixed precision.
        target: key of `dfq.quantizers.targets.TARGETS`: the runtime that the grids of activations are for.
    """

    name: str
    placement: str
    weight_bits: int
    activation_bits: int
    first_last_bits: int | None = KERNEL_BITS
    edge_bits: int = KERNEL_BITS
    weight_symmetric: bool = True
    overrides: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    weight_overrides: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    target: str = DEFAULT_TARGET

    def __post_init__(self):
        if not (find_target(self.target).zero_points or self.weight_symmetric):
            raise DfqError(
                f"scheme {self.name} for --target {self.target}",
                "weights with zero point 0, which this scheme does not have",
                "take --scheme deploy, or another --target",
            )
        for bits in (self.edge_bits, *self._chosen_bits):
            check_bits(bits)
        if self.first_last_bits is not None:
            check_bits(self.first_last_bits)

    def layer_bits(self, layer: str, *, is_end: bool) -> tuple[int, int]:
        """(bits of a matrix layer's weight, bits of the tensor it reads); `is_end` marks the first and last layer."""
        both = self.overrides.get(layer, self.first_last_bits if is_end else None)
        weight, activation = (self.weight_bits, self.activation_bits) if both is None else (both, both)
        return self.weight_overrides.get(layer, weight), activation

    @property
    def _chosen_bits(self) -> tuple[int, ...]:
        weights, both = self.weight_overrides.values(), self.overrides.values()
        return self.weight_bits, self.activation_bits, *both, *weights

    @property
    def lowest_bits(self) -> int:
        """The fewest bits of any matrix layer's weight or input, as far as they are not fixed by the protocol."""
        return min(self._chosen_bits)

    @property
    def training_bits(self) -> int:
        """The width that training is set for: the fewest bits, where mixed weights count as their median.

        One layer of 2 bits among nineteen wider ones must not set the pace of all: ResNet-20 at 3.0 bits on average
        ends at 0.32 nats of held-out divergence with the learning rate of 3 bits, at 0.45 with that of 2.
        """
        if not self.weight_overrides:
            return self.lowest_bits
        return replace(self, weight_bits=median_low(self.weight_overrides.values()), weight_overrides={}).lowest_bits

    def weight_spec(self, bits: int) -> QuantSpec:
        mirrored = self.weight_symmetric and bits == MIRRORED_BITS
        return QuantSpec(bits=bits, signed=True, symmetric=self.weight_symmetric, axis=0, mirrored=mirrored)

    def activation_spec(self, bits: int) -> QuantSpec:
        target = find_target(self.target)
        return QuantSpec(bits=bits, signed=target.signed, symmetric=not target.zero_points)

    def to_dict(self) -> dict:
        return {
            **self.__dict__,
            "overrides": dict(self.overrides),
            "weight_overrides": dict(self.weight_overrides),
        }


# One row per protocol of the field: what a published number of that line quantizes.
SCHEMES: dict[str, dict] = {
    # What an integer runtime needs: our default.
    "deploy": {"placement": "edges"},
    # GDFQ … SynQ: activations after ReLU only, first and last layer like the rest, asymmetric weights.
    "paper-qat": {"placement": "after-relu", "first_last_bits": None, "weight_symmetric": False},
    # BRECQ … Genie: what convolutions and linear layers read, first and last layer at 8 bits.
    "paper-ptq": {"placement": "matrix-inputs"},
}


def make_scheme(
    name: str = "deploy",
    *,
    bits: int = 8,
    weight_bits: int | None = None,
    activation_bits: int | None = None,
    overrides: Mapping[str, int] | None = None,
    target: str = DEFAULT_TARGET,
) -> Scheme:
    """The `Scheme` of that name. `weight_bits` and `activation_bits` default to `bits`.

    Raises:
        DfqError: an unknown name or target, two that do not fit each other, or bits outside 2 to 8.
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
        target=target,
        **settings,
    )
