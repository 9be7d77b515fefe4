"""Every row of the table computes what ONNX Runtime computes, for one image and for several."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from support.onnx_files import SHAPE, one_operator, operator_label

from dfq.errors import DfqError
from dfq.graph.operators import kind_of
from dfq.graph.rewriting.rewrite import rewritten
from dfq.graph.shapes import propagate_shapes
from dfq.models.onnx_file.network import OnnxNetwork
from dfq.models.onnx_file.operators.table import KINDS, OPERATORS
from dfq.models.onnx_file.reading import read_onnx_file
from dfq.models.onnx_file.runtime import check_same_outputs
from dfq.models.onnx_file.settings import ReadOnnxSettings

RANDOM = np.random.default_rng(0)


def numbers(*shape: int, positive: bool = False) -> np.ndarray:
    values = RANDOM.standard_normal(shape).astype(np.float32)
    return np.abs(values) + 0.1 if positive else values


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


FLAT = (("Flatten", (), {}),)
POOLED = (("GlobalAveragePool", (), {}),)
TOKENS = (("Reshape", (ints(0, 8, 24),), {}),)
ROWS = (("Transpose", (), {"perm": [0, 2, 3, 1]}),)
BOOL = (("Greater", (np.float32(0.5),), {}),)
CASES = [
    *(one_operator(op) for op in (
        "Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Sqrt", "Neg", "Abs", "Reciprocal", "Floor", "Ceil", "Sin", "Cos",
        "Softplus", "Softsign", "HardSwish", "Identity", "Elu", "Selu", "Celu", "ThresholdedRelu", "LeakyRelu", "Sign",
        "HardSigmoid", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Log",
    )),
    one_operator("Selu", alpha=5.0, gamma=1.5),
    one_operator("Mish", opset=18),
    one_operator("Gelu", opset=20),
    one_operator("Gelu", opset=20, approximate="tanh"),
    one_operator("Swish", opset=24),
    one_operator("Swish", opset=24, alpha=0.5),
    one_operator("Round", before=(("Mul", (np.float32(7.3),), {}),)),
    one_operator("Clip", np.float32(0), np.float32(6)),
    one_operator("Clip", None, np.float32(0.4)),
    one_operator("Clip", opset=9, min=0.2, max=0.5),
    one_operator("PRelu", numbers(3, 1, 1), before=(("Sub", (np.float32(0.5),), {}),)),
    one_operator("HardSigmoid", alpha=1 / 6, beta=0.5),
    *(one_operator(op, numbers(3, 1, 1, positive=True)) for op in (
        "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum",
    )),
    *(one_operator(op, np.float32(2)) for op in ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mean")),
    one_operator("Mod", np.float32(0.3), fmod=1),
    one_operator("Pow", np.float32(0.5)),
    one_operator("Cast", to=onnx.TensorProto.INT32, outputs=1),
    one_operator("Cast", before=BOOL, to=onnx.TensorProto.FLOAT),
    one_operator("Not", before=BOOL, is_bool=True),
    one_operator("And", "images", before=BOOL, is_bool=True),
    one_operator("Or", "images", before=BOOL, is_bool=True),
    one_operator("Where", numbers(3, 1, 1), numbers(3, 8, 8), before=BOOL),
    one_operator("CastLike", np.float32(1), before=BOOL),
    *(one_operator(op, np.float32(0.5), is_bool=True) for op in ("Equal", "Less", "LessOrEqual", "GreaterOrEqual")),
    one_operator("Dropout", np.float32(0.5), np.array(False)),
    one_operator("Conv", numbers(4, 3, 3, 3), numbers(4), pads=[1, 1, 1, 1], strides=[2, 2]),
    one_operator("Conv", numbers(4, 3, 3, 3), pads=[0, 1, 2, 1]),
    one_operator("Conv", numbers(6, 1, 3, 3), group=3, dilations=[2, 2]),
    one_operator("Conv", numbers(4, 3, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    one_operator("Conv", numbers(4, 3, 2, 2), auto_pad="SAME_LOWER"),
    one_operator("Conv", numbers(4, 3, 3, 3), auto_pad="VALID"),
    one_operator("ConvTranspose", numbers(3, 4, 2, 2), numbers(4), strides=[2, 2]),
    one_operator("ConvTranspose", numbers(3, 4, 3, 3), strides=[2, 2], pads=[1, 1, 0, 0], output_padding=[1, 0]),
    one_operator("ConvTranspose", numbers(3, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    one_operator("Gemm", numbers(192, 5), numbers(5), before=FLAT),
    one_operator("Gemm", numbers(5, 192), numbers(1, 5), before=FLAT, transB=1, alpha=0.5, beta=2.0),
    one_operator("MatMul", numbers(192, 5), before=FLAT),
    one_operator("MatMul", numbers(8, 5)),
    one_operator("BatchNormalization", numbers(3), numbers(3), numbers(3), numbers(3, positive=True)),
    one_operator("InstanceNormalization", numbers(3), numbers(3)),
    one_operator("LayerNormalization", numbers(8), numbers(8)),
    one_operator("LayerNormalization", numbers(3, 8, 8), axis=1),
    one_operator("GroupNormalization", numbers(3), numbers(3), opset=21, num_groups=3),
    one_operator("LRN", size=3),
    one_operator("Softmax", axis=1),
    one_operator("Softmax", opset=11, axis=1),
    one_operator("LogSoftmax", before=FLAT),
    one_operator("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    one_operator("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
    one_operator("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    one_operator("MaxPool", kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
    one_operator("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 0, 0]),
    one_operator("MaxPool", kernel_shape=[3, 3], strides=[3, 3], pads=[0, 0, 2, 2]),
    one_operator("MaxPool", kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
    one_operator("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    one_operator("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    one_operator("AveragePool", kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
    one_operator("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.25)),
    one_operator("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    one_operator("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), mode="edge"),
    one_operator("Pad", opset=9, pads=[0, 0, 1, 1, 0, 0, 1, 1]),
    one_operator("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="nearest"),
    one_operator("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="linear"),
    one_operator("Resize", None, np.array([1, 1, 0.5, 0.5], np.float32), mode="linear"),
    one_operator("Resize", None, np.array([1, 1, 3, 3], np.float32), mode="linear",
                 coordinate_transformation_mode="align_corners"),
    one_operator("Resize", None, np.array([1, 1, 1.5, 1.5], np.float32), mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    one_operator("Upsample", np.array([1, 1, 2, 2], np.float32), opset=9, mode="nearest"),
    one_operator("DepthToSpace", shape=(8, 4, 4), blocksize=2),
    one_operator("DepthToSpace", shape=(8, 4, 4), blocksize=2, mode="CRD"),
    one_operator("SpaceToDepth", blocksize=2),
    one_operator("Reshape", ints(0, -1)),
    one_operator("Reshape", ints(-1, 3, 64)),
    one_operator("Transpose", perm=[0, 3, 1, 2]),
    one_operator("Concat", "images", axis=1),
    one_operator("Split", ints(1, 2), axis=1, outputs=2),
    one_operator("Split", opset=11, axis=2, split=[3, 5], outputs=2),
    one_operator("Slice", ints(1), ints(7), ints(2), ints(2)),
    one_operator("Slice", ints(-1), ints(-(2**63) + 1), ints(3), ints(-1)),
    one_operator("Slice", opset=9, starts=[1], ends=[2**31 - 1], axes=[1]),
    one_operator("Gather", ints(2, 0), axis=1),
    one_operator("Gather", np.array(-1), axis=2),
    one_operator("Gather", np.array([[0, 1], [2, 2]]), axis=1),
    one_operator("Squeeze", ints(2, 3), before=POOLED),
    one_operator("Squeeze", opset=11, before=POOLED, axes=[2, 3]),
    one_operator("Unsqueeze", ints(1, -1)),
    one_operator("Expand", ints(1, 3, 8, 8), before=POOLED),
    one_operator("Tile", ints(1, 2, 1, 1)),
    one_operator("CumSum", np.array(1)),
    one_operator("ArgMax", axis=1),
    one_operator("ArgMax", axis=1, keepdims=0),
    one_operator("TopK", ints(2), axis=1, outputs=2),
    one_operator("Trilu", np.array(1), upper=0),
    one_operator("Attention", "images", "images", opset=23),
    one_operator("Attention", "images", "images", numbers(8, 8), opset=23, scale=0.3),
    one_operator("Attention", "images", "images", opset=23, is_causal=1),
    one_operator("Attention", "images", "images", opset=23, before=TOKENS, q_num_heads=2, kv_num_heads=2),
    one_operator("Einsum", equation="nchw->ncwh"),
    *(one_operator(op, axes=[2, 3]) for op in (
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
        "ReduceLogSumExp",
    )),
    one_operator("ReduceMean", ints(1), opset=18, keepdims=0),
    one_operator("ReduceSum", ints(-1), keepdims=0),
    one_operator("ReduceSum", ints(), noop_with_empty_axes=1),
]  # fmt: skip


@pytest.mark.parametrize("model", CASES, ids=operator_label)
def test_an_operator_computes_what_the_runtime_computes(model, tmp_path):
    path = tmp_path / "one.onnx"
    onnx.save(model, path)
    file = read_onnx_file(path)
    size = tuple(file.shape[1:])
    check_same_outputs(OnnxNetwork(file, size), file, size, ReadOnnxSettings())


@pytest.mark.parametrize("op", KINDS)
def test_what_becomes_of_an_operator_is_what_the_table_says(op, tmp_path):
    models = [model for model in CASES if model.graph.node[-1].op_type == op]
    kinds = {kind for model in models[:3] for kind in kinds_of(model, tmp_path / "one.onnx")}
    assert KINDS[op] in kinds


def kinds_of(model: onnx.ModelProto, path: Path) -> set:
    onnx.save(model, path)
    file = read_onnx_file(path)
    size = tuple(file.shape[1:])
    network = OnnxNetwork(file, size)
    program = torch.export.export(
        network, (torch.zeros(2, *size),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    ).run_decompositions({})
    captured = rewritten(program)
    propagate_shapes(captured, size)
    return {kind_of(node, captured) for node in captured.graph.nodes if node.op.startswith("call_")}


def test_rows_without_a_case_are_known():
    tried = {node.op_type for model in CASES for node in model.graph.node}
    of_whole_networks = {"ConstantOfShape", "GatherElements", "GridSample", "Range"}
    assert set(OPERATORS) - tried == of_whole_networks


def test_an_operator_without_a_row_is_named(tmp_path: Path):
    path = tmp_path / "one.onnx"
    onnx.save(one_operator("Det"), path)
    with pytest.raises(DfqError) as caught:
        OnnxNetwork(read_onnx_file(path), SHAPE)
    assert "operator Det (node 'the_Det', opset 17)" in caught.value.found
