"""What a network gives for a batch of images: one tensor, or a tuple of them, each with a row for each image.

A captured network, a student and an ONNX file of one network have the same outputs in the same order. Lists, tuples
and dictionaries, also inside each other, are flattened; `named_outputs` says under which names.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, fx
from torch.utils._pytree import KeyEntry, tree_flatten_with_path

from dfq.errors import DfqError

Outputs = Tensor | tuple[Tensor, ...]
Values = TypeVar("Values", Tensor, np.ndarray)
IMAGES = "images"  # name of the input
LOGITS, OUTPUT = "logits", "output"  # names of a single output: of shape (N, classes), and of another shape
WAY_OUT = "wrap the network so that it returns the tensors that you need, and pass it as --arch path/to/net.py:factory"


@dataclass(frozen=True)
class NamedOutputs:
    """The tensors that a network gave, by name, and what else it gave.

    Attributes:
        tensors: The tensors in order.
        left_out: Names of what is no tensor, such as None or a number.
    """

    tensors: dict[str, Tensor]
    left_out: tuple[str, ...] = ()


def as_tuple(outputs: Values | tuple[Values, ...]) -> tuple[Values, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def for_each(function: Callable[..., Any], *outputs: Values | tuple[Values, ...]) -> Any:
    """Returns `function` of each output, or of corresponding outputs of several networks, in the form of the first."""
    found = tuple(function(*each) for each in zip(*map(as_tuple, outputs), strict=True))
    return found if isinstance(outputs[0], tuple) else found[0]


def joined(parts: Sequence[Values | tuple[Values, ...]]) -> Any:
    """Returns the outputs of several batches as those of one batch."""
    cat: Any = np.concatenate if isinstance(as_tuple(parts[0])[0], np.ndarray) else torch.cat
    return for_each(lambda *rows: cat(rows), *parts)


def channel_axis(shape: Sequence[int]) -> int:
    """Returns the axis of the channels of an output: 1 of (N, C, H, W) and the like, the last of (N, …, C)."""
    return 1 if len(shape) >= 4 else len(shape) - 1


def other_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the axes over which a channel has its values: images and positions. An output (N,) is one channel."""
    if len(shape) == 1:
        return (0,)
    return tuple(axis for axis in range(len(shape)) if axis != channel_axis(shape))


def is_whole(output: Tensor | np.ndarray) -> bool:
    """Returns whether an output holds whole numbers or truth values, such as the classes of an argmax."""
    if isinstance(output, np.ndarray):
        return output.dtype.kind in "iub"
    return not output.is_floating_point()


def output_nodes(network: fx.GraphModule) -> tuple[fx.Node, ...]:
    """Returns the nodes whose values a captured network returns, in order."""
    returned = next(node for node in network.graph.nodes if node.op == "output").args[0]
    return tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)  # type: ignore[return-value]


def named_outputs(given: object, count: int, network: str) -> NamedOutputs:
    """Returns the tensors in what a network gave for `count` images, by name.

    A single tensor is "logits" or "output"; the items of a dictionary have its keys, and those of a list or tuple
    their places ("output_0"). Names of nested ones are joined by an underscore.

    Raises:
        DfqError: There is no tensor, or one of them has no row for each image.
    """
    leaves, _ = tree_flatten_with_path(given)
    tensors: dict[str, Tensor] = {}
    left_out = []
    for (path, value), name in zip(leaves, _names(leaves), strict=True):
        if isinstance(value, Tensor):
            _check(value, count, f"{network} gives '{name}'")
            tensors[name] = value
        else:
            left_out.append(_name(path, value))
    if not tensors:
        raise DfqError(f"{network} gives no tensor, but {type(given).__name__}", "at least one tensor", WAY_OUT)
    return NamedOutputs(tensors, tuple(left_out))


def _check(value: Tensor, count: int, what: str) -> None:
    if value.dim() == 0 or len(value) != count or value.numel() == 0:
        raise DfqError(
            f"{what} of shape {tuple(value.shape)} for {count} images",
            f"outputs with a row for each image, as ({count}, …)",
            WAY_OUT,
        )
    if value.is_complex() or value.dtype is torch.bfloat16:
        kind = str(value.dtype).removeprefix("torch.")
        raise DfqError(f"{what} of type {kind}", "numbers of 16, 32 or 64 bits, whole numbers or truth values", WAY_OUT)


def _names(leaves: Sequence[tuple[tuple[KeyEntry, ...], object]]) -> list[str]:
    """Returns a name for each output: keys of the outermost dictionary come first, and none is that of the input."""
    taken, names = {"", IMAGES}, [""] * len(leaves)
    for index in sorted(range(len(leaves)), key=lambda index: len(leaves[index][0])):
        name = _name(*leaves[index])
        while name in taken:
            name += "_"
        taken.add(name)
        names[index] = name
    return names


def _name(path: tuple[KeyEntry, ...], value: object) -> str:
    if not path:
        return LOGITS if isinstance(value, Tensor) and value.dim() == 2 else OUTPUT
    keys = [getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", ""))) for entry in path]
    parts = [*([OUTPUT] if not isinstance(keys[0], str) else []), *map(str, keys)]
    return re.sub(r"\W", "_", "_".join(parts))
