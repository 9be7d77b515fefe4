"""`Step`: one node of an ONNX file as a module."""

from typing import Any

import numpy as np
import torch
from torch import nn

from dfq.models.onnx_file.operators.row import Node, Operator
from dfq.models.onnx_file.sizes import Sizes


class Step(nn.Module):
    """One node with its weights and constants.

    Args:
        node: The node.
        row: Its row in the table.
        inputs: A constant, the name of a tensor, `Sizes`, a number, or None for each input.
    """

    def __init__(self, node: Node, row: Operator, inputs: list[Any]):
        super().__init__()
        self.node, self.row = node, row
        self.inputs = [self._stored(place, value) if isinstance(value, np.ndarray) else value
                       for place, value in enumerate(inputs)]  # fmt: skip

    def _stored(self, place: int, value: np.ndarray) -> tuple[str]:
        """Keeps a constant as the layer's weight or bias, or as a buffer; returns its name."""
        tensor = torch.from_numpy(np.array(value))
        name = self.row.weights.get(place)
        if name is not None and tensor.is_floating_point():
            self.register_parameter(name, nn.Parameter(tensor))
            return (name,)
        self.register_buffer(f"input_{place}", tensor)
        return (f"input_{place}",)

    def forward(self, values: dict[str, Any], count: Any) -> Any:
        """Returns the node's results.

        Args:
            values: Tensors by their names in the file.
            count: Number of images.
        """
        return self.row.run(self.node, *(self._input(value, values, count) for value in self.inputs))

    def _input(self, value: Any, values: dict[str, Any], count: Any) -> Any:
        if isinstance(value, Sizes):
            return value.at(count)
        if isinstance(value, tuple):
            return getattr(self, value[0])
        return values[value] if isinstance(value, str) else value
