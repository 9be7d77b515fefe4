"""`BitOperations`: what widths cost in bit operations, where those of activations are chosen, too."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil

from dfq.errors import DfqError
from dfq.mixed_precision.groups import Group
from dfq.mixed_precision.layers import Layers, layers_of
from dfq.mixed_precision.widths import Widths
from dfq.quantizers.scheme import BITS, Scheme
from dfq.results.number_format import operations
from dfq.student.bit_operations import LayerCall, bit_operations, layer_calls
from dfq.student.placement import plan_quantizers
from dfq.teacher import Teacher

Calls = Mapping[int, Sequence[LayerCall]]  # bits of all activations → the calls of matrix layers


class BitOperations:
    """A limit on the bit operations for one image (`dfq.student.bit_operations`); fixed layers count.

    The widths of weights and of the tensors that matrix layers read are chosen together, from 2 to 8 bits each. Layers
    that read one tensor are a group and share its width. So are the tensors that one layer reads where it is called
    several times. Where a layer of a fixed width reads a tensor, the tensor has no fewer bits than that.

    Args:
        teacher: The network.
        scheme: Its scheme.
        most: Largest number of bit operations.

    Raises:
        DfqError: The network cannot reach that number.
    """

    unit = "bops"
    base = 0

    def __init__(self, teacher: Teacher, scheme: Scheme, most: float):
        self.network, self.scheme, self.layers, self.asked = teacher.traced, scheme, layers_of(teacher, scheme), most
        plans = {bits: plan_quantizers(self.network, replace(scheme, activation_bits=bits)) for bits in BITS}
        calls = {bits: layer_calls(self.network, plan) for bits, plan in plans.items()}
        self.groups = [_group(part, self.layers) for part in _connected(calls)]
        self.smallest, self.largest = (self._with_one_width(bits) for bits in (BITS[0], BITS[-1]))
        self.limit = int(min(most, self.largest))
        if self.smallest > self.limit:
            raise self.unreachable()

    def cost(self, widths: Widths) -> int:
        return bit_operations(self.network, widths.applied_to(self.scheme))

    def _with_one_width(self, bits: int) -> int:
        return sum(group.cost(group.uniform(bits)) for group in self.groups)

    def shown(self, cost: int) -> float:
        return float(cost)

    def unreachable(self) -> DfqError:
        last_digit = 10 ** max(len(str(self.smallest)) - 3, 0)
        enough = operations(ceil(self.smallest / last_digit) * last_digit).replace(" ", "")
        return DfqError(
            f"a target of {operations(self.asked)} bit operations, which this network cannot reach",
            f"from {operations(self.smallest)} to {operations(self.largest)} for one image: "
            f"{len(self.layers.fixed)} of its layers have a fixed width",
            f"--target-bops {enough} or more, or a --scheme that fixes no layer, such as paper-qat",
        )


def _connected(calls: Calls) -> list[Calls]:
    """Returns the calls in parts that have no layer and no tensor in common, in the order of the network."""
    names = [{("layer", call.layer), ("tensor", call.tensor)} - {("tensor", None)} for call in calls[BITS[0]]]
    parts: list[list[int]] = []
    for index, own in enumerate(names):
        touching = [part for part in parts if any(own & names[other] for other in part)]
        parts = [part for part in parts if part not in touching]
        parts.append(sorted([index, *(other for part in touching for other in part)]))
    return [{bits: [found[index] for index in part] for bits, found in calls.items()} for part in sorted(parts)]


def _group(calls: Calls, layers: Layers) -> Group:
    """Returns the choices of one part: all widths of activations that differ in what the calls read."""
    ends = list(zip(calls[BITS[0]], calls[BITS[-1]], strict=True))
    free = [index for index, (low, high) in enumerate(ends) if low.bits != high.bits]
    if not free:
        fixed = max((call.bits for call, _ in ends if call.tensor is not None), default=None)
        return Group({fixed: _costs(calls[BITS[-1]], layers)})
    widths = {tuple(call.bits for call in found): bits for bits, found in calls.items()}.values()
    tensors: dict[int | None, dict[str, int]]
    tensors = {bits: {str(calls[bits][index].tensor): calls[bits][index].bits for index in free} for bits in widths}
    return Group({bits: _costs(calls[bits], layers) for bits in widths}, tensors)


def _costs(calls: Sequence[LayerCall], layers: Layers) -> dict[str, dict[int, int]]:
    """Returns layer → bits of its weight → bit operations."""
    found = Counter[str]()
    for call in calls:
        found[call.layer] += call.macs * call.bits
    return {layer: {bits: bits * count for bits in layers.candidates(layer)} for layer, count in found.items()}
