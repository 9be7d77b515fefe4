"""Strategies for networks in files: safetensors, `.pt2` programs, and ONNX."""

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
import torch
from hypothesis import strategies as st
from safetensors.torch import save
from support.fuzzing.damage import NAUGHTY, NUMBERS, damaged_bytes, damaged_json, damaged_zip
from support.fuzzing.pickles import odd_tensors
from support.small_nets import SPEC, Residual, lived_in
from torch import Tensor

SIZES = (-(2**63), -1, 0, 1, 3, 500, 4000, 20_000, 300_000, 10**7, 2**31, 2**63 - 1)
METADATA = (
    {"input_spec": '{"size": [1, 700, 700], "mean": [0.5], "std": [0.5]}'},
    {"input_spec": '{"size": [1, 9000, 9000], "mean": [0.5], "std": [0.5]}'},
    {"input_spec": "[" * 200_000},
    {"input_spec": '{"size": [1, 8, 8], "mean": [NaN], "std": [0]}'},
    {"input_spec": '{"size": [1e400, "8", null]}'},
    {"arch": "3", "mean": "true"},
    {"arch": "../../net.py:make"},
    {"\x1b[2J": "\x1b]0;title\x07"},
    {"arch": "a" * 10**6},
)


def odd_safetensors(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> st.SearchStrategy[bytes]:
    """Returns files with odd tensors or metadata, with damaged headers, and damaged as a whole."""
    whole = save(dict(tensors), metadata)
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])

    def with_header(content: bytes) -> bytes:
        return len(content).to_bytes(8, "little") + content + whole[8 + length :]

    def with_tensor(pair: tuple[str, Tensor]) -> bytes:
        try:
            return save({**tensors, pair[0]: pair[1].contiguous()}, metadata)
        except Exception:  # It writes neither sparse tensors nor those without data.
            return whole[: len(whole) // 2]

    return st.one_of(
        damaged_bytes(whole),
        damaged_json(header).map(with_header),
        st.tuples(st.sampled_from((*tensors, "\x1b[31m")), odd_tensors()).map(with_tensor),
        st.sampled_from(METADATA).map(lambda odd: save(dict(tensors), odd)),
        st.integers(0, 2**64 - 1).map(lambda length: length.to_bytes(8, "little") + whole[8:]),
    )


def odd_program() -> st.SearchStrategy[bytes]:
    """Returns programs of torch.export whose tables or entries are changed."""
    torch.manual_seed(0)
    example = (torch.zeros(2, *SPEC.size),)
    program = torch.export.export(lived_in(Residual()).eval(), example, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    written = io.BytesIO()
    torch.export.save(program, written)

    def entry(name: str, content: bytes) -> st.SearchStrategy[bytes]:
        return damaged_json(json.loads(content)) if name.endswith(".json") else damaged_bytes(content)

    return damaged_zip(written.getvalue(), entry)


def odd_onnx(content: bytes) -> st.SearchStrategy[bytes]:
    """Returns ONNX files with odd attributes, tensors, names and shapes, and damaged ones."""
    model = onnx.load_from_string(content)
    nodes, tensors = range(len(model.graph.node)), range(len(model.graph.initializer))
    change = st.one_of(
        st.tuples(
            st.just("operator"), st.sampled_from(nodes), st.sampled_from(("Loop", "ConstantOfShape", "Tile", "x"))
        ),
        st.tuples(st.just("name"), st.sampled_from(nodes), st.sampled_from([n for n in NAUGHTY if "\x00" not in n])),
        st.tuples(st.just("attribute"), st.sampled_from(nodes), st.integers(-(2**63), 2**63 - 1)),
        st.tuples(st.just("dims"), st.sampled_from(tensors), st.integers(-(2**63), 2**63 - 1)),
        st.tuples(st.just("type"), st.sampled_from(tensors), st.integers(0, 40)),
        st.tuples(st.just("values"), st.sampled_from(tensors), st.sampled_from((float("nan"), float("inf"), 1e38))),
        st.tuples(st.just("external"), st.sampled_from(tensors), st.sampled_from(("/etc/passwd", "../x", "x", ""))),
        st.tuples(st.just("size"), st.sampled_from((0, 1, 2, 3)), st.sampled_from(SIZES)),
        st.tuples(st.just("opset"), st.just(0), st.sampled_from([n for n in NUMBERS if isinstance(n, int)][:8])),
    )
    return st.one_of(damaged_bytes(content), st.lists(change, min_size=1, max_size=2).map(lambda c: _onnx(model, c)))


def _onnx(model: onnx.ModelProto, changes: list[tuple[str, int, Any]]) -> bytes:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for what, index, value in changes:
        _change(changed, what, index, value)
    return changed.SerializeToString()


def _change(model: onnx.ModelProto, what: str, index: int, value: Any) -> None:
    graph = model.graph
    if what == "operator":
        graph.node[index].op_type = value
    elif what == "name":
        graph.node[index].name = value
        graph.node[index].input[0] = value
    elif what == "attribute":
        for attribute in graph.node[index].attribute:
            attribute.i = value
            attribute.ints[:] = [value] * len(attribute.ints)
    elif what == "dims":
        graph.initializer[index].dims[:] = [value, *graph.initializer[index].dims[1:]]
    elif what == "type":
        graph.initializer[index].data_type = value
    elif what == "values":
        with suppress(Exception):  # Another change may have made the tensor unreadable.
            tensor = onnx.numpy_helper.to_array(graph.initializer[index])
            filled = np.full_like(tensor, value)
            graph.initializer[index].CopyFrom(onnx.numpy_helper.from_array(filled, graph.initializer[index].name))
    elif what == "external":
        graph.initializer[index].data_location = onnx.TensorProto.EXTERNAL
        graph.initializer[index].external_data.add(key="location", value=value)
    elif what == "size":
        graph.input[0].type.tensor_type.shape.dim[index].dim_value = value
    elif what == "opset":
        model.opset_import[0].version = max(min(value, 2**63 - 1), -(2**63))
