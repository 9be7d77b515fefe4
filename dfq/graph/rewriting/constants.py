"""Evaluates once what a program computes from parameters alone, and keeps the names of these parameters."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.utils._pytree import tree_flatten, tree_map

# Views need memory in the order that torch.export assumed, and stored tensors may have another order.
VIEWS: dict[Any, Any] = dict.fromkeys((torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default), torch.reshape)


@dataclass(frozen=True)
class Constant:
    """A tensor that does not depend on the images.

    Attributes:
        value: Tensor of any shape.
        sources: Names of the parameters and buffers that it is made of, in the order of their use.
        name: Name of the parameter or buffer that it is, or None where it was computed.
    """

    value: Tensor
    sources: tuple[str, ...]
    name: str | None = None


def evaluated(node: fx.Node, values: dict[fx.Node, Any], *, trains: bool) -> Any:
    """Evaluates a call whose tensors are all constants.

    Args:
        node: Node of the program.
        values: Maps each node to a `Constant`, or to what stands for it in the new graph.
        trains: Whether to leave out what depends on parameters with a gradient.

    Returns:
        A `Constant` or a list of them, or None for any other call.
    """
    arguments = [values[n] for n in node.all_input_nodes]
    if not all(_is_constant(value) for value in arguments) or torch.Tag.nondeterministic_seeded in getattr(
        node.target, "tags", ()
    ):
        return None
    constants = list(_constants(arguments))
    if trains and any(constant.value.requires_grad for constant in constants):
        return None
    value = _copied_value if is_mutable(node.target) else _value
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: tree_map(value, values[n], is_leaf=_is_leaf))
    with torch.no_grad():
        result = VIEWS.get(node.target, node.target)(*args, **kwargs)  # type: ignore[operator, arg-type]
    sources = tuple(dict.fromkeys(source for constant in constants for source in constant.sources))
    if isinstance(result, Tensor):
        return Constant(result, sources)
    is_tensors = isinstance(result, (tuple, list)) and all(isinstance(each, Tensor) for each in result)
    return [Constant(each, sources) for each in result] if is_tensors else None


def _is_leaf(value: Any) -> bool:
    return isinstance(value, Constant)


def _value(value: Any) -> Any:
    return value.value if isinstance(value, Constant) else value


def _copied_value(value: Any) -> Any:
    """Returns a copy of the tensor, so that the network's own tensors are never written to."""
    return value.value.clone() if isinstance(value, Constant) else value


def is_mutable(target: Any) -> bool:
    """Returns whether an operator writes to what it reads."""
    return isinstance(target, OpOverload) and target._schema.is_mutable


def _is_constant(value: Any) -> bool:
    return all(isinstance(leaf, Constant) for leaf in tree_flatten(value, is_leaf=_is_leaf)[0])


def _constants(values: Iterable[Any]) -> Iterator[Constant]:
    for value in values:
        yield from tree_flatten(value, is_leaf=_is_leaf)[0]
