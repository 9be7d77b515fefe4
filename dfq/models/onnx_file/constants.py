"""Constants of an ONNX graph: what is stored in nodes, and what nodes make of constants."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from dfq.models.onnx_file.reading import stored

Value = np.ndarray | Tensor | None  # a constant, a tensor without memory, or an input that is left out


def in_float32(value: Value) -> Value:
    """Returns the value; numbers of 16 and of 64 bits become such of 32."""
    is_other = isinstance(value, np.ndarray) and value.dtype in (np.float16, np.float64)
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
    return list(value) if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value


def evaluated(proto: NodeProto, given: Mapping[str, np.ndarray], opset: int) -> list[np.ndarray]:
    """Returns what a node makes of constants, as the reference of the ONNX project computes it."""
    known = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    wanted = [helper.make_empty_tensor_value_info(name) for name in proto.output]
    graph = helper.make_graph([proto], "constant", known, wanted)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return ReferenceEvaluator(model).run(None, dict(given))  # type: ignore[return-value]


def made_numbers(proto: NodeProto, given: Mapping[str, np.ndarray]) -> float:
    """Returns how many numbers a node makes of constants where its inputs may ask for any; else 1."""
    values, shape = list(given.values()), list[float]()
    if proto.op_type == "ConstantOfShape":
        shape = values[0].reshape(-1).tolist()
    elif proto.op_type in ("Expand", "Tile") and len(values) > 1:
        shape = [*values[0].shape, *values[1].reshape(-1).tolist()]
    elif proto.op_type == "Range":
        shape = [abs(values[1].item() - values[0].item()) / max(abs(values[2].item()), 1e-9)]
    return float(np.prod([max(float(length), 1.0) for length in shape], dtype=float))
