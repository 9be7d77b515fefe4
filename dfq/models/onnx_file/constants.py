"""Constants of an ONNX graph: what is stored in nodes, and what nodes make of constants."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from dfq.models.onnx_file.reading import stored

Value = np.ndarray | Tensor | None  # a constant, a tensor without memory, or an input that is left out
HALVES = ("float16", "bfloat16")  # NumPy's names of the numbers of 16 bits


def in_float32(value: Value) -> Value:
    """Returns the value; numbers of 16 and of 64 bits become 32-bit numbers."""
    is_other = isinstance(value, np.ndarray) and value.dtype.name in (*HALVES, "float64")
    return value.astype(np.float32) if is_other else value  # type: ignore[union-attr]


def shape_of(proto: NodeProto, x: Tensor) -> np.ndarray:
    """Returns what a `Shape` or a `Size` gives for a tensor."""
    shape = np.array(x.shape, dtype=np.int64)
    if proto.op_type == "Size":
        return np.array(shape.prod())
    given = {attribute.name: attribute.i for attribute in proto.attribute}
    return shape[given.get("start", 0) : given.get("end")]


def constant_of(proto: NodeProto, path: Path) -> np.ndarray:
    """Returns the value of a `Constant`."""
    (attribute,) = proto.attribute
    kind = np.float32 if attribute.type in (AttributeProto.FLOAT, AttributeProto.FLOATS) else None
    return np.array(python_value(attribute, path), dtype=kind)


def python_value(attribute: AttributeProto, path: Path) -> Any:
    """Returns an attribute as a number, a text, a list, an array, or a graph."""
    if attribute.type == AttributeProto.TENSOR:
        return stored(attribute.t, path)
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if attribute.type == AttributeProto.STRINGS:
        return [each.decode() for each in value]
    return list(value) if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value


# What may be computed of constants by the reference of the ONNX project, beside the operators of the table.
FOLDABLE = (
    "ScatterND", "ScatterElements", "GatherND", "EyeLike", "NonZero", "OneHot", "Xor", "IsNaN", "Shape",
    "Size", "Compress", "BitShift", "Tan", "Atan", "Sinh", "Cosh",
)  # fmt: skip


def evaluated(proto: NodeProto, inputs: Sequence[Value], opset: int) -> list[np.ndarray]:
    """Returns what a foldable node makes of constants, as the reference of the ONNX project computes it."""
    given = {f"input_{place}": value for place, value in enumerate(inputs) if isinstance(value, np.ndarray)}
    node = NodeProto()
    node.CopyFrom(proto)
    del node.input[:]
    node.input.extend(f"input_{place}" if value is not None else "" for place, value in enumerate(inputs))
    known = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    wanted = [helper.make_empty_tensor_value_info(name) for name in proto.output]
    graph = helper.make_graph([node], "constant", known, wanted)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return ReferenceEvaluator(model).run(None, given)  # type: ignore[return-value]


def made_numbers(proto: NodeProto, inputs: Sequence[Value]) -> float:
    """Returns how many numbers a foldable node makes of constants where its inputs may ask for any."""
    values = [value for value in inputs if isinstance(value, np.ndarray)]
    sizes = [float(value.size) for value in values]
    if proto.op_type == "OneHot":
        return sizes[0] * float(values[1].reshape(-1)[0])
    if proto.op_type == "NonZero":
        return sizes[0] * max(values[0].ndim, 1)
    return max(sizes, default=1.0)
