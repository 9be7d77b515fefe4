"""Opens nodes of a file that was exported for a fixed number of images: they compute any number of them."""

import numpy as np
from torch import Tensor

from dfq.models.onnx_file.constants import Value
from dfq.models.onnx_file.operators.row import Node, Operator
from dfq.models.onnx_file.operators.shapes import gather_of_each_image


def opened(node: Node, row: Operator, inputs: list[Value], fixed: int, count: int) -> tuple[Operator, list[Value]]:
    """Returns a node's row and its inputs for any number of images.

    Args:
        row: The node's row in the table.
        inputs: A constant, a tensor without memory, or None for each of its inputs.
        fixed: The number of images that the file takes at a time.
        count: The prime that stands for the number of images.
    """
    x = inputs[0]
    if len(inputs) != 2 or not isinstance(inputs[1], np.ndarray) or not inputs[1].ndim:
        return row, inputs
    if not isinstance(x, Tensor) or x.dim() == 0 or x.shape[0] % count:
        return row, inputs
    if node.op == "Reshape":
        return row, [x, _shape(inputs[1], fixed, count)]
    if node.op == "Gather" and not node.get("axis", 0):
        return _gather(row, x, inputs[1], fixed, count)
    return row, inputs


def _shape(shape: np.ndarray, fixed: int, count: int) -> np.ndarray:
    if not len(shape) or not 0 < shape[0] < count or shape[0] % fixed:
        return shape
    return np.concatenate([[shape[0] // fixed * count], shape[1:]]).astype(np.int64)


def _gather(row: Operator, x: Tensor, index: np.ndarray, fixed: int, count: int) -> tuple[Operator, list[Value]]:
    """Opens a gather whose indices are the same for each image, counted from the image's own first row."""
    rows = x.shape[0] // count
    if not index.size or len(index) % fixed:
        return row, [x, index]
    of_images = index.reshape(fixed, -1) - rows * np.arange(fixed)[:, None]
    if (of_images != of_images[0]).any() or of_images.min() < 0 or of_images.max() >= rows:
        return row, [x, index]
    shape = index.shape[1:]
    if np.array_equal(of_images[0], np.arange(rows)):
        return Operator(lambda node, x, _: x.reshape(-1, *shape, *x.shape[1:])), [x, None]
    return gather_of_each_image(rows, shape), [x, of_images[0]]
