"""Finds the factors and offsets of channels with which normalizations end."""

import operator
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import fx

from dfq.graph.operators import is_tensor
from dfq.graph.rewriting.aten_layers import ATEN, arguments_of

# Operators that end with a factor and an offset, and the dimension of the channels in what they give.
NORMS: dict[Any, int] = {
    ATEN.layer_norm.default: -1,
    ATEN.rms_norm.default: -1,
    ATEN.group_norm.default: 1,
    ATEN.instance_norm.default: 1,
}


@dataclass(frozen=True)
class Affine:
    """The end of a normalization.

    Attributes:
        node: The node whose output has been multiplied and moved.
        factor: Path of the tensor that multiplies each channel.
        offset: Path of the tensor that is added to each channel; None: nothing is added.
        channels: Number of channels.
        dimension: Dimension of the channels in the output.
    """

    node: fx.Node
    factor: str
    offset: str | None
    channels: int
    dimension: int


def find_affines(network: fx.GraphModule) -> Iterator[Affine]:
    """Yields the ends of LayerNorm, GroupNorm, InstanceNorm and RMSNorm, in the order of a graph.

    Files may spell them out operator by operator. Then a product with one number for each channel, behind a scaling
    that all channels share, is such an end, along with the addition that follows it. A tensor that something else
    reads, too, or that a state dict does not hold, is left out.
    """
    uses = Counter(node.target for node in network.graph.nodes if node.op == "get_attr")
    stored = network.state_dict()
    for node in network.graph.nodes:
        found = _operator(node) if node.target in NORMS else _spelled_out(node)
        if found is None:
            continue
        end, factor, offset, dimension = found
        shape = end.meta["tensor_meta"].shape
        parts = [part for part in (factor, offset) if part is not None]
        is_own = all(part.target in stored and len(part.users) == 1 and uses[part.target] == 1 for part in parts)
        if is_own and all(_size(part) == shape[dimension] > 1 for part in parts):
            path = None if offset is None else str(offset.target)
            yield Affine(end, str(factor.target), path, shape[dimension], dimension)


_Found = tuple[fx.Node, fx.Node, fx.Node | None, int]  # the end, the factor, the offset, the dimension of the channels


def _operator(node: fx.Node) -> _Found | None:
    given = arguments_of(node)
    factor, offset = given["weight"], given.get("bias")
    parts = [part for part in (factor, offset) if part is not None]
    is_stored = factor is not None and all(_is_stored(part) for part in parts)
    return (node, factor, offset, NORMS[node.target]) if is_stored else None


def _spelled_out(node: fx.Node) -> _Found | None:
    factor = _stored_operand(node, operator.mul)
    dimension = None if factor is None else _dimension(factor, node)
    if factor is None or dimension is None or not _is_normalized(node, factor, dimension):
        return None
    users = list(node.users)
    offset = _stored_operand(users[0], operator.add) if len(users) == 1 else None
    if offset is None or _dimension(offset, users[0]) != dimension:
        return node, factor, None, dimension
    return users[0], factor, offset, dimension


def _is_normalized(node: fx.Node, factor: fx.Node, dimension: int) -> bool:
    """Returns whether what a product multiplies was scaled just before by a number that all its channels share."""
    (before,) = [operand for operand in node.args if operand is not factor] or [factor]
    if not isinstance(before, fx.Node) or before.target not in (operator.mul, operator.truediv):
        return False
    rank = len(node.meta["tensor_meta"].shape)
    shapes = [operand.meta["tensor_meta"].shape for operand in before.args if is_tensor(operand)]
    return any(len(shape) == rank and shape[dimension] == 1 for shape in shapes)


def _stored_operand(node: fx.Node, function: Any) -> fx.Node | None:
    """Returns the stored one of two operands of a function of two tensors; None where there is not exactly one."""
    if node.target is not function or node.kwargs or not all(is_tensor(operand) for operand in node.args):
        return None
    stored = [operand for operand in node.args if _is_stored(operand)]
    return stored[0] if len(stored) == 1 else None  # type: ignore[return-value]


def _is_stored(value: Any) -> bool:
    return isinstance(value, fx.Node) and value.op == "get_attr" and is_tensor(value)


def _size(stored: fx.Node) -> int:
    return stored.meta["tensor_meta"].shape.numel()


def _dimension(stored: fx.Node, node: fx.Node) -> int | None:
    """Returns the dimension of what `node` gives along which a stored operand has its numbers: −1, 1 or None."""
    shape, whole = stored.meta["tensor_meta"].shape, node.meta["tensor_meta"].shape
    long = [place - len(shape) for place, length in enumerate(shape) if length > 1]
    if len(long) != 1 or len(shape) > len(whole) or whole[long[0]] != shape[long[0]]:
        return None
    return {-1: -1, 1 - len(whole): 1}.get(long[0])
