"""Runs over an ONNX graph on tensors without memory: constants are folded, and every size is found.

The number of images is a large prime while that is done, so that what depends on it can be told from what does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from dfq.errors import DfqError
from dfq.models.onnx_file.operators.row import Node, Operator
from dfq.models.onnx_file.operators.table import OPERATORS
from dfq.models.onnx_file.reading import OnnxFile, stored
from dfq.models.onnx_file.settings import ReadOnnxSettings

GROWING = ("ConstantOfShape", "Expand", "Tile")  # they make tensors as large as their inputs say
SHARED = ("Conv", "Gemm", "MatMul")
Value = np.ndarray | Tensor | None


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
        settings: ReadOnnxSettings = ReadOnnxSettings(),
    ):
        self.file, self.count, self.settings = file, count, settings
        shape = (count, *size[1:], size[0]) if channels_last else (count, *size)
        images = torch.empty(shape, device="meta")
        self.values: dict[str, Value] = {name: in_float32(value) for name, value in file.tensors.items()}
        self.values[file.input] = images
        self.computed: list[Computed] = []
        self._take_all(file.graph.node)

    def _take_all(self, nodes: Iterable[NodeProto]) -> None:
        for proto in nodes:
            try:
                self._take(proto)
            except DfqError:
                raise
            except Exception as error:  # torch, NumPy and the reference raise whatever they like
                reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
                raise self._unfit(proto, reason) from error

    def _take(self, proto: NodeProto) -> None:
        inputs: list[Value] = [self.values[name] if name else None for name in proto.input]
        depends = any(isinstance(value, Tensor) for value in inputs)
        if proto.op_type == "If":
            self._take_branch(proto, inputs)
        elif proto.op_type in ("Shape", "Size") and isinstance(inputs[0], Tensor):
            self._keep(proto, [_shape(proto, inputs[0])])
        elif proto.op_type == "Constant":
            self._keep(proto, [in_float32(_constant(proto, self.file))])
        elif depends or self._grows(proto, inputs):
            self._compute(proto, inputs)
        else:
            self._keep(proto, [in_float32(value) for value in self._evaluated(proto, inputs)])

    def _take_branch(self, proto: NodeProto, inputs: list[Value]) -> None:
        """Puts the nodes of the branch that a constant chooses in the place of an `If`."""
        (condition,) = inputs
        if not isinstance(condition, np.ndarray):
            raise self._unfit(
                proto, "what it does depends on the image", "a network that does the same for every image"
            )
        branch = next(a.g for a in proto.attribute if a.name == ("then_branch" if condition.item() else "else_branch"))
        self.values |= {tensor.name: in_float32(stored(tensor, self.file.path)) for tensor in branch.initializer}
        self._take_all(branch.node)
        self._keep(proto, [self.values[value.name] for value in branch.output])

    def _grows(self, proto: NodeProto, inputs: list[Value]) -> bool:
        """Returns whether a node makes a tensor with as many rows as there are images."""
        numbers = [value for value in inputs if isinstance(value, np.ndarray) and value.dtype.kind in "iu"]
        return proto.op_type in GROWING and any(((value > 0) & (value % self.count == 0)).any() for value in numbers)

    def _compute(self, proto: NodeProto, inputs: list[Value]) -> None:
        node, row = self._node(proto), OPERATORS.get(proto.op_type)
        if row is None or proto.domain not in ("", "ai.onnx"):
            raise DfqError(
                f"'{self.file.path}' has the operator {proto.domain}{'.' if proto.domain else ''}{proto.op_type} "
                f"(node '{node.name}', opset {self.file.opset}), which dfq does not know",
                "operators of the table in the documentation",
                "export the network again with other operators, or report the file",
            )
        if proto.op_type == "Reshape" and isinstance(inputs[1], np.ndarray):
            inputs[1] = self._opened(inputs[0], inputs[1])
        results = row.run(node, *(self._argument(place, value, row) for place, value in enumerate(inputs)))
        results = results if isinstance(results, tuple) else (results,)
        results = tuple(result if result is None else result.to("meta") for result in results)
        if any(result is not None and result.numel() > self.settings.largest_tensor * self.count for result in results):
            raise self._unfit(proto, f"it makes a tensor of {results[0].numel() // self.count:,} numbers for one image")
        outputs = tuple(proto.output)
        self.computed.append(Computed(node, row, tuple(proto.input), tuple(inputs), outputs))
        self._keep(proto, results)

    def _argument(self, place: int, value: Value, row: Operator) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        if place in row.static:
            return value.reshape(-1).tolist()
        return (
            number(value) if place in row.numbers and value.ndim == 0 else torch.from_numpy(np.array(value)).to("meta")
        )

    def _opened(self, x: Value, shape: np.ndarray) -> np.ndarray:
        """Returns the shape for any number of images where the file was exported for a fixed one."""
        fixed = self.file.shape[0]
        is_rows = isinstance(x, Tensor) and x.dim() > 0 and x.shape[0] % self.count == 0
        if (
            fixed is None
            or not is_rows
            or not len(shape)
            or shape[0] <= 0
            or shape[0] % fixed
            or shape[0] >= self.count
        ):
            return shape
        return np.concatenate([[shape[0] // fixed * self.count], shape[1:]]).astype(np.int64)

    def _evaluated(self, proto: NodeProto, inputs: list[Value]) -> list[np.ndarray]:
        """Returns what a node makes of constants, as the reference of the ONNX project computes it."""
        given = {name: value for name, value in zip(proto.input, inputs, strict=True) if isinstance(value, np.ndarray)}
        self._check_size(proto, given)
        known = [helper.make_tensor_value_info(name, type_of(value), value.shape) for name, value in given.items()]
        wanted = [helper.make_empty_tensor_value_info(name) for name in proto.output]
        graph = helper.make_graph([proto], "constant", known, wanted)
        opsets = [helper.make_opsetid("", self.file.opset)]
        return ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets)).run(None, given)  # type: ignore[return-value]

    def _check_size(self, proto: NodeProto, given: dict[str, Any]) -> None:
        """Raises `DfqError` where a constant would be larger than any memory."""
        shape: Any = ()
        values = list(given.values())
        if proto.op_type == "ConstantOfShape":
            shape = values[0].reshape(-1).tolist()
        elif proto.op_type in ("Expand", "Tile") and len(values) > 1:
            shape = [*values[0].shape, *values[1].reshape(-1).tolist()]
        elif proto.op_type == "Range":
            shape = [abs(values[1] - values[0]) / max(abs(values[2]), 1e-9)]
        size = float(np.prod([max(float(length), 1.0) for length in shape], dtype=float)) if len(shape) else 1.0
        if size > self.settings.largest_tensor:
            raise self._unfit(proto, f"it makes a constant of {size:.3g} numbers")

    def _keep(self, proto: NodeProto, results: Iterable[Value]) -> None:
        self.values |= {name: value for name, value in zip(proto.output, results, strict=False) if name}

    def _node(self, proto: NodeProto) -> Node:
        attributes = {attribute.name: _python(attribute) for attribute in proto.attribute}
        name = proto.name or f"{proto.op_type} → {proto.output[0]}"
        return Node(name, proto.op_type, self.file.opset, attributes, len([name for name in proto.output if name]))

    def _unfit(self, proto: NodeProto, reason: str, needed: str = "a network that ONNX Runtime runs") -> DfqError:
        name = proto.name or f"of '{proto.output[0]}'"
        return DfqError(
            f"'{self.file.path}', node '{name}' ({proto.op_type}): {reason}",
            needed,
            "check --input-size, export the network again, or report the file",
        )


def type_of(value: np.ndarray) -> int:
    """Returns ONNX's number for the type of a constant."""
    return helper.np_dtype_to_tensor_dtype(value.dtype)


