"""`Operator`: what one row of the table of ONNX operators holds, and `Node`: what it is told of a node."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Run = Callable[..., Any]


@dataclass(frozen=True)
class Node:
    """A node of the file, as the rows see it.

    Attributes:
        name: Name of the node in the file; made up where it has none.
        op: Operator of the node.
        opset: Version of the operator's set that the file was written for.
        attributes: Attributes of the node as Python values; tensors are NumPy arrays.
        outputs: Number of its outputs.
    """

    name: str
    op: str
    opset: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]

    def get(self, attribute: str, default: Any = None) -> Any:
        """Returns the attribute, or `default` where the node does not have it."""
        return self.attributes.get(attribute, default)


@dataclass(frozen=True)
class Operator:
    """One row of the table.

    Attributes:
        run: Called with the node and its inputs: tensors, None for an input that is left out, and lists of numbers for
            the inputs that are `static`. It returns a tensor, or a tuple of tensors where there are several outputs.
        static: Places of the inputs that say how the operator works (a shape, axes, paddings, …) and do not depend on
            the images' values.
        weights: Names of the inputs that are trained where they are stored in the file, by their places.
        numbers: Places of the inputs that are handed on as a number where they are a constant without axes.
    """

    run: Run
    static: tuple[int, ...] = ()
    weights: Mapping[int, str] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()


def plain(function: Run) -> Operator:
    """Returns the row of an operator that is a function of torch."""
    return Operator(lambda node, *inputs: function(*inputs))
