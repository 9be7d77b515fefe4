"""Small ONNX files: of one operator, or of a network that torch exports."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SHAPE = (3, 8, 8)


def one_operator(
    op: str,
    *constants: Any,
    opset: int = 17,
    shape=SHAPE,
    before: tuple = (),
    outputs: int = 1,
    is_bool: bool = False,
    **attributes,
) -> onnx.ModelProto:
    """Returns a file that applies one operator to its images.

    Args:
        constants: Further inputs, stored in the file; None for one that is left out, and "images" for the images.
        before: Nodes in front of it, each as (operator, further inputs, attributes).
        is_bool: Whether its result is of truth values, which the file turns into numbers.
    """
    nodes, stored, last = [], [], "images"
    for place, (name, more, given) in enumerate(before):
        names = [_stored(value, f"before_{place}_{index}", stored) for index, value in enumerate(more)]
        nodes.append(helper.make_node(name, [last, *names], [f"x{place}"], name=f"{name}_{place}", **given))
        last = f"x{place}"
    names = [_stored(value, f"constant_{index}", stored) if not isinstance(value, str) else last
             for index, value in enumerate(constants)]  # fmt: skip
    results = ["result", *(f"result_{index}" for index in range(1, outputs))]
    nodes.append(helper.make_node(op, [last, *names], results, name=f"the_{op}", **attributes))
    if is_bool:
        nodes.append(helper.make_node("Cast", results, ["number"], name="last", to=TensorProto.FLOAT))
        results = ["number"]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", *shape])
    found = [helper.make_empty_tensor_value_info(name) for name in results]
    graph = helper.make_graph(nodes, "one", [images], found, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _stored(value: Any, name: str, stored: list) -> str:
    if value is None:
        return ""
    stored.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def exported(
    model: nn.Module, path: Path, *, opset: int = 17, is_open: bool = True, shape=SHAPE, names=("images", "logits")
) -> Path:
    """Writes a network as torch's old exporter does, and returns the path."""
    axes = {name: {0: "n"} for name in names} if is_open else None
    images = torch.zeros(2 if is_open else 1, *shape)
    torch.onnx.export(
        model.eval(), (images,), str(path), opset_version=opset, dynamo=False, dynamic_axes=axes,
        input_names=names[:1], output_names=names[1:],
    )  # fmt: skip
    return path


def operator_label(model: onnx.ModelProto) -> str:
    """Returns the operator that a file of `one_operator` is about, its attributes and its opset, to name a test."""
    node = next((node for node in model.graph.node if node.name.startswith("the_")), model.graph.node[-1])
    return "-".join([node.op_type, *(a.name for a in node.attribute), f"opset{model.opset_import[0].version}"])
