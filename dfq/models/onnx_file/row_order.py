"""Simplifies what a graph does with indices: a gather that takes every number in its order is a reshape.

torch's exporter writes `as_strided` as a gather from a flattened tensor, by indices that it computes from the number of
images: image · stride + offset.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from dfq.models.onnx_file.folding import Computed
from dfq.models.onnx_file.operators.row import Node
from dfq.models.onnx_file.operators.table import OPERATORS
from dfq.models.onnx_file.sizes import Sizes
from dfq.models.onnx_file.step import Step

Steps = Sequence[tuple[Computed, Step]]
# Numbers of images for which indices are computed. With those of the comparison in ONNX Runtime they are five, more
# than sums and products of the number of images could agree on by chance.
COUNTS = (2, 3, 7)


def plain_reshapes(steps: Steps, count: int) -> list[tuple[Computed, Step]]:
    """Returns the steps; gathers that take every number in its order are reshapes.

    Args:
        count: The prime that stands for the number of images in what was computed.
    """
    counted = _counted(steps)
    made = {name for computed, _ in counted for name in computed.outputs}
    indices = {computed.names[1] for computed, _ in steps if _is_flat_gather(computed, made)}
    if not indices:
        return list(steps)
    try:
        values = [_values(needed_alone(counted, indices), each) for each in COUNTS]
    except (RuntimeError, IndexError, ValueError):  # torch tells of a network that fits no such number of images
        return list(steps)
    return [
        (computed, _reshape(computed, values, count) or step if _is_flat_gather(computed, made) else step)
        for computed, step in steps
    ]


def needed_alone(steps: Steps, outputs: Iterable[str]) -> list[tuple[Computed, Step]]:
    """Returns the steps that the outputs depend on."""
    needed, found = set(outputs), []
    for computed, step in reversed(steps):
        if needed.intersection(computed.outputs):
            needed.update(value for value in step.inputs if isinstance(value, str))
            found.append((computed, step))
    return found[::-1]


def _counted(steps: Steps) -> Steps:
    """Returns the steps whose results depend on the number of images alone."""
    found, made = [], set[str]()
    for computed, step in steps:
        tensors = {
            name for name, value in zip(computed.names, computed.inputs, strict=True) if isinstance(value, Tensor)
        }
        if tensors <= made:
            made.update(computed.outputs)
            found.append((computed, step))
    return found


def _values(counted: Steps, count: int) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    for computed, step in counted:
        results = step(values, count)
        values.update(zip(computed.outputs, results if isinstance(results, tuple) else (results,), strict=False))
    return values


def _is_flat_gather(computed: Computed, made: set[str]) -> bool:
    """Returns whether a node takes numbers of a flat tensor of the images, by indices of the number of images."""
    if computed.node.op != "Gather" or computed.names[0] in made or computed.names[1] not in made:
        return False
    return isinstance(computed.inputs[0], Tensor) and computed.inputs[0].dim() == 1


def _reshape(computed: Computed, values: Sequence[dict[str, Tensor]], count: int) -> Step | None:
    """Returns the reshape that a gather is, or None where it is none."""
    indices = [each[computed.names[1]] for each in values]
    size, rest = indices[0].numel() // COUNTS[0], tuple(indices[0].shape[1:])
    if computed.inputs[0].numel() != size * count:  # type: ignore[union-attr]
        return None
    for images, index in zip(COUNTS, indices, strict=True):
        if tuple(index.shape) != (images, *rest) or not torch.equal(index.reshape(-1), torch.arange(images * size)):
            return None
    node = Node(computed.node.name, "Reshape", computed.node.opset)
    return Step(node, OPERATORS["Reshape"], [computed.names[0], Sizes((0, *rest), (1, *[0] * len(rest)))])