def number(value: np.ndarray) -> int | float:
    """Returns a constant of one number as a number of Python."""
    return value.item()


def in_float32(value: Value) -> Value:
    """Returns the value; numbers of 16 and of 64 bits become such of 32."""
    is_other = isinstance(value, np.ndarray) and value.dtype in (np.float16, np.float64)
    return value.astype(np.float32) if is_other else value  # type: ignore[union-attr]


def _shape(proto: NodeProto, x: Tensor) -> np.ndarray:
    shape = np.array(x.shape, dtype=np.int64)
    if proto.op_type == "Size":
        return np.array(shape.prod())
    given = {attribute.name: attribute.i for attribute in proto.attribute}
    return shape[given.get("start", 0) : given.get("end")]


def _constant(proto: NodeProto, file: OnnxFile) -> np.ndarray:
    (attribute,) = proto.attribute
    if attribute.type == onnx.AttributeProto.TENSOR:
        return stored(attribute.t, file.path)
    value = _python(attribute)
    kind = np.float32 if attribute.type in (onnx.AttributeProto.FLOAT, onnx.AttributeProto.FLOATS) else None
    return np.array(value, dtype=kind)


def _python(attribute: onnx.AttributeProto) -> Any:
    if attribute.type == onnx.AttributeProto.TENSOR:
        return numpy_helper.to_array(attribute.t)
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    is_list = attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS)
    return list(value) if is_list else value
