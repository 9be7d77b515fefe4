"""Runs over an ONNX graph on tensors without memory: constants are folded, and every size is found.

The number of images is a large prime while that is done, so that what depends on it can be told from what does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import NodeProto
from torch import Tensor

from dfq.errors import DfqError
from dfq.models.onnx_file.constants import (
    FOLDABLE,
    Value,
    constant_of,
    evaluated,
    in_float32,
    made_numbers,
    python_value,
    shape_of,
)
from dfq.models.onnx_file.opening import opened
from dfq.models.onnx_file.operators.float_operators import FLOAT_OPERATORS
from dfq.models.onnx_file.operators.row import Node, Operator
from dfq.models.onnx_file.operators.table import OPERATORS
from dfq.models.onnx_file.reading import CONTROL, DOMAINS, OnnxFile, stored
from dfq.models.onnx_file.refusals import float_operator, node_name, unfit_node, unknown_operator
from dfq.models.onnx_file.settings import ReadOnnxSettings

# Attributes that no row reads, and the values with which they change nothing.
USUAL: dict[tuple[str, str], Any] = {
    ("ArgMax", "select_last_index"): 0,
    ("ArgMin", "select_last_index"): 0,
    ("BatchNormalization", "training_mode"): 0,
    ("Resize", "antialias"): 0,
    ("Resize", "exclude_outside"): 0,
    ("Resize", "keep_aspect_ratio_policy"): "stretch",
    ("Resize", "cubic_coeff_a"): -0.75,
}
GROWING = ("ConstantOfShape", "Expand", "Range", "Tile")  # they make tensors as large as their inputs say


@dataclass(frozen=True)
class Computed:
    """A node whose result depends on the images.

    Attributes:
        node: The node.
        row: Its row in the table.
        names: Names of its inputs; empty for one that is left out.
        inputs: A constant, a tensor without memory, or None for each of them.
        outputs: Names of its outputs.
    """

    node: Node
    row: Operator
    names: tuple[str, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[str, ...]


class FoldedGraph:
    """What is left of a graph once everything that does not depend on the images is computed.

    Args:
        file: The file.
        size: Size (C, H, W) of the images.
        channels_last: Whether the file takes images (N, H, W, C).
        count: The prime that stands for the number of images.
        allow_float_ops: Whether operators that always stay in floating point are taken.

    Attributes:
        computed: The nodes that depend on the images, in order.
        values: Constants, and tensors without memory, by name.

    Raises:
        DfqError: An operator has no row, or a node does not fit its inputs.
    """

    def __init__(
        self,
        file: OnnxFile,
        size: tuple[int, int, int],
        *,
        channels_last: bool,
        count: int,
        allow_float_ops: bool = False,
        settings: ReadOnnxSettings = ReadOnnxSettings(),
    ):
        self.table = {**OPERATORS, **FLOAT_OPERATORS} if allow_float_ops else OPERATORS
        self.file, self.count, self.settings = file, count, settings
        shape = (count, *size[1:], size[0]) if channels_last else (count, *size)
        images = torch.empty(shape, device="meta")
        self.values: dict[str, Value] = {name: in_float32(value) for name, value in file.tensors.items()}
        self.values[file.input] = images
        self.computed: list[Computed] = []
        self.folded = 0.0  # numbers of constants that were computed
        self._take_all(file.graph.node)

    def _take_all(self, nodes: Iterable[NodeProto]) -> None:
        for proto in nodes:
            try:
                self._take(proto)
            except DfqError:
                raise
            except Exception as error:  # torch, NumPy and the reference raise whatever they like
                reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
                raise unfit_node(self.file, proto, reason) from error

    def _take(self, proto: NodeProto) -> None:
        missing = [name for name in proto.input if name and name not in self.values]
        if proto.domain not in DOMAINS or proto.op_type in CONTROL:
            raise unknown_operator(self.file, proto)
        if missing:
            raise unfit_node(self.file, proto, f"its input '{missing[0]}' is not defined (sparse tensors are not read)")
        inputs: list[Value] = [self.values[name] if name else None for name in proto.input]
        depends = any(isinstance(value, Tensor) for value in inputs)
        if proto.op_type == "If":
            self._take_branch(proto, inputs)
        elif proto.op_type in ("Shape", "Size") and isinstance(inputs[0], Tensor):
            self._keep(proto, [shape_of(proto, inputs[0])])
        elif proto.op_type == "Constant":
            self._keep(proto, [in_float32(constant_of(proto, self.file.path))])
        elif depends or self._grows(proto, inputs):
            self._compute(proto, inputs)
        else:
            self._keep(proto, [in_float32(value) for value in self._evaluated(proto, inputs)])

    def _take_branch(self, proto: NodeProto, inputs: list[Value]) -> None:
        """Puts the nodes of the branch that a constant chooses in the place of an `If`."""
        (condition,) = inputs
        if not isinstance(condition, np.ndarray):
            raise unfit_node(
                self.file, proto, "what it does depends on the image", "a network that does the same for every image"
            )
        name = "then_branch" if condition.item() else "else_branch"
        branch = next(attribute.g for attribute in proto.attribute if attribute.name == name)
        self.values |= {tensor.name: in_float32(stored(tensor, self.file.path)) for tensor in branch.initializer}
        self._take_all(branch.node)
        results = [self.values[value.name] for value in branch.output]
        for name, inner, value in zip(proto.output, branch.output, results, strict=True):
            if isinstance(value, Tensor):
                node = Node(f"{node_name(proto)}_{name}", "Identity", self.file.opset)
                self.computed.append(Computed(node, OPERATORS["Identity"], (inner.name,), (value,), (name,)))
        self._keep(proto, results)

    def _grows(self, proto: NodeProto, inputs: list[Value]) -> bool:
        """Returns whether a node makes a tensor with as many rows as there are images."""
        numbers = [value for value in inputs if isinstance(value, np.ndarray) and value.dtype.kind in "iu"]
        return proto.op_type in GROWING and any(((value > 0) & (value % self.count == 0)).any() for value in numbers)

    def _compute(self, proto: NodeProto, inputs: list[Value]) -> None:
        node, row = self._node(proto), self.table.get(proto.op_type)
        if row is None and proto.op_type in FLOAT_OPERATORS:
            raise float_operator(self.file, proto)
        if row is None:
            raise unknown_operator(self.file, proto)
        if self.file.shape[0] is not None:
            row, inputs = opened(node, row, inputs, self.file.shape[0], self.count)
        results = self._run(node, row, inputs)
        largest = max(result.numel() for result in results if result is not None)
        if largest > self.settings.largest_tensor * self.count:
            raise unfit_node(self.file, proto, f"it makes a tensor of {largest // self.count:,} numbers for one image")
        outputs = tuple(proto.output)
        self.computed.append(Computed(node, row, tuple(proto.input), tuple(inputs), outputs))
        self._keep(proto, results)

    def _argument(self, place: int, value: Value, row: Operator, device: str, *, depends: bool) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        if place in row.static:
            return value.reshape(-1).tolist()
        is_number = place in row.numbers and value.ndim == 0
        if is_number and (depends or row is OPERATORS["Gather"]):  # two numbers alone would leave torch
            return value.item()
        return torch.from_numpy(np.array(value)).to(device)

    def _evaluated(self, proto: NodeProto, inputs: list[Value]) -> list[Any]:
        """Returns what a node makes of constants: by its row, or by the reference of the ONNX project."""
        is_foldable = proto.op_type in FOLDABLE
        row = OPERATORS.get(proto.op_type) or (None if is_foldable else FLOAT_OPERATORS.get(proto.op_type))
        if row is None and not is_foldable:
            raise unknown_operator(self.file, proto)
        node = self._node(proto)
        made = sum(found.numel() for found in self._run(node, row, inputs) if found is not None) if row else 0
        size = max(made, made_numbers(proto, inputs) if row is None else 0)
        self.folded += size
        held = sum(tensor.size for tensor in self.file.tensors.values())
        if size > max(self.settings.largest_constant, 2 * held) or self.folded > self.settings.most_constants:
            raise unfit_node(self.file, proto, f"constants of {max(size, self.folded):.3g} numbers would be computed")
        if row is None:
            return evaluated(proto, inputs, self.file.opset)
        return [None if found is None else found.numpy() for found in self._run(node, row, inputs, device="cpu")]

    def _run(self, node: Node, row: Operator, inputs: list[Value], device: str = "meta") -> tuple[Tensor | None, ...]:
        """Returns the results of a row, on tensors without memory or on real ones."""
        depends = any(isinstance(value, Tensor) for value in inputs)
        arguments = [self._argument(place, value, row, device, depends=depends) for place, value in enumerate(inputs)]
        with torch.device(device):
            results = row.run(node, *arguments)
        return results if isinstance(results, tuple) else (results,)

    def _keep(self, proto: NodeProto, results: Iterable[Value]) -> None:
        self.values |= {name: value for name, value in zip(proto.output, results, strict=False) if name}

    def _node(self, proto: NodeProto) -> Node:
        attributes = {attribute.name: python_value(attribute, self.file.path) for attribute in proto.attribute}
        for (op, name), usual in USUAL.items():
            if op == proto.op_type and attributes.get(name, usual) != usual:
                raise unfit_node(self.file, proto, f"its attribute {name} is {attributes[name]}")
        outputs = len([name for name in proto.output if name])
        return Node(node_name(proto), proto.op_type, self.file.opset, attributes, outputs)
